//! How the programs of the fentry rung read the arguments of a kernel function.
//!
//! Signatures drift between kernels, so the agent looks up in the kernel's BTF which argument is what, and hands each
//! program a descriptor; the programs know how to get from an argument to an inode, not functions.

/// Most functions that are hooked; each has a program of its own.
pub const FUNCTION_SLOTS: usize = 18;
/// Most inodes that one function changes: a rename changes two directories and what is renamed.
pub const FUNCTION_TARGETS: usize = 3;

/// How to get from an argument to an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reach {
    /// There is no such target.
    None = 0,
    /// `struct inode *`.
    Inode = 1,
    /// `struct dentry *`: what it names.
    Dentry = 2,
    /// `struct file *`: what is open.
    File = 3,
    /// `struct file *`: the directory, if opening created the file.
    CreatedIn = 4,
    /// `struct renamedata *`: the old directory.
    OldDirectory = 5,
    /// `struct renamedata *`: the new directory.
    NewDirectory = 6,
    /// `struct renamedata *`: what is renamed.
    Renamed = 7,
    /// `struct file *`: what is open, if somebody has it mapped for writing.
    Mapped = 8,
    /// `struct dentry *`: the directory in which it is a name.
    Parent = 9,
}

/// One target: which argument, and how to get from it to an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Target {
    /// Number of the argument, from 0.
    pub argument: u8,
    /// A [`Reach`].
    pub reach: u8,
}

impl Target {
    /// No target.
    pub const NONE: Self = Self { argument: 0, reach: Reach::None as u8 };
}

/// What a function changes when it succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct FunctionDescriptor {
    /// An [`crate::Op`].
    pub op: u16,
    /// The inodes.
    pub targets: [Target; FUNCTION_TARGETS],
}

const _: () = assert!(size_of::<FunctionDescriptor>() == 8);

impl FunctionDescriptor {
    /// A function that is not hooked.
    pub const NONE: Self = Self { op: 0, targets: [Target::NONE; FUNCTION_TARGETS] };
}
