//! The commands as a user calls them, without a daemon and without root.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::process::Output;

use sfd_tests::daemon::sfd;
use sfd_tests::reader::compare;

fn text(output: &Output) -> (Option<i32>, String, String) {
    let string = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), string(&output.stdout), string(&output.stderr))
}

fn tree() -> (tempfile::TempDir, std::path::PathBuf, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let root = fs::canonicalize(dir.path()).unwrap().join("tree");
    fs::create_dir_all(root.join("sub")).unwrap();
    fs::write(root.join("a.conf"), "a = 1\n").unwrap();
    fs::write(root.join("sub/big"), vec![9; 200_000]).unwrap();
    fs::write(
        root.join("sub/key.pem"),
        "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----\n",
    )
    .unwrap();
    let brick = root.with_file_name("tree.brick");
    (dir, root, brick)
}

#[test]
fn fold_inspect_verify_extract() {
    let (_dir, root, brick) = tree();
    let (code, _, err) = text(&sfd(&["fold"]).arg(&root).arg("-o").arg(&brick).output().unwrap());
    assert_eq!(code, Some(0), "{err}");
    compare(&root, &brick).unwrap();
    assert_eq!(text(&sfd(&["verify"]).arg(&brick).output().unwrap()).0, Some(0));
    let (code, out, _) = text(&sfd(&["extract"]).arg(&brick).arg(root.join("a.conf")).output().unwrap());
    assert_eq!((code, out.as_str()), (Some(0), "a = 1\n"));
    let (code, _, err) = text(&sfd(&["extract"]).arg(&brick).arg(root.join("sub/big")).output().unwrap());
    assert!(code == Some(1) && err.contains("digest"), "{err}");
    let (code, _, err) = text(&sfd(&["extract"]).arg(&brick).arg(root.join("sub/key.pem")).output().unwrap());
    assert!(code == Some(1) && err.contains("redacted"), "{err}");
    let (code, _, err) = text(&sfd(&["extract"]).arg(&brick).arg("/not/there").output().unwrap());
    assert!(code == Some(1) && err.contains("/not/there"), "{err}");
}

#[test]
fn a_compressed_and_an_exact_brick_give_the_same_bytes_back() {
    let (_dir, root, brick) = tree();
    let status = sfd(&["fold", "--compress", "--exact"]).arg(&root).arg("-o").arg(&brick).status().unwrap();
    assert!(status.success());
    assert_eq!(text(&sfd(&["verify"]).arg(&brick).output().unwrap()).0, Some(0));
    let output = sfd(&["extract"]).arg(&brick).arg(root.join("sub/big")).output().unwrap();
    assert_eq!(output.stdout, vec![9; 200_000]);
}

#[test]
fn a_flipped_byte_is_found_and_named() {
    let (_dir, root, brick) = tree();
    assert!(sfd(&["fold"]).arg(&root).arg("-o").arg(&brick).status().unwrap().success());
    let good = fs::read(&brick).unwrap();
    for at in [4, 40, 132, 132 + 4097, good.len() - 100, good.len() - 3] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&brick, bad).unwrap();
        let (code, out, err) = text(&sfd(&["verify"]).arg(&brick).output().unwrap());
        assert!(code == Some(1), "byte {at}: {code:?} {out}{err}");
        assert!(!(out.clone() + &err).is_empty());
    }
}

#[test]
fn errors_name_their_object_and_have_their_exit_code() {
    let (dir, root, brick) = tree();
    let missing = dir.path().join("missing");
    for (args, code, names) in [
        (vec!["inspect", missing.to_str().unwrap()], 4, "missing"),
        (vec!["inspect", root.join("a.conf").to_str().unwrap()], 4, "a.conf"),
        (vec!["fold", missing.to_str().unwrap(), "-o", brick.to_str().unwrap()], 4, "missing"),
        (vec!["fold", root.to_str().unwrap(), "-o", "/no/such/dir/x.brick"], 4, "/no/such/dir"),
        (vec!["run", "--watch", missing.to_str().unwrap(), "--state", root.to_str().unwrap()], 4, "missing"),
        (vec!["run", "--watch", root.join("a.conf").to_str().unwrap()], 2, "a.conf"),
        (
            vec!["run", "--watch", root.join("sub").to_str().unwrap(), "--state", root.to_str().unwrap()],
            2,
            "sub",
        ),
        (vec!["run"], 2, "watch"),
        (vec!["run", "--watch", "/etc", "--exclude", "[", "--state", missing.to_str().unwrap()], 2, "["),
        (vec!["log", "--state", missing.to_str().unwrap()], 1, "missing"),
        (vec!["log", "--since", "whenever", "--state", missing.to_str().unwrap()], 1, "missing"),
        (vec!["status", "--state", missing.to_str().unwrap()], 1, "missing"),
        (vec!["events", "--state", missing.to_str().unwrap()], 1, "missing"),
        (vec!["snapshot", "--state", missing.to_str().unwrap()], 1, "missing"),
        (vec!["compact", "etc", "--state", missing.to_str().unwrap()], 1, "missing"),
        (vec!["compact"], 2, "NAME"),
        (vec!["diff", missing.to_str().unwrap(), missing.to_str().unwrap()], 4, "missing"),
        (vec!["diff", root.join("a.conf").to_str().unwrap(), missing.to_str().unwrap()], 4, "a.conf"),
        (vec!["frobnicate"], 2, "frobnicate"),
    ] {
        let output = sfd(&args).output().unwrap();
        let (got, out, err) = text(&output);
        assert_eq!(got, Some(code), "{args:?}: {out}{err}");
        assert!((out + &err).contains(names), "{args:?}: {err}");
    }
    assert!(!brick.exists(), "nothing half-written");
}

#[test]
fn unrelated_formats_with_the_same_extension_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    for magic in ["BRCK", "KCRB"] {
        let path = dir.path().join("x.brick");
        fs::write(&path, format!("{magic}{}", "\0".repeat(500))).unwrap();
        for (args, expected) in [
            ("inspect BRICK", 4),
            ("verify BRICK", 1),
            ("extract BRICK /x", 4),
            ("export BRICK --format png", 4),
        ] {
            let args =
                args.split(' ').map(|arg| if arg == "BRICK" { path.as_os_str() } else { arg.as_ref() });
            let (code, out, err) = text(&sfd(&[]).args(args).current_dir(dir.path()).output().unwrap());
            assert!(code == Some(expected) && (out.clone() + &err).contains(magic), "{out}{err}");
        }
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is exported");
}

#[test]
fn a_brick_is_exported_in_every_form() {
    use std::os::unix::fs::PermissionsExt;
    let (dir, root, brick) = tree();
    assert!(sfd(&["fold", "--compress"]).arg(&root).arg("-o").arg(&brick).status().unwrap().success());
    let export = |args: &[&str]| {
        text(&sfd(&["export"]).arg(&brick).args(args).current_dir(dir.path()).output().unwrap())
    };
    for (format, name) in [("png", "tree.png"), ("rts-png", "tree.rts.png"), ("v2br", "tree.v2br.brick")] {
        let (code, out, err) = export(&["--format", format]);
        assert!(code == Some(0) && out.starts_with(name), "{out}{err}");
        let out = dir.path().join(name);
        assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
        let (code, json, _) = export(&["--format", format, "--json", "-o", "again"]);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((code, &json["format"], &json["artifacts"]), (Some(0), &format.into(), &5.into()));
        assert!(fs::read(&out).unwrap() == fs::read(dir.path().join("again")).unwrap());
    }
    compare(&root, &dir.path().join("tree.v2br.brick")).unwrap();

    let picture = dir.path().join("tree.rts.png");
    let (code, out, _) = text(&sfd(&["verify"]).arg(&picture).output().unwrap());
    assert!(code == Some(0) && out.contains("5 artifacts, 5 with a hash"), "{out}");
    let (code, out, _) = text(&sfd(&["inspect"]).arg(&picture).output().unwrap());
    assert!(code == Some(0) && out.contains("PixelRTS-2.0, ") && out.contains("/sub/key.pem"), "{out}");
    let (code, out, _) = text(&sfd(&["extract"]).arg(&picture).arg(root.join("a.conf")).output().unwrap());
    assert_eq!((code, out.as_str()), (Some(0), "a = 1\n"));
    for (name, word) in [("sub/big", "digest"), ("sub/key.pem", "redacted"), ("nothing", "not in this")] {
        let (code, out, err) = text(&sfd(&["extract"]).arg(&picture).arg(root.join(name)).output().unwrap());
        assert!(code == Some(1) && out.is_empty() && err.contains(word), "{err}");
    }
    let secret = b"MIIEvQIBADANBgkqhkiG9w0BAQEFAASC";
    for name in ["tree.png", "tree.rts.png", "tree.v2br.brick"] {
        let bytes = fs::read(dir.path().join(name)).unwrap();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret), "{name}");
    }
    let data = sfd_tests::pixelrts::decode(&fs::read(&picture).unwrap()).unwrap().data;
    assert!(!data.windows(secret.len()).any(|window| window == secret));

    let own = brick.to_str().unwrap();
    for (args, code, word) in [
        (vec!["--format", "v2br", "-o", own], 2, own),
        (vec!["--format", "rts-png", "--max-side", "100"], 2, "--max-side"),
        (vec!["--format", "png", "--max-side", "0"], 2, "--max-side"),
        (vec!["--format", "gif"], 2, "gif"),
        (vec!["--format", "png", "-o", "/no/such/dir/x.png"], 4, "/no/such/dir"),
    ] {
        let (got, out, err) = export(&args);
        assert!(got == Some(code) && err.contains(word), "{args:?}: {out}{err}");
    }
    assert!(sfd(&["verify"]).arg(&brick).status().unwrap().success(), "the brick is as it was");
    let mut bytes = fs::read(&brick).unwrap();
    bytes[140] ^= 1;
    fs::write(&brick, bytes).unwrap();
    let (code, _, err) = export(&["--format", "png", "-o", "damaged.png"]);
    assert!(code == Some(1) && err.contains("damaged"), "{err}");
    assert!(!dir.path().join("damaged.png").exists());
}

#[test]
fn the_effective_configuration_says_where_each_value_is_from() {
    let (_dir, root, _) = tree();
    let config = root.join("sfd.toml");
    fs::write(&config, "window_ms = 75\n").unwrap();
    let output =
        sfd(&["run", "--print-config", "--watch", "/etc", "--config"]).arg(&config).output().unwrap();
    let (code, out, err) = text(&output);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains(&format!("window_ms = 75  # {}", config.display())), "{out}");
    assert!(out.contains("watch = [\"/etc\"]  # --watch") && out.contains("# default"), "{out}");
    fs::write(&config, "wndow_ms = 75\n").unwrap();
    let (code, _, err) = text(&sfd(&["run", "--print-config", "--config"]).arg(&config).output().unwrap());
    assert!(code == Some(2) && err.contains("`window_ms`"), "{err}");
}

#[test]
fn a_closed_pipe_is_no_error() {
    use std::process::Stdio;
    let (_dir, root, brick) = tree();
    assert!(sfd(&["fold"]).arg(&root).arg("-o").arg(&brick).status().unwrap().success());
    let mut child =
        sfd(&["inspect"]).arg(&brick).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn snapshot_diff_and_compact_without_a_daemon() {
    let (dir, root, _) = tree();
    let state = dir.path().join("state");
    let other = root.with_file_name("other");
    fs::create_dir(&other).unwrap();
    let watched = format!("{},{}", root.display(), other.display());
    let once =
        sfd(&["run", "--once", "--source", "scan", "--watch", &watched, "--state"]).arg(&state).output();
    assert!(once.unwrap().status.success());
    let run =
        |args: &[&str]| text(&sfd(args).current_dir(dir.path()).env("SFD_STATE", &state).output().unwrap());
    let name = root.to_string_lossy().trim_start_matches('/').replace('/', "-");

    let (code, out, err) = run(&["snapshot"]);
    assert!((code, out.as_str()) == (Some(2), "") && err.contains(&name), "{err}");
    let (code, _, err) = run(&["snapshot", "nobody"]);
    assert!(code == Some(1) && err.contains("nobody") && err.contains(&name), "{err}");
    let live = state.join("bricks").join(format!("{name}.brick"));
    let (code, _, err) = run(&["snapshot", &name, "-o", live.to_str().unwrap()]);
    assert!(code == Some(4) && err.contains("live brick"), "{err}");
    let (code, out, err) = run(&["snapshot", &name, "-o", "one.brick", "--compress"]);
    assert!(code == Some(0) && out.contains("one.brick: 5 artifacts"), "{out}{err}");
    assert_eq!(run(&["verify", "one.brick"]).0, Some(0));
    compare(&root, &live).unwrap();

    let (code, out, _) = run(&["diff", "one.brick", live.to_str().unwrap()]);
    assert_eq!(
        (code, out.as_str()),
        (Some(0), "the same 5 artifacts; 0 Merkle leaves differ, 0 were compared\n")
    );
    // A copy of the tree, changed, with a name that would clear the screen.
    let copy = root.with_file_name("copy");
    fs::create_dir_all(copy.join("sub")).unwrap();
    fs::write(copy.join("a.conf"), "a = 12\n").unwrap();
    fs::write(copy.join("sub/a\n\u{1b}[2Jb"), "new").unwrap();
    fs::copy(root.join("sub/key.pem"), copy.join("moved-key.pem")).unwrap();
    fs::copy(root.join("sub/big"), copy.join("big")).unwrap();
    assert_eq!(run(&["fold", "copy", "-o", "two.brick"]).0, Some(0));
    let (code, out, _) = run(&["diff", "one.brick", "two.brick"]);
    assert_eq!(code, Some(1));
    for part in [
        &format!("> {0}/sub/big -> {1}/big", root.display(), copy.display()),
        &format!("+ {}/sub/a\\n\\u{{1b}}[2Jb", copy.display()),
        &format!("~ {}/a.conf: size 6 -> 7", copy.display()),
        "2 added, 1 removed, 1 changed, 1 moved",
    ] {
        assert!(out.contains(part), "no {part:?} in\n{out}");
    }
    let (_, out, _) = run(&["diff", "one.brick", "two.brick", "--json"]);
    let found: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&found["same"], found["added"].as_array().unwrap().len()), (&false.into(), 2));
    assert_eq!(found["changed"][0]["changes"][0], "content");

    let (code, out, err) = run(&["compact", &name]);
    assert!(code == Some(0) && out.contains("0 of 5 artifacts moved"), "{out}{err}");
    assert_eq!(run(&["diff", "one.brick", live.to_str().unwrap()]).0, Some(0));
}

#[test]
fn run_once_makes_sealed_bricks() {
    let (dir, root, _) = tree();
    let state = dir.path().join("state");
    let output = sfd(&["run", "--once", "--source", "scan", "--watch"])
        .arg(&root)
        .arg("--state")
        .arg(&state)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let sealed: Vec<_> = fs::read_dir(state.join("bricks"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(".sealed.brick"))
        .collect();
    assert_eq!(sealed.len(), 1);
    assert!(sfd(&["verify"]).arg(&sealed[0]).status().unwrap().success());
    compare(&root, &sealed[0]).unwrap();
    for entry in fs::read_dir(state.join("bricks")).unwrap() {
        use std::os::unix::fs::PermissionsExt;
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{}", entry.path().display());
    }
}
