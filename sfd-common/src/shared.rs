//! Map names, keys, values and the numbers both sides use.

/// Names of the maps, globals and programs of the eBPF object.
pub mod map {
    /// Hash: [`super::InodeKey`] to [`super::WatchedValue`].
    pub const WATCHED: &str = "WATCHED";
    /// Array of one: bits of the devices of watched inodes ([`super::device_bit`]).
    pub const DEVICES: &str = "DEVICES";
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
    /// Array of one: not 0 while the reader sleeps and the next record is to wake it (`u32`).
    pub const ASLEEP: &str = "ASLEEP";
    /// Global: [`crate::KernelOffsets`].
    pub const OFFSETS: &str = "OFFSETS";
    /// Global: bytes waiting in the file ring above which the reader is woken (`u64`).
    pub const FILES_WAKE_BYTES: &str = "FILES_WAKE_BYTES";
    /// Global: the same for the process ring (`u64`).
    pub const PROCESSES_WAKE_BYTES: &str = "PROCESSES_WAKE_BYTES";
    /// Global: [`crate::FunctionDescriptor`] for each slot of the fentry rung.
    pub const FUNCTIONS: &str = "FUNCTIONS";
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

/// The bit of a device in the map of watched devices. Several may share one: a bit says "perhaps", none says "no".
#[must_use]
pub const fn device_bit(dev: u32) -> u64 {
    // Minor numbers of anonymous devices and of loop devices count up, so neighbours get different bits.
    1 << (dev & 63)
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
    /// Not 0 once a change was reported, until the agent clears it: one record for any number of changes by one
    /// process. See [`Mark`].
    pub dirty: u32,
}

/// What [`WatchedValue::dirty`] holds: whose change was reported last, and how many reports there were.
///
/// Another process's change is reported too, so that the set of writers is known, but only so often: two processes that
/// write in turns must not make a record for every write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(pub u32);

impl Mark {
    /// Bits of a process id: `PID_MAX_LIMIT` is 2^22.
    const PID: u32 = (1 << 22) - 1;
    const ONE: u32 = 1 << 22;
    /// Most reports of one object between two looks at it.
    pub const REPORTS_MAX: u32 = 8;

    /// How many reports there were.
    #[must_use]
    pub const fn reports(self) -> u32 {
        self.0 >> 22
    }

    /// Whether a change by a process has to be reported.
    #[must_use]
    pub const fn wants(self, tgid: u32) -> bool {
        self.0 == 0 || (self.0 & Self::PID != tgid & Self::PID && self.reports() < Self::REPORTS_MAX)
    }

    /// The mark after that report.
    #[must_use]
    pub const fn with(self, tgid: u32) -> Self {
        Self(((self.reports() + 1) * Self::ONE) | (tgid & Self::PID))
    }
}

impl WatchedValue {
    /// Report every change, not only the first since the mark was cleared: for the self-test, in which several
    /// hooks see the same change.
    pub const EVERY: u32 = 1;
    /// A value that reports the next change.
    pub const CLEAN: Self = Self { flags: 0, dirty: 0 };
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
    /// `tp_btf/iomap_iter`: contents written through iomap (xfs; O_DIRECT on ext4 and btrfs), since 5.15.
    Iomap = 0x800e,
    /// `tp_btf/mm_filemap_map_pages`: pages of a file that somebody may write through a mapping were mapped.
    MapPages = 0x800f,
    /// The first of the functions of the fentry rung; the others follow in the order of `functions.rs` of the agent.
    FirstFunction = 0x8100,
}

#[cfg(test)]
mod tests {
    use super::Mark;

    #[test]
    fn a_mark_wants_every_other_process_a_few_times() {
        let clean = Mark(0);
        assert!(clean.wants(0) && clean.wants(7));
        let seven = clean.with(7);
        assert!(!seven.wants(7) && seven.wants(8) && seven.wants(0));
        let mut mark = clean;
        for turn in 0..Mark::REPORTS_MAX {
            assert!(mark.wants(turn % 2 + 1), "{turn}");
            mark = mark.with(turn % 2 + 1);
            assert_eq!(mark.reports(), turn + 1);
        }
        assert!(!mark.wants(1) && !mark.wants(2) && !mark.wants(3));
        // The idle task's number is 0; a mark of it is one all the same.
        assert_ne!(clean.with(0), clean);
        assert!(!clean.with(u32::MAX).wants(u32::MAX));
    }
}
