//! `sfd fold`: one sealed brick of files and directories.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::ProgressBar;
use serde_json::json;

use super::out::{human_bytes, human_count};
use super::{CliError, Exit, Out};
use crate::agent::{AgentError, SealProgress, Sealed, Sealing, StateDir, disk_view, fold_roots};
use crate::artifact::view::View;
use crate::brick::SealOptions;

/// Folds files and directories into one sealed brick.
#[derive(Debug, Args)]
#[command(
    after_help = "No root is needed; what cannot be read is marked unverified.\n\nExamples:\n  sfd fold /usr/bin -o bin.brick\n  sfd fold src docs -o project.brick --compress"
)]
pub(super) struct FoldArgs {
    /// Files and directories
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The brick to write
    #[arg(long, short, value_name = "FILE.brick")]
    output: PathBuf,
    /// Compress the body (small and randomly readable, but public V2BR readers cannot read it)
    #[arg(long)]
    compress: bool,
    /// Fold files of any size byte for byte instead of as a digest
    #[arg(long)]
    exact: bool,
    /// Leave out what matches this glob of absolute paths; may be repeated
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
}

pub(super) fn run(args: &FoldArgs, out: Out) -> Result<Exit, CliError> {
    let roots = fold_roots(&args.paths)?;
    let output = std::path::absolute(&args.output).map_err(|error| CliError::path(&args.output, &error))?;
    let dir = output.parent().unwrap_or(Path::new("/"));
    if !dir.is_dir() {
        let error = std::io::Error::from(std::io::ErrorKind::NotFound);
        return Err(CliError::path(dir, &error));
    }
    let bar = if out.shows_progress() { ProgressBar::no_length() } else { ProgressBar::hidden() };
    bar.set_message("finding files");
    let progress = |at| {
        match at {
            SealProgress::Found(found) => bar.set_position(found),
            SealProgress::Folded(done, total) => {
                bar.set_length(total);
                bar.set_position(done);
            }
        }
        ControlFlow::Continue(())
    };
    let view = || -> Result<Box<dyn View>, AgentError> {
        Ok(Box::new(disk_view(Path::new("/"), &args.exclude)?.exclude_paths([output.clone()])))
    };
    let redactor = super::redactor(StateDir::default_path().as_deref())?;
    let seal = SealOptions { compress: args.compress };
    let sealing = Sealing { roots, exact: args.exact, seal, ..Sealing::default() };
    let Sealed { header, artifacts: total, unverified, redacted, .. } =
        sealing.run(&output, &redactor, &view, &mut |_, _| None, &progress)?;
    bar.finish_and_clear();
    let side = 1_u64 << header.order;
    if out.json {
        out.json_line(&json!({
            "brick": output.to_string_lossy(),
            "artifacts": total,
            "unverified": unverified,
            "redacted": redacted,
            "order": header.order,
            "original_size": header.original_size,
            "compressed_size": header.compressed_size,
        }))?;
    } else if !out.quiet {
        out.line(format!(
            "{}: {} artifacts ({} unverified, {} redacted), {} in use, {side}x{side} pixels",
            args.output.display(),
            human_count(total),
            human_count(unverified),
            human_count(redacted),
            human_bytes(header.original_size),
        ))?;
    }
    Ok(Exit::Done)
}
