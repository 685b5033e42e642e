//! Kernel modules in a directory: who made and signed each, what for, what it reaches into, what to think of that.

use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::{Component, Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde::Serialize;
use serde_json::{Value, json};

use super::{Report, table};
use crate::agent::SealProgress;
use crate::artifact::Risk;
use crate::artifact::kinds::risk::{HIGH, LOW, MEDIUM};
use crate::artifact::kinds::{Module, examine_module, is_module_name};
use crate::tasks::TaskError;
use crate::tasks::source::walk;

/// Modules of one report, at most: a distribution's kernel has some 5000.
const MODULES_MAX: usize = 20_000;
/// Names that are looked at.
const NAMES_MAX: usize = 1_000_000;
/// A packed module is at most this long, in bytes; larger ones are not read.
const PACKED_BYTES_MAX: u64 = 64 << 20;
/// Threads that read them.
const THREADS_MAX: usize = 8;

/// Functions of the kernel that give a module power over the rest of it: their level in a module from elsewhere, their level in
/// a module of the kernel's own source, which uses some of them with good reason, and why that is worth knowing.
const INTERFACES: &[(&str, u8, u8, &str)] = &[
    ("kallsyms_lookup_name", HIGH, LOW, "finds any symbol of the kernel, exported or not"),
    ("commit_creds", HIGH, LOW, "can give a process the rights of root"),
    ("prepare_kernel_cred", HIGH, LOW, "makes credentials of the kernel itself"),
    ("text_poke", HIGH, LOW, "changes the kernel's code"),
    ("set_memory_rw", HIGH, LOW, "makes protected memory of the kernel writable"),
    ("set_memory_x", HIGH, LOW, "makes memory of the kernel executable"),
    ("register_kprobe", MEDIUM, LOW, "can intercept functions of the kernel"),
    ("register_kretprobe", MEDIUM, LOW, "can intercept functions of the kernel"),
    ("register_ftrace_function", MEDIUM, LOW, "can intercept functions of the kernel"),
    ("klp_enable_patch", MEDIUM, MEDIUM, "replaces functions of the running kernel (live patch)"),
    ("security_add_hooks", MEDIUM, LOW, "takes part in decisions about permissions"),
    ("call_usermodehelper", MEDIUM, 0, "starts programs as root"),
    ("call_usermodehelper_exec", MEDIUM, 0, "starts programs as root"),
    ("register_keyboard_notifier", MEDIUM, 0, "sees what is typed"),
    ("input_register_handler", LOW, 0, "sees input devices, keyboards among them"),
    ("nf_register_net_hooks", LOW, 0, "sees and changes network packets"),
    ("nf_register_net_hook", LOW, 0, "sees and changes network packets"),
    ("filp_open", LOW, 0, "opens files from inside the kernel"),
    ("kernel_write", LOW, 0, "writes files from inside the kernel"),
    ("access_process_vm", MEDIUM, LOW, "reads and writes the memory of processes"),
    ("remap_pfn_range", LOW, 0, "gives programs direct access to physical memory"),
];

/// One module.
#[derive(Clone, Debug, Serialize)]
pub struct Scanned {
    /// Its file.
    path: PathBuf,
    /// What it says of itself; nothing if it could not be read.
    #[serde(flatten)]
    module: Option<Module>,
    /// The release of the kernel that it was made for.
    made_for: Option<String>,
    /// Whether that is the running one.
    for_running_kernel: bool,
    /// Those of its functions that give power over the rest of the kernel.
    interfaces: Vec<&'static str>,
    /// What to think of it.
    risk: Risk,
}

/// All of them.
#[derive(Clone, Debug)]
pub struct Scan {
    source: String,
    running: String,
    modules: Vec<Scanned>,
    /// What was found beyond `max_files`.
    pub left_out: u64,
}

/// Reads every module below a directory (or one module).
///
/// # Errors
/// The directory cannot be listed or has no modules; `progress` said so.
pub fn scan(
    dir: &Path,
    source: &str,
    max_files: Option<u32>,
    progress: &dyn Fn(SealProgress) -> ControlFlow<()>,
) -> Result<Scan, TaskError> {
    let missing = |why: String| TaskError::Missing { what: format!("source {source:?}: {why}") };
    // A release's directory is often a link: /lib is one to /usr/lib.
    let dir = std::fs::canonicalize(dir).map_err(|error| missing(error.to_string()))?;
    let mut files = Vec::new();
    if dir.is_file() && is_module_name(&dir) {
        files.push(dir);
    } else {
        let mut seen = 0;
        let walked = walk(&dir, &mut |path, is_dir| {
            seen += 1;
            if !is_dir
                && is_module_name(path)
                && std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file())
            {
                files.push(path.to_path_buf());
            }
            seen < NAMES_MAX
        });
        walked.map_err(|error| missing(error.to_string()))?;
        if seen >= NAMES_MAX {
            return Err(missing(format!("more than {NAMES_MAX} names below it; name a deeper directory")));
        }
    }
    if files.is_empty() {
        return Err(missing("no kernel modules (.ko, .ko.xz, .ko.zst, .ko.gz) below it".into()));
    }
    files.sort();
    let most = max_files.map_or(MODULES_MAX, |max| (max as usize).min(MODULES_MAX));
    let left_out = files.len().saturating_sub(most) as u64;
    files.truncate(most);
    let running = rustix::system::uname().release().to_string_lossy().into_owned();
    let modules = examine_all(&files, &running, progress)?;
    Ok(Scan { source: source.to_owned(), running, modules, left_out })
}

/// On all cores: most of the time is spent unpacking.
fn examine_all(
    files: &[PathBuf],
    running: &str,
    progress: &dyn Fn(SealProgress) -> ControlFlow<()>,
) -> Result<Vec<Scanned>, TaskError> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(THREADS_MAX);
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let found = Mutex::new(Vec::with_capacity(files.len()));
    let one = || -> bool {
        let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) else { return false };
        let scanned = examine(path, running);
        found.lock().unwrap_or_else(PoisonError::into_inner).push(scanned);
        !stop.load(Ordering::Relaxed)
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|| while one() {});
        }
        loop {
            let count = found.lock().unwrap_or_else(PoisonError::into_inner).len() as u64;
            if progress(SealProgress::Found(count)).is_break() {
                stop.store(true, Ordering::Relaxed);
                return Err(TaskError::Stopped);
            }
            if !one() {
                return Ok(());
            }
        }
    })?;
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort_by(|a: &Scanned, b| a.path.cmp(&b.path));
    Ok(found)
}

fn examine(path: &Path, running: &str) -> Scanned {
    let small = std::fs::metadata(path).is_ok_and(|meta| meta.len() <= PACKED_BYTES_MAX);
    let module = if small { std::fs::read(path).ok() } else { None };
    let module = module.and_then(|packed| examine_module(&packed));
    let made_for = module.as_ref().and_then(|module| module.vermagic.as_deref());
    let made_for = made_for.and_then(|vermagic| vermagic.split_whitespace().next()).map(str::to_owned);
    let mut scanned = Scanned {
        path: path.to_owned(),
        for_running_kernel: made_for.as_deref() == Some(running),
        made_for,
        module,
        interfaces: Vec::new(),
        risk: Risk::default(),
    };
    judge(&mut scanned);
    scanned
}

/// The release in whose directory a module is: `/lib/modules/RELEASE/...`.
fn directory_release(path: &Path) -> Option<&str> {
    let mut parts = path.components().map(Component::as_os_str);
    parts.by_ref().find(|part| *part == "modules")?;
    parts.next()?.to_str()
}

fn judge(scanned: &mut Scanned) {
    let mut found: Vec<(u8, String)> = Vec::new();
    let Some(module) = &scanned.module else {
        found.push((MEDIUM, "cannot be read: damaged, or no module".into()));
        return settle(scanned, found);
    };
    if !module.signed {
        let why = if module.in_tree { "not signed" } else { "not signed: nobody vouches for who made it" };
        found.push((if module.in_tree { LOW } else { MEDIUM }, why.into()));
    }
    if !module.in_tree {
        found.push((MEDIUM, "built outside the kernel's source (taints the kernel: O)".into()));
    }
    if module.taints.iter().any(|taint| taint.ends_with("(P)")) {
        let licence = module.licence.as_deref().unwrap_or("none");
        found.push((LOW, format!("its licence ({licence}) is not free (taints the kernel: P)")));
    }
    if module.taints.iter().any(|taint| taint.starts_with("staging")) {
        found.push((LOW, "staging: not yet of the quality of the kernel (taints it: C)".into()));
    }
    if let (Some(release), Some(made_for)) = (directory_release(&scanned.path), scanned.made_for.as_deref())
        && release.starts_with(|c: char| c.is_ascii_digit())
        && release != made_for
    {
        found.push((MEDIUM, format!("is among the modules of kernel {release} but was made for {made_for}")));
    }
    let mut interfaces = Vec::new();
    for (name, foreign, in_tree, why) in INTERFACES {
        if module.uses.binary_search_by(|used| used.as_str().cmp(name)).is_ok() {
            interfaces.push(*name);
            let level = if module.in_tree { *in_tree } else { *foreign };
            if level > 0 {
                found.push((level, format!("{why} ({name})")));
            }
        }
    }
    scanned.interfaces = interfaces;
    settle(scanned, found);
}

fn settle(scanned: &mut Scanned, mut found: Vec<(u8, String)>) {
    found.sort_by_key(|(level, _)| std::cmp::Reverse(*level));
    scanned.risk.level = found.first().map_or(0, |(level, _)| *level);
    scanned.risk.reasons = found.into_iter().map(|(_, why)| why).collect();
}

impl Scanned {
    fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        name.split(".ko").next().unwrap_or_default().to_owned()
    }

    fn is(&self, what: impl Fn(&Module) -> bool) -> bool {
        self.module.as_ref().is_some_and(what)
    }
}

impl Scan {
    /// The files.
    pub fn files(&self) -> Vec<PathBuf> {
        self.modules.iter().map(|module| module.path.clone()).collect()
    }

    fn count(&self, what: impl Fn(&Scanned) -> bool) -> usize {
        self.modules.iter().filter(|module| what(module)).count()
    }

    /// What is counted, in words and numbers.
    fn counts(&self) -> [(&'static str, &'static str, usize); 9] {
        [
            ("modules", "modules", self.modules.len()),
            ("unreadable", "that cannot be read", self.count(|module| module.module.is_none())),
            ("unsigned", "without a signature", self.count(|each| each.is(|module| !module.signed))),
            (
                "out_of_tree",
                "built outside the kernel's source",
                self.count(|each| each.is(|module| !module.in_tree)),
            ),
            (
                "not_free",
                "whose licence taints the kernel",
                self.count(|each| each.is(|module| module.taints.iter().any(|taint| taint.ends_with("(P)")))),
            ),
            (
                "staging",
                "from staging",
                self.count(|each| {
                    each.is(|module| module.taints.iter().any(|taint| taint.starts_with("staging")))
                }),
            ),
            (
                "other_kernel",
                "made for another kernel than the running one",
                self.count(|each| each.module.is_some() && !each.for_running_kernel),
            ),
            (
                "interfaces",
                "that use functions with power over the kernel",
                self.count(|each| !each.interfaces.is_empty()),
            ),
            (
                "medium_or_higher",
                "of medium or higher risk",
                self.count(|module| module.risk.level >= MEDIUM),
            ),
        ]
    }

    fn signers(&self) -> Vec<(String, usize)> {
        let mut signers = std::collections::BTreeMap::new();
        for module in
            self.modules.iter().filter_map(|each| each.module.as_ref()).filter(|module| module.signed)
        {
            *signers.entry(module.signer.clone().unwrap_or_else(|| "not named".into())).or_insert(0) += 1;
        }
        signers.into_iter().collect()
    }
}

impl Report for Scan {
    fn json(&self) -> Value {
        let counts: serde_json::Map<String, Value> =
            self.counts().iter().map(|(key, _, count)| ((*key).to_owned(), json!(count))).collect();
        json!({
            "format": "sfd-module-report", "version": 1,
            "source": self.source, "running_kernel": self.running, "left_out": self.left_out,
            "counts": counts,
            "signers": self.signers().into_iter().map(|(name, count)| json!({ "name": name, "modules": count })).collect::<Vec<_>>(),
            "modules": self.modules,
        })
    }

    fn markdown(&self, title: &str) -> String {
        let mut text = format!("# Kernel modules: {}\n\n", super::cell(title));
        let _ = write!(
            text,
            "Source `{}`, running kernel {}.\n\n",
            self.source.replace('`', "'"),
            super::cell(&self.running)
        );
        for (_, words, count) in self.counts() {
            if count > 0 || words == "modules" {
                let _ = writeln!(text, "- {count} {words}");
            }
        }
        if self.left_out > 0 {
            let _ = writeln!(text, "- {} more were left out, since max_files says so", self.left_out);
        }
        text += "\nWhat is said here comes from the files alone: `.modinfo`, the symbols that a module uses, the signature \
            at its end. Whether a signature is valid is decided by the kernel that loads the module.\n";
        let signers = self.signers();
        if !signers.is_empty() {
            text += "\n## Signed by\n\n";
            text += &table(
                &["signer", "modules"],
                signers.into_iter().map(|(name, count)| vec![name, count.to_string()]),
            );
        }
        let mut risky: Vec<&Scanned> =
            self.modules.iter().filter(|module| module.risk.level >= LOW).collect();
        risky.sort_by_key(|module| std::cmp::Reverse(module.risk.level));
        text += "\n## Worth a look\n\n";
        if risky.is_empty() {
            text += "Nothing.\n";
        } else {
            text += &table(
                &["module", "risk", "why"],
                risky.iter().map(|module| {
                    vec![module.name(), module.risk.word().to_owned(), module.risk.reasons.join("; ")]
                }),
            );
        }
        text += "\n## All\n\n";
        text += &table(
            &["module", "what it is", "licence", "signer", "made for", "parameters"],
            self.modules.iter().map(|each| {
                let of = |get: fn(&Module) -> Option<&String>| {
                    each.module.as_ref().and_then(get).cloned().unwrap_or_default()
                };
                let parameters = each.module.as_ref().map_or_else(String::new, |module| {
                    module
                        .parameters
                        .iter()
                        .map(|parameter| parameter.name.as_str())
                        .collect::<Vec<_>>()
                        .join(", ")
                });
                let signer = match &each.module {
                    Some(module) if !module.signed => "unsigned".to_owned(),
                    _ => of(|module| module.signer.as_ref()),
                };
                vec![
                    each.name(),
                    of(|module| module.description.as_ref()),
                    of(|module| module.licence.as_ref()),
                    signer,
                    each.made_for.clone().unwrap_or_default(),
                    parameters,
                ]
            }),
        );
        text
    }
}
