//! What the map says of artifacts and of history, as JSON.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};

use super::geometry::Rect;
use super::index::Entry;
use crate::artifact::{FileType, Semantics};
use crate::brick::{HistoryRow, Row};

/// A path: lossy as `key`, and exact, in base64, as `key_bytes` where it is not UTF-8.
pub(super) fn path_fields(fields: &mut Map<String, Value>, key: &str, path: &[u8]) {
    fields.insert(key.to_owned(), String::from_utf8_lossy(path).into());
    if std::str::from_utf8(path).is_err() {
        fields.insert(format!("{key}_bytes"), BASE64.encode(path).into());
    }
}

/// Directory, file, link or anything else.
pub(super) fn type_name(file_type: FileType) -> &'static str {
    match file_type {
        FileType::Directory => "dir",
        FileType::File => "file",
        FileType::Symlink => "symlink",
        _ => "special",
    }
}

/// The short form of an artifact.
pub(super) fn short(path: &[u8], row: &Row, rect: Rect) -> Map<String, Value> {
    let mut fields = Map::new();
    path_fields(&mut fields, "path", path);
    let semantics = &row.semantics;
    let more = json!({
        "type": type_name(row.meta.file_type),
        "kind": semantics.kind.name(),
        "size": row.len,
        "title": semantics.title,
        "summary": semantics.summary,
        "risk": { "level": semantics.risk.level, "word": semantics.risk.word() },
        "x": rect.x, "y": rect.y, "w": rect.w, "h": rect.h,
        "cells": row.block.cells(),
        "redacted": row.redacted,
        "unverified": row.unverified.is_some(),
        "mtime_ns": row.meta.mtime_ns,
    });
    if let Value::Object(more) = more {
        fields.extend(more);
    }
    fields
}

/// A label.
pub(super) fn label(path: &[u8], entry: &Entry, rect: Rect, cells: u64) -> Value {
    let mut fields = Map::new();
    path_fields(&mut fields, "path", path);
    // The root's name is a whole path, which is what it is known by.
    let more = json!({
        "name": String::from_utf8_lossy(&entry.name),
        "type": type_name(entry.file_type),
        "kind": entry.kind.name(),
        "x": rect.x, "y": rect.y, "w": rect.w, "h": rect.h,
        "cells": cells,
        "risk": entry.risk,
        "redacted": entry.redacted,
        "unverified": entry.unverified,
    });
    if let Value::Object(more) = more {
        fields.extend(more);
    }
    Value::Object(fields)
}

/// What an artifact is, and who says so.
pub(super) fn semantics(semantics: &Semantics) -> Value {
    let risk = &semantics.risk;
    let mut value = json!({
        "title": semantics.title,
        "summary": semantics.summary,
        "tags": semantics.tags,
        "risk": { "level": risk.level, "word": risk.word(), "reasons": risk.reasons },
        "source": semantics.source,
    });
    if let (Some(answered), Value::Object(fields)) = (&semantics.answered, &mut value) {
        fields.insert("model".to_owned(), answered.model.clone().into());
        fields.insert("prompt_version".to_owned(), answered.prompt_version.into());
        fields.insert("at_ns".to_owned(), answered.at_ns.into());
    }
    value
}

/// Who made a change.
pub(super) fn writers(row: &HistoryRow) -> Value {
    let of = |writer: &crate::collect::Writer| {
        let mut value = json!({ "comm": writer.comm, "pid": writer.pid, "uid": writer.uid });
        if let (Some(exe), Value::Object(fields)) = (&writer.origin.exe, &mut value) {
            fields.insert("exe".to_owned(), exe.clone().into());
        }
        value
    };
    row.writers.iter().map(of).collect()
}

/// One line of history.
pub(super) fn history(brick: &str, number: i64, row: &HistoryRow) -> Value {
    let mut fields = Map::new();
    path_fields(&mut fields, "path", &row.path);
    if let Some(from) = &row.from {
        path_fields(&mut fields, "from", from);
    }
    let more = json!({
        "seq": number,
        "at_ns": row.at_ns,
        "brick": brick,
        "verb": row.verb,
        "detail": row.detail,
        "kind": row.kind,
        "writers": writers(row),
        "more_writers": row.more_writers,
        "unknown_writers": row.unknown_writers,
        "risk": row.risk,
        "reasons": row.reasons,
        "meaning": row.meaning,
    });
    if let Value::Object(more) = more {
        fields.extend(more);
    }
    Value::Object(fields)
}

/// Names of users and groups of this host, from `/etc/passwd` and `/etc/group`: number to name.
pub(super) fn names_in(table: &str) -> BTreeMap<u32, String> {
    let text = std::fs::read_to_string(table).unwrap_or_default();
    let line = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        Some((fields.nth(1)?.parse().ok()?, name))
    };
    // Of two names for one number the first counts, as for everybody else.
    text.lines().rev().filter_map(line).collect()
}
