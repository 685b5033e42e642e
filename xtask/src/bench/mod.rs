//! `cargo xtask bench`: what SFD costs, beside what others cost, measured in the same run.
//!
//! A benchmark is a ratio. Observers take turns in every round (nothing, SFD, a peer, ...), so that whatever else the
//! machine does in a round is in all of them; the table has medians, and ratios round by round. None of this is a
//! test: times on a shared machine fail for reasons that are nobody's bug.

mod drain;
mod engine;
mod flood;
mod matrix;
mod observer;
mod stats;
mod tiles;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;

/// Measures what SFD costs, side by side with nothing and with its peers.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to measure
    name: Name,
    /// How often every observer has its turn; odd numbers have a middle
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Put the tables into this file too, between the marks `<!-- bench NAME -->` and `<!-- end -->`
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// In `idle`: measure audit rules too. Until the next boot the kernel then audits new processes; a rule
    /// `never,task`, which is left behind, makes that free again
    #[arg(long)]
    audit: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Name {
    /// P1: what a writer pays, in a watched and in another directory
    Writer,
    /// P5: a million operations on ten thousand files
    Flood,
    /// P9: events a second that the agent drains and batches
    Drain,
    /// P10: what processes pay that touch nothing watched
    Idle,
    /// The null system call under one kind of hook at a time: where the cost in `idle` comes from
    Hooks,
    /// P2 and P3: a full fold from memory; one file in a large brick
    Fold,
    /// P4: from a write to the picture
    Latency,
    /// P6: a baseline of /usr
    Baseline,
    /// P7: resident memory with 100 000 artifacts
    Memory,
    /// P8: a tile of the map right after a change
    Tiles,
    /// All of these
    All,
}

/// Where things are.
struct Bench {
    sfd: PathBuf,
    load: PathBuf,
    /// On disk, removed at the end.
    scratch: PathBuf,
    rounds: u32,
}

/// A file system in memory, unmounted when dropped.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(path: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&path)?;
        let none = rustix::mount::MountFlags::empty();
        rustix::mount::mount("sfd-bench", &path, "tmpfs", none, None)
            .with_context(|| format!("mount tmpfs on {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        if let Err(error) = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH) {
            eprintln!("{} stays mounted: {error}", self.0.display());
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "benchmarks load eBPF programs and mount tmpfs: run as root"
    );
    let target = build()?;
    observer::adopt_orphans()?;
    clear_remains(&target)?;
    let scratch = target.join(format!("bench-{}", std::process::id()));
    std::fs::create_dir_all(&scratch)?;
    let release = target.join("release");
    let bench = Bench {
        sfd: release.join("sfd"),
        load: release.join("load"),
        scratch: scratch.clone(),
        rounds: args.rounds,
    };
    let result = run_all(args, &bench);
    std::fs::remove_dir_all(&scratch)?;
    result
}

/// Removes what a bench that was interrupted left: its file systems and its directory.
fn clear_remains(target: &Path) -> Result<()> {
    for entry in std::fs::read_dir(target)?.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.strip_prefix("bench-")) else { continue };
        if Path::new("/proc").join(pid).exists() {
            continue;
        }
        for mounted in ["watched", "other", "copies"] {
            // Fails for those that are no mounts.
            let _ = rustix::mount::unmount(entry.path().join(mounted), rustix::mount::UnmountFlags::DETACH);
        }
        std::fs::remove_dir_all(entry.path()).with_context(|| entry.path().display().to_string())?;
    }
    Ok(())
}

fn run_all(args: &Args, bench: &Bench) -> Result<()> {
    for (name, label) in [
        (Name::Writer, "writer"),
        (Name::Idle, "idle"),
        (Name::Hooks, "hooks"),
        (Name::Flood, "flood"),
        (Name::Drain, "drain"),
        (Name::Fold, "fold"),
        (Name::Latency, "latency"),
        (Name::Baseline, "baseline"),
        (Name::Memory, "memory"),
        (Name::Tiles, "tiles"),
    ] {
        if args.name != name && args.name != Name::All {
            continue;
        }
        settle();
        let before = (load_average(), observer::programs());
        let table = match name {
            Name::Writer => matrix::writer(bench)?,
            Name::Idle => matrix::idle(bench, args.audit)?,
            Name::Hooks => matrix::hooks(bench)?,
            Name::Flood => flood::run(bench)?,
            Name::Drain => drain::run(bench)?,
            Name::Fold => engine::fold(bench)?,
            Name::Latency => engine::latency(bench)?,
            Name::Baseline => engine::baseline(bench)?,
            Name::Memory => engine::memory(bench)?,
            Name::Tiles => tiles::run(bench)?,
            Name::All => continue,
        };
        let text = format!("{}\n{table}", setting(label, bench, &before)?);
        println!("{text}");
        if let Some(file) = &args.write {
            put(file, label, &text)?;
        }
    }
    Ok(())
}

/// Builds what is measured, and gives the target directory.
fn build() -> Result<PathBuf> {
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--release", "--quiet", "-p", "sfd", "-p", "sfd-tests", "--bins"])
        .status()
        .context("cargo build")?;
    ensure!(status.success(), "cargo build --release failed");
    // This program is target/debug/xtask or target/release/xtask.
    let own = std::env::current_exe()?;
    Ok(own.ancestors().nth(2).context("no target directory")?.to_path_buf())
}

/// What a reader needs to know of the run: when, on what, beside what else.
fn setting(label: &str, bench: &Bench, before: &(String, Option<usize>)) -> Result<String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("?");
    let cpus = std::thread::available_parallelism()?;
    let count =
        |programs: Option<usize>| programs.map_or_else(|| "unknown".to_owned(), |count| count.to_string());
    let mut text = String::new();
    writeln!(
        text,
        "`cargo xtask bench {label} --rounds {}`, {}; {cpus} CPUs {}, Linux {}; load average {} before and {} \
         after, tracing programs of others {} and {}; commit {}.",
        bench.rounds,
        output("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        model.trim_start_matches(['\t', ' ', ':']),
        read("/proc/sys/kernel/osrelease").trim(),
        before.0,
        load_average(),
        count(before.1),
        count(observer::programs()),
        output("git", &["describe", "--always", "--dirty", "--abbrev=10"]),
    )?;
    // The work of these benchmarks alone makes a load of one or two.
    let busy = before.0.parse::<f64>().is_ok_and(|load| load >= 1.0);
    if busy || before.1.is_some_and(|programs| programs > 0) {
        text.push_str("\n**Other programs were busy or attached meanwhile: a check that it works, not figures to quote.**\n");
    }
    Ok(text)
}

/// Waits until the load of the build or of the benchmark before has gone: it is a mean over a minute. A load that is
/// more than those make is that of others, and is not waited for.
fn settle() {
    let started = Instant::now();
    while load_average().parse::<f64>().is_ok_and(|load| (1.0..4.0).contains(&load))
        && started.elapsed() < Duration::from_secs(90)
    {
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("?").to_owned()
}

fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    output.map_or_else(|_| "?".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Puts a table between its marks.
fn put(file: &Path, label: &str, text: &str) -> Result<()> {
    let old = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let new = replaced(&old, label, text).with_context(|| file.display().to_string())?;
    std::fs::write(file, new).with_context(|| file.display().to_string())
}

fn replaced(old: &str, label: &str, text: &str) -> Result<String> {
    let begin = format!("<!-- bench {label} -->\n");
    let Some((before, rest)) = old.split_once(&begin) else { bail!("no mark {begin:?}") };
    let (_, after) = rest.split_once("<!-- end -->").context("no mark <!-- end --> after it")?;
    Ok(format!("{before}{begin}{}\n<!-- end -->{after}", text.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_replaces_its_predecessor_only() {
        let old = "a\n<!-- bench x -->\nold\n<!-- end -->\nb\n<!-- bench y -->\nother\n<!-- end -->\n";
        let new = replaced(old, "x", "new\n").unwrap();
        assert_eq!(new, old.replace("old", "new"));
        assert!(replaced(old, "z", "new").is_err());
    }
}
