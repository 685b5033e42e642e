//! Writes to a brick until it is killed, or for so many commits: `brick-crasher DIR SEED [COMMITS]`.
//!
//! One line per commit that returned: the numbers and versions it wrote, `7:12 8:3`. A deleted one has version 0. With
//! COMMITS, a brick that cannot be written is opened again, as the daemon does, a few times; then the exit code is 4. It syncs
//! now and then.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use sfd::brick::{BrickError, LiveBrick, Row, VersionLimits};
use sfd_tests::bricks::Random;
use sfd_tests::session::{NAME, Session, create};

/// Base-2 logarithm of the length of a file, at most: more than the largest block.
const LEN_LOG_MAX: u64 = 14;
/// A disk that fails so often has failed for good.
const FAILURES_MAX: u32 = 3;

fn main() -> Result<ExitCode> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().context("DIR")?;
    let mut random = Random::new(args.next().context("SEED")?.parse()?);
    let mut commits = args.next().map_or(Ok(u64::MAX), |commits| commits.parse())?;
    let is_finite = commits != u64::MAX;
    let mut failures = 0;
    loop {
        match write(Path::new(&dir), &mut random, &mut commits, is_finite) {
            Ok(()) => return Ok(ExitCode::SUCCESS),
            Err(error) if is_finite => {
                eprintln!("{error:#}");
                failures += 1;
                if failures > FAILURES_MAX {
                    return Ok(ExitCode::from(4));
                }
            }
            Err(error) => return Err(error),
        }
    }
}

fn write(dir: &Path, random: &mut Random, commits: &mut u64, syncs: bool) -> Result<()> {
    let (mut brick, rows) = open(dir)?;
    // Small enough that contents are dropped all the time.
    brick.limit_versions(VersionLimits { per_artifact: 3, bytes: 20_000, age_ns: i64::MAX });
    let mut session = Session::new(&brick, rows, LEN_LOG_MAX)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "ready")?;
    while *commits > 0 {
        if random.below(40) == 0 {
            brick.set_unverified_all("a test says so")?;
            session.unverify_all("a test says so");
        }
        if random.below(12) == 0 {
            let rows = brick.compact()?.rows;
            session = Session::new(&brick, rows, LEN_LOG_MAX)?;
        }
        if random.below(3) == 0 {
            brick.index_some(5)?;
        }
        let (batch, written) = session.batch(random)?;
        brick.commit(&batch)?;
        let line: Vec<String> = written.iter().map(|(id, version)| format!("{id}:{version}")).collect();
        writeln!(out, "{}", line.join(" "))?;
        *commits -= 1;
        if syncs && commits.is_multiple_of(5) {
            brick.sync()?;
        }
    }
    Ok(())
}

fn open(dir: &Path) -> Result<(LiveBrick, Vec<Row>)> {
    match LiveBrick::open(dir, NAME) {
        Ok((brick, rows, _)) => Ok((brick, rows)),
        Err(error) if BrickError::needs_baseline(&error) => create(dir),
        Err(error) => Err(error.into()),
    }
}
