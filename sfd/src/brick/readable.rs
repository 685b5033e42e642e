//! A file with contents in it: a brick of this or another program, or a PixelRTS picture.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::pixelrts::{PNG_SIGNATURE, PixelRts};
use super::reader::Source;
use super::{Brick, BrickError, ExtractError, Finding, VerifyReport, files};
use crate::fold::merkle::Hash;

/// The name under which a file without named contents gives all that is in it.
pub const WHOLE: &str = "content";

/// A file, open for reading; its first bytes say which it is.
#[derive(Debug)]
pub enum Readable {
    /// V2BR: sealed, live, or another program's.
    Brick(Box<Brick>),
    /// A PNG.
    PixelRts(Box<PixelRts>),
}

/// Contents that were asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extracted {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// `false`: the file has no hash of them. SFD's own files have one.
    pub is_proved: bool,
}

impl Readable {
    /// Opens a file.
    ///
    /// # Errors
    /// It is neither, it is damaged, or it cannot be read.
    pub fn open(path: &Path) -> Result<Self, BrickError> {
        let first = files::read_prefix(&files::open_read(path)?, path, PNG_SIGNATURE.len())?;
        if first == PNG_SIGNATURE {
            PixelRts::open(path).map(|picture| Self::PixelRts(Box::new(picture)))
        } else {
            Brick::open(path).map(|brick| Self::Brick(Box::new(brick)))
        }
    }

    /// The contents under a name.
    ///
    /// # Errors
    /// There is nothing under this name, or the file does not hold the verified contents byte for byte.
    pub fn extract(&self, path: &[u8]) -> Result<Extracted, ExtractError> {
        match self {
            Self::Brick(brick) if brick.is_foreign() => brick.extract_foreign(path),
            Self::Brick(brick) => Ok(Extracted { bytes: brick.extract(path)?, is_proved: true }),
            Self::PixelRts(picture) => picture.extract(path),
        }
    }

    /// Checks everything that can be checked without the source.
    ///
    /// # Errors
    /// The file could not be read at all.
    pub fn verify(&self) -> Result<VerifyReport, BrickError> {
        match self {
            Self::Brick(brick) => brick.verify(),
            Self::PixelRts(picture) => picture.verify(),
        }
    }
}

/// Bricks of other programs: one run of bytes, and a hash in the header. The public description calls it SHA-256 and
/// does not say of what.
impl Brick {
    /// Whether it is of another program: pixels without an index.
    pub fn is_foreign(&self) -> bool {
        matches!(self.source, Source::Foreign)
    }

    fn extract_foreign(&self, path: &[u8]) -> Result<Extracted, ExtractError> {
        let shown = || String::from_utf8_lossy(path).into_owned();
        if path != WHOLE.as_bytes() {
            return Err(ExtractError::NotFound { path: shown() });
        }
        let end = self.header().original_size;
        let bytes = self.cells(0, end)?;
        match self.foreign_hash_proves(&bytes)? {
            Some(false) => Err(ExtractError::Damaged { path: shown(), start: 0, end }),
            proved => Ok(Extracted { bytes, is_proved: proved.is_some() }),
        }
    }

    pub(super) fn check_foreign(&self, report: &mut VerifyReport) -> Result<(), BrickError> {
        let cells = self.header().original_size;
        match self.foreign_hash_proves(&self.cells(0, cells)?)? {
            Some(true) => report.contents += 1,
            None => report.unverified += 1,
            Some(false) => report.add(Finding {
                check: "contents",
                path: None,
                start: 0,
                cells,
                detail: "the hash in the header is neither that of the contents nor that of the pixels"
                    .into(),
            }),
        }
        Ok(())
    }

    /// Whether the hash in the header is that of the contents, or of the whole body; `None` if there is none.
    fn foreign_hash_proves(&self, contents: &[u8]) -> Result<Option<bool>, BrickError> {
        let hash = self.header().hash;
        let is = |bytes: &[u8]| Hash::from(Sha256::digest(bytes)) == hash;
        Ok(if hash == [0; 32] { None } else { Some(is(contents) || self.view().read_body(is)?) })
    }
}
