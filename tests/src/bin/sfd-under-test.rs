//! The same program as `sfd`, built with the tests so that they always run the code they were built with.
//!
//! It differs in one thing: the suites can make it lose kernel events, which `sfd` itself has no way to be told.

use std::time::Duration;

fn main() -> std::process::ExitCode {
    if let Some(file) = std::env::var_os("SFD_TEST_LOSE_PER_MILLE") {
        // A file and not a value: a fault has to end while the daemon runs.
        std::thread::spawn(move || {
            loop {
                let text = std::fs::read_to_string(&file).unwrap_or_default();
                sfd::collect::bpf::faults::lose_per_mille(text.trim().parse().unwrap_or(0));
                std::thread::sleep(Duration::from_millis(10));
            }
        });
    }
    sfd::cli::main(std::env::args_os())
}
