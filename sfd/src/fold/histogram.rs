//! How often each byte occurs in the occupied cells, kept up to date so that entropy costs nothing to know.

use super::Block;
use super::curve::Curve;

/// Counts of the R bytes of the cells with A = 255, the zero padding at the end of blocks included. It can be
/// computed from the pixels alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; 256],
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; 256] }
    }
}

impl Histogram {
    /// The histogram of a whole RGBA body.
    pub fn of_body(body: &[u8]) -> Self {
        let mut histogram = Self::default();
        histogram.add_pixels(body);
        histogram
    }

    /// Counts the occupied ones among RGBA pixels, in whatever order they are.
    pub fn add_pixels(&mut self, pixels: &[u8]) {
        for pixel in pixels.as_chunks::<4>().0 {
            self.counts[usize::from(pixel[0])] += u64::from(pixel[3] == 255);
        }
    }

    /// Counts bytes of content.
    pub fn add_bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.counts[usize::from(byte)] += 1;
        }
    }

    /// Counts the occupied cells of a block.
    pub fn add(&mut self, body: &[u8], curve: Curve, block: Block) {
        each_occupied(body, curve, block, |r| self.counts[usize::from(r)] += 1);
    }

    /// Forgets the occupied cells of a block, before it is changed.
    pub fn remove(&mut self, body: &[u8], curve: Curve, block: Block) {
        each_occupied(body, curve, block, |r| {
            let count = &mut self.counts[usize::from(r)];
            *count = count.saturating_sub(1);
        });
    }

    /// Shannon entropy in bits per byte, 0 to 8; 0 when nothing is occupied.
    pub fn entropy(&self) -> f32 {
        let total: u64 = self.counts.iter().sum();
        let bits = |&count: &u64| {
            let p = count as f64 / total as f64;
            -p * p.log2()
        };
        self.counts.iter().filter(|&&count| count > 0).map(bits).sum::<f64>().abs() as f32
    }
}

fn each_occupied(body: &[u8], curve: Curve, block: Block, mut f: impl FnMut(u8)) {
    let stride = curve.side() as usize * 4;
    for tile in curve.tiles(block.start, block.cells()) {
        for row in 0..8 {
            let at = (tile.y as usize + row) * stride + tile.x as usize * 4;
            for pixel in body[at..at + 32].as_chunks::<4>().0 {
                if pixel[3] == 255 {
                    f(pixel[0]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_of_known_bodies() {
        let body = |bytes: &[u8]| bytes.iter().flat_map(|&r| [r, 1, 0, 255]).collect::<Vec<_>>();
        let entropy = |bytes: &[u8]| Histogram::of_body(&body(bytes)).entropy();
        assert!(entropy(&[]).abs() < f32::EPSILON);
        assert!(entropy(&[7; 100]).abs() < f32::EPSILON);
        assert!((entropy(&[0, 1, 2, 3]) - 2.0).abs() < f32::EPSILON);
        let all: Vec<u8> = (0..=255).collect();
        assert!((entropy(&all) - 8.0).abs() < f32::EPSILON);
        assert!(Histogram::of_body(&[9, 0, 0, 0]).entropy().abs() < f32::EPSILON, "free cells do not count");
    }
}
