//! Builds the map's front end: `sfd/web` to `sfd/web/dist`, which the daemon embeds.
//!
//! The result is checked in, so that everything else needs no Node. The same sources and the same lock file give the same
//! bytes in any folder, so `--check` can compare.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// Arguments of `cargo xtask web`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Compares with what is checked in instead of replacing it; fails when they differ.
    #[arg(long)]
    check: bool,
}

impl Args {
    /// What CI wants.
    pub(crate) fn check() -> Self {
        Self { check: true }
    }
}

const WEB: &str = "sfd/web";
const DIST: &str = "sfd/web/dist";
/// The lock file that `node_modules` was made from: an installation is made anew only when it is another one.
const INSTALLED: &str = "node_modules/.installed-lock.json";

pub(crate) fn run(args: &Args) -> Result<()> {
    let root = root()?;
    install(root)?;
    let web = root.join(WEB);
    let built = if args.check { root.join("target/web-dist") } else { root.join(DIST) };
    npx(&web, &["tsc", "--noEmit"])?;
    let out = built.to_str().context("the folder's name is not UTF-8")?;
    npx(&web, &["vite", "build", "--logLevel", "warn", "--emptyOutDir", "--outDir", out])?;
    let now = files(&built)?;
    if !args.check {
        println!("{DIST}: {}", describe(&now));
        return Ok(());
    }
    let there = files(&root.join(DIST))?;
    if there == now {
        println!("{DIST} is what the source gives: {}", describe(&now));
        return Ok(());
    }
    let names = there.keys().chain(now.keys());
    let other: Vec<&str> =
        names.filter(|name| there.get(*name) != now.get(*name)).map(String::as_str).collect();
    bail!(
        "{DIST} is not what the source gives ({}); run `cargo xtask web` and check the result in",
        other.join(", ")
    );
}

/// The workspace's folder.
pub(crate) fn root() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask is in the workspace")
}

/// Installs what the lock file names, if that is not there yet.
pub(crate) fn install(root: &Path) -> Result<()> {
    let web = root.join(WEB);
    let wanted = std::fs::read(web.join("package-lock.json")).context("sfd/web/package-lock.json")?;
    ensure!(
        !wanted.windows(b"\"resolved\"".len()).any(|part| part == b"\"resolved\""),
        "sfd/web/package-lock.json names the registry that somebody used; install with the .npmrc beside it"
    );
    if std::fs::read(web.join(INSTALLED)).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    let mut npm = Command::new("npm");
    // Nothing that is installed needs to run a script of its own.
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"]).current_dir(&web);
    let status = npm.status().context("npm: the map's front end is built with Node 20 or newer and npm")?;
    ensure!(status.success(), "npm ci in {WEB}: {status}");
    std::fs::write(web.join(INSTALLED), wanted).context(INSTALLED)
}

/// Why the map cannot be tested here, if it cannot.
pub(crate) fn browser_is_missing() -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has = |program: &str| std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    let browsers = ["chromium", "chromium-browser", "google-chrome"];
    let has_browser = std::env::var_os("SFD_CHROMIUM").is_some() || browsers.iter().any(|name| has(name));
    match (has("node") && has("npm"), has_browser) {
        (true, true) => None,
        (false, _) => Some("needs Node 20 or newer, and npm".to_owned()),
        (_, false) => {
            Some("needs Chromium, or its command in SFD_CHROMIUM: apt-get install chromium".to_owned())
        }
    }
}

/// The tests of the front end's pure parts. They end with a line that `cargo test` could have written.
pub(crate) fn unit_tests() -> Result<Command> {
    let root = root()?;
    install(root)?;
    let mut node = Command::new("node");
    node.args(["node_modules/vitest/vitest.mjs", "run", "--reporter=./test/reporter.mjs"])
        .current_dir(root.join(WEB));
    Ok(node)
}

/// The map in a browser, against the daemon that the tests were built with.
pub(crate) fn browser_tests() -> Result<Command> {
    let root = root()?;
    install(root)?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let mut node = Command::new("node");
    node.arg("e2e/suite.mjs").current_dir(root.join(WEB)).env("SFD_BIN", target.join("debug/sfd-under-test"));
    Ok(node)
}

/// Runs a program of `node_modules` in the folder of the front end.
fn npx(web: &Path, args: &[&str]) -> Result<()> {
    let (program, rest) = args.split_first().context("no program")?;
    let program: PathBuf = web.join("node_modules/.bin").join(program);
    let status = Command::new(&program).args(rest).current_dir(web).status();
    let status = status.with_context(|| program.display().to_string())?;
    ensure!(status.success(), "{} in {WEB}: {status}", args.join(" "));
    Ok(())
}

/// The files below a folder, by their path in it.
fn files(dir: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in std::fs::read_dir(&next).with_context(|| next.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            let name = path.strip_prefix(dir)?.display().to_string();
            found.insert(name, std::fs::read(&path).with_context(|| path.display().to_string())?);
        }
    }
    Ok(found)
}

fn describe(files: &BTreeMap<String, Vec<u8>>) -> String {
    let bytes: usize = files.values().map(Vec::len).sum();
    format!("{} files, {bytes} bytes", files.len())
}
