//! `sfd search`: artifacts by words, from the catalogs.

use clap::Args;
use serde_json::{Map, Value, json};

use super::out::{path_fields, printable};
use super::{CliError, Exit, Out, State, live};
use crate::brick::{Hit, SearchQuery};

/// From this level on the reasons are shown.
const REASONS_FROM: u8 = 2;

/// Finds artifacts of all live bricks by what they are called and what they are.
#[derive(Debug, Args)]
#[command(
    after_help = "Words are looked for in names, titles, summaries, tags, kinds and reasons; the last one may be the beginning of a word. All of them have to be there. A word with a / is looked for in the whole path.\n\n  \"two words\"           next to each other\n  -word                 not there (after another word, or after --)\n  kind:systemd_unit     the name of the kind begins so\n  risk:high risk>=medium   none, low, medium, high, critical\n  tag:redacted\n  path:/etc/ssh         this and what is below it\n  unverified:yes\n\nFinds what the catalogs say, with or without a running daemon. Exit code 1: nothing was found.\n\nExamples:\n  sudo sfd search sshd\n  sudo sfd search 'risk>=medium' path:/etc\n  sudo sfd search '\"ssh server\" -kind:directory' --json"
)]
pub(super) struct SearchArgs {
    /// What to look for
    #[arg(required = true)]
    query: Vec<String>,
    /// Show at most so many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 50)]
    limit: u32,
    #[command(flatten)]
    state: State,
}

pub(super) fn run(args: &SearchArgs, out: Out) -> Result<Exit, CliError> {
    let text = args.query.join(" ");
    let query = SearchQuery::parse(&text);
    if query.is_empty() {
        return Err(CliError::usage("search: nothing to look for; see sfd search --help"));
    }
    let state = args.state.path()?;
    let bricks = live::catalogs(&state)?;
    if bricks.is_empty() {
        return Err(live::none_yet(&state));
    }
    let limit = args.limit as usize;
    let mut hits = Vec::new();
    let mut total = 0;
    for (brick, catalog) in &bricks {
        let found = catalog.search(&query, limit)?;
        total += found.total;
        hits.extend(found.hits.into_iter().map(|hit| (brick, hit)));
    }
    // Each catalog's are in this order; how well a hit fits means much the same in all of them.
    let order = |hit: &Hit| (hit.score * 10.0).round();
    hits.sort_by(|(_, a), (_, b)| order(a).total_cmp(&order(b)).then(b.risk.level.cmp(&a.risk.level)));
    hits.truncate(limit);
    let more = total - hits.len() as u64;
    if out.json {
        let hits: Vec<Value> =
            hits.iter().map(|(brick, hit)| to_json(hit, &brick.to_string_lossy())).collect();
        out.json_line(&json!({ "query": text, "total": total, "hits": hits }))?;
    } else {
        let text: String = hits.iter().map(|(_, hit)| to_text(hit)).collect();
        out.write(|to| to.write_all(text.as_bytes()))?;
        if more > 0 && !out.quiet {
            out.line(format!("and {more} more; --limit {total} shows them"))?;
        }
    }
    if total == 0 {
        if !out.json && !out.quiet {
            eprintln!("sfd: nothing found");
        }
        return Ok(Exit::No);
    }
    Ok(Exit::Done)
}

fn to_json(hit: &Hit, brick: &str) -> Value {
    let mut fields = Map::new();
    path_fields(&mut fields, "path", &hit.path);
    fields.insert("brick".to_owned(), brick.into());
    for (key, value) in [
        ("kind", json!(hit.kind)),
        ("title", json!(hit.title)),
        ("summary", json!(hit.summary)),
        ("tags", json!(hit.tags)),
        ("risk", json!({ "level": hit.risk.level, "reasons": hit.risk.reasons })),
        ("unverified", json!(hit.unverified)),
    ] {
        fields.insert(key.to_owned(), value);
    }
    Value::Object(fields)
}

/// Path and kind in one line, what it is below it, and why to care if that is more than a little.
fn to_text(hit: &Hit) -> String {
    let path = printable(&String::from_utf8_lossy(&hit.path));
    let mut text = format!("{path}  {}", hit.kind);
    if hit.risk.level > 0 {
        text.push_str(", risk ");
        text.push_str(hit.risk.word());
    }
    if let Some(why) = &hit.unverified {
        text.push_str(", unverified: ");
        text.push_str(&printable(why));
    }
    let what = if hit.summary.is_empty() { &hit.title } else { &hit.summary };
    let mut below = |sign: &str, what: &str| text.extend(["\n    ", sign, &printable(what)]);
    below("", what);
    if hit.risk.level >= REASONS_FROM {
        for reason in &hit.risk.reasons {
            below("! ", reason);
        }
    }
    text.push('\n');
    text
}
