//! Directories, symbolic links and special files.

use std::os::unix::ffi::OsStrExt;

use super::{ArtifactInput, Draft, FileType};

pub(super) fn is_directory(input: &ArtifactInput<'_>) -> bool {
    input.meta.file_type == FileType::Directory
}

pub(super) fn describe_directory(input: &ArtifactInput<'_>) -> Draft {
    let draft = Draft::new(
        input.shown_name(),
        format!("Directory, mode {:04o}, owner {}:{}.", input.meta.mode, input.meta.uid, input.meta.gid),
    );
    match input.boundary {
        Some(name) => {
            let draft = draft.tag(name);
            let summary =
                format!("{} On {name}, a pseudo file system, which is not looked into.", draft.summary);
            Draft { summary, ..draft }
        }
        None if input.name().starts_with(b".") => draft.tag("hidden"),
        None => draft,
    }
}

pub(super) fn is_symlink(input: &ArtifactInput<'_>) -> bool {
    input.meta.file_type == FileType::Symlink
}

pub(super) fn describe_symlink(input: &ArtifactInput<'_>) -> Draft {
    if input.unread {
        return Draft::new(input.shown_name(), "Symbolic link whose target may not be read.");
    }
    let target = String::from_utf8_lossy(input.head);
    let process = matches!(input.nature, super::Nature::Projection { .. });
    let (title, summary) = if process {
        (format!("executable {target}"), format!("The process runs {target}."))
    } else {
        (format!("{} → {target}", input.shown_name()), format!("Symbolic link to {target}."))
    };
    let draft = Draft::new(title, summary);
    if process && input.head.ends_with(b" (deleted)") {
        // The process itself says how bad that is.
        return draft.tag("deleted");
    }
    if !process && input.head == b"/dev/null" {
        return draft.tag("masked");
    }
    draft
}

pub(super) fn is_special(input: &ArtifactInput<'_>) -> bool {
    matches!(
        input.meta.file_type,
        FileType::BlockDevice | FileType::CharDevice | FileType::Fifo | FileType::Socket
    )
}

pub(super) fn describe_special(input: &ArtifactInput<'_>) -> Draft {
    let (what, tag, device) = match input.meta.file_type {
        FileType::BlockDevice => ("Block device", "block-device", true),
        FileType::CharDevice => ("Character device", "character-device", true),
        FileType::Fifo => ("Named pipe", "fifo", false),
        _ => ("Unix socket", "socket", false),
    };
    let meta = input.meta;
    let number = if device {
        format!(" {}:{}", rustix::fs::major(meta.rdev), rustix::fs::minor(meta.rdev))
    } else {
        String::new()
    };
    let draft = Draft::new(
        input.shown_name(),
        format!("{what}{number}, mode {:04o}, owner {}:{}.", meta.mode, meta.uid, meta.gid),
    )
    .tag(tag);
    if device && !input.path.as_os_str().as_bytes().starts_with(b"/dev/") && meta.rdev != 0 {
        return draft.risk(2, "a device node outside /dev");
    }
    draft
}
