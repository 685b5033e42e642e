//! `cargo xtask ci`: what CI runs, in one command.

use anyhow::Result;

use crate::{build_ebpf, test};

pub(crate) fn run() -> Result<()> {
    build_ebpf::run(&build_ebpf::Args::check())?;
    test::run(&test::TestArgs::everything())
}
