//! Every map, with its bound and what happens when it is full. Sizes marked "load" are set by the agent.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    macros::map,
    maps::{Array, HashMap, PerCpuArray, RingBuf},
};
use sfd_common::{DropReason, InodeKey, STREAMS, SYSCALL_SLOTS, SyscallDescriptor, WatchedValue};

/// What is watched. Load: 1 << 20 by default. Full: the agent's insert fails and it verifies by rescans.
#[map]
pub(crate) static WATCHED: HashMap<InodeKey, WatchedValue> =
    HashMap::with_max_entries(1 << 20, BPF_F_NO_PREALLOC);

/// Which devices have anything that is watched, as bits: most changes on a host are none of ours, and this look-up costs a
/// fifth of one in a hash map.
#[map]
pub(crate) static DEVICES: Array<u64> = Array::with_max_entries(1, 0);

/// Process ids whose changes are SFD's own.
#[map]
pub(crate) static EXCLUDED: HashMap<u32, u8> = HashMap::with_max_entries(64, 0);

/// How to read each system call; zeroes for those not hooked.
#[map]
pub(crate) static SYSCALLS: Array<SyscallDescriptor> = Array::with_max_entries(SYSCALL_SLOTS, 0);

/// Calls between entry and exit, by thread. Full: counted as [`DropReason::Inflight`].
#[map]
pub(crate) static INFLIGHT: HashMap<u64, Inflight> = HashMap::with_max_entries(8192, 0);

/// io_uring requests between submission and completion, by request address. Full: counted likewise.
#[map]
pub(crate) static URING: HashMap<u64, UringNames> = HashMap::with_max_entries(1024, BPF_F_NO_PREALLOC);

/// File events. Load: 4 MiB by default. Full: counted as [`DropReason::FileRing`].
#[map]
pub(crate) static FILES: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// Process and module events, so that a flood of file events cannot hide an exec. Load: 1 MiB by default.
#[map]
pub(crate) static PROCESSES: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// Next sequence number of each stream.
#[map]
pub(crate) static SEQUENCES: PerCpuArray<u64> = PerCpuArray::with_max_entries(STREAMS as u32, 0);

/// Not 0 while the reader sleeps. The record that finds it so wakes the reader and sets it to 0.
#[map]
pub(crate) static ASLEEP: Array<u32> = Array::with_max_entries(1, 0);

/// Losses by [`DropReason`].
#[map]
pub(crate) static DROPS: PerCpuArray<u64> = PerCpuArray::with_max_entries(DropReason::ALL.len() as u32, 0);

/// One buffer for each stream that builds a record before it knows how long it is.
#[map]
pub(crate) static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(STREAMS as u32, 0);

/// A system call between entry and exit: values and user addresses, since a path may not be in memory yet.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Inflight {
    /// Number of the call.
    pub(crate) nr: u32,
    /// Bits of `sfd_common::flag`.
    pub(crate) flags: u32,
    /// Address of the path.
    pub(crate) path: u64,
    /// Address of the second path.
    pub(crate) path2: u64,
    /// Inode number of a descriptor's object.
    pub(crate) ino: u64,
    /// Directory descriptor of the path.
    pub(crate) dfd: i32,
    /// Directory descriptor of the second path.
    pub(crate) dfd2: i32,
    /// Device of a descriptor's object.
    pub(crate) dev: u32,
    /// Generation of a descriptor's object.
    pub(crate) generation: u32,
    /// `O_*` of an open.
    pub(crate) open_flags: u32,
    /// The operation, once flags have settled it.
    pub(crate) op: u32,
}

/// Bytes kept of each name of an io_uring request; a longer one is reported as truncated.
pub(crate) const URING_NAME_LEN: usize = 512;

/// The names of an io_uring request: completion no longer has them.
#[repr(C)]
pub(crate) struct UringNames {
    /// First name.
    pub(crate) first: UringName,
    /// Second name; `op` is 0 when there is none.
    pub(crate) second: UringName,
}

/// One name and the directory it is relative to.
#[repr(C)]
pub(crate) struct UringName {
    /// `i_ino` of the base.
    pub(crate) ino: u64,
    /// `s_dev` of the base.
    pub(crate) dev: u32,
    /// `i_generation` of the base.
    pub(crate) generation: u32,
    /// Bits of `sfd_common::flag`.
    pub(crate) flags: u32,
    /// Directory descriptor.
    pub(crate) dfd: i32,
    /// Operation; 0 for "no name".
    pub(crate) op: u32,
    /// Length of the name.
    pub(crate) len: u32,
    /// The name.
    pub(crate) bytes: [u8; URING_NAME_LEN],
}

/// Twice what a record needs and a power of two, so that a mask shows the verifier every access is inside.
pub(crate) const SCRATCH_LEN: usize = 8192;

/// A buffer with a flag that says it is in use.
#[repr(C)]
pub(crate) struct Scratch {
    /// The record being built.
    pub(crate) bytes: [u8; SCRATCH_LEN],
    /// 1 while in use.
    pub(crate) busy: u64,
}
