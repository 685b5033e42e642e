//! What is loaded into programs, and where programs are found.

use super::{CRITICAL, Findings, HIGH, MEDIUM, odd_place};
use crate::artifact::kinds::text::clean;

/// ld.so.preload: libraries separated by white space or colons; `#` begins a comment.
pub(super) fn preload(text: &str, found: &mut Findings) {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    for library in lines.flat_map(|line| line.split([' ', '\t', ':'])).filter(|library| !library.is_empty()) {
        let shown = clean(library, 80);
        match odd_place(library) {
            Some((_, why)) => {
                found.add(CRITICAL, format!("{shown} is loaded into every program that starts, {why}"));
            }
            None => found.add(HIGH, format!("{shown} is loaded into every program that starts")),
        }
    }
}

/// ld.so.conf(.d): directories, one a line.
pub(super) fn directories(text: &str, found: &mut Findings) {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    for dir in
        lines.filter(|line| !line.is_empty() && !line.starts_with("include") && !line.starts_with("hwcap"))
    {
        let shown = clean(dir, 80);
        if let Some((level, why)) = odd_place(dir) {
            found.add(level.max(HIGH), format!("libraries are looked for in {shown}, {why}"));
        } else if !dir.starts_with('/') {
            found.add(HIGH, format!("libraries are looked for in {shown}, relative to who looks"));
        }
    }
}

/// `NAME=value` lines that decide what is loaded and run at logins.
pub(super) fn environment(text: &str, found: &mut Findings) {
    for line in text.lines() {
        variable(line, found);
    }
}

/// One assignment, with or without `export`.
pub(super) fn variable(line: &str, found: &mut Findings) {
    let line = line.trim();
    let line = line.strip_prefix("export ").unwrap_or(line);
    let Some((name, value)) = line.split_once('=') else { return };
    let value = value.trim().trim_matches(['"', '\'']);
    match name.trim() {
        name @ ("LD_PRELOAD" | "LD_AUDIT") if !value.is_empty() => {
            let level = if odd_place(value).is_some() { CRITICAL } else { HIGH };
            found.add(level, format!("{} is loaded into programs ({name})", clean(value, 80)));
        }
        name @ ("LD_LIBRARY_PATH" | "PATH") => {
            for dir in value.split(':').filter(|dir| !dir.is_empty()) {
                let what = if name == "PATH" { "programs" } else { "libraries" };
                if let Some((HIGH, why)) = odd_place(dir) {
                    found.add(HIGH, format!("{what} are looked for in {}, {why} ({name})", clean(dir, 60)));
                } else if dir == "." {
                    found
                        .add(MEDIUM, format!("{what} are looked for where one happens to be ({name} has .)"));
                }
            }
        }
        _ => {}
    }
}
