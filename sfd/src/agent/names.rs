//! Names that come and go: what has moved keeps its place on the brick, what is new gets one, what is gone gives its own
//! back.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use tracing::warn;

use super::later::SOON;
use super::observe::{asks_again, fitting, is_absence};
use super::reconcile::{Fresh, Tasks, Trust};
use super::root::Root;
use super::survey::row_of;
use super::{AgentError, RootKind, clock};
use crate::artifact::inventory::{inode_of, is_dir};
use crate::artifact::look::{Look, Renamed, complaint};
use crate::artifact::{Artifact, FileType, Meta};
use crate::batch::Dirty;
use crate::brick::{ArtifactId, Verb};
use crate::collect::{InodeId, Op, Watch};

/// Stands between the old name of an artifact that has lost it to another one, and its number: two artifacts of one
/// name would be a catalog that no restart can use. No file has a NUL in its name.
const DISPLACED: char = '\0';

impl Root {
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
        let Some(parent) = row.parent.filter(|_| tasks.count_move(id)) else { return false };
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
    pub(super) fn meet(&mut self, fresh: &Fresh, tasks: &mut Tasks, watch: &mut dyn Watch) {
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
        let Some(id) = moved.filter(|id| !self.is_reused(*id, path)) else { return false };
        // A directory cannot become its own descendant; only a stale belief could say so.
        if self.inventory.subtree(id).contains(dir) || !tasks.count_move(id) {
            return false;
        }
        let Some(row) = self.inventory.get(id) else { return false };
        let (mut row, mut dirty) = (row.clone(), dirty.clone());
        if let Some(other) = tasks.gone.remove(&id) {
            dirty.merge(&other);
        }
        let from = plain(&self.inventory.path(id));
        if !tasks.displaced.remove(&id)
            && from == self.inventory.path(id)
            && let Some(parent) = row.parent
        {
            // Something else may have its old name by now.
            tasks.examine(parent, OsString::from_vec(row.name.clone()), &dirty);
        }
        row.parent = Some(*dir);
        row.name = name.as_bytes().to_vec();
        self.record(&row, path, Some(&from), Verb::Renamed, String::new(), &dirty);
        self.latecomers.saw(id, clock::now_ns(), &dirty);
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

    /// Whether what is at `path` was made after `id`, whose inode number it has, was last seen: then it is not that.
    fn is_reused(&mut self, id: ArtifactId, path: &Path) -> bool {
        let Some(row) = self.inventory.get(id) else { return false };
        // An artifact that was not settled has no change time.
        let seen = row.meta.ctime_ns;
        seen > 0 && self.view.born_ns(path).is_some_and(|born| born > seen)
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
        let Look::Changed(artifact) = self.timed_look(inode, path, None, None, Trust::Read) else {
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
            let line = self.record(&row, path, None, Verb::Created, String::new(), dirty);
            self.keep_version(line, None, Some(&row));
            self.note_secret(&row, path, false);
            self.want_words(&row);
            self.latecomers.saw(id, clock::now_ns(), dirty);
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
        self.draft.fill(&row, fitting(artifact, &row), artifact.regions.clone());
        self.keep(row);
        true
    }

    /// Takes an object that no longer exists, and everything below it, off the brick.
    pub(super) fn remove(
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
            let path = plain(&path);
            let line = self.record(&row, &path, None, Verb::Deleted, String::new(), dirty);
            if line.is_some() {
                let contents = self.contents_of(&row, &path);
                self.keep_version(line, Some((&row, contents)), None);
            }
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
