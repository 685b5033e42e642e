//! `sfd map`: where the map is.

use std::io::IsTerminal;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use clap::Args;
use serde_json::json;

use super::{CliError, Exit, Out, State};
use crate::agent::StateDir;
use crate::map::{PAGE_FILE, URL_FILE};

/// Prints the address of the running daemon's map, and opens it where there is a display.
#[derive(Debug, Args)]
#[command(
    after_help = "The address holds a token that is new with every start of the daemon: whoever has it can read what is watched. After the first visit the browser keeps it as a cookie.\n\nExamples:\n  sudo sfd map\n  sudo sfd map --no-open\n  ssh -L 7317:127.0.0.1:7317 HOST sudo sfd map --no-open     and open the address here"
)]
pub(super) struct MapArgs {
    /// Only print the address
    #[arg(long)]
    no_open: bool,
    #[command(flatten)]
    state: State,
}

pub(super) fn run(args: &MapArgs, out: Out) -> Result<Exit, CliError> {
    let state = args.state.path()?;
    let path = state.join(URL_FILE);
    let none = |why: &str| {
        CliError::no(format!("{}: {why}; start with: sudo sfd run --watch /etc,/proc", state.display()))
    };
    // A daemon that was killed leaves its address.
    if UnixStream::connect(StateDir::socket(&state)).is_err() && !may_not_read(&path) {
        return Err(none("no daemon runs"));
    }
    let url = match std::fs::read_to_string(&path) {
        Ok(url) => url.trim().to_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(none(
                "the daemon serves no map (--listen off, or no port was free: its log says so)",
            ));
        }
        Err(error) => return Err(CliError::path(&path, &error)),
    };
    if out.json {
        out.json_line(&json!({ "url": url }))?;
    } else {
        out.line(&url)?;
    }
    let has_display = ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some());
    if !args.no_open && !out.json && has_display && std::io::stdout().is_terminal() {
        // Not the address itself: everybody can read the arguments of a process. The file sends the browser there.
        let page = state.join(PAGE_FILE);
        let opened = Command::new("xdg-open").arg(&page).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !opened.is_ok_and(|status| status.success()) && !out.quiet {
            eprintln!("sfd: xdg-open could not open it; open the address in a browser");
        }
    }
    Ok(Exit::Done)
}

/// Whether permissions are what is in the way: then that is what is told.
fn may_not_read(path: &std::path::Path) -> bool {
    std::fs::File::open(path).is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
}
