//! What a language model is asked about, and what its words do to the brick.

use std::path::Path;
use std::sync::Arc;

use super::check::Pixels;
use super::rig::{NAME, Rig};
use crate::artifact::{Risk, SemanticsSource};
use crate::brick::Catalog;
use crate::enrich::queue::{Holder, Interest, Reason, Subject, Want};
use crate::enrich::service::{Label, SweepPoint};
use crate::enrich::{Answer, Enricher, PROMPT_VERSION};
use crate::fold::FLAG_LLM;

const SCRIPT: &[u8] = b"#!/bin/sh\necho hello\n";

fn rig() -> (Rig, Enricher) {
    let mut rig = Rig::new();
    let enricher = Enricher::new();
    rig.enricher = Some(enricher.clone());
    (rig, enricher)
}

fn answer(level: u8) -> Arc<Answer> {
    let reasons = if level > 0 { vec!["it greets strangers".to_owned()] } else { Vec::new() };
    Arc::new(Answer {
        title: "Greets".into(),
        summary: "Prints a greeting.".into(),
        tags: vec!["greeting".into()],
        risk: Risk { level, reasons },
    })
}

/// A label for an artifact as it is now.
fn label(rig: &mut Rig, name: &str, level: u8) -> Label {
    let row = rig.row(name);
    Label {
        holder: Holder { brick: NAME.into(), id: row.id },
        subject: Subject { content_hash: row.content_hash, kind: row.semantics.kind },
        answer: answer(level),
        model: "tiny".into(),
        at_ns: 7,
    }
}

fn undescribed(rig: &Rig, model: &str, after: Option<&SweepPoint>) -> Vec<String> {
    let mut wants: Vec<Want> = Vec::new();
    rig.opened().undescribed(model, after, &mut wants);
    let name = |want: &Want| rig.opened().inventory().path(want.holder.id);
    let mut names: Vec<String> =
        wants.iter().map(|want| name(want).strip_prefix(&rig.tree).unwrap().display().to_string()).collect();
    names.sort();
    names
}

#[test]
fn what_changes_is_asked_about_once_everything_was_compared() {
    let (mut rig, enricher) = rig();
    let file = rig.at("hello");
    rig.write(&file, SCRIPT);
    rig.start();
    assert_eq!(enricher.status().queued, 0, "the sweep finds what was there");
    assert_eq!(undescribed(&rig, "tiny", None), ["hello"]);
    rig.write(&file, b"#!/bin/sh\necho bye\n");
    let (made, link, secret) = (rig.at("made.conf"), rig.at("link"), rig.at("server.key"));
    rig.write(&made, b"a = 1\n");
    rig.symlink(&file, &link);
    rig.write(&secret, b"-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\n");
    rig.mkdir(&rig.at("dir"));
    rig.write(&rig.at("dir/empty"), b"");
    rig.deliver();
    assert_eq!(enricher.status().queued, 2, "the script and the configuration");
    assert_eq!(undescribed(&rig, "tiny", None), ["hello", "made.conf"]);
}

#[test]
fn words_change_labels_and_nothing_else() {
    let (mut rig, _) = rig();
    let file = rig.at("hello");
    rig.write(&file, SCRIPT);
    rig.write(&rig.at("other"), b"x y z\n");
    rig.start();
    let before = rig.row("hello");
    let pixels = Pixels::of(rig.opened(), true);
    let words = label(&mut rig, "hello", 0);
    rig.root().label([&words].into_iter()).unwrap();
    let row = rig.row("hello");
    assert_eq!((row.semantics.title.as_str(), row.semantics.source), ("Greets", SemanticsSource::Llm));
    assert_eq!(row.semantics.answered.as_ref().unwrap().model, "tiny");
    assert_eq!((row.semantics.kind, row.content_hash), (before.semantics.kind, before.content_hash));
    assert_eq!(row.paint().flags, before.paint().flags | FLAG_LLM);
    pixels.compare(rig.opened());
    let kept = Catalog::open_read_only(&rig.catalog_path()).unwrap();
    let kept = kept.by_path(std::os::unix::ffi::OsStrExt::as_bytes(file.as_os_str())).unwrap().unwrap();
    assert_eq!(kept.semantics, row.semantics);
    rig.check();
    assert_eq!(undescribed(&rig, "tiny", None), ["other"]);
    assert_eq!(undescribed(&rig, "larger", None), ["hello", "other"], "another model may say it better");
    // They outlive a restart, a loss and a rename.
    rig.kill().start();
    assert_eq!(rig.row("hello").semantics, row.semantics);
    assert_eq!(undescribed(&rig, "tiny", None), ["other"]);
    rig.heal();
    rig.mkdir(&rig.at("dir"));
    rig.rename(&file, &rig.at("dir/hello"));
    rig.deliver().check();
    assert_eq!(rig.row("dir/hello").semantics, row.semantics);
    // Rules still have their say.
    rig.chmod(&rig.at("dir/hello"), 0o777);
    rig.deliver().check();
    let loose = rig.row("dir/hello").semantics;
    assert_eq!((loose.title.as_str(), loose.risk.level >= 2), ("Greets", true), "{loose:?}");
    rig.chmod(&rig.at("dir/hello"), 0o644);
    rig.deliver();
    assert_eq!(rig.row("dir/hello").semantics, row.semantics);
    // But not a change of what they are about.
    rig.write(&rig.at("dir/hello"), b"#!/bin/sh\nrm -rf /\n");
    rig.deliver().check();
    assert_eq!(rig.row("dir/hello").semantics.source, SemanticsSource::Heuristic);
    assert_eq!(
        rig.history().iter().filter(|line| line.contains("modified")).count(),
        1,
        "labels are no history"
    );
}

#[test]
fn late_words_are_dropped() {
    let (mut rig, _) = rig();
    let file = rig.at("hello");
    rig.write(&file, SCRIPT);
    rig.start();
    let words = label(&mut rig, "hello", 0);
    rig.write(&file, b"#!/bin/sh\necho bye\n");
    rig.deliver();
    let before = rig.row("hello");
    rig.root().label([&words].into_iter()).unwrap();
    assert_eq!(rig.row("hello"), before);
    rig.remove(&file);
    rig.deliver();
    rig.root().label([&words].into_iter()).unwrap();
    rig.check();
    assert!(!rig.knows("hello"));
}

#[test]
fn a_model_raises_a_risk_but_never_lowers_one() {
    let (mut rig, _) = rig();
    let file = rig.at("hello");
    rig.write(&file, SCRIPT);
    rig.chmod(&file, 0o777);
    rig.start();
    let by_rules = rig.row("hello").semantics.risk;
    assert!(by_rules.level >= 2, "{by_rules:?}");
    for level in [0, 4, 0] {
        let words = label(&mut rig, "hello", level);
        rig.root().label([&words].into_iter()).unwrap();
        let risk = rig.row("hello").semantics.risk;
        assert_eq!(
            risk.level,
            by_rules.level.max(level),
            "from what rules say, not from what was said before"
        );
        assert!(risk.reasons.starts_with(&by_rules.reasons), "{risk:?}");
        assert_eq!(risk.reasons.len() > by_rules.reasons.len(), level > 0, "{risk:?}");
    }
}

#[test]
fn a_sweep_comes_round_to_everything_in_the_order_of_interest() {
    let (mut rig, _) = rig();
    for n in 0..20 {
        let path = rig.at(&format!("file{n}"));
        let body = if n % 2 == 0 { format!("#!/bin/sh\necho {n}\n") } else { format!("text number {n}\n") };
        rig.write(&path, body.as_bytes());
        if n % 5 == 0 {
            rig.chmod(&path, 0o666);
        }
    }
    rig.start();
    let mut after = None;
    let mut seen: Vec<(Interest, String)> = Vec::new();
    loop {
        let mut wants = Vec::new();
        rig.opened().undescribed("tiny", after.as_ref(), &mut wants);
        super::super::labels::most_wanted(&mut wants, 3);
        let Some(last) = wants.last() else { break };
        after = Some(SweepPoint { interest: last.interest, holder: last.holder.clone() });
        let path = |want: &Want| rig.opened().inventory().path(want.holder.id);
        seen.extend(wants.iter().map(|want| (want.interest, path(want).display().to_string())));
    }
    assert_eq!(seen.len(), 20);
    assert!(seen.is_sorted_by(|a, b| a.0 >= b.0), "{seen:?}");
    assert!(seen.iter().take(4).all(|(interest, _)| interest.risk >= 2), "{seen:?}");
    let names: std::collections::BTreeSet<&str> = seen.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names.len(), 20);
}

#[test]
fn who_asks_is_told_what_cannot_be_asked() {
    let (mut rig, _) = rig();
    rig.write(&rig.at("hello"), SCRIPT);
    rig.write(&rig.at("server.key"), b"-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\n");
    rig.start();
    let (hello, key, nothing) = (rig.at("hello"), rig.at("server.key"), rig.at("nothing"));
    let wanted = |rig: &Rig, path: &Path| rig.opened().wanted(path);
    assert_eq!(wanted(&rig, &hello).unwrap().interest.reason, Reason::Asked);
    assert!(wanted(&rig, &key).unwrap_err().contains("secret"));
    assert!(wanted(&rig, &nothing).unwrap_err().contains("not in brick tree"));
    assert!(wanted(&rig, &rig.tree).unwrap_err().contains("rules say all"));
    assert_eq!(PROMPT_VERSION, 1, "a new version asks everything again: say so in the changelog");
}
