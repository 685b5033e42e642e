//! What looks on while something works: SFD, its peers, or nothing.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, WaitOptions};

/// Longest wait for an observer to be ready or gone. SFD's programs take 8 s to detach, on a loaded machine more.
const PATIENCE: Duration = Duration::from_mins(1);

/// Something that looks on.
#[derive(Clone, Debug)]
pub(super) struct Observer {
    /// Its name in the table.
    pub(super) name: &'static str,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Nothing,
    Sfd,
    Inotifywait,
    Fatrace,
    Bpftrace(String),
    Audit,
}

/// Where an observer looks and puts things.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// The program under test.
    pub(super) sfd: &'a Path,
    /// What is watched.
    pub(super) watched: &'a Path,
    /// For state and output, not on the watched file system.
    pub(super) scratch: &'a Path,
    /// Keep what a peer prints, to count it; else it goes to `/dev/null`, which is cheaper for the peer.
    pub(super) keep_output: bool,
}

impl Observer {
    pub(super) const NOTHING: Self = Self { name: "nothing attached", kind: Kind::Nothing };
    pub(super) const SFD: Self = Self { name: "SFD", kind: Kind::Sfd };
    pub(super) const INOTIFYWAIT: Self = Self { name: "inotifywait", kind: Kind::Inotifywait };
    /// A watch on a directory, which nobody touches: no records come of it, and none can fill up.
    pub(super) const AUDIT: Self = Self { name: "audit", kind: Kind::Audit };
    pub(super) const FATRACE: Self = Self { name: "fatrace", kind: Kind::Fatrace };

    /// A bpftrace that counts at each of these tracepoints.
    pub(super) fn bpftrace(name: &'static str, probes: &[&str]) -> Self {
        let text = probes.iter().map(|probe| format!("tracepoint:{probe} {{ @ = count(); }}"));
        Self { name, kind: Kind::Bpftrace(text.collect::<Vec<_>>().join(" ")) }
    }

    /// Its command as a reader would type it, with `DIR` for what is watched.
    pub(super) fn shown(&self) -> String {
        match &self.kind {
            Kind::Nothing => "-".to_owned(),
            Kind::Sfd => "sfd run --watch DIR".to_owned(),
            Kind::Inotifywait => "inotifywait -m -r DIR".to_owned(),
            Kind::Fatrace => "cd DIR && fatrace -c".to_owned(),
            Kind::Bpftrace(text) => format!("bpftrace -e '{text}'"),
            Kind::Audit => "auditctl -e 1 && auditctl -w DIR -p wa".to_owned(),
        }
    }

    /// The program it needs, if that is not here.
    pub(super) fn missing(&self) -> Option<&'static str> {
        let program = match &self.kind {
            Kind::Nothing | Kind::Sfd => return None,
            Kind::Inotifywait => "inotifywait",
            Kind::Fatrace => "fatrace",
            Kind::Bpftrace(_) => "bpftrace",
            Kind::Audit => "auditctl",
        };
        find(program).is_none().then_some(program)
    }

    /// Starts it and waits until it looks on.
    pub(super) fn start(&self, place: &Place<'_>) -> Result<Running> {
        let mut running = Running { child: None, audit: None };
        let output = |name: &str| -> Result<Stdio> {
            if !place.keep_output {
                return Ok(Stdio::null());
            }
            Ok(std::fs::File::create(place.scratch.join(name))?.into())
        };
        match &self.kind {
            Kind::Nothing => {
                if let Some(others @ 1..) = programs() {
                    eprintln!(
                        "{others} tracing programs of others are attached: \"nothing\" is not quite nothing"
                    );
                }
            }
            Kind::Sfd => {
                let state = place.scratch.join("state");
                let _ = std::fs::remove_dir_all(&state);
                let mut command = Command::new(place.sfd);
                command.args(["run", "--json", "--log", "warn", "--watch"]).arg(place.watched);
                command.arg("--state").arg(state).stdout(Stdio::piped());
                for name in ["SFD_LOG", "SFD_STATE", "SFD_CONFIG"] {
                    command.env_remove(name);
                }
                running.spawn(command)?;
                running.wait_line(true, "\"event\":\"live\"")?;
            }
            Kind::Inotifywait => {
                let mut command = Command::new("inotifywait");
                command.args(["-m", "-r"]).arg(place.watched);
                command.stdout(output("inotifywait")?).stderr(Stdio::piped());
                running.spawn(command)?;
                running.wait_line(false, "Watches established")?;
            }
            Kind::Fatrace => {
                let mut command = Command::new("fatrace");
                command.arg("-c").current_dir(place.watched).stdout(output("fatrace")?);
                running.spawn(command)?;
                running.wait_marked()?;
            }
            Kind::Bpftrace(text) => {
                let text = format!("{text} BEGIN {{ printf(\"ready\\n\"); }}");
                let mut command = Command::new("bpftrace");
                command.arg("-e").arg(text).stdout(Stdio::piped()).stderr(Stdio::null());
                running.spawn(command)?;
                running.wait_line(true, "ready")?;
            }
            Kind::Audit => {
                let dir = place.watched.to_str().context("a directory in UTF-8")?;
                // Left behind by the turn before; not there in the first.
                let _ = audit(&["-d", "never,task"]);
                running.audit = Some(dir.to_owned());
                audit(&["-e", "1"])?;
                audit(&["-w", dir, "-p", "wa"])?;
            }
        }
        Ok(running)
    }
}

/// An observer at work; gone when dropped.
pub(super) struct Running {
    child: Option<Child>,
    /// Directory whose audit watch is to be taken away.
    audit: Option<String>,
}

/// What a process has used.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    /// Processor time of all its threads, seconds.
    pub(super) cpu_s: f64,
    /// Most resident memory, MiB.
    pub(super) peak_mib: f64,
}

impl Running {
    fn spawn(&mut self, mut command: Command) -> Result<()> {
        let name = command.get_program().to_owned();
        self.child = Some(command.stdin(Stdio::null()).spawn().with_context(|| name.display().to_string())?);
        Ok(())
    }

    /// Waits for a line of its output; a thread reads on, so that it never waits for us.
    fn wait_line(&mut self, stdout: bool, wanted: &'static str) -> Result<()> {
        let child = self.child.as_mut().context("not started")?;
        let stream: Box<dyn std::io::Read + Send> = if stdout {
            Box::new(child.stdout.take().context("no output")?)
        } else {
            Box::new(child.stderr.take().context("no output")?)
        };
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if line.contains(wanted) {
                    let _ = tell.send(());
                }
            }
        });
        told.recv_timeout(PATIENCE).with_context(|| format!("it did not print {wanted:?}"))
    }

    /// fatrace says nothing when it begins; the kernel shows its marks.
    fn wait_marked(&mut self) -> Result<()> {
        let pid = self.pid()?;
        wait("a mark of fanotify", || {
            let files = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
            Ok(files
                .filter_map(|file| std::fs::read_to_string(file.path()).ok())
                .any(|text| text.contains("fanotify sdev") || text.contains("fanotify mnt_id")))
        })
    }

    fn pid(&self) -> Result<u32> {
        Ok(self.child.as_ref().context("not started")?.id())
    }

    /// What it has used so far; `None` for those that are no process.
    pub(super) fn usage(&self) -> Result<Option<Usage>> {
        let Ok(pid) = self.pid() else { return Ok(None) };
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // proc_pid_stat(5): utime and stime are fields 14 and 15; the name before them ends with the last ')'.
        let fields: Vec<&str> = stat.rsplit_once(") ").context("stat")?.1.split(' ').collect();
        let ticks = |at: usize| -> Result<f64> { Ok(fields.get(at - 3).context("stat")?.parse()?) };
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
        let peak_kib: f64 = peak.trim().trim_end_matches(" kB").parse()?;
        // USER_HZ is 100 on every architecture that SFD runs on.
        Ok(Some(Usage { cpu_s: (ticks(14)? + ticks(15)?) / 100.0, peak_mib: peak_kib / 1024.0 }))
    }

    /// As [`memory_mib`], of the process.
    pub(super) fn memory_mib(&self) -> Result<[f64; 3]> {
        memory_mib(self.pid()?)
    }

    /// Stops it and waits until the kernel has taken everything of it down.
    pub(super) fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        if let Some(dir) = self.audit.take() {
            // First, and whatever else fails: once auditing was on, it is never quite off again before the next boot
            // (`audit_alloc` in kernel/auditsc.c), and this rule is what makes new processes free of it.
            let never = audit(&["-a", "never,task"]);
            audit(&["-W", &dir, "-p", "wa"])?;
            audit(&["-e", "0"])?;
            never?;
        }
        let Some(mut child) = self.child.take() else { return Ok(()) };
        // bpftrace ends properly on this one only; the others end on it too.
        let _ = rustix::process::kill_process(Pid::from_child(&child), Signal::INT);
        let ended = wait("the observer to end", || Ok(child.try_wait()?.is_some()));
        if ended.is_err() {
            child.kill()?;
            child.wait()?;
        }
        // SFD leaves a child that holds its programs until they are detached. It is ours then (`adopt_orphans`).
        wait("the last hook to be detached", || match rustix::process::wait(WaitOptions::NOHANG) {
            Err(rustix::io::Errno::CHILD) => Ok(true),
            Ok(_) => Ok(false),
            Err(errno) => bail!("wait: {errno}"),
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("{error:#}");
        }
    }
}

/// Memory of a process in MiB: resident without mapped files, resident of mapped files, and the most that was ever resident
/// (proc_pid_status(5)).
pub(super) fn memory_mib(pid: u32) -> Result<[f64; 3]> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let mib = |name: &str| -> Result<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("a line of status")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
    };
    Ok([mib("RssAnon:")?, mib("RssFile:")?, mib("VmHWM:")?])
}

fn audit(args: &[&str]) -> Result<()> {
    let output = Command::new("auditctl").args(args).output().context("auditctl")?;
    ensure!(
        output.status.success(),
        "auditctl {}: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// Waits until `done`.
fn wait(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    while !done()? {
        ensure!(started.elapsed() < PATIENCE, "waited {} s for {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Makes processes whose parent ends children of this one, so that [`Running::stop`] can wait for them.
pub(super) fn adopt_orphans() -> Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).context("child subreaper")
}

/// eBPF programs on tracepoints and functions that are loaded on this machine, if `bpftool` can tell.
pub(super) fn programs() -> Option<usize> {
    let output = Command::new("bpftool").args(["-j", "prog", "show"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    let kinds = ["tracepoint", "raw_tracepoint", "tracing", "perf_event", "kprobe"];
    Some(kinds.iter().map(|kind| text.matches(&format!("\"type\":\"{kind}\"")).count()).sum())
}

/// The first program of this name in `PATH`.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}
