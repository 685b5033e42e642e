//! A brick becomes a PixelRTS picture.
//!
//! The metadata comes before the pixels in the file and has hashes of them in it, so the brick is read twice, leaf by
//! leaf. Memory is bounded by the metadata and one row of leaves.

use std::collections::HashSet;
use std::io::Write;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::blueprint::{Blueprint, COMPONENTS_MAX};
use super::{BLUEPRINT_KEYWORD, FORMAT, FORMAT_VERSION, KEYWORD, SIDE_MAX, TEXT_MAX, json};
use crate::brick::error::IoContext;
use crate::brick::index::hex;
use crate::brick::paths::paths;
use crate::brick::{Brick, BrickError, ExportError, Row};
use crate::fold::merkle::{Hash, LEAF_CELLS, leaf_block};
use crate::fold::{Curve, Histogram, apply};

/// Cells of a leaf that are one byte each: also the bytes of its 1024 pixels here.
const LEAF_CONTENT: usize = LEAF_CELLS as usize;

/// What has been written.
pub(in crate::brick) struct Written {
    /// Side of the picture in pixels.
    pub(in crate::brick) side: u32,
    pub(in crate::brick) artifacts: u64,
    /// Artifacts that the Blueprint has no room for.
    pub(in crate::brick) undescribed: u64,
}

/// Where the bytes of one artifact are in the data, and what is known of them.
pub(super) struct Segment {
    /// Its path. Where a path that is not UTF-8 looks like another one, a number sign and its first byte's place follow.
    pub(super) name: String,
    /// Base64 of the path, if `name` is not the path.
    path_bytes: Option<String>,
    /// First byte.
    pub(super) start: u64,
    /// One past the last.
    pub(super) end: u64,
    sha256: Hash,
    /// Shannon entropy in bits a byte.
    pub(super) entropy: f32,
}

#[derive(Serialize)]
struct Metadata<'a> {
    format: &'static str,
    format_version: u32,
    /// The public description names the same number so.
    version: u32,
    #[serde(rename = "type")]
    sort: &'static str,
    name: &'a str,
    grid_size: u32,
    encoding: Encoding,
    data_size: u64,
    original_size: u64,
    data_hash: String,
    /// The brick's Merkle root: which state of it this is.
    brick_hash: String,
    offsets: Offsets<'a>,
}

#[derive(Serialize)]
struct Encoding {
    #[serde(rename = "type")]
    sort: &'static str,
    bytes_per_pixel: u32,
    mapping: &'static str,
}

/// A map from names to [`Offset`]s, made while it is written: there may be hundreds of thousands.
struct Offsets<'a> {
    rows: &'a [Row],
    segments: &'a [Segment],
}

/// Start and end are the spelling of the public description, offset and size that of its Rust reader.
#[derive(Serialize)]
struct Offset<'a> {
    start: u64,
    end: u64,
    size: u64,
    #[serde(rename = "offset")]
    start_again: u64,
    sha256: String,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<&'a str>,
    /// Length of the contents in bytes, where the bytes here are only a digest of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest_of: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    redacted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    unverified: Option<&'a str>,
}

impl Serialize for Offsets<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.segments.len()))?;
        for (row, segment) in self.rows.iter().zip(self.segments) {
            let offset = Offset {
                start: segment.start,
                end: segment.end,
                size: segment.end - segment.start,
                start_again: segment.start,
                sha256: hex(&segment.sha256),
                kind: row.semantics.kind.name(),
                path_bytes: segment.path_bytes.as_deref(),
                digest_of: (!row.exact).then_some(row.len),
                redacted: row.redacted,
                unverified: row.unverified.as_deref(),
            };
            map.serialize_entry(&segment.name, &offset)?;
        }
        map.end()
    }
}

/// Writes a brick that does not change and has been verified.
pub(in crate::brick) fn write(brick: &Brick, to: impl Write, out: &Path) -> Result<Written, ExportError> {
    let header = brick.header();
    // Four cells are a pixel. A curve of one cell, which only other programs make, still needs one.
    let curve = Curve::new(header.order.saturating_sub(1));
    let side = 1_u32 << curve.order();
    if side > SIDE_MAX {
        let why = format!(
            "too large for PixelRTS ({side}x{side} pixels, its readers take at most {SIDE_MAX}x{SIDE_MAX}); \
             fold less, or export --format v2br"
        );
        return Err(brick.impossible(why));
    }
    let mut rows = brick.rows()?;
    let paths = paths(&rows);
    rows.sort_unstable_by_key(|row| row.block);
    let (segments, data_hash) =
        survey(brick, &rows, |row| paths.get(&row.id).map_or(&row.name, |path| path))?;
    let root = rows.iter().position(|row| row.parent.is_none());
    let name = root.map_or("", |at| segments[at].name.as_str());

    let metadata = Metadata {
        format: FORMAT,
        format_version: FORMAT_VERSION,
        version: FORMAT_VERSION,
        sort: "sfd-brick",
        name,
        grid_size: side,
        encoding: Encoding { sort: "RGBA-dense", bytes_per_pixel: 4, mapping: "Hilbert space-filling curve" },
        data_size: header.original_size,
        original_size: header.original_size,
        data_hash: hex(&data_hash),
        brick_hash: hex(&header.hash),
        offsets: Offsets { rows: &rows, segments: &segments },
    };
    let metadata = text_chunk(KEYWORD, &metadata, out)?;
    let blueprint = text_chunk(BLUEPRINT_KEYWORD, &Blueprint::new(name, &rows, &segments, curve), out)?;
    if metadata.len() + blueprint.len() > TEXT_MAX {
        let why = format!(
            "too many artifacts for PixelRTS ({} MiB of metadata, its readers take at most {}); fold less, or export \
             --format v2br",
            (metadata.len() + blueprint.len()) >> 20,
            TEXT_MAX >> 20
        );
        return Err(brick.impossible(why));
    }
    let mut encoder = png::Encoder::new(to, side, side);
    encoder.set_color(png::ColorType::Rgba);
    // Neighbouring bytes are no gradient: filters would only cost time.
    encoder.set_filter(png::Filter::NoFilter);
    let mut writer = encoder.write_header().doing("write", out)?;
    // In this order: the public Rust reader takes the first text that starts with the keyword.
    writer.write_chunk(png::chunk::tEXt, &metadata).doing("write", out)?;
    writer.write_chunk(png::chunk::tEXt, &blueprint).doing("write", out)?;
    let mut stream = writer.stream_writer().doing("write", out)?;
    write_pixels(brick, curve, &mut stream, out)?;
    stream.finish().doing("write", out)?;
    writer.finish().doing("write", out)?;
    let artifacts = rows.len() as u64;
    Ok(Written { side, artifacts, undescribed: artifacts.saturating_sub(COMPONENTS_MAX as u64) })
}

/// Keyword, a zero byte, the keyword again, JSON.
fn text_chunk(keyword: &str, value: &impl Serialize, out: &Path) -> Result<Vec<u8>, BrickError> {
    let mut chunk = [keyword, "\0", keyword].concat().into_bytes();
    json::append(&mut chunk, value).map_err(std::io::Error::from).doing("write", out)?;
    Ok(chunk)
}

/// Hashes the data and the part of each artifact in it, of rows in curve order.
fn survey<'a>(
    brick: &Brick,
    rows: &'a [Row],
    path: impl Fn(&'a Row) -> &'a [u8],
) -> Result<(Vec<Segment>, Hash), BrickError> {
    let used = brick.header().original_size;
    let mut names = Names::default();
    let mut segments: Vec<Segment> = Vec::with_capacity(rows.len());
    let (mut sha, mut entropy) = (Sha256::new(), Histogram::default());
    let mut data_sha = Sha256::new();
    for leaf in 0..used.div_ceil(LEAF_CELLS) {
        let bytes = content(brick, leaf)?;
        let here = leaf * LEAF_CELLS..used.min((leaf + 1) * LEAF_CELLS);
        let part = |from: u64, to: u64| &bytes[(from - here.start) as usize..(to - here.start) as usize];
        data_sha.update(part(here.start, here.end));
        // Verified blocks are disjoint and in order: at most one is begun here and not finished.
        while let Some(row) = rows.get(segments.len()).filter(|row| row.block.start < here.end) {
            let (start, end) = (row.block.start, row.block.start + row.len.min(row.block.cells()));
            let (from, to) = (start.max(here.start), end.min(here.end));
            if from < to {
                sha.update(part(from, to));
                entropy.add_bytes(part(from, to));
            }
            if end > here.end {
                break;
            }
            let (name, path_bytes) = names.unique(path(row), start);
            let sha256 = std::mem::take(&mut sha).finalize().into();
            let entropy = std::mem::take(&mut entropy).entropy();
            segments.push(Segment { name, path_bytes, start, end, sha256, entropy });
        }
    }
    Ok((segments, data_sha.finalize().into()))
}

/// Names that are in use.
#[derive(Default)]
struct Names(HashSet<String>);

impl Names {
    /// A name for a path, and the path in base64 if the name is not it.
    fn unique(&mut self, path: &[u8], start: u64) -> (String, Option<String>) {
        let mut name = String::from_utf8_lossy(path).into_owned();
        if !self.0.insert(name.clone()) {
            name = format!("{name}#{start}");
            // A file may have been given that very name.
            while !self.0.insert(name.clone()) {
                name.push('#');
            }
        }
        let path_bytes = (name.as_bytes() != path).then(|| BASE64.encode(path));
        (name, path_bytes)
    }
}

/// The bytes of a leaf in curve order; zero from the end of the used run on.
fn content(brick: &Brick, leaf: u64) -> Result<[u8; LEAF_CONTENT], BrickError> {
    let pixels = brick.leaf_in(brick.view(), leaf)?;
    let mut bytes = [0; LEAF_CONTENT];
    let used = brick.header().original_size.saturating_sub(leaf * LEAF_CELLS);
    for (byte, pixel) in bytes.iter_mut().zip(pixels.as_chunks::<4>().0).take(used as usize) {
        *byte = pixel[0];
    }
    Ok(bytes)
}

/// Writes the rows of the picture, as many at a time as a leaf is high.
fn write_pixels(brick: &Brick, curve: Curve, to: &mut impl Write, out: &Path) -> Result<(), BrickError> {
    let leaves = brick.header().original_size.div_ceil(LEAF_CELLS);
    let side = curve.side();
    let height = side.min(32);
    let mut rows = vec![0; (side * height * 4) as usize];
    for top in (0..side).step_by(height as usize) {
        rows.fill(0);
        for left in (0..side).step_by(height as usize) {
            // 1024 pixels are a leaf, and start where it starts.
            let leaf = curve.cell(left as u32, top as u32) / (LEAF_CELLS / 4);
            if leaf >= leaves {
                continue;
            }
            let bytes = content(brick, leaf)?;
            let start = leaf_block(curve.order() + 1, leaf).start / 4;
            let pixels = &bytes[..(height * height * 4) as usize];
            apply::each_pixel(curve, start, pixels, |x, y, pixel| {
                let at = ((u64::from(y) - top) * side + u64::from(x)) as usize * 4;
                rows[at..at + 4].copy_from_slice(&pixel);
            });
        }
        to.write_all(&rows).doing("write", out)?;
    }
    Ok(())
}
