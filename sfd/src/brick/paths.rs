//! The whole paths of artifacts, from rows that only know their directories.

use std::collections::HashMap;

use super::{ArtifactId, Row};

/// Directories above each other, at most: far more than a path has bytes. A damaged index may hold a ring.
const DEPTH_MAX: usize = 10_000;
/// Bytes of a path, on average over a brick, at most: ten times as many as real trees have. A damaged index may hold a
/// chain as long as itself, whose paths would be its square ...
const PATH_BYTES_MAX: usize = 1024;
/// ... beside this: a real chain of 180 directories with names as long as they may be.
const PATH_BYTES_FREE: usize = 4 << 20;

/// The whole path of every row. A row whose parents are missing, form a ring or are far too many is named from where
/// that shows.
pub(super) fn paths(rows: &[Row]) -> HashMap<ArtifactId, Vec<u8>> {
    let mut room = rows.len().saturating_mul(PATH_BYTES_MAX).saturating_add(PATH_BYTES_FREE);
    let by_id: HashMap<ArtifactId, &Row> = rows.iter().map(|row| (row.id, row)).collect();
    let mut paths: HashMap<ArtifactId, Vec<u8>> = HashMap::with_capacity(rows.len());
    for row in rows {
        // Up to an ancestor whose path is known, then down again.
        let mut chain = vec![row];
        while let Some(parent) = chain.last().and_then(|row| by_id.get(&row.parent?)) {
            if paths.contains_key(&parent.id) || chain.len() >= DEPTH_MAX {
                break;
            }
            chain.push(parent);
        }
        while let Some(row) = chain.pop() {
            let above = row.parent.and_then(|parent| paths.get(&parent)).filter(|path| path.len() <= room);
            let mut path = above.cloned().unwrap_or_default();
            room -= path.len();
            if row.parent.is_some() && path.last() != Some(&b'/') {
                path.push(b'/');
            }
            path.extend_from_slice(&row.name);
            paths.entry(row.id).or_insert(path);
        }
    }
    paths
}
