//! Writing records into the rings.
//!
//! Records of fixed length are reserved and filled in place. Records with bytes after the header are built in a
//! per-CPU buffer and copied, because a reservation needs a length the verifier knows. Either way the sequence
//! number is taken only when there is room, so that a counted drop leaves no gap.

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::generated::{
        bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_get_current_uid_gid,
        bpf_get_smp_processor_id, bpf_ktime_get_boot_ns, bpf_probe_read_kernel, bpf_ringbuf_output,
        bpf_ringbuf_query, bpf_ringbuf_reserve, bpf_ringbuf_submit,
    },
    maps::RingBuf,
};
use sfd_common::{COMM_LEN, DropReason, HEADER_LEN, Kind, Mark, RecordHeader, Stream, WatchedValue, flag};

use crate::{
    filter::{self, count_drop, excluded},
    kernel::{self, Address, Object, follow, offset, read},
    maps::{ASLEEP, FILES, PROCESSES, SCRATCH, SCRATCH_LEN, SEQUENCES, Scratch, WATCHED},
};

/// Bytes waiting in the file ring above which the reader is woken; the agent sets a quarter of the ring.
#[unsafe(no_mangle)]
static FILES_WAKE_BYTES: u64 = 1 << 20;
/// The same for the process ring.
#[unsafe(no_mangle)]
static PROCESSES_WAKE_BYTES: u64 = 1 << 18;

/// Which ring a stream goes to.
#[inline(always)]
fn ring(stream: Stream) -> (*mut core::ffi::c_void, u64, DropReason) {
    let (map, wake, reason): (&'static RingBuf, _, _) = match stream {
        Stream::Inodes | Stream::Paths | Stream::Uring => {
            (&FILES, &raw const FILES_WAKE_BYTES, DropReason::FileRing)
        }
        Stream::Processes | Stream::Modules => {
            (&PROCESSES, &raw const PROCESSES_WAKE_BYTES, DropReason::ProcessRing)
        }
    };
    // SAFETY: the address of an initialised static; volatile because the agent sets it.
    let wake = unsafe { core::ptr::read_volatile(wake) };
    (core::ptr::from_ref(map).cast_mut().cast(), wake, reason)
}

/// Bytes above the mark within which a record wakes the reader: a few of the longest records. Beyond it the reader is
/// awake; if it is not (two CPUs passed the band at once), it looks by itself within milliseconds.
const WAKE_BAND: u64 = 16 << 10;

/// While records come the reader polls, and only a ring that becomes a quarter full wakes it (a wake-up costs the writer a
/// microsecond). When none come it sleeps, and the first one wakes it.
#[inline(always)]
fn wake_flag(map: *mut core::ffi::c_void, wake: u64) -> u64 {
    if let Some(asleep) = ASLEEP.get_ptr_mut(0) {
        // SAFETY: a live map value. Two CPUs that both find it set wake the reader twice, which costs time only.
        unsafe {
            if core::ptr::read_volatile(asleep) != 0 {
                core::ptr::write_volatile(asleep, 0);
                return u64::from(BPF_RB_FORCE_WAKEUP);
            }
        }
    }
    // SAFETY: `map` is a ring buffer map.
    let waiting = unsafe { bpf_ringbuf_query(map, u64::from(BPF_RB_AVAIL_DATA)) };
    let passing = waiting > wake && waiting <= wake + WAKE_BAND;
    u64::from(if passing { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP })
}

/// What the caller knows of a record.
#[derive(Clone, Copy)]
pub(crate) struct What {
    pub(crate) kind: Kind,
    pub(crate) op: u16,
    pub(crate) hook: u16,
    pub(crate) stream: Stream,
    pub(crate) flags: u32,
    pub(crate) aux: u32,
    pub(crate) object: Object,
}

/// Fills every byte of a header. `task` is whom the record names: the running task, or the child of a fork.
///
/// # Safety
/// `header` points to writable memory of a header's size, aligned to 8.
#[inline(always)]
unsafe fn fill(header: *mut RecordHeader, what: &What, task: Address, total_len: u32) {
    let exe = follow(task, offset!(task_mm))
        .and_then(|mm| follow(mm, offset!(mm_exe_file)))
        .and_then(|file| follow(file, offset!(file_inode)))
        .and_then(Object::of_inode)
        .unwrap_or(Object::NONE);
    let parent =
        follow(task, offset!(task_parent)).and_then(|parent| read(parent, offset!(task_tgid))).unwrap_or(0);
    let kernel_thread = if kernel::is_kernel_thread(task) { flag::KERNEL_THREAD } else { 0 };
    // SAFETY: by this function's contract; helpers check what they read.
    unsafe {
        (*header).total_len = total_len;
        (*header).kind = what.kind as u16;
        (*header).op = what.op;
        (*header).sequence = 0;
        (*header).boot_ns = bpf_ktime_get_boot_ns();
        (*header).start_ns = kernel::start_ns(task);
        (*header).cgroup = bpf_get_current_cgroup_id();
        (*header).ino = what.object.ino;
        (*header).dev = what.object.dev;
        (*header).generation = what.object.generation;
        (*header).exe_ino = exe.ino;
        (*header).exe_dev = exe.dev;
        let ids = bpf_get_current_pid_tgid();
        (*header).tgid = read(task, offset!(task_tgid)).unwrap_or((ids >> 32) as u32);
        (*header).pid = read(task, offset!(task_pid)).unwrap_or(ids as u32);
        (*header).uid = bpf_get_current_uid_gid() as u32;
        (*header).loginuid = read(task, offset!(task_loginuid)).unwrap_or(u32::MAX);
        (*header).flags = what.flags | kernel_thread;
        (*header).aux = what.aux;
        (*header).cpu = bpf_get_smp_processor_id() as u16;
        (*header).hook = what.hook;
        (*header).stream = what.stream as u8;
        (*header).padding = [0; 3];
        (*header).parent = parent;
        // The process's name, as `tgid` is its number: an io_uring worker or a thread has another. The helper zeroes
        // the destination when it fails.
        let comm =
            follow(task, offset!(task_leader)).unwrap_or(task).wrapping_add(u64::from(offset!(task_comm)));
        bpf_probe_read_kernel((&raw mut (*header).comm).cast(), COMM_LEN as u32, comm as *const _);
    }
}

/// Sends a record that is only a header. `false` when the ring had no room; the loss is then counted.
#[inline(always)]
pub(crate) fn send(what: &What, task: Address) -> bool {
    let (map, wake, reason) = ring(what.stream);
    // SAFETY: `map` is a ring buffer map; the size is a constant.
    let header = unsafe { bpf_ringbuf_reserve(map, HEADER_LEN as u64, 0) }.cast::<RecordHeader>();
    if header.is_null() {
        count_drop(reason);
        return false;
    }
    // SAFETY: a reservation of that size, aligned to 8 by the kernel, submitted exactly once below.
    unsafe {
        fill(header, what, task, HEADER_LEN as u32);
        if let Some(next) = SEQUENCES.get_ptr_mut(what.stream as u32) {
            (*header).sequence = *next;
            *next = (*next).wrapping_add(1);
        }
        bpf_ringbuf_submit(header.cast(), wake_flag(map, wake));
    }
    true
}

/// Reports a change of an inode, if it is watched, the change is not SFD's own, and this process's change was not
/// reported since the agent last cleared the mark ([`Mark`] says how often at most). Kernel threads add nothing to what is
/// marked: they name no writer. `inode` is the inode's address, 0 when it is not at hand.
///
/// The mark is set only after the record is in the ring: when the ring is full the next change tries again.
#[inline(always)]
pub(crate) fn mark_dirty(object: Object, inode: Address, op: u16, hook: u16, flags: u32) {
    if !filter::on_watched_device(object) {
        return;
    }
    let Some(value) = WATCHED.get_ptr_mut(object.key()) else { return };
    // SAFETY: a live map value; the agent replaces whole values, so a lost store only repeats a record.
    let (dirty, every) = unsafe { (core::ptr::read_volatile(&raw const (*value).dirty), (*value).flags) };
    let (mark, tgid) = (Mark(dirty), kernel::current_tgid());
    if every & WatchedValue::EVERY == 0 && !mark.wants(tgid) {
        return;
    }
    let task = kernel::current();
    if excluded() || (every & WatchedValue::EVERY == 0 && dirty != 0 && kernel::is_kernel_thread(task)) {
        return;
    }
    let next = mark.with(tgid);
    let last = if next.reports() >= Mark::REPORTS_MAX { flag::LAST_WRITER } else { 0 };
    let flags = flags | last | kernel::mapped_flag(inode);
    let what = What { kind: Kind::Object, op, hook, stream: Stream::Inodes, flags, aux: 0, object };
    if send(&what, task) {
        // SAFETY: as above.
        unsafe { core::ptr::write_volatile(&raw mut (*value).dirty, next.0) };
    }
}

/// This CPU's buffer of a stream, until [`Claim::release`].
pub(crate) struct Claim(*mut Scratch);

impl Claim {
    /// Takes the buffer; counted when it is in use (an interrupt, or a preempted task on newer kernels).
    #[inline(always)]
    pub(crate) fn take(stream: Stream) -> Option<Self> {
        let claim = Self::take_if_free(stream);
        if claim.is_none() {
            count_drop(DropReason::ScratchBusy);
        }
        claim
    }

    /// Takes the buffer if it is free; for those who can report without it.
    #[inline(always)]
    pub(crate) fn take_if_free(stream: Stream) -> Option<Self> {
        let scratch = SCRATCH.get_ptr_mut(stream as u32)?;
        // SAFETY: a pointer to this CPU's value.
        unsafe {
            if core::ptr::read_volatile(&raw const (*scratch).busy) != 0 {
                return None;
            }
            core::ptr::write_volatile(&raw mut (*scratch).busy, 1);
        }
        Some(Self(scratch))
    }

    /// Gives the buffer back.
    #[inline(always)]
    pub(crate) fn release(self) {
        // SAFETY: a pointer to this CPU's value; programs do not migrate.
        unsafe { core::ptr::write_volatile(&raw mut (*self.0).busy, 0) };
    }

    /// The buffer's memory.
    #[inline(always)]
    pub(crate) fn bytes(&self) -> *mut u8 {
        // SAFETY: a place inside the value.
        unsafe { (&raw mut (*self.0).bytes).cast() }
    }

    /// Where the bytes after the header go.
    #[inline(always)]
    pub(crate) fn payload(&self) -> *mut u8 {
        // SAFETY: inside the buffer, which is larger than a header.
        unsafe { self.bytes().add(HEADER_LEN) }
    }

    /// Sends the record whose `len` payload bytes are already in the buffer.
    #[inline(always)]
    pub(crate) fn send(&self, what: &What, task: Address, len: u32) {
        let (map, wake, reason) = ring(what.stream);
        let header = self.bytes().cast::<RecordHeader>();
        // The mask tells the verifier what `len` already guarantees: never past the buffer.
        let total = (u64::from(len) + HEADER_LEN as u64) & (SCRATCH_LEN as u64 - 1);
        // SAFETY: the buffer is larger than a header and aligned to 8; `total` is at most its length.
        unsafe {
            fill(header, what, task, total as u32);
            let Some(next) = SEQUENCES.get_ptr_mut(what.stream as u32) else { return };
            (*header).sequence = *next;
            if bpf_ringbuf_output(map, header.cast(), total, wake_flag(map, wake)) == 0 {
                *next = (*next).wrapping_add(1);
            } else {
                count_drop(reason);
            }
        }
    }
}
