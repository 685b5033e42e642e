//! Finding what is there and giving it its place: the first step of a baseline and of `sfd fold`.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::AgentError;
use super::observe::is_absence;
use crate::artifact::inventory::inode_of;
use crate::artifact::kinds::Kind;
use crate::artifact::look::complaint;
use crate::artifact::view::View;
use crate::artifact::{FileType, Meta, Risk, Semantics, SemanticsSource};
use crate::brick::{ArtifactId, Row};
use crate::collect::{InodeId, Watch};
use crate::fold::{Block, FirstFoldItem, K_CAP, K_MIN, Layout, first_fold};

/// Why a freshly laid out artifact is not verified.
const NOT_READ_YET: &str = "not read yet";
/// How many artifacts are found between two calls of the progress function.
const PROGRESS_EVERY: usize = 256;

/// A tree that has its places but was not read yet.
#[derive(Debug)]
pub struct Survey {
    /// Every artifact, parents before children, all unverified.
    pub rows: Vec<Row>,
    /// Where they are.
    pub layout: Layout,
    /// Objects that could not be watched.
    pub unwatched: HashSet<InodeId>,
    /// Directories of which not everything could be found, and why.
    pub unlisted: HashMap<ArtifactId, String>,
}

/// Walks the trees at `roots`, watching every directory before listing it, and lays them out. Contents are not read.
/// `progress` is told how many artifacts were found, and may end the walk.
///
/// # Errors
/// When a root does not exist or the trees do not fit a brick; [`AgentError::Stopped`] when `progress` said so.
pub fn survey(
    roots: &[PathBuf],
    exact: bool,
    view: &mut dyn View,
    watch: &mut dyn Watch,
    progress: &dyn Fn(u64) -> ControlFlow<()>,
) -> Result<Survey, AgentError> {
    find(roots, view, watch, progress)?.place(K_CAP, exact)
}

/// A tree that was walked and has no places yet.
#[derive(Debug)]
pub(super) struct Walked {
    rows: Vec<Row>,
    unwatched: HashSet<InodeId>,
    unlisted: HashMap<ArtifactId, String>,
}

impl Walked {
    /// Keeps at most `max` of what is no directory, the first in the order of their paths, and the directories they are
    /// in. Returns how many of what is no directory were left out.
    pub(super) fn keep_files(&mut self, max: usize) -> usize {
        let is_dir = |row: &Row| row.meta.file_type == FileType::Directory;
        let files = self.rows.iter().filter(|row| !is_dir(row)).count();
        if files <= max {
            return 0;
        }
        // Parents come before their children, and numbers count from 1 in that order.
        let index = |id: ArtifactId| id.0 as usize - 1;
        let mut paths: Vec<Vec<u8>> = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            let mut path = row.parent.and_then(|id| paths.get(index(id)).cloned()).unwrap_or_default();
            path.push(b'/');
            path.extend_from_slice(&row.name);
            paths.push(path);
        }
        let mut order: Vec<usize> = (0..self.rows.len()).filter(|i| !is_dir(&self.rows[*i])).collect();
        order.sort_unstable_by(|a, b| paths[*a].cmp(&paths[*b]));
        let mut kept = vec![false; self.rows.len()];
        for mut at in order.into_iter().take(max) {
            while !kept[at] {
                kept[at] = true;
                match self.rows[at].parent {
                    Some(parent) => at = index(parent),
                    None => break,
                }
            }
        }
        for (row, kept) in self.rows.iter().zip(&mut kept) {
            *kept |= row.parent.is_none() && is_dir(row);
        }
        let mut kept = kept.into_iter();
        self.rows.retain(|_| kept.next().unwrap_or(false));
        files - max
    }

    /// Gives everything its place; no block is larger than `2^cap_max` cells.
    pub(super) fn place(self, cap_max: u8, exact: bool) -> Result<Survey, AgentError> {
        let Self { mut rows, unwatched, unlisted } = self;
        let items: Vec<FirstFoldItem<'_>> = rows.iter().map(Row::to_place).collect();
        let fold =
            first_fold(&items, cap_max, exact).map_err(|error| AgentError::Layout(error.to_string()))?;
        let blocks: HashMap<ArtifactId, Block> = fold.blocks.into_iter().collect();
        for row in &mut rows {
            row.block =
                *blocks.get(&row.id).ok_or_else(|| AgentError::Layout("an artifact has no place".into()))?;
        }
        Ok(Survey { rows, layout: fold.layout, unwatched, unlisted })
    }
}

/// The first half of [`survey`].
pub(super) fn find(
    roots: &[PathBuf],
    view: &mut dyn View,
    watch: &mut dyn Watch,
    progress: &dyn Fn(u64) -> ControlFlow<()>,
) -> Result<Walked, AgentError> {
    let mut rows = Vec::new();
    let mut unwatched = HashSet::new();
    let mut unlisted = HashMap::new();
    for root in roots {
        let meta = view.meta(root).map_err(|source| AgentError::Root { path: root.clone(), source })?;
        let inode = view.id(root, &meta);
        let name = root.as_os_str().as_encoded_bytes().to_vec();
        let mut dirs: Vec<(usize, PathBuf)> = Vec::new();
        add(&mut rows, &mut dirs, None, name, root, meta, inode)?;
        while let Some((index, dir)) = dirs.pop() {
            unwatched.extend(walk(&mut rows, &mut dirs, &mut unlisted, index, &dir, view, watch, progress)?);
        }
    }
    Ok(Walked { rows, unwatched, unlisted })
}

/// Lists one directory. Returns it if it could not be watched.
#[expect(clippy::too_many_arguments, reason = "the state of the walk, and what it works on")]
fn walk(
    rows: &mut Vec<Row>,
    dirs: &mut Vec<(usize, PathBuf)>,
    unlisted: &mut HashMap<ArtifactId, String>,
    index: usize,
    dir: &Path,
    view: &mut dyn View,
    watch: &mut dyn Watch,
    progress: &dyn Fn(u64) -> ControlFlow<()>,
) -> Result<Option<InodeId>, AgentError> {
    let Some(row) = rows.get(index) else { return Ok(None) };
    let parent = row.id;
    // Watch, then list: what is created after the listing is reported.
    let unwatched = watch.watch(inode_of(row), dir, true).is_err().then_some(inode_of(row));
    // And look at it in between, so that the kernel gives the next change a time of its own. Whether it is there, the
    // listing tells.
    let _ = view.meta(dir);
    let entries = match view.list(dir) {
        Ok(entries) => entries,
        Err(error) => {
            unlisted.insert(parent, format!("cannot be listed: {}", complaint(&error)));
            return Ok(unwatched);
        }
    };
    for entry in entries {
        let path = dir.join(&entry.name);
        let meta = match view.meta(&path) {
            Ok(meta) => meta,
            // Gone again between listing and stat: its removal is an event that is replayed later.
            Err(error) if is_absence(&error) => continue,
            Err(error) => {
                unlisted.insert(parent, format!("not all of it can be examined: {}", complaint(&error)));
                continue;
            }
        };
        let inode = view.id(&path, &meta);
        add(rows, dirs, Some(parent), entry.name.as_encoded_bytes().to_vec(), &path, meta, inode)?;
        if rows.len().is_multiple_of(PROGRESS_EVERY) && progress(rows.len() as u64).is_break() {
            return Err(AgentError::Stopped);
        }
    }
    Ok(unwatched)
}

fn add(
    rows: &mut Vec<Row>,
    dirs: &mut Vec<(usize, PathBuf)>,
    parent: Option<ArtifactId>,
    name: Vec<u8>,
    path: &Path,
    meta: Meta,
    inode: InodeId,
) -> Result<(), AgentError> {
    let id = ArtifactId(u32::try_from(rows.len() + 1).map_err(|_| AgentError::TooMany)?);
    if meta.file_type == FileType::Directory {
        dirs.push((rows.len(), path.to_path_buf()));
    }
    rows.push(unread(id, parent, name, meta, inode));
    Ok(())
}

/// The row of an artifact that was found but not read.
fn unread(id: ArtifactId, parent: Option<ArtifactId>, name: Vec<u8>, meta: Meta, inode: InodeId) -> Row {
    Row {
        id,
        parent,
        name,
        sb_dev: inode.dev,
        block: Block { start: 0, k: K_MIN },
        len: 0,
        content_hash: [0; 32],
        exact: false,
        redacted: false,
        unverified: Some(NOT_READ_YET.to_owned()),
        semantics: unread_semantics(meta.file_type),
        meta,
    }
}

fn unread_semantics(file_type: FileType) -> Semantics {
    let kind = match file_type {
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::File => Kind::Unread,
        FileType::BlockDevice | FileType::CharDevice | FileType::Fifo | FileType::Socket => Kind::Special,
    };
    Semantics {
        kind,
        title: NOT_READ_YET.to_owned(),
        summary: String::new(),
        tags: Vec::new(),
        risk: Risk::default(),
        source: SemanticsSource::Heuristic,
        answered: None,
    }
}

/// The catalog row of what was just read.
pub fn row_of(
    id: ArtifactId,
    parent: Option<ArtifactId>,
    name: Vec<u8>,
    block: Block,
    artifact: &crate::artifact::Artifact,
) -> Row {
    let fits = artifact.cells.len() as u64 <= block.cells();
    let mut meta = artifact.meta.clone();
    if !artifact.settled {
        // Its time stamps cannot tell a change that comes within the same tick of the kernel's clock. It is looked at
        // again soon; should the daemon be killed before that, this makes the next comparison read it.
        meta.ctime_ns = 0;
    }
    Row {
        id,
        parent,
        name,
        meta,
        sb_dev: artifact.id.dev,
        block,
        len: artifact.len,
        content_hash: artifact.content_hash,
        exact: artifact.exact && fits,
        redacted: artifact.redacted,
        unverified: artifact.unverified.clone(),
        semantics: artifact.semantics.clone(),
    }
}
