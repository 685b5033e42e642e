//! Stage 2: many events become one look per path.
//!
//! A [`Batcher`] collects what is dirty and hands it over as a [`Batch`] when the window has passed. It keeps *that*
//! a thing is dirty, who touched it and since when, never its state: the state is read afterwards, so the **last**
//! one wins. It is pure: time comes in as an argument, nothing is read and nothing waits.
//!
//! What happens when it is full: beyond [`ENTRIES_MAX`] distinct dirty objects (or [`NAME_BYTES_MAX`] of names) it
//! forgets them all and reports [`LossReason::BatchFull`], and the agent rescans. Memory stays bounded and nothing is
//! silently missed.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::path::PathBuf;

use foldhash::fast::RandomState;

use crate::collect::{Base, Change, Event, InodeId, LossReason, Op, Writer};

/// Most distinct dirty objects in one batch. A rescan of a root is cheaper than this many single looks.
pub const ENTRIES_MAX: usize = 65_536;
/// Most bytes of names in one batch: `ENTRIES_MAX` names of 256 bytes, the longest a file name can be.
pub const NAME_BYTES_MAX: usize = 16 << 20;
/// Most writers remembered for one change; beyond it, [`Dirty::more_writers`] is set.
pub const WRITERS_MAX: usize = 4;
/// What is known of one dirty object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dirty {
    /// Bit `n` is set when [`Op`] number `n` was reported.
    pub ops: u64,
    /// Who, in order of first appearance, at most [`WRITERS_MAX`].
    pub writers: Vec<Writer>,
    /// There were, or may have been, more writers than are remembered.
    pub more_writers: bool,
    /// Somebody had it mapped for writing.
    pub mapped: bool,
    /// Some of the events named nobody (a kernel thread, a collector that cannot tell).
    pub unknown_writer: bool,
    /// Time of the first event, nanoseconds since the Unix epoch; 0 when no event is behind it (a rescan).
    pub first_ns: i64,
    /// Events folded into this entry.
    pub count: u64,
}

impl Dirty {
    /// Whether `op` was among the reported operations.
    pub fn has(&self, op: Op) -> bool {
        self.ops & (1 << op as u16) != 0
    }

    /// The same reports for a change that they are not about, but that was found because of them: nobody is known to
    /// have made it.
    #[must_use]
    pub fn unnamed(&self) -> Self {
        Self { writers: Vec::new(), more_writers: false, unknown_writer: true, ..self.clone() }
    }

    /// Whether a name was reported to have come, gone or changed hands.
    pub fn is_of_a_name(&self) -> bool {
        const NAMES: [Op; 10] = [
            Op::Create,
            Op::RenameFrom,
            Op::RenameTo,
            Op::Link,
            Op::Symlink,
            Op::Unlink,
            Op::Rmdir,
            Op::Mkdir,
            Op::Mknod,
            Op::Any,
        ];
        NAMES.iter().any(|op| self.has(*op))
    }

    /// Adds one report.
    fn note(&mut self, at_ns: i64, op: Op, writer: Option<Writer>) {
        if self.count == 0 || at_ns < self.first_ns {
            self.first_ns = at_ns;
        }
        self.ops |= 1 << op as u16;
        self.count = self.count.saturating_add(1);
        match writer {
            Some(writer) => self.add_writer(writer),
            None => self.unknown_writer = true,
        }
    }

    fn add_writer(&mut self, writer: Writer) {
        if self.writers.contains(&writer) {
            return;
        }
        if self.writers.len() < WRITERS_MAX {
            self.writers.push(writer);
        } else {
            self.more_writers = true;
        }
    }

    /// Adds everything `other` knows.
    pub fn merge(&mut self, other: &Self) {
        if self.count == 0 || (other.count > 0 && other.first_ns < self.first_ns) {
            self.first_ns = other.first_ns;
        }
        self.ops |= other.ops;
        self.count = self.count.saturating_add(other.count);
        self.more_writers |= other.more_writers;
        self.mapped |= other.mapped;
        self.unknown_writer |= other.unknown_writer;
        for writer in &other.writers {
            self.add_writer(writer.clone());
        }
    }
}

/// A name as an event gave it: not yet resolved to a watched path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NameKey {
    /// What the name is relative to.
    pub base: Base,
    /// The name.
    pub name: OsString,
    /// Where the base was at the time of the event, when it had to be looked up.
    pub base_path: Option<PathBuf>,
}

/// Everything that became dirty in one window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Dirty inodes. Their numbers are the kernel's, so that a hash that nobody can be made to collide in is not needed;
    /// names are anybody's.
    pub inodes: HashMap<InodeId, Dirty, RandomState>,
    /// Dirty names.
    pub names: HashMap<NameKey, Dirty>,
    /// Processes that started, changed or ended.
    pub processes: BTreeMap<u32, Dirty>,
    /// Modules that came or went.
    pub modules: BTreeMap<String, Dirty>,
    /// The mount table changed.
    pub mounts: Option<Dirty>,
    /// Losses to heal by a rescan.
    pub lost: BTreeMap<LossReason, u64>,
    /// Events in it.
    pub events: u64,
    name_bytes: usize,
}

impl Batch {
    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        self.inodes.is_empty()
            && self.names.is_empty()
            && self.processes.is_empty()
            && self.modules.is_empty()
            && self.mounts.is_none()
            && self.lost.is_empty()
    }

    fn entries(&self) -> usize {
        self.inodes.len() + self.names.len() + self.processes.len() + self.modules.len()
    }

    fn forget_entries(&mut self) {
        self.inodes = HashMap::default();
        self.names = HashMap::new();
        self.processes = BTreeMap::new();
        self.modules = BTreeMap::new();
        self.mounts = None;
        self.name_bytes = 0;
    }
}

/// Collects events until their window has passed.
///
/// The window starts with the first event and is not extended by later ones, so a path that never rests is still
/// looked at once a window.
#[derive(Debug)]
pub struct Batcher {
    window_ns: u64,
    entries_max: usize,
    pending: Batch,
    /// Monotonic time of the first event in `pending`.
    opened_ns: Option<u64>,
}

impl Batcher {
    /// A batcher with the given window in nanoseconds.
    pub fn new(window_ns: u64) -> Self {
        Self::with_bound(window_ns, ENTRIES_MAX)
    }

    /// As [`Self::new`], with another bound than [`ENTRIES_MAX`].
    pub fn with_bound(window_ns: u64, entries_max: usize) -> Self {
        Self { window_ns, entries_max, pending: Batch::default(), opened_ns: None }
    }

    /// Takes one event in. `now_ns` is monotonic.
    pub fn push(&mut self, event: Event, now_ns: u64) {
        let Event { at_ns, change, writer } = event;
        let pending = &mut self.pending;
        pending.events += 1;
        match change {
            Change::Inode { id, op, mapped, crowded } => {
                let dirty = pending.inodes.entry(id).or_default();
                dirty.note(at_ns, op, writer);
                dirty.mapped |= mapped;
                dirty.more_writers |= crowded;
            }
            Change::Name { base, name, base_path, op } => {
                let bytes = name.len() + base_path.as_ref().map_or(0, |path| path.as_os_str().len());
                let dirty = pending.names.entry(NameKey { base, name, base_path }).or_insert_with(|| {
                    pending.name_bytes += bytes;
                    Dirty::default()
                });
                dirty.note(at_ns, op, writer);
            }
            Change::Process { pid, op } => pending.processes.entry(pid).or_default().note(at_ns, op, writer),
            Change::Module { name, op } => {
                pending.modules.entry(name).or_default().note(at_ns, op, writer);
            }
            Change::Mounts => pending.mounts.get_or_insert_default().note(at_ns, Op::Mount, writer),
            Change::Lost { reason, count } => *pending.lost.entry(reason).or_default() += count,
        }
        if pending.entries() > self.entries_max || pending.name_bytes > NAME_BYTES_MAX {
            let forgotten = pending.entries() as u64;
            pending.forget_entries();
            *pending.lost.entry(LossReason::BatchFull).or_default() += forgotten;
        }
        self.opened_ns.get_or_insert(now_ns);
    }

    /// Monotonic time at which [`Self::take`] has something, if anything is pending.
    pub fn due_ns(&self) -> Option<u64> {
        Some(self.opened_ns?.saturating_add(self.window_ns))
    }

    /// Hands over everything that is pending, if it is due at `now_ns`.
    pub fn take(&mut self, now_ns: u64) -> Batch {
        if self.due_ns().is_none_or(|due| due > now_ns) {
            return Batch::default();
        }
        self.opened_ns = None;
        std::mem::take(&mut self.pending)
    }
}

#[cfg(test)]
mod tests;
