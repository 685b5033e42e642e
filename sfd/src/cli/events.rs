//! `sfd events`: what the daemon's collector reports, as it arrives.

use std::io::{BufRead, BufReader};

use clap::Args;
use serde_json::Value;

use super::out::{human_time, printable};
use super::{CliError, Exit, Out, State};
use crate::agent::Request;

/// Shows the raw event stream of the daemon, for debugging.
#[derive(Debug, Args)]
#[command(
    after_help = "Events are hints: several may describe one change, and a change may have none.\n\nExample:\n  sudo sfd events | grep rename"
)]
pub(super) struct EventsArgs {
    #[command(flatten)]
    state: State,
}

pub(super) fn run(args: &EventsArgs, out: Out) -> Result<Exit, CliError> {
    let state = args.state.path()?;
    let Some(stream) = super::status::connect(&state, &Request::Events)? else {
        return Err(CliError::no(format!(
            "no daemon runs on {}; start one with: sudo sfd run --watch /etc,/proc",
            state.display()
        )));
    };
    for line in BufReader::new(stream).lines() {
        let line = line.map_err(|error| CliError::io("daemon", &error))?;
        if out.json {
            out.line(line)?;
            continue;
        }
        let event: Value =
            serde_json::from_str(&line).map_err(|error| CliError::io("daemon", &error.into()))?;
        out.line(text(&event))?;
    }
    Ok(Exit::Done)
}

fn text(event: &Value) -> String {
    if let Some(count) = event["lagged"].as_u64() {
        return format!("... {count} events not shown: this terminal is slower than they come");
    }
    let mut line = human_time(event["at_ns"].as_i64().unwrap_or(0));
    for key in ["what", "op", "name", "base", "dev", "ino", "pid", "reason", "count"] {
        match &event[key] {
            Value::Null => {}
            Value::String(value) => line.extend(["  ", &printable(value)]),
            value => line.extend(["  ", key, " ", &value.to_string()]),
        }
    }
    if let Some(writer) = event["writer"].as_object() {
        let comm = writer.get("comm").and_then(Value::as_str).unwrap_or("?");
        let pid = writer.get("pid").and_then(Value::as_u64).unwrap_or(0);
        line.extend(["  by ", &printable(comm), "[", &pid.to_string(), "]"]);
    }
    line
}
