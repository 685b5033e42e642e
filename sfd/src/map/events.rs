//! What changes, as it changes: from the notes of commits to the streams of clients.
//!
//! A thread of its own takes the notes, so that a client that hears of a change finds it in the next answer; then every
//! client has a task that sends at most so many changes a second and the rest as a number. A client that does not read
//! loses its stream: when it is back it compares the nodes of the tree, so nothing has to be kept for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::Event as SseEvent;
use serde_json::{Map, Value, json};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::debug;

use super::App;
use super::counters::{Counters, Present};
use super::feed::{Line, Note};
use super::geometry::Rect;
use super::json::{path_fields, writers};
use crate::fold::{Block, Curve};

/// Events kept for the tasks of the clients; they are never far behind.
pub(super) const EVENTS_MAX: usize = 1024;
/// Changes told one by one to a client in a second; the rest as a number.
const CHANGES_PER_S: f64 = 50.0;
/// How often what was held back is told.
const BURST_EVERY: Duration = Duration::from_millis(250);
/// Rectangles in one event, at most: neighbours are joined until there are no more.
const RECTS_MAX: usize = 256;
/// Events that wait for a client to read them, at most. With what the kernel keeps for it, that is some seconds.
const UNREAD_MAX: usize = 64;

/// Something that clients are told.
#[derive(Debug)]
pub(super) enum Event {
    /// One change.
    Change { brick: usize, rects: Vec<Rect>, tree: String, json: String },
    /// Pixels changed, and `count` changes that are not told one by one.
    Burst { brick: usize, count: u64, rects: Vec<Rect>, tree: String },
    /// What `/api/bricks` says.
    State { json: String },
}

/// Takes notes until the daemon ends. Runs on a thread of its own.
pub(super) fn listen(app: &App, mut notes: broadcast::Receiver<Arc<Note>>) {
    super::pool::be_nice();
    loop {
        match notes.blocking_recv() {
            Ok(note) => take(app, &note),
            Err(RecvError::Lagged(missed)) => {
                Counters::add(&app.counters.notes_missed, missed);
                debug!(missed, "the map was slower than the worker; reading everything again");
                for (number, slot) in app.slots.iter().enumerate() {
                    slot.forget();
                    if app.events.receiver_count() == 0 {
                        continue;
                    }
                    let tree = slot.with(|state| Ok((state.order, state.merkle.root()))).ok();
                    if let Some((order, tree)) = tree {
                        tell(app, whole(number, order, &hex(&tree)));
                    }
                }
            }
            Err(RecvError::Closed) => return,
        }
    }
}

fn take(app: &App, note: &Note) {
    Counters::count(&app.counters.notes);
    let Some(number) = app.slots.iter().position(|slot| slot.name == note.brick) else { return };
    app.slots[number].apply(note);
    if app.events.receiver_count() == 0 {
        return;
    }
    let tree = hex(&note.tree);
    if note.whole {
        return tell(app, whole(number, note.order, &tree));
    }
    let curve = Curve::new(note.order);
    let rects = |blocks: &[Block]| blocks.iter().map(|block| Rect::of(curve, *block)).collect::<Vec<_>>();
    // What no line owns: blocks of what is gone or has moved away, and pictures that changed without a line of history.
    let owned: BTreeSet<Block> = note.lines.iter().filter_map(|line| line.block).collect();
    let mut rest: Vec<Block> = note.blocks.iter().copied().filter(|block| !owned.contains(block)).collect();
    for line in &note.lines {
        let mut blocks: Vec<Block> = line.block.into_iter().collect();
        if note.lines.len() == 1 {
            blocks.append(&mut rest);
        }
        let rects = joined(rects(&blocks));
        let json = change(&note.brick, line, &rects, &tree);
        tell(app, Event::Change { brick: number, rects, tree: tree.clone(), json });
    }
    if note.more > 0 || !rest.is_empty() {
        tell(app, Event::Burst { brick: number, count: note.more, rects: joined(rects(&rest)), tree });
    }
}

fn tell(app: &App, event: Event) {
    // Fails when nobody listens.
    let _ = app.events.send(Arc::new(event));
}

fn whole(brick: usize, order: u8, tree: &str) -> Event {
    let side = 1_u32 << order;
    let rects = vec![Rect { x: 0, y: 0, w: side, h: side }];
    Event::Burst { brick, count: 0, rects, tree: tree.to_owned() }
}

fn change(brick: &str, line: &Line, rects: &[Rect], tree: &str) -> String {
    let row = &line.row;
    let mut fields = Map::new();
    path_fields(&mut fields, "path", &row.path);
    if let Some(from) = &row.from {
        path_fields(&mut fields, "from", from);
    }
    let mut value = json!({
        "at_ns": row.at_ns, "brick": brick, "verb": row.verb, "detail": row.detail, "kind": row.kind,
        "writers": writers(row), "risk": row.risk, "reasons": row.reasons, "meaning": row.meaning,
        "rects": rects, "tree": tree,
    });
    if let Value::Object(all) = &mut value {
        all.append(&mut fields);
    }
    value.to_string()
}

/// In hexadecimal, lower case.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|half| DIGITS[usize::from(half)]).collect()
}

/// At most [`RECTS_MAX`] rectangles that cover the given ones.
fn joined(mut rects: Vec<Rect>) -> Vec<Rect> {
    let mut grid = 64;
    while rects.len() > RECTS_MAX {
        let squares: BTreeSet<Rect> = rects
            .iter()
            .flat_map(|rect| {
                let (right, bottom) = (rect.x + rect.w - 1, rect.y + rect.h - 1);
                let columns = rect.x / grid..=right / grid;
                columns.flat_map(move |column| {
                    (rect.y / grid..=bottom / grid).map(move |row| Rect {
                        x: column * grid,
                        y: row * grid,
                        w: grid,
                        h: grid,
                    })
                })
            })
            .collect();
        rects = squares.into_iter().collect();
        grid *= 2;
    }
    rects
}

/// Changes that are not told one by one.
#[derive(Debug, Default)]
struct Held {
    count: u64,
    rects: Vec<Rect>,
    tree: String,
}

impl Held {
    fn add(&mut self, count: u64, rects: &[Rect], tree: &str) {
        self.count += count;
        tree.clone_into(&mut self.tree);
        self.rects.extend_from_slice(rects);
        // Joined only when there are many: a flood is not to cost more than its changes.
        if self.rects.len() > 4 * RECTS_MAX {
            self.rects = joined(std::mem::take(&mut self.rects));
        }
    }
}

/// Sends a client its events until it goes away or is too slow.
pub(super) async fn serve(
    app: Arc<App>,
    mut events: broadcast::Receiver<Arc<Event>>,
    to: mpsc::Sender<SseEvent>,
    _here: Present,
) {
    let mut held: BTreeMap<usize, Held> = BTreeMap::new();
    let (mut allowed, mut since) = (CHANGES_PER_S, Instant::now());
    let mut ticks = tokio::time::interval(BURST_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let sent = tokio::select! {
            () = to.closed() => return,
            event = events.recv() => match event {
                Ok(event) => {
                    let now = Instant::now();
                    allowed = CHANGES_PER_S.min(allowed + (now - since).as_secs_f64() * CHANGES_PER_S);
                    since = now;
                    match &*event {
                        Event::Change { brick, rects, tree, json } => {
                            if allowed >= 1.0 && !held.contains_key(brick) {
                                allowed -= 1.0;
                                send(&app, &to, SseEvent::default().event("change").data(json))
                            } else {
                                held.entry(*brick).or_default().add(1, rects, tree);
                                true
                            }
                        }
                        Event::Burst { brick, count, rects, tree } => {
                            held.entry(*brick).or_default().add(*count, rects, tree);
                            // Told with the next tick, together with what else comes until then.
                            true
                        }
                        Event::State { json } => send(&app, &to, SseEvent::default().event("state").data(json)),
                    }
                }
                Err(RecvError::Lagged(_)) => false,
                Err(RecvError::Closed) => return,
            },
            _ = ticks.tick(), if !held.is_empty() => {
                let bursts = std::mem::take(&mut held);
                bursts.into_iter().all(|(brick, burst)| {
                    Counters::add(&app.counters.events_coalesced, burst.count);
                    let Some(slot) = app.slots.get(brick) else { return true };
                    let data = json!({
                        "brick": slot.name, "count": burst.count, "rects": joined(burst.rects), "tree": burst.tree,
                    });
                    send(&app, &to, SseEvent::default().event("burst").data(data.to_string()))
                })
            }
        };
        if !sent {
            Counters::count(&app.counters.streams_cut_off);
            return;
        }
    }
}

/// Whether there was room.
fn send(app: &App, to: &mpsc::Sender<SseEvent>, event: SseEvent) -> bool {
    let sent = to.try_send(event).is_ok();
    if sent {
        Counters::count(&app.counters.events);
    }
    sent
}

/// The room for a client's unread events.
pub(super) fn channel() -> (mpsc::Sender<SseEvent>, mpsc::Receiver<SseEvent>) {
    mpsc::channel(UNREAD_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_rectangles_become_few_that_cover_them() {
        let rects: Vec<Rect> =
            (0..5000).map(|n| Rect { x: n % 97 * 80, y: n / 97 * 70, w: 8 + n % 3 * 60, h: 16 }).collect();
        let few = joined(rects.clone());
        assert!(few.len() <= RECTS_MAX, "{}", few.len());
        for rect in &rects {
            let corners = [(rect.x, rect.y), (rect.x + rect.w - 1, rect.y + rect.h - 1)];
            for (x, y) in corners {
                let cell = Rect { x, y, w: 1, h: 1 };
                assert!(few.iter().any(|some| some.meets(cell)), "{rect:?}");
            }
        }
        let some = rects[..10].to_vec();
        assert_eq!(joined(some.clone()), some);
    }
}
