//! For the public Infinite Map: pictures of the bricks, a manifest that names them, and a message when one is new.
//!
//! Off unless asked for. Files are in `infinite-map/builder/` of the state directory, so that any web server can serve them;
//! here they are served under `/builder/`, to whoever has the token:
//!
//! ```text
//! map/manifest.json   {"0,0": {"brick": "etc.rts.png", "timestamp": 1768.5}}; no other key, or its Rust loader fails
//! queue/NAME          PixelRTS pictures; the texture is there before the manifest names it
//! processed/          the same
//! ws                  {"type":"tile_update","x":0,"y":0,"brick":"etc.rts.png","timestamp":1768.5}
//! ```

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::broadcast;
use tracing::warn;

use super::App;
use super::counters::Present;
use super::error::ApiError;
use super::events::hex;
use super::slot::Slot;
use crate::brick::NewFile;

/// How often it is looked whether a brick has changed.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A picture is the whole brick: making pictures takes at most one part in so many of one core's time.
const REST_TIMES: u32 = 10;
/// A connection on which nothing moves is closed: something is sent so often.
const ALIVE_EVERY: Duration = Duration::from_secs(30);
/// Messages kept for a client that reads slowly; it loses its connection when it is further behind.
pub(super) const MESSAGES_MAX: usize = 64;

/// An entry of the manifest. It has these two keys and no other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    brick: String,
    /// Seconds since the Unix epoch; only ever rises.
    timestamp: f64,
}

/// Makes pictures until the other end of `stop` is dropped.
pub(super) struct Publisher {
    app: Arc<App>,
    dir: PathBuf,
    manifest: BTreeMap<String, Entry>,
    /// Merkle roots of the bricks as published.
    published: Vec<Option<String>>,
}

/// Where the files are.
pub(super) fn dir(state: &Path) -> PathBuf {
    state.join("infinite-map").join("builder")
}

impl Publisher {
    pub(super) fn new(app: Arc<App>, state: &Path) -> io::Result<Self> {
        let dir = dir(state);
        for name in ["map", "queue"] {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir.join(name))?;
        }
        match std::os::unix::fs::symlink("queue", dir.join("processed")) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        // Time stamps of an earlier run are only a floor for the new ones.
        let before = std::fs::read(dir.join("map/manifest.json")).unwrap_or_default();
        let manifest = serde_json::from_slice(&before).unwrap_or_default();
        let published = vec![None; app.slots.len()];
        Ok(Self { app, dir, manifest, published })
    }

    pub(super) fn run(mut self, stop: &Receiver<()>) {
        super::pool::be_nice();
        let mut rest = LOOK_EVERY;
        while stop.recv_timeout(rest) == Err(RecvTimeoutError::Timeout) {
            let started = Instant::now();
            for number in 0..self.app.slots.len() {
                if let Err(error) = self.publish(number) {
                    let slot = &self.app.slots[number];
                    warn!(brick = %slot.name, error = %error.what, "no picture for the Infinite Map; trying again");
                }
            }
            rest = LOOK_EVERY.max(started.elapsed() * REST_TIMES);
        }
    }

    /// Makes a picture of a brick if it has changed, then names it in the manifest, then tells.
    fn publish(&mut self, number: usize) -> Result<(), ApiError> {
        let slot: Arc<Slot> = Arc::clone(&self.app.slots[number]);
        // Closed ones keep their picture.
        let Ok(tree) = slot.with(|state| Ok(hex(&state.merkle.root()))) else { return Ok(()) };
        if self.published[number].as_ref() == Some(&tree) {
            return Ok(());
        }
        let name = format!("{}.rts.png", slot.name);
        let out = self.dir.join("queue").join(&name);
        slot.read(|brick| {
            brick.export_pixelrts(&out).map_err(|error| ApiError::unavailable(error.to_string()))
        })?;
        let key = format!("{number},0");
        let floor = self.manifest.get(&key).map_or(0.0, |entry| entry.timestamp + 0.001);
        let now = crate::agent::now_ns() as f64 / 1e9;
        let entry = Entry { brick: name, timestamp: now.max(floor) };
        let message = json!({
            "type": "tile_update", "x": number, "y": 0, "brick": entry.brick, "timestamp": entry.timestamp,
        });
        self.manifest.insert(key, entry);
        self.keep().map_err(|error| ApiError::unavailable(error.to_string()))?;
        self.published[number] = Some(tree);
        // Fails when nobody listens.
        let _ = self.app.public.send(message.to_string().into());
        Ok(())
    }

    fn keep(&self) -> Result<(), Box<dyn std::error::Error>> {
        let file = NewFile::create(&self.dir.join("map/manifest.json"))?;
        file.file().write_all(&serde_json::to_vec(&self.manifest)?)?;
        file.finish()?;
        Ok(())
    }
}

/// A file of the manifest or a texture.
pub(super) async fn file(State(app): State<Arc<App>>, uri: axum::http::Uri) -> Result<Response, ApiError> {
    let missing = || ApiError::not_found(format!("{}: there is no such thing here", uri.path()));
    let dir = app.public_dir.clone().ok_or_else(missing)?;
    let (path, media_type) = match uri.path() {
        "/builder/map/manifest.json" => (dir.join("map/manifest.json"), "application/json"),
        path => {
            let name =
                path.strip_prefix("/builder/queue/").or_else(|| path.strip_prefix("/builder/processed/"));
            // Not by joining what was asked for to a directory: by finding it among what there is.
            let known = app.slots.iter().map(|slot| format!("{}.rts.png", slot.name));
            let name = known.into_iter().find(|known| Some(known.as_str()) == name).ok_or_else(missing)?;
            (dir.join("queue").join(name), "image/png")
        }
    };
    let bytes = app
        .pool
        .run(move || {
            std::fs::read(&path).map_err(|error| ApiError::not_found(format!("{}: {error}", path.display())))
        })
        .await?;
    let headers = [(header::CONTENT_TYPE, media_type), (header::CACHE_CONTROL, "private, no-cache")];
    Ok((headers, bytes).into_response())
}

/// Tells a client of every new picture.
pub(super) async fn socket(
    State(app): State<Arc<App>>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, ApiError> {
    if app.public_dir.is_none() {
        return Err(ApiError::not_found("/builder/ws: there is no such thing here"));
    }
    let here = Present::new(&app.counters, |counters| &counters.streams);
    let messages = app.public.subscribe();
    Ok(upgrade.max_message_size(1024).on_upgrade(move |socket| tell(socket, messages, here)))
}

async fn tell(mut socket: WebSocket, mut messages: broadcast::Receiver<Arc<str>>, _here: Present) {
    let mut ticks = tokio::time::interval(ALIVE_EVERY);
    loop {
        tokio::select! {
            _ = ticks.tick() => if socket.send(Message::Ping(axum::body::Bytes::new())).await.is_err() {
                return;
            },
            message = messages.recv() => match message {
                Ok(text) => if socket.send(Message::Text(text.as_ref().into())).await.is_err() {
                    return;
                },
                // It is too slow, or the daemon ends.
                Err(_) => return,
            },
            // Nothing is expected; reading answers pings and sees the end.
            said = socket.recv() => if !matches!(said, Some(Ok(_))) {
                return;
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_two_keys() {
        let entry = Entry { brick: "etc.rts.png".into(), timestamp: 1768.5 };
        let text = serde_json::to_string(&BTreeMap::from([("0,0", &entry)])).unwrap();
        assert_eq!(text, r#"{"0,0":{"brick":"etc.rts.png","timestamp":1768.5}}"#);
        assert!(
            serde_json::from_str::<BTreeMap<String, Entry>>(r#"{"0,0":{"brick":"a","timestamp":1,"z":2}}"#)
                .is_err()
        );
    }
}
