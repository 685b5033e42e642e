//! 1 000 malformed task files: 1 000 clear errors, no crash, and the good one among them is done.

use std::collections::HashSet;

use sfd_tests::bricks::Random;

use crate::{Repo, TASKS, ended};

/// Files that are no task.
const COUNT: usize = 1000;
/// What is mutated.
const SEEDS: [&str; 3] = [
    r#"{"task_id":"t","type":"foundry-v2","source":"src","destination":"bricks","texture_size":256,"max_files":50}"#,
    r#"{"task_id":"t","type":"crystallize_system","source":"/","paths":["src","src/sub"],"auto_generated":true}"#,
    "{\n  \"task_id\": \"\u{e9}\",\n  \"type\": \"convert_binary\",\n  \"source\": \"src/a.conf\",\n  \"x\": [1, {\"y\": null}]\n}\n",
];
/// What is put in the place of values.
const ODD: [&str; 16] = [
    "null",
    "true",
    "-1",
    "0",
    "1e400",
    "4294967296",
    "\"\"",
    "\"\\u0000\"",
    "[]",
    "{}",
    "[[[[]]]]",
    "\"../..\"",
    "\"/etc\"",
    "\"a/../../b\"",
    "\"\\ud800\"",
    "99999999999999999999999",
];

fn mutate(random: &mut Random) -> Vec<u8> {
    let mut text = SEEDS[random.below(SEEDS.len() as u64) as usize].as_bytes().to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(text.len() as u64) as usize;
        match random.below(8) {
            0 => text.truncate(at),
            1 => text[at] = random.below(256) as u8,
            2 => drop(text.remove(at)),
            3 => text.insert(at, random.below(256) as u8),
            4 => {
                let piece = text[at..].to_vec();
                text.extend_from_slice(&piece);
            }
            5 => {
                // A value of another sort.
                let string = String::from_utf8_lossy(&text).into_owned();
                let colons: Vec<usize> = string.match_indices(':').map(|(at, _)| at + 1).collect();
                if let Some(colon) = colons.get(random.below(colons.len().max(1) as u64) as usize) {
                    let end = string[*colon..].find([',', '}']).map_or(string.len(), |end| colon + end);
                    let odd = ODD[random.below(ODD.len() as u64) as usize];
                    text = format!("{}{odd}{}", &string[..*colon], &string[end..]).into_bytes();
                }
            }
            6 => {
                let deep = usize::try_from(random.below(5000)).unwrap();
                text.splice(at..at, vec![b'['; deep]);
            }
            _ => {
                // A letter of a key or of a type.
                let keys = ["task_id", "type", "source", "foundry", "convert", "crystallize", "destination"];
                let key = keys[random.below(keys.len() as u64) as usize];
                let string = String::from_utf8_lossy(&text).into_owned();
                let wrong = format!("{}{}", &key[1..], &key[..1]);
                text = string.replacen(key, &wrong, 1).into_bytes();
            }
        }
        if text.is_empty() {
            break;
        }
    }
    text
}

#[test]
fn a_thousand_malformed_files_are_a_thousand_clear_errors() {
    let mut random = Random::new(6);
    let mut files: HashSet<Vec<u8>> = HashSet::new();
    let mut tried = 0;
    // Some mutants are tasks still; these are looked for by what they would be read as.
    while files.len() < COUNT {
        tried += 1;
        assert!(tried < 20 * COUNT, "the mutator makes nothing that is malformed");
        let text = mutate(&mut random);
        if sfd::tasks::job::parse_json(&text).is_err() {
            files.insert(text);
        }
    }
    let repo = Repo::new();
    let mut files: Vec<Vec<u8>> = files.into_iter().collect();
    files.sort();
    for (n, text) in files.iter().enumerate() {
        std::fs::write(repo.path(&format!("{TASKS}/m{n:04}.task.json")), text).unwrap();
    }
    repo.task("m0500-good", r#"{"task_id":"g","type":"convert_binary","source":"src/a.conf"}"#);
    let (code, lines, err) = repo.run(&[]);
    assert_eq!(code, Some(1), "{err}");
    assert_eq!(ended(&lines, "m0500-good", "done"), 1);
    for (n, text) in files.iter().enumerate() {
        let name = format!("m{n:04}");
        assert_eq!(ended(&lines, &name, "failed"), 1, "{name}");
        let file = format!("{TASKS}/{name}.task.json");
        assert_eq!(std::fs::read(repo.path(&file)).unwrap(), *text, "{name}: it was changed");
        let error = repo.read(&format!("{file}.error.txt"));
        // It names the file and says something, on one line that a terminal survives.
        let said =
            error.strip_prefix(&format!("{file}: ")).unwrap_or_else(|| panic!("{name}: {error}")).trim_end();
        assert!(said.len() > 10 && said.len() < 1000, "{name}: {said}");
        assert!(!said.contains("panicked") && !said.chars().any(char::is_control), "{name}: {said:?}");
    }
    assert!(!err.contains("panicked"), "{err}");
    // Nothing but the good one has made anything.
    let made = std::fs::read_dir(repo.path("bricks")).unwrap().count();
    assert_eq!(made, 3);
}
