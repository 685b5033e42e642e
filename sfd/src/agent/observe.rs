//! Looking at one artifact, and drafting what has changed about it.

use std::io;
use std::path::Path;
use std::time::Instant;

use tracing::{debug, warn};

use super::clock::thread_cpu;
use super::describe::{describe_change, is_noise};
use super::labels::keep_words;
use super::later::SOON;
use super::reconcile::{Tasks, Trust};
use super::root::{EVENTS_LOST, RESTARTED, Root};
use super::survey::row_of;
use super::{RootKind, clock, latecomers};
use crate::artifact::inventory::{inode_of, is_dir};
use crate::artifact::look::{CHANGED_WHILE_READ, Glance, Known, Look, complaint};
use crate::artifact::{Artifact, FileType, Meta};
use crate::batch::Dirty;
use crate::brick::{ArtifactId, Row, Verb};
use crate::collect::{InodeId, Watch};
use crate::fold::{Block, k_for_len};

/// Why a file is not verified that has changed and must not be read yet.
const HELD: &str = "it has changed; reading it is costly, so that waits a little";

impl Root {
    /// Looks at one artifact and drafts what has changed about it. `ready` is what another thread has read a moment ago,
    /// while it was watched; it counts if the metadata is still the same.
    pub(super) fn look_at(
        &mut self,
        id: ArtifactId,
        dirty: &Dirty,
        trust: Trust,
        ready: Option<Look>,
        tasks: &mut Tasks,
        watch: &mut dyn Watch,
    ) {
        let Some(row) = self.inventory.get(id) else { return };
        let row = row.clone();
        let path = self.inventory.path(id);
        // Before the metadata is read, so that a change after that is reported. If something else is there by now, that
        // does no harm: what was marked has been reported.
        self.rearm(inode_of(&row), watch);
        let glance = match self.looker.glance(self.view.as_mut(), &path) {
            Ok(glance) => glance,
            Err(error) if is_absence(&error) => return self.vanish(id, &row, dirty, tasks),
            Err(error) => return self.doubt(id, &format!("cannot be examined: {}", complaint(&error))),
        };
        if glance.meta.file_type != row.meta.file_type {
            return self.become_other(id, dirty, tasks);
        }
        let inode = self.view.id(&path, &glance.meta);
        let mut glance = Some(glance);
        if inode != inode_of(&row) {
            if self.displace(id, dirty, tasks) {
                return;
            }
            self.watch(inode, &path, is_dir(&row), watch);
            // It was not watched yet when its metadata was read.
            glance = None;
        } else if !is_dir(&row) && self.watch_other(inode, &path, watch) {
            glance = None;
        }
        let known = Known {
            meta: row.meta.clone(),
            content_hash: row.content_hash,
            redacted: row.redacted,
            // An artifact that was not settled has a change time that equals no real one: see `row_of`.
            settled: true,
            // A loss makes everything doubtful, but what was read before it was read well.
            verified: row.unverified.as_deref().is_none_or(is_distrust) && !self.unlisted.contains_key(&id),
        };
        let trust = if row.was_never_read() { Trust::Read } else { trust };
        self.expect_silence(id, inode, &row.meta, dirty);
        let look = match (ready, &glance) {
            (Some(Look::Changed(artifact)), Some(glance))
                if artifact.id == inode && glance.proves(&artifact) =>
            {
                self.counters.looks += 1;
                Look::Changed(artifact)
            }
            _ if trust == Trust::Describe => self.timed_look(inode, &path, glance, None, trust),
            _ => self.timed_look(inode, &path, glance, Some(&known), trust),
        };
        match look {
            Look::Gone => self.vanish(id, &row, dirty, tasks),
            Look::Unchanged { meta, settled } => {
                if !settled {
                    self.later.look(id, Instant::now() + SOON, &Dirty::default());
                }
                if let Some(late) = self.latecomers.take(id, dirty) {
                    self.record(&row, &path, None, Verb::Modified, latecomers::DETAIL.to_owned(), &late);
                }
                self.confirm(&row, meta, inode, settled);
            }
            Look::Changed(artifact) if trust == Trust::Describe && is_as_described(&row, &artifact) => {
                self.confirm(&row, artifact.meta, inode, artifact.settled);
            }
            Look::Changed(artifact) if artifact.meta.file_type != row.meta.file_type => {
                self.become_other(id, dirty, tasks);
            }
            Look::Changed(mut artifact) => {
                if asks_again(&artifact) {
                    self.later.look(id, Instant::now() + SOON, &Dirty::default());
                }
                if artifact.id != inode {
                    // Replaced between two looks; the second one was not watched yet.
                    self.watch(artifact.id, &path, is_dir(&row), watch);
                    tasks.look(id, dirty);
                }
                if artifact.unverified.is_none() {
                    artifact.unverified = self.unlisted.get(&id).cloned();
                }
                self.update(&row, &artifact, dirty);
                self.look_at_other_links(id, &artifact, dirty, tasks);
                let access = |meta: &Meta| (meta.mode, meta.uid, meta.gid);
                if is_dir(&row) && access(&row.meta) != access(&artifact.meta) {
                    // Whether it can be listed may have changed with it.
                    tasks.compare(id);
                }
                // Names in it changed, or may have in the clock tick of the last look (see `row_of`). They may have been
                // reported under another name of the directory, which it has no more.
                let names = row.meta.mtime_ns != artifact.meta.mtime_ns || row.meta.ctime_ns == 0;
                if is_dir(&row) && names && self.view.lists_on_hint() {
                    tasks.compare(id);
                }
                if artifact.id != inode_of(&row) && is_dir(&row) {
                    // Another directory under the same name has other things in it.
                    tasks.compare(id);
                    for (_, child) in self.inventory.children(id) {
                        tasks.look(child, dirty);
                    }
                }
            }
        }
        self.unwatch_unused(inode, watch);
        self.unwatch_unused(inode_of(&row), watch);
    }

    /// Puts off another look at a file that may change again without a report.
    fn expect_silence(&mut self, id: ArtifactId, inode: InodeId, meta: &Meta, dirty: &Dirty) {
        if meta.file_type != FileType::File || self.kind == RootKind::Proc {
            return;
        }
        let now = Instant::now();
        if dirty.mapped {
            // Until the list of mappings says otherwise.
            self.mapped.insert(inode);
        }
        if self.mapped.contains(&inode) {
            self.later.look_mapped(id, inode, now);
        }
        if self.polls && dirty.count > 0 {
            self.later.poll(id, now);
        }
    }

    /// What was reported of one name of a file is true of its other names as well.
    fn look_at_other_links(&self, id: ArtifactId, artifact: &Artifact, dirty: &Dirty, tasks: &mut Tasks) {
        let state = |meta: &Meta| (meta.mode, meta.uid, meta.gid, meta.size, meta.mtime_ns, meta.nlink);
        if artifact.meta.file_type == FileType::Directory {
            return;
        }
        for other in self.inventory.by_inode(artifact.id) {
            let differs = |row: &Row| state(&row.meta) != state(&artifact.meta);
            if *other != id && self.inventory.get(*other).is_some_and(differs) {
                tasks.look(*other, dirty);
            }
        }
    }

    /// Drafts that an artifact is as it was believed to be.
    fn confirm(&mut self, old: &Row, mut meta: Meta, inode: InodeId, settled: bool) {
        if !settled {
            // As in `row_of`: the next comparison must read it.
            meta.ctime_ns = 0;
        }
        if old.unverified.is_some() || old.meta != meta || old.sb_dev != inode.dev {
            let row = Row { meta, sb_dev: inode.dev, unverified: None, ..old.clone() };
            self.draft.repaint(&row);
            self.keep(row);
        }
    }

    /// Drafts the new state of a known artifact: in place, or in a new block when its size asks for another.
    fn update(&mut self, old: &Row, artifact: &Artifact, dirty: &Dirty) {
        // As it is on the brick or in the draft until the new state is drafted.
        let replaced = self.contents_before(old, &artifact.path, artifact.content_hash);
        let meaning = self.meaning_of(old, &replaced, artifact);
        let table = self.table_before(old, artifact);
        let block = self.resize(old, artifact);
        let mut row = row_of(old.id, old.parent, old.name.clone(), block, artifact);
        keep_words(old, &mut row);
        let same_cells = block == old.block
            && row.content_hash == old.content_hash
            && row.redacted == old.redacted
            && row.meta.file_type == FileType::File
            && !old.was_never_read()
            // Pixels that a crash left in doubt were blanked when the brick was opened.
            && old.unverified.as_deref().is_none_or(is_distrust);
        if block != old.block {
            self.draft.clear(old.block);
        }
        if same_cells {
            self.draft.repaint(&row);
        } else {
            self.draft.fill(&row, fitting(artifact, &row), artifact.regions.clone());
        }
        if !old.was_never_read() {
            // The cells of anything else are its metadata, so their hash says nothing about contents.
            let contents = matches!(row.meta.file_type, FileType::File | FileType::Symlink);
            let same = row.content_hash == old.content_hash || !contents;
            let verb = if same { Verb::Attributes } else { Verb::Modified };
            let is_noted =
                table.is_some_and(|before| self.note_table(old, &row, artifact, &before, &meaning, dirty));
            if is_noted {
                // That was the line.
            } else if !is_noise(old, &row) {
                // A table of /proc that changes all the time has a line where its change means something.
                let line = if meaning.is_empty() || self.view.is_noteworthy(&artifact.path) {
                    self.record(&row, &artifact.path, None, verb, describe_change(old, &row), dirty)
                } else {
                    Some(self.write_down(&row, &artifact.path, None, verb, describe_change(old, &row), dirty))
                };
                self.draft.mean(line, meaning);
                self.judge(line, Some(old), Some(&row), None);
                self.keep_version(line, Some((old, replaced)), Some(&row));
                self.latecomers.saw(row.id, clock::now_ns(), dirty);
            } else if let Some(late) = self.latecomers.take(row.id, dirty) {
                // What was not settled at the last look is read again, and is as it was.
                let detail = latecomers::DETAIL.to_owned();
                self.record(&row, &artifact.path, None, Verb::Modified, detail, &late);
            } else if row.semantics.risk.level > old.semantics.risk.level.max(1) {
                // A rename, the time or a change of the package database has made it so.
                let detail = "judged anew".to_owned();
                let line = self.record(&row, &artifact.path, None, Verb::Attributes, detail, dirty);
                self.judge(line, Some(old), Some(&row), None);
            }
            self.draft.born(dirty.first_ns);
        }
        self.note_secret(&row, &artifact.path, old.redacted || old.was_never_read());
        self.forget_words(old, &row);
        self.want_words(&row);
        self.keep(row);
    }

    /// The block for what an artifact has become: where it is if that is possible, and never a smaller one than it
    /// has unless it shrank.
    fn resize(&mut self, old: &Row, artifact: &Artifact) -> Block {
        let cap = self.layout.cap();
        let wanted = k_for_len(artifact.cells.len() as u64, cap);
        if wanted == old.block.k {
            return old.block;
        }
        loop {
            if let Some(block) = self.layout.resize(old.block, wanted) {
                return block;
            }
            if !self.grow() {
                break;
            }
        }
        if old.block.k >= k_for_len(old.len, cap) {
            warn!(path = %artifact.path.display(), "the brick is full; it shows only the beginning");
            self.counters.no_room += 1;
        }
        let smaller = (old.block.k + 1..wanted).rev();
        smaller.into_iter().find_map(|k| self.layout.resize(old.block, k)).unwrap_or(old.block)
    }

    /// Something of another sort has an artifact's name.
    fn become_other(&mut self, id: ArtifactId, dirty: &Dirty, tasks: &mut Tasks) {
        if !self.give_way(id, dirty, tasks)
            && let Some(row) = self.inventory.get(id).cloned()
        {
            self.vanish(id, &row, dirty, tasks);
        }
    }

    /// An artifact that is not there any more. The root itself stays, unverified, until it comes back.
    fn vanish(&mut self, id: ArtifactId, row: &Row, dirty: &Dirty, tasks: &mut Tasks) {
        if let Some(parent) = row.parent {
            if self.kind == RootKind::Proc {
                return tasks.miss(id, dirty);
            }
            // Who wrote to it need not be who removed or renamed it; his own report is on its way.
            let unnamed = dirty.unnamed();
            let dirty = if dirty.is_of_a_name() { dirty } else { &unnamed };
            // Its directory tells whether something above it has another name, and is what has changed if not.
            tasks.compare(parent);
            let path = self.inventory.path(parent);
            let believed = self.inventory.get(parent).map(inode_of);
            if self.view.meta(&path).is_ok_and(|meta| Some(self.view.id(&path, &meta)) == believed) {
                tasks.look(parent, dirty);
                tasks.miss(id, dirty);
            }
            return;
        }
        for (_, child) in self.inventory.children(id) {
            tasks.miss(child, dirty);
        }
        self.doubt(id, "the watched directory is gone");
    }

    /// Marks one artifact unverified.
    pub(super) fn doubt(&mut self, id: ArtifactId, why: &str) {
        let Some(row) = self.inventory.get(id) else { return };
        if row.unverified.as_deref() == Some(why) {
            return;
        }
        let mut row = row.clone();
        debug!(path = %self.inventory.path(id).display(), why, "unverified");
        row.unverified = Some(why.to_owned());
        self.draft.repaint(&row);
        self.keep(row);
    }

    /// Looks at a path, and notes whether that was costly and whether it must be done again soon.
    pub(super) fn timed_look(
        &mut self,
        inode: InodeId,
        path: &Path,
        glance: Option<Glance>,
        known: Option<&Known>,
        trust: Trust,
    ) -> Look {
        // Not by the clock on the wall: on a busy host, waiting for a core would make every file costly.
        let started = thread_cpu();
        let look = self.looker.look_after(self.view.as_mut(), path, glance, known, trust == Trust::Read);
        self.counters.looks += 1;
        self.later.note_cost(inode, thread_cpu().saturating_sub(started), Instant::now());
        look
    }

    /// Whether a file that changes all the time and is costly to read has to wait. Meanwhile it shows that what is on
    /// the brick is old.
    pub(super) fn is_held(&mut self, id: ArtifactId, dirty: &Dirty) -> bool {
        let Some(inode) = self.inventory.get(id).map(inode_of) else { return false };
        let Some(until) = self.later.held_until(inode, Instant::now()) else { return false };
        let path = self.inventory.path(id);
        let still = self.view.meta(&path).is_ok_and(|meta| self.view.id(&path, &meta) == inode);
        if still {
            if dirty.count > 0 {
                self.doubt(id, HELD);
            }
            self.later.look(id, until, dirty);
        }
        still
    }
}

/// The cells of an artifact, or as many as its block holds when the brick had no room for more.
pub(super) fn fitting(artifact: &Artifact, row: &Row) -> bytes::Bytes {
    let cells = usize::try_from(row.block.cells()).unwrap_or(usize::MAX);
    artifact.cells.slice(..artifact.cells.len().min(cells))
}

/// Whether an artifact must be looked at again soon: it changed while it was read, or so recently that its time stamps
/// cannot tell a later change.
pub(super) fn asks_again(artifact: &Artifact) -> bool {
    !artifact.settled || artifact.unverified.as_deref() == Some(CHANGED_WHILE_READ)
}

/// Whether a look that was to describe an artifact anew has come to nothing new. Title and summary may be a model's.
fn is_as_described(row: &Row, artifact: &Artifact) -> bool {
    let state = |meta: &Meta| (meta.mode, meta.uid, meta.gid, meta.mtime_ns, meta.nlink, meta.ino);
    artifact.unverified.is_none()
        && row.unverified.as_deref().is_none_or(is_distrust)
        && row.content_hash == artifact.content_hash
        && row.redacted == artifact.redacted
        && state(&row.meta) == state(&artifact.meta)
        && row.semantics.risk == artifact.semantics.risk
}

/// Whether a reason for not being verified says nothing about the last reading.
pub(super) fn is_distrust(why: &str) -> bool {
    why == EVENTS_LOST || why == RESTARTED
}

pub(super) fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}
