//! `sfd doctor` measures the model; having none is nothing wrong.

use serde_json::Value;
use sfd_tests::daemon::sfd;
use sfd_tests::llm::{LlamaServer, free_port};
use sfd_tests::llm_double::{Double, Fault, Wire};

/// The report, and what it says about the model.
fn doctor(more: &[&str]) -> (Value, Value, String) {
    let state = tempfile::tempdir().unwrap();
    let run = |flags: &[&str]| {
        let output = sfd(&["doctor", "--state"]).arg(state.path()).args(flags).args(more).output().unwrap();
        assert!(matches!(output.status.code(), Some(0 | 1)), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let report: Value = serde_json::from_str(&run(&["--json"])).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == "language model").unwrap().clone();
    (report["llm"].clone(), check, run(&[]))
}

#[test]
fn doctor_measures_how_long_an_artifact_takes() {
    let server = LlamaServer::start();
    let (measured, check, text) = doctor(&["--llm", &server.url()]);
    assert_eq!((&check["verdict"], &measured["protocol"]), (&Value::from("ok"), &Value::from("openai")));
    assert!(
        measured["seconds"].as_f64().unwrap() > 0.0 && measured["tokens_in"].as_u64().unwrap() > 100,
        "{measured}"
    );
    assert!(text.contains("s an artifact"), "{text}");
}

#[test]
fn doctor_says_what_is_wrong_with_a_model_and_what_to_do() {
    let slow = Double::start(Wire::Ollama, None);
    slow.set_fault(Fault::Hung);
    let limit = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(limit.path(), "llm_timeout_s = 1\n").unwrap();
    let config = limit.path().to_str().unwrap();
    let (measured, check, text) = doctor(&["--llm", &slow.url(), "--config", config]);
    assert_eq!(check["verdict"], "warning", "{measured}");
    assert!(text.contains("no answer within 1 s") && text.contains("--llm off"), "{text}");

    let empty = Double::with_models(Wire::Ollama, None, &[]);
    let (measured, check, _) = doctor(&["--llm", &empty.url()]);
    assert_eq!((&check["verdict"], &measured["reachable"]), (&Value::from("warning"), &Value::from(true)));
    assert!(check["found"].as_str().unwrap().contains("ollama pull"), "{check}");
}

#[test]
fn doctor_without_a_model_has_nothing_to_complain_about() {
    let (measured, check, text) = doctor(&["--llm", "off"]);
    assert_eq!((&check["verdict"], &measured["reachable"]), (&Value::from("ok"), &Value::from(false)));
    assert!(text.contains("rules say what artifacts are"), "{text}");
    let (_, check, _) = doctor(&["--llm", &format!("http://127.0.0.1:{}", free_port())]);
    assert_eq!(check["verdict"], "warning", "it was named, so it should be there");
}

#[test]
fn a_wrong_address_is_a_usage_error() {
    for (flag, why) in [("ollama", "auto, or off"), ("http://u:secret@127.0.0.1", "llm_api_key_file")] {
        let output = sfd(&["doctor", "--llm", flag]).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(why) && !error.contains("secret") && error.lines().count() == 1, "{error}");
    }
}
