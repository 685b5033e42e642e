//! A real /etc and a real /proc.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use sfd_tests::daemon::{Daemon, sfd};
use sfd_tests::reader::{RawBrick, compare, inspect};
use sfd_tests::wait_for;

use crate::{PATIENCE, PROMISE};

#[test]
fn every_file_of_etc_comes_out_byte_for_byte() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let state = dir.path().join("state");
    let daemon = Daemon::live(&[Path::new("/etc"), Path::new("/proc")], &state, &[]);
    let compared = wait_for("/etc", PATIENCE, || compare(Path::new("/etc"), &daemon.brick("etc")));
    eprintln!("{compared:?}");
    assert!(compared.exact > 100, "{compared:?}");
    let listed = inspect(&daemon.brick("etc")).unwrap();
    let shadow = &listed[Path::new("/etc/shadow")];
    assert!(shadow.redacted);
    let raw = RawBrick::open(&daemon.brick("etc")).unwrap();
    assert_ne!(raw.cells(shadow.start, shadow.len), fs::read("/etc/shadow").unwrap());
    // What the pixels say beside the content: occupied, and what kind.
    let hosts = &listed[Path::new("/etc/passwd")];
    let pixel = raw.pixel(hosts.start);
    assert_eq!(pixel[3], 255);
    assert_ne!(pixel[1], 0);
    for name in ["etc", "proc"] {
        let verified = sfd(&["verify"]).arg(daemon.brick(name)).output().unwrap();
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    }
    assert_eq!(daemon.terminate(), Some(0));
}

#[test]
fn a_thousand_short_lived_processes_leave_nothing_behind() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let state = dir.path().join("state");
    let daemon = Daemon::live(&[Path::new("/proc")], &state, &[]);
    let brick = daemon.brick("proc");
    let rss = |daemon: &Daemon| daemon.status().unwrap()["rss_bytes"].as_u64().unwrap();
    let before = rss(&daemon);
    for _ in 0..1000 {
        assert!(Command::new("/bin/true").status().unwrap().success());
    }
    let mut sleeper = Command::new("/bin/sleep").arg("1000").spawn().unwrap();
    let own = PathBuf::from(format!("/proc/{}", sleeper.id()));
    wait_for("a new process", PROMISE, || {
        let listed = inspect(&brick)?;
        ensure!(listed.contains_key(&own), "{} is not there", own.display());
        let comm = listed.get(&own.join("comm")).context("comm")?;
        let raw = RawBrick::open(&brick)?;
        ensure!(raw.cells(comm.start, comm.len).starts_with(b"sleep"), "not sleep yet");
        Ok(())
    });
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    wait_for("its end", PROMISE, || {
        ensure!(!inspect(&brick)?.contains_key(&own), "{} is still there", own.display());
        Ok(())
    });
    // Every process in the brick exists. One may end between the two looks, so it has to be so at some moment.
    wait_for("only processes that exist", PROMISE, || {
        let listed = inspect(&brick)?;
        let pids: Vec<&PathBuf> = listed.keys().filter(|path| is_process(path)).collect();
        ensure!(pids.len() > 3, "only {} processes", pids.len());
        for path in pids {
            ensure!(path.exists(), "{} is in the brick but not there", path.display());
        }
        Ok(())
    });
    let after = rss(&daemon);
    eprintln!("resident memory {before} -> {after} bytes");
    assert!(after < before + (32 << 20), "resident memory grew from {before} to {after}");
}

fn is_process(path: &Path) -> bool {
    path.parent() == Some(Path::new("/proc"))
        && path.file_name().is_some_and(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit))
}
