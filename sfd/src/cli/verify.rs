//! `sfd verify`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::out::{human_count, printable};
use super::{CliError, Exit, Out};
use crate::brick::{BrickError, Readable};

/// Checks a brick: header, Merkle tree, index, layout.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit code 1 names the first bad region. A live brick may be checked while the daemon writes to it.\n\n\
    Example:\n  sudo sfd verify /var/lib/sfd/bricks/etc.brick"
)]
pub(super) struct VerifyArgs {
    /// A sealed or live brick, a V2BR brick of another program, or a PixelRTS picture
    brick: PathBuf,
}

pub(super) fn run(args: &VerifyArgs, out: Out) -> Result<Exit, CliError> {
    let brick = match Readable::open(&args.brick) {
        Ok(brick) => brick,
        // The file is there but is not a whole brick: that is an answer, not a failure to get one.
        Err(
            error @ (BrickError::Format { .. }
            | BrickError::Truncated { .. }
            | BrickError::CatalogCorrupt { .. }),
        ) => {
            if out.json {
                out.json_line(&json!({ "findings": [{ "check": "file", "detail": error.to_string() }] }))?;
            } else {
                out.line(format!("not valid: {}", printable(&error.to_string())))?;
            }
            return Ok(Exit::No);
        }
        Err(error) => return Err(error.into()),
    };
    let report = brick.verify()?;
    if out.json {
        out.json_line(&report)?;
    } else if let Some(bad) = report.findings.first() {
        out.line(format!("{}: not valid: {}", args.brick.display(), printable(&bad.to_string())))?;
        if report.findings.len() > 1 && !out.quiet {
            out.line(format!("and {} more; --json lists them", report.findings.len() - 1))?;
        }
    } else if !out.quiet {
        out.line(format!(
            "{}: valid; {}",
            args.brick.display(),
            match &brick {
                Readable::Brick(brick) if !brick.is_foreign() => format!(
                    "{} artifacts, {} Merkle leaves, {} unverified",
                    human_count(report.artifacts),
                    human_count(report.leaves),
                    human_count(report.unverified),
                ),
                // Nothing but the one hash in it can be checked.
                Readable::Brick(_) if report.contents > 0 =>
                    "its contents have the hash in its header".into(),
                Readable::Brick(_) =>
                    "but there is no hash in its header, so nothing proves its contents".into(),
                Readable::PixelRts(_) => format!(
                    "{} artifacts, {} with a hash, {} unverified",
                    human_count(report.artifacts),
                    human_count(report.contents),
                    human_count(report.unverified),
                ),
            }
        ))?;
    }
    Ok(if report.findings.is_empty() { Exit::Done } else { Exit::No })
}
