//! A model of the kernel, and a file system that can be made to play tricks.
//!
//! The model reports what the eBPF side reports and no more: an inode only when it is watched and was not reported
//! since it was last rearmed, and a name always. So a watch or rearm that the agent forgets is a change that a test
//! misses.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::artifact::Meta;
use crate::artifact::view::{DiskView, Entry, Source, View};
use crate::collect::{InodeId, LossReason, Watch};

/// The kernel's map of watched inodes; `true` while a report waits for a rearm.
#[derive(Clone, Default)]
pub(super) struct Kernel {
    pub(super) watched: Arc<Mutex<HashMap<InodeId, bool>>>,
    /// Most inodes that fit.
    pub(super) room: Option<usize>,
    /// How often an inode did not fit.
    pub(super) refusals: Arc<Mutex<u64>>,
    /// The next rearm fails.
    pub(super) no_memory: Arc<Mutex<bool>>,
}

impl Kernel {
    pub(super) fn touch(&self, id: InodeId) -> bool {
        self.watched.lock().unwrap().get_mut(&id).is_some_and(|dirty| !std::mem::replace(dirty, true))
    }

    pub(super) fn clean(&self, id: InodeId) {
        if let Some(dirty) = self.watched.lock().unwrap().get_mut(&id) {
            *dirty = false;
        }
    }

    pub(super) fn refused(&self) -> u64 {
        *self.refusals.lock().unwrap()
    }

    pub(super) fn watches(&self, id: InodeId) -> bool {
        self.watched.lock().unwrap().contains_key(&id)
    }

    pub(super) fn all(&self) -> BTreeSet<InodeId> {
        self.watched.lock().unwrap().keys().copied().collect()
    }
}

impl Watch for Kernel {
    fn watch(&mut self, id: InodeId, _: &Path, _: bool) -> Result<(), LossReason> {
        let mut watched = self.watched.lock().unwrap();
        if !watched.contains_key(&id) && self.room.is_some_and(|room| watched.len() >= room) {
            *self.refusals.lock().unwrap() += 1;
            return Err(LossReason::WatchedFull);
        }
        watched.insert(id, false);
        Ok(())
    }

    fn unwatch(&mut self, id: InodeId) {
        self.watched.lock().unwrap().remove(&id);
    }

    fn rearm(&mut self, id: InodeId) -> bool {
        if std::mem::take(&mut *self.no_memory.lock().unwrap()) {
            self.unwatch(id);
            return false;
        }
        self.clean(id);
        true
    }
}

type Hook = Box<dyn FnOnce() + Send>;

/// What a view is made to do beside its work.
#[derive(Default)]
pub(super) struct Tricks {
    /// Directories that cannot be listed.
    pub(super) unlistable: BTreeSet<PathBuf>,
    /// Run just before this file is opened, once.
    pub(super) before_open: Option<(PathBuf, Hook)>,
    /// Run just after this directory was listed, once.
    pub(super) after_list: Option<(PathBuf, Hook)>,
    /// How often each file was opened.
    pub(super) opened: BTreeMap<PathBuf, u64>,
}

pub(super) struct Tricked {
    pub(super) view: DiskView,
    pub(super) tricks: Arc<Mutex<Tricks>>,
}

impl View for Tricked {
    fn list(&mut self, dir: &Path) -> io::Result<Vec<Entry>> {
        if self.tricks.lock().unwrap().unlistable.contains(dir) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let entries = self.view.list(dir);
        let hook = {
            let mut tricks = self.tricks.lock().unwrap();
            tricks.after_list.take_if(|(path, _)| path == dir)
        };
        if let Some((_, hook)) = hook {
            hook();
        }
        entries
    }

    fn meta(&mut self, path: &Path) -> io::Result<Meta> {
        self.view.meta(path)
    }

    fn id(&mut self, path: &Path, meta: &Meta) -> InodeId {
        self.view.id(path, meta)
    }

    fn open(&mut self, path: &Path) -> io::Result<Box<dyn Source>> {
        let hook = {
            let mut tricks = self.tricks.lock().unwrap();
            *tricks.opened.entry(path.to_path_buf()).or_default() += 1;
            tricks.before_open.take_if(|(of, _)| of == path)
        };
        if let Some((_, hook)) = hook {
            hook();
        }
        self.view.open(path)
    }

    fn read_link(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        self.view.read_link(path)
    }

    fn boundary(&mut self, dir: &Path) -> Option<&'static str> {
        self.view.boundary(dir)
    }

    fn excluded(&self, path: &Path) -> bool {
        self.view.excluded(path)
    }
}
