//! Running one virtual machine.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::kernels::Kernel;

/// How the guest's instructions are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accelerator {
    /// By the processor.
    Kvm,
    /// By translation: everywhere, and slowly.
    Tcg,
}

impl Accelerator {
    /// How many times longer tests may wait than on this machine. The daemon's promise of a second is for real
    /// processors; translated, on two busy cores, waits of 1 s and of 30 s ran out.
    pub(crate) fn slowness(self) -> u32 {
        match self {
            Self::Kvm => 1,
            Self::Tcg => 20,
        }
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "kvm",
            Self::Tcg => "none (tcg)",
        })
    }
}

/// How long KVM has to boot a kernel as far as its missing root. It takes 1 to 2 s where it works; in some nested
/// set-ups `/dev/kvm` is there and a kernel never comes out of its decompressor.
const KVM_WITHIN: Duration = Duration::from_secs(10);

/// KVM if a kernel boots with it.
pub(crate) fn accelerator(program: &Path, kernel: &Kernel) -> Accelerator {
    if !Path::new("/dev/kvm").exists() {
        return Accelerator::Tcg;
    }
    let mut command = qemu(program, Accelerator::Kvm, kernel);
    command.args(["-m", "256", "-append", "console=ttyS0 panic=-1"]);
    match run(command, None, KVM_WITHIN) {
        Ok(text) if text.contains("Kernel panic") => Accelerator::Kvm,
        _ => Accelerator::Tcg,
    }
}

/// A machine to run.
pub(crate) struct Machine<'a> {
    /// QEMU.
    pub(crate) program: &'a Path,
    pub(crate) kernel: &'a Kernel,
    pub(crate) initrd: &'a Path,
    /// A raw image with ext4.
    pub(crate) disk: &'a Path,
    pub(crate) accelerator: Accelerator,
}

impl Machine<'_> {
    /// Boots it, waits until it powers itself off, gives what its serial console showed and writes that to `log`.
    pub(crate) fn run(&self, log: &Path, limit: Duration) -> Result<String> {
        let mut command = qemu(self.program, self.accelerator, self.kernel);
        // Root is in memory: the programs are about 150 MB there and once more while they are unpacked.
        command.args(["-smp", "2", "-m", "2048", "-append", "console=ttyS0 quiet panic=-1"]);
        command.arg("-initrd").arg(self.initrd);
        command.arg("-drive").arg(format!("file={},format=raw,if=virtio,cache=unsafe", self.disk.display()));
        run(command, Some(log), limit)
    }
}

fn qemu(program: &Path, accelerator: Accelerator, kernel: &Kernel) -> Command {
    let mut command = Command::new(program);
    match accelerator {
        Accelerator::Kvm => command.args(["-accel", "kvm", "-cpu", "host"]),
        Accelerator::Tcg => command.args(["-accel", "tcg", "-cpu", "max"]),
    };
    command
        .args(["-nographic", "-no-reboot", "-nodefaults", "-serial", "stdio", "-kernel"])
        .arg(&kernel.image);
    command
}

/// Runs it, at most for `limit`, and gives its output.
fn run(mut command: Command, log: Option<&Path>, limit: Duration) -> Result<String> {
    let mut log = log
        .map(|path| std::fs::File::create(path).with_context(|| path.display().to_string()))
        .transpose()?;
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().with_context(
            || format!("{} (Debian package qemu-system-x86)", command.get_program().display()),
        )?;
    let (stdout, stderr) =
        child.stdout.take().zip(child.stderr.take()).context("no output of the machine")?;
    let (tell, lines) = channel();
    let tell_errors = tell.clone();
    let pass_on = |from: Box<dyn std::io::Read + Send>, tell: std::sync::mpsc::Sender<String>| {
        std::thread::spawn(move || {
            // A console shows bytes, not always UTF-8.
            for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
                if tell.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    return;
                }
            }
        })
    };
    pass_on(Box::new(stdout), tell);
    pass_on(Box::new(stderr), tell_errors);
    let until = Instant::now() + limit;
    let mut text = String::new();
    loop {
        let (line, stopped) = match lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => (line, false),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => (format!("@@ stopped after {} s", limit.as_secs()), true),
        };
        if let Some(log) = &mut log {
            writeln!(log, "{line}")?;
            if line.starts_with("@@ ") || line.starts_with("test result: ") {
                eprintln!("   {}", line.trim_end());
            }
        }
        text.push_str(&line);
        text.push('\n');
        if stopped {
            child.kill()?;
            break;
        }
    }
    child.wait()?;
    Ok(text)
}
