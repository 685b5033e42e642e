//! The region table: named parts of artifacts.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::Catalog;
use crate::artifact::Regions;
use crate::brick::{ArtifactId, BrickError};

impl Catalog {
    /// The named parts of an artifact.
    pub fn regions(&self, id: ArtifactId) -> Result<Option<Regions>, BrickError> {
        let json: Option<String> = self.with_ref(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT regions FROM region WHERE artifact = ?1")?;
            statement.query_row([id.0], |row| row.get(0)).optional()
        })?;
        json.map(|json| self.decode_regions(id, &json)).transpose()
    }

    /// The named parts of all artifacts that have any.
    pub fn all_regions(&self) -> Result<HashMap<ArtifactId, Regions>, BrickError> {
        let rows: Vec<(u32, String)> = self.with_ref(|connection| {
            let mut statement = connection.prepare_cached("SELECT artifact, regions FROM region")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        })?;
        let decode = |(id, json): (u32, String)| {
            let id = ArtifactId(id);
            Ok((id, self.decode_regions(id, &json)?))
        };
        rows.into_iter().map(decode).collect()
    }

    fn decode_regions(&self, id: ArtifactId, json: &str) -> Result<Regions, BrickError> {
        serde_json::from_str(json)
            .map_err(|error| self.corrupt(format!("regions of artifact {}: {error}", id.0)))
    }
}

/// Notes the named parts of an artifact, or that it has none.
pub(super) fn set(
    connection: &Connection,
    id: ArtifactId,
    regions: Option<&Regions>,
) -> rusqlite::Result<()> {
    let Some(regions) = regions else {
        connection.prepare_cached("DELETE FROM region WHERE artifact = ?1")?.execute([id.0])?;
        return Ok(());
    };
    // Strings and numbers only: nothing in it can fail to serialize.
    let json = serde_json::to_string(regions).unwrap_or_default();
    let sql =
        "INSERT INTO region VALUES (?1, ?2) ON CONFLICT (artifact) DO UPDATE SET regions = excluded.regions";
    connection.prepare_cached(sql)?.execute(params![id.0, json])?;
    Ok(())
}
