//! `kill -9` at random points of commits, of growth and of creation, and a disk that refuses one system call after the
//! other: afterwards the brick opens, verifies, holds every commit that was reported, and shows as unverified whatever
//! it cannot prove.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use sfd::brick::{Brick, BrickError, Catalog, HistoryQuery, LiveBrick, Recovery, Row};
use sfd_tests::bricks::{Random, assert_searchable, contents, public_read};

/// Rounds by default; `SFD_CRASH_ROUNDS` for a longer run.
const ROUNDS: u64 = 200;
/// Rounds that share a brick: it starts small, so that each brick grows a few times.
const ROUNDS_PER_BRICK: u64 = 10;
/// Changes in one commit of the writer, at most.
const CHANGES_MAX: usize = 6;

/// Commits of a session in which one system call fails.
const COMMITS: u64 = 12;
/// Every how manieth call of a sort is made to fail; `SFD_CALLS_STEP=1` tries each.
const CALLS_STEP: usize = 17;

#[test]
fn a_killed_writer_leaves_a_brick_that_heals() {
    let rounds = std::env::var("SFD_CRASH_ROUNDS").map_or(ROUNDS, |n| n.parse().unwrap());
    let mut random = Random::new(7);
    let mut dir = tempfile::tempdir().unwrap();
    let mut reported = HashMap::new();
    let (mut healed, mut commits) = (0, 0);
    for round in 0..rounds {
        if round % ROUNDS_PER_BRICK == 0 {
            dir = tempfile::tempdir().unwrap();
            reported.clear();
        }
        commits += write_and_kill(dir.path(), round, &mut random, &mut reported);
        healed += u64::from(check(dir.path(), &format!("round {round}"), &reported));
    }
    println!("{rounds} kills, {commits} commits reported, {healed} bricks had something to heal");
    assert!(commits > rounds as usize, "the writer hardly wrote: {commits} commits");
}

fn write_and_kill(dir: &Path, seed: u64, random: &mut Random, reported: &mut HashMap<u32, i64>) -> usize {
    let mut child = Command::new(env!("CARGO_BIN_EXE_brick-crasher"))
        .arg(dir)
        .arg(seed.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    // One in five is killed while it creates or opens the brick.
    let is_early = random.below(5) == 0;
    let mut lines = String::new();
    if !is_early {
        out.read_line(&mut lines).unwrap();
        lines.clear();
    }
    std::thread::sleep(Duration::from_micros(random.below(if is_early { 15_000 } else { 40_000 })));
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success(), "the writer ended by itself");
    out.read_to_string(&mut lines).unwrap();
    note(&lines, reported)
}

/// Notes what a writer reported; returns the number of lines.
fn note(lines: &str, reported: &mut HashMap<u32, i64>) -> usize {
    // A line cut short was not reported.
    let whole: Vec<&str> = lines.split_inclusive('\n').filter(|line| line.ends_with('\n')).collect();
    for (id, version) in
        whole.iter().flat_map(|line| line.split_whitespace()).filter_map(|w| w.split_once(':'))
    {
        reported.insert(id.parse().unwrap(), version.parse().unwrap());
    }
    whole.len()
}

/// What the files of a brick are reached through, and how that can fail. `strace` counts the calls of each line together.
const CALLS: [(&str, &str); 6] = [
    ("pwrite64,write", "ENOSPC"),
    ("fsync,fdatasync", "EIO"),
    ("msync", "EIO"),
    ("fallocate", "ENOSPC"),
    ("ftruncate", "ENOSPC"),
    ("rename,renameat,renameat2,unlink,unlinkat", "EIO"),
];

/// Each system call that writes fails once, fails from then on, or is the last one before a `kill -9`.
#[test]
fn a_disk_that_refuses_a_call_leaves_a_brick_that_heals() {
    if Command::new("strace").arg("-V").output().is_err() {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "strace is missing");
        println!("skipped: needs strace");
        return;
    }
    let step = std::env::var("SFD_CALLS_STEP").map_or(CALLS_STEP, |n| n.parse().unwrap());
    let (mut tried, mut noticed) = (0, 0);
    for (calls, error) in CALLS {
        let count = traced(calls, None).calls;
        assert!(count > 0, "the writer makes no {calls}");
        for (number, way) in (1..=count).step_by(step).flat_map(|n| (0..3).map(move |way| (n, way))) {
            let inject = match way {
                0 => format!("{calls}:error={error}:when={number}"),
                1 => format!("{calls}:error={error}:when={number}+"),
                _ => format!("{calls}:signal=SIGKILL:when={number}"),
            };
            tried += 1;
            noticed += u64::from(traced(calls, Some(&inject)).is_noticed);
        }
    }
    println!("{tried} faults, {noticed} noticed by the writer");
    // SQLite puts up with a log that it cannot remove, and the like.
    assert!(noticed > tried / 2);
}

struct Traced {
    calls: usize,
    is_noticed: bool,
}

/// Runs a short session under `strace`, with a fault; checks what it leaves.
fn traced(calls: &str, inject: Option<&str>) -> Traced {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("strace.log");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", "signal=none", "-o"]).arg(&log).args(["-e", &format!("trace={calls}")]);
    if let Some(inject) = inject {
        command.args(["-e", &format!("inject={inject}")]);
    }
    // Only what concerns the files: the writer's own output goes through `write` too. msync has no path.
    let bricks = dir.path().join("bricks");
    let suffixes = ["brick", "brick.new", "lock"].map(|end| format!("t.{end}"));
    let catalogs = ["", ".new", "-wal", "-shm", ".new-journal"].map(|end| format!("t.catalog.sqlite{end}"));
    if calls != "msync" {
        for path in suffixes.iter().chain(&catalogs).map(|name| bricks.join(name)).chain([bricks.clone()]) {
            command.arg("-P").arg(path);
        }
    }
    let output = command
        .arg(env!("CARGO_BIN_EXE_brick-crasher"))
        .arg(&bricks)
        .args(["3", &COMMITS.to_string()])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let what = inject.unwrap_or("no fault");
    assert!(!errors.contains("panicked"), "{what}: {errors}");
    let is_known = matches!(output.status.code(), Some(0 | 4)) || output.status.signal() == Some(9);
    assert!(is_known, "{what}: {}: {errors}", output.status);
    let mut reported = HashMap::new();
    note(&String::from_utf8_lossy(&output.stdout), &mut reported);
    check(&bricks, what, &reported);
    let log = std::fs::read_to_string(log).unwrap();
    let calls = log.lines().filter(|line| line.contains('(')).count();
    if inject.is_none() {
        assert!(output.status.success() && errors.is_empty(), "{errors}");
    }
    Traced { calls, is_noticed: !errors.is_empty() || !output.status.success() }
}

/// Returns whether anything had to be healed.
fn check(dir: &Path, round: &str, reported: &HashMap<u32, i64>) -> bool {
    let (brick, rows, recovery) = match LiveBrick::open(dir, "t") {
        Ok(opened) => opened,
        Err(error) => {
            assert!(BrickError::needs_baseline(&error), "{round}: {error}");
            assert!(reported.is_empty(), "{round}: commits were reported, but {error}");
            return false;
        }
    };
    assert_eq!(brick.rows().unwrap(), rows);
    let path = brick.path().to_owned();
    let stats = brick.version_stats();
    assert!(stats.bytes <= 20_000, "round {round}: {stats:?}");
    drop(brick);
    let kept = check_versions(&path.with_extension("catalog.sqlite"), round, &rows);
    assert_eq!(kept, stats.kept, "round {round}");
    // Whatever was indexed and whatever was not.
    let catalog = Catalog::open_read_only(&path.with_extension("catalog.sqlite")).unwrap();
    assert_searchable(&catalog, &rows, round);
    let report = Brick::open(&path).unwrap().verify().unwrap();
    assert!(report.is_ok(), "{round}, {recovery:?}: {}", report.findings[0]);

    let cells = public_read(&std::fs::read(&path).unwrap()).unwrap();
    for row in rows.iter().filter(|row| row.id.0 != 0) {
        if let Recovery::Refold { artifacts, .. } = &recovery {
            assert!(row.unverified.is_some() || !artifacts.contains(&row.id));
        }
        let version = reported.get(&row.id.0).copied().unwrap_or(0);
        assert!(row.meta.mtime_ns >= version, "{round}: artifact {} went back in time", row.id.0);
        if row.unverified.is_none() && row.exact {
            let start = row.block.start as usize;
            let expected = contents(row.id.0, row.meta.mtime_ns, row.len as usize);
            assert!(cells[start..start + expected.len()] == expected, "{round}: artifact {}", row.id.0);
        }
    }
    // Only the one commit that was not reported may have removed something.
    let is_gone = |id: &u32| !rows.iter().any(|row| row.id.0 == *id);
    let gone = reported.iter().filter(|&(id, &version)| version != 0 && is_gone(id)).count();
    assert!(gone <= CHANGES_MAX, "{round}: {gone} artifacts are lost");
    recovery != Recovery::Clean
}

/// Rows, lines of history and what is kept of contents are of the same commits: the last change of each artifact left
/// what its row says, and each change replaced what the one before it left. Returns how many contents are kept.
fn check_versions(catalog: &Path, round: &str, rows: &[Row]) -> u64 {
    let catalog = Catalog::open_read_only(catalog).unwrap();
    let mut last = HashMap::new();
    let mut kept = 0;
    for (line, _) in catalog.history(&HistoryQuery::default()).unwrap() {
        // Contents that are given back have been compared with their hash.
        let version = catalog.version(line).unwrap().unwrap_or_else(|| panic!("round {round}: line {line}"));
        let before = last.insert(version.artifact, version.after).flatten();
        assert_eq!(version.before, before, "round {round}: line {line}");
        kept += u64::from(version.before.is_some() && version.contents.is_ok());
    }
    for row in rows.iter().filter(|row| row.id.0 != 0) {
        assert_eq!(last.remove(&row.id), Some(Some(row.content_hash)), "round {round}: {:?}", row.id);
    }
    assert!(last.values().all(Option::is_none), "round {round}: {last:?}");
    kept
}
