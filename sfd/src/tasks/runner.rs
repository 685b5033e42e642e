//! Runs what is pending: a few at a time, each once, and none of them in the way of the others.

use std::collections::{HashSet, VecDeque};
use std::num::NonZero;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use serde::Serialize;

use super::found::LIST;
use super::outcome::TaskResult;
use super::tick::remove_leftover;
use super::work::Workshop;
use super::{OpenSpec, State, Task, TaskError, TaskType};
use crate::agent::SealProgress;
use crate::artifact::Redactor;
use crate::enrich::LlmConfig;

/// More tasks at a time than this gain nothing: each folds on all cores.
const JOBS_MAX: usize = 16;
/// How often it is looked whether another SFD has ended its tasks, or somebody wants this one to end.
const LOCK_EVERY: Duration = Duration::from_millis(50);

/// Watches a directory from now on, and returns once it is live; where its brick is.
pub type WatchPath<'a> = dyn Fn(&Path) -> Result<PathBuf, TaskError> + Sync + 'a;

/// How a task has ended.
#[derive(Clone, Debug)]
pub enum Ended {
    /// Done, with what it has made.
    Done(Box<TaskResult>),
    /// It had been done before and was only marked.
    Marked(Box<TaskResult>),
    /// It cannot be done yet.
    Waiting(String),
    /// Why not.
    Failed(TaskError),
    /// It was broken off and has left nothing.
    Stopped,
}

/// What is going on.
pub enum Event<'a> {
    /// Another SFD is at the tasks of this repository; its end is waited for.
    Locked,
    /// A task has begun.
    Started(&'a Task),
    /// It goes on.
    Progress(&'a Task, SealProgress),
    /// It has ended.
    Ended(&'a Task, &'a Ended),
}

/// How many tasks have ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Done.
    pub done: u64,
    /// Failed.
    pub failed: u64,
    /// To be done later.
    pub waiting: u64,
    /// It was broken off.
    pub stopped: bool,
}

/// How tasks are run.
pub struct Runner<'a> {
    /// Whose.
    pub openspec: &'a OpenSpec,
    /// Tasks at a time; 0: as many as there are cores, at most 4.
    pub jobs: usize,
    /// Runs those again that have failed.
    pub retry: bool,
    /// Only tasks of these names (or ids); empty: all.
    pub only: Vec<String>,
    /// What is secret.
    pub redactor: Redactor,
    /// Where models are.
    pub llm: Option<LlmConfig>,
    /// Set to end everything.
    pub stop: &'a AtomicBool,
    /// Watches directories; `None`: `watch_path` tasks wait.
    pub watch: Option<&'a WatchPath<'a>>,
}

impl Runner<'_> {
    /// Runs all that is pending, and what comes while it does so.
    ///
    /// `seen` are tasks that were tried and are not to be tried again as long as they are what they were; whoever calls
    /// again keeps it.
    ///
    /// # Errors
    /// The tasks cannot be listed. What goes wrong with one is told to `tell`.
    pub fn run(
        &self,
        seen: &mut HashSet<(String, String, String)>,
        tell: &(dyn Fn(Event<'_>) + Sync),
    ) -> Result<Summary, TaskError> {
        let mut summary = Summary::default();
        loop {
            if self.stopped() {
                summary.stopped = true;
                return Ok(summary);
            }
            // Whether there is anything to do is seen without the lock.
            let pending = self.pending(seen)?;
            if pending.is_empty() && self.openspec.leftovers()?.is_empty() {
                return Ok(summary);
            }
            let Some(_lock) = self.lock(tell)? else { continue };
            for change in self.openspec.leftovers()? {
                if let Err(error) = remove_leftover(&change, LIST) {
                    tracing::warn!("{error}");
                }
            }
            if pending.is_empty() {
                return Ok(summary);
            }
            // Another one may have done them meanwhile.
            let pending = self.pending(seen)?;
            seen.extend(pending.iter().map(identity));
            self.all(pending, tell, &mut summary);
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn pending(&self, seen: &HashSet<(String, String, String)>) -> Result<Vec<Task>, TaskError> {
        let wanted = |task: &Task| {
            let id = task.job.as_ref().ok().and_then(Option::as_ref).map(|job| job.task_id.as_str());
            self.only.is_empty()
                || self.only.iter().any(|name| *name == task.name || Some(name.as_str()) == id)
        };
        let now = |task: &Task| match &task.state {
            State::Pending => true,
            State::Failed { .. } => self.retry,
            State::Waiting { .. } | State::Done => false,
        };
        let mut tasks = self.openspec.tasks()?;
        tasks.retain(|task| now(task) && wanted(task) && !seen.contains(&identity(task)));
        Ok(tasks)
    }

    /// Takes the tasks of this repository for this process. `None`: somebody wants everything to end.
    fn lock(&self, tell: &(dyn Fn(Event<'_>) + Sync)) -> Result<Option<super::dir::Dir>, TaskError> {
        // An open file of its own: the lock ends with it, also when this process is killed.
        let dir = self.openspec.root.sub(Path::new("openspec"))?;
        let mut told = false;
        loop {
            match rustix::fs::flock(dir.fd(), FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Some(dir)),
                Err(Errno::WOULDBLOCK | Errno::INTR) => {}
                Err(errno) => return Err(TaskError::io(dir.path(), errno)),
            }
            if self.stopped() {
                return Ok(None);
            }
            if !told {
                told = true;
                tell(Event::Locked);
            }
            std::thread::sleep(LOCK_EVERY);
        }
    }

    fn all(&self, pending: Vec<Task>, tell: &(dyn Fn(Event<'_>) + Sync), summary: &mut Summary) {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let jobs = if self.jobs == 0 { cores.min(4) } else { self.jobs.min(JOBS_MAX) };
        let jobs = jobs.min(pending.len());
        let queue = Mutex::new(VecDeque::from(pending));
        let (manifest, total) = (Mutex::new(()), Mutex::new(*summary));
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let one = || {
            while let Some(task) = next() {
                let ended = if self.stopped() {
                    Ended::Stopped
                } else {
                    tell(Event::Started(&task));
                    self.one(&task, &manifest, tell)
                };
                let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                match &ended {
                    Ended::Done(_) | Ended::Marked(_) => total.done += 1,
                    Ended::Waiting(_) => total.waiting += 1,
                    Ended::Failed(_) => total.failed += 1,
                    Ended::Stopped => total.stopped = true,
                }
                drop(total);
                tell(Event::Ended(&task, &ended));
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..jobs {
                let thread = std::thread::Builder::new().name("sfd-task".to_owned());
                // With fewer threads it takes longer.
                drop(thread.spawn_scoped(scope, one));
            }
            one();
        });
        *summary = *total.lock().unwrap_or_else(PoisonError::into_inner);
    }

    fn one(&self, task: &Task, manifest: &Mutex<()>, tell: &(dyn Fn(Event<'_>) + Sync)) -> Ended {
        let begun = Instant::now();
        let mut result = TaskResult::new(task, jiff::Timestamp::now());
        let done = self.try_one(task, &mut result, begun, manifest, tell);
        result.seconds = begun.elapsed().as_secs_f64();
        let why = match done {
            Ok(ended) => return ended,
            Err(TaskError::Stopped) => return Ended::Stopped,
            Err(TaskError::Waiting { what }) => return Ended::Waiting(what),
            Err(why) => why,
        };
        let written = self.openspec.book(task).and_then(|book| book.failed(task, &result, &why));
        if let Err(error) = written {
            tracing::error!("{}: the failure cannot be written down: {error}", task.place());
        }
        Ended::Failed(why)
    }

    fn try_one(
        &self,
        task: &Task,
        result: &mut TaskResult,
        begun: Instant,
        manifest: &Mutex<()>,
        tell: &(dyn Fn(Event<'_>) + Sync),
    ) -> Result<Ended, TaskError> {
        let Some(job) = task.job.clone()? else {
            return Err(TaskError::Failed { what: "done tasks are not run; this is a bug".into() });
        };
        let book = self.openspec.book(task)?;
        // A run that was killed after its work was whole has only the mark to set.
        if let Some(before) = book.result()?
            && before.proves(self.openspec, task)
        {
            book.mark(task)?;
            return Ok(Ended::Marked(Box::new(before)));
        }
        if job.task_type == TaskType::WatchPath {
            self.watch(&job.source, result)?;
        } else {
            let progress = |at| {
                tell(Event::Progress(task, at));
                if self.stopped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            let shop = Workshop {
                openspec: self.openspec,
                redactor: &self.redactor,
                llm: self.llm.as_ref(),
                manifest,
            };
            shop.work(&job, &task.name, result, &progress)?;
        }
        result.seconds = begun.elapsed().as_secs_f64();
        book.done(task, result)?;
        Ok(Ended::Done(Box::new(result.clone())))
    }

    fn watch(&self, source: &str, result: &mut TaskResult) -> Result<(), TaskError> {
        let path = self.openspec.path().join(source);
        let real = std::fs::canonicalize(&path)
            .map_err(|error| TaskError::Missing { what: format!("source {source:?}: {error}") })?;
        if !real.is_dir() {
            let what = format!("source {source:?} is not a directory; watch the one that it is in");
            return Err(TaskError::malformed(what));
        }
        let Some(watch) = self.watch else {
            let what = "watch_path needs somebody who goes on watching: `sfd run --openspec DIR`";
            return Err(TaskError::Waiting { what: what.into() });
        };
        let brick = watch(&real)?;
        result.notes.push(format!("watched live in {}", brick.display()));
        result.watched = Some(real);
        Ok(())
    }
}

fn identity(task: &Task) -> (String, String, String) {
    (task.place(), task.hash.clone(), task.submission.clone())
}
