//! The catalog beside a live brick: what is where, which pixels are right, what happened.
//!
//! SQLite in WAL mode, `synchronous = NORMAL`: a commit survives the death of the process at once and the loss of power
//! after the next checkpoint. Pixels are not ordered against it; the leaf hashes tell which of them to trust.

mod history;
mod outline;
mod regions;
mod rows;
mod search;
mod versions;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior, params};

pub use history::{HISTORY_ROWS_MAX, HistoryQuery};
pub(crate) use outline::Outline;
pub use search::{Found, Hit, SearchQuery};
pub use versions::{Missing, VERSION_BYTES_MAX, Version, VersionLimits, VersionLine, VersionStats};

use super::error::IoContext;
use super::files::{self, FileId};
use super::{ArtifactId, BrickError, HistoryRow, Row};
use crate::artifact::Regions;
use crate::fold::merkle::{Hash, empty_hash, leaf_count};
use crate::fold::{Block, Merkle};

/// `PRAGMA application_id` of a catalog: "SFDC".
const APPLICATION_ID: i64 = 0x5346_4443;
/// `PRAGMA user_version`: the schema written here.
const SCHEMA_VERSION: i64 = 4;
/// What brings an earlier schema to the next one, the first from version 1.
const UPGRADES: [&str; 3] =
    [include_str!("upgrade_1.sql"), include_str!("upgrade_2.sql"), include_str!("upgrade_3.sql")];
/// How long a statement waits for another process. Writers are serialized by the brick's lock, so only a checkpoint or
/// a person's `sqlite3` can be in the way.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// An open catalog.
#[derive(Debug)]
pub struct Catalog {
    connection: Connection,
    path: PathBuf,
    /// How much is kept of earlier contents; of the writer.
    kept: versions::Kept,
    /// The database and its log, as the writer opened them. SQLite goes on with files whose names are gone.
    open_files: Vec<(PathBuf, FileId)>,
}

/// What a brick is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogMeta {
    /// Order of the curve.
    pub order: u8,
    /// Base-2 logarithm of the largest block.
    pub cap: u8,
    /// The watched path, raw bytes.
    pub root_path: Vec<u8>,
}

/// What the second transaction of a commit writes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Changes<'a> {
    /// Order and cap.
    pub(crate) size: Option<(u8, u8)>,
    pub(crate) upserts: &'a [Row],
    pub(crate) deletes: &'a [ArtifactId],
    pub(crate) history: &'a [HistoryRow],
    /// The named parts of what was written; `None`: it has none (any more).
    pub(crate) regions: &'a [(ArtifactId, Option<Regions>)],
    /// What was before the lines of `history` that tell of changed contents.
    pub(crate) versions: &'a [Version],
    /// Artifacts that have become secret, with their paths: no earlier contents of theirs may stay.
    pub(crate) secret: &'a [(ArtifactId, Vec<u8>)],
    pub(crate) leaves: &'a [(u64, Hash)],
    /// Every row becomes unverified for this reason; with `true` even those that already are for another one.
    pub(crate) unverify_all: Option<(&'a str, bool)>,
}

impl Catalog {
    /// Writes a new catalog under a name that must not exist, whole and synced.
    pub(crate) fn create<'a>(
        path: &Path,
        meta: &CatalogMeta,
        rows: impl IntoIterator<Item = &'a Row>,
        leaves: impl IntoIterator<Item = (u64, Hash)>,
    ) -> Result<(), BrickError> {
        // SQLite gives -wal and -shm the mode of the database.
        drop(files::create_new(path)?);
        let mut catalog = Self::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        catalog.with(|connection| {
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.pragma_update(None, "application_id", APPLICATION_ID)?;
            let tx = connection.transaction()?;
            tx.execute_batch(include_str!("schema.sql"))?;
            tx.pragma_update(None, "user_version", SCHEMA_VERSION)?;
            tx.execute("INSERT INTO meta VALUES ('order', ?1), ('cap', ?2)", params![meta.order, meta.cap])?;
            tx.execute("INSERT INTO meta VALUES ('root_path', ?1)", [&meta.root_path])?;
            for row in rows {
                rows::upsert(&tx, row)?;
            }
            for (leaf, hash) in leaves {
                set_leaf(&tx, leaf, &hash)?;
            }
            tx.commit()
        })?;
        let connection = catalog.connection;
        connection.close().map_err(|(_, error)| BrickError::sqlite(path, error))
    }

    /// Opens a catalog for its writer, who holds the brick's lock.
    ///
    /// # Errors
    /// [`BrickError::CatalogMissing`], [`BrickError::CatalogCorrupt`], [`BrickError::CatalogNewer`].
    pub(crate) fn open(path: &Path) -> Result<Self, BrickError> {
        let mut catalog = Self::open_with(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        catalog.with_ref(|connection| {
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "NORMAL")
        })?;
        // The first looks at the structure of everything; the second compares the artifacts with their index, which
        // readers go by.
        for check in ["PRAGMA quick_check(1)", "PRAGMA integrity_check('artifact')"] {
            let found: String = catalog.with_ref(|c| c.query_row(check, [], |row| row.get(0)))?;
            if found != "ok" {
                return Err(catalog.corrupt(found));
            }
        }
        for suffix in ["", "-wal"] {
            let path = files::with_suffix(path, suffix);
            if let Some(id) = FileId::at(&path)? {
                catalog.open_files.push((path, id));
            }
        }
        catalog.kept = catalog.with_ref(versions::Kept::count)?;
        Ok(catalog)
    }

    /// Fails if the database or its log has not the name any more under which it was opened for writing.
    pub(crate) fn check_named(&self) -> Result<(), BrickError> {
        self.open_files.iter().try_for_each(|(path, id)| files::check_name(path, *id))
    }

    /// Opens the catalog of a brick that another process may be writing.
    ///
    /// # Errors
    /// As the writer's.
    pub fn open_read_only(path: &Path) -> Result<Self, BrickError> {
        Self::open_with(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
    }

    fn open_with(path: &Path, flags: OpenFlags) -> Result<Self, BrickError> {
        if !path.try_exists().doing("look for", path)? {
            return Err(BrickError::CatalogMissing { path: path.to_owned() });
        }
        let catalog = Self::connect(path, flags)?;
        let pragma =
            |name| catalog.with_ref(|c| c.pragma_query_value(None, name, |row| row.get::<_, i64>(0)));
        if pragma("application_id")? != APPLICATION_ID {
            return Err(catalog.corrupt("it is not a catalog of SFD"));
        }
        match pragma("user_version")? {
            SCHEMA_VERSION => Ok(catalog),
            found @ 1..SCHEMA_VERSION if flags.contains(OpenFlags::SQLITE_OPEN_READ_WRITE) => {
                catalog.upgrade(found)
            }
            1..SCHEMA_VERSION => {
                Err(catalog.corrupt("it is of an earlier SFD; `sfd run` brings it up to date"))
            }
            found if found > SCHEMA_VERSION => {
                Err(BrickError::CatalogNewer { path: path.to_owned(), found, known: SCHEMA_VERSION })
            }
            found => Err(catalog.corrupt(format!("schema version {found}"))),
        }
    }

    /// Brings a catalog of an earlier version up to date, in one transaction.
    fn upgrade(mut self, found: i64) -> Result<Self, BrickError> {
        let done = usize::try_from(found - 1).unwrap_or(0);
        self.with(|connection| {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for upgrade in UPGRADES.iter().skip(done) {
                tx.execute_batch(upgrade)?;
            }
            tx.commit()
        })?;
        Ok(self)
    }

    fn connect(path: &Path, flags: OpenFlags) -> Result<Self, BrickError> {
        let open = || {
            let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            // One statement per kind of change and query; the default of 16 would evict some of them.
            connection.set_prepared_statement_cache_capacity(48);
            // What is deleted, or moved within the file, is overwritten: earlier contents may turn out to be secret.
            connection.pragma_update(None, "secure_delete", "ON")?;
            Ok(connection)
        };
        let connection = open().map_err(|error| BrickError::sqlite(path, error))?;
        Ok(Self {
            connection,
            path: path.to_owned(),
            open_files: Vec::new(),
            kept: versions::Kept::default(),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn corrupt(&self, detail: impl Into<String>) -> BrickError {
        BrickError::CatalogCorrupt { path: self.path.clone(), detail: detail.into() }
    }

    fn with<T>(&mut self, f: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Result<T, BrickError> {
        f(&mut self.connection).map_err(|error| BrickError::sqlite(&self.path, error))
    }

    fn with_ref<T>(&self, f: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, BrickError> {
        f(&self.connection).map_err(|error| BrickError::sqlite(&self.path, error))
    }

    /// What the brick is.
    pub fn meta(&self) -> Result<CatalogMeta, BrickError> {
        self.with_ref(|connection| {
            let number = |key: &str| {
                connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))
            };
            Ok(CatalogMeta {
                order: number("order")?,
                cap: number("cap")?,
                root_path: connection.query_row(
                    "SELECT value FROM meta WHERE key = 'root_path'",
                    [],
                    |row| row.get(0),
                )?,
            })
        })
    }

    /// The artifact at an absolute path, raw bytes. Looks through the whole table once a name: for people, not for loops.
    pub fn by_path(&self, path: &[u8]) -> Result<Option<Row>, BrickError> {
        self.with_ref(|connection| rows::by_path(connection, path))?.map_err(|detail| self.corrupt(detail))
    }

    /// The rules of what is secret by which everything was read, if they are noted.
    pub(crate) fn redaction(&self) -> Result<Option<Vec<u8>>, BrickError> {
        self.with_ref(|connection| {
            let sql = "SELECT value FROM meta WHERE key = 'redaction'";
            connection.query_row(sql, [], |row| row.get(0)).optional()
        })
    }

    pub(crate) fn set_redaction(&mut self, rules: &[u8]) -> Result<(), BrickError> {
        self.with(|connection| {
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('redaction', ?1)", [rules])?;
            Ok(())
        })
    }

    /// The leaves that are not empty.
    pub fn leaves(&self) -> Result<Vec<(u64, Hash)>, BrickError> {
        self.with_ref(|connection| {
            let mut statement = connection.prepare_cached("SELECT idx, hash FROM leaf ORDER BY idx")?;
            let rows =
                statement.query_map([], |row| Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?)))?;
            rows.collect()
        })
    }

    /// The Merkle tree over them.
    pub(crate) fn merkle(&self, order: u8) -> Result<Merkle, BrickError> {
        let leaves = self.leaves()?;
        match leaves.last() {
            Some((leaf, _)) if *leaf >= leaf_count(order) => {
                Err(self.corrupt(format!("leaf {leaf} is outside the curve")))
            }
            _ => Ok(Merkle::of_leaves(order, leaves)),
        }
    }

    /// One leaf; the empty hash when it has no row.
    pub fn leaf(&self, leaf: u64) -> Result<Hash, BrickError> {
        self.with_ref(|connection| {
            let mut statement = connection.prepare_cached("SELECT hash FROM leaf WHERE idx = ?1")?;
            let hash = statement.query_row([leaf.cast_signed()], |row| row.get(0)).optional()?;
            Ok(hash.unwrap_or_else(|| empty_hash(0)))
        })
    }

    /// The blocks that a commit is writing, or was writing when its process died.
    pub fn marks(&self) -> Result<Vec<Block>, BrickError> {
        self.with_ref(|connection| {
            let mut statement = connection.prepare_cached("SELECT start, k FROM mark")?;
            let block = |row: &rusqlite::Row<'_>| {
                Ok(Block::from_disk(row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?))
            };
            let blocks: Vec<Option<Block>> = statement.query_map([], block)?.collect::<Result<_, _>>()?;
            Ok(blocks.into_iter().flatten().collect())
        })
    }

    /// Transaction 1 of a commit.
    pub(crate) fn mark(&mut self, blocks: &[Block]) -> Result<(), BrickError> {
        self.with(|connection| {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            {
                let mut insert = tx.prepare_cached("INSERT OR IGNORE INTO mark VALUES (?1, ?2)")?;
                for block in blocks {
                    insert.execute(params![block.start.cast_signed(), block.k])?;
                }
            }
            tx.commit()
        })
    }

    /// Transaction 2 of a commit: rows, leaf hashes, history; no marks are left. `seal` is told the used run just
    /// before the transaction commits, when nothing but the disk can make it fail.
    pub(crate) fn apply(&mut self, changes: &Changes<'_>, seal: impl FnOnce(u64)) -> Result<(), BrickError> {
        let mut kept = self.kept.clone();
        self.with(|connection| {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            if let Some((order, cap)) = changes.size {
                tx.execute("UPDATE meta SET value = ?1 WHERE key = 'order'", [order])?;
                tx.execute("UPDATE meta SET value = ?1 WHERE key = 'cap'", [cap])?;
            }
            for &id in changes.deletes {
                tx.prepare_cached("DELETE FROM artifact WHERE id = ?1")?.execute([id.0])?;
                regions::set(&tx, id, None)?;
            }
            for row in changes.upserts {
                rows::upsert(&tx, row)?;
            }
            if let Some((reason, even_so)) = changes.unverify_all {
                let sql = "UPDATE artifact SET unverified = ?1 WHERE unverified IS NULL OR ?2";
                tx.execute(sql, params![reason, even_so])?;
            }
            for (leaf, hash) in changes.leaves {
                set_leaf(&tx, *leaf, hash)?;
            }
            for (id, regions) in changes.regions {
                regions::set(&tx, *id, regions.as_ref())?;
            }
            let mut lines = Vec::with_capacity(changes.history.len());
            for row in changes.history {
                lines.push(history::append(&tx, row)?);
            }
            kept.append(&tx, changes.versions, &lines)?;
            kept.purge(&tx, changes.secret)?;
            search::index::purge(&tx, changes.secret)?;
            tx.prepare_cached("DELETE FROM mark")?.execute([])?;
            seal(rows::used_end(&tx)?);
            tx.commit()
        })?;
        self.kept = kept;
        // What a kill has left of an earlier purge waits for the next checkpoint.
        if changes.secret.is_empty() { Ok(()) } else { self.forget_purged() }
    }

    /// One past the highest used cell.
    pub fn used_end(&self) -> Result<u64, BrickError> {
        self.with_ref(rows::used_end)
    }

    /// Notes that the curve has grown, and nothing else: marks stay.
    pub(crate) fn apply_order(&mut self, order: u8) -> Result<(), BrickError> {
        self.with(|connection| {
            connection.execute("UPDATE meta SET value = ?1 WHERE key = 'order'", [order])?;
            Ok(())
        })
    }

    /// All rows, in the order of their numbers.
    pub fn rows(&self) -> Result<Vec<Row>, BrickError> {
        self.rows_where("ORDER BY id", [])
    }

    /// The row of an artifact.
    pub fn row(&self, id: ArtifactId) -> Result<Option<Row>, BrickError> {
        Ok(self.rows_where("WHERE id = ?1", [i64::from(id.0)])?.pop())
    }

    /// The rows whose blocks share cells with an aligned block, in curve order.
    pub fn rows_in(&self, block: Block) -> Result<Vec<Row>, BrickError> {
        // Blocks are disjoint and aligned: at most one starts before and reaches into this one, the last of them.
        let (start, end) = (block.start.cast_signed(), block.end().cast_signed());
        let mut rows = self.rows_where("WHERE start < ?1 ORDER BY start DESC LIMIT 1", [start])?;
        rows.retain(|row| row.block.overlaps(block));
        rows.extend(self.rows_where("WHERE start >= ?1 AND start < ?2 ORDER BY start", [start, end])?);
        Ok(rows)
    }

    fn rows_where(&self, tail: &str, params: impl rusqlite::Params) -> Result<Vec<Row>, BrickError> {
        let read = self.with_ref(|connection| rows::read(connection, tail, params))?;
        read.map_err(|detail| self.corrupt(detail))
    }

    /// Runs reads that must see one and the same state.
    pub(crate) fn snapshot<T>(
        &self,
        f: impl FnOnce(&Self) -> Result<T, BrickError>,
    ) -> Result<T, BrickError> {
        let transaction =
            self.connection.unchecked_transaction().map_err(|error| BrickError::sqlite(&self.path, error))?;
        let result = f(self);
        drop(transaction);
        result
    }

    /// Syncs the log and moves it into the database, as far as no reader is in the way.
    pub(crate) fn checkpoint(&self) -> Result<(), BrickError> {
        self.forget_purged()?;
        // PASSIVE does not wait for readers; what it leaves in the log is synced all the same.
        self.with_ref(|connection| connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())))
    }
}

fn set_leaf(connection: &Connection, leaf: u64, hash: &Hash) -> rusqlite::Result<()> {
    let leaf = leaf.cast_signed();
    if *hash == empty_hash(0) {
        connection.prepare_cached("DELETE FROM leaf WHERE idx = ?1")?.execute([leaf])?;
    } else {
        let sql = "INSERT INTO leaf VALUES (?1, ?2) ON CONFLICT (idx) DO UPDATE SET hash = excluded.hash";
        connection.prepare_cached(sql)?.execute(params![leaf, hash])?;
    }
    Ok(())
}
