//! What `sfd status` shows: published by the worker and the collector, read by the control socket.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::RootKind;
use super::root::Root;
use crate::brick::VersionStats;

/// Latencies remembered for the percentiles: some minutes of a busy host.
const LATENCIES_MAX: usize = 4096;

/// State of one watched root.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RootStatus {
    /// Name of its brick.
    pub name: String,
    /// Watched path (lossy if it is not UTF-8).
    pub path: String,
    /// `tree` or `proc`.
    pub kind: RootKind,
    /// Number of artifacts.
    pub artifacts: u64,
    /// Cells in use, and cells of the whole curve.
    pub cells_used: u64,
    /// Cells of the whole curve.
    pub cells: u64,
    /// Hilbert order of the brick.
    pub order: u8,
    /// Artifacts that are not verified.
    pub unverified: u64,
    /// Objects that no collector watches; scans verify them.
    pub unwatched: u64,
    /// Artifacts folded smaller than they should be because the brick was full.
    pub no_room: u64,
    /// Scans that a loss of events made necessary.
    pub rescans: u64,
    /// When everything was last compared with the source.
    pub last_full_verification_ns: Option<i64>,
    /// Artifacts compared so far and in total, while a scan is going on.
    pub scanning: Option<(u64, u64)>,
    /// Batches committed.
    pub commits: u64,
    /// Cells written.
    pub cells_written: u64,
    /// Artifacts looked at.
    pub looks: u64,
    /// What is kept of what text files held before their changes.
    #[serde(default)]
    pub versions: VersionStats,
    /// Why the root is closed, if it is.
    pub error: Option<String>,
}

impl RootStatus {
    /// The status of a root that could not be opened.
    pub(super) fn failed(path: &Path, kind: RootKind, why: &str) -> Self {
        Self {
            name: String::new(),
            path: path.to_string_lossy().into_owned(),
            kind,
            artifacts: 0,
            cells_used: 0,
            cells: 0,
            order: 0,
            unverified: 0,
            unwatched: 0,
            no_room: 0,
            rescans: 0,
            last_full_verification_ns: None,
            scanning: None,
            commits: 0,
            cells_written: 0,
            looks: 0,
            versions: VersionStats::default(),
            error: Some(why.to_owned()),
        }
    }
}

impl Root {
    /// Its state right now.
    pub(super) fn status(&self) -> RootStatus {
        let counters = self.counters();
        RootStatus {
            name: self.name.clone(),
            path: self.path().to_string_lossy().into_owned(),
            kind: self.kind,
            artifacts: self.inventory().len() as u64,
            cells_used: self.layout.used_cells(),
            cells: 1 << (2 * self.layout.order()),
            order: self.layout.order(),
            unverified: self.inventory().unverified(),
            unwatched: self.unwatched.len() as u64,
            no_room: counters.no_room,
            rescans: counters.rescans,
            last_full_verification_ns: counters.last_full_verification_ns,
            scanning: self.scan_progress(),
            commits: counters.commits,
            cells_written: counters.cells_written,
            looks: counters.looks,
            versions: self.brick.version_stats(),
            error: None,
        }
    }
}

/// Change-to-brick times.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Latency {
    /// How many of the last changes this is about.
    pub count: u64,
    /// Median, milliseconds.
    pub p50_ms: f64,
    /// 99th percentile, milliseconds.
    pub p99_ms: f64,
    /// Slowest, milliseconds.
    pub max_ms: f64,
}

#[derive(Debug, Default)]
struct Inner {
    roots: Vec<RootStatus>,
    latencies_ns: VecDeque<u64>,
    walking: Option<(PathBuf, u64)>,
}

/// What the worker publishes.
#[derive(Debug, Default)]
pub struct Shared {
    inner: Mutex<Inner>,
}

impl Shared {
    /// A new one behind an `Arc`.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while holding it leaves figures that are merely old.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_roots(&self, roots: Vec<RootStatus>) {
        let mut inner = self.lock();
        inner.roots = roots;
        inner.walking = None;
    }

    pub(super) fn walking(&self, root: &Path, found: u64) {
        self.lock().walking = Some((root.to_path_buf(), found));
    }

    /// The root whose tree is being walked for the first time, and how many artifacts were found so far.
    pub fn walk(&self) -> Option<(PathBuf, u64)> {
        self.lock().walking.clone()
    }

    pub(super) fn note_latencies(&self, latencies_ns: &[u64]) {
        if latencies_ns.is_empty() {
            return;
        }
        let mut inner = self.lock();
        inner.latencies_ns.extend(latencies_ns);
        let excess = inner.latencies_ns.len().saturating_sub(LATENCIES_MAX);
        inner.latencies_ns.drain(..excess);
    }

    /// The roots as last published.
    pub fn roots(&self) -> Vec<RootStatus> {
        self.lock().roots.clone()
    }

    /// Percentiles over the last changes.
    pub fn latency(&self) -> Latency {
        let mut sorted: Vec<u64> = self.lock().latencies_ns.iter().copied().collect();
        sorted.sort_unstable();
        let at = |per_mille: usize| {
            let index = (sorted.len() * per_mille / 1000).min(sorted.len().saturating_sub(1));
            sorted.get(index).map_or(0.0, |ns| *ns as f64 / 1e6)
        };
        Latency { count: sorted.len() as u64, p50_ms: at(500), p99_ms: at(990), max_ms: at(1000) }
    }
}
