//! Each way to fail gives the error that says so, in time, and passes with its cause.

use std::time::{Duration, Instant};

use sfd::enrich::{AskError, Client, LlmConfig};
use sfd_tests::llm::{LlamaServer, free_port};
use sfd_tests::llm_double::{CANNED, Double, Fault, Wire};
use sfd_tests::wait_for;

use crate::{config, connect, runtime, some_question};

const BOTH: [Wire; 2] = [Wire::Ollama, Wire::OpenAi];
/// Limit of what never ends. Long for a good answer of the double, which takes a millisecond.
const SHORT: Duration = Duration::from_secs(2);

/// One question with the fault, then one without it.
fn error_of(wire: Wire, fault: Fault, timeout: Duration) -> AskError {
    let double = Double::start(wire, None);
    let runtime = runtime();
    let config = LlmConfig { timeout, ..config(&double.url()) };
    let client = runtime.block_on(Client::connect(&config)).unwrap();
    double.set_fault(fault);
    let started = Instant::now();
    let error = runtime.block_on(client.ask(&some_question())).expect_err("a fault");
    let took = started.elapsed();
    assert!(took < timeout + Duration::from_secs(1), "{error}: after {took:?}");
    assert!(error.to_string().contains(&double.url()), "{error}");
    assert!(error.to_string().chars().count() < 300, "{error}");
    double.set_fault(None);
    let reply = wait_for("an answer after the fault", crate::PATIENCE, || {
        Ok(runtime.block_on(client.ask(&some_question()))?)
    });
    assert_eq!(reply.answer.title, "Canned");
    error
}

#[test]
fn what_never_ends_is_given_up_in_time() {
    for wire in BOTH {
        for fault in [Fault::Hung, Fault::Drip] {
            let error = error_of(wire, fault, SHORT);
            assert!(matches!(error, AskError::Timeout { .. }), "{error}");
            assert!(error.is_of_the_server() && error.is_worth_retrying());
        }
    }
}

#[test]
fn a_status_says_whose_fault_it_is() {
    type Check = fn(&AskError) -> bool;
    let table: [(u16, Check, bool); 8] = [
        (400, |e| matches!(e, AskError::Server { status: 400, .. }), false),
        (401, |e| matches!(e, AskError::Auth { .. }), false),
        (403, |e| matches!(e, AskError::Auth { .. }), false),
        (404, |e| matches!(e, AskError::ModelMissing { .. }), false),
        (429, |e| matches!(e, AskError::Busy { .. }), true),
        (500, |e| matches!(e, AskError::Server { status: 500, .. }), true),
        (502, |e| matches!(e, AskError::Server { status: 502, .. }), true),
        (503, |e| matches!(e, AskError::Busy { .. }), true),
    ];
    for wire in BOTH {
        for (status, is_right, again) in table {
            let error = error_of(wire, Fault::Status(status), crate::PATIENCE);
            assert!(is_right(&error), "{status}: {error}");
            assert!(error.is_of_the_server(), "{error}");
            assert_eq!(error.is_worth_retrying(), again, "{error}");
        }
        let error = error_of(wire, Fault::Redirect, crate::PATIENCE);
        assert!(matches!(error, AskError::Server { status: 307, .. }), "nothing goes elsewhere: {error}");
    }
}

#[test]
fn an_answer_that_is_none_is_of_the_question_and_not_of_the_server() {
    for wire in BOTH {
        for (fault, why) in [
            (Fault::Truncated, "cut off"),
            (Fault::LongStrings, "the summary of 100000 characters"),
            (Fault::InvalidUtf8, "not UTF-8"),
            (Fault::NotDone, "stopped before the end"),
            (Fault::CutOff, "longer than allowed"),
            (Fault::MidStream, "the server gave up: made up 500"),
            (Fault::Huge, "more than 256 KiB"),
            (Fault::WrongSchema, "another shape"),
        ] {
            let error = error_of(wire, fault, crate::PATIENCE);
            assert!(matches!(error, AskError::BadAnswer { .. }), "{error}");
            assert!(error.to_string().contains(why), "{error}");
            assert!(!error.is_of_the_server() && !error.is_worth_retrying(), "{error}");
        }
        let error = error_of(wire, Fault::Broken, crate::PATIENCE);
        assert!(matches!(error, AskError::Unreachable { .. }), "{error}");
    }
}

#[test]
fn a_question_that_stays_too_long_says_so() {
    let error = error_of(Wire::OpenAi, Fault::TooLong(0), crate::PATIENCE);
    assert!(matches!(error, AskError::TooLong { .. }), "{error}");
    let double = Double::start(Wire::OpenAi, None);
    let client = connect(&double.url()).unwrap();
    let whole = some_question();
    runtime().block_on(client.ask(&whole)).unwrap();
    // One byte less than was just sent.
    double.set_fault(Fault::TooLong(double.requests()[0].len() - 1));
    runtime().block_on(client.ask(&whole)).unwrap();
    assert_eq!(double.requests().len(), 3, "it was asked once more, with less");
}

#[test]
fn a_storm_is_waited_out() {
    for wire in BOTH {
        let double = Double::start(wire, None);
        let client = connect(&double.url()).unwrap();
        double.set_fault(Fault::Storm(503, 3));
        let reply = runtime().block_on(client.ask_with_retries(&some_question(), crate::PATIENCE)).unwrap();
        assert_eq!((reply.answer.title.as_str(), double.requests().len()), ("Canned", 4));
        double.set_fault(Fault::WrongSchema);
        let error =
            runtime().block_on(client.ask_with_retries(&some_question(), crate::PATIENCE)).unwrap_err();
        assert!(matches!(error, AskError::BadAnswer { .. }), "{error}");
        assert_eq!(double.requests().len(), 5, "the same question would be answered the same again");
    }
}

#[test]
fn a_server_that_was_killed_is_found_again() {
    let mut server = LlamaServer::start();
    let client = connect(&server.url()).unwrap();
    let runtime = runtime();
    runtime.block_on(client.ask(&some_question())).unwrap();
    server.kill();
    let error = runtime.block_on(client.ask(&some_question())).unwrap_err();
    assert!(matches!(error, AskError::Unreachable { .. }), "{error}");
    server.restart();
    runtime.block_on(client.ask_with_retries(&some_question(), crate::PATIENCE)).unwrap();

    let mut double = Double::start(Wire::Ollama, None);
    let client = connect(&double.url()).unwrap();
    runtime.block_on(client.ask(&some_question())).unwrap();
    double.halt();
    let error = runtime.block_on(client.ask(&some_question())).unwrap_err();
    assert!(matches!(error, AskError::Unreachable { .. }), "{error}");
    double.resume();
    runtime.block_on(client.ask_with_retries(&some_question(), crate::PATIENCE)).unwrap();
    // Behind it the real server is gone: Ollama says 500, and is worth asking again.
    server.kill();
    let double = Double::start(Wire::Ollama, Some(server.url()));
    let client = connect(&double.url()).unwrap();
    let error = runtime.block_on(client.ask(&some_question())).unwrap_err();
    assert!(matches!(error, AskError::Server { status: 500, .. }), "{error}");
    assert!(error.is_worth_retrying());
}

#[test]
fn a_model_that_is_being_loaded_is_waited_for() {
    let double = Double::start(Wire::Ollama, None);
    double.set_load_delay(Duration::from_millis(500));
    let client = connect(&double.url()).unwrap();
    let reply = runtime().block_on(client.ask(&some_question())).unwrap();
    assert!(reply.took >= Duration::from_millis(500), "{:?}", reply.took);
    assert_eq!(reply.answer.title, serde_json::from_str::<serde_json::Value>(CANNED).unwrap()["title"]);
}

#[test]
fn nobody_there_says_what_to_do() {
    let error = connect(&format!("http://127.0.0.1:{}", free_port())).unwrap_err();
    assert!(matches!(error, AskError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("ollama serve"), "{error}");
}
