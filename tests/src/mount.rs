//! File systems that a test mounts for itself. Needs root.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted file system, unmounted when dropped.
pub struct Mounted(PathBuf);

impl Mounted {
    /// Runs `mount ARGUMENTS AT`.
    ///
    /// # Panics
    /// When it fails.
    pub fn new(arguments: &[&str], at: &Path) -> Self {
        let status = Command::new("mount").args(arguments).arg(at).status().expect("mount");
        assert!(status.success(), "mount {arguments:?} {}", at.display());
        Self(at.to_owned())
    }

    /// A file system in memory with room for so many KiB.
    pub fn tmpfs(kib: u32, at: &Path) -> Self {
        Self::new(&["-t", "tmpfs", "-o", &format!("size={kib}k,mode=700"), "sfd-test"], at)
    }

    /// An ext4 of its own, in an image of so many KiB beside `at`. One that finds an error becomes read-only.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn ext4(kib: u32, at: &Path) -> Self {
        let image = at.with_extension("image");
        let file = std::fs::File::create(&image).expect("an image");
        file.set_len(u64::from(kib) << 10).expect("a length");
        let status = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image).status().expect("mkfs.ext4");
        assert!(status.success(), "mkfs.ext4 {}", image.display());
        Self::again(&image, at)
    }

    /// The ext4 in an image that there is already.
    pub fn again(image: &Path, at: &Path) -> Self {
        Self::new(&["-o", "loop,errors=remount-ro", &image.to_string_lossy()], at)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
