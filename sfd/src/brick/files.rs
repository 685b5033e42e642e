//! Names, modes and renames of the files of a brick.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use tempfile::NamedTempFile;

use super::BrickError;
use super::error::IoContext;

/// Bricks show contents: nobody but their owner reads them.
const MODE: u32 = 0o600;

/// The files of one live brick.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    dir: PathBuf,
    /// `NAME.brick`.
    pub(crate) brick: PathBuf,
    /// `NAME.catalog.sqlite`.
    pub(crate) catalog: PathBuf,
    /// Locked while a process writes the brick. A file of its own, because growth replaces the brick's inode.
    lock: PathBuf,
}

impl Files {
    pub(crate) fn new(dir: &Path, name: &str) -> Result<Self, BrickError> {
        let brick = dir.join(format!("{name}.brick"));
        if name.is_empty() || name.contains(['/', '\0']) || name.starts_with('.') {
            return Err(BrickError::invalid(&brick, "the name of a brick is a file name"));
        }
        Ok(Self {
            dir: dir.to_owned(),
            brick,
            catalog: dir.join(format!("{name}.catalog.sqlite")),
            lock: dir.join(format!("{name}.lock")),
        })
    }

    /// The catalog beside a brick file.
    pub(crate) fn catalog_of(brick: &Path) -> PathBuf {
        let stem = brick.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        brick.with_file_name(format!("{stem}.catalog.sqlite"))
    }

    pub(crate) fn make_dir(&self) -> Result<(), BrickError> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir).doing("create", &self.dir)
    }

    /// The name under which a file is written before it is renamed.
    pub(crate) fn new_brick(&self) -> PathBuf {
        with_suffix(&self.brick, ".new")
    }

    pub(crate) fn new_catalog(&self) -> PathBuf {
        with_suffix(&self.catalog, ".new")
    }

    /// What leaves held before they were written over, while somebody copies the brick.
    pub(crate) fn kept(&self) -> PathBuf {
        kept_of(&self.brick)
    }

    /// Takes the brick for this process, until the returned file is dropped.
    ///
    /// # Errors
    /// [`BrickError::Locked`] when another process has it.
    pub(crate) fn lock(&self) -> Result<File, BrickError> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(MODE)
            .open(&self.lock)
            .doing("open", &self.lock)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(BrickError::Locked { path: self.brick.clone() }),
            Err(source) => Err(source).doing("lock", &self.lock),
        }
    }

    /// Removes what a killed `create`, growth or snapshot left. Only the holder of the lock may.
    pub(crate) fn remove_leftovers(&self) -> Result<(), BrickError> {
        remove(&self.new_brick())?;
        remove(&self.kept())?;
        remove_database(&self.new_catalog())
    }

    /// Makes renames durable.
    pub(crate) fn sync_dir(&self) -> Result<(), BrickError> {
        sync_dir(&self.dir)
    }
}

/// A file of contents being written beside its name: 0600, and there whole or not at all.
#[derive(Debug)]
pub(crate) struct NewFile {
    file: NamedTempFile,
    out: PathBuf,
}

impl NewFile {
    pub(crate) fn create(out: &Path) -> Result<Self, BrickError> {
        let dir = dir_of(out);
        let file = tempfile::Builder::new()
            .prefix(".sfd-")
            .suffix(".tmp")
            .tempfile_in(dir)
            .doing("create a file in", dir)?;
        Ok(Self { file, out: out.to_owned() })
    }

    pub(crate) fn file(&self) -> &File {
        self.file.as_file()
    }

    /// Syncs the file, gives it its name and returns its length in bytes.
    pub(crate) fn finish(self) -> Result<u64, BrickError> {
        self.file.as_file().sync_all().doing("sync", &self.out)?;
        let len = self.file.as_file().metadata().doing("stat", &self.out)?.len();
        self.file
            .persist(&self.out)
            .map_err(|error| error.error)
            .doing("rename the new file to", &self.out)?;
        sync_dir(dir_of(&self.out))?;
        Ok(len)
    }
}

/// The directory that a file is in.
pub(crate) fn dir_of(file: &Path) -> &Path {
    // A relative path of one component has the empty path as its parent.
    file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Which file it is: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId(u64, u64);

impl FileId {
    pub(crate) fn of(stat: &Metadata) -> Self {
        Self(stat.dev(), stat.ino())
    }

    /// The file that has a name now, if one has.
    pub(crate) fn at(path: &Path) -> Result<Option<Self>, BrickError> {
        match std::fs::symlink_metadata(path) {
            Ok(stat) => Ok(Some(Self::of(&stat))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).doing("stat", path),
        }
    }
}

/// Fails if a name is not that of the file that is open.
pub(crate) fn check_name(path: &Path, open: FileId) -> Result<(), BrickError> {
    if FileId::at(path)? == Some(open) { Ok(()) } else { Err(BrickError::Replaced { path: path.to_owned() }) }
}

/// Where the writer of a brick keeps what somebody who copies it needs.
pub(crate) fn kept_of(brick: &Path) -> PathBuf {
    with_suffix(brick, ".kept")
}

pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

pub(crate) fn sync_dir(dir: &Path) -> Result<(), BrickError> {
    // A relative path of one component has the empty path as its parent.
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir).and_then(|dir| dir.sync_all()).doing("sync", dir)
}

/// Creates a file that must not exist, readable by its owner only.
pub(crate) fn create_new(path: &Path) -> Result<File, BrickError> {
    let mut options = OpenOptions::new();
    options.create_new(true).read(true).write(true).mode(MODE).open(path).doing("create", path)
}

pub(crate) fn open_read(path: &Path) -> Result<File, BrickError> {
    File::open(path).doing("open", path)
}

pub(crate) fn open_write(path: &Path) -> Result<File, BrickError> {
    OpenOptions::new().read(true).write(true).open(path).doing("open", path)
}

/// The first bytes of a file; fewer if it is shorter.
pub(crate) fn read_prefix(file: &File, path: &Path, len: usize) -> Result<Vec<u8>, BrickError> {
    let mut bytes = Vec::with_capacity(len);
    file.take(len as u64).read_to_end(&mut bytes).doing("read", path)?;
    Ok(bytes)
}

/// Removes a file that may not exist.
pub(crate) fn remove(path: &Path) -> Result<(), BrickError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).doing("remove", path),
        _ => Ok(()),
    }
}

/// Removes a database with its log: a log left beside a new database of the same name would be applied to it.
pub(crate) fn remove_database(path: &Path) -> Result<(), BrickError> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        remove(&with_suffix(path, suffix))?;
    }
    Ok(())
}

pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), BrickError> {
    std::fs::rename(from, to).doing("rename", from)
}
