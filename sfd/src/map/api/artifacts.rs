//! What an artifact is, what is in it, what is below it, and where one is.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Ask, At, CONTENT_MAX, PathAsked, SHORT_MAX, TheApp, limit};
use crate::artifact::FileType;
use crate::artifact::kinds::facts_of;
use crate::brick::{ArtifactId, Catalog, HistoryQuery, Row, SearchQuery};
use crate::fold::Curve;
use crate::map::error::ApiError;
use crate::map::geometry::Rect;
use crate::map::json as shown;
use crate::map::slot::Slot;

/// Lines of history told with an artifact.
const HISTORY_LINES: u32 = 50;
/// Hits of a search unless more were asked for.
const HITS: usize = 50;
/// Children of a directory unless another number was asked for.
const CHILDREN: usize = 200;
/// Bytes of a link's target that are told: the longest path that the kernel takes.
const TARGET_BYTES_MAX: u64 = 4096;

#[derive(Debug, Deserialize)]
pub(super) struct Point {
    x: u32,
    y: u32,
}

pub(super) async fn at(
    State(app): TheApp,
    At(name): At<String>,
    Ask(Point { x, y }): Ask<Point>,
) -> Result<Json<Value>, ApiError> {
    let slot = app.slot(&name)?;
    app.pool
        .run(move || {
            let found = slot.with(|state| {
                let side = 1_u32 << state.order;
                if x >= side || y >= side {
                    let what = format!("brick {name}: {x},{y} is outside; its side is {side}");
                    return Err(ApiError::not_found(what));
                }
                Ok(state.index.at(x, y))
            })?;
            let short = match found {
                Some(id) => slot.catalog(|catalog| short(&slot, catalog, id))?,
                None => None,
            };
            Ok(Json(short.map_or_else(|| json!({ "path": null }), |(_, value)| value)))
        })
        .await
}

/// The short form of an artifact, with its row; `None`: it is gone.
fn short(slot: &Slot, catalog: &Catalog, id: ArtifactId) -> Result<Option<(Row, Value)>, ApiError> {
    let Some(row) = catalog.row(id)? else { return Ok(None) };
    let (path, order) = slot.with(|state| Ok((state.index.path(id), state.order)))?;
    let rect = Rect::of(Curve::new(order), row.block);
    let value = Value::Object(shown::short(&path, &row, rect));
    Ok(Some((row, value)))
}

/// The artifact at a path, or why there is none.
fn find(slot: &Slot, path: &[u8]) -> Result<ArtifactId, ApiError> {
    slot.with(|state| {
        state.index.by_path(path).ok_or_else(|| {
            ApiError::not_found(format!("brick {}: no {}", slot.name, String::from_utf8_lossy(path)))
        })
    })
}

pub(super) async fn artifact(
    State(app): TheApp,
    At(name): At<String>,
    Ask(path): Ask<PathAsked>,
) -> Result<Json<Value>, ApiError> {
    let slot = app.slot(&name)?;
    let path = path.must()?;
    app.pool.run(move || whole(&slot, &path).map(Json)).await
}

fn whole(slot: &Slot, path: &[u8]) -> Result<Value, ApiError> {
    let id = find(slot, path)?;
    let gone = || ApiError::not_found(format!("brick {}: no {}", slot.name, String::from_utf8_lossy(path)));
    let (row, mut value, history) = slot.catalog(|catalog| {
        let (row, value) = short(slot, catalog, id)?.ok_or_else(gone)?;
        let query =
            HistoryQuery { path: Some(path.to_vec()), limit: Some(HISTORY_LINES), ..HistoryQuery::default() };
        // Of a directory: itself, not everything below.
        let lines = catalog.history(&query)?.into_iter().filter(|(_, line)| line.path == path);
        let mut history: Vec<Value> =
            lines.map(|(number, line)| shown::history(&slot.name, number, &line)).collect();
        history.reverse();
        Ok((row, value, history))
    })?;
    let contents = contents(slot, &row)?;
    let changed_ns = slot.with(|state| Ok(state.index.get(id).map_or(0, |entry| entry.changed_ns)))?;
    let Value::Object(fields) = &mut value else { return Ok(value) };
    let mut put = |key: &str, value: Value| {
        fields.insert(key.to_owned(), value);
    };
    put("mode", row.meta.mode.into());
    put("uid", row.meta.uid.into());
    put("gid", row.meta.gid.into());
    if let Some(user) = shown::names_in("/etc/passwd").remove(&row.meta.uid) {
        put("user", user.into());
    }
    if let Some(group) = shown::names_in("/etc/group").remove(&row.meta.gid) {
        put("group", group.into());
    }
    if !row.was_never_read() {
        put("content_hash", crate::map::events::hex(&row.content_hash).into());
    }
    put("exact", row.exact.into());
    if row.meta.file_type == FileType::Symlink
        && let Some(target) = contents.as_ref().filter(|target| target.len() as u64 <= TARGET_BYTES_MAX)
    {
        put("target", String::from_utf8_lossy(target).into());
    }
    if changed_ns > 0 {
        put("changed_ns", changed_ns.into());
    }
    put("semantics", shown::semantics(&row.semantics));
    if let Some(why) = &row.unverified {
        put("unverified_reason", why.clone().into());
    }
    let facts = contents.map(|contents| facts_of(row.semantics.kind, &contents)).unwrap_or_default();
    put("facts", json!(facts));
    put("history", history.into());
    Ok(value)
}

/// The contents of an artifact if they may be shown and the brick has them byte for byte.
fn contents(slot: &Slot, row: &Row) -> Result<Option<Vec<u8>>, ApiError> {
    if row.redacted || !row.exact || row.meta.file_type == FileType::Directory {
        return Ok(None);
    }
    slot.read(|brick| Ok(brick.contents_of(row.id, &row.content_hash)?))
}

#[derive(Debug, Deserialize)]
pub(super) struct Part {
    path: Option<String>,
    path_bytes: Option<String>,
    offset: Option<u64>,
    len: Option<u64>,
}

pub(super) async fn content(
    State(app): TheApp,
    At(name): At<String>,
    Ask(part): Ask<Part>,
) -> Result<Json<Value>, ApiError> {
    let slot = app.slot(&name)?;
    let Part { path, path_bytes, offset, len } = part;
    let path = PathAsked { path, path_bytes }.must()?;
    app.pool
        .run(move || {
            let shown = String::from_utf8_lossy(&path).into_owned();
            let id = find(&slot, &path)?;
            let row = slot.catalog(|catalog| Ok(catalog.row(id)?))?;
            let row = row.ok_or_else(|| ApiError::not_found(format!("brick {name}: no {shown}")))?;
            if row.redacted {
                return Err(ApiError::forbidden(format!("{shown}: its contents are redacted")));
            }
            let Some(contents) = contents(&slot, &row)? else {
                let what =
                    format!("{shown}: the brick does not hold its contents byte for byte, only a digest");
                return Err(ApiError::not_found(what));
            };
            let total = contents.len() as u64;
            let from = offset.unwrap_or(0).min(total);
            let most = len.unwrap_or(CONTENT_MAX as u64).min(CONTENT_MAX as u64);
            let to = from.saturating_add(most).min(total);
            let bytes = contents.get(from as usize..to as usize).unwrap_or_default();
            Ok(Json(json!({ "len": total, "offset": from, "base64": BASE64.encode(bytes) })))
        })
        .await
}

#[derive(Debug, Deserialize)]
pub(super) struct Page {
    path: Option<String>,
    path_bytes: Option<String>,
    offset: Option<u32>,
    limit: Option<u32>,
}

pub(super) async fn children(
    State(app): TheApp,
    At(name): At<String>,
    Ask(page): Ask<Page>,
) -> Result<Json<Value>, ApiError> {
    let slot = app.slot(&name)?;
    let Page { path, path_bytes, offset, limit: most } = page;
    let path = PathAsked { path, path_bytes }.must()?;
    let most = limit(most, CHILDREN, SHORT_MAX);
    app.pool
        .run(move || {
            let id = find(&slot, &path)?;
            let all = slot.with(|state| Ok(state.index.children(id)))?;
            let some = all.iter().skip(offset.unwrap_or(0) as usize).take(most);
            let children = slot.catalog(|catalog| {
                let mut children = Vec::new();
                for id in some {
                    children.extend(short(&slot, catalog, *id)?.map(|(_, value)| value));
                }
                Ok(children)
            })?;
            Ok(Json(json!({ "children": children, "total": all.len() })))
        })
        .await
}

#[derive(Debug, Deserialize)]
pub(super) struct Words {
    q: String,
    limit: Option<u32>,
}

pub(super) async fn search(
    State(app): TheApp,
    Ask(Words { q, limit: most }): Ask<Words>,
) -> Result<Json<Value>, ApiError> {
    let of = Arc::clone(&app);
    let most = limit(most, HITS, SHORT_MAX);
    app.pool
        .run(move || {
            let query = SearchQuery::parse(&q);
            let mut hits = Vec::new();
            let mut total = 0;
            for slot in &of.slots {
                // One that is closed must not keep the others from being searched.
                let Ok(found) = slot.catalog(|catalog| Ok(catalog.search(&query, most)?)) else { continue };
                total += found.total;
                hits.extend(found.hits.into_iter().map(|hit| (slot, hit)));
            }
            // Each catalog's are in this order; how well a hit fits means much the same in all of them.
            let order = |score: f64| (score * 10.0).round();
            hits.sort_by(|(_, a), (_, b)| {
                order(a.score).total_cmp(&order(b.score)).then(b.risk.level.cmp(&a.risk.level))
            });
            hits.truncate(most);
            let mut out = Vec::with_capacity(hits.len());
            for (slot, hit) in hits {
                let found = slot.catalog(|catalog| short(slot, catalog, hit.id))?;
                if let Some((_, Value::Object(mut fields))) = found {
                    fields.insert("brick".to_owned(), slot.name.clone().into());
                    out.push(Value::Object(fields));
                }
            }
            Ok(Json(json!({ "hits": out, "more": total > most as u64 })))
        })
        .await
}
