//! `sfd diff`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value, json};

use super::out::{human_count, path_fields, printable};
use super::{CliError, Exit, Out};
use crate::agent::describe_change;
use crate::brick::diff::{Diff, Found, Pair, diff};
use crate::brick::{Brick, Moment};

/// Shows which artifacts are different in two bricks.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit code 0 when they hold the same, 1 when not. Bricks with one root each are compared below it, so two copies of a tree \
    may lie anywhere. A redacted secret is compared by its keyed hash: of another host, it always looks different.\n\n\
    Examples:\n  sudo sfd diff monday.brick /var/lib/sfd/bricks/etc.brick\n  sfd diff --json a.brick b.brick | jq -r '.changed[].path'"
)]
pub(super) struct DiffArgs {
    /// A sealed or live brick
    a: PathBuf,
    /// Another one
    b: PathBuf,
}

pub(super) fn run(args: &DiffArgs, out: Out) -> Result<Exit, CliError> {
    let (a, b) = (moment(&args.a)?, moment(&args.b)?);
    let found = diff(&a, &b);
    if out.json {
        out.json_line(&document((&args.a, &a), (&args.b, &b), &found))?;
    } else {
        out.write(|out| print(&found, out))?;
        if !out.quiet {
            out.line(summary(&found, &b))?;
        }
    }
    Ok(if found.is_empty() { Exit::Done } else { Exit::No })
}

fn moment(path: &Path) -> Result<Moment, CliError> {
    Brick::open(path)?.moment()?.ok_or_else(|| {
        let what = "a brick of another program: it does not say what is in it";
        CliError::path(path, &std::io::Error::new(std::io::ErrorKind::InvalidData, what))
    })
}

fn text(path: &[u8]) -> String {
    printable(&String::from_utf8_lossy(path))
}

fn print(found: &Diff<'_>, out: &mut dyn std::io::Write) -> std::io::Result<()> {
    for each in &found.removed {
        writeln!(out, "- {}", text(&each.path))?;
    }
    for each in &found.added {
        writeln!(out, "+ {}", text(&each.path))?;
    }
    for pair in found.moved.iter().filter(|pair| !pair.carried || pair.changes.any()) {
        let what = if pair.changes.any() { format!(": {}", detail(pair)) } else { String::new() };
        writeln!(out, "> {} -> {}{what}", text(&pair.a.path), text(&pair.b.path))?;
    }
    for pair in &found.changed {
        writeln!(out, "~ {}: {}", text(&pair.b.path), detail(pair))?;
    }
    Ok(())
}

/// What is different, in one line.
fn detail(pair: &Pair<'_>) -> String {
    let (a, b) = (pair.a.row, pair.b.row);
    let mut parts = Vec::new();
    if pair.changes.content || pair.changes.metadata || pair.changes.verification {
        parts.push(printable(&describe_change(a, b)));
    }
    if pair.changes.verification && b.unverified.is_none() {
        parts.push("now verified".into());
    }
    if a.semantics.kind != b.semantics.kind {
        parts.push(format!("kind {} -> {}", a.semantics.kind.name(), b.semantics.kind.name()));
    }
    if a.semantics.risk.level != b.semantics.risk.level {
        parts.push(format!("risk {} -> {}", a.semantics.risk.level, b.semantics.risk.level));
    }
    parts.retain(|part| !part.is_empty());
    if parts.is_empty() { pair.changes.names().collect::<Vec<_>>().join(", ") } else { parts.join(", ") }
}

fn summary(found: &Diff<'_>, b: &Moment) -> String {
    let [added, removed, changed, moved] =
        [found.added.len(), found.removed.len(), found.changed.len(), found.moved.len()]
            .map(|count| human_count(count as u64));
    let what = if found.is_empty() {
        format!("the same {} artifacts", human_count(b.rows.len() as u64))
    } else {
        let carried = found.moved.iter().filter(|pair| pair.carried).count();
        let with = match carried {
            0 => String::new(),
            _ => format!(" ({} of them with their directory)", human_count(carried as u64)),
        };
        format!("{added} added, {removed} removed, {changed} changed, {moved} moved{with}")
    };
    match &found.pixels {
        Some(pixels) => format!(
            "{what}; {} Merkle leaves differ, {} were compared",
            human_count(pixels.leaves.len() as u64),
            human_count(pixels.leaves_compared)
        ),
        None => format!("{what}; compared by artifacts only, because one order is odd and the other even"),
    }
}

fn document(a: (&Path, &Moment), b: (&Path, &Moment), found: &Diff<'_>) -> Value {
    let side = |(path, moment): (&Path, &Moment)| json!({ "brick": path.to_string_lossy(), "order": moment.order, "artifacts": moment.rows.len() });
    let one = |found: &Found<'_>| {
        let mut fields = Map::new();
        path_fields(&mut fields, "path", &found.path);
        fields.insert("type".into(), json!(found.row.meta.file_type));
        fields.insert("kind".into(), found.row.semantics.kind.name().into());
        fields.insert("len".into(), found.row.len.into());
        Value::Object(fields)
    };
    let pair = |pair: &Pair<'_>| {
        let mut value = one(&pair.b);
        if let Some(fields) = value.as_object_mut() {
            if pair.a.path != pair.b.path {
                path_fields(fields, "from", &pair.a.path);
                fields.insert("with_directory".into(), pair.carried.into());
            }
            fields.insert("changes".into(), pair.changes.names().collect());
            fields.insert("detail".into(), if pair.changes.any() { detail(pair).into() } else { "".into() });
        }
        value
    };
    let leaves = found.pixels.as_ref().map(|pixels| {
        json!({
            "different": pixels.leaves.len(),
            "compared": pixels.leaves_compared,
            "nodes_compared": pixels.nodes_compared,
        })
    });
    json!({
        "same": found.is_empty(),
        "a": side(a),
        "b": side(b),
        "leaves": leaves,
        "added": found.added.iter().map(one).collect::<Vec<_>>(),
        "removed": found.removed.iter().map(one).collect::<Vec<_>>(),
        "changed": found.changed.iter().map(pair).collect::<Vec<_>>(),
        "moved": found.moved.iter().map(pair).collect::<Vec<_>>(),
    })
}
