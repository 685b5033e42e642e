//! A live test of the hooks: do what each claims to see, and look whether it reports.
//!
//! A hook that is attached but silent is worse than one that is missing, because nobody looks. So a directory of its
//! own is made, watched, and every hooked system call is called once in it, by its number (the C library would
//! pick another). The test runs before this process is left out of the reports; a running daemon is not disturbed,
//! since its programs and maps are others.

use std::{
    collections::BTreeSet,
    ffi::{CStr, CString},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use sfd_common::Hook;

use super::{CollectError, DeviceMap, HookState, HookStatus, InodeId, bpf};

/// Bound of the whole wait. Reports come within microseconds; this only bounds how long a silent hook is waited for.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// Time between two looks at the rings.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Loads a set of hooks of its own, tests each, and takes them down again: what `sfd doctor` shows. Works beside a
/// running daemon.
///
/// # Errors
/// When no hook can be attached at all; the error says why and what to do.
pub fn probe_hooks(state_dir: &Path) -> Result<Vec<HookStatus>, CollectError> {
    bpf::probe(state_dir)
}

/// Watches an inode with every change reported (`true`) or not at all (`false`); gives whether that worked.
pub(super) type WatchEvery<'a> = &'a mut dyn FnMut(InodeId, bool) -> bool;

/// Tests hooks that were just attached.
///
/// `read` hands every hook id that is in the rings to its argument; `number` is the number of a system call, `function`
/// the hook of the kernel's function that it leads to.
/// A hook whose operation cannot be done here (no privilege, not supported by the file system, too dangerous such
/// as mount) stays [`HookState::Attached`]. So does a silent one if `drops`, the kernel side's count of lost records, has
/// grown meanwhile: the report may have been among them.
pub(super) fn run(
    state_dir: &Path,
    hooks: Vec<(u16, HookStatus)>,
    watch: WatchEvery<'_>,
    mut read: impl FnMut(&mut dyn FnMut(u16)),
    number: &dyn Fn(&str) -> Option<u32>,
    function: &dyn Fn(&str) -> Option<u16>,
    drops: &dyn Fn() -> u64,
) -> Vec<HookStatus> {
    let drops_before = drops();
    let (mut done, mut seen) = (BTreeSet::new(), BTreeSet::new());
    let mut look = |seen: &mut BTreeSet<u16>| {
        read(&mut |hook| {
            seen.insert(hook);
        });
    };
    let script = Script::new(state_dir)
        .and_then(|script| script.run(watch, number, function, &mut done, &mut || look(&mut seen)));
    if let Err(error) = script {
        tracing::warn!(dir = %state_dir.display(), %error, "the self-test of the hooks could not be finished");
    }
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        look(&mut seen);
        let attached =
            |id: &u16| hooks.iter().any(|(hook, status)| hook == id && status.state == HookState::Attached);
        if done.iter().filter(|id| attached(id)).all(|id| seen.contains(id)) || Instant::now() >= deadline {
            break;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    if drops() != drops_before {
        tracing::debug!("records were lost during the self-test; what was not seen is not called silent");
        done.clear();
    }
    hooks.into_iter().map(|(id, status)| judge(id, status, &done, &seen)).collect()
}

/// State of a hook after the test.
fn judge(id: u16, status: HookStatus, done: &BTreeSet<u16>, seen: &BTreeSet<u16>) -> HookStatus {
    let state = match status.state {
        HookState::Attached if seen.contains(&id) => HookState::Verified,
        HookState::Attached if done.contains(&id) => HookState::Silent,
        other => other,
    };
    HookStatus { state, ..status }
}

/// One argument of a system call.
#[derive(Clone, Copy)]
enum Arg<'a> {
    Number(libc::c_long),
    Text(&'a CStr),
    Bytes(&'a [u8]),
}

/// The directory of the test; removed when dropped.
struct Script {
    dir: PathBuf,
}

impl Drop for Script {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.dir) {
            tracing::warn!(dir = %self.dir.display(), %error, "the self-test's directory could not be removed");
        }
    }
}

impl Script {
    fn new(state_dir: &Path) -> io::Result<Self> {
        // Absolute: paths of system calls are reported whatever directory they are relative to only then.
        let dir = std::path::absolute(state_dir)?.join(format!(".sfd-selftest-{}", std::process::id()));
        if dir.exists() {
            std::fs::remove_dir_all(&dir)?;
        }
        std::fs::create_dir(&dir)?;
        Ok(Self { dir })
    }

    /// Does everything once; notes in `done` what succeeded and so has to be reported. `look` reads the rings: after each
    /// call, because the smallest ring holds 30 records, and a report that found no room is no silent hook.
    fn run(
        &self,
        watch: WatchEvery<'_>,
        number: &dyn Fn(&str) -> Option<u32>,
        function: &dyn Fn(&str) -> Option<u16>,
        done: &mut BTreeSet<u16>,
        look: &mut dyn FnMut(),
    ) -> io::Result<()> {
        let mut devices = DeviceMap::new();
        let file = std::fs::File::create_new(self.dir.join("file"))?;
        let ids = [devices.inode_id(&self.dir)?, devices.inode_id_of(&file)?];
        if !ids.iter().all(|id| watch(*id, true)) {
            return Err(io::Error::other("the map of watched inodes cannot be written"));
        }
        write(&file, done)?;
        mapped(&file, done)?;
        self.direct(done)?;
        copied_time(&mut devices, &mut *watch, done)?;
        look();
        let file = OwnedFd::from(file);
        let mut call = |name: &str, args: &[Arg<'_>]| {
            if let Some(number) = number(name)
                && system_call(number, args)
            {
                done.insert(number as u16);
                done.extend(function(name));
            }
            look();
        };
        self.names(&mut call)?;
        self.attributes(&mut call, &file)?;
        self.sizes(&mut call, &file)?;
        self.removals(&mut call)?;
        self.uring(done)?;
        look();
        processes(done);
        look();
        for id in ids {
            watch(id, false);
        }
        Ok(())
    }

    fn path(&self, name: &str) -> io::Result<CString> {
        Ok(CString::new(self.dir.join(name).as_os_str().as_bytes())?)
    }

    /// A write past the page cache, by which the iomap hook shows itself on the file systems that do it that way.
    fn direct(&self, done: &mut BTreeSet<u16>) -> io::Result<()> {
        use std::os::unix::fs::{FileExt, OpenOptionsExt};
        let mut options = std::fs::OpenOptions::new();
        let opened = options.read(true).write(true).custom_flags(libc::O_DIRECT).open(self.dir.join("file"));
        // Not every file system has it; then there is nothing to see.
        let Ok(file) = opened else { return Ok(()) };
        let page = memmap2::MmapMut::map_anon(DIRECT_LEN)?;
        if WITH_IOMAP.contains(&rustix::fs::fstatfs(&file)?.f_type) && file.write_all_at(&page, 0).is_ok() {
            done.insert(Hook::Iomap as u16);
        }
        Ok(())
    }

    /// Calls that make or move names.
    fn names(&self, call: &mut dyn FnMut(&str, &[Arg<'_>])) -> io::Result<()> {
        use Arg::{Bytes, Number, Text};
        let (a, b) = (self.path("a")?, self.path("b")?);
        let here = Number(libc::AT_FDCWD.into());
        let create = Number((libc::O_CREAT | libc::O_WRONLY | libc::O_CLOEXEC).into());
        let mode = Number(0o600);
        call("open", &[Text(&self.path("open")?), create, mode]);
        call("creat", &[Text(&self.path("creat")?), mode]);
        call("openat", &[here, Text(&a), create, mode]);
        let mut how = [0; 24];
        how[..8].copy_from_slice(&((libc::O_CREAT | libc::O_WRONLY) as u64).to_ne_bytes());
        how[8..16].copy_from_slice(&0o600_u64.to_ne_bytes());
        call("openat2", &[here, Text(&self.path("openat2")?), Bytes(&how), Number(24)]);
        call("rename", &[Text(&a), Text(&b)]);
        // Each has a file of its own to move: not every architecture has every one of them.
        call("openat", &[here, Text(&a), create, mode]);
        call("renameat", &[here, Text(&a), here, Text(&b)]);
        call("openat", &[here, Text(&a), create, mode]);
        call("renameat2", &[here, Text(&a), here, Text(&b), Number(0)]);
        call("link", &[Text(&b), Text(&self.path("link")?)]);
        call("linkat", &[here, Text(&b), here, Text(&self.path("linkat")?), Number(0)]);
        call("symlink", &[Text(c"to"), Text(&self.path("symlink")?)]);
        call("symlinkat", &[Text(c"to"), here, Text(&self.path("symlinkat")?)]);
        call("mkdir", &[Text(&self.path("mkdir")?), mode]);
        call("mkdirat", &[here, Text(&self.path("mkdirat")?), mode]);
        let pipe = Number((libc::S_IFIFO | 0o600).into());
        call("mknod", &[Text(&self.path("mknod")?), pipe, Number(0)]);
        call("mknodat", &[here, Text(&self.path("mknodat")?), pipe, Number(0)]);
        self.socket(call)
    }

    /// A socket bound to a name, if the name is short enough for an address.
    fn socket(&self, call: &mut dyn FnMut(&str, &[Arg<'_>])) -> io::Result<()> {
        let path = self.path("bind")?;
        let mut address = (libc::AF_UNIX as u16).to_ne_bytes().to_vec();
        address.extend_from_slice(path.to_bytes_with_nul());
        if address.len() <= size_of::<libc::sockaddr_un>() {
            let socket = std::os::unix::net::UnixDatagram::unbound()?;
            let len = Arg::Number(libc::c_long::try_from(address.len()).unwrap_or_default());
            call("bind", &[Arg::Number(socket.as_raw_fd().into()), Arg::Bytes(&address), len]);
        }
        Ok(())
    }

    /// Calls that change attributes, each to what it already is where that is possible.
    fn attributes(&self, call: &mut dyn FnMut(&str, &[Arg<'_>]), file: &OwnedFd) -> io::Result<()> {
        use Arg::{Bytes, Number, Text};
        let path = self.path("file")?;
        let (path, fd, here) = (Text(&path), Number(file.as_raw_fd().into()), Number(libc::AT_FDCWD.into()));
        let (mode, same, none) = (Number(0o600), Number(-1), Number(0));
        call("chmod", &[path, mode]);
        call("fchmod", &[fd, mode]);
        call("fchmodat", &[here, path, mode]);
        call("fchmodat2", &[here, path, mode, none]);
        call("chown", &[path, same, same]);
        call("lchown", &[path, same, same]);
        call("fchown", &[fd, same, same]);
        call("fchownat", &[here, path, same, same, none]);
        call("utime", &[path, none]);
        call("utimes", &[path, none]);
        call("futimesat", &[here, path, none]);
        call("utimensat", &[here, path, none, none]);
        let (name, value, one) = (Text(c"user.sfd"), Bytes(b"1"), Number(1));
        call("setxattr", &[path, name, value, one, none]);
        call("removexattr", &[path, name]);
        call("lsetxattr", &[path, name, value, one, none]);
        call("lremovexattr", &[path, name]);
        call("fsetxattr", &[fd, name, value, one, none]);
        call("fremovexattr", &[fd, name]);
        // struct xattr_args { u64 value; u32 size; u32 flags; }: an empty value needs no address.
        call("setxattrat", &[here, path, none, name, Bytes(&[0; 16]), Number(16)]);
        call("removexattrat", &[here, path, none, name]);
        // struct file_attr, all zero: no flags, which the new file has none of.
        let mut attributes = [0; 24];
        let get = [here, path, Bytes(&attributes), Number(24), none];
        if system_call(FILE_GETATTR, &get) {
            attributes = [0; 24];
            call("file_setattr", &[here, path, Bytes(&attributes), Number(24), none]);
        }
        Ok(())
    }

    /// Calls that change sizes, blocks and inode flags.
    fn sizes(&self, call: &mut dyn FnMut(&str, &[Arg<'_>]), file: &OwnedFd) -> io::Result<()> {
        use Arg::{Number, Text};
        let path = self.path("file")?;
        let (fd, none) = (Number(file.as_raw_fd().into()), Number(0));
        call("truncate", &[Text(&path), Number(4096)]);
        call("ftruncate", &[fd, Number(8192)]);
        call("fallocate", &[fd, none, none, Number(4096)]);
        let source = std::fs::File::open(self.dir.join("file"))?;
        let from = Number(source.as_raw_fd().into());
        // Into another part of the same file; a null offset means the descriptor's own, which is at the end.
        call("copy_file_range", &[from, none, fd, none, Number(512), none]);
        if let Ok(flags) = rustix::fs::ioctl_getflags(file) {
            let flags = libc::c_long::from(flags.bits()).to_ne_bytes();
            call("ioctl", &[fd, Number(FS_IOC_SETFLAGS), Arg::Bytes(&flags)]);
        }
        Ok(())
    }

    /// Calls that remove names, of what [`Self::names`] made.
    fn removals(&self, call: &mut dyn FnMut(&str, &[Arg<'_>])) -> io::Result<()> {
        use Arg::{Number, Text};
        call("unlink", &[Text(&self.path("symlink")?)]);
        call("unlinkat", &[Number(libc::AT_FDCWD.into()), Text(&self.path("symlinkat")?), Number(0)]);
        call("rmdir", &[Text(&self.path("mkdir")?)]);
        Ok(())
    }

    /// Two directories made through io_uring: one reported at completion, one (which asks for no completion) at
    /// submission. Where io_uring is switched off there is nothing to see either.
    fn uring(&self, done: &mut BTreeSet<u16>) -> io::Result<()> {
        use io_uring::{IoUring, opcode::MkDirAt, squeue::Flags, types::Fd};
        let Ok(mut ring) = IoUring::new(4) else { return Ok(()) };
        let (loud, quiet) = (self.path("uring")?, self.path("uring-quiet")?);
        let make = |path: &CStr| MkDirAt::new(Fd(libc::AT_FDCWD), path.as_ptr()).mode(0o700).build();
        let requests = [make(&quiet).flags(Flags::SKIP_SUCCESS), make(&loud)];
        for request in &requests {
            // SAFETY: the paths live until both requests have completed, which is waited for below.
            if unsafe { ring.submission().push(request) }.is_err() {
                return Ok(());
            }
        }
        ring.submit_and_wait(1)?;
        // In order of submission, both inline: when the second has completed, so has the first. A failure is a
        // completion too, whose names are not reported.
        let good = ring.completion().all(|completion| completion.result() == 0);
        if good && self.dir.join("uring").is_dir() && self.dir.join("uring-quiet").is_dir() {
            done.insert(Hook::UringSubmit as u16);
            done.insert(Hook::UringComplete as u16);
        }
        Ok(())
    }
}

/// `file_getattr`, Linux 6.17, the same number everywhere.
const FILE_GETATTR: u32 = 468;
/// `_IOW('f', 2, long)`.
const FS_IOC_SETFLAGS: libc::c_long = 0x4008_6602;

/// Magic numbers of include/uapi/linux/magic.h.
const EXT4: i64 = 0xef53;
const XFS: i64 = 0x5846_5342;
const BTRFS: i64 = 0x9123_683e;
const TMPFS: i64 = 0x0102_1994;
const RAMFS: i64 = 0x8584_58f6;
const OVERLAYFS: i64 = 0x794c_7630;
/// Those that write past the page cache through iomap.
const WITH_IOMAP: [i64; 3] = [EXT4, XFS, BTRFS];
/// Those whose change times are set through `ctime_ns_xchg` (`FS_MGTIME`, Linux 6.13).
const WITH_FINE_TIMES: [i64; 4] = [EXT4, XFS, BTRFS, TMPFS];
/// The largest logical block there is in practice: O_DIRECT wants multiples of it.
const DIRECT_LEN: usize = 4096;

/// A page mapped for reading in a mapping that may be written.
fn mapped(file: &std::fs::File, done: &mut BTreeSet<u16>) -> io::Result<()> {
    // SAFETY: a file of the test's own, which nobody truncates while it is mapped.
    let map = unsafe { memmap2::MmapMut::map_mut(file)? };
    if std::hint::black_box(map.first()) == Some(&0) {
        done.insert(Hook::MapPages as u16);
    }
    Ok(())
}

/// A change time set without the fine clock, as on a pipe, whose file system has none.
fn copied_time(
    devices: &mut DeviceMap,
    watch: &mut dyn FnMut(InodeId, bool) -> bool,
    done: &mut BTreeSet<u16>,
) -> io::Result<()> {
    let (pipe, _write) = rustix::pipe::pipe()?;
    let id = devices.inode_id_of(&pipe)?;
    if watch(id, true) {
        rustix::fs::fchmod(&pipe, rustix::fs::Mode::from_raw_mode(0o600))?;
        done.insert(Hook::ChangeTimeCopied as u16);
        watch(id, false);
    }
    Ok(())
}

/// A write into a new file, by which both content hooks show themselves.
fn write(mut file: &std::fs::File, done: &mut BTreeSet<u16>) -> io::Result<()> {
    use std::io::Write;
    // These keep no dirty pages for writeback: nothing can be expected of the folio hook.
    const WITHOUT_FOLIOS: [i64; 3] = [TMPFS, RAMFS, OVERLAYFS];
    // A write within the same clock tick as the last change changes no field of the inode, and then no file system
    // tells of the inode: so the last change was long ago.
    let long_ago = rustix::fs::Timespec { tv_sec: 1, tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: long_ago, last_modification: long_ago };
    rustix::fs::futimens(file, &times)?;
    file.write_all(&[0; 8192])?;
    done.insert(Hook::InodeDirty as u16);
    let file_system = rustix::fs::fstatfs(file)?.f_type;
    if !WITHOUT_FOLIOS.contains(&file_system) {
        done.insert(Hook::FolioDirty as u16);
    }
    if WITH_FINE_TIMES.contains(&file_system) {
        done.insert(Hook::ChangeTime as u16);
    }
    Ok(())
}

/// A program started and ended.
fn processes(done: &mut BTreeSet<u16>) {
    let programs = [("/bin/true", None), ("/usr/bin/true", None), ("/proc/self/exe", Some("--version"))];
    let ran = programs.iter().any(|(program, argument)| {
        let mut command = Command::new(program);
        command.args(*argument).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok()
    });
    if ran {
        done.extend([Hook::Exec, Hook::Fork, Hook::Exit, Hook::TaskRename].map(|hook| hook as u16));
    }
}

/// Calls by number; `true` when it succeeded. A descriptor that comes back is closed.
fn system_call(number: u32, args: &[Arg<'_>]) -> bool {
    let word = |at: usize| match args.get(at) {
        None => 0,
        Some(Arg::Number(number)) => *number,
        Some(Arg::Text(text)) => text.as_ptr() as libc::c_long,
        Some(Arg::Bytes(bytes)) => bytes.as_ptr() as libc::c_long,
    };
    // SAFETY: every address is that of a live, large enough object borrowed by `args`; the calls of the script read
    // their arguments and write nothing into this process (`file_getattr` writes into a buffer nobody else reads).
    let result =
        unsafe { libc::syscall(number.into(), word(0), word(1), word(2), word(3), word(4), word(5)) };
    if let (Ok(fd @ 3..), true) = (i32::try_from(result), OPENERS.contains(&number)) {
        // SAFETY: the call has just made this descriptor and nobody else knows it.
        drop(unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd) });
    }
    result >= 0
}

/// Calls that return a descriptor.
#[cfg(target_arch = "x86_64")]
const OPENERS: [u32; 4] =
    [libc::SYS_open as u32, libc::SYS_creat as u32, libc::SYS_openat as u32, libc::SYS_openat2 as u32];
#[cfg(not(target_arch = "x86_64"))]
const OPENERS: [u32; 2] = [libc::SYS_openat as u32, libc::SYS_openat2 as u32];

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(id: u16, state: HookState) -> (u16, HookStatus) {
        (id, HookStatus { name: format!("hook/{id}"), state, lost_without: "something".to_owned() })
    }

    #[test]
    fn a_hook_that_keeps_silent_about_what_was_done_is_not_working() {
        let (done, seen) = (BTreeSet::from([1, 2, 4, 5]), BTreeSet::from([1, 3]));
        for (id, state, after) in [
            (1, HookState::Attached, HookState::Verified),
            (2, HookState::Attached, HookState::Silent),
            // Reported although the script could not know that it would.
            (3, HookState::Attached, HookState::Verified),
            // Nothing is known of one whose call could not be made.
            (6, HookState::Attached, HookState::Attached),
            // What is not attached cannot be silent.
            (4, HookState::Absent, HookState::Absent),
            (5, HookState::Failed("refused".into()), HookState::Failed("refused".into())),
        ] {
            let (_, status) = hook(id, state);
            assert_eq!(judge(id, status, &done, &seen).state, after, "hook {id}");
        }
    }

    #[test]
    fn the_rings_are_read_while_the_script_runs_and_a_silent_hook_ends_the_wait() {
        let dir = tempfile::tempdir().unwrap();
        // A kernel side that reports each call of the script through a ring with room for one record, but for one hook.
        let ring = std::cell::RefCell::new(Vec::<u16>::new());
        let numbers = [
            ("openat", libc::SYS_openat),
            ("mkdirat", libc::SYS_mkdirat),
            ("unlinkat", libc::SYS_unlinkat),
            ("linkat", libc::SYS_linkat),
        ];
        let numbers = numbers.map(|(name, number)| (name, u16::try_from(number).unwrap()));
        let silent = numbers[1].1;
        let hooks = numbers.map(|(_, number)| hook(number, HookState::Attached));
        let number = |name: &str| {
            let (_, number) = numbers.iter().find(|(each, _)| *each == name)?;
            let mut ring = ring.borrow_mut();
            if ring.is_empty() && *number != silent {
                ring.push(*number);
            }
            Some(u32::from(*number))
        };
        let read = |seen: &mut dyn FnMut(u16)| ring.borrow_mut().drain(..).for_each(seen);
        let started = Instant::now();
        let judged = run(dir.path(), hooks.clone().into(), &mut |_, _| true, read, &number, &|_| None, &|| 0);
        assert!(started.elapsed() >= WAIT_MAX, "it was waited for");
        for status in judged {
            let expected =
                if status.name == format!("hook/{silent}") { HookState::Silent } else { HookState::Verified };
            assert_eq!(status.state, expected, "{}", status.name);
        }
        // Not when its report may just have been lost.
        let drops = std::cell::Cell::new(0);
        let judged =
            run(dir.path(), hooks.into(), &mut |_, _| true, read, &number, &|_| None, &|| drops.replace(1));
        assert!(judged.iter().all(|status| status.state != HookState::Silent), "{judged:?}");
    }
}
