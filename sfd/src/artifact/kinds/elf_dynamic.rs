//! What an ELF file needs and how it is hardened: facts from its program headers and its dynamic section.

use std::fmt::Write as _;

use object::Endianness;
use object::elf;
use object::read::elf::{Dyn as _, FileHeader, ProgramHeader};

use super::{Body, Facts};

/// Libraries, and other entries of the dynamic section, are read up to this number.
const ENTRIES_MAX: usize = 4096;
/// A name in the table of strings is at most this long, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// What the program headers lead to. The dynamic section of a large file lies behind its first 64 KiB: then it is left
/// out.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, none excludes another")]
struct Found {
    interpreter: Option<String>,
    build_id: Option<String>,
    needed: Vec<String>,
    name: Option<String>,
    search: Vec<String>,
    /// `None`: not seen.
    pie: Option<bool>,
    bind_now: bool,
    relro: bool,
    stack_executable: bool,
    has_dynamic: bool,
}

pub(super) fn facts(body: &Body<'_>) -> Facts {
    let found = match body.bytes.get(4) {
        Some(1) => read::<elf::FileHeader32<Endianness>>(body.bytes),
        Some(2) => read::<elf::FileHeader64<Endianness>>(body.bytes),
        _ => None,
    };
    let mut facts = Facts::default();
    if let Some(headers) = super::elf::headers(body.bytes) {
        facts.say("format", headers.format());
    }
    let Some(found) = found else { return facts };
    facts.say("interpreter", found.interpreter.as_deref().unwrap_or_default());
    facts.say("name as a library", found.name.as_deref().unwrap_or_default());
    facts.list("needs", &found.needed);
    facts.list("looks for libraries in", &found.search);
    if found.has_dynamic {
        if let Some(pie) = found.pie {
            facts.say("position-independent program", if pie { "yes" } else { "no" });
        }
        let relro = match (found.relro, found.bind_now) {
            (true, true) => "full",
            (true, false) => "partial",
            (false, _) => "none",
        };
        facts.say("relocations read-only", relro);
    }
    if found.stack_executable {
        facts.say("stack", "executable");
    }
    facts.say("build id", found.build_id.as_deref().unwrap_or_default());
    facts
}

fn read<H: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> Option<Found> {
    let header = H::parse(bytes).ok()?;
    let endian = header.endian().ok()?;
    let programs = header.program_headers(endian, bytes).ok()?;
    let mut found = Found::default();
    for program in programs.iter().take(ENTRIES_MAX) {
        match program.p_type(endian) {
            elf::PT_INTERP => {
                let name = program.interpreter(endian, bytes).ok().flatten();
                found.interpreter = name.map(|name| String::from_utf8_lossy(name).into_owned());
            }
            elf::PT_GNU_RELRO => found.relro = true,
            elf::PT_GNU_STACK => found.stack_executable = program.p_flags(endian).0 & elf::PF_X.0 != 0,
            elf::PT_NOTE if found.build_id.is_none() => {
                found.build_id = build_id::<H>(program, endian, bytes);
            }
            elf::PT_DYNAMIC => dynamic::<H>(program, programs, endian, bytes, &mut found),
            _ => {}
        }
    }
    if header.e_type(endian) == elf::ET_EXEC {
        found.pie = Some(false);
    }
    Some(found)
}

fn build_id<H: FileHeader<Endian = Endianness>>(
    program: &H::ProgramHeader,
    endian: Endianness,
    bytes: &[u8],
) -> Option<String> {
    let mut notes = program.notes(endian, bytes).ok()??;
    for _ in 0..64 {
        let note = notes.next().ok()??;
        if note.name() == b"GNU" && note.n_type(endian) == elf::NT_GNU_BUILD_ID {
            return Some(note.desc().iter().take(32).fold(String::new(), |mut hex, byte| {
                // Writing to a string does not fail.
                let _ = write!(hex, "{byte:02x}");
                hex
            }));
        }
    }
    None
}

fn dynamic<H: FileHeader<Endian = Endianness>>(
    program: &H::ProgramHeader,
    programs: &[H::ProgramHeader],
    endian: Endianness,
    bytes: &[u8],
    found: &mut Found,
) {
    let Ok(Some(entries)) = program.dynamic(endian, bytes) else { return };
    let entries = &entries[..entries.len().min(ENTRIES_MAX)];
    found.has_dynamic = true;
    let value = |tag| entries.iter().find(|e| e.d_tag(endian) == tag).map(|e| e.val(endian));
    let strings = value(elf::DT_STRTAB).and_then(|address| offset::<H>(programs, endian, address));
    let name = |at: u64| {
        let start = usize::try_from(strings?.checked_add(at)?).ok()?;
        let rest = bytes.get(start..)?;
        let end = rest.iter().take(NAME_BYTES_MAX).position(|b| *b == 0)?;
        Some(String::from_utf8_lossy(&rest[..end]).into_owned())
    };
    for entry in entries {
        let at = entry.val(endian);
        match entry.d_tag(endian) {
            elf::DT_NEEDED => found.needed.extend(name(at)),
            elf::DT_SONAME => found.name = name(at),
            elf::DT_RUNPATH | elf::DT_RPATH => found.search.extend(name(at)),
            elf::DT_BIND_NOW => found.bind_now = true,
            elf::DT_FLAGS => found.bind_now |= at & elf::DF_BIND_NOW.0 != 0,
            elf::DT_FLAGS_1 => {
                found.bind_now |= at & elf::DF_1_NOW.0 != 0;
                found.pie = (at & elf::DF_1_PIE.0 != 0).then_some(true);
            }
            _ => {}
        }
    }
}

/// Where in the file an address in memory is.
fn offset<H: FileHeader<Endian = Endianness>>(
    programs: &[H::ProgramHeader],
    endian: Endianness,
    address: u64,
) -> Option<u64> {
    programs.iter().filter(|p| p.p_type(endian) == elf::PT_LOAD).find_map(|p| {
        let at = address.checked_sub(p.p_vaddr(endian).into())?;
        (at < p.p_filesz(endian).into()).then(|| at.checked_add(p.p_offset(endian).into()))?
    })
}
