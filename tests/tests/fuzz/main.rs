//! Readers against files that nobody wrote: a corpus, mutated.
//!
//! Every case must end in a value or a typed error that names the file: no panic, no loop, and no memory that the
//! length of the file does not justify. A case is a number: `SFD_FUZZ_FIRST=1234 SFD_FUZZ_CASES=1` runs that one
//! again. `SFD_FUZZ_SECONDS=600` goes on for that long. What finds something is written to `target/fuzz`; mended, it
//! goes into `tests/corpus`, whose files are all read as they are, too.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod hostile;
mod mutate;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use mutate::{mutate, mutate_chunk, mutate_index};
use sfd::brick::{Brick, BrickError, Readable};
use sfd_tests::bricks::{Random, foreign_brick};
use sha2::{Digest, Sha256};

/// Cases of an ordinary run: some seconds.
const CASES: u64 = 4000;
/// A case may allocate this, however small its file: the decoder of PNGs, SQLite, the map of a file, and what an
/// allocator keeps. Seeds are a few KiB.
const MEMORY_MAX_KIB: u64 = 64 << 10;
/// Bytes that a byte of a file may become: deflate's limit is 1032, and there is more than the data.
const INFLATION_MAX: u64 = 1500;
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
    // Time and memory of the process are of one case only.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock();
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

/// A directory in memory: exports are synced, which is not what this is about.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// Files that were thought out: each makes the most of its few bytes.
#[test]
fn readers_survive_malice() {
    let dir = scratch();
    let mut depth = Depth::default();
    for (name, bytes) in hostile::files() {
        let started = Instant::now();
        let problem = problem(&dir.path().join("case"), &bytes, &mut depth);
        println!("{name}: {} bytes, {:?}", bytes.len(), started.elapsed());
        assert_eq!(problem, None, "{name}, {} bytes", bytes.len());
    }
}

#[test]
fn readers_survive_anything() {
    let seeds = seeds();
    let dir = scratch();
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
