//! The operations.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::place::Place;

/// Whether the file system knows the operation.
pub(crate) enum Done {
    Done,
    Refused,
}

/// One row of the table.
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    /// Within which it must be right in the brick, from the end of the operation.
    pub(crate) bound: Duration,
    /// Makes what it needs; the brick is right afterwards.
    pub(crate) before: fn(&Place) -> Result<()>,
    pub(crate) act: fn(&Place) -> Result<Done>,
    /// Undoes what the next operation could not stand.
    pub(crate) after: fn(&Place) -> Result<()>,
}

/// The promise: the batch window plus one second.
const PROMISE: Duration = Duration::from_millis(1050);

/// Whole pages and whole blocks: FICLONE into a longer file wants that.
const FILE_LEN: usize = 16_384;

const fn plain(name: &'static str, act: fn(&Place) -> Result<Done>) -> Operation {
    Operation { name, bound: PROMISE, before: files, act, after: nothing }
}

const fn prepared(
    name: &'static str,
    before: fn(&Place) -> Result<()>,
    act: fn(&Place) -> Result<Done>,
) -> Operation {
    Operation { name, bound: PROMISE, before, act, after: nothing }
}

#[expect(clippy::unnecessary_wraps, reason = "the shape of what others undo")]
fn nothing(_: &Place) -> Result<()> {
    Ok(())
}

/// Nothing but files of 16 KiB with their pages on disk and clean, as most files of a host are.
fn files(place: &Place) -> Result<()> {
    for dir in ["root", "second", "beside"] {
        for entry in fs::read_dir(place.outside(dir))? {
            let path = entry?.path();
            if fs::symlink_metadata(&path)?.is_dir() {
                fs::remove_dir_all(&path)?;
            } else {
                fs::remove_file(&path)?;
            }
        }
    }
    fs::create_dir_all(place.path("dir/sub"))?;
    for name in ["file", "other", "dir/inner", "dir/sub/deep"] {
        write_clean(&place.path(name), name)?;
    }
    write_clean(&place.outside("beside/from"), "from")?;
    write_clean(&place.outside("second/there"), "there")
}

fn write_clean(path: &Path, text: &str) -> Result<()> {
    let mut bytes = text.repeat(FILE_LEN / text.len() + 1).into_bytes();
    bytes.truncate(FILE_LEN);
    fs::write(path, bytes)?;
    fs::File::open(path)?.sync_all()?;
    Ok(())
}

/// The file with pages that are dirty because the helper has just written them, and already right in the brick.
fn dirty(place: &Place) -> Result<()> {
    files(place)?;
    place.settle("files");
    place.ops(&["write", "file", "the first write"])?;
    Ok(())
}

/// Every row. Operations take the files of [`files`], in the watched directory.
pub(crate) const OPERATIONS: &[Operation] = &[
    plain("write", |p| p.ops(&["write", "file", "written"])),
    prepared("write into a dirty page", dirty, |p| p.ops(&["write", "file", "again and again"])),
    plain("pwritev", |p| p.ops(&["pwritev", "file", "vectors"])),
    plain("append", |p| p.ops(&["append", "file", "appended"])),
    plain("O_DIRECT", |p| p.ops(&["direct", "file"])),
    plain("open O_TRUNC", |p| p.ops(&["open_trunc", "file"])),
    plain("truncate", |p| p.ops(&["truncate", "file", "100"])),
    plain("ftruncate", |p| p.ops(&["ftruncate", "file", "200"])),
    plain("fallocate", |p| p.ops(&["fallocate", "file", "32768"])),
    plain("fallocate, punch hole", |p| p.ops(&["punch", "file", "8192"])),
    plain("fallocate, punch part of a page", |p| p.ops(&["punch", "file", "100"])),
    plain("fallocate, collapse", |p| p.ops(&["collapse", "file", "4096"])),
    plain("fallocate, zero", |p| p.ops(&["zero", "file", "4096"])),
    plain("sendfile", |p| p.ops(&["sendfile", "other", "file"])),
    plain("splice", |p| p.ops(&["splice", "file", "spliced"])),
    plain("copy_file_range", |p| p.ops(&["copy_file_range", "other", "file"])),
    plain("FICLONE", |p| p.ops(&["ficlone", "other", "file"])),
    plain("aio", |p| p.ops(&["aio", "file", "asynchronous"])),
    plain("io_uring WRITE", |p| p.ops(&["uring_write", "file", "through a ring"])),
    plain("io_uring FTRUNCATE", |p| p.ops(&["uring_ftruncate", "file", "300"])),
    plain("io_uring OPENAT, O_TRUNC", |p| p.ops(&["uring_open_trunc", "file"])),
    plain("io_uring RENAMEAT", |p| p.ops(&["uring_rename", "file", "renamed"])),
    plain("io_uring UNLINKAT", |p| p.ops(&["uring_unlink", "file"])),
    plain("io_uring MKDIRAT", |p| p.ops(&["uring_mkdir", "made by uring"])),
    plain("io_uring LINKAT", |p| p.ops(&["uring_link", "file", "linked by uring"])),
    plain("io_uring SYMLINKAT", |p| p.ops(&["uring_symlink", "file", "symlinked by uring"])),
    plain("mmap, first store", first_store),
    plain("mmap, later store to a dirty page", |p| later_store(p, "open")),
    plain("mmap, store after close", |p| later_store(p, "closed")),
    plain("rename", |p| p.ops(&["renameat2", "file", "moved"])),
    plain("rename over", |p| p.ops(&["renameat2", "file", "other"])),
    plain("rename, exchange", |p| p.ops(&["exchange", "file", "other"])),
    plain("rename, exchange of directory and file", |p| p.ops(&["exchange", "file", "dir/sub"])),
    plain("rename, noreplace", |p| p.ops(&["noreplace", "file", "new name"])),
    plain("rename between watched roots", |p| p.ops(&["renameat2", "file", "../second/came"])),
    plain("rename into a root", |p| p.ops(&["renameat2", "../beside/from", "arrived"])),
    plain("rename out of a root", |p| p.ops(&["renameat2", "file", "../beside/left"])),
    plain("rename a directory with children", |p| p.ops(&["renameat2", "dir/sub", "sub"])),
    prepared("rename a directory over another", empty_directory, |p| {
        p.ops(&["renameat2", "dir/sub", "empty"])
    }),
    plain("link", |p| p.ops(&["linkat", "file", "hard link"])),
    plain("symlink", |p| p.ops(&["symlinkat", "file", "soft link"])),
    plain("unlink", |p| p.ops(&["unlinkat", "file"])),
    prepared("rmdir", empty_directory, |p| p.ops(&["removedir", "empty"])),
    plain("mkdir", |p| p.ops(&["mkdirat", "directory"])),
    plain("mknod", |p| p.ops(&["mknodat", "node"])),
    plain("O_TMPFILE and linkat", |p| p.ops(&["tmpfile", "named later"])),
    plain("chmod", |p| p.ops(&["fchmodat2", "file"]).or_else(|_| p.ops(&["fchmodat", "file"]))),
    plain("chown", |p| p.ops(&["fchownat", "file"])),
    plain("utimensat", |p| p.ops(&["utimensat", "file"])),
    plain("setxattr", |p| p.ops(&["setxattr", "file", "user.sfd"])),
    prepared("removexattr", with_attribute, |p| p.ops(&["removexattr", "file", "user.sfd"])),
    Operation {
        after: |p| {
            p.ops(&["umount", "dir"])?;
            p.settle("the end of the mount");
            Ok(())
        },
        ..plain("mount over a directory", |p| p.ops(&["mount", "dir"]))
    },
    prepared(
        "umount",
        |p| files(p).and_then(|()| p.ops(&["mount", "dir"]).map(drop)),
        |p| p.ops(&["umount", "dir"]),
    ),
    Operation {
        after: |p| p.ops(&["umount", "dir"]).map(drop),
        ..plain("bind mount over a directory", |p| p.ops(&["bind_mount", "../beside", "dir"]))
    },
    Operation {
        before: |p| {
            files(p)?;
            fs::create_dir_all(p.outside("beside/bound"))?;
            let (from, to) = (p.path("dir"), p.outside("beside/bound"));
            p.ops(&["bind_mount", from.to_str().context("path")?, to.to_str().context("path")?]).map(drop)
        },
        after: |p| p.ops(&["umount", "../beside/bound"]).map(drop),
        ..plain("write through a bind mount elsewhere", |p| {
            p.ops(&["write", "../beside/bound/inner", "by another way"])
        })
    },
    plain("write from another mount namespace", |p| {
        p.ops(&["--mount-namespace", "write", "file", "from elsewhere"])
    }),
    plain("rename from another mount namespace", |p| {
        p.ops(&["--mount-namespace", "renameat2", "file", "from elsewhere"])
    }),
    plain("write in a chroot, as a container does", |p| in_chroot(p, &["write", "/dir/inner", "inside"])),
    plain("rename in a chroot, as a container does", |p| {
        in_chroot(p, &["renameat2", "/dir/inner", "/dir/sub/inside"])
    }),
    plain("32-bit write", |p| compat(p, &["compat_write", "file", "by 32 bits"])),
    plain("32-bit rename", |p| compat(p, &["compat_rename", "file", "by 32 bits"])),
    plain("32-bit chmod", |p| compat(p, &["compat_chmod", "file"])),
    plain("32-bit unlink", |p| compat(p, &["compat_unlink", "file"])),
];

fn empty_directory(place: &Place) -> Result<()> {
    files(place)?;
    fs::create_dir_all(place.path("empty"))?;
    Ok(())
}

fn with_attribute(place: &Place) -> Result<()> {
    files(place)?;
    place.ops(&["setxattr", "file", "user.sfd"])?;
    Ok(())
}

fn in_chroot(place: &Place, args: &[&str]) -> Result<Done> {
    let root = place.path("");
    let mut all = vec!["--mount-namespace", "--chroot", root.to_str().context("path")?];
    all.extend(args);
    place.ops(&all)
}

/// Where the kernel runs no 32-bit programs, there is nothing to see.
fn compat(place: &Place, args: &[&str]) -> Result<Done> {
    if cfg!(target_arch = "x86_64") { place.ops(args) } else { Ok(Done::Refused) }
}

/// A process that has mapped the file, and answers.
struct Mapper {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Mapper {
    fn start(place: &Place, state: &str) -> Result<Self> {
        let mut child = place.start(&["mapped", "file", "first store", "later store", state])?;
        let answers = BufReader::new(child.stdout.take().context("piped")?);
        let mut mapper = Self { child, answers };
        mapper.stored()?;
        Ok(mapper)
    }

    /// Waits until it has stored.
    fn stored(&mut self) -> Result<()> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        ensure!(line.trim() == "stored", "the helper said {line:?}");
        Ok(())
    }

    fn go_on(&mut self) -> Result<()> {
        self.child.stdin.as_mut().context("piped")?.write_all(b"\n")?;
        Ok(())
    }
}

impl Drop for Mapper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn first_store(place: &Place) -> Result<Done> {
    // It ends right after the store, as a short-lived process does.
    Mapper::start(place, "open").map(|_| Done::Done)
}

/// The store that counts goes into a page that is dirty by the first one, which is already right in the brick.
fn later_store(place: &Place, state: &str) -> Result<Done> {
    let mut mapper = Mapper::start(place, state)?;
    place.settle("the first store");
    mapper.go_on()?;
    mapper.stored()?;
    Ok(Done::Done)
}
