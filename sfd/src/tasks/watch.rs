//! Tasks as soon as they appear: the kernel says when something changed below `openspec/`, and every few seconds it is
//! looked anyway.

use std::collections::HashSet;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use notify::{EventKind, RecursiveMode, Watcher};

use super::runner::{Event, Runner, Summary};
use super::{OpenSpec, TaskError};

/// Without any report it is looked this often: file systems of the network report nothing.
const RESCAN_EVERY: Duration = Duration::from_secs(5);
/// How often it is looked whether somebody wants it to end.
const STOP_EVERY: Duration = Duration::from_millis(50);
/// Changes come in bursts: an editor writes, renames and removes.
const SETTLE: Duration = Duration::from_millis(20);
/// Reports that wait: any number of them means one look.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Runs tasks until `runner.stop` is set.
///
/// # Errors
/// `openspec/` has gone or cannot be read at the start.
pub fn watch(runner: &Runner<'_>, tell: &(dyn Fn(Event<'_>) + Sync)) -> Result<Summary, TaskError> {
    let mut total = Summary::default();
    let mut seen = HashSet::new();
    let (send, reports) = channel();
    let openspec = runner.openspec.openspec.proc_path();
    let real = std::fs::canonicalize(&openspec).map_err(|error| TaskError::of(&openspec, error))?;
    // A watcher that cannot be had costs time, not tasks.
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading is what we do ourselves.
        if !matches!(&event, Ok(event) if matches!(event.kind, EventKind::Access(_))) {
            let _ = send.send(());
        }
    })
    .map_err(|error| tracing::warn!("tasks are looked for every {} s only: {error}", RESCAN_EVERY.as_secs()))
    .ok();
    if let Some(watcher) = &mut watcher
        && let Err(error) = watcher.watch(&real, RecursiveMode::Recursive)
    {
        tracing::warn!("tasks are looked for every {} s only: {error}", RESCAN_EVERY.as_secs());
    }
    let mut complained: Option<TaskError> = None;
    while !runner.stop.load(std::sync::atomic::Ordering::Relaxed) {
        let pause = match run(runner, &mut seen, tell, &mut total) {
            Ok(()) => {
                complained = None;
                RESCAN_EVERY
            }
            Err(error) => {
                if complained.as_ref() != Some(&error) {
                    tracing::error!("tasks: {error}");
                    complained = Some(error);
                }
                TRY_AGAIN
            }
        };
        let until = Instant::now() + pause;
        while Instant::now() < until && !runner.stop.load(std::sync::atomic::Ordering::Relaxed) {
            match reports.recv_timeout(STOP_EVERY) {
                Ok(()) => {
                    // What comes within the same burst is the same look.
                    while reports.recv_timeout(SETTLE).is_ok() {
                        if Instant::now() >= until {
                            break;
                        }
                    }
                    break;
                }
                Err(RecvTimeoutError::Timeout) => {}
                // No watcher: the sender is gone.
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(STOP_EVERY),
            }
        }
    }
    total.stopped = true;
    Ok(total)
}

fn run(
    runner: &Runner<'_>,
    seen: &mut HashSet<(String, String, String)>,
    tell: &(dyn Fn(Event<'_>) + Sync),
    total: &mut Summary,
) -> Result<(), TaskError> {
    // What is gone may be put there again.
    let there: HashSet<String> = OpenSpec::tasks(runner.openspec)?
        .iter()
        .filter(|task| !matches!(task.state, super::State::Done))
        .map(super::Task::place)
        .collect();
    seen.retain(|(place, ..)| there.contains(place));
    let summary = runner.run(seen, tell)?;
    total.done += summary.done;
    total.failed += summary.failed;
    total.waiting += summary.waiting;
    Ok(())
}
