//! What `sfd status` shows of the map.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// Figures that only grow, but for those that say "now".
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) requests: AtomicU64,
    /// Refused, by status code.
    refused: Mutex<BTreeMap<u16, u64>>,
    /// Refused because too much waited for a thread.
    pub(super) busy: AtomicU64,
    /// Now.
    pub(super) connections: AtomicU64,
    /// Connections that had to wait because there were as many as there may be.
    pub(super) connections_waited: AtomicU64,
    /// Connections closed because the other side was too slow.
    pub(super) cut_off: AtomicU64,
    /// Event streams now.
    pub(super) streams: AtomicU64,
    pub(super) tiles_made: AtomicU64,
    pub(super) tiles_cached: AtomicU64,
    pub(super) tiles_unchanged: AtomicU64,
    /// Bytes of finished tiles, now.
    pub(super) cache_bytes: AtomicU64,
    /// Bytes of what coarse tiles are made of, now.
    pub(super) pyramid_bytes: AtomicU64,
    pub(super) leaves_painted: AtomicU64,
    pub(super) notes: AtomicU64,
    /// Notes of commits missed because the map was slower than the worker; everything was read again.
    pub(super) notes_missed: AtomicU64,
    pub(super) events: AtomicU64,
    /// Changes that a client was told of as a number only.
    pub(super) events_coalesced: AtomicU64,
    /// Event streams ended because their client was too slow.
    pub(super) streams_cut_off: AtomicU64,
}

/// The same to be shown.
#[derive(Clone, Debug, Serialize)]
pub struct MapStatus {
    /// Where it is served, without the token.
    pub address: String,
    /// Requests answered.
    pub requests: u64,
    /// Refused ones, by status code.
    pub refused: BTreeMap<u16, u64>,
    /// Requests refused because too many waited.
    pub busy: u64,
    /// Connections now.
    pub connections: u64,
    /// Connections that waited for another one to end.
    pub connections_waited: u64,
    /// Connections closed because nothing moved on them.
    pub cut_off: u64,
    /// Streams of events now.
    pub streams: u64,
    /// Streams ended because their client was too slow.
    pub streams_cut_off: u64,
    /// Tiles coloured.
    pub tiles_made: u64,
    /// Tiles answered from the cache.
    pub tiles_cached: u64,
    /// Tiles that the client had already.
    pub tiles_unchanged: u64,
    /// Bytes of the cache of tiles, now.
    pub cache_bytes: u64,
    /// Bytes of what coarse tiles are made of, now.
    pub pyramid_bytes: u64,
    /// Squares of 64x64 cells coloured.
    pub leaves_painted: u64,
    /// Commits heard of.
    pub notes: u64,
    /// Commits missed; everything was read again.
    pub notes_missed: u64,
    /// Events sent.
    pub events: u64,
    /// Changes told as a number only.
    pub events_coalesced: u64,
}

impl Counters {
    pub(super) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn refuse(&self, status: u16) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        *refused.entry(status).or_default() += 1;
    }

    pub(super) fn status(&self, address: &str) -> MapStatus {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        MapStatus {
            address: address.to_owned(),
            requests: get(&self.requests),
            refused: self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            busy: get(&self.busy),
            connections: get(&self.connections),
            connections_waited: get(&self.connections_waited),
            cut_off: get(&self.cut_off),
            streams: get(&self.streams),
            streams_cut_off: get(&self.streams_cut_off),
            tiles_made: get(&self.tiles_made),
            tiles_cached: get(&self.tiles_cached),
            tiles_unchanged: get(&self.tiles_unchanged),
            cache_bytes: get(&self.cache_bytes),
            pyramid_bytes: get(&self.pyramid_bytes),
            leaves_painted: get(&self.leaves_painted),
            notes: get(&self.notes),
            notes_missed: get(&self.notes_missed),
            events: get(&self.events),
            events_coalesced: get(&self.events_coalesced),
        }
    }
}

/// Counts something that is there, as long as it is kept.
#[derive(Debug)]
pub(super) struct Present(std::sync::Arc<Counters>, fn(&Counters) -> &AtomicU64);

impl Present {
    pub(super) fn new(counters: &std::sync::Arc<Counters>, which: fn(&Counters) -> &AtomicU64) -> Self {
        Counters::count(which(counters));
        Self(std::sync::Arc::clone(counters), which)
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        (self.1)(&self.0).fetch_sub(1, Ordering::Relaxed);
    }
}
