//! Asking again, ever more rarely.

use std::time::{Duration, Instant};

use super::{AskError, Client, Reply};
use crate::enrich::Question;

/// First wait.
const FIRST: Duration = Duration::from_millis(500);
/// Longest wait between two tries.
const LONGEST: Duration = Duration::from_secs(30);

/// Waits between tries: each twice as long as the one before, of which a random half is left out so that those who
/// failed together do not come back together.
#[derive(Clone, Debug)]
pub struct Backoff {
    next: Duration,
    random: fn() -> u64,
}

impl Default for Backoff {
    fn default() -> Self {
        // Without random numbers everybody waits the whole time, which is no worse than that.
        Self { next: FIRST, random: || getrandom::u64().unwrap_or(u64::MAX) }
    }
}

impl Backoff {
    /// How long to wait now; at least what the server asks for, at most that or 30 s.
    pub fn wait(&mut self, asked_for: Option<Duration>) -> Duration {
        let full = self.next;
        self.next = (full * 2).min(LONGEST);
        let part = (self.random)() as f64 / u64::MAX as f64;
        full.mul_f64(0.5 + part / 2.0).max(asked_for.unwrap_or_default())
    }
}

/// When to try again, and when no more.
#[derive(Debug)]
struct Retries {
    until: Instant,
    backoff: Backoff,
}

impl Retries {
    fn new(now: Instant, within: Duration) -> Self {
        Self { until: now + within, backoff: Backoff::default() }
    }

    /// How long to wait before the next try; nothing when the error stays or the next try would begin too late.
    fn after(&mut self, error: &AskError, now: Instant) -> Option<Duration> {
        let wait = self.backoff.wait(error.retry_after());
        (error.is_worth_retrying() && now + wait < self.until).then_some(wait)
    }
}

impl Client {
    /// As [`Client::ask`], again and again as long as that may help. No try begins when `within` is over, so that it
    /// takes at most the time for one question longer.
    ///
    /// # Errors
    /// That of the last try.
    pub async fn ask_with_retries(&self, question: &Question, within: Duration) -> Result<Reply, AskError> {
        let mut retries = Retries::new(Instant::now(), within);
        loop {
            let error = match self.ask(question).await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            let Some(wait) = retries.after(&error, Instant::now()) else { return Err(error) };
            tokio::time::sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(retry_after: Option<Duration>) -> AskError {
        AskError::Busy { endpoint: "http://127.0.0.1:1".into(), status: 503, retry_after }
    }

    /// The agent asks in tasks of their own.
    #[test]
    fn a_question_can_be_asked_in_a_task() {
        fn is_send<T: Send>(_: impl FnOnce(&'static Client, &'static Question) -> T) {}
        is_send(|client, question| client.ask_with_retries(question, FIRST));
    }

    #[test]
    fn waits_grow_up_to_their_limit_and_vary() {
        let waits = |random| {
            let mut backoff = Backoff { random, ..Backoff::default() };
            (0..9).map(|_| backoff.wait(None).as_millis()).collect::<Vec<_>>()
        };
        assert_eq!(waits(|| u64::MAX), [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
        assert_eq!(waits(|| 0)[..3], [250, 500, 1000]);
        assert_eq!(Backoff::default().wait(Some(Duration::from_secs(7))), Duration::from_secs(7));
    }

    #[test]
    fn what_may_pass_is_tried_again_until_the_time_is_over() {
        let started = Instant::now();
        let mut now = started;
        let mut retries = Retries::new(now, Duration::from_mins(1));
        let mut tries = 1;
        while let Some(wait) = retries.after(&busy(None), now) {
            now += wait;
            tries += 1;
        }
        assert!(now - started <= Duration::from_mins(1));
        assert!((6..=10).contains(&tries), "{tries}");
    }

    #[test]
    fn what_stays_and_what_is_too_late_is_not_tried_again() {
        let now = Instant::now();
        for error in [
            AskError::BadAnswer { endpoint: String::new(), why: String::new() },
            AskError::Auth { endpoint: String::new(), status: 401 },
            busy(Some(Duration::from_mins(2))),
        ] {
            assert_eq!(Retries::new(now, Duration::from_mins(1)).after(&error, now), None, "{error}");
        }
    }
}
