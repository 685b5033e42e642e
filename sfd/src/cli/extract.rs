//! `sfd extract`.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::out::printable;
use super::{CliError, Exit, Out};
use crate::brick::{ExtractError, Extracted, NewFile, Readable};

/// Gets the exact bytes of one artifact back out of a brick.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit code 1 when the brick does not hold the exact bytes: a digest, a redacted or an unverified artifact.\n\n\
    Examples:\n  sudo sfd extract /var/lib/sfd/bricks/etc.brick /etc/hosts\n  \
    sudo sfd extract mods.brick /srv/loop.ko --section .modinfo | tr '\\0' '\\n'"
)]
pub(super) struct ExtractArgs {
    /// A sealed or live brick, a V2BR brick of another program, or a PixelRTS picture
    brick: PathBuf,
    /// The artifact's path, as `sfd inspect` shows it; `content` for all that a file without artifacts has in it
    path: PathBuf,
    /// Only this section of an ELF file, as `sfd inspect BRICK PATH` shows it; where several have the name, NAME@OFFSET
    #[arg(long, value_name = "NAME")]
    section: Option<String>,
    /// Write to this file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn run(args: &ExtractArgs, out: Out) -> Result<Exit, CliError> {
    if out.json && args.output.is_none() {
        return Err(CliError::usage(
            "--json needs --output FILE: standard output cannot hold both bytes and JSON",
        ));
    }
    let brick = Readable::open(&args.brick)?;
    let path = args.path.as_os_str().as_bytes();
    let found = match (&args.section, &brick) {
        (None, _) => brick.extract(path),
        (Some(section), Readable::Brick(brick)) => {
            brick.extract_section(path, section).map(|(_, bytes)| Extracted { bytes, is_proved: true })
        }
        (Some(_), Readable::PixelRts(_)) => {
            let why = "a PixelRTS picture has no sections in it; extract the whole file";
            return Err(CliError::no(format!("{}: {why}", args.brick.display())));
        }
    };
    let Extracted { bytes, is_proved } = match found {
        Ok(bytes) => bytes,
        Err(ExtractError::Brick(error)) => return Err(error.into()),
        Err(why) => {
            if out.json {
                out.json_line(&json!({ "path": args.path.to_string_lossy(), "extracted": false, "why": why.to_string() }))?;
            }
            return Err(CliError::no(why));
        }
    };
    if !is_proved {
        tracing::warn!("{}: there is no hash in it, so nothing proves these bytes", args.brick.display());
    }
    match &args.output {
        None => out.write(|out| out.write_all(&bytes))?,
        Some(path) => {
            // 0600, because contents of /etc are private.
            let file = NewFile::create(path)?;
            file.file().write_all(&bytes).map_err(|error| CliError::path(path, &error))?;
            file.finish()?;
            if out.json {
                out.json_line(
                    &json!({ "path": args.path.to_string_lossy(), "extracted": true, "bytes": bytes.len() }),
                )?;
            } else if !out.quiet {
                eprintln!(
                    "{} bytes of {} written to {}",
                    bytes.len(),
                    printable(&args.path.to_string_lossy()),
                    path.display()
                );
            }
        }
    }
    Ok(Exit::Done)
}
