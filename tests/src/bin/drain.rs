//! How many events a second the agent drains and batches: `drain RATE SECONDS`.
//!
//! A program in the kernel writes records into a real ring, as fast as it is told to (RATE a second; 0 for as fast as
//! it can); the daemon's own reading thread drains, decodes and translates them, and this program puts them into the
//! batch stage as the agent does. It prints one line:
//!
//! ```text
//! WRITTEN DROPPED BATCHED SECONDS PRODUCER_CPU_NS COLLECT_CPU_NS BATCH_CPU_NS
//! ```
//!
//! WRITTEN are the records that the ring had room for; SECONDS last until the last of them was batched.

use std::io::{Error, Result as IoResult};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::time::{ClockId, clock_gettime};
use sfd::agent::now_ns;
use sfd::batch::{Batch, Batcher};
use sfd::collect::Change;
use sfd::collect::bpf::replay::{Replay, Rings};
use sfd_common::{DropReason, HEADER_LEN, Op, RecordHeader, flag};

/// Records to choose from: ten thousand files, of which each is changed now and then.
const TEMPLATES: u32 = 16_384;
const FILES: u64 = 10_000;
/// Room for a record: a header and a name.
const TEMPLATE_LEN: u32 = 192;
/// As the daemon has it.
const RING_BYTES: u32 = 4 << 20;
const WINDOW: Duration = Duration::from_millis(50);
const CHUNKS_MAX: usize = 64;
/// How often the producer writes: more often than the reader looks.
const BURSTS_A_SECOND: u64 = 2000;

fn main() -> Result<()> {
    let args: Vec<u64> = std::env::args().skip(1).map(|arg| arg.parse()).collect::<Result<_, _>>()?;
    let [rate, seconds] = args[..] else { bail!("drain RATE SECONDS") };
    let maps = Maps::new().context("eBPF maps")?;
    let program = maps.load().context("the program that writes records")?;
    let share = |fd: &OwnedFd| fd.try_clone();
    let rings =
        Rings { files: share(&maps.ring)?, processes: share(&maps.other_ring)?, drops: share(&maps.drops)? };
    let mut replay = Replay::start(rings, CHUNKS_MAX)?;
    let producer = std::thread::Builder::new()
        .name("producer".to_owned())
        .spawn(move || produce(&program, rate, Duration::from_secs(seconds)))?;
    let (started, started_cpu_ns) = (Instant::now(), clock_ns(ClockId::ThreadCPUTime));
    // The worker, which does away with batches in its own time.
    let (orders, worker) = std::sync::mpsc::channel();
    std::thread::spawn(move || worker.into_iter().for_each(drop::<Batch>));
    let mut stage = Batcher::new(u64::try_from(WINDOW.as_nanos())?);
    let (mut received, mut batched, mut written, mut last) = (0, 0, None, Instant::now());
    let mut producer = Some(producer);
    let mut producer_cpu_ns = 0;
    loop {
        match replay.events.try_recv() {
            Ok(chunk) => {
                let now = monotonic_ns();
                received +=
                    chunk.iter().filter(|event| !matches!(event.change, Change::Lost { .. })).count() as u64;
                for event in chunk {
                    stage.push(event, now);
                }
                last = Instant::now();
                let batch = stage.take(monotonic_ns());
                batched += batch.events;
                if batch.events > 0 {
                    orders.send(batch)?;
                }
            }
            Err(_) => std::thread::sleep(Duration::from_micros(200)),
        }
        if producer.as_ref().is_some_and(std::thread::JoinHandle::is_finished) {
            let ended = producer.take().context("it has ended")?.join();
            producer_cpu_ns = ended.map_err(|_| anyhow::anyhow!("the producer panicked"))??;
            written = Some(maps.written()?);
        }
        if written.is_some_and(|written| received >= written) {
            break;
        }
    }
    batched += stage.take(u64::MAX).events;
    let written = written.context("the producer has ended")?;
    let dropped: u64 = maps.dropped()?;
    let collect_ns = thread_cpu_ns("sfd-collect")?;
    let own_ns = clock_ns(ClockId::ThreadCPUTime) - started_cpu_ns;
    println!(
        "{written} {dropped} {batched} {} {producer_cpu_ns} {collect_ns} {own_ns}",
        last.duration_since(started).as_secs_f64()
    );
    ensure!(batched >= written, "{batched} events batched of {written} records");
    Ok(())
}

fn clock_ns(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

fn monotonic_ns() -> u64 {
    clock_ns(ClockId::Monotonic)
}

/// Processor time of a thread of this process, from `schedstat` (nanoseconds on a CPU).
fn thread_cpu_ns(name: &str) -> Result<u64> {
    for task in std::fs::read_dir("/proc/self/task")?.flatten() {
        if std::fs::read_to_string(task.path().join("comm"))?.trim() == name {
            let text = std::fs::read_to_string(task.path().join("schedstat"))?;
            return Ok(text.split(' ').next().context("schedstat")?.parse()?);
        }
    }
    bail!("no thread {name:?}")
}

/// Runs the program in bursts; gives the processor time it took.
fn produce(program: &OwnedFd, rate: u64, time: Duration) -> Result<u64> {
    let mut cpu = rustix::thread::CpuSet::new();
    // Records say which CPU wrote them, and each CPU numbers its own.
    cpu.set(0);
    rustix::thread::sched_setaffinity(None, &cpu).context("CPU 0")?;
    let started = Instant::now();
    let mut done = 0;
    while started.elapsed() < time {
        let burst = if rate == 0 {
            10_000
        } else {
            (started.elapsed().as_nanos() as u64).saturating_mul(rate) / 1_000_000_000 - done
        };
        if burst > 0 {
            run(program, u32::try_from(burst)?).context("BPF_PROG_TEST_RUN")?;
            done += burst;
        }
        if rate > 0 {
            std::thread::sleep(Duration::from_nanos(1_000_000_000 / BURSTS_A_SECOND));
        }
    }
    Ok(clock_ns(ClockId::ThreadCPUTime))
}

/// Every third record is a name in a watched directory, the others are inodes.
fn template(n: u32) -> Vec<u8> {
    let file = u64::from(n).wrapping_mul(0x9E37_79B9_7F4A_7C15) % FILES;
    let mut header = RecordHeader {
        op: Op::InodeDirty as u16,
        kind: 1,
        boot_ns: u64::try_from(now_ns()).unwrap_or(0),
        start_ns: 1 + file % 2,
        ino: 1000 + file,
        dev: 27,
        exe_ino: 77,
        exe_dev: 2,
        tgid: 4000 + (file % 2) as u32,
        pid: 4000 + (file % 2) as u32,
        uid: 1000,
        loginuid: u32::MAX,
        cgroup: 4242,
        comm: *b"postgres\0\0\0\0\0\0\0\0",
        parent: 1,
        ..RecordHeader::default()
    };
    let mut name = Vec::new();
    if n.is_multiple_of(3) {
        name = format!("segment-{file}").into_bytes();
        header.kind = 2;
        header.op = Op::RenameTo as u16;
        header.flags = flag::BASE_WATCHED;
        header.ino = 10 + file % 100;
    }
    header.total_len = (HEADER_LEN + name.len()) as u32;
    let mut bytes = header.to_bytes().to_vec();
    bytes.append(&mut name);
    bytes.resize(TEMPLATE_LEN as usize, 0);
    bytes
}

// What follows is bpf(2): uapi/linux/bpf.h, Linux 5.8.

const MAP_CREATE: i32 = 0;
const MAP_LOOKUP: i32 = 1;
const MAP_UPDATE: i32 = 2;
const PROG_LOAD: i32 = 5;
const PROG_TEST_RUN: i32 = 10;
const TYPE_ARRAY: u32 = 2;
const TYPE_PERCPU_ARRAY: u32 = 6;
const TYPE_RINGBUF: u32 = 27;
const PROG_TYPE_SCHED_CLS: u32 = 3;

/// Calls bpf(2) with an attribute of these 32-bit words.
fn bpf(command: i32, words: &mut [u32]) -> IoResult<RawFd> {
    // SAFETY: the kernel reads, and for a test run writes, within the size that it is told.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, words.as_mut_ptr(), size_of_val(words)) };
    if result < 0 { Err(Error::last_os_error()) } else { Ok(result as RawFd) }
}

/// The two words of an address.
fn address<T>(of: *const T) -> [u32; 2] {
    let address = of as u64;
    [address as u32, (address >> 32) as u32]
}

struct Maps {
    ring: OwnedFd,
    other_ring: OwnedFd,
    drops: OwnedFd,
    /// Records written, which is the next record's number.
    counter: OwnedFd,
    templates: OwnedFd,
}

impl Maps {
    fn new() -> Result<Self> {
        let make = |kind: u32, key: u32, value: u32, entries: u32| -> IoResult<OwnedFd> {
            let fd = bpf(MAP_CREATE, &mut [kind, key, value, entries, 0])?;
            // SAFETY: just made, owned by nobody else.
            Ok(unsafe { OwnedFd::from_raw_fd(fd) })
        };
        let maps = Self {
            ring: make(TYPE_RINGBUF, 0, 0, RING_BYTES)?,
            other_ring: make(TYPE_RINGBUF, 0, 0, 4096)?,
            drops: make(TYPE_PERCPU_ARRAY, 4, 8, DropReason::ALL.len() as u32)?,
            counter: make(TYPE_ARRAY, 4, 8, 1)?,
            templates: make(TYPE_ARRAY, 4, TEMPLATE_LEN, TEMPLATES)?,
        };
        for n in 0..TEMPLATES {
            let bytes = template(n);
            let (key, value) = (address(&raw const n), address(bytes.as_ptr()));
            let fd = maps.templates.as_raw_fd().cast_unsigned();
            bpf(MAP_UPDATE, &mut [fd, 0, key[0], key[1], value[0], value[1], 0, 0])?;
        }
        Ok(maps)
    }

    fn look_up(map: &OwnedFd, values: &mut [u64]) -> Result<()> {
        let (key, value) = (0_u32, address(values.as_mut_ptr()));
        let key = address(&raw const key);
        bpf(MAP_LOOKUP, &mut [map.as_raw_fd().cast_unsigned(), 0, key[0], key[1], value[0], value[1], 0, 0])?;
        Ok(())
    }

    /// Records that were written.
    fn written(&self) -> Result<u64> {
        let mut value = [0];
        Self::look_up(&self.counter, &mut value)?;
        Ok(value[0])
    }

    /// Records that the ring had no room for, on all CPUs.
    fn dropped(&self) -> Result<u64> {
        // The kernel fills one value for each possible CPU; 4096 is more than any kernel is built for here.
        let mut values = vec![0; 4096];
        Self::look_up(&self.drops, &mut values)?;
        Ok(values.iter().sum())
    }

    /// The program: takes a template, numbers it, writes it; counts a drop if there was no room.
    ///
    /// r7 is the record's number, r8 the record, r9 where the number is kept.
    fn program(&self) -> Vec<u64> {
        let exit: &[u64] = &[op(0xb7, 0, 0, 0, 0), op(0x95, 0, 0, 0, 0)];
        // The value at the key on the stack, in r0; the end if there is none.
        let look_up: &[u64] = &[
            op(0xbf, 2, 10, 0, 0),
            op(0x07, 2, 0, 0, -4),
            op(0x85, 0, 0, 0, 1),
            op(0x55, 0, 0, 2, 0),
            op(0xb7, 0, 0, 0, 0),
            op(0x95, 0, 0, 0, 0),
        ];
        let parts: &[&[u64]] = &[
            &[op(0x62, 10, 0, -4, 0)],
            &map(&self.counter),
            look_up,
            &[op(0xbf, 9, 0, 0, 0), op(0x79, 7, 9, 0, 0)],
            // key = number % TEMPLATES
            &[op(0xbf, 1, 7, 0, 0), op(0x57, 1, 0, 0, TEMPLATES.cast_signed() - 1), op(0x63, 10, 1, -4, 0)],
            &map(&self.templates),
            look_up,
            // record.sequence = number
            &[op(0xbf, 8, 0, 0, 0), op(0x7b, 8, 7, 8, 0)],
            // Wake the reader when a quarter is full: bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA), then
            // BPF_RB_NO_WAKEUP or BPF_RB_FORCE_WAKEUP in r4, as the daemon's own programs do.
            &map(&self.ring),
            &[op(0xb7, 2, 0, 0, 0), op(0x85, 0, 0, 0, 134), op(0xb7, 4, 0, 0, 1)],
            &[op(0xb5, 0, 0, 1, RING_BYTES.cast_signed() / 4), op(0xb7, 4, 0, 0, 2)],
            // r3 = record.total_len, bounded for the verifier
            &[op(0x61, 3, 8, 0, 0), op(0xb5, 3, 0, 2, TEMPLATE_LEN.cast_signed())],
            exit,
            &map(&self.ring),
            &[op(0xbf, 2, 8, 0, 0), op(0x85, 0, 0, 0, 130)],
            // Written: number + 1
            &[op(0x55, 0, 0, 4, 0), op(0x07, 7, 0, 0, 1), op(0x7b, 9, 7, 0, 0)],
            exit,
            // Else drops[FileRing] + 1
            &[op(0x62, 10, 0, -4, DropReason::FileRing as i32)],
            &map(&self.drops),
            look_up,
            &[op(0x79, 1, 0, 0, 0), op(0x07, 1, 0, 0, 1), op(0x7b, 0, 1, 0, 0)],
            exit,
        ];
        parts.concat()
    }

    /// Loads it.
    fn load(&self) -> Result<OwnedFd> {
        let code = self.program();
        let mut log = vec![0_u8; 1 << 16];
        let (text, licence, buffer) =
            (address(code.as_ptr()), address(c"Dual MIT/GPL".as_ptr()), address(log.as_mut_ptr()));
        let loaded = bpf(
            PROG_LOAD,
            &mut [
                PROG_TYPE_SCHED_CLS,
                code.len() as u32,
                text[0],
                text[1],
                licence[0],
                licence[1],
                1,
                log.len() as u32,
                buffer[0],
                buffer[1],
                0,
                0,
            ],
        );
        let said = || String::from_utf8_lossy(&log).trim_end_matches('\0').to_owned();
        let fd = loaded.with_context(said)?;
        // SAFETY: just made, owned by nobody else.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

/// One instruction: `struct bpf_insn`.
const fn op(code: u8, to: u8, from: u8, offset: i16, value: i32) -> u64 {
    code as u64
        | ((to | from << 4) as u64) << 8
        | (offset.cast_unsigned() as u64) << 16
        | (value.cast_unsigned() as u64) << 32
}

/// The two instructions that put a map into r1 (`BPF_PSEUDO_MAP_FD`).
fn map(fd: &OwnedFd) -> [u64; 2] {
    [op(0x18, 1, 1, 0, fd.as_raw_fd()), 0]
}

/// Runs the program `times` times, in the kernel, over a packet that it does not look at.
fn run(program: &OwnedFd, times: u32) -> IoResult<()> {
    let packet = [0_u8; 64];
    let data = address(packet.as_ptr());
    // prog_fd, retval, data_size_in, data_size_out, data_in, data_out, repeat, duration
    let fd = program.as_raw_fd().cast_unsigned();
    bpf(PROG_TEST_RUN, &mut [fd, 0, packet.len() as u32, 0, data[0], data[1], 0, 0, times, 0]).map(|_| ())
}
