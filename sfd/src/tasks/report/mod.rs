//! Reports: what an administrator wants to know, as Markdown and as JSON.

use serde_json::Value;

pub mod modules;
pub mod system;

/// Something to be read.
pub trait Report {
    /// For programs.
    fn json(&self) -> Value;
    /// For people.
    fn markdown(&self, title: &str) -> String;
}

/// A cell of a table: text of somebody else's that stays in its cell and on its line.
fn cell(text: &str) -> String {
    let mut cell = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '\\' | '`' | '<' | '*' | '_' | '[' => cell.extend(['\\', c]),
            c if c.is_control() || crate::artifact::kinds::invisible(c) => cell.push(' '),
            c => cell.push(c),
        }
    }
    if cell.is_empty() { "-".to_owned() } else { cell }
}

/// A table in Markdown.
fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut text = format!("| {} |\n|{}\n", head.join(" | "), " --- |".repeat(head.len()));
    for row in rows {
        let cells: Vec<String> = row.iter().map(|text| cell(text)).collect();
        text += &format!("| {} |\n", cells.join(" | "));
    }
    text
}
