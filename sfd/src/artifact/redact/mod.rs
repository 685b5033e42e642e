//! Which contents are secret, and what is shown in their place.
//!
//! A secret is recognised by its path ([`paths`]) or by its contents ([`contents`]). Its cells are then a BLAKE3 stream
//! keyed with a random key of this install, so that a change is seen and the secret is not; its hash is keyed too, so
//! that it cannot be used to test a guess; and no kind gets to see the bytes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

mod arguments;
pub mod contents;
mod key;
pub mod paths;

pub(crate) use arguments::{mask_setting, mask_text};

/// Name of the key file in the state directory.
pub const KEY_FILE: &str = "redact.key";

/// Stands for a secret in arguments.
pub const MASK: &str = "***";

/// What sort of secret it is. Says the rule, never anything of the contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Redaction {
    /// The path is one of a private key or key store.
    KeyPath,
    /// The path is one of passwords or tokens.
    SecretPath,
    /// A glob of the user's.
    UserGlob,
    /// A private key block in the contents.
    PrivateKey,
    /// A password hash of crypt(3) in the contents.
    PasswordHash,
    /// A token of a known form in the contents.
    Token,
    /// A password in an assignment, an address or an argument.
    Password,
}

impl Redaction {
    /// For people, after "redacted: ".
    pub fn reason(self) -> &'static str {
        match self {
            Self::KeyPath => "a place of private keys",
            Self::SecretPath => "a place of passwords or tokens",
            Self::UserGlob => "excluded from view by the configuration",
            Self::PrivateKey => "holds a private key",
            Self::PasswordHash => "holds a password hash",
            Self::Token => "holds an access token",
            Self::Password => "holds a password",
        }
    }

    /// Whether it is a private key rather than a password or token.
    pub fn is_key(self) -> bool {
        matches!(self, Self::KeyPath | Self::PrivateKey)
    }
}

/// Why there is no redactor. Without one nothing must be read.
#[derive(Debug, thiserror::Error)]
pub enum RedactError {
    /// The key file could not be read or made.
    #[error("{path}: {source}", path = path.display())]
    Key {
        /// The key file.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// The key file is not what this program writes.
    #[error(
        "{path}: {problem}; it must be a regular file of 32 bytes with mode 0600 owned by this user. Repair it, or \
         remove it to get a new key (redacted contents are then all reported as changed once)",
        path = path.display()
    )]
    BadKey {
        /// The key file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The system has no random numbers to give.
    #[error("no random numbers from the system: {0}")]
    Random(getrandom::Error),
    /// A glob of the user's is not one.
    #[error("redact glob {0}")]
    Glob(#[from] globset::Error),
    /// The content rules are not regular expressions. A test makes sure that they are.
    #[error("redaction rules: {0}")]
    Rules(#[from] regex::Error),
}

/// Decides what is secret and produces what is shown instead. Cheap to clone.
#[derive(Clone)]
pub struct Redactor(Option<Arc<Rules>>);

struct Rules {
    key: [u8; 32],
    fingerprint: [u8; 32],
    paths: paths::PathRules,
    contents: contents::ContentRules,
    arguments: arguments::ArgumentRules,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Redactor(on)" } else { "Redactor(off)" })
    }
}

impl Redactor {
    /// Uses the key in `state_dir`, making one on first use. `extra` are more globs on absolute paths; one without a
    /// `/` matches the name at any depth.
    ///
    /// # Errors
    /// When the key cannot be read or made, when it has the wrong size, owner or permissions, or when a glob is bad.
    pub fn open(state_dir: &Path, extra: &[String]) -> Result<Self, RedactError> {
        Self::with_key(key::load_or_create(&state_dir.join(KEY_FILE))?, extra)
    }

    /// Uses a key that lives only as long as this value: for `sfd fold`, which has no state directory.
    pub fn ephemeral(extra: &[String]) -> Result<Self, RedactError> {
        Self::with_key(key::random()?, extra)
    }

    /// Shows everything. For `--no-redact` only.
    pub fn disabled() -> Self {
        Self(None)
    }

    /// Whether anything is redacted at all.
    pub fn enabled(&self) -> bool {
        self.0.is_some()
    }

    fn with_key(key: [u8; 32], extra: &[String]) -> Result<Self, RedactError> {
        let (paths, contents) = (paths::PathRules::new(extra)?, contents::ContentRules::new()?);
        let arguments = arguments::ArgumentRules::new()?;
        let fingerprint = fingerprint(extra);
        Ok(Self(Some(Arc::new(Rules { key, fingerprint, paths, contents, arguments }))))
    }

    /// Stands for the rules in force: what was read under another one has to be read again. The key is no part of it.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.0.as_ref().map_or([0; 32], |rules| rules.fingerprint)
    }

    /// Whether a regular file is secret by its path.
    pub fn by_path(&self, path: &Path) -> Option<Redaction> {
        self.0.as_ref()?.paths.check(path)
    }

    /// Whether contents hold a secret. `form` says which rules apply ([`contents::Form::of`]).
    pub fn by_content(&self, form: contents::Form, bytes: &[u8]) -> Option<Redaction> {
        self.0.as_ref()?.contents.check(form, bytes)
    }

    /// The arguments of a process with what is secret in them replaced by [`MASK`]; what is not UTF-8 with replacement
    /// characters. The first is the program's name.
    pub fn mask_arguments(&self, args: &[&[u8]]) -> Vec<String> {
        let args: Vec<String> = args.iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect();
        match &self.0 {
            Some(rules) => rules.arguments.mask(args, &rules.contents),
            None => args,
        }
    }

    /// What is shown instead of contents with the given BLAKE3 hash: `len` bytes, and the keyed hash.
    ///
    /// Both depend on the contents through their hash alone, so they change as a whole when one byte changes. When
    /// redaction is off this is the hash itself and nothing (it is then never called).
    pub fn seal(&self, hash: &[u8; 32], len: usize) -> ([u8; 32], Vec<u8>) {
        let Some(rules) = &self.0 else { return (*hash, Vec::new()) };
        let keyed = |purpose: &[u8]| {
            let mut hasher = blake3::Hasher::new_keyed(&rules.key);
            hasher.update(purpose).update(hash);
            hasher
        };
        let mut stream = vec![0; len];
        keyed(b"sfd redacted cells v1").finalize_xof().fill(&mut stream);
        (*keyed(b"sfd redacted hash v1").finalize().as_bytes(), stream)
    }
}

/// The digest of the rules of this version with the user's.
fn fingerprint(extra: &[String]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    // What is code in the rules, not text, changes with the version.
    let mut texts: Vec<&str> = paths::texts().chain(contents::TEXTS).collect();
    texts.push(env!("CARGO_PKG_VERSION"));
    texts.extend(extra.iter().map(String::as_str));
    for text in texts {
        hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
