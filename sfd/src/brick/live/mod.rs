//! A brick that is patched in place while people look at it.
//!
//! A commit is two catalog transactions around the pixels:
//!
//! ```text
//! 1  catalog   the blocks about to be written are marked
//! 2  pixels    memory map: blocks, header (root, entropy, used run)
//! 3  catalog   rows, leaf hashes, history; marks gone
//! ```
//!
//! A process killed between 1 and 3 leaves marks, and pixels whose leaf hashes are not those in the catalog: `open`
//! finds both, blanks what it cannot trust, and says what to read again. Nothing is synced per commit. After a loss
//! of power the disk may hold any mixture of old and new pages on both sides, and the hashes tell that apart in the
//! same way: a leaf is trusted because it has the hash that the catalog says, never because it was written first.

mod compact;
mod create;
mod keep;
mod open;

use std::fs::File;
use std::path::Path;

use super::catalog::{Catalog, Changes, HistoryQuery, Missing, VersionLimits, VersionStats};
use super::files::{self, Files};
use super::pixels::Pixels;
use super::{BrickError, Commit, HistoryRow, Row};
use crate::fold::merkle::{leaf_count, leaves_of};
use crate::fold::{Block, FLAG_UNVERIFIED, K_CAP, LayoutError, ORDER_MAX, ORDER_MAX_EXACT, apply};
use keep::Keeper;

pub use compact::{Compacted, Compaction};
pub use keep::Kept;
pub(super) use keep::read_kept;
pub use open::Recovery;

/// A live brick, held by this process alone.
#[derive(Debug)]
pub struct LiveBrick {
    files: Files,
    /// Held, not used: the lock ends with it.
    _lock: File,
    pixels: Pixels,
    catalog: Catalog,
    root_path: Vec<u8>,
    cap: u8,
    /// One past the highest used cell.
    used_end: u64,
    /// A commit failed after its first transaction: memory, pixels and catalog may disagree.
    broken: bool,
    /// Somebody copies the brick.
    keeper: Option<Keeper>,
}

/// What a commit did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommitStats {
    /// Cells of the blocks written; each is 4 bytes in the file.
    pub cells: u64,
    /// Merkle leaves rehashed.
    pub leaves: u64,
    /// The curve grew: the whole file was written anew.
    pub grown: bool,
}

impl LiveBrick {
    /// The brick file.
    pub fn path(&self) -> &Path {
        &self.files.brick
    }

    /// Order of the curve.
    pub fn order(&self) -> u8 {
        self.pixels.order()
    }

    /// Base-2 logarithm of the largest block.
    pub fn cap(&self) -> u8 {
        self.cap
    }

    /// The watched path, raw bytes.
    pub fn root_path(&self) -> &[u8] {
        &self.root_path
    }

    /// One past the highest used cell: `original_size` of the header.
    pub fn used_end(&self) -> u64 {
        self.used_end
    }

    /// Merkle root over all pixels.
    pub fn root_hash(&self) -> [u8; 32] {
        self.pixels.merkle.root()
    }

    /// The R bytes of some cells.
    pub fn cells(&self, start: u64, len: u64) -> Vec<u8> {
        apply::read_cells(self.pixels.map.body(), self.order(), start, len)
    }

    /// All rows as of the last commit.
    pub fn rows(&self) -> Result<Vec<Row>, BrickError> {
        self.catalog.rows()
    }

    /// Lines of history with their numbers, oldest first.
    pub fn history(&self, query: &HistoryQuery) -> Result<Vec<(i64, HistoryRow)>, BrickError> {
        self.catalog.history(query)
    }

    /// Drops history beyond `rows_max` lines (see [`HISTORY_ROWS_MAX`](super::catalog::HISTORY_ROWS_MAX)) and before
    /// `before_ns` (since the Unix epoch). Returns how many lines were dropped.
    pub fn prune_history(&mut self, rows_max: u64, before_ns: Option<i64>) -> Result<u64, BrickError> {
        self.catalog.prune_history(rows_max, before_ns)
    }

    /// Sets how much is kept of earlier contents, from the next commit on. Without limits nothing is dropped.
    pub fn limit_versions(&mut self, limits: VersionLimits) {
        self.catalog.limit_versions(limits);
    }

    /// What is kept of earlier contents.
    pub fn version_stats(&self) -> VersionStats {
        self.catalog.version_stats()
    }

    /// Drops earlier contents beyond their age at `now_ns` (since the Unix epoch), and those of lines that history has
    /// dropped.
    pub fn drop_old_versions(&mut self, now_ns: i64) -> Result<(), BrickError> {
        self.catalog.drop_old_versions(now_ns)
    }

    /// Goes on with the index of words, by at most `rows_max` artifacts. Returns whether there is more to do. What is not
    /// indexed yet is found all the same, only slower.
    ///
    /// # Errors
    /// The catalog cannot be written. The brick stays usable.
    pub fn index_some(&mut self, rows_max: u32) -> Result<bool, BrickError> {
        self.catalog.index_some(rows_max)
    }

    /// Applies one batch as one crash-safe step. The cost is that of the Merkle leaves it touches and, per leaf, a
    /// path to the root; never that of the brick, unless the curve grows.
    ///
    /// # Errors
    /// Before anything is changed: a plan or row that does not fit, a truncated file, a full disk. After a failure
    /// later on (the catalog cannot be written) every call gives [`BrickError::NeedsReopen`].
    pub fn commit(&mut self, commit: &Commit) -> Result<CommitStats, BrickError> {
        self.check_usable()?;
        let order = commit.grow_to.unwrap_or(self.order());
        self.check_rows(&commit.upserts, order)?;
        let grown = self.grow(order)?;

        let blocks = self.pixels.prepare(&commit.plan, &self.files.brick)?;
        if !blocks.is_empty() {
            self.mark(&blocks)?;
        }
        self.keep_leaves(blocks.iter().flat_map(|block| leaves_of(*block)));
        self.broken = true;
        let leaves = self.pixels.apply(&commit.plan, &blocks);
        self.finish(&Changes {
            upserts: &commit.upserts,
            deletes: &commit.deletes,
            history: &commit.history,
            regions: &commit.regions,
            versions: &commit.versions,
            secret: &commit.secret,
            leaves: &leaves,
            ..Changes::default()
        })?;
        let cells = blocks.iter().map(|block| block.cells()).sum();
        Ok(CommitStats { cells, leaves: leaves.len() as u64, grown })
    }

    /// Shows everything as not verified, in rows and pixels, because events were lost or the watcher was away. Rows
    /// that already are keep their reason. Touches every occupied pixel: the cost is that of the brick.
    pub fn set_unverified_all(&mut self, reason: &str) -> Result<CommitStats, BrickError> {
        self.unverify_all(reason, false)
    }

    /// The rules of what is secret, as the artifacts were last read by; `None` when nobody has noted them.
    pub fn redaction(&self) -> Result<Option<Vec<u8>>, BrickError> {
        self.catalog.redaction()
    }

    /// Notes the rules by which everything on a new brick is going to be read.
    pub fn note_redaction(&mut self, rules: &[u8]) -> Result<(), BrickError> {
        self.catalog.set_redaction(rules)
    }

    /// Other rules apply from now on: everything is unverified until it has been read again, whatever the reason was
    /// before, and no earlier contents are kept. Killed in between, the next opening finds the old rules noted.
    pub fn set_redaction(&mut self, rules: &[u8], reason: &str) -> Result<(), BrickError> {
        self.catalog.drop_all_versions(Missing::OtherRules)?;
        self.unverify_all(reason, true)?;
        self.catalog.set_redaction(rules)
    }

    fn unverify_all(&mut self, reason: &str, anew: bool) -> Result<CommitStats, BrickError> {
        self.check_usable()?;
        let whole = Block { start: 0, k: 2 * self.order() };
        self.mark(&[whole])?;
        self.keep_leaves(0..leaf_count(self.order()));
        self.broken = true;
        let leaves = self.pixels.set_flag_everywhere(FLAG_UNVERIFIED);
        self.finish(&Changes { leaves: &leaves, unverify_all: Some((reason, anew)), ..Changes::default() })?;
        Ok(CommitStats { cells: whole.cells(), leaves: leaves.len() as u64, grown: false })
    }

    /// Fails if the files were truncated, removed or replaced by others, which every write finds out as well. A daemon calls this
    /// now and then, because a quiet brick has no writes. Costs four `stat`s.
    ///
    /// # Errors
    /// [`BrickError::Truncated`], [`BrickError::PageLost`], [`BrickError::Replaced`]; [`open`](Self::open) heals all
    /// of them.
    pub fn check_files(&self) -> Result<(), BrickError> {
        self.pixels.map.check_named()?;
        self.catalog.check_named()
    }

    /// Writes everything to disk. Commits do not wait for the disk (see the module); a daemon calls this now and then
    /// and when it ends, so that little has to be read again after a loss of power.
    ///
    /// # Errors
    /// The disk's, and those of [`Self::check_files`].
    pub fn sync(&self) -> Result<(), BrickError> {
        self.check_files()?;
        self.pixels.map.sync()?;
        self.catalog.checkpoint()
    }

    /// The first transaction.
    fn mark(&mut self, blocks: &[Block]) -> Result<(), BrickError> {
        let marked = self.catalog.mark(blocks);
        self.or_give_up(marked)
    }

    /// Removes a catalog that turned out to be damaged while it was written. The next opening, which does not look at
    /// every page of a long history, might find nothing wrong, and the next write fail again, for ever.
    fn or_give_up(&self, written: Result<(), BrickError>) -> Result<(), BrickError> {
        if written.as_ref().is_err_and(BrickError::needs_baseline) {
            // If even that fails, the error that matters is the first one.
            let _ = files::remove(&self.files.catalog);
        }
        written
    }

    /// The second transaction, with the header written just before it commits.
    fn finish(&mut self, changes: &Changes<'_>) -> Result<(), BrickError> {
        let mut used_end = 0;
        let pixels = &mut self.pixels;
        // The catalog must not learn the hashes of pixels that went into a lost page.
        pixels.map.check()?;
        let applied = self.catalog.apply(changes, |end| {
            used_end = end;
            let header = pixels.header(end).encode();
            pixels.map.set_header(&header);
        });
        self.or_give_up(applied)?;
        self.pixels.map.check()?;
        self.used_end = used_end;
        self.broken = false;
        Ok(())
    }

    fn check_usable(&self) -> Result<(), BrickError> {
        if self.broken {
            return Err(BrickError::NeedsReopen { path: self.files.brick.clone() });
        }
        self.check_files()
    }

    /// Every row must lie on the curve; that they do not overlap is the layout's promise.
    fn check_rows(&self, rows: &[Row], order: u8) -> Result<(), BrickError> {
        let layout = |source| BrickError::Layout { path: self.files.brick.clone(), source };
        for row in rows {
            if !row.block.is_aligned() {
                return Err(layout(LayoutError::Misaligned(row.block)));
            }
            if row.block.end() > 1 << (2 * order) {
                return Err(layout(LayoutError::Outside { block: row.block, order }));
            }
        }
        Ok(())
    }

    /// Grows the curve to `order`. The larger brick is written aside, synced, and renamed over this one: at any moment
    /// there is one whole brick under the name. Killed between the rename and the catalog's note of the new order,
    /// `open` takes the order from the brick, because no cell is elsewhere on the larger curve.
    fn grow(&mut self, order: u8) -> Result<bool, BrickError> {
        let now = self.order();
        if order == now {
            return Ok(false);
        }
        let max = if self.cap > K_CAP { ORDER_MAX_EXACT } else { ORDER_MAX };
        if order > max {
            let source = LayoutError::OrderLimit { max };
            return Err(BrickError::Layout { path: self.files.brick.clone(), source });
        }
        if order < now || !(order - now).is_multiple_of(2) {
            let detail = format!("a brick of order {now} cannot grow to order {order}; it grows by two");
            return Err(BrickError::invalid(&self.files.brick, detail));
        }
        let aside = self.files.new_brick();
        files::remove(&aside)?;
        let mut pixels = match self.pixels.grown(&aside, order, self.used_end) {
            Ok(pixels) => pixels,
            Err(error) => {
                // A full disk, most likely: give the room back. The error that matters is the first one.
                let _ = files::remove(&aside);
                return Err(error);
            }
        };
        files::rename(&aside, &self.files.brick)?;
        self.broken = true;
        pixels.map.renamed(&self.files.brick);
        self.pixels = pixels;
        self.files.sync_dir()?;
        self.finish(&Changes { size: Some((order, self.cap)), ..Changes::default() })?;
        Ok(true)
    }
}
