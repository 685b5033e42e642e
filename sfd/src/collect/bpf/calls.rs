//! The system calls that are hooked, and how to read their arguments.
//!
//! Numbers come from the C library's table for the running architecture; calls that only x86_64 has (the ones
//! without `at`) are compiled in there. 32-bit programs on a 64-bit kernel are not seen: the kernel's system call
//! tracepoints leave them out (`arch_trace_is_compat_syscall`).

use libc::c_long;
use sfd_common::{Op, Shape, SyscallDescriptor, bit};

/// One hooked system call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    /// Its name, as in the manual.
    pub(super) name: &'static str,
    /// Its number on this architecture.
    pub(super) number: u32,
    /// How to read it.
    pub(super) descriptor: SyscallDescriptor,
}

/// Numbers above 451 are the same on every architecture; the `libc` crate does not have all of them.
const SYS_FCHMODAT2: c_long = 452;
const SYS_SETXATTRAT: c_long = 463;
const SYS_REMOVEXATTRAT: c_long = 466;
const SYS_FILE_SETATTR: c_long = 469;

const NONE: SyscallDescriptor = SyscallDescriptor::NONE;

const fn call(name: &'static str, number: c_long, descriptor: SyscallDescriptor) -> Call {
    // Positive and small by the kernel's tables.
    #[expect(clippy::cast_sign_loss, reason = "system call numbers are not negative")]
    Call { name, number: number as u32, descriptor }
}

/// A path argument with its directory descriptor (-1: the call has none).
const fn path(op: Op, dfd: i8, path: i8) -> SyscallDescriptor {
    SyscallDescriptor { shape: Shape::Path as u8, op: op as u16, dfd, path, ..NONE }
}

/// The same, following a symbolic link in the last component unless the flags argument says no.
const fn follows(op: Op, dfd: i8, path_at: i8, flags: i8) -> SyscallDescriptor {
    SyscallDescriptor { bits: bit::FOLLOWS, flags, ..path(op, dfd, path_at) }
}

/// A rename, whose operations are always the same two.
const fn rename(dfd: i8, path: i8, dfd2: i8, path2: i8) -> SyscallDescriptor {
    SyscallDescriptor {
        shape: Shape::TwoPaths as u8,
        op: Op::RenameFrom as u16,
        op2: Op::RenameTo as u16,
        dfd,
        path,
        dfd2,
        path2,
        ..NONE
    }
}

/// A descriptor argument.
const fn descriptor(op: Op, fd: i8) -> SyscallDescriptor {
    SyscallDescriptor { shape: Shape::Descriptor as u8, op: op as u16, fd, ..NONE }
}

/// One of the open family; without a flags argument it is `creat`.
const fn open(shape: Shape, flags: i8) -> SyscallDescriptor {
    let bits = if flags < 0 { bit::CREAT } else { 0 };
    SyscallDescriptor { shape: shape as u8, bits, op: Op::Create as u16, flags, ..NONE }
}

/// Calls that every architecture has.
const EVERYWHERE: &[Call] = &[
    call("openat", libc::SYS_openat, open(Shape::Open, 2)),
    call("openat2", libc::SYS_openat2, open(Shape::Openat2, 2)),
    call("open_by_handle_at", libc::SYS_open_by_handle_at, open(Shape::Open, 2)),
    call("truncate", libc::SYS_truncate, follows(Op::Truncate, -1, 0, -1)),
    call("ftruncate", libc::SYS_ftruncate, descriptor(Op::Truncate, 0)),
    call("fallocate", libc::SYS_fallocate, descriptor(Op::Allocate, 0)),
    call("ioctl", libc::SYS_ioctl, SyscallDescriptor { shape: Shape::Ioctl as u8, fd: 0, flags: 1, ..NONE }),
    call("copy_file_range", libc::SYS_copy_file_range, descriptor(Op::Clone, 2)),
    call("renameat2", libc::SYS_renameat2, rename(0, 1, 2, 3)),
    call("linkat", libc::SYS_linkat, path(Op::Link, 2, 3)),
    call("symlinkat", libc::SYS_symlinkat, path(Op::Symlink, 1, 2)),
    call(
        "unlinkat",
        libc::SYS_unlinkat,
        SyscallDescriptor { bits: bit::REMOVEDIR, op2: Op::Rmdir as u16, flags: 2, ..path(Op::Unlink, 0, 1) },
    ),
    call("mkdirat", libc::SYS_mkdirat, path(Op::Mkdir, 0, 1)),
    call("mknodat", libc::SYS_mknodat, path(Op::Mknod, 0, 1)),
    call("bind", libc::SYS_bind, SyscallDescriptor { shape: Shape::Bind as u8, ..path(Op::Mknod, -1, 1) }),
    call("fchmod", libc::SYS_fchmod, descriptor(Op::Chmod, 0)),
    call("fchmodat", libc::SYS_fchmodat, follows(Op::Chmod, 0, 1, -1)),
    call("fchmodat2", SYS_FCHMODAT2, follows(Op::Chmod, 0, 1, 3)),
    call("fchown", libc::SYS_fchown, descriptor(Op::Chown, 0)),
    call("fchownat", libc::SYS_fchownat, follows(Op::Chown, 0, 1, 4)),
    call("utimensat", libc::SYS_utimensat, follows(Op::Utime, 0, 1, 3)),
    call("setxattr", libc::SYS_setxattr, follows(Op::Xattr, -1, 0, -1)),
    call("lsetxattr", libc::SYS_lsetxattr, path(Op::Xattr, -1, 0)),
    call("fsetxattr", libc::SYS_fsetxattr, descriptor(Op::Xattr, 0)),
    call("setxattrat", SYS_SETXATTRAT, follows(Op::Xattr, 0, 1, 2)),
    call("removexattr", libc::SYS_removexattr, follows(Op::Xattr, -1, 0, -1)),
    call("lremovexattr", libc::SYS_lremovexattr, path(Op::Xattr, -1, 0)),
    call("fremovexattr", libc::SYS_fremovexattr, descriptor(Op::Xattr, 0)),
    call("removexattrat", SYS_REMOVEXATTRAT, follows(Op::Xattr, 0, 1, 2)),
    call("file_setattr", SYS_FILE_SETATTR, follows(Op::Flags, 0, 1, 4)),
];

/// Calls that x86_64 kept from before the `at` family.
#[cfg(target_arch = "x86_64")]
const LEGACY: &[Call] = &[
    call("open", libc::SYS_open, open(Shape::Open, 1)),
    call("creat", libc::SYS_creat, open(Shape::Open, -1)),
    call("rename", libc::SYS_rename, rename(-1, 0, -1, 1)),
    call("renameat", libc::SYS_renameat, rename(0, 1, 2, 3)),
    call("link", libc::SYS_link, path(Op::Link, -1, 1)),
    call("symlink", libc::SYS_symlink, path(Op::Symlink, -1, 1)),
    call("unlink", libc::SYS_unlink, path(Op::Unlink, -1, 0)),
    call("rmdir", libc::SYS_rmdir, path(Op::Rmdir, -1, 0)),
    call("mkdir", libc::SYS_mkdir, path(Op::Mkdir, -1, 0)),
    call("mknod", libc::SYS_mknod, path(Op::Mknod, -1, 0)),
    call("chmod", libc::SYS_chmod, follows(Op::Chmod, -1, 0, -1)),
    call("chown", libc::SYS_chown, follows(Op::Chown, -1, 0, -1)),
    call("lchown", libc::SYS_lchown, path(Op::Chown, -1, 0)),
    call("utime", libc::SYS_utime, follows(Op::Utime, -1, 0, -1)),
    call("utimes", libc::SYS_utimes, follows(Op::Utime, -1, 0, -1)),
    call("futimesat", libc::SYS_futimesat, follows(Op::Utime, 0, 1, -1)),
];

/// Calls that aarch64 kept: it has `renameat`.
#[cfg(target_arch = "aarch64")]
const LEGACY: &[Call] = &[call("renameat", libc::SYS_renameat, rename(0, 1, 2, 3))];

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const LEGACY: &[Call] = &[];

/// Every hooked system call of the running architecture.
pub(super) fn all() -> impl Iterator<Item = &'static Call> {
    EVERYWHERE.iter().chain(LEGACY)
}

/// What is not seen without a call's hook, for an operator.
pub(super) fn lost_without(call: &Call) -> String {
    let what = match Op::from_wire(call.descriptor.op) {
        Some(Op::Create) => "files created or emptied when opened",
        Some(Op::Truncate) => "files truncated (on btrfs and tmpfs; elsewhere the content hooks see it)",
        Some(Op::Allocate) => "holes punched and space allocated (xfs, btrfs, tmpfs)",
        Some(Op::Clone) => "ranges copied or shared in the kernel",
        Some(Op::RenameFrom) => "renames, the usual way to replace a file",
        Some(Op::Link) => "hard links made",
        Some(Op::Symlink) => "symbolic links made",
        Some(Op::Unlink) => "names removed",
        Some(Op::Rmdir) => "directories removed",
        Some(Op::Mkdir) => "directories made",
        Some(Op::Mknod) => "device nodes, pipes and sockets made",
        Some(Op::Chmod) => "permission bits (xfs, btrfs, tmpfs)",
        Some(Op::Chown) => "owners (xfs, btrfs, tmpfs)",
        Some(Op::Utime) => "times set (xfs, btrfs, tmpfs)",
        Some(Op::Xattr) => "extended attributes and ACLs",
        _ => "inode flags (chattr), ranges shared in the kernel (FICLONE)",
    };
    format!("{what}, when done through {}; the timed rescan finds them later", call.name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use sfd_common::SYSCALL_SLOTS;

    use super::*;

    #[test]
    fn numbers_are_distinct_and_fit_the_map() {
        let numbers: BTreeSet<_> = all().map(|call| call.number).collect();
        assert_eq!(numbers.len(), all().count());
        assert!(numbers.iter().all(|number| *number < SYSCALL_SLOTS));
    }

    #[test]
    fn operations_exist() {
        for call in all() {
            let d = call.descriptor;
            assert!(d.op == 0 || Op::from_wire(d.op).is_some(), "{}", call.name);
            assert!(d.op2 == 0 || Op::from_wire(d.op2).is_some(), "{}", call.name);
            assert!([d.dfd, d.path, d.dfd2, d.path2, d.fd, d.flags].iter().all(|at| (-1..6).contains(at)));
        }
    }

    /// The kernel's own description of a call agrees with the table on which argument is the path.
    #[test]
    fn argument_positions_match_tracefs() {
        for call in all() {
            let file = format!("/sys/kernel/tracing/events/syscalls/sys_enter_{}/format", call.name);
            let Ok(text) = std::fs::read_to_string(&file) else {
                eprintln!("skipped {}: {file} cannot be read", call.name);
                continue;
            };
            let names: Vec<_> = text
                .lines()
                .filter(|line| {
                    line.contains("field:") && !line.contains("common_") && !line.contains("__syscall_nr")
                })
                .filter_map(|line| line.split(';').next()?.split([' ', '*']).next_back())
                .collect();
            let d = call.descriptor;
            for (at, kinds) in [
                (d.path, &["filename", "pathname", "oldname", "newname", "path", "umyaddr"][..]),
                (d.path2, &["newname"]),
                (d.dfd, &["dfd", "olddfd", "newdfd"]),
                (d.dfd2, &["newdfd"]),
                (d.fd, &["fd", "fd_out"]),
                (d.flags, &["flags", "flag", "how", "cmd", "at_flags"]),
            ] {
                if let Ok(at) = usize::try_from(at) {
                    assert!(kinds.contains(&names[at]), "{}: argument {at} is {:?}", call.name, names);
                }
            }
        }
    }
}
