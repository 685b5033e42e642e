//! A [`FoldPlan`] onto RGBA pixels, and back.
//!
//! The body is row-major RGBA8 of side `2^order`. Every function touches only the tiles of the blocks it is given.

use super::curve::{CELL_OF_PIXEL, Curve, TILE_CELLS, Tile};
use super::{Block, FoldOp, FoldPlan, ORDER_MIN, Paint};

/// A of an occupied cell.
pub const OCCUPIED: u8 = 255;
/// Bytes of one row of a tile.
const ROW_BYTES: usize = 32;
const TILE: usize = TILE_CELLS as usize;

/// Why a plan cannot be applied. Nothing has been changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// A block is misaligned or outside the curve.
    #[error("the block at cell {} of 2^{} cells is not a block of a curve of order {order}", .block.start, .block.k)]
    NotABlock {
        /// The block.
        block: Block,
        /// Order of the curve.
        order: u8,
    },
    /// A fill has more bytes than its block has cells.
    #[error("{len} bytes do not fit the block at cell {} of 2^{} cells", .block.start, .block.k)]
    TooLong {
        /// The block.
        block: Block,
        /// Bytes given.
        len: usize,
    },
    /// A copy between blocks of different sizes, or between blocks that overlap.
    #[error("the block at cell {} of 2^{} cells cannot be copied to cell {} of 2^{}", .from.start, .from.k, .to.start, .to.k)]
    Copy {
        /// Source.
        from: Block,
        /// Destination.
        to: Block,
    },
    /// The body is not `4 * 4^order` bytes.
    #[error("a body of {len} bytes is not one of order {order}")]
    Body {
        /// Its length in bytes.
        len: usize,
        /// Order of the curve.
        order: u8,
    },
}

/// Whether a plan can be applied to a curve of this order.
///
/// # Errors
/// The first step that cannot.
pub fn check(plan: &FoldPlan, order: u8) -> Result<(), FoldError> {
    let cells = Curve::new(order).cells();
    let is_block = |block: Block| {
        let good = block.is_aligned() && block.end() <= cells;
        good.then_some(()).ok_or(FoldError::NotABlock { block, order })
    };
    for op in &plan.ops {
        is_block(op.target())?;
        match op {
            FoldOp::Fill { block, bytes, .. } if bytes.len() as u64 > block.cells() => {
                return Err(FoldError::TooLong { block: *block, len: bytes.len() });
            }
            FoldOp::Copy { from, to } => {
                is_block(*from)?;
                if from.k != to.k || from.overlaps(*to) {
                    return Err(FoldError::Copy { from: *from, to: *to });
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Applies a plan to a body. Returns the blocks whose pixels may have changed, in curve order, nested ones left out.
///
/// # Errors
/// The plan does not fit the body; then nothing has been changed.
pub fn apply(plan: &FoldPlan, body: &mut [u8], order: u8) -> Result<Vec<Block>, FoldError> {
    if body.len() as u64 != Curve::new(order).body_len() {
        return Err(FoldError::Body { len: body.len(), order });
    }
    check(plan, order)?;
    for op in &plan.ops {
        apply_op(op, body, Curve::new(order));
    }
    Ok(affected(plan))
}

/// The blocks that a plan writes, in curve order, nested ones left out: they are disjoint.
pub fn affected(plan: &FoldPlan) -> Vec<Block> {
    let mut blocks: Vec<Block> = plan.ops.iter().map(FoldOp::target).collect();
    // A block that contains others comes before them.
    blocks.sort_unstable_by_key(|block| (block.start, std::cmp::Reverse(block.k)));
    blocks.dedup_by(|inner, outer| inner.end() <= outer.end());
    blocks
}

/// Applies one step that [`check`] has accepted.
pub(crate) fn apply_op(op: &FoldOp, body: &mut [u8], curve: Curve) {
    match op {
        FoldOp::Fill { block, bytes, paint } => fill(body, curve, *block, bytes, *paint),
        FoldOp::Repaint { block, paint } => repaint(body, curve, *block, *paint),
        FoldOp::Copy { from, to } => copy(body, curve, *from, *to),
        FoldOp::Clear { block } => clear(body, curve, *block),
    }
}

fn fill(body: &mut [u8], curve: Curve, block: Block, bytes: &[u8], paint: Paint) {
    let gba = u32::from_le_bytes([0, paint.kind, paint.flags, OCCUPIED]);
    let stride = stride(curve);
    let (full, rest) = bytes.as_chunks::<TILE>();
    let mut last = [0; TILE];
    last[..rest.len()].copy_from_slice(rest);
    let padding = std::iter::repeat(&[0; TILE]);
    let cells = full.iter().chain(std::iter::once(&last)).chain(padding);
    for (tile, cells) in curve.tiles(block.start, block.cells()).zip(cells) {
        write_tile(body, stride, tile, cells, gba);
    }
}

/// Two pixels per store; the permutation is one of four constant tables.
#[inline]
fn write_tile(body: &mut [u8], stride: usize, tile: Tile, cells: &[u8; TILE], gba: u32) {
    let table = &CELL_OF_PIXEL[usize::from(tile.way & 3)];
    let pixel = |at: u8| u64::from(u32::from(cells[usize::from(at & 63)]) | gba);
    let mut at = offset(stride, tile);
    for row in table.as_chunks::<8>().0 {
        let out = &mut body[at..at + ROW_BYTES];
        for (pair, out) in row.as_chunks::<2>().0.iter().zip(out.as_chunks_mut::<8>().0) {
            *out = (pixel(pair[0]) | pixel(pair[1]) << 32).to_le_bytes();
        }
        at += stride;
    }
}

fn repaint(body: &mut [u8], curve: Curve, block: Block, paint: Paint) {
    let gb = u32::from_le_bytes([0, paint.kind, paint.flags, 0]);
    let keep = u32::from_le_bytes([255, 0, 0, 255]);
    each_row(body, curve, block, |row| {
        for pixel in row.as_chunks_mut::<4>().0 {
            *pixel = (u32::from_le_bytes(*pixel) & keep | gb).to_le_bytes();
        }
    });
}

fn clear(body: &mut [u8], curve: Curve, block: Block) {
    each_row(body, curve, block, |row| row.fill(0));
}

fn copy(body: &mut [u8], curve: Curve, from: Block, to: Block) {
    let stride = stride(curve);
    let tiles = curve.tiles(from.start, from.cells()).zip(curve.tiles(to.start, to.cells()));
    for (from, to) in tiles {
        let pixels = read_tile(body, stride, from);
        let table = &CELL_OF_PIXEL[usize::from(to.way & 3)];
        let mut at = offset(stride, to);
        for row in table.as_chunks::<8>().0 {
            for (&cell, out) in row.iter().zip(body[at..at + ROW_BYTES].as_chunks_mut::<4>().0) {
                *out = pixels[usize::from(cell & 63)];
            }
            at += stride;
        }
    }
}

/// Sets a bit of B in every occupied pixel of a body; where pixels are does not matter. Returns whether any changed.
pub fn set_flag_everywhere(body: &mut [u8], flag: u8) -> bool {
    let set = u32::from_le_bytes([0, 0, flag, 0]);
    let mut changed = 0;
    for pixel in body.as_chunks_mut::<4>().0 {
        if pixel[3] == OCCUPIED && pixel[2] & flag != flag {
            *pixel = (u32::from_le_bytes(*pixel) | set).to_le_bytes();
            changed |= 1;
        }
    }
    changed != 0
}

/// The R bytes of `len` cells from `start` on, wherever those lie; cells after the curve's end are left out.
pub fn read_cells(body: &[u8], order: u8, start: u64, len: u64) -> Vec<u8> {
    let curve = Curve::new(order);
    let end = start.saturating_add(len).min(curve.cells());
    if start >= end {
        return Vec::new();
    }
    if order < ORDER_MIN {
        return (start..end).map(|cell| body[offset_of_cell(curve, cell)]).collect();
    }
    let first = start / TILE_CELLS * TILE_CELLS;
    let last = end.next_multiple_of(TILE_CELLS);
    let mut cells = Vec::with_capacity((last - first) as usize);
    let stride = stride(curve);
    for tile in curve.tiles(first, last - first) {
        let table = &CELL_OF_PIXEL[usize::from(tile.way & 3)];
        let mut out = [0; TILE];
        let mut at = offset(stride, tile);
        for row in table.as_chunks::<8>().0 {
            for (&cell, pixel) in row.iter().zip(body[at..at + ROW_BYTES].as_chunks::<4>().0) {
                out[usize::from(cell & 63)] = pixel[0];
            }
            at += stride;
        }
        cells.extend_from_slice(&out);
    }
    cells.truncate((end - first) as usize);
    cells.drain(..(start - first) as usize);
    cells
}

/// The RGBA bytes, in curve order, of an aligned run of cells; `out` holds 4 bytes a cell and is filled from its
/// start. `start` and the number of cells must be multiples of 64.
pub fn read_rgba(body: &[u8], curve: Curve, start: u64, out: &mut [u8]) {
    if curve.order() < ORDER_MIN {
        for (cell, out) in (start..).zip(out.as_chunks_mut::<4>().0) {
            let at = offset_of_cell(curve, cell);
            out.copy_from_slice(&body[at..at + 4]);
        }
        return;
    }
    let stride = stride(curve);
    let cells = out.len() as u64 / 4;
    for (tile, out) in curve.tiles(start, cells).zip(out.as_chunks_mut::<4>().0.chunks_exact_mut(TILE)) {
        out.copy_from_slice(&read_tile(body, stride, tile));
    }
}

#[inline]
fn read_tile(body: &[u8], stride: usize, tile: Tile) -> [[u8; 4]; TILE] {
    let table = &CELL_OF_PIXEL[usize::from(tile.way & 3)];
    let mut pixels = [[0; 4]; TILE];
    let mut at = offset(stride, tile);
    for row in table.as_chunks::<8>().0 {
        for (&cell, pixel) in row.iter().zip(body[at..at + ROW_BYTES].as_chunks::<4>().0) {
            pixels[usize::from(cell & 63)] = *pixel;
        }
        at += stride;
    }
    pixels
}

/// Puts the pixels of a run of cells, given in curve order, where they belong: the inverse of [`read_rgba`].
pub fn write_rgba(body: &mut [u8], curve: Curve, start: u64, pixels: &[u8]) {
    let stride = stride(curve);
    let cells = pixels.len() as u64 / 4;
    for (tile, pixels) in curve.tiles(start, cells).zip(pixels.as_chunks::<4>().0.chunks_exact(TILE)) {
        let table = &CELL_OF_PIXEL[usize::from(tile.way & 3)];
        let mut at = offset(stride, tile);
        for row in table.as_chunks::<8>().0 {
            for (&cell, out) in row.iter().zip(body[at..at + ROW_BYTES].as_chunks_mut::<4>().0) {
                *out = pixels[usize::from(cell & 63)];
            }
            at += stride;
        }
    }
}

/// Calls `f` with column, row and bytes of each pixel of a run of cells, given in curve order. `start` and the number
/// of cells must be multiples of 64, or the curve smaller than that.
pub fn each_pixel(curve: Curve, start: u64, pixels: &[u8], mut f: impl FnMut(u32, u32, [u8; 4])) {
    let pixels = pixels.as_chunks::<4>().0;
    if curve.order() < ORDER_MIN {
        for (cell, pixel) in (start..curve.cells()).zip(pixels) {
            let (x, y) = curve.xy(cell);
            f(x, y, *pixel);
        }
        return;
    }
    for (tile, pixels) in curve.tiles(start, pixels.len() as u64).zip(pixels.chunks_exact(TILE)) {
        let table = &CELL_OF_PIXEL[usize::from(tile.way & 3)];
        for (y, row) in (tile.y..).zip(table.as_chunks::<8>().0) {
            for (x, &cell) in (tile.x..).zip(row) {
                f(x, y, pixels[usize::from(cell & 63)]);
            }
        }
    }
}

fn each_row(body: &mut [u8], curve: Curve, block: Block, mut f: impl FnMut(&mut [u8])) {
    let stride = stride(curve);
    for tile in curve.tiles(block.start, block.cells()) {
        let mut at = offset(stride, tile);
        for _ in 0..8 {
            f(&mut body[at..at + ROW_BYTES]);
            at += stride;
        }
    }
}

fn stride(curve: Curve) -> usize {
    curve.side() as usize * 4
}

/// Where a cell's pixel is in a body. One look-up a pixel: for curves that are smaller than a tile, which only other
/// programs make.
fn offset_of_cell(curve: Curve, cell: u64) -> usize {
    let (x, y) = curve.xy(cell);
    y as usize * stride(curve) + x as usize * 4
}

fn offset(stride: usize, tile: Tile) -> usize {
    tile.y as usize * stride + tile.x as usize * 4
}
