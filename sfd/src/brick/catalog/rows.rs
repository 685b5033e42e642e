//! The artifact table.

use rusqlite::{Connection, OptionalExtension, params};

use crate::artifact::Meta;
use crate::brick::{ArtifactId, Row, disk};
use crate::fold::Block;

const UPSERT: &str = "\
    INSERT INTO artifact VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, \
        ?20, ?21, ?22, ?23, ?24, ?25, ?26) \
    ON CONFLICT (id) DO UPDATE SET parent = ?2, name = ?3, file_type = ?4, mode = ?5, uid = ?6, gid = ?7, size = ?8, \
        mtime_ns = ?9, ctime_ns = ?10, dev = ?11, ino = ?12, nlink = ?13, rdev = ?14, sb_dev = ?15, start = ?16, \
        k = ?17, len = ?18, content_hash = ?19, exact = ?20, redacted = ?21, unverified = ?22, kind = ?23, risk = ?24, \
        summary = ?25, semantics = ?26";

pub(super) fn upsert(connection: &Connection, row: &Row) -> rusqlite::Result<()> {
    connection.prepare_cached(UPSERT)?.execute(params![
        row.id.0,
        row.parent.map(|id| id.0),
        row.name,
        disk::enum_name(&row.meta.file_type),
        row.meta.mode,
        row.meta.uid,
        row.meta.gid,
        row.meta.size.cast_signed(),
        row.meta.mtime_ns,
        row.meta.ctime_ns,
        row.meta.dev.cast_signed(),
        row.meta.ino.cast_signed(),
        row.meta.nlink.cast_signed(),
        row.meta.rdev.cast_signed(),
        row.sb_dev,
        row.block.start.cast_signed(),
        row.block.k,
        row.len.cast_signed(),
        row.content_hash,
        row.exact,
        row.redacted,
        row.unverified,
        disk::kind_name(row.semantics.kind),
        row.semantics.risk.level,
        row.semantics.summary,
        disk::semantics_to_json(&row.semantics),
    ])?;
    Ok(())
}

/// Reads rows. The inner error says which row does not make sense.
pub(super) fn read(
    connection: &Connection,
    tail: &str,
    params: impl rusqlite::Params,
) -> rusqlite::Result<Result<Vec<Row>, String>> {
    let sql = format!(
        "SELECT id, parent, name, file_type, mode, uid, gid, size, mtime_ns, ctime_ns, dev, ino, nlink, rdev, sb_dev, \
         start, k, len, content_hash, exact, redacted, unverified, semantics FROM artifact {tail}"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params)?;
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        match decode(row)? {
            Ok(row) => out.push(row),
            Err(detail) => return Ok(Err(format!("artifact {}: {detail}", row.get::<_, i64>(0)?))),
        }
    }
    Ok(Ok(out))
}

fn decode(row: &rusqlite::Row<'_>) -> rusqlite::Result<Result<Row, String>> {
    let unsigned = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
    let file_type = match disk::file_type(row.get_ref(3)?.as_str()?) {
        Ok(file_type) => file_type,
        Err(detail) => return Ok(Err(detail)),
    };
    let semantics = match disk::semantics_of_json(row.get_ref(22)?.as_str()?) {
        Ok(semantics) => semantics,
        Err(detail) => return Ok(Err(detail)),
    };
    let Some(block) = Block::from_disk(unsigned(15)?, row.get(16)?) else {
        return Ok(Err("its block is on no curve".into()));
    };
    Ok(Ok(Row {
        id: ArtifactId(row.get(0)?),
        parent: row.get::<_, Option<u32>>(1)?.map(ArtifactId),
        name: row.get(2)?,
        meta: Meta {
            file_type,
            mode: row.get(4)?,
            uid: row.get(5)?,
            gid: row.get(6)?,
            size: unsigned(7)?,
            mtime_ns: row.get(8)?,
            ctime_ns: row.get(9)?,
            dev: unsigned(10)?,
            ino: unsigned(11)?,
            nlink: unsigned(12)?,
            rdev: unsigned(13)?,
        },
        sb_dev: row.get(14)?,
        block,
        len: unsigned(17)?,
        content_hash: row.get(18)?,
        exact: row.get(19)?,
        redacted: row.get(20)?,
        unverified: row.get(21)?,
        semantics,
    }))
}

/// The artifact at an absolute path.
pub(super) fn by_path(connection: &Connection, path: &[u8]) -> rusqlite::Result<Result<Option<Row>, String>> {
    // The root's name is a path of its own; of what is below it, one name after the other.
    let roots: Vec<(u32, Vec<u8>)> = connection
        .prepare_cached("SELECT id, name FROM artifact WHERE parent IS NULL")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let below = roots.into_iter().find_map(|(id, name)| {
        let rest = path.strip_prefix(name.strip_suffix(b"/").unwrap_or(&name))?;
        (rest.is_empty() || rest.starts_with(b"/")).then(|| (id, rest.to_vec()))
    });
    let Some((mut id, rest)) = below else { return Ok(Ok(None)) };
    let mut child = connection.prepare_cached("SELECT id FROM artifact WHERE parent = ?1 AND name = ?2")?;
    for name in rest.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        match child.query_row(params![id, name], |row| row.get(0)).optional()? {
            Some(found) => id = found,
            None => return Ok(Ok(None)),
        }
    }
    Ok(read(connection, "WHERE id = ?1", [id])?.map(|mut rows| rows.pop()))
}

/// One past the highest used cell. Blocks are disjoint, so the one that starts last ends last.
pub(super) fn used_end(connection: &Connection) -> rusqlite::Result<u64> {
    let mut statement =
        connection.prepare_cached("SELECT start, k FROM artifact ORDER BY start DESC LIMIT 1")?;
    let block =
        |row: &rusqlite::Row<'_>| Ok(Block::from_disk(row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?));
    Ok(statement.query_row([], block).optional()?.flatten().map_or(0, Block::end))
}
