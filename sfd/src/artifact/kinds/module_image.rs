//! The image of a kernel module: unpacked, its `.modinfo`, and who signed it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Read;

use object::{Object, ObjectSection, ObjectSymbol};

/// Modules are looked at as a whole up to this size, in bytes; the largest of Debian's kernel packages has 12 MiB.
pub(super) const BYTES_MAX: usize = 16 << 20;
/// The last bytes of a signed module (include/linux/module_signature.h) ...
const SIGNED: &[u8] = b"~Module signature appended~\n";
/// ... behind a record of this size that ends in the length of the signature ...
const RECORD_BYTES: usize = 12;
/// ... which is a PKCS#7 message. Its names of issuers are behind this: the OID of a common name, 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x06, 0x03, 0x55, 0x04, 0x03];
/// Dictionaries of xz are at most this large, in KiB: kernels pack with 2 MiB at most (scripts/xz_wrap.sh), `xz -9` has 64.
const XZ_MEMORY_KIB: u32 = 72 << 10;
/// Entries of `.modinfo`: the module with the most names has about 6000.
const ENTRIES_MAX: usize = 1 << 14;

/// Symbols that a module takes from the kernel: the largest takes about 3000.
const UNDEFINED_MAX: usize = 1 << 14;

pub(super) const GZIP: &[u8] = b"\x1f\x8b";
pub(super) const XZ: &[u8] = b"\xfd7zXZ\0";
pub(super) const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";

/// The ELF file in a module, unpacked if it is packed; nothing if it is too large or damaged.
pub(super) fn unpack(packed: &[u8]) -> Option<Cow<'_, [u8]>> {
    let unpacked = if packed.starts_with(ZSTD) {
        read(zstd::stream::read::Decoder::with_buffer(packed).ok()?)
    } else if packed.starts_with(XZ) {
        read(lzma_rust2::XzReader::new_mem_limit(packed, false, XZ_MEMORY_KIB))
    } else if packed.starts_with(GZIP) {
        read(flate2::read::GzDecoder::new(packed))
    } else {
        return Some(Cow::Borrowed(packed));
    };
    unpacked.map(Cow::Owned)
}

fn read(reader: impl Read) -> Option<Vec<u8>> {
    let mut image = Vec::new();
    reader.take(BYTES_MAX as u64 + 1).read_to_end(&mut image).ok()?;
    (image.len() <= BYTES_MAX).then_some(image)
}

/// The `.modinfo` section: what each key says, in order.
pub(super) struct ModInfo(BTreeMap<String, Vec<String>>);

impl ModInfo {
    pub(super) fn of(image: &[u8]) -> Option<Self> {
        let file = object::File::parse(image).ok()?;
        let data = file.section_by_name(".modinfo")?.data().ok()?;
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for entry in data.split(|b| *b == 0).take(ENTRIES_MAX) {
            let entry = String::from_utf8_lossy(&entry[..entry.len().min(4096)]);
            if let Some((key, value)) = entry.split_once('=') {
                found.entry(key.to_owned()).or_default().push(value.to_owned());
            }
        }
        Some(Self(found))
    }

    pub(super) fn all(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.all(key).first().map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// The symbols that it takes from the kernel and from other modules, by name.
pub(super) fn undefined(image: &[u8]) -> Vec<String> {
    let Ok(file) = object::File::parse(image) else { return Vec::new() };
    let names = file.symbols().filter(|symbol| symbol.is_undefined() && symbol.is_global());
    let names = names.filter_map(|symbol| symbol.name().ok()).filter(|name| !name.is_empty());
    let mut names: Vec<String> = names.take(UNDEFINED_MAX).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names
}

pub(super) fn is_signed(image: &[u8]) -> bool {
    image.ends_with(SIGNED)
}

/// The common name of who signed it, as modinfo(8) says it.
pub(super) fn signer(image: &[u8]) -> Option<String> {
    let before = image.strip_suffix(SIGNED)?;
    let (before, record) = before.split_at_checked(before.len().checked_sub(RECORD_BYTES)?)?;
    let length = u32::from_be_bytes(*record.last_chunk()?);
    let signature = &before[before.len().checked_sub(usize::try_from(length).ok()?)?..];
    let at = signature.windows(COMMON_NAME.len()).position(|w| w == COMMON_NAME)?;
    // A string: its tag, its length in one byte (a common name has at most 64 characters), its bytes.
    let [_, length, text @ ..] = &signature[at + COMMON_NAME.len()..] else { return None };
    let name = text.get(..usize::from(*length))?;
    (*length < 128).then(|| String::from_utf8_lossy(name).into_owned())
}
