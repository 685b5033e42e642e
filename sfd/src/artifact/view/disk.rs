//! A directory tree of ordinary file systems.
//!
//! Nothing in the tree can make the reader hang, follow or touch what it should not:
//! - every path is resolved without following any symbolic link below the root (`openat2`, Linux 5.6; where a sandbox
//!   refuses it, only the last component is protected);
//! - an object is first opened with `O_PATH`, which runs no driver code, and only a regular file is then opened for
//!   reading *through that handle*: a device or pipe that is swapped in is never opened;
//! - pseudo file systems are neither listed nor read.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use rustix::fs::{Advice, AtFlags, CWD, Dir, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;

use super::{DeviceOf, Entry, FileType, InodeId, Meta, OtherId, Source, View, device_of_stat, meta_of_stat};

/// More names than this in one directory are an error: 4 Mi names are about 1 GiB of memory.
pub const ENTRIES_MAX: usize = 4 << 20;
/// The kernel takes paths of at most 4095 bytes and a NUL (`PATH_MAX`); longer ones are walked in pieces.
const PATH_BYTES_MAX: usize = 4095;

/// Flags of every open: no controlling terminal, no waiting, not inherited, no symbolic link as last component.
const OPEN: OFlags = OFlags::NOFOLLOW
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC)
    .union(OFlags::RDONLY);

/// Flags of a handle: openat2 refuses any other beside `O_PATH`.
const HANDLE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Pseudo file systems by `statfs` magic (include/uapi/linux/magic.h and each file system's source). Their
/// contents are made on reading: endless, volatile, or with side effects.
const PSEUDO: [(u64, &str); 24] = [
    (0x9fa0, "proc"),
    (0x6265_6572, "sysfs"),
    (0x0027_e0eb, "cgroup"),
    (0x6367_7270, "cgroup2"),
    (0x1cd1, "devpts"),
    (0x7472_6163, "tracefs"),
    (0x6462_6720, "debugfs"),
    (0x7363_6673, "securityfs"),
    (0xcafe_4a11, "bpf"),
    (0x6265_6570, "configfs"),
    (0x6573_5543, "fusectl"),
    (0x1980_0202, "mqueue"),
    (0xde5e_81e4, "efivarfs"),
    (0x6165_676c, "pstore"),
    (0xf97c_ff8c, "selinuxfs"),
    (0x4341_5d53, "smackfs"),
    (0x4249_4e4d, "binfmt_misc"),
    (0x0187, "autofs"),
    (0x6e73_6673, "nsfs"),
    (0x6759_6969, "rpc_pipefs"),
    (0x6e66_7364, "nfsd"),
    (0x6c6f_6f70, "binderfs"),
    (0x0765_5821, "resctrl"),
    (0x5346_544e, "sockfs"),
];

/// A directory tree. See the module's documentation for what it guarantees.
pub struct DiskView {
    /// The root as the caller names it; paths given to the view start with it.
    root: PathBuf,
    /// The same place without symbolic links.
    real_root: PathBuf,
    /// Globs on absolute paths.
    globs: GlobSet,
    /// Absolute paths left out, with all that is below them.
    paths: Vec<PathBuf>,
    /// Finds superblock devices.
    device_of: DeviceOf,
    /// Finds inodes in the upper layers of overlays.
    other_id: OtherId,
    /// Set when the mount table changed; whoever finds devices resets it.
    mounts_changed: Arc<AtomicBool>,
}

impl DiskView {
    /// A view of the tree at `root`. The root itself may be reached through symbolic links; below it none is followed.
    pub fn new(root: &Path) -> Self {
        let real_root = std::fs::canonicalize(root).unwrap_or_else(|_| root.to_path_buf());
        Self {
            root: root.to_path_buf(),
            real_root,
            globs: GlobSet::empty(),
            paths: Vec::new(),
            device_of: Box::new(|_, meta| device_of_stat(meta)),
            other_id: Box::new(|_, _| None),
            mounts_changed: Arc::default(),
        }
    }

    /// Leaves out what matches a glob. `*` does not match `/`; the glob is matched against the absolute path, and one
    /// without a `/` against the name at any depth.
    pub fn exclude_globs<S: AsRef<str>>(mut self, globs: &[S]) -> Result<Self, globset::Error> {
        let mut set = GlobSetBuilder::new();
        for glob in globs {
            let glob = glob.as_ref();
            let anywhere = if glob.contains('/') { glob.to_owned() } else { format!("**/{glob}") };
            set.add(GlobBuilder::new(&anywhere).literal_separator(true).build()?);
        }
        self.globs = set.build()?;
        Ok(self)
    }

    /// Leaves out whole subtrees by absolute path (the state directory).
    #[must_use]
    pub fn exclude_paths(mut self, paths: impl IntoIterator<Item = PathBuf>) -> Self {
        self.paths.extend(paths);
        self
    }

    /// Replaces how superblock devices are found.
    #[must_use]
    pub fn with_device_of(mut self, device_of: DeviceOf) -> Self {
        self.device_of = device_of;
        self
    }

    /// Replaces how other inodes of an object are found.
    #[must_use]
    pub fn with_other_id(mut self, other_id: OtherId) -> Self {
        self.other_id = other_id;
        self
    }

    /// A flag that is set when the mount table changed, for a [`DeviceOf`] that remembers something of it.
    pub fn mounts_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.mounts_changed)
    }

    /// The path without the symbolic links that may lead to the root.
    fn real<'a>(&self, path: &'a Path) -> Cow<'a, Path> {
        if self.root == self.real_root {
            return Cow::Borrowed(path);
        }
        match path.strip_prefix(&self.root) {
            Ok(rest) if rest.as_os_str().is_empty() => Cow::Owned(self.real_root.clone()),
            Ok(rest) => Cow::Owned(self.real_root.join(rest)),
            Err(_) => Cow::Borrowed(path),
        }
    }

    fn open_as(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let path = self.real(path);
        if path.as_os_str().len() <= PATH_BYTES_MAX {
            return Ok(open_beneath(CWD.as_fd(), &path, flags)?);
        }
        // Longer than the kernel takes: walk in pieces, each relative to the one before.
        let mut at: Option<OwnedFd> = None;
        let mut piece = PathBuf::new();
        for part in path.components() {
            let part: &OsStr = match part {
                Component::RootDir => OsStr::new("/"),
                other => other.as_os_str(),
            };
            if piece.as_os_str().len() + 1 + part.len() > PATH_BYTES_MAX {
                let base = at.as_ref().map_or(CWD.as_fd(), AsFd::as_fd);
                let next = open_beneath(base, &piece, HANDLE | OFlags::DIRECTORY)?;
                at = Some(next);
                piece = PathBuf::new();
            }
            piece.push(part);
        }
        let base = at.as_ref().map_or(CWD.as_fd(), AsFd::as_fd);
        Ok(open_beneath(base, &piece, flags)?)
    }

    fn handle(&self, path: &Path) -> io::Result<OwnedFd> {
        self.open_as(path, HANDLE)
    }

    fn directory(&self, dir: &Path) -> io::Result<OwnedFd> {
        match self.open_as(dir, OPEN | OFlags::DIRECTORY | OFlags::NOATIME) {
            Err(e) if e.raw_os_error() == Some(Errno::PERM.raw_os_error()) => {
                self.open_as(dir, OPEN | OFlags::DIRECTORY)
            }
            other => other,
        }
    }
}

impl View for DiskView {
    fn mounts_changed(&mut self) {
        self.mounts_changed.store(true, Ordering::Relaxed);
    }

    fn list(&mut self, dir: &Path) -> io::Result<Vec<Entry>> {
        if self.boundary(dir).is_some() {
            return Ok(Vec::new());
        }
        let mut entries = Vec::new();
        let mut child = dir.to_path_buf();
        for entry in Dir::new(self.directory(dir)?)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            if !self.globs.is_empty() || !self.paths.is_empty() {
                child.push(OsStr::from_bytes(name));
                let out = self.globs.is_match(&child) || self.paths.contains(&child);
                child.pop();
                if out {
                    continue;
                }
            }
            if entries.len() == ENTRIES_MAX {
                return Err(io::Error::other(format!("more than {ENTRIES_MAX} names in one directory")));
            }
            entries.push(Entry {
                name: OsString::from_vec(name.to_vec()),
                file_type: file_type(entry.file_type()),
                ino: Some(entry.ino()),
            });
        }
        entries.sort_unstable_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()));
        Ok(entries)
    }

    fn meta(&mut self, path: &Path) -> io::Result<Meta> {
        if self.excluded(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(meta_of_stat(&rustix::fs::fstat(self.handle(path)?)?))
    }

    fn other_id(&mut self, path: &Path, id: InodeId) -> Option<InodeId> {
        (self.other_id)(path, id)
    }

    fn born_ns(&mut self, path: &Path) -> Option<i64> {
        let handle = self.handle(path).ok()?;
        let stat = rustix::fs::statx(&handle, "", AtFlags::EMPTY_PATH, StatxFlags::BTIME).ok()?;
        let told = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
        let time = stat.stx_btime;
        told.then(|| time.tv_sec.saturating_mul(1_000_000_000).saturating_add(i64::from(time.tv_nsec)))
    }

    fn id(&mut self, path: &Path, meta: &Meta) -> InodeId {
        InodeId { dev: (self.device_of)(path, meta), ino: meta.ino }
    }

    fn open(&mut self, path: &Path) -> io::Result<Box<dyn Source>> {
        let handle = self.handle(path)?;
        let meta = meta_of_stat(&rustix::fs::fstat(&handle)?);
        if meta.file_type != FileType::File {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        if let Some(name) = pseudo(&handle) {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("on {name}, a pseudo file system"),
            ));
        }
        Ok(Box::new(DiskFile(File::from(reopen(&handle)?))))
    }

    fn read_link(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        let handle = self.handle(path)?;
        match rustix::fs::readlinkat(&handle, c"", Vec::new()) {
            Ok(target) => Ok(target.into_bytes()),
            // The kernel's word for "this handle is not a symbolic link".
            Err(Errno::NOENT | Errno::INVAL) => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "not a symbolic link"))
            }
            Err(e) => Err(e.into()),
        }
    }

    fn boundary(&mut self, dir: &Path) -> Option<&'static str> {
        pseudo(&self.handle(dir).ok()?)
    }

    fn excluded(&self, path: &Path) -> bool {
        if self.paths.iter().any(|p| path.starts_with(p)) {
            return true;
        }
        if self.globs.is_empty() {
            return false;
        }
        // The root itself is what was asked for; only what is below it can be excluded.
        path.ancestors()
            .take_while(|a| *a != self.root && !a.as_os_str().is_empty())
            .any(|a| self.globs.is_match(a))
    }
}

/// A regular file of a [`DiskView`].
struct DiskFile(File);

impl Source for DiskFile {
    fn read_at(&mut self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match self.0.read_at(buf, offset) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    fn meta(&self) -> io::Result<Meta> {
        Ok(meta_of_stat(&rustix::fs::fstat(&self.0)?))
    }

    fn spots(&self) {
        // Advice only: a file system that does not take it reads ahead as it likes.
        let _ = rustix::fs::fadvise(&self.0, 0, None, Advice::Random);
    }
}

/// Opens without following any symbolic link. A link in the middle of the path means that the path as we know it is
/// gone, so it is reported as not found.
fn open_beneath(base: std::os::fd::BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    match rustix::fs::openat2(base, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
        Err(Errno::LOOP) => Err(Errno::NOENT),
        // No openat2 here: an old kernel, or a sandbox that filters it (which answers EPERM).
        Err(Errno::NOSYS) => rustix::fs::openat(base, path, flags, Mode::empty()),
        Err(Errno::PERM) if !flags.contains(OFlags::NOATIME) => {
            rustix::fs::openat(base, path, flags, Mode::empty())
        }
        other => other,
    }
}

/// Opens what a handle stands for, for reading: the same inode for certain.
fn reopen(handle: &OwnedFd) -> io::Result<OwnedFd> {
    let link = format!("/proc/self/fd/{}", handle.as_raw_fd());
    // The link is one of /proc's own and must be followed.
    let flags = OPEN.difference(OFlags::NOFOLLOW);
    match rustix::fs::open(&link, flags | OFlags::NOATIME, Mode::empty()) {
        // Only the owner of a file and CAP_FOWNER may leave its access time alone.
        Err(Errno::PERM) => Ok(rustix::fs::open(&link, flags, Mode::empty())?),
        // The inode is there: we hold it. What is missing is /proc, and that must not look like a deletion.
        Err(Errno::NOENT) => Err(io::Error::other("cannot be opened: /proc is not mounted")),
        other => Ok(other?),
    }
}

fn pseudo(handle: &OwnedFd) -> Option<&'static str> {
    let magic = rustix::fs::fstatfs(handle).ok()?.f_type;
    // The field is signed on some architectures; the magic numbers are 32 bits wide.
    #[expect(clippy::cast_sign_loss, reason = "masked to the 32 bits of the magic number")]
    let magic = magic as u64 & 0xffff_ffff;
    PSEUDO.iter().find(|(m, _)| *m == magic).map(|(_, name)| *name)
}

fn file_type(file_type: rustix::fs::FileType) -> Option<FileType> {
    use rustix::fs::FileType as T;
    Some(match file_type {
        T::RegularFile => FileType::File,
        T::Directory => FileType::Directory,
        T::Symlink => FileType::Symlink,
        T::BlockDevice => FileType::BlockDevice,
        T::CharacterDevice => FileType::CharDevice,
        T::Fifo => FileType::Fifo,
        T::Socket => FileType::Socket,
        T::Unknown => return None,
    })
}
