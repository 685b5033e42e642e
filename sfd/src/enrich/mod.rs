//! Stage 4: what an artifact means. Rules say it at once (`artifact/kinds/`); a language model on a server nearby says it
//! better, later, off the way from a change to the brick.
//!
//! ```text
//! service    asks, a few questions at a time, and hands words to the agent
//!   enricher   the handle by which others reach it, and its status
//!   queue      what is asked next: bounded, the most interesting first, each contents once
//!   cache      answers that were paid for once
//!   budget     tokens an hour and a day          breaker   leaves a server in trouble alone
//! question   Kind, facts, excerpts -> Question    what a model gets to see; pure
//! prompt     Question -> Prompt                   bounded words, with the excerpt as data; pure
//! client/    Prompt   -> the server's words       Ollama, or anything with the API of OpenAI
//! answer     those    -> Answer -> Semantics      validated again, cleaned, limited; never lowers a risk; pure
//! ```
#![forbid(unsafe_code)]

pub mod answer;
pub mod breaker;
pub mod budget;
pub mod cache;
pub mod client;
pub mod enricher;
pub mod prompt;
pub mod question;
pub mod queue;
pub mod service;

pub use answer::{Answer, apply};
pub use client::{AskError, Client, LlmConfig, Protocol, Reply};
pub use enricher::{Enricher, LlmState, LlmStatus};
pub use question::{Excerpt, Question};
pub use service::{EnrichConfig, Service};

/// Version of the question that a model is asked. Another wording is another version: answers to earlier ones are not
/// used any more.
pub const PROMPT_VERSION: u32 = 1;
