//! The version table: what small text files held before each change.
//!
//! The newest contents are in the brick; a row holds those that a change replaced, and the hashes before and after. So
//! the contents after a change are those before the next one, and every pair is proved by its hash.

use std::cell::Cell;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use serde::{Deserialize, Serialize};

use super::Catalog;
use crate::brick::{ArtifactId, BrickError, disk};
use crate::fold::K_CAP;
use crate::fold::merkle::Hash;

/// Contents above this size, in bytes, are never kept: a larger file is a digest on a live brick, which cannot give
/// them back.
pub const VERSION_BYTES_MAX: u64 = 1 << K_CAP;
/// Level of compression: configuration of a few KiB, packed while a change waits to be seen. Higher levels gain little
/// on so short a text.
const ZSTD_LEVEL: i32 = 3;

/// How much is kept. What is beyond it is dropped, oldest first, and the row then says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionLimits {
    /// Versions of one artifact.
    pub per_artifact: u32,
    /// Compressed bytes of all.
    pub bytes: u64,
    /// Age, in nanoseconds.
    pub age_ns: i64,
}

/// Contents that a change has replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The line that tells of the change, as its index in [`Commit::history`](crate::brick::Commit::history).
    pub line: usize,
    /// Whose contents.
    pub artifact: ArtifactId,
    /// Their hash; `None`: it was not there.
    pub before: Option<Hash>,
    /// The hash of those that replaced them; `None`: it is gone.
    pub after: Option<Hash>,
    /// The contents before the change, at most [`VERSION_BYTES_MAX`], or why they are not kept. Not looked at where it
    /// was not there before.
    pub contents: Result<Bytes, Missing>,
}

/// Why contents are not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// Larger than is kept.
    Large,
    /// Not text.
    Binary,
    /// Secret, or had become secret when the row was last touched.
    Redacted,
    /// The brick did not hold them: not readable then, or a write was interrupted.
    NotHeld,
    /// Keeping was off.
    Off,
    /// Dropped: this artifact has newer ones.
    TooMany,
    /// Dropped: all together were too much.
    TooMuch,
    /// Dropped: too old.
    TooOld,
    /// Dropped: the rules of what is secret have changed.
    OtherRules,
}

impl Missing {
    /// For people, after "not kept: ".
    pub fn reason(self) -> &'static str {
        match self {
            Self::Large => "larger than is kept",
            Self::Binary => "not text",
            Self::Redacted => "redacted",
            Self::NotHeld => "the brick did not hold them",
            Self::Off => "keeping was off",
            Self::TooMany => "dropped, the file has changed too often since",
            Self::TooMuch => "dropped, too much was kept in all",
            Self::TooOld => "dropped, too old",
            Self::OtherRules => "dropped, the redaction rules have changed",
        }
    }
}

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionLine {
    /// Number of the line of history.
    pub line: i64,
    /// Whose contents.
    pub artifact: ArtifactId,
    /// As in [`Version`].
    pub before: Option<Hash>,
    /// As in [`Version`].
    pub after: Option<Hash>,
    /// The contents before the change, unpacked; empty where it was not there before.
    pub contents: Result<Vec<u8>, Missing>,
}

/// What is kept at this moment, for `sfd status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionStats {
    /// Versions.
    pub kept: u64,
    /// Their compressed bytes.
    pub bytes: u64,
    /// Versions dropped since the catalog was opened, for whatever reason.
    pub dropped: u64,
}

/// What the writer of a catalog knows of what it keeps.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    limits: Option<VersionLimits>,
    stats: VersionStats,
    /// No line before this one has contents: where to look for the oldest that has.
    oldest: i64,
    /// Something secret was purged, and the write-ahead log may still hold it.
    purged: Cell<bool>,
}

impl Catalog {
    /// Sets how much is kept, from the next commit on. Without limits nothing is dropped.
    pub(crate) fn limit_versions(&mut self, limits: VersionLimits) {
        self.kept.limits = Some(limits);
    }

    /// What is kept; of a catalog opened for reading: nothing.
    pub(crate) fn version_stats(&self) -> VersionStats {
        self.kept.stats
    }

    /// What contents were before the change that a line of history tells of; `None` where that is not noted.
    pub fn version(&self, line: i64) -> Result<Option<VersionLine>, BrickError> {
        self.read_version("line = ?1 AND ?2 IS NULL", line, None)
    }

    /// The next change of an artifact's contents after a line.
    pub fn version_after(&self, artifact: ArtifactId, line: i64) -> Result<Option<VersionLine>, BrickError> {
        self.read_version("line > ?1 AND artifact = ?2 ORDER BY line LIMIT 1", line, Some(artifact))
    }

    fn read_version(
        &self,
        which: &str,
        line: i64,
        artifact: Option<ArtifactId>,
    ) -> Result<Option<VersionLine>, BrickError> {
        type Found = (i64, u32, Option<Hash>, Option<Hash>, Option<String>, Option<Vec<u8>>);
        let sql =
            format!("SELECT line, artifact, before, after, missing, contents FROM version WHERE {which}");
        let found: Option<Found> = self.with_ref(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let row = |row: &rusqlite::Row<'_>| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
            };
            statement.query_row(params![line, artifact.map(|id| id.0)], row).optional()
        })?;
        let Some((line, artifact, before, after, missing, packed)) = found else { return Ok(None) };
        let damaged = |detail: String| self.corrupt(format!("version of line {line}: {detail}"));
        let contents = match (missing, packed) {
            (Some(missing), _) => Err(disk::enum_of_name(&missing).map_err(damaged)?),
            (None, None) => Ok(Vec::new()),
            (None, Some(packed)) => {
                let contents = zstd::bulk::decompress(&packed, VERSION_BYTES_MAX as usize)
                    .map_err(|error| damaged(error.to_string()))?;
                if Some(*blake3::hash(&contents).as_bytes()) != before {
                    return Err(damaged("the contents do not have their hash".into()));
                }
                Ok(contents)
            }
        };
        Ok(Some(VersionLine { line, artifact: ArtifactId(artifact), before, after, contents }))
    }

    /// Drops contents beyond their age at `now_ns`, and what history has no line for any more.
    pub(crate) fn drop_old_versions(&mut self, now_ns: i64) -> Result<(), BrickError> {
        let age_ns = self.kept.limits.map_or(i64::MAX, |limits| limits.age_ns);
        let mut kept = self.kept.clone();
        self.with(|connection| {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            // Lines are in the order of time, or nearly so.
            let sql = "SELECT max(id) FROM history WHERE at_ns < ?1";
            let bound = now_ns.saturating_sub(age_ns);
            let last: Option<i64> = tx.prepare_cached(sql)?.query_row([bound], |row| row.get(0))?;
            if let Some(last) = last {
                let old = lines(&tx, "line BETWEEN ?1 AND ?2 AND bytes > 0", params![kept.oldest, last])?;
                kept.forget(&tx, &old, Missing::TooOld)?;
                kept.oldest = kept.oldest.max(last + 1);
            }
            // Rows whose line of history is gone say nothing any more.
            let orphans = lines(&tx, "line < (SELECT min(id) FROM history)", [])?;
            kept.forget(&tx, &orphans, Missing::TooOld)?;
            tx.execute("DELETE FROM version WHERE line < (SELECT min(id) FROM history)", [])?;
            tx.commit()
        })?;
        self.kept = kept;
        Ok(())
    }

    /// Drops all contents that are kept.
    pub(crate) fn drop_all_versions(&mut self, why: Missing) -> Result<(), BrickError> {
        let mut kept = self.kept.clone();
        self.with(|connection| {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let all = lines(&tx, "bytes > 0", [])?;
            kept.forget(&tx, &all, why)?;
            let meant = tx.execute("UPDATE history SET meaning = '[]' WHERE meaning <> '[]'", [])?;
            kept.purged.set(kept.purged.get() || !all.is_empty() || meant > 0);
            tx.commit()
        })?;
        self.kept = kept;
        self.forget_purged()
    }

    /// The write-ahead log may hold something that was purged.
    pub(super) fn note_purged(&self) {
        self.kept.purged.set(true);
    }

    /// Moves the write-ahead log into the database and empties it, if it may hold something that was purged. Readers
    /// are not waited for: while there are any, the next call tries again.
    pub(super) fn forget_purged(&self) -> Result<(), BrickError> {
        if !self.kept.purged.get() {
            return Ok(());
        }
        let busy: i64 = self.with_ref(|connection| {
            connection.busy_timeout(std::time::Duration::ZERO)?;
            let busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
            connection.busy_timeout(super::BUSY_TIMEOUT)?;
            busy
        })?;
        self.kept.purged.set(busy != 0);
        Ok(())
    }
}

impl Kept {
    /// Counts what a catalog keeps.
    pub(super) fn count(connection: &Connection) -> rusqlite::Result<Self> {
        let sql = "SELECT count(*), CAST(total(bytes) AS INTEGER), min(line) FROM version WHERE bytes > 0";
        connection.query_row(sql, [], |row| {
            let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
            let stats = VersionStats { kept: number(0)?, bytes: number(1)?, dropped: 0 };
            // Whoever was killed after a purge may have left a log.
            Ok(Self {
                stats,
                oldest: row.get::<_, Option<i64>>(2)?.unwrap_or(0),
                purged: Cell::new(true),
                ..Self::default()
            })
        })
    }

    /// Adds versions; `numbers` are those of the lines of history that were appended.
    pub(super) fn append(
        &mut self,
        connection: &Connection,
        versions: &[Version],
        numbers: &[i64],
    ) -> rusqlite::Result<()> {
        if versions.is_empty() {
            return Ok(());
        }
        let mut compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL).ok();
        let sql = "INSERT OR REPLACE INTO version VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        for version in versions {
            let Some(&line) = numbers.get(version.line) else { continue };
            let packed = match &version.contents {
                _ if version.before.is_none() => Ok(None),
                Ok(bytes) if bytes.len() as u64 <= VERSION_BYTES_MAX => {
                    let packed = compressor.as_mut().and_then(|compressor| compressor.compress(bytes).ok());
                    packed.map(Some).ok_or(Missing::NotHeld)
                }
                Ok(_) => Err(Missing::Large),
                Err(why) => Err(*why),
            };
            let missing = packed.as_ref().err().map(disk::enum_name);
            let packed = packed.ok().flatten();
            let bytes = packed.as_ref().map_or(0, |packed| packed.len() as u64);
            connection.prepare_cached(sql)?.execute(params![
                line,
                version.artifact.0,
                version.before,
                version.after,
                bytes.cast_signed(),
                missing,
                packed
            ])?;
            if bytes > 0 {
                self.stats.kept += 1;
                self.stats.bytes += bytes;
                self.bound_artifact(connection, version.artifact)?;
            }
        }
        self.bound_all(connection)
    }

    fn bound_artifact(&mut self, connection: &Connection, id: ArtifactId) -> rusqlite::Result<()> {
        let Some(limits) = self.limits else { return Ok(()) };
        let which = "artifact = ?1 AND bytes > 0 ORDER BY line DESC LIMIT -1 OFFSET ?2";
        let excess = lines(connection, which, params![id.0, limits.per_artifact])?;
        self.forget(connection, &excess, Missing::TooMany)
    }

    fn bound_all(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        while let Some(limits) = self.limits
            && self.stats.bytes > limits.bytes
        {
            // A few at once: at most one commit's worth too many goes.
            let oldest = lines(connection, "line >= ?1 AND bytes > 0 ORDER BY line LIMIT 16", [self.oldest])?;
            let Some(&(last, _)) = oldest.last() else { break };
            let mut excess = self.stats.bytes - limits.bytes;
            let needed = oldest.iter().take_while(|(_, bytes)| {
                let more = excess > 0;
                excess = excess.saturating_sub(*bytes);
                more
            });
            let needed = needed.count();
            self.forget(connection, &oldest[..needed], Missing::TooMuch)?;
            self.oldest = oldest.get(needed).map_or(last + 1, |(line, _)| *line);
        }
        Ok(())
    }

    /// Forgets the contents of artifacts that have become secret, under whatever path they were changed, and those of
    /// what was at their paths before.
    pub(super) fn purge(
        &mut self,
        connection: &Connection,
        secret: &[(ArtifactId, Vec<u8>)],
    ) -> rusqlite::Result<()> {
        for (id, path) in secret {
            let mut found = lines(connection, "artifact = ?1 AND bytes > 0", [id.0])?;
            let at_path = "line IN (SELECT id FROM history WHERE path = ?1) AND bytes > 0";
            found.extend(lines(connection, at_path, [path])?);
            found.sort_unstable();
            found.dedup();
            self.forget(connection, &found, Missing::Redacted)?;
            // Lines that say what a change means quote the contents.
            let meant = "UPDATE history SET meaning = '[]' WHERE meaning <> '[]' \
                         AND (path = ?2 OR id IN (SELECT line FROM version WHERE artifact = ?1))";
            connection.prepare_cached(meant)?.execute(params![id.0, path])?;
        }
        // Also when nothing was kept: a description that quotes the file was in the row before.
        self.purged.set(self.purged.get() || !secret.is_empty());
        Ok(())
    }

    fn forget(
        &mut self,
        connection: &Connection,
        lines: &[(i64, u64)],
        why: Missing,
    ) -> rusqlite::Result<()> {
        let sql = "UPDATE version SET contents = NULL, bytes = 0, missing = ?2 WHERE line = ?1 AND bytes > 0";
        for (line, bytes) in lines {
            if connection.prepare_cached(sql)?.execute(params![line, disk::enum_name(&why)])? > 0 {
                self.stats.kept = self.stats.kept.saturating_sub(1);
                self.stats.bytes = self.stats.bytes.saturating_sub(*bytes);
                self.stats.dropped += 1;
            }
        }
        Ok(())
    }
}

/// Lines of history with the bytes kept for them.
fn lines(
    connection: &Connection,
    which: &str,
    params: impl rusqlite::Params,
) -> rusqlite::Result<Vec<(i64, u64)>> {
    let sql = format!("SELECT line, bytes FROM version WHERE {which}");
    let mut statement = connection.prepare_cached(&sql)?;
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned()));
    statement.query_map(params, row)?.collect()
}
