//! One request and its answer, within bounds.

use std::sync::Once;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Method, redirect};
use serde_json::Value;

use super::endpoint::Endpoint;
use super::{AskError, LlmConfig};
use crate::artifact::kinds::clean;

/// Longest body that is read, in bytes. An answer is about 1 KiB; a list of every model that Ollama has ever had, 30 KiB.
const BODY_BYTES_MAX: usize = 256 << 10;
/// For a connection: on this host it takes less than a millisecond, elsewhere a few round trips.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// For what a server knows without its model: its version, the names of its models.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait that a server can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);
/// Who does the cryptography is set once for the whole program.
static PROVIDER: Once = Once::new();
/// Longest text of a server in an error, in characters.
const SAID_CHARS_MAX: usize = 120;

/// A server that is talked to.
#[derive(Clone, Debug)]
pub(super) struct Http {
    client: reqwest::Client,
    endpoint: Endpoint,
    api_key: Option<String>,
    timeout: Duration,
}

/// Sets who does the cryptography, which an HTTP client needs even when it uses none.
pub fn set_crypto_provider() {
    PROVIDER.call_once(|| {
        // An error means that there is one already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

impl Http {
    /// Looks up where the server is; does not connect.
    pub(super) async fn open(url: &str, config: &LlmConfig) -> Result<Self, AskError> {
        let endpoint = Endpoint::find(url, config.allow_remote).await?;
        set_crypto_provider();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("sfd/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            // Contents go to the server that was named, and nowhere else.
            .redirect(redirect::Policy::none())
            .no_proxy()
            .resolve_to_addrs(&endpoint.host, &endpoint.addresses);
        if endpoint.base.scheme() == "http" {
            // Without this a host that has no certificates installed could not ask its own server.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(|error| AskError::Unreachable {
            endpoint: endpoint.shown.clone(),
            why: chain(&error),
        })?;
        Ok(Self { client, endpoint, api_key: config.api_key.clone(), timeout: config.timeout })
    }

    /// Address of the server.
    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint.shown
    }

    /// Sends a request and reads what comes back: status, body, and how long the server wants to be left alone.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Vec<u8>, Option<Duration>), AskError> {
        let mut url = self.endpoint.base.clone();
        url.set_path(&format!("{}{path}", url.path().trim_end_matches('/')));
        let limit = if body.is_some() { self.timeout } else { PROBE_TIMEOUT.min(self.timeout) };
        let mut request = self.client.request(method, url).timeout(limit);
        if let Some(key) = &self.api_key {
            request = request.bearer_auth(key);
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let failed = |error: &reqwest::Error| {
            if error.is_timeout() && !error.is_connect() {
                return AskError::Timeout { endpoint: self.endpoint().to_owned(), limit };
            }
            AskError::Unreachable { endpoint: self.endpoint().to_owned(), why: chain(error) }
        };
        let mut response = request.send().await.map_err(|error| failed(&error))?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| failed(&error))? {
            if bytes.len() + chunk.len() > BODY_BYTES_MAX {
                return Err(self.bad(format!("more than {} KiB", BODY_BYTES_MAX >> 10)));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok((status, bytes, retry_after.map(|wait| wait.min(RETRY_AFTER_MAX))))
    }

    /// What a status other than 200 means.
    pub(super) fn refusal(&self, status: u16, body: &[u8], retry_after: Option<Duration>) -> AskError {
        let endpoint = self.endpoint().to_owned();
        let value: Value = serde_json::from_slice(body).unwrap_or_default();
        match status {
            401 | 403 => AskError::Auth { endpoint, status },
            404 => AskError::ModelMissing { endpoint, model: String::new(), fix: String::new() },
            429 | 503 => AskError::Busy { endpoint, status, retry_after },
            413 => AskError::TooLong { endpoint },
            400 if is_too_long(&value) => AskError::TooLong { endpoint },
            _ => AskError::Server { endpoint, status, said: said(&value) },
        }
    }

    /// An answer that is none.
    pub(super) fn bad(&self, why: impl Into<String>) -> AskError {
        AskError::BadAnswer { endpoint: self.endpoint().to_owned(), why: why.into() }
    }
}

/// llama-server gives it as `type` (tools/server: exceed_context_size_error), OpenAI and vLLM as `code`.
fn is_too_long(value: &Value) -> bool {
    ["/error/type", "/error/code"].iter().any(|pointer| {
        matches!(
            value.pointer(pointer).and_then(Value::as_str),
            Some("exceed_context_size_error" | "context_length_exceeded")
        )
    })
}

/// The words of a server's error: `{"error": "..."}` (Ollama) or `{"error": {"message": "..."}}`.
pub(super) fn said(value: &Value) -> String {
    let error = &value["error"];
    match error.as_str().or_else(|| error["message"].as_str()) {
        Some(text) => clean(text, SAID_CHARS_MAX),
        None => "it does not say why".to_owned(),
    }
}

/// The body as one JSON document. Nothing but one: an error after the beginning of an answer comes as a second one, under
/// status 200.
pub(super) fn one_document(bytes: &[u8]) -> Result<Value, String> {
    if std::str::from_utf8(bytes).is_err() {
        return Err("bytes that are not UTF-8".to_owned());
    }
    let mut found = None;
    for value in serde_json::Deserializer::from_slice(bytes).into_iter::<Value>() {
        let value = value.map_err(|error| {
            let what = if error.is_eof() { "JSON that is cut off" } else { "not JSON" };
            format!("{what} (line {}, column {})", error.line(), error.column())
        })?;
        if value.get("error").is_some_and(|error| !error.is_null()) {
            return Err(format!("the server gave up: {}", said(&value)));
        }
        if found.replace(value).is_some() {
            return Err("more than one document".to_owned());
        }
    }
    found.ok_or_else(|| "nothing".to_owned())
}

/// An error with its causes, which is where the network says what is wrong.
fn chain(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    clean(&innermost.to_string(), SAID_CHARS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_one_document() {
        assert!(one_document(br#"{"a":1}"#).is_ok());
        for (body, why) in [
            (
                &b"{\"message\":{\"content\":\"{\\\"ti\"}}\n{\"error\":\"boom\\u001b[2J\"}"[..],
                "gave up: boom [2J",
            ),
            (b"{\"error\":{\"message\":\"x\"}}", "gave up: x"),
            (b"{\"a\":1}{\"a\":1}", "more than one"),
            (b"{\"a\":", "cut off"),
            (b"{\"a\":\"\xff\"}", "not UTF-8"),
            (b"", "nothing"),
            (b"<html>", "not JSON"),
        ] {
            let error = one_document(body).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        // Servers that always send the field.
        assert!(one_document(br#"{"a":1,"error":null}"#).is_ok());
    }
}
