//! A live brick sealed while its writer goes on, as it was at one moment.
//!
//! The moment is a read transaction of the catalog: it gives rows and leaf hashes as one commit left them, however long
//! it stays open. Pixels have no such thing, so they are copied in rounds. Each begins a transaction and copies the
//! leaves whose hash is not yet the one that the transaction says; it is the last one when none is left. The first
//! round copies nearly everything and disturbs nobody; from the second on the writer is asked to *hold* its commits, and
//! what changed during the first is little. The hold is there so that this ends: that the copy is of one moment is
//! shown by its Merkle root. See `docs/decisions/0007-snapshot.md`.

use std::any::Any;
use std::path::Path;
use std::time::{Duration, Instant};

use super::format::Header;
use super::reader::{Brick, PATIENCE};
use super::{BrickError, Catalog, Row, SealOptions, SealedWriter};
use crate::fold::merkle::{Hash, LEAF_CELLS};

/// Pause before a round without a hold: long enough for a commit to end.
const PAUSE: Duration = Duration::from_millis(10);

/// Keeps a writer from committing as long as it lives, or until the writer has had enough of it.
pub type Hold = Box<dyn Any>;

/// What a snapshot is, and what it took.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Header of the sealed brick.
    pub header: Header,
    /// Artifacts in it.
    pub artifacts: u64,
    /// Those that are not verified.
    pub unverified: u64,
    /// Rounds of copying.
    pub rounds: u32,
    /// Leaves copied, those of later rounds again.
    pub leaves: u64,
    /// How long commits were held up, in all rounds.
    pub held: Duration,
}

/// Everything of one moment that is not pixels.
struct Found {
    rows: Vec<Row>,
    root: Hash,
}

/// Seals the live brick `live` as `out`. `hold` asks whoever writes it to wait with the next commit; it gives `None`
/// when nobody writes or nobody answers.
///
/// # Errors
/// The brick cannot be read, is sealed already, is damaged or changes too fast; `out` cannot be written. Then there is no
/// file, or the one that was there before.
pub fn snapshot(
    live: &Path,
    out: &Path,
    options: SealOptions,
    hold: &mut dyn FnMut() -> Option<Hold>,
) -> Result<Snapshot, BrickError> {
    let mut copy = Copy { live, out, options, writer: None, leaves: 0, stale: None };
    let mut held = Duration::ZERO;
    let mut deadline = None;
    for rounds in 1.. {
        let held_by = if rounds > 1 { hold() } else { None };
        let since = Instant::now();
        let found = copy.round(held_by, &mut held)?;
        if let Some(Found { rows, root }) = found
            && let Some(writer) = copy.writer.take()
        {
            let artifacts = rows.len() as u64;
            let unverified = rows.iter().filter(|row| row.unverified.is_some()).count() as u64;
            let header = writer.finish_as(rows, root)?;
            return Ok(Snapshot { header, artifacts, unverified, rounds, leaves: copy.leaves, held });
        }
        if *deadline.get_or_insert(Instant::now() + PATIENCE) < since {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    let start = copy.stale.unwrap_or_default() * LEAF_CELLS;
    let detail = format!(
        "cells {start}..{} do not come to the hash that they should have: they are damaged (sfd verify says more, the \
         daemon heals them when it starts), or change faster than they can be copied",
        start + LEAF_CELLS
    );
    Err(BrickError::invalid(live, detail))
}

/// The copy being made.
struct Copy<'a> {
    live: &'a Path,
    out: &'a Path,
    options: SealOptions,
    writer: Option<SealedWriter>,
    leaves: u64,
    /// A leaf that did not have the hash that it should have, in the last round.
    stale: Option<u64>,
}

impl Copy<'_> {
    /// One round; `None` when some leaf was not that of the moment. Gives the writer free as soon as the pixels are there.
    fn round(&mut self, hold: Option<Hold>, held: &mut Duration) -> Result<Option<Found>, BrickError> {
        let since = hold.is_some().then(Instant::now);
        // Anew each time: growth, compaction and a new baseline replace the files.
        let brick = Brick::open(self.live)?;
        let Some(catalog) = brick.catalog() else {
            return Err(BrickError::invalid(self.live, "it is sealed already"));
        };
        catalog.snapshot(|catalog| {
            let root = self.copy(&brick, catalog);
            drop(hold);
            *held += since.map_or(Duration::ZERO, |since| since.elapsed());
            let Some(root) = root? else { return Ok(None) };
            Ok(Some(Found { rows: catalog.rows()?, root }))
        })
    }

    /// Copies what differs from the present moment. Returns its root if the copy has it then.
    fn copy(&mut self, brick: &Brick, catalog: &Catalog) -> Result<Option<Hash>, BrickError> {
        let meta = catalog.meta()?;
        let now = catalog.merkle(meta.order)?;
        let fits = |writer: &SealedWriter| (writer.order(), writer.cap()) == (meta.order, meta.cap);
        let writer = match self.writer.take().filter(fits) {
            Some(writer) => writer,
            None => SealedWriter::create(self.out, meta.order, meta.cap, self.options)?,
        };
        let writer = self.writer.insert(writer);
        let ask = |level, nodes: &[u64]| Ok::<_, BrickError>(now.hashes(level, nodes));
        let wanted = writer.merkle().differing(ask)?.leaves;
        for leaf in brick.leaves(wanted.iter().copied())? {
            writer.put(&leaf?)?;
            self.leaves += 1;
        }
        let (ours, theirs) = (writer.merkle(), &now);
        let differs = |leaf: &&u64| ours.hashes(0, &[**leaf]) != theirs.hashes(0, &[**leaf]);
        self.stale = wanted.iter().find(differs).copied();
        Ok((ours.root() == theirs.root()).then(|| theirs.root()))
    }
}
