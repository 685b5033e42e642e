//! Files that are nowhere: their contents were gathered before, and are looked at like any other.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Entry, FileType, InodeId, Meta, Source, View};

/// A tree of files in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryView {
    files: Arc<BTreeMap<PathBuf, Vec<u8>>>,
    /// With what is in them.
    dirs: Arc<BTreeMap<PathBuf, BTreeSet<OsString>>>,
    /// When the contents were gathered, nanoseconds since the Unix epoch.
    at_ns: i64,
}

impl MemoryView {
    /// The files at these absolute paths, and the directories they are in. `at_ns` becomes the time of their last change.
    pub fn new(files: BTreeMap<PathBuf, Vec<u8>>, at_ns: i64) -> Self {
        let mut dirs: BTreeMap<PathBuf, BTreeSet<OsString>> = BTreeMap::new();
        for path in files.keys() {
            let mut child = path.as_path();
            while let (Some(dir), Some(name)) = (child.parent(), child.file_name()) {
                dirs.entry(dir.to_path_buf()).or_default().insert(name.to_owned());
                child = dir;
            }
        }
        Self { files: Arc::new(files), dirs: Arc::new(dirs), at_ns }
    }

    fn is_dir(&self, path: &Path) -> bool {
        self.dirs.contains_key(path) && !self.files.contains_key(path)
    }
}

impl View for MemoryView {
    fn list(&mut self, dir: &Path) -> io::Result<Vec<Entry>> {
        let names = self.dirs.get(dir).filter(|_| self.is_dir(dir));
        let names = names.ok_or(io::ErrorKind::NotFound)?.iter();
        Ok(names.map(|name| Entry { name: name.clone(), file_type: None, ino: None }).collect())
    }

    fn meta(&mut self, path: &Path) -> io::Result<Meta> {
        let (file_type, size, mode) = match self.files.get(path) {
            Some(contents) => (FileType::File, contents.len() as u64, 0o444),
            None if self.is_dir(path) => (FileType::Directory, 0, 0o555),
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        // Stable, and not that of another path.
        let hash = blake3::hash(path.as_os_str().as_encoded_bytes());
        let ino = hash.as_bytes().first_chunk().map_or(0, |first| u64::from_le_bytes(*first));
        Ok(Meta {
            file_type,
            mode,
            uid: 0,
            gid: 0,
            size,
            mtime_ns: self.at_ns,
            ctime_ns: self.at_ns,
            dev: 0,
            ino,
            nlink: 1,
            rdev: 0,
        })
    }

    fn id(&mut self, _path: &Path, meta: &Meta) -> InodeId {
        InodeId { dev: 0, ino: meta.ino }
    }

    fn open(&mut self, path: &Path) -> io::Result<Box<dyn Source>> {
        let meta = self.meta(path)?;
        if !self.files.contains_key(path) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Box::new(MemoryFile { files: Arc::clone(&self.files), path: path.to_path_buf(), meta }))
    }

    fn read_link(&mut self, _path: &Path) -> io::Result<Vec<u8>> {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "not a symbolic link"))
    }
}

struct MemoryFile {
    files: Arc<BTreeMap<PathBuf, Vec<u8>>>,
    path: PathBuf,
    meta: Meta,
}

impl Source for MemoryFile {
    fn read_at(&mut self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let contents = self.files.get(&self.path).map_or(&[][..], Vec::as_slice);
        let rest = usize::try_from(offset).ok().and_then(|at| contents.get(at..)).unwrap_or_default();
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn meta(&self) -> io::Result<Meta> {
        Ok(self.meta.clone())
    }
}
