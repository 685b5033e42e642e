//! Readers against files that nobody wrote: a corpus, mutated.
//!
//! Every case must end in a value or a typed error that names the file: no panic, no loop, and no memory that the
//! length of the file does not justify. A case is a number: `SFD_FUZZ_FIRST=1234 SFD_FUZZ_CASES=1` runs that one
//! again. `SFD_FUZZ_SECONDS=600` goes on for that long. What finds something is written to `target/fuzz`; mended, it
//! goes into `tests/corpus`, whose files are all read as they are, too.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sfd::brick::{Brick, BrickError, Readable};
use sfd_tests::bricks::{Random, foreign_brick};
use sfd_tests::pixelrts::crc32;
use sha2::{Digest, Sha256};

/// Cases of an ordinary run: some seconds.
const CASES: u64 = 4000;
/// A case may allocate this, however small its file: the decoder of PNGs, SQLite, the map of a file, and what an
/// allocator keeps. Seeds are a few KiB.
const MEMORY_MAX_KIB: u64 = 64 << 10;
/// Bytes that a byte of a file may become (deflate's limit is 1032), three times over: data, row, copy.
const INFLATION_MAX: u64 = 3200;
/// No seed takes a hundredth of this.
const TIME_MAX: Duration = Duration::from_secs(20);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Name and bytes of everything that mutations start from, in a fixed order.
fn seeds() -> Vec<(String, Vec<u8>)> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seeds: Vec<(String, Vec<u8>)> = [tests.join("fixtures/golden"), tests.join("corpus")]
        .iter()
        .flat_map(|dir| std::fs::read_dir(dir).unwrap())
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap()))
        .collect();
    for order in 0..4 {
        let data: Vec<u8> = (0..1 << (2 * order)).map(|n: u32| n as u8).collect();
        let hash = Sha256::digest(&data).into();
        seeds.push((format!("foreign-{order}.brick"), foreign_brick(order, &data, hash)));
    }
    seeds.sort();
    seeds
}

/// How far cases came.
#[derive(Default)]
struct Depth {
    opened: u64,
    verified: u64,
}

/// Reads a file in every way there is. Its name must be in every error.
fn read(path: &Path, depth: &mut Depth) {
    let check = |error: &BrickError| {
        let text = error.to_string();
        assert!(text.contains("case") && !text.contains('\u{0}'), "an error without an object: {text:?}");
    };
    let readable = match Readable::open(path) {
        Ok(readable) => readable,
        Err(error) => return check(&error),
    };
    depth.opened += 1;
    let names: Vec<Vec<u8>> = match &readable {
        Readable::Brick(brick) => {
            let entries = brick.inspect().map(|found| {
                serde_json::to_vec(&found).unwrap();
                found.artifacts
            });
            entries.unwrap_or_default().into_iter().map(|entry| entry.path.into_bytes()).collect()
        }
        Readable::PixelRts(picture) => {
            let found = picture.inspect();
            serde_json::to_vec(&found).unwrap();
            found.artifacts.into_iter().map(|offset| offset.path.into_bytes()).collect()
        }
    };
    for name in names.iter().take(4).map(Vec::as_slice).chain([&b"content"[..], b"/not/there"]) {
        drop(readable.extract(name));
    }
    match readable.verify() {
        Ok(report) => {
            assert!(report.findings.len() <= 100);
            depth.verified += u64::from(report.is_ok());
        }
        Err(error) => check(&error),
    }
    // What a brick accepts it also exports, or says why not.
    if let Readable::Brick(brick) = &readable {
        export(brick, path);
    }
}

fn export(brick: &Brick, path: &Path) {
    let out = path.with_extension("out");
    for form in 0..3 {
        let exported = match form {
            0 => brick.export_png(&out, 64),
            1 => brick.export_pixelrts(&out),
            _ => brick.export_v2br(&out),
        };
        if let Ok(exported) = exported {
            assert_eq!(std::fs::metadata(&out).unwrap().len(), exported.bytes);
            std::fs::remove_file(&out).unwrap();
        } else {
            assert!(!out.exists(), "a failed export left a file");
        }
    }
}

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
fn mutate(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8]) {
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
fn mutate_index(random: &mut Random, brick: &mut Vec<u8>, other: &[u8]) -> Option<()> {
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
    brick.extend_from_slice(&index);
    brick.extend_from_slice(b"SFDT\x01\0\0\0");
    brick.extend((index.len() as u64).to_le_bytes());
    brick.extend((json.len() as u64).to_le_bytes());
    brick.extend(Sha256::digest(&index));
    Some(())
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
fn mutate_chunk(random: &mut Random, png: &mut Vec<u8>, other: &[u8]) -> Option<()> {
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
    let mut chunk = (data.len() as u32).to_be_bytes().to_vec();
    chunk.extend_from_slice(&png[at + 4..at + 8]);
    chunk.extend_from_slice(&data);
    chunk.extend(crc32(&chunk[4..]).to_be_bytes());
    png.splice(at..at + 12 + len, chunk);
    Some(())
}

fn case(number: u64, seeds: &[(String, Vec<u8>)]) -> (String, Vec<u8>) {
    let mut random = Random::new(number);
    let (name, mut bytes) = seeds[random.below(seeds.len() as u64) as usize].clone();
    let other = &seeds[random.below(seeds.len() as u64) as usize].1;
    for _ in 0..=random.below(2) {
        let done = match random.below(4) {
            0 | 1 if bytes.starts_with(b"\x89PNG") => mutate_chunk(&mut random, &mut bytes, other),
            0 | 1 => mutate_index(&mut random, &mut bytes, other),
            _ => None,
        };
        if done.is_none() {
            mutate(&mut random, &mut bytes, other);
        }
    }
    (name, bytes)
}

/// The most address space that this process ever had, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/fuzz")
}

/// Reads one file. Gives what is wrong with how that ended.
fn problem(path: &Path, bytes: &[u8], depth: &mut Depth) -> Option<String> {
    std::fs::write(path, bytes).unwrap();
    let (started, peak) = (Instant::now(), peak_kib());
    if catch_unwind(AssertUnwindSafe(|| read(path, depth))).is_err() {
        return Some("a panic".into());
    }
    let (took, grown) = (started.elapsed(), peak_kib() - peak);
    if grown > MEMORY_MAX_KIB + bytes.len() as u64 * INFLATION_MAX / 1024 {
        return Some(format!("{grown} KiB for {} bytes", bytes.len()));
    }
    (took > TIME_MAX * sfd_tests::slowness()).then(|| format!("{took:?}"))
}

#[test]
fn readers_survive_anything() {
    let seeds = seeds();
    // Exports are synced, which is not what this is about.
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let path = dir.path().join("case");
    let mut depth = Depth::default();
    let mut problems = Vec::new();
    for (name, bytes) in &seeds {
        problems.extend(problem(&path, bytes, &mut depth).map(|what| format!("{name}: {what}")));
    }
    let (first, cases) = (number("SFD_FUZZ_FIRST").unwrap_or(0), number("SFD_FUZZ_CASES").unwrap_or(CASES));
    let until = number("SFD_FUZZ_SECONDS").map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut number = first;
    while number < first + cases || until.is_some_and(|until| Instant::now() < until) {
        let (name, bytes) = case(number, &seeds);
        if let Some(what) = problem(&path, &bytes, &mut depth) {
            std::fs::create_dir_all(target()).unwrap();
            std::fs::write(target().join(format!("{number}-{name}")), &bytes).unwrap();
            problems.push(format!("case {number}, from {name}: {what}"));
        }
        number += 1;
    }
    let Depth { opened, verified } = depth;
    println!("{} cases from {} seeds: {opened} opened, {verified} valid", number - first, seeds.len());
    assert!(problems.is_empty(), "{} of {} cases:\n{}", problems.len(), number - first, problems.join("\n"));
    // Cases that are all refused at the door test the door.
    assert!(opened * 5 > number - first, "{opened} opened");
}
