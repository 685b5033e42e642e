//! The API of OpenAI as llama-server, LM Studio and vLLM have it: requests, and what comes back. Reading is pure.

use std::time::Duration;

use serde_json::{Value, json};

use super::http::Http;
use super::ollama::Model;
use super::{AskError, DEFAULT_MODEL, Written};
use crate::enrich::prompt::{ANSWER_TOKENS_MAX, Prompt, schema};

/// The models that the server has.
pub(super) async fn models(http: &Http) -> Result<Vec<Model>, AskError> {
    let value = http.get("/v1/models").await?;
    let Some(models) = value["data"].as_array() else {
        return Err(http.no_model_server("no list of models at /v1/models"));
    };
    let model = |entry: &Value| {
        Some(Model {
            name: entry["id"].as_str()?.to_owned(),
            size: entry["meta"]["size"].as_u64().unwrap_or(0),
        })
    };
    Ok(models.iter().filter_map(model).collect())
}

/// The one that is meant by a name: that very one. Whoever did not name any gets one of the default family, or the only
/// one there is.
pub(super) fn choose(models: &[Model], wanted: &str) -> Option<String> {
    let exact = models.iter().find(|model| model.name == wanted);
    let default = || {
        let family = models.iter().find(|model| model.name.to_lowercase().contains(DEFAULT_MODEL));
        let only = || if let [one] = models { Some(one) } else { None };
        if wanted == DEFAULT_MODEL { family.or_else(only) } else { None }
    };
    exact.or_else(default).map(|model| model.name.clone())
}

pub(super) fn request(model: &str, prompt: &Prompt) -> Value {
    json!({
        "model": model,
        "messages": prompt.messages(),
        "stream": false,
        "response_format": {
            "type": "json_schema",
            "json_schema": { "name": "label", "strict": true, "schema": schema() },
        },
        "max_tokens": ANSWER_TOKENS_MAX,
        "temperature": 0,
        "seed": 1,
    })
}

/// What the model has written.
///
/// # Errors
/// Why it is not to be used.
pub(super) fn read(value: &Value) -> Result<Written, String> {
    let choice = &value["choices"][0];
    match choice["finish_reason"].as_str() {
        Some("stop") => {}
        Some("length") => return Err("cut off: longer than allowed".to_owned()),
        _ => return Err("the server stopped before the end (no finish_reason)".to_owned()),
    }
    let text = choice["message"]["content"].as_str().ok_or("no message in it")?.to_owned();
    Ok(Written {
        text,
        tokens_in: value["usage"]["prompt_tokens"].as_u64(),
        tokens_out: value["usage"]["completion_tokens"].as_u64(),
        loading: Duration::ZERO,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_model_is_found_by_its_family_and_others_by_their_name() {
        let models = |names: &[&str]| -> Vec<Model> {
            names.iter().map(|name| Model { name: (*name).to_owned(), size: 0 }).collect()
        };
        let studio = models(&["llama-3.2-1b", "lmstudio-community/Qwen2.5-Coder-7B-Instruct-GGUF"]);
        assert_eq!(choose(&studio, DEFAULT_MODEL).as_deref(), Some(studio[1].name.as_str()));
        assert_eq!(choose(&studio, "llama-3.2-1b").as_deref(), Some("llama-3.2-1b"));
        assert_eq!(choose(&studio, "mistral"), None);
        let server = models(&["/models/some.gguf"]);
        assert_eq!(choose(&server, DEFAULT_MODEL).as_deref(), Some("/models/some.gguf"));
        assert_eq!(choose(&server, "mistral"), None);
        assert_eq!(choose(&models(&["a", "b"]), DEFAULT_MODEL), None);
        assert_eq!(choose(&[], DEFAULT_MODEL), None);
    }

    #[test]
    fn only_a_finished_answer_is_read() {
        let good = json!({"choices":[{"finish_reason":"stop","message":{"content":"{}"}}],
            "usage":{"prompt_tokens":700,"completion_tokens":60}});
        assert_eq!(read(&good).unwrap().tokens_out, Some(60));
        for (pointer, value) in [
            ("/choices/0/finish_reason", json!("length")),
            ("/choices/0/finish_reason", json!(null)),
            ("/choices", json!([])),
            ("/choices/0/message/content", json!(null)),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(pointer).unwrap() = value;
            assert!(read(&bad).is_err(), "{bad}");
        }
    }
}
