//! The pixels of a brick being written, with everything that must follow them: Merkle tree and histogram.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::error::IoContext;
use super::format::{HEADER_LEN, Header};
use super::map::BodyMut;
use super::{BrickError, Leaf, files};
use crate::fold::merkle::{Hash, Merkle, empty_hash, leaf_block, leaf_count, leaf_hash, leaves_of};
use crate::fold::{Block, Curve, FoldPlan, Histogram, apply};

/// Pages of the old body without a pixel are not written into a grown one: it stays sparse.
const COPY_CHUNK: usize = 4096;

/// A mapped brick file and what is derived from its pixels.
#[derive(Debug)]
pub(super) struct Pixels {
    pub(super) map: BodyMut,
    pub(super) merkle: Merkle,
    pub(super) histogram: Histogram,
}

impl Pixels {
    /// A new brick file without a pixel, under a name that must not exist.
    pub(super) fn create(path: &Path, order: u8) -> Result<Self, BrickError> {
        Self::blank(files::create_new(path)?, path, order)
    }

    /// The same in an empty file that is open already; `path` is for errors.
    pub(super) fn blank(file: File, path: &Path, order: u8) -> Result<Self, BrickError> {
        let map = BodyMut::new(file, path, order)?;
        Ok(Self { map, merkle: Merkle::empty(order), histogram: Histogram::default() })
    }

    /// An existing file; every pixel is read and hashed.
    pub(super) fn scan(map: BodyMut) -> Result<Self, BrickError> {
        let order = map.curve().order();
        let mut pixels = Self { map, merkle: Merkle::empty(order), histogram: Histogram::default() };
        pixels.rescan();
        pixels.map.check()?;
        Ok(pixels)
    }

    /// Reads and hashes every pixel.
    pub(super) fn rescan(&mut self) {
        let (order, body, bands) = (self.order(), self.map.body(), self.map.bands());
        let present = (0..leaf_count(order)).filter(|&leaf| bands.has(leaf_block(order, leaf).start));
        self.merkle = Merkle::of_leaves(order, present.map(|leaf| (leaf, leaf_hash(body, order, leaf))));
        self.histogram = Histogram::default();
        for range in bands.ranges() {
            self.histogram.add_pixels(&body[range]);
        }
    }

    /// Sets a bit of B in every occupied pixel. Returns the leaves that may have changed, with their new hashes.
    pub(super) fn set_flag_everywhere(&mut self, flag: u8) -> Vec<(u64, Hash)> {
        let ranges: Vec<_> = self.map.bands().ranges().collect();
        let mut changed = false;
        for range in ranges {
            changed |= apply::set_flag_everywhere(&mut self.map.body_mut()[range], flag);
        }
        let occupied = (0..).zip(self.merkle.leaves()).filter(|(_, hash)| changed && **hash != empty_hash(0));
        let leaves: Vec<u64> = occupied.map(|(leaf, _)| leaf).collect();
        self.merkle.update(self.map.body(), self.map.curve().order(), leaves)
    }

    /// Puts a leaf where it belongs, with its hash. The histogram is left as it is.
    pub(super) fn put(&mut self, leaf: &Leaf) -> Result<(), BrickError> {
        let curve = self.map.curve();
        let block = leaf_block(curve.order(), leaf.index());
        self.map.reserve(rows_of(curve, block))?;
        let pixels = &leaf.pixels()[..block.cells() as usize * 4];
        apply::write_rgba(self.map.body_mut(), curve, block.start, pixels);
        self.merkle.set([(leaf.index(), leaf.hash())]);
        Ok(())
    }

    pub(super) fn order(&self) -> u8 {
        self.map.curve().order()
    }

    /// The header that belongs to these pixels.
    pub(super) fn header(&self, used_end: u64) -> Header {
        Header::new(self.order(), used_end, self.histogram.entropy(), self.merkle.root())
    }

    /// Everything about a plan that can fail: whether it fits the curve, the file's length, disk space. Returns the
    /// blocks it writes.
    pub(super) fn prepare(&mut self, plan: &FoldPlan, path: &Path) -> Result<Vec<Block>, BrickError> {
        apply::check(plan, self.order())
            .map_err(|source| BrickError::Fold { path: path.to_owned(), source })?;
        self.map.check()?;
        let blocks = apply::affected(plan);
        for &block in &blocks {
            let rows = rows_of(self.map.curve(), block);
            self.map.reserve(rows)?;
        }
        Ok(blocks)
    }

    /// Applies a prepared plan that writes `blocks`. The cost is that of the leaves they lie in and their paths.
    /// Returns those leaves with their new hashes.
    pub(super) fn apply(&mut self, plan: &FoldPlan, blocks: &[Block]) -> Vec<(u64, Hash)> {
        let curve = self.map.curve();
        for &block in blocks {
            self.histogram.remove(self.map.body(), curve, block);
        }
        for op in &plan.ops {
            apply::apply_op(op, self.map.body_mut(), curve);
        }
        for &block in blocks {
            self.histogram.add(self.map.body(), curve, block);
        }
        let leaves = blocks.iter().flat_map(|&block| leaves_of(block));
        self.merkle.update(self.map.body(), curve.order(), leaves)
    }

    /// A file at `path` with the same pixels on a larger curve of the same parity: the old square is its upper left
    /// corner. Synced.
    pub(super) fn grown(&self, path: &Path, order: u8, used_end: u64) -> Result<Self, BrickError> {
        let file = files::create_new(path)?;
        file.set_len(HEADER_LEN as u64 + Curve::new(order).body_len()).doing("extend", path)?;
        let (old_row, new_row) = (self.map.curve().side() as usize * 4, Curve::new(order).side() * 4);
        let rows = self.map.bands().ranges().flat_map(|range| range.step_by(old_row));
        for at in rows {
            let row = (at / old_row) as u64 * new_row;
            for (chunk, bytes) in (0..).zip(self.map.body()[at..at + old_row].chunks(COPY_CHUNK)) {
                if bytes.iter().any(|&byte| byte != 0) {
                    let at = HEADER_LEN as u64 + row + chunk * COPY_CHUNK as u64;
                    file.write_all_at(bytes, at).doing("write", path)?;
                }
            }
        }
        self.map.check()?;
        let map = BodyMut::new(file, path, order)?;
        let mut pixels = Self { map, merkle: self.merkle.grown(order), histogram: self.histogram.clone() };
        pixels.map.reserve(0..1)?;
        let header = pixels.header(used_end).encode();
        pixels.map.set_header(&header);
        pixels.map.sync()?;
        Ok(pixels)
    }
}

/// The rows of pixels that a block lies in; for a domino those of the square around it.
fn rows_of(curve: Curve, block: Block) -> std::ops::Range<u64> {
    let side = 1_u64 << block.k.div_ceil(2);
    let (_, y) = curve.xy(block.start);
    let first = u64::from(y) / side * side;
    first..first + side
}
