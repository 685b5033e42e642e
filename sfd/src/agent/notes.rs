//! What a root tells the map of its commits.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::root::Root;
use crate::brick::Commit;
use crate::fold::apply::affected;
use crate::map::feed::{BLOCKS_MAX, LINES_MAX, Line, Note};

impl Root {
    /// Tells of a commit that is on the brick now. Costs nothing while no map is served.
    pub(super) fn tell_commit(&self, commit: &Commit) {
        if !self.feed.is_heard() {
            return;
        }
        let blocks = affected(&commit.plan);
        if blocks.len() > BLOCKS_MAX {
            return self.tell_all();
        }
        let ids = commit.upserts.iter().map(|row| row.id).chain(commit.deletes.iter().copied()).collect();
        let block_at = |path: &[u8]| {
            let id = self.inventory.by_path(Path::new(OsStr::from_bytes(path)))?;
            self.inventory.get(id).map(|row| row.block)
        };
        let line = |row: &crate::brick::HistoryRow| Line { row: row.clone(), block: block_at(&row.path) };
        let lines: Vec<Line> = commit.history.iter().take(LINES_MAX).map(line).collect();
        let more = (commit.history.len() - lines.len()) as u64;
        self.feed.tell(Note { blocks, ids, lines, more, ..self.blank_note() });
    }

    /// Tells that everything may have changed.
    pub(super) fn tell_all(&self) {
        if self.feed.is_heard() {
            self.feed.tell(Note { whole: true, ..self.blank_note() });
        }
    }

    fn blank_note(&self) -> Note {
        Note {
            brick: self.name.clone(),
            order: self.brick.order(),
            tree: self.brick.root_hash(),
            whole: false,
            blocks: Vec::new(),
            ids: Vec::new(),
            lines: Vec::new(),
            more: 0,
        }
    }
}
