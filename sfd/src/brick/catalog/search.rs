//! Finding artifacts by words: their names, titles, summaries, tags, kinds and reasons.
//!
//! The index is never wrong: a trigger notes each artifact whose words may have changed, in the transaction that changes
//! them ([`index`] does the rest later), and what is noted is looked for in the rows themselves, through a small index in
//! memory made for this one search. Rows hold names, not paths, so a renamed directory is one row to index again; whole
//! paths are made here, of what was found.

use std::collections::HashMap;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params_from_iter};

use super::Catalog;
use crate::artifact::Risk;
use crate::brick::{ArtifactId, BrickError, disk};

pub(super) mod index;
mod query;

use index::{COLUMNS, WORDS};
pub use query::SearchQuery;
use query::{Filter, PathFilter};

/// How much a word counts where it is found: name, title, summary, tags, kind, reasons. What somebody looks for is
/// mostly called so.
const WEIGHTS: &str = "10.0, 6.0, 1.0, 3.0, 2.0, 1.0";
/// What sets apart those that are called so, those whose title says so, and the others. Within each the weights decide;
/// they depend on how rare a word is, which is not the same in the two tables. No weight is as much.
const TIER: &str = "1000.0";
/// Directories above each other, at most; a damaged catalog may hold a ring.
const DEPTH_MAX: usize = 4096;

/// An artifact that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// Its number.
    pub id: ArtifactId,
    /// Absolute path, raw bytes.
    pub path: Vec<u8>,
    /// Name of its kind.
    pub kind: String,
    /// A few words.
    pub title: String,
    /// What it is.
    pub summary: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// What an operator should think of it.
    pub risk: Risk,
    /// Why it is not verified, if it is not.
    pub unverified: Option<String>,
    /// How well it fits, within one catalog: lower is better, 0 where no words were asked for.
    pub score: f64,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// The best ones, best first.
    pub hits: Vec<Hit>,
    /// How many there are.
    pub total: u64,
}

impl Catalog {
    /// The artifacts that match, the best `limit` of them. A query that asks for nothing finds nothing.
    pub fn search(&self, query: &SearchQuery, limit: usize) -> Result<Found, BrickError> {
        if query.is_empty() {
            return Ok(Found::default());
        }
        self.snapshot(|catalog| {
            let found = catalog.with_ref(|connection| find(connection, query, limit))?;
            found.map_err(|detail| catalog.corrupt(detail))
        })
    }
}

/// Runs in a transaction, whose end takes the table in memory away.
fn find(
    connection: &Connection,
    query: &SearchQuery,
    limit: usize,
) -> rusqlite::Result<Result<Found, String>> {
    let has_words = query.words().is_some() || query.words_without().is_some();
    let is_fresh = has_words && collect_unindexed(connection)?;
    let (sql, values) = statement(query, is_fresh);
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut paths = Paths::new(connection);
    let mut best = Vec::new();
    let mut total = 0;
    while let Some(row) = rows.next()? {
        let id: u32 = row.get(0)?;
        let by_path = query.paths();
        if !by_path.is_empty() {
            let path = paths.of(id)?;
            if !by_path.iter().all(|(wanted, filter)| filter.holds(&path) == *wanted) {
                continue;
            }
        }
        total += 1;
        if best.len() < limit {
            best.push((id, row.get(1)?));
        }
    }
    let mut hits = Vec::with_capacity(best.len());
    for (id, score) in best {
        match hit(connection, id, paths.of(id)?, score)? {
            Ok(hit) => hits.push(hit),
            Err(detail) => return Ok(Err(format!("artifact {id}: {detail}"))),
        }
    }
    Ok(Ok(Found { hits, total }))
}

/// Puts the words of what is not indexed into a table in memory; `false`: there is nothing of the sort.
fn collect_unindexed(connection: &Connection) -> rusqlite::Result<bool> {
    let any: Option<i64> =
        connection.query_row("SELECT id FROM unindexed LIMIT 1", [], |row| row.get(0)).optional()?;
    if any.is_none() {
        return Ok(false);
    }
    connection.execute_batch(&format!(
        "CREATE VIRTUAL TABLE temp.fresh USING fts5({COLUMNS}, content = '', \
             tokenize = 'unicode61 remove_diacritics 2'); \
         INSERT INTO temp.fresh (rowid, {COLUMNS}) {WORDS} WHERE id IN (SELECT id FROM unindexed);"
    ))?;
    Ok(true)
}

/// The statement that gives number and score of everything that matches but for its path, best first.
fn statement(query: &SearchQuery, is_fresh: bool) -> (String, Vec<Value>) {
    let mut values = Vec::new();
    // Both tables are searched in the same way; their scores are near enough to be compared.
    let mut matching = |words: String, score: bool| {
        values.push(Value::Text(words));
        let number = values.len();
        let of = |table: &str, indexed: &str| {
            let tier = |columns: &str| {
                // Everything in it is in quotes: only columns are added.
                format!(
                    "(rowid NOT IN (SELECT rowid FROM {table} WHERE {table} MATCH '{{{columns}}} : (' || ?{number} || ')'))"
                )
            };
            let score = if score {
                let (name, title) = (tier("name"), tier("name title"));
                format!(", bm25({table}, {WEIGHTS}) + {TIER} * ({name} + {title}) AS score")
            } else {
                String::new()
            };
            format!("SELECT rowid AS id{score} FROM {table} WHERE {table} MATCH ?{number}{indexed}")
        };
        let indexed = of("search", " AND rowid NOT IN (SELECT id FROM unindexed)");
        if is_fresh { format!("{indexed} UNION ALL {}", of("fresh", "")) } else { indexed }
    };
    let from = query
        .words()
        .map_or_else(|| "SELECT id, 0.0 AS score FROM artifact".to_owned(), |w| matching(w, true));
    let mut conditions = vec!["1".to_owned()];
    if let Some(words) = query.words_without() {
        conditions.push(format!("artifact.id NOT IN ({})", matching(words, false)));
    }
    for (wanted, filter) in query.filters() {
        let condition = match filter {
            Filter::Kind(kind) => {
                values.push(Value::Text(kind.clone()));
                let n = values.len();
                format!("substr(artifact.kind, 1, length(?{n})) = ?{n}")
            }
            Filter::Tag(tag) => {
                values.push(Value::Text(tag.clone()));
                let n = values.len();
                format!("EXISTS (SELECT 1 FROM json_each(artifact.semantics, '$.tags') WHERE value = ?{n})")
            }
            Filter::Risk(comparison, level) => format!("artifact.risk {comparison} {level}"),
            Filter::Unverified => "artifact.unverified IS NOT NULL".to_owned(),
        };
        conditions.push(if *wanted { condition } else { format!("NOT ({condition})") });
    }
    let sql = format!(
        "SELECT artifact.id, found.score FROM ({from}) AS found JOIN artifact ON artifact.id = found.id \
         WHERE {} ORDER BY round(found.score, 1), artifact.risk DESC, artifact.id",
        conditions.join(" AND ")
    );
    (sql, values)
}

fn hit(connection: &Connection, id: u32, path: Vec<u8>, score: f64) -> rusqlite::Result<Result<Hit, String>> {
    let sql = "SELECT semantics, unverified FROM artifact WHERE id = ?1";
    let (semantics, unverified): (String, Option<String>) =
        connection.prepare_cached(sql)?.query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(disk::semantics_of_json(&semantics).map(|semantics| Hit {
        id: ArtifactId(id),
        path,
        kind: semantics.kind.name().to_owned(),
        title: semantics.title,
        summary: semantics.summary,
        tags: semantics.tags,
        risk: semantics.risk,
        unverified,
        score,
    }))
}

/// Whole paths, from rows that only know their directories.
struct Paths<'a> {
    connection: &'a Connection,
    /// Of directories that were passed.
    known: HashMap<u32, Vec<u8>>,
}

impl<'a> Paths<'a> {
    fn new(connection: &'a Connection) -> Self {
        Self { connection, known: HashMap::new() }
    }

    fn of(&mut self, id: u32) -> rusqlite::Result<Vec<u8>> {
        let mut chain: Vec<(u32, Vec<u8>)> = Vec::new();
        let (mut at, mut path) = (Some(id), Vec::new());
        while let Some(id) = at.filter(|_| chain.len() < DEPTH_MAX) {
            if let Some(known) = self.known.get(&id) {
                path.clone_from(known);
                break;
            }
            let sql = "SELECT parent, name FROM artifact WHERE id = ?1";
            let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
            let found: Option<(Option<u32>, Vec<u8>)> =
                self.connection.prepare_cached(sql)?.query_row([id], row).optional()?;
            let Some((parent, name)) = found else { break };
            chain.push((id, name));
            at = parent;
        }
        let mut first = path.is_empty();
        while let Some((below, name)) = chain.pop() {
            if !std::mem::take(&mut first) && path.last() != Some(&b'/') {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            if below != id {
                self.known.insert(below, path.clone());
            }
        }
        Ok(path)
    }
}

impl PathFilter {
    /// Whether a path is one that is asked for.
    fn holds(&self, path: &[u8]) -> bool {
        match self {
            Self::Below(dir) => path
                .strip_prefix(&dir[..])
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/") || dir.ends_with(b"/")),
            Self::Holds(part) => {
                let lower = String::from_utf8_lossy(path).to_lowercase();
                lower.contains(part.as_str())
            }
        }
    }
}
