//! The running kernel's offsets, from its BTF.

use sfd_common::KernelOffsets;

use super::btf::Btf;

/// Looks up every offset the programs use.
pub(super) fn from_btf(btf: &Btf<'_>) -> KernelOffsets {
    let mut offsets = KernelOffsets::look_up(|structure, member| btf.member(structure, member));
    // (ctx, req, user_data, res, cflags, extra1, extra2) until 6.13, (ctx, req, cqe) since 6.14. Before 5.17 there
    // was no request among the arguments.
    offsets.uring_complete_form = match btf.tracepoint_arguments("io_uring_complete") {
        Some(3) => 2,
        Some(7) => 1,
        _ => 0,
    };
    offsets
}

/// Those of `names` that this kernel does not have.
pub(super) fn missing(btf: &Btf<'_>, names: &[&'static str]) -> Vec<String> {
    KernelOffsets::MEMBERS
        .iter()
        .filter(|(field, ..)| names.contains(field))
        .filter(|(_, structure, member)| btf.member(structure, member).is_none())
        .map(|(_, structure, member)| format!("{structure}.{member}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::process::Command;

    use super::super::btf::VMLINUX;
    use super::*;

    #[test]
    fn this_kernel_has_what_is_required() {
        let Ok(bytes) = std::fs::read(VMLINUX) else {
            eprintln!("skipped: needs {VMLINUX}");
            return;
        };
        let btf = Btf::parse(&bytes).unwrap();
        assert_eq!(missing(&btf, KernelOffsets::REQUIRED), Vec::<String>::new());
        assert_eq!(missing(&btf, KernelOffsets::REQUIRED_FOR_CALLS), Vec::<String>::new());
        let all: Vec<_> = KernelOffsets::MEMBERS.iter().map(|(field, ..)| *field).collect();
        eprintln!("absent here: {:?}", missing(&btf, &all));
        assert_ne!(from_btf(&btf).uring_complete_form, 0);
    }

    /// A type as bpftool prints it: kind, the type it stands for, members as (name, type, offset in bits).
    struct Printed<'a> {
        kind: &'a str,
        of: u32,
        members: Vec<(&'a str, u32, u32)>,
    }

    /// Reads `[7] STRUCT 'x' size=8 vlen=1` and the lines of its members.
    fn printed(text: &str) -> (HashMap<u32, Printed<'_>>, HashMap<&str, u32>) {
        let number = |line: &str, key: &str| {
            let value = line.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
            value.and_then(|value| value.parse::<u32>().ok()).unwrap_or(0)
        };
        let (mut types, mut named) = (HashMap::new(), HashMap::new());
        let mut current = 0;
        for line in text.lines() {
            let quoted = line.split('\'').nth(1).unwrap_or_default();
            if let Some((id, rest)) = line.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
                current = id.parse().unwrap();
                let kind = rest.split(' ').next().unwrap();
                if kind == "STRUCT" {
                    named.entry(quoted).or_insert(current);
                }
                types.insert(current, Printed { kind, of: number(rest, "type_id"), members: Vec::new() });
            } else if line.contains("bits_offset=") {
                let member = (quoted, number(line, "type_id"), number(line, "bits_offset"));
                types.get_mut(&current).unwrap().members.push(member);
            }
        }
        (types, named)
    }

    /// (offset in bits, type) of a member, also inside of members without a name.
    fn find(types: &HashMap<u32, Printed<'_>>, mut id: u32, name: &str) -> Option<(u32, u32)> {
        while matches!(types.get(&id)?.kind, "TYPEDEF" | "CONST" | "VOLATILE" | "TYPE_TAG") {
            id = types[&id].of;
        }
        types[&id].members.iter().find_map(|(each, of, bits)| match *each {
            "(anon)" => find(types, *of, name).map(|(inner, found)| (bits + inner, found)),
            each => (each == name).then_some((*bits, *of)),
        })
    }

    /// libbpf's reading of the kernel's types, through the text of its tool, gives the same numbers.
    #[test]
    #[ignore = "needs bpftool: cargo xtask vm"]
    fn offsets_are_those_that_bpftool_prints() {
        let output =
            Command::new("bpftool").args(["btf", "dump", "file", VMLINUX, "format", "raw"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let (types, named) = printed(&text);
        let bytes = std::fs::read(VMLINUX).unwrap();
        let btf = Btf::parse(&bytes).unwrap();
        let mut found = 0;
        for (field, structure, member) in KernelOffsets::MEMBERS {
            let expected = named.get(structure).and_then(|id| {
                let mut at = (0, *id);
                for name in member.split('.') {
                    let (bits, of) = find(&types, at.1, name)?;
                    at = (at.0 + bits, of);
                }
                Some(at.0 / 8)
            });
            assert_eq!(btf.member(structure, member), expected, "{field}: {structure}.{member}");
            found += usize::from(expected.is_some());
        }
        println!("{found} of {} are there", KernelOffsets::MEMBERS.len());
        assert!(found > 40, "{found}");
    }
}
