//! Does one thing to a file system or to itself, by exactly the system call it is named after.
//!
//! ```text
//! ops [--mount-namespace] [--chroot DIR] [--in DIR] OPERATION ARGUMENT...
//! ```
//!
//! SFD leaves its own process out of what it reports, so the tests let this program do it. `ops list` names all
//! operations. It prints the error and ends with 1 when the call fails.

use std::{
    ffi::{CString, OsString},
    fs::{File, OpenOptions},
    io::Write,
    os::{
        fd::{AsRawFd, FromRawFd},
        unix::ffi::OsStrExt,
        unix::fs::{FileExt, OpenOptionsExt},
    },
    process::Command,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use io_uring::{IoUring, opcode, squeue::Entry, types};
use libc::c_long;
use rustix::mount::MountPropagationFlags;

fn main() -> Result<()> {
    let mut args: Vec<OsString> = std::env::args_os().skip(1).collect();
    if args.first().is_some_and(|first| first == "--mount-namespace") {
        // SAFETY: this process has one thread; the flag changes nothing but the namespace it is in.
        let left = unsafe { libc::unshare(libc::CLONE_NEWNS) };
        ensure!(left == 0, "unshare: {}", std::io::Error::last_os_error());
        rustix::mount::mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
        args.remove(0);
    }
    if args.first().is_some_and(|first| first == "--chroot") {
        ensure!(args.len() > 2, "--chroot needs a directory and an operation");
        std::os::unix::fs::chroot(&args[1]).with_context(|| format!("{}", args[1].display()))?;
        std::env::set_current_dir("/")?;
        args.drain(..2);
    }
    if args.first().is_some_and(|first| first == "--in") {
        ensure!(args.len() > 2, "--in needs a directory and an operation");
        std::env::set_current_dir(&args[1]).with_context(|| format!("{}", args[1].display()))?;
        args.drain(..2);
    }
    let Some((name, rest)) = args.split_first() else { bail!("which operation? `ops list` names them") };
    let name = name.to_str().context("an operation is ASCII")?;
    if name == "list" {
        for (name, arguments, _) in OPERATIONS {
            println!("{name} {arguments}");
        }
        return Ok(());
    }
    let (_, arguments, run) = OPERATIONS
        .iter()
        .find(|(each, ..)| *each == name)
        .ok_or_else(|| anyhow!("no operation {name:?}; `ops list` names them"))?;
    run(&Args(rest.to_vec())).with_context(|| format!("ops {name} {arguments}"))
}

/// Arguments after the operation's name.
struct Args(Vec<OsString>);

impl Args {
    fn at(&self, index: usize) -> Result<&OsString> {
        self.0.get(index).ok_or_else(|| anyhow!("argument {} is missing", index + 1))
    }

    fn path(&self, index: usize) -> Result<CString> {
        Ok(CString::new(self.at(index)?.as_bytes())?)
    }

    fn number(&self, index: usize) -> Result<u64> {
        self.at(index)?.to_str().and_then(|text| text.parse().ok()).context("a number is wanted")
    }

    fn open(&self, index: usize) -> Result<File> {
        let path = self.at(index)?;
        OpenOptions::new().read(true).write(true).open(path).with_context(|| format!("{}", path.display()))
    }
}

/// A system call argument.
enum A<'a> {
    N(i64),
    P(&'a CString),
    B(&'a [u8]),
}

/// Calls by number and turns -1 into an error.
fn call(number: c_long, args: &[A<'_>]) -> Result<i64> {
    let word = |at: usize| match args.get(at) {
        None => 0,
        Some(A::N(number)) => *number,
        Some(A::P(path)) => path.as_ptr() as c_long,
        Some(A::B(bytes)) => bytes.as_ptr() as c_long,
    };
    // SAFETY: addresses are those of live objects of the size the call reads; none of the calls writes into them.
    let result = unsafe { libc::syscall(number, word(0), word(1), word(2), word(3), word(4), word(5)) };
    if result < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(result)
}

/// The same for calls that return a descriptor: it is closed again.
fn call_fd(number: c_long, args: &[A<'_>]) -> Result<()> {
    let fd = i32::try_from(call(number, args)?)?;
    // SAFETY: just made by the kernel.
    drop(unsafe { File::from_raw_fd(fd) });
    Ok(())
}

fn done(result: Result<i64>) -> Result<()> {
    result.map(|_| ())
}

const HERE: A<'static> = A::N(libc::AT_FDCWD as i64);
const MODE: i64 = 0o600;
const SYS_FCHMODAT2: c_long = 452;
const SYS_SETXATTRAT: c_long = 463;
const SYS_REMOVEXATTRAT: c_long = 466;
const FS_IOC_SETFLAGS: i64 = 0x4008_6602;
const FICLONE: i64 = 0x4004_9409;

fn fd(file: &File) -> A<'static> {
    A::N(file.as_raw_fd().into())
}

/// Queues one request and waits for its result.
fn uring(entry: &Entry) -> Result<i32> {
    let mut ring = IoUring::new(4).context("io_uring")?;
    // SAFETY: whatever the entry points to outlives this function, which waits for completion.
    unsafe { ring.submission().push(entry) }.map_err(|_| anyhow!("the queue is full"))?;
    ring.submit_and_wait(1)?;
    let result = ring.completion().next().context("no completion")?.result();
    if result < 0 {
        return Err(std::io::Error::from_raw_os_error(-result).into());
    }
    Ok(result)
}

fn here() -> types::Fd {
    types::Fd(libc::AT_FDCWD)
}

/// An argument of a 32-bit call.
#[cfg(target_arch = "x86_64")]
enum Slot {
    Number(u32),
    /// Address of one of the texts.
    Text(usize),
}

/// Makes a system call the way a 32-bit program does, by its number in the i386 table.
#[cfg(target_arch = "x86_64")]
fn compat(number: i32, texts: &[CString], slots: [Slot; 3]) -> Result<()> {
    // Addresses of 32-bit calls have 32 bits.
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
    // SAFETY: a new mapping.
    let low = unsafe {
        libc::mmap(std::ptr::null_mut(), 1 << 16, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
    };
    ensure!(low != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
    let mut words = [0_u32; 3];
    for (word, slot) in words.iter_mut().zip(slots) {
        *word = match slot {
            Slot::Number(number) => number,
            Slot::Text(index) => {
                let bytes = texts.get(index).context("no such text")?.as_bytes_with_nul();
                ensure!(bytes.len() <= 8192, "a text is too long");
                let at = low as usize + index * 8192;
                // SAFETY: inside the mapping: two texts of at most 8192 bytes each.
                unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at as *mut u8, bytes.len()) };
                u32::try_from(at)?
            }
        };
    }
    let result: i32;
    // SAFETY: a system call that reads the texts; `int 0x80` keeps all registers but the result (entry_INT80_compat), and
    // rbx, which the compiler keeps for itself, is put back.
    unsafe {
        std::arch::asm!(
            "xchg {first:r}, rbx",
            "int 0x80",
            "xchg {first:r}, rbx",
            first = inout(reg) u64::from(words[0]) => _,
            inout("eax") number => result,
            in("ecx") words[1],
            in("edx") words[2],
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    if result < 0 {
        return Err(std::io::Error::from_raw_os_error(-result).into());
    }
    Ok(())
}

type Operation = (&'static str, &'static str, fn(&Args) -> Result<()>);

/// Every operation: name, arguments, what it does.
const OPERATIONS: &[Operation] = &[
    // contents
    ("write", "PATH TEXT: overwrites from the start", |a| {
        Ok(a.open(0)?.write_all_at(a.at(1)?.as_bytes(), 0)?)
    }),
    ("append", "PATH TEXT", |a| {
        Ok(OpenOptions::new().append(true).open(a.at(0)?)?.write_all(a.at(1)?.as_bytes())?)
    }),
    ("writes", "PATH COUNT: that many writes of a growing number", |a| {
        let file = a.open(0)?;
        for number in 1..=a.number(1)? {
            file.write_all_at(format!("{number}\n").as_bytes(), 0)?;
        }
        Ok(())
    }),
    ("pwritev", "PATH TEXT", |a| {
        use std::io::{IoSlice, Seek};
        let mut file = a.open(0)?;
        file.rewind()?;
        let text = a.at(1)?.as_bytes();
        let written = file.write_vectored(&[IoSlice::new(text), IoSlice::new(b"\n")])?;
        ensure!(written == text.len() + 1, "a short write");
        Ok(())
    }),
    ("mmap", "PATH TEXT: stores through a shared mapping, keeps the length", |a| {
        let file = a.open(0)?;
        // SAFETY: nobody truncates the file while this process runs.
        let mut map = unsafe { memmap2::MmapMut::map_mut(&file)? };
        let text = a.at(1)?.as_bytes();
        map.get_mut(..text.len()).context("the file is shorter than the text")?.copy_from_slice(text);
        Ok(())
    }),
    ("sendfile", "FROM TO", |a| {
        let (from, to) = (File::open(a.at(0)?)?, a.open(1)?);
        done(call(libc::SYS_sendfile, &[fd(&to), fd(&from), A::N(0), A::N(1 << 20)]))
    }),
    ("direct", "PATH: writes a page with O_DIRECT", |a| {
        let file = OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(a.at(0)?)?;
        let page = memmap2::MmapMut::map_anon(4096)?;
        Ok(file.write_all_at(&page, 0)?)
    }),
    ("truncate", "PATH LENGTH", |a| {
        done(call(libc::SYS_truncate, &[A::P(&a.path(0)?), A::N(a.number(1)?.cast_signed())]))
    }),
    ("ftruncate", "PATH LENGTH", |a| {
        done(call(libc::SYS_ftruncate, &[fd(&a.open(0)?), A::N(a.number(1)?.cast_signed())]))
    }),
    ("fallocate", "PATH LENGTH", |a| {
        done(call(
            libc::SYS_fallocate,
            &[fd(&a.open(0)?), A::N(0), A::N(0), A::N(a.number(1)?.cast_signed())],
        ))
    }),
    ("punch", "PATH LENGTH: a hole from the start", |a| {
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        let length = A::N(a.number(1)?.cast_signed());
        done(call(libc::SYS_fallocate, &[fd(&a.open(0)?), A::N(mode.into()), A::N(0), length]))
    }),
    ("collapse", "PATH LENGTH: takes that much out at the start", |a| {
        let length = A::N(a.number(1)?.cast_signed());
        let mode = A::N(libc::FALLOC_FL_COLLAPSE_RANGE.into());
        done(call(libc::SYS_fallocate, &[fd(&a.open(0)?), mode, A::N(0), length]))
    }),
    ("zero", "PATH LENGTH: zeroes from the start", |a| {
        let length = A::N(a.number(1)?.cast_signed());
        let mode = A::N((libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE).into());
        done(call(libc::SYS_fallocate, &[fd(&a.open(0)?), mode, A::N(0), length]))
    }),
    ("splice", "PATH TEXT: through a pipe", |a| {
        let (reader, mut writer) = std::io::pipe()?;
        let text = a.at(1)?.as_bytes();
        writer.write_all(text)?;
        let (to, len) = (a.open(0)?, A::N(i64::try_from(text.len())?));
        let from = A::N(reader.as_raw_fd().into());
        done(call(libc::SYS_splice, &[from, A::N(0), fd(&to), A::N(0), len, A::N(0)]))
    }),
    ("aio", "PATH TEXT: io_submit", |a| {
        let (file, text) = (a.open(0)?, a.at(1)?.as_bytes());
        let mut context = [0_u8; 8];
        // SAFETY: room for the context that the kernel writes.
        ensure!(unsafe { libc::syscall(libc::SYS_io_setup, 1, context.as_mut_ptr()) } == 0, "io_setup");
        let context = i64::from_ne_bytes(context);
        // struct iocb: data, key, rw flags, opcode 1 (PWRITE), priority, descriptor, buffer, length, offset, ...
        let mut request = [0_u8; 64];
        request[16..18].copy_from_slice(&1_u16.to_ne_bytes());
        request[20..24].copy_from_slice(&file.as_raw_fd().to_ne_bytes());
        request[24..32].copy_from_slice(&(text.as_ptr() as u64).to_ne_bytes());
        request[32..40].copy_from_slice(&(text.len() as u64).to_ne_bytes());
        let list = (request.as_ptr() as u64).to_ne_bytes();
        ensure!(call(libc::SYS_io_submit, &[A::N(context), A::N(1), A::B(&list)])? == 1, "io_submit");
        let mut event = [0_u8; 32];
        // SAFETY: room for one event; the buffers of the request live until it is done.
        let got = unsafe { libc::syscall(libc::SYS_io_getevents, context, 1, 1, event.as_mut_ptr(), 0) };
        ensure!(got == 1, "io_getevents");
        Ok(())
    }),
    (
        "mapped",
        "PATH ONE OTHER open|closed: stores ONE, says so, waits for a line, stores OTHER, says so, waits; the file \
         is open or closed by then. The mapping was read first",
        |a| {
            let file = a.open(0)?;
            // SAFETY: nobody truncates the file while this process runs.
            let mut map = unsafe { memmap2::MmapMut::map_mut(&file)? };
            std::hint::black_box(map.iter().fold(0_u8, |sum, byte| sum ^ byte));
            let mut file = Some(file);
            if a.at(3)? == "closed" {
                file = None;
            }
            for text in [a.at(1)?, a.at(2)?] {
                let text = text.as_bytes();
                map.get_mut(..text.len()).context("the file is shorter than the text")?.copy_from_slice(text);
                println!("stored");
                std::io::stdin().read_line(&mut String::new())?;
            }
            drop(file);
            Ok(())
        },
    ),
    ("copy_file_range", "FROM TO", |a| {
        let (from, to) = (File::open(a.at(0)?)?, a.open(1)?);
        done(call(libc::SYS_copy_file_range, &[fd(&from), A::N(0), fd(&to), A::N(0), A::N(1 << 20), A::N(0)]))
    }),
    ("ficlone", "FROM TO", |a| {
        let (from, to) = (File::open(a.at(0)?)?, a.open(1)?);
        done(call(libc::SYS_ioctl, &[fd(&to), A::N(FICLONE), fd(&from)]))
    }),
    // the open family
    #[cfg(target_arch = "x86_64")]
    ("open", "PATH: O_CREAT", |a| {
        call_fd(
            libc::SYS_open,
            &[A::P(&a.path(0)?), A::N((libc::O_CREAT | libc::O_WRONLY).into()), A::N(MODE)],
        )
    }),
    #[cfg(target_arch = "x86_64")]
    ("creat", "PATH", |a| call_fd(libc::SYS_creat, &[A::P(&a.path(0)?), A::N(MODE)])),
    ("openat", "PATH: O_CREAT", |a| {
        let flags = A::N((libc::O_CREAT | libc::O_WRONLY).into());
        call_fd(libc::SYS_openat, &[HERE, A::P(&a.path(0)?), flags, A::N(MODE)])
    }),
    ("open_trunc", "PATH: O_TRUNC", |a| {
        call_fd(libc::SYS_openat, &[HERE, A::P(&a.path(0)?), A::N((libc::O_TRUNC | libc::O_WRONLY).into())])
    }),
    ("openat2", "PATH: O_CREAT", |a| {
        let how: Vec<u8> = [(libc::O_CREAT | libc::O_WRONLY) as u64, 0o600, 0].map(u64::to_ne_bytes).concat();
        call_fd(libc::SYS_openat2, &[HERE, A::P(&a.path(0)?), A::B(&how), A::N(24)])
    }),
    // names
    #[cfg(target_arch = "x86_64")]
    ("rename", "OLD NEW", |a| done(call(libc::SYS_rename, &[A::P(&a.path(0)?), A::P(&a.path(1)?)]))),
    ("renameat", "OLD NEW", |a| {
        done(call(libc::SYS_renameat, &[HERE, A::P(&a.path(0)?), HERE, A::P(&a.path(1)?)]))
    }),
    ("renameat2", "OLD NEW", |a| {
        done(call(libc::SYS_renameat2, &[HERE, A::P(&a.path(0)?), HERE, A::P(&a.path(1)?), A::N(0)]))
    }),
    ("exchange", "ONE OTHER: RENAME_EXCHANGE", |a| {
        let flags = A::N(libc::RENAME_EXCHANGE.into());
        done(call(libc::SYS_renameat2, &[HERE, A::P(&a.path(0)?), HERE, A::P(&a.path(1)?), flags]))
    }),
    ("noreplace", "OLD NEW: RENAME_NOREPLACE", |a| {
        let flags = A::N(libc::RENAME_NOREPLACE.into());
        done(call(libc::SYS_renameat2, &[HERE, A::P(&a.path(0)?), HERE, A::P(&a.path(1)?), flags]))
    }),
    ("renameat2_in", "OLD_DIR OLD NEW_DIR NEW: relative to descriptors", |a| {
        let (from, to) = (File::open(a.at(0)?)?, File::open(a.at(2)?)?);
        done(call(libc::SYS_renameat2, &[fd(&from), A::P(&a.path(1)?), fd(&to), A::P(&a.path(3)?), A::N(0)]))
    }),
    #[cfg(target_arch = "x86_64")]
    ("link", "OLD NEW", |a| done(call(libc::SYS_link, &[A::P(&a.path(0)?), A::P(&a.path(1)?)]))),
    ("linkat", "OLD NEW", |a| {
        done(call(libc::SYS_linkat, &[HERE, A::P(&a.path(0)?), HERE, A::P(&a.path(1)?), A::N(0)]))
    }),
    ("tmpfile", "NEW: an unnamed file in NEW's directory gets that name", |a| {
        let new = std::path::Path::new(a.at(0)?);
        let dir = new.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(".".as_ref());
        let file = OpenOptions::new().write(true).custom_flags(libc::O_TMPFILE).open(dir)?;
        file.write_all_at(b"tmpfile\n", 0)?;
        let old = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        let follow = A::N(libc::AT_SYMLINK_FOLLOW.into());
        done(call(libc::SYS_linkat, &[HERE, A::P(&old), HERE, A::P(&a.path(0)?), follow]))
    }),
    #[cfg(target_arch = "x86_64")]
    ("symlink", "TARGET NEW", |a| done(call(libc::SYS_symlink, &[A::P(&a.path(0)?), A::P(&a.path(1)?)]))),
    ("symlinkat", "TARGET NEW", |a| {
        done(call(libc::SYS_symlinkat, &[A::P(&a.path(0)?), HERE, A::P(&a.path(1)?)]))
    }),
    #[cfg(target_arch = "x86_64")]
    ("unlink", "PATH", |a| done(call(libc::SYS_unlink, &[A::P(&a.path(0)?)]))),
    ("unlinkat", "PATH", |a| done(call(libc::SYS_unlinkat, &[HERE, A::P(&a.path(0)?), A::N(0)]))),
    ("removedir", "PATH: unlinkat with AT_REMOVEDIR", |a| {
        done(call(libc::SYS_unlinkat, &[HERE, A::P(&a.path(0)?), A::N(libc::AT_REMOVEDIR.into())]))
    }),
    #[cfg(target_arch = "x86_64")]
    ("rmdir", "PATH", |a| done(call(libc::SYS_rmdir, &[A::P(&a.path(0)?)]))),
    #[cfg(target_arch = "x86_64")]
    ("mkdir", "PATH", |a| done(call(libc::SYS_mkdir, &[A::P(&a.path(0)?), A::N(0o700)]))),
    ("mkdirat", "PATH", |a| done(call(libc::SYS_mkdirat, &[HERE, A::P(&a.path(0)?), A::N(0o700)]))),
    ("mkdir_p", "PATH", |a| Ok(std::fs::create_dir_all(a.at(0)?)?)),
    #[cfg(target_arch = "x86_64")]
    ("mknod", "PATH: a pipe", |a| {
        done(call(libc::SYS_mknod, &[A::P(&a.path(0)?), A::N((libc::S_IFIFO | 0o600).into()), A::N(0)]))
    }),
    ("mknodat", "PATH: a pipe", |a| {
        done(call(
            libc::SYS_mknodat,
            &[HERE, A::P(&a.path(0)?), A::N((libc::S_IFIFO | 0o600).into()), A::N(0)],
        ))
    }),
    ("bind", "PATH: a socket", |a| {
        std::os::unix::net::UnixListener::bind(a.at(0)?)?;
        Ok(())
    }),
    // attributes
    #[cfg(target_arch = "x86_64")]
    ("chmod", "PATH", |a| done(call(libc::SYS_chmod, &[A::P(&a.path(0)?), A::N(0o640)]))),
    ("fchmod", "PATH", |a| done(call(libc::SYS_fchmod, &[fd(&a.open(0)?), A::N(0o600)]))),
    ("fchmodat", "PATH", |a| done(call(libc::SYS_fchmodat, &[HERE, A::P(&a.path(0)?), A::N(0o644)]))),
    ("fchmodat2", "PATH", |a| done(call(SYS_FCHMODAT2, &[HERE, A::P(&a.path(0)?), A::N(0o600), A::N(0)]))),
    ("fchmodat2_empty", "PATH: through AT_EMPTY_PATH", |a| {
        let empty = A::N(libc::AT_EMPTY_PATH.into());
        done(call(SYS_FCHMODAT2, &[fd(&a.open(0)?), A::P(&CString::default()), A::N(0o640), empty]))
    }),
    #[cfg(target_arch = "x86_64")]
    ("chown", "PATH: to user 1", |a| done(call(libc::SYS_chown, &[A::P(&a.path(0)?), A::N(1), A::N(-1)]))),
    #[cfg(target_arch = "x86_64")]
    ("lchown", "PATH: to user 2", |a| done(call(libc::SYS_lchown, &[A::P(&a.path(0)?), A::N(2), A::N(-1)]))),
    ("fchown", "PATH: to user 3", |a| done(call(libc::SYS_fchown, &[fd(&a.open(0)?), A::N(3), A::N(-1)]))),
    ("fchownat", "PATH: to user 4", |a| {
        done(call(libc::SYS_fchownat, &[HERE, A::P(&a.path(0)?), A::N(4), A::N(-1), A::N(0)]))
    }),
    ("fchownat_empty", "PATH: to user 0, through AT_EMPTY_PATH", |a| {
        let empty = A::N(libc::AT_EMPTY_PATH.into());
        done(call(
            libc::SYS_fchownat,
            &[fd(&a.open(0)?), A::P(&CString::default()), A::N(0), A::N(-1), empty],
        ))
    }),
    #[cfg(target_arch = "x86_64")]
    ("utime", "PATH", |a| done(call(libc::SYS_utime, &[A::P(&a.path(0)?), A::N(0)]))),
    #[cfg(target_arch = "x86_64")]
    ("utimes", "PATH", |a| done(call(libc::SYS_utimes, &[A::P(&a.path(0)?), A::N(0)]))),
    #[cfg(target_arch = "x86_64")]
    ("futimesat", "PATH", |a| done(call(libc::SYS_futimesat, &[HERE, A::P(&a.path(0)?), A::N(0)]))),
    ("utimensat", "PATH", |a| done(call(libc::SYS_utimensat, &[HERE, A::P(&a.path(0)?), A::N(0), A::N(0)]))),
    ("futimens", "PATH: utimensat with a descriptor and no path", |a| {
        done(call(libc::SYS_utimensat, &[fd(&a.open(0)?), A::N(0), A::N(0), A::N(0)]))
    }),
    ("setxattr", "PATH NAME", |a| {
        done(call(libc::SYS_setxattr, &[A::P(&a.path(0)?), A::P(&a.path(1)?), A::B(b"v"), A::N(1), A::N(0)]))
    }),
    ("lsetxattr", "PATH NAME", |a| {
        done(call(libc::SYS_lsetxattr, &[A::P(&a.path(0)?), A::P(&a.path(1)?), A::B(b"v"), A::N(1), A::N(0)]))
    }),
    ("fsetxattr", "PATH NAME", |a| {
        done(call(libc::SYS_fsetxattr, &[fd(&a.open(0)?), A::P(&a.path(1)?), A::B(b"v"), A::N(1), A::N(0)]))
    }),
    ("setxattrat", "PATH NAME", |a| {
        let (path, name) = (a.path(0)?, a.path(1)?);
        done(call(SYS_SETXATTRAT, &[HERE, A::P(&path), A::N(0), A::P(&name), A::B(&[0; 16]), A::N(16)]))
    }),
    ("removexattr", "PATH NAME", |a| {
        done(call(libc::SYS_removexattr, &[A::P(&a.path(0)?), A::P(&a.path(1)?)]))
    }),
    ("lremovexattr", "PATH NAME", |a| {
        done(call(libc::SYS_lremovexattr, &[A::P(&a.path(0)?), A::P(&a.path(1)?)]))
    }),
    ("fremovexattr", "PATH NAME", |a| {
        done(call(libc::SYS_fremovexattr, &[fd(&a.open(0)?), A::P(&a.path(1)?)]))
    }),
    ("removexattrat", "PATH NAME", |a| {
        done(call(SYS_REMOVEXATTRAT, &[HERE, A::P(&a.path(0)?), A::N(0), A::P(&a.path(1)?)]))
    }),
    ("setflags", "PATH: sets the no-dump flag", |a| {
        let flags = 0x40_u64.to_ne_bytes();
        done(call(libc::SYS_ioctl, &[fd(&a.open(0)?), A::N(FS_IOC_SETFLAGS), A::B(&flags)]))
    }),
    // io_uring
    ("uring_write", "PATH TEXT", |a| {
        let (file, text) = (a.open(0)?, a.at(1)?.as_bytes());
        let len = u32::try_from(text.len())?;
        uring(&opcode::Write::new(types::Fd(file.as_raw_fd()), text.as_ptr(), len).build()).map(|_| ())
    }),
    ("uring_rename", "OLD NEW", |a| {
        let (old, new) = (a.path(0)?, a.path(1)?);
        uring(&opcode::RenameAt::new(here(), old.as_ptr(), here(), new.as_ptr()).build()).map(|_| ())
    }),
    ("uring_unlink", "PATH", |a| {
        let path = a.path(0)?;
        uring(&opcode::UnlinkAt::new(here(), path.as_ptr()).build()).map(|_| ())
    }),
    ("uring_rmdir", "PATH", |a| {
        let path = a.path(0)?;
        uring(&opcode::UnlinkAt::new(here(), path.as_ptr()).flags(libc::AT_REMOVEDIR).build()).map(|_| ())
    }),
    ("uring_mkdir", "PATH", |a| {
        let path = a.path(0)?;
        uring(&opcode::MkDirAt::new(here(), path.as_ptr()).mode(0o700).build()).map(|_| ())
    }),
    ("uring_mkdir_async", "PATH: run by a worker thread", |a| {
        let path = a.path(0)?;
        let entry = opcode::MkDirAt::new(here(), path.as_ptr()).mode(0o700).build();
        uring(&entry.flags(io_uring::squeue::Flags::ASYNC)).map(|_| ())
    }),
    ("uring_symlink", "TARGET NEW", |a| {
        let (target, new) = (a.path(0)?, a.path(1)?);
        uring(&opcode::SymlinkAt::new(here(), target.as_ptr(), new.as_ptr()).build()).map(|_| ())
    }),
    ("uring_link", "OLD NEW", |a| {
        let (old, new) = (a.path(0)?, a.path(1)?);
        uring(&opcode::LinkAt::new(here(), old.as_ptr(), here(), new.as_ptr()).build()).map(|_| ())
    }),
    ("uring_open", "PATH: O_CREAT", |a| {
        let path = a.path(0)?;
        let entry =
            opcode::OpenAt::new(here(), path.as_ptr()).flags(libc::O_CREAT | libc::O_WRONLY).mode(0o600);
        uring(&entry.build()).map(|_| ())
    }),
    ("uring_open_trunc", "PATH: O_TRUNC", |a| {
        let path = a.path(0)?;
        let entry = opcode::OpenAt::new(here(), path.as_ptr()).flags(libc::O_TRUNC | libc::O_WRONLY);
        uring(&entry.build()).map(|_| ())
    }),
    ("uring_ftruncate", "PATH LENGTH", |a| {
        let file = a.open(0)?;
        uring(&opcode::Ftruncate::new(types::Fd(file.as_raw_fd()), a.number(1)?).build()).map(|_| ())
    }),
    ("uring_fallocate", "PATH LENGTH", |a| {
        let file = a.open(0)?;
        uring(&opcode::Fallocate::new(types::Fd(file.as_raw_fd()), a.number(1)?).build()).map(|_| ())
    }),
    ("uring_setxattr", "PATH NAME", |a| {
        let (path, name) = (a.path(0)?, a.path(1)?);
        let value = c"v";
        uring(&opcode::SetXattr::new(name.as_ptr(), value.as_ptr().cast(), path.as_ptr(), 1).build())
            .map(|_| ())
    }),
    // mounts
    ("mount", "DIR: a tmpfs", |a| {
        let tmpfs = CString::new("tmpfs")?;
        done(call(libc::SYS_mount, &[A::P(&tmpfs), A::P(&a.path(0)?), A::P(&tmpfs), A::N(0), A::N(0)]))
    }),
    ("umount", "DIR", |a| done(call(libc::SYS_umount2, &[A::P(&a.path(0)?), A::N(0)]))),
    ("bind_mount", "FROM DIR", |a| {
        let flags = A::N(libc::MS_BIND.cast_signed());
        done(call(libc::SYS_mount, &[A::P(&a.path(0)?), A::P(&a.path(1)?), A::N(0), flags, A::N(0)]))
    }),
    // 32-bit system calls
    #[cfg(target_arch = "x86_64")]
    ("compat_rename", "OLD NEW", |a| {
        compat(38, &[a.path(0)?, a.path(1)?], [Slot::Text(0), Slot::Text(1), Slot::Number(0)])
    }),
    #[cfg(target_arch = "x86_64")]
    ("compat_chmod", "PATH: to 0751", |a| {
        compat(15, &[a.path(0)?], [Slot::Text(0), Slot::Number(0o751), Slot::Number(0)])
    }),
    #[cfg(target_arch = "x86_64")]
    ("compat_unlink", "PATH", |a| {
        compat(10, &[a.path(0)?], [Slot::Text(0), Slot::Number(0), Slot::Number(0)])
    }),
    #[cfg(target_arch = "x86_64")]
    ("compat_write", "PATH TEXT", |a| {
        let file = a.open(0)?;
        let (number, len) = (u32::try_from(file.as_raw_fd())?, u32::try_from(a.at(1)?.len())?);
        compat(4, &[a.path(1)?], [Slot::Number(number), Slot::Text(0), Slot::Number(len)])
    }),
    ("socket", "FAMILY TYPE", |a| {
        let [family, kind] = [a.number(0)?, a.number(1)?].map(|number| A::N(number.cast_signed()));
        call_fd(libc::SYS_socket, &[family, kind, A::N(0)])
    }),
    // processes
    ("run", "PROGRAM ARGUMENT...: starts it and waits", |a| {
        ensure!(Command::new(a.at(0)?).args(&a.0[1..]).status()?.success(), "it failed");
        Ok(())
    }),
    ("runs", "COUNT PROGRAM: starts it that often, one after the other", |a| {
        for _ in 0..a.number(0)? {
            ensure!(Command::new(a.at(1)?).status()?.success(), "it failed");
        }
        Ok(())
    }),
    ("task_rename", "NAME: renames itself, prints its process id", |a| {
        done(call(libc::SYS_prctl, &[A::N(libc::PR_SET_NAME.into()), A::P(&a.path(0)?)]))?;
        println!("{}", std::process::id());
        Ok(())
    }),
    ("flood", "DIR COUNT: makes and removes that many files", |a| {
        let dir = std::path::Path::new(a.at(0)?);
        for number in 0..a.number(1)? {
            let path = dir.join(format!("flood-{number}"));
            File::create(&path)?;
            std::fs::remove_file(&path)?;
        }
        Ok(())
    }),
];
