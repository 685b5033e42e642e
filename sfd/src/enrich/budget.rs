//! How many tokens may be spent. Pure: the time is an argument.

use std::collections::BTreeMap;

/// Nanoseconds of an hour.
const HOUR_NS: i64 = 3_600 * 1_000_000_000;
/// Hours of the longer of the two limits.
const DAY_HOURS: i64 = 24;

/// Tokens spent, by hour of the clock, and the limits. A limit of 0 is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    per_hour: u64,
    per_day: u64,
    /// Hour since the epoch -> tokens.
    spent: BTreeMap<i64, u64>,
}

impl Budget {
    /// A budget of which `spent` is gone already: tokens by hour since the epoch.
    pub fn new(per_hour: u64, per_day: u64, spent: impl IntoIterator<Item = (i64, u64)>) -> Self {
        Self { per_hour, per_day, spent: spent.into_iter().collect() }
    }

    /// The hour of a time in nanoseconds since the epoch.
    pub fn hour(now_ns: i64) -> i64 {
        now_ns.div_euclid(HOUR_NS)
    }

    /// Notes tokens spent; returns the hour and its sum, to be kept.
    pub fn spend(&mut self, now_ns: i64, tokens: u64) -> (i64, u64) {
        let hour = Self::hour(now_ns);
        self.spent.retain(|at, _| *at > hour - DAY_HOURS);
        let sum = self.spent.entry(hour).or_default();
        *sum = sum.saturating_add(tokens);
        (hour, *sum)
    }

    /// Tokens spent in this hour of the clock and in the last 24.
    pub fn spent(&self, now_ns: i64) -> (u64, u64) {
        let hour = Self::hour(now_ns);
        let day = self.spent.range(hour - DAY_HOURS + 1..=hour).map(|(_, tokens)| tokens).sum();
        (self.spent.get(&hour).copied().unwrap_or(0), day)
    }

    /// When the next question may be asked, nanoseconds since the epoch; `None`: now. A question that is allowed may
    /// exceed the limit by what it needs itself.
    pub fn wait_until(&self, now_ns: i64) -> Option<i64> {
        let (hour, day) = self.spent(now_ns);
        let full = |spent: u64, limit: u64| limit > 0 && spent >= limit;
        (full(hour, self.per_hour) || full(day, self.per_day))
            .then(|| (Self::hour(now_ns) + 1).saturating_mul(HOUR_NS))
    }

    /// The limits, an hour and a day; 0: none.
    pub fn limits(&self) -> (u64, u64) {
        (self.per_hour, self.per_day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: i64 = 500_000 * HOUR_NS;

    #[test]
    fn an_hour_is_full_until_the_next_one_begins() {
        let mut budget = Budget::new(1000, 0, []);
        assert_eq!(budget.wait_until(NOON), None);
        budget.spend(NOON + 5, 999);
        assert_eq!(budget.wait_until(NOON + 6), None);
        assert_eq!(budget.spend(NOON + 7, 500), (500_000, 1499));
        assert_eq!(budget.wait_until(NOON + 8), Some(NOON + HOUR_NS));
        assert_eq!(budget.wait_until(NOON + HOUR_NS), None);
    }

    #[test]
    fn a_day_is_the_last_24_hours() {
        let mut budget = Budget::new(0, 100, [(500_000 - 23, 60), (500_000 - 24, 1000)]);
        assert_eq!(budget.spent(NOON), (0, 60));
        budget.spend(NOON, 40);
        assert_eq!(budget.wait_until(NOON), Some(NOON + HOUR_NS));
        assert_eq!(budget.wait_until(NOON + HOUR_NS), None, "the first 60 are a day old");
    }

    #[test]
    fn no_limit_never_waits() {
        let mut budget = Budget::new(0, 0, []);
        budget.spend(NOON, u64::MAX);
        budget.spend(NOON, u64::MAX);
        assert_eq!(budget.wait_until(NOON), None);
    }

    #[test]
    fn a_clock_that_is_set_back_does_no_harm() {
        let mut budget = Budget::new(10, 10, []);
        budget.spend(NOON, 10);
        assert_eq!(budget.wait_until(NOON - 48 * HOUR_NS), None);
        budget.spend(-1, 3);
        assert_eq!(Budget::hour(-1), -1);
    }
}
