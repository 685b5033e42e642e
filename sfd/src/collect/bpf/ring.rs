//! The thread that reads the rings.
//!
//! While records come, it polls: a wake-up for each would cost every writer on the host a microsecond (measured: 1572 ns
//! a call against 450 ns), so the kernel side wakes it only when a ring is a quarter full. When none come, it sleeps: polling
//! all day takes 1 % of a CPU and keeps it from its deeper idle states. Then the first record wakes it.

use std::{
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use aya::maps::{Array, MapData, PerCpuArray, RingBuf};
use sfd_common::{Body, DropReason, Op, Record, STREAMS, Stream, decode, flag};
use tokio::sync::mpsc::{self, error::TrySendError};

use super::{faults::Faults, gaps::Gaps, load, translate::Translator};
use crate::artifact::redact::Redactor;
use crate::collect::processes::{Exec, Processes, Sighting, proc::System};
use crate::collect::{Change, Counters, Event, LossReason};

/// Time between two looks while records come, in milliseconds.
const POLL_BUSY_MS: i32 = 2;
/// When nothing came for this long, the reader asks to be woken and sleeps.
const IDLE_AFTER: Duration = Duration::from_millis(100);
/// Time between two looks at the drop counters and at open gaps, and the longest sleep.
const COUNTERS_EVERY: Duration = Duration::from_millis(COUNTERS_EVERY_MS as u64);
const COUNTERS_EVERY_MS: i32 = 100;
/// Time between two comparisons of the clocks.
const CLOCK_EVERY: Duration = Duration::from_secs(1);
/// Time between two tries to send into a full channel.
const FULL_RETRY: Duration = Duration::from_millis(2);
/// Events in one chunk: bounds latency and memory, and is large enough that sending costs nothing per event.
const CHUNK_MAX: usize = 1024;
/// Chunks read of one ring before something else gets its turn: a flood in one must not keep the other waiting.
const ROUND_CHUNKS: usize = 16;

/// What the thread reads and writes.
pub(super) struct Reader {
    pub(super) files: RingBuf<MapData>,
    pub(super) processes: RingBuf<MapData>,
    pub(super) drops: PerCpuArray<MapData, u64>,
    pub(super) sequences: Option<PerCpuArray<MapData, u64>>,
    /// Without it the reader never sleeps for longer than between two looks.
    pub(super) asleep: Option<Array<MapData, u32>>,
    pub(super) sender: mpsc::Sender<Vec<Event>>,
    pub(super) counters: Arc<Counters>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) waker: Waker,
    pub(super) log: Option<load::Flush>,
    pub(super) redactor: Redactor,
}

/// What came of reading one ring.
struct Drained {
    records: usize,
    emptied: bool,
}

/// What came of reading both, and whether each was empty at the end.
#[derive(Default)]
struct Round {
    records: usize,
    files_emptied: bool,
    processes_emptied: bool,
}

/// State of the thread between two looks.
struct State {
    translator: Translator,
    gaps: Gaps,
    faults: Faults,
    /// Drops told so far, by reason.
    told: [u64; DropReason::ALL.len()],
    /// Process records dropped when the table was last trusted.
    process_drops: u64,
    processes: Processes,
    system: System,
    /// Events, and whom they name: until the process ring has been read, too.
    unnamed: Vec<(Event, Option<Sighting>)>,
    /// Events ready to be sent.
    chunk: Vec<Event>,
}

impl State {
    /// The programs are attached by now, so whatever starts while `/proc` is read has a record waiting.
    fn new(drops: &PerCpuArray<MapData, u64>, redactor: Redactor) -> Self {
        let (mut processes, mut system) = (Processes::new(redactor), System::new());
        processes.seed(System::pids(), &mut system);
        Self {
            translator: Translator::new(),
            gaps: Gaps::default(),
            faults: Faults::new(),
            told: DropReason::ALL.map(|reason| load::drop_count(drops, reason)),
            process_drops: load::drop_count(drops, DropReason::ProcessRing),
            processes,
            system,
            unnamed: Vec::new(),
            chunk: Vec::new(),
        }
    }

    /// Says who made the changes that were read, as far as the process records read since tell.
    fn name_writers(&mut self, drops: &PerCpuArray<MapData, u64>) {
        if self.unnamed.is_empty() {
            return;
        }
        let dropped = load::drop_count(drops, DropReason::ProcessRing);
        if std::mem::replace(&mut self.process_drops, dropped) != dropped {
            self.processes.forget();
        }
        for (mut event, seen) in self.unnamed.drain(..) {
            event.writer = seen.map(|seen| self.processes.writer(&seen, &mut self.system));
            self.chunk.push(event);
        }
    }

    /// Takes in one record of the file ring.
    fn file(&mut self, record: &Record<'_>, counters: &Counters) {
        if record.header.flags & flag::TRUNCATED != 0 {
            return lose(&mut self.chunk, counters, LossReason::PathUnreadable, 1);
        }
        let translated = self.translator.translate(record);
        if translated.unresolved {
            counters.unresolved();
            lose(&mut self.chunk, counters, LossReason::BaseUnknown, 1);
        }
        self.unnamed.push((translated.event, translated.seen));
    }

    /// Takes in one record of the process ring.
    fn process(&mut self, record: &Record<'_>) {
        let translated = self.translator.translate(record);
        let (processes, system) = (&mut self.processes, &mut self.system);
        let mut event = translated.event;
        let Some(seen) = translated.seen else { return self.chunk.push(event) };
        match (record.op, record.body) {
            (_, Body::Module(_)) => return self.unnamed.push((event, Some(seen))),
            (_, Body::Exec { name, args }) => {
                let flags = record.header.flags;
                // Half a path is none.
                let name = if flags & flag::NAME_CUT == 0 { name } else { b"" };
                let exec = Exec { name, args, args_cut: flags & flag::ARGS_CUT != 0 };
                processes.exec(&seen, exec, system);
            }
            (Op::Exec, _) => processes.exec(&seen, Exec { args_cut: true, ..Exec::default() }, system),
            (Op::Fork, _) => processes.fork(&seen, system),
            (Op::Exit, _) => processes.exit(&seen),
            // Every other record carries the present name.
            _ => {}
        }
        // These come by the thousand, and hardly anyone wants to know who started a process that changed nothing.
        event.writer = Some(seen.plain());
        self.chunk.push(event);
    }
}

impl Reader {
    /// Reads until stopped or until nobody receives any more.
    pub(super) fn run(mut self) {
        let mut state = State::new(&self.drops, self.redactor.clone());
        // Nothing is watched yet, so what is in the rings already may be passed over.
        self.each_sequence(|cpu, stream, next| state.gaps.start(cpu, stream, next));
        let (mut last_record, mut last_count, mut last_clock) =
            (Instant::now(), Instant::now(), Instant::now());
        let mut asked_to_be_woken = false;
        while !self.stop.load(Ordering::Relaxed) {
            self.counters.poll();
            if let Some(log) = &mut self.log {
                log();
            }
            let now = Instant::now();
            let Some(round) = self.round(&mut state, now) else { return };
            if now.duration_since(last_count) >= COUNTERS_EVERY {
                last_count = now;
                self.count_losses(&mut state, now, &round);
            }
            if now.duration_since(last_clock) >= CLOCK_EVERY {
                last_clock = now;
                state.translator.set_clock();
            }
            if !flush(&mut state.chunk, &self.sender, &self.stop) {
                return;
            }
            if round.records > 0 {
                last_record = now;
                asked_to_be_woken = false;
            }
            if asked_to_be_woken {
                self.waker.wait(COUNTERS_EVERY_MS);
            } else if now.duration_since(last_record) > IDLE_AFTER && self.ask_to_be_woken() {
                // Once more round before the sleep: a record written before this was asked wakes nobody. One that was
                // being written at this very moment waits for the next look at the counters.
                asked_to_be_woken = true;
            } else {
                self.waker.wait(POLL_BUSY_MS);
            }
        }
    }

    /// Whether the kernel side will wake this thread at the next record.
    fn ask_to_be_woken(&mut self) -> bool {
        self.asleep.as_mut().is_some_and(|asleep| asleep.set(0, 1, 0).is_ok())
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

    /// Reads both rings until they are empty, or for a while. `None`: stop reading.
    ///
    /// The process ring after the file ring, and before anyone is told of the files: what a process did before its
    /// change, starting for example, was put into the one ring before the change was put into the other.
    fn round(&mut self, state: &mut State, now: Instant) -> Option<Round> {
        let (mut round, counters) = (Round::default(), &*self.counters);
        for _ in 0..ROUND_CHUNKS {
            let files = drain(&mut self.files, state, counters, now, |state, record| {
                state.file(record, counters);
            });
            round.records += files.records;
            round.files_emptied = files.emptied;
            for _ in 0..ROUND_CHUNKS {
                let processes = drain(&mut self.processes, state, counters, now, State::process);
                round.records += processes.records;
                round.processes_emptied = processes.emptied;
                if !flush(&mut state.chunk, &self.sender, &self.stop) {
                    return None;
                }
                if processes.emptied {
                    break;
                }
            }
            state.name_writers(&self.drops);
            if !flush(&mut state.chunk, &self.sender, &self.stop) {
                return None;
            }
            if files.emptied {
                break;
            }
        }
        Some(round)
    }

    /// Tells of every drop the kernel counted since last time, of every gap that stayed open, and of records that the
    /// kernel numbered and that never came.
    fn count_losses(&self, state: &mut State, now: Instant, round: &Round) {
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
            let of_files = stream < Stream::Processes as u8;
            let emptied = if of_files { round.files_emptied } else { round.processes_emptied };
            gap += state.gaps.expect(cpu, stream, next, emptied, now);
        });
        if gap > 0 {
            // It may have been a process's.
            state.processes.forget();
            lose(&mut state.chunk, &self.counters, LossReason::SequenceGap, gap);
        }
        self.counters.set_processes_forgotten(state.processes.forgotten());
    }
}

/// Reads a ring until it is empty, or a chunk of it.
fn drain(
    ring: &mut RingBuf<MapData>,
    state: &mut State,
    counters: &Counters,
    now: Instant,
    mut each: impl FnMut(&mut State, &Record<'_>),
) -> Drained {
    let (mut records, mut bytes, mut emptied) = (0, 0, false);
    while records < CHUNK_MAX {
        let Some(item) = ring.next() else {
            emptied = true;
            break;
        };
        records += 1;
        bytes += item.len();
        if state.faults.drop_one() {
            continue;
        }
        match decode(&item) {
            Ok(record) => {
                let header = &record.header;
                let gap = state.gaps.seen(header.cpu, header.stream, header.sequence, now);
                if gap > 0 {
                    state.processes.forget();
                    lose(&mut state.chunk, counters, LossReason::SequenceGap, gap);
                }
                counters.event(record.op);
                each(state, &record);
            }
            Err(error) => {
                tracing::warn!(%error, "a record of the ring is not one");
                lose(&mut state.chunk, counters, LossReason::Undecodable, 1);
            }
        }
    }
    counters.records(records, bytes);
    Drained { records, emptied }
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
