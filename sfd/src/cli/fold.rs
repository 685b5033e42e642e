//! `sfd fold`: one sealed brick of files and directories.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::ProgressBar;
use serde_json::json;

use super::config::Layers;
use super::llm::LlmArgs;
use super::out::{human_bytes, human_count, printable_line};
use super::{CliError, Exit, Out};
use crate::agent::{AgentError, Asking, SealProgress, Sealed, Sealing, StateDir, disk_view, fold_roots};
use crate::artifact::Artifact;
use crate::artifact::view::View;
use crate::brick::SealOptions;
use crate::enrich::LlmConfig;

/// Folds files and directories into one sealed brick.
#[derive(Debug, Args)]
#[command(
    after_help = "No root is needed; what cannot be read is marked unverified.\n\nExamples:\n  sfd fold /usr/bin -o bin.brick\n  sfd fold src docs -o project.brick --compress\n  sfd fold ./scripts -o scripts.brick --llm auto     waits for a language model to say what each file is"
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
    #[command(flatten)]
    llm: LlmArgs,
}

impl FoldArgs {
    /// The model, if one is wanted: a fold waits for each answer, so it is asked only when somebody says so.
    fn llm(&self) -> Result<Option<LlmConfig>, CliError> {
        if !self.llm.is_wanted() {
            return Ok(None);
        }
        let mut layers = Layers::load(None, |name| std::env::var(name).ok())?;
        self.llm.apply(&mut layers);
        layers.config()?.llm()
    }
}

pub(super) fn run(args: &FoldArgs, out: Out) -> Result<Exit, CliError> {
    let roots = fold_roots(&args.paths)?;
    let llm = args.llm()?;
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
    let mut model = llm.map(|config| Asking::new(Ok(config), u32::MAX, &redactor));
    let mut describe = |path: &Path, artifact: &Artifact| {
        model.as_mut().and_then(|model| model.describe(path, artifact, &view, &|| false))
    };
    let Sealed { header, artifacts: total, unverified, redacted, .. } =
        sealing.run(&output, &redactor, &view, &mut describe, &progress)?;
    bar.finish_and_clear();
    let said = model.map(|model| model.said());
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
            "described_by": said,
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
        if let Some(said) = said {
            out.line(format!("described by {}", printable_line(&said)))?;
        }
    }
    Ok(Exit::Done)
}
