//! Each kind of change, and nothing but what it is about.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::ensure;
use sfd_tests::daemon::{Daemon, sfd};
use sfd_tests::reader::{RawBrick, inspect};
use sfd_tests::wait_for;

use crate::{Bench, PATIENCE, PROMISE};

/// Does one operation and shows that the brick follows within the promise, touching nothing but `affected`.
fn check(bench: &Bench, what: &str, affected: &[&str], operation: impl FnOnce(&Bench)) {
    bench.wait_equal(&format!("quiet before {what}"), PATIENCE);
    let table_before = inspect(&bench.brick()).unwrap();
    let before = RawBrick::open(&bench.brick()).unwrap();
    operation(bench);
    let started = Instant::now();
    bench.wait_equal(what, PROMISE);
    eprintln!("{what}: right in the brick after {:?}", started.elapsed());
    let table_after = inspect(&bench.brick()).unwrap();
    let after = RawBrick::open(&bench.brick()).unwrap();
    assert_eq!(before.order, after.order, "{what}: the brick grew");

    // The subjects, and the directories whose own time stamps change with them.
    let mut subjects: BTreeSet<PathBuf> = affected.iter().map(|name| bench.path(name)).collect();
    subjects.extend(affected.iter().filter_map(|name| bench.path(name).parent().map(Path::to_path_buf)));
    let mut touched: Vec<(u64, u64)> = Vec::new();
    for (path, listed) in table_before.iter().chain(&table_after) {
        if subjects.iter().any(|subject| path == subject) {
            touched.push((listed.start, listed.start + listed.cells));
        }
    }
    let is_touched = |cell: u64| touched.iter().any(|(start, end)| (*start..*end).contains(&cell));
    for cell in 0..1_u64 << (2 * before.order) {
        let at = before.offset(cell);
        if before.body[at..at + 4] != after.body[at..at + 4] {
            assert!(is_touched(cell), "{what}: cell {cell} changed, outside of {touched:?}");
        }
    }
    // Nobody but the subjects moved.
    for (path, listed) in &table_before {
        if let Some(now) = table_after.get(path)
            && !subjects.contains(path)
        {
            assert_eq!(
                (listed.start, listed.cells),
                (now.start, now.cells),
                "{what}: {} moved",
                path.display()
            );
        }
    }
}

fn populate(bench: &Bench) {
    for n in 0..40 {
        bench.write(&format!("dir{}/file{n}.conf", n % 4), format!("key{n} = {n}\n").repeat(1 + n * 3));
    }
    bench.write("empty", "");
    bench.write("large", vec![7; 300_000]);
    std::os::unix::fs::symlink("empty", bench.path("link")).unwrap();
    for n in 0..100 {
        bench.write(&format!("hundred/{n}.txt"), format!("{n}\n"));
    }
    bench.write("mapped", vec![b'm'; 8192]);
    bench.write("uring", "before\n");
}

#[test]
fn every_kind_of_change_is_right_within_a_second_and_touches_nothing_else() {
    let bench = Bench::new();
    populate(&bench);
    let daemon = bench.live();
    check(&bench, "create", &["new"], |b| drop(b.write("new", "hello\n")));
    check(&bench, "append", &["new"], |b| {
        fs::File::options().append(true).open(b.path("new")).unwrap().write_all(b"more\n").unwrap();
    });
    check(&bench, "grow past its block", &["new"], |b| drop(b.write("new", vec![b'x'; 5000])));
    check(&bench, "truncate", &["new"], |b| {
        fs::File::options().write(true).open(b.path("new")).unwrap().set_len(3).unwrap();
    });
    check(&bench, "truncate by path", &["new"], |b| {
        let path = std::ffi::CString::new(b.path("new").to_str().unwrap()).unwrap();
        // SAFETY: a valid C string.
        assert_eq!(unsafe { libc::truncate(path.as_ptr(), 1) }, 0);
    });
    check(&bench, "overwrite by rename", &["dir1/file1.conf", "dir1/file1.conf.tmp"], |b| {
        b.write("dir1/file1.conf.tmp", "replaced = true\n");
        fs::rename(b.path("dir1/file1.conf.tmp"), b.path("dir1/file1.conf")).unwrap();
    });
    check(&bench, "chmod", &["dir2/file2.conf"], |b| {
        fs::set_permissions(b.path("dir2/file2.conf"), fs::Permissions::from_mode(0o600)).unwrap();
    });
    check(&bench, "delete", &["dir3/file3.conf"], |b| fs::remove_file(b.path("dir3/file3.conf")).unwrap());
    let deep: Vec<String> = (1..=12).map(|n| vec!["deep"; n].join("/")).collect();
    let deep: Vec<&str> = deep.iter().map(String::as_str).collect();
    check(&bench, "mkdir -p", &deep, |b| fs::create_dir_all(b.path(deep.last().unwrap())).unwrap());
    check(&bench, "rename of a directory with 100 files", &["hundred", "century"], |b| {
        fs::rename(b.path("hundred"), b.path("century")).unwrap();
    });
    check(&bench, "a change below a renamed directory", &["century/7.txt"], |b| {
        drop(b.write("century/7.txt", "seven\n"));
    });
    check(&bench, "mmap", &["mapped"], |b| {
        let file = fs::File::options().read(true).write(true).open(b.path("mapped")).unwrap();
        // SAFETY: nobody else changes the file while it is mapped here.
        let mut map = unsafe { memmap2::MmapMut::map_mut(&file).unwrap() };
        map[5000..5006].copy_from_slice(b"mapped");
    });
    check(&bench, "io_uring", &["uring"], |b| uring_write(&b.path("uring"), b"after, by io_uring\n"));
    check(&bench, "symlink replaced", &["link", "link2"], |b| {
        std::os::unix::fs::symlink("large", b.path("link2")).unwrap();
        fs::rename(b.path("link2"), b.path("link")).unwrap();
    });
    check(&bench, "large file", &["large"], |b| {
        fs::File::options().write(true).open(b.path("large")).unwrap().write_all_at(b"!", 150_000).unwrap();
    });
    // Its block is free again afterwards, and so are those of everything below it.
    check(&bench, "rm -r", &deep, |b| fs::remove_dir_all(b.path("deep/deep")).unwrap());
    check(&bench, "rmdir", &["deep"], |b| fs::remove_dir(b.path("deep")).unwrap());
    assert_eq!(daemon.terminate(), Some(0));
    assert!(sfd(&["verify"]).arg(bench.brick()).status().unwrap().success());
}

fn uring_write(path: &Path, bytes: &[u8]) {
    let file = fs::File::options().write(true).open(path).unwrap();
    let mut ring = io_uring::IoUring::new(4).unwrap();
    let fd = io_uring::types::Fd(file.as_raw_fd());
    let entry = io_uring::opcode::Write::new(fd, bytes.as_ptr(), u32::try_from(bytes.len()).unwrap()).build();
    // SAFETY: `bytes` and `file` live until the completion below.
    unsafe { ring.submission().push(&entry).unwrap() };
    ring.submit_and_wait(1).unwrap();
    let done = ring.completion().next().unwrap();
    assert_eq!(usize::try_from(done.result()).unwrap(), bytes.len());
}

#[test]
fn hostile_names_and_special_files_are_in_the_brick() {
    use std::os::unix::ffi::OsStrExt;
    let bench = Bench::new();
    let daemon = bench.live();
    for name in [&b"new\nline"[..], b"not utf-8 \xff\xfe", b" ", b"-rf", b"\x1b[2Jescape", &[b'n'; 255]] {
        fs::write(bench.root.join(std::ffi::OsStr::from_bytes(name)), name).unwrap();
    }
    // A path beyond 4096 bytes, made step by step because no system call takes it whole.
    let mut at =
        rustix::fs::open(&bench.root, rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
    let long = "d".repeat(250);
    for _ in 0..15 {
        rustix::fs::mkdirat(&at, &*long, rustix::fs::Mode::from_raw_mode(0o755)).unwrap();
        at = rustix::fs::openat(&at, &*long, rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty())
            .unwrap();
    }
    Command::new("mkfifo").arg(bench.path("fifo")).status().unwrap();
    Command::new("mknod").arg(bench.path("null")).args(["c", "1", "3"]).status().unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(bench.path("socket")).unwrap();
    std::os::unix::fs::symlink("loop", bench.path("loop")).unwrap();
    bench.wait_equal("hostile names", PROMISE);
    let listed = inspect(&bench.brick()).unwrap();
    assert_eq!(listed[&bench.path("fifo")].file_type, "fifo");
    assert_eq!(listed[&bench.path("null")].file_type, "char_device");
    assert_eq!(listed[&bench.path("socket")].file_type, "socket");
    // What a terminal gets of them holds no control character but line ends.
    let text = sfd(&["inspect"]).arg(bench.brick()).output().unwrap().stdout;
    assert!(!text.iter().any(|byte| *byte < b' ' && *byte != b'\n'));
    drop(daemon);
}

#[test]
fn twenty_thousand_writes_are_a_handful_of_events() {
    let bench = Bench::new();
    let file = bench.write("counter", "0\n");
    let daemon = bench.live();
    let ino = std::os::unix::fs::MetadataExt::ino(&fs::metadata(&file).unwrap());
    let before = events_of_inodes(&daemon);
    let open = fs::File::options().write(true).open(&file).unwrap();
    for n in 1..=20_000 {
        open.write_all_at(format!("{n:08}\n").as_bytes(), 0).unwrap();
    }
    bench.wait_equal("the last of 20000 writes", PROMISE);
    let listed = inspect(&bench.brick()).unwrap();
    let raw = RawBrick::open(&bench.brick()).unwrap();
    assert_eq!(raw.cells(listed[&file].start, 9), b"00020000\n");
    let events = events_of_inodes(&daemon) - before;
    eprintln!("20000 writes to inode {ino}: {events} events");
    assert!((1..=200).contains(&events), "{events} events");
}

fn events_of_inodes(daemon: &Daemon) -> u64 {
    let events = daemon.status().unwrap()["events"]["events"].clone();
    ["inode_dirty", "folio_dirty"].iter().filter_map(|op| events[*op].as_u64()).sum()
}

#[test]
fn appending_while_being_read_ends_in_the_last_state() {
    let bench = Bench::new();
    let path = bench.write("busy", "");
    let daemon = bench.live();
    let mut file = fs::File::options().write(true).open(&path).unwrap();
    let until = Instant::now() + Duration::from_secs(2);
    let mut n = 0_u64;
    while Instant::now() < until {
        file.seek(SeekFrom::Start(0)).unwrap();
        file.write_all(format!("{n:020}\n").repeat(500).as_bytes()).unwrap();
        n += 1;
    }
    bench.wait_equal("the last state of a file that never rested", PROMISE);
    drop(daemon);
}

#[test]
fn a_file_opened_with_o_excl_and_mode_is_right_too() {
    let bench = Bench::new();
    let daemon = bench.live();
    let mut file =
        fs::File::options().write(true).create_new(true).mode(0o640).open(bench.path("excl")).unwrap();
    file.write_all(b"exclusive\n").unwrap();
    bench.wait_equal("O_EXCL", PROMISE);
    drop(daemon);
}

#[test]
fn names_relative_to_a_directory_above_and_a_root_that_goes_and_comes_back() {
    let bench = Bench::new();
    bench.write("sub/file", "x\n");
    bench.write("other", "y\n");
    let daemon = bench.live();
    let base = bench.root.parent().unwrap();
    let sh = |script: &str| {
        assert!(Command::new("sh").args(["-c", script]).current_dir(base).status().unwrap().success());
    };
    sh("rm root/sub/file && mkdir root/sub/new && echo z > root/sub/new/z");
    bench.wait_equal("names relative to a directory above the root", PROMISE);
    sh("cd root/sub && mv ../other ../sub/./moved && ln -s ../sub/moved ../link");
    bench.wait_equal("names with dots", PROMISE);
    sh("mv root elsewhere");
    wait_for("the root to be shown as gone", PROMISE, || {
        let listed = inspect(&bench.brick())?;
        ensure!(listed.len() == 1 && listed[&bench.root].unverified, "{listed:?}");
        Ok(())
    });
    sh("mv elsewhere root");
    bench.wait_equal("the root after its return", PROMISE);
    drop(daemon);
}

#[test]
fn a_file_system_mounted_over_a_directory_is_what_the_brick_shows() {
    let bench = Bench::new();
    bench.write("under/hidden", "below the mount\n");
    let daemon = bench.live();
    let run = |args: &[&str]| {
        assert!(Command::new(args[0]).args(&args[1..]).status().unwrap().success(), "{args:?}");
    };
    let at = bench.path("under");
    // Twice: the second mount gets the number of the first one, and another device.
    for round in 0..2 {
        run(&["mount", "-t", "tmpfs", "sfd-test", at.to_str().unwrap()]);
        bench.write("under/shown", format!("{round}\n"));
        bench.wait_equal("the mounted file system", PROMISE);
        bench.write("under/shown", format!("{round}, again\n"));
        bench.wait_equal("a change on it", PROMISE);
        run(&["umount", at.to_str().unwrap()]);
        bench.wait_equal("what was hidden", PROMISE);
    }
    drop(daemon);
}
