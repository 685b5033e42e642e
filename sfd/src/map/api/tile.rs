//! Tiles, and the nodes of the Merkle tree by which a client finds out which it needs.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Ask, At, TheApp};
use crate::fold::Curve;
use crate::map::error::ApiError;
use crate::map::events::hex;
use crate::map::geometry::{LEAF_ORDER, TileAt, z_max};
use crate::map::palette::{Mode, Theme};
use crate::map::tiles::{Tile, Wanted};

/// Deepest level of nodes in one answer: 4096 of them, all there are of the largest brick at the level of its tiles.
const NODES_Z_MAX: u8 = 6;
/// Bytes of a node's hash that are told: enough to see a difference.
const NODE_BYTES: usize = 8;

#[derive(Debug, Deserialize)]
pub(super) struct Look {
    mode: Option<String>,
    theme: Option<String>,
    since_ns: Option<i64>,
    v: Option<String>,
}

pub(super) async fn tile(
    State(app): TheApp,
    At((name, z, x, y)): At<(String, String, String, String)>,
    Ask(look): Ask<Look>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let slot = app.slot(&name)?;
    let wrong = || ApiError::bad(format!("tile {z}/{x}/{y}: not of the form z/x/y.png with whole numbers"));
    let number =
        |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u32>().ok()).flatten();
    let (Some(level), Some(column), Some(row)) =
        (number(&z), number(&x), y.strip_suffix(".png").and_then(number))
    else {
        return Err(wrong());
    };
    let at = TileAt { z: u8::try_from(level).unwrap_or(u8::MAX), x: column, y: row };
    let wanted = Wanted {
        at,
        mode: named(look.mode.as_deref(), "mode", &Mode::ALL, Mode::name)?,
        theme: named(look.theme.as_deref(), "theme", &Theme::ALL, Theme::name)?,
        since_ns: look.since_ns,
    };
    let has: Vec<String> = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/").to_owned())
        .collect();
    let of = Arc::clone(&app);
    let now_ns = crate::agent::now_ns();
    let tile = app
        .pool
        .run(move || {
            of.tiles.get(&slot, wanted, now_ns, |tag| has.iter().any(|had| had == tag || had == "*"))
        })
        .await?;
    // With `v` the address is another one whenever the client wants something else.
    let keep = if look.v.is_some() { "private, max-age=31536000, immutable" } else { "private, no-cache" };
    Ok(match tile {
        Tile::Unchanged { tag } => {
            (StatusCode::NOT_MODIFIED, [(header::ETAG, tag), (header::CACHE_CONTROL, keep.to_owned())])
                .into_response()
        }
        Tile::Image { tag, png } => {
            let headers = [
                (header::CONTENT_TYPE, "image/png".to_owned()),
                (header::ETAG, tag),
                (header::CACHE_CONTROL, keep.to_owned()),
            ];
            (headers, png).into_response()
        }
    })
}

/// The value with a name; the first one if none was asked for.
fn named<T: Copy>(
    asked: Option<&str>,
    key: &str,
    all: &[T],
    name: impl Fn(T) -> &'static str,
) -> Result<T, ApiError> {
    let Some(asked) = asked else {
        return all.first().copied().ok_or_else(|| ApiError::bad(format!("{key}: missing")));
    };
    all.iter().copied().find(|value| name(*value) == asked).ok_or_else(|| {
        let known: Vec<&str> = all.iter().map(|value| name(*value)).collect();
        ApiError::bad(format!("{key} {asked:?}: not one of {}", known.join(", ")))
    })
}

#[derive(Debug, Deserialize)]
pub(super) struct Level {
    z: u8,
}

pub(super) async fn nodes(
    State(app): TheApp,
    At(name): At<String>,
    Ask(Level { z }): Ask<Level>,
) -> Result<Json<Value>, ApiError> {
    let slot = app.slot(&name)?;
    app.pool
        .run(move || {
            slot.with(|state| {
                let deepest = z_max(state.order).min(NODES_Z_MAX);
                if z > deepest {
                    return Err(ApiError::not_found(format!(
                        "brick {name}: z {z}; nodes are told up to {deepest}"
                    )));
                }
                let level = usize::from((state.order - z).saturating_sub(LEAF_ORDER));
                let nodes = state.merkle.level(level).unwrap_or_default();
                let (side, curve) = (1_u32 << z, Curve::new(z));
                let rows = (0..side).flat_map(|y| (0..side).map(move |x| (x, y)));
                let of = |(x, y)| {
                    // Whether a square is crossed first or last does not depend on what is in it, but for the parity of
                    // the order: the curve of the whole is asked, not one of order z.
                    let number = if z == 0 { 0 } else { TileAt { z, x, y }.node(state.order).1 };
                    debug_assert!(number < curve.cells() as usize);
                    nodes.get(number).map(|node| hex(&node[..NODE_BYTES])).unwrap_or_default()
                };
                let nodes: Vec<String> = rows.map(of).collect();
                Ok(Json(json!({ "tree": hex(&state.merkle.root()), "z": z, "nodes": nodes })))
            })
        })
        .await
}
