//! What happens to the brick's own files: full disks, read-only ones, files that are cut, removed, replaced or damaged under
//! the daemon. It stays up, says what is wrong, and heals by itself.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use sfd_tests::bricks::Random;
use sfd_tests::daemon::{Daemon, sfd};
use sfd_tests::mount::Mounted;
use sfd_tests::reader::inspect;
use sfd_tests::wait_for;

use crate::faults::{Doubt, populate};
use crate::{Bench, PATIENCE};

/// `kill -9` of the daemon under load; `SFD_CRASH_ROUNDS` for a longer run.
const KILLS: u64 = 20;

impl Bench {
    fn catalog(&self) -> PathBuf {
        self.brick().with_extension("catalog.sqlite")
    }

    /// Takes all the room there is beside the bricks.
    fn fill_disk(&self) -> PathBuf {
        let path = self.state.join("filler");
        let mut file = fs::File::create(&path).unwrap();
        for len in [1 << 16, 1 << 12, 1] {
            let chunk = vec![1; len];
            let error = loop {
                if let Err(error) = file.write_all(&chunk) {
                    break error;
                }
            };
            assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
        }
        // What was promised to the file but is not there yet.
        let _ = file.sync_all();
        path
    }

    /// The brick is true, verified as a whole, and the root is open.
    fn wait_healed(&self, daemon: &Daemon, what: &str) {
        self.wait_equal(what, PATIENCE);
        wait_for("a root that is open and verified", PATIENCE, || {
            let status = daemon.glance()?;
            let root = &status["roots"][0];
            ensure!(root["error"].is_null() && root["unverified"] == 0, "{root}");
            Ok(())
        });
        verifies(&self.brick());
    }
}

fn verifies(brick: &Path) {
    let verified = sfd(&["verify"]).arg(brick).output().unwrap();
    let text = [verified.stdout, verified.stderr].concat();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&text));
}

/// Why the root is closed, as the status says it, once it does.
fn wait_closed(daemon: &Daemon, words: &[&str]) -> String {
    let error = wait_for("a status that says what is wrong", PATIENCE, || {
        let status = daemon.glance()?;
        let error = status["roots"][0]["error"].as_str().context("no error yet")?.to_owned();
        ensure!(words.iter().any(|word| error.contains(word)), "{error}");
        Ok(error)
    });
    assert!(daemon.log().contains("closing"), "{}", daemon.log());
    error
}

/// How often a root was opened again.
fn reopened(daemon: &Daemon) -> usize {
    daemon.log().matches("opened again").count()
}

fn full_disk_and_room_again(bench: &Bench) {
    populate(bench, 200);
    let daemon = bench.live();
    bench.wait_equal("the baseline", PATIENCE);
    let filler = bench.fill_disk();
    for n in 0..300 {
        bench.write(&format!("more/f{n}"), format!("{n} on a full disk\n").repeat(200));
    }
    let error = wait_closed(&daemon, &["full", "No space left"]);
    let text = sfd(&["status", "--state"]).arg(&bench.state).output().unwrap();
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("closed: ") && text.contains("opened again"), "{error}: {text}");
    // On a full tmpfs, a hole cannot be read through a map.
    verifies(&bench.brick());
    fs::remove_file(filler).unwrap();
    let started = Instant::now();
    bench.wait_healed(&daemon, "the brick when there is room again");
    eprintln!("healed {:?} after there was room", started.elapsed());
    bench.write("after", "and live\n");
    bench.wait_healed(&daemon, "a change after that");
    assert_eq!(daemon.terminate(), Some(0));
}

#[test]
fn a_full_tmpfs_is_told_and_healed() {
    let bench = Bench::new();
    fs::create_dir(&bench.state).unwrap();
    let _mounted = Mounted::tmpfs(24 << 10, &bench.state);
    full_disk_and_room_again(&bench);
}

#[test]
fn a_full_ext4_is_told_and_healed() {
    let bench = Bench::new();
    fs::create_dir(&bench.state).unwrap();
    let _mounted = Mounted::ext4(24 << 10, &bench.state);
    full_disk_and_room_again(&bench);
}

#[test]
fn a_directory_that_is_read_only_for_a_while_is_told_and_healed() {
    let bench = Bench::new();
    populate(&bench, 200);
    let daemon = bench.live();
    // Linux refuses to make a file system read-only on which files are open for writing, so this one is laid over it: what is
    // open stays as it is, nothing can be made or opened anew.
    let state = bench.state.to_string_lossy().into_owned();
    let read_only = Mounted::new(&["--bind", &state], &bench.state);
    assert!(Command::new("mount").args(["-o", "remount,bind,ro", &state]).status().unwrap().success());
    for n in 0..600 {
        bench.write(&format!("more/f{n}"), format!("{n}\n").repeat(500));
    }
    wait_closed(&daemon, &["Read-only file system", "readonly"]);
    drop(read_only);
    bench.wait_healed(&daemon, "the brick when it can be written again");
}

/// What ext4 does with `errors=remount-ro` when it finds itself damaged. It takes an unmount and a check to be written again.
#[test]
fn an_ext4_that_gave_up_is_told_and_the_next_start_heals() {
    let bench = Bench::new();
    fs::create_dir(&bench.state).unwrap();
    let mounted = Mounted::ext4(24 << 10, &bench.state);
    populate(&bench, 200);
    let daemon = bench.live();
    bench.wait_equal("the baseline", PATIENCE);
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let state = bench.state.to_string_lossy();
    let line = mounts.lines().find(|line| line.split(' ').nth(1) == Some(&state)).unwrap();
    let device = line.split(' ').next().unwrap().trim_start_matches("/dev/");
    let trigger = format!("/sys/fs/ext4/{device}/trigger_fs_error");
    fs::write(trigger, "a test").unwrap();
    for n in 0..300 {
        bench.write(&format!("more/f{n}"), format!("{n}\n").repeat(500));
    }
    wait_closed(&daemon, &["Read-only", "readonly", "disk I/O error", "read-only"]);
    assert_eq!(daemon.terminate(), Some(0), "nothing is open that could not be written");
    drop(mounted);
    let image = bench.state.with_extension("image");
    wait_for("the file system to be gone", PATIENCE, || {
        let checked = Command::new("e2fsck").args(["-fp"]).arg(&image).status()?;
        ensure!(matches!(checked.code(), Some(0 | 1)), "e2fsck: {checked}");
        Ok(())
    });
    let _mounted = Mounted::again(&image, &bench.state);
    let daemon = bench.live();
    bench.wait_healed(&daemon, "the brick after a check of its file system");
}

#[test]
fn files_that_are_cut_removed_or_replaced_under_the_daemon_heal() {
    let bench = Bench::new();
    populate(&bench, 1000);
    let daemon = bench.live();
    bench.wait_equal("the baseline", PATIENCE);
    let (brick, catalog) = (bench.brick(), bench.catalog());
    let with = |suffix: &str| PathBuf::from(format!("{}{suffix}", catalog.display()));
    let cut = |len| fs::File::options().write(true).open(&brick).unwrap().set_len(len).unwrap();
    let replace = |path: &Path| {
        let copy = bench.state.join("copy");
        fs::copy(path, &copy).unwrap();
        fs::rename(&copy, path).unwrap();
    };
    let damages: [(&str, &dyn Fn()); 8] = [
        ("the brick was cut", &|| cut(4096)),
        ("the brick was emptied", &|| cut(0)),
        ("the brick was removed", &|| fs::remove_file(&brick).unwrap()),
        ("the brick was replaced", &|| replace(&brick)),
        ("the catalog was replaced", &|| replace(&catalog)),
        ("the catalog was removed", &|| {
            for suffix in ["", "-wal", "-shm"] {
                fs::remove_file(with(suffix)).unwrap();
            }
        }),
        ("the catalog alone was removed", &|| fs::remove_file(&catalog).unwrap()),
        ("the log of the catalog was removed", &|| fs::remove_file(with("-wal")).unwrap()),
    ];
    for (n, (what, damage)) in damages.into_iter().enumerate() {
        let before = reopened(&daemon);
        let doubt = Doubt::watch(brick.clone());
        let started = Instant::now();
        damage();
        // A quiet root has to notice by itself.
        if n % 2 == 1 {
            bench.write("d1/f1", format!("{what}\n"));
        }
        wait_for(what, PATIENCE, || {
            ensure!(reopened(&daemon) > before, "not noticed yet");
            Ok(())
        });
        bench.wait_healed(&daemon, what);
        eprintln!("{what}: healed after {:?}", started.elapsed());
        assert!(doubt.was_seen(), "{what}: the picture said that it was not verified");
    }
    assert_eq!(daemon.terminate(), Some(0));
}

#[test]
fn a_damaged_catalog_is_healed_by_the_next_start() {
    let bench = Bench::new();
    populate(&bench, 300);
    let mut random = Random::new(4);
    for round in 0..6 {
        let daemon = bench.live();
        bench.wait_healed(&daemon, &format!("the brick after damage {round}"));
        if round % 2 == 0 {
            daemon.kill();
        } else {
            assert_eq!(daemon.terminate(), Some(0));
        }
        let file = fs::File::options().write(true).open(bench.catalog()).unwrap();
        let len = file.metadata().unwrap().len();
        match round {
            0 => file.set_len(len / 2).unwrap(),
            1 => file.write_all_at(&[0; 100], 0).unwrap(),
            _ => {
                for _ in 0..20 {
                    file.write_all_at(&[random.below(256) as u8; 4], random.below(len - 4)).unwrap();
                }
            }
        }
        bench.write("d0/f0", format!("round {round}\n"));
    }
    let daemon = bench.live();
    bench.wait_healed(&daemon, "the brick after the last damage");
}

#[test]
fn kill_9_under_load_again_and_again() {
    let rounds = std::env::var("SFD_CRASH_ROUNDS").map_or(KILLS, |n| n.parse().unwrap());
    let bench = Bench::new();
    populate(&bench, 400);
    let stop = Arc::new(AtomicBool::new(false));
    let load = {
        let (root, stop) = (bench.root.clone(), Arc::clone(&stop));
        std::thread::spawn(move || {
            let mut random = Random::new(9);
            while !stop.load(Ordering::Relaxed) {
                let path =
                    |random: &mut Random| root.join(format!("d{}/f{}", random.below(20), random.below(20)));
                let (one, other) = (path(&mut random), path(&mut random));
                let _ = match random.below(4) {
                    0 => fs::remove_file(one),
                    1 => fs::rename(one, other),
                    _ => fs::write(one, "load\n".repeat(random.below(900) as usize)),
                };
                // As fast as it can, it would be a test of who gets the processor.
                std::thread::sleep(Duration::from_micros(500));
            }
        })
    };
    let mut random = Random::new(8);
    let started = Instant::now();
    for round in 0..rounds {
        let daemon = Daemon::spawn(&[&bench.root], &bench.state, &[]);
        // Some are killed before they are through with the comparison.
        daemon.wait_event("started");
        if round % 4 != 0 {
            daemon.wait_live();
            verifies(&bench.brick());
        }
        std::thread::sleep(Duration::from_millis(random.below(150)));
        daemon.kill();
    }
    stop.store(true, Ordering::Relaxed);
    load.join().unwrap();
    eprintln!("{rounds} kills in {:?}", started.elapsed());
    let daemon = bench.live();
    bench.wait_healed(&daemon, "the brick after the last kill");
}

#[test]
fn a_brick_that_does_not_fit_the_disk_is_refused_and_leaves_nothing() {
    let bench = Bench::new();
    fs::create_dir(&bench.state).unwrap();
    let _mounted = Mounted::tmpfs(1 << 10, &bench.state);
    let mut random = Random::new(1);
    for n in 0..80 {
        // Nothing that can be compressed.
        bench.write(&format!("f{n}"), (0..60_000).map(|_| random.below(256) as u8).collect::<Vec<_>>());
    }
    let out = bench.state.join("out.brick");
    for more in [&[][..], &["--compress"]] {
        let output = sfd(&["fold"]).arg(&bench.root).arg("-o").arg(&out).args(more).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(4), "{more:?}: {text}");
        assert!(text.contains("No space left") && text.contains("out.brick"), "{more:?}: {text}");
        assert_eq!(text.trim_end().lines().count(), 1, "{more:?}: {text}");
        let left: Vec<_> = fs::read_dir(&bench.state).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "{more:?}: {left:?}");
    }
    let output = sfd(&["run", "--once", "--watch"])
        .arg(&bench.root)
        .arg("--state")
        .arg(&bench.state)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert!(text.contains("No space left") && text.contains(".brick"), "{text}");
    assert!(inspect(&bench.brick()).is_err());
}
