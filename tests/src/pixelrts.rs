//! A reader of PixelRTS pictures written from the public description and what its public readers do, rule by rule.
//! It shares no code with SFD: chunks, filters, curve and rules are its own; deflate is flate2's.

use std::collections::BTreeMap;
use std::io::Read;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::reader::d2xy;

/// What a public reader gets out of a picture.
pub struct Decoded {
    /// Side in pixels.
    pub side: u64,
    /// The data.
    pub data: Vec<u8>,
    /// The metadata.
    pub metadata: Value,
    /// The Blueprint.
    pub blueprint: Option<Value>,
    /// Text chunks in order: keyword and text.
    pub texts: Vec<(String, Vec<u8>)>,
}

/// Pillow counts the text of all chunks, and refuses more.
const TEXT_MAX: usize = 64 << 20;
/// Pillow refuses images of more pixels as decompression bombs.
const PIXELS_MAX: u64 = 2 * 89_478_485;
/// The Blueprint reader refuses more components.
const COMPONENTS_MAX: usize = 10_000;

/// Reads a picture as the public readers do.
///
/// # Errors
/// The first rule that it breaks.
pub fn decode(png: &[u8]) -> Result<Decoded> {
    let chunks = chunks(png)?;
    let header = chunks.first().filter(|(name, _)| name == b"IHDR").context("no IHDR")?.1;
    let u32_at = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
    let (width, height) = (u64::from(u32_at(0)), u64::from(u32_at(4)));
    ensure!(width == height, "Image must be square, got {width}x{height}");
    ensure!(width.is_power_of_two(), "Invalid grid size: {width} (not power of 2)");
    ensure!(width * height <= PIXELS_MAX, "decompression bomb");
    // 8 bits, RGBA, deflate, the five filters, not interlaced.
    ensure!(header[8..] == [8, 6, 0, 0, 0], "not 8-bit RGBA: {:?}", &header[8..]);

    // Pillow shows text that comes before the pixels.
    let first_pixels = chunks.iter().position(|(name, _)| name == b"IDAT").context("no IDAT")?;
    let mut texts = Vec::new();
    for (_, chunk) in chunks[..first_pixels].iter().filter(|(name, _)| name == b"tEXt") {
        let zero = chunk.iter().position(|&byte| byte == 0).context("tEXt without a keyword")?;
        texts.push((String::from_utf8(chunk[..zero].to_vec())?, chunk[zero + 1..].to_vec()));
    }
    ensure!(texts.iter().map(|(_, text)| text.len()).sum::<usize>() <= TEXT_MAX, "too much text");
    let metadata = metadata(&texts)?;
    let blueprint = match texts.iter().find(|(key, _)| key.contains("PixelRTS-Blueprint")) {
        Some((_, text)) => {
            let json = text.strip_prefix(b"PixelRTS-Blueprint").context("Not a PixelRTS blueprint")?;
            let blueprint: Value = serde_json::from_slice(json)?;
            check_blueprint(&blueprint)?;
            Some(blueprint)
        }
        None => None,
    };

    let compressed: Vec<u8> = chunks
        .iter()
        .filter(|(name, _)| name == b"IDAT")
        .flat_map(|(_, data)| data.iter().copied())
        .collect();
    let mut raw = Vec::new();
    flate2::read::ZlibDecoder::new(compressed.as_slice()).read_to_end(&mut raw)?;
    let pixels = unfilter(&raw, usize::try_from(width)?)?;

    let order = width.trailing_zeros();
    let size = metadata["data_size"].as_u64().unwrap_or(width * height * 4);
    let mut data = Vec::new();
    for index in 0..size.div_ceil(4) {
        ensure!(index < width * height, "more data than pixels");
        let (x, y) = d2xy(order, index);
        let at = usize::try_from((y * width + x) * 4)?;
        data.extend_from_slice(&pixels[at..at + 4]);
    }
    data.truncate(usize::try_from(size)?);
    Ok(Decoded { side: width, data, metadata, blueprint, texts })
}

impl Decoded {
    /// The named parts, each by its `start` and `end`; the other spelling must agree.
    ///
    /// # Errors
    /// A part is not in the data.
    pub fn parts(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut parts = BTreeMap::new();
        for (name, part) in self.metadata["offsets"].as_object().context("offsets")? {
            let number = |key: &str| {
                part[key]
                    .as_u64()
                    .with_context(|| format!("{key} of {name}"))
                    .map(|n| usize::try_from(n).unwrap())
            };
            let (start, end) = (number("start")?, number("end")?);
            ensure!(number("offset")? == start && number("size")? == end - start, "{name}: spellings differ");
            ensure!(part["type"].is_string() && part["sha256"].is_string(), "{name}: no type or sha256");
            let bytes = self.data.get(start..end).with_context(|| format!("{name} is outside the data"))?;
            parts.insert(name.clone(), bytes.to_vec());
        }
        Ok(parts)
    }
}

/// Both public readers' rule for which chunk is the metadata. They must agree.
fn metadata(texts: &[(String, Vec<u8>)]) -> Result<Value> {
    // Rust: the first text that starts with the word; if it is not JSON, there is no metadata.
    let first = texts.iter().find_map(|(_, text)| text.strip_prefix(b"PixelRTS")).context("no metadata")?;
    let by_rust: Value = serde_json::from_slice(first).context("the first text is not JSON")?;
    ensure!(by_rust["grid_size"].is_u64(), "Missing grid_size");
    // Python: any text with the word in it, Latin-1 made UTF-8, that starts with it and is JSON.
    let by_python = texts
        .iter()
        .filter(|(_, text)| text.windows(8).any(|word| word == b"PixelRTS"))
        .find_map(|(_, text)| {
            let utf8: String = text.iter().map(|&byte| char::from(byte)).collect();
            serde_json::from_str::<Value>(utf8.strip_prefix("PixelRTS")?).ok()
        })
        .context("no metadata for the Python reader")?;
    ensure!(by_rust == by_python, "the two readers do not see the same");
    Ok(by_rust)
}

/// The checks of the public Blueprint reader.
fn check_blueprint(blueprint: &Value) -> Result<()> {
    ensure!(blueprint["blueprint_version"] == "1.0", "Unsupported blueprint version");
    let components = blueprint["components"].as_array().context("components must be a list")?;
    ensure!(components.len() <= COMPONENTS_MAX, "{} components", components.len());
    for component in components {
        let text = |key: &str| component[key].as_str().with_context(|| format!("{key} of {component}"));
        ensure!(
            ["executable", "archive", "data", "config", "library"].contains(&text("type")?),
            "Invalid component type"
        );
        ensure!(["low", "medium", "high"].contains(&text("entropy_profile")?), "Invalid entropy profile");
        text("id")?;
        text("description")?;
        let range = &component["hilbert_range"];
        let index = |key: &str| range[key].as_i64().with_context(|| format!("{key} of {component}"));
        ensure!(index("end_index")? >= index("start_index")?, "Invalid Hilbert range");
        for key in ["pixel_start", "pixel_end"] {
            let at = range[key].as_array().with_context(|| format!("{key} of {component}"))?;
            ensure!(at.len() == 2 && at.iter().all(|n| n.as_i64().is_some_and(|n| n >= 0)), "Invalid {key}");
        }
        ensure!(component["semantic_tags"].as_array().is_some_and(|tags| tags.iter().all(Value::is_string)));
        let security = &component["security"];
        ensure!(security["executable"].is_boolean() && security["writable"].is_boolean(), "security");
    }
    Ok(())
}

/// Name and data of every chunk, their checksums checked.
fn chunks(png: &[u8]) -> Result<Vec<([u8; 4], &[u8])>> {
    let mut rest = png.strip_prefix(b"\x89PNG\r\n\x1a\n").context("Not a valid PNG file")?;
    let mut chunks = Vec::new();
    while !rest.is_empty() {
        ensure!(rest.len() >= 12, "half a chunk");
        let len = u32::from_be_bytes(rest[..4].try_into()?) as usize;
        ensure!(rest.len() >= 12 + len, "a chunk of {len} bytes is cut off");
        let sum = u32::from_be_bytes(rest[8 + len..12 + len].try_into()?);
        ensure!(crc32(&rest[4..8 + len]) == sum, "wrong checksum");
        chunks.push((rest[4..8].try_into()?, &rest[8..8 + len]));
        rest = &rest[12 + len..];
    }
    ensure!(chunks.last().is_some_and(|(name, _)| name == b"IEND"), "no IEND");
    Ok(chunks)
}

/// The checksum of PNG chunks, bit by bit.
pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(
            crc ^ u32::from(byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 },
        )
    })
}

/// The five filters of PNG, for four bytes a pixel.
fn unfilter(raw: &[u8], width: usize) -> Result<Vec<u8>> {
    let stride = width * 4;
    ensure!(raw.len() == (stride + 1) * width, "{} bytes of rows", raw.len());
    let mut out: Vec<u8> = Vec::with_capacity(stride * width);
    for row in raw.chunks(stride + 1) {
        let above = out.len().checked_sub(stride);
        let start = out.len();
        for (x, &byte) in row[1..].iter().enumerate() {
            let left = if x < 4 { 0 } else { out[start + x - 4] };
            let up = above.map_or(0, |above| out[above + x]);
            let corner = if x < 4 { 0 } else { above.map_or(0, |above| out[above + x - 4]) };
            let predicted = match row[0] {
                0 => 0,
                1 => left,
                2 => up,
                3 => u8::midpoint(left, up),
                4 => paeth(left, up, corner),
                other => anyhow::bail!("filter {other}"),
            };
            out.push(byte.wrapping_add(predicted));
        }
    }
    Ok(out)
}

fn paeth(left: u8, up: u8, corner: u8) -> u8 {
    let estimate = i16::from(left) + i16::from(up) - i16::from(corner);
    let distance = |byte: u8| (estimate - i16::from(byte)).abs();
    [left, up, corner].into_iter().min_by_key(|&byte| distance(byte)).unwrap()
}
