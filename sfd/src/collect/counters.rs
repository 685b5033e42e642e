//! What `sfd status` and `/metrics` show of the collector.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use serde::Serialize;
use sfd_common::Op;

use super::LossReason;

/// Counters of one collector, written by its thread and read by anyone.
#[derive(Debug)]
pub struct Counters {
    /// By the number of the operation.
    events: [AtomicU64; Op::Any as usize + 1],
    lost: [AtomicU64; LossReason::ALL.len()],
    records: AtomicU64,
    bytes: AtomicU64,
    polls: AtomicU64,
    unresolved: AtomicU64,
    watched: AtomicU64,
    processes_forgotten: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            events: [const { AtomicU64::new(0) }; Op::Any as usize + 1],
            lost: [const { AtomicU64::new(0) }; LossReason::ALL.len()],
            records: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            polls: AtomicU64::new(0),
            unresolved: AtomicU64::new(0),
            watched: AtomicU64::new(0),
            processes_forgotten: AtomicU64::new(0),
        }
    }
}

/// A copy of all counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CountersSnapshot {
    /// Events handed on, by operation; those that never happened are left out.
    pub events: BTreeMap<String, u64>,
    /// Events lost, by reason; those that never happened are left out.
    #[serde(rename = "dropped")]
    pub lost: BTreeMap<LossReason, u64>,
    /// Ring records read.
    pub records: u64,
    /// Bytes of those records.
    pub bytes: u64,
    /// How often the rings were looked at.
    pub polls: u64,
    /// Relative paths whose directory was gone before it could be looked up.
    pub unresolved: u64,
    /// Objects watched now.
    pub watched: u64,
    /// Processes not remembered for want of room: less is known of who changed something.
    pub processes_forgotten: u64,
}

impl Counters {
    /// Counts an event.
    pub(super) fn event(&self, op: Op) {
        if let Some(count) = self.events.get(op as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Counts lost events.
    pub fn lost(&self, reason: LossReason, count: u64) {
        if let Some(total) =
            LossReason::ALL.iter().position(|each| *each == reason).and_then(|at| self.lost.get(at))
        {
            total.fetch_add(count, Relaxed);
        }
    }

    /// Counts records of a ring and their bytes.
    pub(super) fn records(&self, records: usize, bytes: usize) {
        self.records.fetch_add(records as u64, Relaxed);
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// Counts a look at the rings.
    pub(super) fn poll(&self) {
        self.polls.fetch_add(1, Relaxed);
    }

    /// Counts a path whose base could not be found.
    pub(super) fn unresolved(&self) {
        self.unresolved.fetch_add(1, Relaxed);
    }

    /// Counts an object that is watched from now on.
    pub(super) fn watch(&self) {
        self.watched.fetch_add(1, Relaxed);
    }

    /// Counts an object that is no longer watched.
    pub(super) fn unwatch(&self) {
        self.watched.fetch_sub(1, Relaxed);
    }

    /// Says how many processes were not remembered so far.
    pub(super) fn set_processes_forgotten(&self, total: u64) {
        self.processes_forgotten.store(total, Relaxed);
    }

    /// Reads all counters. They are not from one instant, but none ever goes back (but `watched`).
    pub fn snapshot(&self) -> CountersSnapshot {
        let load = |count: &AtomicU64| count.load(Relaxed);
        CountersSnapshot {
            events: Op::ALL
                .iter()
                .filter_map(|op| Some((op.name().to_owned(), load(self.events.get(*op as usize)?))))
                .filter(|(_, count)| *count > 0)
                .collect(),
            lost: LossReason::ALL
                .into_iter()
                .zip(self.lost.iter().map(load))
                .filter(|(_, count)| *count > 0)
                .collect(),
            records: load(&self.records),
            bytes: load(&self.bytes),
            polls: load(&self.polls),
            unresolved: load(&self.unresolved),
            watched: load(&self.watched),
            processes_forgotten: load(&self.processes_forgotten),
        }
    }
}
