//! One brick as the map sees it: files that are opened when needed, and an index that is made when somebody looks.
//!
//! Only reads. What it holds may be a moment older than the brick; every answer is as of one such moment, and the note of
//! the next commit brings it up to date.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use super::error::ApiError;
use super::feed::Note;
use super::index::Index;
use crate::agent::RootKind;
use crate::brick::{ArtifactId, Brick, Catalog};
use crate::fold::Merkle;
use crate::fold::merkle::leaves_of;

/// Open readers kept for the next request: one for each thread of the pool and one for the notes.
const READERS_KEPT: usize = 3;

/// A brick of this daemon.
#[derive(Debug)]
pub(super) struct Slot {
    /// Name of the brick: `etc`.
    pub(super) name: String,
    /// What is watched.
    pub(super) root: PathBuf,
    pub(super) kind: RootKind,
    brick: PathBuf,
    catalog: PathBuf,
    readers: Mutex<Vec<Reader>>,
    state: RwLock<Option<State>>,
}

/// What is known of a brick.
#[derive(Debug)]
pub(super) struct State {
    pub(super) order: u8,
    pub(super) index: Index,
    pub(super) merkle: Merkle,
    /// Grows with every change of the index.
    pub(super) version: u64,
}

#[derive(Debug)]
struct Reader {
    brick: Brick,
    /// Device and inode of the catalog: SQLite goes on with a file whose name is gone.
    catalog: (u64, u64),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while holding it leaves at worst a reader less.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

impl Slot {
    pub(super) fn new(bricks: &Path, name: &str, root: &Path, kind: RootKind) -> Self {
        Self {
            name: name.to_owned(),
            root: root.to_owned(),
            kind,
            brick: bricks.join(format!("{name}.brick")),
            catalog: bricks.join(format!("{name}.catalog.sqlite")),
            readers: Mutex::default(),
            state: RwLock::default(),
        }
    }

    /// What `f` makes of the open brick.
    ///
    /// # Errors
    /// Those of `f`, and when the brick is not there (yet) or cannot be read.
    pub(super) fn read<T>(&self, f: impl FnOnce(&Brick) -> Result<T, ApiError>) -> Result<T, ApiError> {
        let missing = || ApiError::unavailable(format!("brick {}: not open yet", self.name));
        let catalog = identity(&self.catalog).ok_or_else(missing)?;
        let kept = {
            let mut readers = lock(&self.readers);
            readers.retain(|reader| reader.catalog == catalog);
            readers.pop()
        };
        let reader = match kept {
            Some(reader) => reader,
            None => Reader { brick: Brick::open(&self.brick)?, catalog },
        };
        let result = f(&reader.brick);
        let mut readers = lock(&self.readers);
        if readers.len() < READERS_KEPT {
            readers.push(reader);
        }
        result
    }

    /// The same of its catalog.
    pub(super) fn catalog<T>(&self, f: impl FnOnce(&Catalog) -> Result<T, ApiError>) -> Result<T, ApiError> {
        self.read(|brick| match brick.catalog() {
            Some(catalog) => f(catalog),
            None => Err(ApiError::unavailable(format!("brick {}: it is not a live one", self.name))),
        })
    }

    /// What `f` makes of the state, which is read now if it is not there.
    ///
    /// # Errors
    /// Those of `f`, and when the catalog cannot be read.
    pub(super) fn with<T>(&self, f: impl FnOnce(&State) -> Result<T, ApiError>) -> Result<T, ApiError> {
        {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(state) = &*state {
                return f(state);
            }
        }
        // Held while it is read: a note that comes meanwhile waits, and is then put on top.
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.is_none() {
            *state = Some(self.load()?);
        }
        match &*state {
            Some(state) => f(state),
            None => Err(ApiError::unavailable(format!("brick {}: not open yet", self.name))),
        }
    }

    fn load(&self) -> Result<State, ApiError> {
        self.catalog(|catalog| {
            let (order, outlines, merkle) = catalog.snapshot(|catalog| {
                let order = catalog.meta()?.order;
                Ok((order, catalog.outlines()?, catalog.merkle(order)?))
            })?;
            let mut index = Index::new(order, outlines);
            if self.kind == RootKind::Proc {
                // What is read of /proc has no times of its own.
                let timeless: Vec<ArtifactId> =
                    index.iter().filter(|(_, entry)| entry.changed_ns == 0).map(|(id, _)| id).collect();
                for id in timeless {
                    if let Some(at_ns) = catalog.last_told(&index.path(id))? {
                        index.told(id, at_ns);
                    }
                }
            }
            Ok(State { order, index, merkle, version: 0 })
        })
    }

    /// Forgets everything: it is read again when somebody asks.
    pub(super) fn forget(&self) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = None;
        lock(&self.readers).clear();
    }

    /// Brings the state up to date with a commit.
    pub(super) fn apply(&self, note: &Note) {
        let order = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            match &*state {
                // Nobody looks: nothing is kept up.
                None => return,
                Some(state) => state.order,
            }
        };
        if note.whole || note.order != order || self.catch_up(note).is_err() {
            self.forget();
        }
    }

    fn catch_up(&self, note: &Note) -> Result<(), ApiError> {
        let mut leaves: Vec<u64> = note.blocks.iter().flat_map(|block| leaves_of(*block)).collect();
        leaves.sort_unstable();
        leaves.dedup();
        let (hashes, rows) = self.catalog(|catalog| {
            Ok(catalog.snapshot(|catalog| {
                let hashes = leaves.iter().map(|leaf| Ok((*leaf, catalog.leaf(*leaf)?)));
                let rows = note.ids.iter().map(|id| Ok((*id, catalog.outline(*id)?)));
                Ok((hashes.collect::<Result<Vec<_>, _>>()?, rows.collect::<Result<Vec<_>, _>>()?))
            })?)
        })?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let Some(state) = &mut *state else { return Ok(()) };
        state.merkle.set(hashes);
        for (id, row) in rows {
            match row {
                Some(row) => state.index.put(row),
                None => drop(state.index.remove(id)),
            }
        }
        for line in &note.lines {
            let Some(block) = line.block else { continue };
            let subject = state.index.within(block).next().map(|(id, _)| id);
            if let Some(id) = subject {
                state.index.told(id, line.row.at_ns);
            }
        }
        state.version += 1;
        Ok(())
    }
}
