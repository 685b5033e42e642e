//! Where bytes come from. One engine ([`super::look`]) drives every [`View`] alike.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::{FileType, Meta};
use crate::collect::InodeId;

mod allow;
pub mod disk;
pub mod memory;
pub mod proc;
mod project;
mod stat;
mod sysctl;

pub use disk::DiskView;
pub use memory::MemoryView;
pub use proc::ProcView;

/// Finds the superblock device (`major << 20 | minor`) of an object. On most file systems it is `st_dev`
/// ([`device_of_stat`]); on btrfs and overlayfs it is not.
pub type DeviceOf = Box<dyn FnMut(&Path, &Meta) -> u32 + Send>;
/// Finds what [`View::other_id`] gives.
pub type OtherId = Box<dyn FnMut(&Path, InodeId) -> Option<InodeId> + Send>;

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Name, raw bytes as the file system has them.
    pub name: OsString,
    /// Sort of object, where the listing tells (some file systems do not).
    pub file_type: Option<FileType>,
    /// Inode number by the listing. At a mount point it is that of what is hidden; `None`: it means nothing here.
    pub ino: Option<u64>,
}

/// What a path is by its place, before anything is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nature {
    /// An object of an ordinary file system.
    Disk,
    /// The directory of one process.
    Process {
        /// Process id.
        pid: u32,
    },
    /// A projection of a file of `/proc`; the name is relative to `/proc`, without the process id.
    Projection {
        /// Such as `meminfo`, `net/tcp` or `status`.
        name: &'static str,
        /// For a projection of one process: which.
        pid: Option<u32>,
    },
    /// A sysctl value, by its dotted name.
    Sysctl {
        /// Such as `kernel.hostname`.
        name: String,
    },
    /// A directory of `/proc` that is not a process.
    ProcDirectory,
}

/// What is known of a process besides its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessFacts {
    /// Process id.
    pub pid: u32,
    /// Parent's process id.
    pub ppid: u32,
    /// Owner of its directory: the effective user, or root for a process that may not be dumped.
    pub uid: u32,
    /// The kernel's name of it; for a kernel worker without the work it is doing just now.
    pub comm: Vec<u8>,
    /// Its executable, as the kernel prints the link (` (deleted)` at the end when unlinked). `None` for a kernel
    /// thread and where it may not be read.
    pub exe: Option<PathBuf>,
    /// It runs in the kernel only.
    pub kernel_thread: bool,
    /// Start, nanoseconds since boot.
    pub start_ns: u64,
}

/// A tree of objects.
///
/// Paths are absolute. Errors are [`io::Error`]s with the system's code; a path that is gone gives
/// [`io::ErrorKind::NotFound`] or [`io::ErrorKind::NotADirectory`].
pub trait View: Send {
    /// The names in a directory, sorted by bytes, without `.`, `..` and what is excluded.
    fn list(&mut self, dir: &Path) -> io::Result<Vec<Entry>>;
    /// Metadata of the object itself; a symbolic link is never followed.
    fn meta(&mut self, path: &Path) -> io::Result<Meta>;
    /// The kernel's identity of the object.
    fn id(&mut self, path: &Path, meta: &Meta) -> InodeId;
    /// Identity of another inode for which changes of the object's contents are reported too: on an overlay, the file in
    /// the upper layer.
    fn other_id(&mut self, _path: &Path, _id: InodeId) -> Option<InodeId> {
        None
    }
    /// Opens a regular file for reading. Anything else is [`io::ErrorKind::InvalidInput`] and is not opened.
    fn open(&mut self, path: &Path) -> io::Result<Box<dyn Source>>;
    /// Target of a symbolic link, raw bytes.
    fn read_link(&mut self, path: &Path) -> io::Result<Vec<u8>>;
    /// When the object was made, nanoseconds since the Unix epoch, where the file system tells. Unlike the other times
    /// nobody can set it, so it tells an inode number that was used again.
    fn born_ns(&mut self, _path: &Path) -> Option<i64> {
        None
    }
    /// What the path is by its place.
    fn nature(&self, _path: &Path) -> Nature {
        Nature::Disk
    }
    /// Facts of a process, for its directory.
    fn process(&mut self, _path: &Path) -> Option<ProcessFacts> {
        None
    }
    /// Why a directory is listed as empty although it may not be: the name of the pseudo file system it is on.
    fn boundary(&mut self, _dir: &Path) -> Option<&'static str> {
        None
    }
    /// Whether a path is left out of the view. It then does not exist for [`View::list`] and [`View::meta`].
    fn excluded(&self, _path: &Path) -> bool {
        false
    }
    /// Whether equal metadata means equal contents. `false` for `/proc`: its objects must be read to be compared.
    fn meta_tells(&self) -> bool {
        true
    }
    /// Whether a listing is the way to find out what became of a name. `false` where each name is reported exactly and
    /// a listing costs more than it tells (processes).
    fn lists_on_hint(&self) -> bool {
        true
    }
    /// Paths that change without any event: to be looked at on an interval.
    fn volatile_paths(&mut self) -> Vec<PathBuf> {
        Vec::new()
    }
    /// The mount table changed: whatever was remembered of it is old.
    fn mounts_changed(&mut self) {}
    /// Whether a change of this path belongs in the history. Counters that change all the time do not.
    fn is_noteworthy(&self, _path: &Path) -> bool {
        true
    }
}

/// An open regular file.
pub trait Source {
    /// Reads at an offset, in bytes. 0 is the end of the file.
    fn read_at(&mut self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Metadata of what is open, now.
    fn meta(&self) -> io::Result<Meta>;
    /// Says that single spots will be read, so that reading ahead is waste.
    fn spots(&self) {}
    /// Why the contents are not whole, if they are not.
    fn incomplete(&self) -> Option<&'static str> {
        None
    }
}

/// The default [`DeviceOf`]: `st_dev` in the kernel's encoding.
pub fn device_of_stat(meta: &Meta) -> u32 {
    let (major, minor) = (rustix::fs::major(meta.dev), rustix::fs::minor(meta.dev));
    // 12 bits of major and 20 of minor is all the kernel has (include/linux/kdev_t.h, MINORBITS).
    (major & 0xfff) << 20 | (minor & 0xf_ffff)
}

/// Reads what a stat call says.
fn meta_of_stat(stat: &rustix::fs::Stat) -> Meta {
    use rustix::fs::FileType as T;
    let nanos = |secs: i64, nanos: u64| {
        secs.saturating_mul(1_000_000_000).saturating_add(i64::try_from(nanos).unwrap_or(0))
    };
    let mode = stat.st_mode;
    Meta {
        file_type: match T::from_raw_mode(mode) {
            T::Directory => FileType::Directory,
            T::Symlink => FileType::Symlink,
            T::BlockDevice => FileType::BlockDevice,
            T::CharacterDevice => FileType::CharDevice,
            T::Fifo => FileType::Fifo,
            T::Socket => FileType::Socket,
            T::RegularFile | T::Unknown => FileType::File,
        },
        mode: mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mtime_ns: nanos(stat.st_mtime, stat.st_mtime_nsec),
        ctime_ns: nanos(stat.st_ctime, stat.st_ctime_nsec),
        dev: stat.st_dev,
        ino: stat.st_ino,
        nlink: u64::from(stat.st_nlink as u32),
        rdev: stat.st_rdev,
    }
}
