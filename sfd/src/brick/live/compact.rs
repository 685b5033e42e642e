//! The first fold of the tree that a brick holds, as one step.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::LiveBrick;
use super::create::{aside, occupied_leaves, put_in_place};
use crate::brick::catalog::Changes;
use crate::brick::files::{self, Files};
use crate::brick::format::Header;
use crate::brick::pixels::Pixels;
use crate::brick::{ArtifactId, BrickError, Catalog, Row};
use crate::fold::merkle::{Hash, empty_hash};
use crate::fold::{Block, FirstFoldItem, FoldOp, FoldPlan, K_CAP, Layout, apply, first_fold};

/// Why an artifact is unverified whose cells cannot be had from the ones it had before.
const OF_ANOTHER_SIZE: &str = "compaction gave it a block of another size; it must be read again";

/// What a compaction changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compaction {
    /// Artifacts.
    pub artifacts: u64,
    /// Those that have another place now.
    pub moved: u64,
    /// Those that must be read again, because their block has another size: digests, where the cap has changed, and what
    /// a full brick had no room for.
    pub unread: u64,
    /// Cells of all blocks, afterwards.
    pub cells_used: u64,
    /// One past the highest used cell, before.
    pub used_run_before: u64,
    /// And afterwards.
    pub used_run: u64,
    /// Order of the curve, before.
    pub order_before: u8,
    /// And afterwards.
    pub order: u8,
}

/// A brick that was compacted.
#[derive(Clone, Debug)]
pub struct Compacted {
    /// What is in the catalog now, in the order of numbers.
    pub rows: Vec<Row>,
    /// Where everything is.
    pub layout: Layout,
    /// Unverified and blank now.
    pub unread: Vec<ArtifactId>,
    /// What was gained.
    pub compaction: Compaction,
}

impl LiveBrick {
    /// Gives every artifact the place that a first fold of the present tree gives it; order and cap, too. The only thing
    /// that moves what has not changed. History stays.
    ///
    /// The new brick is written aside and synced; then one transaction of the catalog says where everything is, and is
    /// synced; then the brick takes its name. Killed before the transaction, the old brick and the old places are there;
    /// killed after it, `open` finds the new brick aside and gives it its name. Reads and writes the whole brick: seconds
    /// for one of several GiB.
    ///
    /// # Errors
    /// Before anything is changed: the disk is full, the tree does not fit a brick. After a failure later on, every call
    /// gives [`BrickError::NeedsReopen`].
    pub fn compact(&mut self) -> Result<Compacted, BrickError> {
        self.check_usable()?;
        self.pixels.map.check()?;
        let mut rows = self.rows()?;
        let exact = self.cap > K_CAP;
        let (layout, blocks) = places(&rows, exact)
            .map_err(|source| BrickError::Layout { path: self.files.brick.clone(), source })?;
        let mut paints = Vec::with_capacity(rows.len());
        let (mut changed, mut unread, mut moved) = (Vec::new(), Vec::new(), 0);
        for row in &mut rows {
            let Some(&to) = blocks.get(&row.id) else { continue };
            let from = std::mem::replace(&mut row.block, to);
            let keeps = from.k == to.k || (row.exact && row.len <= to.cells());
            if !keeps && !row.was_never_read() {
                row.unverified = Some(OF_ANOTHER_SIZE.to_owned());
                row.exact = false;
                unread.push(row.id);
            }
            moved += u64::from(from.start != to.start);
            paints.push((keeps.then_some(from), row.blank()));
            if from != to {
                changed.push(row.clone());
            }
        }
        let used_run = layout.used_end();
        let pixels = aside(&self.files, layout.order(), |pixels| self.paint_all(pixels, paints, used_run))?;
        pixels.map.sync()?;
        let compaction = Compaction {
            artifacts: rows.len() as u64,
            moved,
            unread: unread.len() as u64,
            cells_used: layout.used_cells(),
            used_run_before: self.used_end,
            used_run,
            order_before: self.order(),
            order: layout.order(),
        };
        self.replace(pixels, &layout, &changed)?;
        Ok(Compacted { rows, layout, unread, compaction })
    }

    /// Paints every artifact at its new place, with the cells of its old one if there are any.
    fn paint_all(
        &self,
        pixels: &mut Pixels,
        paints: Vec<(Option<Block>, FoldOp)>,
        used_run: u64,
    ) -> Result<(), BrickError> {
        let curve = pixels.map.curve();
        for (from, mut op) in paints {
            if let (Some(from), FoldOp::Fill { block, bytes, .. }) = (from, &mut op) {
                *bytes = Bytes::from(self.cells(from.start, from.cells().min(block.cells())));
            }
            let plan = FoldPlan { ops: vec![op] };
            pixels.prepare(&plan, &self.files.brick)?;
            for op in &plan.ops {
                apply::apply_op(op, pixels.map.body_mut(), curve);
            }
        }
        // Hashes and histogram are computed once, at the end.
        pixels.rescan();
        let header = pixels.header(used_run).encode();
        pixels.map.set_header(&header);
        Ok(())
    }

    /// Tells the catalog, then gives the new brick its name.
    fn replace(&mut self, pixels: Pixels, layout: &Layout, upserts: &[Row]) -> Result<(), BrickError> {
        let mut leaves: BTreeMap<u64, Hash> =
            self.catalog.leaves()?.into_iter().map(|(leaf, _)| (leaf, empty_hash(0))).collect();
        leaves.extend(occupied_leaves(&pixels.merkle));
        let leaves: Vec<_> = leaves.into_iter().collect();
        let size = Some((layout.order(), layout.cap()));
        let changes = Changes { size, upserts, leaves: &leaves, ..Changes::default() };
        self.broken = true;
        self.catalog.apply(&changes, |_| ())?;
        self.catalog.checkpoint()?;
        self.pixels = put_in_place(&self.files, pixels)?;
        self.cap = layout.cap();
        self.used_end = layout.used_end();
        self.broken = false;
        Ok(())
    }
}

/// Ends what a killed compaction (or creation) has begun: the brick aside is the one that the catalog is of.
pub(super) fn finish_replacement(files: &Files, catalog: &Catalog) -> Result<(), BrickError> {
    let order = catalog.meta()?.order;
    let root = catalog.merkle(order)?.root();
    let is_it = |path| {
        let file = files::open_read(path).ok()?;
        let header = Header::decode(&files::read_prefix(&file, path, crate::brick::format::HEADER_LEN).ok()?);
        Some(header.is_ok_and(|header| (header.order, header.hash) == (order, root)))
    };
    let aside = files.new_brick();
    if is_it(&aside) == Some(true) && is_it(&files.brick) != Some(true) {
        files::rename(&aside, &files.brick)?;
        files.sync_dir()?;
    }
    Ok(())
}

/// Where a first fold puts everything.
fn places(
    rows: &[Row],
    exact: bool,
) -> Result<(Layout, HashMap<ArtifactId, Block>), crate::fold::LayoutError> {
    let items: Vec<FirstFoldItem<'_>> = rows.iter().map(Row::to_place).collect();
    let fold = first_fold(&items, K_CAP, exact)?;
    Ok((fold.layout, fold.blocks.into_iter().collect()))
}
