//! Which bricks there are, and what is to be seen of one in a view.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Ask, At, CONTENT_MAX, HISTORY_MAX, LABELS_MAX, TheApp, limit};
use crate::map::App;
use crate::map::error::ApiError;
use crate::map::events::hex;
use crate::map::geometry::Rect;
use crate::map::labels::labels as labels_of;
use crate::map::palette::Palette;
use crate::map::{json as shown, label_areas};

pub(super) async fn bricks(State(app): TheApp) -> Result<Json<Value>, ApiError> {
    let of = Arc::clone(&app);
    app.pool.run(move || Ok(Json(document(&of)))).await
}

/// What `/api/bricks` and the event `state` say.
pub(in crate::map) fn document(app: &App) -> Value {
    let status = (app.status)();
    // A brick that is closed, or not open yet, keeps its place.
    let known: Vec<_> = app
        .slots
        .iter()
        .map(|slot| {
            let root = status.roots.iter().find(|root| root.path == slot.root.to_string_lossy());
            let open = slot.with(|state| Ok((state.order, hex(&state.merkle.root()))));
            (slot, root, open)
        })
        .collect();
    let side = |open: &Result<(u8, String), ApiError>| open.as_ref().ok().map(|(order, _)| 1_u64 << order);
    let sides: Vec<(&str, Option<u64>)> =
        known.iter().map(|(slot, _, open)| (slot.name.as_str(), side(open))).collect();
    let places = app.districts.of(&sides);
    let bricks: Vec<Value> = known
        .iter()
        .zip(places)
        .map(|((slot, root, open), place)| {
            let closed = match (root.and_then(|root| root.error.as_ref()), open) {
                (Some(why), _) => Some(why.clone()),
                (None, Err(error)) => Some(error.what.clone()),
                (None, Ok(_)) => None,
            };
            let (order, tree) = open.as_ref().map_or((0, ""), |(order, tree)| (*order, tree.as_str()));
            json!({
                "name": slot.name,
                "root": slot.root.to_string_lossy(),
                "order": order,
                "side": 1_u64 << order,
                "artifacts": root.map_or(0, |root| root.artifacts),
                "unverified": root.map_or(0, |root| root.unverified),
                "tree": tree,
                "district": { "x": place.x, "y": place.y },
                "closed": closed,
            })
        })
        .collect();
    let mut llm = json!({ "state": status.llm.state });
    if let (Some(why), Value::Object(fields)) = (&status.llm.why, &mut llm) {
        fields.insert("why".to_owned(), why.clone().into());
    }
    json!({
        "host": app.host,
        "version": status.version,
        "now_ns": crate::agent::now_ns(),
        "bricks": bricks,
        "llm": llm,
        "limits": { "labels": LABELS_MAX, "history": HISTORY_MAX, "content": CONTENT_MAX },
    })
}

pub(super) async fn palette() -> Json<Palette> {
    Json(Palette::new())
}

pub(super) async fn status(State(app): TheApp) -> Result<impl IntoResponse, ApiError> {
    let text =
        serde_json::to_string(&(app.status)()).map_err(|error| ApiError::unavailable(error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text))
}

#[derive(Debug, Deserialize)]
pub(super) struct View {
    x: u32,
    y: u32,
    w: u32,
    h: u32,
    min: u32,
    limit: Option<u32>,
}

pub(super) async fn labels(
    State(app): TheApp,
    At(name): At<String>,
    Ask(view): Ask<View>,
) -> Result<Json<Value>, ApiError> {
    let slot = app.slot(&name)?;
    let of = Arc::clone(&app);
    app.pool
        .run(move || {
            let View { x, y, w, h, min, limit: most } = view;
            let rect = Rect { x, y, w, h };
            let most = limit(most, LABELS_MAX, LABELS_MAX);
            slot.with(|state| {
                let areas = label_areas(&of, &slot.name, state);
                let (labels, more) = labels_of(&state.index, &areas, rect, min, most);
                let labels: Vec<Value> = labels
                    .iter()
                    .map(|label| {
                        let path = state.index.path(label.id);
                        shown::label(&path, label.entry, label.rect, label.cells)
                    })
                    .collect();
                Ok(Json(json!({ "labels": labels, "more": more })))
            })
        })
        .await
}
