//! The kernel side of SFD: says which watched file is dirty, which name changed, and which process came or went.
//!
//! Every program filters first (own process, watched inode), then writes one small record. See
//! `docs/event-abi.md` for the records and `docs/decisions/0003-hooks.md` for why these hooks.
#![no_std]
#![no_main]
#![expect(
    clippy::inline_always,
    reason = "a program is one function to older verifiers, and offsets fold only when inlined"
)]
#![expect(
    clippy::cast_sign_loss,
    clippy::cast_ptr_alignment,
    clippy::needless_pass_by_value,
    reason = "registers have no sign, map values are aligned to 8, and aya's macros pass contexts by value"
)]

mod emit;
mod filter;
mod kernel;
mod maps;
mod probes;

/// The licence the kernel is told; some helpers want a GPL-compatible one.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Never reached: a program that could panic does not pass the verifier, which refuses endless loops.
    loop {}
}
