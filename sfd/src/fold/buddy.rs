//! The free space of a curve: a buddy allocator whose requests name a goal.

use std::collections::BTreeSet;

use super::{Block, K_CAP_EXACT, K_MIN};

/// Number of block sizes.
const SIZES: usize = (K_CAP_EXACT - K_MIN + 1) as usize;

/// Free blocks, one ordered set per size. Two free buddies are always merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Buddy {
    free: Vec<BTreeSet<u64>>,
    cells: u64,
}

impl Buddy {
    /// A curve of `4^order` cells, all free.
    pub(super) fn new(order: u8) -> Self {
        let mut buddy = Self { free: vec![BTreeSet::new(); SIZES], cells: 0 };
        buddy.release(Block { start: 0, k: 2 * order });
        buddy
    }

    /// Free cells.
    pub(super) fn cells(&self) -> u64 {
        self.cells
    }

    /// Free blocks, by size and then by place.
    pub(super) fn iter(&self) -> impl Iterator<Item = Block> {
        self.free
            .iter()
            .zip(K_MIN..)
            .flat_map(|(starts, k)| starts.iter().map(move |&start| Block { start, k }))
    }

    fn set(&mut self, k: u8) -> &mut BTreeSet<u64> {
        &mut self.free[usize::from(k - K_MIN)]
    }

    /// The place for a block of `2^k` cells whose start is nearest to `goal`. Of two equally near, the one that
    /// breaks the smaller free block, then the lower.
    pub(super) fn nearest(&self, k: u8, goal: u64) -> Option<Block> {
        let size = 1_u64 << k;
        let mut best: Option<(u64, u64)> = None;
        for (starts, free_k) in self.free.iter().zip(K_MIN..).skip(usize::from(k - K_MIN)) {
            let below = starts.range(..=goal).next_back();
            let above = starts.range(goal..).next();
            for &start in below.into_iter().chain(above) {
                let last = start + (1 << free_k) - size;
                let down = (goal / size * size).clamp(start, last);
                let up = goal.div_ceil(size).saturating_mul(size).clamp(start, last);
                for place in [down, up] {
                    let distance = place.abs_diff(goal);
                    if best.is_none_or(|(d, _)| distance < d) {
                        best = Some((distance, place));
                    }
                }
            }
        }
        best.map(|(_, start)| Block { start, k })
    }

    /// Takes a block out of the free space. `false` (and no change) when it is not wholly inside one free block.
    pub(super) fn take(&mut self, block: Block) -> bool {
        let Some(from) = self.containing(block) else {
            return false;
        };
        self.set(from.k).remove(&from.start);
        self.cells -= block.cells();
        let mut rest = from;
        while rest.k > block.k {
            let half = rest.k - 1;
            let upper = rest.start + (1 << half);
            let (keep, give) = if block.start >= upper { (upper, rest.start) } else { (rest.start, upper) };
            self.set(half).insert(give);
            rest = Block { start: keep, k: half };
        }
        true
    }

    fn containing(&self, block: Block) -> Option<Block> {
        (block.k..=K_CAP_EXACT)
            .map(|k| Block { start: block.start >> k << k, k })
            .find(|b| self.free[usize::from(b.k - K_MIN)].contains(&b.start))
    }

    /// Whether every cell of `block` is free.
    pub(super) fn is_free(&self, block: Block) -> bool {
        // Free buddies are merged, so a free aligned run is inside one free block.
        self.containing(block).is_some()
    }

    /// Gives a block back and merges it with its buddy, as far up as that is free.
    pub(super) fn release(&mut self, block: Block) {
        self.cells += block.cells();
        let Block { mut start, mut k } = block;
        while k < K_CAP_EXACT && self.set(k).remove(&(start ^ (1 << k))) {
            start &= !(1 << k);
            k += 1;
        }
        self.set(k).insert(start);
    }
}
