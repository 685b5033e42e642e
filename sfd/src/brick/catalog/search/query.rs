//! What is asked for: `words "a phrase" -without kind:systemd_unit risk>=medium tag:x path:/etc unverified:yes`.

use crate::artifact::Risk;

/// Words, phrases and filters of a query, at most; what comes after them is left out.
const TERMS_MAX: usize = 32;
/// Bytes of a query, at most; what comes after them is left out.
const BYTES_MAX: usize = 2000;

/// A query. Any text is one: what is no filter is looked for as words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchQuery {
    wanted: Vec<Words>,
    unwanted: Vec<Words>,
    /// Each with whether it must hold or must not.
    filters: Vec<(bool, Filter)>,
    paths: Vec<(bool, PathFilter)>,
}

/// Words that follow one another.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Words {
    text: String,
    /// They were in quotes.
    is_phrase: bool,
    /// The last of them may be the beginning of one.
    is_beginning: bool,
}

/// A condition on a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    /// The name of the kind begins so.
    Kind(String),
    /// An operator of SQL and a level.
    Risk(&'static str, u8),
    /// It has this tag.
    Tag(String),
    /// It is not verified.
    Unverified,
}

/// A condition on a whole path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PathFilter {
    /// It is this or below it.
    Below(Vec<u8>),
    /// It holds this, in lower case.
    Holds(String),
}

impl SearchQuery {
    /// Reads a query. The last word that is wanted may be the beginning of one: somebody may still be typing it.
    pub fn parse(text: &str) -> Self {
        let text = &text[..text.floor_char_boundary(BYTES_MAX)];
        let mut query = Self::default();
        let mut rest = text.trim();
        for _ in 0..TERMS_MAX {
            if rest.is_empty() {
                break;
            }
            let (is_wanted, term) = match rest.strip_prefix('-') {
                Some(term) if !term.starts_with(char::is_whitespace) && !term.is_empty() => (false, term),
                _ => (true, rest),
            };
            rest = query.take(is_wanted, term);
        }
        if let Some(last) = query.wanted.last_mut() {
            last.is_beginning = !last.is_phrase;
        }
        query
    }

    /// Takes one term from the beginning of `text`; returns what comes after it.
    fn take<'a>(&mut self, is_wanted: bool, text: &'a str) -> &'a str {
        if let Some(phrase) = text.strip_prefix('"') {
            let (phrase, rest) = phrase.split_once('"').unwrap_or((phrase, ""));
            self.add_words(is_wanted, phrase, true);
            return rest.trim_start();
        }
        // A filter's value may be in quotes: `path:"/srv/my files"`.
        let end = match text.split_once(":\"") {
            Some((name, value)) if !name.contains(char::is_whitespace) => {
                let inside = value.find('"').map_or(value.len(), |at| at + 1);
                name.len() + 2 + inside
            }
            _ => text.find(char::is_whitespace).unwrap_or(text.len()),
        };
        let (term, rest) = text.split_at(end);
        let rest = rest.trim_start();
        if !self.add_filter(is_wanted, term) {
            self.add_words(is_wanted, term, false);
        }
        rest
    }

    fn add_words(&mut self, is_wanted: bool, text: &str, is_phrase: bool) {
        let text: String = text.chars().map(|c| if c.is_control() || c == '"' { ' ' } else { c }).collect();
        let text = text.trim();
        if text.is_empty() {
            return;
        }
        // Paths are not words, and the index knows nothing but words.
        if text.contains('/') || !text.contains(char::is_alphanumeric) {
            return self.paths.push((is_wanted, PathFilter::Holds(text.to_lowercase())));
        }
        let words = Words { text: text.to_owned(), is_phrase, is_beginning: false };
        if is_wanted { &mut self.wanted } else { &mut self.unwanted }.push(words);
    }

    /// `false`: it is none.
    fn add_filter(&mut self, is_wanted: bool, term: &str) -> bool {
        let Some(at) = term.find([':', '=', '<', '>']) else { return false };
        let (name, value) = term.split_at(at);
        if name == "risk" {
            let Some(filter) = risk(value) else { return false };
            self.filters.push((is_wanted, filter));
            return true;
        }
        let Some(value) = value.strip_prefix(':') else { return false };
        let value = value.trim_matches('"');
        if value.is_empty() {
            return false;
        }
        match name {
            "kind" => self.filters.push((is_wanted, Filter::Kind(value.to_lowercase()))),
            "tag" => self.filters.push((is_wanted, Filter::Tag(value.to_lowercase()))),
            "unverified" => match value {
                "yes" | "true" => self.filters.push((is_wanted, Filter::Unverified)),
                "no" | "false" => self.filters.push((!is_wanted, Filter::Unverified)),
                _ => return false,
            },
            "path" if value.starts_with('/') => {
                let dir = if value.len() > 1 { value.trim_end_matches('/') } else { value };
                self.paths.push((is_wanted, PathFilter::Below(dir.as_bytes().to_vec())));
            }
            "path" => self.paths.push((is_wanted, PathFilter::Holds(value.to_lowercase()))),
            _ => return false,
        }
        true
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty() && self.unwanted.is_empty() && self.filters.is_empty() && self.paths.is_empty()
    }

    /// What the index must match (FTS5), if anything.
    pub(super) fn words(&self) -> Option<String> {
        expression(&self.wanted, " AND ")
    }

    /// What it must not.
    pub(super) fn words_without(&self) -> Option<String> {
        expression(&self.unwanted, " OR ")
    }

    pub(super) fn filters(&self) -> &[(bool, Filter)] {
        &self.filters
    }

    pub(super) fn paths(&self) -> &[(bool, PathFilter)] {
        &self.paths
    }
}

/// Everything in quotes is words to FTS5, whatever is in it.
fn expression(words: &[Words], between: &str) -> Option<String> {
    let one = |words: &Words| format!("\"{}\"{}", words.text, if words.is_beginning { " *" } else { "" });
    let all: Vec<String> = words.iter().map(one).collect();
    (!all.is_empty()).then(|| all.join(between))
}

/// `:high`, `>=medium`, `:>=2`.
fn risk(text: &str) -> Option<Filter> {
    let text = text.strip_prefix(':').unwrap_or(text);
    let operators = [(">=", ">="), ("<=", "<="), (">", ">"), ("<", "<"), ("=", "="), ("", "=")];
    let (operator, level) =
        operators.iter().find_map(|(sign, sql)| text.strip_prefix(sign).map(|level| (*sql, level)))?;
    let by_name = Risk::WORDS.iter().position(|name| *name == level.to_lowercase());
    let level = by_name.or_else(|| level.parse().ok().filter(|level| *level < Risk::WORDS.len()))?;
    Some(Filter::Risk(operator, u8::try_from(level).ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_phrases_and_filters() {
        let parse = SearchQuery::parse;
        for (text, words, without) in [
            ("ssh", Some("\"ssh\" *"), None),
            ("ssh server", Some("\"ssh\" AND \"server\" *"), None),
            ("\"ssh server\" key", Some("\"ssh server\" AND \"key\" *"), None),
            ("ssh -key -\"a b\"", Some("\"ssh\" *"), Some("\"key\" OR \"a b\"")),
            ("-key", None, Some("\"key\"")),
            ("ssh kind:config", Some("\"ssh\" *"), None),
            ("a OR NOT b*", Some("\"a\" AND \"OR\" AND \"NOT\" AND \"b*\" *"), None),
            ("\"open", Some("\"open\""), None),
            ("sshd_config", Some("\"sshd_config\" *"), None),
            ("what:ever kind: risk:huge", Some("\"what:ever\" AND \"kind:\" AND \"risk:huge\" *"), None),
            ("- x", Some("\"x\" *"), None),
            ("kind:ini", None, None),
            ("", None, None),
        ] {
            let query = parse(text);
            assert_eq!(
                (query.words().as_deref(), query.words_without().as_deref()),
                (words, without),
                "{text}"
            );
        }
        assert!(parse("  ").is_empty() && parse("\"\"").is_empty());
        let query = parse(
            "kind:SystemD risk>=medium -tag:redacted unverified:no path:\"/srv/my files/\" etc/ssh risk:high",
        );
        assert_eq!(
            query.filters(),
            [
                (true, Filter::Kind("systemd".into())),
                (true, Filter::Risk(">=", 2)),
                (false, Filter::Tag("redacted".into())),
                (false, Filter::Unverified),
                (true, Filter::Risk("=", 3)),
            ]
        );
        let below = PathFilter::Below(b"/srv/my files".to_vec());
        assert_eq!(query.paths(), [(true, below), (true, PathFilter::Holds("etc/ssh".into()))]);
        assert_eq!(parse(&"a ".repeat(5000)).wanted.len(), TERMS_MAX);
    }

    proptest! {
        #[test]
        fn any_text_is_a_query_that_sqlite_takes(text in "(?s).{0,60}|[-:\"a-z/*()^+<>= ]{0,40}") {
            let query = SearchQuery::parse(&text);
            let connection = rusqlite::Connection::open_in_memory().unwrap();
            connection.execute_batch("CREATE VIRTUAL TABLE t USING fts5(x)").unwrap();
            for words in [query.words(), query.words_without()].into_iter().flatten() {
                let sql = "SELECT count(*) FROM t WHERE t MATCH ?1";
                let found = connection.query_row(sql, [&words], |row| row.get::<_, i64>(0));
                prop_assert_eq!(found, Ok(0), "{:?}", words);
            }
        }
    }
}
