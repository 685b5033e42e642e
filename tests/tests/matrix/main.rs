//! The operation matrix: every kind of change, on every file system, ends in the right brick.
//!
//! Needs root, BPF, loop devices and the tools that make the file systems; fails where they are missing. Prints the table
//! of docs/coverage.md, and writes it when `SFD_WRITE_COVERAGE` names a file (`cargo xtask coverage`).
//! `SFD_NAME_HOOKS` chooses the hooks for names, as the key `name_hooks` of the configuration does.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod cells;
mod place;
mod report;

use std::time::Instant;

use place::{FILE_SYSTEMS, Place};
use report::{Cell, Table};

/// Changes in a row, all file systems.
#[test]
fn every_change_on_every_file_system_ends_in_the_right_brick() {
    let started = Instant::now();
    let mut table = Table::default();
    let mut rung = String::new();
    for file_system in FILE_SYSTEMS {
        let mut place = Place::new(file_system);
        rung.clone_from(&place.rung);
        for operation in cells::OPERATIONS {
            let cell = place.check(operation);
            println!("{file_system:<8} {:<34} {}", operation.name, cell.text());
            table.add(operation, file_system, cell);
        }
        place.finish();
    }
    let text = table.markdown(&rung);
    println!("{text}");
    println!("{} cells in {:?}", table.count(), started.elapsed());
    if let Some(path) = std::env::var_os("SFD_WRITE_COVERAGE") {
        std::fs::write(path, &text).unwrap();
    }
    let wrong = table.wrong();
    assert!(wrong.is_empty(), "not right in the brick within its bound:\n{}", wrong.join("\n"));
    // A table of nothing but "not on this file system" would show nothing.
    assert!(table.count_of(|cell| matches!(cell, Cell::Right { .. })) > cells::OPERATIONS.len() * 4);
}

/// The checked-in table is of these operations, and has no "no".
#[test]
fn the_document_has_every_operation_and_no_no() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/coverage.md");
    let text = std::fs::read_to_string(path).expect("docs/coverage.md; `cargo xtask coverage` writes it");
    for operation in cells::OPERATIONS {
        let row = format!("| {} | {} s |", operation.name, operation.bound.as_secs_f32());
        assert!(text.contains(&row), "docs/coverage.md has no row {row:?}: run `cargo xtask coverage`");
    }
    assert!(!text.contains("**no**"), "docs/coverage.md");
}
