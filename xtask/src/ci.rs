//! `cargo xtask ci`: what CI runs, in one command.

use anyhow::Result;

use crate::{build_ebpf, test, web};

pub(crate) fn run() -> Result<()> {
    build_ebpf::run(&build_ebpf::Args::check())?;
    web::run(&web::Args::check())?;
    test::run(&test::TestArgs::everything())
}
