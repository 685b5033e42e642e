//! Artifacts without what takes long to read: for whoever wants to know where everything is.

use rusqlite::{OptionalExtension, Row as SqlRow};

use super::Catalog;
use crate::artifact::FileType;
use crate::artifact::kinds::Kind;
use crate::brick::{ArtifactId, BrickError, disk};
use crate::fold::Block;

/// Where an artifact is and what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outline {
    pub(crate) id: ArtifactId,
    pub(crate) parent: Option<ArtifactId>,
    /// Name in its directory, raw bytes; for the root the whole absolute path.
    pub(crate) name: Vec<u8>,
    pub(crate) file_type: FileType,
    pub(crate) kind: Kind,
    pub(crate) risk: u8,
    pub(crate) block: Block,
    pub(crate) redacted: bool,
    pub(crate) unverified: bool,
    /// The later of the last change of contents and of the inode, nanoseconds since the Unix epoch; 0: not known.
    pub(crate) changed_ns: i64,
}

const COLUMNS: &str = "id, parent, name, file_type, kind, risk, start, k, redacted, unverified IS NOT NULL, \
                       max(mtime_ns, ctime_ns)";

impl Catalog {
    /// All artifacts, in no order.
    pub(crate) fn outlines(&self) -> Result<Vec<Outline>, BrickError> {
        let sql = format!("SELECT {COLUMNS} FROM artifact");
        let rows = self.with_ref(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            statement.query_map([], decode)?.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        rows.into_iter().map(|row| row.map_err(|detail| self.corrupt(detail))).collect()
    }

    /// One of them, if it is there.
    pub(crate) fn outline(&self, id: ArtifactId) -> Result<Option<Outline>, BrickError> {
        let sql = format!("SELECT {COLUMNS} FROM artifact WHERE id = ?1");
        let row = self
            .with_ref(|connection| connection.prepare_cached(&sql)?.query_row([id.0], decode).optional())?;
        row.transpose().map_err(|detail| self.corrupt(detail))
    }

    /// When history last told of a path, nanoseconds since the Unix epoch.
    pub(crate) fn last_told(&self, path: &[u8]) -> Result<Option<i64>, BrickError> {
        self.with_ref(|connection| {
            let sql = "SELECT max(at_ns) FROM history WHERE path = ?1";
            connection.prepare_cached(sql)?.query_row([path], |row| row.get(0))
        })
    }
}

fn decode(row: &SqlRow<'_>) -> rusqlite::Result<Result<Outline, String>> {
    let id: u32 = row.get(0)?;
    let wrong = |what: &str| Ok(Err(format!("artifact {id}: {what}")));
    let Ok(file_type) = disk::file_type(row.get_ref(3)?.as_str()?) else {
        return wrong("its type is not known");
    };
    let Some(kind) = Kind::from_name(row.get_ref(4)?.as_str()?) else {
        return wrong("its kind is not known");
    };
    let Some(block) = Block::from_disk(row.get::<_, i64>(6)?.cast_unsigned(), row.get(7)?) else {
        return wrong("its block is on no curve");
    };
    Ok(Ok(Outline {
        id: ArtifactId(id),
        parent: row.get::<_, Option<u32>>(1)?.map(ArtifactId),
        name: row.get(2)?,
        file_type,
        kind,
        risk: row.get(5)?,
        block,
        redacted: row.get(8)?,
        unverified: row.get(9)?,
        changed_ns: row.get(10)?,
    }))
}
