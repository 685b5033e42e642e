//! The daemon as a service: without privileges, reloaded, asked who did it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sfd_tests::daemon::{Daemon, sfd};
use sfd_tests::reader::{RawBrick, inspect};
use sfd_tests::wait_for;

use crate::{Bench, PATIENCE, PROMISE};

#[test]
fn without_root_inotify_does_the_work_and_the_first_line_says_what_is_lost() {
    use std::os::unix::process::CommandExt;
    let bench = Bench::new();
    let base = bench.root.parent().unwrap().to_path_buf();
    fs::set_permissions(&base, fs::Permissions::from_mode(0o755)).unwrap();
    // The test program may be in a directory that nobody else can enter.
    let program = base.join("sfd");
    fs::copy(sfd_tests::daemon::program(), &program).unwrap();
    fs::create_dir(&bench.state).unwrap();
    for dir in [&bench.root, &bench.state] {
        std::os::unix::fs::chown(dir, Some(65_534), Some(65_534)).unwrap();
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).unwrap();
    }
    bench.write("readable", "x\n");
    bench.write("locked", "y\n");
    fs::set_permissions(bench.path("locked"), fs::Permissions::from_mode(0o600)).unwrap();
    let mut command = Command::new(&program);
    command.uid(65_534).gid(65_534);
    let daemon = Daemon::spawn_as(command, &[&bench.root], &bench.state, &[]);
    let started = daemon.wait_event("started");
    assert_eq!(started["status"]["rung"], "inotify");
    assert!(!started["status"]["why"].as_array().unwrap().is_empty(), "{started}");
    daemon.wait_live();
    fs::write(bench.path("readable"), "changed through inotify\n").unwrap();
    fs::create_dir_all(bench.path("x/y/z")).unwrap();
    fs::write(bench.path("x/y/z/file"), "deep\n").unwrap();
    wait_for("the changes", PROMISE, || {
        let listed = inspect(&bench.brick())?;
        let raw = RawBrick::open(&bench.brick())?;
        for (name, bytes) in [("readable", &b"changed through inotify\n"[..]), ("x/y/z/file", b"deep\n")] {
            let each = listed.get(&bench.path(name)).with_context(|| name.to_owned())?;
            ensure!(raw.cells(each.start, each.len) == bytes, "{name}");
        }
        ensure!(listed[&bench.path("locked")].unverified, "an unreadable file is shown as unverified");
        Ok(())
    });
    assert_eq!(daemon.terminate(), Some(0));
    // The first line that a person sees.
    let mut command = Command::new(&program);
    command
        .uid(65_534)
        .gid(65_534)
        .args(["run", "--once", "--watch"])
        .arg(&bench.root)
        .arg("--state")
        .arg(&bench.state);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let first = text.lines().next().unwrap_or_default();
    assert!(
        first.contains("inotify") && first.contains("root"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn who_did_it_is_in_the_log() {
    let bench = Bench::new();
    let file = bench.write("config", "a\n");
    let daemon = bench.live();
    let script = format!("echo b >> {}; mv {0} {0}.new", file.display());
    assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    // Two changes within a window may be seen at once; then the rename may have a line of its own for `mv`.
    let lines = wait_for("mv in the log", PROMISE, || {
        let output = sfd(&["log", "--json", "--state"]).arg(&bench.state).output()?;
        let text = String::from_utf8(output.stdout)?;
        let lines: Vec<serde_json::Value> =
            text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let writers = lines.iter().filter_map(|line| line["writers"].as_array()).flatten();
        ensure!(writers.into_iter().any(|writer| writer["comm"] == "mv"), text);
        Ok(lines)
    });
    let renamed = lines.iter().find(|line| line["verb"] == "renamed").unwrap();
    assert_eq!(renamed["from"], file.to_str().unwrap());
    drop(daemon);
}

#[test]
fn doctor_names_every_hook_and_what_is_lost_without_it() {
    let output = sfd(&["doctor", "--json"]).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let hooks = report["hooks"].as_array().unwrap();
    assert!(hooks.len() >= 10, "{report}");
    let hook = |name: &str| -> Result<&serde_json::Value> {
        hooks
            .iter()
            .find(|hook| hook["name"].as_str().is_some_and(|n| n.contains(name)))
            .with_context(|| name.to_owned())
    };
    // The cheapest way to see names that this kernel has.
    let of_names = ["ctime_ns_xchg", "fexit/vfs_rename", "syscalls/renameat2"];
    let found =
        of_names.iter().filter(|name| hook(name).is_ok_and(|hook| hook["state"] == "verified")).count();
    assert_eq!(found, 1, "{report}");
    for name in ["writeback_mark_inode_dirty", "writeback_dirty_folio", "sched_process_exec"] {
        assert_eq!(hook(name).unwrap()["state"], "verified", "{}", hook(name).unwrap());
    }
    // Whether this kernel has modules, it says itself.
    if !Path::new("/sys/module/kernel").exists() || !Path::new("/proc/modules").exists() {
        assert_eq!(hook("module_load").unwrap()["state"], "absent");
    }
    assert!(hooks.iter().all(|hook| hook["lost_without"].as_str().is_some_and(|text| !text.is_empty())));
}

#[test]
fn sighup_reads_the_configuration_again_and_a_broken_one_changes_nothing() {
    let bench = Bench::new();
    bench.write("keep", "k\n");
    bench.write("a.skip", "s\n");
    let config = bench.root.parent().unwrap().join("sfd.toml");
    fs::write(&config, "window_ms = 30\n").unwrap();
    let daemon = Daemon::live(&[&bench.root], &bench.state, &["--config", config.to_str().unwrap()]);
    let has = |name: &str| inspect(&bench.brick()).unwrap().contains_key(&bench.path(name));
    assert!(has("a.skip"));
    let hup = || {
        let pid = rustix::process::Pid::from_raw(i32::try_from(daemon.pid()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    };
    fs::write(&config, "exclude = ['*.skip']\n").unwrap();
    hup();
    daemon.wait_event("started");
    daemon.wait_live();
    assert!(has("keep") && !has("a.skip"));
    fs::write(&config, "exclude = 7\n").unwrap();
    hup();
    wait_for("the refusal", PATIENCE, || {
        ensure!(daemon.log().contains("keeping the old configuration"), "{}", daemon.log());
        Ok(())
    });
    assert!(has("keep") && !has("a.skip"));
    bench.write("after", "still live\n");
    wait_for("a change after the reload", PROMISE, || {
        ensure!(has("after"), "not yet");
        Ok(())
    });
}
