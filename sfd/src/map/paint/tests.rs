use super::*;
use crate::fold::apply::{apply, read_rgba};
use crate::fold::{Block, FoldOp, FoldPlan, Paint};

fn body(order: u8, ops: Vec<FoldOp>) -> Vec<u8> {
    let mut body = vec![0; Curve::new(order).body_len() as usize];
    apply(&FoldPlan { ops }, &mut body, order).unwrap();
    body
}

fn fill(start: u64, k: u8, bytes: &'static [u8], kind: u8, flags: u8) -> FoldOp {
    FoldOp::Fill { block: Block { start, k }, bytes: bytes.into(), paint: Paint { kind, flags } }
}

fn cells(body: &[u8], order: u8, number: u64) -> Box<[u8; LEAF_BYTES]> {
    let mut out = Box::new([0; LEAF_BYTES]);
    let block = leaf_block(order, number);
    read_rgba(body, Curve::new(order), block.start, &mut out[..block.cells() as usize * 4]);
    out
}

#[test]
fn each_cell_has_the_colour_of_its_pixel() {
    for order in [3, 4, 6, 7, 8] {
        let body = body(order, vec![fill(0, 6, b"Ab 1\0", 19, 0x20)]);
        let side = 1 << order;
        for theme in Theme::ALL {
            for number in 0..crate::fold::merkle::leaf_count(order) {
                let painted =
                    leaf((order, number), &cells(&body, order, number), (Mode::Content, theme), None);
                let (left, top) = Curve::new(order).xy(number * LEAF_CELLS);
                let (left, top) = (left & !63, top & !63);
                for y in 0..side.min(64) {
                    for x in 0..side.min(64) {
                        let at = (((top + y) * side + left + x) * 4) as usize;
                        let colours = Colours::of(theme);
                        let expected = match body[at + 3] {
                            255 => colours.content[usize::from(body[at])],
                            _ => theme.background(),
                        };
                        assert_eq!(painted.pixels[(y * 64 + x) as usize], expected, "order {order}, {x},{y}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_mean_is_the_mean() {
    let pixels = [[0, 1, 255], [0, 1, 255], [1, 2, 255], [1, 2, 254]];
    assert_eq!(halved(&pixels, 2), [[1, 2, 255]]);
    let leaf = Leaf { pixels: vec![[10, 20, 30]; 4096], unverified: 5, redacted: 0 };
    let small = reduced(leaf, 0);
    assert_eq!((small.pixels, small.unverified), (vec![[10, 20, 30]], 5));
}

#[test]
fn hatching_and_marks_are_where_the_squares_are() {
    let flags = FLAG_REDACTED | FLAG_UNVERIFIED;
    let body = body(6, vec![fill(0, 6, b"x", 19, flags), fill(64, 6, b"x", 19, 0)]);
    let theme = Theme::Light;
    let painted = leaf((6, 0), &cells(&body, 6, 0), (Mode::Kind, theme), None);
    assert_eq!((painted.unverified, painted.redacted), (1, 1), "the first square is the left upper one");
    let overlay = Overlay { unverified: painted.unverified, redacted: painted.redacted, changed: None };
    let mut canvas = Canvas::new(64, theme);
    canvas.put((0, 0), 6, &painted.pixels, overlay);
    let (_, mark) = theme.ink();
    let marked = canvas.pixels.iter().filter(|pixel| **pixel == mark).count();
    assert_eq!(marked, 4, "one mark of 2x2 pixels in an 8x8 square");
    let hatched = canvas.pixels.iter().zip(&painted.pixels).filter(|(a, b)| a != b).count();
    assert_eq!(hatched, 16 + 4, "two diagonals of eight, and the mark, which is on neither");
}

#[test]
fn a_pixel_of_many_squares_is_hatched_when_half_of_them_are() {
    assert_eq!(Overlay::share(u64::MAX >> 32, 0, 0, 0), (true, true));
    assert_eq!(Overlay::share(u64::MAX >> 33, 0, 0, 0), (false, true));
    assert_eq!(Overlay::share(0, 0, 0, 0), (false, false));
    assert_eq!(Overlay::share(1 << 63, 1, 1, 1), (false, true));
    assert_eq!(Overlay::share(1 << 63, 0, 1, 1), (false, false));
    assert_eq!(Overlay::share(1 << 63, 7, 7, 3), (true, true));
    assert_eq!(Overlay::share(1 << 63, 63, 56, 6), (true, true));
    assert_eq!(Overlay::share(1 << 63, 55, 56, 6), (false, false));
}

#[test]
fn a_tile_is_an_opaque_png_of_its_size() {
    let mut canvas = Canvas::new(8, Theme::Dark);
    canvas.put((0, 0), 6, &[[1, 2, 3]; 4096], Overlay::default());
    let png = canvas.png().unwrap();
    let mut reader = png::Decoder::new(std::io::Cursor::new(&png)).read_info().unwrap();
    let mut pixels = vec![0; 256 * 256 * 3];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!((info.width, info.height, info.color_type), (256, 256, png::ColorType::Rgb));
    assert!(pixels.chunks(3).all(|pixel| pixel == [1, 2, 3]));
}
