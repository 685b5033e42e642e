//! Operations: what a record says was done.

/// What was done to an object, as the hook that saw it names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum Op {
    /// Contents written or an attribute changed (`writeback_mark_inode_dirty`).
    InodeDirty = 1,
    /// A page of contents became dirty (`writeback_dirty_folio`).
    FolioDirty = 2,
    /// truncate, ftruncate, open with `O_TRUNC`.
    Truncate = 3,
    /// fallocate in any mode.
    Allocate = 4,
    /// Blocks shared or copied in the kernel: FICLONE, FICLONERANGE, copy_file_range.
    Clone = 5,
    /// A file created by open.
    Create = 6,
    /// The old name of a rename.
    RenameFrom = 7,
    /// The new name of a rename.
    RenameTo = 8,
    /// A hard link made.
    Link = 9,
    /// A symbolic link made.
    Symlink = 10,
    /// A name removed.
    Unlink = 11,
    /// A directory removed.
    Rmdir = 12,
    /// A directory made.
    Mkdir = 13,
    /// A device node, pipe or socket made.
    Mknod = 14,
    /// Permission bits.
    Chmod = 15,
    /// Owner or group.
    Chown = 16,
    /// Times.
    Utime = 17,
    /// Extended attributes, ACLs included.
    Xattr = 18,
    /// Inode flags (chattr).
    Flags = 19,
    /// Something mounted, unmounted or moved.
    Mount = 20,
    /// The change time was set: contents, attributes or links of a file, names or attributes of a directory.
    Changed = 21,
    /// A program started.
    Exec = 32,
    /// A process was created.
    Fork = 33,
    /// A process ended (its last thread).
    Exit = 34,
    /// A process changed its name.
    TaskRename = 35,
    /// A kernel module was loaded.
    ModuleLoad = 40,
    /// A kernel module was unloaded.
    ModuleFree = 41,
    /// The kernel asked for a module.
    ModuleRequest = 42,
    /// Any of the above: the reporter (inotify, a rescan) cannot tell.
    Any = 63,
}

impl Op {
    /// Its name in `sfd events` and `sfd status`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InodeDirty => "inode_dirty",
            Self::FolioDirty => "folio_dirty",
            Self::Truncate => "truncate",
            Self::Allocate => "allocate",
            Self::Clone => "clone",
            Self::Create => "create",
            Self::RenameFrom => "rename_from",
            Self::RenameTo => "rename_to",
            Self::Link => "link",
            Self::Symlink => "symlink",
            Self::Unlink => "unlink",
            Self::Rmdir => "rmdir",
            Self::Mkdir => "mkdir",
            Self::Mknod => "mknod",
            Self::Chmod => "chmod",
            Self::Chown => "chown",
            Self::Utime => "utime",
            Self::Xattr => "xattr",
            Self::Flags => "flags",
            Self::Mount => "mount",
            Self::Changed => "changed",
            Self::Exec => "exec",
            Self::Fork => "fork",
            Self::Exit => "exit",
            Self::TaskRename => "task_rename",
            Self::ModuleLoad => "module_load",
            Self::ModuleFree => "module_free",
            Self::ModuleRequest => "module_request",
            Self::Any => "any",
        }
    }

    /// Every operation, in the order of its number.
    pub const ALL: [Self; 29] = [
        Self::InodeDirty,
        Self::FolioDirty,
        Self::Truncate,
        Self::Allocate,
        Self::Clone,
        Self::Create,
        Self::RenameFrom,
        Self::RenameTo,
        Self::Link,
        Self::Symlink,
        Self::Unlink,
        Self::Rmdir,
        Self::Mkdir,
        Self::Mknod,
        Self::Chmod,
        Self::Chown,
        Self::Utime,
        Self::Xattr,
        Self::Flags,
        Self::Mount,
        Self::Changed,
        Self::Exec,
        Self::Fork,
        Self::Exit,
        Self::TaskRename,
        Self::ModuleLoad,
        Self::ModuleFree,
        Self::ModuleRequest,
        Self::Any,
    ];

    /// The operation with this number on the wire; `None` when there is none.
    #[must_use]
    pub const fn from_wire(number: u16) -> Option<Self> {
        Some(match number {
            1 => Self::InodeDirty,
            2 => Self::FolioDirty,
            3 => Self::Truncate,
            4 => Self::Allocate,
            5 => Self::Clone,
            6 => Self::Create,
            7 => Self::RenameFrom,
            8 => Self::RenameTo,
            9 => Self::Link,
            10 => Self::Symlink,
            11 => Self::Unlink,
            12 => Self::Rmdir,
            13 => Self::Mkdir,
            14 => Self::Mknod,
            15 => Self::Chmod,
            16 => Self::Chown,
            17 => Self::Utime,
            18 => Self::Xattr,
            19 => Self::Flags,
            20 => Self::Mount,
            21 => Self::Changed,
            32 => Self::Exec,
            33 => Self::Fork,
            34 => Self::Exit,
            35 => Self::TaskRename,
            40 => Self::ModuleLoad,
            41 => Self::ModuleFree,
            42 => Self::ModuleRequest,
            63 => Self::Any,
            _ => return None,
        })
    }
}
