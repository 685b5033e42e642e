//! Any brick of ours as a sealed one.

use std::path::Path;

use super::format::Header;
use super::reader::{Brick, Source, root_of};
use super::{BrickError, SealOptions, SealedWriter, snapshot};
use crate::fold::merkle::empty_hash;

impl Brick {
    /// Copies this brick into a sealed one, compressed or not. A live one is copied as of one moment; its writer is not asked
    /// for anything, so that should it write without a pause, no moment may be had.
    ///
    /// # Errors
    /// A leaf is damaged, or changes so fast that no moment could be had within five seconds; or the brick is one of
    /// another program, which has no index. Then there is no file, or the one that was there before.
    pub fn seal(&self, out: &Path, options: SealOptions) -> Result<Header, BrickError> {
        match &self.source {
            Source::Foreign => {
                Err(BrickError::invalid(self.path(), "another program's, it has no artifacts"))
            }
            Source::Live(_) => Ok(snapshot(self.path(), out, options, &mut || None)?.header),
            Source::Sealed { rows, regions, leaves, cap, .. } => {
                let mut writer = SealedWriter::create(out, self.header().order, *cap, options)?;
                let occupied =
                    (0..).zip(leaves).filter(|(_, hash)| **hash != empty_hash(0)).map(|(leaf, _)| leaf);
                for leaf in self.leaves_in(self.view(), occupied.collect()) {
                    writer.put(&leaf?)?;
                }
                let root = root_of(self.header().order, (0..).zip(leaves.iter().copied()));
                writer.finish_as(rows.clone(), regions.clone(), root)
            }
        }
    }
}
