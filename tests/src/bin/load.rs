//! The work that benchmarks put on a machine while something else looks on: a fixed number of operations, timed.
//!
//! ```text
//! load pwrite|churn|rename DIR COUNT     file operations in DIR
//! load getppid|pipe COUNT                operations that touch no file
//! load fill DIR FILES                    makes the files that `flood` works on
//! load flood DIR FILES COUNT             two writers, each on half of the files
//! load right ROOT BRICK                  compares a brick with the tree it is of
//! ```
//!
//! It prints `WALL_NS CPU_NS`: the monotonic time that the operations took, and the processor time of the threads that
//! did them. Hooks run in the thread they report, so the second shows their cost also on a machine that is not quiet.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::time::{ClockId, clock_gettime};

/// Names that `churn` makes, one after the other: enough that they are not one directory entry, few enough for a cache.
const CHURN_NAMES: u64 = 64;
const WRITERS: u64 = 2;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let took = match args.as_slice() {
        ["pwrite", dir, count] => pwrite(Path::new(dir), count.parse()?)?,
        ["churn", dir, count] => churn(Path::new(dir), count.parse()?)?,
        ["rename", dir, count] => rename(Path::new(dir), count.parse()?)?,
        ["getppid", count] => getppid(count.parse()?)?,
        ["pipe", count] => pipe(count.parse()?)?,
        ["echo"] => return echo(),
        ["fill", dir, files] => return fill(Path::new(dir), files.parse()?),
        ["flood", dir, files, count] => flood(Path::new(dir), files.parse()?, count.parse()?)?,
        ["right", root, brick] => return right(Path::new(root), Path::new(brick)),
        _ => bail!("load: {args:?} is nothing it can do"),
    };
    println!("{} {}", took.wall_ns, took.cpu_ns);
    Ok(())
}

/// What operations took.
#[derive(Default)]
struct Took {
    wall_ns: u64,
    cpu_ns: u64,
}

fn now_ns(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// Does `operation` for 0 to `count`, after a hundredth of that for warming up.
fn timed(count: u64, mut operation: impl FnMut(u64) -> Result<()>) -> Result<Took> {
    ensure!(count > 0, "a count of 0 takes no time");
    for n in 0..count / 100 {
        operation(n)?;
    }
    let (wall, cpu) = (now_ns(ClockId::Monotonic), now_ns(ClockId::ThreadCPUTime));
    for n in 0..count {
        operation(n)?;
    }
    Ok(Took { wall_ns: now_ns(ClockId::Monotonic) - wall, cpu_ns: now_ns(ClockId::ThreadCPUTime) - cpu })
}

const NEW: OFlags = OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL);
const MODE: Mode = Mode::from_raw_mode(0o644);

/// One byte into one file, over and over.
fn pwrite(dir: &Path, count: u64) -> Result<Took> {
    let path = dir.join("pwrite");
    std::fs::write(&path, [0; 4096])?;
    let file = rustix::fs::open(&path, OFlags::WRONLY, Mode::empty())?;
    let took = timed(count, |n| {
        rustix::io::pwrite(&file, &[n as u8], n % 4096)?;
        Ok(())
    })?;
    std::fs::remove_file(path)?;
    Ok(took)
}

/// Creates, writes, closes and removes a file.
fn churn(dir: &Path, count: u64) -> Result<Took> {
    let dir = rustix::fs::open(dir, OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty())?;
    let names: Vec<String> = (0..CHURN_NAMES).map(|n| format!("churn-{n}")).collect();
    timed(count, |n| {
        let name = &names[(n % CHURN_NAMES) as usize];
        let file = rustix::fs::openat(&dir, name, NEW, MODE)?;
        rustix::io::write(&file, b"x")?;
        drop(file);
        rustix::fs::unlinkat(&dir, name, rustix::fs::AtFlags::empty())?;
        Ok(())
    })
}

/// Renames a file there and back; one rename is one operation.
fn rename(dir: &Path, count: u64) -> Result<Took> {
    let (here, there) = (dir.join("here"), dir.join("there"));
    std::fs::write(&here, "x")?;
    let mut names: [&PathBuf; 2] = [&here, &there];
    let took = timed(count, |_| {
        rustix::fs::renameat(CWD, names[0], CWD, names[1])?;
        names.swap(0, 1);
        Ok(())
    })?;
    std::fs::remove_file(names[0])?;
    Ok(took)
}

/// A system call that does nothing.
fn getppid(count: u64) -> Result<Took> {
    timed(count, |_| {
        std::hint::black_box(rustix::process::getppid());
        Ok(())
    })
}

/// One byte to another process and back.
fn pipe(count: u64) -> Result<Took> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("echo")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("the other end")?;
    let mut to = child.stdin.take().context("piped")?;
    let mut from = child.stdout.take().context("piped")?;
    let took = timed(count, |_| {
        to.write_all(b"x")?;
        from.read_exact(&mut [0])?;
        Ok(())
    })?;
    drop(to);
    child.wait()?;
    Ok(took)
}

fn echo() -> Result<()> {
    let (from, to) = (std::io::stdin(), std::io::stdout());
    let mut byte = [0];
    while rustix::io::read(&from, &mut byte)? > 0 {
        rustix::io::write(&to, &byte)?;
    }
    Ok(())
}

/// The file's place: a hundred to a directory, so that there are directories to watch too.
fn place(dir: &Path, file: u64) -> PathBuf {
    dir.join((file / 100).to_string()).join(format!("file-{file}"))
}

fn fill(dir: &Path, files: u64) -> Result<()> {
    for file in 0..files {
        let path = place(dir, file);
        std::fs::create_dir_all(path.parent().context("a parent")?)?;
        std::fs::write(path, format!("file {file} before the flood"))?;
    }
    Ok(())
}

/// Writers that each work on their half of the files as fast as they can.
fn flood(dir: &Path, files: u64, count: u64) -> Result<Took> {
    let half = files / WRITERS;
    ensure!(half > 0, "fewer files than writers");
    let started = now_ns(ClockId::Monotonic);
    let cpu_ns = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| scope.spawn(move || flood_half(dir, writer * half, half, count / WRITERS)))
            .collect();
        writers
            .into_iter()
            .map(|writer| writer.join().map_err(|_| anyhow::anyhow!("a writer panicked"))?)
            .sum()
    });
    let cpu_ns: Result<u64> = cpu_ns;
    Ok(Took { wall_ns: now_ns(ClockId::Monotonic) - started, cpu_ns: cpu_ns? })
}

/// Eight of ten operations write, one replaces the file by rename, one removes it and makes it anew. The sequence is
/// the same in every run.
fn flood_half(dir: &Path, first: u64, files: u64, count: u64) -> Result<u64> {
    let cpu = now_ns(ClockId::ThreadCPUTime);
    let temporary = dir.join(format!("temporary-{first}"));
    let mut random = first | 1;
    for n in 0..count {
        // xorshift64: cheap beside a system call, and no file is favoured.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let path = place(dir, first + random % files);
        let text = format!("operation {n} of writer {first}");
        match (random >> 32) % 10 {
            0 => {
                std::fs::write(&temporary, &text)?;
                rustix::fs::rename(&temporary, &path)?;
            }
            1 => {
                rustix::fs::unlink(&path)?;
                let file = rustix::fs::open(&path, NEW, MODE)?;
                rustix::io::write(&file, text.as_bytes())?;
            }
            _ => {
                let file = rustix::fs::open(&path, OFlags::WRONLY, Mode::empty())?;
                rustix::io::pwrite(&file, text.as_bytes(), 0)?;
            }
        }
    }
    Ok(now_ns(ClockId::ThreadCPUTime) - cpu)
}

/// Compares with the suites' own reader, which shares no code with SFD.
fn right(root: &Path, brick: &Path) -> Result<()> {
    let compared = sfd_tests::reader::compare(root, brick)?;
    println!("{} {}", compared.artifacts, compared.exact);
    Ok(())
}
