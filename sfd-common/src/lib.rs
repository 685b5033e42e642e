#![no_std]
#![forbid(unsafe_code)]
//! What the kernel side and the agent of SFD agree on: event records, their decoding, and limits.
//!
//! Everything here is plain data: no I/O, no allocation, no `unsafe`. The kernel side writes a [`RecordHeader`]
//! (and, for some kinds, bytes after it) into a ring; the agent turns those bytes into a [`Record`] with
//! [`decode`], which checks length and kind and never casts. The layouts are described in `docs/event-abi.md`.

mod function;
mod offsets;
mod op;
mod record;
mod shared;
mod syscall;

pub use function::{FUNCTION_SLOTS, FUNCTION_TARGETS, FunctionDescriptor, Reach, Target};
pub use offsets::{ABSENT, KernelOffsets};
pub use op::Op;
pub use record::{
    AT_FDCWD, Body, COMM_LEN, DecodeError, EXEC_ARGS_MAX, EXEC_NAME_MAX, HEADER_LEN, Kind, PATH_MAX,
    RECORD_LEN_MAX, Record, RecordHeader, decode, flag,
};
pub use shared::{DropReason, Hook, InodeKey, Mark, STREAMS, Stream, WatchedValue, device_bit, map};
pub use syscall::{SYSCALL_SLOTS, Shape, SyscallDescriptor, bit};
