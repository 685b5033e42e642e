//! Ollama's own API: requests, and what comes back. Reading is pure.
//!
//! Source: Ollama's docs/api.md and server/routes.go.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::http::{self, Http};
use super::{AskError, Written};
use crate::enrich::prompt::{ANSWER_TOKENS_MAX, Prompt, schema};

/// Seed of the sampling: the same question has the same answer.
const SEED: u32 = 1;
/// How long a model stays in memory after an answer: longer than the pauses between changes on a quiet host, short enough
/// to give the memory back at night.
const KEEP_ALIVE: &str = "10m";

/// A model that a server has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Model {
    pub(super) name: String,
    /// Bytes; 0 where the server does not say.
    pub(super) size: u64,
}

/// Whether this is Ollama: llama-server has some of its paths, but not this one.
pub(super) async fn answers(http: &Http) -> Result<bool, AskError> {
    let (status, bytes, retry_after) = http.send(Method::GET, "/api/version", None).await?;
    match status {
        200 => Ok(serde_json::from_slice::<Value>(&bytes).is_ok_and(|value| value["version"].is_string())),
        429 | 503 => Err(http.refusal(status, &bytes, retry_after)),
        _ => Ok(false),
    }
}

/// The models that have been pulled.
pub(super) async fn models(http: &Http) -> Result<Vec<Model>, AskError> {
    let value = http.get("/api/tags").await?;
    let Some(models) = value["models"].as_array() else {
        return Err(http.no_model_server("no list of models at /api/tags"));
    };
    let model = |entry: &Value| {
        let name = entry["name"].as_str()?.to_owned();
        Some(Model { name, size: entry["size"].as_u64().unwrap_or(0) })
    };
    Ok(models.iter().filter_map(model).collect())
}

/// The one that is meant by a name: that very one; `:latest`, which Ollama adds itself; or the smallest of that name,
/// because a label in seconds is worth more than a better one in minutes.
pub(super) fn choose(models: &[Model], wanted: &str) -> Option<String> {
    let exact = |name: &str| models.iter().find(|model| model.name == name);
    let of_that_name =
        || models.iter().filter(|m| m.name.split_once(':').is_some_and(|(name, _)| name == wanted));
    exact(wanted)
        .or_else(|| if wanted.contains(':') { None } else { exact(&format!("{wanted}:latest")) })
        .or_else(|| of_that_name().min_by_key(|model| model.size))
        .map(|model| model.name.clone())
}

/// `num_ctx` must never vary: with another value Ollama loads the model again.
pub(super) fn request(model: &str, prompt: &Prompt, context_tokens: u32) -> Value {
    json!({
        "model": model,
        "messages": prompt.messages(),
        "stream": false,
        "format": schema(),
        "keep_alive": KEEP_ALIVE,
        "options": {
            "num_ctx": context_tokens,
            "num_predict": ANSWER_TOKENS_MAX,
            "temperature": 0,
            "seed": SEED,
        },
    })
}

/// What the model has written.
///
/// # Errors
/// Why it is not to be used.
pub(super) fn read(value: &Value) -> Result<Written, String> {
    // A model that repeats itself is stopped with `done: false` under status 200 (llm/server.go).
    if value["done"] != true {
        return Err("the server stopped before the end (done: false)".to_owned());
    }
    match value["done_reason"].as_str() {
        Some("length") => return Err("cut off: longer than allowed".to_owned()),
        // Only loaded, nothing asked.
        Some("load" | "unload") => return Err("no answer, the model was only loaded".to_owned()),
        _ => {}
    }
    let text = value["message"]["content"].as_str().ok_or("no message in it")?.to_owned();
    Ok(Written {
        text,
        tokens_in: value["prompt_eval_count"].as_u64(),
        tokens_out: value["eval_count"].as_u64(),
        loading: Duration::from_nanos(value["load_duration"].as_u64().unwrap_or(0)),
    })
}

impl Http {
    /// What a server knows without a model.
    pub(super) async fn get(&self, path: &str) -> Result<Value, AskError> {
        let (status, bytes, retry_after) = self.send(Method::GET, path, None).await?;
        match status {
            200 => http::one_document(&bytes).map_err(|why| self.no_model_server(&why)),
            401 | 403 | 429 | 503 => Err(self.refusal(status, &bytes, retry_after)),
            _ => Err(self.no_model_server(&format!("status {status} at {path}"))),
        }
    }

    /// It answers, but not like a model server.
    pub(super) fn no_model_server(&self, why: &str) -> AskError {
        AskError::NoModelServer { endpoint: self.endpoint().to_owned(), why: why.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_tag_means_the_latest_or_the_smallest() {
        let models = |names: &[(&str, u64)]| -> Vec<Model> {
            names.iter().map(|(name, size)| Model { name: (*name).to_owned(), size: *size }).collect()
        };
        let have =
            models(&[("qwen2.5-coder:7b", 4700), ("qwen2.5-coder:1.5b", 986), ("llama3.2:latest", 2000)]);
        for (wanted, chosen) in [
            ("qwen2.5-coder", Some("qwen2.5-coder:1.5b")),
            ("qwen2.5-coder:7b", Some("qwen2.5-coder:7b")),
            ("qwen2.5-coder:0.5b", None),
            ("llama3.2", Some("llama3.2:latest")),
            ("qwen2.5", None),
        ] {
            assert_eq!(choose(&have, wanted).as_deref(), chosen, "{wanted}");
        }
        let have = models(&[("qwen2.5-coder:0.5b", 398), ("qwen2.5-coder:latest", 4700)]);
        assert_eq!(choose(&have, "qwen2.5-coder").as_deref(), Some("qwen2.5-coder:latest"));
    }

    #[test]
    fn only_a_finished_answer_is_read() {
        let good = json!({"message":{"role":"assistant","content":"{}"},"done":true,"done_reason":"stop",
            "load_duration":5_000_000,"prompt_eval_count":700,"eval_count":60});
        let written = read(&good).unwrap();
        assert_eq!((written.tokens_in, written.tokens_out), (Some(700), Some(60)));
        assert_eq!(written.loading, Duration::from_millis(5));
        for (key, value) in [
            ("done", json!(false)),
            ("done", json!(null)),
            ("done_reason", json!("length")),
            ("done_reason", json!("load")),
            ("message", json!({"role": "assistant"})),
            ("message", json!("x")),
        ] {
            let mut bad = good.clone();
            bad[key] = value;
            assert!(read(&bad).is_err(), "{bad}");
        }
    }
}
