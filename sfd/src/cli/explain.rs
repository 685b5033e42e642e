//! `sfd explain`: what one artifact is, and what that means.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Args;
use indicatif::ProgressBar;
use serde_json::{Map, Value, json};

use super::config::Layers;
use super::llm::LlmArgs;
use super::out::{human_bytes, human_time, path_fields, printable, printable_line};
use super::{CliError, Exit, Out, State, live, who};
use crate::agent::{Request, StateDir, answered_by, disk_view, question_of, why_not_asked};
use crate::artifact::look::{Examined, LookOptions};
use crate::artifact::view::{ProcView, View};
use crate::artifact::{Looker, Packages, Semantics};
use crate::brick::{HistoryQuery, HistoryRow, Row};
use crate::enrich::{Client, LlmConfig, apply};

/// Lines of history shown.
const HISTORY_LINES: u32 = 5;
/// How long is waited for the daemon beyond the time that the model itself has.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often it is seen to that a person sees that something is going on.
const SPIN_EVERY: Duration = Duration::from_millis(120);

/// Says what one file, directory or process is, from its contents now.
#[derive(Debug, Args)]
#[command(
    after_help = "A language model is asked if there is one and it has not described these contents yet; `sfd doctor` says how fast it is. Secrets are never sent to it. Rules alone are used with --llm off, and where no model can be reached.\n\nExamples:\n  sudo sfd explain /etc/ssh/sshd_config\n  sfd explain --llm off ./install.sh\n  sudo sfd explain --json /usr/bin/passwd | jq .semantics.risk"
)]
pub(super) struct ExplainArgs {
    /// What to explain
    path: PathBuf,
    #[command(flatten)]
    llm: LlmArgs,
    /// Also read this configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    state: State,
}

/// What is known without asking a model.
struct Known {
    path: PathBuf,
    examined: Examined,
    /// Name of the live brick it is in, and its row there.
    row: Option<(String, Row)>,
    history: Vec<HistoryRow>,
}

/// What came of asking.
enum Asked {
    /// It was described before.
    Before,
    /// It was asked just now.
    Now,
    /// Why not.
    Not(String),
}

pub(super) fn run(args: &ExplainArgs, out: Out) -> Result<Exit, CliError> {
    let state = args.state.path()?;
    let mut known = look(&args.path, &state)?;
    let (semantics, asked) = ask(args, &state, &mut known, out)?;
    if out.json {
        out.json_line(&document(&known, &semantics, &asked))?;
    } else {
        out.write(|out| show(&known, &semantics, &asked, out))?;
    }
    Ok(Exit::Done)
}

/// Looks at a path, and for it in the live bricks.
fn look(path: &Path, state: &Path) -> Result<Known, CliError> {
    let failed = |error: io::Error| CliError::path(path, &error);
    // The directory without links, the last name as it is: a link is explained as one.
    let path = match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            std::fs::canonicalize(parent).map_err(failed)?.join(name)
        }
        _ => std::fs::canonicalize(path).map_err(failed)?,
    };
    std::fs::symlink_metadata(&path).map_err(failed)?;
    let mut view: Box<dyn View> = if path.starts_with("/proc") {
        Box::new(ProcView::new(Path::new("/proc")))
    } else {
        Box::new(disk_view(Path::new("/"), &[])?)
    };
    let mut looker = Looker::new(LookOptions::default(), super::redactor(Some(state))?)
        .with_packages(Packages::of(Path::new("/")));
    let examined = looker
        .examine(view.as_mut(), &path)
        .ok_or_else(|| failed(io::Error::from(io::ErrorKind::NotFound)))?;
    let mut known = Known { path, examined, row: None, history: Vec::new() };
    known.read_catalogs(state)?;
    Ok(known)
}

impl Known {
    /// Reads again what the live bricks have of it.
    fn read_catalogs(&mut self, state: &Path) -> Result<(), CliError> {
        let bytes = self.path.as_os_str().as_bytes();
        // Nobody else's business when the state directory may not be read; what is on disk can be explained all the same.
        let Ok(bricks) = live::bricks(state) else { return Ok(()) };
        for live in bricks {
            let catalog = crate::brick::Catalog::open_read_only(&live.catalog)?;
            let Some(row) = catalog.by_path(bytes)? else { continue };
            let query = HistoryQuery {
                path: Some(bytes.to_vec()),
                limit: Some(HISTORY_LINES),
                ..HistoryQuery::default()
            };
            let lines = catalog.history(&query)?.into_iter().map(|(_, line)| line);
            // Of a directory: itself, not everything below.
            self.history = lines.filter(|line| line.path == bytes).collect();
            self.row = Some((live.name, row));
            break;
        }
        Ok(())
    }

    /// The model's words for the present contents, if the live brick has them.
    fn described(&self) -> Option<&Semantics> {
        let artifact = &self.examined.artifact;
        let (_, row) = self.row.as_ref()?;
        let current = row.content_hash == artifact.content_hash && row.meta.mode == artifact.meta.mode;
        Some(&row.semantics).filter(|semantics| current && semantics.answered.is_some())
    }
}

/// Asks a model if that makes sense: the daemon's if one runs, so that the answer is kept, else directly.
fn ask(
    args: &ExplainArgs,
    state: &Path,
    known: &mut Known,
    out: Out,
) -> Result<(Semantics, Asked), CliError> {
    let by_rules = known.examined.artifact.semantics.clone();
    if let Some(semantics) = known.described() {
        return Ok((semantics.clone(), Asked::Before));
    }
    if let Some(why) = why_not_asked(&known.examined.artifact) {
        return Ok((by_rules, Asked::Not(why.to_owned())));
    }
    let mut layers = Layers::load(args.config.as_deref(), |name| std::env::var(name).ok())?;
    args.llm.apply(&mut layers);
    let Some(config) = layers.config()?.llm()? else {
        return Ok((by_rules, Asked::Not("llm is off".to_owned())));
    };
    let bar = if out.shows_progress() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    bar.enable_steady_tick(SPIN_EVERY);
    bar.set_message("asking the language model");
    let socket = StateDir::socket(state);
    let timeout = config.timeout + PATIENCE;
    let asked = match UnixStream::connect(&socket) {
        Ok(stream) if known.row.is_some() => match ask_daemon(stream, &known.path, timeout) {
            Ok(()) => {
                known.read_catalogs(state)?;
                match known.described() {
                    Some(semantics) => (semantics.clone(), Asked::Now),
                    None => (by_rules, Asked::Not("it has changed meanwhile".into())),
                }
            }
            Err(why) => (by_rules, Asked::Not(why)),
        },
        _ => match ask_directly(&config, known) {
            Ok(semantics) => (semantics, Asked::Now),
            Err(why) => (by_rules, Asked::Not(why)),
        },
    };
    bar.finish_and_clear();
    Ok(asked)
}

fn ask_daemon(mut stream: UnixStream, path: &Path, timeout: Duration) -> Result<(), String> {
    let request = Request::Describe { path: BASE64.encode(path.as_os_str().as_bytes()) };
    let mut exchange = || -> io::Result<String> {
        stream.set_read_timeout(Some(timeout))?;
        let line = serde_json::to_string(&request).map_err(io::Error::other)?;
        stream.write_all(format!("{line}\n").as_bytes())?;
        let mut answer = String::new();
        BufReader::new(&stream).read_line(&mut answer)?;
        Ok(answer)
    };
    let answer = exchange().map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("no answer within {} s; `sfd status` says how the model does", timeout.as_secs())
        }
        _ => format!("the daemon: {error}"),
    })?;
    let answer: Value = serde_json::from_str(&answer).map_err(|error| format!("the daemon: {error}"))?;
    match answer.get("error").and_then(Value::as_str) {
        Some(why) => Err(why.to_owned()),
        None => Ok(()),
    }
}

fn ask_directly(config: &LlmConfig, known: &Known) -> Result<Semantics, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("tokio runtime: {error}"))?;
    let question = question_of(&known.examined);
    runtime.block_on(async {
        let client = Client::connect(config).await.map_err(|error| error.to_string())?;
        let reply = client.ask(&question).await.map_err(|error| error.to_string())?;
        Ok(apply(&reply.answer, &known.examined.artifact.semantics, answered_by(&client)))
    })
}

fn document(known: &Known, semantics: &Semantics, asked: &Asked) -> Value {
    let artifact = &known.examined.artifact;
    let mut fields = Map::new();
    path_fields(&mut fields, "path", known.path.as_os_str().as_bytes());
    let mut put = |key: &str, value: Value| {
        fields.insert(key.to_owned(), value);
    };
    put("brick", json!(known.row.as_ref().map(|(name, _)| name)));
    put("type", json!(artifact.meta.file_type));
    put("kind", json!(semantics.kind));
    put("len", json!(artifact.len));
    put("mode", json!(artifact.meta.mode));
    put("uid", json!(artifact.meta.uid));
    put("gid", json!(artifact.meta.gid));
    put("mtime_ns", json!(artifact.meta.mtime_ns));
    put("redacted", json!(artifact.redacted));
    put("unverified_reason", json!(artifact.unverified));
    put("semantics", json!(semantics));
    put("facts", json!(known.examined.facts));
    put(
        "llm",
        match asked {
            Asked::Before => json!({ "asked": "before" }),
            Asked::Now => json!({ "asked": "now" }),
            Asked::Not(why) => json!({ "asked": "no", "why": why }),
        },
    );
    let history: Vec<Value> = known
        .history
        .iter()
        .map(|line| {
            json!({ "at_ns": line.at_ns, "verb": line.verb, "detail": line.detail, "meaning": line.meaning,
                "reasons": line.reasons, "risk": line.risk, "by": who::all(line) })
        })
        .collect();
    put("history", json!(history));
    Value::Object(fields)
}

fn show(known: &Known, semantics: &Semantics, asked: &Asked, out: &mut dyn Write) -> io::Result<()> {
    let artifact = &known.examined.artifact;
    writeln!(out, "{}", printable(&known.path.to_string_lossy()))?;
    writeln!(out, "  {}", printable_line(&semantics.title))?;
    if semantics.summary != semantics.title {
        writeln!(out, "  {}", printable_line(&semantics.summary))?;
    }
    let meta = &artifact.meta;
    writeln!(
        out,
        "  {}, {}, mode {:04o}, owner {}:{}, changed {}{}",
        semantics.kind.name(),
        human_bytes(artifact.len),
        meta.mode,
        meta.uid,
        meta.gid,
        human_time(meta.mtime_ns),
        if artifact.redacted { ", redacted" } else { "" },
    )?;
    if !semantics.tags.is_empty() {
        writeln!(out, "  tags: {}", printable_line(&semantics.tags.join(", ")))?;
    }
    let risk = &semantics.risk;
    match risk.reasons.as_slice() {
        [] => writeln!(out, "risk: none known")?,
        reasons => {
            writeln!(out, "risk: {}", risk.word())?;
            for reason in reasons {
                writeln!(out, "  {}", printable_line(reason))?;
            }
        }
    }
    if let Some(why) = &artifact.unverified {
        writeln!(out, "unverified: {}", printable_line(why))?;
    }
    if !known.examined.facts.is_empty() {
        writeln!(out, "facts:")?;
        for fact in &known.examined.facts {
            writeln!(out, "  {}: {}", fact.name, printable_line(&fact.value))?;
        }
    }
    match (asked, &semantics.answered) {
        (Asked::Not(why), _) => writeln!(out, "said by rules; no model: {}", printable_line(why))?,
        (_, Some(answered)) => writeln!(
            out,
            "said by {} at {}; facts and the risk by rules stand",
            printable_line(&answered.model),
            human_time(answered.at_ns)
        )?,
        (_, None) => writeln!(out, "said by rules")?,
    }
    let Some((name, row)) = &known.row else {
        return writeln!(out, "in no live brick");
    };
    let doubt = row.unverified.as_ref().map(|why| format!(", unverified: {}", printable_line(why)));
    writeln!(out, "in brick {name}{}", doubt.unwrap_or_default())?;
    if !known.history.is_empty() {
        writeln!(out, "last changes:")?;
    }
    for line in &known.history {
        let verb = serde_json::to_value(line.verb).ok();
        let verb = verb.as_ref().and_then(Value::as_str).unwrap_or_default();
        writeln!(
            out,
            "  {}  {verb}: {}  by {}",
            human_time(line.at_ns),
            printable_line(&line.detail),
            who::all(line)
        )?;
        for meaning in line.meaning.iter().chain(&line.reasons) {
            writeln!(out, "      {}", printable_line(meaning))?;
        }
    }
    Ok(())
}
