//! The tasks of `sfd run --openspec DIR`: a thread of their own, and the directories that they want watched.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::config::Config;
use super::tasks::Teller;
use super::{CliError, Out};
use crate::tasks::{Event, OpenSpec, Runner, TaskError, watch};

/// A directory that a task wants watched; whoever sees to that says where its brick is once it is live.
///
/// There are at most as many as tasks run at a time.
pub(super) struct Wanted {
    pub(super) path: PathBuf,
    pub(super) answer: mpsc::Sender<Result<PathBuf, String>>,
}

/// The thread.
pub(super) struct TaskThread {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl TaskThread {
    /// Starts it. Gives what it wants watched, and what done tasks have asked for before.
    pub(super) fn start(
        config: &Config,
        state: &Path,
        out: Out,
    ) -> Result<(Self, UnboundedReceiver<Wanted>, Vec<PathBuf>), CliError> {
        let openspec = OpenSpec::open(&config.openspec)?;
        let watched = openspec.watched()?.into_iter().filter(|path| path.is_dir()).collect();
        let (redactor, llm) = (super::redactor(Some(state))?, config.llm()?);
        let (want, wanted) = unbounded_channel();
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let body = move || {
            let ask = |path: &Path| ask(&want, path);
            let runner = Runner {
                openspec: &openspec,
                jobs: 0,
                retry: false,
                only: Vec::new(),
                redactor,
                llm,
                stop: &told,
                watch: Some(&ask),
            };
            let teller = Teller::new(out, true);
            if let Err(error) = watch(&runner, &|event: Event<'_>| teller.tell(&event)) {
                tracing::error!("tasks have ended: {error}");
            }
        };
        let thread = std::thread::Builder::new()
            .name("sfd-tasks".to_owned())
            .spawn(body)
            .map_err(|error| CliError::io("thread", &error))?;
        Ok((Self { stop, thread: Some(thread) }, wanted, watched))
    }
}

fn ask(want: &UnboundedSender<Wanted>, path: &Path) -> Result<PathBuf, TaskError> {
    let (answer, answered) = mpsc::channel();
    let wanted = Wanted { path: path.to_owned(), answer };
    // Nobody there any more: the daemon ends.
    want.send(wanted).map_err(|_| TaskError::Stopped)?;
    match answered.recv() {
        Ok(Ok(brick)) => Ok(brick),
        Ok(Err(what)) => Err(TaskError::Failed { what }),
        Err(_) => Err(TaskError::Stopped),
    }
}

impl Drop for TaskThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It looks at the flag between two artifacts.
            let _ = thread.join();
        }
    }
}
