//! Who can write a file without any call: shared writable mappings.
//!
//! The first store into a clean page is reported, later ones by nobody, until the page is clean again; on tmpfs, whose
//! pages never are, maybe none. So a file that is mapped that way is read again on a timer, as long as it is. The list
//! comes from `/proc/PID/maps` (proc_pid_maps(5)) of every process that may be looked at.

use std::collections::HashSet;
use std::io;

use super::{InodeId, device};

/// Every inode that some process has mapped shared and writable, by the kernel's identity: the device in `maps` is the
/// superblock's (`show_map_vma` of fs/proc/task_mmu.c).
///
/// Costs about 50 µs for each process. Processes that end meanwhile, or may not be looked at, are left out.
///
/// # Errors
/// When `/proc` cannot be listed.
pub fn writable() -> io::Result<HashSet<InodeId>> {
    let mut found = HashSet::new();
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let name = entry.file_name();
        if !name.as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        if let Ok(maps) = std::fs::read(entry.path().join("maps")) {
            found.extend(maps.split(|byte| *byte == b'\n').filter_map(parse));
        }
    }
    Ok(found)
}

/// Reads `start-end rwxs offset major:minor inode path`; `None` for anything but a shared writable mapping of a file.
fn parse(line: &[u8]) -> Option<InodeId> {
    let mut fields = line.split(|byte| *byte == b' ').filter(|field| !field.is_empty());
    let [_, write, _, shared] = *fields.nth(1)?.first_chunk()?;
    if write != b'w' || shared != b's' {
        return None;
    }
    let (major, minor) = std::str::from_utf8(fields.nth(1)?).ok()?.split_once(':')?;
    let ino = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let number = |text| u32::from_str_radix(text, 16).ok();
    (ino != 0).then_some(InodeId { dev: device::encode(number(major)?, number(minor)?), ino })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_maps() {
        let file = InodeId { dev: 0xfe << 20 | 1, ino: 1234 };
        for (line, expected) in [
            ("7f00-7f01 rw-s 00000000 fe:01 1234                       /var/a b", Some(file)),
            ("7f00-7f01 rw-p 00000000 fe:01 1234 /private", None),
            ("7f00-7f01 r--s 00000000 fe:01 1234 /read", None),
            ("7f00-7f01 rw-s 00000000 00:00 0", None),
            ("7f00-7f01", None),
            ("", None),
        ] {
            assert_eq!(parse(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn a_mapping_is_found_while_it_lasts() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        let id = super::super::DeviceMap::new().inode_id_of(&file).unwrap();
        assert!(!writable().unwrap().contains(&id));
        // SAFETY: nobody else has this file.
        let map = unsafe { memmap2::MmapMut::map_mut(&file).unwrap() };
        drop(file);
        assert!(writable().unwrap().contains(&id));
        drop(map);
        assert!(!writable().unwrap().contains(&id));
    }
}
