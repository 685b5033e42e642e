//! What became of a task, as files beside it: the result for programs, the error for people, the end of its name.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::dir::{Dir, Readable, temporary};
use super::found::{Door, LIST};
use super::job::TaskType;
use super::tick::tick_file;
use super::{OpenSpec, Task, TaskError, hex};
use crate::brick::Brick;

/// Results and manifests are at most this long, in bytes.
const BYTES_MAX: u64 = 16 << 20;
/// The list of all bricks in a destination.
pub(super) const MANIFEST: &str = "manifest.json";

/// A file that a task has made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Relative to the root of the repository.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Of its bytes, hexadecimal.
    pub blake3: String,
}

/// What is in a brick that a task has made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrickMade {
    /// The file, relative to the root of the repository.
    pub path: PathBuf,
    /// What was folded.
    pub source: Vec<String>,
    /// Merkle root of its pixels, hexadecimal.
    pub merkle_root: String,
    /// Order of its curve.
    pub order: u8,
    /// Artifacts in it.
    pub artifacts: u64,
    /// Of these, not verified.
    pub unverified: u64,
    /// Of these, redacted.
    pub redacted: u64,
    /// Files that `max_files` has left out.
    pub left_out: u64,
}

/// `NAME.task.json.result.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskResult {
    /// Of this file's form: 1.
    pub version: u32,
    /// Version of SFD.
    pub sfd: String,
    /// `done` or `failed`.
    pub state: String,
    /// As the task says.
    pub task_id: Option<String>,
    /// As the task says.
    #[serde(rename = "type")]
    pub task_type: Option<TaskType>,
    /// As the task says.
    pub source: Option<String>,
    /// As the task says.
    pub intent: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// Bricks.
    pub bricks: Vec<BrickMade>,
    /// All files, the bricks among them.
    pub outputs: Vec<Output>,
    /// Who has described the artifacts.
    pub described_by: String,
    /// What is watched from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watched: Option<PathBuf>,
    /// What somebody should know.
    pub notes: Vec<String>,
    /// When it began.
    pub started: String,
    /// How long it took, seconds.
    pub seconds: f64,
    /// BLAKE3 of what asked for it.
    pub task_hash: String,
    /// Which file asked for it, where it is one.
    pub submission: String,
}

impl TaskResult {
    /// One about a task, with nothing done yet.
    pub(super) fn new(task: &Task, started: jiff::Timestamp) -> Self {
        let job = task.job.as_ref().ok().and_then(Option::as_ref);
        Self {
            version: 1,
            sfd: env!("CARGO_PKG_VERSION").to_owned(),
            state: "done".to_owned(),
            task_id: job.map(|job| job.task_id.clone()),
            task_type: job.map(|job| job.task_type),
            source: job.map(|job| job.source.clone()),
            intent: job.and_then(|job| job.intent.clone()),
            error: None,
            bricks: Vec::new(),
            outputs: Vec::new(),
            described_by: "rules".to_owned(),
            watched: None,
            notes: Vec::new(),
            started: started.to_string(),
            seconds: 0.0,
            task_hash: task.hash.clone(),
            submission: task.submission.clone(),
        }
    }

    pub(super) fn read(dir: &Dir, prefix: &str) -> Result<Option<Self>, TaskError> {
        let name = format!("{prefix}.result.json");
        let Some((bytes, _)) = dir.read(Path::new(&name), BYTES_MAX)? else { return Ok(None) };
        // One that cannot be read says nothing; it is written again.
        Ok(serde_json::from_slice(&bytes).ok())
    }

    /// Whether all it has written is there, as it was written, and the bricks are whole: then the task is done, whatever
    /// its mark says. An editor that saves an old tasks.md takes a tick away, and that must not do the work again.
    pub(super) fn proves(&self, openspec: &OpenSpec, task: &Task) -> bool {
        self.state == "done"
            && self.task_hash == task.hash
            && self.submission == task.submission
            && self.outputs.iter().all(|output| output.is_there(openspec))
    }
}

impl Output {
    /// Describes a file in a directory that is called `shown` from the root.
    pub(super) fn of(dir: &Dir, name: &str, shown: &Path) -> Result<Self, TaskError> {
        let path = shown.join(name);
        let gone =
            || TaskError::Failed { what: format!("{}: gone right after it was written", path.display()) };
        let (bytes, blake3) = digest(dir, Path::new(name))?.ok_or_else(gone)?;
        Ok(Self { path, bytes, blake3 })
    }

    fn is_there(&self, openspec: &OpenSpec) -> bool {
        let same = matches!(digest(&openspec.root, &self.path),
            Ok(Some((bytes, blake3))) if bytes == self.bytes && blake3 == self.blake3);
        let is_brick = self.path.extension().is_some_and(|extension| extension == "brick");
        same && (!is_brick || verify(&openspec.root.proc_path().join(&self.path)).is_ok())
    }
}

/// Checks a brick that was just written, or that is said to be there.
pub(super) fn verify(brick: &Path) -> Result<(), String> {
    let report = Brick::open(brick).and_then(|brick| brick.verify()).map_err(|error| error.to_string())?;
    report.findings.first().map_or(Ok(()), |finding| Err(format!("{}: {finding}", brick.display())))
}

fn digest(dir: &Dir, path: &Path) -> Result<Option<(u64, String)>, TaskError> {
    let Some((mut file, _)) = dir.open_file(path)? else { return Ok(None) };
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 16];
    let mut length = 0;
    loop {
        let count = file.read(&mut buffer).map_err(|error| TaskError::of(&dir.path().join(path), error))?;
        if count == 0 {
            return Ok(Some((length, hex(hasher.finalize().as_bytes()))));
        }
        hasher.update(&buffer[..count]);
        length += count as u64;
    }
}

/// Where the outcome of one task is written.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) dir: Dir,
    /// Beginning of the names.
    pub(super) prefix: String,
    /// The change it belongs to.
    pub(super) change: Option<Dir>,
}

impl Book {
    pub(super) fn result(&self) -> Result<Option<TaskResult>, TaskError> {
        TaskResult::read(&self.dir, &self.prefix)
    }

    fn write(&self, result: &TaskResult) -> Result<(), TaskError> {
        let name = format!("{}.result.json", self.prefix);
        let mut text = serde_json::to_string_pretty(result)
            .map_err(|error| TaskError::Failed { what: format!("{name}: {error}") })?;
        text.push('\n');
        self.dir.write(&name, text.as_bytes(), Readable::ByAll)
    }

    /// Writes the result, and then marks the task as done: the mark is the last thing.
    pub(super) fn done(&self, task: &Task, result: &TaskResult) -> Result<(), TaskError> {
        self.write(result)?;
        self.mark(task)
    }

    /// Marks a task as done whose result is written.
    pub(super) fn mark(&self, task: &Task) -> Result<(), TaskError> {
        for end in ["failed", "error.txt"] {
            self.dir.remove(&format!("{}.{end}", self.prefix))?;
            // Of a run that was killed while it wrote down a failure.
            self.dir.remove(&temporary(&format!("{}.{end}", self.prefix)))?;
        }
        match (&task.door, &self.change) {
            (Door::File { file }, _) => {
                // Changed while it was run: the new one is a task of its own, and the old one is gone.
                let now = self.dir.stamp(file).ok().map(|stamp| format!("{}:{}", stamp.ino, stamp.mtime_ns));
                if now.as_deref() != Some(&task.submission) {
                    return Ok(());
                }
                self.dir.rename(file, &format!("{file}.done"))?;
                self.dir.sync()
            }
            (Door::Change { number: Some(number), .. }, Some(change)) => tick_file(change, LIST, number),
            _ => Ok(()),
        }
    }

    /// Writes down that a task has failed; the mark is the last thing.
    pub(super) fn failed(&self, task: &Task, result: &TaskResult, why: &TaskError) -> Result<(), TaskError> {
        let text = format!("{}: {why}\n", task.place());
        self.dir.write(&format!("{}.error.txt", self.prefix), text.as_bytes(), Readable::ByAll)?;
        let result = TaskResult { state: "failed".into(), error: Some(why.to_string()), ..result.clone() };
        self.write(&result)?;
        if matches!(task.door, Door::File { .. }) {
            self.dir.write(&format!("{}.failed", self.prefix), text.as_bytes(), Readable::ByAll)?;
        }
        Ok(())
    }
}

/// Puts a task's bricks into the manifest of a destination. The caller sees to it that nobody else does so just then.
pub(super) fn enter_manifest(
    dir: &Dir,
    name: &str,
    result: &TaskResult,
    outputs: &[Output],
) -> Result<(), TaskError> {
    let path = dir.path().join(MANIFEST);
    let mut manifest = match dir.read(Path::new(MANIFEST), BYTES_MAX)? {
        None => Map::new(),
        Some((bytes, _)) => serde_json::from_slice(&bytes).map_err(|error| {
            TaskError::malformed(format!("{}: {error}; move it away, a new one will be made", path.display()))
        })?,
    };
    manifest.insert("format".into(), json!("sfd-manifest"));
    manifest.insert("version".into(), json!(1));
    let entry = json!({
        "task_id": result.task_id,
        "intent": result.intent,
        "source": result.source,
        "described_by": result.described_by,
        "bricks": result.bricks,
        "outputs": outputs,
        "made": result.started,
    });
    let tasks = manifest.entry("tasks").or_insert_with(|| Value::Object(Map::new()));
    let Value::Object(tasks) = tasks else {
        let what = format!("{}: `tasks` is not an object; move the file away", path.display());
        return Err(TaskError::malformed(what));
    };
    tasks.insert(name.to_owned(), entry);
    let mut text = serde_json::to_string_pretty(&manifest)
        .map_err(|error| TaskError::Failed { what: format!("{}: {error}", path.display()) })?;
    text.push('\n');
    dir.write(MANIFEST, text.as_bytes(), Readable::ByOwner)
}
