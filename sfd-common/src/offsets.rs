//! Where the running kernel keeps what the programs read.

/// Value of an offset that this kernel's BTF does not have.
pub const ABSENT: u32 = u32::MAX;

macro_rules! offsets {
    ($($(#[$doc:meta])* $name:ident = $type:literal . $member:literal),* $(,)?) => {
        /// Byte offsets of structure members, looked up by name in the kernel's BTF when the programs are loaded.
        ///
        /// There is no CO-RE from Rust yet (aya issue 349); this one table does its work. A member the kernel
        /// does not have is [`ABSENT`], and what reads it reports less.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(C)]
        pub struct KernelOffsets {
            $($(#[$doc])* pub $name: u32,)*
            /// Arguments of the tracepoint `io_uring_complete`: 0 unknown, 1 `(ctx, req, user_data, res, ...)`,
            /// 2 `(ctx, req, cqe)` (since 6.14).
            pub uring_complete_form: u32,
        }

        impl KernelOffsets {
            /// Every offset as (field, structure, dotted member path): what to look up.
            pub const MEMBERS: &[(&'static str, &'static str, &'static str)] =
                &[$((stringify!($name), $type, $member)),*];

            /// All offsets absent.
            pub const UNKNOWN: Self = Self { $($name: ABSENT,)* uring_complete_form: 0 };

            /// Builds the table from a look-up of (structure, dotted member path).
            pub fn look_up(mut member: impl FnMut(&str, &str) -> Option<u32>) -> Self {
                Self { $($name: member($type, $member).unwrap_or(ABSENT),)* uring_complete_form: 0 }
            }
        }
    };
}

offsets! {
    /// `inode.i_ino`.
    inode_ino = "inode"."i_ino",
    /// `inode.i_sb`.
    inode_sb = "inode"."i_sb",
    /// `inode.i_generation`.
    inode_generation = "inode"."i_generation",
    /// `inode.i_mapping`.
    inode_mapping = "inode"."i_mapping",
    /// `address_space.i_mmap_writable.counter`: shared mappings that may be written.
    mapping_writable = "address_space"."i_mmap_writable.counter",
    /// `iomap_iter.inode` (since 5.15).
    iomap_inode = "iomap_iter"."inode",
    /// `iomap_iter.flags`.
    iomap_flags = "iomap_iter"."flags",
    /// `renamedata.old_dir` (5.12 to 6.16).
    renamedata_old_dir = "renamedata"."old_dir",
    /// `renamedata.new_dir`.
    renamedata_new_dir = "renamedata"."new_dir",
    /// `renamedata.old_parent` (since 6.17): a dentry.
    renamedata_old_parent = "renamedata"."old_parent",
    /// `renamedata.new_parent`.
    renamedata_new_parent = "renamedata"."new_parent",
    /// `renamedata.old_dentry`.
    renamedata_old_dentry = "renamedata"."old_dentry",
    /// `super_block.s_dev`.
    sb_dev = "super_block"."s_dev",
    /// `address_space.host`.
    mapping_host = "address_space"."host",
    /// `task_struct.tgid`.
    task_tgid = "task_struct"."tgid",
    /// `task_struct.pid`.
    task_pid = "task_struct"."pid",
    /// `task_struct.flags`.
    task_flags = "task_struct"."flags",
    /// `task_struct.comm`.
    task_comm = "task_struct"."comm",
    /// `task_struct.files`.
    task_files = "task_struct"."files",
    /// `task_struct.fs`.
    task_fs = "task_struct"."fs",
    /// `task_struct.mm`.
    task_mm = "task_struct"."mm",
    /// `task_struct.signal`.
    task_signal = "task_struct"."signal",
    /// `task_struct.group_leader`.
    task_leader = "task_struct"."group_leader",
    /// `task_struct.real_parent`.
    task_parent = "task_struct"."real_parent",
    /// `task_struct.start_boottime` (since 5.5).
    task_start_boottime = "task_struct"."start_boottime",
    /// `task_struct.start_time`, monotonic: the fallback.
    task_start_time = "task_struct"."start_time",
    /// `task_struct.loginuid`: kernels with audit.
    task_loginuid = "task_struct"."loginuid",
    /// `signal_struct.live`: threads that have not ended.
    signal_live = "signal_struct"."live",
    /// `mm_struct.exe_file`.
    mm_exe_file = "mm_struct"."exe_file",
    /// `files_struct.fdt`.
    files_fdt = "files_struct"."fdt",
    /// `fdtable.fd`.
    fdt_fd = "fdtable"."fd",
    /// `fdtable.max_fds`.
    fdt_max_fds = "fdtable"."max_fds",
    /// `file.f_inode`.
    file_inode = "file"."f_inode",
    /// `file.f_mode`.
    file_mode = "file"."f_mode",
    /// `file.f_path.dentry`.
    file_dentry = "file"."f_path.dentry",
    /// `dentry.d_parent`.
    dentry_parent = "dentry"."d_parent",
    /// `dentry.d_inode`.
    dentry_inode = "dentry"."d_inode",
    /// `dentry.d_name.name`.
    dentry_name = "dentry"."d_name.name",
    /// `fs_struct.pwd.dentry`.
    fs_pwd = "fs_struct"."pwd.dentry",
    /// `fs_struct.root.dentry`.
    fs_root = "fs_struct"."root.dentry",
    /// `module.name`: kernels with modules.
    module_name = "module"."name",
    /// `io_kiocb.opcode`.
    req_opcode = "io_kiocb"."opcode",
    /// `io_kiocb.flags`.
    req_flags = "io_kiocb"."flags",
    /// `io_kiocb.file`; the per-opcode structures lie over it.
    req_file = "io_kiocb"."file",
    /// `io_uring_cqe.res`.
    cqe_res = "io_uring_cqe"."res",
    /// `filename.name`.
    filename_name = "filename"."name",
    /// `io_rename.old_dfd`.
    rename_old_dfd = "io_rename"."old_dfd",
    /// `io_rename.oldpath`.
    rename_oldpath = "io_rename"."oldpath",
    /// `io_rename.new_dfd`.
    rename_new_dfd = "io_rename"."new_dfd",
    /// `io_rename.newpath`.
    rename_newpath = "io_rename"."newpath",
    /// `io_unlink.dfd`.
    unlink_dfd = "io_unlink"."dfd",
    /// `io_unlink.flags`.
    unlink_flags = "io_unlink"."flags",
    /// `io_unlink.filename`.
    unlink_filename = "io_unlink"."filename",
    /// `io_mkdir.dfd`.
    mkdir_dfd = "io_mkdir"."dfd",
    /// `io_mkdir.filename`.
    mkdir_filename = "io_mkdir"."filename",
    /// `io_link.new_dfd`, for link and symlink.
    link_new_dfd = "io_link"."new_dfd",
    /// `io_link.newpath`.
    link_newpath = "io_link"."newpath",
    /// `io_open.dfd`.
    open_dfd = "io_open"."dfd",
    /// `io_open.filename`.
    open_filename = "io_open"."filename",
    /// `io_open.how.flags`.
    open_flags = "io_open"."how.flags",
    /// `io_xattr.filename`.
    xattr_filename = "io_xattr"."filename",
    /// `linux_binprm.filename`.
    bprm_filename = "linux_binprm"."filename",
    /// `mm_struct.arg_start`.
    mm_arg_start = "mm_struct"."arg_start",
    /// `mm_struct.arg_end`.
    mm_arg_end = "mm_struct"."arg_end",
}

impl KernelOffsets {
    /// Members without which no record can be made at all.
    pub const REQUIRED: &[&'static str] = &["inode_ino", "inode_sb", "sb_dev", "mapping_host", "task_tgid"];
    /// Members without which system calls cannot be reported.
    pub const REQUIRED_FOR_CALLS: &[&'static str] = &[
        "task_files",
        "task_fs",
        "files_fdt",
        "fdt_fd",
        "fdt_max_fds",
        "file_inode",
        "file_mode",
        "file_dentry",
        "dentry_parent",
        "dentry_inode",
        "dentry_name",
        "fs_pwd",
        "fs_root",
    ];
}
