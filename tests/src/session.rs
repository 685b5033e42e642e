//! Random changes of a made-up tree: what the crash suites write.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use bytes::Bytes;
use sfd::brick::{ArtifactId, Commit, HistoryRow, LiveBrick, Missing, Row, Verb, Version};
use sfd::fold::layout::Resize;
use sfd::fold::{FoldOp, FoldPlan, Layout, k_for_len};

use crate::bricks::{Random, contents, file, fill, root, unread};

/// Name of the brick.
pub const NAME: &str = "t";
/// Base-2 logarithm of the largest block.
const CAP: u8 = 14;
/// Artifacts, at most.
const ARTIFACTS_MAX: u64 = 40;

/// A brick of nothing but a root that has not been read.
///
/// # Errors
/// Those of [`LiveBrick::create`].
pub fn create(dir: &Path) -> Result<(LiveBrick, Vec<Row>)> {
    let rows = vec![unread(root("/t"))];
    let plan = FoldPlan { ops: rows.iter().map(Row::blank).collect() };
    Ok((LiveBrick::create(dir, NAME, b"/t", (4, CAP), &rows, &plan)?, rows))
}

/// What the writer of a brick knows of it.
#[derive(Debug)]
pub struct Session {
    layout: Layout,
    /// By number.
    pub rows: BTreeMap<u32, Row>,
    version: i64,
    /// Base-2 logarithm of the length of a file, at most.
    len_log_max: u64,
}

impl Session {
    /// Goes on with an open brick.
    ///
    /// # Errors
    /// The rows do not fit the brick.
    pub fn new(brick: &LiveBrick, rows: Vec<Row>, len_log_max: u64) -> Result<Self> {
        let layout =
            Layout::from_blocks(brick.order(), brick.cap(), rows.iter().map(|row| (row.block, row.id)))?;
        let version = rows.iter().map(|row| row.meta.mtime_ns).max().unwrap_or(0);
        let rows = rows.into_iter().map(|row| (row.id.0, row)).collect();
        Ok(Self { layout, rows, version, len_log_max })
    }

    /// Up to six changes, with the numbers and versions written; a deleted artifact has version 0.
    ///
    /// # Errors
    /// The brick cannot grow any more.
    pub fn batch(&mut self, random: &mut Random) -> Result<(Commit, Vec<(u32, i64)>)> {
        let mut batch = Commit::default();
        let mut written = Vec::new();
        for _ in 0..=random.below(6) {
            let id = 1 + random.below(ARTIFACTS_MAX) as u32;
            if written.iter().all(|(other, _)| *other != id) {
                written.push((id, self.change(&mut batch, id, random)?));
            }
        }
        Ok((batch, written))
    }

    /// Notes that everything is unverified now.
    pub fn unverify_all(&mut self, reason: &str) {
        for row in self.rows.values_mut() {
            row.unverified.get_or_insert_with(|| reason.to_owned());
        }
    }

    /// Writes, resizes or removes one artifact. Returns its new version, 0 when it is gone.
    fn change(&mut self, batch: &mut Commit, id: u32, random: &mut Random) -> Result<i64> {
        let old = self.rows.remove(&id);
        if let (Some(old), 0) = (&old, random.below(8)) {
            tell(batch, Some(old), None);
            self.layout.free(old.block);
            batch.plan.ops.push(FoldOp::Clear { block: old.block });
            batch.deletes.push(old.id);
            return Ok(0);
        }
        self.version += 1;
        // Small ones mostly; above 2^14 bytes they are digests.
        let len = 1 << random.below(self.len_log_max + 1);
        let bytes =
            contents(id, self.version, random.below(len) as usize + random.below(len / 4 + 1) as usize);
        let k = k_for_len(bytes.len() as u64, CAP);
        let block = loop {
            let block = match &old {
                Some(old) => match self.layout.resize_needed(old.block.k, bytes.len() as u64) {
                    Resize::Stay => Some(old.block),
                    Resize::Change { k } => self.layout.resize(old.block, k),
                },
                None => self.layout.alloc(k, random.below(self.layout.cells()), ArtifactId(id)),
            };
            match block {
                Some(block) => break block,
                None => batch.grow_to = Some(self.layout.grow()?),
            }
        };
        let row = file(id, &format!("f{id}"), &bytes, block, self.version);
        tell(batch, old.as_ref(), Some(&row));
        if let Some(old) = old.filter(|old| old.block != block) {
            batch.plan.ops.push(FoldOp::Clear { block: old.block });
        }
        batch.plan.ops.push(fill(&row, &bytes));
        batch.upserts.push(row.clone());
        self.rows.insert(id, row);
        Ok(self.version)
    }
}

/// A line of history, with the contents that the change replaces.
fn tell(batch: &mut Commit, old: Option<&Row>, new: Option<&Row>) {
    let Some(row) = new.or(old) else { return };
    let contents = match old {
        None => Ok(Bytes::new()),
        Some(old) if !old.exact => Err(Missing::Large),
        Some(old) => Ok(contents(old.id.0, old.meta.mtime_ns, old.len as usize).into()),
    };
    batch.versions.push(Version {
        line: batch.history.len(),
        artifact: row.id,
        before: old.map(|row| row.content_hash),
        after: new.map(|row| row.content_hash),
        contents,
    });
    batch.history.push(HistoryRow {
        at_ns: row.meta.mtime_ns,
        path: [b"/t/", row.name.as_slice()].concat(),
        from: None,
        verb: if new.is_some() { Verb::Modified } else { Verb::Deleted },
        detail: String::new(),
        meaning: Vec::new(),
        reasons: Vec::new(),
        writers: Vec::new(),
        more_writers: false,
        unknown_writers: true,
        kind: "text".into(),
        risk: 0,
    });
}
