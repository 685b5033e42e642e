//! A brick in other forms: a picture for people, a PixelRTS picture and a public V2BR file for other programs.
//!
//! Whatever is exported has been verified first: an export has hashes of its own, and would vouch for damage.

use std::io::BufWriter;
use std::path::{Path, PathBuf};

use super::error::IoContext;
use super::files::{NewFile, dir_of};
use super::{Brick, BrickError, SealOptions, picture, pixelrts};
use crate::fold::ORDER_MAX;

/// What an export has become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Columns of pixels.
    pub width: u32,
    /// Rows of pixels.
    pub height: u32,
    /// Length of the file in bytes.
    pub bytes: u64,
    /// Artifacts in it.
    pub artifacts: u64,
    /// Artifacts that its Blueprint leaves out: the public limit is [`pixelrts::COMPONENTS_MAX`].
    pub undescribed: u64,
}

/// Why a brick is not exported. There is no file then, or the one that was there before.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Something in the brick is not as its hashes say.
    #[error("{} is damaged and was not exported: {finding}", .path.display())]
    Damaged {
        /// The brick.
        path: PathBuf,
        /// The first thing found.
        finding: String,
    },
    /// The other form cannot hold it.
    #[error("{}: {why}", .path.display())]
    Impossible {
        /// The brick.
        path: PathBuf,
        /// Why not, and the way out.
        why: String,
    },
    /// The brick could not be read, or the file not be written.
    #[error(transparent)]
    Brick(#[from] BrickError),
}

impl Brick {
    /// Paints it as people see it: see [`picture`]. Neither side of the picture is longer than `side_max` pixels.
    pub fn export_png(&self, out: &Path, side_max: u32) -> Result<Exported, ExportError> {
        self.verified(out, |brick| {
            let file = NewFile::create(out)?;
            let (width, height) = picture::write(brick, BufWriter::new(file.file()), side_max, out)?;
            Ok(Exported {
                width,
                height,
                bytes: file.finish()?,
                artifacts: brick.rows()?.len() as u64,
                undescribed: 0,
            })
        })
    }

    /// Writes a PixelRTS picture: see [`pixelrts`].
    pub fn export_pixelrts(&self, out: &Path) -> Result<Exported, ExportError> {
        self.verified(out, |brick| {
            let file = NewFile::create(out)?;
            let written = pixelrts::write(brick, BufWriter::new(file.file()), out)?;
            let bytes = file.finish()?;
            Ok(Exported {
                width: written.side,
                height: written.side,
                bytes,
                artifacts: written.artifacts,
                undescribed: written.undescribed,
            })
        })
    }

    /// Writes an uncompressed sealed brick, which public readers of the format can read.
    pub fn export_v2br(&self, out: &Path) -> Result<Exported, ExportError> {
        if self.is_foreign() {
            return Err(self.impossible("another program's V2BR file; public readers can read it as it is"));
        }
        // The copy checks every leaf; what is not in a leaf is checked here.
        if !self.is_live() {
            self.check_damage()?;
        }
        let header = self.seal(out, SealOptions { compress: false })?;
        let bytes = std::fs::metadata(out).doing("stat", out)?.len();
        if header.order > ORDER_MAX {
            tracing::warn!(
                "{}: of order {}; public readers compute its size in 32 bits and cannot read it",
                out.display(),
                header.order
            );
        }
        let side = 1 << header.order;
        let artifacts = Self::open(out)?.rows()?.len() as u64;
        Ok(Exported { width: side, height: side, bytes, artifacts, undescribed: 0 })
    }

    /// Runs `export` on this brick, or, if it may change meanwhile, on a sealed copy in the directory of `out`.
    fn verified<T>(
        &self,
        out: &Path,
        export: impl FnOnce(&Self) -> Result<T, ExportError>,
    ) -> Result<T, ExportError> {
        if !self.is_live() {
            self.check_damage()?;
            return export(self);
        }
        let dir = dir_of(out);
        let aside = tempfile::Builder::new()
            .prefix(".sfd-export-")
            .tempdir_in(dir)
            .doing("create a directory in", dir)?;
        let copy = aside.path().join("copy.brick");
        self.seal(&copy, SealOptions { compress: false })?;
        let copy = Self::open(&copy)?;
        copy.check_damage()?;
        export(&copy)
    }

    fn check_damage(&self) -> Result<(), ExportError> {
        match self.verify()?.findings.first() {
            None => Ok(()),
            Some(finding) => {
                Err(ExportError::Damaged { path: self.path().to_owned(), finding: finding.to_string() })
            }
        }
    }

    pub(super) fn impossible(&self, why: impl Into<String>) -> ExportError {
        ExportError::Impossible { path: self.path().to_owned(), why: why.into() }
    }
}
