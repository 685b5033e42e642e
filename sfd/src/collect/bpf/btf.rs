//! A reader of just so much BTF as offsets need: structures, unions, typedefs, and the arity of tracepoints.
//!
//! The format is described in the kernel's `Documentation/bpf/btf.rst`. Nothing is trusted: every read is checked
//! and a malformed type section ends the walk with an error.

use std::collections::HashMap;

/// The kernel's own type information, since 5.2 with `CONFIG_DEBUG_INFO_BTF`.
pub(super) const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
const KIND_PTR: u32 = 2;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_TYPEDEF: u32 = 8;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
/// Typedefs, qualifiers and pointers in a row that are followed before giving up: real chains have three or four.
const CHAIN_MAX: usize = 32;

/// Why bytes are no BTF.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BtfError {
    /// The header is short or has another magic number.
    #[error("no BTF header")]
    Header,
    /// The type section ends inside a type, or holds an unknown kind.
    #[error("type {id} of the BTF cannot be read (kind {kind})")]
    Type {
        /// Number of the type.
        id: u32,
        /// Its kind.
        kind: u32,
    },
}

/// Parsed BTF.
pub(super) struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Where each type begins in `types`; index 0 stands for `void` and is unused.
    starts: Vec<u32>,
    /// Structures and typedefs by name; the first of a name wins.
    named: HashMap<(&'a [u8], u32), u32>,
}

/// The fixed part of a type.
#[derive(Clone, Copy)]
struct Head {
    start: usize,
    kind: u32,
    count: u32,
    /// `kind_flag`: member offsets share their word with a bit-field size.
    packed: bool,
    /// Size or type, by kind.
    value: u32,
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

impl<'a> Btf<'a> {
    /// Indexes the types of `bytes`, in the byte order of this machine.
    ///
    /// # Errors
    /// When the bytes are not BTF.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, BtfError> {
        let (types, strings) = sections(bytes).ok_or(BtfError::Header)?;
        let mut btf = Self { types, strings, starts: vec![0], named: HashMap::new() };
        let mut at = 0;
        while at < types.len() {
            let id = u32::try_from(btf.starts.len()).map_err(|_| BtfError::Header)?;
            let head = btf.head(at).ok_or(BtfError::Type { id, kind: 0 })?;
            let tail = tail_len(head.kind, head.count).ok_or(BtfError::Type { id, kind: head.kind })?;
            if matches!(head.kind, KIND_STRUCT | KIND_UNION | KIND_TYPEDEF | KIND_FUNC)
                && let Some(name) = btf.name(at).filter(|name| !name.is_empty())
            {
                btf.named.entry((name, head.kind)).or_insert(id);
            }
            btf.starts.push(u32::try_from(at).map_err(|_| BtfError::Header)?);
            at += 12 + tail;
        }
        Ok(btf)
    }

    /// Byte offset of a member given as a dotted path, such as `f_path.dentry`, in a structure.
    ///
    /// Members of anonymous structures and unions count as the structure's own.
    #[must_use]
    pub(super) fn member(&self, structure: &str, path: &str) -> Option<u32> {
        let mut id = *self
            .named
            .get(&(structure.as_bytes(), KIND_STRUCT))
            .or_else(|| self.named.get(&(structure.as_bytes(), KIND_UNION)))?;
        let mut bits = 0;
        for name in path.split('.') {
            let (at, member_type) = self.find(id, name.as_bytes(), 0)?;
            bits += at;
            id = member_type;
        }
        (bits % 8 == 0).then_some(bits / 8)
    }

    /// Number of arguments of a tracepoint as its programs see them (the hidden first one not counted).
    #[must_use]
    pub(super) fn tracepoint_arguments(&self, name: &str) -> Option<u32> {
        let typedef = format!("btf_trace_{name}");
        let id = *self.named.get(&(typedef.as_bytes(), KIND_TYPEDEF))?;
        let proto = self.resolve(id, true)?;
        (proto.kind == KIND_FUNC_PROTO).then(|| proto.count.saturating_sub(1))
    }

    /// The parameters of a function: for each, the structure it points to, if that is what it is.
    #[must_use]
    pub(super) fn parameters(&self, function: &str) -> Option<Vec<Option<&'a [u8]>>> {
        let id = *self.named.get(&(function.as_bytes(), KIND_FUNC))?;
        let function = self.head(*self.starts.get(id as usize)? as usize)?;
        let proto = self.head(*self.starts.get(function.value as usize)? as usize)?;
        if proto.kind != KIND_FUNC_PROTO {
            return None;
        }
        let parameter = |index: usize| {
            let id = word(self.types, proto.start + 12 + index * 8 + 4)?;
            let pointer = self.resolve(id, false).filter(|head| head.kind == KIND_PTR)?;
            let target = self.resolve(pointer.value, false).filter(|head| head.kind == KIND_STRUCT)?;
            self.name(target.start)
        };
        Some((0..proto.count as usize).map(parameter).collect())
    }

    /// (offset in bits, type) of a member of a structure or union.
    fn find(&self, id: u32, name: &[u8], depth: usize) -> Option<(u32, u32)> {
        if depth > CHAIN_MAX {
            return None;
        }
        let head = self.resolve(id, false)?;
        if !matches!(head.kind, KIND_STRUCT | KIND_UNION) {
            return None;
        }
        for index in 0..head.count as usize {
            let member = head.start + 12 + index * 12;
            let member_type = word(self.types, member + 4)?;
            let raw = word(self.types, member + 8)?;
            let bits = if head.packed { raw & 0x00ff_ffff } else { raw };
            let member_name = self.name(member)?;
            if member_name == name {
                return Some((bits, member_type));
            }
            if member_name.is_empty()
                && let Some((inner, found)) = self.find(member_type, name, depth + 1)
            {
                return Some((bits + inner, found));
            }
        }
        None
    }

    /// Follows typedefs and qualifiers (and pointers, if asked) to the type itself.
    fn resolve(&self, mut id: u32, through_pointers: bool) -> Option<Head> {
        for _ in 0..CHAIN_MAX {
            let head = self.head(*self.starts.get(id as usize).filter(|_| id != 0)? as usize)?;
            match head.kind {
                // typedef, volatile, const, restrict, type tag
                KIND_TYPEDEF | 9 | 10 | 11 | 18 => id = head.value,
                KIND_PTR if through_pointers => id = head.value,
                _ => return Some(head),
            }
        }
        None
    }

    fn head(&self, start: usize) -> Option<Head> {
        let info = word(self.types, start + 4)?;
        Some(Head {
            start,
            kind: (info >> 24) & 0x1f,
            count: info & 0xffff,
            packed: info >> 31 != 0,
            value: word(self.types, start + 8)?,
        })
    }

    /// The name whose string offset is the word at `at` in the type section.
    fn name(&self, at: usize) -> Option<&'a [u8]> {
        let rest = self.strings.get(word(self.types, at)? as usize..)?;
        rest.split(|byte| *byte == 0).next()
    }
}

/// Type and string sections, by the header.
fn sections(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    if u16::from_ne_bytes(*bytes.first_chunk()?) != MAGIC {
        return None;
    }
    let header_len = word(bytes, 4)? as usize;
    let section = |at: usize| {
        let start = header_len.checked_add(word(bytes, at)? as usize)?;
        bytes.get(start..start.checked_add(word(bytes, at + 4)? as usize)?)
    };
    Some((section(8)?, section(16)?))
}

/// Bytes after the fixed part of a type of this kind; `None` for a kind this reader does not know.
fn tail_len(kind: u32, count: u32) -> Option<usize> {
    let count = count as usize;
    Some(match kind {
        1 | 14 | 17 => 4,
        3 => 12,
        KIND_STRUCT | KIND_UNION | 15 | 19 => count * 12,
        6 | KIND_FUNC_PROTO => count * 8,
        KIND_PTR | 7 | KIND_TYPEDEF..=KIND_FUNC | 16 | 18 => 0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Type<'a> = (&'a str, u32, u32, Vec<(&'a str, u32, u32)>);

    /// Writes BTF: a list of (name, info, value, tail words), with names collected into the string section.
    fn write(types: &[Type<'_>]) -> Vec<u8> {
        let mut strings = vec![0u8];
        let mut intern = |name: &str| {
            if name.is_empty() {
                return 0;
            }
            let at = strings.len() as u32;
            strings.extend_from_slice(name.as_bytes());
            strings.push(0);
            at
        };
        let mut body = Vec::new();
        for (name, info, value, members) in types {
            let info = info | members.len() as u32;
            for part in [intern(name), info, *value] {
                body.extend_from_slice(&part.to_ne_bytes());
            }
            for (name, member_type, bits) in members {
                for part in [intern(name), *member_type, *bits] {
                    body.extend_from_slice(&part.to_ne_bytes());
                }
            }
        }
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend_from_slice(&[1, 0]);
        let words = [24, 0, body.len() as u32, body.len() as u32, strings.len() as u32];
        bytes.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
        bytes.extend(body);
        bytes.extend(strings);
        bytes
    }

    const STRUCT: u32 = KIND_STRUCT << 24;
    const UNION: u32 = KIND_UNION << 24;

    #[test]
    fn anonymous_members_and_dotted_paths() {
        let bytes = write(&[
            ("", UNION, 8, vec![("hash_len", 3, 0)]),
            ("qstr", STRUCT, 16, vec![("", 1, 0), ("name", 3, 64)]),
            ("u64", KIND_TYPEDEF << 24, 0, vec![]),
            ("dentry", STRUCT | 1 << 31, 64, vec![("bits", 3, 5 << 24 | 3), ("d_name", 2, 128)]),
        ]);
        let btf = Btf::parse(&bytes).unwrap();
        assert_eq!(btf.member("dentry", "d_name.name"), Some(24));
        assert_eq!(btf.member("qstr", "hash_len"), Some(0));
        assert_eq!(btf.member("dentry", "bits"), None, "not on a byte");
        assert_eq!(btf.member("dentry", "gone"), None);
        assert_eq!(btf.member("gone", "name"), None);
    }

    #[test]
    fn parameters_of_functions() {
        let bytes = write(&[
            ("inode", STRUCT, 8, vec![]),
            ("", KIND_PTR << 24, 1, vec![]),
            ("u64", KIND_TYPEDEF << 24, 0, vec![]),
            ("", KIND_FUNC_PROTO << 24, 0, vec![]),
            ("vfs_none", KIND_FUNC << 24, 4, vec![]),
        ]);
        let btf = Btf::parse(&bytes).unwrap();
        assert_eq!(btf.parameters("vfs_none"), Some(vec![]));
        assert_eq!(btf.parameters("inode"), None, "not a function");
        assert_eq!(btf.parameters("gone"), None);
    }

    #[test]
    fn malformed_bytes_are_errors() {
        assert_eq!(Btf::parse(b"").err(), Some(BtfError::Header));
        let bytes = write(&[("x", 31 << 24, 0, vec![])]);
        assert_eq!(Btf::parse(&bytes).err(), Some(BtfError::Type { id: 1, kind: 31 }));
        let recursive = write(&[("a", KIND_TYPEDEF << 24, 1, vec![]), ("s", STRUCT, 8, vec![("", 2, 0)])]);
        assert_eq!(Btf::parse(&recursive).unwrap().member("s", "x"), None);
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(tail in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let mut bytes = MAGIC.to_ne_bytes().to_vec();
            bytes.extend_from_slice(&[1, 0, 24, 0, 0, 0]);
            bytes.extend(tail);
            if let Ok(btf) = Btf::parse(&bytes) {
                let _ = btf.member("a", "b");
            }
        }
    }
}
