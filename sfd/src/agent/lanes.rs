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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::artifact::look::LookOptions;
    use crate::artifact::redact::Redactor;
    use crate::artifact::view::DiskView;

    fn lanes(root: &std::path::Path) -> Lanes<usize> {
        Lanes::start(|| {
            let looker = Looker::new(LookOptions::default(), Redactor::disabled());
            Ok((Box::new(DiskView::new(root)), looker))
        })
        .unwrap()
    }

    #[test]
    fn looks_come_in_the_order_in_which_they_were_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = |n: usize| dir.path().join(n.to_string());
        // The first of each ten takes far longer than the others.
        let len = |n: usize| if n.is_multiple_of(10) { 60_000 } else { n };
        (0..200).for_each(|n| fs::write(path(n), vec![b'x'; len(n)]).unwrap());
        let mut lanes = lanes(dir.path());
        (0..=200).for_each(|n| lanes.ask(n, path(n), len(n) as u64));
        for n in 0..200 {
            let (at, look) = lanes.take().unwrap();
            let Some(Look::Changed(artifact)) = look else { panic!("{n}: {look:?}") };
            assert_eq!((at, artifact.path, artifact.len), (n, path(n), len(n) as u64));
        }
        // The one that is not there.
        assert_eq!(lanes.take(), Some((200, Some(Look::Gone))));
        assert_eq!(lanes.take(), None);
    }

    #[test]
    fn what_waits_is_bounded_and_may_be_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "x").unwrap();
        let mut lanes = lanes(dir.path());
        // By contents, with one that is larger than the bound ...
        lanes.ask(0, file.clone(), AHEAD_BYTES * 2);
        assert!(!lanes.has_room());
        lanes.take().unwrap();
        // ... and by number.
        let mut asked = 0;
        while lanes.has_room() {
            lanes.ask(asked, file.clone(), 1);
            asked += 1;
        }
        assert_eq!(asked, AHEAD_LOOKS);
        // Ends the threads, whatever they have not come to.
        drop(lanes);
    }
}
