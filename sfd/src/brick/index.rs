//! The index at the end of a sealed brick: zstd-compressed JSON between body and footer.

use std::collections::HashMap;
use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::format::{FOOTER_LEN, Footer, FormatError};
use super::{ArtifactId, Row};
use crate::artifact::{Meta, Region, Regions, Semantics};
use crate::fold::Block;
use crate::fold::merkle::{Hash, Merkle, empty_hash, leaf_count};

/// Level of compression. The index of /usr (139 000 artifacts, 85 MB) is 10.2 MB at level 1 and 10.1 MB at 9, which takes seven
/// times as long: most of it is hashes.
const ZSTD_LEVEL: i32 = 1;
/// No index is larger: ten million artifacts of 400 bytes.
const RAW_LEN_MAX: u64 = 4 << 30;
/// No index is packed tighter: ten thousand empty files of one directory are packed 37 to 1. Bounds what a small hostile
/// file can make us allocate ...
const PACKING_MAX: u64 = 128;
/// ... beside the hashes of leaves, which may all be equal (a file of zeros) and then pack to nothing.
const LEAF_BASE64: u64 = 43;

/// Where a leaf of a compressed body is: leaf number, offset from the start of the body, bytes.
pub(super) type Frame = (u64, u64, u64);

/// Checksum of a frame as it is stored, the start of its SHA-256: some bits of a frame can change without changing what
/// it unpacks to, so that the leaf's hash says nothing about them. Against accidents, eight bytes are plenty.
pub(super) type FrameSum = [u8; 8];

pub(super) fn frame_sum(frame: &[u8]) -> FrameSum {
    Hash::from(Sha256::digest(frame)).first_chunk().copied().unwrap_or_default()
}

/// A compressed body.
#[derive(Debug, Default)]
pub(super) struct Frames {
    pub(super) table: Vec<Frame>,
    /// One for each of the table.
    pub(super) sums: Vec<FrameSum>,
}

/// The index. Field order is the order in the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Index {
    pub(super) order: u8,
    pub(super) cap: u8,
    artifacts: Vec<IndexRow>,
    /// Base64 of the leaf hashes, 32 bytes each, from leaf 0 to the last that is not empty. The upper levels follow
    /// from them.
    leaves: String,
    /// Of a compressed body: its frames; leaves without one are empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) frames: Option<Vec<Frame>>,
    /// Base64 of the frames' checksums, 8 bytes each. Bricks of earlier versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    frame_sums: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct IndexRow {
    id: ArtifactId,
    parent: Option<ArtifactId>,
    /// Lossy when it is not UTF-8; then `name_bytes` is exact.
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name_bytes: Option<String>,
    meta: Meta,
    sb_dev: u32,
    start: u64,
    k: u8,
    len: u64,
    content_hash: String,
    exact: bool,
    redacted: bool,
    unverified: Option<String>,
    semantics: Semantics,
    /// Two keys; an index without them has none, and readers that do not know them pass over them.
    #[serde(default, flatten, skip_serializing_if = "Option::is_none")]
    regions: Option<Regions>,
}

impl Index {
    pub(super) fn new(
        order: u8,
        cap: u8,
        rows: &[Row],
        regions: &HashMap<ArtifactId, Regions>,
        merkle: &Merkle,
        frames: Option<Frames>,
    ) -> Self {
        let leaves = merkle.leaves();
        let occupied = leaves.iter().rposition(|hash| *hash != empty_hash(0)).map_or(0, |last| last + 1);
        Self {
            order,
            cap,
            artifacts: rows.iter().map(|row| IndexRow::new(row, regions.get(&row.id))).collect(),
            leaves: BASE64.encode(leaves[..occupied].as_flattened()),
            frame_sums: frames.as_ref().map(|frames| BASE64.encode(frames.sums.as_flattened())),
            frames: frames.map(|frames| frames.table),
        }
    }

    /// The checksums of the frames, one for each; none if there are no frames, or if the brick has no checksums.
    pub(super) fn frame_sums(&self) -> Result<Vec<FrameSum>, FormatError> {
        let damaged = || FormatError::Index("the checksums of its frames do not fit".into());
        let (Some(frames), Some(sums)) = (&self.frames, &self.frame_sums) else { return Ok(Vec::new()) };
        let bytes = BASE64.decode(sums).map_err(|_| damaged())?;
        let (sums, rest) = bytes.as_chunks();
        if rest.is_empty() && sums.len() == frames.len() { Ok(sums.to_vec()) } else { Err(damaged()) }
    }

    /// Index and footer as they follow the body.
    pub(super) fn encode(&self) -> std::io::Result<Vec<u8>> {
        let json = serde_json::to_vec(self)?;
        let mut out = zstd::bulk::compress(&json, ZSTD_LEVEL)?;
        let footer = Footer {
            index_len: out.len() as u64,
            raw_len: json.len() as u64,
            checksum: Sha256::digest(&out).into(),
        };
        out.extend_from_slice(&footer.encode());
        Ok(out)
    }

    /// Reads the index of a file of a given order whose body ends at `body_end`. Every byte after the body is accounted
    /// for.
    pub(super) fn decode(file: &[u8], order: u8, body_end: u64) -> Result<Self, FormatError> {
        let damaged = |detail: &str| FormatError::Index(detail.to_owned());
        let tail = usize::try_from(body_end).ok().and_then(|at| file.get(at..)).unwrap_or_default();
        let (index, footer) = tail
            .split_last_chunk::<FOOTER_LEN>()
            .ok_or_else(|| damaged("no footer; the file is truncated or not finished"))?;
        let footer = Footer::decode(footer)?;
        if footer.index_len != index.len() as u64 {
            return Err(damaged("its length is not what header and footer say"));
        }
        if footer.checksum != Hash::from(Sha256::digest(index)) {
            return Err(damaged("its checksum is wrong"));
        }
        let packed = footer.index_len.saturating_mul(PACKING_MAX) + leaf_count(order) * LEAF_BASE64;
        if footer.raw_len > packed.min(RAW_LEN_MAX) {
            return Err(damaged("it is too large"));
        }
        let mut json = Vec::new();
        zstd::stream::read::Decoder::new(index)
            .and_then(|decoder| decoder.take(footer.raw_len + 1).read_to_end(&mut json))
            .map_err(|error| damaged(&error.to_string()))?;
        if json.len() as u64 != footer.raw_len {
            return Err(damaged("its unpacked length is not what the footer says"));
        }
        serde_json::from_slice(&json).map_err(|error| damaged(&error.to_string()))
    }

    pub(super) fn rows(&self) -> Result<Vec<Row>, FormatError> {
        self.artifacts
            .iter()
            .map(|row| {
                row.decode()
                    .ok_or_else(|| FormatError::Index(format!("artifact {} is not decodable", row.id.0)))
            })
            .collect()
    }

    /// The named parts of the artifacts that have any.
    pub(super) fn regions(&self) -> HashMap<ArtifactId, Regions> {
        let regions = self.artifacts.iter().filter_map(|row| Some((row.id, row.regions.clone()?)));
        regions.collect()
    }

    pub(super) fn leaves(&self) -> Result<Vec<Hash>, FormatError> {
        let bytes = BASE64.decode(&self.leaves).map_err(|error| FormatError::Index(error.to_string()))?;
        let (hashes, rest) = bytes.as_chunks::<32>();
        let count = leaf_count(self.order);
        if !rest.is_empty() || hashes.len() as u64 > count {
            return Err(FormatError::Index("the leaf hashes do not fit the curve".into()));
        }
        let mut leaves = hashes.to_vec();
        leaves.resize(count as usize, empty_hash(0));
        Ok(leaves)
    }
}

impl IndexRow {
    fn new(row: &Row, regions: Option<&Regions>) -> Self {
        let name = String::from_utf8_lossy(&row.name);
        let is_exact = name.as_bytes() == row.name;
        Self {
            id: row.id,
            parent: row.parent,
            name_bytes: (!is_exact).then(|| BASE64.encode(&row.name)),
            name: name.into_owned(),
            meta: row.meta.clone(),
            sb_dev: row.sb_dev,
            start: row.block.start,
            k: row.block.k,
            len: row.len,
            content_hash: hex(&row.content_hash),
            exact: row.exact,
            redacted: row.redacted,
            unverified: row.unverified.clone(),
            semantics: row.semantics.clone(),
            regions: regions.filter(|_| row.exact && !row.redacted).cloned(),
        }
    }

    fn decode(&self) -> Option<Row> {
        let name = match &self.name_bytes {
            Some(bytes) => BASE64.decode(bytes).ok()?,
            None => self.name.clone().into_bytes(),
        };
        let regions = self.regions.as_ref().map(|regions| regions.regions.as_slice()).unwrap_or_default();
        let is_inside =
            |region: &Region| region.start.checked_add(region.len).is_some_and(|end| end <= self.len);
        if !regions.iter().all(is_inside) {
            return None;
        }
        Some(Row {
            id: self.id,
            parent: self.parent,
            name,
            meta: self.meta.clone(),
            sb_dev: self.sb_dev,
            block: Block::from_disk(self.start, self.k)?,
            len: self.len,
            content_hash: unhex(&self.content_hash)?,
            exact: self.exact,
            redacted: self.redacted,
            unverified: self.unverified.clone(),
            semantics: self.semantics.clone(),
        })
    }
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    bytes.iter().flat_map(|&byte| [digit(byte >> 4), digit(byte)]).collect()
}

fn unhex(text: &str) -> Option<Hash> {
    let mut out = [0; 32];
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != out.len() || !rest.is_empty() {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(pairs) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = u8::try_from(digit(0)? << 4 | digit(1)?).ok()?;
    }
    Some(out)
}
