//! Comparing a whole root with the disk, a step at a time so that live changes are never kept waiting.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::lanes::Lanes;
use super::reconcile::{Tasks, Trust};
use super::root::Root;
use super::{AgentError, clock};
use crate::artifact::inventory::{inode_of, is_dir};
use crate::artifact::kinds::Kind;
use crate::artifact::look::Look;
use crate::batch::Dirty;
use crate::brick::ArtifactId;
use crate::collect::{InodeId, Watch};

/// How often objects are compared that nobody reports (a limit is reached, or nothing reports at all). With what the
/// comparison itself takes, their changes are on the brick within the 10 s that a rescan of 100 000 files may take.
pub(super) const UNWATCHED_EVERY: Duration = Duration::from_secs(5);
/// Rest after a scan, before one because of a loss or a mount, as a multiple of the work it was: events that are lost
/// without end, or a host that mounts without end, cost a quarter of one core and not a whole one.
const REST_FACTOR: u32 = 3;
/// Longest rest: with it, a scan of 100 000 files, a rest and what a loss meanwhile asks for still fit the 10 s.
pub(super) const REST_MAX: Duration = Duration::from_secs(2);

/// A scan in progress.
#[derive(Debug)]
pub(super) struct Scan {
    /// What is still to be looked at.
    queue: VecDeque<ArtifactId>,
    /// How many there were.
    total: u64,
    /// Processor time spent on it: on a busy machine the clock would tell of others' work.
    spent: Duration,
    /// This scan follows the walk that laid the tree out: directories were just listed and everything is watched.
    just_laid_out: bool,
    /// Only what nobody reports is compared.
    partial: bool,
    /// Nothing more is offered to the collector: it has just refused something, so it would refuse the rest.
    refused: bool,
    /// Everything was made doubtful while it went on: what it has looked at since then. The rest has to be looked at
    /// once more.
    since_doubt: Option<HashSet<ArtifactId>>,
}

/// Which scan is to begin, and when.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Everything is to be compared as soon as the rest is over.
    pub(super) wanted: bool,
    /// Except what was looked at since the loss that wants it.
    looked_at: HashSet<ArtifactId>,
    /// When what nobody reports is to be compared.
    pub(super) unwatched_at: Option<Instant>,
    /// A scan because of a loss or a mount does not begin before.
    pub(super) rest_until: Option<Instant>,
}

impl Root {
    /// Starts comparing everything with the disk.
    ///
    /// A scan of everything that is going on has to do again what it has passed, because that may have changed since.
    /// It goes on to its end first: however often it is started, it comes round to everything, and starting it again
    /// costs nothing.
    pub(super) fn start_scan(&mut self, just_laid_out: bool) {
        self.pace.wanted = false;
        let looked_at = std::mem::take(&mut self.pace.looked_at);
        if let Some(scan) = self.scan.as_mut().filter(|scan| !scan.partial) {
            scan.just_laid_out = false;
            scan.since_doubt = Some(HashSet::new());
            return;
        }
        let everything =
            self.inventory.root_id().map(|root| self.inventory.subtree(root)).unwrap_or_default();
        let queue = everything.into_iter().filter(|id| !looked_at.contains(id)).collect();
        self.scan = Some(Scan::new(queue, just_laid_out, false));
    }

    /// Starts comparing everything, after the rest that the last scan has asked for.
    pub(super) fn want_scan(&mut self) {
        if self.is_comparing_everything() {
            self.start_scan(false);
        } else {
            self.pace.wanted = true;
            self.pace.looked_at = HashSet::new();
        }
    }

    /// Starts what is due at `now`.
    pub(super) fn start_due_scan(&mut self, now: Instant) {
        let partial = self.scan.as_ref().is_none_or(|scan| scan.partial);
        if partial && self.pace.wanted && self.pace.rest_until.is_none_or(|until| until <= now) {
            self.start_scan(false);
        } else if self.scan.is_none() && self.pace.unwatched_at.is_some_and(|at| at <= now) {
            self.pace.unwatched_at = None;
            let ids: BTreeSet<ArtifactId> =
                self.unwatched.iter().flat_map(|inode| self.inventory.by_inode(*inode)).copied().collect();
            self.scan = Some(Scan::new(ids.into_iter().collect(), false, true));
        }
    }

    /// When [`Self::start_due_scan`] will have something to start.
    pub(super) fn next_scan(&self) -> Option<Instant> {
        if self.pace.wanted { self.pace.rest_until } else { self.pace.unwatched_at }
    }

    /// Whether a scan of everything is going on.
    pub(super) fn is_comparing_everything(&self) -> bool {
        self.scan.as_ref().is_some_and(|scan| !scan.partial)
    }

    /// Something is not reported from now on: it is to be compared again and again.
    pub(super) fn nobody_reports(&mut self, inode: InodeId) {
        self.unwatched.insert(inode);
        self.pace.unwatched_at.get_or_insert_with(|| Instant::now() + UNWATCHED_EVERY);
    }

    /// How far a scan has come, as (done, total) artifacts.
    pub(super) fn scan_progress(&self) -> Option<(u64, u64)> {
        self.scan.as_ref().map(|scan| (scan.total - scan.queue.len() as u64, scan.total))
    }

    /// The queue is empty: after a rest there is another round if there was a loss meanwhile, else the scan is over.
    fn end_round(&mut self) -> Result<(), AgentError> {
        let Some(scan) = self.scan.take() else { return Ok(()) };
        let now = Instant::now();
        let rest = (scan.spent * REST_FACTOR).min(REST_MAX);
        self.pace.rest_until = self.pace.rest_until.max(Some(now + rest));
        self.pace.unwatched_at =
            (!self.unwatched.is_empty()).then(|| now + (scan.spent * REST_FACTOR).max(UNWATCHED_EVERY));
        if let Some(looked_at) = scan.since_doubt {
            self.pace.wanted = true;
            self.pace.looked_at = looked_at;
        } else if !scan.partial {
            self.counters.last_full_verification_ns = Some(clock::now_ns());
            self.prune_history()?;
        }
        Ok(())
    }

    /// Goes on with the scan for at most `budget`. Returns whether there is more to do.
    ///
    /// # Errors
    /// When the brick or catalog cannot be written.
    pub(super) fn scan_step(&mut self, budget: Duration, watch: &mut dyn Watch) -> Result<bool, AgentError> {
        let before = clock::thread_cpu();
        self.compare_some(budget, watch)?;
        self.flush()?;
        let stopping = self.is_stopping();
        let over = match &mut self.scan {
            None => return Ok(false),
            Some(scan) => {
                scan.spent += clock::thread_cpu().saturating_sub(before);
                scan.queue.is_empty() && self.ahead.is_none() && !stopping
            }
        };
        if over {
            self.end_round()?;
        }
        Ok(!over)
    }

    fn compare_some(&mut self, budget: Duration, watch: &mut dyn Watch) -> Result<(), AgentError> {
        let started = Instant::now();
        let quiet = Dirty::default();
        while started.elapsed() < budget && !self.is_stopping() {
            let Some((id, ready)) = self.next_to_compare(watch) else { break };
            let Some(scan) = &mut self.scan else { break };
            let register = !scan.just_laid_out;
            let offer = !(scan.partial && scan.refused);
            if let Some(looked_at) = &mut scan.since_doubt {
                looked_at.insert(id);
            }
            let Some(row) = self.inventory.get(id) else { continue };
            let (inode, dir) = (inode_of(row), is_dir(row));
            // After the laying out, directories are watched and files are not yet.
            if (register || !dir) && offer {
                let path = self.inventory.path(id);
                let watched = self.watch(inode, &path, dir, watch);
                if let Some(scan) = &mut self.scan {
                    scan.refused |= !watched;
                }
            }
            if dir && register {
                let mut tasks = Tasks::default();
                tasks.compare(id);
                self.work_off(tasks, watch)?;
            }
            let mut tasks = Tasks::default();
            // What expires does so without a change.
            let is_certificate =
                self.inventory.get(id).is_some_and(|row| row.semantics.kind == Kind::Certificate);
            let partial = self.scan.as_ref().is_some_and(|scan| scan.partial);
            let trust = if is_certificate && !partial { Trust::Describe } else { Trust::Stat };
            self.look_at(id, &quiet, trust, ready, &mut tasks, watch);
            self.work_off(tasks, watch)?;
        }
        Ok(())
    }

    /// The artifact whose turn it is, and what another thread has read of it meanwhile, if any does.
    fn next_to_compare(&mut self, watch: &mut dyn Watch) -> Option<(ArtifactId, Option<Look>)> {
        while self.ahead.as_ref().is_some_and(Lanes::has_room)
            && let Some(id) = self.scan.as_mut()?.queue.pop_front()
        {
            let Some(row) = self.inventory.get(id) else { continue };
            let (inode, dir, cells) = (inode_of(row), is_dir(row), row.block.cells());
            let path = self.inventory.path(id);
            if !dir {
                // Watched, then read: what changes afterwards is reported.
                self.watch(inode, &path, dir, watch);
            }
            if let Some(ahead) = &mut self.ahead {
                ahead.ask(id, path, cells);
            }
        }
        if let Some(next) = self.ahead.as_mut().and_then(Lanes::take) {
            return Some(next);
        }
        self.ahead = None;
        Some((self.scan.as_mut()?.queue.pop_front()?, None))
    }
}

impl Scan {
    fn new(queue: VecDeque<ArtifactId>, just_laid_out: bool, partial: bool) -> Self {
        let (total, spent) = (queue.len() as u64, Duration::ZERO);
        Self { queue, total, spent, just_laid_out, partial, refused: false, since_doubt: None }
    }
}
