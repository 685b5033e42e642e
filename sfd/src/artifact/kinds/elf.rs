//! ELF files, from their header and program headers.

use object::Endianness;
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader};

use super::{ArtifactInput, Draft, text};

/// What the headers say.
pub(super) struct Headers {
    file_type: elf::FileType,
    machine: elf::Machine,
    bits: u8,
    big_endian: bool,
    interpreter: bool,
}

impl Headers {
    /// Such as `64-bit x86-64`.
    pub(super) fn format(&self) -> String {
        let order = if self.big_endian { " big-endian" } else { "" };
        format!("{}-bit{order} {}", self.bits, machine_name(self.machine))
    }
}

pub(super) fn headers(head: &[u8]) -> Option<Headers> {
    if !head.starts_with(b"\x7fELF") {
        return None;
    }
    match head.get(4)? {
        1 => header::<elf::FileHeader32<Endianness>>(head, 32),
        2 => header::<elf::FileHeader64<Endianness>>(head, 64),
        _ => None,
    }
}

fn header<H: FileHeader<Endian = Endianness>>(head: &[u8], bits: u8) -> Option<Headers> {
    let header = H::parse(head).ok()?;
    let endian = header.endian().ok()?;
    let programs = header.program_headers(endian, head).unwrap_or_default();
    Some(Headers {
        file_type: header.e_type(endian),
        machine: header.e_machine(endian),
        bits,
        big_endian: endian == Endianness::Big,
        interpreter: programs.iter().any(|p| p.p_type(endian) == elf::PT_INTERP),
    })
}

pub(super) fn is_elf(input: &ArtifactInput<'_>) -> bool {
    input.is_file() && input.head.starts_with(b"\x7fELF")
}

/// `libc.so.6` has an interpreter, a static position-independent program has none: the name decides first.
pub(super) fn is_library(input: &ArtifactInput<'_>) -> bool {
    is_elf(input)
        && headers(input.head).is_some_and(|f| {
            let named = input.extension() == b"so" || input.name().windows(4).any(|w| w == b".so.");
            f.file_type == elf::ET_DYN && (named || (!f.interpreter && input.meta.mode & 0o111 == 0))
        })
}

pub(super) fn is_executable(input: &ArtifactInput<'_>) -> bool {
    is_elf(input) && headers(input.head).is_some_and(|f| matches!(f.file_type, elf::ET_EXEC | elf::ET_DYN))
}

pub(super) fn describe_executable(input: &ArtifactInput<'_>) -> Draft {
    let linked = match headers(input.head) {
        Some(f) if f.interpreter => "dynamically linked",
        _ => "statically linked",
    };
    base(input, "Program", linked)
}

pub(super) fn describe_library(input: &ArtifactInput<'_>) -> Draft {
    base(input, "Shared library", "")
}

pub(super) fn describe_other(input: &ArtifactInput<'_>) -> Draft {
    match headers(input.head).map(|f| f.file_type) {
        Some(elf::ET_REL) => base(input, "Object file", ""),
        Some(elf::ET_CORE) => {
            base(input, "Core dump", "").risk(1, "may hold secrets of the crashed process's memory")
        }
        _ => base(input, "ELF file", ""),
    }
}

fn base(input: &ArtifactInput<'_>, what: &str, linked: &str) -> Draft {
    let mut parts = vec![format!("{what} (ELF")];
    let machine = headers(input.head).map(|f| format!(" {}", f.format()));
    parts.push(machine.unwrap_or_default());
    parts.push(")".to_owned());
    if !linked.is_empty() {
        parts.push(format!(", {linked}"));
    }
    parts.push(format!(", {}.", text::size(input.len)));
    let draft = Draft::new(input.shown_name(), parts.concat()).tag("elf");
    match headers(input.head) {
        Some(f) => draft.tag(machine_name(f.machine)),
        None => draft,
    }
}

fn machine_name(machine: elf::Machine) -> String {
    match machine {
        elf::EM_X86_64 => "x86-64".to_owned(),
        elf::EM_386 => "x86".to_owned(),
        elf::EM_AARCH64 => "arm64".to_owned(),
        elf::EM_ARM => "arm".to_owned(),
        elf::EM_RISCV => "risc-v".to_owned(),
        elf::EM_PPC64 => "ppc64".to_owned(),
        elf::EM_S390 => "s390".to_owned(),
        elf::EM_BPF => "bpf".to_owned(),
        other => format!("machine {}", other.0),
    }
}
