//! A thread that keeps finding out which files are mapped for writing.
//!
//! It reads a file of `/proc` for each process, which on a large host takes longer than a change may be late; so it is
//! not done by the worker, and it is paced.

use std::collections::HashSet;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use tracing::{debug, warn};

use crate::collect::{InodeId, maps};

/// Time between two looks at all processes on a host where that is quick.
const EVERY: Duration = Duration::from_secs(2);
/// The same as a multiple of what a look costs: a hundredth of one core.
const COST_FACTOR: u32 = 100;

/// What is mapped, as it becomes known. The thread ends when this is dropped.
#[derive(Debug)]
pub(super) struct Mapped {
    found: Receiver<HashSet<InodeId>>,
    /// Never sent through: dropping it ends the thread.
    _stop: SyncSender<()>,
}

impl Mapped {
    /// Starts looking.
    pub(super) fn start() -> Self {
        // One answer waits at most; while the worker is busy, the thread waits with a newer one.
        let (tell, found) = sync_channel(1);
        let (stop, stopped) = sync_channel(1);
        let spawned =
            std::thread::Builder::new().name("sfd-maps".into()).spawn(move || look(&tell, &stopped));
        if let Err(error) = spawned {
            warn!(%error, "mappings are not looked for; stores through them are seen late");
        }
        Self { found, _stop: stop }
    }

    /// What is mapped now, if that was found out since the last call.
    pub(super) fn latest(&self) -> Option<HashSet<InodeId>> {
        self.found.try_iter().last()
    }
}

fn look(tell: &SyncSender<HashSet<InodeId>>, stopped: &Receiver<()>) {
    loop {
        let started = Instant::now();
        let found = maps::writable();
        let wait = (started.elapsed() * COST_FACTOR).max(EVERY);
        match found {
            Ok(found) => {
                if tell.send(found).is_err() {
                    return;
                }
            }
            Err(error) => debug!(%error, "/proc"),
        }
        if stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}
