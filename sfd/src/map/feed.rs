//! What the worker tells the map of: commits, as they happen.
//!
//! Telling never waits and costs nothing while nobody listens. A listener that is slower than the worker loses the oldest
//! notes, is told so, and reads everything again.

use std::sync::Arc;

use tokio::sync::broadcast;

use crate::brick::{ArtifactId, HistoryRow};
use crate::fold::Block;
use crate::fold::merkle::Hash;

/// Notes kept for a listener that is behind: a few seconds of a busy host. One holds at most some hundred kilobytes, most
/// a few hundred bytes.
const NOTES_MAX: usize = 256;
/// Lines of history in a note, at most; of the rest the number. A client is told of 50 changes a second at most.
pub(crate) const LINES_MAX: usize = 64;
/// Blocks in a note, at most; with more, the whole brick counts as changed. A commit has about a thousand steps.
pub(crate) const BLOCKS_MAX: usize = 4096;

/// A line of history that was committed, and where its subject is now.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// The line.
    pub(crate) row: HistoryRow,
    /// The block of what is at its path; `None`: nothing is, any more.
    pub(crate) block: Option<Block>,
}

/// One commit.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    /// Name of the brick.
    pub(crate) brick: String,
    /// Order of its curve.
    pub(crate) order: u8,
    /// Its Merkle root.
    pub(crate) tree: Hash,
    /// Everything may have changed: the brick was opened, laid out anew, or marked as a whole.
    pub(crate) whole: bool,
    /// Blocks whose pixels were written; none if `whole`.
    pub(crate) blocks: Vec<Block>,
    /// Artifacts whose rows were written or removed; none if `whole`.
    pub(crate) ids: Vec<ArtifactId>,
    /// Lines of history, the first ones.
    pub(crate) lines: Vec<Line>,
    /// How many more there are.
    pub(crate) more: u64,
}

/// Where notes go.
#[derive(Clone, Debug)]
pub struct Feed(broadcast::Sender<Arc<Note>>);

impl Default for Feed {
    fn default() -> Self {
        Self(broadcast::channel(NOTES_MAX).0)
    }
}

impl Feed {
    /// Whether anybody listens: otherwise nothing needs to be noted.
    pub(crate) fn is_heard(&self) -> bool {
        self.0.receiver_count() > 0
    }

    /// Tells whoever listens.
    pub(crate) fn tell(&self, note: Note) {
        // Fails when nobody does.
        let _ = self.0.send(Arc::new(note));
    }

    /// Listens from now on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Arc<Note>> {
        self.0.subscribe()
    }
}
