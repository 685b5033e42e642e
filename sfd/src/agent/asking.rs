//! A language model that is asked about artifacts while they are folded, and waited for: `sfd fold --llm`, and tasks that name
//! one. The daemon has a service for that, which nobody waits for (`enrich/service.rs`).

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{AgentError, now_ns};
use crate::artifact::kinds::Kind;
use crate::artifact::look::{Examined, LookOptions};
use crate::artifact::view::View;
use crate::artifact::{Answered, Artifact, FileType, Looker, Redactor, Semantics};
use crate::enrich::queue::worth;
use crate::enrich::{Answer, AskError, Client, Excerpt, LlmConfig, PROMPT_VERSION, Question, apply};

/// How often it is looked, while a model thinks, whether somebody wants everything to end.
const STOP_EVERY: Duration = Duration::from_millis(100);

/// Why a model is not asked about an artifact at all: secrets are not sent, and rules say all there is to say of some kinds.
pub fn why_not_asked(artifact: &Artifact) -> Option<&'static str> {
    if artifact.redacted {
        Some("its contents are secret, and secrets are not sent to a model")
    } else if artifact.meta.file_type != FileType::File || worth(artifact.semantics.kind).is_none() {
        Some("rules say all there is to say of this kind")
    } else if artifact.unverified.is_some() {
        Some("its contents could not be read well")
    } else if artifact.len == 0 {
        Some("it is empty")
    } else {
        None
    }
}

/// The question about what was just looked at.
pub fn question_of(examined: &Examined) -> Question {
    Question {
        kind: examined.artifact.semantics.kind,
        facts: examined.facts.clone(),
        excerpt: Excerpt::of(&examined.head),
        len: examined.artifact.len,
    }
}

/// Who answers now.
pub fn answered_by(client: &Client) -> Answered {
    Answered {
        model: client.model().to_owned(),
        prompt_version: PROMPT_VERSION,
        at_ns: now_ns(),
        ..Answered::default()
    }
}

/// A model, or why there is none.
pub struct Asking {
    connected: Option<(Client, tokio::runtime::Runtime)>,
    why_not: String,
    asked: u32,
    answered: u32,
    questions_max: u32,
    /// What came of each contents of a kind; at most one for each question.
    answers: HashMap<([u8; 32], Kind), Option<Arc<Answer>>>,
    looker: Looker,
}

impl Asking {
    /// Connects to the model of `config`, which is asked at most `questions_max` questions; or `Err`: why there is none to connect to.
    pub fn new(config: Result<LlmConfig, String>, questions_max: u32, redactor: &Redactor) -> Self {
        let looker = Looker::new(LookOptions::default(), redactor.clone());
        let none = |why_not: String, looker| Self {
            connected: None,
            why_not,
            asked: 0,
            answered: 0,
            questions_max,
            answers: HashMap::new(),
            looker,
        };
        let config = match config {
            Ok(config) => config,
            Err(why) => return none(why, looker),
        };
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return none(format!("tokio runtime: {error}"), looker),
        };
        match runtime.block_on(Client::connect(&config)) {
            Ok(client) => Self { connected: Some((client, runtime)), ..none(String::new(), looker) },
            Err(error) => none(error.to_string(), looker),
        }
    }

    /// The model's words for an artifact, if it is one to ask about: equal contents are one question. A server that fails is
    /// not asked again.
    pub fn describe(
        &mut self,
        path: &Path,
        artifact: &Artifact,
        view: &dyn Fn() -> Result<Box<dyn View>, AgentError>,
        stopped: &dyn Fn() -> bool,
    ) -> Option<Semantics> {
        let (client, runtime) = self.connected.as_ref()?;
        if why_not_asked(artifact).is_some() {
            return None;
        }
        let answered = answered_by(client);
        let subject = (artifact.content_hash, artifact.semantics.kind);
        if let Some(known) = self.answers.get(&subject) {
            return known.as_ref().map(|answer| apply(answer, &artifact.semantics, answered));
        }
        if self.asked >= self.questions_max {
            return None;
        }
        let examined = self.looker.examine(view().ok()?.as_mut(), path)?;
        // Another contents than those that are folded, or secret by now.
        if examined.artifact.content_hash != artifact.content_hash || examined.artifact.redacted {
            return None;
        }
        let question = question_of(&examined);
        self.asked += 1;
        // An answer may take minutes, and whoever wants everything to end does not wait for it.
        let reply = runtime.block_on(async {
            let asking = client.ask(&question);
            tokio::pin!(asking);
            loop {
                tokio::select! {
                    reply = &mut asking => return Some(reply),
                    () = tokio::time::sleep(STOP_EVERY) => if stopped() { return None },
                }
            }
        })?;
        match reply {
            Ok(reply) => {
                self.answered += 1;
                let semantics = apply(&reply.answer, &artifact.semantics, answered);
                self.answers.insert(subject, Some(Arc::new(reply.answer)));
                Some(semantics)
            }
            Err(AskError::BadAnswer { .. }) => {
                self.answers.insert(subject, None);
                None
            }
            Err(error) => {
                self.why_not = error.to_string();
                self.connected = None;
                None
            }
        }
    }

    /// Who has described the artifacts.
    pub fn said(&self) -> String {
        let count = format!("{} of {} questions answered", self.answered, self.asked);
        match &self.connected {
            Some((client, _)) => format!("{} ({count}), and rules", client.model()),
            None if self.asked > 0 => format!("rules; the model ended ({count}): {}", self.why_not),
            None => format!("rules; no model: {}", self.why_not),
        }
    }
}
