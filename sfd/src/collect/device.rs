//! The kernel's own identity of a file, from outside the kernel.
//!
//! Events carry `s_dev`, the superblock's device. `stat` gives the same number on most file systems, but btrfs shows
//! a device of its own for each subvolume, and overlayfs may show that of a lower layer. The mount table always
//! shows `s_dev` (`fs/proc_namespace.c`, `show_mountinfo`), so the way is: path → mount id (statx, Linux 5.8) →
//! mount table → device.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use super::InodeId;

/// The mount table of the calling process.
const MOUNTINFO: &str = "/proc/self/mountinfo";

/// Devices by mount id. Ids are reused after an unmount, so [`DeviceMap::forget`] is called when mounts change.
#[derive(Debug, Default)]
pub struct DeviceMap {
    devices: HashMap<u64, u32>,
}

impl DeviceMap {
    /// A map that reads the mount table when it is first asked.
    pub fn new() -> Self {
        Self::default()
    }

    /// Identity of what `path` names; a symbolic link is not followed.
    ///
    /// # Errors
    /// As statx, or when the mount table cannot be read.
    pub fn inode_id(&mut self, path: &Path) -> io::Result<InodeId> {
        self.identify(CWD, path.as_os_str().as_encoded_bytes(), AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Identity of an open file.
    ///
    /// # Errors
    /// As statx, or when the mount table cannot be read.
    pub fn inode_id_of(&mut self, file: impl AsFd) -> io::Result<InodeId> {
        self.identify(file.as_fd(), b"", AtFlags::EMPTY_PATH)
    }

    /// Identity of `name` in an open directory; a symbolic link is not followed.
    ///
    /// # Errors
    /// As statx, or when the mount table cannot be read.
    pub fn inode_id_at(&mut self, directory: impl AsFd, name: &std::ffi::OsStr) -> io::Result<InodeId> {
        self.identify(directory.as_fd(), name.as_encoded_bytes(), AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Device in the kernel's encoding of the file system `path` is on.
    ///
    /// # Errors
    /// As statx, or when the mount table cannot be read.
    pub fn kernel_dev(&mut self, path: &Path) -> io::Result<u32> {
        self.inode_id(path).map(|id| id.dev)
    }

    /// Forgets everything: call it when [`super::Change::Mounts`] arrives.
    pub fn forget(&mut self) {
        self.devices.clear();
    }

    fn identify(&mut self, directory: BorrowedFd<'_>, path: &[u8], flags: AtFlags) -> io::Result<InodeId> {
        let stat =
            statx(directory, path, flags | AtFlags::NO_AUTOMOUNT, StatxFlags::INO | StatxFlags::MNT_ID)?;
        let by_stat = encode(stat.stx_dev_major, stat.stx_dev_minor);
        let mask = StatxFlags::from_bits_retain(stat.stx_mask);
        let dev = if mask.contains(StatxFlags::MNT_ID) {
            self.device_of_mount(stat.stx_mnt_id)?.unwrap_or(by_stat)
        } else {
            by_stat
        };
        Ok(InodeId { dev, ino: stat.stx_ino })
    }

    /// Device of a mount; an unknown id makes the table be read again. `None`: not in this process's table, such as
    /// a file of a detached mount.
    fn device_of_mount(&mut self, mount: u64) -> io::Result<Option<u32>> {
        if !self.devices.contains_key(&mount) {
            self.devices = parse_mountinfo(&std::fs::read(MOUNTINFO)?);
        }
        Ok(self.devices.get(&mount).copied())
    }
}

/// Device number as the kernel keeps it in `s_dev`: `MKDEV` of include/linux/kdev_t.h.
pub const fn encode(major: u32, minor: u32) -> u32 {
    major << 20 | minor
}

/// Reads "id parent major:minor ..." of each line; a line that is otherwise is left out.
fn parse_mountinfo(text: &[u8]) -> HashMap<u64, u32> {
    let line = |line: &[u8]| {
        let mut fields = line.split(|byte| *byte == b' ').map(|field| std::str::from_utf8(field).ok());
        let id = fields.next()??.parse().ok()?;
        let (major, minor) = fields.nth(1)??.split_once(':')?;
        Some((id, encode(major.parse().ok()?, minor.parse().ok()?)))
    };
    text.split(|byte| *byte == b'\n').filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_lines() {
        let text = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw\n22 1 0:21 / /a\\040b rw - tmpfs t rw\nbad\n7 x\n";
        assert_eq!(parse_mountinfo(text), HashMap::from([(36, 98 << 20), (22, 21)]));
    }

    #[test]
    fn agrees_with_stat_where_stat_is_right() {
        use std::os::unix::fs::MetadataExt;
        let mut map = DeviceMap::new();
        let metadata = std::fs::symlink_metadata("/proc").unwrap();
        let id = map.inode_id(Path::new("/proc")).unwrap();
        assert_eq!(id.ino, metadata.ino());
        assert_eq!(id, map.inode_id_of(std::fs::File::open("/proc").unwrap()).unwrap());
        assert_eq!(u64::from(id.dev), u64::from(rustix::fs::minor(metadata.dev())), "proc has major 0");
        assert!(map.inode_id(Path::new("/does/not/exist")).is_err());
    }
}
