//! The same program as `sfd`, built with the tests so that they always run the code they were built with.

fn main() -> std::process::ExitCode {
    sfd::cli::main(std::env::args_os())
}
