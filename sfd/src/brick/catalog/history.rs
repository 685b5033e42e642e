//! The history table: what changed, when, by whom.

use rusqlite::{Connection, params};

use super::Catalog;
use crate::brick::{BrickError, HistoryRow, disk};

/// Lines of history kept unless the caller says otherwise: about 300 MB on disk, months of a busy /etc.
pub const HISTORY_ROWS_MAX: u64 = 1_000_000;

/// Which lines of history are wanted. The default is everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryQuery {
    /// An absolute path, raw bytes: lines about it and everything below it, under its present or an earlier name.
    pub path: Option<Vec<u8>>,
    /// Not before, nanoseconds since the Unix epoch.
    pub since_ns: Option<i64>,
    /// One of the writers has this command name.
    pub comm: Option<String>,
    /// Only lines numbered above this; the oldest of them first. Without it, the newest lines are given.
    pub after_id: Option<i64>,
    /// At most this many lines; `None` for all.
    pub limit: Option<u32>,
}

impl Catalog {
    /// The lines that match, each with its number, oldest first. Numbers grow and are never used again.
    pub fn history(&self, query: &HistoryQuery) -> Result<Vec<(i64, HistoryRow)>, BrickError> {
        let direction = if query.after_id.is_some() { "ASC" } else { "DESC" };
        let by_path = if query.path.is_some() {
            // Two index searches; an OR over both columns would be a scan.
            "id IN (SELECT id FROM history WHERE path = ?1 OR path > ?2 AND path < ?3 \
             UNION SELECT id FROM history WHERE from_path = ?1 OR from_path > ?2 AND from_path < ?3)"
        } else {
            "?1 IS NULL AND ?2 IS NULL AND ?3 IS NULL"
        };
        let sql = format!(
            "SELECT id, at_ns, path, from_path, verb, detail, writers, kind, risk FROM history WHERE {by_path} \
             AND (?4 IS NULL OR at_ns >= ?4) \
             AND (?5 IS NULL OR EXISTS (SELECT 1 FROM json_each(writers) WHERE value ->> 'comm' = ?5)) \
             AND id > ?6 ORDER BY id {direction} LIMIT ?7"
        );
        // Everything below a directory: "dir/" < path < "dir0", '0' being the byte after '/'.
        let below = |last: u8| {
            query.path.as_ref().map(|path| {
                let mut bound = path.strip_suffix(b"/").unwrap_or(path).to_vec();
                bound.push(last);
                bound
            })
        };
        let params = params![
            query.path,
            below(b'/'),
            below(b'0'),
            query.since_ns,
            query.comm,
            query.after_id.unwrap_or(i64::MIN),
            query.limit.map_or(-1, i64::from),
        ];
        let mut lines = self
            .with_ref(|connection| {
                let mut statement = connection.prepare_cached(&sql)?;
                let mut rows = statement.query(params)?;
                let mut lines = Vec::new();
                while let Some(row) = rows.next()? {
                    match decode(row)? {
                        Ok(line) => lines.push((row.get(0)?, line)),
                        Err(detail) => return Ok(Err(detail)),
                    }
                }
                Ok(Ok(lines))
            })?
            .map_err(|detail: String| self.corrupt(format!("history: {detail}")))?;
        if query.after_id.is_none() {
            lines.reverse();
        }
        Ok(lines)
    }

    /// Drops history beyond `rows_max` lines and before `before_ns`. The newest line always stays, so that numbers go
    /// on. Returns how many were dropped.
    pub(crate) fn prune_history(&mut self, rows_max: u64, before_ns: Option<i64>) -> Result<u64, BrickError> {
        let sql = "DELETE FROM history WHERE id < (SELECT max(id) FROM history) \
                   AND (at_ns < ?1 OR id <= (SELECT id FROM history ORDER BY id DESC LIMIT 1 OFFSET ?2))";
        let rows_max = i64::try_from(rows_max).unwrap_or(i64::MAX);
        self.with(|connection| connection.execute(sql, params![before_ns.unwrap_or(i64::MIN), rows_max]))
            .map(|dropped| dropped as u64)
    }
}

pub(super) fn append(connection: &Connection, row: &HistoryRow) -> rusqlite::Result<()> {
    let sql = "INSERT INTO history (at_ns, path, from_path, verb, detail, writers, kind, risk) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    connection.prepare_cached(sql)?.execute(params![
        row.at_ns,
        row.path,
        row.from,
        disk::enum_name(&row.verb),
        row.detail,
        disk::writers_to_json(&row.writers),
        row.kind,
        row.risk,
    ])?;
    Ok(())
}

fn decode(row: &rusqlite::Row<'_>) -> rusqlite::Result<Result<HistoryRow, String>> {
    let verb = disk::enum_of_name(row.get_ref(4)?.as_str()?);
    let writers = disk::writers_of_json(row.get_ref(6)?.as_str()?);
    let (verb, writers) = match (verb, writers) {
        (Ok(verb), Ok(writers)) => (verb, writers),
        (Err(detail), _) | (_, Err(detail)) => return Ok(Err(detail)),
    };
    Ok(Ok(HistoryRow {
        at_ns: row.get(1)?,
        path: row.get(2)?,
        from: row.get(3)?,
        verb,
        detail: row.get(5)?,
        writers,
        kind: row.get(7)?,
        risk: row.get(8)?,
    }))
}
