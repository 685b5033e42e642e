//! What a leaf held before it was written over, for somebody who copies the brick as it was.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use super::LiveBrick;
use crate::brick::error::IoContext;
use crate::brick::pixels::Pixels;
use crate::brick::{BrickError, Leaf, files};
use crate::fold::merkle::{LEAF_BYTES, empty_hash, leaf_block};
use crate::fold::{Curve, apply};

/// Pixels are kept for as long as this lives.
#[derive(Debug)]
pub struct Kept {
    /// Held, not used.
    _wanted: Arc<()>,
}

/// Writes them. The file goes with it; whoever has it open can go on reading.
#[derive(Debug)]
pub(super) struct Keeper {
    file: File,
    path: PathBuf,
    /// Leaves in the file, each once: as they were when this began.
    leaves: HashSet<u64>,
    wanted: Weak<()>,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // What remains is removed at the next opening.
        let _ = files::remove(&self.path);
    }
}

impl LiveBrick {
    /// From now on, what a leaf holds at this moment is kept before it is written over, once. At most the whole brick
    /// comes together; what a full disk has no room for is given up, and with it the copy, but never a commit.
    ///
    /// # Errors
    /// Somebody else has asked for it and is not done yet, or no file can be made.
    pub fn keep(&mut self) -> Result<Kept, BrickError> {
        self.drop_unwanted();
        if self.keeper.is_some() {
            return Err(BrickError::invalid(&self.files.brick, "another snapshot of it is being made"));
        }
        let path = self.files.kept();
        files::remove(&path)?;
        let wanted = Arc::new(());
        let keeper = Keeper {
            file: files::create_new(&path)?,
            path,
            leaves: HashSet::new(),
            wanted: Arc::downgrade(&wanted),
        };
        self.keeper = Some(keeper);
        Ok(Kept { _wanted: wanted })
    }

    /// Gives the room back that nobody needs any more.
    pub fn drop_unwanted(&mut self) {
        self.keeper.take_if(|keeper| keeper.wanted.strong_count() == 0);
    }

    /// Keeps some leaves that are about to be written over, if anybody wants them.
    pub(super) fn keep_leaves(&mut self, leaves: impl IntoIterator<Item = u64>) {
        self.drop_unwanted();
        let Some(keeper) = &mut self.keeper else { return };
        if leaves.into_iter().try_for_each(|leaf| keeper.keep(&self.pixels, leaf)).is_err() {
            self.keeper = None;
        }
    }
}

impl Keeper {
    fn keep(&mut self, pixels: &Pixels, leaf: u64) -> io::Result<()> {
        // What is empty everybody has.
        let is_empty = pixels.merkle.leaves().get(leaf as usize).is_none_or(|hash| *hash == empty_hash(0));
        if is_empty || !self.leaves.insert(leaf) {
            return Ok(());
        }
        let mut record = vec![0; RECORD_BYTES];
        let curve = Curve::new(pixels.order());
        let block = leaf_block(curve.order(), leaf);
        let (index, out) = record.split_at_mut(INDEX_BYTES);
        index.copy_from_slice(&leaf.to_le_bytes());
        apply::read_rgba(pixels.map.body(), curve, block.start, &mut out[..block.cells() as usize * 4]);
        self.file.write_all(&record)
    }
}

const INDEX_BYTES: usize = 8;
/// The leaf's number, then its RGBA in curve order.
const RECORD_BYTES: usize = INDEX_BYTES + LEAF_BYTES;

/// Reads what was kept so far, leaf by leaf. A record that is just being written is left out.
pub(in crate::brick) fn read_kept(
    file: &File,
    path: &Path,
    mut each: impl FnMut(Leaf) -> Result<(), BrickError>,
) -> Result<(), BrickError> {
    let mut file = io::BufReader::new(file);
    let mut index = [0; INDEX_BYTES];
    loop {
        let mut pixels = Box::new([0; LEAF_BYTES]);
        let read = file.read_exact(&mut index).and_then(|()| file.read_exact(pixels.as_mut_slice()));
        match read {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            read => read.doing("read", path)?,
        }
        each(Leaf::new(u64::from_le_bytes(index), pixels))?;
    }
}
