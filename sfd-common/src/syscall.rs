//! How the generic system call programs read one system call.
//!
//! The agent fills an array map with one descriptor per system call number of the running architecture; the two
//! programs on the kernel side (entry and exit) know shapes, not calls.

/// Slots of the descriptor map. The highest number in use is 469 (Linux 6.17) on both x86_64 and aarch64.
pub const SYSCALL_SLOTS: u32 = 512;

/// What a system call's arguments look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Shape {
    /// Not hooked.
    None = 0,
    /// One path, or a descriptor when the path is null or empty.
    Path = 1,
    /// Two paths, each with an operation of its own.
    TwoPaths = 2,
    /// An open descriptor.
    Descriptor = 3,
    /// The open family with flags as an argument; `creat` has none ([`bit::CREAT`]).
    Open = 4,
    /// `openat2`: the flags are the first eight bytes behind a pointer.
    Openat2 = 5,
    /// `ioctl`: a descriptor, if the command is one that changes a file.
    Ioctl = 6,
    /// `bind`: a path in a `sockaddr_un`.
    Bind = 7,
}

/// Bits of [`SyscallDescriptor::bits`].
pub mod bit {
    /// The last component is followed if it is a symbolic link, unless the flags argument says no.
    pub const FOLLOWS: u8 = 1;
    /// `creat`: create and truncate are implied.
    pub const CREAT: u8 = 1 << 1;
    /// `op2` applies when the flags argument holds `AT_REMOVEDIR`.
    pub const REMOVEDIR: u8 = 1 << 2;
}

/// One system call: which argument (0 to 5) is what; `-1` for "has none".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct SyscallDescriptor {
    /// A [`Shape`].
    pub shape: u8,
    /// Bits of [`bit`].
    pub bits: u8,
    /// An [`crate::Op`].
    pub op: u16,
    /// The operation on the second path, or see [`bit::REMOVEDIR`].
    pub op2: u16,
    /// Directory descriptor of the path.
    pub dfd: i8,
    /// Path.
    pub path: i8,
    /// Directory descriptor of the second path.
    pub dfd2: i8,
    /// Second path.
    pub path2: i8,
    /// Descriptor of the object itself.
    pub fd: i8,
    /// Flags: `O_*`, `AT_*`, or an ioctl command.
    pub flags: i8,
}

const _: () = assert!(size_of::<SyscallDescriptor>() == 12);

impl SyscallDescriptor {
    /// A call that is not hooked.
    pub const NONE: Self = Self {
        shape: Shape::None as u8,
        bits: 0,
        op: 0,
        op2: 0,
        dfd: -1,
        path: -1,
        dfd2: -1,
        path2: -1,
        fd: -1,
        flags: -1,
    };
}
