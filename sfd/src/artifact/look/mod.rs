//! Looks at one path: stat, and only where that leaves a doubt, read and hash.

use std::cell::{OnceCell, RefCell};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::kinds::{self, ArtifactInput, Fact};
use super::redact::contents::Form;
use super::view::{Nature, ProcessFacts, View};
use super::{Artifact, FileType, Meta, Packaged, Packages, Redaction, Redactor, Regions, Semantics};
use crate::fold::{K_CAP, K_MIN};

mod content;
mod record;

pub use content::DIGEST_BYTES_MAX;
use content::{Contents, Plan};

/// Two changes within this time can carry the same time stamp, in nanoseconds: the kernel stamps inodes from the clock
/// of the last timer tick, which is at most 10 ms old (HZ = 100), and we double it.
pub const RACY_NS: i64 = 20_000_000;
/// A file that changes while it is read is read again at most this often when it is small.
const ATTEMPTS: u32 = 3;
/// Above this size, in bytes, a changing file is read again only once: it would be read whole each time.
const ATTEMPTS_BYTES_MAX: u64 = 4 << 20;

/// Why an artifact is not verified that never rested long enough to be read: it should be looked at again.
pub const CHANGED_WHILE_READ: &str = "changed while being read";

/// What a [`Looker`] puts into cells and how much it reads.
#[derive(Clone, Debug)]
pub struct LookOptions {
    /// A file of more than 2^cap bytes becomes a digest of 2^cap cells. From [`K_MIN`] to [`K_CAP`].
    pub cap: u8,
    /// Lifts the cap: cells are the bytes themselves up to [`LookOptions::exact_max`].
    pub exact: bool,
    /// With `exact`: the largest file taken whole into memory, in bytes.
    pub exact_max: u64,
    /// Up to this size, in bytes, the hash covers every byte; above, the size and the samples.
    pub full_hash_max: u64,
}

impl Default for LookOptions {
    fn default() -> Self {
        Self { cap: K_CAP, exact: false, exact_max: 1 << 30, full_hash_max: 64 << 20 }
    }
}

/// What was known of a path at the last look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Metadata then.
    pub meta: Meta,
    /// [`Artifact::content_hash`] then.
    pub content_hash: [u8; 32],
    /// [`Artifact::redacted`] then.
    pub redacted: bool,
    /// [`Artifact::settled`] then. When it was not, equal metadata proves nothing.
    pub settled: bool,
    /// `false` when [`Artifact::unverified`] said something then.
    pub verified: bool,
}

impl From<&Artifact> for Known {
    fn from(a: &Artifact) -> Self {
        Self {
            meta: a.meta.clone(),
            content_hash: a.content_hash,
            redacted: a.redacted,
            settled: a.settled,
            verified: a.unverified.is_none(),
        }
    }
}

/// What a look found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// There is nothing at this path.
    Gone,
    /// As known, contents and metadata (number of links and device left aside).
    Unchanged {
        /// Metadata now.
        meta: Meta,
        /// As in [`Artifact::settled`].
        settled: bool,
    },
    /// New, or something about it differs.
    Changed(Box<Artifact>),
}

/// What a rename means for an artifact whose contents were not touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renamed {
    /// These semantics are right for the new path; nothing needs to be read.
    Keep(Semantics),
    /// The new path may mean another kind or other redaction: look again, with `force_read`.
    Reread,
}

/// An artifact with what its contents say.
#[derive(Clone, Debug)]
pub struct Examined {
    /// The artifact.
    pub artifact: Artifact,
    /// Of its kind; none of a secret.
    pub facts: Vec<Fact>,
    /// The beginning of its contents, at most [`kinds::HEAD_BYTES`] bytes; empty for a secret.
    pub head: Vec<u8>,
}

/// Turns paths into artifacts.
pub struct Looker {
    options: LookOptions,
    redactor: Redactor,
    packages: Option<Arc<Packages>>,
    now_ns: Box<dyn FnMut() -> i64 + Send>,
    /// Facts and head of the last look, while somebody wants them: [`Self::examine`].
    seen: RefCell<Option<(Vec<Fact>, Vec<u8>)>>,
    /// Time of the look that is going on.
    at_ns: i64,
}

/// Metadata, and when it was read.
#[derive(Clone, Debug)]
pub struct Glance {
    /// The metadata.
    pub meta: Meta,
    /// Nanoseconds since the Unix epoch, just before.
    pub at_ns: i64,
}

impl Glance {
    /// Whether an earlier look saw all there is: it was a good one, and nothing has changed since.
    pub fn proves(&self, artifact: &Artifact) -> bool {
        artifact.settled && artifact.unverified.is_none() && same(&artifact.meta, &self.meta)
    }
}

impl Looker {
    /// A looker. A cap outside `K_MIN..=K_CAP` is moved to the nearer end.
    pub fn new(mut options: LookOptions, redactor: Redactor) -> Self {
        options.cap = options.cap.clamp(K_MIN, K_CAP);
        Self {
            options,
            redactor,
            packages: None,
            now_ns: Box::new(wall_clock_ns),
            at_ns: 0,
            seen: RefCell::default(),
        }
    }

    /// Judges files by what the packages of this host own. Without it, that is unknown.
    #[must_use]
    pub fn with_packages(mut self, packages: Arc<Packages>) -> Self {
        self.packages = Some(packages);
        self
    }

    /// Whether a package of this host owns a path.
    pub fn packaged(&self, path: &Path) -> Packaged {
        self.packages.as_ref().map_or(Packaged::Unknown, |packages| packages.owner(path))
    }

    /// Grows when [`Self::packaged`] may say something else than before.
    pub fn packages_generation(&self) -> u64 {
        self.packages.as_ref().map_or(0, Packages::generation)
    }

    /// Sets the largest block, as the layout chose it: from [`K_MIN`] to [`K_CAP`].
    pub fn set_cap(&mut self, cap: u8) {
        self.options.cap = cap.clamp(K_MIN, K_CAP);
    }

    /// The redactor in use.
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// Replaces the clock (nanoseconds since the Unix epoch), for tests.
    #[must_use]
    pub fn with_clock(mut self, now_ns: Box<dyn FnMut() -> i64 + Send>) -> Self {
        self.now_ns = now_ns;
        self
    }

    /// Reads the metadata of a path, and when that was.
    ///
    /// # Errors
    /// As [`View::meta`].
    pub fn glance(&mut self, view: &mut dyn View, path: &Path) -> io::Result<Glance> {
        // Before the metadata: a time stamp is judged by how old it was then.
        let at_ns = (self.now_ns)();
        Ok(Glance { meta: view.meta(path)?, at_ns })
    }

    /// Looks at a path. Never fails: what cannot be read is an artifact that says why.
    ///
    /// With `known` and without `force_read`, an object whose metadata is as known is not read at all, unless the view
    /// says that metadata does not tell ([`View::meta_tells`]), or the earlier look was not settled or not verified.
    pub fn look(
        &mut self,
        view: &mut dyn View,
        path: &Path,
        known: Option<&Known>,
        force_read: bool,
    ) -> Look {
        self.look_after(view, path, None, known, force_read)
    }

    /// The same when the path was just glanced at.
    pub fn look_after(
        &mut self,
        view: &mut dyn View,
        path: &Path,
        mut glance: Option<Glance>,
        known: Option<&Known>,
        force_read: bool,
    ) -> Look {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let glance = match glance.take() {
                Some(glance) => Ok(glance),
                None => self.glance(view, path),
            };
            let (meta, started_ns) = match glance {
                Ok(glance) => (glance.meta, glance.at_ns),
                Err(e) if is_gone(&e) => return Look::Gone,
                Err(e) => {
                    let meta = known.map_or_else(unknown_meta, |k| k.meta.clone());
                    return self.unread(view, path, &meta, false, &complaint(&e));
                }
            };
            self.at_ns = started_ns;
            let settled = !view.meta_tells() || is_settled(&meta, started_ns);
            if let Some(known) = known
                && !force_read
                && view.meta_tells()
                && known.settled
                && known.verified
                && same(&known.meta, &meta)
            {
                return Look::Unchanged { meta, settled };
            }
            match self.read(view, path, &meta, settled) {
                Ok(artifact) => return compare(Box::new(artifact), known),
                Err(Failure::OtherObject) => last = Some((meta, settled)),
                Err(Failure::Io(e)) if is_gone(&e) => {
                    // Gone between two calls; if something is back by now, the next round finds it.
                    last = None;
                }
                Err(Failure::Io(e)) => return self.unread(view, path, &meta, settled, &complaint(&e)),
            }
        }
        match last {
            Some((meta, settled)) => self.unread(view, path, &meta, settled, "replaced while being read"),
            None => Look::Gone,
        }
    }

    /// Looks at a path for somebody who wants to know more than goes into a brick; `None`: there is nothing.
    pub fn examine(&mut self, view: &mut dyn View, path: &Path) -> Option<Examined> {
        *self.seen.get_mut() = Some(Default::default());
        let look = self.look(view, path, None, true);
        let (facts, head) = self.seen.take().unwrap_or_default();
        match look {
            Look::Changed(artifact) => Some(Examined { artifact: *artifact, facts, head }),
            Look::Unchanged { .. } | Look::Gone => None,
        }
    }

    /// What a rename of the artifact or of a directory above it means. Reads nothing.
    pub fn renamed(
        &self,
        view: &dyn View,
        old: &Path,
        new: &Path,
        meta: &Meta,
        semantics: &Semantics,
    ) -> Renamed {
        let (old_nature, new_nature) = (view.nature(old), view.nature(new));
        let same_rules = meta.file_type != FileType::File
            || (self.redactor.by_path(old) == self.redactor.by_path(new)
                && Form::of(old, &old_nature) == Form::of(new, &new_nature));
        if same_rules
            && old_nature == new_nature
            && old.file_name() == new.file_name()
            && kinds::place(old) == kinds::place(new)
        {
            Renamed::Keep(semantics.clone())
        } else {
            Renamed::Reread
        }
    }

    fn read(
        &self,
        view: &mut dyn View,
        path: &Path,
        meta: &Meta,
        settled: bool,
    ) -> Result<Artifact, Failure> {
        if meta.file_type == FileType::File {
            return self.read_file(view, path, meta, settled);
        }
        let boundary = if meta.file_type == FileType::Directory { view.boundary(path) } else { None };
        let process = if meta.file_type == FileType::Directory { view.process(path) } else { None };
        let cells = match (meta.file_type, &process) {
            (FileType::Symlink, _) => view.read_link(path).map_err(|e| {
                if e.kind() == io::ErrorKind::InvalidInput { Failure::OtherObject } else { Failure::Io(e) }
            })?,
            (_, Some(process)) => record::process(process),
            _ => record::metadata(meta),
        };
        let len = cells.len() as u64;
        let contents = Contents::of_bytes(cells);
        let mut artifact =
            self.assemble(view, path, meta, settled, contents, None, process.as_ref(), boundary);
        artifact.len = len;
        Ok(artifact)
    }

    fn read_file(
        &self,
        view: &mut dyn View,
        path: &Path,
        meta: &Meta,
        settled: bool,
    ) -> Result<Artifact, Failure> {
        let nature = view.nature(path);
        let by_path = match nature {
            Nature::Disk => self.redactor.by_path(path),
            _ => None,
        };
        let mut changed = false;
        for attempt in 1..=ATTEMPTS {
            let mut source = view.open(path).map_err(|e| {
                if e.kind() == io::ErrorKind::InvalidInput { Failure::OtherObject } else { Failure::Io(e) }
            })?;
            let before = source.meta().map_err(Failure::Io)?;
            if view.meta_tells() && (before.ino != meta.ino || before.file_type != FileType::File) {
                return Err(Failure::OtherObject);
            }
            let mut now = if view.meta_tells() { before.clone() } else { meta.clone() };
            now.size = before.size;
            let plan = Plan {
                options: &self.options,
                len: before.size,
                head: kinds::head_wanted(path),
                form: Form::of(path, &nature),
                scan: by_path.is_none().then_some(&self.redactor),
            };
            let mut contents = content::read(source.as_mut(), &plan).map_err(Failure::Io)?;
            let after = source.meta().map_err(Failure::Io)?;
            changed = !same(&before, &after);
            let last = attempt == ATTEMPTS || (attempt > 1 && before.size > ATTEMPTS_BYTES_MAX);
            if changed && !last {
                continue;
            }
            if changed {
                contents.problem = Some(CHANGED_WHILE_READ.to_owned());
            }
            let settled = settled && !changed && (!view.meta_tells() || same(meta, &now));
            let secret = by_path.or(contents.secret);
            return Ok(self.assemble(view, path, &now, settled, contents, secret, None, None));
        }
        debug_assert!(changed);
        Err(Failure::OtherObject)
    }

    #[expect(clippy::too_many_arguments, reason = "the one place where an artifact is put together")]
    fn assemble(
        &self,
        view: &mut dyn View,
        path: &Path,
        meta: &Meta,
        settled: bool,
        mut contents: Contents,
        secret: Option<Redaction>,
        process: Option<&ProcessFacts>,
        boundary: Option<&'static str>,
    ) -> Artifact {
        if secret.is_some() {
            let (hash, stream) = self.redactor.seal(&contents.hash, contents.cells.len());
            contents.hash = hash;
            contents.cells = stream;
            contents.head = Vec::new();
        }
        let is_itself = contents.exact && secret.is_none() && contents.problem.is_none();
        let regions =
            if is_itself && meta.file_type == FileType::File { Regions::of(&contents.cells) } else { None };
        let nature = view.nature(path);
        let input = ArtifactInput {
            path,
            meta,
            nature: &nature,
            head: &contents.head,
            whole: contents.head.len() as u64 == contents.len,
            len: contents.len,
            redacted: secret,
            process,
            boundary,
            unread: contents.unread,
            packaged: if nature == Nature::Disk { self.packaged(path) } else { Packaged::Unknown },
            now_ns: self.at_ns,
            decoded: OnceCell::new(),
        };
        let semantics = kinds::describe(&input);
        if let Some(seen) = self.seen.borrow_mut().as_mut() {
            *seen = (kinds::facts(&input), input.head[..input.head.len().min(kinds::HEAD_BYTES)].to_vec());
        }
        Artifact {
            path: path.to_path_buf(),
            id: view.id(path, meta),
            meta: meta.clone(),
            cells: Bytes::from(contents.cells),
            len: contents.len,
            content_hash: contents.hash,
            exact: contents.exact,
            redacted: secret.is_some(),
            partial_hash: contents.partial_hash,
            settled,
            regions,
            unverified: contents.problem,
            semantics,
        }
    }

    /// An object that could not be read: its metadata as cells, and why.
    fn unread(&self, view: &mut dyn View, path: &Path, meta: &Meta, settled: bool, why: &str) -> Look {
        let mut contents = Contents::of_bytes(record::metadata(meta));
        contents.problem = Some(why.to_owned());
        contents.unread = true;
        contents.exact = false;
        Look::Changed(Box::new(self.assemble(view, path, meta, settled, contents, None, None, None)))
    }
}

/// Why a reading did not come to an artifact.
enum Failure {
    /// The name stands for something else than a moment ago.
    OtherObject,
    Io(io::Error),
}

fn compare(artifact: Box<Artifact>, known: Option<&Known>) -> Look {
    let unchanged = known.is_some_and(|k| {
        k.verified
            && artifact.unverified.is_none()
            && k.content_hash == artifact.content_hash
            && k.redacted == artifact.redacted
            && same(&k.meta, &artifact.meta)
    });
    if unchanged {
        Look::Unchanged { meta: artifact.meta, settled: artifact.settled }
    } else {
        Look::Changed(artifact)
    }
}

/// Whether two looks saw the same object in the same state. The number of links is left out (it moves ctime on its own),
/// the device too (numbers of unnamed devices change with every mount).
fn same(a: &Meta, b: &Meta) -> bool {
    let key = |m: &Meta| (m.file_type, m.mode, m.uid, m.gid, m.size, m.mtime_ns, m.ctime_ns, m.ino, m.rdev);
    key(a) == key(b)
}

/// Whether a change after `at_ns` is sure to carry another time stamp than `meta` has.
fn is_settled(meta: &Meta, at_ns: i64) -> bool {
    [meta.mtime_ns, meta.ctime_ns].iter().all(|stamp| at_ns.abs_diff(*stamp) > RACY_NS.unsigned_abs())
}

fn is_gone(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// An error in words for an operator.
pub(crate) fn complaint(e: &io::Error) -> String {
    use rustix::io::Errno;
    let known = match e.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::ACCESS | Errno::PERM) => "permission denied",
        Some(Errno::AGAIN) => "another process holds a lease on it",
        Some(Errno::NAMETOOLONG) => "its name is longer than the file system takes",
        Some(Errno::IO) => "the device reports an input/output error",
        Some(Errno::STALE) => "the file server no longer knows it",
        Some(Errno::MFILE | Errno::NFILE) => "too many open files",
        _ if e.kind() == io::ErrorKind::PermissionDenied => "permission denied",
        _ => return kinds::clean(&format!("cannot be read: {e}"), 200),
    };
    known.to_owned()
}

/// Metadata of something that is listed but may not even be looked at.
fn unknown_meta() -> Meta {
    Meta {
        file_type: FileType::File,
        mode: 0,
        uid: 0,
        gid: 0,
        size: 0,
        mtime_ns: 0,
        ctime_ns: 0,
        dev: 0,
        ino: 0,
        nlink: 0,
        rdev: 0,
    }
}

fn wall_clock_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
