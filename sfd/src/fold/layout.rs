//! Who owns which block of the curve.
//!
//! Stability is the point: people learn where things are. No operation moves an artifact that is not its subject.

use std::collections::BTreeMap;

use super::buddy::Buddy;
use super::{Block, K_CAP, K_CAP_EXACT, K_MIN, ORDER_MAX, ORDER_MAX_EXACT, ORDER_MIN};
use crate::brick::ArtifactId;

/// Base-2 logarithm of the block for contents of `len` bytes: at least 64 cells, at most `2^cap`.
pub fn k_for_len(len: u64, cap: u8) -> u8 {
    let log2 = len.checked_next_power_of_two().map_or(64, u64::trailing_zeros);
    (log2 as u8).clamp(K_MIN, cap.max(K_MIN))
}

/// Why blocks cannot be laid out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The start is not a multiple of the size, or the size is not possible.
    #[error("block at cell {} of 2^{} cells is not aligned", .0.start, .0.k)]
    Misaligned(Block),
    /// The block ends after the curve.
    #[error("block at cell {} of 2^{} cells is outside a curve of order {order}", .block.start, .block.k)]
    Outside {
        /// The block.
        block: Block,
        /// Order of the curve.
        order: u8,
    },
    /// Two blocks share cells.
    #[error("artifact {} at cell {} of 2^{} cells lies on another artifact's block", .owner.0, .block.start, .block.k)]
    Overlap {
        /// The block added second.
        block: Block,
        /// Its owner.
        owner: ArtifactId,
    },
    /// The curve cannot grow further.
    #[error(
        "a brick cannot grow beyond order {max} (readers of the format compute its size in 32 bits); \
         watch less, or fold with --exact"
    )]
    OrderLimit {
        /// The largest order allowed here.
        max: u8,
    },
    /// The tree given to a first fold is not a tree.
    #[error("artifact {} has no place in the tree: {reason}", .id.0)]
    NotATree {
        /// The artifact.
        id: ArtifactId,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// What a block has to do when the length of its contents changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resize {
    /// The block still has the right size.
    Stay,
    /// The contents need a block of `2^k` cells: [`Layout::resize`].
    Change {
        /// Base-2 logarithm of the new size.
        k: u8,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Used {
    owner: ArtifactId,
    k: u8,
}

/// The blocks of one curve: used ones with their owners, and the free space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    order: u8,
    cap: u8,
    used: BTreeMap<u64, Used>,
    free: Buddy,
}

impl Layout {
    /// An empty curve of `4^order` cells. A cap above [`K_CAP`] makes the layout *exact*: it may grow beyond
    /// [`ORDER_MAX`].
    pub fn new(order: u8, cap: u8) -> Self {
        let order = order.clamp(ORDER_MIN, ORDER_MAX_EXACT);
        Self { order, cap: cap.clamp(K_MIN, K_CAP_EXACT), used: BTreeMap::new(), free: Buddy::new(order) }
    }

    /// The layout that a catalog describes.
    ///
    /// # Errors
    /// The first block that is misaligned, outside the curve, or on another block.
    pub fn from_blocks(
        order: u8,
        cap: u8,
        blocks: impl IntoIterator<Item = (Block, ArtifactId)>,
    ) -> Result<Self, LayoutError> {
        let mut layout = Self::new(order, cap);
        for (block, owner) in blocks {
            layout.place(block, owner)?;
        }
        Ok(layout)
    }

    /// Puts an artifact at a given place.
    ///
    /// # Errors
    /// The place is misaligned, outside the curve, or not free.
    pub fn place(&mut self, block: Block, owner: ArtifactId) -> Result<(), LayoutError> {
        if !block.is_aligned() {
            return Err(LayoutError::Misaligned(block));
        }
        if block.end() > self.cells() {
            return Err(LayoutError::Outside { block, order: self.order });
        }
        if !self.free.take(block) {
            return Err(LayoutError::Overlap { block, owner });
        }
        self.used.insert(block.start, Used { owner, k: block.k });
        Ok(())
    }

    /// Base-2 logarithm of the side of the curve.
    pub fn order(&self) -> u8 {
        self.order
    }

    /// Base-2 logarithm of the largest block.
    pub fn cap(&self) -> u8 {
        self.cap
    }

    /// Cells of the curve.
    pub fn cells(&self) -> u64 {
        1 << (2 * self.order)
    }

    /// Cells of free blocks.
    pub fn free_cells(&self) -> u64 {
        self.free.cells()
    }

    /// Cells of used blocks.
    pub fn used_cells(&self) -> u64 {
        self.cells() - self.free_cells()
    }

    /// One past the highest used cell: the length of the *used run*.
    pub fn used_end(&self) -> u64 {
        self.used.last_key_value().map_or(0, |(&start, used)| Block { start, k: used.k }.end())
    }

    /// Number of used blocks.
    pub fn len(&self) -> usize {
        self.used.len()
    }

    /// Whether nothing is placed.
    pub fn is_empty(&self) -> bool {
        self.used.is_empty()
    }

    /// Used blocks with their owners, in curve order.
    pub fn iter(&self) -> impl Iterator<Item = (Block, ArtifactId)> {
        self.used.iter().map(|(&start, used)| (Block { start, k: used.k }, used.owner))
    }

    /// Free blocks, small ones first.
    pub fn free_blocks(&self) -> impl Iterator<Item = Block> {
        self.free.iter()
    }

    /// Who owns a cell, and the block it is in.
    pub fn owner_of(&self, cell: u64) -> Option<(Block, ArtifactId)> {
        let (&start, used) = self.used.range(..=cell).next_back()?;
        let block = Block { start, k: used.k };
        (cell < block.end()).then_some((block, used.owner))
    }

    /// Takes the free block of `2^k` cells whose start is nearest to `goal`; of two equally near, the one that
    /// breaks the smaller free block, then the lower. `None`: nothing fits, [`grow`](Self::grow) first.
    pub fn alloc(&mut self, k: u8, goal: u64, owner: ArtifactId) -> Option<Block> {
        let block = self.free.nearest(k.clamp(K_MIN, K_CAP_EXACT), goal)?;
        self.free.take(block);
        self.used.insert(block.start, Used { owner, k: block.k });
        Some(block)
    }

    /// Gives a block back. Returns its owner; `None` when there is no such block.
    pub fn free(&mut self, block: Block) -> Option<ArtifactId> {
        let owner = self.used.get(&block.start).filter(|used| used.k == block.k)?.owner;
        self.used.remove(&block.start);
        self.free.release(block);
        Some(owner)
    }

    /// Whether contents of `len` bytes fit a block of `2^k` cells as tightly as a new one would.
    pub fn resize_needed(&self, k: u8, len: u64) -> Resize {
        match k_for_len(len, self.cap) {
            same if same == k => Resize::Stay,
            k => Resize::Change { k },
        }
    }

    /// Gives an artifact a block of `2^k` cells: at the same start if it shrinks or if the cells after it are free,
    /// otherwise the place nearest to where it was. The old block is free afterwards, apart from what the new one
    /// covers. `None`: nothing fits (or there is no such block) and nothing changed.
    pub fn resize(&mut self, block: Block, k: u8) -> Option<Block> {
        let owner = self.used.get(&block.start).filter(|used| used.k == block.k)?.owner;
        let in_place = Block { start: block.start, k };
        // The cells that growing in place would add: one aligned block per doubling.
        let added_is_free = |j: u8| self.free.is_free(Block { start: block.start + (1 << j), k: j });
        let fits = in_place.is_aligned() && in_place.end() <= self.cells() && (block.k..k).all(added_is_free);
        let new = if fits {
            self.used.remove(&block.start);
            self.free.release(block);
            self.free.take(in_place);
            in_place
        } else {
            let new = self.free.nearest(k.clamp(K_MIN, K_CAP_EXACT), block.start)?;
            self.free.take(new);
            self.used.remove(&block.start);
            self.free.release(block);
            new
        };
        self.used.insert(new.start, Used { owner, k: new.k });
        Some(new)
    }

    /// Adds two orders: sixteen times the cells. No cell changes its pixel.
    ///
    /// # Errors
    /// The curve is as large as public readers can address (or, for an exact layout, as large as supported).
    pub fn grow(&mut self) -> Result<u8, LayoutError> {
        let max = if self.cap > K_CAP { ORDER_MAX_EXACT } else { ORDER_MAX };
        if self.order + 2 > max {
            return Err(LayoutError::OrderLimit { max });
        }
        for k in 2 * self.order..2 * self.order + 4 {
            self.free.release(Block { start: 1 << k, k });
        }
        self.order += 2;
        Ok(self.order)
    }
}
