//! P2, P3, P4, P6 and P7: folding, refolding one file, from a write to the picture, a baseline, memory.

use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{
    Bench, Tmpfs,
    observer::{self, Observer, Place},
    stats,
};

/// Artifacts of P3 and P7.
const ARTIFACTS: u32 = 100_000;
/// Writes that P4 times in a round.
const WRITES: u32 = 200;
/// Bytes from the start of a brick to its pixels (docs/brick-format.md).
const HEADER: u64 = 132;
/// Longest wait for a pixel.
const PATIENCE: Duration = Duration::from_secs(20);
/// What P6 reads.
const TREE: &str = "/usr";

/// P2 and P3.
pub(super) fn fold(bench: &Bench) -> Result<String> {
    let program = bench.load.with_file_name("foldbench");
    let mut fold: [Vec<f64>; 4] = Default::default();
    let mut refold: [Vec<f64>; 5] = Default::default();
    for round in 0..bench.rounds {
        eprintln!("round {} of {}", round + 1, bench.rounds);
        take(&mut fold, &numbers(Command::new(&program).arg("fold"))?);
        let dir = bench.scratch.join("refold");
        std::fs::create_dir_all(&dir)?;
        let files = ARTIFACTS.to_string();
        take(&mut refold, &numbers(Command::new(&program).arg("refold").arg(&dir).arg(files))?);
        std::fs::remove_dir_all(&dir)?;
    }
    let [bytes, folded, copied, by_pixel] = &fold;
    let mib_s = |seconds: &[f64]| stats::median(bytes) / stats::median(seconds) / f64::from(1 << 20);
    let mut text =
        "| from memory, one thread | content, MiB/s | time of the fold over this |\n|---|--:|--:|\n"
            .to_owned();
    for (name, seconds) in [
        ("fold", folded),
        ("memcpy of four bytes for each", copied),
        ("fast_hilbert, a pixel at a time", by_pixel),
    ] {
        let (ratio, least, greatest) = stats::ratio(folded, seconds);
        writeln!(text, "| {name} | {:.0} | **{ratio:.2}** ({least:.2} - {greatest:.2}) |", mib_s(seconds))?;
    }
    let [whole, one, written, region, catalog] = &refold;
    let times: Vec<f64> = whole.iter().zip(one).map(|(whole, one)| whole / one).collect();
    write!(
        text,
        "\n64 MiB in files of 0.3 to 16 KiB, onto a curve of order 14.\n\n| brick of {ARTIFACTS} files | |\n|---|--:|\n| all of it, with catalog and \
         hashes | {:.2} s |\n| commit of one file of 4 KiB | {:.0} µs: 1/{:.0} |\n| pixel bytes written, of its region's | {:.2} |\n| \
         catalog, bytes to its log | {:.0} |\n",
        stats::median(whole),
        stats::median(one) * 1e6,
        stats::median(&times),
        stats::median(written) / stats::median(region),
        stats::median(catalog),
    )?;
    Ok(text)
}

/// P4.
pub(super) fn latency(bench: &Bench) -> Result<String> {
    let watched = Tmpfs::mount(bench.scratch.join("watched"))?;
    let file = watched.0.join("file");
    std::fs::write(&file, [b'0'; 4096])?;
    let place = Place { sfd: &bench.sfd, watched: &watched.0, scratch: &bench.scratch, keep_output: false };
    let running = Observer::SFD.start(&place)?;
    let brick = brick_of(bench)?;
    let at = pixel_of(bench, &brick, "/file")?;
    let mut ms = Vec::new();
    for write in 0..WRITES * bench.rounds {
        // Not in step with whatever the daemon does in intervals.
        std::thread::sleep(Duration::from_millis(120 + u64::from(write * 7 % 41)));
        let byte = b'1' + (write % 64) as u8;
        let started = Instant::now();
        File::options().write(true).open(&file)?.write_all_at(&[byte], 0)?;
        let picture = File::open(&brick)?;
        let mut found = [0];
        while found[0] != byte {
            ensure!(started.elapsed() < PATIENCE, "the picture did not change");
            picture.read_exact_at(&mut found, at)?;
            std::thread::sleep(Duration::from_micros(50));
        }
        ms.push(started.elapsed().as_secs_f64() * 1e3);
    }
    running.stop()?;
    ms.sort_unstable_by(f64::total_cmp);
    let at = |percent: usize| ms.get(ms.len() * percent / 100).or(ms.last()).copied().unwrap_or(f64::NAN);
    Ok(format!(
        "| write to pixel, window 50 ms | ms |\n|---|--:|\n| p50 | {:.1} |\n| p90 | {:.1} |\n| p99 | {:.1} |\n| longest of {} | {:.1} |\n",
        at(50),
        at(90),
        at(99),
        ms.len(),
        at(100),
    ))
}

type Make<'a> = &'a dyn Fn() -> Command;

/// P6: each reads the same files; first with cold caches, then with warm ones.
pub(super) fn baseline(bench: &Bench) -> Result<String> {
    let brick = bench.scratch.join("tree.brick");
    let state = bench.scratch.join("state");
    let (database, config) = (bench.scratch.join("aide.db"), bench.scratch.join("aide.conf"));
    // What SFD keeps of a file, as far as AIDE can: its attributes and one strong hash.
    let rules = format!("database_out=file:{}\n{TREE} p+i+n+u+g+s+m+c+sha256\n", database.display());
    std::fs::write(&config, rules)?;
    let read = format!("find {TREE} -xdev -type f -print0 | xargs -0 cat > /dev/null");
    let sfd = |args: &[&Path]| {
        let mut command = Command::new(&bench.sfd);
        command.args(args).stdout(Stdio::null());
        command
    };
    let fold = || sfd(&["fold".as_ref(), TREE.as_ref(), "-o".as_ref(), &brick]);
    let once = || {
        let _ = std::fs::remove_dir_all(&state);
        sfd(&[
            "run".as_ref(),
            "--once".as_ref(),
            "--watch".as_ref(),
            TREE.as_ref(),
            "--state".as_ref(),
            &state,
        ])
    };
    let plain = || {
        let mut command = Command::new("sh");
        command.args(["-c", &read]);
        command
    };
    let aide = || {
        let mut command = Command::new("aide");
        command.arg("--init").arg("--config").arg(&config).stdout(Stdio::null());
        command
    };
    let mut all: Vec<(&str, Make<'_>)> =
        vec![("plain read (find, xargs, cat)", &plain), ("sfd fold", &fold), ("sfd run --once", &once)];
    if observer::find("aide").is_some() {
        all.push(("aide --init", &aide));
    }
    let mut seconds = vec![[Vec::new(), Vec::new()]; all.len()];
    for round in 0..bench.rounds {
        for cold in [true, false] {
            for ((name, make), seconds) in all.iter().zip(&mut seconds) {
                eprintln!(
                    "round {} of {}: {name}, {}",
                    round + 1,
                    bench.rounds,
                    if cold { "cold" } else { "warm" }
                );
                let mut command = make();
                if cold {
                    rustix::fs::sync();
                    std::fs::write("/proc/sys/vm/drop_caches", "3")?;
                }
                let started = Instant::now();
                let status = command.status().with_context(|| (*name).to_owned())?;
                let took = started.elapsed().as_secs_f64();
                // aide ends with numbers of its own.
                ensure!(status.success() || *name == "aide --init", "{name}: {status}");
                let [of_cold, of_warm] = seconds;
                if cold { of_cold.push(took) } else { of_warm.push(took) }
            }
        }
    }
    let mut text = format!(
        "| baseline of {TREE} | cold, s | of the plain read | warm, s | of the plain read |\n|---|--:|--:|--:|--:|\n"
    );
    let [cold_read, warm_read] = seconds.first().context("the plain read")?.clone();
    for ((name, _), [cold, warm]) in all.iter().zip(&seconds) {
        let shown = |values: &[f64], of: &[f64]| {
            let (ratio, least, greatest) = stats::ratio(values, of);
            format!("{:.1} | **{ratio:.2}** ({least:.2} - {greatest:.2})", stats::median(values))
        };
        writeln!(text, "| {name} | {} | {} |", shown(cold, &cold_read), shown(warm, &warm_read))?;
    }
    writeln!(
        text,
        "\nCold: after `sync` and `drop_caches`. `sfd fold` writes a sealed brick; `sfd run --once` makes a live one, attaches and \
         detaches its hooks and seals it. AIDE: attributes and sha256, its database is not compressed."
    )?;
    Ok(text)
}

/// P7.
pub(super) fn memory(bench: &Bench) -> Result<String> {
    let watched = Tmpfs::mount(bench.scratch.join("watched"))?;
    // A directory and 99 files make a hundred.
    for dir in 0..ARTIFACTS / 100 {
        let path = watched.0.join(format!("dir{dir:04}"));
        std::fs::create_dir(&path)?;
        for file in 0..99 {
            let text = format!("key={dir}\nother = {file}\n");
            std::fs::write(path.join(format!("some-file-{file:04}.conf")), text)?;
        }
    }
    let place = Place { sfd: &bench.sfd, watched: &watched.0, scratch: &bench.scratch, keep_output: false };
    let mut text = format!(
        "| {ARTIFACTS} artifacts | resident, MiB | files mapped, MiB | most so far of both, MiB |\n|---|--:|--:|--:|\n"
    );
    for watcher in [Observer::SFD, Observer::INOTIFYWAIT, Observer::FATRACE] {
        if watcher.missing().is_some() {
            continue;
        }
        let running = watcher.start(&place)?;
        let [resident, mapped, most] = running.memory_mib()?;
        writeln!(text, "| {} | {resident:.0} | {mapped:.0} | {most:.0} |", watcher.name)?;
        running.stop()?;
    }
    if observer::find("watchman").is_some() {
        writeln!(text, "{}", watchman(bench, &watched.0)?)?;
    }
    text.push_str(
        "\nMapped files are the brick, which the kernel may take away at any time, and the program itself. What the kernel keeps for \
         a watch is in none of these.\n",
    );
    Ok(text)
}

/// A row for watchman, on a server of its own that ends with this function.
fn watchman(bench: &Bench, watched: &Path) -> Result<String> {
    let (socket, state) = (bench.scratch.join("watchman.sock"), bench.scratch.join("watchman.state"));
    let log = bench.scratch.join("watchman.log");
    let client = |words: &[&str]| -> Result<String> {
        let mut command = Command::new("watchman");
        command.arg("-U").arg(&socket).arg("--statefile").arg(&state).arg("-o").arg(&log);
        let output = command.args(words).stderr(Stdio::inherit()).output()?;
        ensure!(output.status.success(), "watchman {words:?} failed");
        Ok(String::from_utf8(output.stdout)?)
    };
    let dir = watched.to_str().context("UTF-8")?;
    client(&["watch", dir])?;
    // Answered when everything that was there has been found.
    client(&["clock", dir])?;
    client(&["find", dir, "no-such-name"])?;
    let pid = client(&["get-pid"])?;
    let pid: u32 = pid
        .split(|c: char| !c.is_ascii_digit())
        .find(|word| word.len() > 2)
        .context("watchman's number")?
        .parse()?;
    let [resident, mapped, most] = observer::memory_mib(pid)?;
    client(&["shutdown-server"])?;
    Ok(format!("| watchman | {resident:.0} | {mapped:.0} | {most:.0} |"))
}

/// The brick of the one watched root.
pub(super) fn brick_of(bench: &Bench) -> Result<PathBuf> {
    let bricks = std::fs::read_dir(bench.scratch.join("state/bricks"))?;
    let mut paths = bricks.flatten().map(|entry| entry.path());
    paths.find(|path| path.extension().is_some_and(|extension| extension == "brick")).context("no brick")
}

/// Where in a brick the first byte of an artifact is, by what `sfd inspect` says and the curve's definition.
pub(super) fn pixel_of(bench: &Bench, brick: &Path, end: &str) -> Result<u64> {
    let output = Command::new(&bench.sfd).args(["inspect", "--json"]).arg(brick).output()?;
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).context("sfd inspect --json")?;
    let number = |value: &serde_json::Value| value.as_u64().context("a number");
    let order = number(&shown["order"])?;
    let artifacts = shown["artifacts"].as_array().context("artifacts")?;
    let of_path = |each: &&serde_json::Value| each["path"].as_str().is_some_and(|path| path.ends_with(end));
    let mut rest = number(&artifacts.iter().find(of_path).context("the file is not in the brick")?["start"])?;
    let (mut x, mut y, mut step) = (0, 0, 1);
    while step < 1 << order {
        let right = 1 & (rest / 2);
        let up = 1 & (rest ^ right);
        if up == 0 {
            if right == 1 {
                (x, y) = (step - 1 - x, step - 1 - y);
            }
            (x, y) = (y, x);
        }
        (x, y, rest, step) = (x + step * right, y + step * up, rest / 4, step * 2);
    }
    Ok(HEADER + ((y << order) + x) * 4)
}

/// The numbers that a program prints.
fn numbers(command: &mut Command) -> Result<Vec<f64>> {
    let output = command.stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "foldbench failed");
    Ok(String::from_utf8(output.stdout)?.split_whitespace().map(str::parse).collect::<Result<_, _>>()?)
}

fn take(columns: &mut [Vec<f64>], row: &[f64]) {
    for (column, value) in columns.iter_mut().zip(row) {
        column.push(*value);
    }
}
