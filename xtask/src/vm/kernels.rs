//! Kernels in unpacked Debian packages.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// A kernel to boot.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// As `uname -r` says.
    pub(crate) release: String,
    /// The image to boot.
    pub(crate) image: PathBuf,
    /// What `lib/modules/RELEASE` is below.
    pub(crate) base: PathBuf,
}

/// What to tell who has no kernels.
const HOW: &str = "unpack kernel packages there, each in a folder of its own:
  apt-get download linux-image-6.1.0-50-cloud-amd64
  dpkg -x linux-image-6.1.0-50-cloud-amd64_*.deb DIR/6.1.0-50-cloud-amd64
Newer ones keep image and modules in packages of their own (linux-binary-, linux-modules-): unpack both.";

/// Finds `DIR/*/lib/modules/RELEASE` (or below `usr/`) with an image beside it or in `boot/`, oldest first.
pub(crate) fn find(dir: &Path) -> Result<Vec<Kernel>> {
    let mut kernels = Vec::new();
    let entries = std::fs::read_dir(dir).with_context(|| format!("{}: {HOW}", dir.display()))?;
    for package in entries.flatten().map(|entry| entry.path()) {
        for base in [package.clone(), package.join("usr")] {
            let Ok(releases) = std::fs::read_dir(base.join("lib/modules")) else { continue };
            for folder in releases.flatten() {
                let release = folder.file_name().to_string_lossy().into_owned();
                let images = [package.join(format!("boot/vmlinuz-{release}")), folder.path().join("vmlinuz")];
                if let Some(image) = images.into_iter().find(|image| image.is_file()) {
                    kernels.push(Kernel { release, image, base: base.clone() });
                }
            }
        }
    }
    ensure!(!kernels.is_empty(), "{}: no kernel with modules; {HOW}", dir.display());
    kernels.sort_by_key(|kernel| version(&kernel.release));
    kernels.dedup_by(|a, b| a.release == b.release);
    Ok(kernels)
}

/// The numbers in a release, so that 6.12 comes after 6.2.
fn version(release: &str) -> Vec<u32> {
    release.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_ordered_as_numbers() {
        let mut releases = ["7.3.4+deb13", "6.12.95", "6.2.1", "6.1.0-50"];
        releases.sort_by_key(|release| version(release));
        assert_eq!(releases, ["6.1.0-50", "6.2.1", "6.12.95", "7.3.4+deb13"]);
    }
}
