//! The index of words, brought up to date a few artifacts at a time.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::super::Catalog;
use crate::brick::{ArtifactId, BrickError};

/// Columns of the index.
pub(super) const COLUMNS: &str = "name, title, summary, tags, kind, reasons";
/// The words of artifacts, in the order of the columns, with their numbers.
pub(super) const WORDS: &str = "SELECT id, CAST(name AS TEXT), semantics ->> '$.title', summary, \
     (SELECT group_concat(value, ' ') FROM json_each(semantics, '$.tags')), kind, \
     (SELECT group_concat(value, ' ') FROM json_each(semantics, '$.risk.reasons')) FROM artifact";
/// Key in `meta`: words of something that has become secret may still be in the index.
const PURGE: &str = "search_purge";

impl Catalog {
    /// Indexes at most `rows_max` artifacts, the ones with the lowest numbers first. Returns whether there are more.
    pub(crate) fn index_some(&mut self, rows_max: u32) -> Result<bool, BrickError> {
        if self.empty_if_secret()? {
            return Ok(true);
        }
        match self.step(rows_max) {
            // Only the index itself: the rows were read well when the catalog was opened.
            Err(error) if is_damage(&error) => self.make_anew().map(|()| true),
            done => done,
        }
    }

    fn step(&mut self, rows_max: u32) -> Result<bool, BrickError> {
        self.with(|connection| {
            let next = "SELECT id FROM unindexed ORDER BY id LIMIT ?1";
            let any: Option<i64> = connection
                .prepare_cached("SELECT id FROM unindexed LIMIT 1")?
                .query_row([], |row| row.get(0))
                .optional()?;
            if any.is_none() {
                return Ok(false);
            }
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            tx.prepare_cached(&format!("DELETE FROM search WHERE rowid IN ({next})"))?.execute([rows_max])?;
            let insert = format!("INSERT INTO search (rowid, {COLUMNS}) {WORDS} WHERE id IN ({next})");
            tx.prepare_cached(&insert)?.execute([rows_max])?;
            let sql = format!("DELETE FROM unindexed WHERE id IN ({next})");
            let done = tx.prepare_cached(&sql)?.execute([rows_max])?;
            tx.commit()?;
            Ok(done >= rows_max as usize)
        })
    }

    /// Empties the index if words of something secret may be in it: it has no way to take out single ones. Everything is
    /// then indexed anew.
    fn empty_if_secret(&mut self) -> Result<bool, BrickError> {
        let is_asked = self.with_ref(|connection| {
            let sql = "SELECT 1 FROM meta WHERE key = ?1";
            connection.prepare_cached(sql)?.query_row([PURGE], |_| Ok(())).optional()
        })?;
        if is_asked.is_none() {
            return Ok(false);
        }
        self.with(|connection| {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            tx.execute("INSERT INTO search (search) VALUES ('delete-all')", [])?;
            tx.execute("INSERT OR IGNORE INTO unindexed SELECT id FROM artifact", [])?;
            tx.execute("DELETE FROM meta WHERE key = ?1", [PURGE])?;
            tx.commit()
        })?;
        self.note_purged();
        self.forget_purged()?;
        Ok(true)
    }

    /// Replaces an index that is damaged.
    fn make_anew(&mut self) -> Result<(), BrickError> {
        self.with(|connection| {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let sql = "SELECT sql FROM sqlite_schema WHERE name = 'search'";
            let create: String = tx.query_row(sql, [], |row| row.get(0))?;
            tx.execute_batch("DROP TABLE search")?;
            tx.execute_batch(&create)?;
            tx.execute("INSERT OR IGNORE INTO unindexed SELECT id FROM artifact", [])?;
            tx.commit()
        })
    }
}

/// Whether an error is one of the index: its tables are not what they should be, or do not fit one another.
fn is_damage(error: &BrickError) -> bool {
    match error {
        BrickError::CatalogCorrupt { .. } => true,
        BrickError::Catalog { source, .. } => {
            source.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation)
        }
        _ => false,
    }
}

/// Asks for a new index if one of these artifacts, or another one that was at its path before, may be in this one.
pub(in super::super) fn purge(
    connection: &Connection,
    secret: &[(ArtifactId, Vec<u8>)],
) -> rusqlite::Result<()> {
    for (id, path) in secret {
        let sql = "SELECT 1 FROM search_docsize WHERE id = ?1 UNION ALL \
                   SELECT 1 FROM history WHERE path = ?2 AND verb <> 'created' LIMIT 1";
        let found = connection.prepare_cached(sql)?.query_row(params![id.0, path], |_| Ok(())).optional()?;
        if found.is_some() {
            connection.execute("INSERT OR REPLACE INTO meta VALUES (?1, 1)", [PURGE])?;
            return Ok(());
        }
    }
    Ok(())
}
