//! `cargo xtask picture`: the picture in the README, painted from a real brick as any reader of the format would.

use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// A brick as a PNG, coloured by kind.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// An uncompressed V2BR brick.
    brick: PathBuf,
    /// The PNG to write.
    png: PathBuf,
    /// Side of the whole brick in the picture, a power of two; it is averaged down to that, and cut to what is in use.
    #[arg(long, default_value_t = 1024)]
    side: usize,
}

/// Colours by kind code (`docs/kinds.md`), from palettes that colour-blind people can tell apart.
pub(crate) fn colour(kind: u8) -> [u32; 3] {
    match kind {
        0 => [16, 18, 24],
        1 => [90, 98, 112],
        2 | 3 => [140, 140, 140],
        5..=8 => [0, 114, 178],
        9 => [0, 158, 115],
        10 => [86, 180, 233],
        11 | 13 => [213, 94, 0],
        12 => [204, 121, 167],
        14..=17 => [240, 200, 90],
        18 => [230, 159, 0],
        4 => [60, 66, 78],
        19 => [240, 228, 66],
        _ => [170, 160, 200],
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let bytes = std::fs::read(&args.brick).with_context(|| args.brick.display().to_string())?;
    ensure!(bytes.get(..4) == Some(b"V2BR"), "{}: not a V2BR brick", args.brick.display());
    let width = u32::from_le_bytes(bytes.get(8..12).context("short header")?.try_into()?) as usize;
    let body = bytes.get(132..132 + width * width * 4).context("compressed or truncated")?;
    let side = args.side.min(width);
    ensure!(width.is_multiple_of(side), "--side must be a power of two");
    let step = width / side;
    // Only the part in use: the rest of a young brick is room to grow.
    let occupied = |x: usize, y: usize| body[(y * width + x) * 4 + 3] != 0;
    let cells = || (0..width).flat_map(|y| (0..width).map(move |x| (x, y))).filter(|(x, y)| occupied(*x, *y));
    let columns = cells().map(|(x, _)| x / step + 1).max().unwrap_or(1);
    let rows = cells().map(|(_, y)| y / step + 1).max().unwrap_or(1);
    let mut picture = Vec::with_capacity(columns * rows * 3);
    for y in 0..rows {
        for x in 0..columns {
            let mut sum = [0_u32; 3];
            for (dy, dx) in (0..step).flat_map(|dy| (0..step).map(move |dx| (dy, dx))) {
                let at = ((y * step + dy) * width + x * step + dx) * 4;
                let (content, kind) = (u32::from(body[at]), body[at + 1]);
                for (sum, channel) in sum.iter_mut().zip(colour(kind)) {
                    // Contents modulate the brightness, so that text, tables and random bytes have their texture.
                    *sum += channel * (175 + content * 80 / 255) / 255;
                }
            }
            picture.extend(sum.map(|sum| u8::try_from(sum / (step * step) as u32).unwrap_or(u8::MAX)));
        }
    }
    write_png(&args.png, columns, rows, &picture)
}

/// Writes rows of RGB.
pub(crate) fn write_png(png: &Path, columns: usize, rows: usize, picture: &[u8]) -> Result<()> {
    let file = std::fs::File::create(png).with_context(|| png.display().to_string())?;
    let mut encoder = png::Encoder::new(BufWriter::new(file), u32::try_from(columns)?, u32::try_from(rows)?);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::High);
    encoder.write_header()?.write_image_data(picture)?;
    Ok(())
}
