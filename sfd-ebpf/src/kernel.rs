//! Reading kernel structures by offsets from BTF. Nothing here trusts what it reads: a failed read is `None`.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_probe_read_kernel, generated::bpf_get_current_task};
use sfd_common::{ABSENT, AT_FDCWD, InodeKey, KernelOffsets, flag};

/// Set by the agent from the kernel's BTF before loading; the verifier sees constants.
#[unsafe(no_mangle)]
pub(crate) static OFFSETS: KernelOffsets = KernelOffsets::UNKNOWN;

/// `PF_KTHREAD`, include/linux/sched.h.
const PF_KTHREAD: u32 = 0x0020_0000;

/// Loads one offset. Volatile: the compiler must not know the value in the object file.
#[inline(always)]
pub(crate) fn load(offset: &u32) -> u32 {
    // SAFETY: a reference is valid, aligned and initialised.
    unsafe { core::ptr::read_volatile(offset) }
}

/// One offset of the table, by the name of its field.
macro_rules! offset {
    ($field:ident) => {
        $crate::kernel::load(&$crate::kernel::OFFSETS.$field)
    };
}
pub(crate) use offset;

/// Address of a kernel object.
pub(crate) type Address = u64;

/// Reads a member; `None` when the kernel has no such member or the address cannot be read.
#[inline(always)]
pub(crate) fn read<T>(object: Address, offset: u32) -> Option<T> {
    if offset == ABSENT {
        return None;
    }
    // SAFETY: the helper checks the address and fails on one that cannot be read; `T` is an integer.
    unsafe { bpf_probe_read_kernel((object + u64::from(offset)) as *const T) }.ok()
}

/// Reads a member that is a pointer; `None` also when it is null.
#[inline(always)]
pub(crate) fn follow(object: Address, offset: u32) -> Option<Address> {
    match read::<u64>(object, offset) {
        Some(0) | None => None,
        pointer => pointer,
    }
}

/// Loads a member through a pointer whose type the verifier knows.
///
/// # Safety
/// As [`Object::of_typed_inode`], and the structure has the member.
#[inline(always)]
pub(crate) unsafe fn load_typed<T: Copy>(object: Address, offset: u32) -> T {
    // SAFETY: by contract.
    unsafe { core::ptr::read_volatile((object + u64::from(offset)) as *const T) }
}

/// [`flag::MAPPED`] if somebody has a shared mapping of the inode that may be written.
#[inline(always)]
pub(crate) fn mapped_flag(inode: Address) -> u32 {
    if inode == 0 {
        return 0;
    }
    let mapping = follow(inode, offset!(inode_mapping)).unwrap_or(0);
    // The counter is negative while writable mappings are denied (sealed memfds).
    let writable =
        if mapping == 0 { 0 } else { read::<i32>(mapping, offset!(mapping_writable)).unwrap_or(0) };
    if writable > 0 { flag::MAPPED } else { 0 }
}

/// An inode as records carry it.
#[derive(Clone, Copy)]
pub(crate) struct Object {
    pub(crate) ino: u64,
    pub(crate) dev: u32,
    pub(crate) generation: u32,
}

impl Object {
    /// No object.
    pub(crate) const NONE: Self = Self { ino: 0, dev: 0, generation: 0 };

    /// Reads an inode's identity.
    #[inline(always)]
    pub(crate) fn of_inode(inode: Address) -> Option<Self> {
        let sb = follow(inode, offset!(inode_sb))?;
        Some(Self {
            ino: read(inode, offset!(inode_ino))?,
            dev: read(sb, offset!(sb_dev))?,
            generation: read(inode, offset!(inode_generation)).unwrap_or(0),
        })
    }

    /// Reads the identity of an inode that the kernel handed to a typed program. The verifier knows what such a pointer
    /// points to, so these are plain loads: three helper calls less in what every change on the host pays.
    ///
    /// # Safety
    /// `inode` is an argument of a `tp_btf` program whose type is `struct inode *`, or was loaded from one the same way.
    #[inline(always)]
    pub(crate) unsafe fn of_typed_inode(inode: Address) -> Self {
        // SAFETY: by contract; a fault in such a load reads zero (BPF_PROBE_MEM), and required offsets are never absent.
        unsafe {
            let sb: Address = load_typed(inode, offset!(inode_sb));
            Self {
                ino: load_typed(inode, offset!(inode_ino)),
                dev: load_typed(sb, offset!(sb_dev)),
                generation: 0,
            }
        }
    }

    /// The key in the map of watched inodes.
    #[inline(always)]
    pub(crate) fn key(&self) -> InodeKey {
        InodeKey::new(self.dev, self.ino)
    }
}

/// The running task.
#[inline(always)]
pub(crate) fn current() -> Address {
    // SAFETY: a helper without arguments.
    unsafe { bpf_get_current_task() }
}

/// Process id of the running task.
#[inline(always)]
pub(crate) fn current_tgid() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}

/// Whether a task is a kernel thread.
#[inline(always)]
pub(crate) fn is_kernel_thread(task: Address) -> bool {
    read::<u32>(task, offset!(task_flags)).unwrap_or(0) & PF_KTHREAD != 0
}

/// When a task's process started, in nanoseconds since boot.
#[inline(always)]
pub(crate) fn start_ns(task: Address) -> u64 {
    let leader = follow(task, offset!(task_leader)).unwrap_or(task);
    let boottime = offset!(task_start_boottime);
    let member = if boottime == ABSENT { offset!(task_start_time) } else { boottime };
    read(leader, member).unwrap_or(0)
}

/// The open file behind a descriptor of the running task.
#[inline(always)]
pub(crate) fn file_of(fd: i32) -> Option<Address> {
    if fd < 0 {
        return None;
    }
    let files = follow(current(), offset!(task_files))?;
    let table = follow(files, offset!(files_fdt))?;
    if fd as u32 >= read::<u32>(table, offset!(fdt_max_fds))? {
        return None;
    }
    let slots = follow(table, offset!(fdt_fd))?;
    follow(slots + fd as u64 * 8, 0)
}

/// The inode behind a descriptor of the running task.
#[inline(always)]
pub(crate) fn inode_of(fd: i32) -> Option<Address> {
    follow(file_of(fd)?, offset!(file_inode))
}

/// The inode of the directory a path is relative to.
#[inline(always)]
pub(crate) fn base_inode(dfd: i32, absolute: bool) -> Option<Address> {
    if !absolute && dfd != AT_FDCWD {
        return inode_of(dfd);
    }
    let fs = follow(current(), offset!(task_fs))?;
    let member = if absolute { offset!(fs_root) } else { offset!(fs_pwd) };
    follow(follow(fs, member)?, offset!(dentry_inode))
}
