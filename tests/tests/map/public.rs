//! For the public Infinite Map: a texture, then a manifest that names it, then a message.

use std::io::{Read, Write};

use anyhow::{Context, ensure};
use serde_json::Value;
use sfd_tests::wait_for;

use crate::{PATIENCE, Tree};

#[test]
fn a_picture_is_there_before_the_manifest_names_it_and_a_change_is_told() {
    let map = Tree::filled().serve_with(&["--infinite-map"]);
    let host = map.client.host();
    let entry = || -> anyhow::Result<Value> {
        let answer = map.client.get("/builder/map/manifest.json");
        ensure!(answer.status == 200, "{}", answer.text());
        Ok(answer.json())
    };
    let first = wait_for("the manifest", PATIENCE, entry);
    let name = format!("{}.rts.png", map.brick);
    assert_eq!(first.as_object().unwrap().len(), 1, "{first:#}");
    let keys: Vec<&String> = first["0,0"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["brick", "timestamp"], "no other key: the public loader fails on it");
    assert_eq!(first["0,0"]["brick"], name.as_str());
    for place in ["queue", "processed"] {
        let texture = map.client.get(&format!("/builder/{place}/{name}"));
        assert_eq!((texture.status, texture.header("content-type")), (200, Some("image/png")));
        assert_eq!(texture.body[..8], *b"\x89PNG\r\n\x1a\n");
        assert_eq!(
            texture.body,
            std::fs::read(map.state.join("infinite-map/builder").join(place).join(&name)).unwrap()
        );
    }
    // Without the token there is none of it.
    for path in ["/builder/map/manifest.json", "/builder/ws"] {
        assert_eq!(map.client.send("GET", path, &[("Host", &host)], b"").unwrap().status, 401);
    }
    let mut socket = map.client.connect();
    let request = format!(
        "GET /builder/ws HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        map.client.token
    );
    socket.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    std::fs::write(map.path("app.conf"), "port = 1\n").unwrap();
    // Frames of less than 126 bytes, or of less than 64 KiB; the first is a ping.
    let text = loop {
        let mut frame = [0; 2];
        socket.read_exact(&mut frame).unwrap();
        let mut len = usize::from(frame[1]);
        if len == 126 {
            let mut long = [0; 2];
            socket.read_exact(&mut long).unwrap();
            len = usize::from(u16::from_be_bytes(long));
        }
        let mut payload = vec![0; len];
        socket.read_exact(&mut payload).unwrap();
        match frame[0] {
            0x81 => break payload,
            0x89 => {}
            other => panic!("a frame of sort {other:#x}"),
        }
    };
    let message: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(
        (&message["type"], &message["x"], &message["y"]),
        (&"tile_update".into(), &0.into(), &0.into())
    );
    assert_eq!(message["brick"], name.as_str());
    let now = entry().unwrap();
    assert_eq!(now["0,0"]["timestamp"], message["timestamp"], "the manifest was there first");
    assert!(message["timestamp"].as_f64() > first["0,0"]["timestamp"].as_f64(), "time stamps rise");
    let manifest =
        std::fs::read(map.state.join("infinite-map/builder/map/manifest.json")).context("manifest").unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&manifest).unwrap(), now);
}
