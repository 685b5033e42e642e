//! The state directory: where bricks, catalogs, the redaction key and the control socket are.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::AgentError;

/// Where the state of a system-wide daemon is.
const SYSTEM_STATE: &str = "/var/lib/sfd";

/// An existing state directory, private to its owner.
#[derive(Clone, Debug)]
pub struct StateDir {
    path: PathBuf,
}

impl StateDir {
    /// The directory to use when none was named: `/var/lib/sfd` for root, else below `$XDG_STATE_HOME`.
    pub fn default_path() -> Option<PathBuf> {
        if rustix::process::geteuid().is_root() {
            return Some(PathBuf::from(SYSTEM_STATE));
        }
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let base = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
        base.map(|base| base.join("sfd"))
    }

    /// Makes the directory if needed (0700) and checks that nobody else can write to it.
    ///
    /// # Errors
    /// When it cannot be made, is not a directory, or others may write to it.
    pub fn create(path: &Path) -> Result<Self, AgentError> {
        let context = |source| AgentError::State { path: path.to_path_buf(), source };
        let bricks = path.join("bricks");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&bricks).map_err(context)?;
        let meta = fs::metadata(path).map_err(context)?;
        let mine = meta.uid() == rustix::process::geteuid().as_raw();
        if !mine || meta.permissions().mode() & 0o022 != 0 {
            let what = "others own it or may write to it; it must be yours, mode 0700";
            return Err(context(io::Error::new(io::ErrorKind::PermissionDenied, what)));
        }
        let path = fs::canonicalize(path).map_err(context)?;
        Ok(Self { path })
    }

    /// Its absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where bricks and catalogs are.
    pub fn bricks(&self) -> PathBuf {
        self.path.join("bricks")
    }

    /// Makes sure that no other daemon uses the directory, for as long as the file is kept.
    ///
    /// # Errors
    /// When another one does.
    pub(super) fn lock(&self) -> Result<fs::File, AgentError> {
        let path = self.path.join("lock");
        let context = |source| AgentError::State { path: path.clone(), source };
        let file = fs::File::options().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.map_err(context)?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(AgentError::Refused {
                path: self.path.clone(),
                what: "another sfd run uses this state directory; stop it, or name another with --state"
                    .into(),
            }),
            Err(errno) => Err(context(errno.into())),
        }
    }

    /// The control socket.
    pub fn socket(path: &Path) -> PathBuf {
        path.join("sfd.sock")
    }
}

/// Gives each root the name of its brick: the path without the leading slash and `/` as `-`; a second root of the
/// same name gets a short hash suffix.
pub fn brick_names(roots: &[PathBuf]) -> Vec<String> {
    let plain = |path: &Path| {
        let name: String = path.to_string_lossy().trim_matches('/').replace('/', "-");
        // A file name has at most 255 bytes; `.catalog.sqlite-wal.tmp` and a suffix must fit behind it.
        match name.char_indices().nth(200) {
            _ if name.is_empty() => "root".to_owned(),
            Some((end, _)) => name.get(..end).unwrap_or_default().to_owned(),
            None => name,
        }
    };
    let mut seen: HashMap<String, usize> = HashMap::new();
    for path in roots {
        *seen.entry(plain(path)).or_default() += 1;
    }
    // Which of two namesakes is "second" must not depend on the order of the arguments, or a restart with another
    // order would swap their bricks: the one that comes first as a path keeps the plain name.
    let mut sorted: Vec<&PathBuf> = roots.iter().collect();
    sorted.sort();
    let keeps = |path: &Path, name: &str| {
        sorted.iter().find(|other| plain(other) == name).is_some_and(|first| first.as_path() == path)
    };
    roots
        .iter()
        .map(|path| {
            let name = plain(path);
            if keeps(path, &name) { name } else { format!("{name}-{}", short_hash(path.as_os_str())) }
        })
        .collect()
}

fn short_hash(text: &OsStr) -> String {
    blake3::hash(text.as_bytes()).to_hex().chars().take(8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(paths: &[&str]) -> Vec<String> {
        brick_names(&paths.iter().map(PathBuf::from).collect::<Vec<_>>())
    }

    #[test]
    fn names_follow_paths() {
        assert_eq!(names(&["/etc", "/proc", "/usr/bin"]), ["etc", "proc", "usr-bin"]);
        assert_eq!(names(&["/"]), ["root"]);
    }

    #[test]
    fn namesakes_get_a_suffix_whatever_their_order() {
        let one = names(&["/usr/bin", "/usr-bin"]);
        let two = names(&["/usr-bin", "/usr/bin"]);
        assert_eq!((&one[0], &one[1]), (&two[1], &two[0]));
        assert_ne!(one[0], one[1]);
        assert!(one.contains(&"usr-bin".to_owned()));
    }

    #[test]
    fn a_very_long_path_still_gives_a_file_name() {
        let name = &names(&[&format!("/{}", "ü".repeat(300))])[0];
        assert!(name.chars().count() <= 200);
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(StateDir::create(dir.path()).is_err());
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(StateDir::create(dir.path()).unwrap().bricks().is_dir());
    }
}
