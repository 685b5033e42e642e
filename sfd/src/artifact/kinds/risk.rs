//! Risks that the metadata alone shows. A few that an operator would agree with.

use super::{ArtifactInput, Draft, FileType, Kind, Nature};

const WORLD_WRITE: u32 = 0o002;
const STICKY: u32 = 0o1000;
const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;
const EXECUTE: u32 = 0o111;

pub(super) fn of_metadata(kind: Kind, input: &ArtifactInput<'_>, draft: &mut Draft) {
    if *input.nature != Nature::Disk {
        return;
    }
    let mode = input.meta.mode;
    let executable = mode & EXECUTE != 0;
    let mut add = |level: u8, reason: &str| {
        draft.risk.level = draft.risk.level.max(level);
        draft.risk.reasons.push(reason.to_owned());
    };
    match input.meta.file_type {
        FileType::File => {
            let world_writable = mode & WORLD_WRITE != 0;
            let acts = executable || acts_on_host(kind);
            if world_writable {
                add(if acts { 3 } else { 2 }, "anyone may change this file");
            }
            // The kernel ignores the bits on scripts (fs/binfmt_script.c).
            let program = executable && kind != Kind::Script;
            if program && mode & SET_UID != 0 {
                match (world_writable, input.meta.uid) {
                    (true, _) => add(4, "anyone may change a program that runs as its owner"),
                    (false, 0) => add(2, "runs as root whoever starts it (set-user-ID)"),
                    (false, _) => add(1, "runs as its owner whoever starts it (set-user-ID)"),
                }
            }
            if program && mode & SET_GID != 0 && mode & 0o010 != 0 {
                add(1, "runs with its group's rights whoever starts it (set-group-ID)");
            }
            if input.redacted.is_some_and(crate::artifact::Redaction::is_key) && mode & 0o004 != 0 {
                add(3, "anyone on this host may read what looks like a private key");
            } else if kind == Kind::Secret && mode & 0o004 != 0 {
                add(2, "anyone on this host may read what looks like a secret");
            }
        }
        FileType::Directory if mode & WORLD_WRITE != 0 && mode & STICKY == 0 => {
            add(2, "anyone may replace the files in this directory (no sticky bit)");
        }
        _ => {}
    }
    if draft.risk.level > 0 {
        if mode & SET_UID != 0 && input.is_file() && kind != Kind::Script {
            draft.tags.push("setuid".to_owned());
        }
        if mode & WORLD_WRITE != 0 {
            draft.tags.push("world-writable".to_owned());
        }
    }
}

/// Kinds whose contents take effect without being started by anyone.
fn acts_on_host(kind: Kind) -> bool {
    let data = matches!(kind, Kind::Json | Kind::Toml | Kind::Yaml | Kind::Ini);
    kind == Kind::SharedLibrary || (kind.is_configuration() && !data)
}
