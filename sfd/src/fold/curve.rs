//! Cell <-> pixel, order-dependent, by tables of 8x8 tiles.
//!
//! The curve is the classic `d2xy` with x = column and y = row. Two facts carry this file, both tested below:
//!
//! - an aligned run of 64 cells is an 8x8 square that the curve crosses in one of four ways, and an aligned run of 64
//!   such squares is a 64x64 square crossed in one of the same four ways. Two look-ups by [`fast_hilbert`] (the first
//!   and the last cell) give the way of a 64x64 square; tables give the other 4094 pixels;
//! - growing by two orders moves no cell, so a curve smaller than 64x64 is read as a part of a larger one.
//!
//! ```text
//! way 0  (0,0) -> (7,0)     way 1  (0,0) -> (0,7)     way 2  (7,7) -> (0,7)     way 3  (7,7) -> (7,0)
//! as d2xy gives it          transposed                turned by 180 degrees     transposed and turned
//! ```

/// Cells of a tile: 8x8 pixels.
pub const TILE_CELLS: u64 = 64;
/// Tiles of a 64x64 square.
const TILES_PER_SQUARE: u64 = 64;
/// Cells of a 64x64 square.
const SQUARE_CELLS: u64 = TILE_CELLS * TILES_PER_SQUARE;
/// Order of a 64x64 square.
const SQUARE_ORDER: u8 = 6;

/// The Hilbert curve of one order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Curve {
    order: u8,
}

/// One 8x8 square of pixels that an aligned run of 64 cells fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Column of its left pixels, a multiple of 8.
    pub x: u32,
    /// Row of its upper pixels, a multiple of 8.
    pub y: u32,
    /// How the curve crosses it: an index of [`CELL_OF_PIXEL`].
    pub way: u8,
}

impl Curve {
    /// The curve that fills a square of side `2^order`.
    pub fn new(order: u8) -> Self {
        Self { order }
    }

    /// Base-2 logarithm of the side.
    pub fn order(self) -> u8 {
        self.order
    }

    /// Side of the square in pixels.
    pub fn side(self) -> u64 {
        1 << self.order
    }

    /// Number of cells, `4^order`.
    pub fn cells(self) -> u64 {
        1 << (2 * self.order)
    }

    /// Bytes of an RGBA body of this order.
    pub fn body_len(self) -> u64 {
        self.cells() * 4
    }

    /// Column and row of a cell.
    pub fn xy(self, cell: u64) -> (u32, u32) {
        fast_hilbert::h2xy(cell, self.order)
    }

    /// Cell at a column and row.
    pub fn cell(self, x: u32, y: u32) -> u64 {
        fast_hilbert::xy2h(x, y, self.order)
    }

    /// The tiles of `cells` cells from `start` on, in curve order. Both must be multiples of 64.
    pub fn tiles(self, start: u64, cells: u64) -> Tiles {
        debug_assert!(start.is_multiple_of(TILE_CELLS) && cells.is_multiple_of(TILE_CELLS));
        // Below one 64x64 square: the same parity, large enough; no cell is elsewhere there.
        let order = if self.order < SQUARE_ORDER { SQUARE_ORDER + (self.order & 1) } else { self.order };
        let next = start / TILE_CELLS;
        let mut tiles =
            Tiles { order, next, end: next + cells / TILE_CELLS, square: Tile { x: 0, y: 0, way: 0 } };
        tiles.enter_square();
        tiles
    }
}

/// Iterator of [`Curve::tiles`].
#[derive(Clone, Debug)]
pub struct Tiles {
    order: u8,
    next: u64,
    end: u64,
    /// The 64x64 square that `next` is in; its `x` and `y` in pixels.
    square: Tile,
}

impl Tiles {
    fn enter_square(&mut self) {
        let first = self.next / TILES_PER_SQUARE * SQUARE_CELLS;
        if self.next >= self.end {
            return;
        }
        let (x, y): (u32, u32) = fast_hilbert::h2xy(first, self.order);
        let (x_last, _): (u32, u32) = fast_hilbert::h2xy(first + SQUARE_CELLS - 1, self.order);
        self.square = Tile { x: x & !63, y: y & !63, way: way(x & 63 != 0, x == x_last) };
    }
}

impl Iterator for Tiles {
    type Item = Tile;

    #[inline]
    fn next(&mut self) -> Option<Tile> {
        if self.next >= self.end {
            return None;
        }
        let SquareTile { x, y, way } =
            TILES_OF_SQUARE[usize::from(self.square.way & 3)][(self.next % TILES_PER_SQUARE) as usize];
        let tile = Tile { x: self.square.x + u32::from(x), y: self.square.y + u32::from(y), way };
        self.next += 1;
        if self.next.is_multiple_of(TILES_PER_SQUARE) {
            self.enter_square();
        }
        Some(tile)
    }
}

/// Number of the way from where it starts and whether it ends in the column in which it starts.
const fn way(starts_at_far_corner: bool, ends_in_same_column: bool) -> u8 {
    match (starts_at_far_corner, ends_in_same_column) {
        (false, false) => 0,
        (false, true) => 1,
        (true, false) => 2,
        (true, true) => 3,
    }
}

/// For each way: the offset on the curve (0..64) of each pixel of a tile, row by row.
pub const CELL_OF_PIXEL: [[u8; 64]; 4] = cell_of_pixel();

#[derive(Clone, Copy)]
struct SquareTile {
    x: u8,
    y: u8,
    way: u8,
}

/// For each way of a 64x64 square: its tiles in curve order.
const TILES_OF_SQUARE: [[SquareTile; 64]; 4] = tiles_of_square();

/// The classic loop, for building the tables at compile time.
const fn d2xy(order: u32, cell: u32) -> (u32, u32) {
    let (mut x, mut y, mut rest, mut step) = (0, 0, cell, 1);
    while step < 1 << order {
        let right = 1 & (rest / 2);
        let up = 1 & (rest ^ right);
        if up == 0 {
            if right == 1 {
                (x, y) = (step - 1 - x, step - 1 - y);
            }
            (x, y) = (y, x);
        }
        x += step * right;
        y += step * up;
        rest /= 4;
        step *= 2;
    }
    (x, y)
}

/// A point of the curve as `d2xy` gives it, as the given way has it.
const fn turn(way: usize, x: u32, y: u32, side: u32) -> (u32, u32) {
    match way {
        0 => (x, y),
        1 => (y, x),
        2 => (side - 1 - x, side - 1 - y),
        _ => (side - 1 - y, side - 1 - x),
    }
}

const fn cell_of_pixel() -> [[u8; 64]; 4] {
    let mut table = [[0; 64]; 4];
    let mut way = 0;
    while way < 4 {
        let mut cell = 0;
        while cell < 64 {
            let (x, y) = d2xy(3, cell);
            let (x, y) = turn(way, x, y, 8);
            table[way][(y * 8 + x) as usize] = cell as u8;
            cell += 1;
        }
        way += 1;
    }
    table
}

const fn tiles_of_square() -> [[SquareTile; 64]; 4] {
    let mut table = [[SquareTile { x: 0, y: 0, way: 0 }; 64]; 4];
    let mut square_way = 0;
    while square_way < 4 {
        let mut tile = 0;
        while tile < 64 {
            let (x, y) = d2xy(6, tile * 64);
            let (x, y) = turn(square_way, x, y, 64);
            let (x_last, y_last) = d2xy(6, tile * 64 + 63);
            let (x_last, _) = turn(square_way, x_last, y_last, 64);
            table[square_way][tile as usize] =
                SquareTile { x: (x & !7) as u8, y: (y & !7) as u8, way: way(x & 7 != 0, x == x_last) };
            tile += 1;
        }
        square_way += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_is_the_classic_one() {
        let points = |order: u8, n: u64| (0..n).map(|d| Curve::new(order).xy(d)).collect::<Vec<_>>();
        assert_eq!(points(1, 4), [(0, 0), (0, 1), (1, 1), (1, 0)]);
        assert_eq!(points(2, 4), [(0, 0), (1, 0), (1, 1), (0, 1)]);
        assert_eq!(Curve::new(3).xy(7), (2, 1));
        for order in 1..=8 {
            for cell in 0..1_u32 << (2 * order) {
                let (x, y) = Curve::new(order).xy(u64::from(cell));
                assert_eq!((x, y), d2xy(u32::from(order), cell), "order {order}, cell {cell}");
                assert_eq!(Curve::new(order).cell(x, y), u64::from(cell));
            }
        }
    }

    #[test]
    fn tiles_are_the_curve() {
        for order in 3..=9 {
            let curve = Curve::new(order);
            for (t, tile) in curve.tiles(0, curve.cells()).enumerate() {
                for (pixel, &cell) in CELL_OF_PIXEL[usize::from(tile.way)].iter().enumerate() {
                    let at = (tile.x + pixel as u32 % 8, tile.y + pixel as u32 / 8);
                    assert_eq!(curve.xy(t as u64 * 64 + u64::from(cell)), at, "order {order}, tile {t}");
                }
            }
        }
    }

    #[test]
    fn tiles_may_start_anywhere() {
        let curve = Curve::new(8);
        let all: Vec<_> = curve.tiles(0, curve.cells()).collect();
        for (first, count) in [(0, 1), (1, 1), (63, 2), (64, 64), (100, 0), (1000, 24), (5, 700)] {
            let part: Vec<_> = curve.tiles(first * 64, count * 64).collect();
            assert_eq!(part, all[first as usize..(first + count) as usize]);
        }
    }

    #[test]
    fn growing_by_two_orders_moves_nothing() {
        for order in 3..=6 {
            for cell in 0..Curve::new(order).cells() {
                assert_eq!(Curve::new(order).xy(cell), Curve::new(order + 2).xy(cell));
            }
        }
    }
}
