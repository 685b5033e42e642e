//! What the suites share: a daemon to run, a reader of bricks that uses none of SFD's own code, and waiting.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a helper that fails must fail the test"
)]

pub mod bricks;
pub mod daemon;
pub mod llm;
pub mod llm_double;
pub mod mount;
pub mod pixelrts;
pub mod reader;
pub mod session;

use std::time::{Duration, Instant};

/// How many times longer than on this sort of machine everything may take: 1, or what `SFD_TEST_SLOWNESS` says
/// where the processor is emulated (`cargo xtask vm`).
pub fn slowness() -> u32 {
    std::env::var("SFD_TEST_SLOWNESS").ok().and_then(|times| times.parse().ok()).unwrap_or(1)
}

/// Waits until `what` gives a value.
///
/// # Panics
/// When it does not within `limit` (times the slowness of an emulated machine); `name` and the last problem say what was waited for.
pub fn wait_for<T>(name: &str, limit: Duration, mut what: impl FnMut() -> anyhow::Result<T>) -> T {
    let started = Instant::now();
    let limit = limit * slowness();
    loop {
        match what() {
            Ok(value) => return value,
            Err(problem) if started.elapsed() > limit => {
                panic!("waited {limit:?} for {name}: {problem:#}");
            }
            // Short beside every limit, long enough not to take the core that the daemon needs.
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}
