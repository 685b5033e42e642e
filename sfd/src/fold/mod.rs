//! Stage 5: where an artifact is on the Hilbert curve, and which pixels change. Pure: no I/O, no clock.
//!
//! ```text
//! layout   who owns which block            buddy   the free space under it
//! first    the canonical first placement   curve   cell <-> pixel, by 8x8 tables
//! apply    a FoldPlan onto RGBA pixels     merkle  hashes over those pixels
//! ```
#![forbid(unsafe_code)]

use bytes::Bytes;

pub mod apply;
mod buddy;
pub mod curve;
pub mod first;
pub mod histogram;
pub mod layout;
pub mod merkle;
#[cfg(test)]
mod proptests;

pub use apply::{FoldError, apply};
pub use curve::Curve;
pub use first::{FirstFold, FirstFoldItem, first_fold};
pub use histogram::Histogram;
pub use layout::{Layout, LayoutError, k_for_len};
pub use merkle::{Differing, LEAF_CELLS, Merkle};

/// Smallest block: 2^6 cells, an 8x8 square, the unit of the fold tables.
pub const K_MIN: u8 = 6;
/// Largest block: 2^16 cells, a 256x256 square. Larger files are folded as a digest (or with `--exact`).
pub const K_CAP: u8 = 16;
/// The cap of an exact layout (`--exact`): no file is folded as a digest.
pub const K_CAP_EXACT: u8 = 2 * ORDER_MAX_EXACT;
/// Smallest order: one 8x8 block.
pub const ORDER_MIN: u8 = 3;
/// Largest order that public V2BR readers can address: they compute `width * height * 4` in 32 bits.
pub const ORDER_MAX: u8 = 14;
/// Largest order of an exact layout: a body of 4 TiB, beyond any disk this is meant for.
pub const ORDER_MAX_EXACT: u8 = 20;

/// An aligned run of `2^k` cells of the curve: a square (even `k`) or a 2:1 domino (odd `k`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Block {
    /// First cell; a multiple of `2^k`.
    pub start: u64,
    /// Base-2 logarithm of the number of cells.
    pub k: u8,
}

impl Block {
    /// A block as a file says it is: `None` if no curve is large enough for it. It may still be misaligned.
    pub(crate) fn from_disk(start: u64, k: u8) -> Option<Self> {
        (k <= K_CAP_EXACT && start < 1 << K_CAP_EXACT).then_some(Self { start, k })
    }
    /// Number of cells.
    pub fn cells(self) -> u64 {
        1 << self.k
    }
    /// One past the last cell.
    pub fn end(self) -> u64 {
        self.start + self.cells()
    }
    /// Whether the start is a multiple of the size and the size is one the fold can handle.
    pub fn is_aligned(self) -> bool {
        (K_MIN..=K_CAP_EXACT).contains(&self.k) && self.start.is_multiple_of(self.cells())
    }
    /// Whether the two share a cell.
    pub fn overlaps(self, other: Self) -> bool {
        self.start < other.end() && other.start < self.end()
    }
}

/// The G and B channels of an artifact's pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint {
    /// G: kind code, never 0 for an occupied cell.
    pub kind: u8,
    /// B: risk 0-4 in the high nibble, flags in the low one.
    pub flags: u8,
}

/// Bit 0 of [`Paint::flags`]: contents are redacted.
pub const FLAG_REDACTED: u8 = 1;
/// Bit 1: the cells are a digest, not the bytes.
pub const FLAG_DIGEST: u8 = 2;
/// Bit 2: not verified against the source since a loss or a failed read.
pub const FLAG_UNVERIFIED: u8 = 4;
/// Bit 3: a language model described it.
pub const FLAG_LLM: u8 = 8;

/// One step of a [`FoldPlan`]. Each touches only the cells of the blocks it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoldOp {
    /// R from `bytes` (zero past their end), G and B from `paint`, A = 255.
    Fill {
        /// Where.
        block: Block,
        /// At most `block.cells()` bytes.
        bytes: Bytes,
        /// G and B.
        paint: Paint,
    },
    /// Only G and B.
    Repaint {
        /// Where.
        block: Block,
        /// G and B.
        paint: Paint,
    },
    /// Moves nothing but pixels: all four channels of `from` to `to` (same `k`).
    Copy {
        /// Source.
        from: Block,
        /// Destination.
        to: Block,
    },
    /// All four channels to 0.
    Clear {
        /// Where.
        block: Block,
    },
}

impl FoldOp {
    /// The block whose pixels the step writes.
    pub fn target(&self) -> Block {
        match self {
            Self::Fill { block, .. } | Self::Repaint { block, .. } | Self::Clear { block } => *block,
            Self::Copy { to, .. } => *to,
        }
    }
}

/// What to do to the pixels, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoldPlan {
    /// Steps.
    pub ops: Vec<FoldOp>,
}
