//! Where tasks are, and how each of them stands.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::dir::{Dir, Stamp, temporary};
use super::foundry::parse_yaml;
use super::job::{Job, TASK_BYTES_MAX, TaskType, parse_json};
use super::outcome::{Book, TaskResult};
use super::{TaskError, hex, tick};

/// Where FoundryTask files are, below `openspec/`.
pub(super) const TASK_DIR: &str = "tasks/system_foundry";
/// Where changes are; the archive in it is not looked at.
const CHANGES: &str = "changes";
const ARCHIVE: &str = "archive";
/// The list of a change.
pub(super) const LIST: &str = "tasks.md";
/// End of the name of a FoundryTask file.
const TASK_SUFFIX: &str = ".task.json";
/// End of the names of those that are done, as written now and as written by earlier programs.
const DONE_SUFFIXES: [&str; 2] = [".task.task.json.done", ".task.json.done"];
/// A name that is longer has no room for the ends of the names of results: file systems take 255 bytes.
const NAME_BYTES_MAX: usize = 180;

/// How a task stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It is to be run.
    Pending,
    /// It was run.
    Done,
    /// It was run or read, and that failed; it is not tried again before it is changed or somebody asks for it.
    Failed {
        /// Why.
        why: String,
    },
    /// Nothing is wrong, but it cannot be run yet.
    Waiting {
        /// What it waits for.
        what: String,
    },
}

/// Which way a task came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Door {
    /// A FoundryTask file of this name.
    File {
        /// `NAME.task.json`.
        file: String,
    },
    /// A job of `foundry.yaml`.
    Change {
        /// The change.
        change: String,
        /// The number of its line in tasks.md; `None`: the file as a whole is wrong.
        number: Option<String>,
    },
}

/// A task.
#[derive(Clone, Debug)]
pub struct Task {
    /// What its outputs are called.
    pub name: String,
    /// Which way it came in.
    pub door: Door,
    /// What is to be done, or why that cannot be said. Of tasks that are done it is not looked for.
    pub job: Result<Option<Job>, TaskError>,
    /// How it stands.
    pub state: State,
    /// BLAKE3 of what asks for it, hexadecimal.
    pub(super) hash: String,
    /// Tells a file that was put there again from one that is there still.
    pub(super) submission: String,
}

impl Task {
    /// Where it is, relative to the root.
    pub fn place(&self) -> String {
        match &self.door {
            Door::File { file } => format!("openspec/{TASK_DIR}/{file}"),
            Door::Change { change, number: Some(number) } => {
                format!("openspec/{CHANGES}/{change}/foundry.yaml job {number}")
            }
            Door::Change { change, number: None } => format!("openspec/{CHANGES}/{change}/foundry.yaml"),
        }
    }
}

/// A repository with an `openspec/` directory.
#[derive(Debug)]
pub struct OpenSpec {
    pub(super) root: Dir,
    pub(super) openspec: Dir,
    path: PathBuf,
}

impl OpenSpec {
    /// Opens the repository at `dir`, which is its root or its `openspec/` directory.
    ///
    /// # Errors
    /// There is no `openspec/` directory.
    pub fn open(dir: &Path) -> Result<Self, TaskError> {
        let real = std::fs::canonicalize(dir).map_err(|error| TaskError::of(dir, error))?;
        let is_openspec =
            real.file_name().is_some_and(|name| name == "openspec") && !real.join("openspec").is_dir();
        let path = match real.parent() {
            Some(parent) if is_openspec => parent.to_path_buf(),
            _ => real,
        };
        let root = Dir::open(&path)?;
        let openspec = root.sub(Path::new("openspec")).map_err(|error| match error {
            TaskError::Io { kind: std::io::ErrorKind::NotFound, .. } => TaskError::Missing {
                what: format!(
                    "{}: there is no openspec directory; `sfd tasks init` makes one",
                    path.display()
                ),
            },
            other => other,
        })?;
        Ok(Self { root, openspec, path })
    }

    /// Opens the nearest one at or above `dir`.
    pub fn search(dir: &Path) -> Result<Self, TaskError> {
        let real = std::fs::canonicalize(dir).map_err(|error| TaskError::of(dir, error))?;
        let found = real.ancestors().find(|dir| dir.join("openspec").is_dir());
        let what =
            "no openspec directory here or above; `sfd tasks init` makes one, --openspec DIR names one";
        Self::open(found.ok_or_else(|| TaskError::Missing { what: what.into() })?)
    }

    /// Root of the repository, without symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every task, first the FoundryTask files, then the changes, each by name.
    ///
    /// # Errors
    /// A directory cannot be read. A file that cannot be is an error of that task alone.
    pub fn tasks(&self) -> Result<Vec<Task>, TaskError> {
        let mut tasks = Vec::new();
        if let Some(dir) = there(self.openspec.sub(Path::new(TASK_DIR)))? {
            files(&dir, &mut tasks)?;
        }
        if let Some(dir) = there(self.openspec.sub(Path::new(CHANGES)))? {
            for name in dir.names()? {
                let Ok(change) = name.to_str() else { continue };
                if change == ARCHIVE || change.starts_with('.') {
                    continue;
                }
                // A file, or a link to somewhere else: no change of this repository.
                let Ok(dir) = dir.sub(Path::new(change)) else { continue };
                jobs(&dir, change, &mut tasks);
            }
        }
        Ok(tasks)
    }

    /// The changes beside whose lists a killed run has left something.
    pub(super) fn leftovers(&self) -> Result<Vec<Dir>, TaskError> {
        let mut found = Vec::new();
        if let Some(dir) = there(self.openspec.sub(Path::new(CHANGES)))? {
            for name in dir.names()? {
                let change = name.to_str().ok().and_then(|name| dir.sub(Path::new(name)).ok());
                found.extend(change.filter(|change| change.has(&temporary(LIST))));
            }
        }
        Ok(found)
    }

    /// The directories that done tasks have asked to watch.
    pub fn watched(&self) -> Result<Vec<PathBuf>, TaskError> {
        let mut found = HashSet::new();
        for task in self.tasks()?.iter().filter(|task| task.state == State::Done) {
            let result = self.book(task).and_then(|book| book.result())?;
            let result = result.filter(|result| result.task_type == Some(TaskType::WatchPath));
            found.extend(result.and_then(|result| result.watched));
        }
        let mut found: Vec<PathBuf> = found.into_iter().collect();
        found.sort();
        Ok(found)
    }

    /// Where it is written down what became of a task.
    pub(super) fn book(&self, task: &Task) -> Result<Book, TaskError> {
        match &task.door {
            Door::File { file } => {
                let dir = self.openspec.sub(Path::new(TASK_DIR))?;
                Ok(Book { dir, prefix: prefix_of(file), change: None })
            }
            Door::Change { change, number } => {
                let change = self.openspec.sub(&Path::new(CHANGES).join(change))?;
                let prefix = number.clone().unwrap_or_else(|| "foundry".into());
                let dir = change.make(Path::new("foundry"))?;
                Ok(Book { dir, prefix, change: Some(change) })
            }
        }
    }
}

fn there<T>(result: Result<T, TaskError>) -> Result<Option<T>, TaskError> {
    match result {
        Err(TaskError::Io { kind: std::io::ErrorKind::NotFound, .. }) => Ok(None),
        other => other.map(Some),
    }
}

/// The beginning of the names of what is written about a task file: its own name, unless that is too long.
fn prefix_of(file: &str) -> String {
    if file.len() <= NAME_BYTES_MAX + TASK_SUFFIX.len() && !file.contains('\u{fffd}') {
        return file.to_owned();
    }
    let end = (0..=NAME_BYTES_MAX / 2).rev().find(|at| file.is_char_boundary(*at)).unwrap_or(0);
    format!("{}-{}{TASK_SUFFIX}", &file[..end], &blake3::hash(file.as_bytes()).to_hex()[..8])
}

fn files(dir: &Dir, tasks: &mut Vec<Task>) -> Result<(), TaskError> {
    let mut done = HashSet::new();
    for raw in dir.names()? {
        let file = raw.to_string_lossy().into_owned();
        if let Some(name) = DONE_SUFFIXES.iter().find_map(|suffix| file.strip_suffix(suffix)) {
            done.insert(name.to_owned());
        }
        // What begins with a dot is a file that is being written.
        let Some(name) = file.strip_suffix(TASK_SUFFIX).filter(|_| !file.starts_with('.')) else { continue };
        let (job, hash, submission) = if raw.to_str().is_err() {
            let why = TaskError::malformed("the name of the file is not UTF-8; give it another");
            (Err(why), String::new(), String::new())
        } else if name.len() > NAME_BYTES_MAX {
            let why =
                format!("the name of the file has more than {NAME_BYTES_MAX} bytes; give it a shorter one");
            (Err(TaskError::malformed(why)), String::new(), String::new())
        } else {
            match dir.read(Path::new(&file), TASK_BYTES_MAX) {
                // Renamed since it was listed.
                Ok(None) => continue,
                Ok(Some((bytes, Stamp { ino, mtime_ns, .. }))) => {
                    let hash = hex(blake3::hash(&bytes).as_bytes());
                    (parse_json(&bytes), hash, format!("{ino}:{mtime_ns}"))
                }
                Err(error) => (Err(error), String::new(), String::new()),
            }
        };
        let prefix = prefix_of(&file);
        // With the marker removed it is tried again.
        let failed = if dir.has(&format!("{prefix}.failed")) { failure(dir, &prefix, &hash) } else { None };
        let state = failed.map_or(State::Pending, |why| State::Failed { why });
        let door = Door::File { file: file.clone() };
        tasks.push(Task { name: name.to_owned(), door, job: job.map(Some), state, hash, submission });
    }
    // Put there again: the new file counts.
    done.retain(|name| !tasks.iter().any(|task| task.name == *name));
    let mut done: Vec<String> = done.into_iter().collect();
    done.sort();
    for name in done {
        let door = Door::File { file: format!("{name}{TASK_SUFFIX}") };
        let (hash, submission) = Default::default();
        tasks.push(Task { name, door, job: Ok(None), state: State::Done, hash, submission });
    }
    Ok(())
}

/// Why these very bytes have failed before, if they have.
fn failure(dir: &Dir, prefix: &str, hash: &str) -> Option<String> {
    let result = TaskResult::read(dir, prefix).ok()??;
    (result.error.is_some() && result.task_hash == hash).then(|| result.error.unwrap_or_default())
}

fn jobs(dir: &Dir, change: &str, tasks: &mut Vec<Task>) {
    let whole = |error: TaskError, hash: String, state| Task {
        name: change.to_owned(),
        door: Door::Change { change: change.to_owned(), number: None },
        job: Err(error),
        state,
        hash,
        submission: String::new(),
    };
    let written = dir.sub(Path::new("foundry")).ok();
    let before = |prefix: &str, hash: &str| match written.as_ref().and_then(|dir| failure(dir, prefix, hash))
    {
        Some(why) => State::Failed { why },
        None => State::Pending,
    };
    let text = match dir.read(Path::new("foundry.yaml"), TASK_BYTES_MAX) {
        Ok(None) => return,
        Ok(Some((bytes, _))) => bytes,
        Err(error) => {
            let state = before("foundry", "");
            return tasks.push(whole(error, String::new(), state));
        }
    };
    let jobs = match parse_yaml(&text, change) {
        Ok(jobs) => jobs,
        Err(error) => {
            let hash = hex(blake3::hash(&text).as_bytes());
            let state = before("foundry", &hash);
            return tasks.push(whole(error, hash, state));
        }
    };
    let list = tick::read(dir, LIST);
    for each in jobs {
        let number = each.number;
        let asked = match &each.job {
            Ok(job) => serde_json::to_vec(job).unwrap_or_default(),
            Err(error) => error.to_string().into_bytes(),
        };
        let hash = hex(blake3::hash(&asked).as_bytes());
        let state = match &list {
            Ok(Some(list)) => {
                let lines = tick::lines(list);
                let mut mine = lines.iter().filter(|line| line.number == number);
                match (mine.next(), mine.next()) {
                    (None, _) => {
                        State::Waiting { what: format!("tasks.md has no task with the number {number} yet") }
                    }
                    (Some(one), Some(two)) => State::Waiting {
                        what: format!(
                            "lines {} and {} of tasks.md both have the number {number}; give each its own",
                            one.line, two.line
                        ),
                    },
                    (Some(line), None) if line.done => State::Done,
                    (Some(_), None) => before(&number, &hash),
                }
            }
            Ok(None) => State::Waiting { what: "there is no tasks.md yet".into() },
            Err(error) => State::Waiting { what: error.to_string() },
        };
        tasks.push(Task {
            name: format!("{change}-{number}"),
            door: Door::Change { change: change.to_owned(), number: Some(number) },
            job: each.job.map(Some),
            state,
            hash,
            submission: String::new(),
        });
    }
}
