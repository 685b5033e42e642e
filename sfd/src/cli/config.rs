//! Configuration: `/etc/sfd/sfd.toml`, then `--config`, then `SFD_*`, then flags; later ones win key by key.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toml::Value;

use super::CliError;
use crate::agent::{AgentConfig, StateDir, VersionConfig, merge_roots};
use crate::brick::VersionLimits;
use crate::brick::catalog::VERSION_BYTES_MAX;
use crate::collect::{NameSource, Source};
use crate::enrich::EnrichConfig;
use crate::map::feed::Feed;
use crate::map::{MapConfig, Token};

/// The file that is read if it exists.
const SYSTEM_CONFIG: &str = "/etc/sfd/sfd.toml";

/// Every key, with its default as TOML and what it means. `--print-config` and the docs are made from this table.
pub const KEYS: &[(&str, &str, &str)] = &[
    ("watch", "[]", "directories to watch; /proc is watched as projections"),
    ("state", "\"\"", "state directory; empty: /var/lib/sfd, or $XDG_STATE_HOME/sfd when not root"),
    ("source", "\"auto\"", "who reports changes: auto, bpf, inotify, scan"),
    (
        "name_hooks",
        "\"auto\"",
        "eBPF hooks for names and attributes: auto (the cheapest that works), change_time, function, syscall",
    ),
    (
        "listen",
        "\"127.0.0.1:7317\"",
        "address of the map, or off; when the port is taken, the next free one of ten",
    ),
    ("infinite_map", "false", "make pictures of the bricks for the public Infinite Map too"),
    ("exclude", "[]", "globs of absolute paths to leave out"),
    ("redact", "true", "keep secrets out of bricks"),
    ("redact_also", "[]", "more globs of paths whose contents are secret"),
    ("window_ms", "50", "changes are collected this long before they are looked at"),
    ("sample_s", "2", "how often volatile projections of /proc are read; 0: never"),
    ("verify_s", "600", "how often trees are compared with the disk although nothing was reported; 0: never"),
    ("verify_proc_s", "10", "the same for /proc"),
    (
        "version_kib",
        "64",
        "what text files up to this size held before a change is kept for sfd log -p; at most 64, 0: nothing",
    ),
    ("versions_per_file", "50", "at most so many earlier contents of one file; older ones are dropped"),
    ("versions_mib", "64", "at most so much, compressed, of all files of one root; older ones are dropped"),
    ("versions_days", "90", "earlier contents are dropped when they are older"),
    ("file_ring_kib", "4096", "kernel ring for file events; a power of two, at least 4"),
    (
        "watched_max",
        "1048576",
        "most inodes watched by the kernel side; the rest is compared every few seconds",
    ),
    (
        "llm",
        "\"auto\"",
        "server with a language model that says what artifacts are: an address, auto (look on this host), off",
    ),
    ("llm_model", "\"qwen2.5-coder\"", "its model; without a size the smallest that the server has"),
    ("llm_api_key_file", "\"\"", "file with the key that the server wants"),
    ("allow_remote_llm", "false", "allow a server that is not on this host: parts of files are sent to it"),
    ("llm_concurrency", "1", "questions at a time, 1 to 16"),
    ("llm_timeout_s", "120", "longest time for one answer"),
    ("llm_tokens_per_hour", "200000", "most tokens asked for and answered in an hour; 0: any number"),
    ("llm_tokens_per_day", "2000000", "the same for a day"),
    ("openspec", "\"\"", "repository whose OpenSpec tasks are run as they appear; empty: none"),
];

/// The effective configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Directories to watch.
    pub watch: Vec<PathBuf>,
    /// State directory; empty means the default one.
    pub state: PathBuf,
    /// Which collector.
    pub source: Source,
    /// Which eBPF hooks for names and attributes.
    pub name_hooks: NameSource,
    /// Address of the map, or `off`.
    pub listen: String,
    /// Whether pictures for the public Infinite Map are made.
    pub infinite_map: bool,
    /// Globs to leave out.
    pub exclude: Vec<String>,
    /// Whether secrets are redacted.
    pub redact: bool,
    /// More globs of secret paths.
    pub redact_also: Vec<String>,
    /// Batch window, milliseconds.
    pub window_ms: u64,
    /// Sampling interval of `/proc`, seconds.
    pub sample_s: u64,
    /// Verification interval of trees, seconds.
    pub verify_s: u64,
    /// Verification interval of `/proc`, seconds.
    pub verify_proc_s: u64,
    /// Largest contents kept from before a change, KiB.
    pub version_kib: u64,
    /// Most earlier contents of one file.
    pub versions_per_file: u32,
    /// Most compressed MiB of earlier contents of one root.
    pub versions_mib: u64,
    /// Days after which earlier contents are dropped.
    pub versions_days: u32,
    /// Kernel ring for file events, KiB.
    pub file_ring_kib: u32,
    /// Most inodes watched by the kernel side.
    pub watched_max: u32,
    /// Address of a server with a language model, `auto` or `off`.
    pub llm: String,
    /// Name of its model.
    pub llm_model: String,
    /// File with its key; empty means none.
    pub llm_api_key_file: PathBuf,
    /// Whether it may be on another host.
    pub allow_remote_llm: bool,
    /// Questions at a time.
    pub llm_concurrency: u32,
    /// Longest time for one answer, seconds.
    pub llm_timeout_s: u64,
    /// Most tokens in an hour; 0: any number.
    pub llm_tokens_per_hour: u64,
    /// Most tokens in a day; 0: any number.
    pub llm_tokens_per_day: u64,
    /// Repository whose tasks are run; empty means none.
    pub openspec: PathBuf,
}

/// Values by key, each with where it came from.
#[derive(Clone, Debug, Default)]
pub(super) struct Layers {
    values: BTreeMap<&'static str, (Value, String)>,
}

impl Layers {
    /// Defaults, the system's file, `--config`, the environment.
    pub(super) fn load(
        config: Option<&Path>,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, CliError> {
        let mut layers = Self::defaults()?;
        let system = Path::new(SYSTEM_CONFIG);
        if system.exists() {
            layers.add_file(system)?;
        }
        if let Some(path) = config {
            layers.add_file(path)?;
        }
        for (key, default, _) in KEYS {
            let name = format!("SFD_{}", key.to_uppercase());
            if let Some(text) = env(&name) {
                let value = match default.as_bytes() {
                    [b'[', ..] => {
                        Value::from(text.split(',').filter(|part| !part.is_empty()).collect::<Vec<_>>())
                    }
                    [b'"', ..] => Value::String(text),
                    _ => parse(&text).ok_or_else(|| {
                        CliError::usage(format!("{name}: {text:?} is not a value for {key}"))
                    })?,
                };
                layers.set(key, value, name);
            }
        }
        Ok(layers)
    }

    /// The defaults alone.
    pub(super) fn defaults() -> Result<Self, CliError> {
        let mut layers = Self::default();
        for (key, default, _) in KEYS {
            layers.set_text(key, default, "default")?;
        }
        Ok(layers)
    }

    fn add_file(&mut self, path: &Path) -> Result<(), CliError> {
        let text = std::fs::read_to_string(path).map_err(|error| CliError::path(path, &error))?;
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            CliError::usage(format!("{}: {}", path.display(), error.to_string().trim().replace('\n', " ")))
        })?;
        for (name, value) in table {
            let Some((key, _, _)) = KEYS.iter().find(|(key, _, _)| *key == name) else {
                return Err(CliError::usage(format!(
                    "{}: unknown key `{name}`{}",
                    path.display(),
                    nearest(&name)
                )));
            };
            self.set(key, value, path.display().to_string());
        }
        Ok(())
    }

    fn set_text(&mut self, key: &'static str, text: &str, origin: &str) -> Result<(), CliError> {
        let value = parse(text).ok_or_else(|| CliError::usage(format!("{key}: {text:?} is not a value")))?;
        self.set(key, value, origin.to_owned());
        Ok(())
    }

    /// Sets one key; `origin` is what `--print-config` shows.
    pub(super) fn set(&mut self, key: &'static str, value: Value, origin: String) {
        self.values.insert(key, (value, origin));
    }

    /// The typed configuration.
    pub(super) fn config(&self) -> Result<Config, CliError> {
        // One key at a time first, so that an error names the key and where its value came from.
        for (key, (value, origin)) in &self.values {
            let mut table = self.plain(|_, (_, from)| from == "default");
            table.insert((*key).to_owned(), value.clone());
            for (other, default, _) in KEYS {
                if !table.contains_key(*other) {
                    table.extend(parse(default).map(|value| ((*other).to_owned(), value)));
                }
            }
            if let Err(error) = table.try_into::<Config>() {
                let what = error.message().to_owned();
                return Err(CliError::usage(format!("{key} = {value} ({origin}): {what}")));
            }
        }
        let config: Config = self.plain(|_, _| true).try_into().map_err(CliError::usage)?;
        config.check()?;
        Ok(config)
    }

    fn plain(&self, keep: impl Fn(&str, &(Value, String)) -> bool) -> toml::Table {
        let kept = self.values.iter().filter(|(key, entry)| keep(key, entry));
        kept.map(|(key, (value, _))| ((*key).to_owned(), value.clone())).collect()
    }

    /// The effective configuration as TOML, each value with its origin.
    pub(super) fn print(&self) -> String {
        let lines = KEYS.iter().filter_map(|(key, _, meaning)| {
            let (value, origin) = self.values.get(key)?;
            Some(format!("# {meaning}\n{key} = {value}  # {origin}\n"))
        });
        lines.collect()
    }
}

fn parse(text: &str) -> Option<Value> {
    format!("x = {text}").parse::<toml::Table>().ok()?.remove("x")
}

fn nearest(name: &str) -> String {
    let best = KEYS.iter().map(|(key, _, _)| (strsim::damerau_levenshtein(name, key), *key)).min();
    match best {
        // Further away than half its letters, a suggestion only confuses.
        Some((distance, key)) if distance <= name.len().div_ceil(2) => format!("; did you mean `{key}`?"),
        _ => format!("; the keys are {}", KEYS.iter().map(|(key, _, _)| *key).collect::<Vec<_>>().join(", ")),
    }
}

impl Config {
    fn check(&self) -> Result<(), CliError> {
        if self.window_ms == 0 || self.window_ms > 60_000 {
            return Err(CliError::usage(format!("window_ms = {}: must be 1 to 60000", self.window_ms)));
        }
        if !self.file_ring_kib.is_power_of_two() || self.file_ring_kib < 4 || self.file_ring_kib > 1 << 20 {
            let what = "must be a power of two from 4 to 1048576";
            return Err(CliError::usage(format!("file_ring_kib = {}: {what}", self.file_ring_kib)));
        }
        if self.version_kib > VERSION_BYTES_MAX >> 10 {
            let what = "must be at most 64: larger files are not in a live brick byte for byte";
            return Err(CliError::usage(format!("version_kib = {}: {what}", self.version_kib)));
        }
        if self.versions_mib > 1 << 20 {
            return Err(CliError::usage(format!(
                "versions_mib = {}: must be at most 1048576",
                self.versions_mib
            )));
        }
        if self.watched_max == 0 {
            return Err(CliError::usage("watched_max = 0: must be at least 1"));
        }
        self.listen()?;
        self.check_llm()
    }

    /// Where the map is to be served; `None`: nowhere.
    fn listen(&self) -> Result<Option<SocketAddr>, CliError> {
        if self.listen == "off" {
            return Ok(None);
        }
        let text = self.listen.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
        let address = text.as_deref().unwrap_or(&self.listen).parse();
        address.map(Some).map_err(|_| {
            let listen = &self.listen;
            CliError::usage(format!("listen = {listen:?}: must be off or an address such as 127.0.0.1:7317"))
        })
    }

    /// The map, with a token that is new with every start of the program.
    fn map(&self) -> Result<Option<MapConfig>, CliError> {
        static TOKEN: OnceLock<Token> = OnceLock::new();
        let Some(listen) = self.listen()? else { return Ok(None) };
        let token = if let Some(token) = TOKEN.get() {
            token.clone()
        } else {
            let new =
                Token::random().map_err(|error| CliError::io("random numbers", &io::Error::other(error)))?;
            TOKEN.get_or_init(|| new).clone()
        };
        Ok(Some(MapConfig { listen, token, with_pictures: self.infinite_map }))
    }

    /// The state directory, made if needed.
    pub(super) fn state_dir(&self) -> Result<StateDir, CliError> {
        let path = if self.state.as_os_str().is_empty() {
            StateDir::default_path()
        } else {
            Some(self.state.clone())
        };
        let path = path.ok_or_else(|| {
            CliError::usage("neither $XDG_STATE_HOME nor $HOME is an absolute path; name the state directory with --state")
        })?;
        Ok(StateDir::create(&path)?)
    }

    /// What the agent needs, with the roots checked.
    pub(super) fn agent(&self) -> Result<AgentConfig, CliError> {
        // The roots first: nothing is made when they are wrong.
        let state = if self.state.as_os_str().is_empty() {
            StateDir::default_path()
        } else {
            Some(self.state.clone())
        };
        let state = state.unwrap_or_default();
        let state = std::fs::canonicalize(&state).unwrap_or(state);
        let roots = merge_roots(&self.watch, &state)?;
        Ok(AgentConfig {
            roots,
            state: self.state_dir()?.path().to_path_buf(),
            name_hooks: self.name_hooks,
            source: self.source,
            exclude: self.exclude.clone(),
            window: Duration::from_millis(self.window_ms),
            sample_every: Duration::from_secs(self.sample_s),
            verify_every: Duration::from_secs(self.verify_s),
            verify_proc_every: Duration::from_secs(self.verify_proc_s),
            redact: self.redact,
            redact_also: self.redact_also.clone(),
            versions: VersionConfig {
                bytes_max: self.version_kib << 10,
                limits: VersionLimits {
                    per_artifact: self.versions_per_file,
                    bytes: self.versions_mib << 20,
                    age_ns: i64::from(self.versions_days).saturating_mul(86_400 * 1_000_000_000),
                },
            },
            llm: self.llm()?.map(|client| EnrichConfig {
                client,
                concurrency: self.llm_concurrency as usize,
                tokens_per_hour: self.llm_tokens_per_hour,
                tokens_per_day: self.llm_tokens_per_day,
                state: state.clone(),
            }),
            map: self.map()?,
            feed: Feed::default(),
            file_ring_bytes: self.file_ring_kib * 1024,
            watched_max: self.watched_max,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, env: &[(&str, &str)]) -> Result<Config, CliError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let env: BTreeMap<_, _> = env.iter().copied().collect();
        Layers::load(Some(file.path()), |name| env.get(name).map(|value| (*value).to_owned()))?.config()
    }

    #[test]
    fn defaults_are_complete() {
        let config = load("", &[]).unwrap();
        assert_eq!((config.window_ms, config.redact, config.verify_s), (50, true, 600));
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let config =
            load("window_ms = 10\nwatch = ['/etc']", &[("SFD_WINDOW_MS", "20"), ("SFD_WATCH", "/a,/b")])
                .unwrap();
        assert_eq!(config.window_ms, 20);
        assert_eq!(config.watch, [PathBuf::from("/a"), PathBuf::from("/b")]);
    }

    #[test]
    fn an_unknown_key_names_the_nearest_known_one() {
        let error = load("windw_ms = 10", &[]).unwrap_err().to_string();
        assert!(error.contains("unknown key `windw_ms`; did you mean `window_ms`?"), "{error}");
    }

    #[test]
    fn a_wrong_value_names_its_key_and_origin() {
        let error = load("source = 'magic'", &[]).unwrap_err().to_string();
        assert!(error.starts_with("source = \"magic\" (/"), "{error}");
        let error = load("", &[("SFD_WINDOW_MS", "soon")]).unwrap_err().to_string();
        assert!(error.contains("SFD_WINDOW_MS"), "{error}");
        assert!(load("file_ring_kib = 5", &[]).is_err());
        assert!(load("window_ms = 0", &[]).is_err());
    }

    #[test]
    fn the_printed_configuration_can_be_read_back() {
        let layers = Layers::load(None, |_| None).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), layers.print()).unwrap();
        assert!(Layers::load(Some(file.path()), |_| None).unwrap().config().is_ok());
    }
}
