//! The project's own commands. This file only dispatches.

mod bench;
mod build_ebpf;
mod ci;
mod coverage;
mod growing;
mod test;
mod vm;
mod web;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// The project's own commands.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Builds the kernel side and puts it where the agent embeds it from.
    BuildEbpf(build_ebpf::Args),
    /// Checks formatting, lints and documentation, and runs every test suite.
    Test(test::TestArgs),
    /// Measures what SFD costs beside what others cost, in the same run, and prints tables.
    Bench(bench::Args),
    /// Does every kind of change on every file system and writes docs/coverage.md.
    Coverage,
    /// Paints a small tree as it grows: the picture in docs/decisions/0004-layout.md.
    Growing(growing::Args),
    /// Runs the suites that need a kernel in virtual machines, with the kernels of distributions.
    Vm(vm::Args),
    /// Builds the map's front end and puts it where the daemon embeds it from.
    Web(web::Args),
    /// Everything that CI does: `build-ebpf --check`, `web --check`, then `test` with the real-kernel suites required.
    Ci,
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::BuildEbpf(args) => build_ebpf::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Coverage => coverage::run(),
        Command::Growing(args) => growing::run(&args),
        Command::Vm(args) => vm::run(&args),
        Command::Web(args) => web::run(&args),
        Command::Ci => ci::run(),
    }
}
