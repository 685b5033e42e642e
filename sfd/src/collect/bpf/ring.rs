//! The thread that reads the rings.
//!
//! It polls: a wake-up for each record would cost every writer on the host a microsecond (measured: 1572 ns a call
//! against 450 ns). The kernel side wakes it only when a ring is a quarter full.

use std::{
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use aya::maps::{MapData, PerCpuArray, RingBuf};
use sfd_common::{DropReason, STREAMS, Stream, decode};
use tokio::sync::mpsc::{self, error::TrySendError};

use super::{faults::Faults, gaps::Gaps, load, translate::Translator};
use crate::collect::{Change, Counters, Event, LossReason};

/// Time between two looks while records come, in milliseconds.
const POLL_BUSY_MS: i32 = 2;
/// Time between two looks once nothing came for [`IDLE_AFTER`].
const POLL_IDLE_MS: i32 = 5;
const IDLE_AFTER: Duration = Duration::from_millis(100);
/// Time between two looks at the drop counters and at open gaps.
const COUNTERS_EVERY: Duration = Duration::from_millis(100);
/// Time between two comparisons of the clocks.
const CLOCK_EVERY: Duration = Duration::from_secs(1);
/// Time between two tries to send into a full channel.
const FULL_RETRY: Duration = Duration::from_millis(2);
/// Events in one chunk: bounds latency and memory, and is large enough that sending costs nothing per event.
const CHUNK_MAX: usize = 1024;

/// What the thread reads and writes.
pub(super) struct Reader {
    pub(super) files: RingBuf<MapData>,
    pub(super) processes: RingBuf<MapData>,
    pub(super) drops: PerCpuArray<MapData, u64>,
    pub(super) sequences: Option<PerCpuArray<MapData, u64>>,
    pub(super) sender: mpsc::Sender<Vec<Event>>,
    pub(super) counters: Arc<Counters>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) waker: Waker,
    pub(super) log: Option<load::Flush>,
}

/// State of the thread between two looks.
struct State {
    translator: Translator,
    gaps: Gaps,
    faults: Faults,
    /// Drops told so far, by reason.
    told: [u64; DropReason::ALL.len()],
    chunk: Vec<Event>,
}

impl Reader {
    /// Reads until stopped or until nobody receives any more.
    pub(super) fn run(mut self) {
        let mut state = State {
            translator: Translator::new(),
            gaps: Gaps::default(),
            faults: Faults::new(),
            told: DropReason::ALL.map(|reason| load::drop_count(&self.drops, reason)),
            chunk: Vec::new(),
        };
        // Nothing is watched yet, so what is in the rings already may be passed over.
        self.each_sequence(|cpu, stream, next| state.gaps.start(cpu, stream, next));
        let (mut last_record, mut last_count, mut last_clock) =
            (Instant::now(), Instant::now(), Instant::now());
        while !self.stop.load(Ordering::Relaxed) {
            self.counters.poll();
            if let Some(log) = &mut self.log {
                log();
            }
            let now = Instant::now();
            let (files, files_emptied) =
                drain(&mut self.files, &mut state, &self.counters, &self.sender, &self.stop, now);
            let (processes, processes_emptied) =
                drain(&mut self.processes, &mut state, &self.counters, &self.sender, &self.stop, now);
            if now.duration_since(last_count) >= COUNTERS_EVERY {
                last_count = now;
                self.count_losses(&mut state, now, files_emptied, processes_emptied);
            }
            if now.duration_since(last_clock) >= CLOCK_EVERY {
                last_clock = now;
                state.translator.set_clock();
            }
            if !flush(&mut state.chunk, &self.sender, &self.stop) {
                return;
            }
            if files + processes > 0 {
                last_record = now;
            }
            let idle = now.duration_since(last_record) > IDLE_AFTER;
            self.waker.wait(if idle { POLL_IDLE_MS } else { POLL_BUSY_MS });
        }
    }

    /// Hands over the kernel's next number of each stream of each CPU.
    fn each_sequence(&self, mut what: impl FnMut(u16, u8, u64)) {
        let Some(sequences) = &self.sequences else { return };
        for stream in 0..STREAMS as u8 {
            // A map of the kernel that was there a moment ago; should it fail, gaps show when later records come.
            let Ok(numbers) = sequences.get(&u32::from(stream), 0) else { continue };
            for (cpu, next) in (0_u16..).zip(numbers.iter()) {
                what(cpu, stream, *next);
            }
        }
    }

    /// Tells of every drop the kernel counted since last time, of every gap that stayed open, and of records that the
    /// kernel numbered and that never came. The flags say which rings were read until they were empty.
    fn count_losses(&self, state: &mut State, now: Instant, files_emptied: bool, processes_emptied: bool) {
        for (reason, told) in DropReason::ALL.into_iter().zip(&mut state.told) {
            let total = load::drop_count(&self.drops, reason);
            let count = total.wrapping_sub(*told);
            if count > 0 {
                *told = total;
                lose(&mut state.chunk, &self.counters, loss_reason(reason), count);
            }
        }
        let mut gap = state.gaps.expire(now);
        self.each_sequence(|cpu, stream, next| {
            let emptied = if stream < Stream::Processes as u8 { files_emptied } else { processes_emptied };
            gap += state.gaps.expect(cpu, stream, next, emptied, now);
        });
        if gap > 0 {
            lose(&mut state.chunk, &self.counters, LossReason::SequenceGap, gap);
        }
    }
}

/// Reads a ring until it is empty, or once round: a flood in one ring must not keep the other waiting. Returns how many
/// records that was, and whether the ring is empty now.
fn drain(
    ring: &mut RingBuf<MapData>,
    state: &mut State,
    counters: &Counters,
    sender: &mpsc::Sender<Vec<Event>>,
    stop: &AtomicBool,
    now: Instant,
) -> (usize, bool) {
    let (mut read, mut bytes, mut empty) = (0, 0, false);
    while read < CHUNK_MAX * 16 {
        let Some(item) = ring.next() else {
            empty = true;
            break;
        };
        read += 1;
        bytes += item.len();
        if state.faults.drop_one() {
            continue;
        }
        match decode(&item) {
            Ok(record) => {
                let header = &record.header;
                let gap = state.gaps.seen(header.cpu, header.stream, header.sequence, now);
                if gap > 0 {
                    lose(&mut state.chunk, counters, LossReason::SequenceGap, gap);
                }
                counters.event(record.op);
                if header.flags & sfd_common::flag::TRUNCATED != 0 {
                    lose(&mut state.chunk, counters, LossReason::PathUnreadable, 1);
                    continue;
                }
                let translated = state.translator.translate(&record);
                if translated.unresolved {
                    counters.unresolved();
                    lose(&mut state.chunk, counters, LossReason::BaseUnknown, 1);
                }
                state.chunk.push(translated.event);
            }
            Err(error) => {
                tracing::warn!(%error, "a record of the ring is not one");
                lose(&mut state.chunk, counters, LossReason::Undecodable, 1);
            }
        }
        drop(item);
        if state.chunk.len() >= CHUNK_MAX && !flush(&mut state.chunk, sender, stop) {
            break;
        }
    }
    counters.records(read, bytes);
    (read, empty)
}

/// Adds a loss to the chunk, merged with one of the same kind that is already there.
fn lose(chunk: &mut Vec<Event>, counters: &Counters, reason: LossReason, count: u64) {
    counters.lost(reason, count);
    for event in &mut *chunk {
        if let Change::Lost { reason: there, count: total } = &mut event.change
            && *there == reason
        {
            *total += count;
            return;
        }
    }
    let at_ns = std::time::SystemTime::now()
        .duration_since(std::time::SystemTime::UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX));
    chunk.push(Event { at_ns, change: Change::Lost { reason, count }, writer: None });
}

/// Sends the chunk, waiting while the channel is full; the rings absorb meanwhile. `false`: stop reading.
fn flush(chunk: &mut Vec<Event>, sender: &mpsc::Sender<Vec<Event>>, stop: &AtomicBool) -> bool {
    if chunk.is_empty() {
        return !sender.is_closed();
    }
    let mut waiting = std::mem::take(chunk);
    loop {
        // Not `blocking_send`: a stop must end the wait even when the receiver is alive and idle.
        match sender.try_send(waiting) {
            Ok(()) => return true,
            Err(TrySendError::Closed(_)) => return false,
            Err(TrySendError::Full(back)) => {
                if stop.load(Ordering::Relaxed) {
                    return false;
                }
                waiting = back;
                std::thread::sleep(FULL_RETRY);
            }
        }
    }
}

/// Waits for a ring that asks to be read.
pub(super) struct Waker(OwnedFd);

impl Waker {
    /// Edge-triggered: records without a wake-up make the ring readable, but only a wake-up ends a wait. So between
    /// two records of a flood there is still a pause, and one look reads many.
    pub(super) fn new(fds: [RawFd; 2]) -> std::io::Result<Self> {
        // SAFETY: gives a new descriptor or -1.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if epoll < 0 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: just made, owned by nobody else.
        let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
        for fd in fds {
            let mut event =
                libc::epoll_event { events: (libc::EPOLLIN | libc::EPOLLET).cast_unsigned(), u64: 0 };
            // SAFETY: two open descriptors and a valid event.
            if unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event) } < 0 {
                return Err(std::io::Error::last_os_error());
            }
        }
        Ok(Self(epoll))
    }

    /// Waits until a ring asks to be read or the time is over.
    fn wait(&self, time_ms: i32) {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 2];
        // SAFETY: room for two events. A failure (EINTR) only shortens the wait.
        unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), 2, time_ms) };
    }
}

const fn loss_reason(reason: DropReason) -> LossReason {
    match reason {
        DropReason::FileRing => LossReason::FileRingFull,
        DropReason::ProcessRing => LossReason::ProcessRingFull,
        DropReason::Inflight => LossReason::InflightFull,
        DropReason::PathUnreadable => LossReason::PathUnreadable,
        DropReason::ScratchBusy => LossReason::ScratchBusy,
    }
}
