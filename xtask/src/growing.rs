//! `cargo xtask growing`: the picture of a growing directory in docs/decisions/0004-layout.md.
//!
//! A small tree is changed in steps. After each, `sfd run --once` brings its brick up to date and seals it, and the sealed
//! bricks are painted side by side: what was there before in muted colours, what has been painted since in white.

use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::test::cargo;

/// The PNG to write.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where it goes
    #[arg(default_value = "docs/images/growing.png")]
    png: PathBuf,
}

/// Between two frames.
const GAP: usize = 12;
const BACKGROUND: [u8; 3] = [255, 255, 255];
const NEW: [u8; 3] = [255, 255, 255];

/// A brick, as any reader of the format sees it.
struct Frame {
    width: usize,
    body: Vec<u8>,
}

impl Frame {
    fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        ensure!(bytes.get(..4) == Some(b"V2BR"), "{}: not a V2BR brick", path.display());
        let width = u32::from_le_bytes(bytes.get(8..12).context("short header")?.try_into()?) as usize;
        let body = bytes.get(132..132 + width * width * 4).context("compressed or truncated")?.to_vec();
        Ok(Self { width, body })
    }

    /// RGBA at a place; nothing outside.
    fn pixel(&self, x: usize, y: usize) -> [u8; 4] {
        let at = (y * self.width + x) * 4;
        let inside = x < self.width && y < self.width;
        self.body.get(at..at + 4).filter(|_| inside).and_then(|p| p.try_into().ok()).unwrap_or_default()
    }

    fn occupied(&self) -> impl Iterator<Item = (usize, usize)> {
        let cells = (0..self.width).flat_map(move |y| (0..self.width).map(move |x| (x, y)));
        cells.filter(|(x, y)| self.pixel(*x, *y)[3] != 0)
    }
}

/// One step: what is written, and how many pixels become free by that.
type Step = (&'static str, fn(&Path) -> Result<()>, usize);

const STEPS: [Step; 4] = [
    ("a tree", plant, 0),
    ("ten more files in one directory", |tree| some_files(&tree.join("d2"), "new", 10, 700), 0),
    ("one file outgrows its block of 1024 cells; a new directory", outgrow, 1024),
    (
        "more than the curve holds: it grows by two orders",
        |tree| some_files(&tree.join("d4"), "more", 16, 1500),
        0,
    ),
];

/// What the files of a directory are, so that each has a colour: an ending, and how they begin.
const KINDS: [(&str, &str); 4] =
    [("conf", "# "), ("sh", "#!/bin/sh\n# "), ("md", "# "), ("service", "[Unit]\n# ")];

fn some_files(dir: &Path, name: &str, count: usize, len: usize) -> Result<()> {
    std::fs::create_dir_all(dir)?;
    let number = dir.to_string_lossy().bytes().last().unwrap_or_default();
    let (ending, start) = KINDS[usize::from(number) % KINDS.len()];
    for n in 0..count {
        // Different sizes around `len`, and texts that have a texture.
        let text = format!("{name} {n}: the quick brown fox jumps over the lazy dog\n").repeat(100);
        let text = format!("{start}{text}");
        let file = dir.join(format!("{name}{n}.{ending}"));
        std::fs::write(file, &text[..(len / 4 + n * 577 % len).min(text.len())])?;
    }
    Ok(())
}

fn plant(tree: &Path) -> Result<()> {
    (0..6).try_for_each(|n| some_files(&tree.join(format!("d{n}")), "file", 4 + n, 400 + 100 * n))?;
    std::fs::write(tree.join("d1/grows"), "grows; ".repeat(140))?;
    Ok(())
}

fn outgrow(tree: &Path) -> Result<()> {
    std::fs::write(tree.join("d1/grows"), "grows; ".repeat(700))?;
    some_files(&tree.join("d2x3"), "file", 6, 300)
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (tree, bricks) = (dir.path().join("tree"), dir.path().join("state/bricks"));
    std::fs::create_dir(&tree)?;
    let mut frames: Vec<Frame> = Vec::new();
    for (name, step, freed) in STEPS {
        step(&tree)?;
        fold(&tree, &dir.path().join("state"))?;
        let mut sealed = std::fs::read_dir(&bricks)?.filter_map(|entry| Some(entry.ok()?.path()));
        let sealed = sealed.find(|path| path.to_string_lossy().ends_with(".sealed.brick"));
        let frame = Frame::read(&sealed.context("no sealed brick")?)?;
        if let Some(before) = frames.last() {
            let gone = before.occupied().filter(|(x, y)| frame.pixel(*x, *y)[3] == 0).count();
            ensure!(
                gone == freed,
                "{name}: {gone} pixels became free, not {freed}: something else has moved"
            );
        }
        println!("{name}: {0}x{0} pixels, {1} occupied", frame.width, frame.occupied().count());
        frames.push(frame);
    }
    let widths: Vec<usize> = frames.iter().map(|frame| frame.width).collect();
    ensure!(widths[3] == 4 * widths[2], "the last step was to grow the curve: {widths:?}");
    paint(&frames, &args.png)
}

fn fold(tree: &Path, state: &Path) -> Result<()> {
    let mut command = cargo(&["run", "-q", "-p", "sfd", "--", "run", "--once", "--source", "scan", "-q"]);
    let status = command.arg("--watch").arg(tree).arg("--state").arg(state).status().context("cargo run")?;
    ensure!(status.success(), "sfd run --once: {status}");
    Ok(())
}

fn paint(frames: &[Frame], png: &Path) -> Result<()> {
    let used = || frames.iter().flat_map(Frame::occupied);
    let columns = used().map(|(x, _)| x + 1).max().unwrap_or(1);
    let rows = used().map(|(_, y)| y + 1).max().unwrap_or(1);
    let width = frames.len() * columns + (frames.len() - 1) * GAP;
    let mut picture = Vec::with_capacity(width * rows * 3);
    for y in 0..rows {
        for (index, frame) in frames.iter().enumerate() {
            if index > 0 {
                picture.extend([BACKGROUND; GAP].as_flattened());
            }
            let before = index.checked_sub(1).and_then(|before| frames.get(before));
            for x in 0..columns {
                picture.extend(shade(frame, before, x, y));
            }
        }
    }
    write_png(png, width, rows, &picture)
}

/// Muted where it was painted before, white where it was not.
fn shade(frame: &Frame, before: Option<&Frame>, x: usize, y: usize) -> [u8; 3] {
    let [content, kind, _, occupied] = frame.pixel(x, y);
    if occupied != 0 && before.is_some_and(|before| before.pixel(x, y)[3] == 0) {
        return NEW;
    }
    let light = if occupied == 0 { 255 } else { 110 + u32::from(content) * 80 / 255 };
    colour(kind).map(|channel| u8::try_from(channel * light / 255).unwrap_or(u8::MAX))
}

/// Colours by kind code (`docs/kinds.md`), from palettes that colour-blind people can tell apart.
fn colour(kind: u8) -> [u32; 3] {
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

/// Writes rows of RGB.
fn write_png(png: &Path, columns: usize, rows: usize, picture: &[u8]) -> Result<()> {
    let file = std::fs::File::create(png).with_context(|| png.display().to_string())?;
    let mut encoder = png::Encoder::new(BufWriter::new(file), u32::try_from(columns)?, u32::try_from(rows)?);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::High);
    encoder.write_header()?.write_image_data(picture)?;
    Ok(())
}
