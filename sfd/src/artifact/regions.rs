//! Named parts of a file: the sections of an ELF file.
//!
//! They are for files whose cells are their very bytes: then a region's offset in the file is its first cell in the
//! file's block. A digest has no byte offsets, so it has no regions.
//!
//! The headers are believed in nothing: whatever the bytes are, no more than [`REGIONS_MAX`] regions come out, each
//! inside the file, and a note says what is missing. Regions may overlap, as segments do.

use object::Endianness;
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use serde::{Deserialize, Serialize};

/// Most regions of one file; those after it are left out, and the note says so. The most that a file of Debian's has is
/// 93 (kvm.ko of Linux 6.1), an object file with a section for each function has thousands.
pub const REGIONS_MAX: usize = 256;
/// Longest name of a region, in bytes; a longer one is cut, and the note says so. Twice what the longest name in
/// Debian's kernel modules has.
pub const REGION_NAME_BYTES_MAX: usize = 128;

/// One named part of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// Name of the section, lossy when it is not UTF-8. May hold anything else, control characters included.
    pub name: String,
    /// Offset in the file, and so in the file's block, in bytes or cells.
    pub start: u64,
    /// Bytes; never 0, and never beyond the end of the file.
    pub len: u64,
    /// What sort of section: `progbits`, `symtab` and so on as readelf(1) names them, or a number such as `0x70000003`.
    /// For a file without sections what sort of segment: `load`, `dynamic` and so on.
    #[serde(rename = "type")]
    pub kind: String,
}

/// The named parts of one file, in the order of their headers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Regions {
    /// The regions.
    pub regions: Vec<Region>,
    /// What is missing or wrong, if anything is.
    #[serde(rename = "regions_note", default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Regions {
    /// The regions of contents; `None` when they are not of a sort that has any. Core dumps have none: their sections
    /// are pieces of memory without a name.
    pub fn of(contents: &[u8]) -> Option<Self> {
        if !contents.starts_with(b"\x7fELF") {
            return None;
        }
        match contents.get(4)? {
            1 => of_elf::<elf::FileHeader32<Endianness>>(contents),
            2 => of_elf::<elf::FileHeader64<Endianness>>(contents),
            _ => Some(Self::nothing("an ELF file of no known class")),
        }
    }

    /// The region that is called so: a name, or where several share it, `NAME@START`.
    ///
    /// # Errors
    /// Says what there is instead.
    pub fn find(&self, wanted: &str) -> Result<&Region, String> {
        let named: Vec<&Region> = self.regions.iter().filter(|region| region.name == wanted).collect();
        match named.as_slice() {
            [region] => return Ok(region),
            [] => {}
            [first, ..] => {
                let starts: Vec<String> = named.iter().map(|region| region.start.to_string()).collect();
                return Err(format!(
                    "has {} sections of that name, at {}; name one as {wanted}@{}",
                    named.len(),
                    starts.join(", "),
                    first.start
                ));
            }
        }
        let at = wanted.rsplit_once('@').and_then(|(name, start)| Some((name, start.parse::<u64>().ok()?)));
        at.and_then(|(name, start)| {
            self.regions.iter().find(|region| region.name == name && region.start == start)
        })
        .ok_or_else(|| match &self.note {
            Some(note) => format!("has no section of that name ({note})"),
            None => "has no section of that name".to_owned(),
        })
    }

    fn nothing(note: &str) -> Self {
        Self { regions: Vec::new(), note: Some(note.to_owned()) }
    }
}

/// What was left out.
#[derive(Default)]
struct Omitted {
    outside: u64,
    beyond_max: u64,
    cut_names: u64,
    unnamed: u64,
}

impl Omitted {
    fn note(&self, first: Option<&str>) -> Option<String> {
        let mut parts: Vec<String> = first.map(str::to_owned).into_iter().collect();
        for (count, what) in [
            (self.outside, "outside of the file"),
            (self.beyond_max, "more than are kept"),
            (self.cut_names, "with a name that was cut"),
            (self.unnamed, "with a name that cannot be read"),
        ] {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

fn of_elf<H: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> Option<Regions> {
    let Ok(header) = H::parse(bytes) else { return Some(Regions::nothing("a damaged ELF header")) };
    let Ok(endian) = header.endian() else { return Some(Regions::nothing("a damaged ELF header")) };
    if header.e_type(endian) == elf::ET_CORE {
        return None;
    }
    let mut omitted = Omitted::default();
    let mut regions = Vec::new();
    let (sections, problem) = match header.section_headers(endian, bytes) {
        Ok(sections) => (sections, None),
        Err(_) => (&[][..], Some("the section headers are outside of the file or damaged")),
    };
    // Sections there are, even if none of them occupies anything: segments would be another picture of the file.
    if sections.is_empty() {
        for segment in header.program_headers(endian, bytes).unwrap_or_default() {
            let (start, len) = segment.file_range(endian);
            let kind = segment_type(segment.p_type(endian));
            push(&mut regions, &mut omitted, bytes, start, len, || (kind.to_uppercase(), kind.clone()));
        }
        return Some(Regions { note: omitted.note(problem), regions });
    }
    let names = names(header, endian, bytes, sections);
    for section in sections.iter().skip(1) {
        // Nothing for SHT_NOBITS: memory that is zero at the start occupies nothing of the file.
        let Some((start, len)) = section.file_range(endian) else { continue };
        if section.sh_type(endian) == elf::SHT_NULL {
            continue;
        }
        let mut problems = Omitted::default();
        let described = || {
            let name = name_at(names, section.sh_name(endian), &mut problems);
            (name, section_type(section.sh_type(endian)))
        };
        push(&mut regions, &mut omitted, bytes, start, len, described);
        omitted.cut_names += problems.cut_names;
        omitted.unnamed += problems.unnamed;
    }
    Some(Regions { note: omitted.note(None), regions })
}

/// Adds a region that occupies something of the file; `described` gives its name and type.
fn push(
    regions: &mut Vec<Region>,
    omitted: &mut Omitted,
    bytes: &[u8],
    start: u64,
    len: u64,
    described: impl FnOnce() -> (String, String),
) {
    if len == 0 {
        return;
    }
    if start.checked_add(len).is_none_or(|end| end > bytes.len() as u64) {
        omitted.outside += 1;
    } else if regions.len() >= REGIONS_MAX {
        omitted.beyond_max += 1;
    } else {
        let (name, kind) = described();
        regions.push(Region { name, start, len, kind });
    }
}

/// The bytes of the section names; none when the file does not say where they are.
fn names<'a, H: FileHeader<Endian = Endianness>>(
    header: &H,
    endian: Endianness,
    bytes: &'a [u8],
    sections: &[H::SectionHeader],
) -> &'a [u8] {
    let range = || {
        let index = header.shstrndx(endian, bytes).ok()?;
        let (start, len) = sections.get(usize::try_from(index).ok()?)?.file_range(endian)?;
        let end = usize::try_from(start.checked_add(len)?).ok()?;
        bytes.get(usize::try_from(start).ok()?..end.min(bytes.len()))
    };
    range().unwrap_or_default()
}

/// The name at an offset. No more than its longest is looked at, so that names without an end cost nothing.
fn name_at(names: &[u8], at: u32, problems: &mut Omitted) -> String {
    let tail = usize::try_from(at).ok().and_then(|at| names.get(at..)).unwrap_or_default();
    let tail = &tail[..tail.len().min(REGION_NAME_BYTES_MAX + 1)];
    let end = tail.iter().position(|byte| *byte == 0);
    let (name, cut) = match end {
        Some(end) => (&tail[..end], false),
        None if tail.len() > REGION_NAME_BYTES_MAX => (&tail[..REGION_NAME_BYTES_MAX], true),
        None => {
            // The table ends before the name does.
            problems.unnamed += 1;
            (tail, false)
        }
    };
    problems.cut_names += u64::from(cut);
    String::from_utf8_lossy(name).into_owned()
}

fn section_type(kind: elf::SectionType) -> String {
    let name = match kind {
        elf::SHT_PROGBITS => "progbits",
        elf::SHT_SYMTAB => "symtab",
        elf::SHT_STRTAB => "strtab",
        elf::SHT_RELA => "rela",
        elf::SHT_HASH => "hash",
        elf::SHT_DYNAMIC => "dynamic",
        elf::SHT_NOTE => "note",
        elf::SHT_REL => "rel",
        elf::SHT_RELR => "relr",
        elf::SHT_DYNSYM => "dynsym",
        elf::SHT_INIT_ARRAY => "init_array",
        elf::SHT_FINI_ARRAY => "fini_array",
        elf::SHT_PREINIT_ARRAY => "preinit_array",
        elf::SHT_GROUP => "group",
        elf::SHT_SYMTAB_SHNDX => "symtab_shndx",
        elf::SHT_GNU_HASH => "gnu_hash",
        elf::SHT_GNU_VERDEF => "verdef",
        elf::SHT_GNU_VERNEED => "verneed",
        elf::SHT_GNU_VERSYM => "versym",
        other => return format!("{:#x}", other.0),
    };
    name.to_owned()
}

fn segment_type(kind: elf::ProgramType) -> String {
    let name = match kind {
        elf::PT_LOAD => "load",
        elf::PT_DYNAMIC => "dynamic",
        elf::PT_INTERP => "interp",
        elf::PT_NOTE => "note",
        elf::PT_PHDR => "phdr",
        elf::PT_TLS => "tls",
        elf::PT_GNU_EH_FRAME => "gnu_eh_frame",
        elf::PT_GNU_STACK => "gnu_stack",
        elf::PT_GNU_RELRO => "gnu_relro",
        elf::PT_GNU_PROPERTY => "gnu_property",
        other => return format!("{:#x}", other.0),
    };
    name.to_owned()
}

#[cfg(test)]
#[path = "regions_tests.rs"]
mod tests;
