//! The fixed parts of a brick file: the 132-byte V2BR header and SFD's footer. Pure.
//!
//! ```text
//! header 132 | body: width x height x 4, or zstd frames | index (sealed) | footer 56 (sealed)
//! ```

use crate::fold::merkle::Hash;
use crate::fold::{Curve, ORDER_MAX_EXACT, ORDER_MIN};

/// First bytes of a brick.
pub const MAGIC: [u8; 4] = *b"V2BR";
/// The only version there is.
pub const VERSION: u32 = 1;

// Offsets of the header's fields, each after the one before. Integers are little-endian, nothing is padded.
const AT_MAGIC: usize = 0;
const AT_VERSION: usize = AT_MAGIC + 4;
const AT_WIDTH: usize = AT_VERSION + 4;
const AT_HEIGHT: usize = AT_WIDTH + 4;
const AT_ORDER: usize = AT_HEIGHT + 4;
const AT_ORIGINAL_SIZE: usize = AT_ORDER + 4;
const AT_COMPRESSED_SIZE: usize = AT_ORIGINAL_SIZE + 8;
const AT_ENTROPY: usize = AT_COMPRESSED_SIZE + 8;
const AT_HASH: usize = AT_ENTROPY + 4;
const AT_HASH_PADDING: usize = AT_HASH + 32;
const AT_FLAGS: usize = AT_HASH_PADDING + 16;
const AT_RESERVED: usize = AT_FLAGS + 4;
const AT_TRAILER_VERSION: usize = AT_RESERVED + 4;
const AT_RESERVED_REST: usize = AT_TRAILER_VERSION + 4;
/// Bytes of the header; the body starts here.
pub const HEADER_LEN: usize = AT_RESERVED + 40;
const _: () = assert!(HEADER_LEN == 132 && AT_HASH == 40 && AT_FLAGS == 88 && AT_RESERVED == 92);

/// Flag bit 0: the file has metadata after the body (sealed bricks).
pub const FLAG_METADATA: u32 = 1;
/// Flag bit 1: the body is compressed.
pub const FLAG_COMPRESSED: u32 = 1 << 1;

/// Marks SFD's bricks in the reserved bytes; the trailer version follows.
const SFD_MARK: [u8; 4] = *b"SFD1";
/// Trailer version of a live brick: nothing follows the body, the catalog is beside it.
pub const TRAILER_NONE: u32 = 0;
/// Trailer version of sealed bricks.
pub const TRAILER_VERSION: u32 = 1;

/// Why bytes are not a brick that can be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Fewer bytes than a header.
    #[error("not a brick: {len} bytes, a header has {HEADER_LEN}")]
    TooShort {
        /// Bytes there are.
        len: u64,
    },
    /// Other first bytes.
    #[error("not a brick: it starts with {found:02x?}, not with \"V2BR\"")]
    NotABrick {
        /// The first four bytes.
        found: [u8; 4],
    },
    /// `BRCK` or `KCRB`.
    #[error("a {magic} file, another format that also uses the name .brick; it holds no V2 spatial brick")]
    OtherFormat {
        /// Its first bytes as text.
        magic: &'static str,
    },
    /// Another version.
    #[error("V2BR version {0}, only version {VERSION} is known")]
    Version(u32),
    /// Width, height and order do not agree.
    #[error("{width}x{height} pixels do not fit a curve of order {order}")]
    Geometry {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Order of the curve.
        order: u32,
    },
    /// More cells in use than the curve has.
    #[error("{used} cells in use, a curve of order {order} has {}", 1_u64 << (2 * .order))]
    OriginalSize {
        /// Cells in use as the header says.
        used: u64,
        /// Order of the curve.
        order: u8,
    },
    /// The reserved bytes name a trailer of a later version.
    #[error("trailer version {0}, this version knows up to {TRAILER_VERSION}; use a newer sfd")]
    Trailer(u32),
    /// The body ends early.
    #[error("{found} bytes instead of {expected}: the file is truncated")]
    Truncated {
        /// Bytes there should be at least.
        expected: u64,
        /// Bytes there are.
        found: u64,
    },
    /// More cells than so few bytes can be the contents of.
    #[error("{found} bytes cannot be a brick of order {order}; it is damaged")]
    TooSmall {
        /// Bytes there are.
        found: u64,
        /// Order of the curve.
        order: u8,
    },
    /// The header's size of the body is not that of its order.
    #[error("its header says a body of {found} bytes, one of order {order} has {expected}")]
    BodyLength {
        /// Bytes as the header says.
        found: u64,
        /// Order of the curve.
        order: u8,
        /// Bytes that such a body has.
        expected: u64,
    },
    /// The reserved bytes, or the flags, say another form of brick than the one it is.
    #[error("its header says that it is {says}, but it has {has}: the header is damaged")]
    Form {
        /// What the header says.
        says: &'static str,
        /// What was found.
        has: &'static str,
    },
    /// Flags that no live brick has.
    #[error("flags {0:#x} are not those of a live brick: the header is damaged")]
    Flags(u32),
    /// Compressed, but not by SFD: how is not part of the format.
    #[error("its body is compressed in a way that only the program that wrote it knows")]
    ForeignCompression,
    /// Not a PixelRTS picture that can be read here.
    #[error("{0}")]
    PixelRts(String),
    /// The footer or the index is damaged.
    #[error("the index at the end is damaged: {0}")]
    Index(String),
}

/// The header's fields.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Header {
    /// Order of the curve; the side is `2^order` pixels.
    pub order: u8,
    /// The used run: one past the highest used cell.
    pub original_size: u64,
    /// Bytes of the body as stored.
    pub compressed_size: u64,
    /// Shannon entropy of the occupied cells, bits per byte.
    pub entropy: f32,
    /// Merkle root.
    pub hash: Hash,
    /// Flag bits.
    pub flags: u32,
    /// Trailer version; `None` for a brick of another program.
    pub trailer: Option<u32>,
}

impl Header {
    /// The header of an uncompressed brick.
    pub fn new(order: u8, original_size: u64, entropy: f32, hash: Hash) -> Self {
        Self {
            order,
            original_size,
            compressed_size: Curve::new(order).body_len(),
            entropy,
            hash,
            flags: 0,
            trailer: Some(TRAILER_NONE),
        }
    }

    /// The bytes in the file.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        let side = 1_u32 << self.order;
        put(&mut out, AT_MAGIC, &MAGIC);
        put(&mut out, AT_VERSION, &VERSION.to_le_bytes());
        put(&mut out, AT_WIDTH, &side.to_le_bytes());
        put(&mut out, AT_HEIGHT, &side.to_le_bytes());
        put(&mut out, AT_ORDER, &u32::from(self.order).to_le_bytes());
        put(&mut out, AT_ORIGINAL_SIZE, &self.original_size.to_le_bytes());
        put(&mut out, AT_COMPRESSED_SIZE, &self.compressed_size.to_le_bytes());
        put(&mut out, AT_ENTROPY, &self.entropy.to_le_bytes());
        put(&mut out, AT_HASH, &self.hash);
        put(&mut out, AT_FLAGS, &self.flags.to_le_bytes());
        if let Some(version) = self.trailer {
            put(&mut out, AT_RESERVED, &SFD_MARK);
            put(&mut out, AT_TRAILER_VERSION, &version.to_le_bytes());
        }
        out
    }

    /// Reads a header.
    ///
    /// # Errors
    /// The first field that does not fit.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let magic: [u8; 4] = get(bytes, AT_MAGIC).ok_or(FormatError::TooShort { len: bytes.len() as u64 })?;
        match &magic {
            b"BRCK" => return Err(FormatError::OtherFormat { magic: "BRCK" }),
            b"KCRB" => return Err(FormatError::OtherFormat { magic: "KCRB" }),
            _ if magic != MAGIC => return Err(FormatError::NotABrick { found: magic }),
            _ => {}
        }
        let bytes: [u8; HEADER_LEN] =
            get(bytes, 0).ok_or(FormatError::TooShort { len: bytes.len() as u64 })?;
        let u32_at = |at| u32::from_le_bytes(get(&bytes, at).unwrap_or_default());
        let u64_at = |at| u64::from_le_bytes(get(&bytes, at).unwrap_or_default());
        if u32_at(AT_VERSION) != VERSION {
            return Err(FormatError::Version(u32_at(AT_VERSION)));
        }
        let (width, height, order) = (u32_at(AT_WIDTH), u32_at(AT_HEIGHT), u32_at(AT_ORDER));
        if order > u32::from(ORDER_MAX_EXACT) || width != 1 << order || height != width {
            return Err(FormatError::Geometry { width, height, order });
        }
        let is_ours = get(&bytes, AT_RESERVED) == Some(SFD_MARK);
        // Other programs make smaller ones; here an artifact has 64 cells at least.
        if is_ours && order < u32::from(ORDER_MIN) {
            return Err(FormatError::Geometry { width, height, order });
        }
        let order = order as u8;
        let original_size = u64_at(AT_ORIGINAL_SIZE);
        if original_size > Curve::new(order).cells() {
            return Err(FormatError::OriginalSize { used: original_size, order });
        }
        let trailer = is_ours.then(|| u32_at(AT_TRAILER_VERSION));
        if let Some(version) = trailer.filter(|&version| version > TRAILER_VERSION) {
            return Err(FormatError::Trailer(version));
        }
        Ok(Self {
            order,
            original_size,
            compressed_size: u64_at(AT_COMPRESSED_SIZE),
            entropy: f32::from_bits(u32_at(AT_ENTROPY)),
            hash: get(&bytes, AT_HASH).unwrap_or_default(),
            flags: u32_at(AT_FLAGS),
            trailer,
        })
    }

    /// Whether `bytes` are this header with nothing in the bytes that must be zero.
    pub fn is_canonical(&self, bytes: &[u8]) -> bool {
        debug_assert_eq!(AT_RESERVED_REST + 32, HEADER_LEN);
        bytes == self.encode()
    }

    /// The Merkle root in hexadecimal.
    pub fn hash_hex(&self) -> String {
        super::index::hex(&self.hash)
    }

    /// Side of the image in pixels.
    pub fn side(&self) -> u64 {
        1 << self.order
    }

    /// Whether the body is stored as zstd frames.
    pub fn is_compressed(&self) -> bool {
        self.flags & FLAG_COMPRESSED != 0
    }
}

/// First bytes of a footer.
const FOOTER_MAGIC: [u8; 4] = *b"SFDT";
const FOOTER_AT_VERSION: usize = 4;
const FOOTER_AT_INDEX_LEN: usize = FOOTER_AT_VERSION + 4;
const FOOTER_AT_RAW_LEN: usize = FOOTER_AT_INDEX_LEN + 8;
const FOOTER_AT_CHECKSUM: usize = FOOTER_AT_RAW_LEN + 8;
/// Bytes of the footer, the last of a sealed brick.
pub const FOOTER_LEN: usize = FOOTER_AT_CHECKSUM + 32;

/// What ends a sealed brick: where its index is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer {
    /// Bytes of the index as stored (zstd); they end where the footer starts.
    pub index_len: u64,
    /// Bytes of the index as JSON.
    pub raw_len: u64,
    /// SHA-256 of the index as stored.
    pub checksum: Hash,
}

impl Footer {
    /// The bytes in the file.
    pub fn encode(&self) -> [u8; FOOTER_LEN] {
        let mut out = [0; FOOTER_LEN];
        put(&mut out, 0, &FOOTER_MAGIC);
        put(&mut out, FOOTER_AT_VERSION, &TRAILER_VERSION.to_le_bytes());
        put(&mut out, FOOTER_AT_INDEX_LEN, &self.index_len.to_le_bytes());
        put(&mut out, FOOTER_AT_RAW_LEN, &self.raw_len.to_le_bytes());
        put(&mut out, FOOTER_AT_CHECKSUM, &self.checksum);
        out
    }

    /// Whether a file ends with a footer, of whatever version.
    pub fn ends(file: &[u8]) -> bool {
        let at = file.len().checked_sub(FOOTER_LEN).filter(|&at| at >= HEADER_LEN);
        at.and_then(|at| get(file, at)) == Some(FOOTER_MAGIC)
    }

    /// Reads a footer.
    ///
    /// # Errors
    /// The bytes are not a footer of a known version.
    pub fn decode(bytes: &[u8; FOOTER_LEN]) -> Result<Self, FormatError> {
        if get(bytes, 0) != Some(FOOTER_MAGIC) {
            return Err(FormatError::Index("no footer; the file is truncated or not finished".into()));
        }
        match u32::from_le_bytes(get(bytes, FOOTER_AT_VERSION).unwrap_or_default()) {
            TRAILER_VERSION => {}
            version => return Err(FormatError::Trailer(version)),
        }
        Ok(Self {
            index_len: u64::from_le_bytes(get(bytes, FOOTER_AT_INDEX_LEN).unwrap_or_default()),
            raw_len: u64::from_le_bytes(get(bytes, FOOTER_AT_RAW_LEN).unwrap_or_default()),
            checksum: get(bytes, FOOTER_AT_CHECKSUM).unwrap_or_default(),
        })
    }
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    out[at..at + bytes.len()].copy_from_slice(bytes);
}

fn get<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header { flags: FLAG_METADATA, trailer: Some(1), ..Header::new(4, 200, 3.5, [7; 32]) }
    }

    #[test]
    fn a_header_is_laid_out_as_public_readers_expect() {
        let bytes = header().encode();
        assert_eq!(&bytes[..4], b"V2BR");
        let expected: [&[u8]; 5] = [&[1, 0, 0, 0], &[16, 0, 0, 0], &[16, 0, 0, 0], &[4, 0, 0, 0], &[200, 0]];
        for (field, at) in expected.iter().zip([4, 8, 12, 16, 20]) {
            assert_eq!(&bytes[at..at + field.len()], *field, "offset {at}");
        }
        assert_eq!(bytes[28..36], 1024_u64.to_le_bytes());
        assert_eq!(bytes[36..40], 3.5_f32.to_le_bytes());
        assert_eq!((&bytes[40..72], &bytes[72..88]), (&[7; 32][..], &[0; 16][..]));
        assert_eq!((&bytes[88..92], &bytes[92..96]), (&[1, 0, 0, 0][..], &b"SFD1"[..]));
        assert_eq!((&bytes[96..100], &bytes[100..]), (&[1, 0, 0, 0][..], &[0; 32][..]));
        assert_eq!(Header::decode(&bytes), Ok(header()));
    }

    #[test]
    fn what_is_not_a_brick_is_refused_by_name() {
        let with = |at: usize, byte: u8| {
            let mut bytes = header().encode();
            bytes[at] = byte;
            Header::decode(&bytes).map_err(|error| error.to_string())
        };
        assert_eq!(with(4, 2), Err("V2BR version 2, only version 1 is known".into()));
        assert_eq!(with(8, 3), Err("3x16 pixels do not fit a curve of order 4".into()));
        assert_eq!(with(16, 33), Err("16x16 pixels do not fit a curve of order 33".into()));
        assert_eq!(with(21, 2), Err("712 cells in use, a curve of order 4 has 256".into()));
        assert_eq!(with(96, 9), Err("trailer version 9, this version knows up to 1; use a newer sfd".into()));
        let error = |bytes: &[u8]| Header::decode(bytes).unwrap_err().to_string();
        assert_eq!(error(b""), "not a brick: 0 bytes, a header has 132");
        assert_eq!(error(b"V2BR"), "not a brick: 4 bytes, a header has 132");
        assert_eq!(error(b"\x89PNG"), "not a brick: it starts with [89, 50, 4e, 47], not with \"V2BR\"");
        for magic in ["BRCK", "KCRB"] {
            let expected = format!(
                "a {magic} file, another format that also uses the name .brick; it holds no V2 spatial brick"
            );
            assert_eq!(error(magic.as_bytes()), expected);
        }
    }

    #[test]
    fn a_footer_comes_back() {
        let footer = Footer { index_len: 10, raw_len: 20, checksum: [3; 32] };
        assert_eq!(Footer::decode(&footer.encode()), Ok(footer));
        assert!(Footer::decode(&[0; FOOTER_LEN]).is_err());
    }
}
