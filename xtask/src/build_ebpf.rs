//! Builds the kernel side: `sfd-ebpf` to `sfd-ebpf/prebuilt/sfd.bpf.o`.
//!
//! The object is checked in, so that everything else needs only stable Rust. The same source and the same compiler
//! give the same bytes in any folder: paths are remapped and debug sections removed, so `--check` can compare.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

/// Arguments of `cargo xtask build-ebpf`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Compares with the checked-in object instead of replacing it; fails when they differ.
    #[arg(long)]
    check: bool,
    /// Builds with aya-log, for debugging; the result goes to target/ebpf/sfd-log.bpf.o.
    #[arg(long, conflicts_with = "check")]
    log: bool,
}

/// The compiler's release the checked-in object was built with: another one may give other bytes.
const PREBUILT_WITH: &str = "sfd-ebpf/prebuilt/built-with";
const PREBUILT: &str = "sfd-ebpf/prebuilt/sfd.bpf.o";
const TARGET: &str = "bpfel-unknown-none";

/// What to tell who lacks the library sources.
const NO_SOURCES: &str =
    "the kernel side needs the library sources (rust-src) of a compiler, and none has them:
  rustup toolchain install nightly --component rust-src
or, to build with the stable compiler,
  rustup component add rust-src --toolchain stable";
/// What to tell who lacks the linker.
const NO_LINKER: &str = "the kernel side needs bpf-linker:
  cargo install bpf-linker --version 0.10.3 --locked";

/// A compiler that can build for the kernel.
struct Toolchain {
    name: &'static str,
    sysroot: PathBuf,
    release: String,
}

impl Args {
    /// What CI wants.
    pub(crate) fn check() -> Self {
        Self { check: true, log: false }
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask is in the workspace")?;
    let toolchain = toolchain()?;
    let linker = Command::new("bpf-linker").arg("--version").output();
    let linker = linker.ok().filter(|output| output.status.success()).context(NO_LINKER)?;
    let linker = String::from_utf8_lossy(&linker.stdout).trim().to_owned();
    let built = build(root, &toolchain, args.log)?;
    let bytes = std::fs::read(&built).with_context(|| built.display().to_string())?;
    let with = format!("{}\n{linker}\n", toolchain.release);
    if args.log {
        println!("{}: {}", built.display(), describe(&bytes));
        return Ok(());
    }
    let (prebuilt, prebuilt_with) = (root.join(PREBUILT), root.join(PREBUILT_WITH));
    if args.check {
        let there = std::fs::read(&prebuilt).with_context(|| prebuilt.display().to_string())?;
        let with_there = std::fs::read_to_string(&prebuilt_with).unwrap_or_default();
        if there == bytes {
            println!("{PREBUILT} is what the source gives: {}", describe(&bytes));
            return Ok(());
        }
        if with_there != with {
            println!("note: built with\n{with}but the checked-in object was built with\n{with_there}");
        }
        bail!(
            "{PREBUILT} ({}) is not what the source gives ({}); run `cargo xtask build-ebpf` and check the result in",
            describe(&there),
            describe(&bytes)
        );
    }
    std::fs::write(&prebuilt, &bytes).with_context(|| prebuilt.display().to_string())?;
    std::fs::write(&prebuilt_with, with).with_context(|| prebuilt_with.display().to_string())?;
    println!("{PREBUILT}: {}", describe(&bytes));
    Ok(())
}

fn describe(bytes: &[u8]) -> String {
    let start = Sha256::digest(bytes).first_chunk().copied().map_or(0, u64::from_be_bytes);
    format!("{} bytes, sha256 {start:016x}...", bytes.len())
}

/// Nightly if it has the library sources, else stable if it has them.
fn toolchain() -> Result<Toolchain> {
    for name in ["nightly", "stable"] {
        let rustc = |argument: &[&str]| -> Option<String> {
            let output = Command::new("rustc").arg(format!("+{name}")).args(argument).output().ok()?;
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let Some(sysroot) = rustc(&["--print", "sysroot"]).map(PathBuf::from) else { continue };
        if sysroot.join("lib/rustlib/src/rust/library/Cargo.lock").is_file() {
            let release = rustc(&["--version"]).context("rustc does not say its version")?;
            return Ok(Toolchain { name, sysroot, release });
        }
    }
    bail!(NO_SOURCES)
}

/// Builds in a target directory of its own and removes what depends on where that is.
fn build(root: &Path, toolchain: &Toolchain, log: bool) -> Result<PathBuf> {
    let target_dir = root.join("target/ebpf");
    let cargo_home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")))
        .context("neither CARGO_HOME nor a home directory")?;
    let mut flags = vec!["-Cdebuginfo=2".to_owned(), "-Clink-arg=--btf".to_owned()];
    let mut remap =
        vec![(root.to_owned(), "/sfd"), (toolchain.sysroot.clone(), "/rust"), (cargo_home.clone(), "/cargo")];
    // The last rule that fits wins. Sources lie in a folder named after where they were fetched from.
    if let Ok(registries) = std::fs::read_dir(cargo_home.join("registry/src")) {
        remap.extend(registries.flatten().map(|entry| (entry.path(), "/crates")));
    }
    flags.extend(remap.iter().map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())));
    // The cargo that runs this hands down variables of its own toolchain.
    let mut cargo = Command::new("cargo");
    for (name, _) in std::env::vars_os() {
        let inherited = name.to_string_lossy();
        let foreign = ["RUSTC", "RUSTFLAGS", "RUSTDOC", "RUSTUP_TOOLCHAIN", "CARGO"].contains(&&*inherited);
        if foreign
            || (inherited.starts_with("CARGO_")
                && inherited != "CARGO_HOME"
                && inherited != "CARGO_NET_OFFLINE")
        {
            cargo.env_remove(&name);
        }
    }
    if toolchain.name == "stable" {
        cargo.env("RUSTC_BOOTSTRAP", "1");
    }
    cargo
        .current_dir(root)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .arg(format!("+{}", toolchain.name))
        .args(["build", "--package", "sfd-ebpf", "--release", "-Zbuild-std=core", "--target", TARGET])
        .arg("--target-dir")
        .arg(&target_dir);
    if log {
        cargo.args(["--features", "log"]);
    }
    ensure!(cargo.status().context("cargo")?.success(), "the kernel side does not build");
    let linked = target_dir.join(TARGET).join("release/sfd-ebpf");
    let object = target_dir.join(if log { "sfd-log.bpf.o" } else { "sfd.bpf.o" });
    strip(toolchain, &linked, &object)?;
    Ok(object)
}

/// Removes DWARF, which the kernel does not read, and keeps BTF, which it does.
fn strip(toolchain: &Toolchain, linked: &Path, object: &Path) -> Result<()> {
    // Comes with rustc, which strips with it on other platforms.
    let hosts = toolchain.sysroot.join("lib/rustlib");
    let objcopy = std::fs::read_dir(&hosts)
        .with_context(|| hosts.display().to_string())?
        .flatten()
        .map(|entry| entry.path().join("bin/rust-objcopy"))
        .find(|path| path.is_file())
        .with_context(|| format!("no rust-objcopy in {}", hosts.display()))?;
    let status = Command::new(objcopy)
        // It looks for its libraries one folder too high.
        .env("LD_LIBRARY_PATH", toolchain.sysroot.join("lib"))
        .arg("--strip-debug")
        .args([linked, object])
        .status()
        .context("rust-objcopy")?;
    ensure!(status.success(), "rust-objcopy cannot strip {}", linked.display());
    Ok(())
}
