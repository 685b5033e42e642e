//! `sfd inspect`.

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::Args;

use super::out::{human_bytes, human_count, human_time, printable};
use super::pictures::show_picture;
use super::{CliError, Exit, Out};
use crate::artifact::kinds::Kind;
use crate::brick::{ArtifactEntry, Brick, ExtractError, Readable};

/// Shows a brick's header and artifacts.
#[derive(Debug, Args)]
#[command(
    after_help = "With PATH, one artifact: what it is, and where its sections are if it is an ELF file that the brick holds byte for byte. \
    Exit code 1 when it is not in the brick.\n\n\
    Examples:\n  sudo sfd inspect /var/lib/sfd/bricks/etc.brick --json | jq '.artifacts[] | select(.unverified)'\n  \
    sfd fold /usr/bin -o bin.brick --exact && sfd inspect bin.brick /usr/bin/ls"
)]
pub(super) struct InspectArgs {
    /// A sealed or live brick, a V2BR brick of another program, or a PixelRTS picture
    brick: PathBuf,
    /// Only this artifact, and its sections
    path: Option<PathBuf>,
}

pub(super) fn run(args: &InspectArgs, out: Out) -> Result<Exit, CliError> {
    let path = args.path.as_deref().map(Path::as_os_str).map(OsStrExt::as_bytes);
    match Readable::open(&args.brick)? {
        Readable::Brick(brick) => show_brick(&brick, path, out),
        Readable::PixelRts(picture) => show_picture(&picture, path, out),
    }
}

fn show_brick(brick: &Brick, path: Option<&[u8]>, out: Out) -> Result<Exit, CliError> {
    let mut found = brick.inspect()?;
    if let Some(path) = path {
        found.artifacts.retain(|each| each.is_at(path));
        if found.artifacts.is_empty() {
            return Err(not_found(path));
        }
    }
    if out.json {
        out.json_line(&found)?;
        return Ok(Exit::Done);
    }
    if let (Some(_), [each]) = (path, found.artifacts.as_slice()) {
        out.write(|out| one(each, out))?;
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

/// Nothing in the file has this path.
pub(super) fn not_found(path: &[u8]) -> CliError {
    CliError::no(ExtractError::NotFound { path: String::from_utf8_lossy(path).into_owned() })
}

/// One artifact with its sections.
fn one(each: &ArtifactEntry, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}: {}", printable(&each.path), each.semantics.summary)?;
    writeln!(
        out,
        "{}, {} in {} cells from {}{}{}",
        each.kind,
        human_bytes(each.len),
        human_count(each.cells),
        each.start,
        if each.redacted { ", redacted" } else { "" },
        if each.exact { "" } else { ", not byte for byte" },
    )?;
    writeln!(
        out,
        "mode {:04o}, owner {}:{}, changed {}, content {}",
        each.mode,
        each.uid,
        each.gid,
        human_time(each.mtime_ns),
        each.content_hash
    )?;
    if let Some(why) = &each.unverified_reason {
        writeln!(out, "unverified: {}", printable(why))?;
    }
    let risk = &each.semantics.risk;
    if risk.level > 0 {
        writeln!(out, "risk {}: {}", risk.level, risk.reasons.join("; "))?;
    }
    let Some(found) = &each.regions else {
        return match no_sections(each) {
            Some(why) => writeln!(out, "no sections: {why}"),
            None => Ok(()),
        };
    };
    writeln!(out, "{:>10} {:>10} {:>11}  {:<14} section", "offset", "bytes", "cell", "type")?;
    for region in &found.regions {
        writeln!(
            out,
            "{:>10} {:>10} {:>11}  {:<14} {}",
            region.start,
            region.len,
            each.start.saturating_add(region.start),
            printable(&region.kind),
            printable(&region.name)
        )?;
    }
    match &found.note {
        Some(note) => writeln!(out, "not all: {}", printable(note)),
        None => Ok(()),
    }
}

/// Why there are no sections where one would look for some.
fn no_sections(each: &ArtifactEntry) -> Option<&'static str> {
    match each.semantics.kind {
        Kind::KernelModule | Kind::ElfExecutable | Kind::SharedLibrary | Kind::ElfOther => {}
        _ => return None,
    }
    Some(if each.redacted {
        "it is redacted"
    } else if each.unverified {
        "it is not verified"
    } else if !each.exact {
        "it is too large, the brick keeps only a digest (fold with --exact)"
    } else if each.semantics.kind == Kind::KernelModule {
        "it is compressed, and the brick holds the compressed bytes"
    } else {
        "none are known (a core dump, or not read since an earlier version of SFD)"
    })
}
