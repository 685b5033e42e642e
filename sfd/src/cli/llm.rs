//! The language model: its flags, its configuration, and what `sfd doctor` says of it.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use toml::Value;

use super::CliError;
use super::config::{Config, Layers};
use crate::artifact::kinds::Kind;
use crate::enrich::client::{self, AUTO, CONTEXT_TOKENS, DEFAULT_MODEL};
use crate::enrich::{AskError, Client, Excerpt, LlmConfig, Protocol, Question, Reply};

/// A value of `llm` that means: ask no model.
pub(super) const OFF: &str = "off";
/// A model that takes longer for an artifact labels fewer than 120 an hour, and a smaller one is worth a thought.
const SLOW: Duration = Duration::from_secs(30);
/// A key that is longer is another file, named by mistake.
const KEY_BYTES_MAX: usize = 4096;

/// Which language model is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct LlmArgs {
    /// Server with a language model that says what artifacts are: its address, auto (look for one on this host) or off
    /// [default: auto; of sfd fold: off]
    #[arg(long, value_name = "URL")]
    llm: Option<String>,
    /// Name of the model [default: qwen2.5-coder, in the smallest size that the server has]
    #[arg(long, value_name = "NAME")]
    llm_model: Option<String>,
    /// Allow a server that is not on this host: parts of files are sent to it
    #[arg(long)]
    allow_remote_llm: bool,
}

impl LlmArgs {
    /// Whether a server was named, or `auto`.
    pub(super) fn is_wanted(&self) -> bool {
        self.llm.as_deref().is_some_and(|llm| llm != OFF)
    }

    /// Sets what was given.
    pub(super) fn apply(&self, layers: &mut Layers) {
        if let Some(url) = &self.llm {
            layers.set("llm", Value::String(url.clone()), "--llm".into());
        }
        if let Some(model) = &self.llm_model {
            layers.set("llm_model", Value::String(model.clone()), "--llm-model".into());
        }
        if self.allow_remote_llm {
            layers.set("allow_remote_llm", Value::Boolean(true), "--allow-remote-llm".into());
        }
    }
}

impl Config {
    /// Whether the keys of the model can be meant.
    pub(super) fn check_llm(&self) -> Result<(), CliError> {
        if self.llm != OFF && self.llm != AUTO {
            client::check_url(&self.llm)
                .map_err(|error| CliError::usage(format!("llm: {error} (or auto, or off)")))?;
        }
        if self.llm_model.trim().is_empty() {
            return Err(CliError::usage(format!("llm_model is empty; the default is {DEFAULT_MODEL}")));
        }
        if self.llm_concurrency == 0 || self.llm_concurrency > 16 {
            return Err(CliError::usage(format!(
                "llm_concurrency = {}: must be 1 to 16",
                self.llm_concurrency
            )));
        }
        if self.llm_timeout_s == 0 || self.llm_timeout_s > 3600 {
            return Err(CliError::usage(format!(
                "llm_timeout_s = {}: must be 1 to 3600",
                self.llm_timeout_s
            )));
        }
        Ok(())
    }

    /// Which model is asked, and how; nothing when none is.
    ///
    /// # Errors
    /// The file with the key cannot be read or holds none.
    pub(super) fn llm(&self) -> Result<Option<LlmConfig>, CliError> {
        if self.llm == OFF {
            return Ok(None);
        }
        let key = self.llm_api_key_file.as_path();
        let api_key = if key.as_os_str().is_empty() { None } else { Some(read_key(key)?) };
        Ok(Some(LlmConfig {
            url: self.llm.clone(),
            model: self.llm_model.clone(),
            api_key,
            protocol: Protocol::Auto,
            timeout: Duration::from_secs(self.llm_timeout_s),
            allow_remote: self.allow_remote_llm,
            context_tokens: CONTEXT_TOKENS,
        }))
    }
}

/// The key in a file: one line of visible characters.
fn read_key(path: &Path) -> Result<String, CliError> {
    let text = std::fs::read_to_string(path).map_err(|error| CliError::path(path, &error))?;
    let key = text.trim();
    if key.is_empty() || key.len() > KEY_BYTES_MAX || !key.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(CliError::usage(format!(
            "{}: not a key; it must be one line of visible characters",
            path.display()
        )));
    }
    Ok(key.to_owned())
}

/// What was found out about the model.
#[derive(Debug, Default, Serialize)]
pub(super) struct Measured {
    reachable: bool,
    endpoint: Option<String>,
    protocol: Option<Protocol>,
    model: Option<String>,
    /// For one artifact, without loading the model.
    seconds: Option<f64>,
    loading_s: Option<f64>,
    tokens_in: Option<u64>,
    tokens_out: Option<u64>,
    error: Option<String>,
}

/// What an operator is told about it.
#[derive(Debug)]
pub(super) struct Finding {
    /// Nothing is wrong.
    pub(super) good: bool,
    pub(super) found: String,
    pub(super) fix: Option<String>,
    pub(super) measured: Measured,
}

/// Connects to the model and asks it one real question: what the configuration of SFD is.
pub(super) fn measure(config: &Config) -> Result<Finding, CliError> {
    let Some(llm) = config.llm()? else {
        let found = "off; rules say what artifacts are".to_owned();
        return Ok(Finding { good: true, found, fix: None, measured: Measured::default() });
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::io("tokio runtime", &error))?;
    let text = Layers::defaults()?.print();
    let question = Question {
        kind: Kind::Toml,
        facts: Vec::new(),
        excerpt: Excerpt::of(text.as_bytes()),
        len: text.len() as u64,
    };
    Ok(runtime.block_on(async {
        match Client::connect(&llm).await {
            Err(error) => not_connected(&llm, &error),
            Ok(client) => {
                let reply = client.ask(&question).await;
                asked(&client, reply)
            }
        }
    }))
}

fn not_connected(llm: &LlmConfig, error: &AskError) -> Finding {
    let reachable =
        !matches!(error, AskError::Unreachable { .. } | AskError::Refused { .. } | AskError::Address { .. });
    let measured = Measured { reachable, error: Some(error.to_string()), ..Measured::default() };
    if llm.url == AUTO && !reachable {
        return Finding {
            good: true,
            found:
                "no model server on this host (Ollama, LM Studio, llama-server); rules say what artifacts are"
                    .to_owned(),
            fix: Some(format!(
                "for better words start Ollama, and: ollama pull {DEFAULT_MODEL}:1.5b; for none: --llm off"
            )),
            measured,
        };
    }
    let fix = Some("until then rules say what artifacts are; --llm off asks no model".to_owned());
    Finding { good: false, found: error.to_string(), fix, measured }
}

fn asked(client: &Client, reply: Result<Reply, AskError>) -> Finding {
    let mut measured = Measured {
        reachable: true,
        endpoint: Some(client.endpoint().to_owned()),
        protocol: Some(client.protocol()),
        model: Some(client.model().to_owned()),
        ..Measured::default()
    };
    let reply = match reply {
        Ok(reply) => reply,
        Err(error) => {
            measured.error = Some(error.to_string());
            let fix = match &error {
                AskError::Timeout { .. } => faster_than(client.model()),
                _ => "until then rules say what artifacts are; --llm off asks no model".to_owned(),
            };
            return Finding { good: false, found: error.to_string(), fix: Some(fix), measured };
        }
    };
    let took = reply.took.saturating_sub(reply.loading);
    measured.seconds = Some(took.as_secs_f64());
    measured.loading_s = Some(reply.loading.as_secs_f64());
    measured.tokens_in = Some(reply.tokens_in);
    measured.tokens_out = Some(reply.tokens_out);
    let tokens = reply.tokens_in + reply.tokens_out;
    let speed = tokens as f64 / took.as_secs_f64().max(0.001);
    let protocol = match client.protocol() {
        Protocol::Ollama => "Ollama",
        _ => "API of OpenAI",
    };
    let found = format!(
        "{} at {} ({protocol}): about {:.1} s an artifact ({} tokens read, {} written, {speed:.0} a second)",
        client.model(),
        client.endpoint(),
        took.as_secs_f64(),
        reply.tokens_in,
        reply.tokens_out,
    );
    let good = took <= SLOW;
    Finding { good, found, fix: (!good).then(|| faster_than(client.model())), measured }
}

/// What to do about a slow model.
fn faster_than(model: &str) -> String {
    let smaller = match model {
        _ if model.contains("0.5b") => {
            return "no model is faster on this host; --llm off asks none".to_owned();
        }
        _ if model.contains("1.5b") => "0.5b",
        _ => "1.5b",
    };
    let name = format!("{DEFAULT_MODEL}:{smaller}");
    format!("slow here; a smaller one: ollama pull {name}, then --llm-model {name}; or --llm off")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<Config, CliError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Layers::load(Some(file.path()), |_| None)?.config()
    }

    #[test]
    fn the_keys_of_the_model_are_checked() {
        let llm = config("").unwrap().llm().unwrap().unwrap();
        assert_eq!((llm.url.as_str(), llm.model.as_str(), llm.allow_remote), (AUTO, DEFAULT_MODEL, false));
        assert!(config("llm = 'off'").unwrap().llm().unwrap().is_none());
        for (text, why) in [
            ("llm = 'ollama'", "llm: ollama: "),
            ("llm = 'http://u:secret@127.0.0.1'", "llm_api_key_file"),
            ("llm_model = ' '", "llm_model is empty"),
            ("llm_concurrency = 0", "1 to 16"),
            ("llm_timeout_s = 0", "1 to 3600"),
        ] {
            let error = config(text).unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains("secret"), "{text}: {error}");
        }
    }

    #[test]
    fn a_key_is_one_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let of = |text: &str| {
            std::fs::write(file.path(), text).unwrap();
            let config = config(&format!("llm_api_key_file = '{}'", file.path().display())).unwrap();
            config.llm().map(|llm| llm.unwrap().api_key.unwrap())
        };
        assert_eq!(of("sk-1234\n").unwrap(), "sk-1234");
        for text in ["", "two\nlines", "grün"] {
            assert!(of(text).unwrap_err().to_string().contains("one line"), "{text}");
        }
        let missing = config("llm_api_key_file = '/nowhere/key'").unwrap().llm().unwrap_err();
        assert!(missing.to_string().starts_with("/nowhere/key: "), "{missing}");
    }

    #[test]
    fn advice_names_a_model_that_is_smaller() {
        assert!(faster_than("qwen2.5-coder:latest").contains("1.5b"));
        assert!(faster_than("qwen2.5-coder:1.5b").contains("0.5b"));
        assert!(!faster_than("qwen2.5-coder:0.5b").contains("pull"));
    }
}
