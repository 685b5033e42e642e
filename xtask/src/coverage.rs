//! `cargo xtask coverage`: writes docs/coverage.md by doing everything in it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

pub(crate) fn run() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask is in the workspace")?;
    let document = root.join("docs/coverage.md");
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(root)
        .args(["test", "-p", "sfd-tests", "--test", "matrix", "every_change", "--", "--nocapture"])
        .env("SFD_WRITE_COVERAGE", &document)
        .status()
        .context("cargo test")?;
    ensure!(status.success(), "not everything is right in the brick; {} says what", document.display());
    println!("{}", document.display());
    Ok(())
}
