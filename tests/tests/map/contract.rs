//! The OpenAPI document against the running server: by a fuzzer that knows nothing else, and by what the server has.

use std::path::PathBuf;
use std::process::Command;

use crate::Tree;

/// The fuzzer, from PyPI. A fixed version: what it finds must not depend on the day.
const FUZZER: &str = "schemathesis==4.32.5";
/// Requests made up for each operation. With the default of 100 it takes minutes and finds no more.
const EXAMPLES: &str = "25";

/// The fuzzer, installed below `target/`; why not, if it cannot be had.
fn fuzzer() -> Result<PathBuf, String> {
    let mut target = std::env::current_exe().unwrap();
    while target.file_name().is_some_and(|name| name != "target") {
        target.pop();
    }
    let home = target.join("map-venv");
    let program = home.join("bin/schemathesis");
    if program.exists() {
        return Ok(program);
    }
    let run = |command: &mut Command| match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(error.to_string()),
    };
    run(Command::new("python3").args(["-m", "venv"]).arg(&home))
        .and_then(|()| run(Command::new(home.join("bin/pip")).args(["install", "--quiet", FUZZER])))
        .map_err(|why| {
            format!("python3 with venv and pip, and a package index, are needed for {FUZZER}: {why}")
        })?;
    Ok(program)
}

#[test]
fn a_fuzzer_finds_no_answer_that_the_document_does_not_describe() {
    let program = match fuzzer() {
        Ok(program) => program,
        Err(why) => {
            assert!(std::env::var_os("CI").is_none_or(|value| value != "true"), "{why}");
            println!("skipped: {why}");
            return;
        }
    };
    let map = Tree::filled().serve();
    let dir = tempfile::tempdir().unwrap();
    let document = map.client.get("/api/openapi.json");
    let file = dir.path().join("openapi.json");
    // A made-up name of a brick is nearly never one: the one that there is is named, so that more than refusals is seen.
    let mut document = document.json();
    for (path, item) in document["paths"].as_object_mut().unwrap() {
        if path.contains("{name}") {
            for parameter in item["get"]["parameters"].as_array_mut().unwrap() {
                if parameter["name"] == "name" {
                    parameter["schema"] = serde_json::json!({ "enum": [map.brick, "no-such-brick"] });
                }
                if parameter["name"] == "path" {
                    let paths =
                        ["app.conf", "bin", "secret/.netrc", "link", "nothing"].map(|name| map.path(name));
                    parameter["schema"] = serde_json::json!({ "enum": paths });
                }
            }
        }
    }
    std::fs::write(&file, document.to_string()).unwrap();
    let output = Command::new(program)
        .current_dir(&dir)
        .args(["run", "--no-color", "--phases", "examples,coverage,fuzzing", "--max-examples", EXAMPLES])
        .args(["--generation-deterministic", "--workers", "2"])
        .args([
            "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        ])
        // It never ends.
        .args(["--exclude-path", "/api/events"])
        .args(["--header", &format!("Authorization: Bearer {}", map.client.token)])
        .args(["--url", &format!("http://{}", map.client.host())])
        .arg(&file)
        .output()
        .unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{text}");
    assert!(output.status.success(), "{text}\n{errors}");
    let requests = map.daemon.glance().unwrap()["map"]["requests"].as_u64().unwrap();
    println!("{requests} requests");
    assert!(requests > 500, "the fuzzer has hardly asked: {requests}");
    assert_eq!(map.client.get("/api/bricks").status, 200);
}

#[test]
fn everything_in_the_document_is_there() {
    let map = Tree::filled().serve();
    let document = map.client.get("/api/openapi.json").json();
    assert_eq!(document["openapi"], "3.1.0");
    let mut missing = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        if path == "/api/events" {
            continue;
        }
        let mut query = Vec::new();
        for parameter in item["get"]["parameters"].as_array().into_iter().flatten() {
            if parameter["in"] == "query" && parameter["required"] == true {
                query.push(format!("{}=1", parameter["name"].as_str().unwrap()));
            }
        }
        if path.ends_with("/nodes") {
            query = vec!["z=0".into()];
        }
        if item["get"]["parameters"].as_array().into_iter().flatten().any(|p| p["name"] == "path") {
            query.push(format!("path={}", map.path("app.conf")));
        }
        let real =
            path.replace("{name}", &map.brick).replace("{z}", "0").replace("{x}", "0").replace("{y}", "0");
        let answer = map.client.get(&format!("{real}?{}", query.join("&")));
        if answer.status != 200 {
            missing.push(format!("{path}: {} {}", answer.status, answer.text()));
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}
