//! Comparing a whole root with the disk, a step at a time so that live changes are never kept waiting.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::reconcile::{Tasks, Trust};
use super::root::Root;
use super::{AgentError, clock};
use crate::artifact::inventory::{inode_of, is_dir};
use crate::batch::Dirty;
use crate::brick::ArtifactId;
use crate::collect::Watch;

/// A scan in progress.
#[derive(Debug)]
pub(super) struct Scan {
    /// What is still to be looked at.
    queue: VecDeque<ArtifactId>,
    /// How many there were.
    total: u64,
    /// This scan follows the walk that laid the tree out: directories were just listed and everything is watched.
    just_laid_out: bool,
}

impl Root {
    /// Starts comparing everything with the disk.
    ///
    /// A scan that is going on has to do again what it has passed, because that may have changed since. It does so
    /// last: however often it is started, it comes round to everything.
    pub(super) fn start_scan(&mut self, just_laid_out: bool) {
        let left = self.scan.take().map(|scan| scan.queue).unwrap_or_default();
        let mut queue: VecDeque<ArtifactId> =
            left.into_iter().filter(|id| self.inventory.get(*id).is_some()).collect();
        let first: HashSet<ArtifactId> = queue.iter().copied().collect();
        if let Some(root) = self.inventory.root_id() {
            queue.extend(self.inventory.subtree(root).into_iter().filter(|id| !first.contains(id)));
        }
        if !just_laid_out {
            // Every object is offered to the collector again.
            self.counters.unwatched = 0;
        }
        let total = queue.len() as u64;
        self.scan = Some(Scan { queue, total, just_laid_out });
    }

    /// How far a scan has come, as (done, total) artifacts.
    pub(super) fn scan_progress(&self) -> Option<(u64, u64)> {
        self.scan.as_ref().map(|scan| (scan.total - scan.queue.len() as u64, scan.total))
    }

    /// Goes on with the scan for at most `budget`. Returns whether there is more to do.
    ///
    /// # Errors
    /// When the brick or catalog cannot be written.
    pub(super) fn scan_step(&mut self, budget: Duration, watch: &mut dyn Watch) -> Result<bool, AgentError> {
        let started = Instant::now();
        let quiet = Dirty::default();
        while started.elapsed() < budget && !self.is_stopping() {
            let Some(scan) = &mut self.scan else { return Ok(false) };
            let Some(id) = scan.queue.pop_front() else {
                self.flush()?;
                self.scan = None;
                self.counters.last_full_verification_ns = Some(clock::now_ns());
                self.prune_history()?;
                return Ok(false);
            };
            let register = !scan.just_laid_out;
            let Some(row) = self.inventory.get(id) else { continue };
            let (inode, dir) = (inode_of(row), is_dir(row));
            // After the laying out, directories are watched and files are not yet.
            if register || !dir {
                let path = self.inventory.path(id);
                self.watch(inode, &path, dir, watch);
            }
            if dir && register {
                let mut tasks = Tasks::default();
                tasks.compare(id);
                self.work_off(tasks, watch)?;
            }
            let mut tasks = Tasks::default();
            self.look_at(id, &quiet, Trust::Stat, &mut tasks, watch);
            self.work_off(tasks, watch)?;
        }
        self.flush()?;
        Ok(self.scan.is_some())
    }
}
