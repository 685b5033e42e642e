//! Kernel modules: loaded and unloaded by hand, and asked for by the kernel itself.
//!
//! These need a kernel with modules and the files of some that nothing uses. They load and unload them, which nobody
//! wants of a test run on a machine of his own: so they are ignored by default and run by `cargo xtask vm`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use sfd::collect::{Change, CollectConfig, Event, HookState, Op, probe_hooks};
use sfd_tests::{
    daemon::Daemon,
    reader::{RawBrick, inspect},
    wait_for,
};

use crate::bench::{Bench, alone, ops};

/// For a brick to follow, on an emulated machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The file of a module of this kernel.
fn file_of(name: &str) -> PathBuf {
    fn search(dir: &Path, name: &str) -> Option<PathBuf> {
        fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path()).find_map(|path| {
            let file = path.file_name()?.to_str()?;
            if path.is_dir() {
                return search(&path, name);
            }
            file.strip_prefix(name).is_some_and(|rest| rest.starts_with(".ko")).then_some(path)
        })
    }
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let dir = Path::new("/lib/modules").join(release.trim());
    search(&dir, name).unwrap_or_else(|| {
        panic!("no module {name} below {}: these tests are run by `cargo xtask vm`", dir.display())
    })
}

fn is_loaded(name: &str) -> bool {
    let table = fs::read_to_string("/proc/modules").expect("a kernel with modules");
    table.lines().any(|line| line.split(' ').next() == Some(name))
}

fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn wait_module(bench: &mut Bench, op: Op, name: &str) -> Event {
    bench.wait(
        &format!("{op:?} {name}"),
        |event| matches!(&event.change, Change::Module { op: of, name: is } if *of == op && is == name),
    )
}

fn comm(event: &Event) -> &str {
    event.writer.as_ref().map_or("", |writer| writer.comm.as_str())
}

#[test]
#[ignore = "loads kernel modules: cargo xtask vm"]
fn loaded_and_unloaded() {
    let _alone = alone();
    let mut bench = Bench::new(Path::new("/dev/shm"), CollectConfig::default());
    let file = file_of("dummy");
    assert!(!is_loaded("dummy"), "nothing but this test loads it");
    // Twice: the second record is not the first that was left behind.
    for _ in 0..2 {
        run("insmod", &[file.to_str().unwrap()]);
        assert!(is_loaded("dummy"));
        assert_eq!(comm(&wait_module(&mut bench, Op::ModuleLoad, "dummy")), "insmod");
        run("rmmod", &["dummy"]);
        assert_eq!(comm(&wait_module(&mut bench, Op::ModuleFree, "dummy")), "rmmod");
    }
}

#[test]
#[ignore = "loads kernel modules: cargo xtask vm"]
fn asked_for_by_the_kernel() {
    let _alone = alone();
    let mut bench = Bench::new(Path::new("/dev/shm"), CollectConfig::default());
    let at = bench.path("mount");
    fs::create_dir(&at).unwrap();
    // A type of file system and a family of sockets that nobody has used so far.
    assert!(!is_loaded("squashfs") && !is_loaded("af_alg"));
    let mount = Command::new("mount").args(["-t", "squashfs", "none"]).arg(&at).output().unwrap();
    assert!(!mount.status.success(), "there is no such file system, but its type was looked for");
    assert_eq!(comm(&wait_module(&mut bench, Op::ModuleRequest, "fs-squashfs")), "mount");
    assert_eq!(comm(&wait_module(&mut bench, Op::ModuleLoad, "squashfs")), "modprobe");
    assert!(is_loaded("squashfs"));
    ops(&["socket", "38", "5"]);
    assert_eq!(comm(&wait_module(&mut bench, Op::ModuleRequest, "net-pf-38")), "ops");
    assert_eq!(comm(&wait_module(&mut bench, Op::ModuleLoad, "af_alg")), "modprobe");
    for name in ["squashfs", "af_alg"] {
        run("rmmod", &[name]);
        wait_module(&mut bench, Op::ModuleFree, name);
    }
}

#[test]
#[ignore = "loads kernel modules: cargo xtask vm"]
fn their_hooks_are_attached() {
    let _alone = alone();
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let hooks = probe_hooks(dir.path()).unwrap();
    for name in ["module_load", "module_free", "module_request"] {
        let hook = hooks.iter().find(|hook| hook.name == format!("tp_btf/{name}")).unwrap();
        assert_eq!(hook.state, HookState::Attached, "the self-test loads no module: {name}");
    }
}

#[test]
#[ignore = "loads kernel modules: cargo xtask vm"]
fn the_brick_follows() {
    let _alone = alone();
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let daemon = Daemon::live(&[Path::new("/proc")], &dir.path().join("state"), &["--source", "bpf"]);
    let listed_in_brick = |name: &str| -> Result<bool> {
        let brick = daemon.brick("proc");
        let listed = inspect(&brick)?;
        let modules = listed.get(Path::new("/proc/modules")).context("/proc/modules")?;
        let text = RawBrick::open(&brick)?.cells(modules.start, modules.len);
        Ok(String::from_utf8_lossy(&text).lines().any(|line| line.split(' ').next() == Some(name)))
    };
    assert!(!listed_in_brick("dummy").unwrap());
    run("modprobe", &["dummy"]);
    wait_for("the module in the brick", PATIENCE, || {
        ensure!(listed_in_brick("dummy")?, "not yet");
        Ok(())
    });
    run("rmmod", &["dummy"]);
    wait_for("the module gone from the brick", PATIENCE, || {
        ensure!(!listed_in_brick("dummy")?, "still there");
        Ok(())
    });
}
