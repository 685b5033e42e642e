//! Whether the brick is the tree.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::Rig;
use crate::agent::root::Root;
use crate::artifact::FileType;
use crate::artifact::inventory::inode_of;
use crate::brick::{ArtifactId, Brick, Row};
use crate::collect::InodeId;
use crate::fold::{Layout, k_for_len};

/// Artifacts that are extracted one by one; each reads the whole catalog. Beyond it the hashes must do: that the pixels
/// have those, `verify` has shown.
const EXTRACTED_MAX: usize = 200;

/// What is at one path.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    file_type: FileType,
    mode: u32,
    ino: u64,
    mtime_ns: i64,
    size: u64,
}

impl Rig {
    /// What is on disk, by path.
    fn disk(&self) -> BTreeMap<PathBuf, Seen> {
        let mut found = BTreeMap::new();
        let mut todo = vec![self.tree.clone()];
        while let Some(path) = todo.pop() {
            let meta = fs::symlink_metadata(&path).unwrap();
            let file_type = if meta.is_dir() {
                FileType::Directory
            } else if meta.is_symlink() {
                FileType::Symlink
            } else {
                FileType::File
            };
            if meta.is_dir() {
                todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
            let mtime_ns = meta.mtime() * 1_000_000_000 + meta.mtime_nsec();
            // The size of a directory is the file system's own affair.
            let size = if meta.is_dir() { 0 } else { meta.size() };
            found.insert(
                path,
                Seen { file_type, mode: meta.mode() & 0o7777, ino: meta.ino(), mtime_ns, size },
            );
        }
        found
    }

    /// The brick is the tree, and everything about it is verified.
    pub(super) fn check(&mut self) -> &mut Self {
        self.check_except(&[])
    }

    /// The brick is the tree, and everything but these paths is verified.
    pub(super) fn check_except(&mut self, unverified: &[&str]) -> &mut Self {
        let disk = self.disk();
        let unverified: BTreeSet<PathBuf> = unverified.iter().map(|path| self.at(path)).collect();
        let root = self.opened();
        let inventory = root.inventory();
        let rows: BTreeMap<PathBuf, &Row> =
            inventory.rows().map(|row| (inventory.path(row.id), row)).collect();
        assert_eq!(rows.len(), inventory.len(), "two artifacts of one path");
        let seen: BTreeMap<PathBuf, Seen> = rows
            .iter()
            .map(|(path, row)| {
                let meta = &row.meta;
                let size = if meta.file_type == FileType::Directory { 0 } else { meta.size };
                let (mode, ino, mtime_ns) = (meta.mode, meta.ino, meta.mtime_ns);
                (path.clone(), Seen { file_type: meta.file_type, mode, ino, mtime_ns, size })
            })
            .collect();
        assert_same(&seen, &disk);
        let found: BTreeSet<PathBuf> =
            rows.iter().filter(|(_, row)| row.unverified.is_some()).map(|(path, _)| path.clone()).collect();
        assert_eq!(found, unverified, "unverified");
        assert_eq!(inventory.unverified(), unverified.len() as u64);

        let blocks = inventory.rows().map(|row| (row.block, row.id));
        assert_eq!(
            Layout::from_blocks(root.layout.order(), root.layout.cap(), blocks).unwrap(),
            root.layout,
            "the layout is not that of the rows"
        );
        let mut believed: Vec<Row> = inventory.rows().cloned().collect();
        believed.sort_by_key(|row| row.id);
        assert_eq!(root.brick.rows().unwrap(), believed, "the catalog is not the inventory");
        if self.kernel.room.is_none() {
            let inodes: BTreeSet<InodeId> = inventory.rows().map(inode_of).collect();
            assert_eq!(self.kernel.all(), inodes, "watched inodes");
        }

        let brick = Brick::open(&self.brick_path()).unwrap();
        let report = brick.verify().unwrap();
        assert!(report.is_ok(), "{:#?}", report.findings);
        for (path, row) in &rows {
            let contents = match row.meta.file_type {
                FileType::File => fs::read(path).unwrap(),
                FileType::Symlink => fs::read_link(path).unwrap().as_os_str().as_bytes().to_vec(),
                _ => continue,
            };
            if row.unverified.is_some() || row.redacted {
                assert!(brick.extract(path.as_os_str().as_bytes()).is_err());
            } else if row.exact && rows.len() <= EXTRACTED_MAX {
                let extracted = brick.extract(path.as_os_str().as_bytes());
                assert!(extracted.unwrap() == contents, "contents of {}", path.display());
            } else {
                assert_eq!(row.len, contents.len() as u64, "length of {}", path.display());
                assert_eq!(*blake3::hash(&contents).as_bytes(), row.content_hash, "{}", path.display());
            }
        }
        self
    }
}

fn assert_same(believed: &BTreeMap<PathBuf, Seen>, disk: &BTreeMap<PathBuf, Seen>) {
    let mut wrong = Vec::new();
    for path in believed.keys().chain(disk.keys()).collect::<BTreeSet<_>>() {
        let (believed, disk) = (believed.get(path), disk.get(path));
        if believed != disk {
            wrong.push(format!("{}:\n  believed {believed:?}\n  on disk  {disk:?}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The brick before something was applied to it.
pub(super) struct Pixels {
    rows: HashMap<ArtifactId, Row>,
    cells: Vec<u8>,
    on: bool,
}

impl Pixels {
    pub(super) fn of(root: &Root, on: bool) -> Self {
        if !on {
            return Self { rows: HashMap::new(), cells: Vec::new(), on };
        }
        let rows = root.brick.rows().unwrap().into_iter().map(|row| (row.id, row)).collect();
        Self { rows, cells: root.brick.cells(0, root.brick.used_end()), on }
    }

    /// Nobody moved whose size class stayed, and no cell changed of an artifact that did not.
    pub(super) fn compare(&self, root: &Root) {
        if !self.on {
            return;
        }
        let now = root.brick.cells(0, root.brick.used_end());
        for row in root.brick.rows().unwrap() {
            let Some(old) = self.rows.get(&row.id) else { continue };
            if old.block != row.block {
                assert_ne!(
                    old.block.k,
                    k_for_len(row.len, root.layout.cap()),
                    "moved without need: {old:?} to {row:?}"
                );
            } else if old.content_hash == row.content_hash
                && old.unverified.is_none()
                && row.unverified.is_none()
            {
                let (start, end) = (row.block.start as usize, row.block.end() as usize);
                assert!(self.cells[start..end] == now[start..end], "cells changed of {row:?}");
            }
        }
    }
}
