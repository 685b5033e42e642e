//! A sealed brick of trees: what `sfd fold` and the tasks do.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::survey::find;
use super::{AgentError, Lanes, Survey, row_of};
use crate::artifact::view::View;
use crate::artifact::{Artifact, FileType, Look, LookOptions, Looker, Packages, Redactor, Semantics};
use crate::brick::{ArtifactId, Row, SealOptions, SealedWriter, format::Header};
use crate::collect::Unwatched;
use crate::fold::K_CAP;

/// What is folded, and how.
#[derive(Clone, Debug)]
pub struct Sealing {
    /// Absolute paths of files and directories; none below another.
    pub roots: Vec<PathBuf>,
    /// Folds files of any size byte for byte.
    pub exact: bool,
    /// No block has more than 2^this cells: [`crate::fold::K_MIN`] to [`K_CAP`].
    pub cap_max: u8,
    /// At most so many of what is no directory, the first in the order of their paths; `None`: all.
    pub files_max: Option<usize>,
    /// How the brick is stored.
    pub seal: SealOptions,
}

impl Default for Sealing {
    fn default() -> Self {
        Self {
            roots: Vec::new(),
            exact: false,
            cap_max: K_CAP,
            files_max: None,
            seal: SealOptions::default(),
        }
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealProgress {
    /// So many artifacts were found so far.
    Found(u64),
    /// So many of the second number are in the brick.
    Folded(u64, u64),
}

/// What was folded.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// The brick's header.
    pub header: Header,
    /// Artifacts in it.
    pub artifacts: u64,
    /// Of these, not verified.
    pub unverified: u64,
    /// Of these, redacted.
    pub redacted: u64,
    /// What [`Sealing::files_max`] has left out.
    pub left_out: u64,
}

/// Words for an artifact that was just looked at, in place of those by rules; `None` keeps those.
pub type Describer<'a> = dyn FnMut(&Path, &Artifact) -> Option<Semantics> + 'a;

/// Makes a view of what is folded; one for each thread that reads.
pub type MakeView<'a> = dyn Fn() -> Result<Box<dyn View>, AgentError> + 'a;

impl Sealing {
    /// Folds into a new brick at `output`. What cannot be read is in it, marked unverified. `progress` may end the work.
    ///
    /// # Errors
    /// A root does not exist, the trees do not fit, or the brick cannot be written; [`AgentError::Stopped`] when
    /// `progress` said so. Then there is no brick, or the one that was there before.
    pub fn run(
        &self,
        output: &Path,
        redactor: &Redactor,
        make_view: &MakeView<'_>,
        describe: &mut Describer<'_>,
        progress: &dyn Fn(SealProgress) -> ControlFlow<()>,
    ) -> Result<Sealed, AgentError> {
        let mut view = make_view()?;
        let mut found =
            find(&self.roots, view.as_mut(), &mut Unwatched, &|n| progress(SealProgress::Found(n)))?;
        let left_out = self.files_max.map_or(0, |max| found.keep_files(max)) as u64;
        let survey = found.place(self.cap_max, self.exact)?;
        let options = LookOptions { cap: survey.layout.cap(), exact: self.exact, ..LookOptions::default() };
        let packages = Packages::of(Path::new("/"));
        let lanes = Lanes::start(|| {
            let looker = Looker::new(options.clone(), redactor.clone()).with_packages(Arc::clone(&packages));
            Ok((make_view()?, looker))
        })?;
        let layout = &survey.layout;
        let writer = SealedWriter::create(output, layout.order(), layout.cap(), self.seal)
            .map_err(AgentError::Brick)?;
        let sealed = fill(survey, lanes, writer, describe, progress)?;
        Ok(Sealed { left_out, ..sealed })
    }
}

/// Looks at everything and writes it.
fn fill(
    survey: Survey,
    mut lanes: Lanes<(Row, PathBuf)>,
    mut writer: SealedWriter,
    describe: &mut Describer<'_>,
    progress: &dyn Fn(SealProgress) -> ControlFlow<()>,
) -> Result<Sealed, AgentError> {
    let mut paths: HashMap<ArtifactId, PathBuf> = HashMap::new();
    let (mut unverified, mut redacted, mut done) = (0_u64, 0_u64, 0_u64);
    let total = survey.rows.len() as u64;
    let mut rows = survey.rows.into_iter();
    loop {
        while lanes.has_room()
            && let Some(row) = rows.next()
        {
            let name = Path::new(OsStr::from_bytes(&row.name));
            let path = match row.parent.and_then(|parent| paths.get(&parent)) {
                Some(parent) => parent.join(name),
                None => name.to_path_buf(),
            };
            if row.meta.file_type == FileType::Directory {
                paths.insert(row.id, path.clone());
            }
            let cells = row.block.cells();
            lanes.ask((row, path.clone()), path, cells);
        }
        let Some(((row, path), look)) = lanes.take() else { break };
        if progress(SealProgress::Folded(done, total)).is_break() {
            return Err(AgentError::Stopped);
        }
        let (row, cells) = match look {
            Some(Look::Changed(mut artifact)) => {
                if let Some(regions) = artifact.regions.clone() {
                    writer.add_regions(row.id, regions);
                }
                if let Some(words) = describe(&path, &artifact) {
                    artifact.semantics = words;
                }
                let mut row = row_of(row.id, row.parent, row.name, row.block, &artifact);
                if let Some(why) = survey.unlisted.get(&row.id) {
                    row.unverified.get_or_insert_with(|| why.clone());
                }
                let room = usize::try_from(row.block.cells()).unwrap_or(usize::MAX);
                fitting(row, artifact.cells, room)
            }
            Some(Look::Gone | Look::Unchanged { .. }) => {
                (Row { unverified: Some("gone before it was read".into()), ..row }, Bytes::new())
            }
            None => {
                (Row { unverified: Some("reading it has failed; this is a bug".into()), ..row }, Bytes::new())
            }
        };
        unverified += u64::from(row.unverified.is_some());
        redacted += u64::from(row.redacted);
        writer.add(row, cells).map_err(AgentError::Brick)?;
        done += 1;
    }
    let header = writer.finish().map_err(AgentError::Brick)?;
    Ok(Sealed { header, artifacts: total, unverified, redacted, left_out: 0 })
}

/// A file that grew since its place was chosen keeps its place; what does not fit is left out and said so.
fn fitting(mut row: Row, cells: Bytes, room: usize) -> (Row, Bytes) {
    if cells.len() <= room {
        return (row, cells);
    }
    row.unverified.get_or_insert_with(|| "grew while the tree was folded".into());
    (row, cells.slice(..room))
}

/// The paths to fold, absolute and without symbolic links in their directories; one below another is folded once.
///
/// # Errors
/// One of them does not exist or may not be reached; which, and why.
pub fn fold_roots(paths: &[PathBuf]) -> Result<Vec<PathBuf>, AgentError> {
    let mut roots = Vec::new();
    for path in paths {
        let failed = |source| AgentError::Root { path: path.clone(), source };
        let is_dir = std::fs::metadata(path).is_ok_and(|meta| meta.is_dir());
        roots.push(match (path.parent(), path.file_name()) {
            // A link to a directory means the directory; a link to anything else is folded as what it is.
            (Some(parent), Some(name)) if !is_dir => {
                std::fs::symlink_metadata(path).map_err(failed)?;
                let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
                std::fs::canonicalize(parent).map_err(failed)?.join(name)
            }
            _ => std::fs::canonicalize(path).map_err(failed)?,
        });
    }
    roots.sort();
    roots.dedup();
    let all = roots.clone();
    roots.retain(|root| !all.iter().any(|other| other != root && root.starts_with(other)));
    Ok(roots)
}
