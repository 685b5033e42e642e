//! Why there is no answer, and what to do about it.

use std::time::Duration;

use thiserror::Error;

use super::Protocol;
use crate::artifact::kinds::clean;

/// Why a question has no answer. Names the server; words of the server in it are clean and short.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AskError {
    /// The address is none.
    #[error("{url}: {why}; a model server is named like http://127.0.0.1:11434")]
    Address {
        /// As configured.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The server is not on this host.
    #[error(
        "{endpoint} is not on this host ({address}), so contents of files would leave it; --allow-remote-llm allows that"
    )]
    Refused {
        /// The server.
        endpoint: String,
        /// Where it would be.
        address: String,
    },
    /// No connection, or it ended before there was an answer.
    #[error("{endpoint}: no answer ({why}); is the model server running? `ollama serve` starts one")]
    Unreachable {
        /// The server.
        endpoint: String,
        /// What the network says.
        why: String,
    },
    /// Something answers there that is not a model server.
    #[error("{endpoint}: not a model server ({why}); is it Ollama, or does it have the API of OpenAI?")]
    NoModelServer {
        /// The server.
        endpoint: String,
        /// What it did.
        why: String,
    },
    /// The whole answer was not there in time.
    #[error("{endpoint}: no answer within {} s; a smaller model is faster, and llm_timeout_s allows more", .limit.as_secs())]
    Timeout {
        /// The server.
        endpoint: String,
        /// The limit.
        limit: Duration,
    },
    /// 503 or 429: it is loading a model, or has enough to do.
    #[error("{endpoint}: busy (status {status})")]
    Busy {
        /// The server.
        endpoint: String,
        /// The status.
        status: u16,
        /// When it wants to be asked again, if it says so; at most an hour.
        retry_after: Option<Duration>,
    },
    /// The server runs but does not have the model.
    #[error("{endpoint}: no model `{model}`; {fix}")]
    ModelMissing {
        /// The server.
        endpoint: String,
        /// The model.
        model: String,
        /// What to do.
        fix: String,
    },
    /// 401 or 403.
    #[error("{endpoint}: not allowed (status {status}); name the file with its key in llm_api_key_file")]
    Auth {
        /// The server.
        endpoint: String,
        /// The status.
        status: u16,
    },
    /// The question does not fit into the server's context, even with less of the contents.
    #[error("{endpoint}: its context is too small for a question; give it at least 4096 tokens")]
    TooLong {
        /// The server.
        endpoint: String,
    },
    /// It failed.
    #[error("{endpoint}: the server failed (status {status}): {said}")]
    Server {
        /// The server.
        endpoint: String,
        /// The status.
        status: u16,
        /// What it says.
        said: String,
    },
    /// There is an answer, but it is not one.
    #[error("{endpoint}: not a valid answer: {why}")]
    BadAnswer {
        /// The server.
        endpoint: String,
        /// What is wrong.
        why: String,
    },
}

impl AskError {
    /// Whether it says something about the server and not just about this question: many in a row mean that asking
    /// others is pointless too.
    pub fn is_of_the_server(&self) -> bool {
        !matches!(self, Self::TooLong { .. } | Self::BadAnswer { .. })
    }

    /// Whether the same question may be answered a little later without anybody doing something. With a temperature of 0
    /// an answer that was not valid would be the same again.
    pub fn is_worth_retrying(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::Busy { .. } => true,
            Self::Server { status, .. } => *status >= 500,
            _ => false,
        }
    }

    /// When the server wants to be asked again, if it has said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// What to do about a missing model, where the server has `models`.
pub(super) fn fix_of(protocol: Protocol, models: &[super::ollama::Model]) -> String {
    if protocol == Protocol::Ollama {
        return format!("get it with: ollama pull {}:1.5b", super::DEFAULT_MODEL);
    }
    let names: Vec<&str> = models.iter().take(3).map(|model| model.name.as_str()).collect();
    if names.is_empty() {
        return "load one in the server, and name it with --llm-model".to_owned();
    }
    // Names come from the server.
    format!("name one that it has with --llm-model: {}", clean(&names.join(", "), 120))
}
