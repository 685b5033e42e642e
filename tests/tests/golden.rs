//! The format, pinned: bricks made by an earlier run of this code, byte for byte, and read without it.
//!
//! `SFD_GOLDEN=write cargo test -p sfd-tests --test golden` writes them again, after a change of the format that is
//! meant, or of zstd.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::path::{Path, PathBuf};

use bytes::Bytes;
use sfd::brick::{Brick, Row, SealOptions, SealedWriter};
use sfd::fold::Block;
use sfd_tests::bricks::{contents, file, public_read, root};

/// Start, k, and length of the contents.
type Place = (u64, u8, usize);

/// Name, order, and the artifacts.
const BRICKS: [(&str, u8, &[Place]); 3] = [
    ("order-4", 4, &[(64, 6, 10), (128, 7, 100)]),
    ("order-5", 5, &[(64, 6, 0), (128, 6, 64), (256, 8, 256)]),
    ("order-6", 6, &[(128, 7, 128), (1024, 10, 600), (2048, 10, 5000)]),
];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/golden").join(name)
}

fn artifacts(list: &[Place]) -> Vec<(Row, Vec<u8>)> {
    let files = (1..).zip(list).map(|(id, &(start, k, len))| {
        let bytes = contents(id, 1, len);
        let mut row = file(id, &format!("file-{id}"), &bytes, Block { start, k }, i64::from(id));
        if id == 2 {
            row.name = b"not-utf8-\xff".to_vec();
        }
        (row, bytes)
    });
    std::iter::once((root("/golden"), b"a directory".to_vec())).chain(files).collect()
}

fn check(name: &str, order: u8, list: &[Place], compress: bool) {
    let golden = fixture(&if compress { format!("{name}-zstd.brick") } else { format!("{name}.brick") });
    let dir = tempfile::tempdir().unwrap();
    let made = dir.path().join("made.brick");
    let mut writer = SealedWriter::create(&made, order, 10, SealOptions { compress }).unwrap();
    for (row, bytes) in artifacts(list) {
        let cells = bytes.len().min(row.block.cells() as usize);
        writer.add(row, Bytes::from(bytes).slice(..cells)).unwrap();
    }
    writer.finish().unwrap();
    if std::env::var_os("SFD_GOLDEN").is_some_and(|what| what == "write") {
        std::fs::copy(&made, &golden).unwrap();
    }
    let bytes = std::fs::read(&golden).unwrap();
    assert!(bytes == std::fs::read(&made).unwrap(), "{}: the bytes differ", golden.display());

    if compress {
        assert!(public_read(&bytes).is_err());
    } else {
        let cells = public_read(&bytes).unwrap();
        for (row, bytes) in artifacts(list) {
            let (start, len) = (row.block.start as usize, bytes.len().min(row.block.cells() as usize));
            assert_eq!(cells[start..start + len], bytes[..len]);
        }
    }
    let brick = Brick::open(&golden).unwrap();
    let report = brick.verify().unwrap();
    assert!(report.is_ok(), "{}", report.findings[0]);
    for (row, bytes) in artifacts(list) {
        assert_eq!(
            brick.cells(row.block.start, 3).unwrap(),
            bytes.iter().copied().chain([0; 3]).take(3).collect::<Vec<_>>()
        );
        let path =
            if row.parent.is_none() { row.name.clone() } else { [b"/golden/", &row.name[..]].concat() };
        if row.exact {
            assert_eq!(brick.extract(&path).unwrap(), bytes);
        } else {
            let error = brick.extract(&path).unwrap_err().to_string();
            assert_eq!(
                error,
                "/golden/file-3: too large, the brick keeps only a digest (5000 bytes; fold with --exact to keep all)"
            );
        }
    }
}

#[test]
fn sealed_bricks_stay_as_they_are() {
    for (name, order, list) in BRICKS {
        check(name, order, list, false);
    }
}

#[test]
fn compressed_bricks_stay_as_they_are() {
    for (name, order, list) in BRICKS {
        check(name, order, list, true);
    }
}

/// Compressed bricks had no checksums of frames at first.
#[test]
fn a_compressed_brick_of_an_earlier_version_is_read() {
    let brick = Brick::open(&fixture("order-5-zstd-before-sums.brick")).unwrap();
    assert!(brick.verify().unwrap().is_ok());
    assert_eq!(
        brick.artifacts().unwrap().len(),
        Brick::open(&fixture("order-5-zstd.brick")).unwrap().artifacts().unwrap().len()
    );
}

/// `brick_flips` does this for every byte of one brick; here each region of the golden ones.
#[test]
fn a_flipped_byte_is_found_and_named() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["order-5.brick", "order-5-zstd.brick"] {
        let good = std::fs::read(fixture(name)).unwrap();
        let path = dir.path().join(name);
        for at in (0..good.len()).step_by(7) {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            std::fs::write(&path, &bad).unwrap();
            match Brick::open(&path).and_then(|brick| brick.verify()) {
                Ok(report) => assert!(!report.is_ok(), "{name}: byte {at} was changed and not found"),
                Err(error) => assert!(error.to_string().contains(name), "{error}"),
            }
        }
        for len in [0, 3, 131, 132, 2000, good.len() - 1] {
            std::fs::write(&path, &good[..len.min(good.len() - 1)]).unwrap();
            assert!(Brick::open(&path).is_err(), "{name} cut to {len} bytes");
        }
    }
}
