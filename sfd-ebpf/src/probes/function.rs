//! The fentry rung: names and attributes from the functions of the kernel through which all of them pass.
//!
//! One program for each slot of the descriptor table, run when its function returns. They cost nothing to whoever does
//! not change a name or an attribute, see 32-bit programs, io_uring and callers inside the kernel, and need no user
//! memory. What changed is read from disk, so all they say is which inode.

use aya_ebpf::{
    EbpfContext,
    helpers::generated::{bpf_get_func_arg, bpf_get_func_ret},
    macros::fexit,
    programs::FExitContext,
};
use sfd_common::{FUNCTION_SLOTS, FunctionDescriptor, Hook, Reach};

use crate::{
    emit::mark_dirty,
    kernel::{Address, Object, follow, mapped_flag, offset, read},
};

/// Set by the agent before loading.
#[unsafe(no_mangle)]
static FUNCTIONS: [FunctionDescriptor; FUNCTION_SLOTS] = [FunctionDescriptor::NONE; FUNCTION_SLOTS];

/// `MAX_ERRNO` of include/linux/err.h: what functions return from there to -1 is an error.
const ERRNO_MAX: i32 = 4095;
/// `FMODE_CREATED`: this open created the file (include/linux/fs.h, since 4.19).
const FMODE_CREATED: u32 = 1 << 20;

/// Makes one program for each slot. Their names are those the agent asks for.
macro_rules! slots {
    ($($name:ident = $slot:literal),* $(,)?) => {$(
        #[doc = concat!("Slot ", $slot, ".")]
        #[fexit]
        pub(crate) fn $name(ctx: FExitContext) -> i32 {
            returned(&ctx, $slot);
            0
        }
    )*};
}

slots! {
    function_0 = 0, function_1 = 1, function_2 = 2, function_3 = 3, function_4 = 4, function_5 = 5, function_6 = 6,
    function_7 = 7, function_8 = 8, function_9 = 9, function_10 = 10, function_11 = 11, function_12 = 12,
    function_13 = 13, function_14 = 14, function_15 = 15, function_16 = 16, function_17 = 17,
}

#[inline(always)]
fn returned(ctx: &FExitContext, slot: usize) {
    let mut result = 0_u64;
    // SAFETY: a place for the value; the helper fails where there is none.
    if unsafe { bpf_get_func_ret(ctx.as_ptr(), &raw mut result) } != 0 {
        return;
    }
    // An int, a length, or a pointer that may be an error: the lower half tells all three.
    if (-ERRNO_MAX..0).contains(&(result as i32)) {
        return;
    }
    // SAFETY: `slot` is below the table's length by the list above; volatile because the agent sets it.
    let function = unsafe { core::ptr::read_volatile(&raw const FUNCTIONS[slot]) };
    let hook = Hook::FirstFunction as u16 + slot as u16;
    for target in function.targets {
        if target.reach == Reach::None as u8 {
            continue;
        }
        let mut argument = 0_u64;
        // SAFETY: a place for the value; the helper checks the number.
        if unsafe { bpf_get_func_arg(ctx.as_ptr(), u32::from(target.argument), &raw mut argument) } == 0 {
            touch(argument, u32::from(target.reach), u32::from(function.op) << 16 | u32::from(hook));
        }
    }
}

/// A call, not a copy: three copies in each of the programs would make the object many times as large.
#[inline(never)]
fn touch(argument: u64, reach: u32, op_and_hook: u32) {
    let inode = inode_of(argument, reach as u8);
    if inode != 0
        && let Some(object) = Object::of_inode(inode)
    {
        mark_dirty(object, inode, (op_and_hook >> 16) as u16, op_and_hook as u16, 0);
    }
}

/// The inode that an argument leads to; 0 for none.
#[inline(always)]
fn inode_of(argument: Address, reach: u8) -> Address {
    let through = |member: u32| follow(argument, member).unwrap_or(0);
    let of_dentry = |dentry: Address| {
        if dentry == 0 { 0 } else { follow(dentry, offset!(dentry_inode)).unwrap_or(0) }
    };
    if reach == Reach::Inode as u8 {
        argument
    } else if reach == Reach::Dentry as u8 {
        of_dentry(argument)
    } else if reach == Reach::File as u8 {
        through(offset!(file_inode))
    } else if reach == Reach::Mapped as u8 {
        let inode = through(offset!(file_inode));
        if mapped_flag(inode) == 0 { 0 } else { inode }
    } else if reach == Reach::CreatedIn as u8 {
        if read::<u32>(argument, offset!(file_mode)).unwrap_or(0) & FMODE_CREATED == 0 {
            return 0;
        }
        let dentry = through(offset!(file_dentry));
        if dentry == 0 { 0 } else { of_dentry(follow(dentry, offset!(dentry_parent)).unwrap_or(0)) }
    } else if reach == Reach::Parent as u8 {
        of_dentry(through(offset!(dentry_parent)))
    } else if reach == Reach::OldDirectory as u8 {
        let old = through(offset!(renamedata_old_dir));
        if old == 0 { of_dentry(through(offset!(renamedata_old_parent))) } else { old }
    } else if reach == Reach::NewDirectory as u8 {
        let new = through(offset!(renamedata_new_dir));
        if new == 0 { of_dentry(through(offset!(renamedata_new_parent))) } else { new }
    } else {
        of_dentry(through(offset!(renamedata_old_dentry)))
    }
}
