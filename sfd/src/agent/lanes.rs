//! Looking at many artifacts at once, on all cores: for a baseline and for `sfd fold`.

use std::collections::VecDeque;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::AgentError;
use crate::artifact::look::{Look, Looker};
use crate::artifact::view::View;

/// Bytes of contents that may wait to be taken, in cells: two threads read them in some 10 ms, and a brick of any size is
/// made within it. One artifact that is larger is read alone.
const AHEAD_BYTES: u64 = 16 << 20;
/// Looks that may wait to be taken: metadata and descriptions are some KiB each.
const AHEAD_LOOKS: usize = 1024;
/// More threads than this gain nothing: one thread writes what they find.
const THREADS_MAX: usize = 16;

/// What a thread works with.
pub type Lane = (Box<dyn View>, Looker);

struct Job {
    path: PathBuf,
    answer: Sender<Look>,
}

struct Waiting<T> {
    what: T,
    bytes: u64,
    answer: Receiver<Look>,
}

/// Threads that look at paths, and the looks under way, which come out in the order in which they were asked for.
pub struct Lanes<T> {
    jobs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
    waiting: VecDeque<Waiting<T>>,
    bytes: u64,
}

impl<T> Lanes<T> {
    /// One thread for each core.
    ///
    /// # Errors
    /// What `make` says, or that no thread can be started.
    pub fn start(mut make: impl FnMut() -> Result<Lane, AgentError>) -> Result<Self, AgentError> {
        let count = std::thread::available_parallelism().map_or(1, NonZero::get).min(THREADS_MAX);
        let (jobs, queue) = channel();
        let queue = Arc::new(Mutex::new(queue));
        let mut threads = Vec::new();
        for _ in 0..count {
            let (lane, queue) = (make()?, Arc::clone(&queue));
            let thread = std::thread::Builder::new().name("sfd-look".to_owned());
            threads.push(thread.spawn(move || work(lane, &queue)).map_err(AgentError::Thread)?);
        }
        Ok(Self { jobs: Some(jobs), threads, waiting: VecDeque::new(), bytes: 0 })
    }

    /// Whether another look may be asked for, or one has to be taken first.
    pub fn has_room(&self) -> bool {
        self.bytes < AHEAD_BYTES && self.waiting.len() < AHEAD_LOOKS
    }

    /// Asks for a look at a path, expected to bring `bytes` of cells. `what` comes back with it.
    pub fn ask(&mut self, what: T, path: PathBuf, bytes: u64) {
        let (answer, answers) = channel();
        if let Some(jobs) = &self.jobs {
            // Should all threads have died, the answer's sender is dropped with the job, and `take` says so.
            let _ = jobs.send(Job { path, answer });
        }
        self.bytes += bytes;
        self.waiting.push_back(Waiting { what, bytes, answer: answers });
    }

    /// The look that was asked for first of those not taken yet, once it is done. Its second half is nothing if the thread
    /// that looked has died.
    pub fn take(&mut self) -> Option<(T, Option<Look>)> {
        let Waiting { what, bytes, answer } = self.waiting.pop_front()?;
        self.bytes -= bytes;
        Some((what, answer.recv().ok()))
    }
}

impl<T> Drop for Lanes<T> {
    fn drop(&mut self) {
        // The threads end when nobody can ask any more; what waits in the queue goes with it.
        drop(self.jobs.take());
        self.waiting.clear();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn work((mut view, mut looker): Lane, queue: &Mutex<Receiver<Job>>) {
    loop {
        // One thread waits for the next job, the others for the lock: whoever holds it takes one job and lets go.
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { path, answer }) = job else { return };
        // Nobody waits for it any more when the work was broken off.
        let _ = answer.send(looker.look(view.as_mut(), &path, None, true));
    }
}
