//! Answers that were paid for once: one SQLite database in the state directory, for all roots.
//!
//! An answer belongs to contents, kind, model and version of the question, not to a path. That a question came to nothing
//! is kept too, so that it is not asked again after a restart. Losing this file costs time, nothing else.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::PROMPT_VERSION;
use super::answer::Answer;
use super::queue::Subject;

/// Most answers kept, about 70 MB; the oldest go. What is described keeps its words without them.
const ANSWERS_MAX: u32 = 100_000;
/// Answers between two looks at how many there are.
const PRUNE_EVERY: u32 = 1000;
/// How long a statement waits for a person's `sqlite3`.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// `PRAGMA user_version`.
const SCHEMA_VERSION: i64 = 1;

const SCHEMA: &str = "
CREATE TABLE answer (
    content_hash   BLOB NOT NULL,    -- BLAKE3
    kind           TEXT NOT NULL,
    model          TEXT NOT NULL,
    prompt_version INTEGER NOT NULL,
    at_ns          INTEGER NOT NULL, -- since the Unix epoch
    tokens         INTEGER NOT NULL,
    answer         TEXT,             -- JSON, in the form in which models give it; NULL: there was no valid one
    why            TEXT,             -- not
    PRIMARY KEY (content_hash, kind, model, prompt_version)
) STRICT, WITHOUT ROWID;
CREATE INDEX answer_at ON answer(at_ns);
-- Tokens spent, by hour since the Unix epoch.
CREATE TABLE spent (hour INTEGER PRIMARY KEY, tokens INTEGER NOT NULL) STRICT;
";

/// The answers of one state directory.
#[derive(Debug)]
pub struct Cache {
    connection: Connection,
    path: PathBuf,
    puts: u32,
}

/// A cache that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct CacheError {
    path: PathBuf,
    source: rusqlite::Error,
}

/// What is known of a subject.
#[derive(Clone, Debug, PartialEq)]
pub enum Stored {
    /// The answer, and when it was given (nanoseconds since the epoch).
    Answer(Answer, i64),
    /// It was asked, and there was no valid answer: why not.
    Nothing(String),
}

impl Cache {
    /// Opens the answers below a state directory; a file that is damaged or of another version is made anew.
    ///
    /// # Errors
    /// When there is no usable file and none can be made.
    pub fn open(state: &Path) -> Result<Self, CacheError> {
        let path = state.join("answers.sqlite");
        let open = || -> rusqlite::Result<Connection> {
            let connection = Connection::open(&path)?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            // Words about contents that turned out to be secret must not stay in free pages.
            connection.pragma_update(None, "secure_delete", "ON")?;
            match connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))? {
                0 => {
                    connection.execute_batch(&format!(
                        "BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
                    ))?;
                }
                SCHEMA_VERSION => {}
                _ => return Err(rusqlite::Error::InvalidQuery),
            }
            let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
            if found == "ok" { Ok(connection) } else { Err(rusqlite::Error::InvalidQuery) }
        };
        let connection = match open() {
            Ok(connection) => connection,
            Err(problem) => {
                tracing::warn!(path = %path.display(), %problem, "cannot be used; asking anew");
                for suffix in ["", "-wal", "-shm"] {
                    // What cannot be removed makes the second try fail, which is reported.
                    let _ = std::fs::remove_file(state.join(format!("answers.sqlite{suffix}")));
                }
                open().map_err(|source| CacheError { path: path.clone(), source })?
            }
        };
        Ok(Self { connection, path, puts: 0 })
    }

    fn with<T>(&self, f: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, CacheError> {
        f(&self.connection).map_err(|source| CacheError { path: self.path.clone(), source })
    }

    /// What a model said of a subject, by the present version of the question.
    pub fn get(&self, subject: &Subject, model: &str) -> Result<Option<Stored>, CacheError> {
        let row: Option<(Option<String>, Option<String>, i64)> = self.with(|connection| {
            connection
                .prepare_cached(
                    "SELECT answer, why, at_ns FROM answer \
                     WHERE content_hash = ?1 AND kind = ?2 AND model = ?3 AND prompt_version = ?4",
                )?
                .query_row(params![subject.content_hash, subject.kind.name(), model, PROMPT_VERSION], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                })
                .optional()
        })?;
        Ok(row.and_then(|(answer, why, at_ns)| match answer {
            // What cannot be read, or is not within today's limits, is asked again.
            Some(json) => Answer::parse(&json).ok().map(|answer| Stored::Answer(answer, at_ns)),
            None => Some(Stored::Nothing(why.unwrap_or_default())),
        }))
    }

    /// Keeps an answer, or why there is none.
    pub fn put(
        &mut self,
        subject: &Subject,
        model: &str,
        answer: Result<&Answer, &str>,
        tokens: u64,
        at_ns: i64,
    ) -> Result<(), CacheError> {
        let json = answer.ok().map(to_json);
        self.puts += 1;
        let prune = self.puts % PRUNE_EVERY == 1;
        self.with(|connection| {
            connection
                .prepare_cached("INSERT OR REPLACE INTO answer VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?
                .execute(params![
                    subject.content_hash,
                    subject.kind.name(),
                    model,
                    PROMPT_VERSION,
                    at_ns,
                    tokens.cast_signed(),
                    json,
                    answer.err(),
                ])?;
            if prune {
                connection.execute(
                    "DELETE FROM answer WHERE at_ns < \
                     (SELECT at_ns FROM answer ORDER BY at_ns DESC LIMIT 1 OFFSET ?1)",
                    [ANSWERS_MAX],
                )?;
            }
            Ok(())
        })
    }

    /// Drops everything that was said of contents that turned out to be secret.
    pub fn forget(&self, content_hash: &[u8; 32]) -> Result<(), CacheError> {
        self.with(|connection| {
            connection.execute("DELETE FROM answer WHERE content_hash = ?1", [content_hash])?;
            Ok(())
        })
    }

    /// Drops everything that was said of anything.
    pub fn forget_all(&self) -> Result<(), CacheError> {
        self.with(|connection| {
            connection.execute("DELETE FROM answer", [])?;
            Ok(())
        })
    }

    /// Tokens spent, by hour since the epoch.
    pub fn spent(&self) -> Result<Vec<(i64, u64)>, CacheError> {
        self.with(|connection| {
            let mut statement = connection.prepare("SELECT hour, tokens FROM spent")?;
            let rows =
                statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned())))?;
            rows.collect()
        })
    }

    /// Notes the tokens spent in an hour, in all; hours more than a day before are dropped.
    pub fn set_spent(&self, hour: i64, tokens: u64) -> Result<(), CacheError> {
        let tokens = i64::try_from(tokens).unwrap_or(i64::MAX);
        self.with(|connection| {
            connection.execute("INSERT OR REPLACE INTO spent VALUES (?1, ?2)", params![hour, tokens])?;
            connection.execute("DELETE FROM spent WHERE hour < ?1", [hour - 24])?;
            Ok(())
        })
    }
}

/// An answer as [`Answer::parse`] reads it, which checks it again.
fn to_json(answer: &Answer) -> String {
    let Answer { title, summary, tags, risk } = answer;
    let (level, reasons) = (risk.level, &risk.reasons);
    serde_json::json!({ "title": title, "summary": summary, "tags": tags, "risk": level, "reasons": reasons })
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::Risk;
    use crate::artifact::kinds::Kind;

    fn answer(title: &str) -> Answer {
        let risk = Risk { level: 2, reasons: vec!["opens a port".into()] };
        Answer { title: title.into(), summary: "What it does.".into(), tags: vec!["net".into()], risk }
    }

    fn subject(n: u8) -> Subject {
        Subject { content_hash: [n; 32], kind: Kind::Script }
    }

    #[test]
    fn answers_outlive_the_process_and_belong_to_one_model_and_kind() {
        let dir = tempfile::tempdir().unwrap();
        let mut cache = Cache::open(dir.path()).unwrap();
        cache.put(&subject(1), "small", Ok(&answer("one")), 10, 5).unwrap();
        cache.put(&subject(2), "small", Err("no JSON"), 10, 6).unwrap();
        cache.set_spent(100, 20).unwrap();
        cache.set_spent(130, 7).unwrap();
        drop(cache);
        let cache = Cache::open(dir.path()).unwrap();
        assert_eq!(cache.get(&subject(1), "small").unwrap(), Some(Stored::Answer(answer("one"), 5)));
        assert_eq!(cache.get(&subject(2), "small").unwrap(), Some(Stored::Nothing("no JSON".into())));
        assert_eq!(cache.get(&subject(1), "large").unwrap(), None);
        let other = Subject { kind: Kind::Text, ..subject(1) };
        assert_eq!(cache.get(&other, "small").unwrap(), None);
        assert_eq!(cache.spent().unwrap(), [(130, 7)]);
    }

    #[test]
    fn what_was_said_of_a_secret_is_gone_from_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut cache = Cache::open(dir.path()).unwrap();
        cache.put(&subject(1), "small", Ok(&answer("hunter2-hunter2")), 10, 5).unwrap();
        cache.forget(&[1; 32]).unwrap();
        assert_eq!(cache.get(&subject(1), "small").unwrap(), None);
        drop(cache);
        let mut all = Vec::new();
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            all.extend(std::fs::read(entry.unwrap().path()).unwrap());
        }
        assert!(!all.windows(7).any(|window| window == b"hunter2"));
    }

    #[test]
    fn a_damaged_file_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("answers.sqlite"), vec![7; 8192]).unwrap();
        let mut cache = Cache::open(dir.path()).unwrap();
        cache.put(&subject(1), "small", Ok(&answer("one")), 10, 5).unwrap();
        assert!(cache.get(&subject(1), "small").unwrap().is_some());
    }
}
