//! The kernel's own identity of a file, from outside the kernel.
//!
//! Events carry `s_dev`, the superblock's device. `stat` gives the same number on most file systems, but btrfs shows
//! a device of its own for each subvolume, and overlayfs may show that of a lower layer. The mount table always
//! shows `s_dev` (`fs/proc_namespace.c`, `show_mountinfo`), so the way is: path → mount id (statx, Linux 5.8) →
//! mount table → device.

use std::{
    collections::HashMap,
    ffi::OsString,
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::ffi::OsStringExt,
    },
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use super::InodeId;

/// The mount table of the calling process.
const MOUNTINFO: &str = "/proc/self/mountinfo";

/// What is known of the mounts. Their ids are reused after an unmount, so [`DeviceMap::forget`] is called when mounts
/// change.
#[derive(Debug, Default)]
pub struct DeviceMap {
    mounts: HashMap<u64, Mount>,
    /// Whether the table was read since it was last forgotten.
    read: bool,
}

/// One line of the mount table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    dev: u32,
    /// For an overlay with an upper layer: where it is mounted, which part of it that is, and the upper layer.
    overlay: Option<Overlay>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Overlay {
    at: PathBuf,
    part: PathBuf,
    upper: PathBuf,
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
        self.mounts.clear();
        self.read = false;
    }

    /// Whether an overlay is mounted below `root`, or it is on one: then `stat` may show the same device for objects of
    /// two superblocks. `true` also when that cannot be found out.
    pub fn has_overlay(&mut self, root: &Path) -> bool {
        if !self.read && self.read_table().is_err() {
            return true;
        }
        let overlays = self.mounts.values().filter_map(|mount| mount.overlay.as_ref());
        overlays.into_iter().any(|overlay| overlay.at.starts_with(root) || root.starts_with(&overlay.at))
    }

    /// Identity of the file in the upper layer that holds the contents of what `path` names, if `path` is on an overlay
    /// and that can be reached from here: writes through a mapping are reported for that one. `dev` is the device of the
    /// object at `path`.
    pub fn upper(&mut self, path: &Path, dev: u32) -> Option<InodeId> {
        if !self.read {
            self.read_table().ok()?;
        }
        let on =
            self.mounts.values().filter(|mount| mount.dev == dev).filter_map(|mount| mount.overlay.as_ref());
        // The same overlay may be mounted in several places.
        let real = on
            .filter_map(|overlay| {
                let below = path.strip_prefix(&overlay.at).ok()?;
                Some(overlay.upper.join(&overlay.part).join(below))
            })
            .max_by_key(|path| path.as_os_str().len())?;
        self.inode_id(&real).ok()
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
        if !self.mounts.contains_key(&mount) {
            self.read_table()?;
        }
        Ok(self.mounts.get(&mount).map(|mount| mount.dev))
    }

    fn read_table(&mut self) -> io::Result<()> {
        self.mounts = parse_mountinfo(&std::fs::read(MOUNTINFO)?);
        self.read = true;
        Ok(())
    }
}

/// Device number as the kernel keeps it in `s_dev`: `MKDEV` of include/linux/kdev_t.h.
pub const fn encode(major: u32, minor: u32) -> u32 {
    major << 20 | minor
}

/// Reads "id parent major:minor part at options ... - type source superoptions" of each line (proc_pid_mountinfo(5)); a
/// line that is otherwise is left out.
fn parse_mountinfo(text: &[u8]) -> HashMap<u64, Mount> {
    let line = |line: &[u8]| {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let text = |field: &[u8]| std::str::from_utf8(field).ok().map(str::to_owned);
        let id = text(fields.first()?)?.parse().ok()?;
        let device = text(fields.get(2)?)?;
        let (major, minor) = device.split_once(':')?;
        let dev = encode(major.parse().ok()?, minor.parse().ok()?);
        Some((id, Mount { dev, overlay: overlay(&fields) }))
    };
    text.split(|byte| *byte == b'\n').filter_map(line).collect()
}

fn overlay(fields: &[&[u8]]) -> Option<Overlay> {
    let separator = fields.iter().position(|field| *field == b"-")?;
    if *fields.get(separator + 1)? != b"overlay" {
        return None;
    }
    let options = fields.get(separator + 3)?;
    let upper = options.split(|byte| *byte == b',').find_map(|option| option.strip_prefix(b"upperdir="))?;
    let path = |text: &[u8]| PathBuf::from(OsString::from_vec(unescape(text)));
    let part = path(fields.get(3)?);
    Some(Overlay {
        at: path(fields.get(4)?),
        part: part.strip_prefix("/").map(Path::to_path_buf).unwrap_or(part),
        upper: path(upper),
    })
}

/// The kernel writes blanks and backslashes as three octal digits.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let digits = after
            .first_chunk::<3>()
            .filter(|digits| digits.iter().all(|digit| (b'0'..=b'7').contains(digit)));
        if let (b'\\', Some(digits)) = (first, digits) {
            plain.push(digits.iter().fold(0_u8, |sum, digit| sum.wrapping_mul(8).wrapping_add(digit - b'0')));
            rest = after.get(3..).unwrap_or_default();
        } else {
            plain.push(*first);
            rest = after;
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_lines() {
        let text = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw\n22 1 0:21 / /a\\040b rw - tmpfs t rw\nbad\n7 x\n";
        let mounts = parse_mountinfo(text);
        let devices: HashMap<u64, u32> = mounts.iter().map(|(id, mount)| (*id, mount.dev)).collect();
        assert_eq!(devices, HashMap::from([(36, 98 << 20), (22, 21)]));
        assert!(mounts.values().all(|mount| mount.overlay.is_none()));
    }

    #[test]
    fn an_overlay_and_its_upper_layer() {
        let text = b"5 1 0:40 /part /a\\040b rw - overlay overlay rw,lowerdir=/l,upperdir=/up\\054per,workdir=/w\n6 1 0:41 / /ro rw - overlay o ro,lowerdir=/l:/m\n";
        let mounts = parse_mountinfo(text);
        let expected = Overlay { at: "/a b".into(), part: "part".into(), upper: "/up,per".into() };
        assert_eq!(mounts[&5].overlay, Some(expected));
        assert_eq!(mounts[&6].overlay, None);
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
