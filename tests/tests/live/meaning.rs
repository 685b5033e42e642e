//! `sfd log` says what changes mean, and `sfd search` finds what is there.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sfd_tests::daemon::{Daemon, sfd};
use sfd_tests::mount::Mounted;
use sfd_tests::wait_for;

use crate::{Bench, PATIENCE, PROMISE};

/// The lines of the log about a path that mean something.
fn meanings(state: &Path, path: &Path) -> Result<Vec<Value>> {
    let output = sfd(&["log", "--json", "--state"]).arg(state).arg(path).output()?;
    ensure!(output.status.success(), "sfd log: {}", String::from_utf8_lossy(&output.stderr));
    let lines: Result<Vec<Value>, _> =
        String::from_utf8(output.stdout)?.lines().map(serde_json::from_str).collect();
    let of = |line: Value| {
        line["meaning"].as_array().filter(|meaning| !meaning.is_empty()).map(|_| line["meaning"].clone())
    };
    Ok(lines?.into_iter().filter_map(of).collect())
}

/// What a search finds, and its exit code.
fn search(state: &Path, query: &[&str]) -> Result<(Value, Option<i32>)> {
    let output = sfd(&["search", "--json", "--state"]).arg(state).args(query).output()?;
    let found = serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    Ok((found, output.status.code()))
}

#[test]
fn an_edit_of_sshd_config_says_what_it_means() {
    let bench = Bench::new();
    let file =
        bench.write("etc/ssh/sshd_config", "# the server's\nPort 22\nPermitRootLogin no\nUsePAM yes\n");
    let _daemon = bench.live();
    bench.wait_equal("the baseline", PATIENCE);
    fs::write(&file, "# the server's\nPort 22\nPermitRootLogin yes\n").unwrap();
    let said = wait_for("what it means", PROMISE, || {
        let said = meanings(&bench.state, &file)?;
        ensure!(!said.is_empty(), "nothing yet");
        Ok(said)
    });
    let expected: Value = serde_json::json!(["PermitRootLogin no -> yes", "UsePAM yes removed"]);
    assert_eq!(said, [expected]);
    // For people: the line as ever, what it means below it.
    let output = sfd(&["log", "--state"]).arg(&bench.state).arg(&file).output().unwrap().stdout;
    let text = String::from_utf8(output).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|line| line.contains("  modified   ")).unwrap();
    assert!(lines[at].contains(": size "), "{text}");
    assert_eq!(lines[at + 1..], ["    PermitRootLogin no -> yes", "    UsePAM yes removed"], "{text}");
}

#[test]
fn a_mount_a_socket_and_a_kernel_setting_say_what_they_mean() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let state = dir.path().join("state");
    let _daemon = Daemon::live(&[Path::new("/proc")], &state, &[]);
    let mounted = dir.path().join("mounted");
    fs::create_dir(&mounted).unwrap();
    let mount = Mounted::tmpfs(64, &mounted);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let says = |path: &str, part: &str| {
        wait_for(part, PATIENCE, || {
            let said = meanings(&state, Path::new(path))?;
            let has = said.iter().any(|lines| lines.to_string().contains(part));
            ensure!(has, "{path}: {said:?}");
            Ok(())
        });
    };
    says("/proc/mounts", &format!("on {} mounted (type tmpfs", mounted.display()));
    says("/proc/net/tcp", &format!("listening on 127.0.0.1:{port}/tcp appeared"));
    drop((mount, listener));
    says("/proc/mounts", &format!("on {} unmounted", mounted.display()));
    says("/proc/net/tcp", &format!("listening on 127.0.0.1:{port}/tcp gone"));
}

#[test]
fn a_search_finds_what_is_there_with_and_without_a_daemon() {
    let bench = Bench::new();
    bench.write("etc/ssh/sshd_config", "PermitRootLogin no\n");
    bench.write("opt/run.sh", "#!/bin/sh\necho\n");
    let daemon = bench.live();
    bench.wait_equal("the baseline", PATIENCE);
    let path = |hit: &Value| hit["path"].as_str().unwrap_or_default().to_owned();
    let (found, code) = search(&bench.state, &["sshd"]).unwrap();
    assert_eq!(
        (code, path(&found["hits"][0])),
        (Some(0), bench.path("etc/ssh/sshd_config").display().to_string())
    );
    // What is new is found as soon as it is in the catalog, indexed or not.
    bench.write("opt/zebra.conf", "stripes = 7\n");
    let hit = wait_for("a new file", PROMISE, || {
        let (found, _) = search(&bench.state, &["zeb", "kind:config"])?;
        ensure!(found["total"] == 1, "{found}");
        Ok(found["hits"][0].clone())
    });
    assert_eq!(path(&hit), bench.path("opt/zebra.conf").display().to_string());
    fs::rename(bench.path("opt"), bench.path("usr")).unwrap();
    wait_for("its new path", PROMISE, || {
        let (found, _) = search(&bench.state, &["usr/zebra"])?;
        ensure!(found["total"] == 1, "{found}");
        Ok(())
    });
    fs::remove_file(bench.path("usr/zebra.conf")).unwrap();
    wait_for("nothing", PROMISE, || {
        let (found, code) = search(&bench.state, &["zebra"])?;
        ensure!(found["total"] == 0 && code == Some(1), "{found}");
        Ok(())
    });
    assert_eq!(daemon.terminate(), Some(0));
    let (found, code) = search(&bench.state, &["kind:script"]).unwrap();
    assert_eq!((found["total"].as_u64(), code), (Some(1), Some(0)), "{found}");
    // For people, and what is wrong.
    let text = |args: &[&str]| {
        let output = sfd(&["search", "--state"]).arg(&bench.state).args(args).output().unwrap();
        let string = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), string(output.stdout), string(output.stderr))
    };
    let (code, out, _) = text(&["-n", "1", &format!("path:{}", bench.root.display())]);
    assert!(code == Some(0) && out.contains("more; --limit") && out.lines().count() == 3, "{out}");
    assert_eq!(text(&["no-such-thing"]), (Some(1), String::new(), "sfd: nothing found\n".to_owned()));
    assert_eq!(text(&["\"\""]).0, Some(2));
    // No query is wrong, whatever it would mean to the index.
    assert_eq!(text(&["--", "-made (\" OR *"]).2, "sfd: nothing found\n");
    let output = sfd(&["search", "x", "--state", "/nonexistent"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "no bricks yet");
}
