//! `sfd inspect`.

use std::path::PathBuf;

use clap::Args;

use super::out::{human_bytes, human_count, printable};
use super::{CliError, Exit, Out};
use crate::brick::{Brick, PixelRts, Readable};

/// Shows a brick's header and artifacts.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  sudo sfd inspect /var/lib/sfd/bricks/etc.brick --json | jq '.artifacts[] | select(.unverified)'"
)]
pub(super) struct InspectArgs {
    /// A sealed or live brick, a V2BR brick of another program, or a PixelRTS picture
    brick: PathBuf,
}

pub(super) fn run(args: &InspectArgs, out: Out) -> Result<Exit, CliError> {
    match Readable::open(&args.brick)? {
        Readable::Brick(brick) => show_brick(&brick, out),
        Readable::PixelRts(picture) => show_picture(&picture, out),
    }
}

fn show_brick(brick: &Brick, out: Out) -> Result<Exit, CliError> {
    let found = brick.inspect()?;
    if out.json {
        out.json_line(&found)?;
        return Ok(Exit::Done);
    }
    out.write(|out| {
        writeln!(
            out,
            "V2BR version {}, {}x{} pixels (order {}), {} in use, entropy {:.2} bits/byte, hash {}",
            found.version,
            found.side,
            found.side,
            found.order,
            human_bytes(found.original_size),
            found.entropy,
            found.hash,
        )?;
        if brick.is_foreign() {
            return writeln!(out, "of another program, without artifacts; sfd extract gives its `content`");
        }
        writeln!(out, "{} artifacts", human_count(found.artifacts.len() as u64))?;
        writeln!(out, "{:>11} {:>6} {:>10}  {:<5} {:<16} path", "start", "cells", "bytes", "marks", "kind")?;
        for each in &found.artifacts {
            let mark = |set: bool, letter: char| if set { letter } else { '-' };
            let marks: String = [
                mark(each.redacted, 'r'),
                mark(!each.exact && !each.redacted && !each.unverified, 'd'),
                mark(each.unverified, 'u'),
                match each.semantics.risk.level {
                    0 => '-',
                    level => char::from(b'0' + level.min(9)),
                },
            ]
            .iter()
            .collect();
            writeln!(
                out,
                "{:>11} {:>6} {:>10}  {marks:<5} {:<16} {}",
                each.start,
                each.cells,
                each.len,
                each.kind,
                printable(&each.path)
            )?;
            if let Some(why) = &each.unverified_reason {
                writeln!(out, "{:>30}  unverified: {}", "", printable(why))?;
            }
        }
        writeln!(out, "marks: r redacted, d digest (not byte-exact), u unverified, 1-4 risk")
    })?;
    Ok(Exit::Done)
}

fn show_picture(picture: &PixelRts, out: Out) -> Result<Exit, CliError> {
    let found = picture.inspect();
    if out.json {
        out.json_line(&found)?;
        return Ok(Exit::Done);
    }
    out.write(|out| {
        writeln!(
            out,
            "{}, {}x{} pixels (order {}), {} of data, {}",
            found.format,
            found.side,
            found.side,
            found.order,
            human_bytes(found.data_size),
            match &found.data_hash {
                Some(hash) => format!("hash {}", printable(hash)),
                None => "no hash".into(),
            },
        )?;
        if found.artifacts.is_empty() {
            return writeln!(out, "without artifacts; sfd extract gives its `content`");
        }
        writeln!(
            out,
            "{} artifacts, {}",
            human_count(found.artifacts.len() as u64),
            if found.blueprint.is_some() { "with a Blueprint (--json shows it)" } else { "no Blueprint" }
        )?;
        writeln!(out, "{:>11} {:>10}  {:<5} {:<16} path", "start", "bytes", "marks", "kind")?;
        for each in &found.artifacts {
            let mark = |set: bool, letter: char| if set { letter } else { '-' };
            let marks: String = [
                mark(each.redacted, 'r'),
                mark(each.digest_of.is_some() && !each.redacted, 'd'),
                mark(each.unverified.is_some(), 'u'),
                mark(each.sha256.is_none(), 'n'),
            ]
            .iter()
            .collect();
            writeln!(
                out,
                "{:>11} {:>10}  {marks:<5} {:<16} {}",
                each.start,
                each.len,
                printable(each.kind.as_deref().unwrap_or("-")),
                printable(&each.path)
            )?;
        }
        writeln!(out, "marks: r redacted, d digest (not byte-exact), u unverified, n no hash")
    })?;
    Ok(Exit::Done)
}
