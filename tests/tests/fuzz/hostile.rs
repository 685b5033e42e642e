//! Files whose author knows the reader.

use std::fmt::Write;

use serde_json::{Value, json};
use sfd_tests::bricks::foreign_brick;

use crate::mutate::{append_index, chunk};

/// Name and bytes of each.
pub(crate) fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("an index of a gigabyte of blanks", sealed(4, &blanks(1 << 30), 1 << 30)),
        ("an index that says a gigabyte", sealed(4, &packed(b"{}"), 1 << 30)),
        ("a hundred thousand rows in a chain of directories", chain(100_000, false)),
        ("ten thousand rows in a ring", chain(10_000, true)),
        ("thousands of rows on one block", on_one_block()),
        ("a million million cells in a kilobyte", largest_curve()),
        ("frames without end", sealed(6, &packed(frames().as_bytes()), frames().len() as u64)),
        ("parts that are all of it, over and over", overlapping_parts()),
        ("a picture of a gigabyte in a kilobyte", picture(1 << 14, "PixelRTS{}")),
        ("a picture wider than a row should be", picture(1 << 31, "PixelRTS{}")),
        ("a picture with little of what it says", picture(1 << 13, "PixelRTS{}")),
        ("JSON as deep as it is long", picture(8, &format!("PixelRTS{}", "[".repeat(1 << 20)))),
        ("a hundred thousand components", components()),
    ]
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 19).unwrap()
}

/// A zstd frame of `len` blanks.
fn blanks(len: u64) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    std::io::copy(&mut std::io::Read::take(std::io::repeat(b' '), len), &mut encoder).unwrap();
    encoder.finish().unwrap()
}

/// A compressed sealed brick without a body, of an index that is packed already.
fn sealed(order: u32, index: &[u8], raw_len: u64) -> Vec<u8> {
    let mut brick = foreign_brick(0, &[], [0; 32])[..132].to_vec();
    for (at, number) in [(8, 1 << order), (12, 1 << order), (16, order), (88, 3)] {
        brick[at..at + 4].copy_from_slice(&u32::to_le_bytes(number));
    }
    brick[28..36].fill(0);
    brick[92..100].copy_from_slice(b"SFD1\x01\0\0\0");
    append_index(&mut brick, index, raw_len);
    brick
}

fn row(id: u64, parent: Option<u64>, name: &str, start: u64) -> Value {
    json!({
        "id": id, "parent": parent, "name": name, "sb_dev": 0, "start": start, "k": 6, "len": 0,
        "meta": {"file_type": "file", "mode": 0, "uid": 0, "gid": 0, "size": 0, "mtime_ns": 0, "ctime_ns": 0, "dev": 0,
            "ino": 0, "nlink": 0, "rdev": 0},
        "content_hash": "0".repeat(64), "exact": true, "redacted": false, "unverified": null,
        "semantics": {"kind": "text", "title": "", "summary": "", "tags": [],
            "risk": {"level": 0, "reasons": []}, "source": "heuristic"},
    })
}

fn of_rows(order: u32, rows: impl Iterator<Item = Value>) -> Vec<u8> {
    let mut json = format!(r#"{{"order":{order},"cap":10,"leaves":"","frames":[],"artifacts":["#);
    for (n, row) in rows.enumerate() {
        write!(json, "{}{row}", if n == 0 { "" } else { "," }).unwrap();
    }
    json.push_str("]}");
    sealed(order, &zstd::bulk::compress(json.as_bytes(), 1).unwrap(), json.len() as u64)
}

fn chain(rows: u64, is_ring: bool) -> Vec<u8> {
    let parent = |id: u64| if id == 0 { is_ring.then_some(rows - 1) } else { Some(id - 1) };
    of_rows(12, (0..rows).map(|id| row(id, parent(id), "directory", id * 64)))
}

fn on_one_block() -> Vec<u8> {
    of_rows(10, (0..9_000).map(|id| row(id, None, "file", 64)))
}

fn largest_curve() -> Vec<u8> {
    of_rows(20, (0..1).map(|id| row(id, None, "file", 0)))
}

fn frames() -> String {
    let frames = (0..100_000).map(|n| format!("[{n},0,0]")).collect::<Vec<_>>().join(",");
    format!(r#"{{"order":6,"cap":10,"leaves":"","artifacts":[],"frames":[{frames}]}}"#)
}

/// A PNG of this side with one text, and rows of zeros as far as a few bytes go.
fn picture(side: u32, text: &str) -> Vec<u8> {
    let mut header = [side.to_be_bytes(), side.to_be_bytes()].concat();
    header.extend([8, 6, 0, 0, 0]);
    let mut rows = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), 1 << 20), &mut rows).unwrap();
    let text = [b"PixelRTS\0", text.as_bytes()].concat();
    [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        chunk(*b"IHDR", &header),
        chunk(*b"tEXt", &text),
        chunk(*b"IDAT", &rows.finish().unwrap()),
        chunk(*b"IEND", &[]),
    ]
    .concat()
}

fn overlapping_parts() -> Vec<u8> {
    let parts =
        (0..20_000).map(|n| format!(r#""{n}":{{"start":0,"sha256":"0"}}"#)).collect::<Vec<_>>().join(",");
    picture(512, &format!(r#"PixelRTS{{"offsets":{{{parts}}}}}"#))
}

fn components() -> Vec<u8> {
    let component = r#"{"hilbert_range":{"start_index":0,"end_index":1}}"#;
    let mut png = picture(8, "PixelRTS{}");
    let text = format!("PixelRTS-Blueprint{{\"components\":[{}]}}", vec![component; 100_000].join(","));
    let after_header = 8 + 25;
    let chunk = chunk(*b"tEXt", &[b"PixelRTS-Blueprint\0", text.as_bytes()].concat());
    png.splice(after_header..after_header, chunk);
    png
}
