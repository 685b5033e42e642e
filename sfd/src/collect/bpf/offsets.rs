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
}
