//! The stream of events.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use futures_util::stream::{self, Stream, StreamExt};
use serde_json::{Value, json};

use super::TheApp;
use crate::map::counters::{Counters, Present};
use crate::map::error::ApiError;
use crate::map::events;

/// Streams at a time; each has a task and at most some hundred kilobytes.
const STREAMS_MAX: u64 = 16;
/// A line is sent at least so often, so that both sides know that the other one is there.
const ALIVE_EVERY: Duration = Duration::from_secs(15);

pub(super) async fn events(
    State(app): TheApp,
) -> Result<Sse<impl Stream<Item = Result<SseEvent, Infallible>>>, ApiError> {
    if app.counters.streams.load(Ordering::Relaxed) >= STREAMS_MAX {
        Counters::count(&app.counters.busy);
        let what = format!("{STREAMS_MAX} clients listen already; close another page with this map");
        return Err(ApiError::unavailable(what));
    }
    let here = Present::new(&app.counters, |counters| &counters.streams);
    // First listening, then the state: what changes in between is told twice rather than never.
    let changes = app.events.subscribe();
    let of = Arc::clone(&app);
    let document = app.pool.run(move || Ok(super::bricks_document(&of))).await?;
    let bricks: Vec<Value> = document["bricks"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|brick| json!({ "name": brick["name"], "tree": brick["tree"] }))
        .collect();
    let hello = json!({ "now_ns": crate::agent::now_ns(), "bricks": bricks });
    let hello = SseEvent::default().event("hello").data(hello.to_string());
    let (to, unread) = events::channel();
    tokio::spawn(events::serve(app, changes, to, here));
    let unread = stream::unfold(unread, |mut unread| async move { Some((unread.recv().await?, unread)) });
    let all = stream::once(std::future::ready(hello)).chain(unread).map(Ok);
    Ok(Sse::new(all).keep_alive(KeepAlive::new().interval(ALIVE_EVERY).text("alive")))
}
