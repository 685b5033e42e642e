//! Cells of what has no contents: a short line of text, the same for the same state.
//!
//! ```text
//! d 0755 0 0 1700000000000000000          type mode uid gid mtime_ns
//! c 0666 0 0 1700000000000000000 1:3      device nodes: and major:minor
//! p 4242 1000 98765430000000 1f2e3d sshd  process: pid uid start_ns exe-hash comm
//! ```
//!
//! The types are d directory, b and c block and character device, p named pipe (of five fields) or process (of six), s
//! socket, f a file and l a link that could not be read. Every line fits the smallest block: 64 cells.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;

use crate::artifact::view::ProcessFacts;
use crate::artifact::{FileType, Meta};

/// Cells of the smallest block.
const RECORD_BYTES_MAX: usize = 1 << crate::fold::K_MIN;

/// The line of a directory, a special file, or anything that could not be read.
pub(super) fn metadata(meta: &Meta) -> Vec<u8> {
    let letter = match meta.file_type {
        FileType::File => 'f',
        FileType::Directory => 'd',
        FileType::Symlink => 'l',
        FileType::BlockDevice => 'b',
        FileType::CharDevice => 'c',
        FileType::Fifo => 'p',
        FileType::Socket => 's',
    };
    let mut line = format!("{letter} {:04o} {} {} {}", meta.mode, meta.uid, meta.gid, meta.mtime_ns);
    if matches!(meta.file_type, FileType::BlockDevice | FileType::CharDevice) {
        let (major, minor) = (rustix::fs::major(meta.rdev), rustix::fs::minor(meta.rdev));
        line = format!("{line} {major}:{minor}");
    }
    let mut line = line.into_bytes();
    line.truncate(RECORD_BYTES_MAX);
    line
}

/// The line of a process. The executable is in it as three bytes of its path's BLAKE3 hash, so that replacing the image
/// shows even where the name stays.
pub(super) fn process(facts: &ProcessFacts) -> Vec<u8> {
    let exe = facts.exe.as_ref().map_or(&b""[..], |e| e.as_os_str().as_bytes());
    let hash = blake3::hash(exe);
    let [a, b, c, ..] = hash.as_bytes();
    let mut line = Vec::with_capacity(RECORD_BYTES_MAX);
    // Writing to a vector does not fail.
    let _ = write!(line, "p {} {} {} {a:02x}{b:02x}{c:02x} ", facts.pid, facts.uid, facts.start_ns);
    line.extend_from_slice(&facts.comm);
    line.truncate(RECORD_BYTES_MAX);
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_directory_fits_uncut() {
        let meta = Meta {
            file_type: FileType::Directory,
            mode: 0o7777,
            uid: u32::MAX,
            gid: u32::MAX,
            size: u64::MAX,
            mtime_ns: i64::MIN,
            ctime_ns: i64::MIN,
            dev: u64::MAX,
            ino: u64::MAX,
            nlink: u64::MAX,
            rdev: u64::MAX,
        };
        let line = metadata(&meta);
        assert_eq!(line, b"d 7777 4294967295 4294967295 -9223372036854775808");
        // Devices: 12 bits of major, 20 of minor.
        let node =
            Meta { file_type: FileType::CharDevice, rdev: rustix::fs::makedev(4095, 1_048_575), ..meta };
        assert!(metadata(&node).ends_with(b" 4095:1048575"));
    }

    #[test]
    fn a_process_shows_its_image() {
        let mut facts = ProcessFacts {
            pid: 4_194_304,
            ppid: 1,
            uid: u32::MAX,
            comm: b"fifteen-letters".to_vec(),
            exe: Some("/bin/sh".into()),
            kernel_thread: false,
            start_ns: 98_765_430_000_000_000,
        };
        let before = process(&facts);
        assert!(before.len() <= RECORD_BYTES_MAX && before.ends_with(b"fifteen-letters"));
        facts.exe = Some("/bin/bash".into());
        assert_ne!(process(&facts), before);
    }
}
