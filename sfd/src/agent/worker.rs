//! The thread that owns the roots. It does all the reading and folding, so that the agent's loop never waits.
//!
//! Between two orders it goes on with scans in small steps, so a change is on the brick within its window even while
//! a baseline of a large tree is running.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use tracing::{debug, error, info, warn};

use super::labels::Words;
use super::mapped::Mapped;
use super::resolve::{Ancestors, resolve};
use super::root::{Root, Work};
use super::status::Shared;
use super::{AgentError, RootKind};
use crate::batch::{Batch, Dirty};
use crate::brick::{Compaction, Kept};
use crate::collect::{InodeId, LossReason, NameHooks, Watch};

/// Longest step of a scan that is wanted soon: the most that it can add to the latency of a change.
const SCAN_STEP: Duration = Duration::from_millis(10);
/// How long a root that failed stays closed before it is opened again. It is at least three times as long as the last
/// try took: opening reads the whole brick, and a disk that stays full must not cost more than a quarter of a core.
const REOPEN_AFTER: Duration = Duration::from_secs(2);
/// How often a loss of events is logged as a warning.
const WARN_EVERY: Duration = Duration::from_secs(10);
/// Longest time that nothing is written because somebody begins to copy a brick. With it, a rest after a batch (as long) and
/// the work itself, a change is still on the brick within its second; opening brick and catalog takes some milliseconds.
pub(super) const HOLD_MAX: Duration = Duration::from_millis(250);
/// Longest wait for an order: housekeeping is due now and then.
const NAP_MAX: Duration = Duration::from_secs(1);

/// What the agent tells the worker to do.
#[derive(Debug)]
pub(super) enum Order {
    /// Make these changes true on the bricks.
    Batch(Box<Batch>),
    /// Read the volatile projections of `/proc` again.
    Sample,
    /// Compare the roots of this kind with the disk.
    Scan(RootKind),
    /// Somebody copies a brick: keep what is written over, and write nothing until `release` is dropped, or for
    /// [`HOLD_MAX`].
    Keep {
        /// Which brick.
        name: String,
        /// Told when that begins.
        granted: oneshot::Sender<Result<Kept, String>>,
        /// Nothing is ever sent.
        release: Receiver<()>,
    },
    /// Give a brick its canonical layout.
    Compact {
        /// Which.
        name: String,
        /// What came of it.
        reply: oneshot::Sender<Result<Compaction, String>>,
    },
    /// What the language model needs to know, and what it says.
    Words(Words),
    /// Flush, sync, end.
    Stop,
}

/// What the worker tells the agent.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// The order is done and the next one is welcome.
    pub ready: bool,
    /// Every root's first scan is over.
    pub baseline_done: bool,
}

/// How to open one root; kept so that it can be opened again after a failure.
pub(super) type Opener = Box<dyn Fn(&mut dyn Watch, &dyn Fn(u64)) -> Result<Root, AgentError> + Send>;

enum Slot {
    Open(Box<Root>),
    Failed { why: String, retry_at: Instant },
}

/// The worker's state.
pub(super) struct Worker {
    openers: Vec<(PathBuf, RootKind, Opener)>,
    slots: Vec<Slot>,
    ancestors: Ancestors,
    /// Whether the collector should watch the directories above the roots.
    watch_ancestors: bool,
    watch: Box<dyn Watch + Send>,
    shared: Arc<Shared>,
    reports: UnboundedSender<Report>,
    baseline_reported: bool,
    mapped: Mapped,
    /// Whether a write into a page that is dirty already may be reported by nobody.
    polls: bool,
    /// When a loss was last logged as a warning.
    warned: Option<Instant>,
}

impl Worker {
    /// A worker for the given roots. `ancestors` lets it place names that are relative to a directory above a root;
    /// `name_hooks` is how the eBPF rung sees names, if that is the rung.
    pub(super) fn new(
        openers: Vec<(PathBuf, RootKind, Opener)>,
        ancestors: Ancestors,
        name_hooks: Option<NameHooks>,
        watch: Box<dyn Watch + Send>,
        shared: Arc<Shared>,
        reports: UnboundedSender<Report>,
    ) -> Self {
        let slots = Vec::new();
        Self {
            openers,
            slots,
            ancestors,
            // inotify would need a watch for each, and reports by path anyway.
            watch_ancestors: name_hooks.is_some(),
            watch,
            shared,
            reports,
            baseline_reported: false,
            mapped: Mapped::start(),
            // Only the change time tells of every write (measured on btrfs and xfs).
            polls: name_hooks.is_some_and(|hooks| hooks != NameHooks::ChangeTime),
            warned: None,
        }
    }

    /// Opens the roots, then works until told to stop or the agent is gone.
    ///
    /// # Errors
    /// When a root cannot be opened at the start. Later failures are retried and shown in the status.
    pub(super) fn run(mut self, orders: &Receiver<Order>) -> Result<(), AgentError> {
        if self.watch_ancestors {
            self.ancestors.watch(self.watch.as_mut());
        }
        for (path, _, open) in &self.openers {
            let shared = Arc::clone(&self.shared);
            match open(self.watch.as_mut(), &|found| shared.walking(path, found)) {
                Ok(root) => self.slots.push(Slot::Open(Box::new(root))),
                Err(AgentError::Stopped) => return self.stop(),
                Err(error) => return Err(error),
            }
        }
        let polls = self.polls;
        self.each(|root, _| {
            root.polls = polls;
            Ok(())
        });
        self.publish();
        self.report(Report { ready: true, ..Report::default() });
        loop {
            let order = if self.is_scanning() {
                orders.try_recv().map_err(|error| error == TryRecvError::Disconnected)
            } else {
                orders.recv_timeout(self.nap()).map_err(|error| error == RecvTimeoutError::Disconnected)
            };
            let idle = order.is_err();
            match order {
                Ok(Order::Stop) | Err(true) => return self.stop(),
                Ok(Order::Batch(batch)) => self.batch(&batch),
                Ok(Order::Sample) => self.sample(),
                Ok(Order::Scan(kind)) => self.each(|root, _| {
                    if root.kind == kind && !root.is_comparing_everything() {
                        root.start_scan(false);
                    }
                    Ok(())
                }),
                Ok(Order::Keep { name, granted, release }) => {
                    let kept =
                        self.root_called(&name, |root, _| root.brick.keep().map_err(AgentError::Brick));
                    let is_kept = kept.is_ok();
                    // Whoever has gone away meanwhile needs nothing.
                    if granted.send(kept).is_ok() && is_kept {
                        let _ = release.recv_timeout(HOLD_MAX);
                    }
                }
                Ok(Order::Compact { name, reply }) => {
                    // Nobody may be waiting any more; it is done all the same.
                    let _ = reply.send(self.root_called(&name, Root::compact));
                }
                Ok(Order::Words(words)) => self.words(words),
                Err(false) => {}
            }
            if !idle {
                self.after(true);
            }
            // After an order too: orders that never end must not keep a scan waiting for ever, nor a scan that is long
            // the next order.
            self.reopen_failed();
            let mapped = self.mapped.latest();
            self.each(|root, watch| {
                if let Some(mapped) = mapped.as_ref().filter(|_| root.kind == RootKind::Tree) {
                    root.set_mapped(mapped, Instant::now());
                }
                root.apply_later(Instant::now(), watch)?;
                root.start_due_scan(Instant::now());
                root.scan_step(SCAN_STEP, watch)?;
                root.tidy(idle)
            });
            self.after(false);
        }
    }

    fn is_scanning(&self) -> bool {
        self.slots.iter().any(|slot| matches!(slot, Slot::Open(root) if root.scan_progress().is_some()))
    }

    /// How long to wait for an order while there is nothing to scan.
    fn nap(&self) -> Duration {
        let open = self.slots.iter().filter_map(|slot| match slot {
            Slot::Open(root) => {
                [root.later.next(), root.next_scan(), root.next_index()].into_iter().flatten().min()
            }
            Slot::Failed { .. } => None,
        });
        open.min().map_or(NAP_MAX, |at| at.saturating_duration_since(Instant::now()).min(NAP_MAX))
    }

    fn batch(&mut self, batch: &Batch) {
        self.tell_losses(batch);
        let open: Vec<&Root> = self
            .slots
            .iter()
            .filter_map(|slot| match slot {
                Slot::Open(root) => Some(&**root),
                Slot::Failed { .. } => None,
            })
            .collect();
        let mut works = work_of(batch, &open, &self.ancestors).into_iter();
        self.each(|root, watch| carry_out(root, works.next().unwrap_or_default(), batch, watch));
    }

    /// Losses without end must not fill the log; the counters have them all.
    fn tell_losses(&mut self, batch: &Batch) {
        let loud = self.warned.is_none_or(|at| at.elapsed() >= WARN_EVERY);
        for (reason, count) in &batch.lost {
            if loud {
                warn!(?reason, count, "events were lost; rescanning (said once in ten seconds)");
                self.warned = Some(Instant::now());
            } else {
                debug!(?reason, count, "events were lost; rescanning");
            }
        }
    }

    fn sample(&mut self) {
        self.each(|root, watch| {
            if root.kind != RootKind::Proc {
                return Ok(());
            }
            let paths = root.view.volatile_paths();
            let artifacts = paths.iter().filter_map(|path| root.inventory().by_path(path));
            let artifacts = artifacts.map(|id| (id, Dirty::default())).collect();
            root.apply(Work { artifacts, paths: Vec::new() }, watch)
        });
    }

    /// Does something with the root whose brick has that name; one that fails is closed and opened again later.
    pub(super) fn root_called<T>(
        &mut self,
        name: &str,
        mut what: impl FnMut(&mut Root, &mut dyn Watch) -> Result<T, AgentError>,
    ) -> Result<T, String> {
        let mut result = None;
        let mut names = Vec::new();
        self.each(|root, watch| {
            names.push(root.name.clone());
            if root.name != name {
                return Ok(());
            }
            match what(root, watch) {
                Ok(done) => result = Some(Ok(done)),
                Err(error) => {
                    result = Some(Err(error.to_string()));
                    return Err(error);
                }
            }
            Ok(())
        });
        result.unwrap_or_else(|| Err(format!("no brick {name} is open; open are: {}", names.join(", "))))
    }

    /// Does something with every open root; one that fails is closed and opened again later.
    pub(super) fn each(&mut self, mut what: impl FnMut(&mut Root, &mut dyn Watch) -> Result<(), AgentError>) {
        for index in 0..self.slots.len() {
            let (before, rest) = self.slots.split_at_mut(index);
            let Some((slot, after)) = rest.split_first_mut() else { continue };
            let Slot::Open(root) = slot else { continue };
            let mut watch = OfOneRoot { watch: self.watch.as_mut(), others: [before, after] };
            if let Err(problem) = what(root, &mut watch) {
                error!(root = %root.path().display(), %problem, "closing; it will be opened again");
                *slot = Slot::Failed { why: problem.to_string(), retry_at: Instant::now() + REOPEN_AFTER };
            }
        }
    }

    fn reopen_failed(&mut self) {
        for (slot, (path, _, open)) in self.slots.iter_mut().zip(&self.openers) {
            let Slot::Failed { why, retry_at } = slot else { continue };
            let started = Instant::now();
            if started < *retry_at {
                continue;
            }
            match open(self.watch.as_mut(), &|_| ()) {
                Ok(mut root) => {
                    info!(root = %path.display(), "opened again");
                    root.polls = self.polls;
                    *slot = Slot::Open(Box::new(root));
                }
                Err(problem) => {
                    let problem = problem.to_string();
                    if problem != *why {
                        error!(root = %path.display(), %problem, "still closed");
                    }
                    *why = problem;
                    *retry_at = Instant::now() + REOPEN_AFTER.max(3 * started.elapsed());
                }
            }
        }
    }

    /// Publishes the figures, and tells the agent what it waits for.
    fn after(&mut self, ready: bool) {
        for slot in &mut self.slots {
            if let Slot::Open(root) = slot {
                self.shared.note_latencies(&root.take_latencies());
            }
        }
        let scanning = self.slots.iter().any(|slot| match slot {
            Slot::Open(root) => root.counters().last_full_verification_ns.is_none(),
            Slot::Failed { .. } => true,
        });
        let baseline_done = !scanning && !self.baseline_reported;
        self.baseline_reported |= baseline_done;
        if baseline_done {
            crate::collect::give_memory_back();
        }
        self.publish();
        if ready || baseline_done {
            self.report(Report { ready, baseline_done });
        }
    }

    fn publish(&self) {
        let mut states = Vec::with_capacity(self.slots.len());
        for (slot, (path, kind, _)) in self.slots.iter().zip(&self.openers) {
            states.push(match slot {
                Slot::Open(root) => root.status(),
                Slot::Failed { why, .. } => super::status::RootStatus::failed(path, *kind, why),
            });
        }
        self.shared.set_roots(states);
    }

    fn report(&self, report: Report) {
        // The agent is gone when it is shutting down; nothing is lost by not telling it.
        let _ = self.reports.send(report);
    }

    fn stop(&mut self) -> Result<(), AgentError> {
        let mut result = Ok(());
        for slot in &mut self.slots {
            if let Slot::Open(root) = slot {
                result = root.flush().and(root.brick.sync().map_err(AgentError::Brick)).and(result);
            }
        }
        self.publish();
        result
    }
}

/// The collector as one root sees it. An inode that moves to another root, or whose number is used again there, stays
/// watched when this one is done with it.
struct OfOneRoot<'a> {
    watch: &'a mut dyn Watch,
    others: [&'a [Slot]; 2],
}

impl Watch for OfOneRoot<'_> {
    fn watch(&mut self, id: InodeId, path: &Path, is_dir: bool) -> Result<(), LossReason> {
        self.watch.watch(id, path, is_dir)
    }

    fn unwatch(&mut self, id: InodeId) {
        let has = |slot: &Slot| matches!(slot, Slot::Open(root) if root.uses(id));
        if !self.others.iter().any(|slots| slots.iter().any(has)) {
            self.watch.unwatch(id);
        }
    }

    fn rearm(&mut self, id: InodeId) -> bool {
        self.watch.rearm(id)
    }
}

/// Sorts a batch by root.
pub(super) fn work_of(batch: &Batch, roots: &[&Root], ancestors: &Ancestors) -> Vec<Work> {
    let mut works: Vec<Work> = roots.iter().map(|_| Work::default()).collect();
    for (work, root) in works.iter_mut().zip(roots) {
        for (inode, dirty) in &batch.inodes {
            let inode = &root.others.get(inode).copied().unwrap_or(*inode);
            let ids = root.inventory().by_inode(*inode);
            work.artifacts.extend(ids.iter().map(|id| (*id, dirty.clone())));
            // Names in a directory above the root changed: the root may have another one, or be back.
            if ancestors.get(*inode).is_some_and(|dir| root.path().starts_with(dir)) {
                work.paths.push((root.path().to_path_buf(), dirty.clone()));
            }
        }
        if root.kind == RootKind::Proc {
            proc_work(root, batch, work);
        }
    }
    for (key, dirty) in &batch.names {
        for path in resolve(key, dirty, roots, ancestors) {
            // `/` and `/proc` can both be roots; the nearer one is meant.
            let owner = works.iter_mut().zip(roots).filter(|(_, root)| path.starts_with(root.path()));
            if let Some((work, _)) = owner.max_by_key(|(_, root)| root.path().as_os_str().len()) {
                work.paths.push((path, dirty.clone()));
            }
        }
    }
    works
}

/// Does to one root what a batch asks for.
pub(super) fn carry_out(
    root: &mut Root,
    work: Work,
    batch: &Batch,
    watch: &mut dyn Watch,
) -> Result<(), AgentError> {
    if batch.mounts.is_some() {
        root.view.mounts_changed();
    }
    if !work.is_empty() {
        root.apply(work, watch)?;
    }
    let lost = batch.lost.keys().any(|reason| match root.kind {
        RootKind::Tree => *reason != LossReason::ProcessRingFull,
        RootKind::Proc => may_be_of_a_process(*reason),
    });
    if lost {
        root.heal()?;
    } else if batch.mounts.is_some() && root.kind == RootKind::Tree {
        // A mount hides or shows a whole subtree without touching a single inode.
        root.want_scan();
    }
    Ok(())
}

/// Whether a loss of this sort may have taken an event of a process or module.
fn may_be_of_a_process(reason: LossReason) -> bool {
    match reason {
        LossReason::ProcessRingFull
        | LossReason::SequenceGap
        | LossReason::Undecodable
        | LossReason::ScratchBusy
        | LossReason::BatchFull => true,
        LossReason::FileRingFull
        | LossReason::InflightFull
        | LossReason::WatchedFull
        | LossReason::PathUnreadable
        | LossReason::InotifyOverflow
        | LossReason::BaseUnknown => false,
    }
}

/// What process, module and mount events mean for the projections of `/proc`.
fn proc_work(root: &Root, batch: &Batch, work: &mut Work) {
    let base: &Path = root.path();
    for (pid, dirty) in &batch.processes {
        work.paths.push((base.join(pid.to_string()), dirty.clone()));
    }
    let mut host: BTreeMap<&str, Dirty> = BTreeMap::new();
    for dirty in batch.modules.values() {
        host.entry("modules").or_default().merge(dirty);
    }
    if let Some(dirty) = &batch.mounts {
        host.entry("mounts").or_default().merge(dirty);
    }
    for (name, dirty) in host {
        if let Some(id) = root.inventory().by_path(&base.join(name)) {
            work.artifacts.push((id, dirty));
        }
    }
}
