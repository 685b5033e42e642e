//! A real llama-server with a tiny model, to be asked over HTTP.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::wait_for;

/// The name under which it serves its model.
pub const MODEL: &str = "qwen2.5-coder";
/// Questions at a time; the server divides its context among them.
const SLOTS: u32 = 2;
/// Tokens of question and answer: the tiny model has hardly more than single bytes as tokens.
const CONTEXT: u32 = 8192;
/// For the start. The model is read in milliseconds; on a bare machine the command gets the server first.
const READY_WITHIN: Duration = Duration::from_mins(10);
/// For a server that has been started before.
const READY_AGAIN_WITHIN: Duration = Duration::from_mins(1);

/// A running llama-server, killed when dropped.
pub struct LlamaServer {
    child: Child,
    port: u16,
    context: u32,
    key: Option<String>,
}

impl LlamaServer {
    /// Starts one on a free port and waits until it answers.
    ///
    /// # Panics
    /// When there is none: `SFD_LLAMA_SERVER` names the command, else `llama-server` is looked for on the path.
    pub fn start() -> Self {
        Self::with(CONTEXT, None)
    }

    /// One whose questions and answers have at most so many tokens together.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn with_context(tokens: u32) -> Self {
        Self::with(tokens, None)
    }

    /// One that wants to have a key.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn with_key(key: &str) -> Self {
        Self::with(CONTEXT, Some(key.to_owned()))
    }

    fn with(context: u32, key: Option<String>) -> Self {
        let port = free_port();
        let server = Self { child: spawn(port, context, key.as_deref()), port, context, key };
        server.wait_ready(READY_WITHIN);
        server
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Kills it, as the kernel does when memory is short.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again where it was.
    ///
    /// # Panics
    /// When it does not come back.
    pub fn restart(&mut self) {
        self.kill();
        self.child = spawn(self.port, self.context, self.key.as_deref());
        self.wait_ready(READY_AGAIN_WITHIN);
    }

    fn wait_ready(&self, limit: Duration) {
        wait_for("llama-server to have its model", limit, || healthy(self.port));
    }
}

impl Drop for LlamaServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(port: u16, context: u32, key: Option<&str>) -> Child {
    /// A command that gets the server first must not do so twice at the same time.
    static GOT: Once = Once::new();
    let program = std::env::var("SFD_LLAMA_SERVER").unwrap_or_else(|_| "llama-server".to_owned());
    GOT.call_once(|| {
        let _ = Command::new(&program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    });
    Command::new(&program)
        .arg("-m")
        .arg(model())
        .args(["--host", "127.0.0.1", "--port", &port.to_string(), "--alias", MODEL])
        .args(["-c", &(SLOTS * context).to_string(), "-np", &SLOTS.to_string(), "-t", "2", "--offline"])
        .args(key.iter().flat_map(|key| ["--api-key", key]))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| {
            panic!(
                "{program}: {error}; this suite needs llama.cpp's llama-server on the path, or its command in SFD_LLAMA_SERVER"
            )
        })
}

/// Random weights in the form of Qwen 2: 155 KB, no learned content.
fn model() -> PathBuf {
    std::env::var_os("SFD_TINY_MODEL").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/llm/tiny-qwen2-q8.gguf"),
        PathBuf::from,
    )
}

/// A port that nobody listens on just now.
///
/// # Panics
/// When there is none.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

fn healthy(port: u16) -> Result<()> {
    let limit = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(b"GET /health HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).context("no answer")?;
    ensure!(head.ends_with(b" 200"), "{}", String::from_utf8_lossy(&head));
    Ok(())
}
