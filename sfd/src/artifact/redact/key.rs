//! The install's redaction key.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, OFlags};

use super::RedactError;

const KEY_BYTES: usize = 32;

/// 32 random bytes from the system.
pub(super) fn random() -> Result<[u8; KEY_BYTES], RedactError> {
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(RedactError::Random)?;
    Ok(key)
}

/// Reads the key, or makes one. Two processes that start at once end up with the same key.
pub(super) fn load_or_create(path: &Path) -> Result<[u8; KEY_BYTES], RedactError> {
    match load(path) {
        Err(RedactError::Key { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    let key = random()?;
    create(path, &key).map_err(|source| RedactError::Key { path: path.to_path_buf(), source })?;
    load(path)
}

/// Writes a whole key file under another name and links it into place, so that the name never stands for half a key
/// and never replaces another's.
fn create(path: &Path, key: &[u8]) -> io::Result<()> {
    let suffix: u64 = getrandom::u64().map_err(io::Error::other)?;
    let temporary = path.with_extension(format!("key.{suffix:016x}.tmp"));
    let made = (|| -> io::Result<()> {
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(nofollow())
            .open(&temporary)?;
        file.write_all(key)?;
        file.sync_all()?;
        match rustix::fs::linkat(CWD, &temporary, CWD, path, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
            Err(e) => Err(e.into()),
        }
    })();
    let removed = std::fs::remove_file(&temporary);
    made?;
    removed?;
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

fn load(path: &Path) -> Result<[u8; KEY_BYTES], RedactError> {
    let failed = |source| RedactError::Key { path: path.to_path_buf(), source };
    let bad = |problem: String| RedactError::BadKey { path: path.to_path_buf(), problem };
    let file = File::options().read(true).custom_flags(nofollow()).open(path).map_err(|e| {
        let link = e.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
        if link { bad("it is a symbolic link".to_owned()) } else { failed(e) }
    })?;
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() {
        return Err(bad("it is not a regular file".to_owned()));
    }
    if meta.mode() & 0o077 != 0 {
        return Err(bad(format!("others may use it (mode {:04o})", meta.mode() & 0o7777)));
    }
    let me = rustix::process::geteuid().as_raw();
    if meta.uid() != me && meta.uid() != 0 {
        return Err(bad(format!("it belongs to user {}", meta.uid())));
    }
    let mut bytes = Vec::with_capacity(KEY_BYTES + 1);
    file.take(KEY_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    let size = bytes.len();
    bytes
        .try_into()
        .map_err(|_| bad(format!("it has {} bytes", if size > KEY_BYTES { meta.len() } else { size as u64 })))
}

fn nofollow() -> i32 {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    i32::from_ne_bytes(flags.bits().to_ne_bytes())
}
