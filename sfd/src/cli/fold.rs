//! `sfd fold`: one sealed brick of files and directories.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::ProgressBar;
use serde_json::json;

use super::out::{human_bytes, human_count};
use super::{CliError, Exit, Out};
use crate::agent::{Lanes, StateDir, Survey, disk_view, row_of, survey};
use crate::artifact::redact::KEY_FILE;
use crate::artifact::{FileType, Look, LookOptions, Looker, Redactor};
use crate::brick::{ArtifactId, Row, SealOptions, SealedWriter};
use crate::collect::Unwatched;

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
    let roots = roots(&args.paths)?;
    let output = std::path::absolute(&args.output).map_err(|error| CliError::path(&args.output, &error))?;
    let dir = output.parent().unwrap_or(Path::new("/"));
    if !dir.is_dir() {
        let error = std::io::Error::from(std::io::ErrorKind::NotFound);
        return Err(CliError::path(dir, &error));
    }
    let bar = if out.shows_progress() { ProgressBar::no_length() } else { ProgressBar::hidden() };
    let mut view = disk_view(Path::new("/"), &args.exclude)?.exclude_paths([output.clone()]);
    bar.set_message("finding files");
    let progress = |found| {
        bar.set_position(found);
        ControlFlow::Continue(())
    };
    let Survey { rows, layout, unlisted, .. } =
        survey(&roots, args.exact, &mut view, &mut Unwatched, &progress)?;
    let options = LookOptions { cap: layout.cap(), exact: args.exact, ..LookOptions::default() };
    let redactor = super::redactor(StateDir::default_path().as_deref())?;
    let mut lanes = Lanes::start(|| {
        let view = disk_view(Path::new("/"), &args.exclude)?.exclude_paths([output.clone()]);
        Ok((Box::new(view), Looker::new(options.clone(), redactor.clone())))
    })?;
    let seal = SealOptions { compress: args.compress };
    let mut writer = SealedWriter::create(&output, layout.order(), layout.cap(), seal)?;

    bar.set_length(rows.len() as u64);
    let mut paths: HashMap<ArtifactId, PathBuf> = HashMap::new();
    let (mut unverified, mut redacted) = (0_u64, 0_u64);
    let total = rows.len() as u64;
    let mut rows = rows.into_iter();
    loop {
        while lanes.has_room()
            && let Some(row) = rows.next()
        {
            let name = Path::new(std::ffi::OsStr::from_bytes(&row.name));
            let path = match row.parent.and_then(|parent| paths.get(&parent)) {
                Some(parent) => parent.join(name),
                None => name.to_path_buf(),
            };
            if row.meta.file_type == FileType::Directory {
                paths.insert(row.id, path.clone());
            }
            let cells = row.block.cells();
            lanes.ask(row, path, cells);
        }
        let Some((row, look)) = lanes.take() else { break };
        let (row, cells) = match look {
            Some(Look::Changed(artifact)) => {
                if let Some(regions) = artifact.regions.clone() {
                    writer.add_regions(row.id, regions);
                }
                let mut row = row_of(row.id, row.parent, row.name, row.block, &artifact);
                if let Some(why) = unlisted.get(&row.id) {
                    row.unverified.get_or_insert_with(|| why.clone());
                }
                let room = usize::try_from(row.block.cells()).unwrap_or(usize::MAX);
                fitting(row, artifact.cells, room)
            }
            Some(Look::Gone | Look::Unchanged { .. }) => {
                (Row { unverified: Some("gone before it was read".into()), ..row }, bytes::Bytes::new())
            }
            None => (
                Row { unverified: Some("reading it has failed; this is a bug".into()), ..row },
                bytes::Bytes::new(),
            ),
        };
        unverified += u64::from(row.unverified.is_some());
        redacted += u64::from(row.redacted);
        writer.add(row, cells)?;
        bar.inc(1);
    }
    let header = writer.finish()?;
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

/// A file that grew since its place was chosen keeps its place; what does not fit is left out and said so.
fn fitting(mut row: Row, cells: bytes::Bytes, room: usize) -> (Row, bytes::Bytes) {
    if cells.len() <= room {
        return (row, cells);
    }
    row.unverified.get_or_insert_with(|| "grew while the tree was folded".into());
    (row, cells.slice(..room))
}

/// The paths to fold, absolute and without symbolic links in their directories; one below another is folded once.
fn roots(paths: &[PathBuf]) -> Result<Vec<PathBuf>, CliError> {
    let mut roots = Vec::new();
    for path in paths {
        let failed = |error: std::io::Error| CliError::path(path, &error);
        let is_dir = std::fs::metadata(path).is_ok_and(|meta| meta.is_dir());
        roots.push(match (path.parent(), path.file_name()) {
            // A link to a directory means the directory; a link to anything else is folded as what it is.
            (Some(parent), Some(name)) if !is_dir => {
                std::fs::symlink_metadata(path).map_err(failed)?;
                let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
                std::fs::canonicalize(parent).map_err(failed)?.join(name)
            }
            _ => std::fs::canonicalize(path).map_err(failed)?,
        });
    }
    roots.sort();
    roots.dedup();
    let all = roots.clone();
    roots.retain(|root| !all.iter().any(|other| other != root && root.starts_with(other)));
    Ok(roots)
}
