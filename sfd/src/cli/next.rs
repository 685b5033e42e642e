//! `sfd next` and the `Next:` line: the one command to run next, and why.
//!
//! What is so is gathered first ([`Facts`]); what follows from it is one pure function ([`advise`]).

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::out::{human_count, printable_line};
use super::{CliError, Exit, Out, State, live};
use crate::agent::Request;
use crate::collect::probe_hooks;
use crate::map::{OPENED_FILE, URL_FILE};
use crate::tasks::{OpenSpec, State as TaskState};

/// A daemon that does not answer within this is not asked by a line at the end of another command.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// What is watched when nothing says otherwise.
const DEFAULT_ROOTS: &str = "/etc,/proc";
/// An address in a file is at most this long, in bytes.
const ADDRESS_BYTES_MAX: u64 = 4096;

/// Says the one thing to do next, and why.
#[derive(Debug, Args)]
#[command(
    after_help = "Other commands end with the same line on a terminal; --quiet leaves it out.\n\nExample:\n  sfd next --json | jq -r .command"
)]
pub(super) struct NextArgs {
    #[command(flatten)]
    state: State,
    /// Repository whose tasks count [default: the nearest with an openspec directory at or above this one]
    #[arg(long, value_name = "DIR")]
    openspec: Option<PathBuf>,
}

/// What a running daemon says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Running {
    /// Why it does not see changes through eBPF, if it does not and nobody has asked for that.
    pub(super) below_bpf: Option<String>,
    /// Artifacts that are not verified, while nothing is on its way to mend that.
    pub(super) unverified: u64,
    /// What is wrong with the language model that it was told to use.
    pub(super) model: Option<Trouble>,
}

/// What is wrong with a language model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// No server answers.
    Unreachable(String),
    /// It does not have the model; how to get it, if that is a command.
    Missing { why: String, command: Option<String> },
}

/// Tasks of the repository around.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tasks {
    /// To be run.
    pub(super) pending: usize,
    /// To be mended.
    pub(super) failed: usize,
    /// As `--openspec` must name it; `None`: it is found from here.
    pub(super) named: Option<PathBuf>,
}

/// What is so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Effective user 0.
    pub(super) root: bool,
    /// Why eBPF cannot be used, as far as that was looked for.
    pub(super) bpf_refused: Option<String>,
    /// Watched paths of the live bricks.
    pub(super) bricks: Vec<String>,
    /// The daemon of the state directory.
    pub(super) daemon: Option<Running>,
    /// The repository's tasks.
    pub(super) tasks: Tasks,
    /// Address of the map, where one is served that nobody has opened yet.
    pub(super) map: Option<String>,
    /// The state directory, where it must be named.
    pub(super) state: Option<PathBuf>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Advice {
    /// Which of the states it is.
    pub(super) state: &'static str,
    /// The command.
    pub(super) command: String,
    /// Why.
    pub(super) why: String,
}

/// The first of these that is so.
pub(super) fn advise(facts: &Facts) -> Advice {
    let state = facts.state.as_ref().map(|state| format!(" --state {}", quoted(state))).unwrap_or_default();
    let advice = |state, command: String, why: String| Advice { state, command, why };
    let sudo = if facts.root { "" } else { "sudo " };
    let roots = if facts.bricks.is_empty() { DEFAULT_ROOTS.to_owned() } else { facts.bricks.join(",") };
    let run = format!("{sudo}sfd run --watch {roots}{state}");
    let Some(daemon) = &facts.daemon else {
        if let (true, Some(why)) = (facts.root, &facts.bpf_refused) {
            return advice(
                "bpf_not_permitted",
                format!("sfd doctor{state}"),
                format!("eBPF cannot be used here: {why}"),
            );
        }
        if !facts.bricks.is_empty() {
            return advice("not_running", run, "no daemon runs, so the bricks are as old as its end".into());
        }
        return if facts.root {
            advice("no_brick", run, "there is no brick yet".into())
        } else {
            let why =
                "there is no brick yet, and only root may use eBPF, which sees every change and who made it";
            advice("not_root", run, why.into())
        };
    };
    if let Some(why) = &daemon.below_bpf {
        return if facts.root {
            advice(
                "bpf_not_permitted",
                format!("sfd doctor{state}"),
                format!("the daemon cannot use eBPF: {why}"),
            )
        } else {
            let why = "the daemon does not run as root, so it misses who made a change, and some changes until it compares";
            advice("not_root", run, why.into())
        };
    }
    match &daemon.model {
        Some(Trouble::Unreachable(why)) => {
            return advice(
                "llm_unreachable",
                format!("sfd doctor{state}"),
                format!("the language model cannot be reached: {why}"),
            );
        }
        Some(Trouble::Missing { why, command }) => {
            let command = command.clone().unwrap_or_else(|| format!("sfd doctor{state}"));
            return advice("model_missing", command, why.clone());
        }
        None => {}
    }
    let openspec =
        facts.tasks.named.as_ref().map(|dir| format!(" --openspec {}", quoted(dir))).unwrap_or_default();
    if facts.tasks.pending > 0 {
        let why = format!("{} tasks are pending", human_count(facts.tasks.pending as u64));
        return advice("tasks_pending", format!("sfd tasks run{openspec}"), why);
    }
    if facts.tasks.failed > 0 {
        let why = format!("{} tasks have failed; the list says why", human_count(facts.tasks.failed as u64));
        return advice("tasks_failed", format!("sfd tasks list{openspec}"), why);
    }
    if let Some(address) = &facts.map {
        return advice("map_not_open", format!("sfd map{state}"), format!("the map is served at {address}"));
    }
    if daemon.unverified > 0 {
        let why =
            format!("{} artifacts are not verified; the status says where", human_count(daemon.unverified));
        return advice("unverified", format!("{sudo}sfd status{state}"), why);
    }
    advice(
        "live",
        format!("{sudo}sfd log -f{state}"),
        "all is live and verified; this shows what changes".into(),
    )
}

/// As a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:,@~".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// Looks at what is so. With `thorough`, eBPF programs are tried, which takes a second or two.
fn gather(state: &Path, openspec: Option<&Path>, thorough: bool) -> Facts {
    let root = rustix::process::geteuid().is_root();
    let default = crate::agent::StateDir::default_path().is_some_and(|default| default == state);
    let daemon = daemon(state);
    Facts {
        root,
        bpf_refused: if root && daemon.is_none() { bpf_refused(thorough) } else { None },
        bricks: bricks(state),
        daemon,
        tasks: tasks(openspec),
        map: map(state),
        state: (!default).then(|| state.to_path_buf()),
    }
}

fn bricks(state: &Path) -> Vec<String> {
    // What may not be read is not there for this user.
    let catalogs = live::catalogs(state).unwrap_or_default();
    let roots = catalogs.into_iter().filter_map(|(_, catalog)| catalog.meta().ok());
    roots.map(|meta| String::from_utf8_lossy(&meta.root_path).into_owned()).collect()
}

/// First what costs nothing to look at, then the programs themselves.
fn bpf_refused(thorough: bool) -> Option<String> {
    // CAP_SYS_ADMIN and CAP_BPF (include/uapi/linux/capability.h).
    const ENOUGH: u64 = 1 << 21 | 1 << 39;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(u64::MAX);
    if effective & ENOUGH == 0 {
        return Some("this process has neither CAP_BPF nor CAP_SYS_ADMIN (a container without them?)".into());
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Some("the kernel has no BTF".into());
    }
    if !thorough {
        return None;
    }
    let bench = tempfile::tempdir().ok()?;
    probe_hooks(bench.path()).err().map(|error| error.to_string())
}

fn daemon(state: &Path) -> Option<Running> {
    let mut stream = super::status::connect(state, &Request::Status).ok()??;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT)).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let status: Value = serde_json::from_str(&text).ok()?;
    Some(running(&status))
}

/// What matters here of a status.
fn running(status: &Value) -> Running {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    // Whoever asked for less does not want to be told.
    let why: Vec<String> = list(&status["why"]).iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let chosen = why.iter().any(|why| why.contains("not tried"));
    let below_bpf = (status["rung"] != "bpf" && !chosen)
        .then(|| why.first().cloned().unwrap_or_else(|| "the daemon does not say why".into()));
    // A scan that is going on verifies them.
    let resting = |root: &&Value| root["scanning"].is_null();
    let unverified =
        list(&status["roots"]).iter().filter(resting).filter_map(|root| root["unverified"].as_u64()).sum();
    Running { below_bpf, unverified, model: trouble(&status["llm"]) }
}

fn trouble(llm: &Value) -> Option<Trouble> {
    if llm["state"] != "unreachable" {
        return None;
    }
    let why = llm["why"].as_str()?.to_owned();
    // Nothing was named and nothing is there: that is a choice, and `sfd doctor` tells of it.
    if why.contains("none of them answers") {
        return None;
    }
    if !why.contains(": no model `") {
        return Some(Trouble::Unreachable(why));
    }
    // Words of `AskError::ModelMissing`: the command is the last thing in it.
    let command = why.rsplit_once("get it with: ").map(|(_, command)| command.to_owned());
    Some(Trouble::Missing { why, command })
}

fn tasks(named: Option<&Path>) -> Tasks {
    let openspec = match named {
        Some(dir) => OpenSpec::open(dir),
        None => OpenSpec::search(Path::new(".")),
    };
    let found = openspec.and_then(|openspec| openspec.tasks()).unwrap_or_default();
    Tasks {
        pending: found.iter().filter(|task| task.state == TaskState::Pending).count(),
        failed: found.iter().filter(|task| matches!(task.state, TaskState::Failed { .. })).count(),
        named: named.map(Path::to_path_buf),
    }
}

/// Where the map is, if one is served (`map-url` in the state directory) and nobody was there yet (`map-opened`).
fn map(state: &Path) -> Option<String> {
    if state.join(OPENED_FILE).exists() {
        return None;
    }
    let mut text = String::new();
    std::fs::File::open(state.join(URL_FILE)).ok()?.take(ADDRESS_BYTES_MAX).read_to_string(&mut text).ok()?;
    // Without the token: `sfd map` shows that to whoever asks for it, and this line stands below everything.
    let address = text.lines().next()?.split('?').next()?.trim();
    (!address.is_empty()).then(|| address.to_owned())
}

pub(super) fn run(args: &NextArgs, out: Out) -> Result<Exit, CliError> {
    let facts = gather(&args.state.path()?, args.openspec.as_deref(), true);
    let advice = advise(&facts);
    if out.json {
        out.json_line(&advice)?;
    } else if out.quiet {
        out.line(printable_line(&advice.command))?;
    } else {
        out.line(text(&advice))?;
    }
    Ok(Exit::Done)
}

fn text(advice: &Advice) -> String {
    format!("Next: {}\n      {}", printable_line(&advice.command), printable_line(&advice.why))
}

/// The line at the end of other commands, on a terminal.
pub(super) fn line(state: Option<PathBuf>, openspec: Option<&Path>, out: Out) {
    if out.json || out.quiet || !std::io::stdout().is_terminal() {
        return;
    }
    let Some(state) = state.or_else(crate::agent::StateDir::default_path) else { return };
    let advice = advise(&gather(&state, openspec, false));
    // The terminal has gone: nobody wants to know.
    let _ = out.line(format!("Next: {}  ({})", printable_line(&advice.command), printable_line(&advice.why)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(facts: &Facts) -> (&'static str, String) {
        let advice = advise(facts);
        (advice.state, advice.command)
    }

    #[test]
    fn what_is_wrong_comes_before_what_could_be_better() {
        let mut facts = Facts { root: true, ..Facts::default() };
        assert_eq!(state(&facts), ("no_brick", "sfd run --watch /etc,/proc".into()));
        facts.bpf_refused = Some("no BTF".into());
        assert_eq!(state(&facts).0, "bpf_not_permitted");
        facts = Facts { bricks: vec!["/srv".into()], ..Facts::default() };
        assert_eq!(state(&facts), ("not_running", "sudo sfd run --watch /srv".into()));
        facts = Facts {
            root: true,
            daemon: Some(Running {
                unverified: 3,
                model: Some(Trouble::Unreachable("x".into())),
                ..Running::default()
            }),
            tasks: Tasks { pending: 1, failed: 1, named: Some("/a b".into()) },
            map: Some("http://127.0.0.1:1/".into()),
            ..Facts::default()
        };
        assert_eq!(state(&facts).0, "llm_unreachable");
        facts.daemon.as_mut().unwrap().model = None;
        assert_eq!(state(&facts), ("tasks_pending", "sfd tasks run --openspec '/a b'".into()));
        facts.tasks.pending = 0;
        assert_eq!(state(&facts).0, "tasks_failed");
        facts.tasks.failed = 0;
        assert_eq!(state(&facts), ("map_not_open", "sfd map".into()));
        facts.map = None;
        assert_eq!(state(&facts).0, "unverified");
        facts.daemon.as_mut().unwrap().unverified = 0;
        assert_eq!(state(&facts), ("live", "sfd log -f".into()));
    }
}
