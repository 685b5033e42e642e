//! Convergence: whatever is lost, the brick is true again within a stated time after the fault, and shows meanwhile that
//! it is not verified.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::ensure;
use rustix::process::Signal;
use serde_json::Value;
use sfd_tests::daemon::{Daemon, sfd};
use sfd_tests::reader::{RawBrick, compare_unverified};
use sfd_tests::{slowness, wait_for};

use crate::{Bench, PATIENCE, RESCAN};

/// Watches the picture itself for pixels that say "not verified", all the time.
pub(crate) struct Doubt {
    stop: Arc<AtomicBool>,
    seen: JoinHandle<bool>,
}

/// Bit 2 of the low nibble of B: see docs/brick-format.md.
const UNVERIFIED: u8 = 4;

impl Doubt {
    pub(crate) fn watch(brick: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&stop);
        let seen = std::thread::spawn(move || {
            let mut seen = false;
            while !end.load(Ordering::Relaxed) {
                // It may be growing, or not be there yet.
                seen |= RawBrick::open(&brick).is_ok_and(|raw| is_doubtful(&raw));
                std::thread::sleep(Duration::from_millis(10));
            }
            seen
        });
        Self { stop, seen }
    }

    /// Whether there were any.
    pub(crate) fn was_seen(self) -> bool {
        self.stop.store(true, Ordering::Relaxed);
        self.seen.join().unwrap()
    }
}

fn is_doubtful(raw: &RawBrick) -> bool {
    raw.body.chunks_exact(4).any(|pixel| pixel[3] == 255 && pixel[2] & UNVERIFIED != 0)
}

/// The loss was noticed. What did get through may be enough to make the brick true before that.
fn rescans(daemon: &Daemon) {
    wait_for("a rescan", RESCAN, || {
        let status = daemon.glance()?;
        ensure!(status["roots"][0]["rescans"].as_u64() > Some(0), "{status}");
        Ok(())
    });
}

/// The fault is over: the brick is true and verified within the bound, in the status as in the picture.
fn heals(bench: &Bench, daemon: &Daemon, what: &str) {
    let ended = Instant::now();
    bench.wait_equal(what, RESCAN);
    eprintln!("{what}: true and verified after {:?}, bound {RESCAN:?}", ended.elapsed());
    wait_for("no unverified artifact", RESCAN, || {
        let status = daemon.glance()?;
        ensure!(status["roots"][0]["unverified"] == 0, "{}", status["roots"]);
        ensure!(!is_doubtful(&RawBrick::open(&bench.brick())?), "a pixel says unverified");
        Ok(())
    });
}

fn lost(status: &Value, reason: &str) -> u64 {
    status["events"]["dropped"][reason].as_u64().unwrap_or(0)
}

fn config(bench: &Bench, text: &str) -> PathBuf {
    let path = bench.root.parent().unwrap().join("sfd.toml");
    fs::write(&path, text).unwrap();
    path
}

/// Changes of every sort, `count` of them, among files made by [`populate`].
fn churn(bench: &Bench, round: usize, count: usize) {
    for n in 0..count {
        let file = bench.path(&format!("d{}/f{n}", n % 20));
        match (n + round) % 5 {
            0 | 1 => drop(bench.write(&format!("d{}/f{n}", n % 20), format!("round {round} of {n}\n"))),
            2 => drop(fs::remove_file(&file)),
            3 => drop(fs::rename(&file, bench.path(&format!("d{}/r{round}-{n}", n % 7)))),
            _ => drop(bench.write(&format!("new{round}/d{}/{n}", n % 3), format!("{n}\n"))),
        }
    }
}

pub(crate) fn populate(bench: &Bench, count: usize) {
    for n in 0..count {
        bench.write(&format!("d{}/f{n}", n % 20), format!("file {n}\n").repeat(1 + n % 40));
    }
}

#[test]
fn a_ring_of_4_kib_loses_events_and_the_rescan_finds_what_they_told() {
    let bench = Bench::new();
    populate(&bench, 500);
    // With the hooks that make a record for each name: through change times, one for each directory, there are too few.
    let config = config(&bench, "file_ring_kib = 4\nwindow_ms = 20\nname_hooks = 'syscall'\n");
    let daemon = Daemon::live(&[&bench.root], &bench.state, &["--config", config.to_str().unwrap()]);
    // Thirty records fit: the self-test of the hooks must read while it works, or most of them would seem silent.
    for hook in daemon.glance().unwrap()["hooks"].as_array().unwrap() {
        assert_ne!(hook["state"], "silent", "{hook}");
    }
    let doubt = Doubt::watch(bench.brick());
    for round in 0..4 {
        churn(&bench, round, 2000);
    }
    rescans(&daemon);
    heals(&bench, &daemon, "a flood through a 4 KiB ring");
    assert!(doubt.was_seen(), "the picture said that it was not verified");
    let status = daemon.status().unwrap();
    assert!(lost(&status, "file_ring_full") > 0, "{status}");
    assert!(status["roots"][0]["rescans"].as_u64() > Some(0), "{status}");
}

/// While the daemon itself stands still nobody can mark the brick, so the doubt shows from the moment it goes on.
#[test]
fn a_daemon_that_stands_still_for_10_s_under_load_catches_up() {
    let bench = Bench::new();
    populate(&bench, 1000);
    let config = config(&bench, "file_ring_kib = 64\nname_hooks = 'syscall'\n");
    let daemon = Daemon::live(&[&bench.root], &bench.state, &["--config", config.to_str().unwrap()]);
    bench.wait_equal("the baseline", PATIENCE);
    let doubt = Doubt::watch(bench.brick());
    daemon.signal(Signal::STOP);
    let (stopped, mut round) = (Instant::now(), 0);
    while stopped.elapsed() < Duration::from_secs(10) {
        // A few names over and over: the bound is for a tree of some size, not for one that grows with the machine's speed.
        churn(&bench, round % 8, 1000);
        round += 1;
    }
    daemon.signal(Signal::CONT);
    rescans(&daemon);
    heals(&bench, &daemon, &format!("{round} rounds of changes while nobody read the ring"));
    assert!(doubt.was_seen());
    assert!(lost(&daemon.status().unwrap(), "file_ring_full") > 0);
}

#[test]
fn what_does_not_fit_the_map_of_watched_inodes_is_true_all_the_same() {
    let bench = Bench::new();
    populate(&bench, 500);
    let config = config(&bench, "watched_max = 40\n");
    let daemon = Daemon::live(&[&bench.root], &bench.state, &["--config", config.to_str().unwrap()]);
    let status = daemon.status().unwrap();
    assert!(status["roots"][0]["unwatched"].as_u64() > Some(450), "{}", status["roots"]);
    assert!(lost(&status, "watched_full") > 0, "{status}");
    let text = sfd(&["status", "--state"]).arg(&bench.state).output().unwrap().stdout;
    assert!(String::from_utf8_lossy(&text).contains("objects that nobody reports"), "the operator is told");
    for round in 0..2 {
        // Contents alone first: no name is reported, and no watched directory changes.
        for n in 0..500 {
            fs::write(bench.path(&format!("d{}/f{n}", n % 20)), format!("round {round}, unseen {n}\n"))
                .unwrap();
        }
        heals(&bench, &daemon, "contents of files that nobody watches");
    }
    churn(&bench, 1, 500);
    heals(&bench, &daemon, "changes of every sort among them");
}

#[test]
fn one_event_in_a_hundred_is_lost() {
    events_are_lost(10);
}

#[test]
fn every_other_event_is_lost() {
    events_are_lost(500);
}

#[test]
fn every_event_is_lost() {
    events_are_lost(1000);
}

/// Records vanish between the ring and the agent, uncounted: only their missing numbers tell.
fn events_are_lost(per_mille: u32) {
    let bench = Bench::new();
    populate(&bench, 1000);
    let switch = bench.root.parent().unwrap().join("per-mille");
    let mut command = Command::new(sfd_tests::daemon::program());
    command.env("SFD_TEST_LOSE_PER_MILLE", &switch);
    let daemon = Daemon::spawn_as(command, &[&bench.root], &bench.state, &["--source", "bpf"]);
    daemon.wait_live();
    bench.wait_equal("the baseline", PATIENCE);
    let before = lost(&daemon.glance().unwrap(), "sequence_gap");
    let doubt = Doubt::watch(bench.brick());
    fs::write(&switch, per_mille.to_string()).unwrap();
    // The switch is looked at every 10 ms.
    wait_for("a loss", PATIENCE, || {
        bench.write("probe", format!("{:?}\n", Instant::now()));
        ensure!(lost(&daemon.glance()?, "sequence_gap") > before, "none yet");
        Ok(())
    });
    for round in 0..3 {
        churn(&bench, round, 1000);
    }
    // The fault goes on: what is lost is noticed, also the last record, and read from the disk.
    let ended = Instant::now();
    wait_for("the truth while events are lost", RESCAN, || compare_unverified(&bench.root, &bench.brick()));
    eprintln!("{per_mille} of 1000 lost: true after {:?}, bound {RESCAN:?}", ended.elapsed());
    // A single change, and nothing after it.
    bench.write("last", "the last record of all\n");
    let ended = Instant::now();
    wait_for("the last change", RESCAN, || compare_unverified(&bench.root, &bench.brick()));
    eprintln!("{per_mille} of 1000 lost: the last change after {:?}", ended.elapsed());
    fs::write(&switch, "0").unwrap();
    heals(&bench, &daemon, &format!("{per_mille} of 1000 events lost, and then none"));
    assert!(doubt.was_seen());
    let status = daemon.status().unwrap();
    eprintln!("{}", status["events"]["dropped"]);
    // What the events say is right again without a rescan.
    let rescans = || daemon.glance().unwrap()["roots"][0]["rescans"].as_u64().unwrap();
    let rescans_before = rescans();
    bench.write("after", "events are back\n");
    bench.wait_equal("a change after the fault", RESCAN);
    eprintln!("rescans after the fault: {}", rescans() - rescans_before);
}

#[test]
fn ten_thousand_files_changed_while_the_daemon_was_away() {
    let bench = Bench::new();
    populate(&bench, 12_000);
    let daemon = bench.live();
    bench.wait_equal("the baseline", PATIENCE);
    assert_eq!(daemon.terminate(), Some(0));
    for n in 0..10_000 {
        let file = bench.path(&format!("d{}/f{n}", n % 20));
        match n % 4 {
            0 => fs::write(&file, format!("modified {n}\n")).unwrap(),
            1 => fs::remove_file(&file).unwrap(),
            2 => fs::rename(&file, bench.path(&format!("d{}/renamed{n}", n % 7))).unwrap(),
            _ => drop(bench.write(&format!("new/d{}/{n}", n % 30), format!("created {n}\n"))),
        }
    }
    let doubt = Doubt::watch(bench.brick());
    let started = Instant::now();
    let daemon = bench.live();
    eprintln!("{:?} after the start the daemon says that it is live", started.elapsed());
    heals(&bench, &daemon, "10 000 changes while the daemon was away");
    let bound = (RESCAN + Duration::from_secs(5)) * slowness();
    assert!(started.elapsed() < bound, "from the start: {:?}", started.elapsed());
    assert!(doubt.was_seen(), "until it was compared, the picture said that it was not verified");
    assert!(verify(&bench.brick()));
}

fn verify(brick: &Path) -> bool {
    sfd(&["verify"]).arg(brick).status().unwrap().success()
}
