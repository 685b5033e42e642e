//! `sfd tasks`: OpenSpec tasks, run here.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use clap::{Args, Subcommand};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::config::Layers;
use super::llm::LlmArgs;
use super::out::{human_count, printable, printable_line};
use super::{CliError, Exit, Out};
use crate::agent::{SealProgress, StateDir};
use crate::enrich::LlmConfig;
use crate::tasks::{Ended, Event, OpenSpec, Runner, State, Summary, Task, TaskError, install, watch};

/// Runs the tasks of a repository's `openspec/` directory.
#[derive(Debug, Args)]
#[command(
    after_help = "Tasks are files `openspec/tasks/system_foundry/NAME.task.json`, and the jobs in `foundry.yaml` of OpenSpec \
    changes. What they make goes to `bricks/` below the root of the repository, or where they say, never outside it.\n\n\
    Examples:\n  sfd tasks init            install the foundry-v2 schema here\n  sfd tasks list\n  sfd tasks run\n  \
    sfd tasks watch --openspec ~/project"
)]
pub(super) struct TasksArgs {
    #[command(subcommand)]
    command: TasksCommand,
}

#[derive(Debug, Subcommand)]
enum TasksCommand {
    /// Install the `foundry-v2` schema for OpenSpec changes; a config.yaml that is there is kept
    Init(Where),
    /// Show every task, and how it stands
    List(Where),
    /// Run what is pending, and end
    #[command(after_help = "Exit code 1 when a task has failed; the others are run all the same.")]
    Run(RunTasks),
    /// Run what is pending, and what comes, until a signal
    Watch(RunTasks),
}

/// Which repository.
#[derive(Clone, Debug, Args)]
struct Where {
    /// Root of the repository, or its openspec directory [default: the nearest at or above this directory]
    #[arg(long, value_name = "DIR")]
    openspec: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct RunTasks {
    /// Only tasks of these names or ids
    #[arg(value_name = "NAME")]
    only: Vec<String>,
    #[command(flatten)]
    place: Where,
    /// Tasks at a time [default: one for each core, at most 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16))]
    jobs: Option<u8>,
    /// Run those again that have failed and have not changed
    #[arg(long)]
    retry: bool,
    #[command(flatten)]
    llm: LlmArgs,
    /// Also read this configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Where {
    fn open(&self) -> Result<OpenSpec, CliError> {
        Ok(match &self.openspec {
            Some(dir) => OpenSpec::open(dir)?,
            None => OpenSpec::search(Path::new("."))?,
        })
    }
}

impl From<TaskError> for CliError {
    fn from(error: TaskError) -> Self {
        match &error {
            TaskError::Io { path, kind, text } => {
                Self::io(path.display(), &std::io::Error::new(*kind, text.clone()))
            }
            TaskError::Malformed { .. } | TaskError::Missing { .. } | TaskError::Outside { .. } => {
                Self::usage(error)
            }
            _ => Self::no(error),
        }
    }
}

pub(super) fn run(args: &TasksArgs, out: Out) -> Result<Exit, CliError> {
    match &args.command {
        TasksCommand::Init(place) => init(place, out),
        TasksCommand::List(place) => list(place, out),
        TasksCommand::Run(args) => run_tasks(args, false, out),
        TasksCommand::Watch(args) => run_tasks(args, true, out),
    }
}

fn init(place: &Where, out: Out) -> Result<Exit, CliError> {
    let dir = place.openspec.clone().unwrap_or_else(|| PathBuf::from("."));
    let installed = install(&dir)?;
    if out.json {
        out.json_line(&json!({ "installed": installed }))?;
    } else if !out.quiet {
        out.write(|out| {
            for file in &installed {
                writeln!(out, "{:<9} {}", file.what, file.path.display())?;
            }
            if installed.iter().any(|file| file.what == "kept") {
                writeln!(out, "a change uses the schema with: openspec new change NAME --schema foundry-v2")?;
            }
            Ok(())
        })?;
    }
    Ok(Exit::Done)
}

fn word(state: &State) -> (&'static str, Option<&str>) {
    match state {
        State::Pending => ("pending", None),
        State::Done => ("done", None),
        State::Failed { why } => ("failed", Some(why)),
        State::Waiting { what } => ("waiting", Some(what)),
    }
}

fn list(place: &Where, out: Out) -> Result<Exit, CliError> {
    let openspec = place.open()?;
    let tasks = openspec.tasks()?;
    if out.json {
        let tasks: Vec<Value> = tasks.iter().map(document).collect();
        out.json_line(&json!({ "root": openspec.path(), "tasks": tasks }))?;
        return Ok(Exit::Done);
    }
    out.write(|out| {
        if tasks.is_empty() {
            writeln!(out, "no tasks in {}", printable(&openspec.path().join("openspec").to_string_lossy()))?;
        }
        for task in &tasks {
            let (state, why) = word(&task.state);
            let sort = match &task.job {
                Ok(Some(job)) => job.task_type.name(),
                Ok(None) => "-",
                Err(_) => "invalid",
            };
            writeln!(out, "{state:<8} {sort:<20} {}", printable(&task.place()))?;
            let invalid = task.job.as_ref().err().map(ToString::to_string);
            if let Some(why) = why.map(str::to_owned).or(invalid) {
                writeln!(out, "         {}", printable_line(&why))?;
            }
        }
        Ok(())
    })?;
    Ok(Exit::Done)
}

fn document(task: &Task) -> Value {
    let (state, why) = word(&task.state);
    json!({
        "name": task.name,
        "place": task.place(),
        "state": state,
        "why": why,
        "job": task.job.as_ref().ok().and_then(Option::as_ref),
        "error": task.job.as_ref().err().map(ToString::to_string),
    })
}

/// The language model that tasks may name, as the configuration says.
fn model(config: Option<&Path>, llm: &LlmArgs) -> Result<Option<LlmConfig>, CliError> {
    let mut layers = Layers::load(config, |name| std::env::var(name).ok())?;
    llm.apply(&mut layers);
    layers.config()?.llm()
}

/// A flag that SIGINT and SIGTERM set, and which of them it was.
struct Interrupt {
    stop: Arc<AtomicBool>,
    terminated: Arc<AtomicBool>,
    _runtime: tokio::runtime::Runtime,
}

impl Interrupt {
    fn listen() -> Result<Self, CliError> {
        use tokio::signal::unix::{SignalKind, signal};
        let failed = |error: std::io::Error| CliError::io("signals", &error);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(failed)?;
        let (stop, terminated) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (interrupt, terminate) = {
            let _inside = runtime.enter();
            (
                signal(SignalKind::interrupt()).map_err(failed)?,
                signal(SignalKind::terminate()).map_err(failed)?,
            )
        };
        let (mut interrupt, mut terminate) = (interrupt, terminate);
        let (set, was) = (Arc::clone(&stop), Arc::clone(&terminated));
        runtime.spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => was.store(true, Ordering::Relaxed),
            }
            set.store(true, Ordering::Relaxed);
        });
        Ok(Self { stop, terminated, _runtime: runtime })
    }
}

fn run_tasks(args: &RunTasks, forever: bool, out: Out) -> Result<Exit, CliError> {
    let openspec = args.place.open()?;
    let interrupt = Interrupt::listen()?;
    let runner = Runner {
        openspec: &openspec,
        jobs: args.jobs.map_or(0, usize::from),
        retry: args.retry,
        only: args.only.clone(),
        redactor: super::redactor(StateDir::default_path().as_deref())?,
        llm: model(args.config.as_deref(), &args.llm)?,
        stop: &interrupt.stop,
        watch: None,
    };
    if !args.only.is_empty() {
        known(&openspec, &args.only)?;
    }
    let teller = Teller::new(out, forever);
    let tell = |event: Event<'_>| teller.tell(&event);
    let summary = if forever { watch(&runner, &tell)? } else { runner.run(&mut HashSet::new(), &tell)? };
    if forever {
        // Ending is what was asked for.
        return Ok(if interrupt.terminated.load(Ordering::Relaxed) { Exit::Done } else { Exit::Interrupted });
    }
    teller.sum(summary, &openspec)?;
    Ok(match summary {
        Summary { stopped: true, .. } => Exit::Interrupted,
        Summary { failed: 0, .. } => Exit::Done,
        _ => Exit::No,
    })
}

/// Every name that was given is a task's.
fn known(openspec: &OpenSpec, names: &[String]) -> Result<(), CliError> {
    let tasks = openspec.tasks()?;
    let has = |name: &String| {
        tasks
            .iter()
            .any(|task| task.name == *name || matches!(&task.job, Ok(Some(job)) if job.task_id == *name))
    };
    match names.iter().find(|name| !has(name)) {
        None => Ok(()),
        Some(name) => Err(CliError::usage(format!("no task is called {name}; `sfd tasks list` shows them"))),
    }
}

/// Says what is going on.
pub(super) struct Teller {
    out: Out,
    bars: MultiProgress,
    under_way: Mutex<Vec<(String, ProgressBar)>>,
    forever: bool,
}

impl Teller {
    pub(super) fn new(out: Out, forever: bool) -> Self {
        Self { out, bars: MultiProgress::new(), under_way: Mutex::default(), forever }
    }

    pub(super) fn tell(&self, event: &Event<'_>) {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Locked => {
                tracing::warn!("another sfd runs the tasks of this repository; waiting for it to end");
            }
            Event::Started(task) => {
                let shown = self.out.shows_progress() && !self.out.json;
                let bar = if shown { self.bars.add(ProgressBar::no_length()) } else { ProgressBar::hidden() };
                let style = ProgressStyle::with_template("{msg} {wide_bar} {human_pos}/{human_len}");
                bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
                bar.set_message(printable(&task.name));
                under_way.push((task.place(), bar));
            }
            Event::Progress(task, at) => {
                let place = task.place();
                let Some((_, bar)) = under_way.iter().find(|(of, _)| *of == place) else { return };
                match at {
                    SealProgress::Found(found) => bar.set_position(*found),
                    SealProgress::Folded(done, total) if *total > 0 => {
                        bar.set_length(*total);
                        bar.set_position(*done);
                    }
                    SealProgress::Folded(..) => {}
                }
            }
            Event::Ended(task, ended) => {
                let place = task.place();
                if let Some(at) = under_way.iter().position(|(of, _)| *of == place) {
                    under_way.swap_remove(at).1.finish_and_clear();
                }
                // Standard output gone: the tasks do not depend on it.
                let _ = self.bars.suspend(|| self.ended(task, ended));
            }
        }
    }

    fn ended(&self, task: &Task, ended: &Ended) -> Result<(), CliError> {
        let place = task.place();
        if let Ended::Failed(why) = ended {
            if self.forever || self.out.json {
                tracing::error!("{place}: {why}");
            } else {
                eprintln!("sfd: {}", printable_line(&format!("{place}: {why}")));
            }
        }
        if self.out.json {
            let (state, detail) = match ended {
                Ended::Done(result) => ("done", json!({ "result": result })),
                Ended::Marked(result) => ("marked", json!({ "result": result })),
                Ended::Waiting(what) => ("waiting", json!({ "why": what })),
                Ended::Failed(why) => ("failed", json!({ "why": why.to_string() })),
                Ended::Stopped => ("stopped", json!({})),
            };
            let mut line = json!({ "event": "task", "name": task.name, "place": place, "state": state });
            if let (Some(line), Value::Object(detail)) = (line.as_object_mut(), detail) {
                line.extend(detail);
            }
            return self.out.json_line(&line);
        }
        if self.out.quiet {
            return Ok(());
        }
        match ended {
            Ended::Done(result) => self.out.write(|out| {
                writeln!(out, "done     {} ({:.1} s)", printable(&place), result.seconds)?;
                for output in &result.outputs {
                    writeln!(out, "         {}", printable(&output.path.to_string_lossy()))?;
                }
                for note in &result.notes {
                    writeln!(out, "         {}", printable_line(note))?;
                }
                Ok(())
            }),
            Ended::Marked(_) => {
                self.out.line(format!("done     {} (its work was whole before)", printable(&place)))
            }
            Ended::Waiting(what) => {
                self.out.line(format!("waiting  {}: {}", printable(&place), printable_line(what)))
            }
            Ended::Stopped => self.out.line(format!("stopped  {}", printable(&place))),
            Ended::Failed(_) => Ok(()),
        }
    }

    fn sum(&self, summary: Summary, openspec: &OpenSpec) -> Result<(), CliError> {
        let waiting: Vec<Task> = openspec
            .tasks()?
            .into_iter()
            .filter(|task| matches!(task.state, State::Waiting { .. }))
            .collect();
        if self.out.json {
            return self
                .out
                .json_line(&json!({ "event": "summary", "summary": summary, "not_ready": waiting.len() }));
        }
        if self.out.quiet {
            return Ok(());
        }
        for task in &waiting {
            let (_, why) = word(&task.state);
            self.out.line(format!(
                "waiting  {}: {}",
                printable(&task.place()),
                printable_line(why.unwrap_or_default())
            ))?;
        }
        self.out.line(format!(
            "{} done, {} failed, {} waiting",
            human_count(summary.done),
            human_count(summary.failed),
            human_count(summary.waiting + waiting.len() as u64)
        ))
    }
}
