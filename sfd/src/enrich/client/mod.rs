//! Asks a language model over HTTP: Ollama, or anything with the API of OpenAI (llama-server, LM Studio, vLLM).
//!
//! A [`Client`] belongs to one server and one model, both found when it connects. It asks one question at a time as
//! often as it is called; how many at once, how often and whether at all is decided by the stage around it.
//!
//! Nothing is trusted: an answer is read up to 256 KiB within one time limit, redirects and proxies are not followed, and
//! a server that is not on this host is refused unless that was allowed, on the very addresses that are then connected to.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;

use super::answer::Answer;
use super::prompt::{self, Prompt};
use super::question::Question;

mod endpoint;
mod error;
mod http;
mod ollama;
mod openai;
mod retry;

pub use endpoint::check_url;
pub use error::AskError;
pub use http::set_crypto_provider;
pub use retry::Backoff;

use http::Http;

/// Where Ollama listens.
pub const DEFAULT_URL: &str = "http://127.0.0.1:11434";
/// Where else a server is looked for when nobody has said where it is: LM Studio and llama-server, by their defaults.
pub const OTHER_URLS: [&str; 2] = ["http://127.0.0.1:1234", "http://127.0.0.1:8080"];
/// The model that is asked for by default: small, good at configuration and code, with a free licence (Apache-2.0).
pub const DEFAULT_MODEL: &str = "qwen2.5-coder";
/// A URL that means: look for a server at [`DEFAULT_URL`] and [`OTHER_URLS`].
pub const AUTO: &str = "auto";
/// Tokens of question and answer together, by default: what Ollama and llama-server give a small model anyway.
pub const CONTEXT_TOKENS: u32 = 4096;
/// Default of the time for one question: 7B takes 96 s on two cores.
pub const TIMEOUT: Duration = Duration::from_mins(2);

/// What is asked, and how.
#[derive(Clone)]
pub struct LlmConfig {
    /// [`AUTO`], or the address of a server such as `http://127.0.0.1:11434`.
    pub url: String,
    /// Name of the model. Without a tag it means the smallest one of that name that the server has.
    pub model: String,
    /// Sent as bearer token.
    pub api_key: Option<String>,
    /// Which API.
    pub protocol: Protocol,
    /// For one question, from the connection to the last byte.
    pub timeout: Duration,
    /// Whether contents may leave this host.
    pub allow_remote: bool,
    /// Tokens of question and answer together. Always the same for one server: Ollama loads the model again for another.
    pub context_tokens: u32,
}

impl Default for LlmConfig {
    fn default() -> Self {
        Self {
            url: AUTO.to_owned(),
            model: DEFAULT_MODEL.to_owned(),
            api_key: None,
            protocol: Protocol::Auto,
            timeout: TIMEOUT,
            allow_remote: false,
            context_tokens: CONTEXT_TOKENS,
        }
    }
}

impl std::fmt::Debug for LlmConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LlmConfig")
            .field("url", &self.url)
            .field("model", &self.model)
            .field("api_key", &self.api_key.as_ref().map(|_| "(set)"))
            .field("protocol", &self.protocol)
            .field("timeout", &self.timeout)
            .field("allow_remote", &self.allow_remote)
            .field("context_tokens", &self.context_tokens)
            .finish()
    }
}

/// An API of model servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// The one that the server has.
    Auto,
    /// `/api/chat`.
    Ollama,
    /// `/v1/chat/completions`.
    OpenAi,
}

/// A valid answer, and what it cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The answer.
    pub answer: Answer,
    /// Tokens of the question, as the server counts, or a quarter of its bytes when the server does not say.
    pub tokens_in: u64,
    /// Tokens of the answer, likewise.
    pub tokens_out: u64,
    /// From asking to the last byte.
    pub took: Duration,
    /// Of these, loading the model, where the server says so.
    pub loading: Duration,
}

/// What a server has written, before it is read as an answer.
#[derive(Debug, Default, PartialEq, Eq)]
struct Written {
    text: String,
    tokens_in: Option<u64>,
    tokens_out: Option<u64>,
    loading: Duration,
}

/// One server and one model.
#[derive(Clone, Debug)]
pub struct Client {
    http: Http,
    model: String,
    protocol: Protocol,
    context_tokens: u32,
}

impl Client {
    /// Finds the server, its API and the model on it. Asks the model nothing.
    ///
    /// # Errors
    /// None answers, it is refused, or it does not have the model; which, and what to do.
    pub async fn connect(config: &LlmConfig) -> Result<Self, AskError> {
        if config.url != AUTO {
            return Self::connect_to(&config.url, config).await;
        }
        // The first server that has the model; else what the first that answers has said; else that there is none.
        let mut first = None;
        for url in [DEFAULT_URL].into_iter().chain(OTHER_URLS) {
            match Self::connect_to(url, config).await {
                Ok(client) => return Ok(client),
                Err(AskError::Unreachable { .. } | AskError::NoModelServer { .. }) => {}
                Err(error) => {
                    first.get_or_insert(error);
                }
            }
        }
        Err(first.unwrap_or_else(|| AskError::Unreachable {
            endpoint: [DEFAULT_URL, OTHER_URLS[0], OTHER_URLS[1]].join(", "),
            why: "none of them answers".to_owned(),
        }))
    }

    async fn connect_to(url: &str, config: &LlmConfig) -> Result<Self, AskError> {
        let http = Http::open(url, config).await?;
        let ollama = match config.protocol {
            Protocol::Auto => ollama::answers(&http).await?,
            chosen => chosen == Protocol::Ollama,
        };
        let (protocol, models) = if ollama {
            (Protocol::Ollama, ollama::models(&http).await?)
        } else {
            (Protocol::OpenAi, openai::models(&http).await?)
        };
        let chosen = match protocol {
            Protocol::Ollama => ollama::choose(&models, &config.model),
            _ => openai::choose(&models, &config.model),
        };
        let Some(model) = chosen else {
            return Err(AskError::ModelMissing {
                endpoint: http.endpoint().to_owned(),
                model: config.model.clone(),
                fix: error::fix_of(protocol, &models),
            });
        };
        Ok(Self { http, model, protocol, context_tokens: config.context_tokens })
    }

    /// Name of the model, as the server is asked for it.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Which API the server has.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Address of the server.
    pub fn endpoint(&self) -> &str {
        self.http.endpoint()
    }

    /// Asks once; a second time, with less, when the server says that the question is too long for its context.
    ///
    /// # Errors
    /// No answer, or one that is not valid.
    pub async fn ask(&self, question: &Question) -> Result<Reply, AskError> {
        match self.ask_once(question).await {
            Err(AskError::TooLong { .. }) if !question.excerpt.is_empty() => {
                let less = Question { excerpt: question.excerpt.shrunk(), ..question.clone() };
                self.ask_once(&less).await
            }
            other => other,
        }
    }

    async fn ask_once(&self, question: &Question) -> Result<Reply, AskError> {
        let prompt = prompt::prompt(question, self.context_tokens);
        let (path, body) = match self.protocol {
            Protocol::Ollama => ("/api/chat", ollama::request(&self.model, &prompt, self.context_tokens)),
            _ => ("/v1/chat/completions", openai::request(&self.model, &prompt)),
        };
        let started = Instant::now();
        let written = self.written(path, &body).await?;
        let took = started.elapsed();
        let answer = Answer::parse(&written.text).map_err(|why| self.http.bad(why))?;
        Ok(Reply {
            answer,
            tokens_in: counted(written.tokens_in, prompt.len()),
            tokens_out: counted(written.tokens_out, written.text.len()),
            took,
            loading: written.loading.min(took),
        })
    }

    async fn written(&self, path: &str, body: &Value) -> Result<Written, AskError> {
        let (status, bytes, retry_after) = self.http.send(Method::POST, path, Some(body)).await?;
        if status != 200 {
            let error = self.http.refusal(status, &bytes, retry_after);
            return Err(match error {
                AskError::ModelMissing { endpoint, .. } => AskError::ModelMissing {
                    endpoint,
                    model: self.model.clone(),
                    fix: error::fix_of(self.protocol, &[]),
                },
                other => other,
            });
        }
        let value = http::one_document(&bytes).map_err(|why| self.http.bad(why))?;
        let read = match self.protocol {
            Protocol::Ollama => ollama::read(&value),
            _ => openai::read(&value),
        };
        read.map_err(|why| self.http.bad(why))
    }
}

/// What the server counts, when that can be: a token is at least a byte of what was sent or received, and the template
/// around a question is short. A server that claims more would use up the budget.
fn counted(said: Option<u64>, bytes: usize) -> u64 {
    const TEMPLATE_TOKENS: u64 = 256;
    let bytes = bytes as u64;
    said.filter(|n| *n > 0).map_or(bytes / 4, |n| n.min(bytes + TEMPLATE_TOKENS))
}

impl Prompt {
    /// As both APIs take it.
    fn messages(&self) -> Value {
        serde_json::json!([
            { "role": "system", "content": self.system },
            { "role": "user", "content": self.user },
        ])
    }
}
