//! `cargo xtask test`: everything that says whether the project works, in one command.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::web;

/// Formatting, lints, documentation and all test suites.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// Fail where the suites that need root and BPF cannot run, instead of naming them (implied by CI=true)
    #[arg(long)]
    require_kernel: bool,
    /// Only the test suites, without formatting, lints and documentation
    #[arg(long)]
    only_suites: bool,
}

impl TestArgs {
    /// What CI wants.
    pub(crate) fn everything() -> Self {
        Self { require_kernel: true, only_suites: false }
    }
}

/// A suite: its name, what it shows, the arguments of `cargo test`, whether it needs root and BPF.
struct Suite {
    name: &'static str,
    shows: &'static str,
    args: &'static [&'static str],
    kernel: bool,
}

/// The suite that needs a model server.
const LLM: &str = "llm";
/// The suite that needs Node and a browser; `web.rs` runs it.
const BROWSER: &str = "browser";

const SUITES: &[Suite] = &[
    Suite {
        name: "unit",
        shows: "each stage by itself",
        args: &["-p", "sfd-common", "-p", "sfd", "-p", "xtask", "--lib", "--bins"],
        kernel: false,
    },
    Suite {
        name: "golden",
        shows: "the file format, read by an independent reader",
        args: &["-p", "sfd-tests", "--test", "golden"],
        kernel: false,
    },
    Suite {
        name: "brick",
        shows: "live and sealed bricks as files",
        args: &["-p", "sfd-tests", "--test", "brick"],
        kernel: false,
    },
    Suite {
        name: "exports",
        shows: "other forms of a brick, read by an independent reader; other programs' files",
        args: &["-p", "sfd-tests", "--test", "exports"],
        kernel: false,
    },
    Suite {
        name: "fuzz",
        shows: "readers against a mutated corpus",
        args: &["-p", "sfd-tests", "--test", "fuzz"],
        kernel: false,
    },
    Suite {
        name: "exchange",
        shows: "bricks sealed while they are written, compared, brought up to date, laid out anew",
        args: &["-p", "sfd-tests", "--test", "exchange"],
        kernel: false,
    },
    Suite {
        name: "layout",
        shows: "100 000 operations on made-up and real trees, and how much space they waste",
        args: &["-p", "sfd-tests", "--test", "layout"],
        kernel: false,
    },
    Suite {
        name: "crash",
        shows: "kill -9 while committing, each system call failing",
        args: &["-p", "sfd-tests", "--test", "brick_crash"],
        kernel: false,
    },
    Suite {
        name: "disk",
        shows: "a loss of power, with writes in any order",
        args: &["-p", "sfd-tests", "--test", "brick_disk"],
        kernel: false,
    },
    Suite {
        name: "flips",
        shows: "every byte of a brick changed, and found",
        args: &["-p", "sfd-tests", "--test", "brick_flips"],
        kernel: false,
    },
    Suite {
        name: "cli",
        shows: "the commands as a user calls them; search, kept in step with the catalog",
        args: &["-p", "sfd-tests", "--test", "cli", "--test", "sections", "--test", "search"],
        kernel: false,
    },
    Suite {
        name: LLM,
        shows: "language models: a real server, servers that fail, files that talk to the model",
        args: &["-p", "sfd-tests", "--test", "llm"],
        kernel: false,
    },
    Suite {
        name: BROWSER,
        shows: "the map in a real browser against the real daemon",
        args: &["-p", "sfd-tests", "--bin", "sfd-under-test"],
        kernel: false,
    },
    Suite {
        name: "openspec",
        shows: "OpenSpec tasks, with OpenSpec's own program; what to do next",
        args: &["-p", "sfd-tests", "--test", "openspec"],
        kernel: false,
    },
    Suite {
        name: "ebpf",
        shows: "each hook against the real kernel",
        args: &["-p", "sfd-tests", "--test", "ebpf"],
        kernel: true,
    },
    Suite {
        name: "risk",
        shows: "no false alarm on a fresh Debian, the right one for what is bad",
        args: &["-p", "sfd-tests", "--test", "risk"],
        kernel: true,
    },
    Suite {
        name: "matrix",
        shows: "every kind of change on five file systems ends in the right brick",
        args: &["-p", "sfd-tests", "--test", "matrix"],
        kernel: true,
    },
    Suite {
        name: "live",
        shows: "the daemon end to end against the real kernel",
        args: &["-p", "sfd-tests", "--test", "live"],
        kernel: true,
    },
    Suite {
        name: "map",
        shows: "the map's server: who is refused, tiles to the pixel, events, load, its description",
        args: &["-p", "sfd-tests", "--test", "map"],
        kernel: true,
    },
];

pub(crate) fn run(args: &TestArgs) -> Result<()> {
    let required = args.require_kernel || std::env::var_os("CI").is_some_and(|value| value == "true");
    let mut failed = Vec::new();
    if !args.only_suites {
        for (name, command) in checks() {
            eprintln!("== {name}: cargo {}", command.join(" "));
            let mut cargo = cargo(&command);
            if name == "docs" {
                cargo.env("RUSTDOCFLAGS", "-D warnings");
            }
            if !cargo.status().context("cargo")?.success() {
                failed.push(name.to_owned());
            }
        }
    }
    let (no_kernel, no_server, no_browser) =
        (kernel_is_missing(), server_is_missing(), web::browser_is_missing());
    let (mut passed_sum, mut failed_sum) = (0, 0);
    let mut lines = Vec::new();
    for suite in SUITES {
        let missing = match suite.name {
            LLM => no_server.as_deref(),
            BROWSER => no_browser.as_deref(),
            _ => no_kernel.as_deref().filter(|_| suite.kernel),
        };
        if let Some(why) = missing {
            if required {
                failed.push(suite.name.to_owned());
            }
            lines.push(format!("{:<8} NOT RUN: {why}", suite.name));
            continue;
        }
        eprintln!("== {}: {}", suite.name, suite.shows);
        let started = Instant::now();
        let outcome = run_suite(suite)?;
        passed_sum += outcome.passed;
        failed_sum += outcome.failed;
        // A suite in which no test ran has shown nothing.
        if !outcome.success || outcome.passed == 0 {
            failed.push(suite.name.to_owned());
        }
        lines.push(format!(
            "{:<8} {:>4} passed, {} failed  {:>4} s  {}",
            suite.name,
            outcome.passed,
            outcome.failed,
            started.elapsed().as_secs(),
            suite.shows
        ));
    }
    // Nobody wants modules of his own machine loaded and unloaded by a test run.
    lines.push(format!("{:<8} NOT RUN: loads kernel modules; run it with: cargo xtask vm", "modules"));
    println!("\nSuites:");
    for line in lines {
        println!("  {line}");
    }
    println!("{passed_sum} passed, {failed_sum} failed");
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn checks() -> Vec<(&'static str, Vec<&'static str>)> {
    // The kernel side is checked by building it (`build-ebpf --check`): it does not compile for this machine.
    vec![
        ("format", vec!["fmt", "--all", "--check"]),
        (
            "lints",
            vec!["clippy", "--workspace", "--exclude", "sfd-ebpf", "--all-targets", "--", "-D", "warnings"],
        ),
        (
            "docs",
            vec!["doc", "--workspace", "--exclude", "sfd-ebpf", "--no-deps", "--document-private-items"],
        ),
    ]
}

struct Outcome {
    passed: u64,
    failed: u64,
    success: bool,
}

/// Runs a suite, passing its output on, and counts what `cargo test` says.
fn run_suite(suite: &Suite) -> Result<Outcome> {
    if suite.name == BROWSER {
        let mut build = vec!["build"];
        build.extend(suite.args);
        if !cargo(&build).status().context("cargo build")?.success() {
            return Ok(Outcome { passed: 0, failed: 0, success: false });
        }
        let mut outcome = count_tests(&mut web::unit_tests()?)?;
        let browser = count_tests(&mut web::browser_tests()?)?;
        outcome.passed += browser.passed;
        outcome.failed += browser.failed;
        outcome.success &= browser.success && browser.passed > 0;
        return Ok(outcome);
    }
    let mut args = vec!["test"];
    args.extend(suite.args);
    if suite.kernel {
        // They measure times and share one kernel: one at a time.
        args.extend(["--", "--test-threads=1"]);
    }
    count_tests(&mut cargo(&args))
}

/// Runs a command, passing its output on, and counts the tests of its lines `test result: ...`.
fn count_tests(command: &mut Command) -> Result<Outcome> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("the tests do not start")?;
    let stdout = child.stdout.take().context("no output of the tests")?;
    let mut outcome = Outcome { passed: 0, failed: 0, success: false };
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        if let Some(rest) = line.strip_prefix("test result: ") {
            outcome.passed += count(rest, " passed");
            outcome.failed += count(rest, " failed");
        }
        println!("{line}");
    }
    outcome.success = child.wait()?.success();
    Ok(outcome)
}

/// The number in front of `what`.
pub(crate) fn count(line: &str, what: &str) -> u64 {
    let before = line.split(what).next().unwrap_or_default();
    before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args);
    command
}

/// Why the suites that need root and BPF cannot run here, if they cannot.
fn kernel_is_missing() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or(0);
    // CAP_SYS_ADMIN (21): mounting and everything that CAP_BPF would allow.
    if bits & 1 << 21 == 0 {
        return Some("needs root; run it with: sudo -E cargo xtask test".into());
    }
    if !std::path::Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Some("needs a kernel with BTF".into());
    }
    None
}

/// Why the suite about language models cannot run here, if it cannot.
fn server_is_missing() -> Option<String> {
    let named = std::env::var_os("SFD_LLAMA_SERVER");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = match named {
        Some(command) => std::path::Path::new(&command).is_file(),
        None => std::env::split_paths(&path).any(|dir| dir.join("llama-server").is_file()),
    };
    (!found)
        .then(|| "needs llama.cpp's llama-server on the path, or its command in SFD_LLAMA_SERVER".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_line_is_counted() {
        let line = "ok. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.06s";
        assert_eq!((count(line, " passed"), count(line, " failed")), (12, 3));
    }
}
