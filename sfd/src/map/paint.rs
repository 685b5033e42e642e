//! From pixels of a brick to colours. Pure.
//!
//! Everything is done leaf by leaf, 64x64 cells: its colours, and their means at half the size down to one pixel. A tile
//! of any level is made of such squares, so one change makes one leaf anew and not the tiles above it. Risk, kind, hatching
//! and marks belong to artifacts, whose blocks are made of 8x8 squares; those are one bit a square.

use super::geometry::{LEAF_ORDER, TILE_SIDE};
use super::index::square_in_leaf;
use super::palette::{Colours, Mode, Rgb, Theme, byte_class, entropy_class};
use crate::fold::apply::OCCUPIED;
use crate::fold::curve::{CELL_OF_PIXEL, TILE_CELLS};
use crate::fold::merkle::{LEAF_BYTES, LEAF_CELLS, leaf_block};
use crate::fold::{Curve, FLAG_REDACTED, FLAG_UNVERIFIED};

/// Side of a leaf in cells.
const LEAF_SIDE: usize = 1 << LEAF_ORDER;
/// Lines of the hatching and marks on what is redacted come again after so many pixels.
const PERIOD: u32 = 8;

/// One leaf in colours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    /// Row by row; as many as its side squared.
    pub(super) pixels: Vec<Rgb>,
    /// Bit n: the 8x8 square n (see [`square_in_leaf`]) is not verified.
    pub(super) unverified: u64,
    /// The same for redacted ones.
    pub(super) redacted: u64,
}

impl Leaf {
    pub(super) fn free(theme: Theme, side_order: u8) -> Self {
        Self { pixels: vec![theme.background(); 1 << (2 * side_order)], unverified: 0, redacted: 0 }
    }
}

/// Colours the RGBA pixels of leaf `leaf` of a curve, which are in curve order. `ages` are classes of age by square.
pub(super) fn leaf(
    (order, leaf): (u8, u64),
    cells: &[u8; LEAF_BYTES],
    (mode, theme): (Mode, Theme),
    ages: Option<&[u8; 64]>,
) -> Leaf {
    let colours = Colours::of(theme);
    let mut out = Leaf::free(theme, LEAF_ORDER);
    let block = leaf_block(order, leaf);
    let squares = Curve::new(order).tiles(leaf * LEAF_CELLS, block.cells());
    for (rgba, square) in cells.chunks_exact(TILE_CELLS as usize * 4).zip(squares) {
        let (rgba, _) = rgba.as_chunks::<4>();
        let number = square_in_leaf(square.x, square.y);
        let flags = rgba[0][2];
        out.unverified |= u64::from(flags & FLAG_UNVERIFIED != 0) << number;
        out.redacted |= u64::from(flags & FLAG_REDACTED != 0) << number;
        let entropy = match mode {
            Mode::Entropy => entropy_class(rgba.iter().map(|pixel| pixel[0])),
            _ => 0,
        };
        let age = ages.map_or(0, |ages| ages[number]);
        let (x, y) = (square.x as usize % LEAF_SIDE, square.y as usize % LEAF_SIDE);
        for (pixel, &cell) in CELL_OF_PIXEL[usize::from(square.way & 3)].iter().enumerate() {
            let [byte, kind, flags, alpha] = rgba[usize::from(cell)];
            if alpha != OCCUPIED {
                continue;
            }
            let colour = match mode {
                Mode::Content => colours.content[usize::from(byte)],
                Mode::Entropy => colours.entropy[usize::from(entropy)],
                Mode::Kind => shade(colours.kind[usize::from(kind)], byte, theme),
                Mode::Risk => shade(colours.risk[usize::from(flags >> 4).min(4)], byte, theme),
                Mode::Age => shade(colours.age[usize::from(age).min(8)], byte, theme),
            };
            out.pixels[(y + pixel / 8) * LEAF_SIDE + x + pixel % 8] = colour;
        }
    }
    out
}

/// The colour of a cell in a mode that says nothing of its byte: paler where that is zero, which is mostly the unused end
/// of a block, so that one sees where an artifact ends; and where it is no letter, so that one sees lines.
fn shade(colour: Rgb, byte: u8, theme: Theme) -> Rgb {
    let background = theme.background();
    match byte_class(byte) {
        0 => mix(colour, background, 96),
        1 | 2 => mix(colour, background, 40),
        _ => colour,
    }
}

/// `part` of 256 of the second colour.
pub(super) fn mix(one: Rgb, other: Rgb, part: u16) -> Rgb {
    std::array::from_fn(|n| {
        ((u16::from(one[n]) * (256 - part) + u16::from(other[n]) * part + 128) >> 8) as u8
    })
}

/// A picture of half the side: each pixel the mean of four, rounded.
pub(super) fn halved(pixels: &[Rgb], side: usize) -> Vec<Rgb> {
    let half = side / 2;
    let mut out = Vec::with_capacity(half * half);
    for y in 0..half {
        for x in 0..half {
            let at = 2 * y * side + 2 * x;
            let four = [pixels[at], pixels[at + 1], pixels[at + side], pixels[at + side + 1]];
            let mean = |n: usize| (four.iter().map(|pixel| u16::from(pixel[n])).sum::<u16>() + 2) >> 2;
            out.push([mean(0) as u8, mean(1) as u8, mean(2) as u8]);
        }
    }
    out
}

/// A leaf made smaller, to a side of `2^side_order` pixels.
pub(super) fn reduced(leaf: Leaf, side_order: u8) -> Leaf {
    let mut pixels = leaf.pixels;
    for order in (side_order + 1..=LEAF_ORDER).rev() {
        pixels = halved(&pixels, 1 << order);
    }
    Leaf { pixels, ..leaf }
}

/// What lies over the colours of a leaf.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Overlay {
    pub(super) unverified: u64,
    pub(super) redacted: u64,
    /// `Some`: everything but these squares is greyed.
    pub(super) changed: Option<u64>,
}

impl Overlay {
    /// For a pixel of a leaf of `2^side_order` pixels: is at least half of it in the set, is any of it?
    fn share(bits: u64, x: u32, y: u32, side_order: u8) -> (bool, bool) {
        if side_order >= 3 {
            let shift = side_order - 3;
            let bit = bits >> ((y >> shift) * 8 + (x >> shift)) & 1 == 1;
            return (bit, bit);
        }
        let squares = 8 >> side_order;
        let row = ((1_u64 << squares) - 1) << (x * squares);
        let mask = (0..squares).fold(0, |mask, n| mask | row << ((y * squares + n) * 8));
        let count = (bits & mask).count_ones();
        (2 * count >= squares * squares, count > 0)
    }
}

/// A tile being put together.
pub(super) struct Canvas {
    side: u32,
    theme: Theme,
    pixels: Vec<Rgb>,
}

impl Canvas {
    /// Of `side` pixels, all free.
    pub(super) fn new(side: u32, theme: Theme) -> Self {
        Self { side, theme, pixels: vec![theme.background(); (side * side) as usize] }
    }

    /// Puts a leaf of `2^side_order` pixels a side where its left upper corner is to be.
    pub(super) fn put(&mut self, (left, top): (u32, u32), side_order: u8, pixels: &[Rgb], overlay: Overlay) {
        let side = 1_u32 << side_order;
        let (hatch, mark) = self.theme.ink();
        for y in 0..side.min(self.side - top) {
            for x in 0..side.min(self.side - left) {
                let mut colour = pixels[(y * side + x) as usize];
                let (across, down) = (left + x, top + y);
                if let Some(changed) = overlay.changed
                    && !Overlay::share(changed, x, y, side_order).1
                {
                    colour = greyed(colour, self.theme);
                }
                let is_hatched = overlay.unverified != 0 && (across + down) % PERIOD < 2;
                if is_hatched && Overlay::share(overlay.unverified, x, y, side_order).0 {
                    colour = mix(colour, hatch, 128);
                }
                let is_marked = overlay.redacted != 0 && across % PERIOD / 2 == 1 && down % PERIOD / 2 == 1;
                if is_marked && Overlay::share(overlay.redacted, x, y, side_order).0 {
                    colour = mark;
                }
                self.pixels[(down * self.side + across) as usize] = colour;
            }
        }
    }

    /// As a PNG of a whole tile, scaled up if need be.
    ///
    /// # Errors
    /// Those of the encoder; there are none to be expected in memory.
    pub(super) fn png(&self) -> Result<Vec<u8>, png::EncodingError> {
        let scale = TILE_SIDE / self.side;
        let mut bytes = Vec::with_capacity((TILE_SIDE * TILE_SIDE * 3) as usize);
        for y in 0..TILE_SIDE {
            for x in 0..TILE_SIDE {
                bytes.extend(self.pixels[(y / scale * self.side + x / scale) as usize]);
            }
        }
        let mut out = Vec::new();
        let mut encoder = png::Encoder::new(&mut out, TILE_SIDE, TILE_SIDE);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::Fast);
        encoder.write_header()?.write_image_data(&bytes)?;
        Ok(out)
    }
}

/// What has not changed: nearly without colour, and near the background.
pub(super) fn greyed(colour: Rgb, theme: Theme) -> Rgb {
    // Weights of ITU-R BT.601, in 256ths.
    let [r, g, b] = colour.map(u16::from);
    let luma = ((r * 77 + g * 150 + b * 29) >> 8) as u8;
    mix([luma; 3], theme.background(), 176)
}

#[cfg(test)]
mod tests;
