//! Brick files mapped into memory. The only unsafe code of the storage stage.
//!
//! A mapped file has one hazard that no type can express: if *somebody else* truncates it, or the disk cannot be read,
//! touching its pages raises SIGBUS. Both maps have a guard that makes zeros of such a page and remembers it
//! ([`sigbus`]); whoever uses a map checks it before, for an error that says what is wrong, and afterwards, so that
//! nothing that came from a lost page is taken for true.
//!
//! The same signal would report a full disk when a page of a sparse file is touched first; on tmpfs, even when it is
//! only read. Bricks are sparse, so a body is handled in *bands* of 64 rows, each of which either has disk space, asked
//! for with `fallocate` (which fails with an ordinary error), or is a hole: zero, and not touched.

mod sigbus;

use std::fs::{File, Metadata};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use memmap2::{Mmap, MmapMut};
use rustix::fs::{FallocateFlags, SeekFrom};

use self::sigbus::Guard;
use super::error::IoContext;
use super::files::FileId;
use super::format::HEADER_LEN;
use super::{BrickError, files};
use crate::fold::Curve;

/// Rows of pixels in a band: the height of a Merkle leaf.
const BAND_ROWS: u64 = 64;

/// No file system tells holes that are smaller.
const PAGE: u64 = 4096;

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
            bands.present[band] = has_data(file, start, end);
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

/// Whether anything of a file may be other than zero between two offsets. Because of the header, bands start and end within
/// pages: those can have data because of the bands beside this one, while its own pages are a hole, which on a full tmpfs
/// cannot even be read through a map.
fn has_data(file: &File, start: u64, end: u64) -> bool {
    let (first, last) = (start.next_multiple_of(PAGE).min(end), (end / PAGE * PAGE).max(start));
    let is_hole = first >= last
        || match rustix::fs::seek(file, SeekFrom::Data(first)) {
            Ok(data) => data >= last,
            Err(error) => error == rustix::io::Errno::NXIO,
        };
    let is_zero = |range: std::ops::Range<u64>| {
        let mut bytes = vec![0; range.end.saturating_sub(range.start) as usize];
        // What cannot be read is told when it is used.
        file.read_exact_at(&mut bytes, range.start).is_ok() && bytes.iter().all(|&byte| byte == 0)
    };
    !(is_hole && is_zero(start..first) && is_zero(last.max(first)..end))
}

/// A brick mapped for writing: header and body.
#[derive(Debug)]
pub(crate) struct BodyMut {
    // Before the map: it ends first.
    guard: Guard,
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
        let mut body =
            Self { guard: Guard::new(&map), map, file, path: path.to_owned(), bands: Bands::none(curve) };
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

    /// Fails if the file has become shorter than the map, or a page of it was lost.
    pub(crate) fn check(&self) -> Result<(), BrickError> {
        check(&self.file, &self.guard, self.map.len(), &self.path).map(drop)
    }

    /// The same, and fails if the file is not the one under its name any more.
    pub(crate) fn check_named(&self) -> Result<(), BrickError> {
        let stat = check(&self.file, &self.guard, self.map.len(), &self.path)?;
        files::check_name(&self.path, FileId::of(&stat))
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
    ///
    /// # Errors
    /// The disk's, and those of [`Self::check`].
    pub(crate) fn sync(&self) -> Result<(), BrickError> {
        self.map.flush().doing("sync", &self.path)?;
        self.file.sync_all().doing("sync", &self.path)?;
        self.check()
    }
}

/// A brick file mapped for reading, from its first byte to its last.
#[derive(Debug)]
pub(crate) struct FileMap {
    // Before the map: it ends first.
    guard: Guard,
    map: Mmap,
    file: File,
    path: PathBuf,
}

impl FileMap {
    pub(crate) fn new(file: File, path: &Path) -> Result<Self, BrickError> {
        // SAFETY: the map is as long as the file is now, and its guard lives as long. A live brick changes under the
        // map; readers of this type copy bytes out and check them against hashes, and no value is decoded whose
        // validity depends on two reads being equal.
        let map = unsafe { Mmap::map(&file) }.doing("map into memory", path)?;
        Ok(Self { guard: Guard::new(&map), map, file, path: path.to_owned() })
    }

    /// What `f` makes of the bytes of the file.
    ///
    /// # Errors
    /// The file was truncated since it was opened, or a page of it could not be read.
    pub(crate) fn read<T>(&self, f: impl FnOnce(&[u8]) -> T) -> Result<T, BrickError> {
        check(&self.file, &self.guard, self.map.len(), &self.path)?;
        let value = f(&self.map);
        check(&self.file, &self.guard, self.map.len(), &self.path)?;
        Ok(value)
    }
}

fn check(file: &File, guard: &Guard, mapped: usize, path: &Path) -> Result<Metadata, BrickError> {
    let stat = file.metadata().doing("stat", path)?;
    let (found, expected) = (stat.len(), mapped as u64);
    if found < expected {
        Err(BrickError::Truncated { path: path.to_owned(), expected, found })
    } else if guard.is_hit() {
        Err(BrickError::PageLost { path: path.to_owned() })
    } else {
        Ok(stat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(dir: &Path) -> BodyMut {
        let file = files::create_new(&dir.join("t.brick")).unwrap();
        let mut body = BodyMut::new(file, &dir.join("t.brick"), 6).unwrap();
        body.reserve(0..64).unwrap();
        body
    }

    #[test]
    fn a_page_that_is_gone_is_zeros_and_an_error_and_no_signal() {
        let dir = tempfile::tempdir().unwrap();
        let mut body = body(dir.path());
        body.body_mut().fill(7);
        let reader = FileMap::new(files::open_read(&body.path).unwrap(), &body.path).unwrap();
        body.check().unwrap();
        // Between the check and the use, which is what no check can prevent.
        body.file.set_len(4096).unwrap();
        body.body_mut()[8000] = 1;
        assert_eq!((body.body()[8000], body.body()[8001], body.body()[12_000]), (1, 0, 0));
        assert_eq!(body.body()[0], 7);
        assert!(matches!(body.check(), Err(BrickError::Truncated { found: 4096, .. })));
        // Longer again, it is still not the file that was mapped.
        body.file.set_len(body.map.len() as u64).unwrap();
        assert!(matches!(body.check(), Err(BrickError::PageLost { .. })));
        // The reader has touched nothing yet; it is its own map that counts.
        let seen = reader.read(|bytes| {
            body.file.set_len(4096).unwrap();
            bytes[8000]
        });
        assert!(matches!(seen, Err(BrickError::Truncated { .. })), "{seen:?}");
    }

    #[test]
    fn a_band_is_not_taken_for_data_because_of_those_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.brick");
        let mut body = BodyMut::new(files::create_new(&path).unwrap(), &path, 8).unwrap();
        body.reserve(64..128).unwrap();
        body.body_mut()[64 * 1024..128 * 1024].fill(7);
        body.sync().unwrap();
        let present = |body: &BodyMut| Bands::of_file(&body.file, Curve::new(8)).present;
        assert_eq!(present(&body), [false, true, false, false]);
        // A copy may have an edge of a band and no more of it.
        let (start, _) = body.bands.in_file(3);
        body.file.write_all_at(&[1], start).unwrap();
        assert_eq!(present(&body), [false, true, false, true]);
        body.file.write_all_at(&[1], start - 1).unwrap();
        assert_eq!(present(&body), [false, true, true, true]);
    }

    #[test]
    fn a_map_of_a_slot_that_was_used_before_is_not_hit() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..3 {
            let mut body = body(dir.path());
            body.check().unwrap();
            body.file.set_len(4096).unwrap();
            body.body_mut()[8000] = 1;
            assert!(body.guard.is_hit());
            files::remove(&body.path).unwrap();
        }
    }

    /// Another cause of SIGBUS still ends the process: this test is run again in a process of its own.
    #[test]
    fn a_signal_that_is_not_about_a_brick_is_passed_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("other");
        if std::env::var_os("SFD_TEST_DIE_OF_SIGBUS").is_some() {
            let _guarded = body(dir.path());
            let file = files::create_new(&path).unwrap();
            file.set_len(4096).unwrap();
            // SAFETY: nothing else uses this file; that it gets shorter is what is tested.
            let map = unsafe { Mmap::map(&file) }.unwrap();
            file.set_len(0).unwrap();
            std::process::exit(i32::from(map[0]));
        }
        let name = "brick::map::tests::a_signal_that_is_not_about_a_brick_is_passed_on";
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env("SFD_TEST_DIE_OF_SIGBUS", "1")
            .status()
            .unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(libc::SIGBUS), "{status}");
    }
}
