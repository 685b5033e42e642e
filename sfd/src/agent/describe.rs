//! What changed about an artifact, in one line.

use crate::artifact::FileType;
use crate::artifact::inventory::is_dir;
use crate::brick::Row;

/// `mode 0644 -> 0600, size 10 -> 12`.
pub fn describe_change(old: &Row, new: &Row) -> String {
    let (a, b) = (&old.meta, &new.meta);
    let mut parts = Vec::new();
    let has_contents = matches!(new.meta.file_type, FileType::File | FileType::Symlink);
    if has_contents && old.content_hash != new.content_hash {
        parts.push(if old.len == new.len {
            format!("contents, same size {}", new.len)
        } else {
            format!("size {} -> {}", old.len, new.len)
        });
    }
    if a.mode != b.mode {
        parts.push(format!("mode {:04o} -> {:04o}", a.mode, b.mode));
    }
    if (a.uid, a.gid) != (b.uid, b.gid) {
        parts.push(format!("owner {}:{} -> {}:{}", a.uid, a.gid, b.uid, b.gid));
    }
    if a.nlink != b.nlink && !is_dir(new) {
        parts.push(format!("links {} -> {}", a.nlink, b.nlink));
    }
    if old.redacted != new.redacted {
        parts.push(if new.redacted { "now redacted".into() } else { "no longer redacted".into() });
    }
    if old.unverified.is_none()
        && let Some(why) = &new.unverified
    {
        parts.push(format!("unverified: {why}"));
    }
    if parts.is_empty() && a.mtime_ns != b.mtime_ns {
        parts.push("times".into());
    }
    parts.join(", ")
}

/// A change that says nothing: a directory's times and link count follow from what happened in it, and a change of
/// `ctime` alone is the shadow of a rename or of a link elsewhere.
pub(super) fn is_noise(old: &Row, new: &Row) -> bool {
    let (a, b) = (&old.meta, &new.meta);
    let same = (a.mode, a.uid, a.gid) == (b.mode, b.uid, b.gid)
        && old.redacted == new.redacted
        // That a doubt is gone is no news; the doubt was.
        && (new.unverified.is_none() || old.unverified == new.unverified);
    if is_dir(new) {
        return same;
    }
    same && old.content_hash == new.content_hash && a.mtime_ns == b.mtime_ns && a.nlink == b.nlink
}
