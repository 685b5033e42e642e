//! Tiles: which there are, what they look like, and whether a client has them already.
//!
//! A tile is made of leaves ([`super::paint`]). Those of the four finest levels of a brick are coloured when asked for; the
//! coarser ones are put together from a *pyramid*, which keeps every leaf at 8x8 pixels and less with the hash of what
//! it was made from. A leaf whose hash is another one by now is made anew, so a change costs one leaf, however large the
//! brick. Finished tiles are kept in a cache.
//!
//! The ETag is made of the Merkle node over the very pixels that were read, so it is right even when a commit comes in
//! between; where colours depend on more (ages, what changed since), that is in it too.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::counters::Counters;
use super::error::ApiError;
use super::events::hex;
use super::geometry::{TILE_SIDE, TileAt};
use super::index::Entry;
use super::paint::{Canvas, Overlay, halved, leaf as paint_leaf, reduced};
use super::palette::{Mode, Rgb, Theme, age_class};
use super::slot::Slot;
use crate::fold::Curve;
use crate::fold::merkle::{Hash, empty_hash, leaf_block};

/// Bytes of finished tiles that are kept: some hundred, more than a large screen shows twice over.
const CACHE_BYTES_MAX: usize = 32 << 20;
/// Bytes of pyramids that are kept: that of a full brick of the largest order has 20 MiB in each mode and theme.
const PYRAMID_BYTES_MAX: usize = 64 << 20;
/// Base-2 logarithm of the side of a leaf, in pixels, up to which it is kept in a pyramid.
const PYRAMID_SIDE_ORDER: u8 = 3;
/// Leaves coloured before what they are is stored: bounds the memory of making a large pyramid for the first time.
const AT_ONCE: usize = 1024;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Wanted {
    pub(super) at: TileAt,
    pub(super) mode: Mode,
    pub(super) theme: Theme,
    /// What did not change since then is greyed; nanoseconds since the Unix epoch.
    pub(super) since_ns: Option<i64>,
}

/// What a client gets.
#[derive(Clone, Debug)]
pub(super) enum Tile {
    /// It has it already.
    Unchanged { tag: String },
    /// PNG.
    Image { tag: String, png: Bytes },
}

/// Everything of a tile but its pixels.
struct Plan {
    order: u8,
    first: u64,
    /// Hashes of its leaves as the catalog has them.
    hashes: Vec<Hash>,
    node: Hash,
    /// Classes of age of each leaf's squares.
    ages: Option<Vec<[u8; 64]>>,
    /// Squares of each leaf that changed since then.
    changed: Option<Vec<u64>>,
    /// Digest of both.
    extra: Option<[u8; 16]>,
}

type PyramidKey = (String, Mode, Theme);

/// A pyramid, and when it was last used. It is locked for as long as leaves are coloured for it, all of them never.
#[derive(Debug)]
struct Shared {
    used: u64,
    pyramid: Arc<Mutex<Pyramid>>,
}

/// All tiles of all bricks.
#[derive(Debug)]
pub(super) struct Tiles {
    cache: Mutex<Cache>,
    pyramids: Mutex<HashMap<PyramidKey, Shared>>,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Cache {
    tiles: HashMap<(String, Wanted), Kept>,
    bytes: usize,
    /// Counts uses, for throwing out what was not used for longest.
    uses: u64,
}

#[derive(Debug)]
struct Kept {
    tag: String,
    png: Bytes,
    used: u64,
}

/// Leaves at 8x8 pixels and less.
#[derive(Debug)]
struct Pyramid {
    order: u8,
    leaves: HashMap<u64, Small>,
}

#[derive(Debug)]
struct Small {
    /// Of the pixels, and of the ages if the mode shows them.
    key: (Hash, [u8; 16]),
    /// 8x8, then 4x4, 2x2 and 1 pixel.
    pixels: Box<[Rgb; 85]>,
    unverified: u64,
    redacted: u64,
}

/// Where the pixels of a side of `2^side_order` begin in [`Small::pixels`].
const fn small_at(side_order: u8) -> usize {
    match side_order {
        3 => 0,
        2 => 64,
        1 => 80,
        _ => 84,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panic leaves is at worst a tile that is made again.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tiles {
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        Self { cache: Mutex::default(), pyramids: Mutex::default(), counters }
    }

    /// A tile, unless the client has it: `has` tells of an ETag whether it does.
    ///
    /// # Errors
    /// There is no such tile, or the brick cannot be read.
    pub(super) fn get(
        &self,
        slot: &Slot,
        wanted: Wanted,
        now_ns: i64,
        has: impl Fn(&str) -> bool,
    ) -> Result<Tile, ApiError> {
        let plan = plan(slot, wanted, now_ns)?;
        let tag = tag_of(&plan.node, wanted, plan.extra.as_ref());
        if has(&tag) {
            Counters::count(&self.counters.tiles_unchanged);
            return Ok(Tile::Unchanged { tag });
        }
        let key = (slot.name.clone(), wanted);
        if let Some(png) = lock(&self.cache).get(&key, &tag) {
            Counters::count(&self.counters.tiles_cached);
            return Ok(Tile::Image { tag, png });
        }
        let (canvas, node) = self.make(slot, wanted, &plan)?;
        let tag = tag_of(&node, wanted, plan.extra.as_ref());
        let png = canvas.png().map_err(|error| ApiError::unavailable(format!("PNG: {error}")))?;
        let png = Bytes::from(png);
        Counters::count(&self.counters.tiles_made);
        let bytes = lock(&self.cache).put(key, &tag, &png);
        self.counters.cache_bytes.store(bytes as u64, Ordering::Relaxed);
        Ok(Tile::Image { tag, png })
    }

    /// Forgets everything: it is made again when somebody asks.
    pub(super) fn forget(&self) {
        lock(&self.pyramids).clear();
        *lock(&self.cache) = Cache::default();
        self.counters.cache_bytes.store(0, Ordering::Relaxed);
        self.counters.pyramid_bytes.store(0, Ordering::Relaxed);
    }

    /// Colours a tile. Also returns the Merkle node of the pixels that it shows.
    fn make(&self, slot: &Slot, wanted: Wanted, plan: &Plan) -> Result<(Canvas, Hash), ApiError> {
        let side = TILE_SIDE.min(1 << plan.order);
        let mut canvas = Canvas::new(side, wanted.theme);
        let side_order = wanted.at.leaf_side_order(plan.order);
        let mut hashes = plan.hashes.clone();
        let place = Place { order: plan.order, at: wanted.at, side_order };
        // A grey background stays as it is; a free leaf has nothing on it.
        let there: Vec<u64> =
            (0..plan.hashes.len() as u64).filter(|n| plan.hashes[*n as usize] != empty_hash(0)).collect();
        if side_order > PYRAMID_SIDE_ORDER {
            self.paint(slot, wanted, plan, &there, |n, hash, leaf| {
                hashes[n as usize] = hash;
                let leaf = reduced(leaf, side_order);
                let overlay = plan.overlay(n, leaf.unverified, leaf.redacted);
                canvas.put(place.of(plan.first + n), side_order, &leaf.pixels, overlay);
            })?;
        } else {
            let pyramid = self.pyramid(slot, wanted, plan.order);
            let mut pyramid = lock(&pyramid);
            if pyramid.order != plan.order {
                *pyramid = Pyramid { order: plan.order, leaves: HashMap::new() };
            }
            let stale: Vec<u64> =
                there.iter().copied().filter(|n| !pyramid.has(plan.first + n, &plan.key(*n))).collect();
            for some in stale.chunks(AT_ONCE) {
                self.paint(slot, wanted, plan, some, |n, hash, leaf| {
                    let (unverified, redacted) = (leaf.unverified, leaf.redacted);
                    let mut level = reduced(leaf, PYRAMID_SIDE_ORDER).pixels;
                    let mut pixels = Box::new([[0; 3]; 85]);
                    for order in (0..=PYRAMID_SIDE_ORDER).rev() {
                        let at = small_at(order);
                        pixels[at..at + level.len()].copy_from_slice(&level);
                        level = halved(&level, 1 << order);
                    }
                    let key = (hash, plan.key(n).1);
                    pyramid.leaves.insert(plan.first + n, Small { key, pixels, unverified, redacted });
                })?;
            }
            for n in there {
                let Some(small) = pyramid.leaves.get(&(plan.first + n)) else { continue };
                hashes[n as usize] = small.key.0;
                let from = small_at(side_order);
                let pixels = &small.pixels[from..from + (1 << (2 * side_order))];
                let overlay = plan.overlay(n, small.unverified, small.redacted);
                canvas.put(place.of(plan.first + n), side_order, pixels, overlay);
            }
        }
        self.weigh_pyramids();
        let node = if hashes == plan.hashes { plan.node } else { node_over(hashes) };
        Ok((canvas, node))
    }

    /// Reads and colours some leaves of a plan, and gives each with its number in the plan and its hash.
    fn paint(
        &self,
        slot: &Slot,
        wanted: Wanted,
        plan: &Plan,
        numbers: &[u64],
        mut done: impl FnMut(u64, Hash, super::paint::Leaf),
    ) -> Result<(), ApiError> {
        Counters::add(&self.counters.leaves_painted, numbers.len() as u64);
        slot.read(|brick| {
            for leaf in brick.leaves(numbers.iter().map(|n| plan.first + n))? {
                let leaf = leaf?;
                let n = leaf.index() - plan.first;
                let ages = plan.ages.as_ref().map(|ages| &ages[n as usize]);
                let mode = (wanted.mode, wanted.theme);
                done(n, leaf.hash(), paint_leaf((plan.order, leaf.index()), leaf.pixels(), mode, ages));
            }
            Ok(())
        })
    }

    fn pyramid(&self, slot: &Slot, wanted: Wanted, order: u8) -> Arc<Mutex<Pyramid>> {
        let uses = {
            let mut cache = lock(&self.cache);
            cache.uses += 1;
            cache.uses
        };
        let key = (slot.name.clone(), wanted.mode, wanted.theme);
        let new = || Shared {
            used: uses,
            pyramid: Arc::new(Mutex::new(Pyramid { order, leaves: HashMap::new() })),
        };
        let mut pyramids = lock(&self.pyramids);
        let shared = pyramids.entry(key).or_insert_with(new);
        shared.used = uses;
        Arc::clone(&shared.pyramid)
    }

    /// Throws out the pyramids that were not used for longest when all together are too large.
    fn weigh_pyramids(&self) {
        const LEAF_BYTES: usize = size_of::<(u64, Small)>() + size_of::<[Rgb; 85]>() + 16;
        let mut pyramids = lock(&self.pyramids);
        // One that is in use just now is weighed, and thrown out if need be, the next time.
        let weight = |shared: &Shared| shared.pyramid.try_lock().ok().map(|p| p.leaves.len() * LEAF_BYTES);
        let mut weights: Vec<(u64, usize, PyramidKey)> = pyramids
            .iter()
            .filter_map(|(key, shared)| Some((shared.used, weight(shared)?, key.clone())))
            .collect();
        weights.sort_unstable_by_key(|(used, ..)| *used);
        let mut sum: usize = weights.iter().map(|(_, bytes, _)| bytes).sum();
        // The one used last stays, however large.
        weights.pop();
        for (_, bytes, key) in weights {
            if sum <= PYRAMID_BYTES_MAX {
                break;
            }
            pyramids.remove(&key);
            sum -= bytes;
        }
        self.counters.pyramid_bytes.store(sum as u64, Ordering::Relaxed);
    }
}

/// Where the leaves of a tile are on it.
struct Place {
    order: u8,
    at: TileAt,
    side_order: u8,
}

impl Place {
    fn of(&self, leaf: u64) -> (u32, u32) {
        let curve = Curve::new(self.order);
        let (x, y) = curve.xy(leaf_block(self.order, leaf).start);
        let side = self.order - self.at.z;
        let inside = |n: u32| (n & ((1_u32 << side) - 1)) >> 6 << self.side_order;
        (inside(x), inside(y))
    }
}

impl Pyramid {
    fn has(&self, leaf: u64, key: &(Hash, [u8; 16])) -> bool {
        self.leaves.get(&leaf).is_some_and(|small| small.key == *key)
    }
}

impl Plan {
    /// What the leaf's colours are made from.
    fn key(&self, n: u64) -> (Hash, [u8; 16]) {
        let ages = self.ages.as_ref().map_or([0; 16], |ages| digest(&ages[n as usize]));
        (self.hashes[n as usize], ages)
    }

    fn overlay(&self, n: u64, unverified: u64, redacted: u64) -> Overlay {
        let changed = self.changed.as_ref().map(|changed| changed[n as usize]);
        Overlay { unverified, redacted, changed }
    }
}

impl Cache {
    fn get(&mut self, key: &(String, Wanted), tag: &str) -> Option<Bytes> {
        self.uses += 1;
        let kept = self.tiles.get_mut(key).filter(|kept| kept.tag == tag)?;
        kept.used = self.uses;
        Some(kept.png.clone())
    }

    /// Adds a tile; returns the bytes of all.
    fn put(&mut self, key: (String, Wanted), tag: &str, png: &Bytes) -> usize {
        self.uses += 1;
        let kept = Kept { tag: tag.to_owned(), png: png.clone(), used: self.uses };
        self.bytes += png.len();
        if let Some(before) = self.tiles.insert(key, kept) {
            self.bytes -= before.png.len();
        }
        if self.bytes > CACHE_BYTES_MAX {
            // Half of it at once, so that this is rare.
            let mut by_use: Vec<(u64, usize)> = self.tiles.values().map(|k| (k.used, k.png.len())).collect();
            by_use.sort_unstable();
            let mut last = 0;
            for (used, len) in by_use {
                if self.bytes <= CACHE_BYTES_MAX / 2 {
                    break;
                }
                self.bytes -= len;
                last = used;
            }
            self.tiles.retain(|_, kept| kept.used > last);
        }
        self.bytes
    }
}

/// What has to be known of a tile before a pixel is read.
fn plan(slot: &Slot, wanted: Wanted, now_ns: i64) -> Result<Plan, ApiError> {
    slot.with(|state| {
        let (order, at) = (state.order, wanted.at);
        if !at.exists(order) {
            let TileAt { z, x, y } = at;
            return Err(ApiError::not_found(format!("brick {}: no tile {z}/{x}/{y}", slot.name)));
        }
        let (first, count) = at.leaves(order);
        let (level, node) = at.node(order);
        let hashes = state.merkle.leaves().get(first as usize..(first + count) as usize).unwrap_or_default();
        let node = state.merkle.level(level).and_then(|nodes| nodes.get(node)).copied();
        let ages = (wanted.mode == Mode::Age).then(|| {
            let class = |entry: &Entry| Some(age_class(now_ns, entry.changed_ns));
            state.index.squares((first, count), 0, class)
        });
        let changed = wanted.since_ns.map(|since| {
            let squares = state
                .index
                .squares((first, count), false, |entry: &Entry| (entry.changed_ns >= since).then_some(true));
            squares.iter().map(bits).collect::<Vec<u64>>()
        });
        let extra = (ages.is_some() || changed.is_some()).then(|| {
            let mut colours = blake3::Hasher::new();
            for leaf in ages.iter().flatten() {
                colours.update(leaf);
            }
            for leaf in changed.iter().flatten() {
                colours.update(&leaf.to_le_bytes());
            }
            short(&colours.finalize())
        });
        Ok(Plan {
            order,
            first,
            hashes: hashes.to_vec(),
            node: node.unwrap_or_else(|| empty_hash(0)),
            ages,
            changed,
            extra,
        })
    })
}

fn bits(squares: &[bool; 64]) -> u64 {
    squares.iter().rev().fold(0, |bits, square| bits << 1 | u64::from(*square))
}

fn digest(bytes: &[u8]) -> [u8; 16] {
    short(&blake3::hash(bytes))
}

fn short(hash: &blake3::Hash) -> [u8; 16] {
    hash.as_bytes().first_chunk().copied().unwrap_or_default()
}

/// The Merkle node over leaves, whose number is a power of four.
fn node_over(mut hashes: Vec<Hash>) -> Hash {
    while hashes.len() > 1 {
        hashes = hashes.chunks(4).map(|four| Sha256::digest(four.concat()).into()).collect();
    }
    hashes.first().copied().unwrap_or_else(|| empty_hash(0))
}

/// A strong ETag, with its quotes.
fn tag_of(node: &Hash, wanted: Wanted, extra: Option<&[u8; 16]>) -> String {
    let mut tag = format!("\"{}-{}-{}", hex(&node[..16]), wanted.mode.name(), wanted.theme.name());
    // Writing to a string does not fail.
    if let Some(since) = wanted.since_ns {
        let _ = write!(tag, "-{since}");
    }
    if let Some(extra) = extra {
        tag.push('-');
        tag.push_str(&hex(extra));
    }
    // Levels of one node differ in scale.
    let _ = write!(tag, "-{}\"", wanted.at.z);
    tag
}
