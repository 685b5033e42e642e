//! Rectangles, blocks and tiles. Pure.

use serde::Serialize;

use crate::fold::merkle::LEAF_CELLS;
use crate::fold::{Block, Curve};

/// Base-2 logarithm of the side of a tile in pixels.
pub(super) const TILE_ORDER: u8 = 8;
/// Side of a tile in pixels.
pub(super) const TILE_SIDE: u32 = 1 << TILE_ORDER;
/// Base-2 logarithm of the side of a Merkle leaf in pixels.
pub(super) const LEAF_ORDER: u8 = 6;

/// Some cells of a brick, as a rectangle: x to the right, y downwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub(super) struct Rect {
    pub(super) x: u32,
    pub(super) y: u32,
    pub(super) w: u32,
    pub(super) h: u32,
}

impl Rect {
    /// The rectangle that a block fills: a square, or two squares beside or above each other.
    pub(super) fn of(curve: Curve, block: Block) -> Self {
        let square = |start: u64, k: u8| {
            let side = 1_u32 << (k / 2);
            let (x, y) = curve.xy(start);
            Self { x: x & !(side - 1), y: y & !(side - 1), w: side, h: side }
        };
        if block.k.is_multiple_of(2) {
            return square(block.start, block.k);
        }
        let half = block.k - 1;
        square(block.start, half).union(square(block.start + (1 << half), half))
    }

    /// The smallest rectangle around both.
    pub(super) fn union(self, other: Self) -> Self {
        let (x, y) = (self.x.min(other.x), self.y.min(other.y));
        let right = (self.x + self.w).max(other.x + other.w);
        let bottom = (self.y + self.h).max(other.y + other.h);
        Self { x, y, w: right - x, h: bottom - y }
    }

    /// Whether they share a cell.
    pub(super) fn meets(self, other: Self) -> bool {
        let within = |a: u32, a_len: u32, b: u32, b_len: u32| {
            u64::from(a) < u64::from(b) + u64::from(b_len) && u64::from(b) < u64::from(a) + u64::from(a_len)
        };
        within(self.x, self.w, other.x, other.w) && within(self.y, self.h, other.y, other.h)
    }
}

/// The deepest level of tiles: there a cell is a pixel.
pub(super) fn z_max(order: u8) -> u8 {
    order.saturating_sub(TILE_ORDER)
}

/// One tile of a brick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct TileAt {
    pub(super) z: u8,
    pub(super) x: u32,
    pub(super) y: u32,
}

impl TileAt {
    /// Whether a brick of this order has it.
    pub(super) fn exists(self, order: u8) -> bool {
        self.z <= z_max(order) && self.x < 1 << self.z && self.y < 1 << self.z
    }

    /// Its cells: squares of tiles are aligned runs of the curve.
    pub(super) fn block(self, order: u8) -> Block {
        let side_order = order - self.z;
        let (x, y) = (self.x << side_order, self.y << side_order);
        let k = 2 * side_order;
        Block { start: Curve::new(order).cell(x, y) >> k << k, k }
    }

    /// Level of its node in the Merkle tree (0: a leaf) and the node's number there.
    pub(super) fn node(self, order: u8) -> (usize, usize) {
        let level = (order - self.z).saturating_sub(LEAF_ORDER);
        let first = self.block(order).start / LEAF_CELLS;
        (usize::from(level), (first >> (2 * level)) as usize)
    }

    /// Its first leaf, and how many it has.
    pub(super) fn leaves(self, order: u8) -> (u64, u64) {
        let block = self.block(order);
        (block.start / LEAF_CELLS, block.cells().div_ceil(LEAF_CELLS))
    }

    /// Base-2 logarithm of the side, in pixels of the tile, that one of its leaves has.
    pub(super) fn leaf_side_order(self, order: u8) -> u8 {
        // A tile of a small brick is as large as the brick, and scaled up afterwards.
        LEAF_ORDER.saturating_sub(z_max(order) - self.z)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_the_rectangle_of_its_cells() {
        for order in [3, 4, 7] {
            let curve = Curve::new(order);
            for k in 6..=2 * order {
                for start in (0..curve.cells()).step_by(1 << k) {
                    let cells = (start..start + (1 << k)).map(|cell| curve.xy(cell));
                    let one = cells.map(|(x, y)| Rect { x, y, w: 1, h: 1 });
                    let all = one.reduce(Rect::union).unwrap();
                    assert_eq!(
                        Rect::of(curve, Block { start, k }),
                        all,
                        "order {order}, cell {start}, 2^{k}"
                    );
                    assert_eq!(u64::from(all.w) * u64::from(all.h), 1 << k);
                }
            }
        }
    }

    #[test]
    fn a_tile_is_a_node_of_the_tree() {
        for order in [3, 6, 8, 9, 11, 14] {
            let curve = Curve::new(order);
            for z in 0..=z_max(order) {
                for (x, y) in [(0, 0), ((1 << z) - 1, 0), ((1 << z) / 2, (1 << z) / 3)] {
                    let at = TileAt { z, x, y };
                    assert!(at.exists(order));
                    let block = at.block(order);
                    let side = 1_u32 << (order - z);
                    let expected = Rect { x: x * side, y: y * side, w: side, h: side };
                    assert_eq!(Rect::of(curve, block), expected);
                    let (level, node) = at.node(order);
                    let (first, leaves) = at.leaves(order);
                    assert_eq!((node as u64) << (2 * level), first);
                    assert_eq!(1 << (2 * level), leaves);
                }
            }
            assert!(!TileAt { z: z_max(order) + 1, x: 0, y: 0 }.exists(order));
            assert!(!TileAt { z: 0, x: 1, y: 0 }.exists(order));
        }
    }
}
