//! Names on the map: the rectangle of everything, and which of them are worth a label.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::geometry::Rect;
use super::index::{Entry, Index};
use crate::artifact::FileType;
use crate::brick::ArtifactId;

/// Directories above each other, at most; a damaged catalog may hold a ring.
const DEPTH_MAX: usize = 256;

/// Where what is below a directory is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Area {
    pub(super) rect: Rect,
    /// Cells of the blocks in it.
    pub(super) cells: u64,
}

/// A stretch of the curve that belongs to one directory, nearly without gaps.
#[derive(Clone, Copy)]
struct Stretch {
    rect: Rect,
    cells: u64,
    end: u64,
}

#[derive(Clone, Copy)]
struct Stretches {
    last: Stretch,
    best: Stretch,
}

/// The areas of all directories. What is below one is mostly one stretch of the curve; what came later may be elsewhere,
/// and then the largest stretch stands for it: a rectangle around everything would cover half the map.
pub(super) fn areas(index: &Index) -> HashMap<ArtifactId, Area, FixedState> {
    let mut found: HashMap<ArtifactId, Stretches, FixedState> = HashMap::default();
    for (id, entry) in index.in_order() {
        let (block, rect) = (entry.block, entry.rect);
        let mut above = if entry.file_type == FileType::Directory { Some(id) } else { entry.parent };
        for _ in 0..DEPTH_MAX {
            let Some(dir) = above else { break };
            let one = Stretch { rect, cells: block.cells(), end: block.end() };
            let stretches = found.entry(dir).or_insert(Stretches { last: one, best: one });
            // Its first block has just been put in as both.
            if stretches.last.end != block.end() {
                // A block begins at a multiple of its size, so a gap before it that is no larger is no gap.
                let gap = block.start.saturating_sub(stretches.last.end);
                stretches.last = if gap <= stretches.last.cells.max(block.cells()) {
                    Stretch {
                        rect: stretches.last.rect.union(rect),
                        cells: stretches.last.cells + block.cells(),
                        end: block.end(),
                    }
                } else {
                    one
                };
            }
            if stretches.last.cells >= stretches.best.cells {
                stretches.best = stretches.last;
            }
            above = index.get(dir).and_then(|entry| entry.parent);
        }
    }
    let area = |stretches: Stretches| Area { rect: stretches.best.rect, cells: stretches.best.cells };
    found.into_iter().map(|(id, stretches)| (id, area(stretches))).collect()
}

/// A name to be shown.
pub(super) struct Label<'a> {
    pub(super) id: ArtifactId,
    pub(super) entry: &'a Entry,
    pub(super) rect: Rect,
    pub(super) cells: u64,
}

/// What lies in a view and has at least `min` cells a side, the largest `limit` of them, largest first; and whether there
/// are more.
pub(super) fn labels<'a>(
    index: &'a Index,
    areas: &HashMap<ArtifactId, Area, FixedState>,
    view: Rect,
    min: u32,
    limit: usize,
) -> (Vec<Label<'a>>, bool) {
    let mut labels: Vec<Label<'a>> = index
        .iter()
        .map(|(id, entry)| match areas.get(&id) {
            Some(area) if entry.file_type == FileType::Directory => {
                Label { id, entry, rect: area.rect, cells: area.cells }
            }
            _ => Label { id, entry, rect: entry.rect, cells: entry.block.cells() },
        })
        .filter(|label| label.rect.w.min(label.rect.h) >= min && label.rect.meets(view))
        .collect();
    // What is above comes first among equals, and the order is always the same.
    let key = |label: &Label<'_>| (std::cmp::Reverse(label.cells), label.entry.block.start);
    let more = labels.len() > limit;
    if more {
        labels.select_nth_unstable_by_key(limit, key);
        labels.truncate(limit);
    }
    labels.sort_unstable_by_key(key);
    (labels, more)
}

#[cfg(test)]
mod tests {
    use super::super::index::tests::outline;
    use super::*;

    #[test]
    fn a_directory_is_where_most_of_it_is() {
        let index = Index::new(
            9,
            vec![
                outline(1, None, "/etc", 0, 6),
                outline(2, Some(1), "ssh", 64, 6),
                outline(3, Some(2), "config", 4096, 12),
                outline(4, Some(2), "moduli", 8192, 12),
                // Came later, and is far away.
                outline(5, Some(2), "new", 131_072, 7),
            ],
        );
        let areas = areas(&index);
        let near = [2, 3, 4].map(|id| index.get(ArtifactId(id)).unwrap().rect);
        let near = near.into_iter().reduce(Rect::union).unwrap();
        assert_eq!((areas[&ArtifactId(2)].rect, areas[&ArtifactId(2)].cells), (near, 8256));
        assert!(!areas.contains_key(&ArtifactId(3)));
        let view = Rect { x: 0, y: 0, w: 512, h: 512 };
        let ids = |min, limit| {
            let (labels, more) = labels(&index, &areas, view, min, limit);
            (labels.iter().map(|label| label.id.0).collect::<Vec<_>>(), more)
        };
        assert_eq!(ids(64, 10), (vec![1, 2, 3, 4], false));
        assert_eq!(ids(8, 2), (vec![1, 2], true));
        let corner = Rect { x: 511, y: 511, w: 1, h: 1 };
        assert!(labels(&index, &areas, corner, 1, 10).0.is_empty());
    }
}
