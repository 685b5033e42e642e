//! Stage 1: who tells us that something changed.
//!
//! A collector turns what the kernel says into [`Event`]s. Events are *hints that something is dirty*, never the
//! truth: the truth is read from disk afterwards. A lost, duplicated, reordered or forged event costs time, never
//! correctness.
//!
//! [`start()`] takes the best rung of a ladder that this machine allows: eBPF tracepoints ([`bpf`]), inotify through
//! the `notify` crate ([`inotify`]), or nothing but a comparison every few seconds ([`scan`]). What is lost on a rung, and how to get
//! to a higher one, is part of the answer.

pub mod bpf;
mod counters;
pub mod device;
pub mod inotify;
pub mod maps;
pub mod mounts;
mod processes;
pub mod scan;
pub mod selftest;
mod start;
mod who;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Serialize;
pub use sfd_common::Op;

pub use counters::{Counters, CountersSnapshot};
pub use device::DeviceMap;
pub use scan::Unwatched;
pub use selftest::probe_hooks;
pub use start::{CollectConfig, CollectError, Collector, Guard, NameSource, Source, below_bpf, start};
pub use who::{Origin, Parent, Writer};

/// Gives memory back that was used and freed. Reading the kernel's type information and a baseline leave tens of MiB behind
/// that the C library would keep for later, and nothing as large comes again before the next restart.
pub(crate) fn give_memory_back() {
    // SAFETY: no preconditions (malloc_trim(3)); it takes the allocator's own locks.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0)
    };
}

/// The kernel's own identity of an inode.
///
/// `dev` is the *superblock's* device in the kernel's encoding (`major << 20 | minor`), which is not `st_dev` on
/// btrfs; `ino` is `i_ino`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct InodeId {
    /// Superblock device, `major << 20 | minor`.
    pub dev: u32,
    /// Inode number.
    pub ino: u64,
}

/// The directory that a name in an event is relative to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Base {
    /// A directory by identity; the name is relative to it.
    Dir(InodeId),
    /// An absolute path, seen from a process whose root directory has this identity.
    Root(InodeId),
    /// The name is already an absolute path of this mount namespace.
    Absolute,
}

/// What an event says has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Contents or attributes of a watched inode.
    Inode {
        /// Which inode.
        id: InodeId,
        /// What was done to it.
        op: Op,
        /// Somebody has it mapped for writing: later stores may be reported by nobody.
        mapped: bool,
        /// Other processes may have changed it since, and will not be named until it was looked at.
        crowded: bool,
    },
    /// A name was created, removed, replaced, or an object was changed through this name.
    Name {
        /// What `name` is relative to.
        base: Base,
        /// A path as the process gave it (may hold `..` and symbolic links).
        name: OsString,
        /// Where the base directory was when the event arrived, if it had to be looked up in `/proc`.
        base_path: Option<PathBuf>,
        /// What was done.
        op: Op,
    },
    /// A process started, replaced its image, changed its name, or ended.
    Process {
        /// Process id.
        pid: u32,
        /// `Exec`, `Fork`, `Exit` or `TaskRename`.
        op: Op,
    },
    /// A kernel module was loaded, freed or asked for.
    Module {
        /// Module name.
        name: String,
        /// `ModuleLoad`, `ModuleFree` or `ModuleRequest`.
        op: Op,
    },
    /// The mount table changed.
    Mounts,
    /// Events were lost: everything under `root` (or everywhere) is unverified until rescanned.
    Lost {
        /// Why, one of the names in `sfd status`.
        reason: LossReason,
        /// How many, at least.
        count: u64,
    },
}

/// One hint from a collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, nanoseconds since the Unix epoch.
    pub at_ns: i64,
    /// What.
    pub change: Change,
    /// Who, if known.
    pub writer: Option<Writer>,
}

/// Why events can be lost. Each is a counter in `sfd status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LossReason {
    /// The file ring had no room for a record.
    FileRingFull,
    /// The process and module ring had no room for a record.
    ProcessRingFull,
    /// The map that holds a syscall's arguments between entry and exit was full.
    InflightFull,
    /// The map of watched inodes was full; inodes beyond it are compared every few seconds.
    WatchedFull,
    /// A sequence number was skipped: a record was lost without the kernel side counting it.
    SequenceGap,
    /// A record could not be decoded.
    Undecodable,
    /// A path could not be read from the process's memory.
    PathUnreadable,
    /// inotify's own queue overflowed.
    InotifyOverflow,
    /// The batch stage had more distinct dirty objects than its bound.
    BatchFull,
    /// The kernel side's buffer for paths was in use on that CPU (an interrupt, a preempted task).
    ScratchBusy,
    /// A path was relative to a directory that could not be found any more.
    BaseUnknown,
}

impl LossReason {
    /// Every reason.
    pub const ALL: [Self; 11] = [
        Self::FileRingFull,
        Self::ProcessRingFull,
        Self::InflightFull,
        Self::WatchedFull,
        Self::SequenceGap,
        Self::Undecodable,
        Self::PathUnreadable,
        Self::InotifyOverflow,
        Self::BatchFull,
        Self::ScratchBusy,
        Self::BaseUnknown,
    ];
}

/// How the agent learns of changes, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// eBPF tracepoint programs.
    Bpf,
    /// inotify through the `notify` crate.
    Inotify,
    /// Nothing reports; everything is compared every few seconds.
    Scan,
}

/// How the eBPF rung learns of names and attributes, cheapest first. The decision is in
/// `docs/decisions/0006-change-times.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NameHooks {
    /// The tracepoints of `inode_set_ctime_current`, since Linux 6.13.
    ChangeTime,
    /// The return of the kernel's functions, where programs may run there.
    Function,
    /// Tracepoints of the system calls; these make every system call on the host slower.
    Syscall,
}

impl NameHooks {
    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            Self::ChangeTime => "change times",
            Self::Function => "kernel functions (fentry)",
            Self::Syscall => "system calls",
        }
    }
}

impl Rung {
    /// What is not seen on this rung, in words for an operator; `None` on the highest.
    pub fn lost(self) -> Option<&'static str> {
        match self {
            Self::Bpf => None,
            Self::Inotify => Some(
                "who made a change; processes and modules; everything beyond fs.inotify.max_user_watches until the \
                 next look, a few seconds later",
            ),
            Self::Scan => Some(
                "who made a change, and whatever was undone between two looks; a change shows some seconds late, 10 s \
                 with 100 000 files",
            ),
        }
    }
}

/// What a hook is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HookStatus {
    /// The kernel's name of it, such as `tp_btf/writeback_dirty_folio` or `syscalls/renameat2`.
    pub name: String,
    /// Whether it is attached.
    pub state: HookState,
    /// What is not seen without it, in words for an operator.
    pub lost_without: String,
}

/// State of one hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HookState {
    /// Attached.
    Attached,
    /// Attached, and a live self-test saw it report.
    Verified,
    /// Attached, but the self-test waited for it in vain.
    Silent,
    /// This kernel does not have it (a kernel without modules, an older kernel).
    Absent,
    /// The kernel refused it; the error says why.
    Failed(String),
}

/// Registers what is watched with whoever reports changes.
///
/// The order of calls closes the gap between listing and watching: a directory is watched, *then* listed; a file is
/// watched, *then* read.
pub trait Watch {
    /// Starts watching an object. `Err` means that it cannot be watched (the map is full, inotify's limit is
    /// reached): the caller then verifies it by rescans only, and the loss is counted by the implementation.
    fn watch(&mut self, id: InodeId, path: &Path, is_dir: bool) -> Result<(), LossReason>;
    /// Stops watching an object that no longer exists.
    fn unwatch(&mut self, id: InodeId);
    /// Asks to be told of the next change again. Called *before* the object is read, so that a change that lands
    /// during the read is reported. `false`: that failed, and the object is not watched any more.
    fn rearm(&mut self, id: InodeId) -> bool;
}
