//! Brick files mapped into memory. The only unsafe code of the storage stage.
//!
//! A mapped file has one hazard that no type can express: if *somebody else* truncates it, touching the pages beyond
//! its end raises SIGBUS. SFD never truncates a brick (growth and sealing write a new file and rename it), bricks are
//! 0600 in a 0700 directory, and both maps compare the file's length with the mapped one before use, so what is left
//! is the owner truncating the file within the microseconds between that check and the access.
//!
//! The same signal would report a full disk when a page of a sparse file is touched first; on tmpfs, even when it is
//! only read. Bricks are sparse, so a body is handled in *bands* of 64 rows, each of which either has disk space, asked
//! for with `fallocate` (which fails with an ordinary error), or is a hole: zero, and not touched.

use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::{Mmap, MmapMut};
use rustix::fs::{FallocateFlags, SeekFrom};

use super::BrickError;
use super::error::IoContext;
use super::format::HEADER_LEN;
use crate::fold::Curve;

/// Rows of pixels in a band: the height of a Merkle leaf.
const BAND_ROWS: u64 = 64;

/// The bands of a body.
#[derive(Clone, Debug)]
pub(crate) struct Bands {
    curve: Curve,
    /// `false`: a hole, all zero.
    present: Vec<bool>,
}

impl Bands {
    fn none(curve: Curve) -> Self {
        Self { curve, present: vec![false; curve.side().div_ceil(BAND_ROWS) as usize] }
    }

    /// Asks the file system which bands have data. One that cannot tell says that all have.
    pub(crate) fn of_file(file: &File, curve: Curve) -> Self {
        let mut bands = Self::none(curve);
        for band in 0..bands.present.len() {
            let (start, end) = bands.in_file(band);
            bands.present[band] = match rustix::fs::seek(file, SeekFrom::Data(start)) {
                Ok(data) => data < end,
                Err(error) => error != rustix::io::Errno::NXIO,
            };
        }
        bands
    }

    /// First byte in the file, and one past the last.
    fn in_file(&self, band: usize) -> (u64, u64) {
        let stride = self.curve.side() * 4;
        let row = band as u64 * BAND_ROWS;
        let end = (row + BAND_ROWS).min(self.curve.side());
        (HEADER_LEN as u64 + row * stride, HEADER_LEN as u64 + end * stride)
    }

    /// Whether the leaf that starts at a cell is not in a hole.
    pub(crate) fn has(&self, cell: u64) -> bool {
        let (_, y) = self.curve.xy(cell);
        self.present.get((u64::from(y) / BAND_ROWS) as usize) == Some(&true)
    }

    /// The bytes of the body that are not holes, band by band.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        self.present.iter().enumerate().filter(|(_, present)| **present).map(|(band, _)| {
            let (start, end) = self.in_file(band);
            (start as usize - HEADER_LEN)..(end as usize - HEADER_LEN)
        })
    }
}

/// A brick mapped for writing: header and body.
#[derive(Debug)]
pub(crate) struct BodyMut {
    map: MmapMut,
    file: File,
    path: PathBuf,
    /// The bands that surely have disk space; all others are holes.
    bands: Bands,
}

impl BodyMut {
    /// Maps a brick of a given order, which this process must have locked or just created. The file is extended
    /// (sparsely) if it is new and empty.
    pub(crate) fn new(file: File, path: &Path, order: u8) -> Result<Self, BrickError> {
        let curve = Curve::new(order);
        let expected = HEADER_LEN as u64 + curve.body_len();
        let found = file.metadata().doing("stat", path)?.len();
        if found == 0 {
            file.set_len(expected).doing("extend", path)?;
        } else if found < expected {
            return Err(BrickError::Truncated { path: path.to_owned(), expected, found });
        }
        let len = usize::try_from(expected)
            .map_err(|_| BrickError::invalid(path, "larger than the address space"))?;
        // SAFETY: the file has at least `len` bytes (checked or extended above). This process is the only writer: the
        // file was created by it under a new name, or is guarded by the brick's lock. Readers in other processes
        // copy bytes out and check their hashes; they never rely on the bytes being stable.
        let map =
            unsafe { memmap2::MmapOptions::new().len(len).map_mut(&file) }.doing("map into memory", path)?;
        let present = if found == 0 { Bands::none(curve) } else { Bands::of_file(&file, curve) };
        let mut body = Self { map, file, path: path.to_owned(), bands: Bands::none(curve) };
        // A band may have both data and holes, in a file that something else has copied.
        for (band, _) in present.present.iter().enumerate().filter(|(_, present)| **present) {
            body.reserve_band(band)?;
        }
        Ok(body)
    }

    pub(crate) fn curve(&self) -> Curve {
        self.bands.curve
    }

    pub(crate) fn set_header(&mut self, header: &[u8; HEADER_LEN]) {
        // Unchanged bytes stay clean pages.
        if self.map[..HEADER_LEN] != *header {
            self.map[..HEADER_LEN].copy_from_slice(header);
        }
    }

    /// The pixels.
    pub(crate) fn body(&self) -> &[u8] {
        &self.map[HEADER_LEN..]
    }

    pub(crate) fn body_mut(&mut self) -> &mut [u8] {
        &mut self.map[HEADER_LEN..]
    }

    /// Which parts of the body may hold anything.
    pub(crate) fn bands(&self) -> &Bands {
        &self.bands
    }

    /// The file is to have another name from now on.
    pub(crate) fn renamed(&mut self, path: &Path) {
        path.clone_into(&mut self.path);
    }

    /// Fails if the file has become shorter than the map.
    pub(crate) fn check_len(&self) -> Result<(), BrickError> {
        check_len(&self.file, self.map.len(), &self.path)
    }

    /// Makes sure that the disk has room for the rows `rows`, in bands of 64. A file system that cannot say (no
    /// fallocate) is believed to have it.
    pub(crate) fn reserve(&mut self, rows: std::ops::Range<u64>) -> Result<(), BrickError> {
        let bands = rows.start / BAND_ROWS..rows.end.div_ceil(BAND_ROWS).min(self.bands.present.len() as u64);
        bands.into_iter().try_for_each(|band| self.reserve_band(band as usize))
    }

    fn reserve_band(&mut self, band: usize) -> Result<(), BrickError> {
        if self.bands.present[band] {
            return Ok(());
        }
        let (start, end) = self.bands.in_file(band);
        match rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, start, end - start) {
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
            Err(source) => return Err(source).doing("get disk space for", &self.path),
        }
        self.bands.present[band] = true;
        Ok(())
    }

    /// Writes everything to disk: pixels, header, length.
    pub(crate) fn sync(&self) -> Result<(), BrickError> {
        self.map.flush().doing("sync", &self.path)?;
        self.file.sync_all().doing("sync", &self.path)
    }
}

/// A brick file mapped for reading, from its first byte to its last.
#[derive(Debug)]
pub(crate) struct FileMap {
    map: Mmap,
    file: File,
    path: PathBuf,
}

impl FileMap {
    pub(crate) fn new(file: File, path: &Path) -> Result<Self, BrickError> {
        // SAFETY: the map is as long as the file is now, and `bytes` checks that the file still has that length. A
        // live brick changes under the map; readers of this type copy bytes out and check them against hashes, and
        // no value is decoded whose validity depends on two reads being equal.
        let map = unsafe { Mmap::map(&file) }.doing("map into memory", path)?;
        Ok(Self { map, file, path: path.to_owned() })
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// The file was truncated since it was opened.
    pub(crate) fn bytes(&self) -> Result<&[u8], BrickError> {
        check_len(&self.file, self.map.len(), &self.path)?;
        Ok(&self.map)
    }
}

fn check_len(file: &File, mapped: usize, path: &Path) -> Result<(), BrickError> {
    let found = file.metadata().doing("stat", path)?.len();
    let expected = mapped as u64;
    if found < expected {
        Err(BrickError::Truncated { path: path.to_owned(), expected, found })
    } else {
        Ok(())
    }
}
