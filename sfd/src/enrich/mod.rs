//! Stage 4: what an artifact means. Rules say it at once (`artifact/kinds/`); a language model on a server nearby says it
//! better, later, off the way from a change to the brick.
#![forbid(unsafe_code)]

pub mod answer;
pub mod breaker;
pub mod budget;
pub mod cache;
pub mod client;
pub mod queue;
pub mod question;
pub mod service;

pub use answer::{Answer, apply};
pub use question::{Excerpt, Question};
pub use service::{EnrichConfig, Enricher, LlmState, LlmStatus, Service};

/// Version of the question that a model is asked. Another wording is another version: answers to earlier ones are not
/// used any more.
pub const PROMPT_VERSION: u32 = 1;
