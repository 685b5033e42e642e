//! A sealed copy of a brick, of one moment, even while another process writes it.
//!
//! The writer of a live brick is not stopped. A pass takes the leaf hashes of one moment from the catalog and copies
//! the leaves whose copies do not have them. Most passes copy little, so that soon one ends before the next commit:
//! then all pixels have the hashes of that moment, and the rows of the same moment go with them.

use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

use super::reader::{Brick, PATIENCE, Source};
use super::sealed::{SealOptions, SealedWriter};
use super::{ArtifactId, BrickError, Catalog, Row};
use crate::artifact::Regions;
use crate::brick::format::Header;
use crate::fold::merkle::{Hash, empty_hash, hash_of_leaf, leaf_block, leaf_count};

/// What is in a brick: rows, and the named parts of those that have some.
type Artifacts = (Vec<Row>, HashMap<ArtifactId, Regions>);

/// A copy that is being made of a live brick.
struct Copy {
    writer: SealedWriter,
    /// What the pixels of each leaf in `writer` hash to.
    leaves: Vec<Hash>,
}

impl Brick {
    /// Copies this brick into a sealed one, compressed or not.
    ///
    /// # Errors
    /// A leaf is damaged, or changes so fast that no moment could be had within five seconds; or the brick is one of
    /// another program, which has no index. Then there is no file, or the one that was there before.
    pub fn seal(&self, out: &Path, options: SealOptions) -> Result<Header, BrickError> {
        match &self.source {
            Source::Foreign => {
                Err(BrickError::invalid(self.path(), "another program's, it has no artifacts"))
            }
            Source::Live(catalog) => self.seal_live(catalog, out, options),
            Source::Sealed { rows, regions, leaves, cap, .. } => {
                let mut writer = SealedWriter::create(out, self.header().order, *cap, options)?;
                for (leaf, hash) in (0..).zip(leaves).filter(|(_, hash)| **hash != empty_hash(0)) {
                    let pixels = self.leaf_in(self.view(), leaf)?;
                    if hash_of_leaf(&pixels) != *hash {
                        return Err(self.unsettled(leaf, "damaged, sfd verify tells more"));
                    }
                    writer.put_leaf(leaf, pixels.as_slice())?;
                }
                writer.set_rows(rows.clone(), regions.clone());
                writer.finish()
            }
        }
    }

    fn seal_live(&self, catalog: &Catalog, out: &Path, options: SealOptions) -> Result<Header, BrickError> {
        let mut copy = None;
        // Runs from the end of the first pass, which reads everything, however large that is.
        let mut deadline = None;
        loop {
            match catalog.snapshot(|catalog| self.pass(catalog, &mut copy, out, options))? {
                Ok((rows, regions)) => {
                    // A pass that gives rows has a copy.
                    let Some(Copy { mut writer, .. }) = copy else { continue };
                    writer.set_rows(rows, regions);
                    return writer.finish();
                }
                Err(leaf) => {
                    let deadline = *deadline.get_or_insert_with(|| Instant::now() + PATIENCE);
                    if self.retry(deadline, |_| Ok(()))?.is_none() {
                        return Err(self.unsettled(leaf, "written without a pause, or damaged; try again"));
                    }
                }
            }
        }
    }

    /// Copies what differs from the catalog's present state, in whose snapshot this runs. Gives its rows when all
    /// pixels belong to them, else the first leaf that does not.
    fn pass(
        &self,
        catalog: &Catalog,
        copy: &mut Option<Copy>,
        out: &Path,
        options: SealOptions,
    ) -> Result<Result<Artifacts, u64>, BrickError> {
        let meta = catalog.meta()?;
        // Growth puts another file in the place of the one that was opened.
        let view = self.fresh_view()?;
        if view.header.order != meta.order {
            return Ok(Err(0));
        }
        if copy.as_ref().is_none_or(|copy| copy.writer.order() != meta.order) {
            let leaves = vec![empty_hash(0); leaf_count(meta.order) as usize];
            let writer = SealedWriter::create(out, meta.order, meta.cap, options)?;
            *copy = Some(Copy { writer, leaves });
        }
        let Some(Copy { writer, leaves }) = copy else { return Ok(Err(0)) };
        let mut expected = vec![empty_hash(0); leaves.len()];
        for (leaf, hash) in catalog.leaves()? {
            match expected.get_mut(leaf as usize) {
                Some(slot) => *slot = hash,
                None => return Err(catalog.corrupt(format!("leaf {leaf} is outside the curve"))),
            }
        }
        let mut unsettled = None;
        for ((leaf, expected), copied) in (0..).zip(&expected).zip(leaves) {
            if copied == expected {
                continue;
            }
            let pixels = self.leaf_in(&view, leaf)?;
            writer.put_leaf(leaf, pixels.as_slice())?;
            *copied = hash_of_leaf(&pixels);
            if copied != expected {
                unsettled.get_or_insert(leaf);
            }
        }
        match unsettled {
            Some(leaf) => Ok(Err(leaf)),
            None => Ok(Ok((catalog.rows()?, catalog.all_regions()?))),
        }
    }

    fn unsettled(&self, leaf: u64, why: &str) -> BrickError {
        let block = leaf_block(self.header().order, leaf);
        BrickError::invalid(self.path(), format!("cells {}..{} are {why}", block.start, block.end()))
    }
}
