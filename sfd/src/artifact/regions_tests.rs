use proptest::prelude::*;

use super::*;

/// A 64-bit little-endian ELF object of these sections (name, type, contents); the names come last, then the headers.
fn elf_of(sections: &[(&[u8], u32, &[u8])]) -> Vec<u8> {
    let mut file = vec![0; 64];
    file[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\0");
    file[16] = 1; // ET_REL
    file[18] = 62; // EM_X86_64
    file[20] = 1;
    let mut names = vec![0];
    let mut headers = vec![[0_u8; 64]];
    let mut add = |name: &[u8], kind: u32, start: usize, len: usize, names: &mut Vec<u8>| {
        let mut header = [0; 64];
        header[..4].copy_from_slice(&u32::try_from(names.len()).unwrap().to_le_bytes());
        header[4..8].copy_from_slice(&kind.to_le_bytes());
        header[24..32].copy_from_slice(&(start as u64).to_le_bytes());
        header[32..40].copy_from_slice(&(len as u64).to_le_bytes());
        names.extend_from_slice(name);
        names.push(0);
        headers.push(header);
    };
    for (name, kind, contents) in sections {
        add(name, *kind, file.len(), contents.len(), &mut names);
        file.extend_from_slice(contents);
    }
    let len = names.len() + b".shstrtab\0".len();
    add(b".shstrtab", 3, file.len(), len, &mut names);
    file.extend_from_slice(&names);
    file.resize(file.len().next_multiple_of(8), 0);
    let at = file.len() as u64;
    file[40..48].copy_from_slice(&at.to_le_bytes());
    file[52..64].copy_from_slice(&[64, 0, 0, 0, 0, 0, 64, 0, 0, 0, 0, 0]);
    file[60..62].copy_from_slice(&u16::try_from(headers.len()).unwrap().to_le_bytes());
    file[62..64].copy_from_slice(&u16::try_from(headers.len() - 1).unwrap().to_le_bytes());
    file.extend_from_slice(headers.as_flattened());
    file
}

/// Where header `index` of a file by [`elf_of`] is.
fn header_at(file: &[u8], index: usize) -> usize {
    usize::try_from(u64::from_le_bytes(file[40..48].try_into().unwrap())).unwrap() + 64 * index
}

fn regions(file: &[u8]) -> Regions {
    let found = Regions::of(file).unwrap();
    assert!(found.regions.len() <= REGIONS_MAX);
    for region in &found.regions {
        assert!(region.len > 0 && region.start + region.len <= file.len() as u64, "{region:?}");
        // Lossy: each byte that is no character becomes one of three bytes.
        assert!(region.name.len() <= 3 * REGION_NAME_BYTES_MAX);
    }
    found
}

#[test]
fn sections_are_where_the_headers_say() {
    let file = elf_of(&[(b".modinfo", 1, b"license=GPL\0"), (b".bss", 8, b""), (b".empty", 1, b"")]);
    let found = regions(&file);
    let names: Vec<&str> = found.regions.iter().map(|region| region.name.as_str()).collect();
    assert_eq!(names, [".modinfo", ".shstrtab"]);
    assert_eq!(found.note, None);
    let region = found.find(".modinfo").unwrap();
    assert_eq!((region.start, region.len, region.kind.as_str()), (64, 12, "progbits"));
    assert_eq!(&file[64..76], b"license=GPL\0");
    assert_eq!(found.find(".text").unwrap_err(), "has no section of that name");
}

#[test]
fn a_name_that_several_have_needs_a_place() {
    let found = regions(&elf_of(&[(b".group", 17, b"abcd"), (b".group", 17, b"efgh"), (b"a@b", 1, b"x")]));
    let error = found.find(".group").unwrap_err();
    assert_eq!(error, "has 2 sections of that name, at 64, 68; name one as .group@64");
    assert_eq!(found.find(".group@68").unwrap().start, 68);
    assert_eq!(found.find("a@b").unwrap().start, 72);
    assert!(found.find(".group@69").is_err());
    assert!(found.find("@").is_err());
}

#[test]
fn what_is_no_elf_file_has_none_and_a_core_dump_neither() {
    assert_eq!(Regions::of(b""), None);
    assert_eq!(Regions::of(b"#!/bin/sh"), None);
    let mut core = elf_of(&[(b"load", 1, b"memory")]);
    core[16] = 4;
    assert_eq!(Regions::of(&core), None);
    assert_eq!(Regions::of(b"\x7fELF"), None);
    assert_eq!(regions(b"\x7fELF\x07aaaa").note.as_deref(), Some("an ELF file of no known class"));
    assert_eq!(regions(b"\x7fELF\x02\x01").note.as_deref(), Some("a damaged ELF header"));
}

#[test]
fn hostile_headers_give_a_partial_table_and_a_note() {
    let good = elf_of(&[(b".one", 1, b"11111111"), (b".two", 1, b"22222222")]);
    let check = |change: &dyn Fn(&mut Vec<u8>), names: &[&str], note: &str| {
        let mut file = good.clone();
        change(&mut file);
        let found = regions(&file);
        let found_names: Vec<&str> = found.regions.iter().map(|region| region.name.as_str()).collect();
        assert_eq!((found_names.as_slice(), found.note.as_deref().unwrap_or("")), (names, note));
    };
    let header = |index| header_at(&good, index);
    // Outside of the file, by start, by length, and by their sum.
    for (offset, value) in [(24, u64::MAX), (32, u64::MAX), (24, u64::MAX - 7), (32, 1 << 40)] {
        let at = header(1) + offset;
        check(
            &|file| file[at..at + 8].copy_from_slice(&value.to_le_bytes()),
            &[".two", ".shstrtab"],
            "1 outside of the file",
        );
    }
    // Overlapping ones are both there.
    let at = header(2) + 24;
    check(
        &|file| file[at..at + 8].copy_from_slice(&64_u64.to_le_bytes()),
        &[".one", ".two", ".shstrtab"],
        "",
    );
    // A name that is no text, and one outside of the table.
    let names = 64 + 16;
    check(&|file| file[names + 2] = 0xff, &[".\u{fffd}ne", ".two", ".shstrtab"], "");
    let at = header(1);
    check(
        &|file| file[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes()),
        &["", ".two", ".shstrtab"],
        "1 with a name that cannot be read",
    );
    // More headers than there is file; none at all; an odd size.
    check(
        &|file| file[60..62].copy_from_slice(&[0xff, 0xff]),
        &[],
        "the section headers are outside of the file or damaged",
    );
    check(&|file| file[40..48].fill(0), &[], "");
    check(&|file| file[58] = 63, &[], "the section headers are outside of the file or damaged");
    // The table of names is no section.
    check(
        &|file| file[62..64].copy_from_slice(&[0xfe, 0xfe]),
        &["", "", ""],
        "3 with a name that cannot be read",
    );
}

#[test]
fn many_sections_and_long_names_are_bounded() {
    let long = [b'n'; 4000];
    let mut sections: Vec<(&[u8], u32, &[u8])> = vec![(&long, 1, b"x")];
    sections.extend(vec![(&b".text.f"[..], 1, &b"y"[..]); 65_000]);
    let found = regions(&elf_of(&sections));
    assert_eq!(found.regions.len(), REGIONS_MAX);
    assert_eq!(found.regions[0].name.len(), REGION_NAME_BYTES_MAX);
    let left_out = 65_000 + 2 - REGIONS_MAX;
    assert_eq!(found.note.unwrap(), format!("{left_out} more than are kept, 1 with a name that was cut"));
}

#[test]
fn a_file_without_sections_shows_its_segments() {
    let mut file = elf_of(&[]);
    file.resize(512, 0);
    file[40..48].fill(0);
    let at = 256_usize;
    file[32..40].copy_from_slice(&(at as u64).to_le_bytes());
    file[54..58].copy_from_slice(&[56, 0, 2, 0]);
    file[at..at + 4].copy_from_slice(&1_u32.to_le_bytes());
    file[at + 8..at + 16].copy_from_slice(&16_u64.to_le_bytes());
    file[at + 32..at + 40].copy_from_slice(&100_u64.to_le_bytes());
    // The second one ends after the file does.
    file[at + 56..at + 60].copy_from_slice(&1_u32.to_le_bytes());
    file[at + 56 + 8..at + 56 + 16].copy_from_slice(&500_u64.to_le_bytes());
    file[at + 56 + 32..at + 56 + 40].copy_from_slice(&13_u64.to_le_bytes());
    let found = regions(&file);
    let load = Region { name: "LOAD".into(), start: 16, len: 100, kind: "load".into() };
    assert_eq!(found, Regions { regions: vec![load], note: Some("1 outside of the file".into()) });
}

/// This test binary is an ELF file of a real linker.
#[test]
fn a_real_program_has_its_sections() {
    let file = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let found = regions(&file);
    assert_eq!(found.note, None);
    for name in [".text", ".rodata", ".dynamic", ".shstrtab"] {
        assert!(found.find(name).is_ok(), "{name}");
    }
    assert!(found.find(".bss").is_err(), "it occupies nothing");
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut file = b"\x7fELF".to_vec();
        file.extend(bytes);
        if Regions::of(&file).is_some() {
            regions(&file);
        }
    }

    /// Nearly right files go deeper than random ones.
    #[test]
    fn no_damage_panics(class in 1_u8..3, changes in proptest::collection::vec((0_usize..500, any::<u8>()), 1..8)) {
        let mut file = elf_of(&[(b".text", 1, &[7; 99]), (b".data", 1, b"8"), (b".symtab", 2, &[9; 48])]);
        file[4] = class;
        let len = file.len();
        for (at, byte) in changes {
            file[4 + at % (len - 4)] = byte;
        }
        if Regions::of(&file).is_some() {
            regions(&file);
        }
    }
}
