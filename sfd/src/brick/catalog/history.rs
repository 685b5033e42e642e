//! The history table: what changed, when, by whom.

use rusqlite::{Connection, TransactionBehavior, params};

use super::Catalog;
use crate::brick::{BrickError, HistoryRow, disk};
use crate::collect::Writer;

/// Bits of the column `others`.
const MORE_WRITERS: i64 = 1;
const UNKNOWN_WRITERS: i64 = 2;

/// The writers of a line as a JSON array of records, in their order; lines of version 1 hold the records themselves.
const WRITERS: &str = "SELECT json_group_array(json(record)) FROM (SELECT coalesce(writer.record, each.value) AS record \
     FROM json_each(history.writers) AS each LEFT JOIN writer ON each.type = 'integer' AND writer.id = each.value \
     ORDER BY each.key)";

/// Lines of history kept unless the caller says otherwise: about 300 MB on disk, months of a busy /etc.
pub const HISTORY_ROWS_MAX: u64 = 1_000_000;

/// Which lines of history are wanted. The default is everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryQuery {
    /// An absolute path, raw bytes: lines about it and everything below it, under its present or an earlier name.
    pub path: Option<Vec<u8>>,
    /// Not before, nanoseconds since the Unix epoch.
    pub since_ns: Option<i64>,
    /// Not after, nanoseconds since the Unix epoch.
    pub until_ns: Option<i64>,
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
            "SELECT id, at_ns, path, from_path, verb, detail, ({WRITERS}), kind, risk, others, meaning, reasons FROM history \
             WHERE {by_path} AND (?4 IS NULL OR at_ns >= ?4) \
             AND (?5 IS NULL OR EXISTS (SELECT 1 FROM json_each(({WRITERS})) WHERE value ->> 'comm' = ?5)) \
             AND id > ?6 AND (?8 IS NULL OR at_ns <= ?8) ORDER BY id {direction} LIMIT ?7"
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
            query.until_ns,
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
    /// Contents kept beyond their age at `now_ns` go too.
    pub(crate) fn prune_history(&mut self, rows_max: u64, before_ns: Option<i64>) -> Result<u64, BrickError> {
        let sql = "DELETE FROM history WHERE id < (SELECT max(id) FROM history) \
                   AND (at_ns < ?1 OR id <= (SELECT id FROM history ORDER BY id DESC LIMIT 1 OFFSET ?2))";
        let rows_max = i64::try_from(rows_max).unwrap_or(i64::MAX);
        self.with(|connection| {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let dropped = tx.execute(sql, params![before_ns.unwrap_or(i64::MIN), rows_max])?;
            if dropped > 0 {
                // Lines go from the old end, or nearly so when the clock was set back.
                tx.execute("DELETE FROM writer WHERE last < (SELECT min(id) FROM history)", [])?;
            }
            tx.commit()?;
            Ok(dropped as u64)
        })
    }
}

/// Appends a line and returns its number.
pub(super) fn append(connection: &Connection, row: &HistoryRow) -> rusqlite::Result<i64> {
    let sql = "INSERT INTO history (at_ns, path, from_path, verb, detail, writers, kind, risk, others, meaning, \
               reasons) VALUES (?1, ?2, ?3, ?4, ?5, '[]', ?6, ?7, ?8, ?9, ?10)";
    let others = if row.more_writers { MORE_WRITERS } else { 0 }
        | if row.unknown_writers { UNKNOWN_WRITERS } else { 0 };
    connection.prepare_cached(sql)?.execute(params![
        row.at_ns,
        row.path,
        row.from,
        disk::enum_name(&row.verb),
        row.detail,
        row.kind,
        row.risk,
        others,
        disk::lines_to_json(&row.meaning),
        disk::lines_to_json(&row.reasons),
    ])?;
    let line = connection.last_insert_rowid();
    if row.writers.is_empty() {
        return Ok(line);
    }
    let mut ids: Vec<i64> = Vec::with_capacity(row.writers.len());
    for writer in &row.writers {
        ids.push(number_of(connection, writer, line)?);
    }
    let ids = serde_json::to_string(&ids).unwrap_or_default();
    connection
        .prepare_cached("UPDATE history SET writers = ?1 WHERE id = ?2")?
        .execute(params![ids, line])?;
    Ok(line)
}

/// The number of a writer, a new one if this is the first line that names it.
fn number_of(connection: &Connection, writer: &Writer, line: i64) -> rusqlite::Result<i64> {
    let record = disk::writer_to_json(writer);
    let hash = blake3::hash(record.as_bytes());
    let digest: &[u8] = hash.as_bytes().first_chunk::<16>().map_or(&[], |digest| digest);
    let sql = "INSERT INTO writer (digest, record, last) VALUES (?1, ?2, ?3) \
               ON CONFLICT (digest) DO UPDATE SET last = excluded.last RETURNING id";
    connection.prepare_cached(sql)?.query_row(params![digest, record, line], |row| row.get(0))
}

fn decode(row: &rusqlite::Row<'_>) -> rusqlite::Result<Result<HistoryRow, String>> {
    let verb = disk::enum_of_name(row.get_ref(4)?.as_str()?);
    let writers = disk::writers_of_json(row.get_ref(6)?.as_str()?);
    let (verb, writers) = match (verb, writers) {
        (Ok(verb), Ok(writers)) => (verb, writers),
        (Err(detail), _) | (_, Err(detail)) => return Ok(Err(detail)),
    };
    let lines =
        |column| row.get_ref(column)?.as_str().map(disk::lines_of_json).map_err(rusqlite::Error::from);
    let (meaning, reasons) = match (lines(10)?, lines(11)?) {
        (Ok(meaning), Ok(reasons)) => (meaning, reasons),
        (Err(detail), _) | (_, Err(detail)) => return Ok(Err(detail)),
    };
    let others: i64 = row.get(9)?;
    Ok(Ok(HistoryRow {
        at_ns: row.get(1)?,
        path: row.get(2)?,
        from: row.get(3)?,
        verb,
        detail: row.get(5)?,
        meaning,
        reasons,
        more_writers: others & MORE_WRITERS != 0,
        // Version 1 did not tell.
        unknown_writers: others & UNKNOWN_WRITERS != 0 || writers.is_empty(),
        writers,
        kind: row.get(7)?,
        risk: row.get(8)?,
    }))
}
