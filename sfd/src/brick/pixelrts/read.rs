//! PixelRTS pictures, of any program, are read.
//!
//! What a file declares is compared with its length before anything is allocated for it.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{BLUEPRINT_KEYWORD, FORMAT, FORMAT_VERSION, KEYWORD, ORDER_MAX};
use crate::brick::error::IoContext;
use crate::brick::format::FormatError;
use crate::brick::index::hex;
use crate::brick::readable::{Extracted, WHOLE};
use crate::brick::{BrickError, ExtractError, Finding, VerifyReport, files};
use crate::fold::Curve;

/// Bytes that one byte of a deflate stream can become, at most (258 for two bits, in blocks without end).
const INFLATION_MAX: u64 = 1032;
/// Named parts may overlap, but all together they are at most so many times the data: each is hashed by itself.
const OVERLAP_MAX: u64 = 16;
/// What the decoder may allocate beside what the file's own length asks for: a row of the largest picture, twice, and
/// its tables.
const DECODER_BYTES: usize = 1 << 20;

/// A PixelRTS picture, open for reading. Its pixels are read when they are asked for.
#[derive(Debug)]
pub struct PixelRts {
    path: PathBuf,
    curve: Curve,
    metadata: Metadata,
    /// In the order of their places.
    offsets: Vec<Offset>,
    blueprint: Option<Value>,
}

/// The metadata. Older writers left out much of it.
#[derive(Debug, Deserialize)]
struct Metadata {
    format: Option<String>,
    format_version: Option<u32>,
    encoding: Option<Encoding>,
    /// Of the data, in bytes.
    data_size: Option<u64>,
    original_size: Option<u64>,
    data_hash: Option<String>,
    compression: Option<Value>,
    encoded_size: Option<Value>,
    original_data_b64: Option<Value>,
    #[serde(default)]
    offsets: BTreeMap<String, RawOffset>,
    /// By the names of `offsets`.
    #[serde(default)]
    hashes: HashMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Encoding {
    #[serde(rename = "type")]
    sort: Option<String>,
}

/// A part of the data as files spell it.
#[derive(Debug, Deserialize)]
struct RawOffset {
    start: Option<u64>,
    offset: Option<u64>,
    end: Option<u64>,
    size: Option<u64>,
    sha256: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    path_bytes: Option<String>,
    digest_of: Option<u64>,
    #[serde(default)]
    redacted: bool,
    unverified: Option<String>,
}

/// A named part of the data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Offset {
    /// Its name; of SFD's own pictures the path.
    pub path: String,
    /// Base64 of the exact path, when `path` is not it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_bytes: Option<String>,
    /// What it is, in the writer's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub len: u64,
    /// SHA-256 in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Length of the contents, of which these bytes are only a digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest_of: Option<u64>,
    /// The contents are secret, and these bytes are not they.
    pub redacted: bool,
    /// Why it was not verified when the picture was made, if it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unverified: Option<String>,
}

/// A picture as `sfd inspect --json` shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inspection {
    /// `PixelRTS-2.0`.
    pub format: &'static str,
    /// 2.
    pub version: u32,
    /// Order of the curve.
    pub order: u8,
    /// Side in pixels.
    pub side: u64,
    /// Bytes of data.
    pub data_size: u64,
    /// SHA-256 of the data in hexadecimal, as the file says.
    pub data_hash: Option<String>,
    /// In the order of their places.
    pub artifacts: Vec<Offset>,
    /// The Blueprint as it is, if there is one.
    pub blueprint: Option<Value>,
}

impl PixelRts {
    /// Opens a picture and reads its metadata.
    ///
    /// # Errors
    /// The file is not a PNG, has no PixelRTS metadata, or is of a sort that is not read here: another version, bytes
    /// that are compressed or coloured before they become pixels.
    pub fn open(path: &Path) -> Result<Self, BrickError> {
        let bad = |detail: String| BrickError::Format {
            path: path.to_owned(),
            source: FormatError::PixelRts(detail),
        };
        let reader = decoder(path)?;
        let info = reader.info();
        let texts = || info.uncompressed_latin1_text.iter().map(|chunk| chunk.text.as_str());
        let metadata: Metadata = texts()
            .filter(|text| !text.starts_with(BLUEPRINT_KEYWORD))
            .find_map(|text| text.strip_prefix(KEYWORD))
            .ok_or_else(|| bad("a PNG without PixelRTS metadata in it".into()))
            .and_then(|json| {
                serde_json::from_str(json)
                    .map_err(|error| bad(format!("its PixelRTS metadata is damaged: {error}")))
            })?;
        let blueprint = texts()
            .find_map(|text| text.strip_prefix(BLUEPRINT_KEYWORD))
            .map(|json| {
                serde_json::from_str(json).map_err(|error| bad(format!("its Blueprint is damaged: {error}")))
            })
            .transpose()?;
        let curve = check_image(info).map_err(bad)?;
        let mut picture = Self { path: path.to_owned(), curve, metadata, offsets: Vec::new(), blueprint };
        picture.check_metadata().map_err(bad)?;
        picture.offsets = picture.read_offsets().map_err(bad)?;
        Ok(picture)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Metadata and named parts.
    pub fn inspect(&self) -> Inspection {
        Inspection {
            format: FORMAT,
            version: FORMAT_VERSION,
            order: self.curve.order(),
            side: self.curve.side(),
            data_size: self.data_size(),
            data_hash: self.metadata.data_hash.clone(),
            artifacts: self.offsets.clone(),
            blueprint: self.blueprint.clone(),
        }
    }

    /// The data: all bytes of all pixels, as far as the metadata says that they are data.
    pub fn data(&self) -> Result<Vec<u8>, BrickError> {
        let damaged = |error: png::DecodingError| not_png(&self.path, &error);
        let mut reader = decoder(&self.path)?;
        // It may be another file by now.
        if check_image(reader.info()) != Ok(self.curve) {
            return Err(self.damaged("it has changed while it was read"));
        }
        let size = self.data_size() as usize;
        let mut data = vec![0; size.next_multiple_of(4)];
        let mut y = 0;
        while let Some(row) = reader.next_row().map_err(damaged)? {
            for (x, pixel) in (0..).zip(row.data().as_chunks::<4>().0) {
                // Zeros are there already, in pages that cost no memory until something else is written to them.
                if *pixel != [0; 4] {
                    let at = self.curve.cell(x, y) as usize * 4;
                    if let Some(bytes) = data.get_mut(at..at + 4) {
                        bytes.copy_from_slice(pixel);
                    }
                }
            }
            y += 1;
        }
        reader.finish().map_err(damaged)?;
        data.truncate(size);
        Ok(data)
    }

    /// The bytes of a named part, or, under the name [`WHOLE`], of all data.
    ///
    /// # Errors
    /// There is no such part, it is marked as not being the contents, or its bytes are not those that its hash says.
    pub fn extract(&self, path: &[u8]) -> Result<Extracted, ExtractError> {
        let shown = || String::from_utf8_lossy(path).into_owned();
        let Some(offset) = self.offsets.iter().find(|offset| offset.is_of(path)) else {
            if path != WHOLE.as_bytes() {
                return Err(ExtractError::NotFound { path: shown() });
            }
            let bytes = self.data()?;
            let proved = proves(self.metadata.data_hash.as_deref(), &bytes);
            if proved == Some(false) {
                return Err(ExtractError::Damaged { path: shown(), start: 0, end: self.data_size() });
            }
            return Ok(Extracted { bytes, is_proved: proved.is_some() });
        };
        if offset.redacted {
            return Err(ExtractError::Redacted { path: shown() });
        }
        if let Some(reason) = offset.unverified.clone() {
            return Err(ExtractError::Unverified { path: shown(), reason });
        }
        if let Some(len) = offset.digest_of {
            return Err(ExtractError::Digest { path: shown(), len });
        }
        let data = self.data()?;
        let bytes = offset.of(&data);
        // Without a hash of its own, it is as good as the whole.
        let proved = proves(offset.sha256.as_deref(), bytes)
            .or_else(|| proves(self.metadata.data_hash.as_deref(), &data));
        if proved == Some(false) {
            let (start, end) = (offset.start, offset.start + offset.len);
            return Err(ExtractError::Damaged { path: shown(), start, end });
        }
        Ok(Extracted { bytes: bytes.to_vec(), is_proved: proved.is_some() })
    }

    /// Compares all bytes with the hashes in the metadata: `leaves` of the report is 0, `artifacts` are named parts,
    /// `contents` those with a hash. Without a hash of the whole, one more counts as unverified.
    ///
    /// # Errors
    /// The file could not be read at all.
    pub fn verify(&self) -> Result<VerifyReport, BrickError> {
        let data = self.data()?;
        let mut report = VerifyReport { artifacts: self.offsets.len() as u64, ..VerifyReport::default() };
        let finding = |check, path: Option<&str>, start, cells, detail: &str| Finding {
            check,
            path: path.map(str::to_owned),
            start,
            cells,
            detail: detail.to_owned(),
        };
        match proves(self.metadata.data_hash.as_deref(), &data) {
            Some(true) => {}
            Some(false) => {
                let detail = "the data does not match data_hash";
                report.add(finding("data", None, 0, data.len() as u64, detail));
            }
            None => report.unverified += 1,
        }
        for offset in &self.offsets {
            report.unverified += u64::from(offset.unverified.is_some());
            match proves(offset.sha256.as_deref(), offset.of(&data)) {
                Some(true) => report.contents += 1,
                Some(false) => {
                    let detail = "the bytes do not match their sha256";
                    report.add(finding("contents", Some(&offset.path), offset.start, offset.len, detail));
                }
                None => {}
            }
        }
        if let Some(detail) = self.blueprint.as_ref().and_then(|blueprint| self.wrong_blueprint(blueprint)) {
            report.add(finding("blueprint", None, 0, 0, &detail));
        }
        Ok(report)
    }

    fn data_size(&self) -> u64 {
        let Metadata { data_size, original_size, .. } = self.metadata;
        data_size.or(original_size).unwrap_or(self.curve.cells() * 4)
    }

    fn check_metadata(&self) -> Result<(), String> {
        let Metadata {
            format, format_version, encoding, compression, encoded_size, original_data_b64, ..
        } = &self.metadata;
        if format.as_deref().is_some_and(|format| format != FORMAT) {
            return Err(format!(
                "of the format {:?}, only {FORMAT} is known",
                format.as_deref().unwrap_or_default()
            ));
        }
        if format_version.is_some_and(|version| version != FORMAT_VERSION) {
            return Err(format!("of another version of PixelRTS than {FORMAT_VERSION}"));
        }
        let sort = encoding.as_ref().and_then(|encoding| encoding.sort.as_deref()).unwrap_or("RGBA-dense");
        if sort != "RGBA-dense" || original_data_b64.is_some() {
            return Err(format!("its pixels are {sort:?}, not its bytes; only RGBA-dense is read"));
        }
        if compression.is_some() || encoded_size.is_some() {
            return Err("its data was compressed before it became pixels; that is not read".into());
        }
        let room = self.curve.cells() * 4;
        if self.data_size() > room {
            return Err(format!(
                "{} bytes of data are said to be in {room} bytes of pixels",
                self.data_size()
            ));
        }
        Ok(())
    }

    fn read_offsets(&mut self) -> Result<Vec<Offset>, String> {
        let size = self.data_size();
        let mut offsets = Vec::with_capacity(self.metadata.offsets.len());
        for (path, raw) in std::mem::take(&mut self.metadata.offsets) {
            let start = raw.start.or(raw.offset).unwrap_or(0);
            let end = raw.end.or_else(|| start.checked_add(raw.size?)).unwrap_or(size);
            if start > end || end > size {
                return Err(format!("bytes {start}..{end} of {path:?} are outside its {size} bytes of data"));
            }
            let sha256 = raw.sha256.or_else(|| self.metadata.hashes.remove(&path));
            offsets.push(Offset {
                path,
                path_bytes: raw.path_bytes,
                kind: raw.kind,
                start,
                len: end - start,
                sha256,
                digest_of: raw.digest_of,
                redacted: raw.redacted,
                unverified: raw.unverified,
            });
        }
        if offsets.iter().map(|offset| offset.len).fold(0, u64::saturating_add)
            > size.saturating_mul(OVERLAP_MAX)
        {
            return Err(format!("its named parts are more than {OVERLAP_MAX} times its data"));
        }
        // Names are in order already.
        offsets.sort_by_key(|offset| offset.start);
        Ok(offsets)
    }

    /// What does not fit the picture in a Blueprint, if anything does not.
    fn wrong_blueprint(&self, blueprint: &Value) -> Option<String> {
        let components = blueprint.get("components")?.as_array()?;
        components.iter().find_map(|component| {
            let name = component.get("id").and_then(Value::as_str).unwrap_or("a component without a name");
            let index = |key: &str| component.pointer(key).and_then(Value::as_u64);
            let (start, end) = (index("/hilbert_range/start_index")?, index("/hilbert_range/end_index")?);
            (start > end || end > self.curve.cells())
                .then(|| format!("the Blueprint has {name:?} at pixels {start}..{end}, outside the picture"))
        })
    }

    fn damaged(&self, detail: &str) -> BrickError {
        let source = FormatError::PixelRts(detail.to_owned());
        BrickError::Format { path: self.path.clone(), source }
    }
}

impl Offset {
    /// Whether it has this exact path.
    pub fn is_of(&self, path: &[u8]) -> bool {
        match &self.path_bytes {
            Some(bytes) => BASE64.decode(bytes).is_ok_and(|bytes| bytes == path),
            None => self.path.as_bytes() == path,
        }
    }

    /// Its part of the data, which has been checked to be there.
    fn of<'a>(&self, data: &'a [u8]) -> &'a [u8] {
        data.get(self.start as usize..(self.start + self.len) as usize).unwrap_or_default()
    }
}

/// Whether bytes have a hash in hexadecimal; `None` if there is none.
fn proves(expected: Option<&str>, bytes: &[u8]) -> Option<bool> {
    expected.map(|expected| hex(&Sha256::digest(bytes)).eq_ignore_ascii_case(expected))
}

/// A decoder that has read everything before the pixels.
fn decoder(path: &Path) -> Result<png::Reader<BufReader<File>>, BrickError> {
    let file = files::open_read(path)?;
    let len = file.metadata().doing("stat", path)?.len();
    // Text chunks are in memory several times while they are decoded.
    let bytes = usize::try_from(len).unwrap_or(usize::MAX).saturating_mul(4).saturating_add(DECODER_BYTES);
    let mut options = png::DecodeOptions::default();
    // By default a text chunk with a wrong checksum counts as not there.
    options.set_skip_ancillary_crc_failures(false);
    options.set_ignore_iccp_chunk(true);
    let mut decoder = png::Decoder::new_with_options(BufReader::new(file), options);
    decoder.set_limits(png::Limits { bytes });
    let bad = |error: png::DecodingError| not_png(path, &error);
    let declared = {
        let info = decoder.read_header_info().map_err(bad)?;
        u64::from(info.width) * u64::from(info.height)
    };
    // A pixel has at least a bit.
    if declared / 8 > len.saturating_mul(INFLATION_MAX) {
        let source = FormatError::PixelRts(format!(
            "{declared} pixels cannot be in a file of {len} bytes; it is damaged"
        ));
        return Err(BrickError::Format { path: path.to_owned(), source });
    }
    decoder.read_info().map_err(bad)
}

/// The curve of a picture whose pixels can be data.
fn check_image(info: &png::Info<'_>) -> Result<Curve, String> {
    let (width, height) = (info.width, info.height);
    if width != height || !width.is_power_of_two() || width > 1 << ORDER_MAX {
        return Err(format!(
            "a PNG of {width}x{height} pixels; PixelRTS has squares of a power of two, at most {0}x{0}",
            1 << ORDER_MAX
        ));
    }
    if (info.color_type, info.bit_depth) != (png::ColorType::Rgba, png::BitDepth::Eight) {
        return Err("a PNG with other pixels than 8-bit RGBA".into());
    }
    if info.interlaced || info.animation_control.is_some() {
        return Err("an interlaced or animated PNG".into());
    }
    Ok(Curve::new(width.trailing_zeros() as u8))
}

fn not_png(path: &Path, error: &png::DecodingError) -> BrickError {
    match error {
        png::DecodingError::IoError(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
            let source = std::io::Error::new(error.kind(), error.to_string());
            BrickError::Io { action: "read", path: path.to_owned(), source }
        }
        _ => {
            let source = FormatError::PixelRts(format!("its PNG is damaged: {error}"));
            BrickError::Format { path: path.to_owned(), source }
        }
    }
}
