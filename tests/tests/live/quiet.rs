//! No feedback: when the host is quiet, so is the daemon, even with its own files inside what it watches.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;
use sfd_tests::daemon::{Daemon, sfd};
use sfd_tests::reader::{RawBrick, inspect};
use sfd_tests::wait_for;

use crate::{Bench, PATIENCE, PROMISE, RESCAN};

/// How long the daemon has to keep quiet: a loop through the batch window would go round sixty times.
const WINDOW: Duration = Duration::from_secs(3);
/// CPU time that it may take in the window for looking at the rings, in a debug build on a machine that others use: a
/// tenth. What it reads there of other processes is not its own doing.
const CPU_MAX: Duration = Duration::from_millis(300);

/// User and system time of a process so far.
fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // Fields 14 and 15 of proc(5), in hundredths of a second.
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

fn commits(status: &Value) -> u64 {
    status["roots"][0]["commits"].as_u64().unwrap()
}

#[test]
fn state_log_and_a_server_that_reacts_inside_the_root_make_no_loop() {
    goes_quiet("bpf");
}

#[test]
fn nor_through_inotify_which_reports_the_daemon_s_own_writes_too() {
    goes_quiet("inotify");
}

fn goes_quiet(source: &str) {
    let bench = Bench::new();
    bench.write("app/config", "a = 1\n");
    fs::create_dir(bench.path("llm")).unwrap();
    // The daemon's log is beside its state directory: both are in the root.
    let state = bench.path("state");
    let left_out = format!("{}/llm/**", bench.root.display());
    let config = bench.root.parent().unwrap().join("sfd.toml");
    fs::write(&config, "window_ms = 50\n").unwrap();
    let daemon = Daemon::live(
        &[&bench.root],
        &state,
        &["--source", source, "--exclude", &left_out, "--config", config.to_str().unwrap()],
    );
    let brick = daemon.brick(&bench.name());
    let log = bench.path("state.log");

    // What the daemon itself reports of its own doing, and what a change of the brick makes others do.
    let mut tap = sfd(&["events", "--json", "--state"]).arg(&state).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(tap.stdout.take().unwrap()).lines();
    let own = Arc::new(AtomicU64::new(0));
    let (count, pid) = (Arc::clone(&own), u64::from(daemon.pid()));
    let reader = std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let event: Value = serde_json::from_str(&line).unwrap();
            count.fetch_add(u64::from(event["writer"]["pid"].as_u64() == Some(pid)), Ordering::Relaxed);
        }
    });
    // A server that is asked for a label at each change, and writes a log: left out by `exclude`, as docs/architecture.md says.
    let mut served = 0;
    let mut serve = |status: &Value| {
        if commits(status) != served {
            served = commits(status);
            let mut log =
                fs::File::options().create(true).append(true).open(bench.path("llm/server.log")).unwrap();
            writeln!(log, "answered after commit {served}").unwrap();
        }
    };

    fs::write(bench.path("app/config"), "a = 2\n").unwrap();
    wait_for("the change", PROMISE, || {
        serve(&daemon.glance()?);
        let listed = inspect(&brick)?;
        let each = listed.get(&bench.path("app/config")).context("not there")?;
        ensure!(RawBrick::open(&brick)?.cells(each.start, each.len) == b"a = 2\n", "old contents");
        Ok(())
    });
    // The log is in the brick and comes to be true, although the daemon does not hear of its own writes. A line that it
    // writes long after it has looked at the file: that it keeps to its configuration, because the new one is broken.
    fs::write(&config, "window_ms = 'never'\n").unwrap();
    // Nobody may read it meanwhile: a new access time makes the inode dirty, and that is reported.
    let logged = fs::metadata(&log).unwrap().len();
    daemon.signal(rustix::process::Signal::HUP);
    wait_for("the daemon's own log", RESCAN, || {
        serve(&daemon.glance()?);
        let listed = inspect(&brick)?;
        let each = listed.get(&log).context("not there")?;
        let len = fs::metadata(&log)?.len();
        ensure!(len > logged, "not logged yet");
        ensure!(each.len == len, "{} of {len} bytes", each.len);
        Ok(())
    });
    assert!(daemon.log().contains("keeping the old configuration"), "{}", daemon.log());
    let listed = inspect(&brick).unwrap();
    assert!(
        !listed.keys().any(|path| path.starts_with(&state)),
        "the state directory is no part of the picture"
    );
    assert!(!listed.keys().any(|path| path.starts_with(bench.path("llm/server.log"))));

    wait_for("quiet", PATIENCE, || {
        let before = daemon.glance()?;
        serve(&before);
        let (own_before, cpu_before, log_before) =
            (own.load(Ordering::Relaxed), cpu(daemon.pid()), fs::metadata(&log)?.len());
        let until = Instant::now() + WINDOW;
        while Instant::now() < until {
            serve(&daemon.glance()?);
            std::thread::sleep(Duration::from_millis(100));
        }
        let after = daemon.glance()?;
        let used = cpu(daemon.pid()).saturating_sub(cpu_before);
        let looks = |status: &Value| status["roots"][0]["looks"].as_u64().unwrap();
        ensure!(commits(&after) == commits(&before), "{} commits", commits(&after) - commits(&before));
        // Its own log, once in five seconds.
        ensure!(looks(&after) - looks(&before) <= 1, "{} looks", looks(&after) - looks(&before));
        ensure!(own.load(Ordering::Relaxed) == own_before, "events by the daemon itself");
        ensure!(fs::metadata(&log)?.len() == log_before, "its log grows");
        ensure!(used <= CPU_MAX, "{used:?} of CPU time");
        let records = |status: &Value| status["events"]["records"].as_u64().unwrap();
        eprintln!(
            "quiet for {WINDOW:?}: 0 commits, {used:?} of CPU time, {} records of other processes",
            records(&after) - records(&before)
        );
        Ok(())
    });
    assert_eq!(own.load(Ordering::Relaxed), 0, "none of its own writes was ever reported");
    let _ = tap.kill();
    let _ = tap.wait();
    reader.join().unwrap();
    assert_eq!(daemon.terminate(), Some(0));
}
