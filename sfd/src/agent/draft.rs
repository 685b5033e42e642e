//! The commit that a root is putting together.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use crate::artifact::Regions;
use crate::brick::{ArtifactId, Commit, HistoryRow, Row, Version};
use crate::fold::{Block, FoldOp};

/// Steps after which a draft is committed: enough that the two catalog transactions of a commit cost little beside
/// them, few enough that a live brick is never more than a blink behind.
const OPS_MAX: usize = 1024;
/// Bytes of cells after which a draft is committed; bounds the memory of a baseline.
const BYTES_MAX: usize = 8 << 20;

/// Pixels, rows and history that are not committed yet.
#[derive(Debug, Default)]
pub(super) struct Draft {
    grow_to: Option<u8>,
    ops: Vec<FoldOp>,
    upserts: BTreeMap<ArtifactId, Row>,
    deletes: Vec<ArtifactId>,
    history: Vec<HistoryRow>,
    /// What is to be written of each artifact: what the brick will hold of it.
    fills: HashMap<ArtifactId, Bytes>,
    regions: BTreeMap<ArtifactId, Option<Regions>>,
    versions: Vec<Version>,
    secret: Vec<(ArtifactId, Vec<u8>)>,
    bytes: usize,
    /// When the changes in it happened, for the latency figures.
    born_ns: Vec<i64>,
}

impl Draft {
    pub(super) fn is_empty(&self) -> bool {
        self.ops.is_empty()
            && self.upserts.is_empty()
            && self.deletes.is_empty()
            && self.history.is_empty()
            && self.grow_to.is_none()
    }

    pub(super) fn is_large(&self) -> bool {
        self.ops.len() >= OPS_MAX || self.upserts.len() >= OPS_MAX || self.bytes >= BYTES_MAX
    }

    pub(super) fn grow_to(&mut self, order: u8) {
        self.grow_to = Some(order);
    }

    pub(super) fn fill(&mut self, row: &Row, bytes: Bytes, regions: Option<Regions>) {
        self.bytes += bytes.len();
        self.fills.insert(row.id, bytes.clone());
        self.regions.insert(row.id, regions);
        self.ops.push(FoldOp::Fill { block: row.block, bytes, paint: row.paint() });
    }

    pub(super) fn repaint(&mut self, row: &Row) {
        self.ops.push(FoldOp::Repaint { block: row.block, paint: row.paint() });
    }

    pub(super) fn clear(&mut self, block: Block) {
        self.ops.push(FoldOp::Clear { block });
    }

    pub(super) fn upsert(&mut self, row: Row) {
        self.upserts.insert(row.id, row);
    }

    pub(super) fn delete(&mut self, id: ArtifactId) {
        self.upserts.remove(&id);
        self.regions.remove(&id);
        self.deletes.push(id);
    }

    /// Adds a line of history; returns its index.
    pub(super) fn history(&mut self, row: HistoryRow) -> usize {
        self.history.push(row);
        self.history.len() - 1
    }

    /// A line of history that is not committed yet.
    pub(super) fn history_mut(&mut self, index: usize) -> Option<&mut HistoryRow> {
        self.history.get_mut(index)
    }

    /// Says what the change means that a line tells of.
    pub(super) fn mean(&mut self, line: Option<usize>, meaning: Vec<String>) {
        if let Some(row) = line.and_then(|line| self.history_mut(line)) {
            row.meaning = meaning;
        }
    }

    /// What is about to be written of an artifact.
    pub(super) fn filled(&self, id: ArtifactId) -> Option<&Bytes> {
        self.fills.get(&id)
    }

    /// Adds what was before a line of history.
    pub(super) fn version(&mut self, version: Version) {
        self.bytes += version.contents.as_ref().map_or(0, Bytes::len);
        self.versions.push(version);
    }

    /// Nothing of an artifact's earlier contents may stay, nor of what was at its path.
    pub(super) fn secret(&mut self, id: ArtifactId, path: Vec<u8>) {
        self.secret.push((id, path));
    }

    /// Notes that the draft holds a change that happened at `at_ns`; 0 (nobody reported it) is not counted.
    pub(super) fn born(&mut self, at_ns: i64) {
        if at_ns > 0 {
            self.born_ns.push(at_ns);
        }
    }

    /// The commit, and when the changes in it happened. The draft is empty afterwards.
    pub(super) fn take(&mut self) -> (Commit, Vec<i64>) {
        let draft = std::mem::take(self);
        let commit = Commit {
            grow_to: draft.grow_to,
            plan: crate::fold::FoldPlan { ops: draft.ops },
            upserts: draft.upserts.into_values().collect(),
            deletes: draft.deletes,
            history: draft.history,
            regions: draft.regions.into_iter().collect(),
            versions: draft.versions,
            secret: draft.secret,
        };
        (commit, draft.born_ns)
    }
}
