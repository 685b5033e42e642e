//! Archives and compressed files, by their first bytes.

use super::{ArtifactInput, Draft, text};

const MAGIC: [(&[u8], &str); 12] = [
    (b"\x1f\x8b", "gzip"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"!<arch>\n", "ar"),
    (b"\xed\xab\xee\xdb", "rpm"),
    (b"070701", "cpio"),
    (b"hsqs", "squashfs"),
];

fn format(input: &ArtifactInput<'_>) -> Option<&'static str> {
    let known = MAGIC.iter().find(|(magic, _)| input.head.starts_with(magic)).map(|(_, name)| *name);
    // tar has its mark in the middle of the first header block.
    known.or_else(|| input.head.get(257..262).is_some_and(|m| m == b"ustar").then_some("tar"))
}

pub(super) fn matches(input: &ArtifactInput<'_>) -> bool {
    input.is_file() && format(input).is_some()
}

pub(super) fn describe(input: &ArtifactInput<'_>) -> Draft {
    let format = format(input).unwrap_or("unknown");
    Draft::new(
        input.shown_name(),
        format!("Archive or compressed data ({format}), {}.", text::size(input.len)),
    )
    .tag(format)
}
