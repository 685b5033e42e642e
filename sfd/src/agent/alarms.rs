//! Writing into the lines of history why an operator should care about them.

use bytes::Bytes;

use super::RootKind;
use super::alarm::{self, Change};
use super::reconcile::Tasks;
use super::root::Root;
use crate::artifact::view::Nature;
use crate::artifact::{Artifact, Packaged};
use crate::batch::Dirty;
use crate::brick::{Row, Verb};

/// Tags of what is judged by whether a package owns it.
const BY_PACKAGE: [&str; 3] = ["unpackaged", "setuid", "setgid"];

fn is_socket_table(name: &str) -> bool {
    matches!(name, "net/tcp" | "net/tcp6" | "net/udp" | "net/udp6")
}

impl Root {
    /// Completes a line of history of the draft: `before` and `after` are the artifact's states, `table` the name and
    /// both contents of a table of `/proc`.
    pub(super) fn judge(
        &mut self,
        line: Option<usize>,
        before: Option<&Row>,
        after: Option<&Row>,
        table: Option<(&str, &str, &str)>,
    ) {
        use std::os::unix::ffi::OsStrExt;
        let Some(line) = line.and_then(|line| self.draft.history_mut(line)) else { return };
        let packaged = match self.kind {
            RootKind::Tree => self.looker.packaged(std::ffi::OsStr::from_bytes(&line.path).as_ref()),
            RootKind::Proc => Packaged::Unknown,
        };
        let judged = alarm::judge(&Change { line, before, after, packaged, table });
        // While a package is being installed, its files are not yet the package's.
        let own = if judged.is_installed { line.risk.min(1) } else { line.risk };
        line.risk = own.max(judged.risk.level);
        line.reasons = judged.risk.reasons;
    }

    /// Contents until now of a table of `/proc` that [`Self::note_table`] knows; `None` of everything else, and of what
    /// cannot be told.
    pub(super) fn table_before(&self, old: &Row, artifact: &Artifact) -> Option<Bytes> {
        if self.kind != RootKind::Proc || !artifact.exact || !old.is_provable() {
            return None;
        }
        let Nature::Projection { name, pid: None } = self.view.nature(&artifact.path) else { return None };
        if is_socket_table(name) || name == "modules" { self.cells_of(old) } else { None }
    }

    /// Writes down what a table of `/proc` says is new: listeners, of whose table nothing else belongs in the history, and
    /// modules. `before`: of [`Self::table_before`]. `false`: nothing is to be said of it.
    pub(super) fn note_table(
        &mut self,
        old: &Row,
        row: &Row,
        artifact: &Artifact,
        before: &[u8],
        meaning: &[String],
        dirty: &Dirty,
    ) -> bool {
        let Nature::Projection { name, pid: None } = self.view.nature(&artifact.path) else { return false };
        let is_sockets = is_socket_table(name);
        let (before, after) = (String::from_utf8_lossy(before), String::from_utf8_lossy(&artifact.cells));
        let detail = if is_sockets {
            match alarm::listening(name, &before, &after) {
                Some(detail) => detail,
                // Connections come and go.
                None => return true,
            }
        } else if before == after {
            return false;
        } else {
            super::describe::describe_change(old, row)
        };
        let line = self.write_down(row, &artifact.path, None, Verb::Modified, detail, dirty);
        self.draft.mean(Some(line), meaning.to_vec());
        self.judge(Some(line), Some(old), Some(row), Some((name, &before, &after)));
        true
    }

    /// Has everything looked at that another set of packages may make better or worse.
    pub(super) fn judge_by_packages(&self, tasks: &mut Tasks) {
        let by_package = |row: &&Row| row.semantics.tags.iter().any(|tag| BY_PACKAGE.contains(&&**tag));
        for row in self.inventory.rows().filter(by_package) {
            tasks.describe(row.id);
        }
    }
}
