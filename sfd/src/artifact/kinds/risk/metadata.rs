//! Modes, owners and places.

use std::os::unix::ffi::OsStrExt;

use super::{
    ArtifactInput, CRITICAL, Draft, Findings, HIGH, Kind, LOW, MEDIUM, PUBLIC, Packaged, gives_everything,
    is_packages_own,
};
use crate::artifact::{FileType, Redaction};

pub(crate) const WORLD_WRITE: u32 = 0o002;
pub(crate) const SET_UID: u32 = 0o4000;
pub(crate) const SET_GID: u32 = 0o2000;
const STICKY: u32 = 0o1000;
const EXECUTE: u32 = 0o111;

/// Tag of what no package owns and was judged for that: looked at again when the database changes.
pub(crate) const UNPACKAGED: &str = "unpackaged";

pub(super) fn judge(kind: Kind, input: &ArtifactInput<'_>, draft: &mut Draft, found: &mut Findings) {
    let mode = input.meta.mode;
    match input.meta.file_type {
        FileType::File => {
            let risky = found.0.len();
            if mode & WORLD_WRITE != 0 {
                let acts = mode & EXECUTE != 0 || acts_on_host(kind);
                found.add(if acts { HIGH } else { MEDIUM }, "anyone may change this file");
                draft.tags.push("world-writable".to_owned());
            }
            set_id(kind, input, draft, found);
            temporary(kind, input, found);
            readable_secret(kind, input, found);
            module(kind, input, draft, found);
            if found.0.len() > risky && input.packaged == Packaged::No {
                draft.tags.push(UNPACKAGED.to_owned());
            }
        }
        FileType::Directory if mode & WORLD_WRITE != 0 && mode & STICKY == 0 => {
            found.add(MEDIUM, "anyone may replace the files in this directory (no sticky bit)");
            draft.tags.push("world-writable".to_owned());
        }
        _ => {}
    }
}

/// Whether the kernel acts on the set-user-ID and set-group-ID bits of a file: it ignores them on scripts
/// (fs/binfmt_script.c), and a set-group-ID bit without group execution once meant mandatory locking.
fn set_id(kind: Kind, input: &ArtifactInput<'_>, draft: &mut Draft, found: &mut Findings) {
    let (mode, uid) = (input.meta.mode, input.meta.uid);
    if mode & EXECUTE == 0 || kind == Kind::Script {
        return;
    }
    if mode & SET_UID != 0 {
        draft.tags.push("setuid".to_owned());
        let who = if uid == 0 { "root".to_owned() } else { format!("user {uid}") };
        if mode & WORLD_WRITE != 0 {
            found.add(CRITICAL, format!("anyone may change a program that runs as {who} (set-user-ID)"));
        } else if uid == 0 && gives_everything(&input.shown_name()) {
            found.add(
                CRITICAL,
                format!(
                    "whoever starts it is root: {} runs any command and is set-user-ID",
                    input.shown_name()
                ),
            );
        } else if uid == 0 && public_place(input.path.as_os_str().as_bytes()).is_some() {
            found
                .add(CRITICAL, "runs as root whoever starts it (set-user-ID), where everybody may put files");
        } else {
            let (level, of) = match (input.packaged, uid) {
                (Packaged::Yes, _) => (LOW, ", of a package"),
                (Packaged::Unknown, _) => (LOW, ""),
                (Packaged::No, 0) => (HIGH, ", and no package owns it"),
                (Packaged::No, _) => (MEDIUM, ", and no package owns it"),
            };
            found.add(level, format!("runs as {who} whoever starts it (set-user-ID){of}"));
        }
    }
    if mode & SET_GID != 0 && mode & 0o010 != 0 {
        draft.tags.push("setgid".to_owned());
        let (level, of) = match input.packaged {
            Packaged::No => (MEDIUM, ", and no package owns it"),
            Packaged::Yes => (LOW, ", of a package"),
            Packaged::Unknown => (LOW, ""),
        };
        let gid = input.meta.gid;
        found.add(level, format!("runs with the rights of group {gid} whoever starts it (set-group-ID){of}"));
    }
}

/// Which of the places that everybody may write to a path is in.
pub(super) fn public_place(path: &[u8]) -> Option<&'static str> {
    PUBLIC.iter().copied().find(|dir| path.starts_with(dir.as_bytes())).map(|dir| dir.trim_end_matches('/'))
}

fn temporary(kind: Kind, input: &ArtifactInput<'_>, found: &mut Findings) {
    let Some(place) = public_place(input.path.as_os_str().as_bytes()) else { return };
    let what = match kind {
        Kind::ElfExecutable => "a program",
        Kind::ElfOther if input.meta.mode & EXECUTE != 0 => "a program",
        Kind::SharedLibrary => "a library",
        Kind::KernelModule => "a kernel module",
        Kind::Script if input.meta.mode & EXECUTE != 0 => "a script that can be run",
        _ => return,
    };
    let hidden = input.name().starts_with(b".");
    // Nothing but shared memory belongs into /dev/shm, and nobody hides what he only compiles.
    let level = if place == "/dev/shm" || hidden { HIGH } else { MEDIUM };
    let hidden = if hidden { ", with a hidden name" } else { "" };
    found.add(level, format!("{what} in {place}, where everybody may put files{hidden}"));
}

/// Packages bring keys and passwords of their tests; those are no secrets.
fn readable_secret(kind: Kind, input: &ArtifactInput<'_>, found: &mut Findings) {
    if input.meta.mode & 0o004 == 0 || is_packages_own(input) {
        return;
    }
    if input.redacted.is_some_and(Redaction::is_key) {
        found.add(HIGH, "anyone on this host may read what looks like a private key");
    } else if kind == Kind::Secret {
        found.add(MEDIUM, "anyone on this host may read what looks like a secret");
    }
}

/// What the module itself says is low for one that a package brings, and worse for one from somewhere else.
fn module(kind: Kind, input: &ArtifactInput<'_>, draft: &mut Draft, found: &mut Findings) {
    if kind != Kind::KernelModule {
        return;
    }
    if is_packages_own(input) {
        draft.risk.level = draft.risk.level.min(LOW);
        return;
    }
    let is_at_home = input.path.iter().any(|part| part == "modules");
    if draft.risk.level > 0 && input.packaged == Packaged::No && !is_at_home {
        found.add(HIGH, "a kernel module outside /lib/modules that no package owns");
    }
}

/// Kinds whose contents take effect without being started by anyone.
fn acts_on_host(kind: Kind) -> bool {
    let data = matches!(kind, Kind::Json | Kind::Toml | Kind::Yaml | Kind::Ini);
    kind == Kind::SharedLibrary || (kind.is_configuration() && !data)
}
