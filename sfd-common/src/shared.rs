//! Map names, keys, values and the numbers both sides use.

/// Names of the maps, globals and programs of the eBPF object.
pub mod map {
    /// Hash: [`super::InodeKey`] to [`super::WatchedValue`].
    pub const WATCHED: &str = "WATCHED";
    /// Hash: process id (tgid) whose changes are not reported.
    pub const EXCLUDED: &str = "EXCLUDED";
    /// Array: [`crate::SyscallDescriptor`] by system call number.
    pub const SYSCALLS: &str = "SYSCALLS";
    /// Ring of file events.
    pub const FILES: &str = "FILES";
    /// Ring of process and module events.
    pub const PROCESSES: &str = "PROCESSES";
    /// Per-CPU array: counts by [`super::DropReason`].
    pub const DROPS: &str = "DROPS";
    /// Per-CPU array: next sequence number by [`super::Stream`].
    pub const SEQUENCES: &str = "SEQUENCES";
    /// Global: [`crate::KernelOffsets`].
    pub const OFFSETS: &str = "OFFSETS";
    /// Global: bytes waiting in the file ring above which the reader is woken (`u64`).
    pub const FILES_WAKE_BYTES: &str = "FILES_WAKE_BYTES";
    /// Global: [`crate::FunctionDescriptor`] for each slot of the fentry rung.
    pub const FUNCTIONS: &str = "FUNCTIONS";
    /// Global: the same for the process ring (`u64`).
    pub const PROCESSES_WAKE_BYTES: &str = "PROCESSES_WAKE_BYTES";
}

/// Key of the map of watched inodes: the kernel's identity of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct InodeKey {
    /// `i_ino`.
    pub ino: u64,
    /// `s_dev` of the superblock, `major << 20 | minor`.
    pub dev: u32,
    /// Zero: hash maps compare all bytes of a key.
    pub padding: u32,
}

impl InodeKey {
    /// The key of an inode.
    #[must_use]
    pub const fn new(dev: u32, ino: u64) -> Self {
        Self { ino, dev, padding: 0 }
    }
}

/// Value of the map of watched inodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct WatchedValue {
    /// Bits: [`Self::EVERY`].
    pub flags: u32,
    /// Records sent since the agent last cleared it: one for any number of changes by one process, and at most
    /// [`Self::RECORDS_MAX`] when several take turns.
    pub dirty: u32,
    /// Process that the last record named.
    pub last: u32,
    /// Zero.
    pub padding: u32,
}

impl WatchedValue {
    /// Report every change, not only the first since the mark was cleared: for the self-test, in which several
    /// hooks see the same change.
    pub const EVERY: u32 = 1;
    /// Records of one object between two looks of the agent, when its writers alternate: as many writers as a change
    /// remembers. Further ones are silent, like a second change by the same process.
    pub const RECORDS_MAX: u32 = 4;
    /// A value that reports the next change.
    pub const CLEAN: Self = Self { flags: 0, dirty: 0, last: 0, padding: 0 };
}

/// Why the kernel side could not report something. Index of the map of drop counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum DropReason {
    /// No room in the file ring.
    FileRing = 0,
    /// No room in the process ring.
    ProcessRing = 1,
    /// No room in the map of calls between entry and exit, or of io_uring requests.
    Inflight = 2,
    /// A path could not be read from the process's memory.
    PathUnreadable = 3,
    /// The CPU's buffer for paths was in use (an interrupt or a preempted task).
    ScratchBusy = 4,
}

impl DropReason {
    /// Every reason, in the order of its index.
    pub const ALL: [Self; 5] =
        [Self::FileRing, Self::ProcessRing, Self::Inflight, Self::PathUnreadable, Self::ScratchBusy];
}

/// A numbered sequence of records on one CPU. Each has one writer at a time, so that numbers need no atomics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stream {
    /// Inode records: content hooks, and calls on descriptors.
    Inodes = 0,
    /// Path records of system calls.
    Paths = 1,
    /// Path records of io_uring.
    Uring = 2,
    /// Process records.
    Processes = 3,
    /// Module records.
    Modules = 4,
}

/// How many streams there are on each CPU.
pub const STREAMS: usize = 5;

/// A hook that is no system call. Its number has the high bit set, to share a field with system call numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum Hook {
    /// `tp_btf/writeback_mark_inode_dirty`.
    InodeDirty = 0x8000,
    /// `tp_btf/writeback_dirty_folio` (`writeback_dirty_page` before 5.17).
    FolioDirty = 0x8001,
    /// `tp_btf/io_uring_submit_req`: keeps the names that completion no longer has.
    UringSubmit = 0x8002,
    /// `tp_btf/io_uring_complete`.
    UringComplete = 0x8003,
    /// `tp_btf/sched_process_exec`.
    Exec = 0x8004,
    /// `tp_btf/sched_process_fork`.
    Fork = 0x8005,
    /// `tp_btf/sched_process_exit`.
    Exit = 0x8006,
    /// `tp_btf/task_rename`.
    TaskRename = 0x8007,
    /// `tp_btf/module_load`.
    ModuleLoad = 0x8008,
    /// `tp_btf/module_free`.
    ModuleFree = 0x8009,
    /// `tp_btf/module_request`.
    ModuleRequest = 0x800a,
    /// `tp_btf/ctime_ns_xchg`: a change time was set, on file systems with multigrain time stamps (since 6.13).
    ChangeTime = 0x800b,
    /// `tp_btf/inode_set_ctime_to_ts`: a change time was set, on all others, and where two inodes get the same one.
    ChangeTimeCopied = 0x800c,
    /// `tp_btf/ctime_xchg_skip`: a change time was to be set and is that already.
    ChangeTimeSame = 0x800d,
    /// `tp_btf/iomap_iter`: contents written through iomap (xfs; O_DIRECT on ext4 and btrfs), since 5.15.
    Iomap = 0x800e,
    /// `tp_btf/mm_filemap_map_pages`: pages of a file that somebody may write through a mapping were mapped.
    MapPages = 0x800f,
    /// The first of the functions of the fentry rung; the others follow in the order of `fentry.rs` of the agent.
    FirstFunction = 0x8100,
}
