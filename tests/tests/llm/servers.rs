//! Finding out what a server is and has; and not asking one that is elsewhere.

use sfd::enrich::{AskError, Client, LlmConfig, Protocol};
use sfd_tests::llm::LlamaServer;
use sfd_tests::llm_double::{Double, Wire};

use crate::{config, connect, runtime, some_question};

#[test]
fn each_server_is_known_by_what_it_answers() {
    let ollama = Double::start(Wire::Ollama, None);
    assert_eq!(connect(&ollama.url()).unwrap().protocol(), Protocol::Ollama);
    let server = LlamaServer::start();
    assert_eq!(connect(&server.url()).unwrap().protocol(), Protocol::OpenAi);
    // The address as other programs want it.
    assert_eq!(connect(&format!("{}/v1/", server.url())).unwrap().endpoint(), server.url());
}

#[test]
fn a_missing_model_names_what_to_do() {
    let double = Double::with_models(Wire::Ollama, None, &[("llama3.2:latest", 2_000_000_000)]);
    let error = connect(&double.url()).unwrap_err();
    assert!(matches!(error, AskError::ModelMissing { .. }), "{error}");
    assert!(error.to_string().contains("ollama pull qwen2.5-coder:1.5b"), "{error}");

    let double = Double::with_models(Wire::OpenAi, None, &[("one", 0), ("two", 0)]);
    let error = connect(&double.url()).unwrap_err();
    assert!(error.to_string().contains("--llm-model: one, two"), "{error}");
    let two = LlmConfig { model: "two".into(), ..config(&double.url()) };
    assert_eq!(runtime().block_on(Client::connect(&two)).unwrap().model(), "two");
}

#[test]
fn a_model_removed_later_is_missing_not_broken() {
    let double = Double::start(Wire::Ollama, None);
    let client = connect(&double.url()).unwrap();
    double.set_fault(sfd_tests::llm_double::Fault::Status(404));
    let error = runtime().block_on(client.ask(&some_question())).unwrap_err();
    assert!(error.to_string().contains("no model `qwen2.5-coder:1.5b`; get it with: ollama pull"), "{error}");
}

#[test]
fn something_else_at_that_port_is_no_model_server() {
    let double = Double::start(Wire::OpenAi, None);
    let as_ollama = LlmConfig { protocol: Protocol::Ollama, ..config(&double.url()) };
    let error = runtime().block_on(Client::connect(&as_ollama)).unwrap_err();
    assert!(matches!(error, AskError::NoModelServer { .. }), "{error}");
}

#[test]
fn a_server_elsewhere_is_refused_before_anything_is_sent() {
    let error = connect("http://192.0.2.1:11434").unwrap_err();
    assert!(matches!(error, AskError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("--allow-remote-llm"), "{error}");
}

#[test]
fn a_key_is_sent_and_never_shown() {
    let server = LlamaServer::with_key("sk-test-1234");
    let with = |key: Option<&str>| {
        let config = LlmConfig { api_key: key.map(str::to_owned), ..config(&server.url()) };
        assert!(!format!("{config:?}").contains("sk-test-1234"));
        runtime().block_on(async {
            let client = Client::connect(&config).await?;
            client.ask(&some_question()).await
        })
    };
    let error = with(None).unwrap_err();
    assert!(matches!(error, AskError::Auth { .. }), "{error}");
    with(Some("sk-test-1234")).unwrap();
}
