//! What a tile should look like, from the description in `docs/map.md` and the pixels of the brick alone.

use std::collections::HashMap;

use serde_json::Value;
use sfd_tests::reader::RawBrick;

pub(crate) type Rgb = [u8; 3];

/// The colours of a mode, as the legend has them.
pub(crate) struct Legend {
    colours: HashMap<u64, Rgb>,
    background: Rgb,
    mode: String,
    theme: String,
}

fn rgb(text: &Value) -> Rgb {
    let text = text.as_str().unwrap();
    [1, 3, 5].map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
}

impl Legend {
    pub(crate) fn new(palette: &Value, mode: &str, theme: &str) -> Self {
        let lines = palette[mode].as_array().unwrap();
        let colours = lines.iter().map(|line| (line["value"].as_u64().unwrap(), rgb(&line[theme]))).collect();
        let background = rgb(&palette["background"][theme]);
        Self { colours, background, mode: mode.to_owned(), theme: theme.to_owned() }
    }

    fn shade(&self, colour: Rgb, byte: u8) -> Rgb {
        match byte {
            0 => mix(colour, self.background, 96),
            1..=32 | 127 => mix(colour, self.background, 40),
            _ => colour,
        }
    }

    fn colour(&self, pixel: [u8; 4], square: &[u8]) -> Rgb {
        let [byte, kind, flags, alpha] = pixel;
        if alpha != 255 {
            return self.background;
        }
        match self.mode.as_str() {
            "kind" => self.shade(self.colours[&u64::from(kind)], byte),
            "risk" => self.shade(self.colours[&u64::from(flags >> 4)], byte),
            "content" => self.colours[&class(byte)],
            "entropy" => self.colours[&entropy(square)],
            other => panic!("no picture of {other} from pixels alone"),
        }
    }
}

fn mix(one: Rgb, other: Rgb, part: u32) -> Rgb {
    [0, 1, 2].map(|n| {
        let mixed = u32::from(one[n]) * (256 - part) + u32::from(other[n]) * part + 128;
        u8::try_from(mixed / 256).unwrap()
    })
}

fn class(byte: u8) -> u64 {
    match byte {
        0 => 0,
        255 => 8,
        128.. => 7,
        b'\t' | b'\n' | b'\r' | b' ' => 2,
        _ if byte.is_ascii_control() => 1,
        _ if byte.is_ascii_digit() => 3,
        _ if byte.is_ascii_uppercase() => 4,
        _ if byte.is_ascii_lowercase() => 5,
        _ => 6,
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number from 0 to 12")]
fn entropy(square: &[u8]) -> u64 {
    let mut counts = HashMap::new();
    for byte in square {
        *counts.entry(byte).or_insert(0.0) += 1.0;
    }
    let bits: f64 = counts.values().map(|count: &f64| -(count / 64.0) * (count / 64.0).log2()).sum();
    (bits * 2.0).round() as u64
}

/// A brick in colours, at one level: `side` pixels.
struct Picture {
    side: usize,
    pixels: Vec<Rgb>,
    /// How many of its cells are not verified, and how many redacted, by pixel, and how many cells a pixel has.
    flags: Vec<[u32; 2]>,
    cells: u32,
}

impl Picture {
    /// Every cell a pixel.
    fn of(brick: &RawBrick, legend: &Legend) -> Self {
        let side = usize::try_from(brick.width).unwrap();
        let pixel = |x: usize, y: usize| -> [u8; 4] {
            let at = (y * side + x) * 4;
            brick.body[at..at + 4].try_into().unwrap()
        };
        let mut picture = Self { side, pixels: Vec::new(), flags: Vec::new(), cells: 1 };
        for y in 0..side {
            for x in 0..side {
                let (left, top) = (x / 8 * 8, y / 8 * 8);
                let square: Vec<u8> = if legend.mode == "entropy" {
                    (0..64).map(|n| pixel(left + n % 8, top + n / 8)[0]).collect()
                } else {
                    Vec::new()
                };
                let cell = pixel(x, y);
                picture.pixels.push(legend.colour(cell, &square));
                picture.flags.push([u32::from(cell[2] >> 2 & 1), u32::from(cell[2] & 1)]);
            }
        }
        picture
    }

    fn halved(&self) -> Self {
        let side = self.side / 2;
        let mut half = Self { side, pixels: Vec::new(), flags: Vec::new(), cells: self.cells * 4 };
        for y in 0..side {
            for x in 0..side {
                let four =
                    [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(dx, dy)| (2 * y + dy) * self.side + 2 * x + dx);
                let mean =
                    |n: usize| (four.iter().map(|at| u32::from(self.pixels[*at][n])).sum::<u32>() + 2) / 4;
                half.pixels.push([0, 1, 2].map(|n| u8::try_from(mean(n)).unwrap()));
                half.flags.push([0, 1].map(|n| four.iter().map(|at| self.flags[*at][n]).sum()));
            }
        }
        half
    }

    /// One pixel with what lies over it; x and y count within the level, whose tiles have a multiple of 8 pixels.
    fn pixel(&self, x: usize, y: usize, theme: &str) -> Rgb {
        let at = y * self.side + x;
        let mut colour = self.pixels[at];
        let (hatch, mark) = if theme == "light" { ([0x1c; 3], [0x10; 3]) } else { ([0xf2; 3], [0xff; 3]) };
        let [unverified, redacted] = self.flags[at].map(|count| count * 2 >= self.cells);
        if unverified && (x + y) % 8 < 2 {
            colour = mix(colour, hatch, 128);
        }
        if redacted && (2..4).contains(&(x % 8)) && (2..4).contains(&(y % 8)) {
            colour = mark;
        }
        colour
    }
}

/// All tiles of a brick: `tiles[z][y * 2^z + x]` is 256x256 pixels.
pub(crate) fn tiles(brick: &RawBrick, legend: &Legend) -> Vec<Vec<Vec<Rgb>>> {
    let z_max = brick.order.saturating_sub(8);
    let mut level = Picture::of(brick, legend);
    let mut out = Vec::new();
    for z in (0..=z_max).rev() {
        let count = 1 << z;
        let scale = 256 / level.side.min(256);
        let tile = |x: usize, y: usize| {
            let pixels = (0..256 * 256)
                .map(|n| level.pixel(x * 256 + n % 256 / scale, y * 256 + n / 256 / scale, &legend.theme));
            pixels.collect::<Vec<Rgb>>()
        };
        out.push((0..count * count).map(|n| tile(n % count, n / count)).collect());
        level = level.halved();
    }
    out.reverse();
    out
}

/// The pixels of a PNG of 256x256.
pub(crate) fn decode(png: &[u8]) -> Vec<Rgb> {
    let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
    let mut bytes = vec![0; 256 * 256 * 3];
    let info = reader.next_frame(&mut bytes).unwrap();
    assert_eq!((info.width, info.height), (256, 256));
    assert_eq!(info.color_type, png::ColorType::Rgb, "no transparency: Pixi would multiply by it");
    bytes.chunks(3).map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect()
}
