//! `sfd run`: the daemon.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use toml::Value;

use super::config::{Config, Layers};
use super::llm::LlmArgs;
use super::out::{human_bytes, human_count, printable};
use super::run_tasks::{TaskThread, Wanted};
use super::{CliError, Exit, Out};
use crate::agent::{Agent, AgentConfig, Shared, Status, StatusSource, brick_names};
use crate::brick::{SealOptions, snapshot};
use crate::collect::{HookState, Rung, Source};

/// How often the progress bar moves, and how often the end of the baseline is looked for.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// Watches directories and keeps a live brick of each.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  sudo sfd run --watch /etc,/proc\n  \
    sfd run --watch ~/project --exclude '**/target/**'    not root: inotify instead of eBPF\n  \
    sudo sfd run --watch /usr/bin --once                  baseline, seal, exit\n\n\
    Signals: SIGTERM (exit 0) and SIGINT (exit 130) flush, sync and end; SIGHUP reads the configuration again.")]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub(super) struct RunArgs {
    /// Directories to watch; /proc is watched as projections
    #[arg(long, value_delimiter = ',', value_name = "DIR,...")]
    watch: Vec<PathBuf>,
    /// State directory [default: /var/lib/sfd, or $XDG_STATE_HOME/sfd when not root]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Configuration file, read after /etc/sfd/sfd.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Who reports changes [default: auto]
    #[arg(long, value_enum)]
    source: Option<Source>,
    /// Address of the map, or off [default: 127.0.0.1:7317]
    #[arg(long, value_name = "ADDR|off")]
    listen: Option<String>,
    /// Also make pictures of the bricks for the public Infinite Map, in STATE/infinite-map
    #[arg(long)]
    infinite_map: bool,
    /// Leave out what matches this glob of absolute paths; may be repeated
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Redact what matches this glob too; may be repeated
    #[arg(long, value_name = "GLOB")]
    redact: Vec<String>,
    /// Keep secrets readable in the bricks (needs root)
    #[arg(long, conflicts_with = "redact")]
    no_redact: bool,
    #[command(flatten)]
    llm: LlmArgs,
    /// Run the OpenSpec tasks of this repository as they appear (see sfd tasks); then --watch may be left out
    #[arg(long, value_name = "DIR", conflicts_with = "once")]
    openspec: Option<PathBuf>,
    /// Make the baseline, seal each brick as NAME.sealed.brick beside the live one, and exit
    #[arg(long)]
    once: bool,
    /// Print the effective configuration, with where each value came from, and exit
    #[arg(long)]
    print_config: bool,
}

/// Why the agent was told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Terminate,
    Interrupt,
    Reload,
    /// A task wants another directory watched.
    Watch,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
    /// From tasks, if there are any.
    tasks: Option<UnboundedReceiver<Wanted>>,
    /// What [`Stop::Watch`] is about.
    wanted: Arc<Mutex<Vec<Wanted>>>,
}

impl Signals {
    fn new() -> Result<Self, CliError> {
        let listen = |kind| signal(kind).map_err(|error| CliError::io("signals", &error));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            reload: listen(SignalKind::hangup())?,
            tasks: None,
            wanted: Arc::default(),
        })
    }

    async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.terminate.recv() => Stop::Terminate,
            _ = self.interrupt.recv() => Stop::Interrupt,
            _ = self.reload.recv() => Stop::Reload,
            wanted = next_of(&mut self.tasks) => {
                lock(&self.wanted).push(wanted);
                Stop::Watch
            }
        }
    }
}

/// The next thing that a task wants; never, without tasks.
async fn next_of(tasks: &mut Option<UnboundedReceiver<Wanted>>) -> Wanted {
    if let Some(wanted) = tasks
        && let Some(wanted) = wanted.recv().await
    {
        return wanted;
    }
    // The thread has ended: nothing more comes.
    *tasks = None;
    std::future::pending().await
}

fn lock(wanted: &Mutex<Vec<Wanted>>) -> MutexGuard<'_, Vec<Wanted>> {
    wanted.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn run(args: &RunArgs, out: Out) -> Result<Exit, CliError> {
    let layers = layers(args)?;
    let mut config = layers.config()?;
    if args.print_config {
        if out.json {
            out.json_line(&config)?;
        } else {
            out.write(|out| write!(out, "{}", layers.print()))?;
        }
        return Ok(Exit::Done);
    }
    let has_tasks = !config.openspec.as_os_str().is_empty() && !args.once;
    if config.watch.is_empty() && !has_tasks {
        return Err(CliError::usage("nothing to watch; try: sudo sfd run --watch /etc,/proc"));
    }
    check_redaction(config.redact)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| CliError::io("tokio runtime", &error))?;
    runtime.block_on(async {
        let mut signals = Signals::new()?;
        // Directories that tasks have asked for, beside those of the configuration.
        let mut more: Vec<PathBuf> = Vec::new();
        let mut thread = None;
        if has_tasks {
            let state = config.state_dir()?.path().to_path_buf();
            let (started, wanted, watched) = TaskThread::start(&config, &state, out)?;
            (thread, signals.tasks, more) = (Some(started), Some(wanted), watched);
        }
        let wanted = Arc::clone(&signals.wanted);
        let stopped = loop {
            let mut next = None;
            let mut added = Vec::new();
            let with = with_roots(&config, &more);
            // A broken configuration must not disturb a running daemon: it is refused before anything is stopped.
            let mut accept = |stop| match stop {
                Stop::Terminate | Stop::Interrupt => true,
                Stop::Reload => match reread(args, &more) {
                    Ok(new) => {
                        tracing::info!("configuration read again");
                        next = Some(new);
                        true
                    }
                    Err(error) => {
                        tracing::error!(%error, "keeping the old configuration");
                        false
                    }
                },
                Stop::Watch => {
                    added = new_roots(&with, &wanted);
                    !added.is_empty()
                }
            };
            let stop = if with.watch.is_empty() {
                loop {
                    let stop = signals.next().await;
                    if accept(stop) {
                        break Some(stop);
                    }
                }
            } else {
                let mut agent = with.agent()?;
                // What ends by itself is not to be looked at.
                agent.map = agent.map.filter(|_| !args.once);
                serve(agent, args.once, &mut signals, &mut accept, out).await?
            };
            match stop {
                // Also when the worker ended without an error and nobody asked for it: nothing is left to serve.
                None | Some(Stop::Terminate) => break Exit::Done,
                Some(Stop::Interrupt) => break Exit::Interrupted,
                Some(Stop::Reload) => config = next.unwrap_or(config),
                Some(Stop::Watch) => more.append(&mut added),
            }
        };
        // Whoever still waits for a directory to be live is told that it will not be.
        signals.tasks = None;
        lock(&wanted).clear();
        let _ = tokio::task::spawn_blocking(move || drop(thread)).await;
        Ok(stopped)
    })
}

/// The configuration with more directories to watch.
fn with_roots(config: &Config, more: &[PathBuf]) -> Config {
    let mut config = config.clone();
    config.watch.extend(more.iter().cloned());
    config
}

/// Which of the wanted directories are not watched yet and can be; of the others, those who want them are told.
fn new_roots(config: &Config, wanted: &Mutex<Vec<Wanted>>) -> Vec<PathBuf> {
    let mut added = Vec::new();
    let mut wanted = lock(wanted);
    wanted.retain(|wanted| {
        let watched =
            |root: &PathBuf| std::fs::canonicalize(root).is_ok_and(|root| wanted.path.starts_with(root));
        if config.watch.iter().any(watched) {
            // Told as soon as the baseline is done, by whoever looks at that.
            return true;
        }
        match with_roots(config, std::slice::from_ref(&wanted.path)).agent() {
            Ok(_) => {
                added.push(wanted.path.clone());
                true
            }
            Err(error) => {
                let _ = wanted.answer.send(Err(error.to_string()));
                false
            }
        }
    });
    added
}

/// Tells those who want a directory watched that it is live, and where its brick is.
fn answer(wanted: &Mutex<Vec<Wanted>>, status: &Status, state: &Path) {
    lock(wanted).retain(|wanted| {
        let root = status.roots.iter().find(|root| wanted.path.starts_with(&root.path));
        let Some(root) = root else { return true };
        let told = match &root.error {
            Some(error) => Err(error.clone()),
            None => Ok(state.join("bricks").join(format!("{}.brick", root.name))),
        };
        let _ = wanted.answer.send(told);
        false
    });
}

/// The configuration as it is now, checked as at the start.
fn reread(args: &RunArgs, more: &[PathBuf]) -> Result<Config, CliError> {
    let config = layers(args)?.config()?;
    check_redaction(config.redact)?;
    let with = with_roots(&config, more);
    if !with.watch.is_empty() || config.openspec.as_os_str().is_empty() {
        with.agent()?;
    }
    Ok(config)
}

/// The configuration that the command line asks for.
fn layers(args: &RunArgs) -> Result<Layers, CliError> {
    let mut layers = Layers::load(args.config.as_deref(), |name| std::env::var(name).ok())?;
    let text = |path: &PathBuf, flag: &str| match path.to_str() {
        Some(text) => Ok(Value::String(text.to_owned())),
        None => Err(CliError::usage(format!(
            "{flag} {}: a path that is not UTF-8 cannot be watched by name; watch a directory above it",
            path.display()
        ))),
    };
    if !args.watch.is_empty() {
        let watch = args.watch.iter().map(|path| text(path, "--watch")).collect::<Result<Vec<_>, _>>()?;
        layers.set("watch", Value::Array(watch), "--watch".into());
    }
    if let Some(state) = &args.state {
        layers.set("state", text(state, "--state")?, "--state".into());
    }
    if let Some(source) = args.source {
        layers.set("source", Value::String(source.name().to_owned()), "--source".into());
    }
    if let Some(listen) = &args.listen {
        layers.set("listen", Value::String(listen.clone()), "--listen".into());
    }
    if args.infinite_map {
        layers.set("infinite_map", Value::Boolean(true), "--infinite-map".into());
    }
    if !args.exclude.is_empty() {
        layers.set("exclude", Value::from(args.exclude.clone()), "--exclude".into());
    }
    if !args.redact.is_empty() {
        layers.set("redact_also", Value::from(args.redact.clone()), "--redact".into());
    }
    if args.no_redact {
        layers.set("redact", Value::Boolean(false), "--no-redact".into());
    }
    if let Some(openspec) = &args.openspec {
        layers.set("openspec", text(openspec, "--openspec")?, "--openspec".into());
    }
    args.llm.apply(&mut layers);
    Ok(layers)
}

fn check_redaction(redact: bool) -> Result<(), CliError> {
    if redact {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        let error = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        return Err(CliError::io("--no-redact needs root", &error));
    }
    tracing::warn!("redaction is off: passwords and private keys can be read from the bricks");
    Ok(())
}

/// Runs one agent until a signal, or until it is done. Returns the signal.
async fn serve(
    config: AgentConfig,
    once: bool,
    signals: &mut Signals,
    accept: &mut dyn FnMut(Stop) -> bool,
    out: Out,
) -> Result<Option<Stop>, CliError> {
    // Reading and attaching block; signals must not wait for them, so Ctrl-C works from the first moment.
    let names = brick_names(&config.roots);
    let state = config.state.clone();
    let agent = tokio::task::spawn_blocking(move || Agent::start(config))
        .await
        .map_err(|error| CliError::io("agent", &std::io::Error::other(error)))??;
    let status = agent.status();
    announce(&status(), out)?;
    if let Some(url) = agent.map_url() {
        announce_map(&url, out)?;
    }
    let (tell, told) = oneshot::channel();
    let live = tokio::spawn(when_live(Arc::clone(&signals.wanted), Arc::clone(&status), state.clone()));
    let progress =
        tokio::spawn(progress(agent.shared(), Arc::clone(&status), out, names.clone(), state.clone()));
    let mut running = tokio::spawn(agent.run(
        async move {
            let _ = told.await;
        },
        once,
    ));
    let ended = |result: Result<Result<(), crate::agent::AgentError>, tokio::task::JoinError>| match result {
        Ok(result) => result.map_err(CliError::from),
        Err(error) => Err(CliError::io("agent", &std::io::Error::other(error))),
    };
    let stop = loop {
        tokio::select! {
            result = &mut running => {
                progress.abort();
                live.abort();
                ended(result)?;
                break None;
            }
            stop = signals.next() => {
                if !accept(stop) {
                    continue;
                }
                progress.abort();
                live.abort();
                let _ = tell.send(());
                ended(running.await)?;
                break Some(stop);
            }
        }
    };
    if once && stop.is_none() {
        seal(&state, &names, out)?;
    }
    if out.json {
        out.json_line(&json!({ "event": "stopped" }))?;
    }
    Ok(stop)
}

/// The first line: how changes are seen, what is lost on that rung, and how to get more.
fn announce(status: &Status, out: Out) -> Result<(), CliError> {
    if out.json {
        return out.json_line(&json!({ "event": "started", "status": status }));
    }
    let working = status
        .hooks
        .iter()
        .filter(|hook| matches!(hook.state, HookState::Attached | HookState::Verified))
        .count();
    let how = match status.rung {
        Rung::Bpf => {
            let names =
                status.name_hooks.map(|hooks| format!(", names by {}", hooks.text())).unwrap_or_default();
            format!("eBPF, {working} of {} hooks{names}", status.hooks.len())
        }
        Rung::Inotify => "inotify".to_owned(),
        Rung::Scan => "timed scans only".to_owned(),
    };
    let mut line = format!("sfd {}: seeing changes through {how}", status.version);
    for why in &status.why {
        line.push_str("; ");
        line.push_str(why);
    }
    let missing: Vec<&str> = status
        .hooks
        .iter()
        .filter(|hook| !matches!(hook.state, HookState::Attached | HookState::Verified))
        .map(|hook| hook.name.rsplit('/').next().unwrap_or(&hook.name))
        .collect();
    if !missing.is_empty() {
        line.extend(["; without ", &missing.join(", "), " (sfd doctor says what that costs)"]);
    }
    out.line(line)
}

/// Tells whoever wants a directory watched once it is, for as long as this agent runs.
async fn when_live(wanted: Arc<Mutex<Vec<Wanted>>>, status: StatusSource, state: PathBuf) {
    loop {
        tokio::time::sleep(PROGRESS_EVERY).await;
        if !lock(&wanted).is_empty() {
            let status = status();
            if status.baseline_done {
                answer(&wanted, &status, &state);
            }
        }
    }
}

/// Where the map is. The address is a secret: whoever has it can read what is watched.
fn announce_map(url: &str, out: Out) -> Result<(), CliError> {
    if out.json {
        return out.json_line(&json!({ "event": "map", "url": url }));
    }
    out.line(format!("map: {url}"))
}

/// Shows how the baseline goes, then says that the picture is live.
async fn progress(shared: Arc<Shared>, status: StatusSource, out: Out, names: Vec<String>, state: PathBuf) {
    let started = std::time::Instant::now();
    let bar = if out.shows_progress() && !out.json { ProgressBar::new(0) } else { ProgressBar::hidden() };
    let style = ProgressStyle::with_template("{msg} {wide_bar} {human_pos}/{human_len} {eta}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    loop {
        tokio::time::sleep(PROGRESS_EVERY).await;
        if let Some((root, found)) = shared.walk() {
            bar.set_message(format!("finding {}", printable(&root.to_string_lossy())));
            bar.set_position(found);
        }
        let roots = shared.roots();
        let scans: Vec<(u64, u64)> = roots.iter().filter_map(|root| root.scanning).collect();
        if let Some(root) = roots.iter().find(|root| root.scanning.is_some()) {
            bar.set_message(format!("reading {}", printable(&root.path)));
            bar.set_length(scans.iter().map(|scan| scan.1).sum());
            bar.set_position(scans.iter().map(|scan| scan.0).sum());
        }
        let status = status();
        if status.baseline_done {
            bar.finish_and_clear();
            // Standard output gone: the daemon's work does not depend on it.
            let _ = live(&status, out, &names, &state, started.elapsed());
            return;
        }
    }
}

fn live(status: &Status, out: Out, names: &[String], state: &Path, took: Duration) -> Result<(), CliError> {
    if out.json {
        return out
            .json_line(&json!({ "event": "live", "baseline_s": took.as_secs_f64(), "status": status }));
    }
    if out.quiet {
        return Ok(());
    }
    out.write(|out| {
        for (root, name) in status.roots.iter().zip(names) {
            let side = 1_u64 << root.order;
            writeln!(
                out,
                "  {:<12} {:>9} artifacts, {:>9} in use, {side}x{side} pixels: {}",
                printable(&root.path),
                human_count(root.artifacts),
                human_bytes(root.cells_used),
                state.join("bricks").join(format!("{name}.brick")).display(),
            )?;
            if let Some(error) = &root.error {
                writeln!(out, "  {:<12} {}", "", printable(error))?;
            }
            if root.unverified > 0 {
                writeln!(
                    out,
                    "  {:<12} {:>9} of them unverified: sfd inspect says which and why",
                    "",
                    human_count(root.unverified)
                )?;
            }
        }
        writeln!(out, "live after {:.1} s; see what changes with: sfd log -f", took.as_secs_f64())
    })
}

/// Seals every live brick beside itself.
fn seal(state: &Path, names: &[String], out: Out) -> Result<(), CliError> {
    let bricks = state.join("bricks");
    for name in names {
        let target = bricks.join(format!("{name}.sealed.brick"));
        let live = bricks.join(format!("{name}.brick"));
        snapshot(&live, &target, SealOptions::default(), &mut || None)?;
        if out.json {
            out.json_line(&json!({ "event": "sealed", "brick": target }))?;
        } else {
            out.line(format!("sealed {}", target.display()))?;
        }
    }
    Ok(())
}
