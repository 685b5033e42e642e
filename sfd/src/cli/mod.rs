//! The commands. They print; the stages below never do.

#![forbid(unsafe_code)]

mod compact;
mod config;
mod diff;
mod doctor;
mod error;
mod events;
mod explain;
mod export;
mod extract;
mod fold;
mod inspect;
mod live;
mod llm;
mod log;
mod map;
mod next;
mod out;
mod patch;
mod pictures;
mod run;
mod run_tasks;
mod search;
mod snapshot;
mod status;
mod tasks;
mod verify;
mod who;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::artifact::redact::{KEY_FILE, Redactor};
pub use config::{Config, KEYS};
pub use error::{CliError, Exit};
use out::Out;

/// Keeps a live, explorable picture of a Linux host: what changed, when, who did it, what is it.
#[derive(Debug, Parser)]
#[command(name = "sfd", version, max_term_width = 100, arg_required_else_help = true)]
#[command(
    after_help = "Exit codes: 0 done, 1 the answer is no, 2 usage, 3 not permitted, 4 input/output, 130 interrupted.\n\n\
    Start with:  sudo sfd run --watch /etc,/proc"
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
struct Global {
    /// Print one JSON document, or JSON lines, on standard output and nothing else
    #[arg(long, global = true)]
    json: bool,
    /// Say only what was asked for
    #[arg(long, short, global = true)]
    quiet: bool,
    /// What to log on standard error: error, warn, info, debug, trace, or a filter such as sfd::collect=debug
    #[arg(long, global = true, value_name = "FILTER", env = "SFD_LOG")]
    log: Option<String>,
    /// How to log
    #[arg(long, global = true, value_enum, default_value = "text", env = "SFD_LOG_FORMAT")]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

/// Where a command finds the state of a daemon.
#[derive(Clone, Debug, Args)]
struct State {
    /// State directory [default: /var/lib/sfd, or $XDG_STATE_HOME/sfd when not root]
    #[arg(long, value_name = "DIR", env = "SFD_STATE")]
    state: Option<PathBuf>,
}

impl State {
    fn path(&self) -> Result<PathBuf, CliError> {
        self.state.clone().or_else(crate::agent::StateDir::default_path).ok_or_else(|| {
            CliError::usage("neither $XDG_STATE_HOME nor $HOME is an absolute path; name the state directory with --state")
        })
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch directories and keep a live brick of each
    Run(run::RunArgs),
    /// Fold files and directories into one sealed brick
    Fold(fold::FoldArgs),
    /// Show a brick's header and artifacts
    Inspect(inspect::InspectArgs),
    /// Get the exact bytes of one artifact back out of a brick
    Extract(extract::ExtractArgs),
    /// Check a brick: header, Merkle tree, index, layout
    Verify(verify::VerifyArgs),
    /// Write a brick as a picture or as a file for other programs
    Export(export::ExportArgs),
    /// Show which artifacts are different in two bricks
    Diff(diff::DiffArgs),
    /// Seal a live brick, as it is at one moment, without stopping the daemon
    Snapshot(snapshot::SnapshotArgs),
    /// Lay a live brick out anew, as a first fold would
    Compact(compact::CompactArgs),
    /// Show what the daemon is doing
    Status(status::StatusArgs),
    /// Show what changed, when, and by whom
    Log(log::LogArgs),
    /// Say what one file, directory or process is, asking the language model if there is one
    Explain(explain::ExplainArgs),
    /// Find artifacts by words, kind, risk, tag or place
    Search(search::SearchArgs),
    /// Run the tasks of a repository's openspec directory
    Tasks(tasks::TasksArgs),
    /// Say the one thing to do next, and why
    Next(next::NextArgs),
    /// Print the address of the map, and open it in a browser
    Map(map::MapArgs),
    /// Show the raw event stream of the daemon, for debugging
    Events(events::EventsArgs),
    /// Check what works here, what is lost where it does not, and how to mend it
    Doctor(doctor::DoctorArgs),
}

/// Runs the command line `args` (the program's name first) and returns its exit code.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => {
            // clap's own codes: 0 for --help and --version, 2 for usage.
            let code = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            let _ = error.print();
            return code.into();
        }
    };
    if let Err(error) = init_log(&cli.global, matches!(cli.command, Command::Run(_))) {
        eprintln!("sfd: {error}");
        return Exit::Usage.into();
    }
    let out = Out::new(cli.global.json, cli.global.quiet);
    // `sfd next` has just said it.
    let with_next = !matches!(cli.command, Command::Next(_));
    let result = match cli.command {
        Command::Run(args) => run::run(&args, out),
        Command::Fold(args) => fold::run(&args, out),
        Command::Inspect(args) => inspect::run(&args, out),
        Command::Extract(args) => extract::run(&args, out),
        Command::Verify(args) => verify::run(&args, out),
        Command::Export(args) => export::run(&args, out),
        Command::Diff(args) => diff::run(&args, out),
        Command::Snapshot(args) => snapshot::run(&args, out),
        Command::Compact(args) => compact::run(&args, out),
        Command::Status(args) => status::run(&args, out),
        Command::Log(args) => log::run(&args, out),
        Command::Explain(args) => explain::run(&args, out),
        Command::Search(args) => search::run(&args, out),
        Command::Tasks(args) => tasks::run(&args, out),
        Command::Next(args) => next::run(&args, out),
        Command::Map(args) => map::run(&args, out),
        Command::Events(args) => events::run(&args, out),
        Command::Doctor(args) => doctor::run(&args, out),
    };
    match result {
        Ok(exit) => {
            if with_next && exit != Exit::Interrupted {
                let openspec = option_of(&args, "--openspec");
                next::line(option_of(&args, "--state"), openspec.as_deref(), out);
            }
            exit.into()
        }
        // `sfd inspect x | head`: the reader has seen enough.
        Err(error) if error.is_broken_pipe() => Exit::Done.into(),
        Err(error) => {
            eprintln!("sfd: {error}");
            error.exit.into()
        }
    }
}

/// The value of an option that several commands have, wherever it stands: `--state DIR` or `--state=DIR`.
fn option_of(args: &[OsString], name: &str) -> Option<PathBuf> {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut args = args.iter().take_while(|arg| *arg != "--");
    while let Some(arg) = args.next() {
        if arg == name {
            return args.next().map(PathBuf::from);
        }
        let value = arg.as_bytes().strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
        if let Some(value) = value {
            return Some(OsString::from_vec(value.to_vec()).into());
        }
    }
    None
}

/// With this host's key, if it has one that may be read, so that equal secrets look equal in all its bricks; else with
/// a key that is forgotten at the end.
fn redactor(state: Option<&Path>) -> Result<Redactor, CliError> {
    let state = state.filter(|state| std::fs::File::open(state.join(KEY_FILE)).is_ok());
    let redactor = match state {
        Some(state) => Redactor::open(state, &[]),
        None => Redactor::ephemeral(&[]),
    };
    redactor.map_err(|error| CliError::from(crate::agent::AgentError::from(error)))
}

/// Logs go to standard error; the daemon says a little, the other commands only warn.
fn init_log(global: &Global, daemon: bool) -> Result<(), String> {
    use tracing_subscriber::EnvFilter;
    let default = if daemon && !global.quiet { "info" } else { "warn" };
    let filter = global.log.as_deref().unwrap_or(default);
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("--log {filter}: {error}"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let done = match global.log_format {
        LogFormat::Text => {
            let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
            builder.with_ansi(ansi).with_target(false).try_init()
        }
        LogFormat::Json => builder.json().try_init(),
    };
    // A second call in one process (tests) keeps the first subscriber.
    drop(done);
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn usage_errors_have_code_2() {
        assert_eq!(main(["sfd", "no-such-command"].map(OsString::from)), Exit::Usage.into());
        assert_eq!(main(["sfd", "--version"].map(OsString::from)), Exit::Done.into());
    }
}
