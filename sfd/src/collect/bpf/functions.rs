//! The fentry rung: the kernel's functions through which every change of a name or an attribute passes.
//!
//! Where the kernel lets programs run at the return of its functions (Debian's do, hardened ones may not), this costs
//! nothing to whoever changes neither, while a hook on one system call makes *every* system call on the host slower.

use sfd_common::{FUNCTION_SLOTS, FUNCTION_TARGETS, FunctionDescriptor, Hook, Op, Reach, Target};

use super::btf::Btf;

/// The `n`th argument of a type, and how to get from it to an inode.
type Way = (&'static str, usize, Reach);

/// One hooked function.
pub(super) struct Function {
    /// Its names, newest first; the first that this kernel has is hooked.
    pub(super) names: &'static [&'static str],
    op: Op,
    /// What leads to what changes.
    targets: &'static [Way],
    /// Without it the rung would miss changes that every kernel can make.
    pub(super) required: bool,
    /// What is not seen without it.
    pub(super) lost_without: &'static str,
}

const DIRECTORY: &[Way] = &[("inode", 0, Reach::Inode)];
const DENTRY: &[Way] = &[("dentry", 0, Reach::Dentry)];
/// Where a function is no longer given the directory, as `vfs_create` since some kernel between 6.18 and 7.3 (seen in the BTF
/// of both), it is the one in which the name is.
const INSTEAD_OF_DIRECTORY: Way = ("dentry", 0, Reach::Parent);

/// A function that changes the names in the directory it is given.
const fn names(name: &'static [&'static str], op: Op, lost_without: &'static str) -> Function {
    Function { names: name, op, targets: DIRECTORY, required: true, lost_without }
}

/// A function that changes attributes of what a dentry names.
const fn attributes(
    name: &'static [&'static str],
    op: Op,
    required: bool,
    lost_without: &'static str,
) -> Function {
    Function { names: name, op, targets: DENTRY, required, lost_without }
}

/// Every function, by its slot. Present from at least 5.17 (`bpf_get_func_arg`) unless not required.
pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        names: &["vfs_rename"],
        op: Op::RenameTo,
        targets: &[
            ("renamedata", 0, Reach::OldDirectory),
            ("renamedata", 0, Reach::NewDirectory),
            ("renamedata", 0, Reach::Renamed),
        ],
        required: true,
        lost_without: "renames, the usual way to replace a file",
    },
    Function {
        names: &["vfs_link"],
        op: Op::Link,
        targets: &[("inode", 0, Reach::Inode), ("dentry", 0, Reach::Dentry)],
        required: true,
        lost_without: "hard links made",
    },
    names(&["vfs_unlink"], Op::Unlink, "names removed"),
    names(&["vfs_rmdir"], Op::Rmdir, "directories removed"),
    names(&["vfs_mkdir"], Op::Mkdir, "directories made"),
    names(&["vfs_mknod"], Op::Mknod, "device nodes, pipes and sockets made"),
    names(&["vfs_symlink"], Op::Symlink, "symbolic links made"),
    names(&["vfs_create"], Op::Create, "files made by the kernel's own servers"),
    Function {
        // `open` makes files itself, without `vfs_create`.
        names: &["vfs_open"],
        op: Op::Create,
        targets: &[("file", 0, Reach::CreatedIn)],
        required: true,
        lost_without: "files created by opening them",
    },
    attributes(&["notify_change"], Op::Changed, true, "permission bits, owners, times and sizes"),
    attributes(&["__vfs_setxattr_noperm"], Op::Xattr, true, "extended attributes set"),
    attributes(&["__vfs_removexattr_locked"], Op::Xattr, true, "extended attributes removed"),
    attributes(
        &["vfs_set_acl"],
        Op::Xattr,
        false,
        "access control lists set; before 6.2 they are attributes",
    ),
    attributes(&["vfs_fileattr_set"], Op::Flags, false, "inode flags (chattr)"),
    Function {
        names: &["vfs_fallocate"],
        op: Op::Allocate,
        targets: &[("file", 0, Reach::File)],
        required: true,
        lost_without: "holes punched and space allocated (xfs, btrfs, tmpfs)",
    },
    Function {
        names: &["vfs_clone_file_range", "do_clone_file_range"],
        op: Op::Clone,
        targets: &[("file", 1, Reach::File)],
        required: true,
        lost_without: "blocks shared between files (FICLONE)",
    },
    Function {
        names: &["vfs_copy_file_range"],
        op: Op::Clone,
        targets: &[("file", 1, Reach::File)],
        required: true,
        lost_without: "ranges copied in the kernel",
    },
    Function {
        // Through which every mapping of a file is made. On tmpfs, a page that was read first is stored into without
        // any other hook.
        names: &["vm_mmap_pgoff"],
        op: Op::FolioDirty,
        targets: &[("file", 0, Reach::Mapped)],
        required: true,
        lost_without: "stores through mmap on tmpfs by processes that end before they are seen",
    },
];

const _: () = assert!(FUNCTIONS.len() == FUNCTION_SLOTS);

/// The hook of the function that a system call leads to, as the self-test calls it.
pub(super) fn hook_of_call(call: &str) -> Option<u16> {
    let function = match call {
        "rename" | "renameat" | "renameat2" => "vfs_rename",
        "link" | "linkat" => "vfs_link",
        "unlink" | "unlinkat" => "vfs_unlink",
        "rmdir" => "vfs_rmdir",
        "mkdir" | "mkdirat" => "vfs_mkdir",
        "mknod" | "mknodat" => "vfs_mknod",
        "symlink" | "symlinkat" => "vfs_symlink",
        "open" | "creat" | "openat" | "openat2" => "vfs_open",
        "fchmod" | "fchown" | "truncate" | "ftruncate" => "notify_change",
        "setxattr" | "fsetxattr" => "__vfs_setxattr_noperm",
        "removexattr" | "fremovexattr" => "__vfs_removexattr_locked",
        "fallocate" => "vfs_fallocate",
        "copy_file_range" => "vfs_copy_file_range",
        "ioctl" => "vfs_fileattr_set",
        _ => return None,
    };
    let slot = FUNCTIONS.iter().position(|each| each.names.contains(&function))?;
    Some(Hook::FirstFunction as u16 + slot as u16)
}

/// The name of a slot's program in the object.
pub(super) fn program(slot: usize) -> String {
    format!("function_{slot}")
}

/// What this kernel calls a function.
pub(super) fn name(function: &Function, btf: &Btf<'_>) -> Option<&'static str> {
    function.names.iter().copied().find(|name| btf.parameters(name).is_some())
}

/// Where each function of this kernel has its arguments; [`FunctionDescriptor::NONE`] for one it does not have, or whose
/// arguments are not what they were.
pub(super) fn descriptors(btf: &Btf<'_>) -> [FunctionDescriptor; FUNCTION_SLOTS] {
    let mut table = [FunctionDescriptor::NONE; FUNCTION_SLOTS];
    for (descriptor, function) in table.iter_mut().zip(FUNCTIONS) {
        if let Some(found) = describe(function, btf) {
            *descriptor = found;
        }
    }
    table
}

fn describe(function: &Function, btf: &Btf<'_>) -> Option<FunctionDescriptor> {
    let parameters = btf.parameters(name(function, btf)?)?;
    let mut targets = [Target::NONE; FUNCTION_TARGETS];
    let argument = |(structure, nth, _): Way| {
        let of_type = |(_, name): &(usize, Option<&[u8]>)| *name == Some(structure.as_bytes());
        Some(parameters.iter().copied().enumerate().filter(of_type).nth(nth)?.0)
    };
    for (target, way) in targets.iter_mut().zip(function.targets) {
        let instead = (way.2 == Reach::Inode).then_some(INSTEAD_OF_DIRECTORY);
        let ways = std::iter::once(*way).chain(instead);
        let (number, reach) = ways.into_iter().find_map(|way| Some((argument(way)?, way.2)))?;
        *target = Target { argument: u8::try_from(number).ok()?, reach: reach as u8 };
    }
    Some(FunctionDescriptor { op: function.op as u16, targets })
}

#[cfg(test)]
mod tests {
    use super::super::btf::VMLINUX;
    use super::*;

    /// Whether programs may be attached there or not, every kernel has these functions, and its BTF says where their
    /// arguments are.
    #[test]
    fn this_kernel_has_every_required_function() {
        let Ok(bytes) = std::fs::read(VMLINUX) else {
            eprintln!("skipped: needs {VMLINUX}");
            return;
        };
        let btf = Btf::parse(&bytes).unwrap();
        for (function, descriptor) in FUNCTIONS.iter().zip(descriptors(&btf)) {
            let found = descriptor != FunctionDescriptor::NONE;
            assert!(found || !function.required, "{:?}", function.names);
            eprintln!("{:?}: {:?}", function.names, descriptor.targets);
        }
    }
}
