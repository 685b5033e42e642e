//! Who did it: what `sfd log --json` says of the processes behind a change, though they are gone.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sfd_tests::daemon::sfd;
use sfd_tests::wait_for;

use crate::{Bench, PATIENCE, PROMISE};

/// The lines of history about one path, oldest first.
fn log(bench: &Bench, path: &Path) -> Result<Vec<Value>> {
    let output = sfd(&["log", "--json", "--state"]).arg(&bench.state).arg(path).output()?;
    ensure!(output.status.success(), "sfd log: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Waits for a line about `path` that has what is wanted.
fn wait_line(bench: &Bench, path: &Path, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    wait_for(what, PROMISE, || {
        let lines = log(bench, path)?;
        lines.iter().find(|line| wanted(line)).cloned().with_context(|| format!("{lines:#?}"))
    })
}

fn writers(line: &Value) -> &Vec<Value> {
    line["writers"].as_array().unwrap()
}

/// Waits for a line about `path` that names a writer. Not always the first one: what two do within a window may be seen
/// at once, and the one whose report was not there yet gets a line of his own.
fn wait_writer(bench: &Bench, path: &Path, comm: &str) -> Value {
    wait_line(bench, path, comm, |line| writers(line).iter().any(|writer| writer["comm"] == comm))
}

/// The writer of that name.
fn writer<'a>(line: &'a Value, comm: &str) -> &'a Value {
    let found = writers(line).iter().find(|writer| writer["comm"] == comm);
    found.unwrap_or_else(|| panic!("no {comm} in {line:#}"))
}

fn sh(script: &str) -> std::process::Child {
    Command::new("sh").args(["-c", script]).spawn().unwrap()
}

/// The program file behind a name, as the kernel sees it.
fn real(program: &str) -> String {
    let path = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&path).map(|dir| dir.join(program)).find(|path| path.exists());
    fs::canonicalize(found.unwrap()).unwrap().to_str().unwrap().to_owned()
}

fn same_file(a: &str, b: &str) -> bool {
    let id = |path: &str| fs::metadata(path).map(|meta| (meta.dev(), meta.ino()));
    matches!((id(a), id(b)), (Ok(a), Ok(b)) if a == b)
}

#[test]
fn a_command_of_a_shell_is_known_when_both_are_gone() {
    let bench = Bench::new();
    let file = bench.write("config", "a\n");
    let daemon = bench.live();
    let to = bench.path("moved config");
    let script = format!("mv {} '{}'; true", file.display(), to.display());
    let mut shell = sh(&script);
    let shell_pid = shell.id();
    assert!(shell.wait().unwrap().success());
    let line = wait_writer(&bench, &to, "mv");
    let mv = writer(&line, "mv");
    assert!(same_file(mv["exe"].as_str().unwrap(), &real("mv")), "{mv:#}");
    assert_eq!(mv["exe_checked"], true);
    let args: Vec<&str> = mv["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect();
    assert_eq!(args, ["mv", file.to_str().unwrap(), to.to_str().unwrap()]);
    assert_eq!(mv["uid"], rustix::process::getuid().as_raw());
    assert!(mv["start_ns"].as_u64() > Some(0) && mv["pid"].as_u64() != Some(u64::from(shell_pid)));
    // sh, this test's process, and so on up to the first process.
    let parents = mv["parents"].as_array().unwrap();
    assert_eq!((&parents[0]["comm"], &parents[0]["pid"]), (&"sh".into(), &shell_pid.into()), "{mv:#}");
    assert!(same_file(parents[0]["exe"].as_str().unwrap(), &real("sh")), "{mv:#}");
    assert_eq!(parents[1]["pid"], std::process::id());
    let this = std::env::current_exe().unwrap();
    assert_eq!(parents[1]["exe"], this.to_str().unwrap());
    let mut above = std::os::unix::process::parent_id();
    for parent in &parents[2..] {
        assert_eq!(parent["pid"], above, "{mv:#}");
        above = parent_of(above);
    }
    assert_eq!((above, &mv["parents_cut"]), (0, &false.into()), "up to the first process: {mv:#}");
    assert_eq!((&line["more_writers"], &line["unknown_writers"]), (&false.into(), &false.into()));
    // The same in text, on one line.
    let output = sfd(&["log", "--state"]).arg(&bench.state).arg(&to).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let expected = format!("by mv[{}] uid 0", mv["pid"]);
    assert!(
        text.contains(&expected) && text.contains(&format!(" {} '{}', from ", file.display(), to.display())),
        "{text}"
    );
    drop(daemon);
}

fn parent_of(pid: u32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap()
}

#[test]
fn a_shell_that_becomes_another_program_is_still_the_shell_that_wrote() {
    let bench = Bench::new();
    let (first, second) = (bench.write("first", "a\n"), bench.path("second"));
    let daemon = bench.live();
    let script = format!("echo b > {}; exec touch {}", first.display(), second.display());
    assert!(sh(&script).wait().unwrap().success());
    let line = wait_writer(&bench, &first, "sh");
    let shell = writer(&line, "sh");
    assert_eq!(shell["args"][2], script, "{line:#}");
    let line = wait_writer(&bench, &second, "touch");
    let touch = writer(&line, "touch");
    assert_eq!(touch["args"], serde_json::json!(["touch", second.to_str().unwrap()]), "{line:#}");
    assert_eq!((&touch["pid"], &touch["start_ns"]), (&shell["pid"], &shell["start_ns"]));
    drop(daemon);
}

#[test]
fn the_user_is_the_one_at_the_time_of_the_change() {
    use std::os::unix::process::CommandExt;
    let bench = Bench::new();
    let file = bench.write("open to all", "a\n");
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    // Whoever is not root has to be able to get there.
    fs::set_permissions(bench.root.parent().unwrap(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let daemon = bench.live();
    let script = format!("echo b > '{}'", file.display());
    let status = Command::new("sh").args(["-c", &script]).uid(65_534).gid(65_534).status().unwrap();
    assert!(status.success());
    let line = wait_writer(&bench, &file, "sh");
    assert_eq!(writer(&line, "sh")["uid"], 65_534, "{line:#}");
    // None is set here unless pam_loginuid did.
    let login: u32 =
        fs::read_to_string("/proc/self/loginuid").map_or(u32::MAX, |text| text.trim().parse().unwrap());
    let expected = if login == u32::MAX { Value::Null } else { login.into() };
    assert_eq!(writer(&line, "sh")["login_uid"], expected);
    drop(daemon);
}

#[test]
fn two_processes_that_write_one_file_are_both_named() {
    let bench = Bench::new();
    let file = bench.write("shared", "start\n");
    let daemon = bench.live();
    // Appends, which only the hooks for contents see; the second one finds the file already marked.
    let append = |command: &str| format!("{command} >> {}", file.display());
    // A clock tick lies between them: a second write within one, into a page that is dirty, fires no hook at all
    // (decisions/0003).
    let (first, second) = (append("cat /proc/self/comm"), append("head -c 4 /proc/self/comm"));
    let script = format!("{first}; sleep 0.015; {second}");
    assert!(sh(&script).wait().unwrap().success());
    let both = wait_for("both writers", PROMISE, || {
        let lines = log(&bench, &file)?;
        let named = |comm: &str| lines.iter().flat_map(writers).any(|writer| writer["comm"] == comm);
        ensure!(named("cat") && named("head"), "{lines:#?}");
        Ok(lines)
    });
    assert!(!both.is_empty());
    drop(daemon);
}

#[test]
fn a_secret_in_arguments_is_nowhere() {
    let bench = Bench::new();
    // In directories of their own: who changed one in the same moment is a possible writer of every new name in it.
    for dir in ["a", "b", "c"] {
        fs::create_dir(bench.path(dir)).unwrap();
    }
    let daemon = bench.live();
    // Put together here so that it is in no file but this process's memory; not a real one.
    let secret = ["hunter", "2hunter", "3"].concat();
    let script = format!(
        "touch {root}/a/a --reference=/dev/null --password={secret} 2>/dev/null; \
         DB_TOKEN={secret} sh -c 'echo x > {root}/b/b; true'; \
         sh -c 'echo y > {root}/c/c; true' --api-key {secret}; true",
        root = bench.root.display()
    );
    assert!(sh(&script).wait().unwrap().success());
    let line = wait_writer(&bench, &bench.path("c/c"), "sh");
    assert_eq!(writer(&line, "sh")["args"][4], "***", "{line:#}");
    let history = sfd(&["log", "--json", "--state"]).arg(&bench.state).output().unwrap().stdout;
    let text = sfd(&["log", "--state"]).arg(&bench.state).output().unwrap().stdout;
    let log = daemon.log().into_bytes();
    assert_eq!(daemon.terminate(), Some(0));
    let mut places = vec![(PathBuf::from("sfd log"), history), ("text".into(), text), ("log".into(), log)];
    let mut dirs = vec![bench.state.clone()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                dirs.push(entry.path());
            } else if entry.file_type().unwrap().is_file() {
                places.push((entry.path(), fs::read(entry.path()).unwrap()));
            }
        }
    }
    assert!(places.len() > 4);
    for (place, bytes) in places {
        let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "the secret is in {}", place.display());
    }
}

#[test]
fn a_number_that_is_used_again_is_another_process() {
    let bench = Bench::new();
    let daemon = bench.live();
    // The next process gets the number after the one in ns_last_pid; others may take it first, so try again.
    let run = |pid: u32, name: &str| -> Option<u32> {
        let path = bench.path(name);
        fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).unwrap();
        let mut child = Command::new("touch").arg(&path).spawn().unwrap();
        let got = child.id();
        assert!(child.wait().unwrap().success());
        (got == pid).then_some(got)
    };
    let mut pid = 300_000_u32
        .min(fs::read_to_string("/proc/sys/kernel/pid_max").unwrap().trim().parse::<u32>().unwrap() / 2);
    let (first, second) = wait_for("a number used twice", PATIENCE, || {
        pid += 7;
        let (first, second) = (format!("one-{pid}"), format!("two-{pid}"));
        ensure!(run(pid, &first).is_some(), "{pid} was taken");
        // Or both would be possible writers of both.
        wait_writer(&bench, &bench.path(&first), "touch");
        ensure!(run(pid, &second).is_some(), "{pid} was taken");
        Ok((bench.path(&first), bench.path(&second)))
    });
    let lines = [&first, &second].map(|path| wait_writer(&bench, path, "touch"));
    let [one, two] = &lines.each_ref().map(|line| writer(line, "touch"));
    assert_eq!(one["pid"], two["pid"]);
    assert_ne!(one["start_ns"], two["start_ns"]);
    assert_eq!(one["args"][1], first.to_str().unwrap(), "{one:#}");
    assert_eq!(two["args"][1], second.to_str().unwrap(), "{two:#}");
    drop(daemon);
}

/// A cgroup2 mount with a fresh cgroup in it; all gone at the end.
struct Cgroup {
    mount: Option<tempfile::TempDir>,
    path: PathBuf,
}

impl Cgroup {
    fn new(below: &str) -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let mounted = mounts.lines().find_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let at = fields.next()?;
            (fields.next()? == "cgroup2").then(|| PathBuf::from(at))
        });
        let mount = mounted.is_none().then(|| {
            let dir = tempfile::tempdir().unwrap();
            let status =
                Command::new("mount").args(["-t", "cgroup2", "none"]).arg(dir.path()).status().unwrap();
            assert!(status.success());
            dir
        });
        let root = mounted.unwrap_or_else(|| mount.as_ref().unwrap().path().to_path_buf());
        let path = root.join(below);
        fs::create_dir_all(&path).unwrap();
        Self { mount, path }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Fails while somebody is in it, which the test would have noticed.
        let _ = fs::remove_dir(&self.path);
        if let Some(dir) = &self.mount {
            let _ = Command::new("umount").arg(dir.path()).status();
        }
    }
}

#[test]
fn a_process_in_a_container_names_its_cgroup_and_the_container() {
    let id = format!("{:016x}", std::process::id()).repeat(4);
    let plain = Cgroup::new(&format!("sfd-test-{}", std::process::id()));
    let container = Cgroup::new(&format!("docker-{id}.scope"));
    let bench = Bench::new();
    let daemon = bench.live();
    for (group, name) in [(&plain, "plain"), (&container, "contained")] {
        let script = format!(
            "echo $$ > {}/cgroup.procs; echo x > {}; true",
            group.path.display(),
            bench.path(name).display()
        );
        assert!(sh(&script).wait().unwrap().success());
        wait_writer(&bench, &bench.path(name), "sh");
    }
    let line = wait_writer(&bench, &bench.path("plain"), "sh");
    let sh = writer(&line, "sh");
    assert_eq!(sh["cgroup"], fs::metadata(&plain.path).unwrap().ino(), "{line:#}");
    let name = format!("/{}", plain.path.file_name().unwrap().to_str().unwrap());
    assert_eq!((&sh["cgroup_path"], &sh["container"]), (&name.into(), &Value::Null), "{line:#}");
    let line = wait_writer(&bench, &bench.path("contained"), "sh");
    assert_eq!(writer(&line, "sh")["container"], id, "{line:#}");
    drop(daemon);
}

#[test]
fn io_uring_names_the_process_and_writeback_names_nobody_else() {
    let bench = Bench::new();
    let file = bench.write("uring", "before\n");
    let daemon = bench.live();
    let ops = sfd_tests::daemon::program().with_file_name("ops");
    let arguments = ["uring_write", file.to_str().unwrap(), "after, by io_uring"];
    let status = Command::new(&ops).args(arguments).status().unwrap();
    assert!(status.success());
    let line = wait_writer(&bench, &file, "ops");
    let ops_writer = writer(&line, "ops");
    assert_eq!(ops_writer["args"][1], "uring_write", "{line:#}");
    assert_eq!(ops_writer["exe"], ops.to_str().unwrap());
    // Writing it to the disk is done by kernel threads, and is no change by anybody.
    fs::File::open(&file).unwrap().sync_all().unwrap();
    rustix::fs::sync();
    bench.wait_equal("the file after writeback", PROMISE);
    for line in log(&bench, &file).unwrap() {
        for writer in writers(&line) {
            let comm = writer["comm"].as_str().unwrap();
            assert!(!comm.starts_with("kworker"), "{line:#}");
        }
    }
    drop(daemon);
}

#[test]
fn a_change_that_only_a_scan_found_is_by_unknown() {
    let bench = Bench::new();
    let file = bench.write("config", "a\n");
    drop(bench.live());
    // Nobody watched.
    fs::write(&file, "changed while nobody watched\n").unwrap();
    let daemon = bench.live();
    let line = wait_line(&bench, &file, "the change", |line| line["verb"] == "modified");
    assert_eq!((writers(&line).len(), &line["unknown_writers"]), (0, &true.into()), "{line:#}");
    let output = sfd(&["log", "--state"]).arg(&bench.state).arg(&file).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().any(|line| line.ends_with("by unknown")), "{text}");
    drop(daemon);
}
