//! The same program as `sfd`, built with the tests so that they always run the code they were built with.
//!
//! It differs in one thing: the suites can make it lose kernel events, which `sfd` itself has no way to be told.

fn main() -> std::process::ExitCode {
    if let Some(per_mille) = std::env::var("SFD_TEST_LOSE_PER_MILLE").ok().and_then(|text| text.parse().ok())
    {
        sfd::collect::bpf::faults::lose_per_mille(per_mille);
    }
    sfd::cli::main(std::env::args_os())
}
