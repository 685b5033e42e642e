//! `sfd log`: history from the catalogs.

use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use clap::Args;
use jiff::{SignedDuration, Span, Timestamp, Zoned};
use serde_json::json;

use super::out::{human_time, printable};
use super::patch::{Patch, Patches};
use super::{CliError, Exit, Out, State, live, who};
use crate::brick::{HistoryQuery, HistoryRow, Verb};

/// How often `-f` looks for new rows: well below what a person notices, and one cheap query a catalog.
const FOLLOW_EVERY: Duration = Duration::from_millis(200);

/// Shows what changed, when, and by whom.
#[derive(Debug, Args)]
#[command(
    after_help = "Who made a change is unknown when only a scan found it. --json has all that is known: arguments, every parent, cgroup.\n\n-p shows contents before and after from what is kept of small text files, and says why where that is nothing; never of secrets, of /proc and of binary files.\n\nExamples:\n  sudo sfd log /etc/ssh --since 1h\n  sudo sfd log -p /etc/hosts\n  sudo sfd log -f --who apt\n  sudo sfd log --json --since 2026-11-01"
)]
pub(super) struct LogArgs {
    /// Only this path and what is below it
    path: Option<PathBuf>,
    /// Only since then: a duration such as 90s, 1h, 2d, or a date and time
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Only changes by a process of this name
    #[arg(long, value_name = "COMM")]
    who: Option<String>,
    /// Only the last N
    #[arg(long, short = 'n', value_name = "N", default_value_t = 1000)]
    limit: u32,
    /// Show what changed in each text file as a unified diff
    #[arg(long, short)]
    patch: bool,
    /// Go on showing changes as they happen
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    state: State,
}

pub(super) fn run(args: &LogArgs, out: Out) -> Result<Exit, CliError> {
    let state = args.state.path()?;
    let catalogs = live::catalogs(&state)?;
    if catalogs.is_empty() {
        return Err(live::none_yet(&state));
    }
    let since_ns = args.since.as_deref().map(parse_since).transpose()?;
    let path = match &args.path {
        // The path may be gone by now, so it is made absolute without looking at it.
        Some(path) => Some(std::path::absolute(path).map_err(|error| CliError::path(path, &error))?),
        None => None,
    };
    let query = HistoryQuery {
        path: path.map(|path| path.into_os_string().into_vec()),
        since_ns,
        comm: args.who.clone(),
        limit: Some(args.limit),
        ..HistoryQuery::default()
    };
    // Where each catalog's history ends is noted first: what comes in between is shown by the following, once.
    let mut ends = Vec::with_capacity(catalogs.len());
    for (_, catalog) in &catalogs {
        let newest = HistoryQuery { limit: Some(1), ..HistoryQuery::default() };
        ends.push(catalog.history(&newest)?.last().map_or(0, |(id, _)| *id));
    }
    let mut patches: Vec<Patches<'_>> =
        catalogs.iter().map(|(brick, catalog)| Patches::new(brick, catalog)).collect();
    let mut show = |lines: &mut Vec<Line>, skip: usize| {
        lines.sort_by_key(|line| line.row.at_ns);
        for Line { catalog, number, row } in lines.iter().skip(skip) {
            let change = if args.patch { patches[*catalog].of_line(*number, row)? } else { Patch::None };
            print(row, &change, args.patch, out)?;
        }
        Ok::<(), CliError>(())
    };
    let mut lines = Vec::new();
    for (index, ((_, catalog), end)) in catalogs.iter().zip(&ends).enumerate() {
        let found = catalog.history(&query)?;
        let found = found.into_iter().filter(|(number, _)| number <= end || !args.follow);
        lines.extend(found.map(|(number, row)| Line { catalog: index, number, row }));
    }
    // Several catalogs gave up to `limit` rows each; what was asked for is the last of all of them.
    let skip = lines.len().saturating_sub(args.limit as usize);
    show(&mut lines, skip)?;
    if !args.follow {
        return Ok(Exit::Done);
    }
    loop {
        std::thread::sleep(FOLLOW_EVERY);
        let mut lines = Vec::new();
        for (index, ((_, catalog), end)) in catalogs.iter().zip(&mut ends).enumerate() {
            let news = HistoryQuery { after_id: Some(*end), limit: None, since_ns: None, ..query.clone() };
            for (number, row) in catalog.history(&news)? {
                *end = (*end).max(number);
                lines.push(Line { catalog: index, number, row });
            }
        }
        show(&mut lines, 0)?;
    }
}

/// A line of history: which catalog's, and its number there.
struct Line {
    catalog: usize,
    number: i64,
    row: HistoryRow,
}

/// Prints a line, and what it changed if that was asked for.
fn print(row: &HistoryRow, change: &Patch, asked: bool, out: Out) -> Result<(), CliError> {
    let path = String::from_utf8_lossy(&row.path);
    let from = row.from.as_ref().map(|from| String::from_utf8_lossy(from));
    if out.json {
        let mut value = json!({
            "at": Timestamp::from_nanosecond(i128::from(row.at_ns)).map(|at| at.to_string()).unwrap_or_default(),
            "at_ns": row.at_ns,
            "path": path,
            "verb": row.verb,
            "detail": row.detail,
            "meaning": row.meaning,
            "reasons": row.reasons,
            "writers": row.writers,
            "more_writers": row.more_writers,
            "unknown_writers": row.unknown_writers,
            "kind": row.kind,
            "risk": row.risk,
            "reasons": row.reasons,
        });
        if std::str::from_utf8(&row.path).is_err() {
            value["path_bytes"] = base64::engine::general_purpose::STANDARD.encode(&row.path).into();
        }
        if let Some(from) = from {
            value["from"] = from.into();
        }
        if asked {
            let (diff, missing) = match change {
                Patch::None => (None, None),
                Patch::Diff(diff) => (Some(diff), None),
                Patch::Missing(why) => (None, Some(why)),
            };
            value["diff"] = json!(diff);
            value["diff_missing"] = json!(missing);
        }
        return out.json_line(&value);
    }
    let verb = match row.verb {
        Verb::Created => "created",
        Verb::Modified => "modified",
        Verb::Attributes => "attributes",
        Verb::Renamed => "renamed",
        Verb::Deleted => "deleted",
    };
    let who = who::all(row);
    let from = from.map(|from| format!(" (was {})", printable(&from))).unwrap_or_default();
    let detail = if row.detail.is_empty() { String::new() } else { format!(": {}", printable(&row.detail)) };
    let risk = risk_in_words(row);
    out.line(format!(
        "{}  {verb:<10} {}{from}{detail}{risk}  by {who}",
        human_time(row.at_ns),
        printable(&path)
    ))?;
    for line in &row.meaning {
        out.line(format!("    {}", printable(line)))?;
    }
    change.print(out)
}

/// ` [high: new set-user-ID program]`, for what is above low and has a reason.
fn risk_in_words(row: &HistoryRow) -> String {
    /// The rest is in `--json`.
    const SHOWN_MAX: usize = 2;
    let level = match row.risk {
        0 | 1 => return String::new(),
        2 => "medium",
        3 => "high",
        _ => "critical",
    };
    if row.reasons.is_empty() {
        return String::new();
    }
    let shown: Vec<String> = row.reasons.iter().take(SHOWN_MAX).map(|reason| printable(reason)).collect();
    let more = if row.reasons.len() > SHOWN_MAX { "; ..." } else { "" };
    format!(" [{level}: {}{more}]", shown.join("; "))
}

/// `1h`, `2 days`, or a point in time.
fn parse_since(text: &str) -> Result<i64, CliError> {
    let wrong = || {
        CliError::usage(format!(
            "--since {text}: neither a duration such as 90s, 1h, 2d nor a date such as 2026-11-01 or 2026-11-01T12:00"
        ))
    };
    let at = if let Ok(span) = text.parse::<Span>() {
        Zoned::now().checked_sub(span.abs()).map_err(|_| wrong())?.timestamp()
    } else if let Ok(duration) = text.parse::<SignedDuration>() {
        Timestamp::now().checked_sub(duration.abs()).map_err(|_| wrong())?
    } else if let Ok(at) = text.parse::<Timestamp>() {
        at
    } else {
        let civil: jiff::civil::DateTime = text.parse().map_err(|_| wrong())?;
        civil.to_zoned(jiff::tz::TimeZone::system()).map_err(|_| wrong())?.timestamp()
    };
    i64::try_from(at.as_nanosecond()).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_takes_durations_and_dates() {
        let now = i64::try_from(Timestamp::now().as_nanosecond()).unwrap();
        let hour = parse_since("1h").unwrap();
        assert!((now - hour - 3_600_000_000_000).abs() < 60_000_000_000);
        assert!(parse_since("2d").unwrap() < hour);
        assert!(parse_since("2026-01-01").unwrap() < parse_since("2026-01-01T12:00").unwrap());
        assert_eq!(parse_since("2026-01-01T00:00:00Z").unwrap(), 1_767_225_600_000_000_000);
        assert!(parse_since("yesterday-ish").is_err());
    }
}
