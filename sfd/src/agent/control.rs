//! The control socket: one JSON line in, one or more JSON lines out.
//!
//! `sfd.sock` in the state directory is 0600, so whoever can connect may read the bricks anyway.

use std::borrow::Cow;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot};
use tracing::{debug, warn};

use super::labels::Words;
use super::worker::Order;

use crate::collect::{Base, Change, Event, LossReason, Writer};
use crate::enrich::Enricher;

/// Longest request line; the longest real one has a few dozen bytes.
const REQUEST_MAX: u64 = 4096;
/// Most connections at a time; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 32;

/// What a client hears whose order came too late.
const ENDING: &str = "the daemon is ending";

/// What a client asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "op")]
pub enum Request {
    /// One JSON document: the status.
    Status,
    /// One JSON line an event, until the client goes away.
    Events,
    /// `{"held":true}` when the brick of that name is between two commits. There is none until the client sends a line, or
    /// for a moment at most; then what is written over is kept in a file beside it until the client goes away.
    Keep {
        /// Name of the brick.
        name: String,
    },
    /// A language model is asked about an artifact now: `{"described":true}` once its words are in the catalog.
    Describe {
        /// Its absolute path, raw bytes in base64.
        path: String,
    },
    /// The brick of that name gets its canonical layout: `{"compacted":{...}}`.
    Compact {
        /// Name of the brick.
        name: String,
    },
}

/// Answers requests until dropped.
pub(super) struct Server {
    /// Gives the status as JSON.
    pub(super) status: Arc<dyn Fn() -> String + Send + Sync>,
    /// Raw events as JSON lines; slow readers lose some and are told how many.
    pub(super) events: broadcast::Sender<Arc<str>>,
    /// What the worker is to do between two batches.
    pub(super) errands: mpsc::Sender<Order>,
    /// Reaches the language model; `None`: there is none.
    pub(super) enricher: Option<Enricher>,
}

impl Server {
    /// Binds the socket, replacing one that a dead daemon left.
    pub(super) fn bind(path: &Path) -> std::io::Result<UnixListener> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // The state directory is 0700, so nobody can connect before the mode is set.
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        Ok(listener)
    }

    pub(super) async fn serve(self: Arc<Self>, listener: UnixListener) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let server = Arc::clone(&self);
                    tokio::spawn(async move {
                        if let Err(error) = server.answer(stream).await {
                            debug!(%error, "control connection ended");
                        }
                        drop(slot);
                    });
                }
                Err(error) => {
                    warn!(%error, "control socket");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn answer(&self, stream: UnixStream) -> std::io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut line = String::new();
        let mut reader = BufReader::new(read.take(REQUEST_MAX));
        reader.read_line(&mut line).await?;
        match serde_json::from_str(&line) {
            Ok(Request::Status) => {
                write.write_all((self.status)().as_bytes()).await?;
                write.write_all(b"\n").await
            }
            Ok(Request::Events) => {
                let mut events = self.events.subscribe();
                loop {
                    match events.recv().await {
                        Ok(line) => {
                            write.write_all(line.as_bytes()).await?;
                            write.write_all(b"\n").await?;
                        }
                        Err(broadcast::error::RecvError::Lagged(count)) => {
                            write.write_all(format!("{{\"lagged\":{count}}}\n").as_bytes()).await?;
                        }
                        Err(broadcast::error::RecvError::Closed) => return Ok(()),
                    }
                }
            }
            Ok(Request::Keep { name }) => {
                let (tell, granted) = oneshot::channel();
                let (released, release) = std::sync::mpsc::channel();
                let sent = self.errands.send(Order::Keep { name, granted: tell, release }).await;
                let (answer, kept) = match (sent, granted.await) {
                    (Ok(()), Ok(Ok(kept))) => (serde_json::json!({ "held": true }), Some(kept)),
                    (Ok(()), Ok(Err(why))) => (serde_json::json!({ "error": why }), None),
                    _ => (serde_json::json!({ "error": ENDING }), None),
                };
                write.write_all(format!("{answer}\n").as_bytes()).await?;
                if kept.is_some() {
                    line.clear();
                    reader.read_line(&mut line).await?;
                    drop(released);
                    // Nothing more comes but the end.
                    line.clear();
                    reader.read_line(&mut line).await?;
                }
                Ok(())
            }
            Ok(Request::Describe { path }) => {
                let answer = match self.describe(&path).await {
                    Ok(()) => serde_json::json!({ "described": true }),
                    Err(why) => serde_json::json!({ "error": why }),
                };
                write.write_all(format!("{answer}\n").as_bytes()).await
            }
            Ok(Request::Compact { name }) => {
                let (reply, answer) = oneshot::channel();
                let sent = self.errands.send(Order::Compact { name, reply }).await;
                let answer = match (sent, answer.await) {
                    (Ok(()), Ok(Ok(compaction))) => serde_json::json!({ "compacted": compaction }),
                    (Ok(()), Ok(Err(why))) => serde_json::json!({ "error": why }),
                    _ => serde_json::json!({ "error": ENDING }),
                };
                write.write_all(format!("{answer}\n").as_bytes()).await
            }
            Err(error) => {
                let answer = serde_json::json!({ "error": format!("request not understood: {error}") });
                write.write_all(format!("{answer}\n").as_bytes()).await
            }
        }
    }
}

impl Server {
    /// Asks the model about one artifact, and waits until its words are in the catalog.
    async fn describe(&self, path: &str) -> Result<(), String> {
        let path = BASE64.decode(path).map_err(|error| format!("path: {error}"))?;
        let path = PathBuf::from(OsString::from_vec(path));
        let enricher =
            self.enricher.as_ref().ok_or("the daemon runs without a language model (--llm off)")?;
        let (reply, answer) = oneshot::channel();
        let sent = self.errands.send(Order::Words(Words::Find { path, reply })).await;
        let (Ok(()), Ok(found)) = (sent, answer.await) else { return Err(ENDING.into()) };
        enricher.ask_now(found?).await.map_err(|_| ENDING.to_owned())?
    }
}

/// An event as `sfd events --json` shows it.
#[derive(Debug, Serialize)]
pub(super) struct EventLine<'a> {
    at_ns: i64,
    what: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    op: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dev: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ino: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<LossReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    writer: Option<&'a Writer>,
}

impl<'a> From<&'a Event> for EventLine<'a> {
    fn from(event: &'a Event) -> Self {
        let mut line = Self {
            at_ns: event.at_ns,
            what: "mounts",
            op: None,
            name: None,
            dev: None,
            ino: None,
            pid: None,
            reason: None,
            count: None,
            writer: event.writer.as_ref(),
        };
        match &event.change {
            Change::Inode { id, op, .. } => {
                line.what = "inode";
                line.op = Some(op.name());
                (line.dev, line.ino) = (Some(id.dev), Some(id.ino));
            }
            Change::Name { base, name, op, .. } => {
                line.what = "name";
                line.op = Some(op.name());
                line.name = Some(name.to_string_lossy());
                if let Base::Dir(id) | Base::Root(id) = base {
                    (line.dev, line.ino) = (Some(id.dev), Some(id.ino));
                }
            }
            Change::Process { pid, op } => {
                line.what = "process";
                line.op = Some(op.name());
                line.pid = Some(*pid);
            }
            Change::Module { name, op } => {
                line.what = "module";
                line.op = Some(op.name());
                line.name = Some(Cow::Borrowed(name));
            }
            Change::Mounts => {}
            Change::Lost { reason, count } => {
                line.what = "lost";
                (line.reason, line.count) = (Some(*reason), Some(*count));
            }
        }
        line
    }
}
