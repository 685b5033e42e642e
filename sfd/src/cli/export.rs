//! `sfd export`: a brick in another form.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;

use super::out::{human_bytes, human_count};
use super::{CliError, Exit, Out};
use crate::brick::{Brick, ExportError, Exported};

/// Longest side of a picture unless asked otherwise: what browsers, chats and graphics cards all take.
const SIDE_MAX: u32 = 2048;

/// Writes a brick in another form: a picture for people, or a file for other programs.
#[derive(Debug, Args)]
#[command(
    after_help = "What is exported has been verified; a damaged brick is refused with exit code 1. Redacted contents stay \
    redacted. The file is readable by its owner only, because contents are in it.\n\n\
    Examples:\n  \
    sudo sfd export /var/lib/sfd/bricks/etc.brick --format png\n  \
    sfd export bin.brick --format rts-png -o bin.rts.png\n  \
    sfd export small.brick --format v2br -o public.brick"
)]
pub(super) struct ExportArgs {
    /// A sealed or live brick
    brick: PathBuf,
    /// The form
    #[arg(long, value_enum)]
    format: Format,
    /// The file to write [default: the brick's name with .rts.png, .png or .v2br.brick, in this directory]
    #[arg(long, short, value_name = "OUT")]
    output: Option<PathBuf>,
    /// No side of the picture is longer, in pixels (for --format png) [default: 2048]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_side: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// PixelRTS 2.0: the bytes as a PNG, four to a pixel, with hashes and meanings in it
    RtsPng,
    /// A picture for people: coloured by kind and risk, bright as the bytes are
    Png,
    /// An uncompressed brick that public V2BR readers can read
    V2br,
}

impl Format {
    fn suffix(self) -> &'static str {
        match self {
            Self::RtsPng => ".rts.png",
            Self::Png => ".png",
            Self::V2br => ".v2br.brick",
        }
    }
}

pub(super) fn run(args: &ExportArgs, out: Out) -> Result<Exit, CliError> {
    if args.max_side.is_some() && args.format != Format::Png {
        return Err(CliError::usage("--max-side is for --format png: the other forms keep every byte"));
    }
    let brick = Brick::open(&args.brick)?;
    let output = match &args.output {
        Some(output) => output.clone(),
        None => default_output(&args.brick, args.format),
    };
    if is_same_file(&args.brick, &output) {
        return Err(CliError::usage(format!(
            "{}: the brick cannot be exported into itself; name another file with --output",
            output.display()
        )));
    }
    let exported = match args.format {
        Format::RtsPng => brick.export_pixelrts(&output),
        Format::Png => brick.export_png(&output, args.max_side.unwrap_or(SIDE_MAX)),
        Format::V2br => brick.export_v2br(&output),
    };
    let exported = exported.map_err(|error| match error {
        ExportError::Brick(error) => error.into(),
        why => CliError::no(why),
    })?;
    report(args, out, &output, exported)?;
    Ok(Exit::Done)
}

fn report(args: &ExportArgs, out: Out, output: &Path, exported: Exported) -> Result<(), CliError> {
    let Exported { width, height, bytes, artifacts, undescribed } = exported;
    let format = args.format.to_possible_value();
    if out.json {
        out.json_line(&json!({
            "brick": args.brick.to_string_lossy(),
            "format": format.as_ref().map(clap::builder::PossibleValue::get_name),
            "output": output.to_string_lossy(),
            "width": width,
            "height": height,
            "bytes": bytes,
            "artifacts": artifacts,
            "undescribed": undescribed,
        }))?;
    } else if !out.quiet {
        out.line(format!(
            "{}: {width}x{height} pixels, {} artifacts, {}",
            output.display(),
            human_count(artifacts),
            human_bytes(bytes)
        ))?;
        if undescribed > 0 {
            out.line(format!(
                "{} artifacts have no description in it (readers take 10 000): those of lowest risk",
                human_count(undescribed)
            ))?;
        }
    }
    Ok(())
}

fn default_output(brick: &Path, format: Format) -> PathBuf {
    let mut name = brick.file_stem().unwrap_or(brick.as_os_str()).to_owned();
    name.push(format.suffix());
    PathBuf::from(name)
}

fn is_same_file(a: &Path, b: &Path) -> bool {
    match (std::fs::metadata(a), std::fs::metadata(b)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}
