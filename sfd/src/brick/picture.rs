//! A brick as a picture for people: coloured by kind, bright as the bytes are.
//!
//! The hue says what an artifact is (the table in [`base`]). High risk is drawn towards red, what is not verified towards grey. The
//! value of each byte modulates the brightness, so that text, tables and random bytes have their own texture. The
//! picture is cut to what is in use, because most of a young brick is room to grow; cutting moves nothing.
//!
//! Pixels are averaged in squares of a power of two, row by row of Merkle leaves, so memory is bounded by one row of
//! leaves (16 KiB), one row of the picture and the sums for it.

use std::io::Write;
use std::path::Path;

use super::error::IoContext;
use super::{Brick, BrickError};
use crate::artifact::kinds::Kind;
use crate::fold::merkle::{LEAF_CELLS, leaf_block};
use crate::fold::{Curve, FLAG_UNVERIFIED, apply};

type Rgb = [u8; 3];

/// Side of a Merkle leaf in pixels.
const LEAF_SIDE: u64 = 64;
/// Free cells.
const BACKGROUND: Rgb = [16, 18, 24];
/// What high and critical risk are drawn towards.
const ALARM: Rgb = [235, 30, 40];
/// What is not verified is drawn towards this.
const GREY: Rgb = [120, 120, 124];
/// Occupied cells of a brick of another program, whose kinds nobody knows.
const UNKNOWN: Rgb = [200, 200, 200];
/// Brightness of a byte of value 0; 255 has full brightness. Below, text would be hard to tell from the background.
const BRIGHTNESS_MIN: u32 = 175;

/// The colour of a kind, from palettes (Okabe and Ito) that colour-blind people can tell apart. The same table is in
/// `docs/brick-format.md`.
fn base(kind: Kind) -> Rgb {
    match kind {
        Kind::Directory => [90, 98, 112],
        Kind::Symlink | Kind::Special => [140, 140, 140],
        Kind::Empty => [60, 66, 78],
        Kind::ElfExecutable | Kind::SharedLibrary | Kind::KernelModule | Kind::ElfOther => [0, 114, 178],
        Kind::Script => [0, 158, 115],
        Kind::SystemdUnit | Kind::Cron => [86, 180, 233],
        Kind::Key | Kind::Secret => [213, 94, 0],
        Kind::Certificate => [204, 121, 167],
        Kind::Json | Kind::Toml | Kind::Yaml | Kind::Ini => [240, 200, 90],
        Kind::Config
        | Kind::SshdConfig
        | Kind::Sudoers
        | Kind::Accounts
        | Kind::Groups
        | Kind::Pam
        | Kind::Fstab
        | Kind::Hosts
        | Kind::Resolver
        | Kind::Nsswitch
        | Kind::SysctlFile
        | Kind::PackageSource
        | Kind::LoaderConfig
        | Kind::UdevRules
        | Kind::ModprobeConfig
        | Kind::ShellSettings
        | Kind::Logrotate
        | Kind::Tmpfiles => [230, 159, 0],
        Kind::Text | Kind::Log => [240, 228, 66],
        Kind::Binary
        | Kind::Process
        | Kind::ProcProjection
        | Kind::SocketTable
        | Kind::ModuleList
        | Kind::MountTable
        | Kind::Sysctl
        | Kind::PackageDatabase
        | Kind::Archive
        | Kind::Unread => [170, 160, 200],
    }
}

/// The colour of an occupied cell whose byte is 255, by its G and B channels.
fn colour(kind: u8, flags: u8) -> Rgb {
    let base = Kind::from_code(kind).map_or(UNKNOWN, base);
    let towards = |to: Rgb, from: Rgb, quarters: u16| {
        let mix = |channel: usize| {
            (u16::from(from[channel]) * (4 - quarters) + u16::from(to[channel]) * quarters) / 4
        };
        [0, 1, 2].map(|channel| mix(channel) as u8)
    };
    let with_risk = match flags >> 4 {
        0..=2 => base,
        3 => towards(ALARM, base, 2),
        _ => towards(ALARM, base, 3),
    };
    if flags & FLAG_UNVERIFIED == 0 { with_risk } else { towards(GREY, with_risk, 2) }
}

/// Writes the picture and returns its width and height in pixels.
pub(super) fn write(
    brick: &Brick,
    to: impl Write,
    side_max: u32,
    out: &Path,
) -> Result<(u32, u32), BrickError> {
    let view = brick.view();
    let curve = Curve::new(view.header.order);
    let (width, height) = extent(curve, view.header.original_size);
    let mut shrink = 0;
    while width.max(height).div_ceil(1 << shrink) > u64::from(side_max) {
        shrink += 1;
    }
    let columns = width.div_ceil(1 << shrink) as u32;
    let rows = height.div_ceil(1 << shrink) as u32;
    let mut encoder = png::Encoder::new(to, columns, rows);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().doing("write", out)?;
    let mut stream = writer.stream_writer().doing("write", out)?;

    let mut painter = Painter { is_ours: !brick.is_foreign(), last: ([0; 2], UNKNOWN) };
    let mut sums = Sums::new(columns, rows, shrink);
    // A leaf is a square of 64x64 pixels, or the whole of a smaller brick.
    let side = curve.side().min(LEAF_SIDE);
    for top in (0..u64::from(rows) << shrink).step_by(side as usize) {
        for left in (0..u64::from(columns) << shrink).step_by(side as usize) {
            let leaf = curve.cell(left as u32, top as u32) / LEAF_CELLS;
            let block = leaf_block(curve.order(), leaf);
            let pixels = brick.leaf_in(view, leaf)?;
            let pixels = &pixels[..block.cells() as usize * 4];
            apply::each_pixel(curve, block.start, pixels, |x, y, pixel| {
                sums.add(x, y - top as u32, painter.paint(pixel));
            });
        }
        stream.write_all(&sums.take_rows(side)).doing("write", out)?;
    }
    stream.finish().doing("write", out)?;
    writer.finish().doing("write", out)?;
    Ok((columns, rows))
}

/// Width and height of the smallest rectangle from the upper left corner on that has the first `used` cells in it.
fn extent(curve: Curve, used: u64) -> (u64, u64) {
    let (mut width, mut height) = (1, 1);
    let mut start = 0;
    // Aligned runs of 4^n cells, as large as fit, are squares.
    while start < used {
        let mut order = 0;
        while start.is_multiple_of(4 << (2 * order)) && start + (4 << (2 * order)) <= used {
            order += 1;
        }
        let (x, y) = curve.xy(start);
        let far_edge = |at: u32| (u64::from(at) >> order << order) + (1 << order);
        (width, height) = (width.max(far_edge(x)), height.max(far_edge(y)));
        start += 1 << (2 * order);
    }
    (width, height)
}

/// Colours of cells.
struct Painter {
    is_ours: bool,
    /// G and B of the cell before and their colour: neighbours mostly belong to one artifact.
    last: ([u8; 2], Rgb),
}

impl Painter {
    fn paint(&mut self, [r, g, b, a]: [u8; 4]) -> Rgb {
        if self.is_ours && a == 0 {
            return BACKGROUND;
        }
        if self.is_ours && self.last.0 != [g, b] {
            self.last = ([g, b], colour(g, b));
        }
        let light = BRIGHTNESS_MIN + u32::from(r) * (255 - BRIGHTNESS_MIN) / 255;
        self.last.1.map(|channel| (u32::from(channel) * light / 255) as u8)
    }
}

/// Sums of colours, for the rows of the picture that one row of leaves, or several, become.
struct Sums {
    columns: usize,
    rows_left: u64,
    /// Base-2 logarithm of the side of the square of pixels that becomes one.
    shrink: u32,
    squares: Vec<[u64; 3]>,
    /// Rows of the brick that have been added.
    added: u64,
}

impl Sums {
    fn new(columns: u32, rows: u32, shrink: u32) -> Self {
        let columns = columns as usize;
        let rows_at_once = (LEAF_SIDE as usize >> shrink).max(1);
        let squares = vec![[0; 3]; columns * rows_at_once];
        Self { columns, rows_left: u64::from(rows), shrink, squares, added: 0 }
    }

    /// Adds a pixel, `y` rows below the upper edge of the row of leaves.
    fn add(&mut self, x: u32, y: u32, rgb: Rgb) {
        let (x, y) = ((x >> self.shrink) as usize, (y >> self.shrink) as usize);
        // A leaf may reach over the edge of the picture.
        if x < self.columns {
            for (sum, channel) in self.squares[y * self.columns + x].iter_mut().zip(rgb) {
                *sum += u64::from(channel);
            }
        }
    }

    /// Ends a row of leaves, `added` pixels high. Gives the bytes of the rows of the picture that are complete.
    fn take_rows(&mut self, added: u64) -> Vec<u8> {
        self.added += added;
        let rows = (self.added >> self.shrink).min(self.rows_left);
        if rows == 0 {
            return Vec::new();
        }
        self.rows_left -= rows;
        self.added = 0;
        let area = 2 * self.shrink;
        let squares = &mut self.squares;
        let bytes =
            squares[..rows as usize * self.columns].iter().flatten().map(|sum| (sum >> area) as u8).collect();
        squares.fill([0; 3]);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extent_is_that_of_a_scan() {
        for order in 0..=4 {
            let curve = Curve::new(order);
            let (mut width, mut height) = (1, 1);
            for used in 0..=curve.cells() {
                if used > 0 {
                    let (x, y) = curve.xy(used - 1);
                    (width, height) = (width.max(u64::from(x) + 1), height.max(u64::from(y) + 1));
                }
                assert_eq!(extent(curve, used), (width, height), "order {order}, {used} cells");
            }
        }
    }

    #[test]
    fn risk_and_doubt_are_visible() {
        let config = Kind::Config.code();
        let plain = colour(config, 0);
        assert_eq!(plain, base(Kind::Config));
        assert_eq!(colour(config, 0x20), plain, "medium risk is not");
        let [high, critical] = [0x30, 0x40].map(|flags| colour(config, flags));
        assert!(plain != high && high != critical && critical[1] < high[1], "{high:?} {critical:?}");
        assert_ne!(colour(config, FLAG_UNVERIFIED), plain);
        assert_ne!(colour(config, 0x40 | FLAG_UNVERIFIED), critical);
        assert_eq!(colour(250, 0), UNKNOWN, "a kind of a later version");
    }

    #[test]
    fn squares_are_averaged_exactly() {
        // Two rows of leaves of 64 pixels become one row of two pixels: 128 to 1.
        let mut sums = Sums::new(2, 1, 7);
        for (x, rgb) in [(0, [255, 0, 10]), (127, [255, 0, 10]), (128, [1, 2, 3]), (300, [9; 3])] {
            for y in 0..64 {
                sums.add(x, y, rgb);
            }
        }
        assert_eq!(sums.take_rows(64), Vec::<u8>::new());
        for x in 0..256 {
            for y in 0..64 {
                sums.add(x, y, [255; 3]);
            }
        }
        // 64 rows of 2 pixels, and 64 of 128 white ones, over 128x128.
        let mean = |sum: u64| ((sum * 64 + 255 * 128 * 64) / (128 * 128)) as u8;
        assert_eq!(sums.take_rows(64), [510, 0, 20, 1, 2, 3].map(mean));
    }
}
