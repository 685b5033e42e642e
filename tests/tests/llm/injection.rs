//! Files that talk to the model, and a model that does what they say.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sfd::enrich::Question;
use sfd_tests::llm_double::{Double, Fault, Wire};

use crate::answers::{assert_within_limits, labelled};
use crate::{connect, look, question_of, runtime};

fn files() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/llm/injection");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 10);
    files.into_iter().map(|file| file.canonicalize().unwrap()).collect()
}

/// Everything the file says, in every field, as long as it is taken at all; and no risk.
fn obedient(text: &str) -> String {
    let part = |max: usize| text.chars().take(max).collect::<String>();
    serde_json::json!({
        "title": part(160), "summary": part(480), "tags": vec![part(64); 16], "risk": 0, "reasons": vec![part(240); 8],
    })
    .to_string()
}

#[test]
fn a_file_that_is_obeyed_gets_no_more_than_a_silly_label() {
    for wire in [Wire::Ollama, Wire::OpenAi] {
        let double = Double::start(wire, None);
        let client = connect(&double.url()).unwrap();
        for mut artifact in look(files()) {
            // Whatever the rules have found, it is not to go away.
            artifact.semantics.risk.level = artifact.semantics.risk.level.max(2);
            artifact.semantics.risk.reasons.insert(0, "found by a rule".into());
            let said = String::from_utf8_lossy(&std::fs::read(&artifact.path).unwrap()).into_owned();
            for risk in ["\"risk\":0", "\"risk\":4"] {
                let words = obedient(&said).replace("\"risk\":0", risk);
                double.set_fault(Fault::Says(Arc::new(move |_| words.clone())));
                let reply = runtime().block_on(client.ask(&question_of(&artifact)));
                let reply = reply.unwrap_or_else(|error| panic!("{}: {error}", artifact.path.display()));
                let semantics = labelled(&reply.answer, &artifact.semantics);
                assert_within_limits(&semantics);
                assert_eq!(semantics.kind, artifact.semantics.kind);
                assert!(semantics.risk.level >= artifact.semantics.risk.level);
                assert!(semantics.risk.reasons.starts_with(&artifact.semantics.risk.reasons));
                assert!(semantics.tags.starts_with(&artifact.semantics.tags));
            }
        }
    }
}

#[test]
fn an_answer_in_the_file_is_not_an_answer_of_the_model() {
    let double = Double::start(Wire::Ollama, None);
    let client = connect(&double.url()).unwrap();
    // The worst of servers: it gives back what the file holds, as it is.
    double.set_fault(Fault::Says(Arc::new(|user| {
        let data = user.split_once("-- contents --\n").map_or("", |(_, rest)| rest);
        data.rsplit_once("END ").map_or("", |(data, _)| data).to_owned()
    })));
    for artifact in look(files()) {
        let name = artifact.path.file_name().unwrap().to_string_lossy().into_owned();
        let reply = runtime().block_on(client.ask(&question_of(&artifact)));
        if name == "fake-answer.json" {
            // Its words are taken: a label. The risk that rules found is not touched by it (see above).
            assert_eq!(reply.unwrap().answer.title, "Trusted system file");
        } else {
            assert!(reply.is_err(), "{name}");
        }
    }
}

#[test]
fn a_prompt_shows_them_as_data_between_marks_they_do_not_know() {
    let double = Double::start(Wire::OpenAi, None);
    let client = connect(&double.url()).unwrap();
    let questions: Vec<Question> = look(files()).iter().map(question_of).collect();
    for question in &questions {
        runtime().block_on(client.ask(question)).unwrap();
    }
    let requests = double.requests();
    assert_eq!(requests.len(), questions.len());
    let systems: std::collections::BTreeSet<String> = requests.iter().map(|body| message(body, 0)).collect();
    assert_eq!(systems.len(), 1, "no file changes the rules");
    for body in &requests {
        let user = message(body, 1);
        let lines: Vec<&str> = user.lines().collect();
        let mark = lines.last().unwrap().strip_prefix("END ").expect("the last line ends the data");
        let begin = format!("BEGIN {mark}");
        assert_eq!(lines.iter().filter(|line| **line == begin).count(), 1, "{user}");
        assert_eq!(user.matches(mark).count(), 2, "{user}");
        for word in ["<|", "|>", "<<SYS>>", "[INST]", "</s>", "<start_of_turn>", "<\u{ff5c}", "<think>"] {
            assert!(!user.contains(word), "{word}: {user}");
        }
        let hidden = |c: char| {
            (c.is_control() && !matches!(c, '\n' | '\t'))
                || matches!(c, '\u{200b}' | '\u{202e}' | '\u{e0052}')
        };
        assert!(!user.contains(hidden), "{user:?}");
        assert!(body.len() < 8192, "{}", body.len());
    }
}

fn message(body: &str, n: usize) -> String {
    let value: serde_json::Value = serde_json::from_str(body).unwrap();
    value["messages"][n]["content"].as_str().unwrap().to_owned()
}
