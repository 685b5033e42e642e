//! Where each brick is on the plane that the map shows. Kept in a file, so that a place is where it was yesterday.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::brick::NewFile;

/// Space between two districts: that part of the larger one's side, and at least one leaf.
const GAP_SHARE: u64 = 8;
/// Places are multiples of this, the side of a leaf, so that tiles of all districts are on one grid.
const GRID: u64 = 64;

/// Left upper corner and side, in cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct District {
    pub(super) x: u64,
    pub(super) y: u64,
    pub(super) side: u64,
}

impl District {
    /// Whether they share a cell or are nearer to each other than they should be.
    fn collides(self, other: Self) -> bool {
        let gap = (self.side.max(other.side) / GAP_SHARE).max(GRID);
        let apart = |a: u64, a_side: u64, b: u64, b_side: u64| a + a_side + gap <= b || b + b_side + gap <= a;
        !(apart(self.x, self.side, other.x, other.side) || apart(self.y, self.side, other.y, other.side))
    }
}

/// All districts that ever were, by the name of their brick.
#[derive(Debug)]
pub(super) struct Districts {
    path: PathBuf,
    places: Mutex<BTreeMap<String, District>>,
}

impl Districts {
    /// Reads the places of an earlier run. A file that cannot be read is told and begun anew: places are all it holds.
    pub(super) fn open(state: &Path) -> Self {
        let path = state.join("districts.json");
        let places = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                warn!(path = %path.display(), %error, "the places of the bricks on the map are given anew");
                BTreeMap::new()
            }),
            Err(error) => {
                if error.kind() != std::io::ErrorKind::NotFound {
                    warn!(path = %path.display(), %error, "the places of the bricks on the map are given anew");
                }
                BTreeMap::new()
            }
        };
        Self { path, places: Mutex::new(places) }
    }

    /// The places of bricks of these sides. One that is new, or has grown into another one, gets a free place; all others
    /// stay where they are. One whose side is not known (it is closed, or not open yet) keeps its place if it has one.
    pub(super) fn of(&self, bricks: &[(&str, Option<u64>)]) -> Vec<District> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let before = places.clone();
        let mut out = Vec::with_capacity(bricks.len());
        for (name, side) in bricks {
            out.push(match side {
                Some(side) => place(&mut places, name, *side),
                None => places.get(*name).copied().unwrap_or(District { x: 0, y: 0, side: 1 }),
            });
        }
        if *places != before
            && let Err(error) = self.keep(&places)
        {
            warn!(path = %self.path.display(), %error, "the places of the bricks on the map are not kept");
        }
        out
    }

    fn keep(&self, places: &BTreeMap<String, District>) -> Result<(), Box<dyn std::error::Error>> {
        let file = NewFile::create(&self.path)?;
        file.file().write_all(&serde_json::to_vec_pretty(places)?)?;
        file.finish()?;
        Ok(())
    }
}

fn place(places: &mut BTreeMap<String, District>, name: &str, side: u64) -> District {
    let others: Vec<District> =
        places.iter().filter(|(other, _)| *other != name).map(|(_, place)| *place).collect();
    let is_free = |place: District| !others.iter().any(|other| place.collides(*other));
    let now = places.get(name).map(|place| District { side: side.max(1), ..*place });
    if let Some(now) = now.filter(|place| is_free(*place)) {
        places.insert(name.to_owned(), now);
        return now;
    }
    // Beside or below each of the others, or at the beginning; the nearest to it.
    let edges = |edge: fn(&District) -> u64| {
        let beside = others.iter().map(move |other| {
            let gap = (other.side.max(side) / GAP_SHARE).max(GRID);
            (edge(other) + other.side + gap).next_multiple_of(GRID)
        });
        beside.chain([0]).collect::<Vec<u64>>()
    };
    let (columns, rows) = (edges(|other| other.x), edges(|other| other.y));
    let all = rows.iter().flat_map(|y| columns.iter().map(|x| District { x: *x, y: *y, side: side.max(1) }));
    let best =
        all.filter(|place| is_free(*place)).min_by_key(|place| (place.x.max(place.y), place.y, place.x));
    // Right of everything is always free.
    let best =
        best.unwrap_or(District { x: columns.iter().copied().max().unwrap_or(0), y: 0, side: side.max(1) });
    places.insert(name.to_owned(), best);
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sides(sides: [u64; 4]) -> Vec<(&'static str, Option<u64>)> {
        ["etc", "proc", "usr", "var"].into_iter().zip(sides.map(Some)).collect()
    }

    #[test]
    fn districts_never_overlap_and_stay_where_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let districts = Districts::open(dir.path());
        let first = districts.of(&sides([512, 256, 8192, 64]));
        for (n, a) in first.iter().enumerate() {
            assert!(first[..n].iter().all(|b| !a.collides(*b)), "{first:?}");
        }
        assert_eq!(
            Districts::open(dir.path()).of(&[("var", None), ("usr", Some(8192))]),
            [first[3], first[2]]
        );
        // One grows: it may have to move, nobody else does.
        let districts = Districts::open(dir.path());
        let grown = districts.of(&sides([512, 1024, 8192, 64]));
        for (n, place) in grown.iter().enumerate() {
            if n == 1 {
                assert!(grown.iter().enumerate().all(|(m, b)| m == 1 || !place.collides(*b)), "{grown:?}");
            } else {
                assert_eq!(*place, first[n]);
            }
        }
        std::fs::write(dir.path().join("districts.json"), "{").unwrap();
        assert_eq!(Districts::open(dir.path()).of(&[("etc", Some(512))])[0].x, 0);
    }
}
