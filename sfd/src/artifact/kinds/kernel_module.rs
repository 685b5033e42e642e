//! Kernel modules: what modinfo(8) would say.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use object::{Object, ObjectSection};

use super::{ArtifactInput, Draft, text};

/// Modules are looked at as a whole up to this size, in bytes; the largest of Debian's kernel packages has 12 MiB.
pub(super) const BYTES_MAX: usize = 16 << 20;
/// The last bytes of a signed module (include/linux/module_signature.h).
const SIGNED: &[u8] = b"~Module signature appended~\n";

/// Whether the name is that of a module, compressed or not.
pub(super) fn by_name(path: &Path) -> bool {
    let name = path.file_name().map_or(&b""[..], |n| n.as_bytes());
    [&b".ko"[..], b".ko.xz", b".ko.zst", b".ko.gz"].iter().any(|s| name.ends_with(s))
}

pub(super) fn matches(input: &ArtifactInput<'_>) -> bool {
    const COMPRESSED: [&[u8]; 3] = [b"\x1f\x8b", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"];
    input.is_file()
        && by_name(input.path)
        && (input.head.starts_with(b"\x7fELF") || COMPRESSED.iter().any(|m| input.head.starts_with(m)))
}

pub(super) fn describe(input: &ArtifactInput<'_>) -> Draft {
    let name = input.shown_name();
    let size = text::size(input.len);
    let unpacked = input.head.starts_with(b"\x28\xb5\x2f\xfd").then(|| unzstd(input.head)).flatten();
    let image = unpacked.as_deref().unwrap_or(input.head);
    let plain = image.starts_with(b"\x7fELF") && input.whole;
    let info = if plain { modinfo(image) } else { None };
    let Some(info) = info else {
        return Draft::new(
            name,
            format!("Kernel module, {size}, not looked into (compressed, too large or damaged)."),
        )
        .tag("kernel");
    };
    let fact = |key: &str| info.get(key).map(String::as_str).filter(|v| !v.is_empty());
    let mut facts = vec!["Kernel module".to_owned()];
    for (key, word) in
        [("description", ""), ("license", "licence "), ("vermagic", "for "), ("depends", "needs ")]
    {
        if let Some(value) = fact(key) {
            facts.push(format!("{word}{}", text::clean(value, 70)));
        }
    }
    let mut draft = Draft::new(name, format!("{}.", facts.join(", "))).tag("kernel");
    if image.ends_with(SIGNED) {
        draft = draft.tag("signed");
    } else {
        draft = draft.tag("unsigned").risk(2, "kernel module without a signature");
    }
    if fact("intree") != Some("Y") {
        draft = draft.tag("out-of-tree").risk(1, "kernel module built outside the kernel's source");
    }
    // The list of licences that do not taint: license_is_gpl_compatible in include/linux/license.h.
    let free = ["GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"];
    if fact("license").is_none_or(|l| !free.contains(&l)) {
        draft = draft.tag("proprietary").risk(1, "kernel module whose licence taints the kernel");
    }
    draft
}

/// The `.modinfo` section: `key=value`, separated by NUL.
fn modinfo(image: &[u8]) -> Option<BTreeMap<String, String>> {
    let file = object::File::parse(image).ok()?;
    let data = file.section_by_name(".modinfo")?.data().ok()?;
    let pairs = data.split(|b| *b == 0).take(4096).filter_map(|entry| {
        let entry = String::from_utf8_lossy(&entry[..entry.len().min(4096)]);
        let (key, value) = entry.split_once('=')?;
        Some((key.to_owned(), value.to_owned()))
    });
    Some(pairs.collect())
}

fn unzstd(packed: &[u8]) -> Option<Vec<u8>> {
    let mut image = Vec::new();
    let reader = zstd::stream::read::Decoder::with_buffer(packed).ok()?;
    reader.take(BYTES_MAX as u64 + 1).read_to_end(&mut image).ok()?;
    (image.len() <= BYTES_MAX).then_some(image)
}
