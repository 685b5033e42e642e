//! `cargo xtask vm`: the suites that need a kernel, inside virtual machines with the kernels of distributions.
//!
//! The machine's own kernel is one kernel. Here the same test programs, as built, boot in QEMU with each kernel
//! that is given. Nothing is installed in them: root is an initramfs of what the tests need, put together from this
//! machine, and `/var/tmp` is an ext4 disk. `docs/testing.md` says where the kernels come from.

mod kernels;
mod qemu;
mod root;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::test::{cargo, count};

/// Arguments of `cargo xtask vm`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder with one folder for each kernel, in which its Debian packages are unpacked
    #[arg(long, env = "SFD_KERNELS", value_name = "DIR")]
    kernels: PathBuf,
    /// Only kernels whose release begins so, such as 6.1
    #[arg(long, value_name = "RELEASE")]
    only: Vec<String>,
    /// Only these suites
    #[arg(long, value_name = "NAME")]
    suite: Vec<String>,
    /// Seconds one machine may take; emulated without KVM, it is tens of times slower than this one
    #[arg(long, default_value_t = 1500, value_name = "SECONDS")]
    timeout: u64,
    /// QEMU to run; without KVM, 7.2 crashes kernel 6.12 while it boots and 10.0 does not
    #[arg(long, env = "SFD_QEMU", default_value = "qemu-system-x86_64", value_name = "PROGRAM")]
    qemu: PathBuf,
    /// Only tests whose name has this in it
    test: Option<String>,
}

/// A suite: its name, the test program (package target), the arguments that choose its tests, and how it is to see names.
struct Suite {
    name: &'static str,
    target: &'static str,
    args: &'static [&'static str],
    /// `SFD_NAME_HOOKS` of the matrix: the cheapest hooks that work, or these.
    name_hooks: &'static str,
}

const AUTO: &str = "auto";

const SUITES: &[Suite] = &[
    Suite { name: "unit", target: "sfd", args: &["--include-ignored", "collect::"], name_hooks: AUTO },
    Suite {
        name: "ebpf",
        target: "ebpf",
        args: &["--include-ignored", "--skip=modules::"],
        name_hooks: AUTO,
    },
    Suite { name: "modules", target: "ebpf", args: &["--include-ignored", "modules::"], name_hooks: AUTO },
    Suite { name: "matrix", target: "matrix", args: &["--nocapture", "every_change"], name_hooks: AUTO },
    // The rungs that the kernel has beside its best one. A kernel that refuses one fails here, and says why.
    Suite {
        name: "fentry",
        target: "matrix",
        args: &["--nocapture", "every_change"],
        name_hooks: "function",
    },
    Suite {
        name: "syscalls",
        target: "matrix",
        args: &["--nocapture", "every_change"],
        name_hooks: "syscall",
    },
    // After each kill the kernel takes a hundred hooks down one after the other: minutes on an emulated machine.
    Suite { name: "live", target: "live", args: &["--skip=kill_9"], name_hooks: AUTO },
];

/// What a suite did in one machine.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    passed: u64,
    failed: u64,
    ignored: u64,
    /// Exit code; none when the machine ended before the suite.
    code: Option<i32>,
    /// Names of the tests that failed.
    failures: Vec<String>,
}

impl Outcome {
    /// A suite in which no test ran has shown nothing.
    fn good(&self) -> bool {
        self.code == Some(0) && self.failed == 0 && self.passed > 0
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask is in the workspace")?;
    let wanted = |names: &[String], name: &str| names.is_empty() || names.iter().any(|each| each == name);
    let suites: Vec<&Suite> = SUITES.iter().filter(|suite| wanted(&args.suite, suite.name)).collect();
    ensure!(!suites.is_empty(), "no such suite; there are: {}", names(SUITES));
    let kernels: Vec<_> = kernels::find(&args.kernels)?
        .into_iter()
        .filter(|kernel| {
            args.only.is_empty() || args.only.iter().any(|only| kernel.release.starts_with(only))
        })
        .collect();
    ensure!(!kernels.is_empty(), "no kernel is left in {} by --only", args.kernels.display());
    let programs = build(workspace)?;
    let work = workspace.join("target/vm");
    let accelerator = qemu::accelerator(&args.qemu, &kernels[0]);
    eprintln!("== acceleration: {accelerator}");
    let suites_text = script(&suites, &programs, args.test.as_deref(), accelerator.slowness())?;
    let base = root::base(&work, &programs, &suites_text)?;
    let mut lines = Vec::new();
    let mut bad = Vec::new();
    for kernel in &kernels {
        let folder = work.join(&kernel.release);
        let initrd = root::initrd(&folder, &base, kernel)?;
        let disk = root::disk(&folder)?;
        let machine =
            qemu::Machine { program: &args.qemu, kernel, initrd: &initrd, disk: &disk, accelerator };
        let log = folder.join("log");
        eprintln!("== {} (log: {})", kernel.release, log.display());
        let started = Instant::now();
        let text = machine.run(&log, Duration::from_secs(args.timeout))?;
        let outcomes = parse(&text);
        lines.push(format!("{}  {} s", kernel.release, started.elapsed().as_secs()));
        for suite in &suites {
            let none = Outcome::default();
            let outcome = outcomes.get(suite.name).unwrap_or(&none);
            lines.push(line(suite.name, outcome));
            if !outcome.good() {
                bad.push(format!("{} {}", kernel.release, suite.name));
            }
        }
    }
    println!("\nKernels:");
    for line in lines {
        println!("  {line}");
    }
    if !bad.is_empty() {
        bail!("failed: {}", bad.join(", "));
    }
    Ok(())
}

fn names(suites: &[Suite]) -> String {
    suites.iter().map(|suite| suite.name).collect::<Vec<_>>().join(", ")
}

/// One line of the table.
fn line(name: &str, outcome: &Outcome) -> String {
    let end = match outcome.code {
        Some(0) if outcome.passed > 0 => String::new(),
        Some(0) => "  no test ran".to_owned(),
        Some(code) => format!("  exit {code}: {}", outcome.failures.join(", ")),
        None => "  DID NOT END: see the log".to_owned(),
    };
    let Outcome { passed, failed, ignored, .. } = outcome;
    format!("  {name:<8} {passed:>4} passed, {failed} failed, {ignored} not run{end}")
}

/// Builds the test programs; gives every executable by (name of its target, whether it is a test).
fn build(workspace: &Path) -> Result<BTreeMap<(String, bool), PathBuf>> {
    let mut args = vec!["test", "--no-run", "--message-format=json", "-p", "sfd", "-p", "sfd-tests"];
    args.extend(["--lib", "--bins", "--test", "ebpf", "--test", "live", "--test", "matrix"]);
    let output = cargo(&args)
        .current_dir(workspace)
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cargo test --no-run")?;
    ensure!(output.status.success(), "the tests do not build");
    let mut programs = BTreeMap::new();
    for text in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(text) else { continue };
        let (Some(name), Some(executable)) =
            (message["target"]["name"].as_str(), message["executable"].as_str())
        else {
            continue;
        };
        let test = message["profile"]["test"].as_bool().unwrap_or(false);
        // The unit tests of the program `sfd` are none: those of the library of the same name are meant.
        if !(test && message["target"]["kind"][0] == "bin") {
            programs.insert((name.to_owned(), test), PathBuf::from(executable));
        }
    }
    Ok(programs)
}

/// What `/init` does after everything is mounted.
fn script(
    suites: &[&Suite],
    programs: &BTreeMap<(String, bool), PathBuf>,
    test: Option<&str>,
    slowness: u32,
) -> Result<String> {
    use std::fmt::Write as _;
    let mut lines = format!("export SFD_TEST_SLOWNESS={slowness}\n");
    for suite in suites {
        let program = programs
            .get(&(suite.target.to_owned(), true))
            .with_context(|| format!("cargo has built no test program {}", suite.target))?;
        // Both of the suite's own choice and of the command line: libtest takes any of several names, so the
        // narrower one replaces the other.
        let args: Vec<&str> = match test {
            Some(test) => {
                suite.args.iter().copied().filter(|arg| arg.starts_with('-')).chain([test]).collect()
            }
            None => suite.args.to_vec(),
        };
        let Suite { name, name_hooks, .. } = suite;
        // Left alone, so that a test's own configuration counts.
        let hooks = if *name_hooks == AUTO {
            "unset SFD_NAME_HOOKS".to_owned()
        } else {
            format!("export SFD_NAME_HOOKS={name_hooks}")
        };
        writeln!(lines, "{hooks}")?;
        writeln!(lines, "suite {name} '{}' {}", program.display(), args.join(" "))?;
    }
    Ok(lines)
}

/// Reads the results from what the serial console showed.
fn parse(text: &str) -> BTreeMap<String, Outcome> {
    let mut outcomes: BTreeMap<String, Outcome> = BTreeMap::new();
    let mut current: Option<String> = None;
    for line in text.lines() {
        let line = line.trim_end();
        if let Some(name) = line.strip_prefix("@@ suite ") {
            outcomes.insert(name.to_owned(), Outcome::default());
            current = Some(name.to_owned());
        }
        let Some(outcome) = current.as_ref().and_then(|name| outcomes.get_mut(name)) else { continue };
        if let Some(rest) = line.strip_prefix("test result: ") {
            outcome.passed += count(rest, " passed");
            outcome.failed += count(rest, " failed");
            outcome.ignored += count(rest, " ignored");
        } else if let Some(code) = line.strip_prefix("@@ exit ") {
            outcome.code = code.parse().ok();
            current = None;
        } else if let Some(name) =
            line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----"))
        {
            outcome.failures.push(name.to_owned());
        }
    }
    outcomes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_from_the_console() {
        let text = "[    0.1] booting\r\n@@ suite ebpf\r\nrunning 3 tests\r\ntest a ... ok\r\n---- b stdout ----\r\n\
            test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out\r\n@@ exit 101\r\n\
            @@ suite unit\r\ntest result: ok. 4 passed; 0 failed; 0 ignored\r\n@@ exit 0\r\n@@ suite live\r\n";
        let outcomes = parse(text);
        let ebpf =
            Outcome { passed: 1, failed: 1, ignored: 1, code: Some(101), failures: vec!["b".to_owned()] };
        assert_eq!(outcomes["ebpf"], ebpf);
        assert!(!ebpf.good() && outcomes["unit"].good());
        assert!(!outcomes["live"].good(), "the machine ended in it");
        assert!(!Outcome { code: Some(0), ..Outcome::default() }.good(), "nothing ran");
    }
}
