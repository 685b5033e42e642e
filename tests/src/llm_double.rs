//! A model server that can be made to fail: the wire protocols of Ollama and of OpenAI, in front of a real llama-server
//! or with a made-up answer.
//!
//! Ollama itself is a server of this sort in front of llama.cpp. What it does differently from llama-server is here: models
//! that are loaded when they are asked for, again for another context, 404 for one that it does not have, 503 when too
//! many wait, errors under status 200.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Method, Response, StatusCode, Uri};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// Which protocol it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Ollama's own.
    Ollama,
    /// That of llama-server.
    OpenAi,
}

/// What it does to questions; what it says of itself and its models stays right.
#[derive(Clone)]
pub enum Fault {
    /// Nothing for ever.
    Hung,
    /// A good answer at one byte a second.
    Drip,
    /// This status with an error of the usual form.
    Status(u16),
    /// This status for so many questions, then none.
    Storm(u16, usize),
    /// A good answer of which the second half is missing.
    Truncated,
    /// An answer with a summary of 100 000 characters.
    LongStrings,
    /// An answer with a byte that is not UTF-8.
    InvalidUtf8,
    /// `done: false`, or no `finish_reason`.
    NotDone,
    /// `done_reason` or `finish_reason` are `length`.
    CutOff,
    /// Half of an answer, then an error, under status 200.
    MidStream,
    /// 10 MB.
    Huge,
    /// JSON that is no answer.
    WrongSchema,
    /// The connection ends in the middle of an answer.
    Broken,
    /// To another host.
    Redirect,
    /// The question has more tokens than fit, as long as it is longer than so many bytes.
    TooLong(usize),
    /// The model says what this makes of the question.
    Says(Arc<dyn Fn(&str) -> String + Send + Sync>),
}

/// What a fault-free double without a real server behind it answers.
pub const CANNED: &str =
    r#"{"title":"Canned","summary":"A made-up answer.","tags":["canned"],"risk":1,"reasons":["made up"]}"#;

#[derive(Default)]
struct Inside {
    fault: Option<Fault>,
    requests: Vec<String>,
    context: Option<Value>,
    loads: usize,
    load_delay: Duration,
}

struct Shared {
    wire: Wire,
    upstream: Option<String>,
    client: reqwest::Client,
    models: Vec<(String, u64)>,
    inside: Mutex<Inside>,
}

impl Shared {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The server, with its own threads; gone when dropped.
pub struct Double {
    shared: Arc<Shared>,
    address: SocketAddr,
    serving: Option<JoinHandle<()>>,
    runtime: Option<Runtime>,
}

impl Double {
    /// Starts one in front of `upstream`, the address of a llama-server, or with [`CANNED`] answers.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(wire: Wire, upstream: Option<String>) -> Self {
        Self::with_models(wire, upstream, &[("qwen2.5-coder:1.5b", 986_000_000)])
    }

    /// As [`Self::start`], with these models and their sizes. In front of a real server of the same protocol that
    /// server's models are shown.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn with_models(wire: Wire, upstream: Option<String>, models: &[(&str, u64)]) -> Self {
        sfd::enrich::client::set_crypto_provider();
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]);
        let shared = Arc::new(Shared {
            wire,
            upstream,
            client: client.build().expect("an HTTP client"),
            models: models.iter().map(|(name, size)| ((*name).to_owned(), *size)).collect(),
            inside: Mutex::default(),
        });
        let mut double = Self { shared, address: ([127, 0, 0, 1], 0).into(), serving: None, runtime: None };
        double.resume();
        double
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on.
    pub fn set_fault(&self, fault: impl Into<Option<Fault>>) {
        self.shared.inside().fault = fault.into();
    }

    /// How long a model takes to be loaded.
    pub fn set_load_delay(&self, delay: Duration) {
        self.shared.inside().load_delay = delay;
    }

    /// How often a model was loaded.
    pub fn loads(&self) -> usize {
        self.shared.inside().loads
    }

    /// The body of every question so far, whatever became of it.
    pub fn requests(&self) -> Vec<String> {
        self.shared.inside().requests.clone()
    }

    /// Ends it with all its connections: a server that was killed.
    pub fn halt(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
        }
        // Connections have tasks of their own, which end with their runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
        self.shared.inside().context = None;
    }

    /// Starts it again where it was.
    ///
    /// # Panics
    /// When its port has been taken.
    pub fn resume(&mut self) {
        let runtime = self.runtime.get_or_insert_with(|| {
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("a runtime")
        });
        let listener = runtime.block_on(TcpListener::bind(self.address)).expect("its port");
        self.address = listener.local_addr().expect("an address");
        let router = Router::new().fallback(serve).with_state(Arc::clone(&self.shared));
        self.serving = Some(runtime.spawn(async move {
            // It ends with its runtime.
            let _ = axum::serve(listener, router).await;
        }));
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.halt();
    }
}

fn reply(status: u16, body: impl Into<Body>) -> Response<Body> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Response::builder().status(status).body(body.into()).expect("a valid response")
}

fn reply_json(status: u16, value: &Value) -> Response<Body> {
    reply(status, value.to_string())
}

async fn serve(State(shared): State<Arc<Shared>>, method: Method, uri: Uri, body: Bytes) -> Response<Body> {
    match (shared.wire, method.as_str(), uri.path()) {
        (Wire::Ollama, "GET", "/api/version") => reply_json(200, &json!({"version": "0.13.0"})),
        (Wire::Ollama, "GET", "/api/tags") => {
            let models = shared.models.iter();
            let models = models.map(|(name, size)| json!({"name": name, "model": name, "size": size}));
            reply_json(200, &json!({"models": models.collect::<Vec<_>>()}))
        }
        (Wire::OpenAi, "GET", "/v1/models") => models(&shared).await,
        (Wire::Ollama, "POST", "/api/chat") | (Wire::OpenAi, "POST", "/v1/chat/completions") => {
            chat(&shared, &body).await
        }
        _ => reply_json(404, &failure(shared.wire, 404)),
    }
}

/// The real server's models, or those made up.
async fn models(shared: &Shared) -> Response<Body> {
    let Some(upstream) = &shared.upstream else {
        let models = shared.models.iter().map(|(name, _)| json!({"id": name, "object": "model"}));
        return reply_json(200, &json!({"object": "list", "data": models.collect::<Vec<_>>()}));
    };
    match shared.client.get(format!("{upstream}/v1/models")).send().await {
        Ok(response) => reply(response.status().as_u16(), response.bytes().await.unwrap_or_default()),
        Err(error) => reply_json(502, &json!({"error": {"message": error.to_string()}})),
    }
}

/// As the protocol says it.
fn failure(wire: Wire, status: u16) -> Value {
    match wire {
        Wire::Ollama => json!({"error": format!("made up {status}")}),
        Wire::OpenAi => json!({"error": {"message": format!("made up {status}"), "code": status}}),
    }
}

async fn chat(shared: &Shared, body: &Bytes) -> Response<Body> {
    let text = String::from_utf8_lossy(body).into_owned();
    let request: Value = serde_json::from_str(&text).unwrap_or_default();
    let (fault, delay) = begin(shared, text, &request);
    if let Some(delay) = delay {
        tokio::time::sleep(delay).await;
    }
    let model = request["model"].as_str().unwrap_or_default();
    if shared.wire == Wire::Ollama && !shared.models.iter().any(|(name, _)| name == model) {
        return reply_json(404, &json!({"error": format!("model '{model}' not found")}));
    }
    match fault {
        None => match answer(shared, &request).await {
            Ok(value) => reply_json(200, &value),
            Err((status, value)) => reply_json(status, &value),
        },
        Some(fault) => faulty(shared.wire, &fault, &request, body.len()),
    }
}

/// Notes the question. Returns what is to go wrong with it, and how long a model is loaded first.
fn begin(shared: &Shared, text: String, request: &Value) -> (Option<Fault>, Option<Duration>) {
    let mut inside = shared.inside();
    inside.requests.push(text);
    let fault = inside.fault.clone();
    if let Some(Fault::Storm(status, left)) = &fault {
        inside.fault = (*left > 1).then(|| Fault::Storm(*status, left - 1));
    }
    let context = request["options"]["num_ctx"].clone();
    let loads = shared.wire == Wire::Ollama && inside.context.as_ref() != Some(&context);
    if loads {
        inside.context = Some(context);
        inside.loads += 1;
    }
    (fault, loads.then_some(inside.load_delay))
}

/// A good answer: the real server's, or the made-up one.
async fn answer(shared: &Shared, request: &Value) -> Result<Value, (u16, Value)> {
    let Some(upstream) = &shared.upstream else { return Ok(dress(shared.wire, CANNED, "stop")) };
    let gone = |error: &dyn std::fmt::Display| match shared.wire {
        Wire::Ollama => (500, json!({"error": format!("llama runner process has terminated: {error}")})),
        Wire::OpenAi => (502, json!({"error": {"message": error.to_string()}})),
    };
    let asked = match shared.wire {
        Wire::OpenAi => request.clone(),
        Wire::Ollama => json!({
            "model": request["model"], "messages": request["messages"],
            "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": request["format"]}},
            "max_tokens": request["options"]["num_predict"], "temperature": request["options"]["temperature"],
            "seed": request["options"]["seed"],
        }),
    };
    let url = format!("{upstream}/v1/chat/completions");
    let response = shared.client.post(url).body(asked.to_string()).send().await.map_err(|e| gone(&e))?;
    let status = response.status().as_u16();
    let bytes = response.bytes().await.map_err(|e| gone(&e))?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|e| gone(&e))?;
    match (shared.wire, status) {
        (Wire::OpenAi, 200) => Ok(value),
        (Wire::OpenAi, _) => Err((status, value)),
        (Wire::Ollama, 200) => {
            let choice = &value["choices"][0];
            let text = choice["message"]["content"].as_str().unwrap_or_default();
            let mut dressed = dress(shared.wire, text, choice["finish_reason"].as_str().unwrap_or_default());
            dressed["prompt_eval_count"] = value["usage"]["prompt_tokens"].clone();
            dressed["eval_count"] = value["usage"]["completion_tokens"].clone();
            Ok(dressed)
        }
        (Wire::Ollama, _) => Err((status, json!({"error": value["error"]["message"]}))),
    }
}

/// A text of the model in the protocol's clothes.
fn dress(wire: Wire, text: &str, reason: &str) -> Value {
    match wire {
        Wire::Ollama => json!({
            "model": "qwen2.5-coder:1.5b", "created_at": "2026-01-01T00:00:00Z",
            "message": {"role": "assistant", "content": text}, "done": true, "done_reason": reason,
            "total_duration": 1_000_000, "load_duration": 1000, "prompt_eval_count": 100, "eval_count": 50,
        }),
        Wire::OpenAi => json!({
            "object": "chat.completion", "model": "qwen2.5-coder",
            "choices": [{"index": 0, "finish_reason": reason, "message": {"role": "assistant", "content": text}}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150},
        }),
    }
}

fn faulty(wire: Wire, fault: &Fault, request: &Value, len: usize) -> Response<Body> {
    let good = dress(wire, CANNED, "stop");
    let long =
        |n: usize| json!({"title": "t", "summary": "s".repeat(n), "tags": [], "risk": 0, "reasons": []});
    match fault {
        Fault::Hung => reply(200, Body::from_stream(stream::pending::<Result<Bytes, Infallible>>())),
        Fault::Drip => reply(200, Body::from_stream(drip(good.to_string().into_bytes()))),
        Fault::Status(status) | Fault::Storm(status, _) => reply_json(*status, &failure(wire, *status)),
        Fault::Truncated => {
            let text = good.to_string();
            reply(200, text[..text.len() / 2].to_owned())
        }
        Fault::LongStrings => reply_json(200, &dress(wire, &long(100_000).to_string(), "stop")),
        Fault::InvalidUtf8 => {
            let mut bytes = good.to_string().into_bytes();
            let at = bytes.windows(6).position(|part| part == b"Canned").unwrap_or_default();
            bytes[at] = 0xff;
            reply(200, bytes)
        }
        Fault::NotDone => {
            let mut value = good;
            value["done"] = json!(false);
            if wire == Wire::OpenAi {
                value["choices"][0]["finish_reason"] = Value::Null;
            }
            reply_json(200, &value)
        }
        Fault::CutOff => reply_json(200, &dress(wire, &CANNED[..40], "length")),
        Fault::MidStream => {
            let mut value = good;
            value["done"] = json!(false);
            reply(200, format!("{value}\n{}\n", failure(wire, 500)))
        }
        Fault::Huge => reply_json(200, &dress(wire, &long(10_000_000).to_string(), "stop")),
        Fault::WrongSchema => reply_json(200, &dress(wire, r#"{"kind":"config","risk":"low"}"#, "stop")),
        Fault::Broken => {
            let half = Bytes::from(good.to_string()[..60].to_owned());
            let broken = Err(std::io::Error::other("made up"));
            reply(200, Body::from_stream(stream::iter([Ok(half), broken])))
        }
        Fault::Redirect => {
            let mut response = reply(307, "");
            let elsewhere = "http://192.0.2.1/elsewhere".parse().expect("a header");
            response.headers_mut().insert("location", elsewhere);
            response
        }
        Fault::TooLong(max) if len > *max => reply_json(
            400,
            &json!({"error": {"code": 400, "type": "exceed_context_size_error", "message": "too long"}}),
        ),
        Fault::TooLong(_) => reply_json(200, &good),
        Fault::Says(make) => {
            let user = request["messages"][1]["content"].as_str().unwrap_or_default();
            reply_json(200, &dress(wire, &make(user), "stop"))
        }
    }
}

/// One byte a second.
fn drip(bytes: Vec<u8>) -> impl stream::Stream<Item = Result<Bytes, Infallible>> {
    stream::unfold(VecDeque::from(bytes), |mut left| async move {
        let byte = left.pop_front()?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        Some((Ok(Bytes::from(vec![byte])), left))
    })
}
