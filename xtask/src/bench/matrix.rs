//! P1 and P10: the same work under each observer in turn.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{
    Bench, Tmpfs,
    observer::{self, Observer, Place},
    stats,
};

/// Something to do, and how often: about 0.2 s of it, which is many scheduler ticks and a short round.
struct Work {
    name: &'static str,
    /// Arguments of `load`, the directory left out; `None` is `redis-benchmark`.
    load: Option<&'static [&'static str]>,
    count: u32,
    /// In the watched directory, in another one, or in none.
    dir: Dir,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dir {
    Watched,
    Other,
    None,
}

/// Time for one operation: by the clock, and of the processor in the thread that did it.
#[derive(Clone, Copy)]
struct Sample {
    wall_ns: f64,
    cpu_ns: f64,
}

const fn file_work(name: &'static str, load: &'static [&'static str], count: u32, dir: Dir) -> Work {
    Work { name, load: Some(load), count, dir }
}

/// P1.
pub(super) fn writer(bench: &Bench) -> Result<String> {
    let works = [
        file_work("1-byte pwrite, watched", &["pwrite"], 500_000, Dir::Watched),
        file_work("create/write/close/unlink, watched", &["churn"], 20_000, Dir::Watched),
        file_work("rename, watched", &["rename"], 50_000, Dir::Watched),
        file_work("1-byte pwrite, unwatched", &["pwrite"], 500_000, Dir::Other),
        file_work("create/write/close/unlink, unwatched", &["churn"], 20_000, Dir::Other),
        file_work("rename, unwatched", &["rename"], 50_000, Dir::Other),
    ];
    let counted = Observer::bpftrace(
        "bpftrace",
        &[
            "syscalls:sys_enter_pwrite64",
            "syscalls:sys_enter_openat",
            "syscalls:sys_enter_write",
            "syscalls:sys_enter_unlinkat",
            "syscalls:sys_enter_renameat",
        ],
    );
    let observers = [Observer::NOTHING, Observer::SFD, Observer::INOTIFYWAIT, Observer::FATRACE, counted];
    measure(bench, &works, &observers)
}

const NULL: Work =
    Work { name: "null system call (getppid)", load: Some(&["getppid"]), count: 2_000_000, dir: Dir::None };

/// P10.
pub(super) fn idle(bench: &Bench, audit: bool) -> Result<String> {
    let works = [
        NULL,
        Work { name: "pipe ping-pong", load: Some(&["pipe"]), count: 50_000, dir: Dir::None },
        Work { name: "redis-benchmark GET", load: None, count: 400_000, dir: Dir::None },
    ];
    let same_calls = Observer::bpftrace(
        "bpftrace, same calls",
        &[
            "syscalls:sys_enter_getppid",
            "syscalls:sys_enter_read",
            "syscalls:sys_enter_write",
            "syscalls:sys_enter_epoll_wait",
        ],
    );
    let every_exit = Observer::bpftrace("bpftrace, every exit", &["raw_syscalls:sys_exit"]);
    let mut observers = vec![Observer::NOTHING, Observer::SFD, same_calls, every_exit];
    if audit {
        observers.push(Observer::AUDIT);
    }
    measure(bench, &works, &observers)
}

/// Where the cost of hooks on system calls comes from: each kind alone.
pub(super) fn hooks(bench: &Bench) -> Result<String> {
    let observers = [
        Observer::NOTHING,
        Observer::bpftrace(
            "contents only",
            &["writeback:writeback_mark_inode_dirty", "writeback:writeback_dirty_folio"],
        ),
        Observer::bpftrace("one entry", &["syscalls:sys_enter_renameat2"]),
        Observer::bpftrace("one exit", &["syscalls:sys_exit_renameat2"]),
        Observer::bpftrace(
            "entry and exit",
            &["syscalls:sys_enter_renameat2", "syscalls:sys_exit_renameat2"],
        ),
        Observer::bpftrace("every exit", &["raw_syscalls:sys_exit"]),
        Observer::bpftrace("the call itself", &["syscalls:sys_enter_getppid"]),
        Observer::SFD,
    ];
    measure(bench, &[NULL], &observers)
}

fn measure(bench: &Bench, works: &[Work], observers: &[Observer]) -> Result<String> {
    let (observers, missing): (Vec<&Observer>, Vec<&Observer>) =
        observers.iter().partition(|observer| observer.missing().is_none());
    let redis = observer::find("redis-server").is_some();
    let works: Vec<&Work> = works.iter().filter(|work| redis || work.load.is_some()).collect();
    let (watched, other) =
        (Tmpfs::mount(bench.scratch.join("watched"))?, Tmpfs::mount(bench.scratch.join("other"))?);
    let place = Place { sfd: &bench.sfd, watched: &watched.0, scratch: &bench.scratch, keep_output: false };
    let mut samples = vec![vec![Vec::new(); observers.len()]; works.len()];
    for round in 0..bench.rounds {
        for (at, observer) in observers.iter().enumerate() {
            eprintln!("round {} of {}: {}", round + 1, bench.rounds, observer.name);
            let running = observer.start(&place).with_context(|| observer.name)?;
            for (work, samples) in works.iter().zip(&mut samples) {
                let dir = match work.dir {
                    Dir::Watched => Some(watched.0.as_path()),
                    Dir::Other => Some(other.0.as_path()),
                    Dir::None => None,
                };
                let sample = work.run(bench, dir).with_context(|| work.name)?;
                samples.get_mut(at).context("one for each observer")?.push(sample);
            }
            running.stop().with_context(|| observer.name)?;
        }
    }
    let mut text = table(&works, &observers, &samples)?;
    for observer in missing {
        writeln!(
            text,
            "- {}: not measured, {} is not installed",
            observer.name,
            observer.missing().unwrap_or("it")
        )?;
    }
    if !redis {
        text.push_str("- redis-benchmark: not measured, redis-server is not installed\n");
    }
    Ok(text)
}

impl Work {
    fn run(&self, bench: &Bench, dir: Option<&Path>) -> Result<Sample> {
        let Some(load) = self.load else { return redis(&bench.scratch, self.count) };
        let mut command = Command::new(&bench.load);
        command.args(load);
        if let Some(dir) = dir {
            command.arg(dir);
        }
        let output = command.arg(self.count.to_string()).stderr(Stdio::inherit()).output()?;
        ensure!(output.status.success(), "load failed");
        let text = String::from_utf8(output.stdout)?;
        let (wall, cpu) = text.trim().split_once(' ').context("load prints two numbers")?;
        let each = |ns: &str| -> Result<f64> { Ok(ns.parse::<f64>()? / f64::from(self.count)) };
        Ok(Sample { wall_ns: each(wall)?, cpu_ns: each(cpu)? })
    }
}

/// A server of its own, so that it was started under the observer (audit looks at new processes only).
struct Redis(Child);

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn redis(scratch: &Path, count: u32) -> Result<Sample> {
    let socket = scratch.join("redis.sock");
    let _ = std::fs::remove_file(&socket);
    // Each on a CPU of its own: where the scheduler puts the two of them changes the figure by a fifth.
    let mut command = pinned(0, "redis-server");
    command.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]).arg(&socket);
    let server = Redis(command.stdout(Stdio::null()).current_dir(scratch).spawn().context("redis-server")?);
    let started = Instant::now();
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        ensure!(started.elapsed() < Duration::from_secs(10), "redis-server does not listen");
        std::thread::sleep(Duration::from_millis(5));
    }
    let before = on_cpu(server.0.id())?;
    let output = pinned(1, "redis-benchmark")
        .arg("-s")
        .arg(&socket)
        .args(["-t", "get", "-n", &count.to_string(), "--csv"])
        .output()
        .context("redis-benchmark")?;
    let cpu_ns = (on_cpu(server.0.id())? - before) / f64::from(count);
    let text = String::from_utf8(output.stdout)?;
    // "GET","156250.00",...
    let row =
        text.lines().find_map(|line| line.strip_prefix("\"GET\",\"")).context("redis-benchmark's row")?;
    let per_s: f64 = row.split('"').next().context("requests a second")?.parse()?;
    Ok(Sample { wall_ns: 1e9 / per_s, cpu_ns })
}

/// A command that runs on one CPU; where there is only one, on that.
fn pinned(cpu: usize, program: &str) -> Command {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", &cpu.min(cpus - 1).to_string(), program]);
    command
}

/// Processor time of a process's first thread, in ns (`/proc/PID/schedstat`, Documentation/scheduler/sched-stats.rst).
fn on_cpu(pid: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
    Ok(text.split(' ').next().context("three numbers")?.parse()?)
}

fn table(works: &[&Work], observers: &[&Observer], samples: &[Vec<Vec<Sample>>]) -> Result<String> {
    let mut text =
        "| work | observer | ns each | of nothing | CPU, ns each | of nothing |\n|---|---|--:|--:|--:|--:|\n"
            .to_owned();
    for (work, samples) in works.iter().zip(samples) {
        let wall = |samples: &[Sample]| samples.iter().map(|each| each.wall_ns).collect::<Vec<_>>();
        let cpu = |samples: &[Sample]| samples.iter().map(|each| each.cpu_ns).collect::<Vec<_>>();
        let nothing = samples.first().context("the first observer is nothing")?;
        for (observer, samples) in observers.iter().zip(samples) {
            let (wall, cpu) = (cells(&wall(samples), &wall(nothing)), cells(&cpu(samples), &cpu(nothing)));
            writeln!(text, "| {} | {} | {wall} | {cpu} |", work.name, observer.name)?;
        }
    }
    text.push('\n');
    for observer in observers.iter().skip(1) {
        writeln!(text, "- {}: `{}`", observer.name, observer.shown())?;
    }
    Ok(text)
}

/// Two cells: the median, and the ratios to `nothing` with their least and greatest.
fn cells(values: &[f64], nothing: &[f64]) -> String {
    let (ratio, least, greatest) = stats::ratio(values, nothing);
    format!("{:.0} | **{ratio:.2}** ({least:.2} - {greatest:.2})", stats::median(values))
}
