//! What changed.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Ask, HISTORY_MAX, PathAsked, TheApp, limit};
use crate::brick::HistoryQuery;
use crate::map::error::ApiError;
use crate::map::json as shown;

/// Lines unless another number was asked for.
const LINES: usize = 100;

#[derive(Debug, Deserialize)]
pub(super) struct Lines {
    brick: Option<String>,
    since_ns: Option<i64>,
    until_ns: Option<i64>,
    path: Option<String>,
    path_bytes: Option<String>,
    limit: Option<u32>,
}

pub(super) async fn history(State(app): TheApp, Ask(lines): Ask<Lines>) -> Result<Json<Value>, ApiError> {
    let Lines { brick, since_ns, until_ns, path, path_bytes, limit: most } = lines;
    let slots = match brick {
        Some(name) => vec![app.slot(&name)?],
        None => app.slots.iter().map(Arc::clone).collect(),
    };
    let only_one = slots.len() == 1;
    let most = limit(most, LINES, HISTORY_MAX);
    let query = HistoryQuery {
        path: PathAsked { path, path_bytes }.get()?,
        since_ns,
        until_ns,
        // One more tells whether there are more.
        limit: Some(most as u32 + 1),
        ..HistoryQuery::default()
    };
    app.pool
        .run(move || {
            let mut found = Vec::new();
            for slot in &slots {
                match slot.catalog(|catalog| Ok(catalog.history(&query)?)) {
                    Ok(lines) => found.extend(lines.into_iter().map(|(number, row)| (slot, number, row))),
                    Err(error) if only_one => return Err(error),
                    // One that is closed must not hide what changed in the others.
                    Err(_) => {}
                }
            }
            found.sort_by_key(|(_, number, row)| std::cmp::Reverse((row.at_ns, *number)));
            let more = found.len() > most;
            found.truncate(most);
            let rows: Vec<Value> =
                found.iter().map(|(slot, number, row)| shown::history(&slot.name, *number, row)).collect();
            Ok(Json(json!({ "rows": rows, "more": more })))
        })
        .await
}
