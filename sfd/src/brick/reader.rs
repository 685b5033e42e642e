//! Reading a brick: sealed, compressed, or live beside its writer.
//!
//! A live brick changes under its readers, and they must not call that damage. Whatever can be checked against a hash
//! is: a reader takes hash and rows from one snapshot of the catalog, then the pixels; when they do not agree, a commit
//! may have come between, and the reader takes all of them again, for up to [`PATIENCE`]. Growth replaces the file;
//! a retry maps the one that has the name then.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;

use super::error::IoContext;
use super::files::{self, Files};
use super::format::{Footer, FormatError, HEADER_LEN, Header, TRAILER_NONE};
use super::index::{Frame, FrameSum, Index, frame_sum, hex};
use super::map::{Bands, FileMap};
use super::paths::paths;
use super::{ArtifactId, BrickError, Catalog, ExtractError, Row, disk};
use crate::artifact::{FileType, Region, Regions, Semantics};
use crate::fold::merkle::{Hash, LEAF_BYTES, LEAF_CELLS, Merkle, leaf_block, leaf_count};
use crate::fold::{Curve, Histogram, ORDER_MAX, apply};

/// How long a reader retries before it calls a disagreement damage: many times a commit (milliseconds) and longer
/// than the growth of a large brick.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// The same once something has been found to be damaged: the verdict stands, the rest is to name the extent.
pub(super) const PATIENCE_AFTER_DAMAGE: Duration = Duration::from_millis(50);
/// Pause between two tries: several fit between two batches of the writer.
const PAUSE: Duration = Duration::from_millis(10);

/// One artifact as `sfd inspect --json` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ArtifactEntry {
    /// Absolute path; lossy when it is not UTF-8.
    pub path: String,
    /// Base64 of the exact path, when `path` is lossy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_bytes: Option<String>,
    /// Sort of file-system object.
    #[serde(rename = "type")]
    pub file_type: FileType,
    /// Name of the kind.
    pub kind: String,
    /// First cell.
    pub start: u64,
    /// Cells of its block.
    pub cells: u64,
    /// Bytes of contents.
    pub len: u64,
    /// The cells hold the very bytes.
    pub exact: bool,
    /// Contents are secret.
    pub redacted: bool,
    /// Not verified against the source.
    pub unverified: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unverified_reason: Option<String>,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last content change, nanoseconds since the Unix epoch.
    pub mtime_ns: i64,
    /// BLAKE3 in hexadecimal, keyed when redacted.
    pub content_hash: String,
    /// What it is.
    pub semantics: Semantics,
    /// Its named parts; each starts so many cells after `start` as its own `start` says.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub regions: Option<Regions>,
}

/// A whole brick as `sfd inspect --json` shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inspection {
    /// `V2BR`.
    pub format: &'static str,
    /// 1.
    pub version: u32,
    /// Order of the curve.
    pub order: u8,
    /// Side in pixels.
    pub side: u64,
    /// One past the highest used cell.
    pub original_size: u64,
    /// Bits per byte.
    pub entropy: f32,
    /// Merkle root in hexadecimal.
    pub hash: String,
    /// Flag bits of the header.
    pub flags: u32,
    /// In the order of their places on the curve.
    pub artifacts: Vec<ArtifactEntry>,
}

/// A brick file, open for reading.
#[derive(Debug)]
pub struct Brick {
    path: PathBuf,
    view: View,
    pub(super) source: Source,
}

/// A mapped file with its header.
#[derive(Debug)]
pub(super) struct View {
    map: FileMap,
    /// Of an uncompressed body.
    bands: Bands,
    pub(super) header: Header,
}

/// Where a frame is in the body, in bytes, and its checksum if there is one.
#[derive(Clone, Copy, Debug)]
pub(super) struct StoredFrame {
    offset: u64,
    len: u64,
    sum: Option<FrameSum>,
}

impl StoredFrame {
    fn of(self, file: &[u8]) -> Option<&[u8]> {
        let at = HEADER_LEN as u64 + self.offset;
        file.get(at as usize..(at + self.len) as usize)
    }
}

/// Where rows and hashes come from.
#[derive(Debug)]
pub(super) enum Source {
    /// The index at the end of the file.
    Sealed {
        rows: Vec<Row>,
        regions: HashMap<ArtifactId, Regions>,
        leaves: Vec<Hash>,
        cap: u8,
        frames: Option<HashMap<u64, StoredFrame>>,
    },
    /// The catalog beside the file.
    Live(Box<Catalog>),
    /// A V2BR file of another program: pixels and nothing else.
    Foreign,
}

impl Brick {
    /// Opens a brick: a sealed one, or a live one with its catalog beside it.
    ///
    /// # Errors
    /// The file is not a brick, is truncated, its index is damaged, or its catalog is missing.
    pub fn open(path: &Path) -> Result<Self, BrickError> {
        let format = |source| BrickError::Format { path: path.to_owned(), source };
        let view = View::open(path)?;
        view.check_form(path)?;
        let source = match view.header.trailer {
            None if view.header.is_compressed() => return Err(format(FormatError::ForeignCompression)),
            None => Source::Foreign,
            Some(TRAILER_NONE) => Source::Live(Box::new(Catalog::open_read_only(&Files::catalog_of(path))?)),
            Some(_) => {
                let body_end = (HEADER_LEN as u64).saturating_add(view.header.compressed_size);
                let index = view
                    .map
                    .read(|file| Index::decode(file, view.header.order, body_end))?
                    .map_err(format)?;
                Source::sealed(&index, &view.header).map_err(format)?
            }
        };
        Ok(Self { path: path.to_owned(), view, source })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The header as it was when the brick was opened.
    pub fn header(&self) -> &Header {
        &self.view.header
    }

    /// Whether it has a catalog and may be changing.
    pub fn is_live(&self) -> bool {
        matches!(self.source, Source::Live(_))
    }

    /// The catalog of a live brick, for its history.
    pub fn catalog(&self) -> Option<&Catalog> {
        match &self.source {
            Source::Live(catalog) => Some(catalog),
            _ => None,
        }
    }

    /// All rows; none for a brick of another program.
    pub fn rows(&self) -> Result<Vec<Row>, BrickError> {
        match &self.source {
            Source::Sealed { rows, .. } => Ok(rows.clone()),
            Source::Live(catalog) => catalog.rows(),
            Source::Foreign => Ok(Vec::new()),
        }
    }

    /// All artifacts, in the order of their places on the curve.
    pub fn artifacts(&self) -> Result<Vec<ArtifactEntry>, BrickError> {
        let (mut rows, mut regions) = match &self.source {
            Source::Sealed { rows, regions, .. } => (rows.clone(), regions.clone()),
            Source::Live(catalog) => {
                catalog.snapshot(|catalog| Ok((catalog.rows()?, catalog.all_regions()?)))?
            }
            Source::Foreign => (Vec::new(), HashMap::new()),
        };
        let paths = paths(&rows);
        rows.sort_unstable_by_key(|row| row.block);
        let entry = |row: Row| {
            let regions = regions.remove(&row.id).filter(|_| row.exact && !row.redacted);
            ArtifactEntry::new(&paths, row, regions)
        };
        Ok(rows.into_iter().map(entry).collect())
    }

    /// Header and artifacts.
    pub fn inspect(&self) -> Result<Inspection, BrickError> {
        let header = self.fresh_view()?.header;
        Ok(Inspection {
            format: "V2BR",
            version: super::format::VERSION,
            order: header.order,
            side: header.side(),
            original_size: header.original_size,
            entropy: header.entropy,
            hash: header.hash_hex(),
            flags: header.flags,
            artifacts: self.artifacts()?,
        })
    }

    /// The R bytes of some cells; cells after the curve's end are left out. Of a live brick, as they are just now.
    pub fn cells(&self, start: u64, len: u64) -> Result<Vec<u8>, BrickError> {
        self.cells_in(&self.fresh_view()?, start, len)
    }

    /// The contents of an artifact, checked against their hash.
    ///
    /// # Errors
    /// There is no such path, or the brick does not hold its verified contents byte for byte.
    pub fn extract(&self, path: &[u8]) -> Result<Vec<u8>, ExtractError> {
        self.extract_row(path).map(|(_, contents)| contents)
    }

    /// The bytes of one named part of an artifact, and where they are in its contents. `section` is a name, or
    /// `NAME@START`.
    ///
    /// # Errors
    /// As [`extract`](Self::extract), and when it has no such part or several.
    pub fn extract_section(&self, path: &[u8], section: &str) -> Result<(Region, Vec<u8>), ExtractError> {
        let (_, contents) = self.extract_row(path)?;
        let failed = |what: String| ExtractError::Section {
            path: String::from_utf8_lossy(path).into_owned(),
            section: section.to_owned(),
            what,
        };
        // Not from the index: these are the very bytes, and who has them needs to believe nobody.
        let regions =
            Regions::of(&contents).ok_or_else(|| failed("has no sections, it is not an ELF file".into()))?;
        let region = regions.find(section).map_err(failed)?;
        let (start, end) = (region.start as usize, (region.start + region.len) as usize);
        Ok((region.clone(), contents.get(start..end).unwrap_or_default().to_vec()))
    }

    fn extract_row(&self, path: &[u8]) -> Result<(Row, Vec<u8>), ExtractError> {
        let rows = self.rows()?;
        let paths = paths(&rows);
        let shown = || String::from_utf8_lossy(path).into_owned();
        let not_found = || ExtractError::NotFound { path: shown() };
        let mut row = rows
            .into_iter()
            .find(|row| paths.get(&row.id).is_some_and(|p| p == path))
            .ok_or_else(not_found)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if row.redacted {
                return Err(ExtractError::Redacted { path: shown() });
            }
            if let Some(reason) = row.unverified {
                return Err(ExtractError::Unverified { path: shown(), reason });
            }
            if !row.exact {
                return Err(ExtractError::Digest { path: shown(), len: row.len });
            }
            let contents = self.contents_in(&self.fresh_view()?, &row)?;
            if row.proves(&contents) {
                return Ok((row, contents));
            }
            let Some(again) = self.retry(deadline, |catalog| catalog.row(row.id))? else {
                let (start, end) = (row.block.start, row.block.end());
                return Err(ExtractError::Damaged { path: shown(), start, end });
            };
            row = again.ok_or_else(not_found)?;
        }
    }

    /// The contents of an artifact if they have this hash, whether they are verified now or not; `None` when it is gone,
    /// has other contents, or they are not in the brick byte for byte.
    pub fn contents_of(&self, id: ArtifactId, hash: &Hash) -> Result<Option<Vec<u8>>, BrickError> {
        let Source::Live(catalog) = &self.source else { return Ok(None) };
        let deadline = Instant::now() + PATIENCE;
        let mut row = catalog.row(id)?;
        loop {
            let Some(found) = row.filter(|row| row.exact && !row.redacted && row.content_hash == *hash)
            else {
                return Ok(None);
            };
            let contents = self.contents_in(&self.fresh_view()?, &found)?;
            if found.proves(&contents) {
                return Ok(Some(contents));
            }
            match self.retry(deadline, |catalog| catalog.row(id))? {
                Some(again) => row = again,
                None => return Ok(None),
            }
        }
    }

    /// Waits a moment and asks the catalog again; `None` when that makes no sense, because the brick is sealed or
    /// because it is after `deadline`.
    pub(super) fn retry<T>(
        &self,
        deadline: Instant,
        again: impl FnOnce(&Catalog) -> Result<T, BrickError>,
    ) -> Result<Option<T>, BrickError> {
        match &self.source {
            Source::Live(catalog) if Instant::now() < deadline => {
                std::thread::sleep(PAUSE);
                again(catalog).map(Some)
            }
            _ => Ok(None),
        }
    }

    pub(super) fn view(&self) -> &View {
        &self.view
    }

    /// The file as it is now: that of a live brick may have been replaced by a larger one.
    pub(super) fn fresh_view(&self) -> Result<View, BrickError> {
        View::open(&self.path)
    }

    /// The contents of an exact row; fewer bytes than its length when the row does not make sense.
    pub(super) fn contents_in(&self, view: &View, row: &Row) -> Result<Vec<u8>, BrickError> {
        self.cells_in(view, row.block.start, row.len.min(row.block.cells()))
    }

    fn cells_in(&self, view: &View, start: u64, len: u64) -> Result<Vec<u8>, BrickError> {
        if !view.header.is_compressed() {
            return view.read_body(|body| apply::read_cells(body, view.header.order, start, len));
        }
        let end = start.saturating_add(len).min(Curve::new(view.header.order).cells());
        let mut cells = Vec::new();
        for leaf in start / LEAF_CELLS..end.div_ceil(LEAF_CELLS) {
            let pixels = self.leaf_in(view, leaf)?;
            let first = leaf * LEAF_CELLS;
            let (from, to) = (start.max(first) - first, end.min(first + LEAF_CELLS) - first);
            cells.extend(pixels.as_chunks::<4>().0[from as usize..to as usize].iter().map(|pixel| pixel[0]));
        }
        Ok(cells)
    }

    /// Whether the frame of a leaf is as it was stored, if there is one with a checksum.
    pub(super) fn is_frame_as_stored(&self, view: &View, leaf: u64) -> Result<bool, BrickError> {
        let Source::Sealed { frames: Some(frames), .. } = &self.source else { return Ok(true) };
        let Some((stored, sum)) = frames.get(&leaf).and_then(|stored| Some((stored, stored.sum?))) else {
            return Ok(true);
        };
        view.map.read(|file| stored.of(file).is_some_and(|frame| frame_sum(frame) == sum))
    }

    /// The pixels of a leaf in curve order, zero after the end of the curve.
    pub(super) fn leaf_in(&self, view: &View, leaf: u64) -> Result<Box<[u8; LEAF_BYTES]>, BrickError> {
        let mut pixels = Box::new([0; LEAF_BYTES]);
        if leaf >= leaf_count(view.header.order) {
            // Compaction has made the curve smaller since its number was heard of.
            return Ok(pixels);
        }
        let block = leaf_block(view.header.order, leaf);
        let out = &mut pixels[..block.cells() as usize * 4];
        match &self.source {
            Source::Sealed { frames: Some(frames), .. } => {
                let Some(stored) = frames.get(&leaf) else { return Ok(pixels) };
                let damaged = |detail: &str| BrickError::Format {
                    path: self.path.clone(),
                    source: FormatError::Index(format!("the frame of leaf {leaf} {detail}")),
                };
                view.map.read(|file| {
                    let frame = stored.of(file).ok_or_else(|| damaged("is outside the file"))?;
                    match zstd::bulk::decompress_to_buffer(frame, out) {
                        Ok(n) if n == out.len() => Ok(()),
                        _ => Err(damaged("cannot be unpacked")),
                    }
                })??;
            }
            _ if view.bands.has(block.start) => {
                let curve = Curve::new(view.header.order);
                view.read_body(|body| apply::read_rgba(body, curve, block.start, out))?;
            }
            _ => {}
        }
        Ok(pixels)
    }
}

impl View {
    fn open(path: &Path) -> Result<Self, BrickError> {
        let file = files::open_read(path)?;
        let format = |source| BrickError::Format { path: path.to_owned(), source };
        // Before it is mapped: an empty file, a directory or a device cannot be.
        let header = Header::decode(&files::read_prefix(&file, path, HEADER_LEN)?).map_err(format)?;
        let found = file.metadata().doing("stat", path)?.len();
        let body =
            if header.is_compressed() { header.compressed_size } else { Curve::new(header.order).body_len() };
        let expected = (HEADER_LEN as u64).saturating_add(body);
        if found < expected {
            return Err(format(FormatError::Truncated { expected, found }));
        }
        // Of a brick this large one leaf in eight is in use, and takes 25 bytes even if it packs to nothing.
        if header.order > ORDER_MAX && leaf_count(header.order) > found {
            return Err(format(FormatError::TooSmall { found, order: header.order }));
        }
        let bands = Bands::of_file(&file, Curve::new(header.order));
        Ok(Self { map: FileMap::new(file, path)?, bands, header })
    }

    /// The form that the header says against what else tells it: a footer at the end, or a catalog beside it. Otherwise a
    /// damaged byte of the header would make a live brick of a sealed one, or one of another program, which nothing
    /// vouches for and no check fails on.
    fn check_form(&self, path: &Path) -> Result<(), BrickError> {
        let header = &self.header;
        let has_footer = self.map.read(Footer::ends)?;
        let has_catalog = || Files::catalog_of(path).try_exists().doing("look for the catalog of", path);
        let form = |says, has| Err(FormatError::Form { says, has });
        let expected = Curve::new(header.order).body_len();
        let checked = match header.trailer {
            None if has_footer => form("of another program", "the index of a sealed brick"),
            None if has_catalog()? => form("of another program", "the catalog of a live one"),
            Some(TRAILER_NONE) if has_footer => form("live", "the index of a sealed one"),
            Some(TRAILER_NONE) if header.is_compressed() => Err(FormatError::Flags(header.flags)),
            Some(version) if version != TRAILER_NONE && !has_footer && has_catalog()? => {
                form("sealed", "no index, but the catalog of a live one")
            }
            Some(_) if !header.is_compressed() && header.compressed_size != expected => {
                Err(FormatError::BodyLength { found: header.compressed_size, order: header.order, expected })
            }
            _ => Ok(()),
        };
        checked.map_err(|source| BrickError::Format { path: path.to_owned(), source })
    }

    /// Whether the header's bytes are exactly what the header was decoded from, with zeros wherever there must be.
    pub(super) fn is_header_canonical(&self) -> Result<bool, BrickError> {
        self.map.read(|file| self.header.is_canonical(&file[..HEADER_LEN]))
    }

    /// The occupied pixels of an uncompressed brick, counted.
    pub(super) fn histogram(&self) -> Result<Histogram, BrickError> {
        self.read_body(|body| {
            let mut histogram = Histogram::default();
            for range in self.bands.ranges() {
                histogram.add_pixels(&body[range]);
            }
            histogram
        })
    }

    /// What `f` makes of the pixels of an uncompressed brick. `open` made sure that they are all there.
    pub(super) fn read_body<T>(&self, f: impl FnOnce(&[u8]) -> T) -> Result<T, BrickError> {
        let len = Curve::new(self.header.order).body_len() as usize;
        self.map.read(|file| f(&file[HEADER_LEN..HEADER_LEN + len]))
    }
}

impl Source {
    fn sealed(index: &Index, header: &Header) -> Result<Self, FormatError> {
        let damaged = |detail: &str| FormatError::Index(detail.to_owned());
        if index.order != header.order {
            return Err(damaged("it is of another order than the header"));
        }
        if index.frames.is_some() != header.is_compressed() {
            return Err(damaged("it does not agree with the header about compression"));
        }
        let is_inside = |&(_, offset, len): &Frame| {
            offset.checked_add(len).is_some_and(|end| end <= header.compressed_size)
        };
        let frames = index.frames.as_deref();
        if !frames.unwrap_or_default().iter().all(is_inside) {
            return Err(damaged("a frame is outside the body"));
        }
        let mut sums = index.frame_sums()?.into_iter();
        let frames = frames.map(|frames| {
            let stored = |&(leaf, offset, len): &Frame| (leaf, StoredFrame { offset, len, sum: sums.next() });
            frames.iter().map(stored).collect()
        });
        Ok(Self::Sealed {
            rows: index.rows()?,
            regions: index.regions(),
            leaves: index.leaves()?,
            cap: index.cap,
            frames,
        })
    }
}

/// Root over leaf hashes.
pub(super) fn root_of(order: u8, leaves: impl IntoIterator<Item = (u64, Hash)>) -> Hash {
    Merkle::of_leaves(order, leaves).root()
}

impl ArtifactEntry {
    /// Whether it has this very path.
    pub fn is_at(&self, path: &[u8]) -> bool {
        match &self.path_bytes {
            Some(bytes) => BASE64.decode(bytes).is_ok_and(|bytes| bytes == path),
            None => self.path.as_bytes() == path,
        }
    }

    fn new(paths: &HashMap<ArtifactId, Vec<u8>>, row: Row, regions: Option<Regions>) -> Self {
        let bytes = paths.get(&row.id).map_or(row.name.as_slice(), Vec::as_slice);
        let path = String::from_utf8_lossy(bytes).into_owned();
        Self {
            path_bytes: (path.as_bytes() != bytes).then(|| BASE64.encode(bytes)),
            path,
            file_type: row.meta.file_type,
            kind: disk::kind_name(row.semantics.kind),
            start: row.block.start,
            cells: row.block.cells(),
            len: row.len,
            exact: row.exact,
            redacted: row.redacted,
            unverified: row.unverified.is_some(),
            unverified_reason: row.unverified,
            mode: row.meta.mode,
            uid: row.meta.uid,
            gid: row.meta.gid,
            mtime_ns: row.meta.mtime_ns,
            content_hash: hex(&row.content_hash),
            semantics: row.semantics,
            regions,
        }
    }
}
