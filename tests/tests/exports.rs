//! What is exported is read by readers that share no code with SFD, and by SFD again.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use proptest::prelude::*;
use sfd::brick::{
    ArtifactId, Brick, Commit, ExportError, ExtractError, LiveBrick, Readable, Row, SealOptions, SealedWriter,
};
use sfd::fold::{Block, FoldPlan, Layout, k_for_len};
use sfd_tests::bricks::{contents, d2xy, file, fill, foreign_brick, public_read, root, unread};
use sfd_tests::pixelrts::{Decoded, decode};
use sha2::{Digest, Sha256};

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// A made-up artifact: name, contents, and whether it is secret.
type Made = (Vec<u8>, Vec<u8>, bool);

/// Small: larger contents become digests, and bricks stay quick to read cell by cell.
const CAP: u8 = 10;

/// A sealed brick of a directory with these files; returns its rows with what is in their cells.
fn sealed(out: &Path, made: &[Made], compress: bool) -> Vec<(Row, Vec<u8>)> {
    let mut layout = Layout::new(3, CAP);
    let mut alloc = |k, id| loop {
        match layout.alloc(k, 0, ArtifactId(id)) {
            Some(block) => return (block, layout.order()),
            None => layout.grow().unwrap(),
        };
    };
    let (block, mut order) = alloc(6, 0);
    let mut rows = vec![(Row { block, ..root("/made \u{e9}") }, b"a directory".to_vec())];
    for (id, (name, bytes, secret)) in (1..).zip(made) {
        let block;
        (block, order) = alloc(k_for_len(bytes.len() as u64, CAP), id);
        let mut row = file(id, "", bytes, block, 1);
        row.name.clone_from(name);
        row.redacted = *secret;
        row.semantics.kind = sfd::artifact::kinds::Kind::ALL[id as usize % 25];
        rows.push((row, bytes[..bytes.len().min(block.cells() as usize)].to_vec()));
    }
    let mut writer = SealedWriter::create(out, order, CAP, SealOptions { compress }).unwrap();
    for (row, cells) in &rows {
        writer.add(row.clone(), Bytes::copy_from_slice(cells)).unwrap();
    }
    writer.finish().unwrap();
    rows
}

fn path_of(row: &Row) -> Vec<u8> {
    match row.parent {
        None => row.name.clone(),
        Some(_) => ["/made \u{e9}/".as_bytes(), &row.name].concat(),
    }
}

/// Everything that the design and the public readers ask of a PixelRTS picture of these rows.
fn check(decoded: &Decoded, rows: &[(Row, Vec<u8>)], side: u64, stream: &[u8]) {
    assert_eq!(decoded.side * 2, side);
    assert!(decoded.data == stream, "the data is not what a public reader gets out of the brick");
    let meta = &decoded.metadata;
    assert_eq!((&meta["format"], &meta["format_version"]), (&"PixelRTS-2.0".into(), &2.into()));
    assert_eq!(meta["grid_size"], decoded.side);
    let encoding = &meta["encoding"];
    assert_eq!((&encoding["type"], &encoding["bytes_per_pixel"]), (&"RGBA-dense".into(), &4.into()));
    assert!(encoding["mapping"].as_str().unwrap().contains("Hilbert"));
    assert_eq!(meta["data_size"], stream.len());
    assert_eq!(meta["original_size"], stream.len());
    assert_eq!(meta["data_hash"], sha256(stream));
    for forbidden in ["source_code_b64", "inference_stub", "container_type", "original_data_b64"] {
        assert!(
            meta.get(forbidden).is_none() && decoded.blueprint.as_ref().unwrap().get(forbidden).is_none()
        );
    }
    assert_eq!(
        decoded.texts.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(),
        ["PixelRTS", "PixelRTS-Blueprint"]
    );
    assert!(decoded.texts.iter().all(|(_, text)| text.is_ascii() && !text.contains(&0)));

    let (parts, offsets) = (decoded.parts().unwrap(), &meta["offsets"]);
    let components = decoded.blueprint.as_ref().unwrap()["components"].as_array().unwrap();
    assert_eq!((parts.len(), components.len()), (rows.len(), rows.len()));
    for (row, cells) in rows {
        let start = row.block.start;
        let (name, _) = offsets
            .as_object()
            .unwrap()
            .iter()
            .find(|(_, offset)| offset["start"] == start && offset["size"] == cells.len())
            .unwrap();
        let offset = &offsets[name];
        assert_eq!(&parts[name], cells);
        assert_eq!(offset["sha256"], sha256(cells));
        assert_eq!(offset["type"], row.semantics.kind.name());
        assert_eq!(offset["digest_of"].as_u64(), (!row.exact).then_some(row.len));
        assert_eq!(offset["redacted"].as_bool().unwrap_or(false), row.redacted);
        if std::str::from_utf8(&path_of(row)).is_err() {
            assert!(offset["path_bytes"].is_string());
        }
        let component = components.iter().find(|component| component["id"] == *name).unwrap();
        let range = &component["hilbert_range"];
        assert_eq!((range["start_index"].as_u64(), start % 4), (Some(start / 4), 0));
        assert_eq!(range["end_index"], (start + cells.len() as u64).div_ceil(4));
        // The same place in both pictures.
        let (x, y) = d2xy(side.trailing_zeros(), start);
        assert_eq!(range["pixel_start"], serde_json::json!([x / 2, y / 2]));
        let tags = component["semantic_tags"].as_array().unwrap();
        assert_eq!(tags.contains(&"digest".into()), !row.exact);
        assert!(tags.contains(&format!("risk:{}", row.semantics.risk.level).into()));
    }
}

/// SFD reads its own picture.
fn check_own(picture: &Path, rows: &[(Row, Vec<u8>)]) {
    let readable = Readable::open(picture).unwrap();
    let report = readable.verify().unwrap();
    assert!(report.is_ok(), "{}", report.findings[0]);
    assert_eq!((report.artifacts, report.contents), (rows.len() as u64, rows.len() as u64));
    for (row, cells) in rows {
        let extracted = readable.extract(&path_of(row));
        match extracted {
            Err(ExtractError::Redacted { .. }) => assert!(row.redacted),
            Err(ExtractError::Digest { len, .. }) => assert!(!row.exact && len == row.len),
            extracted => {
                let extracted = extracted.unwrap();
                assert!(!row.redacted && row.exact && extracted.is_proved && extracted.bytes == *cells);
            }
        }
    }
}

fn made() -> impl Strategy<Value = Vec<Made>> {
    // Up to a third more than a block of the cap holds, and bytes that compress as files do.
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        (any::<u8>(), 0..1500_usize).prop_map(|(byte, len)| vec![byte; len]),
    ];
    let name =
        prop::collection::vec(any::<u8>().prop_filter("a name", |byte| !matches!(byte, 0 | b'/')), 1..12);
    prop::collection::btree_map(name, (bytes, any::<bool>()), 0..40)
        .prop_map(|files| files.into_iter().map(|(name, (bytes, secret))| (name, bytes, secret)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_export_gives_the_same_bytes(made in made(), compress in any::<bool>()) {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let rows = sealed(&at("a.brick"), &made, compress);
        let brick = Brick::open(&at("a.brick")).unwrap();
        brick.export_v2br(&at("public.brick")).unwrap();
        let public = std::fs::read(at("public.brick")).unwrap();
        let stream = public_read(&public).unwrap();
        for (row, cells) in &rows {
            let start = row.block.start as usize;
            prop_assert_eq!(&stream[start..start + cells.len()], cells.as_slice());
        }
        let copy = Brick::open(&at("public.brick")).unwrap();
        prop_assert_eq!(copy.artifacts().unwrap(), brick.artifacts().unwrap());
        prop_assert!(copy.verify().unwrap().is_ok());

        let exported = brick.export_pixelrts(&at("a.rts.png")).unwrap();
        let picture = std::fs::read(at("a.rts.png")).unwrap();
        prop_assert_eq!(exported.bytes, picture.len() as u64);
        let decoded = decode(&picture).unwrap();
        check(&decoded, &rows, brick.header().side(), &stream);
        check_own(&at("a.rts.png"), &rows);
        // The form in which the bytes were stored makes no difference.
        copy.export_pixelrts(&at("b.rts.png")).unwrap();
        prop_assert!(picture == std::fs::read(at("b.rts.png")).unwrap());
        for (name, brick) in [("a.png", &brick), ("b.png", &copy)] {
            brick.export_png(&at(name), 50).unwrap();
        }
        prop_assert!(std::fs::read(at("a.png")).unwrap() == std::fs::read(at("b.png")).unwrap());
    }
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/golden").join(name)
}

/// Text and pixels are pinned, not how they are deflated. `SFD_GOLDEN=write` writes it again.
#[test]
fn the_picture_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let made = [
        (b"a.conf".to_vec(), b"a = 1\n".to_vec(), false),
        ("\u{1f9f1} brick".into(), contents(2, 1, 700), false),
        (b"not-utf8-\xff".to_vec(), contents(3, 1, 64), false),
        (b"not-utf8-\xfe".to_vec(), contents(4, 1, 65), false),
        (b"shadow".to_vec(), contents(5, 1, 100), true),
        (b"too large".to_vec(), contents(6, 1, 5000), false),
        (b"empty".to_vec(), vec![], false),
    ];
    let brick = dir.path().join("golden.brick");
    let rows = sealed(&brick, &made, false);
    let picture = dir.path().join("golden.rts.png");
    Brick::open(&brick).unwrap().export_pixelrts(&picture).unwrap();
    let golden = golden("made.rts.png");
    if std::env::var_os("SFD_GOLDEN").is_some_and(|what| what == "write") {
        std::fs::copy(&picture, &golden).unwrap();
    }
    let now = decode(&std::fs::read(&picture).unwrap()).unwrap();
    let then = decode(&std::fs::read(&golden).unwrap()).unwrap();
    let text = |decoded: &Decoded| {
        decoded.texts.iter().map(|(_, text)| String::from_utf8(text.clone()).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(text(&now), text(&then));
    assert!((now.side, now.data) == (then.side, then.data.clone()));
    let side = Brick::open(&brick).unwrap().header().side();
    check(&then, &rows, side, &public_read(&std::fs::read(&brick).unwrap()).unwrap());
    check_own(&golden, &rows);
}

#[test]
fn a_flipped_byte_in_a_picture_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let good = std::fs::read(golden("made.rts.png")).unwrap();
    let path = dir.path().join("bad.rts.png");
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x20;
        std::fs::write(&path, &bad).unwrap();
        match Readable::open(&path).and_then(|readable| readable.verify()) {
            Ok(report) => assert!(!report.is_ok(), "byte {at} was changed and not found"),
            Err(error) => assert!(error.to_string().contains("bad.rts.png"), "{error}"),
        }
    }
}

#[test]
fn a_damaged_brick_is_not_exported() {
    let dir = tempfile::tempdir().unwrap();
    let (brick, out) = (dir.path().join("a.brick"), dir.path().join("out"));
    for compress in [false, true] {
        sealed(&brick, &[(b"f".to_vec(), contents(1, 1, 900), false)], compress);
        let mut bytes = std::fs::read(&brick).unwrap();
        bytes[132 + 20] ^= 1;
        std::fs::write(&brick, bytes).unwrap();
        let brick = Brick::open(&brick).unwrap();
        for error in [
            brick.export_png(&out, 100).unwrap_err(),
            brick.export_pixelrts(&out).unwrap_err(),
            brick.export_v2br(&out).unwrap_err(),
        ] {
            assert!(matches!(error, ExportError::Damaged { .. }), "{error}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left behind");
    }
}

/// Exports the brick `t` 40 times, in two forms. Gives the states that were seen, or what was wrong with one.
fn export_often(dir: &Path, blocks: [Block; 2]) -> Result<BTreeSet<Vec<u8>>, String> {
    let brick = Brick::open(&dir.join("t.brick")).map_err(|error| error.to_string())?;
    let mut seen = BTreeSet::new();
    for round in 0..40 {
        let out = dir.join(format!("{round}.out"));
        let exported = if round % 2 == 0 { brick.export_v2br(&out) } else { brick.export_pixelrts(&out) };
        exported.map_err(|error| error.to_string())?;
        let report =
            Readable::open(&out).and_then(|readable| readable.verify()).map_err(|e| e.to_string())?;
        if let Some(finding) = report.findings.first() {
            return Err(finding.to_string());
        }
        let bytes = std::fs::read(&out).map_err(|error| error.to_string())?;
        let stream = if round % 2 == 0 {
            public_read(&bytes)?
        } else {
            decode(&bytes).map_err(|error| error.to_string())?.data
        };
        let [a, b] = blocks.map(|block| stream[block.start as usize..][..4050].to_vec());
        if a != b || a[..9].repeat(450) != a {
            return Err(format!("two moments in export {round}"));
        }
        seen.insert(a);
    }
    Ok(seen)
}

/// Each commit writes two files with the same number, far from each other. Every export has the same in both.
#[test]
fn exports_of_a_live_brick_are_of_one_moment() {
    let dir = tempfile::tempdir().unwrap();
    let blocks = [Block { start: 1 << 13, k: 12 }, Block { start: 1 << 15, k: 12 }];
    let rows = |version: i64| -> Vec<(Row, Vec<u8>)> {
        (1..)
            .zip(blocks)
            .map(|(id, block)| {
                let bytes = format!("{version:08} ").into_bytes().repeat(450);
                (file(id, &format!("f{id}"), &bytes, block, version), bytes)
            })
            .collect()
    };
    let commit = |version| {
        let rows = rows(version);
        let ops = rows.iter().map(|(row, bytes)| fill(row, bytes)).collect();
        let upserts = rows.into_iter().map(|(row, _)| row).collect();
        Commit { plan: FoldPlan { ops }, upserts, ..Commit::default() }
    };
    let mut blank = vec![unread(root("/t"))];
    blank.extend(rows(0).into_iter().map(|(row, _)| unread(row)));
    let plan = FoldPlan { ops: blank.iter().map(Row::blank).collect() };
    let mut live = LiveBrick::create(dir.path(), "t", b"/t", (8, 16), &blank, &plan).unwrap();
    live.commit(&commit(0)).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        scope.spawn(|| {
            for version in 1.. {
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
                // Growth in the middle puts another file in the brick's place.
                let grow_to = (version == 40).then_some(10);
                live.commit(&Commit { grow_to, ..commit(version) }).unwrap();
                // Twenty times as often as a daemon commits: every export meets some.
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
        });
        // Whatever happens here, the writer is told to stop.
        let result = export_often(dir.path(), blocks);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        result
    });
    let seen = seen.unwrap();
    assert_eq!(Brick::open(&dir.path().join("t.brick")).unwrap().header().order, 10, "it has grown");
    assert!(seen.len() > 5, "the brick changed between exports: {} states", seen.len());
    let left: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(".sfd"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_blueprint_describes_what_is_risky_where_there_is_too_much() {
    let dir = tempfile::tempdir().unwrap();
    let (brick, out) = (dir.path().join("many.brick"), dir.path().join("many.rts.png"));
    // Half of them look the same; a name that takes the squared time would show.
    let name =
        |n: usize| if n.is_multiple_of(2) { b"same\xff".to_vec() } else { format!("f{n}").into_bytes() };
    let made: Vec<Made> = (0..10_050).map(|n| (name(n), vec![n as u8; n % 3], false)).collect();
    let rows = sealed(&brick, &made, true);
    let exported = Brick::open(&brick).unwrap().export_pixelrts(&out).unwrap();
    assert_eq!((exported.artifacts, exported.undescribed), (10_051, 51));
    let decoded = decode(&std::fs::read(&out).unwrap()).unwrap();
    assert_eq!(decoded.parts().unwrap().len(), 10_051, "offsets are complete");
    let blueprint = decoded.blueprint.unwrap();
    let levels = |level: u8| {
        blueprint["components"].as_array().unwrap().iter().filter(|c| c["risk"]["level"] == level).count()
    };
    for level in 1..=4 {
        let all = rows.iter().filter(|(row, _)| row.semantics.risk.level == level).count();
        assert_eq!(levels(level), all, "level {level}");
    }
    assert_eq!(levels(0), 10_000 - (1..=4).map(levels).sum::<usize>());
}

#[test]
fn bricks_of_other_programs_are_one_content() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("foreign.brick");
    for order in 0..=7_u32 {
        for used in [0, 1, 1 << (2 * order)] {
            let data = contents(order, 1, used);
            for (hash, proof) in [
                ([0; 32], None),
                (Sha256::digest(&data).into(), Some(true)),
                (Sha256::digest(&foreign_brick(order, &data, [0; 32])[132..]).into(), Some(true)),
                ([7; 32], Some(false)),
            ] {
                std::fs::write(&path, foreign_brick(order, &data, hash)).unwrap();
                assert_eq!(public_read(&std::fs::read(&path).unwrap()).unwrap(), data);
                let readable = Readable::open(&path).unwrap();
                let report = readable.verify().unwrap();
                let extracted = readable.extract(b"content");
                assert!(matches!(readable.extract(b"/other"), Err(ExtractError::NotFound { .. })));
                let Readable::Brick(brick) = readable else { panic!("a brick") };
                assert!(brick.is_foreign() && brick.inspect().unwrap().artifacts.is_empty());
                if proof == Some(false) {
                    assert!(!report.is_ok() && matches!(extracted, Err(ExtractError::Damaged { .. })));
                    assert!(brick.export_png(&dir.path().join("x.png"), 100).is_err());
                    continue;
                }
                assert_eq!((report.is_ok(), report.contents == 1), (true, proof.is_some()));
                let extracted = extracted.unwrap();
                assert_eq!((extracted.bytes, extracted.is_proved), (data.clone(), proof.is_some()));
                let out = dir.path().join("x.rts.png");
                brick.export_pixelrts(&out).unwrap();
                let decoded = decode(&std::fs::read(&out).unwrap()).unwrap();
                assert_eq!((decoded.side, decoded.data), (1 << order.saturating_sub(1), data.clone()));
                let whole = Readable::open(&out).unwrap().extract(b"content").unwrap();
                assert!(whole.is_proved && whole.bytes == data);
                brick.export_png(&dir.path().join("x.png"), 100).unwrap();
                assert!(matches!(
                    brick.export_v2br(&dir.path().join("x.brick")),
                    Err(ExportError::Impossible { .. })
                ));
            }
        }
    }
}

/// As the public encoder writes it: segments named by their users, no type, hashes beside them.
fn foreign_picture(metadata: &str, data: &[u8]) -> Vec<u8> {
    let order = (0..13).find(|order| 4_usize << (2 * order) >= data.len()).unwrap();
    let side = 1_u32 << order;
    let mut pixels = vec![0; (side * side * 4) as usize];
    for (cell, bytes) in (0..).zip(data.chunks(4)) {
        let (x, y) = d2xy(order, cell);
        let at = ((y * u64::from(side) + x) * 4) as usize;
        pixels[at..at + bytes.len()].copy_from_slice(bytes);
    }
    let mut png = Vec::new();
    let mut encoder = png::Encoder::new(&mut png, side, side);
    encoder.set_color(png::ColorType::Rgba);
    encoder.add_text_chunk("Software".into(), "another program".into()).unwrap();
    encoder.add_text_chunk("PixelRTS".into(), format!("PixelRTS{metadata}")).unwrap();
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&pixels).unwrap();
    writer.finish().unwrap();
    png
}

#[test]
fn pictures_of_other_programs_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("foreign.rts.png");
    let data = [contents(1, 1, 100), contents(2, 1, 50)].concat();
    let open = |metadata: &str| {
        std::fs::write(&path, foreign_picture(metadata, &data)).unwrap();
        Readable::open(&path)
    };
    let (hash, kernel) = (sha256(&data), sha256(&data[..100]));
    let full = format!(
        r#"{{"format":"PixelRTS-2.0","format_version":2,"grid_size":8,"encoding":{{"type":"RGBA-dense"}},
        "offsets":{{"kernel":{{"start":0,"end":100,"size":100}},"initrd":{{"offset":100,"size":50}}}},
        "hashes":{{"kernel":"{kernel}"}},"data_hash":"{hash}","data_size":150,"later":{{"x":[1]}}}}"#
    );
    let readable = open(&full).unwrap();
    let report = readable.verify().unwrap();
    assert!(report.is_ok() && (report.artifacts, report.contents) == (2, 1), "{report:?}");
    for (name, bytes) in [("kernel", &data[..100]), ("initrd", &data[100..]), ("content", &data[..])] {
        let extracted = readable.extract(name.as_bytes()).unwrap();
        assert!(extracted.is_proved && extracted.bytes == bytes, "{name}");
    }
    assert!(matches!(readable.extract(b"init"), Err(ExtractError::NotFound { .. })));

    // Nothing proves what has no hash.
    let bare = open(r#"{"grid_size":8,"data_size":150}"#).unwrap();
    assert_eq!(bare.verify().unwrap().unverified, 1);
    let extracted = bare.extract(b"content").unwrap();
    assert!(!extracted.is_proved && extracted.bytes == data);
    // Nothing says how much is data: all of it.
    assert_eq!(open("{}").unwrap().extract(b"content").unwrap().bytes.len(), 256);

    let wrong = open(&full.replace(&kernel, &hash)).unwrap();
    assert_eq!(wrong.verify().unwrap().findings[0].path.as_deref(), Some("kernel"));
    assert!(matches!(wrong.extract(b"kernel"), Err(ExtractError::Damaged { start: 0, end: 100, .. })));
    assert!(wrong.extract(b"initrd").unwrap().is_proved, "the whole still has its hash");

    for (metadata, word) in [
        (full.replace("PixelRTS-2.0", "PixelRTS-3.0"), "PixelRTS-3.0"),
        (full.replace(r#""format_version":2"#, r#""format_version":3"#), "version"),
        (full.replace("RGBA-dense", "RGBA-code"), "RGBA-code"),
        (full.replace(r#""later""#, r#""original_data_b64":"AA==","later""#), "only RGBA-dense"),
        (full.replace(r#""later""#, r#""compression":{"type":"zlib"},"later""#), "compressed"),
        (full.replace(r#""data_size":150"#, r#""data_size":257"#), "257 bytes"),
        (full.replace(r#""end":100"#, r#""end":151"#), "kernel"),
        (full.replace(r#""offset":100"#, r#""offset":18446744073709551600"#), "initrd"),
        ("{".into(), "damaged"),
    ] {
        let error = open(&metadata).unwrap_err().to_string();
        assert!(error.contains(word) && error.contains("foreign.rts.png"), "{metadata}: {error}");
    }
}

/// Every pixel of a picture against the definition: mean colour of a square of cells.
#[test]
fn a_picture_shows_kinds_risks_and_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("a.brick"), dir.path().join("a.png"));
    let mut row = file(1, "conf", &contents(1, 1, 1000), Block { start: 1024, k: 10 }, 1);
    row.parent = None;
    row.semantics.kind = sfd::artifact::kinds::Kind::Config;
    row.semantics.risk.level = 0;
    let mut writer = SealedWriter::create(&path, 6, CAP, SealOptions::default()).unwrap();
    writer.add(row, Bytes::from(contents(1, 1, 1000))).unwrap();
    writer.finish().unwrap();
    let brick = Brick::open(&path).unwrap();
    let body = std::fs::read(&path).unwrap();
    let colour = |x: usize, y: usize| {
        let pixel = &body[132 + (y * 64 + x) * 4..][..4];
        if pixel[3] == 0 {
            return [16, 18, 24];
        }
        let light = 175 + u32::from(pixel[0]) * 80 / 255;
        [230, 159, 0].map(|channel| channel * light / 255)
    };
    for (side_max, width, height, step) in
        [(2048, 32, 64, 1), (64, 32, 64, 1), (63, 16, 32, 2), (1, 1, 1, 64)]
    {
        let exported = brick.export_png(&out, side_max).unwrap();
        // The file fills the square below the first one: two of four squares are in use.
        assert_eq!((exported.width, exported.height, exported.artifacts), (width, height, 1));
        let mut reader =
            png::Decoder::new(std::io::Cursor::new(std::fs::read(&out).unwrap())).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        assert_eq!(reader.next_frame(&mut pixels).unwrap().color_type, png::ColorType::Rgb);
        for (at, pixel) in pixels.chunks(3).enumerate() {
            let (x, y) = (at % width as usize * step, at / width as usize * step);
            let mut sum = [0; 3];
            for (dy, dx) in (0..step).flat_map(|dy| (0..step).map(move |dx| (dy, dx))) {
                for (sum, channel) in sum.iter_mut().zip(colour(x + dx, y + dy)) {
                    *sum += channel;
                }
            }
            assert_eq!(pixel, sum.map(|sum| (sum / (step * step) as u32) as u8), "{x},{y} of {side_max}");
        }
        assert_eq!(std::fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
