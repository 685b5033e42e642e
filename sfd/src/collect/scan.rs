//! The lowest rung: nothing reports, everything is compared every few seconds.

use std::{path::Path, sync::Arc};

use tokio::sync::mpsc;

use super::{Collector, Counters, Guard, HookState, HookStatus, InodeId, LossReason, Rung, Watch};

/// Accepts everything and reports nothing: for a tree that is read once.
#[derive(Clone, Copy, Debug)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn watch(&mut self, _: InodeId, _: &Path, _: bool) -> Result<(), LossReason> {
        Ok(())
    }

    fn unwatch(&mut self, _: InodeId) {}

    fn rearm(&mut self, _: InodeId) -> bool {
        true
    }
}

/// Says of everything that nobody watches it, so that it is compared again and again.
struct Nobody;

impl Watch for Nobody {
    fn watch(&mut self, _: InodeId, _: &Path, _: bool) -> Result<(), LossReason> {
        Err(LossReason::WatchedFull)
    }

    fn unwatch(&mut self, _: InodeId) {}

    fn rearm(&mut self, _: InodeId) -> bool {
        false
    }
}

/// A collector that never reports anything.
pub(super) fn start(why: Vec<String>) -> Collector {
    let (_, events) = mpsc::channel(1);
    Collector {
        events,
        watcher: Box::new(Nobody),
        rung: Rung::Scan,
        name_hooks: None,
        why,
        hooks: vec![HookStatus {
            name: "scan".to_owned(),
            state: HookState::Attached,
            lost_without: "nothing; it sees every change that is still there when it looks".to_owned(),
        }],
        counters: Arc::new(Counters::default()),
        guard: Guard::default(),
    }
}
