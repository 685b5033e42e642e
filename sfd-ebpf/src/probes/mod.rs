//! The programs, by what they see.

mod content;
mod function;
mod module;
mod open;
mod process;
mod syscall;
mod uring;
