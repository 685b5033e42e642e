//! `kill -9` at random points of commits, of growth and of creation: afterwards the brick opens, verifies, holds every
//! commit that was reported, and shows as unverified whatever it cannot prove.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use sfd::brick::{Brick, BrickError, Catalog, HistoryQuery, LiveBrick, Recovery, Row};
use sfd_tests::bricks::{Random, contents, public_read};

/// Rounds by default; `SFD_CRASH_ROUNDS` for a longer run.
const ROUNDS: u64 = 20;
/// Rounds that share a brick: it starts small, so that each brick grows a few times.
const ROUNDS_PER_BRICK: u64 = 4;
/// Changes in one commit of the writer, at most.
const CHANGES_MAX: usize = 6;

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
        healed += u64::from(check(dir.path(), round, &reported));
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
    // A line cut short was not reported.
    let whole: Vec<&str> = lines.split_inclusive('\n').filter(|line| line.ends_with('\n')).collect();
    for (id, version) in
        whole.iter().flat_map(|line| line.split_whitespace()).filter_map(|w| w.split_once(':'))
    {
        reported.insert(id.parse().unwrap(), version.parse().unwrap());
    }
    whole.len()
}

/// Returns whether anything had to be healed.
fn check(dir: &Path, round: u64, reported: &HashMap<u32, i64>) -> bool {
    let (brick, rows, recovery) = match LiveBrick::open(dir, "t") {
        Ok(opened) => opened,
        Err(error) => {
            assert!(BrickError::needs_baseline(&error), "round {round}: {error}");
            assert!(reported.is_empty(), "round {round}: commits were reported, but {error}");
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
    let report = Brick::open(&path).unwrap().verify().unwrap();
    assert!(report.is_ok(), "round {round}, {recovery:?}: {}", report.findings[0]);

    let cells = public_read(&std::fs::read(&path).unwrap()).unwrap();
    for row in rows.iter().filter(|row| row.id.0 != 0) {
        if let Recovery::Refold { artifacts, .. } = &recovery {
            assert!(row.unverified.is_some() || !artifacts.contains(&row.id));
        }
        let version = reported.get(&row.id.0).copied().unwrap_or(0);
        assert!(row.meta.mtime_ns >= version, "round {round}: artifact {} went back in time", row.id.0);
        if row.unverified.is_none() && row.exact {
            let start = row.block.start as usize;
            let expected = contents(row.id.0, row.meta.mtime_ns, row.len as usize);
            assert!(cells[start..start + expected.len()] == expected, "round {round}: artifact {}", row.id.0);
        }
    }
    // Only the one commit that was not reported may have removed something.
    let is_gone = |id: &u32| !rows.iter().any(|row| row.id.0 == *id);
    let gone = reported.iter().filter(|&(id, &version)| version != 0 && is_gone(id)).count();
    assert!(gone <= CHANGES_MAX, "round {round}: {gone} artifacts are lost");
    recovery != Recovery::Clean
}

/// Rows, lines of history and what is kept of contents are of the same commits: the last change of each artifact left
/// what its row says, and each change replaced what the one before it left. Returns how many contents are kept.
fn check_versions(catalog: &Path, round: u64, rows: &[Row]) -> u64 {
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
