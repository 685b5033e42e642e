//! Tasks by somebody who wants to write elsewhere, or to hang the program.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::process::Stdio;

use serde_json::json;
use sfd_tests::daemon::sfd;

use crate::{Repo, TASKS, ended, snapshot};

fn to(destination: &str) -> String {
    json!({"task_id": "h", "type": "foundry-v2", "source": "src", "destination": destination}).to_string()
}

#[test]
fn nothing_is_written_outside_the_root() {
    let repo = Repo::new();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("precious"), "precious").unwrap();
    let out = outside.path().to_str().unwrap();
    symlink(out, repo.path("link")).unwrap();
    symlink("..", repo.path("up")).unwrap();
    fs::create_dir(repo.path("dir")).unwrap();
    symlink(out, repo.path("dir/link")).unwrap();
    symlink("/proc/self/cwd", repo.path("magic")).unwrap();
    fs::create_dir(repo.path(".git")).unwrap();
    fs::write(repo.path("file"), "a file").unwrap();
    let bad = [
        "..",
        "../",
        "a/../../b",
        "a/..",
        "/etc",
        out,
        "//etc",
        "link",
        "link/deeper",
        "dir/link/x",
        "up",
        "up/repo",
        "magic",
        "magic/x",
        ".git",
        ".git/hooks",
        "dir/.hidden",
        "file",
        "file/x",
        "a\0b",
    ];
    for (n, destination) in bad.iter().enumerate() {
        repo.task(&format!("h{n}"), to(destination));
    }
    let parent = repo.root.parent().unwrap().to_path_buf();
    let others = |dir: &std::path::Path| -> Vec<_> {
        snapshot(dir).into_iter().filter(|(path, _)| !path.starts_with(&repo.root)).collect()
    };
    let before = (snapshot(outside.path()), others(&parent), snapshot(&repo.path(".git")));
    let (code, lines, err) = repo.run(&[]);
    assert_eq!(code, Some(1), "{err}");
    for (n, destination) in bad.iter().enumerate() {
        assert_eq!(ended(&lines, &format!("h{n}"), "failed"), 1, "{destination:?}: {lines:?}");
    }
    assert_eq!((snapshot(outside.path()), others(&parent), snapshot(&repo.path(".git"))), before);
}

#[test]
fn names_in_the_destination_that_lead_out_are_replaced() {
    let repo = Repo::new();
    let outside = tempfile::tempdir().unwrap();
    let precious = outside.path().join("precious");
    fs::write(&precious, "precious").unwrap();
    fs::create_dir(repo.path("bricks")).unwrap();
    for name in ["x.brick", "x.rts.png", "manifest.json"] {
        symlink(&precious, repo.path(&format!("bricks/{name}"))).unwrap();
    }
    for end in ["result.json", "error.txt", "failed", "done"] {
        symlink(&precious, repo.path(&format!("{TASKS}/x.task.json.{end}"))).unwrap();
    }
    repo.task("x", to("bricks"));
    // A manifest that is a link is not read through, which is an error; with it gone, all is well.
    assert_eq!(ended(&repo.run(&[]).1, "x", "failed"), 1);
    assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
    fs::remove_file(repo.path("bricks/manifest.json")).unwrap();
    assert_eq!(ended(&repo.run(&["--retry"]).1, "x", "done"), 1);
    assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
    assert!(!repo.path("bricks/x.brick").is_symlink());
}

#[test]
fn a_link_that_comes_and_goes_is_never_followed() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let repo = Repo::new();
    let outside = tempfile::tempdir().unwrap();
    let (real, link) = (repo.path("real"), repo.path("link-aside"));
    let target = repo.path("dest");
    let ended_all = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // The destination is a directory one moment, and a link out of the repository the next.
            while !ended_all.load(Ordering::Relaxed) {
                let _ = fs::create_dir(&real);
                let _ = fs::rename(&real, &target);
                let _ = fs::rename(&target, &real);
                let _ = symlink(outside.path(), &link);
                let _ = fs::rename(&link, &target);
                let _ = fs::remove_file(&target);
            }
        });
        for round in 0..40 {
            for n in 0..4 {
                repo.task(&format!("r{round}-{n}"), to("dest/in"));
            }
            let (code, _, err) = repo.run(&[]);
            assert!(matches!(code, Some(0 | 1)), "{code:?} {err}");
            assert!(!err.contains("panicked"), "{err}");
        }
        ended_all.store(true, Ordering::Relaxed);
    });
    assert_eq!(snapshot(outside.path()), []);
}

#[test]
fn files_that_are_none_do_not_hang_anything() {
    let repo = Repo::new();
    let dir = repo.path(TASKS);
    let made = std::process::Command::new("mkfifo").arg(dir.join("pipe.task.json")).status().unwrap();
    assert!(made.success());
    symlink("/dev/zero", dir.join("link.task.json")).unwrap();
    fs::create_dir(dir.join("dir.task.json")).unwrap();
    fs::write(dir.join(OsStr::from_bytes(b"\xff\xfe.task.json")), to("bricks")).unwrap();
    fs::write(dir.join(format!("{}.task.json", "n".repeat(240))), to("bricks")).unwrap();
    fs::write(dir.join("huge.task.json"), vec![b' '; 2 << 20]).unwrap();
    // Sources that never end.
    repo.task("zero", json!({"task_id": "z", "type": "convert_binary", "source": "/dev/zero"}).to_string());
    repo.task("good", to("bricks"));
    let child = sfd(&["tasks", "run", "--json", "--llm", "off", "--openspec"])
        .arg(&repo.root)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (code, lines, err) = crate::read_lines(&child.wait_with_output().unwrap());
    assert_eq!(code, Some(1), "{err}");
    assert_eq!(ended(&lines, "good", "done"), 1, "{lines:?}");
    let failed = lines.iter().filter(|line| line["state"] == "failed").count();
    // A device is folded as what it is: its metadata.
    assert_eq!((failed, ended(&lines, "zero", "done")), (6, 1), "{lines:?}");
}
