//! The table.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use crate::cells::Operation;
use crate::place::FILE_SYSTEMS;

/// What came of one operation on one file system.
#[derive(Clone, Debug)]
pub(crate) enum Cell {
    /// The brick was right that long after the operation had ended; what was reported of it until then.
    Right {
        /// From the end of the operation.
        after: Duration,
        /// Operations of the events, as in `sfd events`.
        reported: BTreeSet<String>,
    },
    /// It was not, and what was wrong.
    Wrong(String),
    /// The file system refuses the operation.
    Refused,
    /// No hook of this rung sees it, and no look comes before the timed comparison.
    Late,
}

impl Cell {
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Right { after, reported } if reported.is_empty() => {
                format!("yes, {} ms, found by looking", after.as_millis())
            }
            Self::Right { after, reported } => {
                let reported: Vec<_> = reported.iter().map(String::as_str).collect();
                format!("yes, {} ms, {}", after.as_millis(), reported.join(" "))
            }
            Self::Wrong(why) => format!("**no**: {why}"),
            Self::Refused => "-".to_owned(),
            Self::Late => "at the next comparison (`verify_s`)".to_owned(),
        }
    }
}

/// Cells by operation (in the order they were done) and file system.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<(&'static str, Duration)>,
    cells: BTreeMap<(&'static str, &'static str), Cell>,
}

impl Table {
    pub(crate) fn add(&mut self, operation: &Operation, file_system: &'static str, cell: Cell) {
        if !self.rows.iter().any(|(name, _)| *name == operation.name) {
            self.rows.push((operation.name, operation.bound));
        }
        self.cells.insert((operation.name, file_system), cell);
    }

    pub(crate) fn count(&self) -> usize {
        self.cells.len()
    }

    pub(crate) fn count_of(&self, wanted: impl Fn(&Cell) -> bool) -> usize {
        self.cells.values().filter(|cell| wanted(cell)).count()
    }

    pub(crate) fn wrong(&self) -> Vec<String> {
        let wrong = |((name, on), cell): (&(&str, &str), &Cell)| match cell {
            Cell::Wrong(why) => Some(format!("{name} on {on}: {why}")),
            _ => None,
        };
        self.cells.iter().filter_map(wrong).collect()
    }

    /// The table as docs/coverage.md has it.
    pub(crate) fn markdown(&self, rung: &str) -> String {
        let uname = rustix::system::uname();
        let release = uname.release().to_string_lossy().into_owned();
        let mut text = format!(
            "# Coverage: every kind of change, on every file system\n\n\
             Made by `cargo xtask coverage` on Linux {release} ({}), names seen by {rung}. Each cell: is it right in the \
             brick within its bound, how long after the operation had ended (the batch window of 50 ms and the time of \
             looking included), and which events reported it (`sfd events`). `-`: the file system refuses the operation.\n\n",
            uname.machine().to_string_lossy(),
        );
        let _ = writeln!(text, "| operation | bound | {} |", FILE_SYSTEMS.join(" | "));
        let _ = writeln!(text, "|---|---|{}", "---|".repeat(FILE_SYSTEMS.len()));
        for (name, bound) in &self.rows {
            let cells: Vec<String> = FILE_SYSTEMS
                .iter()
                .map(|on| self.cells.get(&(*name, *on)).map_or_else(|| "?".to_owned(), Cell::text))
                .collect();
            let _ = writeln!(text, "| {name} | {} s | {} |", bound.as_secs_f32(), cells.join(" | "));
        }
        text
    }
}
