//! Finding the live bricks of a state directory.

use std::path::{Path, PathBuf};

use super::CliError;
use super::out::printable;
use crate::brick::Catalog;

/// A live brick.
#[derive(Clone, Debug)]
pub(super) struct LivePath {
    /// Its name: `etc`.
    pub(super) name: String,
    /// `etc.brick`.
    pub(super) brick: PathBuf,
    /// `etc.catalog.sqlite`.
    pub(super) catalog: PathBuf,
}

/// The live bricks of a state directory, by name.
pub(super) fn bricks(state: &Path) -> Result<Vec<LivePath>, CliError> {
    let bricks = state.join("bricks");
    let entries = match std::fs::read_dir(&bricks) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(CliError::path(&bricks, &error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let catalog = entry.map_err(|error| CliError::path(&bricks, &error))?.path();
        let name = catalog.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(name) = name.strip_suffix(".catalog.sqlite") {
            let (name, brick) = (name.to_owned(), bricks.join(format!("{name}.brick")));
            found.push(LivePath { name, brick, catalog });
        }
    }
    found.sort_by(|a, b| a.brick.cmp(&b.brick));
    Ok(found)
}

/// Their catalogs, each with the path of its brick.
pub(super) fn catalogs(state: &Path) -> Result<Vec<(PathBuf, Catalog)>, CliError> {
    let open = |live: LivePath| Ok((live.brick, Catalog::open_read_only(&live.catalog)?));
    bricks(state)?.into_iter().map(open).collect()
}

/// Why there is nothing to show or to do.
pub(super) fn none_yet(state: &Path) -> CliError {
    CliError::no(format!("{}: no bricks yet; start with: sudo sfd run --watch /etc,/proc", state.display()))
}

/// The live brick called `name`, or the only one there is.
pub(super) fn find(state: &Path, name: Option<&str>) -> Result<LivePath, CliError> {
    let mut all = bricks(state)?;
    let names: Vec<&str> = all.iter().map(|live| live.name.as_str()).collect();
    let names = printable(&names.join(", "));
    let at = match name {
        _ if all.is_empty() => return Err(none_yet(state)),
        Some(name) => all.iter().position(|live| live.name == name).ok_or_else(|| {
            CliError::no(format!("no brick is called {name} in {}; there are: {names}", state.display()))
        })?,
        None if all.len() == 1 => 0,
        None => return Err(CliError::usage(format!("which brick? there are: {names}"))),
    };
    Ok(all.swap_remove(at))
}
