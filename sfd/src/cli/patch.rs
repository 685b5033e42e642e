//! What a line of history changed, as a unified diff.

use std::path::Path;
use std::time::{Duration, Instant};

use similar::{Algorithm, TextDiff};

use super::out::{printable, printable_line};
use super::{CliError, Out};
use crate::agent::LATECOMER;
use crate::artifact::kinds::is_text;
use crate::brick::{Brick, Catalog, HistoryRow, Missing, Verb, VersionLine};

/// Longest search for the smallest difference between two texts; what is found by then is as true, but longer.
const SEARCH_MAX: Duration = Duration::from_millis(500);
/// How long the contents of now are looked for while they change: many times a commit.
const PATIENCE: Duration = Duration::from_secs(1);
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(10);

/// What is known of the change of contents that a line tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Patch {
    /// It tells of none.
    None,
    /// A unified diff, as it is: not yet fit for a terminal.
    Diff(String),
    /// There was one, and this is why it cannot be shown.
    Missing(String),
}

impl Patch {
    /// Prints it after its line.
    pub(super) fn print(&self, out: Out) -> Result<(), CliError> {
        match self {
            Self::None => Ok(()),
            Self::Missing(why) => out.line(format!("(no diff: {why})")),
            Self::Diff(diff) => out.write(|out| {
                for line in diff.split_inclusive('\n') {
                    let text = line.strip_suffix('\n').unwrap_or(line);
                    writeln!(out, "{}", printable_line(text))?;
                }
                Ok(())
            }),
        }
    }
}

/// A catalog with its brick, for the contents of now.
pub(super) struct Patches<'a> {
    catalog: &'a Catalog,
    path: &'a Path,
    brick: Option<Brick>,
}

impl<'a> Patches<'a> {
    pub(super) fn new(path: &'a Path, catalog: &'a Catalog) -> Self {
        Self { catalog, path, brick: None }
    }

    /// What the line of that number changed.
    pub(super) fn of_line(&mut self, number: i64, row: &HistoryRow) -> Result<Patch, CliError> {
        let Some(version) = self.catalog.version(number)? else { return Ok(unnoted(row)) };
        let side = |side: &str, why: &str| Patch::Missing(format!("the contents {side} are not kept: {why}"));
        let before = match &version.contents {
            Ok(before) => before.clone(),
            Err(why) => return Ok(side("before", why.reason())),
        };
        let after = match self.after(&version)? {
            Ok(after) => after,
            Err(why) => return Ok(side("after", &why)),
        };
        Ok(match (String::from_utf8(before), String::from_utf8(after)) {
            (Ok(before), Ok(after)) => Patch::Diff(unified(row, &before, &after)),
            _ => side("of one side", Missing::Binary.reason()),
        })
    }

    /// The contents after a change: those before the next one, or those of now.
    fn after(&mut self, version: &VersionLine) -> Result<Result<Vec<u8>, String>, CliError> {
        let not_kept = |why: Missing| Ok(Err(why.reason().to_owned()));
        let Some(hash) = version.after else { return Ok(Ok(Vec::new())) };
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(next) = self.catalog.version_after(version.artifact, version.line)? {
                return match next.contents {
                    Ok(contents) if next.before == Some(hash) => Ok(Ok(contents)),
                    Ok(_) => Ok(Err("something between was not seen".to_owned())),
                    Err(why) => not_kept(why),
                };
            }
            let brick = match &self.brick {
                Some(brick) => brick,
                // The history can be read without it.
                None => match Brick::open(self.path) {
                    Ok(brick) => self.brick.insert(brick),
                    Err(error) => return Ok(Err(error.to_string())),
                },
            };
            let Some(row) = self.catalog.row(version.artifact)? else {
                return Ok(Err("it is gone, and its end was not seen".to_owned()));
            };
            if row.redacted {
                return not_kept(Missing::Redacted);
            }
            if !row.exact {
                return not_kept(if row.unverified.is_some() { Missing::NotHeld } else { Missing::Large });
            }
            match brick.contents_of(version.artifact, &hash)? {
                Some(contents) if is_text(&contents) => return Ok(Ok(contents)),
                Some(_) => return not_kept(Missing::Binary),
                // It has just changed again, so there is a next change; or a write was interrupted.
                None if Instant::now() < deadline => std::thread::sleep(PAUSE),
                None => return not_kept(Missing::NotHeld),
            }
        }
    }
}

/// A line for which nothing is noted of contents: they did not change, or nobody noted them.
fn unnoted(row: &HistoryRow) -> Patch {
    if row.verb != Verb::Modified || row.detail == LATECOMER {
        return Patch::None;
    }
    let is_proc = row.path.starts_with(b"/proc/");
    let why = if is_proc { "contents of /proc are not kept" } else { "it is from before SFD kept contents" };
    Patch::Missing(why.to_owned())
}

/// The difference between two texts, with three lines around each change.
fn unified(row: &HistoryRow, before: &str, after: &str) -> String {
    let path = printable(&String::from_utf8_lossy(&row.path));
    let nothing = "/dev/null".to_owned();
    let (old, new) = match row.verb {
        Verb::Created => (nothing, path),
        Verb::Deleted => (path, nothing),
        _ => (path.clone(), path),
    };
    let diff =
        TextDiff::configure().algorithm(Algorithm::Myers).timeout(SEARCH_MAX).diff_lines(before, after);
    diff.unified_diff().context_radius(3).header(&old, &new).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(verb: Verb) -> HistoryRow {
        HistoryRow {
            at_ns: 0,
            path: b"/etc/a\nb".to_vec(),
            from: None,
            verb,
            detail: String::new(),
            meaning: Vec::new(),
            reasons: Vec::new(),
            writers: Vec::new(),
            more_writers: false,
            unknown_writers: true,
            kind: String::new(),
            risk: 0,
        }
    }

    #[test]
    fn a_diff_is_unified_and_names_its_file_on_one_line() {
        let diff = unified(&row(Verb::Modified), "a\nb\nc", "a\nx\nc\n");
        let want = "--- /etc/a\\nb\n+++ /etc/a\\nb\n@@ -1,3 +1,3 @@\n a\n-b\n-c\n\\ No newline at end of file\n+x\n+c\n";
        assert_eq!(diff, want);
        let made = unified(&row(Verb::Created), "", "one\n");
        assert_eq!(made, "--- /dev/null\n+++ /etc/a\\nb\n@@ -0,0 +1 @@\n+one\n");
        let gone = unified(&row(Verb::Deleted), "one\n", "");
        assert_eq!(gone, "--- /etc/a\\nb\n+++ /dev/null\n@@ -1 +0,0 @@\n-one\n");
    }

    #[test]
    fn a_line_without_contents_says_why_if_there_were_some() {
        assert_eq!(unnoted(&row(Verb::Attributes)), Patch::None);
        assert_eq!(unnoted(&HistoryRow { detail: LATECOMER.into(), ..row(Verb::Modified) }), Patch::None);
        let why = |path: &[u8]| unnoted(&HistoryRow { path: path.to_vec(), ..row(Verb::Modified) });
        assert_eq!(why(b"/proc/1/status"), Patch::Missing("contents of /proc are not kept".into()));
        assert_eq!(why(b"/etc/hosts"), Patch::Missing("it is from before SFD kept contents".into()));
    }

    #[test]
    fn texts_that_have_nothing_in_common_do_not_take_for_ever() {
        let text = |step: usize| {
            let lines: Vec<String> = (0..32_000).map(|n| (n * step % 9973 % 10).to_string()).collect();
            lines.join("\n")
        };
        let started = Instant::now();
        let diff = unified(&row(Verb::Modified), &text(7), &text(13));
        assert!(diff.len() > 1000);
        assert!(started.elapsed() < 20 * SEARCH_MAX, "{:?}", started.elapsed());
    }
}
