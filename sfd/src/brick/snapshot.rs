//! A live brick sealed while its writer goes on, as it was at one moment.
//!
//! The moment is a read transaction of the catalog: it gives rows and leaf hashes as one commit left them, however long
//! it stays open. Pixels have no such thing. So the writer is asked to wait with its next commit until the transaction
//! is open, which is milliseconds, and from then on to *keep* what a leaf held before it writes over it. The copy takes a
//! leaf from the brick if it still has the hash that the transaction says, and else from what was kept. That all of it
//! is of one moment is shown by its Merkle root, and by nothing else: a writer that keeps nothing costs another try.
//! See `docs/decisions/0008-snapshot.md`.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use super::format::Header;
use super::live::read_kept;
use super::reader::{Brick, PATIENCE};
use super::{ArtifactId, BrickError, Catalog, Row, SealOptions, SealedWriter, files};
use crate::artifact::Regions;
use crate::fold::Merkle;
use crate::fold::merkle::{Hash, LEAF_CELLS};

/// Pause before another try: long enough for a commit to end.
const PAUSE: Duration = Duration::from_millis(10);

/// A writer that waits with its next commit, and then keeps what it writes over until this is dropped.
pub trait Keeping {
    /// It may go on writing.
    fn go_on(&mut self);
}

/// What a snapshot is, and what it took.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Header of the sealed brick.
    pub header: Header,
    /// Artifacts in it.
    pub artifacts: u64,
    /// Those that are not verified.
    pub unverified: u64,
    /// How often it had to be tried.
    pub tries: u32,
    /// Leaves copied from the brick.
    pub leaves: u64,
    /// Leaves copied from what the writer had kept.
    pub kept: u64,
    /// How long commits had to wait, in all tries.
    pub held: Duration,
}

/// Seals the live brick `live` as `out`. `keep` asks whoever writes it; it gives `None` when nobody writes or nobody
/// answers.
///
/// # Errors
/// The brick cannot be read, is sealed already, is damaged, or changes while nobody keeps what it was; `out` cannot be
/// written. Then there is no file, or the one that was there before.
pub fn snapshot(
    live: &Path,
    out: &Path,
    options: SealOptions,
    keep: &mut dyn FnMut() -> Option<Box<dyn Keeping>>,
) -> Result<Snapshot, BrickError> {
    let mut copy =
        Copy { live, out, options, writer: None, leaves: 0, kept: 0, held: Duration::ZERO, stale: None };
    let mut deadline = None;
    for tries in 1.. {
        let asked = Instant::now();
        if let Some((rows, regions, root)) = copy.attempt(keep)?
            && let Some(writer) = copy.writer.take()
        {
            let artifacts = rows.len() as u64;
            let unverified = rows.iter().filter(|row| row.unverified.is_some()).count() as u64;
            let header = writer.finish_as(rows, regions, root)?;
            let Copy { leaves, kept, held, .. } = copy;
            return Ok(Snapshot { header, artifacts, unverified, tries, leaves, kept, held });
        }
        if *deadline.get_or_insert(Instant::now() + PATIENCE) < asked {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    let start = copy.stale.unwrap_or_default() * LEAF_CELLS;
    let detail = format!(
        "cells {start}..{} do not come to the hash that they should have: they are damaged (sfd verify says more, the \
         daemon heals them when it starts), or changed while they were copied",
        start + LEAF_CELLS
    );
    Err(BrickError::invalid(live, detail))
}

/// What is in a brick at one moment: rows, the named parts of those that have some, the Merkle root.
type Found = (Vec<Row>, HashMap<ArtifactId, Regions>, Hash);

/// The copy being made.
struct Copy<'a> {
    live: &'a Path,
    out: &'a Path,
    options: SealOptions,
    writer: Option<SealedWriter>,
    leaves: u64,
    kept: u64,
    held: Duration,
    /// A leaf that did not have the hash that it should have, in the last try.
    stale: Option<u64>,
}

impl Copy<'_> {
    /// One try: rows and root of a moment whose pixels are in the copy, or `None`.
    fn attempt(
        &mut self,
        keep: &mut dyn FnMut() -> Option<Box<dyn Keeping>>,
    ) -> Result<Option<Found>, BrickError> {
        let mut keeping = keep();
        let since = Instant::now();
        let kept = keeping.as_ref().map(|_| files::open_read(&files::kept_of(self.live))).transpose()?;
        // Anew each time: growth, compaction and a new baseline replace the files. The one that is opened here stays as
        // it is after that.
        let brick = Brick::open(self.live)?;
        let Some(catalog) = brick.catalog() else {
            return Err(BrickError::invalid(self.live, "it is sealed already"));
        };
        catalog.snapshot(|catalog| {
            // The first read begins the transaction.
            let now = catalog.merkle(catalog.meta()?.order)?;
            if let Some(keeping) = &mut keeping {
                keeping.go_on();
                self.held += since.elapsed();
            }
            let complete = self.copy(&brick, catalog, &now, kept.as_ref())?;
            Ok(if complete { Some((catalog.rows()?, catalog.all_regions()?, now.root())) } else { None })
        })
    }

    /// Copies what differs from the moment; whether all of it could be had.
    fn copy(
        &mut self,
        brick: &Brick,
        catalog: &Catalog,
        now: &Merkle,
        kept: Option<&File>,
    ) -> Result<bool, BrickError> {
        let meta = catalog.meta()?;
        let fits = |writer: &SealedWriter| (writer.order(), writer.cap()) == (meta.order, meta.cap);
        let writer = match self.writer.take().filter(fits) {
            Some(writer) => writer,
            None => SealedWriter::create(self.out, meta.order, meta.cap, self.options)?,
        };
        let writer = self.writer.insert(writer);
        let ask = |level, nodes: &[u64]| Ok::<_, BrickError>(now.hashes(level, nodes));
        let wanted = writer.merkle().differing(ask)?.leaves;
        let mut missing: HashSet<u64> = wanted.iter().copied().collect();
        let is_of_now = |leaf: &super::Leaf| now.leaves().get(leaf.index() as usize) == Some(&leaf.hash());
        for leaf in brick.leaves_in(brick.view(), wanted) {
            let leaf = leaf?;
            if is_of_now(&leaf) {
                writer.put(&leaf)?;
                missing.remove(&leaf.index());
                self.leaves += 1;
            }
        }
        // Kept before it was written over: whatever was found to be changed is there by now.
        if let Some(kept) = kept.filter(|_| !missing.is_empty()) {
            read_kept(kept, self.live, |leaf| {
                if missing.contains(&leaf.index()) && is_of_now(&leaf) {
                    writer.put(&leaf)?;
                    missing.remove(&leaf.index());
                    self.kept += 1;
                }
                Ok(())
            })?;
        }
        self.stale = missing.into_iter().min();
        Ok(self.stale.is_none())
    }
}
