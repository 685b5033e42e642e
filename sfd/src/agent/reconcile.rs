//! Making a root true again where work says it may not be: names. (What is under a name: `observe`.)
//!
//! All of it is one list of [`Tasks`], done in this order until none is left:
//!
//! 1. compare a directory with what is believed to be in it;
//! 2. deal with a name that nothing is known of: an artifact that moved there keeps its place, anything else is new;
//! 3. resolve again what could not be resolved before 1 and 2 renamed things;
//! 4. take off the brick what is nowhere to be found;
//! 5. look at an artifact.
//!
//! Each step may add tasks. Renames come before removals, so that whatever is still there, under whatever name and
//! in whatever order that was reported, does not move on the brick.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::root::{Root, Work};
use super::{AgentError, clock};
use crate::artifact::inventory::is_dir;
use crate::batch::Dirty;
use crate::brick::{ArtifactId, HistoryRow, Row, Verb};
use crate::collect::{InodeId, Watch};

/// How an artifact is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// Metadata that has not changed means that contents have not changed.
    Stat,
    /// Contents are read whatever the metadata says (an event named it: `mmap` stores change no time stamp).
    Read,
}

/// What was reported of a directory.
#[derive(Debug, Default)]
pub(super) struct Hints {
    /// Names in it.
    pub(super) names: BTreeMap<OsString, Dirty>,
    /// The directory itself: some of its names changed, and nobody said which.
    pub(super) whole: Dirty,
}

impl Hints {
    /// Adds what others say.
    fn merge(&mut self, other: Self) {
        self.whole.merge(&other.whole);
        for (name, dirty) in other.names {
            self.names.entry(name).or_default().merge(&dirty);
        }
    }
}

/// Most times that one artifact is followed from name to name in one go; somebody who renames without end must not
/// keep the agent busy without end. What is beyond it is news again, and its next event finds it.
const MOVES_MAX: u8 = 8;

/// A name that nothing is known of.
#[derive(Debug)]
pub(super) struct Fresh {
    pub(super) dir: ArtifactId,
    pub(super) name: OsString,
    pub(super) dirty: Dirty,
    /// The name itself was reported, not just something above it.
    pub(super) reported: bool,
}

/// What is still to be done.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    pub(super) dirs: BTreeMap<ArtifactId, Hints>,
    /// A stack: what is found in a new directory is dealt with before its siblings.
    pub(super) fresh: Vec<Fresh>,
    /// Paths whose directory is not known; a rename may yet make it known.
    pub(super) unresolved: Vec<(PathBuf, Dirty)>,
    /// Directories that are not where they are believed to be, where that is, and the names reported in them.
    pub(super) astray: Vec<(ArtifactId, PathBuf, Hints)>,
    pub(super) gone: BTreeMap<ArtifactId, Dirty>,
    /// Those of them whose name has been taken by something else.
    pub(super) displaced: HashSet<ArtifactId>,
    moves: HashMap<ArtifactId, u8>,
    /// Directories made known in this go: what is in them was listed and read after everything that was reported.
    pub(super) adopted: HashSet<ArtifactId>,
    /// Something was renamed since `unresolved` and `astray` were last tried.
    pub(super) renamed: bool,
    looks: BTreeMap<ArtifactId, (Dirty, Trust)>,
}

impl Tasks {
    /// A directory is to be compared.
    pub(super) fn compare(&mut self, dir: ArtifactId) {
        self.dirs.entry(dir).or_default();
    }

    /// An artifact is to be looked at and read.
    pub(super) fn look(&mut self, id: ArtifactId, dirty: &Dirty) {
        let (sum, trust) = self.looks.entry(id).or_insert_with(|| (Dirty::default(), Trust::Read));
        sum.merge(dirty);
        *trust = Trust::Read;
    }

    /// Whether an artifact is what it was is to be seen from its metadata.
    pub(super) fn check(&mut self, id: ArtifactId) {
        self.looks.entry(id).or_insert_with(|| (Dirty::default(), Trust::Stat));
    }

    /// A name may stand for something that is not known.
    pub(super) fn examine(&mut self, dir: ArtifactId, name: OsString, dirty: &Dirty) {
        self.fresh.push(Fresh { dir, name, dirty: dirty.clone(), reported: false });
    }

    /// Counts a move of an artifact; `false` when it has moved too often to be followed further.
    pub(super) fn count_move(&mut self, id: ArtifactId) -> bool {
        let moves = self.moves.entry(id).or_default();
        *moves += 1;
        *moves <= MOVES_MAX
    }

    /// An artifact has lost its name; it goes unless it is found under another one. What was reported of itself says
    /// better who did that than what was reported of its directory.
    pub(super) fn miss(&mut self, id: ArtifactId, dirty: &Dirty) {
        let own = self.looks.get(&id).map(|(own, _)| own).filter(|own| !own.writers.is_empty());
        let dirty = own.unwrap_or(dirty).clone();
        self.gone.entry(id).or_default().merge(&dirty);
    }
}

impl Root {
    /// Looks at everything `work` names and commits what has changed.
    ///
    /// # Errors
    /// When the brick or catalog cannot be written. The root must then be opened again.
    pub(super) fn apply(&mut self, work: Work, watch: &mut dyn Watch) -> Result<(), AgentError> {
        let mut tasks = Tasks::default();
        for (id, dirty) in work.artifacts {
            if self.inventory.get(id).is_some_and(is_dir) {
                tasks.dirs.entry(id).or_default().whole.merge(&dirty);
            }
            tasks.look(id, &dirty);
        }
        for (path, dirty) in work.paths {
            self.hint(path, dirty, &mut tasks);
        }
        self.work_off(tasks, watch)?;
        self.flush()
    }

    /// Finds which directory must be listed because of `path`: its own, or the nearest one that is known.
    fn hint(&self, path: PathBuf, dirty: Dirty, tasks: &mut Tasks) {
        if path == self.path() {
            if let Some(id) = self.inventory.root_id() {
                tasks.look(id, &dirty);
                tasks.compare(id);
            }
            return;
        }
        let mut at: &Path = &path;
        while let (Some(parent), Some(name)) = (at.parent(), at.file_name()) {
            if let Some(id) = self.inventory.by_path(parent) {
                if self.inventory.get(id).is_some_and(is_dir) {
                    let hints = tasks.dirs.entry(id).or_default();
                    hints.names.entry(name.to_owned()).or_default().merge(&dirty);
                } else {
                    // Believed to be something else than a directory: what it is now tells the look.
                    tasks.look(id, &dirty);
                }
                break;
            }
            // Its directory is news too: whoever made it, the event that named it may be lost.
            at = parent;
        }
        if at != path {
            tasks.unresolved.push((path, dirty));
        }
    }

    /// Does everything there is to do, and what follows from it.
    ///
    /// Ends early, with things left undone, when the daemon is told to stop: the next start compares everything.
    pub(super) fn work_off(&mut self, mut tasks: Tasks, watch: &mut dyn Watch) -> Result<(), AgentError> {
        while !self.is_stopping() {
            if let Some((dir, hints)) = tasks.dirs.pop_first() {
                self.compare(dir, hints, &mut tasks, watch);
            } else if let Some(fresh) = tasks.fresh.pop() {
                self.meet(&fresh, &mut tasks, watch);
            } else if self.resolve_again(&mut tasks) {
                continue;
            } else if let Some((id, dirty)) = tasks.gone.pop_first() {
                self.remove(id, &dirty, &mut tasks, watch)?;
            } else if let Some((id, (dirty, trust))) = tasks.looks.pop_first() {
                if trust == Trust::Stat || !self.is_held(id, &dirty) {
                    self.look_at(id, &dirty, trust, None, &mut tasks, watch);
                }
            } else {
                break;
            }
            self.flush_if_large()?;
        }
        Ok(())
    }

    /// Tries again what could not be resolved, after renames. `false`: nothing new came of it.
    fn resolve_again(&mut self, tasks: &mut Tasks) -> bool {
        if !std::mem::take(&mut tasks.renamed) {
            return false;
        }
        let mut progress = false;
        for (id, path, hints) in std::mem::take(&mut tasks.astray) {
            if self.inventory.get(id).is_some() && self.inventory.path(id) != path {
                tasks.dirs.entry(id).or_default().merge(hints);
                progress = true;
            }
        }
        for (path, dirty) in std::mem::take(&mut tasks.unresolved) {
            match path.parent().and_then(|parent| self.inventory.by_path(parent)) {
                Some(parent) if tasks.adopted.contains(&parent) => {}
                Some(_) => {
                    self.hint(path, dirty, tasks);
                    progress = true;
                }
                None => tasks.unresolved.push((path, dirty)),
            }
        }
        progress
    }

    /// Marks everything unverified because events were lost, and starts a scan.
    pub(super) fn heal(&mut self) -> Result<(), AgentError> {
        self.counters.rescans += 1;
        self.distrust(super::root::EVENTS_LOST)?;
        self.want_scan();
        Ok(())
    }

    /// Asks to be told of changes; `false`: nobody will tell of them, so they are looked for.
    pub(super) fn watch(&mut self, inode: InodeId, path: &Path, dir: bool, watch: &mut dyn Watch) -> bool {
        let watched = watch.watch(inode, path, dir).is_ok() && !self.own.contains(&inode);
        if watched {
            self.unwatched.remove(&inode);
        } else {
            self.nobody_reports(inode);
        }
        if !dir {
            self.watch_other(inode, path, watch);
        }
        watched
    }

    /// Asks to be told of the next change again.
    pub(super) fn rearm(&mut self, inode: InodeId, watch: &mut dyn Watch) {
        let other = self.others_of.get(&inode).copied();
        if !watch.rearm(inode) || other.is_some_and(|other| !watch.rearm(other)) {
            self.nobody_reports(inode);
        }
    }

    /// Watches the other inode for which changes of an artifact's contents are reported, if there is one. `true`: it was
    /// not watched before.
    pub(super) fn watch_other(&mut self, inode: InodeId, path: &Path, watch: &mut dyn Watch) -> bool {
        let Some(other) = self.view.other_id(path, inode) else { return false };
        if self.others.insert(other, inode) == Some(inode) {
            return false;
        }
        // Copied up anew: the one before is nobody's any more.
        if let Some(before) = self.others_of.insert(inode, other).filter(|before| *before != other) {
            self.others.remove(&before);
            watch.unwatch(before);
        }
        if watch.watch(other, path, false).is_err() {
            self.nobody_reports(inode);
        }
        true
    }

    /// Stops watching an inode that no artifact has (any more).
    pub(super) fn unwatch_unused(&mut self, inode: InodeId, watch: &mut dyn Watch) {
        if self.inventory.by_inode(inode).is_empty() {
            watch.unwatch(inode);
            if let Some(other) = self.others_of.remove(&inode)
                && self.others.get(&other) == Some(&inode)
            {
                self.others.remove(&other);
                watch.unwatch(other);
            }
            self.unwatched.remove(&inode);
        }
    }

    /// Writes history, unless nobody could ever want to read it. Returns the index of the line in the draft.
    pub(super) fn record(
        &mut self,
        row: &Row,
        path: &Path,
        from: Option<&Path>,
        verb: Verb,
        detail: String,
        dirty: &Dirty,
    ) -> Option<usize> {
        if !self.view.is_noteworthy(path) {
            return None;
        }
        Some(self.write_down(row, path, from, verb, detail, dirty))
    }

    /// Writes history whatever the view thinks of the path.
    pub(super) fn write_down(
        &mut self,
        row: &Row,
        path: &Path,
        from: Option<&Path>,
        verb: Verb,
        detail: String,
        dirty: &Dirty,
    ) -> usize {
        let at_ns = if dirty.first_ns > 0 { dirty.first_ns } else { clock::now_ns() };
        self.draft.history(HistoryRow {
            at_ns,
            path: path.as_os_str().as_bytes().to_vec(),
            from: from.map(|path| path.as_os_str().as_bytes().to_vec()),
            verb,
            detail,
            meaning: Vec::new(),
            reasons: Vec::new(),
            writers: dirty.writers.clone(),
            more_writers: dirty.more_writers,
            unknown_writers: dirty.unknown_writer || dirty.writers.is_empty(),
            kind: row.semantics.kind.name().to_owned(),
            risk: row.semantics.risk.level,
        })
    }
}
