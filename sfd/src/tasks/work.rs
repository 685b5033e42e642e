//! What a job does: everything is made in a directory of its own, checked there, and then gets its names.

use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::dir::{Dir, Readable};
use super::job::{Job, TaskType};
use super::outcome::{BrickMade, Output, TaskResult, enter_manifest, verify};
use super::report::{self, Report};
use super::source::Source;
use super::{OpenSpec, TaskError, hex};
use crate::agent::{AgentError, Asking, SealProgress, Sealing};
use crate::artifact::Redactor;
use crate::brick::{Brick, ExportError};
use crate::enrich::LlmConfig;

/// Questions for one task, at most: a small model takes seconds for each.
const QUESTIONS_MAX: u32 = 50;

/// What all jobs share.
pub(super) struct Workshop<'a> {
    pub(super) openspec: &'a OpenSpec,
    pub(super) redactor: &'a Redactor,
    pub(super) llm: Option<&'a LlmConfig>,
    /// Held while a file is written that tasks share: a manifest, the list of a change.
    pub(super) shared: &'a Mutex<()>,
}

/// One job under way.
struct Bench<'a> {
    shop: &'a Workshop<'a>,
    job: &'a Job,
    progress: &'a dyn Fn(SealProgress) -> ControlFlow<()>,
    dest: Dir,
    /// Where everything is made.
    stage: Dir,
    stage_name: String,
    /// Files in it, in the order in which they get their names.
    made: Vec<String>,
}

impl Workshop<'_> {
    /// Does a job whose outputs are called `name`, and puts what was made into `result`.
    ///
    /// # Errors
    /// Anything; then nothing of this run has a name in the destination.
    pub(super) fn work(
        &self,
        job: &Job,
        name: &str,
        result: &mut TaskResult,
        progress: &dyn Fn(SealProgress) -> ControlFlow<()>,
    ) -> Result<(), TaskError> {
        let dest = self.openspec.root.make(&job.destination)?;
        // Only whoever has the repository's lock works, so what a killed run left under this name is nobody's.
        let stage_name = format!(".sfd-task-{}", &blake3::hash(name.as_bytes()).to_hex()[..16]);
        dest.remove_dir(&stage_name)?;
        let stage = dest.make(Path::new(&stage_name))?;
        let mut bench = Bench { shop: self, job, progress, dest, stage, stage_name, made: Vec::new() };
        let done = bench.make(name, result).and_then(|()| bench.deliver(name, result));
        let cleared = bench.dest.remove_dir(&bench.stage_name);
        done.and(cleared)
    }
}

impl Bench<'_> {
    fn make(&mut self, name: &str, result: &mut TaskResult) -> Result<(), TaskError> {
        let job = self.job;
        let (cap, note) = job.cap();
        result.notes.extend(note);
        let root = self.shop.openspec.path();
        let find = |text: &str| Source::find(text, root, job.files_max());
        match job.task_type {
            TaskType::ConvertBinary => {
                let source = find(&job.source)?;
                source.only_file(&job.source)?;
                self.fold(name, &source, cap, None, result)?;
                self.picture(name, result)
            }
            TaskType::ConvertDirectory => {
                let source = find(&job.source)?;
                source.only_directory(&job.source)?;
                self.fold(name, &source, cap, None, result)?;
                self.picture(name, result)
            }
            TaskType::FoundryV2 => {
                let source = find(&job.source)?;
                let config = match (job.ai_model.as_deref(), self.shop.llm) {
                    (None, _) => Err("the task names no ai_model".to_owned()),
                    (_, None) => Err("llm is off".to_owned()),
                    (Some(name), Some(config)) => Ok(LlmConfig { model: name.to_owned(), ..config.clone() }),
                };
                let mut model = Asking::new(config, QUESTIONS_MAX, self.shop.redactor);
                self.fold(name, &source, cap, Some(&mut model), result)?;
                result.described_by = model.said();
                self.picture(name, result)
            }
            TaskType::CrystallizeSystem => {
                let sources = if job.paths.is_empty() { vec![job.source.clone()] } else { job.paths.clone() };
                for text in &sources {
                    let file = format!("{name}-{}", slug(text));
                    let taken = result
                        .bricks
                        .iter()
                        .any(|made| made.path.file_stem().is_some_and(|s| s == file.as_str()));
                    if taken {
                        return Err(TaskError::malformed(format!(
                            "`paths` names {text:?} twice, or two that look alike"
                        )));
                    }
                    self.fold(&file, &find(text)?, cap, None, result)?;
                }
                let list = serde_json::json!({
                    "format": "sfd-manifest", "version": 1, "task_id": job.task_id, "bricks": result.bricks,
                });
                self.text(&format!("{name}.manifest.json"), &format!("{list:#}\n"))
            }
            TaskType::AnalyzeSystem => {
                let system = report::system::gather();
                let view = system.view();
                let source = Source::Memory { roots: vec![PathBuf::from("/")], view, left_out: 0 };
                self.fold(name, &source, cap, None, result)?;
                self.picture(name, result)?;
                self.report(name, &system)
            }
            TaskType::ScanKernelModules => {
                let scan = report::modules::scan(
                    &root.join(&job.source),
                    &job.source,
                    job.max_files,
                    self.progress,
                )?;
                let source = Source::Disk { roots: scan.files(), left_out: scan.left_out };
                self.fold(name, &source, cap, None, result)?;
                self.picture(name, result)?;
                self.report(name, &scan)
            }
            TaskType::WatchPath => {
                Err(TaskError::Failed { what: "watch_path is not work of this sort; this is a bug".into() })
            }
        }
    }

    /// Folds a source into `NAME.brick` and checks it.
    fn fold(
        &mut self,
        name: &str,
        source: &Source,
        cap_max: u8,
        model: Option<&mut Asking>,
        result: &mut TaskResult,
    ) -> Result<(), TaskError> {
        let file = format!("{name}.brick");
        let brick = self.stage.proc_path().join(&file);
        // Earlier bricks of this destination are no part of a picture of the tree it is in.
        let dest = std::fs::canonicalize(self.dest.proc_path()).unwrap_or_default();
        let is_inside = source.roots().iter().any(|root| dest != *root && dest.starts_with(root));
        let without = if is_inside && dest != self.shop.openspec.path() { vec![dest] } else { Vec::new() };
        // Modules are counted by the report; whatever it has is in the brick.
        let files_max = (self.job.task_type != TaskType::AnalyzeSystem
            && self.job.task_type != TaskType::ScanKernelModules)
            .then(|| self.job.files_max());
        let sealing = Sealing { roots: source.roots().to_vec(), cap_max, files_max, ..Sealing::default() };
        let view = || source.view(&without);
        let progress = self.progress;
        let stopped = || progress(SealProgress::Folded(0, 0)).is_break();
        let mut model = model;
        let mut describe = |path: &Path, artifact: &crate::artifact::Artifact| {
            model.as_mut().and_then(|model| model.describe(path, artifact, &view, &stopped))
        };
        let sealed = sealing.run(&brick, self.shop.redactor, &view, &mut describe, self.progress).map_err(
            |error| match error {
                AgentError::Stopped => TaskError::Stopped,
                other => self.failed(&other.to_string()),
            },
        )?;
        verify(&brick).map_err(|why| self.failed(&why))?;
        let left_out = sealed.left_out + source.left_out();
        if left_out > 0 {
            let most = self.job.files_max();
            result.notes.push(format!("{file}: {left_out} files were left out, since max_files is {most}"));
        }
        if sealed.unverified > 0 {
            result.notes.push(format!(
                "{file}: {} artifacts could not be read and are unverified",
                sealed.unverified
            ));
        }
        result.bricks.push(BrickMade {
            path: self.job.destination.join(&file),
            source: source
                .roots()
                .iter()
                .take(self.job.files_max())
                .map(|root| root.to_string_lossy().into_owned())
                .collect(),
            merkle_root: hex(&sealed.header.hash),
            order: sealed.header.order,
            artifacts: sealed.artifacts,
            unverified: sealed.unverified,
            redacted: sealed.redacted,
            left_out,
        });
        self.made.push(file);
        Ok(())
    }

    /// Makes `NAME.rts.png` of `NAME.brick`.
    fn picture(&mut self, name: &str, result: &mut TaskResult) -> Result<(), TaskError> {
        let dir = self.stage.proc_path();
        let file = format!("{name}.rts.png");
        let brick = Brick::open(&dir.join(format!("{name}.brick")))
            .map_err(|error| self.failed(&error.to_string()))?;
        match brick.export_pixelrts(&dir.join(&file)) {
            Ok(_) => self.made.push(file),
            // The brick is good; its other form has limits.
            Err(ExportError::Impossible { why, .. }) => result.notes.push(format!("no {file}: {why}")),
            Err(error) => return Err(self.failed(&error.to_string())),
        }
        Ok(())
    }

    fn text(&mut self, file: &str, text: &str) -> Result<(), TaskError> {
        self.stage.write(file, text.as_bytes(), Readable::ByOwner)?;
        self.made.push(file.to_owned());
        Ok(())
    }

    fn report(&mut self, name: &str, report: &impl Report) -> Result<(), TaskError> {
        self.text(&format!("{name}.report.json"), &format!("{:#}\n", report.json()))?;
        self.text(&format!("{name}.report.md"), &report.markdown(&self.job.task_id))
    }

    /// Gives everything its name, and says what it is.
    fn deliver(&self, name: &str, result: &mut TaskResult) -> Result<(), TaskError> {
        if (self.progress)(SealProgress::Folded(0, 0)).is_break() {
            return Err(TaskError::Stopped);
        }
        for file in &self.made {
            self.stage.rename_to(file, &self.dest, file)?;
        }
        self.dest.sync()?;
        for file in &self.made {
            result.outputs.push(Output::of(&self.dest, file, &self.job.destination)?);
        }
        let _one = self.shop.shared.lock().unwrap_or_else(PoisonError::into_inner);
        enter_manifest(&self.dest, name, result, &result.outputs)
    }

    /// An error with the names that people know.
    fn failed(&self, what: &str) -> TaskError {
        let from = self.stage.proc_path();
        let what = what.replace(&*from.to_string_lossy(), &self.dest.path().to_string_lossy());
        TaskError::Failed { what }
    }
}

/// `usr-bin` for `/usr/bin`, as live bricks are called; a hash where a name would be too long or strange.
fn slug(text: &str) -> String {
    let plain = text.trim_matches('/').replace(['/', ':'], "-");
    let usable = !plain.is_empty()
        && plain.len() <= 48
        && plain.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b));
    if usable {
        plain
    } else {
        blake3::hash(Path::new(text).as_os_str().as_bytes()).to_hex()[..12].to_owned()
    }
}
