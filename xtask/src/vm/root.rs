//! What a machine boots with: an initramfs of the test programs and of what they call, and a disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::kernels::Kernel;

/// Programs of this machine that the tests and `/init` call, and the Debian package of each.
const PROGRAMS: &[(&str, &str)] = &[
    ("sh", "dash"),
    ("mount", "mount"),
    ("umount", "mount"),
    ("modprobe", "kmod"),
    ("insmod", "kmod"),
    ("rmmod", "kmod"),
    ("bpftool", "bpftool"),
    ("mkfs.btrfs", "btrfs-progs"),
    ("mkfs.xfs", "xfsprogs"),
    ("mkfs.ext4", "e2fsprogs"),
    ("e2fsck", "e2fsprogs"),
    ("true", "coreutils"),
    ("sleep", "coreutils"),
    ("cat", "coreutils"),
    ("ln", "coreutils"),
    ("mv", "coreutils"),
    ("rm", "coreutils"),
    ("mkdir", "coreutils"),
    ("mkfifo", "coreutils"),
    ("mknod", "coreutils"),
    ("chmod", "coreutils"),
    ("uname", "coreutils"),
    ("touch", "coreutils"),
    ("head", "coreutils"),
    ("busybox", "busybox-static"),
];

/// Modules that go into the machine, with what they need: file systems and the disk, and for the suite `modules`
/// some that nothing else loads.
const MODULES: &[&str] =
    &["virtio_pci", "virtio_blk", "ext4", "loop", "overlay", "btrfs", "xfs", "dummy", "squashfs", "af_alg"];

/// Size of the disk in bytes; it is sparse.
const DISK: u64 = 4 << 30;

/// Test programs and tools as an archive, the same for all kernels.
pub(crate) fn base(
    work: &Path,
    programs: &BTreeMap<(String, bool), PathBuf>,
    suites: &str,
) -> Result<PathBuf> {
    let root = work.join("root");
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| root.display().to_string())?;
    }
    for dir in [
        "dev",
        "proc",
        "sys",
        "tmp",
        "run",
        "root",
        "var/tmp",
        "usr/bin",
        "usr/sbin",
        "usr/lib",
        "usr/lib64",
        "etc",
    ] {
        fs::create_dir_all(root.join(dir))?;
    }
    for name in ["bin", "sbin", "lib", "lib64"] {
        std::os::unix::fs::symlink(format!("usr/{name}"), root.join(name))?;
    }
    let mut libraries = BTreeSet::new();
    for program in programs.values() {
        // Where it was built: the tests have each other's paths compiled in.
        add(&root, program)?;
        strip(&inside(&root, program))?;
        libraries.extend(needed(program)?);
    }
    for (name, package) in PROGRAMS {
        let path = on_path(name).with_context(|| format!("{name}: install the Debian package {package}"))?;
        add(&root, &path)?;
        libraries.extend(needed(&path)?);
    }
    for library in libraries {
        add(&root, &library)?;
    }
    for applet in ["hostname", "poweroff"] {
        std::os::unix::fs::symlink("busybox", root.join("usr/bin").join(applet))?;
    }
    configuration(&root)?;
    let init = root.join("init");
    fs::write(&init, format!("{}\n{suites}poweroff -f\n", include_str!("init.sh")))?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
    archive(&root, &work.join("root.cpio"))
}

/// The archive of `base` and the kernel's modules, as one file.
pub(crate) fn initrd(folder: &Path, base: &Path, kernel: &Kernel) -> Result<PathBuf> {
    let root = folder.join("root");
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| root.display().to_string())?;
    }
    let release = &kernel.release;
    // Below /usr, as in `base`, where /lib is a link.
    let to = root.join("usr/lib/modules").join(release);
    fs::create_dir_all(&to)?;
    let from = kernel.base.join("lib/modules").join(release);
    // What needs what, from a look at all of them that writes nothing.
    let all = depmod(&kernel.base).args(["-n", release]).output().context(DEPMOD)?;
    ensure!(all.status.success(), "{DEPMOD}: {}", String::from_utf8_lossy(&all.stderr));
    for path in closure(&String::from_utf8_lossy(&all.stdout)) {
        let copy = to.join(&path);
        fs::create_dir_all(copy.parent().context("a module is in a folder")?)?;
        fs::copy(from.join(&path), &copy).with_context(|| path.clone())?;
    }
    for name in ["modules.builtin", "modules.builtin.modinfo", "modules.order"] {
        fs::copy(from.join(name), to.join(name)).with_context(|| name.to_owned())?;
    }
    done(depmod(&root.join("usr")).arg(release)).context(DEPMOD)?;
    let modules = archive(&root, &folder.join("modules.cpio"))?;
    // The kernel unpacks archives one after the other.
    let initrd = folder.join("initrd");
    let mut all = fs::File::create(&initrd)?;
    for part in [base, &modules] {
        std::io::copy(&mut fs::File::open(part)?, &mut all)?;
    }
    Ok(initrd)
}

/// An empty ext4 disk.
pub(crate) fn disk(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("disk");
    // Created anew: what the last run left behind is gone.
    fs::File::create(&path)?.set_len(DISK)?;
    done(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&path))?;
    Ok(path)
}

/// Paths of the modules in [`MODULES`] and of all they need, by the lines of `modules.dep` among others. One that is
/// not there is built in, or else missed by `/init`, which says so.
fn closure(lines: &str) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for (path, needs) in lines.lines().filter_map(|line| line.split_once(':')) {
        let name = path.rsplit('/').next().and_then(|file| file.split('.').next()).unwrap_or_default();
        // Checksums are asked for by name, which no dependency shows.
        if path.contains(".ko") && (MODULES.contains(&name) || name.contains("crc32c")) {
            paths.insert(path.to_owned());
            paths.extend(needs.split_whitespace().map(str::to_owned));
        }
    }
    paths
}

/// Files of the distribution's own packages in `/etc`, and accounts that are none: nothing of this machine.
fn configuration(root: &Path) -> Result<()> {
    let packages = Path::new("/var/lib/dpkg/info");
    let entries = fs::read_dir(packages).with_context(|| packages.display().to_string())?;
    for list in entries.flatten().map(|entry| entry.path()) {
        if list.extension().is_some_and(|extension| extension == "conffiles") {
            for path in fs::read_to_string(&list)?.lines().map(Path::new) {
                if path.starts_with("/etc") && path.is_file() {
                    add(root, path)?;
                }
            }
        }
    }
    let accounts = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n";
    for (name, text, mode) in [
        ("passwd", accounts, 0o644),
        ("group", "root:x:0:\nnogroup:x:65534:\n", 0o644),
        ("shadow", "root:*:19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\n", 0o640),
        ("hostname", "sfd-vm\n", 0o644),
    ] {
        let path = root.join("etc").join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// `path` inside of `root`.
fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Copies a file (what a link points to) to the same path below `root`.
fn add(root: &Path, path: &Path) -> Result<()> {
    let to = inside(root, path);
    fs::create_dir_all(to.parent().context("a file is in a folder")?)?;
    fs::copy(path, &to).with_context(|| path.display().to_string())?;
    Ok(())
}

/// Line tables are most of a test program, and the machine's root is in memory.
fn strip(program: &Path) -> Result<()> {
    done(Command::new("objcopy").arg("--strip-debug").arg(program))
        .context("objcopy (Debian package binutils)")
}

/// The libraries a program needs, and the loader; none for a static one.
fn needed(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("ldd")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if let Some(line) = text.lines().find(|line| line.contains("not found")) {
        bail!("{}: {}", program.display(), line.trim());
    }
    Ok(text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect())
}

fn on_path(name: &str) -> Option<PathBuf> {
    ["/usr/bin", "/usr/sbin"].iter().map(|dir| Path::new(dir).join(name)).find(|path| path.is_file())
}

/// What resolves the dependencies of modules, below `base`.
fn depmod(base: &Path) -> Command {
    let mut command = Command::new("depmod");
    command.arg("-b").arg(base);
    command
}

const DEPMOD: &str = "depmod (Debian package kmod)";

/// Packs a folder in the format that kernels unpack.
fn archive(root: &Path, to: &Path) -> Result<PathBuf> {
    let mut find = Command::new("find").arg(".").current_dir(root).stdout(Stdio::piped()).spawn()?;
    let list = find.stdout.take().context("find")?;
    done(
        Command::new("cpio")
            .args(["--create", "--format=newc", "--quiet", "--owner=0:0"])
            .current_dir(root)
            .stdin(list)
            .stdout(fs::File::create(to).with_context(|| to.display().to_string())?),
    )
    .context("cpio")?;
    ensure!(find.wait()?.success(), "find");
    Ok(to.to_owned())
}

fn done(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_come_with_what_they_need() {
        let text = "kernel/fs/btrfs/btrfs.ko.xz: kernel/lib/raid6.ko.xz kernel/crypto/xor.ko.xz\n\
            kernel/lib/raid6.ko.xz:\nkernel/fs/nfs/nfs.ko.xz: kernel/fs/lockd.ko.xz\n";
        let paths: Vec<_> = closure(text).into_iter().collect();
        assert_eq!(
            paths,
            ["kernel/crypto/xor.ko.xz", "kernel/fs/btrfs/btrfs.ko.xz", "kernel/lib/raid6.ko.xz"]
        );
    }
}
