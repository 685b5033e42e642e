//! Opening a brick after its writer ended, in whatever way.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use super::LiveBrick;
use super::compact::finish_replacement;
use super::create::{occupied_leaves, write_aside};
use crate::brick::catalog::{Catalog, CatalogMeta, Changes};
use crate::brick::error::IoContext;
use crate::brick::files::{self, Files};
use crate::brick::format::{FLAG_COMPRESSED, HEADER_LEN, Header, TRAILER_NONE};
use crate::brick::map::BodyMut;
use crate::brick::pixels::Pixels;
use crate::brick::{ArtifactId, BrickError, Commit, Row, verify};
use crate::fold::merkle::{Hash, LEAF_BYTES, empty_hash, leaf_block, leaf_count, leaves_of};
use crate::fold::{Block, FoldOp, FoldPlan, Layout, ORDER_MAX_EXACT, ORDER_MIN, apply};

/// What `open` could not trust. What it names is unverified in rows and pixels already: a crash before it has been
/// read again loses nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Every pixel has the hash that the catalog says, and no commit was under way.
    Clean,
    /// These artifacts must be read again; the others are proved by their hashes.
    Refold {
        /// Which, in curve order.
        artifacts: Vec<ArtifactId>,
        /// What was found.
        reason: String,
    },
    /// There was no usable brick: it has been made anew, blank, everything at its place. Read everything again.
    RebuildAll {
        /// What was found.
        reason: String,
    },
}

impl LiveBrick {
    /// Opens an existing brick for writing, with its rows in the order of their ids.
    ///
    /// Every pixel is read and hashed (one to three seconds per GiB in use), and compared with its row. A leaf whose hash is
    /// not the catalog's, or whose pixels are not what the rows say, is cleared, and the artifacts in it are blank and unverified from then on; artifacts in blocks that a commit was
    /// writing become unverified. A brick that is missing, truncated or not a brick is made anew from the catalog.
    ///
    /// # Errors
    /// [`BrickError::needs_baseline`] when the catalog is missing or damaged: only [`create`](Self::create) helps.
    pub fn open(dir: &Path, name: &str) -> Result<(Self, Vec<Row>, Recovery), BrickError> {
        let files = Files::new(dir, name)?;
        if !files.catalog.try_exists().doing("look for", &files.catalog)? {
            // Before the lock: a directory that is not there has none.
            return Err(BrickError::CatalogMissing { path: files.catalog });
        }
        let lock = files.lock()?;
        let catalog = Catalog::open(&files.catalog)?;
        let meta = catalog.meta()?;
        if !(ORDER_MIN..=ORDER_MAX_EXACT).contains(&meta.order) {
            return Err(catalog.corrupt(format!("order {}", meta.order)));
        }
        finish_replacement(&files, &catalog)?;
        files.remove_leftovers()?;
        let mut rows = catalog.rows()?;

        let found = find_pixels(&files, meta.order)?;
        let order = found.as_ref().map_or(meta.order, Pixels::order);
        let used_end = Layout::from_blocks(order, meta.cap, rows.iter().map(|row| (row.block, row.id)))
            .map_err(|source| catalog.corrupt(source.to_string()))?
            .used_end();
        let ids = rows.iter().map(|row| row.id).collect();
        if let Some(problem) = rows.iter().find_map(|row| verify::impossible(row, &ids)) {
            return Err(catalog.corrupt(problem));
        }
        let (pixels, lost) = match found {
            Ok(pixels) => (pixels, None),
            Err(reason) => {
                unverify(&mut rows, |_| true, &reason);
                let plan = FoldPlan { ops: rows.iter().map(Row::blank).collect() };
                (write_aside(&files, order, used_end, &plan)?, Some(reason))
            }
        };
        let CatalogMeta { cap, root_path, .. } = meta;
        let mut brick = Self {
            files,
            _lock: lock,
            pixels,
            catalog,
            root_path,
            cap,
            used_end,
            broken: false,
            keeper: None,
        };
        let recovery = match lost {
            Some(reason) => brick.vouch_for_blank(reason)?,
            None => brick.distrust(&mut rows, meta.order)?,
        };
        Ok((brick, rows, recovery))
    }

    /// The brick was written anew, aside: the catalog is told first. Killed before the rename, the next `open` finds
    /// the same unusable brick and does the same again.
    fn vouch_for_blank(&mut self, reason: String) -> Result<Recovery, BrickError> {
        let mut leaves: BTreeMap<u64, Hash> =
            self.catalog.leaves()?.into_iter().map(|(leaf, _)| (leaf, empty_hash(0))).collect();
        leaves.extend(occupied_leaves(&self.pixels.merkle));
        let leaves: Vec<_> = leaves.into_iter().collect();
        // Whatever was doubtful before: there are no pixels any more, and that must not be forgotten.
        let changes = Changes { leaves: &leaves, unverify_all: Some((&reason, true)), ..Changes::default() };
        self.catalog.apply(&changes, |_| ())?;
        files::rename(&self.files.new_brick(), &self.files.brick)?;
        self.files.sync_dir()?;
        self.pixels.map.renamed(&self.files.brick);
        Ok(Recovery::RebuildAll { reason })
    }

    /// Finds what the catalog does not vouch for, and makes it unverified by an ordinary, crash-safe commit.
    fn distrust(&mut self, rows: &mut [Row], order_in_catalog: u8) -> Result<Recovery, BrickError> {
        let order = self.order();
        if order != order_in_catalog {
            // Killed between the rename of a grown brick and the catalog's note of it.
            self.catalog.apply_order(order)?;
        }
        let mut wrong = self.wrong_leaves()?;
        wrong.extend(self.disagreeing_leaves(rows, &wrong));
        let wrong: Vec<Block> = wrong.into_iter().map(|leaf| leaf_block(order, leaf)).collect();
        let marks = Intervals::new(self.catalog.marks()?);
        if wrong.is_empty() && marks.0.is_empty() {
            let header = self.pixels.header(self.used_end).encode();
            self.pixels.map.set_header(&header);
            return Ok(Recovery::Clean);
        }
        let reason = format!(
            "a write was interrupted, or a file was damaged: {} blocks in progress, {} leaves of other contents",
            marks.0.len(),
            wrong.len()
        );
        let mut ops: Vec<FoldOp> = wrong.iter().map(|&block| FoldOp::Clear { block }).collect();
        let wrong = Intervals::new(wrong);
        let artifacts = unverify(rows, |row| wrong.touch(row.block) || marks.touch(row.block), &reason);
        let mut upserts: Vec<Row> =
            rows.iter().filter(|row| wrong.touch(row.block) || marks.touch(row.block)).cloned().collect();
        upserts.sort_unstable_by_key(|row| row.block);
        ops.extend(upserts.iter().map(|row| {
            // Pixels that have the right hash are right; only their standing changes.
            let repaint = FoldOp::Repaint { block: row.block, paint: row.paint() };
            if wrong.touch(row.block) { row.blank() } else { repaint }
        }));
        self.commit(&Commit { plan: FoldPlan { ops }, upserts, ..Commit::default() })?;
        Ok(Recovery::Refold { artifacts, reason })
    }

    /// The leaves whose pixels do not have the hash that the catalog says.
    fn wrong_leaves(&self) -> Result<BTreeSet<u64>, BrickError> {
        let mut expected = self.catalog.leaves()?.into_iter().peekable();
        let mut wrong = BTreeSet::new();
        for (leaf, &hash) in (0..).zip(self.pixels.merkle.leaves()) {
            let vouched =
                expected.next_if(|&(l, _)| l == leaf).map_or_else(|| empty_hash(0), |(_, hash)| hash);
            if hash != vouched {
                wrong.insert(leaf);
            }
        }
        match expected.next() {
            Some((leaf, _)) => Err(self.catalog.corrupt(format!("leaf {leaf} is outside the curve"))),
            None => Ok(wrong),
        }
    }

    /// Of the leaves that are not `wrong`, those whose pixels are not what the rows say: kind, risk, flags, zeros where
    /// nothing is, and the contents of exact artifacts.
    ///
    /// Leaf hashes show that pixels are as they were written. SQLite has no checksums: a damaged row may name another
    /// place, length or hash than the one that was committed, and then pixels and row have to disagree.
    fn disagreeing_leaves(&self, rows: &[Row], wrong: &BTreeSet<u64>) -> BTreeSet<u64> {
        let (order, body) = (self.order(), self.pixels.map.body());
        let mut rows: Vec<Row> = rows.to_vec();
        rows.sort_unstable_by_key(|row| row.block);
        let mut found = BTreeSet::new();
        let (mut next, mut pixels) = (0, Box::new([0; LEAF_BYTES]));
        for leaf in 0..leaf_count(order) {
            let block = leaf_block(order, leaf);
            let here = verify::rows_from(&rows, &mut next, block);
            if self.pixels.merkle.leaves().get(leaf as usize) == Some(&empty_hash(0)) {
                pixels.fill(0);
            } else {
                apply::read_rgba(
                    body,
                    self.pixels.map.curve(),
                    block.start,
                    &mut pixels[..block.cells() as usize * 4],
                );
            }
            if !wrong.contains(&leaf) && verify::compare_channels(block, &pixels, &here).is_some() {
                found.insert(leaf);
            }
        }
        for row in rows.iter().filter(|row| row.is_provable()) {
            let leaves = leaves_of(row.block);
            let is_whole = leaves.clone().all(|leaf| !wrong.contains(&leaf) && !found.contains(&leaf));
            let len = row.len.min(row.block.cells());
            if is_whole && !row.proves(&apply::read_cells(body, order, row.block.start, len)) {
                found.extend(leaves);
            }
        }
        found
    }
}

/// The pixels of a brick file, or why there are none. What says nothing about the file (no permission, an I/O error) is
/// an error.
fn find_pixels(files: &Files, order: u8) -> Result<Result<Pixels, String>, BrickError> {
    let path = &files.brick;
    let file = match files::open_write(path) {
        Err(BrickError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(Err("the brick file was missing".into()));
        }
        opened => opened?,
    };
    let header = match files::read_prefix(&file, path, HEADER_LEN).map(|bytes| Header::decode(&bytes))? {
        Ok(header) => header,
        Err(error) => return Ok(Err(error.to_string())),
    };
    if header.order < order || !(header.order - order).is_multiple_of(2) {
        return Ok(Err(format!("the brick file has order {}, its catalog {order}", header.order)));
    }
    if header.flags & FLAG_COMPRESSED != 0 || header.trailer != Some(TRAILER_NONE) {
        return Ok(Err("the file is not a live brick".into()));
    }
    match BodyMut::new(file, path, header.order).and_then(Pixels::scan) {
        Ok(pixels) => Ok(Ok(pixels)),
        Err(error @ (BrickError::Truncated { .. } | BrickError::PageLost { .. })) => {
            Ok(Err(error.to_string()))
        }
        Err(error) => Err(error),
    }
}

/// Makes rows unverified. Those that already are get the new reason: it says that their pixels are gone, and a writer
/// that takes an old reason for a mere doubt would believe them again. Returns the chosen ones in curve order.
fn unverify(rows: &mut [Row], chosen: impl Fn(&Row) -> bool, reason: &str) -> Vec<ArtifactId> {
    let mut ids = Vec::new();
    for row in rows {
        if chosen(row) {
            row.unverified = Some(reason.to_owned());
            ids.push((row.block.start, row.id));
        }
    }
    ids.sort_unstable();
    ids.into_iter().map(|(_, id)| id).collect()
}

/// Disjoint blocks in curve order.
struct Intervals(Vec<Block>);

impl Intervals {
    fn new(mut blocks: Vec<Block>) -> Self {
        blocks.sort_unstable();
        Self(blocks)
    }

    fn touch(&self, block: Block) -> bool {
        let after = self.0.partition_point(|b| b.start < block.end());
        after > 0 && self.0[after - 1].overlaps(block)
    }
}
