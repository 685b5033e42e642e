//! `sfd compact`.

use std::io::Read;
use std::path::Path;

use clap::Args;
use serde_json::{Value, json};

use super::out::{human_bytes, human_count};
use super::{CliError, Exit, Out, State, live};
use crate::agent::{Request, StateDir};
use crate::brick::{Compaction, LiveBrick};

/// Gives everything in a live brick the place that a first fold of the present tree would give it.
#[derive(Debug, Args)]
#[command(
    after_help = "This moves nearly everything: afterwards nothing is where people remember it. History is kept. The daemon may run \
    or not; while it compacts, changes wait.\n\n\
    Example:\n  sudo sfd compact etc"
)]
pub(super) struct CompactArgs {
    /// Name of the brick, as the files in the state directory are called: etc
    name: String,
    #[command(flatten)]
    state: State,
}

pub(super) fn run(args: &CompactArgs, out: Out) -> Result<Exit, CliError> {
    let state = args.state.path()?;
    let name = live::find(&state, Some(&args.name))?.name;
    let (done, by_daemon) = match ask(&state, &name)? {
        Some(done) => (done, true),
        None => (alone(&state, &name)?, false),
    };
    if out.json {
        let mut value = json!(done);
        value["name"] = name.into();
        value["by_daemon"] = by_daemon.into();
        out.json_line(&value)?;
    } else if !out.quiet {
        let side = |order: u8| 1_u64 << order;
        let share = |run: u64| 100.0 * done.cells_used as f64 / run.max(1) as f64;
        out.line(format!(
            "{name}: {} of {} artifacts moved; used run {} ({:.0} % full) -> {} ({:.0} %), side {} -> {} pixels",
            human_count(done.moved),
            human_count(done.artifacts),
            human_bytes(done.used_run_before),
            share(done.used_run_before),
            human_bytes(done.used_run),
            share(done.used_run),
            side(done.order_before),
            side(done.order),
        ))?;
        if done.unread > 0 {
            let who = if by_daemon { "the daemon has" } else { "the daemon, when it starts, has" };
            out.line(format!(
                "{who} to read {} artifacts again, whose blocks have another size",
                done.unread
            ))?;
        }
    }
    Ok(Exit::Done)
}

/// Has the daemon do it; `None` when none runs.
fn ask(state: &Path, name: &str) -> Result<Option<Compaction>, CliError> {
    let Some(mut stream) = super::status::connect(state, &Request::Compact { name: name.to_owned() })? else {
        return Ok(None);
    };
    // However long it takes: the brick may be large, and a baseline may come first.
    let mut text = String::new();
    let failed = |error: std::io::Error| CliError::io("daemon", &error);
    stream.read_to_string(&mut text).map_err(failed)?;
    let mut answer: Value = serde_json::from_str(&text).map_err(|error| failed(error.into()))?;
    if let Some(why) = answer["error"].as_str() {
        return Err(failed(std::io::Error::other(why)));
    }
    let done = serde_json::from_value(answer["compacted"].take()).map_err(|error| failed(error.into()))?;
    Ok(Some(done))
}

fn alone(state: &Path, name: &str) -> Result<Compaction, CliError> {
    let state = StateDir::create(state)?;
    let (mut brick, _, _) = LiveBrick::open(&state.bricks(), name)?;
    let done = brick.compact()?.compaction;
    brick.sync()?;
    Ok(done)
}
