//! The language model that a task names: asked about its artifacts while they are folded.

use std::path::Path;

use crate::agent::{AgentError, now_ns};
use crate::artifact::look::LookOptions;
use crate::artifact::view::View;
use crate::artifact::{Answered, Artifact, FileType, Looker, Redactor, Semantics};
use crate::enrich::queue::worth;
use crate::enrich::{AskError, Client, Excerpt, LlmConfig, PROMPT_VERSION, Question, apply};

/// Questions for one task, at most: a small model takes seconds for each.
const QUESTIONS_MAX: u32 = 50;

/// A model, or why there is none.
pub(super) struct Model {
    connected: Option<(Client, tokio::runtime::Runtime)>,
    why_not: String,
    asked: u32,
    answered: u32,
    looker: Looker,
}

impl Model {
    /// Connects to the model called `name`.
    pub(super) fn new(name: Option<&str>, config: Option<&LlmConfig>, redactor: &Redactor) -> Self {
        let looker = Looker::new(LookOptions::default(), redactor.clone());
        let none =
            |why: String, looker| Self { connected: None, why_not: why, asked: 0, answered: 0, looker };
        let Some(name) = name else { return none("the task names no ai_model".into(), looker) };
        let Some(config) = config else { return none("llm is off".into(), looker) };
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return none(format!("tokio runtime: {error}"), looker),
        };
        let config = LlmConfig { model: name.to_owned(), ..config.clone() };
        match runtime.block_on(Client::connect(&config)) {
            Ok(client) => Self { connected: Some((client, runtime)), ..none(String::new(), looker) },
            Err(error) => none(error.to_string(), looker),
        }
    }

    /// The model's words for an artifact, if it is one to ask about. A server that fails is not asked again.
    pub(super) fn describe(
        &mut self,
        path: &Path,
        artifact: &Artifact,
        view: &dyn Fn() -> Result<Box<dyn View>, AgentError>,
    ) -> Option<Semantics> {
        let (client, runtime) = self.connected.as_ref()?;
        // As `sfd explain`: secrets are not sent, and rules say all there is to say of some kinds.
        let asks = !artifact.redacted
            && artifact.meta.file_type == FileType::File
            && worth(artifact.semantics.kind).is_some()
            && artifact.unverified.is_none()
            && artifact.len > 0
            && self.asked < QUESTIONS_MAX;
        if !asks {
            return None;
        }
        let examined = self.looker.examine(view().ok()?.as_mut(), path)?;
        // Another contents than those that are folded, or secret by now.
        if examined.artifact.content_hash != artifact.content_hash || examined.artifact.redacted {
            return None;
        }
        let question = Question {
            kind: artifact.semantics.kind,
            facts: examined.facts,
            excerpt: Excerpt::of(&examined.head),
            len: artifact.len,
        };
        self.asked += 1;
        let answered = Answered {
            model: client.model().to_owned(),
            prompt_version: PROMPT_VERSION,
            at_ns: now_ns(),
            ..Answered::default()
        };
        match runtime.block_on(client.ask(&question)) {
            Ok(reply) => {
                self.answered += 1;
                Some(apply(&reply.answer, &artifact.semantics, answered))
            }
            Err(AskError::BadAnswer { .. }) => None,
            Err(error) => {
                self.why_not = error.to_string();
                self.connected = None;
                None
            }
        }
    }

    /// Who has described the artifacts.
    pub(super) fn said(&self) -> String {
        let count = format!("{} of {} questions answered", self.answered, self.asked);
        match &self.connected {
            Some((client, _)) => format!("{} ({count}), and rules", client.model()),
            None if self.asked > 0 => format!("rules; the model ended ({count}): {}", self.why_not),
            None => format!("rules; no model: {}", self.why_not),
        }
    }
}
