//! `sfd doctor`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::config::Layers;
use super::llm::{self, LlmArgs};
use super::out::{human_bytes, human_count, printable};
use super::{CliError, Exit, Out, State};
use crate::collect::{HookState, HookStatus, Rung, below_bpf, probe_hooks};

/// Below this much free space a state directory is called nearly full: the brick of a large /usr is about 1 GiB.
const SPACE_LOW: u64 = 1 << 30;
/// Below this many inotify watches a tree of ordinary size does not fit (the kernel's old default was 8192).
const INOTIFY_LOW: u64 = 65_536;

/// Checks what works here, what is lost where it does not, and how to mend it.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit code 1 when eBPF, the best way to see changes, does not work here, or a hook of it does not work.\n\
    A language model is optional: it is asked one question, and how long that takes is shown."
)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    state: State,
    /// Configuration file, read after /etc/sfd/sfd.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    llm: LlmArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Ok,
    Warning,
    Missing,
}

/// One finding.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    verdict: Verdict,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

impl Check {
    fn new(name: &'static str, good: bool, found: impl Into<String>, fix: &str) -> Self {
        let verdict = if good { Verdict::Ok } else { Verdict::Missing };
        Self { name, verdict, found: found.into(), fix: (!good).then(|| fix.to_owned()) }
    }

    fn warning(mut self) -> Self {
        if self.verdict == Verdict::Missing {
            self.verdict = Verdict::Warning;
        }
        self
    }
}

pub(super) fn run(args: &DoctorArgs, out: Out) -> Result<Exit, CliError> {
    let mut layers = Layers::load(args.config.as_deref(), |name| std::env::var(name).ok())?;
    args.llm.apply(&mut layers);
    let config = layers.config()?;
    let state = args.state.path()?;
    // The hooks are tested where they will work: on the file system of the state directory, which may not exist yet.
    let beside = state.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("/"));
    let bench =
        tempfile::Builder::new().prefix(".sfd-doctor-").tempdir_in(beside).or_else(|_| tempfile::tempdir());
    let bench = bench.map_err(|error| CliError::path(beside, &error))?;
    let (hooks, refused) = match probe_hooks(bench.path()) {
        Ok(hooks) => (hooks, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let mut checks = checks(&state, refused.as_deref());
    checks.push(hooks_check(&hooks));
    let llm = llm::measure(&config)?;
    let verdict = if llm.good { Verdict::Ok } else { Verdict::Warning };
    checks.push(Check { name: "language model", verdict, found: llm.found, fix: llm.fix });
    let (rung, no_inotify) = if refused.is_none() { (Rung::Bpf, None) } else { below_bpf() };
    let works = refused.is_none() && broken(&hooks).next().is_none();
    if out.json {
        out.json_line(&json!({
            "bpf": refused.is_none(), "why_not": refused, "rung": rung, "lost_here": rung.lost(),
            "checks": checks, "hooks": hooks, "llm": llm.measured,
        }))?;
    } else {
        out.write(|out| {
            print_rung(rung, [refused.as_deref(), no_inotify.as_deref()], out)?;
            for check in &checks {
                let mark = match check.verdict {
                    Verdict::Ok => "ok     ",
                    Verdict::Warning => "warning",
                    Verdict::Missing => "missing",
                };
                writeln!(out, "{mark}  {:<18} {}", check.name, printable(&check.found))?;
                if let Some(fix) = &check.fix {
                    writeln!(out, "{:>27} {fix}", "->")?;
                }
            }
            print_hooks(&hooks, out)
        })?;
    }
    Ok(if works { Exit::Done } else { Exit::No })
}

/// Hooks that this kernel has and that do not work.
fn broken(hooks: &[HookStatus]) -> impl Iterator<Item = &HookStatus> {
    hooks.iter().filter(|hook| matches!(hook.state, HookState::Silent | HookState::Failed(_)))
}

fn hooks_check(hooks: &[HookStatus]) -> Check {
    let names: Vec<&str> = broken(hooks).map(|hook| hook.name.as_str()).collect();
    if names.is_empty() {
        return Check::new("hooks", true, "none is silent or refused", "");
    }
    let fix = "what is missed meanwhile is below; the timed comparison (verify_s) finds it";
    Check::new("hooks", false, format!("not working: {}", names.join(", ")), fix)
}

/// What `sfd run` would use here, why nothing better, what is not seen that way, and how to get more.
fn print_rung(rung: Rung, why: [Option<&str>; 2], out: &mut dyn std::io::Write) -> std::io::Result<()> {
    let name = match rung {
        Rung::Bpf => "eBPF",
        Rung::Inotify => "inotify",
        Rung::Scan => "timed scans only",
    };
    writeln!(out, "changes are seen through {name}")?;
    if let Some(lost) = rung.lost() {
        writeln!(out, "  not seen this way: {lost}")?;
    }
    for why in why.into_iter().flatten() {
        writeln!(out, "  why not better: {}", printable(why))?;
    }
    writeln!(out)
}

fn print_hooks(hooks: &[HookStatus], out: &mut dyn std::io::Write) -> std::io::Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    let working = |hook: &&HookStatus| matches!(hook.state, HookState::Verified | HookState::Attached);
    writeln!(
        out,
        "\n{} of {} hooks work; verified ones were seen to report a change just now",
        hooks.iter().filter(working).count(),
        hooks.len()
    )?;
    for hook in hooks {
        let (state, why) = match &hook.state {
            HookState::Verified => ("verified", None),
            HookState::Attached => ("attached", None),
            HookState::Silent => ("SILENT", Some("attached, but it did not report a change made to test it")),
            HookState::Absent => ("absent", Some("this kernel does not have it")),
            HookState::Failed(why) => ("FAILED", Some(why.as_str())),
        };
        writeln!(out, "  {state:<9} {}", hook.name)?;
        if let Some(why) = why {
            writeln!(out, "            {}", printable(why))?;
            writeln!(out, "            without it: {}", hook.lost_without)?;
        }
    }
    Ok(())
}

fn checks(state: &Path, refused: Option<&str>) -> Vec<Check> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let root = rustix::process::geteuid().is_root();
    let btf = Path::new("/sys/kernel/btf/vmlinux").exists();
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let mut checks = vec![
        Check::new(
            "kernel",
            at_least(&release, 5, 8),
            format!("{release} {}", uname.machine().to_string_lossy()),
            "eBPF rings need 5.8 or newer; SFD falls back to inotify",
        ),
        Check::new(
            "BTF",
            btf,
            if btf { "/sys/kernel/btf/vmlinux" } else { "the kernel has none" },
            "use a kernel built with CONFIG_DEBUG_INFO_BTF=y (every current distribution's is)",
        ),
        Check::new(
            "permissions",
            root,
            if root { "root".to_owned() } else { format!("uid {}", rustix::process::geteuid().as_raw()) },
            "run with sudo, or give the service CAP_BPF, CAP_PERFMON and CAP_DAC_READ_SEARCH",
        ),
        Check::new(
            "tracefs",
            Path::new("/sys/kernel/tracing/events").exists()
                || Path::new("/sys/kernel/debug/tracing/events").exists(),
            "needed for the system-call hooks",
            "mount -t tracefs tracefs /sys/kernel/tracing (SFD does it when it may)",
        )
        .warning(),
    ];
    checks.push(match refused {
        None => Check::new("eBPF", true, "loads and attaches", ""),
        Some(why) => Check::new("eBPF", false, why, "see the lines above; until then SFD uses inotify"),
    });
    let paranoid = read("/proc/sys/kernel/perf_event_paranoid");
    if !paranoid.is_empty() {
        let bad = paranoid.parse().unwrap_or(0) > 2 && !root;
        checks.push(
            Check::new(
                "perf_event_paranoid",
                !bad,
                paranoid,
                "sysctl kernel.perf_event_paranoid=2, or run as root",
            )
            .warning(),
        );
    }
    if let Ok(watches) = read("/proc/sys/fs/inotify/max_user_watches").parse::<u64>() {
        let fix = "sysctl fs.inotify.max_user_watches=524288 (matters only without eBPF)";
        checks
            .push(Check::new("inotify watches", watches >= INOTIFY_LOW, human_count(watches), fix).warning());
    }
    let existing = state.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    checks.push(match rustix::fs::statvfs(existing) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let found = format!("{} free for {}", human_bytes(free), state.display());
            Check::new("disk", free >= SPACE_LOW, found, "make room, or choose another --state").warning()
        }
        Err(error) => {
            Check::new("disk", false, format!("{}: {error}", existing.display()), "choose another --state")
        }
    });
    checks
}

/// Whether a kernel release such as `6.18.4-cloud` is at least `major.minor`.
fn at_least(release: &str, major: u32, minor: u32) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_compare_as_numbers() {
        assert!(at_least("6.18.44-fc-v669", 5, 8));
        assert!(at_least("5.10.0", 5, 8));
        assert!(!at_least("5.4.0-200-generic", 5, 8));
        assert!(!at_least("", 5, 8));
    }

    fn text(print: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>) -> String {
        let mut text = Vec::new();
        print(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_silent_hook_is_shown_as_not_working() {
        let hook = |name: &str, state| HookStatus {
            name: name.to_owned(),
            state,
            lost_without: format!("changes that {name} tells of"),
        };
        let good = [hook("good", HookState::Verified), hook("none", HookState::Absent)];
        assert_eq!(broken(&good).count(), 0);
        assert_eq!(hooks_check(&good).verdict, Verdict::Ok);
        let hooks = [hook("good", HookState::Verified), hook("mute", HookState::Silent)];
        assert_eq!(broken(&hooks).count(), 1);
        let check = hooks_check(&hooks);
        assert_eq!(check.verdict, Verdict::Missing);
        assert!(check.found.contains("mute") && !check.found.contains("good"), "{}", check.found);
        let shown = text(|out| print_hooks(&hooks, out));
        assert!(shown.contains("1 of 2 hooks work"), "{shown}");
        assert!(shown.contains("SILENT    mute") && shown.contains("changes that mute tells of"), "{shown}");
    }

    #[test]
    fn each_rung_says_what_it_does_not_see_and_why_it_is_no_better() {
        let why = "the kernel refused the eBPF object; run as root";
        let shown = text(|out| print_rung(Rung::Inotify, [Some(why), None], out));
        assert!(shown.contains("through inotify") && shown.contains("run as root"), "{shown}");
        assert!(shown.contains("who made a change"), "{shown}");
        let shown = text(|out| print_rung(Rung::Bpf, [None, None], out));
        assert!(!shown.contains("not seen"), "{shown}");
    }
}
