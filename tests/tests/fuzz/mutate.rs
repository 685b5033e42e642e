//! Changes to files: as bytes, and behind their checksums.

use sfd_tests::bricks::Random;
use sfd_tests::pixelrts::crc32;
use sha2::{Digest, Sha256};

/// Numbers that lengths and offsets are tried with.
const NUMBERS: [u64; 14] = [
    0,
    1,
    63,
    64,
    4096,
    0x7fff,
    0xffff,
    1 << 20,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 40,
    i64::MAX as u64,
    u64::MAX,
];

fn pick<T: Copy>(random: &mut Random, from: &[T]) -> T {
    from[random.below(from.len() as u64) as usize]
}

/// A few changes anywhere: bits, bytes, fields, lengths, and pieces of another file.
pub(crate) fn mutate(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..=random.below(3) {
        if bytes.is_empty() {
            return;
        }
        let len = bytes.len() as u64;
        // Half of the changes are in the first bytes, where headers are.
        let at = if random.below(2) == 0 { random.below(len.min(160)) } else { random.below(len) } as usize;
        match random.below(8) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.below(256) as u8,
            2 | 3 => {
                let number = pick(random, &NUMBERS);
                let width = [1, 4, 8][random.below(3) as usize];
                let field = match random.below(2) {
                    0 => number.to_le_bytes()[..width].to_vec(),
                    _ => number.to_be_bytes()[8 - width..].to_vec(),
                };
                let end = (at + width).min(bytes.len());
                bytes.splice(at..end, field);
            }
            4 => bytes.truncate(at),
            5 => {
                let end = (at + random.below(64) as usize).min(bytes.len());
                bytes.drain(at..end);
            }
            6 => {
                let from = random.below(other.len() as u64 + 1) as usize;
                let piece = &other[from..(from + random.below(64) as usize).min(other.len())];
                bytes.splice(at..at, piece.iter().copied());
            }
            _ => {
                let end = (at + random.below(64) as usize).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
}

/// A sealed brick whose index is changed and sealed again, so that its checksum does not stop every change.
pub(crate) fn mutate_index(random: &mut Random, brick: &mut Vec<u8>, other: &[u8]) -> Option<()> {
    let footer_at = brick.len().checked_sub(56)?;
    let field = |at: usize| brick.get(at..at + 8).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap()));
    if brick.get(footer_at..footer_at + 4)? != b"SFDT" {
        return None;
    }
    let index_at = footer_at.checked_sub(field(footer_at + 8)? as usize)?;
    let mut json = zstd::bulk::decompress(&brick[index_at..footer_at], 1 << 20).ok()?;
    if random.below(3) == 0 {
        mutate(random, &mut json, other);
    } else {
        mutate_number(random, &mut json);
    }
    let index = zstd::bulk::compress(&json, 1).ok()?;
    brick.truncate(index_at);
    append_index(brick, &index, json.len() as u64);
    Some(())
}

/// Appends an index, packed already, and the footer that belongs to it.
pub(crate) fn append_index(brick: &mut Vec<u8>, index: &[u8], raw_len: u64) {
    brick.extend_from_slice(index);
    brick.extend_from_slice(b"SFDT\x01\0\0\0");
    brick.extend((index.len() as u64).to_le_bytes());
    brick.extend(raw_len.to_le_bytes());
    brick.extend(Sha256::digest(index));
}

/// Replaces one of the numbers in JSON.
fn mutate_number(random: &mut Random, json: &mut Vec<u8>) {
    let is_start = |at: usize| json[at].is_ascii_digit() && (at == 0 || !json[at - 1].is_ascii_digit());
    let starts: Vec<usize> = (0..json.len()).filter(|&at| is_start(at)).collect();
    if starts.is_empty() {
        return;
    }
    let start = pick(random, &starts);
    let end = (start..json.len()).find(|&at| !json[at].is_ascii_digit()).unwrap_or(json.len());
    json.splice(start..end, pick(random, &NUMBERS).to_string().into_bytes());
}

/// A PNG in one of whose chunks something is changed, with the right checksum.
pub(crate) fn mutate_chunk(random: &mut Random, png: &mut Vec<u8>, other: &[u8]) -> Option<()> {
    let (mut chunks, mut at) = (Vec::new(), 8);
    while let Some(len) = png.get(at..at + 4) {
        let len = u32::from_be_bytes(len.try_into().unwrap()) as usize;
        png.get(at + 11 + len)?;
        chunks.push((at, len));
        at += 12 + len;
    }
    let (at, len) = if chunks.is_empty() { return None } else { pick(random, &chunks) };
    let mut data = png[at + 8..at + 8 + len].to_vec();
    if random.below(2) == 0 {
        mutate_number(random, &mut data);
    } else {
        mutate(random, &mut data, other);
    }
    let name = png[at + 4..at + 8].try_into().unwrap();
    png.splice(at..at + 12 + len, chunk(name, &data));
    Some(())
}

/// A chunk of a PNG with its checksum.
pub(crate) fn chunk(name: [u8; 4], data: &[u8]) -> Vec<u8> {
    let mut chunk = (data.len() as u32).to_be_bytes().to_vec();
    chunk.extend(name);
    chunk.extend_from_slice(data);
    chunk.extend(crc32(&chunk[4..]).to_be_bytes());
    chunk
}
