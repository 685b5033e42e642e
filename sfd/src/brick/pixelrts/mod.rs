//! PixelRTS 2.0: bytes as a PNG, four to a pixel, in Hilbert order, with metadata in text chunks.
//!
//! ```text
//! write      a brick becomes one           blueprint  what its artifacts mean, for the second text chunk
//! read       one of any program is read    json       JSON in ASCII
//! ```
//!
//! The data is the R channel of the brick's used run: the bytes that a public reader gets out of the brick itself. Four
//! cells of the brick are one pixel, and the picture's side is half the brick's, so that every artifact is in the same
//! place in both. `docs/brick-format.md` describes what is written, `docs/decisions/0007-exports.md` tells why.
//!
//! Facts of the format are from its public description and readers: `docs/PIXELRTS_V2_SPEC.md`,
//! `systems/pixel_compiler/pixelrts_v2_core.py`, `pixelrts_blueprint.py` and
//! `systems/infinite_map_rs/src/entities/rts_particle.rs` of `tdw419/geometry_os`.

mod blueprint;
mod json;
mod read;
mod write;

pub use blueprint::COMPONENTS_MAX;
pub use read::{Inspection, Offset, PixelRts};
pub(super) use write::write;

/// First bytes of a PNG.
pub const PNG_SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";
/// Keyword of the text chunk with the metadata. Its text starts with the same word, then JSON.
const KEYWORD: &str = "PixelRTS";
/// Keyword of the text chunk with the Blueprint, and what its text starts with.
const BLUEPRINT_KEYWORD: &str = "PixelRTS-Blueprint";
/// Value of `format`.
const FORMAT: &str = "PixelRTS-2.0";
/// Value of `format_version`.
const FORMAT_VERSION: u32 = 2;
/// Largest side in pixels, of 256 MiB of data: the next power of two is more pixels than Pillow, which the public reader
/// uses, opens (twice 89 478 485), and more bytes than the `image` crate allocates (512 MiB).
const SIDE_MAX: u32 = 1 << ORDER_MAX;
/// Order of the largest picture.
const ORDER_MAX: u8 = 13;
/// Most bytes of all text chunks: Pillow refuses a PNG with more.
const TEXT_MAX: usize = 64 << 20;
