//! A directory that nothing leads out of: paths are resolved by the kernel, below it and without symbolic links.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Dir as Listing, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;

use super::TaskError;

/// What openat2 (Linux 5.6) is asked for: not out of the directory, and through no symbolic link, magic ones included.
const BENEATH: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);
const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::CLOEXEC);
/// Reading: a pipe in the place of a file does not hold the reader up.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::NOFOLLOW);
/// Files with contents in them are readable by their owner only.
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);
/// Files that are part of a repository are as other ones (before the umask).
const SHARED: Mode = Mode::from_raw_mode(0o666);
/// How often openat2 is tried again when names were changed under it.
const TRIES: usize = 16;
/// More names than this in a directory of tasks are not looked at.
pub(super) const NAMES_MAX: usize = 100_000;

/// Who may read a file that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readable {
    /// Its owner: there are contents in it.
    ByOwner,
    /// Whoever may read the repository.
    ByAll,
}

/// Which file it is, and whether it was written since: device, inode, time of the last change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) dev: u64,
    pub(super) ino: u64,
    pub(super) mtime_ns: i128,
}

/// An open directory.
#[derive(Debug)]
pub(super) struct Dir {
    fd: OwnedFd,
    /// What it is called in messages.
    path: PathBuf,
}

impl Dir {
    /// Opens a directory by any path; only from here on nothing leads out.
    ///
    /// # Errors
    /// It is not there, is no directory, or may not be read.
    pub(super) fn open(path: &Path) -> Result<Self, TaskError> {
        let fd =
            rustix::fs::open(path, DIRECTORY, Mode::empty()).map_err(|errno| TaskError::io(path, errno))?;
        Ok(Self { fd, path: path.to_owned() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A path to it for code that takes paths; good as long as this is open.
    pub(super) fn proc_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.fd.as_raw_fd()))
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    fn openat(&self, name: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        // The kernel says AGAIN when a rename elsewhere left it unsure whether the path leads out.
        for _ in 0..TRIES {
            match rustix::fs::openat2(&self.fd, name, flags, mode, BENEATH) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        }
        Err(Errno::AGAIN)
    }

    /// The directory at a relative path.
    ///
    /// # Errors
    /// It is not there; it leads out or through a symbolic link; which.
    pub(super) fn sub(&self, path: &Path) -> Result<Self, TaskError> {
        if path.as_os_str().is_empty() {
            return self.again();
        }
        let shown = self.at(path);
        match self.openat(path, DIRECTORY, Mode::empty()) {
            Ok(fd) => Ok(Self { fd, path: shown }),
            Err(Errno::LOOP | Errno::XDEV) => Err(TaskError::Outside { path: shown }),
            Err(errno) => Err(TaskError::io(&shown, errno)),
        }
    }

    /// The same, made where it is not there.
    pub(super) fn make(&self, path: &Path) -> Result<Self, TaskError> {
        let mut dir = self.again()?;
        for part in path.components() {
            let Component::Normal(name) = part else {
                return Err(TaskError::Outside { path: self.at(path) });
            };
            match rustix::fs::mkdirat(&dir.fd, name, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(TaskError::io(&dir.at(name), errno)),
            }
            dir = dir.sub(Path::new(name))?;
        }
        Ok(dir)
    }

    fn again(&self) -> Result<Self, TaskError> {
        let fd =
            rustix::io::fcntl_dupfd_cloexec(&self.fd, 0).map_err(|errno| TaskError::io(&self.path, errno))?;
        Ok(Self { fd, path: self.path.clone() })
    }

    /// Opens a regular file for reading; `None` if there is nothing of that name.
    pub(super) fn open_file(&self, name: &Path) -> Result<Option<(File, Stamp)>, TaskError> {
        let shown = self.at(name);
        let fd = match self.openat(name, READ, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::XDEV) => return Err(TaskError::Outside { path: shown }),
            Err(errno) => return Err(TaskError::io(&shown, errno)),
        };
        let stat = rustix::fs::fstat(&fd).map_err(|errno| TaskError::io(&shown, errno))?;
        if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
            return Err(TaskError::malformed(format!("{}: not a regular file", shown.display())));
        }
        Ok(Some((File::from(fd), stamp(&stat))))
    }

    /// The contents of a regular file, and which one it was; `None` if there is nothing of that name.
    ///
    /// # Errors
    /// It is longer than `max` bytes, no regular file, or cannot be read.
    pub(super) fn read(&self, name: &Path, max: u64) -> Result<Option<(Vec<u8>, Stamp)>, TaskError> {
        let Some((file, stamp)) = self.open_file(name)? else { return Ok(None) };
        let shown = self.at(name);
        let mut bytes = Vec::new();
        file.take(max + 1).read_to_end(&mut bytes).map_err(|error| TaskError::of(&shown, error))?;
        if bytes.len() as u64 > max {
            return Err(TaskError::malformed(format!("{}: longer than {max} bytes", shown.display())));
        }
        Ok(Some((bytes, stamp)))
    }

    /// Whether there is anything of that name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.stamp(name).is_ok()
    }

    pub(super) fn stamp(&self, name: &str) -> Result<Stamp, Errno> {
        Ok(stamp(&rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?))
    }

    /// Writes a file under a temporary name, and gives it its own once it is on disk.
    pub(super) fn write(&self, name: &str, bytes: &[u8], readable: Readable) -> Result<(), TaskError> {
        let temporary = self.write_aside(name, bytes, readable)?;
        self.rename(&temporary, name).inspect_err(|_| drop(self.remove(&temporary)))?;
        self.sync()
    }

    /// Writes a file beside its name and returns what it is called there.
    pub(super) fn write_aside(
        &self,
        name: &str,
        bytes: &[u8],
        readable: Readable,
    ) -> Result<String, TaskError> {
        let mode = if readable == Readable::ByOwner { PRIVATE } else { SHARED };
        // One writer has the tasks of a repository at a time, so the name is free, or left by one that was killed.
        let temporary = temporary(name);
        let shown = self.at(&temporary);
        let failed = |error: io::Error| TaskError::of(&shown, error);
        self.remove(&temporary)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = self.openat(Path::new(&temporary), flags, mode).map_err(|errno| failed(errno.into()))?;
        let mut file = File::from(fd);
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        written.map_err(failed).inspect_err(|_| drop(self.remove(&temporary)))?;
        Ok(temporary)
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), TaskError> {
        self.rename_to(from, self, to)
    }

    pub(super) fn rename_to(&self, from: &str, dir: &Self, to: &str) -> Result<(), TaskError> {
        rustix::fs::renameat(&self.fd, from, &dir.fd, to).map_err(|errno| TaskError::io(&dir.at(to), errno))
    }

    /// Gives one file the owner and the mode of another, as far as that is allowed.
    pub(super) fn copy_owner(&self, from: &str, to: &str) {
        let Ok(stat) = rustix::fs::statat(&self.fd, from, AtFlags::SYMLINK_NOFOLLOW) else { return };
        let (uid, gid) = (rustix::fs::Uid::from_raw(stat.st_uid), rustix::fs::Gid::from_raw(stat.st_gid));
        let Ok(file) = self.openat(Path::new(to), READ, Mode::empty()) else { return };
        // Not root: the new one belongs to whoever runs this, as with most editors.
        let _ = rustix::fs::fchown(&file, Some(uid), Some(gid));
        let _ = rustix::fs::fchmod(&file, Mode::from_raw_mode(stat.st_mode & 0o777));
    }

    /// Swaps two names in one step.
    pub(super) fn exchange(&self, one: &str, other: &str) -> Result<(), Errno> {
        rustix::fs::renameat_with(&self.fd, one, &self.fd, other, RenameFlags::EXCHANGE)
    }

    /// Removes a file that may not be there.
    pub(super) fn remove(&self, name: &str) -> Result<(), TaskError> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(TaskError::io(&self.at(name), errno)),
        }
    }

    /// Removes a directory of files that may not be there.
    pub(super) fn remove_dir(&self, name: &str) -> Result<(), TaskError> {
        if !self.has(name) {
            return Ok(());
        }
        let dir = self.sub(Path::new(name))?;
        for file in dir.names()? {
            rustix::fs::unlinkat(&dir.fd, file.as_c_str(), AtFlags::empty())
                .map_err(|errno| TaskError::io(&dir.at(OsStr::from_bytes(file.to_bytes())), errno))?;
        }
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(TaskError::io(&self.at(name), errno)),
        }
    }

    /// The names in it, in their order.
    pub(super) fn names(&self) -> Result<Vec<CString>, TaskError> {
        let failed = |errno| TaskError::io(&self.path, errno);
        let mut names = Vec::new();
        for entry in Listing::read_from(&self.fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if matches!(entry.file_name().to_bytes(), b"." | b"..") {
                continue;
            }
            if names.len() == NAMES_MAX {
                return Err(TaskError::malformed(format!(
                    "{}: more than {NAMES_MAX} names",
                    self.path.display()
                )));
            }
            names.push(entry.file_name().to_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    pub(super) fn sync(&self) -> Result<(), TaskError> {
        rustix::fs::fsync(&self.fd).map_err(|errno| TaskError::io(&self.path, errno))
    }
}

/// What a file is called while it is written.
pub(super) fn temporary(name: &str) -> String {
    format!(".{name}.sfd-tmp")
}

fn stamp(stat: &rustix::fs::Stat) -> Stamp {
    Stamp {
        dev: stat.st_dev,
        ino: stat.st_ino,
        mtime_ns: i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_leads_out() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        std::fs::create_dir_all(root.join("in/deep")).unwrap();
        std::fs::create_dir(outer.path().join("out")).unwrap();
        symlink(outer.path().join("out"), root.join("absolute")).unwrap();
        symlink("../out", root.join("relative")).unwrap();
        symlink("in", root.join("inside")).unwrap();
        symlink("/proc/self/cwd", root.join("magic")).unwrap();
        let dir = Dir::open(&root).unwrap();
        assert!(dir.sub(Path::new("in/deep")).is_ok());
        for bad in ["absolute", "relative", "inside", "inside/deep", "magic", "..", "in/../..", "/etc"] {
            let refused = dir.sub(Path::new(bad)).unwrap_err();
            assert!(matches!(refused, TaskError::Outside { .. }), "{bad}: {refused}");
            assert!(dir.make(Path::new(bad)).is_err(), "{bad}");
        }
        dir.make(Path::new("new/deeper")).unwrap().write("file", b"x", Readable::ByOwner).unwrap();
        assert_eq!(std::fs::read(root.join("new/deeper/file")).unwrap(), b"x");
        assert_eq!(std::fs::read_dir(outer.path().join("out")).unwrap().count(), 0);
    }

    #[test]
    fn a_link_in_the_place_of_a_file_is_replaced_not_followed() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        std::fs::create_dir(&root).unwrap();
        let victim = outer.path().join("victim");
        std::fs::write(&victim, "precious").unwrap();
        symlink(&victim, root.join("out.brick")).unwrap();
        symlink(&victim, root.join(".out.brick.sfd-tmp")).unwrap();
        let dir = Dir::open(&root).unwrap();
        dir.write("out.brick", b"new", Readable::ByOwner).unwrap();
        assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
        assert_eq!(std::fs::read(root.join("out.brick")).unwrap(), b"new");
        symlink(&victim, root.join("read")).unwrap();
        assert!(matches!(dir.read(Path::new("read"), 10).unwrap_err(), TaskError::Outside { .. }));
    }
}
