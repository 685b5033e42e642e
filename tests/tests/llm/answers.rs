//! Real files, a real server.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sfd::artifact::SemanticsSource;
use sfd::artifact::kinds::{SUMMARY_CHARS_MAX, TAG_CHARS_MAX, TAGS_MAX, TITLE_CHARS_MAX, clean};
use sfd::artifact::{Answered, Semantics};
use sfd::enrich::{Answer, Client, Question, Reply, apply};
use sfd_tests::llm::LlamaServer;
use sfd_tests::llm_double::{Double, Wire};

use crate::{config, look, question_of, runtime};

/// How many files are asked about.
const FILES: usize = 200;

/// Regular files of this host, as many from each place.
fn real_files(from: &[&str], n: usize) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for dir in from {
        let mut found = Vec::new();
        collect(Path::new(dir), n / from.len(), &mut found);
        files.extend(found);
    }
    files
}

fn collect(dir: &Path, max: usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    for path in paths {
        if found.len() == max {
            return;
        }
        match path.symlink_metadata() {
            Ok(meta) if meta.is_dir() => collect(&path, max, found),
            Ok(meta) if meta.is_file() && meta.len() > 0 => found.push(path),
            _ => {}
        }
    }
}

/// Asks all of them, two at a time, which is how many slots the server has.
fn ask_all(client: &Client, questions: Vec<Question>) -> Vec<Reply> {
    let runtime = runtime();
    runtime.block_on(async {
        let slots = Arc::new(tokio::sync::Semaphore::new(2));
        let mut tasks = tokio::task::JoinSet::new();
        for question in questions {
            let (client, slots) = (client.clone(), Arc::clone(&slots));
            tasks.spawn(async move {
                let _slot = slots.acquire().await;
                client.ask(&question).await
            });
        }
        let replies = tasks.join_all().await;
        replies.into_iter().map(|reply| reply.expect("every answer is valid")).collect()
    })
}

pub(crate) fn assert_within_limits(semantics: &Semantics) {
    let fits = |text: &str, max: usize| {
        assert!(text.chars().count() <= max, "{text}");
        assert_eq!(clean(text, max), text, "nothing in it drives a terminal");
    };
    fits(&semantics.title, TITLE_CHARS_MAX);
    fits(&semantics.summary, SUMMARY_CHARS_MAX);
    assert!(!semantics.title.is_empty() && !semantics.summary.is_empty());
    assert!(semantics.tags.len() <= TAGS_MAX && semantics.risk.reasons.len() <= TAGS_MAX);
    semantics.tags.iter().for_each(|tag| fits(tag, TAG_CHARS_MAX));
    semantics.risk.reasons.iter().for_each(|reason| fits(reason, SUMMARY_CHARS_MAX));
    assert!(semantics.risk.level <= 4);
}

pub(crate) fn labelled(answer: &Answer, heuristic: &Semantics) -> Semantics {
    let answered = Answered { model: "m".into(), prompt_version: 1, at_ns: 1, rules_risk: 0, rules_tags: 0 };
    apply(answer, heuristic, answered)
}

fn every_answer_is_valid(client: &Client, files: Vec<PathBuf>) {
    let artifacts = look(files);
    let replies = ask_all(client, artifacts.iter().map(question_of).collect());
    assert_eq!(replies.len(), artifacts.len());
    let took: f64 = replies.iter().map(|reply| reply.took.as_secs_f64()).sum();
    let tokens: u64 = replies.iter().map(|reply| reply.tokens_in).sum();
    let most = replies.iter().map(|reply| reply.tokens_in).max().unwrap();
    println!(
        "{} valid answers, {:.2} s each; questions of {} tokens, at most {most}",
        replies.len(),
        took / replies.len() as f64,
        tokens / replies.len() as u64
    );
    for (reply, artifact) in replies.iter().zip(&artifacts) {
        assert!(reply.tokens_in > 0 && reply.tokens_out > 0, "{reply:?}");
        let semantics = labelled(&reply.answer, &artifact.semantics);
        assert_within_limits(&semantics);
        assert_eq!((semantics.kind, semantics.source), (artifact.semantics.kind, SemanticsSource::Llm));
        assert!(semantics.risk.level >= artifact.semantics.risk.level);
    }
}

#[test]
fn two_hundred_real_files_get_valid_answers_from_a_real_server() {
    let server = LlamaServer::start();
    let client = crate::connect(&server.url()).unwrap();
    assert_eq!(client.model(), sfd_tests::llm::MODEL);
    let files = real_files(&["/etc", "/usr/lib/systemd", "/usr/bin", "/usr/share/doc"], FILES);
    assert!(files.len() >= FILES / 2, "this host has only {} files there", files.len());
    every_answer_is_valid(&client, files);
}

#[test]
fn through_ollamas_protocol_they_are_valid_too_and_the_model_is_loaded_once() {
    let server = LlamaServer::start();
    let double = Double::start(Wire::Ollama, Some(server.url()));
    let client = crate::connect(&double.url()).unwrap();
    assert_eq!(client.model(), "qwen2.5-coder:1.5b");
    every_answer_is_valid(&client, real_files(&["/etc", "/usr/lib/systemd"], 40));
    assert_eq!(double.loads(), 1, "each question has the same context length");
}

#[test]
fn a_question_that_is_too_long_for_the_server_is_asked_again_with_less() {
    let server = LlamaServer::with_context(2560);
    let client = runtime().block_on(Client::connect(&config(&server.url()))).unwrap();
    // Digits are single tokens to the tiny model: more tokens than were to be expected.
    let contents: String = (0..4000_u32).map(|n| char::from(b'0' + (n * 7 % 10) as u8)).collect();
    let question =
        Question { excerpt: sfd::enrich::Excerpt::of(contents.as_bytes()), ..crate::some_question() };
    let reply = runtime().block_on(client.ask(&question)).unwrap();
    let half = question.excerpt.head.len() as u64;
    assert!(reply.tokens_in > 300 && reply.tokens_in < 2560 - half / 2, "{}", reply.tokens_in);
}
