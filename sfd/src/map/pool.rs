//! Threads that read bricks for the map. They yield to everything else on the host: the worker's share of a core is that of
//! ten of them.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::counters::Counters;
use super::error::ApiError;

/// Threads. Two keep a slow disk from keeping everybody waiting; more would not be faster on the hosts this is for.
const THREADS: usize = 2;
/// Requests that wait for a thread, at most: about a second of work. Further ones are refused and counted.
const WAITING_MAX: usize = 512;
/// How nice they are (0 to 19): a tenth of the share of a thread that is not nice.
const NICENESS: i32 = 10;

type Job = Box<dyn FnOnce() + Send>;

/// The threads, until dropped.
#[derive(Debug)]
pub(super) struct Pool {
    jobs: SyncSender<Job>,
    counters: Arc<Counters>,
}

impl Pool {
    pub(super) fn start(counters: Arc<Counters>) -> std::io::Result<Self> {
        let (jobs, inbox) = sync_channel::<Job>(WAITING_MAX);
        let inbox = Arc::new(Mutex::new(inbox));
        for number in 0..THREADS {
            let inbox = Arc::clone(&inbox);
            let name = format!("sfd-map-{number}");
            std::thread::Builder::new().name(name).spawn(move || work(&inbox))?;
        }
        Ok(Self { jobs, counters })
    }

    /// Runs something on one of the threads.
    ///
    /// # Errors
    /// Too much waits already, or it panicked.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move || {
            // Whoever has gone away meanwhile needs nothing.
            if !reply.is_closed() {
                let _ = reply.send(job());
            }
        });
        match self.jobs.try_send(job) {
            Ok(()) => answer.await.map_err(|_| ApiError::unavailable("the request failed; see the log"))?,
            Err(TrySendError::Full(_)) => {
                Counters::count(&self.counters.busy);
                Err(ApiError::unavailable("too many requests wait already; ask again in a second"))
            }
            Err(TrySendError::Disconnected(_)) => Err(ApiError::unavailable("the daemon is ending")),
        }
    }
}

/// Makes the calling thread yield to others. Where that is not allowed it is as it was.
pub(super) fn be_nice() {
    let _ = rustix::process::setpriority_process(None, NICENESS);
}

fn work(inbox: &Mutex<Receiver<Job>>) {
    be_nice();
    loop {
        let job = inbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // A panic in one request must not take the thread from all others. What it was asked for gets an error.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
    }
}
