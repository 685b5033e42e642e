//! The middle rung: inotify through the `notify` crate, one watch for each directory.
//!
//! Works without privileges. Lost here: who made a change, stores through mmap, io_uring's and other writes until
//! the file is closed or inotify's own coalescing lets them through, processes, modules, and everything beyond
//! `fs.inotify.max_user_watches`.

use std::{
    collections::HashMap,
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use notify::{
    EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, CreateKind, ModifyKind, RemoveKind, RenameMode},
};
use tokio::sync::mpsc;

use super::{
    Base, Change, CollectConfig, CollectError, Collector, Counters, Event, Guard, HookState, HookStatus,
    InodeId, LossReason, Op, Rung, Watch,
};

/// Starts inotify.
///
/// # Errors
/// When the kernel gives no inotify instance.
pub(super) fn start(config: &CollectConfig) -> Result<Collector, CollectError> {
    let (sender, events) = mpsc::channel(config.channel_chunks_max.max(1));
    let counters = Arc::new(Counters::default());
    let mut sink = Sink { sender, counters: Arc::clone(&counters), behind: 0 };
    let watcher =
        notify::recommended_watcher(move |result| sink.receive(result)).map_err(CollectError::Inotify)?;
    Ok(Collector {
        events,
        watcher: Box::new(Directories {
            watcher,
            paths: HashMap::new(),
            watched: HashMap::new(),
            counters: Arc::clone(&counters),
        }),
        rung: Rung::Inotify,
        name_hooks: None,
        why: Vec::new(),
        hooks: vec![HookStatus {
            name: "inotify".to_owned(),
            state: HookState::Attached,
            lost_without: "changes are found by comparing every few seconds".to_owned(),
        }],
        counters,
        guard: Guard::default(),
    })
}

/// Turns what `notify` says into events. Runs on `notify`'s thread.
struct Sink {
    sender: mpsc::Sender<Vec<Event>>,
    counters: Arc<Counters>,
    /// Events lost to a full channel and not yet told.
    behind: u64,
}

impl Sink {
    fn receive(&mut self, result: notify::Result<notify::Event>) {
        let now_ns = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX));
        let mut changes = match result {
            Ok(event) => changes(event),
            Err(error) => {
                tracing::debug!(%error, "inotify");
                vec![Change::Lost { reason: LossReason::InotifyOverflow, count: 1 }]
            }
        };
        if self.behind > 0 {
            changes.push(Change::Lost { reason: LossReason::InotifyOverflow, count: self.behind });
        }
        if changes.is_empty() {
            return;
        }
        for change in &changes {
            match change {
                Change::Name { op, .. } => self.counters.event(*op),
                Change::Lost { reason, count } if self.behind == 0 => self.counters.lost(*reason, *count),
                _ => {}
            }
        }
        let chunk: Vec<_> =
            changes.into_iter().map(|change| Event { at_ns: now_ns, change, writer: None }).collect();
        let count = chunk.len() as u64;
        // Waiting here would make the kernel's queue overflow unseen; a counted loss is as good and never hangs.
        match self.sender.try_send(chunk) {
            Ok(()) => self.behind = 0,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.counters.lost(LossReason::InotifyOverflow, count);
                self.behind += count;
            }
            Err(mpsc::error::TrySendError::Closed(_)) => {}
        }
    }
}

/// What one notification means. A pair of names comes as one notification only when both are watched; then each
/// name was also reported alone, so that `Both` is left out.
fn changes(event: notify::Event) -> Vec<Change> {
    if event.need_rescan() {
        return vec![Change::Lost { reason: LossReason::InotifyOverflow, count: 1 }];
    }
    let op = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) | EventKind::Modify(ModifyKind::Data(_)) => {
            Op::InodeDirty
        }
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => return Vec::new(),
        EventKind::Create(CreateKind::Folder) => Op::Mkdir,
        EventKind::Create(_) => Op::Create,
        EventKind::Modify(ModifyKind::Metadata(_)) => Op::Chmod,
        EventKind::Modify(ModifyKind::Name(RenameMode::From)) => Op::RenameFrom,
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Op::RenameTo,
        EventKind::Remove(RemoveKind::Folder) => Op::Rmdir,
        EventKind::Remove(_) => Op::Unlink,
        EventKind::Any | EventKind::Other | EventKind::Modify(_) => Op::Any,
    };
    let name = |path: PathBuf| Change::Name {
        base: Base::Absolute,
        name: OsString::from(path),
        base_path: None,
        op,
    };
    event.paths.into_iter().map(name).collect()
}

/// Watches directories; a file is seen through its directory.
struct Directories {
    watcher: RecommendedWatcher,
    /// Paths with a watch, by identity: `unwatch` has no path.
    paths: HashMap<InodeId, PathBuf>,
    /// How many of `paths` have this path (a replaced object may be watched before the old one is given up).
    watched: HashMap<PathBuf, usize>,
    counters: Arc<Counters>,
}

impl Watch for Directories {
    fn watch(&mut self, id: InodeId, path: &Path, is_dir: bool) -> Result<(), LossReason> {
        let seen_through_parent =
            !is_dir && path.parent().is_some_and(|parent| self.watched.contains_key(parent));
        if seen_through_parent || self.paths.get(&id).is_some_and(|old| old == path) {
            return Ok(());
        }
        // The kernel has one watch an inode: giving up the one under the old name would end the new one too.
        let old = self.paths.remove(&id);
        if let Some(old) = &old {
            self.release(old);
        }
        // Again even if a watch of that path exists: what was there may have been replaced.
        if let Err(error) = self.watcher.watch(path, RecursiveMode::NonRecursive) {
            if old.is_some() {
                self.counters.unwatch();
            }
            if matches!(error.kind, notify::ErrorKind::PathNotFound) {
                return Ok(());
            }
            tracing::debug!(path = %path.display(), %error, "cannot be watched with inotify");
            self.counters.lost(LossReason::WatchedFull, 1);
            return Err(LossReason::WatchedFull);
        }
        *self.watched.entry(path.to_owned()).or_default() += 1;
        self.paths.insert(id, path.to_owned());
        if old.is_none() {
            self.counters.watch();
        }
        Ok(())
    }

    fn unwatch(&mut self, id: InodeId) {
        if let Some(path) = self.paths.remove(&id) {
            self.counters.unwatch();
            self.release(&path);
        }
    }

    fn rearm(&mut self, _: InodeId) -> bool {
        true
    }
}

impl Directories {
    /// Gives up a watch when nothing needs that path any more.
    fn release(&mut self, path: &Path) {
        let left = self.watched.get_mut(path).map_or(0, |count| {
            *count = count.saturating_sub(1);
            *count
        });
        if left == 0 {
            self.watched.remove(path);
            // Fails when the directory is gone: the kernel has then removed the watch itself.
            if let Err(error) = self.watcher.unwatch(path) {
                tracing::trace!(path = %path.display(), %error, "inotify unwatch");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// Waits for an event for which `wanted` gives true.
    fn wait(events: &mut mpsc::Receiver<Vec<Event>>, wanted: impl Fn(&Change) -> bool) -> bool {
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            match events.try_recv() {
                Ok(chunk) if chunk.iter().any(|event| wanted(&event.change)) => return true,
                Ok(_) => {}
                Err(_) => std::thread::yield_now(),
            }
        }
        false
    }

    #[test]
    fn reports_what_happens_in_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let mut collector = start(&CollectConfig::default()).unwrap();
        let id = super::super::DeviceMap::new().inode_id(dir.path()).unwrap();
        collector.watcher.watch(id, dir.path(), true).unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let named = |wanted: Op, path: &Path| {
            let path = path.as_os_str().to_owned();
            move |change: &Change| matches!(change, Change::Name { name, op, base: Base::Absolute, .. } if *op == wanted && *name == path)
        };
        std::fs::write(&a, "x").unwrap();
        assert!(wait(&mut collector.events, named(Op::Create, &a)));
        assert!(wait(&mut collector.events, named(Op::InodeDirty, &a)));
        std::fs::rename(&a, &b).unwrap();
        assert!(wait(&mut collector.events, named(Op::RenameTo, &b)));
        std::fs::remove_file(&b).unwrap();
        assert!(wait(&mut collector.events, named(Op::Unlink, &b)));
        collector.watcher.unwatch(id);
        assert_eq!(collector.counters.snapshot().watched, 0);
    }

    #[test]
    fn an_overflow_is_a_loss() {
        let event = notify::Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan);
        assert_eq!(changes(event), vec![Change::Lost { reason: LossReason::InotifyOverflow, count: 1 }]);
    }
}
