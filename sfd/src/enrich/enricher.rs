//! The handle by which the worker, the control socket and the map reach the service, and what it says of itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, oneshot};

use super::queue::{Outcome, Queue, Want};

/// Most hashes of contents that turned out to be secret and whose answers are still to be deleted. Beyond it all answers
/// are: a cache is cheaper than a secret in it.
const FORGET_MAX: usize = 4096;

/// How the model does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LlmState {
    /// Nobody wants one.
    #[default]
    Off,
    /// No server was found, or it did not answer; it is looked for again.
    Unreachable,
    /// It answers.
    Ready,
    /// It failed too often; it is left alone for a while.
    Resting,
    /// All tokens of this hour or day are spent.
    BudgetSpent,
}

/// What `sfd status` says of the model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LlmStatus {
    /// How it does. In every state but `ready`, labels are by rules for now.
    pub state: LlmState,
    /// Where it is, once it was found.
    pub url: Option<String>,
    /// `ollama` or `openai`.
    pub protocol: Option<String>,
    /// Which model.
    pub model: Option<String>,
    /// Why it is not ready.
    pub why: Option<String>,
    /// When it is tried again, nanoseconds since the epoch.
    pub next_try_ns: Option<i64>,
    /// Artifacts that wait for a description.
    pub queued: u64,
    /// Questions under way.
    pub in_flight: u64,
    /// Questions asked.
    pub asked: u64,
    /// Valid answers.
    pub answered: u64,
    /// Subjects described from earlier answers.
    pub from_cache: u64,
    /// Answers that were not valid.
    pub bad_answers: u64,
    /// Times that the server failed.
    pub server_failures: u64,
    /// Subjects left to rules because no answer was valid.
    pub given_up: u64,
    /// Subjects that were gone or something else before they were asked about.
    pub stale: u64,
    /// Artifacts forgotten because the queue was full; a sweep finds them again.
    pub dropped: u64,
    /// Answers that could not be kept or read.
    pub cache_errors: u64,
    /// Tokens spent in this hour, and the limit (0: none).
    pub tokens_hour: u64,
    /// The limit an hour.
    pub tokens_hour_max: u64,
    /// Tokens spent in the last 24 hours.
    pub tokens_day: u64,
    /// The limit a day.
    pub tokens_day_max: u64,
    /// Seconds from question to answer, lately.
    pub seconds_per_answer: Option<f64>,
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) queue: Queue,
    pub(super) status: LlmStatus,
    pub(super) forget: Forget,
    pub(super) sweep: bool,
}

/// Whose answers are to be deleted.
#[derive(Debug)]
pub(super) enum Forget {
    /// Of these contents.
    Some(Vec<[u8; 32]>),
    /// More than [`FORGET_MAX`].
    All,
}

impl Default for Forget {
    fn default() -> Self {
        Self::Some(Vec::new())
    }
}

impl Forget {
    fn add(&mut self, content_hash: [u8; 32]) {
        match self {
            Self::Some(hashes) if hashes.len() < FORGET_MAX => hashes.push(content_hash),
            _ => *self = Self::All,
        }
    }
}

/// The handle by which others reach the service; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Enricher {
    inner: Arc<Mutex<Inner>>,
    pub(super) news: Arc<Notify>,
}

impl Enricher {
    /// A handle to a service that is not running yet.
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while holding it leaves figures that are merely old.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An artifact wants a description. Never waits; a full queue forgets.
    pub fn want(&self, want: Want) {
        self.lock().queue.push(want);
        self.news.notify_one();
    }

    /// Somebody wants a description now; told when it is there or cannot be had.
    pub fn ask_now(&self, want: Want) -> oneshot::Receiver<Outcome> {
        let told = self.lock().queue.push_asked(want);
        self.news.notify_one();
        told
    }

    /// Contents turned out to be secret: nothing that was said of them may stay.
    pub fn forget(&self, content_hash: [u8; 32]) {
        self.lock().forget.add(content_hash);
        self.news.notify_one();
    }

    /// Everything was compared: what has no description yet may be asked about.
    pub fn sweep(&self) {
        self.lock().sweep = true;
        self.news.notify_one();
    }

    /// How it does.
    pub fn status(&self) -> LlmStatus {
        let inner = self.lock();
        LlmStatus {
            queued: (inner.queue.len()) as u64,
            in_flight: inner.queue.in_flight() as u64,
            dropped: inner.queue.dropped(),
            ..inner.status.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_secrets_than_can_be_kept_in_mind_forget_everything() {
        let mut forget = Forget::default();
        for n in 0..FORGET_MAX {
            forget.add([n as u8; 32]);
        }
        assert!(matches!(&forget, Forget::Some(hashes) if hashes.len() == FORGET_MAX));
        forget.add([0; 32]);
        assert!(matches!(forget, Forget::All));
        forget.add([0; 32]);
        assert!(matches!(forget, Forget::All));
    }
}
