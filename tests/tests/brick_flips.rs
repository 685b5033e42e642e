//! Every single byte of a brick is changed, and `verify` finds each and names where it is.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use sfd::brick::{Brick, BrickError, LiveBrick, Recovery, Row, SealOptions, SealedWriter};
use sfd::fold::{Block, FoldPlan};
use sfd_tests::bricks::{Random, contents, d2xy, file, fill, root};

/// Of the smallest curve with a whole Merkle leaf.
const ORDER: u8 = 6;
const HEADER_LEN: u64 = 132;
const FOOTER_LEN: u64 = 56;

/// A field of the header: where it starts, and words of which the verdict has one.
const HEADER: [(u64, &[&str]); 12] = [
    (0, &["V2BR"]),
    (4, &["version"]),
    (8, &["pixels"]),
    (12, &["pixels"]),
    (16, &["order"]),
    (20, &["cells in use"]),
    (28, &["body of", "header"]),
    (36, &["entropy"]),
    (40, &["its hash", "must be zero"]),
    (88, &["flags", "compress", "header"]),
    (92, &["header says", "trailer version"]),
    (100, &["must be zero"]),
];

/// A field of the footer.
const FOOTER: [(u64, &[&str]); 5] = [
    (0, &["no footer"]),
    (4, &["trailer version"]),
    (8, &["its length"]),
    (16, &["unpacked length", "too large"]),
    (24, &["checksum"]),
];

fn field<'a>(fields: &[(u64, &'a [&'a str])], at: u64) -> &'a [&'a str] {
    fields.iter().rev().find(|(start, _)| *start <= at).unwrap().1
}

/// The root and some files: exact, a digest, redacted, unverified; with free cells in between.
fn rows() -> Vec<(Row, Vec<u8>)> {
    let mut all = vec![(root("/t"), b"a directory".to_vec())];
    let places = [(1, 64, 6, 60), (2, 256, 8, 200), (3, 1024, 10, 1024), (4, 512, 7, 5000), (5, 640, 6, 40)];
    for (id, start, k, len) in places {
        let bytes = contents(id, 1, len);
        let mut row = file(id, &format!("file-{id}"), &bytes, Block { start, k }, 1);
        row.redacted = id == 5;
        row.unverified = (id == 1).then(|| "busy".to_owned());
        all.push((row, bytes));
    }
    all
}

fn seal(path: &Path, compress: bool) {
    let mut writer = SealedWriter::create(path, ORDER, 14, SealOptions { compress }).unwrap();
    for (row, bytes) in rows() {
        let cells = bytes.len().min(row.block.cells() as usize);
        writer.add(row, Bytes::copy_from_slice(&bytes[..cells])).unwrap();
    }
    writer.finish().unwrap();
}

/// Changes each byte of a file, one after the other, and calls `verdict` for each.
fn each_byte(path: &Path, mut verdict: impl FnMut(u64)) {
    let good = std::fs::read(path).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    for (at, &byte) in (0_u64..).zip(&good) {
        // Every bit in turn, and now and then all of them.
        let bits = if at % 9 == 8 { 0xFF } else { 1 << (at % 9) };
        file.write_all_at(&[byte ^ bits], at).unwrap();
        verdict(at);
        file.write_all_at(&[byte], at).unwrap();
    }
    assert!(good == std::fs::read(path).unwrap());
}

/// What `sfd verify` says first, or nothing.
fn verdict(opened: Result<&Brick, &BrickError>) -> Option<String> {
    let found = match opened {
        Ok(brick) => brick.verify_within(Duration::ZERO),
        Err(error) => return Some(error.to_string()),
    };
    match found {
        Ok(report) => report.findings.first().map(ToString::to_string),
        Err(error) => Some(error.to_string()),
    }
}

fn assert_names(said: Option<String>, words: &[&str], what: &str) {
    let said = said.unwrap_or_else(|| panic!("{what} was changed and not found"));
    assert!(words.iter().any(|word| said.contains(word)), "{what}: expected one of {words:?}: {said}");
}

/// The cell of a byte of an uncompressed body.
fn cells() -> Vec<u64> {
    let mut cells = vec![0; 1 << (2 * ORDER)];
    for cell in 0..1 << (2 * ORDER) {
        let (x, y) = d2xy(u32::from(ORDER), cell);
        cells[((y << ORDER) + x) as usize] = cell;
    }
    cells
}

#[test]
fn every_byte_of_a_sealed_brick() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sealed.brick");
    seal(&path, false);
    let len = std::fs::metadata(&path).unwrap().len();
    let body_end = HEADER_LEN + (4 << (2 * ORDER));
    each_byte(&path, |at| {
        let brick = Brick::open(&path);
        let said = verdict(brick.as_ref());
        let what = format!("byte {at} of {len}");
        match at {
            ..HEADER_LEN => assert_names(said, field(&HEADER, at), &what),
            // One leaf, and it has an artifact.
            _ if at < body_end => assert_names(said, &["leaf: cells 0..4096 (/t)"], &what),
            _ if at < len - FOOTER_LEN => assert_names(said, &["index at the end is damaged"], &what),
            _ => assert_names(said, field(&FOOTER, at - (len - FOOTER_LEN)), &what),
        }
    });
}

#[test]
fn every_byte_of_a_compressed_brick() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("compressed.brick");
    seal(&path, true);
    let len = std::fs::metadata(&path).unwrap().len();
    let header = std::fs::read(&path).unwrap();
    let body_end = HEADER_LEN + u64::from_le_bytes(header[28..36].try_into().unwrap());
    each_byte(&path, |at| {
        let brick = Brick::open(&path);
        let said = verdict(brick.as_ref());
        let what = format!("byte {at} of {len}, body up to {body_end}");
        match at {
            // Where the body ends, header and footer say together.
            28..36 => assert_names(said, &["header and footer", "truncated"], &what),
            ..HEADER_LEN => assert_names(said, field(&HEADER, at), &what),
            _ if at < body_end => assert_names(said, &["leaf: cells 0..4096 (/t)"], &what),
            _ if at < len - FOOTER_LEN => assert_names(said, &["index at the end is damaged"], &what),
            _ => assert_names(said, field(&FOOTER, at - (len - FOOTER_LEN)), &what),
        }
    });
}

#[test]
fn every_byte_of_a_live_brick() {
    let dir = tempfile::tempdir().unwrap();
    let path: PathBuf = dir.path().join("live.brick");
    let rows = rows();
    let plan = FoldPlan { ops: rows.iter().map(|(row, bytes)| fill(row, bytes)).collect() };
    let all: Vec<Row> = rows.into_iter().map(|(row, _)| row).collect();
    let live = LiveBrick::create(dir.path(), "live", b"/t", (ORDER, 14), &all, &plan).unwrap();
    live.sync().unwrap();
    drop(live);
    // Opened once: each look maps the file anew, and the catalog is the same.
    let reader = Brick::open(&path).unwrap();
    assert_eq!(verdict(Ok(&reader)), None);
    let cells = cells();
    each_byte(&path, |at| {
        let what = format!("byte {at}");
        if at < HEADER_LEN {
            let brick = Brick::open(&path);
            assert_names(verdict(brick.as_ref()), field(&HEADER, at), &what);
        } else {
            let said = verdict(Ok(&reader));
            assert_names(
                said,
                &["leaf: cells 0..4096 (/t)"],
                &format!("cell {}", cells[(at - HEADER_LEN) as usize / 4]),
            );
        }
    });
}

/// Places in a catalog that are damaged, each by itself: SQLite has no checksums of its own.
const DAMAGES: u64 = 600;

/// Either the catalog is refused and a baseline replaces it, or what the brick calls verified is right.
#[test]
fn a_damaged_catalog_never_vouches_for_a_wrong_pixel() {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let rows = rows();
    let plan = FoldPlan { ops: rows.iter().map(|(row, bytes)| fill(row, bytes)).collect() };
    let all: Vec<Row> = rows.iter().map(|(row, _)| row.clone()).collect();
    drop(LiveBrick::create(dir.path(), "live", b"/t", (ORDER, 14), &all, &plan).unwrap());
    let (brick, catalog) = (dir.path().join("live.brick"), dir.path().join("live.catalog.sqlite"));
    let (good_brick, good_catalog) = (std::fs::read(&brick).unwrap(), std::fs::read(&catalog).unwrap());
    // Most of a database of a few rows is unused; those bytes are tried less often.
    let used: Vec<usize> = (0..good_catalog.len()).filter(|&at| good_catalog[at] != 0).collect();
    let mut random = Random::new(5);
    let (mut refused, mut healed, mut unseen) = (0, 0, 0);
    for n in 0..DAMAGES {
        let mut bad = good_catalog.clone();
        let at = if n % 6 == 0 {
            random.below(bad.len() as u64) as usize
        } else {
            used[random.below(used.len() as u64) as usize]
        };
        bad[at] ^= if n % 2 == 0 { 1 << random.below(8) } else { 1 + random.below(255) as u8 };
        for end in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(dir.path().join(format!("live.catalog.sqlite{end}")));
        }
        std::fs::write(&catalog, &bad).unwrap();
        std::fs::write(&brick, &good_brick).unwrap();
        let (live, found, recovery) = match LiveBrick::open(dir.path(), "live") {
            Ok(opened) => opened,
            Err(error) => {
                let is_clear = error.needs_baseline() || matches!(error, BrickError::CatalogNewer { .. });
                assert!(is_clear, "byte {at}: {error}");
                refused += 1;
                continue;
            }
        };
        match recovery {
            Recovery::Clean => unseen += 1,
            _ => healed += 1,
        }
        for row in found.iter().filter(|row| row.unverified.is_none() && row.exact && !row.redacted) {
            let cells = live.cells(row.block.start, row.len);
            assert!(rows.iter().any(|(_, bytes)| *bytes == cells), "byte {at}: {row:?}");
        }
        drop(live);
        let report = Brick::open(&brick).unwrap().verify_within(Duration::ZERO).unwrap();
        assert!(report.is_ok(), "byte {at}, {recovery:?}: {}", report.findings[0]);
    }
    println!(
        "{DAMAGES} damaged bytes: {refused} refused, {healed} healed, {unseen} that no pixel depends on"
    );
    assert!(refused > 0 && healed > 0);
}
