//! `sfd`: see the library for everything it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    sfd::cli::main(std::env::args_os())
}
