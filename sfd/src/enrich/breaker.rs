//! A circuit breaker: a server in trouble is left alone for a while. Pure: time and chance are arguments.

use std::time::Duration;

/// Failures in a row after which the server is left alone. One or two are an accident.
const FAILURES_MAX: u32 = 3;
/// First rest. A server that is being started again, or loads a model, needs some seconds.
const REST_MIN: Duration = Duration::from_secs(5);
/// Longest rest: a server that is back is noticed within five minutes.
const REST_MAX: Duration = Duration::from_mins(5);

/// Whether the server may be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    failures: u32,
    /// Rests in a row so far.
    rests: u32,
    /// Not before then, on the caller's clock, nanoseconds.
    open_until_ns: Option<u64>,
}

impl Breaker {
    /// How many questions may be under way at `now_ns`: none while it rests, one as a trial after a rest, else any.
    pub fn allows(&self, now_ns: u64) -> usize {
        match self.open_until_ns {
            Some(until) if now_ns < until => 0,
            Some(_) => 1,
            None => usize::MAX,
        }
    }

    /// When a question may be asked again, if not now.
    pub fn wait_until(&self, now_ns: u64) -> Option<u64> {
        self.open_until_ns.filter(|until| now_ns < *until)
    }

    /// Whether it is in a rest, or on trial after one.
    pub fn is_open(&self) -> bool {
        self.open_until_ns.is_some()
    }

    /// The server answered, if only to say no to that question.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// The server failed. `chance` from 0 to 1 spreads the rests, so that many hosts with one server do not come back
    /// all at once. `at_least` is what the server itself asked for.
    pub fn failed(&mut self, now_ns: u64, chance: f64, at_least: Option<Duration>) {
        self.failures = self.failures.saturating_add(1);
        if self.failures < FAILURES_MAX && self.open_until_ns.is_none() && at_least.is_none() {
            return;
        }
        let rest = REST_MIN.saturating_mul(1 << self.rests.min(10)).min(REST_MAX);
        let rest =
            rest.mul_f64(1.0 + chance.clamp(0.0, 1.0) / 2.0).max(at_least.unwrap_or_default().min(REST_MAX));
        self.rests = self.rests.saturating_add(1);
        self.open_until_ns = Some(now_ns.saturating_add(u64::try_from(rest.as_nanos()).unwrap_or(u64::MAX)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn it_opens_after_three_failures_and_tries_once_after_the_rest() {
        let mut breaker = Breaker::default();
        breaker.failed(0, 0.0, None);
        breaker.failed(0, 0.0, None);
        assert_eq!(breaker.allows(0), usize::MAX);
        breaker.failed(0, 0.0, None);
        assert_eq!((breaker.allows(0), breaker.wait_until(0)), (0, Some(5 * SECOND)));
        assert_eq!((breaker.allows(5 * SECOND), breaker.wait_until(5 * SECOND)), (1, None));
        breaker.succeeded();
        assert_eq!(breaker.allows(0), usize::MAX);
    }

    #[test]
    fn rests_double_up_to_five_minutes_and_are_spread() {
        let mut breaker = Breaker::default();
        let mut now = 0;
        let mut rests = Vec::new();
        for _ in 0..12 {
            breaker.failed(now, 0.0, None);
            if let Some(until) = breaker.wait_until(now) {
                rests.push((until - now) / SECOND);
                now = until;
            }
        }
        assert_eq!(rests, [5, 10, 20, 40, 80, 160, 300, 300, 300, 300]);
        let mut breaker = Breaker { failures: 2, ..Breaker::default() };
        breaker.failed(0, 1.0, None);
        assert_eq!(breaker.wait_until(0), Some(7_500_000_000));
    }

    #[test]
    fn what_the_server_asks_for_is_heeded_within_reason() {
        let mut breaker = Breaker::default();
        breaker.failed(0, 0.0, Some(Duration::from_secs(30)));
        assert_eq!(breaker.wait_until(0), Some(30 * SECOND));
        let mut breaker = Breaker::default();
        breaker.failed(0, 0.0, Some(Duration::from_hours(100)));
        assert_eq!(breaker.wait_until(0), Some(300 * SECOND));
    }

    #[test]
    fn a_success_between_failures_starts_anew() {
        let mut breaker = Breaker::default();
        for _ in 0..10 {
            breaker.failed(0, 0.0, None);
            breaker.failed(0, 0.0, None);
            breaker.succeeded();
        }
        assert!(!breaker.is_open());
    }
}
