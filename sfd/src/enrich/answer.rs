//! What a model says: validated again, cleaned, limited. Whatever it says, it can do no more than label.

use serde::Deserialize;

use crate::artifact::kinds::{SUMMARY_CHARS_MAX, TAG_CHARS_MAX, TAGS_MAX, TITLE_CHARS_MAX, clean};
use crate::artifact::{Answered, Risk, Semantics, SemanticsSource};

/// Highest level of a risk.
const LEVEL_MAX: u8 = 4;
/// A reason is at most this many characters long: one line in the terminal, with its mark.
pub const REASON_CHARS_MAX: usize = 120;
/// Most reasons that are taken from a model.
pub const REASONS_MAX: usize = 4;
/// What a model gives as reason carries this in front.
pub const OF_MODEL: &str = "model: ";
/// A string this many times longer than its limit is cut. One that is longer still does not come from a model that
/// keeps to the form (usually it repeats itself), and the rest of such an answer is worth no more.
const CUT_TIMES: usize = 2;

/// A valid answer: every string is clean and within the limits of `kinds`, the title and the summary say something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// A few words, at most 80 characters.
    pub title: String,
    /// At most 240 characters.
    pub summary: String,
    /// At most 8, in lower case, each at most 32 characters.
    pub tags: Vec<String>,
    /// At most 4 reasons, each at most 120 characters.
    pub risk: Risk,
}

/// As the schema of the prompt has it.
#[derive(Deserialize)]
struct Raw {
    title: String,
    summary: String,
    tags: Vec<String>,
    risk: u8,
    #[serde(default)]
    reasons: Vec<String>,
}

impl Answer {
    /// Reads what a model has written.
    ///
    /// # Errors
    /// Why it is no answer, in words for an operator; nothing of what the model wrote is in them.
    pub fn parse(text: &str) -> Result<Self, String> {
        let raw: Raw = serde_json::from_str(text.trim()).map_err(|error| {
            if error.is_eof() { "JSON that is cut off".to_owned() } else { shape(&error) }
        })?;
        if raw.risk > LEVEL_MAX {
            return Err(format!("a risk of {}, where 0 to {LEVEL_MAX} are asked for", raw.risk));
        }
        if raw.tags.len() > CUT_TIMES * TAGS_MAX || raw.reasons.len() > CUT_TIMES * TAGS_MAX {
            return Err("far more tags or reasons than asked for".to_owned());
        }
        let mut tags: Vec<String> = Vec::new();
        for tag in &raw.tags {
            let tag = field("a tag", tag, TAG_CHARS_MAX)?.to_lowercase();
            // Some letters are longer in lower case.
            let tag = clean(&tag, TAG_CHARS_MAX);
            if !tag.is_empty() && tags.len() < TAGS_MAX && !tags.contains(&tag) {
                tags.push(tag);
            }
        }
        let mut reasons = Vec::new();
        for reason in &raw.reasons {
            let reason = field("a reason", reason, REASON_CHARS_MAX)?;
            if !reason.is_empty() && reasons.len() < REASONS_MAX && !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        let answer = Self {
            title: field("the title", &raw.title, TITLE_CHARS_MAX)?,
            summary: field("the summary", &raw.summary, SUMMARY_CHARS_MAX)?,
            tags,
            risk: Risk { level: raw.risk, reasons },
        };
        if answer.title.is_empty() || answer.summary.is_empty() {
            return Err("a title or a summary with nothing in it".to_owned());
        }
        Ok(answer)
    }
}

/// What is wrong with its shape: where, but not what, because the words are the model's.
fn shape(error: &serde_json::Error) -> String {
    let what = if error.is_data() { "JSON of another shape than asked for" } else { "no JSON" };
    format!("{what} (line {}, column {})", error.line(), error.column())
}

fn field(name: &str, text: &str, max: usize) -> Result<String, String> {
    if text.chars().count() > CUT_TIMES * max {
        return Err(format!("{name} of {} characters, where {max} are asked for", text.chars().count()));
    }
    Ok(clean(text, max))
}

/// What the rules said, in the words of the model. Title and summary are the model's; the kind stays; the tags of the
/// rules stay in front; the risk is the higher of both, with the reasons of the rules first and those of the model marked
/// as such, as long as there are no more than 8.
#[must_use]
pub fn apply(answer: &Answer, heuristic: &Semantics, answered: Answered) -> Semantics {
    let mut tags = heuristic.tags.clone();
    for tag in &answer.tags {
        if tags.len() < TAGS_MAX && !tags.contains(tag) {
            tags.push(tag.clone());
        }
    }
    let mut reasons = heuristic.risk.reasons.clone();
    let said = match answer.risk.reasons.as_slice() {
        // Why there is no risk is not a reason of one.
        _ if answer.risk.level == 0 => Vec::new(),
        // A level that nobody gives a reason for would only puzzle.
        [] if answer.risk.level > heuristic.risk.level => vec!["gave no reason"],
        some => some.iter().map(String::as_str).collect(),
    };
    for reason in said.into_iter().take(REASONS_MAX) {
        if reasons.len() < TAGS_MAX {
            reasons.push(clean(&format!("{OF_MODEL}{reason}"), SUMMARY_CHARS_MAX));
        }
    }
    Semantics {
        kind: heuristic.kind,
        title: clean(&answer.title, TITLE_CHARS_MAX),
        summary: clean(&answer.summary, SUMMARY_CHARS_MAX),
        tags,
        risk: Risk { level: heuristic.risk.level.max(answer.risk.level.min(LEVEL_MAX)), reasons },
        source: SemanticsSource::Llm,
        answered: Some(Box::new(Answered {
            rules_risk: heuristic.risk.level,
            rules_tags: u8::try_from(heuristic.tags.len()).unwrap_or(u8::MAX),
            ..answered
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::kinds::Kind;

    fn heuristic(level: u8) -> Semantics {
        Semantics {
            kind: Kind::Config,
            title: "sshd_config".into(),
            summary: "Configuration of sshd.".into(),
            tags: vec!["ssh".into(), "network".into()],
            risk: Risk { level, reasons: vec!["root may log in with a password".into()] },
            source: SemanticsSource::Heuristic,
            answered: None,
        }
    }

    fn answered() -> Answered {
        Answered { model: "qwen2.5-coder:1.5b".into(), prompt_version: 1, at_ns: 7, ..Answered::default() }
    }

    #[test]
    fn a_good_answer_is_taken() {
        let text = r#" {"title":"SSH server","summary":"Lets people log in.","tags":["SSH","login","login"],
            "risk":2,"reasons":["passwords are allowed"]} "#;
        let answer = Answer::parse(text).unwrap();
        assert_eq!(answer.tags, ["ssh", "login"]);
        let semantics = apply(&answer, &heuristic(1), answered());
        assert_eq!((semantics.kind, semantics.source), (Kind::Config, SemanticsSource::Llm));
        assert_eq!(
            (semantics.title.as_str(), semantics.summary.as_str()),
            ("SSH server", "Lets people log in.")
        );
        assert_eq!(semantics.tags, ["ssh", "network", "login"]);
        assert_eq!(semantics.risk.level, 2);
        assert_eq!(
            semantics.risk.reasons,
            ["root may log in with a password", "model: passwords are allowed"]
        );
        assert_eq!(semantics.answered.unwrap().model, "qwen2.5-coder:1.5b");
    }

    #[test]
    fn a_risk_is_never_lowered_nor_raised_without_a_word() {
        let answer =
            Answer::parse(r#"{"title":"t","summary":"s","tags":[],"risk":0,"reasons":["all is well"]}"#);
        let semantics = apply(&answer.unwrap(), &heuristic(3), answered());
        assert_eq!((semantics.risk.level, semantics.risk.reasons.len()), (3, 1));
        let answer = Answer::parse(r#"{"title":"t","summary":"s","tags":[],"risk":4}"#).unwrap();
        let semantics = apply(&answer, &heuristic(3), answered());
        assert_eq!((semantics.risk.level, semantics.risk.reasons[1].as_str()), (4, "model: gave no reason"));
        let mut full = heuristic(3);
        full.risk.reasons = vec!["r".into(); TAGS_MAX];
        full.tags = (0..TAGS_MAX).map(|n| n.to_string()).collect();
        let semantics = apply(&answer, &full, answered());
        assert_eq!((semantics.risk.reasons, semantics.tags), (full.risk.reasons, full.tags));
    }

    #[test]
    fn what_is_a_little_too_long_is_cut_and_what_is_far_too_long_is_refused() {
        let of = |title: usize, summary: usize, tags: usize| {
            let tags: Vec<String> = (0..tags).map(|n| format!("tag{n}")).collect();
            let text = serde_json::json!({"title": "t".repeat(title), "summary": "s".repeat(summary),
                "tags": tags, "risk": 1, "reasons": []});
            Answer::parse(&text.to_string())
        };
        let cut = of(TITLE_CHARS_MAX + 1, 2 * SUMMARY_CHARS_MAX, 16).unwrap();
        assert_eq!((cut.title.chars().count(), cut.summary.chars().count()), (80, 240));
        assert!(cut.title.ends_with('…') && cut.summary.ends_with('…'));
        assert_eq!(cut.tags.len(), TAGS_MAX);
        assert!(of(1, 2 * SUMMARY_CHARS_MAX + 1, 0).unwrap_err().contains("481 characters"));
        assert!(of(2 * TITLE_CHARS_MAX + 1, 1, 0).is_err());
        assert!(of(1, 1, 17).is_err());
    }

    #[test]
    fn nothing_in_it_drives_a_terminal_or_hides() {
        let text = "{\"title\":\"\\u001b[2Jx\\u202e\\u0000y\",\"summary\":\"a\\nb\\u200bc\",\"tags\":[\"\\u0007A\\u009bB\"],\
            \"risk\":1,\"reasons\":[\"\\r\\n\\u2028x\"]}";
        let answer = Answer::parse(text).unwrap();
        assert_eq!((answer.title.as_str(), answer.summary.as_str()), ("[2Jx y", "a bc"));
        assert_eq!((answer.tags, answer.risk.reasons), (vec!["a b".to_owned()], vec!["x".to_owned()]));
    }

    #[test]
    fn what_is_no_answer_says_why_without_its_words() {
        for (text, why) in [
            ("", "cut off"),
            (r#"{"title":"t","summary":"forgot"#, "cut off"),
            ("I cannot help with that: forgot", "no JSON"),
            (r#"{"title":"t","summary":"s","tags":"forgot","risk":1}"#, "another shape"),
            (r#"{"title":"t","tags":[],"risk":1}"#, "another shape"),
            (r#"["forgot"]"#, "another shape"),
            (r#"{"title":"t","summary":"s","tags":[],"risk":"forgot"}"#, "another shape"),
            (r#"{"title":"t","summary":"s","tags":[],"risk":-1}"#, "another shape"),
            (r#"{"title":"t","summary":"s","tags":[],"risk":5}"#, "a risk of 5"),
            (r#"{"title":" \u200b","summary":"s","tags":[],"risk":1}"#, "nothing in it"),
            (r#"{"title":"t","summary":"s","tags":[],"risk":1} forgot"#, "no JSON"),
        ] {
            let error = Answer::parse(text).unwrap_err();
            assert!(error.contains(why) && !error.contains("forgot"), "{text}: {error}");
        }
    }
}
