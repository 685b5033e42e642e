//! `sfd snapshot`.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::out::{human_bytes, human_count, printable};
use super::{CliError, Exit, Out, State, live};
use crate::agent::Request;
use crate::brick::{self, Keeping, SealOptions};

/// A daemon that does not answer within this time hangs, and is not waited for. A batch under the heaviest load takes some
/// seconds, and the finding of the files of a large tree, during which it answers nobody, less than a minute.
const GRANT_TIMEOUT: Duration = Duration::from_mins(1);

/// Seals a live brick, as it is at one moment, without stopping the daemon.
#[derive(Debug, Args)]
#[command(
    after_help = "The daemon goes on; its writes wait for some milliseconds. Without one, the brick is sealed as it was left.\n\n\
    Examples:\n  sudo sfd snapshot etc\n  sudo sfd snapshot etc -o monday.brick --compress\n  sudo sfd diff monday.brick /var/lib/sfd/bricks/etc.brick"
)]
pub(super) struct SnapshotArgs {
    /// Name of the brick, as the files in the state directory are called: etc. May be left out if there is only one
    name: Option<String>,
    /// The brick to write [default: NAME-DATE-TIME.brick in the current directory]
    #[arg(long, short, value_name = "FILE.brick")]
    output: Option<PathBuf>,
    /// Compress the body (small and randomly readable, but public V2BR readers cannot read it)
    #[arg(long)]
    compress: bool,
    #[command(flatten)]
    state: State,
}

pub(super) fn run(args: &SnapshotArgs, out: Out) -> Result<Exit, CliError> {
    let state = args.state.path()?;
    let live = live::find(&state, args.name.as_deref())?;
    let output = args.output.clone().unwrap_or_else(|| {
        let now = jiff::Zoned::now().strftime("%Y%m%d-%H%M%S");
        PathBuf::from(format!("{}-{now}.brick", live.name))
    });
    let options = SealOptions { compress: args.compress };
    let mut keep = || -> Option<Box<dyn Keeping>> { Some(Box::new(Daemon::ask(&state, &live.name)?)) };
    let done = brick::snapshot(&live.brick, &output, options, &mut keep)?;
    let header = done.header;
    if out.json {
        out.json_line(&json!({
            "brick": output.to_string_lossy(),
            "name": live.name,
            "artifacts": done.artifacts,
            "unverified": done.unverified,
            "order": header.order,
            "original_size": header.original_size,
            "compressed_size": header.compressed_size,
            "hash": header.hash_hex(),
            "leaves_copied": done.leaves,
            "leaves_kept": done.kept,
            "tries": done.tries,
            "held_ms": done.held.as_secs_f64() * 1e3,
        }))?;
    } else if !out.quiet {
        let side = 1_u64 << header.order;
        out.line(format!(
            "{}: {} artifacts ({} unverified), {} in use, {side}x{side} pixels; writes waited {:.1} ms",
            output.display(),
            human_count(done.artifacts),
            human_count(done.unverified),
            human_bytes(header.original_size),
            done.held.as_secs_f64() * 1e3,
        ))?;
    }
    Ok(Exit::Done)
}

/// The daemon, as it keeps what it writes over. That ends with the connection.
struct Daemon(UnixStream);

impl Daemon {
    /// `None` when no daemon runs, or none that answers.
    fn ask(state: &Path, name: &str) -> Option<Self> {
        let request = Request::Keep { name: name.to_owned() };
        let stream = super::status::connect(state, &request).ok()??;
        stream.set_read_timeout(Some(GRANT_TIMEOUT)).ok()?;
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).ok()?;
        let answer: Value = serde_json::from_str(&line).ok()?;
        if answer["held"] != true {
            tracing::warn!("the daemon: {}", printable(answer["error"].as_str().unwrap_or("no answer")));
            return None;
        }
        Some(Self(stream))
    }
}

impl Keeping for Daemon {
    fn go_on(&mut self) {
        // A daemon that does not hear it goes on after a moment by itself.
        let _ = self.0.write_all(b"\n");
    }
}
