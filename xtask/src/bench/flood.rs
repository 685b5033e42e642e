//! P5: two writers as fast as they can, and what an observer knows, has used and has lost at the end.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{
    Bench, Tmpfs,
    observer::{Observer, Place, Running, Usage},
    stats,
};

const FILES: u32 = 10_000;
const OPERATIONS: u32 = 1_000_000;
/// When the brick is copied, after the writers' end. The goal is 1 s.
const LOOKS_MS: [u64; 9] = [0, 250, 500, 750, 1000, 1500, 2500, 5000, 10_000];

#[derive(Default)]
struct Samples {
    /// The writers' time.
    seconds: Vec<f64>,
    cpu_s: Vec<f64>,
    peak_mib: Vec<f64>,
    lost: Vec<f64>,
    /// When the brick was right; infinite if it was not at the last look.
    right_s: Vec<f64>,
}

pub(super) fn run(bench: &Bench) -> Result<String> {
    let all = [Observer::NOTHING, Observer::SFD, Observer::INOTIFYWAIT, Observer::FATRACE];
    let observers: Vec<&Observer> = all.iter().filter(|observer| observer.missing().is_none()).collect();
    let mut samples: Vec<Samples> = observers.iter().map(|_| Samples::default()).collect();
    for round in 0..bench.rounds {
        for (observer, samples) in observers.iter().zip(&mut samples) {
            eprintln!("round {} of {}: {}", round + 1, bench.rounds, observer.name);
            one(bench, observer, samples).with_context(|| observer.name)?;
        }
    }
    table(&observers, &samples)
}

fn one(bench: &Bench, observer: &Observer, samples: &mut Samples) -> Result<()> {
    let watched = Tmpfs::mount(bench.scratch.join("watched"))?;
    let copies = Tmpfs::mount(bench.scratch.join("copies"))?;
    let dir = watched.0.to_str().context("UTF-8")?;
    load(bench, &["fill", dir, &FILES.to_string()])?;
    let place = Place { sfd: &bench.sfd, watched: &watched.0, scratch: &bench.scratch, keep_output: true };
    let running = observer.start(&place)?;
    let before = running.usage()?.unwrap_or_default();
    let took = load(bench, &["flood", dir, &FILES.to_string(), &OPERATIONS.to_string()])?;
    let wall_ns: f64 = took.split(' ').next().context("two numbers")?.parse()?;
    samples.seconds.push(wall_ns / 1e9);
    let ended = Instant::now();
    if observer.name == Observer::SFD.name {
        let taken = copy(&bench.scratch.join("state/bricks"), &copies.0, ended)?;
        samples.lost.push(dropped(bench)?);
        use_up(&running, before, samples)?;
        samples.right_s.push(first_right(bench, &watched.0, &taken)?);
    } else {
        settle(&running)?;
        use_up(&running, before, samples)?;
    }
    running.stop()?;
    if observer.name == Observer::INOTIFYWAIT.name {
        // Every operation writes once, and inotify merges only what nothing came between.
        let text = std::fs::read(bench.scratch.join("inotifywait"))?;
        let seen = text
            .split(|byte| *byte == b'\n')
            .filter(|line| line.windows(8).any(|word| word == b" MODIFY "))
            .count();
        samples.lost.push(f64::from(OPERATIONS) - seen as f64);
    }
    Ok(())
}

fn use_up(running: &Running, before: Usage, samples: &mut Samples) -> Result<()> {
    if let Some(usage) = running.usage()? {
        samples.cpu_s.push(usage.cpu_s - before.cpu_s);
        samples.peak_mib.push(usage.peak_mib);
    }
    Ok(())
}

/// Waits until an observer has worked off its queue: no more processor time for half a second, or 30 s.
fn settle(running: &Running) -> Result<()> {
    let started = Instant::now();
    let mut last = running.usage()?.unwrap_or_default().cpu_s;
    while started.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(500));
        let now = running.usage()?.unwrap_or_default().cpu_s;
        if now <= last {
            break;
        }
        last = now;
    }
    Ok(())
}

fn load(bench: &Bench, args: &[&str]) -> Result<String> {
    let output = Command::new(&bench.load).args(args).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "load {args:?} failed");
    Ok(String::from_utf8(output.stdout)?)
}

/// Copies the brick and its catalog at each time of [`LOOKS_MS`]: comparing takes the processor that the daemon needs,
/// so it is done afterwards. A copy that was caught in the middle of a commit does not pass, and the next counts.
fn copy(bricks: &Path, to: &Path, ended: Instant) -> Result<Vec<(f64, PathBuf)>> {
    let mut taken = Vec::new();
    for look_ms in LOOKS_MS {
        std::thread::sleep(Duration::from_millis(look_ms).saturating_sub(ended.elapsed()));
        let dir = to.join(look_ms.to_string());
        std::fs::create_dir(&dir)?;
        let mut brick = None;
        for entry in std::fs::read_dir(bricks)? {
            let from = entry?.path();
            let copy = dir.join(from.file_name().context("a name")?);
            std::fs::copy(&from, &copy).with_context(|| from.display().to_string())?;
            if copy.extension().is_some_and(|extension| extension == "brick") {
                brick = Some(copy);
            }
        }
        taken.push((ended.elapsed().as_secs_f64(), brick.context("no brick")?));
    }
    Ok(taken)
}

/// Seconds after the end at which the first right copy was complete.
fn first_right(bench: &Bench, root: &Path, taken: &[(f64, PathBuf)]) -> Result<f64> {
    for (seconds, brick) in taken {
        let output = Command::new(&bench.load).arg("right").arg(root).arg(brick).output()?;
        if output.status.success() {
            return Ok(*seconds);
        }
        let problem = String::from_utf8_lossy(&output.stderr);
        eprintln!("  {seconds:.2} s after the end: {}", problem.lines().next().unwrap_or("?"));
    }
    Ok(f64::INFINITY)
}

/// Events that the daemon says it lost.
fn dropped(bench: &Bench) -> Result<f64> {
    let output = Command::new(&bench.sfd)
        .args(["status", "--json", "--state"])
        .arg(bench.scratch.join("state"))
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let (_, rest) = text.split_once("\"dropped\":").context("no \"dropped\" in sfd status")?;
    let object = rest.split('}').next().unwrap_or_default();
    Ok(object
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse::<f64>().ok()) // Not `sum`: that of nothing is -0.
        .fold(0.0, |sum, count| sum + count))
}

fn table(observers: &[&Observer], samples: &[Samples]) -> Result<String> {
    let mut text = "| observer | writers took | of nothing | observer's CPU | peak memory | events lost | final state right after \
                    |\n|---|--:|--:|--:|--:|--:|--:|\n"
        .to_owned();
    let nothing = &samples.first().context("nothing comes first")?.seconds;
    for (observer, samples) in observers.iter().zip(samples) {
        let shown = |values: &[f64], unit: &str, digits: usize| {
            if values.is_empty() {
                "-".to_owned()
            } else {
                format!("{:.digits$}{unit}", stats::median(values))
            }
        };
        let (ratio, least, greatest) = stats::ratio(&samples.seconds, nothing);
        let worst_s = samples.right_s.iter().copied().fold(f64::NAN, f64::max);
        let right = match worst_s {
            worst if worst.is_nan() => "-".to_owned(),
            worst if worst.is_infinite() => "never".to_owned(),
            worst => format!("{} s (worst {worst:.2} s)", shown(&samples.right_s, "", 2)),
        };
        writeln!(
            text,
            "| {} | {} | {ratio:.2} ({least:.2} - {greatest:.2}) | {} | {} | {} | {right} |",
            observer.name,
            shown(&samples.seconds, " s", 2),
            shown(&samples.cpu_s, " s", 2),
            shown(&samples.peak_mib, " MiB", 0),
            shown(&samples.lost, "", 0),
        )?;
    }
    writeln!(
        text,
        "\n{OPERATIONS} operations on {FILES} files by two threads: 8 of 10 write, 1 replaces the file by rename, 1 removes and \
         creates it. Lost: for SFD what it counted (it rescans for them), for inotifywait operations whose MODIFY did not come; \
         fatrace does not say. The brick is compared with the disk by a reader that shares no code with SFD."
    )?;
    for observer in observers.iter().skip(1) {
        writeln!(text, "- {}: `{}`", observer.name, observer.shown())?;
    }
    Ok(text)
}
