//! Comparing a directory with what is believed to be in it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::Instant;

use super::RootKind;
use super::observe::{is_absence, is_distrust};
use super::reconcile::{Fresh, Hints, Tasks};
use super::root::Root;
use crate::artifact::FileType;
use crate::artifact::inventory::{inode_of, is_dir};
use crate::artifact::look::complaint;
use crate::batch::Dirty;
use crate::brick::ArtifactId;
use crate::collect::{Op, Watch};

impl Root {
    /// Lists one directory and says what is gone, what is new, and what was reported and still there.
    pub(super) fn compare(
        &mut self,
        dir: ArtifactId,
        hints: Hints,
        tasks: &mut Tasks,
        watch: &mut dyn Watch,
    ) {
        let Some(row) = self.inventory.get(dir).filter(|row| is_dir(row)) else { return };
        let (believed, is_root) = (inode_of(row), row.parent.is_none());
        let path = self.inventory.path(dir);
        if !self.view.lists_on_hint() && !hints.names.is_empty() {
            for (name, dirty) in hints.names {
                self.compare_name(dir, &path, name, &dirty, tasks);
            }
            return;
        }
        let any = hints.names.values().fold(hints.whole.clone(), |mut sum, dirty| {
            sum.merge(dirty);
            sum
        });
        // For what nobody reported: that others changed something here does not make them its writers.
        // Where only the directory itself is reported, whoever changed names in it is one of those.
        let names_changed = hints.whole.has(Op::Changed) || hints.whole.is_of_a_name();
        let unnamed = if names_changed { hints.whole.clone() } else { any.unnamed() };
        // Before the metadata is read, which makes the kernel give the next change a time of its own, and that before the
        // listing: so what comes after the listing is reported.
        self.rearm(believed, watch);
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
        if any.count > 0 {
            tasks.look(dir, &any);
        }
        let names: BTreeMap<&OsStr, Option<u64>> =
            entries.iter().map(|entry| (entry.name.as_os_str(), entry.ino)).collect();
        let children: Vec<(OsString, ArtifactId)> =
            self.inventory.children(dir).map(|(name, id)| (name.to_owned(), id)).collect();
        for (name, id) in children {
            let Some(ino) = names.get(name.as_os_str()) else {
                tasks.miss(id, hints.names.get(&name).unwrap_or(&unnamed));
                tasks.look(dir, &any);
                continue;
            };
            // It was away only when its directory was listed before.
            if tasks.gone.contains_key(&id)
                && !tasks.displaced.contains(&id)
                && self.view.meta(&path.join(&name)).is_ok()
                && let Some(dirty) = tasks.gone.remove(&id)
            {
                tasks.look(id, &dirty);
            }
            // Where only the directory is reported, a name that was taken over by another object shows by its number.
            let hint = hints.names.get(&name);
            let replaced = hint.is_none() && self.is_replaced(id, &path.join(&name), *ino);
            if let Some(dirty) = hint.or(replaced.then_some(&any))
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
                let hint = hints.names.get(&entry.name);
                let is_dir = entry.file_type == Some(FileType::Directory);
                let dirty = hint.unwrap_or(&unnamed).clone();
                fresh.push((is_dir, Fresh { dir, name: entry.name, dirty, reported: hint.is_some() }));
            }
        }
        if !fresh.is_empty() {
            tasks.look(dir, &any);
        }
        fresh.sort_by_key(|(is_dir, _)| *is_dir);
        tasks.fresh.extend(fresh.into_iter().map(|(_, fresh)| fresh));
    }

    /// Whether a name stands for another object than is believed. `ino` is what the listing says, which is enough for
    /// nearly all; at mount points, and on some stacked file systems, it is another number than the object has.
    fn is_replaced(&mut self, id: ArtifactId, path: &Path, ino: Option<u64>) -> bool {
        let Some(believed) = self.inventory.get(id).map(inode_of) else { return false };
        if ino.is_none_or(|ino| ino == believed.ino) {
            return false;
        }
        self.view.meta(path).is_ok_and(|meta| self.view.id(path, &meta) != believed)
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
}
