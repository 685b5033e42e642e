//! The commit that a root is putting together.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::brick::{ArtifactId, Commit, HistoryRow, Row};
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

    pub(super) fn fill(&mut self, row: &Row, bytes: Bytes) {
        self.bytes += bytes.len();
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
        self.deletes.push(id);
    }

    pub(super) fn history(&mut self, row: HistoryRow) {
        self.history.push(row);
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
        };
        (commit, draft.born_ns)
    }
}
