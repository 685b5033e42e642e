//! The address: where it is told, to whom, and how it ends.

use std::process::Command;

use anyhow::{Context, ensure};
use rustix::process::Signal;
use serde_json::Value;
use sfd_tests::daemon::{Daemon, sfd};
use sfd_tests::wait_for;

use crate::client::Client;
use crate::{PATIENCE, Tree, mode_of};

#[test]
fn the_address_is_told_to_the_owner_only() {
    let map = Tree::new().serve();
    let file = map.state.join("map-url");
    let url = std::fs::read_to_string(&file).unwrap();
    assert_eq!(Client::of_url(url.trim()).token, map.client.token);
    for name in ["map-url", "map-open.html", "districts.json"] {
        // The places are kept once somebody asks for them.
        map.client.get("/api/bricks");
        assert_eq!(mode_of(&map.state.join(name)), 0o600, "{name}");
    }
    let output = sfd(&["map", "--no-open", "--state"]).arg(&map.state).output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stdout).unwrap()), (Some(0), url.clone()));
    let output = sfd(&["map", "--json", "--state"]).arg(&map.state).output().unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["url"], url.trim());
    let status = map.daemon.status().unwrap();
    assert_eq!(status["map"]["address"], format!("http://127.0.0.1:{}/", map.client.port));
    assert!(!status.to_string().contains(&map.client.token), "a status is shown to others");
    assert!(!map.daemon.log().contains(&map.client.token), "a log is read by others");
    let text = sfd(&["status", "--state"]).arg(&map.state).output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("map at http://127.0.0.1:") && !text.contains(&map.client.token), "{text}");
    // Ended, it leaves nothing that leads nowhere.
    let state = map.state.clone();
    assert_eq!(map.daemon.terminate(), Some(0));
    assert!(!file.exists() && !state.join("map-open.html").exists());
    let output = sfd(&["map", "--state"]).arg(&state).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no daemon runs"));
}

#[test]
fn a_reload_keeps_the_address_and_a_start_does_not_keep_the_token() {
    let tree = Tree::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listen = format!("127.0.0.1:{port}");
    let args = ["--source", "bpf", "--llm", "off", "--listen", &listen];
    let daemon = Daemon::spawn(&[&tree.root], &tree.state, &args);
    let first = Client::of_url(daemon.wait_event("map")["url"].as_str().unwrap());
    assert_eq!(first.port, port);
    daemon.wait_live();
    daemon.signal(Signal::HUP);
    let again = Client::of_url(daemon.wait_event("map")["url"].as_str().unwrap());
    assert_eq!((again.port, &again.token), (port, &first.token), "an open page goes on");
    daemon.wait_live();
    assert_eq!(first.get("/api/bricks").status, 200);
    assert_eq!(daemon.terminate(), Some(0));
    let daemon = Daemon::spawn(&[&tree.root], &tree.state, &args);
    let second = Client::of_url(daemon.wait_event("map")["url"].as_str().unwrap());
    assert_ne!(second.token, first.token);
    daemon.wait_live();
    assert_eq!(Client { port: second.port, ..first }.get("/api/bricks").status, 401);
    drop(daemon);
}

#[test]
fn the_next_port_is_taken_when_the_first_one_is() {
    let tree = Tree::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let listen = format!("127.0.0.1:{port}");
    let daemon =
        Daemon::spawn(&[&tree.root], &tree.state, &["--source", "scan", "--llm", "off", "--listen", &listen]);
    let client = Client::of_url(daemon.wait_event("map")["url"].as_str().unwrap());
    assert!(client.port > port && client.port < port + 10, "{port}, then {}", client.port);
    daemon.wait_live();
    assert!(daemon.log().contains("the port of the map is taken"), "{}", daemon.log());
}

#[test]
fn without_an_address_there_is_no_map() {
    let tree = Tree::new();
    let daemon =
        Daemon::live(&[&tree.root], &tree.state, &["--source", "scan", "--llm", "off", "--listen", "off"]);
    assert_eq!(daemon.status().unwrap()["map"], Value::Null);
    let output = sfd(&["map", "--state"]).arg(&tree.state).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("serves no map"));
    let output = sfd(&["run", "--watch", "/etc", "--listen", "nowhere"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("listen = \"nowhere\""));
}

#[test]
fn a_baseline_that_only_seals_listens_to_nobody() {
    let tree = Tree::new();
    tree.write("one", "x");
    let output = sfd(&["run", "--once", "--json", "--llm", "off", "--source", "scan", "--watch"])
        .arg(&tree.root)
        .arg("--state")
        .arg(&tree.state)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!String::from_utf8_lossy(&output.stdout).contains("\"event\":\"map\""));
}

#[test]
fn several_bricks_have_places_that_stay() {
    let tree = Tree::filled();
    let other = tree.root.with_file_name("other");
    std::fs::create_dir(&other).unwrap();
    let args = ["--source", "scan", "--llm", "off", "--listen", "127.0.0.1:0"];
    let places = || -> Vec<Value> {
        let daemon = Daemon::spawn(&[&tree.root, &other], &tree.state, &args);
        let client = Client::of_url(daemon.wait_event("map")["url"].as_str().unwrap());
        daemon.wait_live();
        let bricks = wait_for("both bricks", PATIENCE, || {
            let bricks = client.get("/api/bricks").json()["bricks"].as_array().context("bricks")?.clone();
            ensure!(bricks.iter().all(|brick| brick["closed"].is_null()), "{bricks:#?}");
            Ok(bricks)
        });
        assert_eq!(daemon.terminate(), Some(0));
        bricks
    };
    let first = places();
    let place = |brick: &Value| {
        let number = |value: &Value| value.as_u64().unwrap();
        (number(&brick["district"]["x"]), number(&brick["district"]["y"]), number(&brick["side"]))
    };
    let (ax, ay, a) = place(&first[0]);
    let (bx, by, b) = place(&first[1]);
    assert!(ax + a <= bx || bx + b <= ax || ay + a <= by || by + b <= ay, "{first:#?}");
    let second = places();
    assert_eq!((place(&second[0]), place(&second[1])), ((ax, ay, a), (bx, by, b)));
}

#[test]
fn json_is_compressed_for_who_wants_it() {
    let map = Tree::filled().serve();
    let side = map.about()["side"].as_u64().unwrap();
    let path = format!("/api/bricks/{}/labels?x=0&y=0&w={side}&h={side}&min=1", map.brick);
    let (plain, small) = (map.client.get(&path), map.client.get_with(&path, &[("Accept-Encoding", "gzip")]));
    assert_eq!((plain.header("content-encoding"), small.header("content-encoding")), (None, Some("gzip")));
    assert!(small.body.len() * 4 < plain.body.len(), "{} of {}", small.body.len(), plain.body.len());
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&small.body[..]), &mut text).unwrap();
    assert_eq!(text, plain.body);
    let tile = map
        .client
        .get_with(&format!("/api/bricks/{}/tile/0/0/0.png", map.brick), &[("Accept-Encoding", "gzip")]);
    assert_eq!(tile.header("content-encoding"), None, "a PNG is compressed already");
}

#[test]
fn half_a_request_does_not_keep_others_waiting() {
    let map = Tree::new().serve();
    // More than there may be at a time, each with half a request; they are dropped again, and whoever waits gets in.
    let half: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = map.client.connect();
            std::io::Write::write_all(&mut stream, b"GET /api/bricks HTTP/1.1\r\nHost: ").unwrap();
            stream
        })
        .collect();
    let waited = wait_for("the bound on connections", PATIENCE, || {
        let status = map.daemon.glance()?;
        let count = status["map"]["connections"].as_u64().context("no count")?;
        ensure!(count <= 64, "{count} connections");
        let waited = status["map"]["connections_waited"].as_u64().context("no count")?;
        ensure!(waited > 0, "{:#}", status["map"]);
        Ok(waited)
    });
    assert!(waited > 0);
    drop(half);
    assert_eq!(map.client.get("/api/bricks").status, 200);
    // The command line does not need the map for anything.
    let status =
        Command::new(sfd_tests::daemon::program()).args(["status", "--state"]).arg(&map.state).status();
    assert!(status.unwrap().success());
}
