//! Archives and compressed files, by their first bytes.

use super::{ArtifactInput, Body, Draft, Facts, text};

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

fn format(head: &[u8]) -> Option<&'static str> {
    let known = MAGIC.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, name)| *name);
    // tar has its mark in the middle of the first header block.
    known.or_else(|| head.get(257..262).is_some_and(|m| m == b"ustar").then_some("tar"))
}

pub(super) fn matches(input: &ArtifactInput<'_>) -> bool {
    input.is_file() && format(input.head).is_some()
}

pub(super) fn describe(input: &ArtifactInput<'_>) -> Draft {
    let format = format(input.head).unwrap_or("unknown");
    Draft::new(
        input.shown_name(),
        format!("Archive or compressed data ({format}), {}.", text::size(input.len)),
    )
    .tag(format)
}

pub(super) fn facts(body: &Body<'_>) -> Facts {
    let mut facts = Facts::default();
    let format = format(body.bytes).unwrap_or_default();
    facts.say("format", format);
    match format {
        "gzip" => facts.say("name inside", gzip_name(body.bytes).unwrap_or_default()),
        "tar" => facts.list("first names inside", tar_names(body.bytes)),
        "ar" => facts.list("first names inside", ar_names(body.bytes)),
        _ => {}
    }
    facts
}

fn until_nul(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end.min(256)]).into_owned()
}

/// The name that gzip keeps (RFC 1952, 2.3: flag FNAME, without the flag FEXTRA before it).
fn gzip_name(bytes: &[u8]) -> Option<String> {
    let flags = *bytes.get(3)?;
    (flags & 0b1100 == 0b1000).then(|| bytes.get(10..).map(until_nul))?
}

/// The names in the headers of a tar file, as far as it is there.
fn tar_names(bytes: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    let mut at = 0_usize;
    while let Some(header) = bytes.get(at..at + 512).filter(|h| h[0] != 0 && names.len() < 100) {
        let digits = String::from_utf8_lossy(&header[124..136]);
        let Ok(size) = usize::from_str_radix(digits.trim_matches(['\0', ' ']), 8) else { break };
        names.push(until_nul(&header[..100]));
        // 11 octal digits, and 512 bytes more for the header: no overflow of 64 bits; checked for 32.
        let Some(next) = size.checked_next_multiple_of(512).and_then(|s| at.checked_add(s + 512)) else {
            break;
        };
        at = next;
    }
    names
}

/// The same for ar, which Debian packages and static libraries are: headers of 60 bytes, data on even offsets.
fn ar_names(bytes: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    let mut at = 8_usize;
    while let Some(header) = bytes.get(at..at.saturating_add(60)).filter(|_| names.len() < 100) {
        let name = String::from_utf8_lossy(&header[..16]).trim_end_matches([' ', '/']).to_owned();
        let Ok(size) = String::from_utf8_lossy(&header[48..58]).trim().parse::<u32>() else { break };
        if !name.is_empty() {
            names.push(name);
        }
        at = at.saturating_add(60 + size as usize + (size % 2) as usize);
    }
    names
}
