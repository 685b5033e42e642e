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

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use tracing::warn;

use super::later::SOON;
use super::observe::{asks_again, fitting, is_absence, is_distrust};
use super::root::{Root, Work};
use super::survey::row_of;
use super::{AgentError, RootKind, clock};
use crate::artifact::inventory::{inode_of, is_dir};
use crate::artifact::look::{Look, Renamed, complaint};
use crate::artifact::{Artifact, FileType, Meta};
use crate::batch::Dirty;
use crate::brick::{ArtifactId, HistoryRow, Row, Verb};
use crate::collect::{InodeId, Op, Watch};

/// How an artifact is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// Metadata that has not changed means that contents have not changed.
    Stat,
    /// Contents are read whatever the metadata says (an event named it: `mmap` stores change no time stamp).
    Read,
}

/// The names in a directory that were reported.
type Hints = BTreeMap<OsString, Dirty>;

/// Most times that one artifact is followed from name to name in one go; somebody who renames without end must not
/// keep the agent busy without end. What is beyond it is news again, and its next event finds it.
const MOVES_MAX: u8 = 8;

/// Stands between the old name of an artifact that has lost it to another one, and its number: two artifacts of one
/// name would be a catalog that no restart can use. No file has a NUL in its name.
const DISPLACED: char = '\0';

/// A name that nothing is known of.
#[derive(Debug)]
struct Fresh {
    dir: ArtifactId,
    name: OsString,
    dirty: Dirty,
    /// The name itself was reported, not just something above it.
    reported: bool,
}

/// What is still to be done.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    dirs: BTreeMap<ArtifactId, Hints>,
    /// A stack: what is found in a new directory is dealt with before its siblings.
    fresh: Vec<Fresh>,
    /// Paths whose directory is not known; a rename may yet make it known.
    unresolved: Vec<(PathBuf, Dirty)>,
    /// Directories that are not where they are believed to be, where that is, and the names reported in them.
    astray: Vec<(ArtifactId, PathBuf, Hints)>,
    gone: BTreeMap<ArtifactId, Dirty>,
    /// Those of them whose name has been taken by something else.
    displaced: HashSet<ArtifactId>,
    moves: HashMap<ArtifactId, u8>,
    /// Directories made known in this go: what is in them was listed and read after everything that was reported.
    adopted: HashSet<ArtifactId>,
    /// Something was renamed since `unresolved` and `astray` were last tried.
    renamed: bool,
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
    fn check(&mut self, id: ArtifactId) {
        self.looks.entry(id).or_insert_with(|| (Dirty::default(), Trust::Stat));
    }

    /// A name may stand for something that is not known.
    pub(super) fn examine(&mut self, dir: ArtifactId, name: OsString, dirty: &Dirty) {
        self.fresh.push(Fresh { dir, name, dirty: dirty.clone(), reported: false });
    }

    /// An artifact has lost its name; it goes unless it is found under another one.
    pub(super) fn miss(&mut self, id: ArtifactId, dirty: &Dirty) {
        self.gone.entry(id).or_default().merge(dirty);
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
                tasks.compare(id);
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
                    tasks.dirs.entry(id).or_default().entry(name.to_owned()).or_default().merge(&dirty);
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
                    self.look_at(id, &dirty, trust, &mut tasks, watch);
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
                let dir = tasks.dirs.entry(id).or_default();
                for (name, dirty) in hints {
                    dir.entry(name).or_default().merge(&dirty);
                }
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

    /// Lists one directory and says what is gone, what is new, and what was reported and still there.
    fn compare(&mut self, dir: ArtifactId, hints: Hints, tasks: &mut Tasks, watch: &mut dyn Watch) {
        let Some(row) = self.inventory.get(dir).filter(|row| is_dir(row)) else { return };
        let (believed, is_root) = (inode_of(row), row.parent.is_none());
        let path = self.inventory.path(dir);
        if !self.view.lists_on_hint() && !hints.is_empty() {
            for (name, dirty) in hints {
                self.compare_name(dir, &path, name, &dirty, tasks);
            }
            return;
        }
        let any = hints.values().fold(Dirty::default(), |mut sum, dirty| {
            sum.merge(dirty);
            sum
        });
        let here = match self.view.meta(&path) {
            Ok(meta) => meta.file_type == FileType::Directory && self.view.id(&path, &meta) == believed,
            Err(_) => false,
        };
        if !here && !is_root {
            // Another directory has its name now, or none. Its own look finds out, unless it is found first.
            tasks.look(dir, &any);
            tasks.astray.push((dir, path, hints));
            return;
        }
        // What comes after the listing is reported.
        watch.rearm(believed);
        let entries = match self.view.list(&path) {
            Ok(entries) => entries,
            Err(error) => {
                if !is_absence(&error) {
                    self.unlisted.insert(dir, format!("cannot be listed: {}", complaint(&error)));
                }
                // Its own look finds out what became of it.
                tasks.look(dir, &any);
                return;
            }
        };
        self.listed(dir, tasks);
        if !hints.is_empty() {
            tasks.look(dir, &any);
        }
        let names: BTreeSet<&OsStr> = entries.iter().map(|entry| entry.name.as_os_str()).collect();
        let children: Vec<(OsString, ArtifactId)> =
            self.inventory.children(dir).map(|(name, id)| (name.to_owned(), id)).collect();
        for (name, id) in children {
            if !names.contains(name.as_os_str()) {
                tasks.miss(id, hints.get(&name).unwrap_or(&any));
                tasks.look(dir, &any);
                continue;
            }
            // It was away only when its directory was listed before.
            if tasks.gone.contains_key(&id)
                && !tasks.displaced.contains(&id)
                && self.view.meta(&path.join(&name)).is_ok()
                && let Some(dirty) = tasks.gone.remove(&id)
            {
                tasks.look(id, &dirty);
            }
            if let Some(dirty) = hints.get(&name)
                && !self.displace(id, dirty, tasks)
            {
                tasks.look(id, dirty);
            }
        }
        // The last one in is dealt with first: directories, because a link to a file that moved with its directory
        // must not be taken for the file.
        let mut fresh: Vec<(bool, Fresh)> = Vec::new();
        for entry in entries {
            if self.inventory.child(dir, &entry.name).is_none() {
                let hint = hints.get(&entry.name);
                let is_dir = entry.file_type == Some(FileType::Directory);
                let dirty = hint.unwrap_or(&any).clone();
                fresh.push((is_dir, Fresh { dir, name: entry.name, dirty, reported: hint.is_some() }));
            }
        }
        if !fresh.is_empty() {
            tasks.look(dir, &any);
        }
        fresh.sort_by_key(|(is_dir, _)| *is_dir);
        tasks.fresh.extend(fresh.into_iter().map(|(_, fresh)| fresh));
    }

    /// A directory could be listed. If the last time it could not, much of what is in it may be doubtful.
    fn listed(&mut self, dir: ArtifactId, tasks: &mut Tasks) {
        if self.unlisted.remove(&dir).is_none() {
            return;
        }
        for each in self.inventory.subtree(dir) {
            let why = self.inventory.get(each).and_then(|row| row.unverified.as_deref());
            if each == dir || why.is_some_and(|why| !is_distrust(why)) {
                tasks.look(each, &Dirty::default());
            }
        }
    }

    fn compare_name(
        &mut self,
        dir: ArtifactId,
        path: &Path,
        name: OsString,
        dirty: &Dirty,
        tasks: &mut Tasks,
    ) {
        let child = path.join(&name);
        let known = self.inventory.child(dir, &name);
        match (self.view.meta(&child), known) {
            (Ok(meta), known) => {
                self.ask_again_if_exiting(&child, meta.file_type, dirty);
                match known {
                    // A process changes as a whole: all its projections are read again.
                    Some(id) => {
                        for each in self.inventory.subtree(id) {
                            tasks.look(each, dirty);
                        }
                    }
                    None => tasks.examine(dir, name, dirty),
                }
            }
            (Err(_), Some(id)) => tasks.miss(id, dirty),
            (Err(_), None) => {}
        }
    }

    /// A process whose exit was reported but that is still there is on its way out; nothing reports its end again.
    fn ask_again_if_exiting(&mut self, path: &Path, file_type: FileType, dirty: &Dirty) {
        if self.kind == RootKind::Proc && file_type == FileType::Directory && dirty.has(Op::Exit) {
            self.later.ask(path, dirty, Instant::now());
        }
    }

    /// Whether a known directory's name now stands for another known directory, renamed over it or exchanged with
    /// it. Then it gives up its name.
    pub(super) fn displace(&mut self, id: ArtifactId, dirty: &Dirty, tasks: &mut Tasks) -> bool {
        let Some(row) = self.inventory.get(id).filter(|row| is_dir(row)) else { return false };
        if self.kind == RootKind::Proc {
            return false;
        }
        let believed = inode_of(row);
        let path = self.inventory.path(id);
        let Ok(meta) = self.view.meta(&path) else { return false };
        let inode = self.view.id(&path, &meta);
        let is_known = self
            .inventory
            .by_inode(inode)
            .iter()
            .any(|other| *other != id && self.inventory.get(*other).is_some_and(is_dir));
        inode != believed && is_known && self.give_way(id, dirty, tasks)
    }

    /// Makes an artifact give up its name to what is there now. It keeps its place if it is found under another
    /// name, and is gone otherwise. `false`: it is the root, or changes too often to be followed.
    pub(super) fn give_way(&mut self, id: ArtifactId, dirty: &Dirty, tasks: &mut Tasks) -> bool {
        let Some(row) = self.inventory.get(id) else { return false };
        let Some(parent) = row.parent.filter(|_| count_move(tasks, id)) else { return false };
        let mut row = row.clone();
        let name = OsString::from_vec(row.name.clone());
        tasks.displaced.insert(id);
        tasks.fresh.push(Fresh { dir: parent, name, dirty: dirty.clone(), reported: false });
        tasks.miss(id, dirty);
        tasks.look(parent, dirty);
        row.name.extend_from_slice(format!("{DISPLACED}{}", id.0).as_bytes());
        self.keep(row);
        true
    }

    /// Deals with a name that nothing is known of.
    fn meet(&mut self, fresh: &Fresh, tasks: &mut Tasks, watch: &mut dyn Watch) {
        let Fresh { dir, name, .. } = fresh;
        if self.inventory.get(*dir).is_none_or(|row| !is_dir(row))
            || self.inventory.child(*dir, name).is_some()
        {
            return;
        }
        let path = self.inventory.path(*dir).join(name);
        match self.view.meta(&path) {
            Ok(meta) => {
                let inode = self.view.id(&path, &meta);
                if !self.take_rename(fresh, &path, &meta, inode, tasks, watch) {
                    self.adopt(fresh, &path, &meta, inode, tasks, watch);
                }
            }
            Err(error) if is_absence(&error) => {}
            Err(error) => {
                self.unlisted.insert(*dir, format!("not all of it can be examined: {}", complaint(&error)));
                tasks.look(*dir, &fresh.dirty);
            }
        }
    }

    /// If the new name belongs to an artifact that is no longer where it was, it moved: nothing on the brick does.
    fn take_rename(
        &mut self,
        fresh: &Fresh,
        path: &Path,
        meta: &Meta,
        inode: InodeId,
        tasks: &mut Tasks,
        watch: &mut dyn Watch,
    ) -> bool {
        let Fresh { dir, name, dirty, reported } = fresh;
        if self.kind == RootKind::Proc || (*reported && was_made(dirty)) {
            return false;
        }
        let candidates = self.inventory.by_inode(inode).to_vec();
        let moved = candidates.into_iter().find(|id| {
            self.inventory
                .get(*id)
                .is_some_and(|row| row.meta.file_type == meta.file_type && row.parent.is_some())
                && (tasks.gone.contains_key(id) || self.moved_away(*id, inode))
        });
        let Some(id) = moved else { return false };
        // A directory cannot become its own descendant; only a stale belief could say so.
        if self.inventory.subtree(id).contains(dir) || !count_move(tasks, id) {
            return false;
        }
        let Some(row) = self.inventory.get(id) else { return false };
        let (mut row, mut dirty) = (row.clone(), dirty.clone());
        if let Some(other) = tasks.gone.remove(&id) {
            dirty.merge(&other);
        }
        let from = plain(&self.inventory.path(id));
        if !tasks.displaced.remove(&id)
            && let Some(parent) = row.parent
        {
            // Something else may have its old name by now.
            tasks.examine(parent, OsString::from_vec(row.name.clone()), &dirty);
        }
        row.parent = Some(*dir);
        row.name = name.as_bytes().to_vec();
        self.record(&row, path, Some(&from), Verb::Renamed, String::new(), &dirty);
        self.draft.born(dirty.first_ns);
        self.keep(row);
        // Its own change time moved with it, and what its name decides (is it a secret? a unit?) is decided again, for
        // everything below it too: a file that becomes a secret must not stay readable.
        tasks.look(id, &dirty);
        tasks.renamed = true;
        for each in self.inventory.subtree(id) {
            let new = self.inventory.path(each);
            let (Some(row), Ok(below)) = (self.inventory.get(each), new.strip_prefix(path)) else { continue };
            // What happened in it on the way may still be reported, under names that nobody can resolve any more.
            tasks.check(each);
            if is_dir(row) {
                // inotify knows directories by their paths.
                let inode = inode_of(row);
                tasks.compare(each);
                self.watch(inode, &new, true, watch);
            }
            if each == id {
                continue;
            }
            let Some(row) = self.inventory.get(each) else { continue };
            let old = from.join(below);
            let meaning = self.looker.renamed(self.view.as_ref(), &old, &new, &row.meta, &row.semantics);
            if meaning == Renamed::Reread {
                tasks.look(each, &dirty);
            }
        }
        true
    }

    /// Whether `id` is no longer found under its name.
    fn moved_away(&mut self, id: ArtifactId, inode: InodeId) -> bool {
        let old = self.inventory.path(id);
        match self.view.meta(&old) {
            Ok(meta) => self.view.id(&old, &meta) != inode,
            Err(error) => is_absence(&error) || plain(&old) != old,
        }
    }

    /// Takes a new object into the brick; what is in it follows.
    fn adopt(
        &mut self,
        fresh: &Fresh,
        path: &Path,
        meta: &Meta,
        inode: InodeId,
        tasks: &mut Tasks,
        watch: &mut dyn Watch,
    ) {
        let Fresh { dir, name, dirty, .. } = fresh;
        self.watch(inode, path, meta.file_type == FileType::Directory, watch);
        let Look::Changed(artifact) = self.timed_look(inode, path, None, Trust::Read) else {
            return self.unwatch_unused(inode, watch);
        };
        let id = self.inventory.fresh_id();
        if asks_again(&artifact) {
            self.later.look(id, Instant::now() + SOON, &Dirty::default());
        }
        let replaced = artifact.id != inode;
        let is_dir = artifact.meta.file_type == FileType::Directory;
        if !self.fold_new(id, *dir, name.as_bytes().to_vec(), &artifact) {
            self.unlisted.insert(*dir, "not all of it is here: the brick is full".to_owned());
            tasks.look(*dir, dirty);
            return self.unwatch_unused(inode, watch);
        }
        if replaced {
            // Between two looks; the second one was not watched yet.
            self.watch(artifact.id, path, is_dir, watch);
            self.unwatch_unused(inode, watch);
            tasks.look(id, dirty);
        }
        self.check_links(artifact.id, tasks);
        if let Some(row) = self.inventory.get(id) {
            let row = row.clone();
            self.record(&row, path, None, Verb::Created, String::new(), dirty);
        }
        self.draft.born(dirty.first_ns);
        if !is_dir {
            return;
        }
        tasks.adopted.insert(id);
        match self.view.list(path) {
            Ok(mut entries) => {
                // The last one in is dealt with first: the files, so that they come to lie beside their directory.
                entries.sort_by_key(|entry| entry.file_type != Some(FileType::Directory));
                // It may have been made by others before its directory was watched: who made it is unknown.
                let below = Dirty { first_ns: dirty.first_ns, ..Dirty::default() };
                for entry in entries {
                    tasks.examine(id, entry.name, &below);
                }
            }
            Err(error) if is_absence(&error) => tasks.look(id, dirty),
            Err(error) => {
                self.unlisted.insert(id, format!("cannot be listed: {}", complaint(&error)));
                tasks.look(id, dirty);
            }
        }
    }

    /// Places a new artifact on the brick; `false` when there is no room for even the smallest block.
    fn fold_new(&mut self, id: ArtifactId, parent: ArtifactId, name: Vec<u8>, artifact: &Artifact) -> bool {
        let Some(block) = self.place(id, parent, artifact.cells.len() as u64) else {
            warn!(path = %artifact.path.display(), "no room on the brick for even its smallest block");
            return false;
        };
        let row = row_of(id, Some(parent), name, block, artifact);
        self.draft.fill(&row, fitting(artifact, &row));
        self.keep(row);
        true
    }

    /// Takes an object that no longer exists, and everything below it, off the brick.
    fn remove(
        &mut self,
        id: ArtifactId,
        dirty: &Dirty,
        tasks: &mut Tasks,
        watch: &mut dyn Watch,
    ) -> Result<(), AgentError> {
        for each in self.inventory.subtree(id).into_iter().rev() {
            let path = self.inventory.path(each);
            let Some(row) = self.inventory.remove(each) else { continue };
            self.layout.free(row.block);
            self.draft.clear(row.block);
            self.draft.delete(each);
            self.unlisted.remove(&each);
            self.later.forget(each);
            self.unwatch_unused(inode_of(&row), watch);
            self.check_links(inode_of(&row), tasks);
            self.record(&row, &plain(&path), None, Verb::Deleted, String::new(), dirty);
            self.flush_if_large()?;
        }
        self.draft.born(dirty.first_ns);
        Ok(())
    }

    /// The number of links of a file has changed, and what else was reported of one of its names that came or went is
    /// true of the others.
    fn check_links(&self, inode: InodeId, tasks: &mut Tasks) {
        for id in self.inventory.by_inode(inode) {
            tasks.check(*id);
        }
    }

    /// Marks everything unverified because events were lost, and starts a scan.
    pub(super) fn heal(&mut self) -> Result<(), AgentError> {
        self.counters.rescans += 1;
        self.distrust(super::root::EVENTS_LOST)?;
        self.start_scan(false);
        Ok(())
    }

    pub(super) fn watch(&mut self, inode: InodeId, path: &Path, dir: bool, watch: &mut dyn Watch) {
        if watch.watch(inode, path, dir).is_err() {
            self.counters.unwatched += 1;
        }
    }

    /// Stops watching an inode that no artifact has (any more).
    pub(super) fn unwatch_unused(&self, inode: InodeId, watch: &mut dyn Watch) {
        if self.inventory.by_inode(inode).is_empty() {
            watch.unwatch(inode);
        }
    }

    /// Writes history, unless nobody could ever want to read it.
    pub(super) fn record(
        &mut self,
        row: &Row,
        path: &Path,
        from: Option<&Path>,
        verb: Verb,
        detail: String,
        dirty: &Dirty,
    ) {
        if !self.view.is_noteworthy(path) {
            return;
        }
        let at_ns = if dirty.first_ns > 0 { dirty.first_ns } else { clock::now_ns() };
        self.draft.history(HistoryRow {
            at_ns,
            path: path.as_os_str().as_bytes().to_vec(),
            from: from.map(|path| path.as_os_str().as_bytes().to_vec()),
            verb,
            detail,
            writers: dirty.writers.clone(),
            kind: row.semantics.kind.name().to_owned(),
            risk: row.semantics.risk.level,
        });
    }
}

/// Whether what was reported of a name is that something was made there, and nothing else could have come there. Then
/// an inode number that is known was used again: file systems do so at once.
fn was_made(dirty: &Dirty) -> bool {
    [Op::Create, Op::Mkdir, Op::Mknod, Op::Symlink].iter().any(|op| dirty.has(*op))
        && ![Op::RenameTo, Op::RenameFrom, Op::Link, Op::Any].iter().any(|op| dirty.has(*op))
}

/// A path as it was before anything on it was displaced.
fn plain(path: &Path) -> PathBuf {
    let part = |part: &OsStr| {
        let name = part.as_bytes().split(|byte| u32::from(*byte) == u32::from(DISPLACED)).next();
        OsStr::from_bytes(name.unwrap_or_default()).to_owned()
    };
    path.iter().map(part).collect()
}

/// Counts a move of an artifact; `false` when it has moved too often to be followed further.
fn count_move(tasks: &mut Tasks, id: ArtifactId) -> bool {
    let moves = tasks.moves.entry(id).or_default();
    *moves += 1;
    *moves <= MOVES_MAX
}
