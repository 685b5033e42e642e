//! What an artifact is, where it is, and what is never told of it.

use serde_json::Value;
use sfd_tests::reader::RawBrick;

use crate::{Map, SECRET, Tree};

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, n| bits << 8 | u32::from(three.get(n).copied().unwrap_or(0)));
        for n in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * n) & 63) as usize] as char;
            text.push(if n <= three.len() { digit } else { '=' });
        }
    }
    text
}

#[test]
fn an_artifact_is_found_by_path_by_place_and_by_words() {
    let map = Tree::filled().serve();
    let path = map.path("app.conf");
    let artifact = map.json(&format!("artifact?path={path}"));
    assert_eq!(
        (&artifact["path"], &artifact["type"], &artifact["exact"]),
        (&path.as_str().into(), &"file".into(), &true.into())
    );
    assert_eq!(
        (&artifact["size"], &artifact["uid"], &artifact["user"]),
        (&34.into(), &0.into(), &"root".into())
    );
    assert_eq!(artifact["semantics"]["source"], "heuristic");
    assert!(artifact["content_hash"].as_str().is_some_and(|hash| hash.len() == 64));
    let [x, y, w, h] = map.rect_of("app.conf");
    for (x, y) in [(x, y), (x + w - 1, y + h - 1)] {
        let at = map.json(&format!("at?x={x}&y={y}"));
        assert_eq!((&at["path"], &at["title"]), (&artifact["path"], &artifact["title"]));
    }
    let hits = map.client.get("/api/search?q=app.conf").json();
    assert_eq!(
        (&hits["hits"][0]["path"], &hits["hits"][0]["brick"]),
        (&artifact["path"], &map.brick.as_str().into())
    );
    let content = map.json(&format!("content?path={path}"));
    assert_eq!(content["base64"], base64(b"# settings\nport = 80\nname = value\n".as_slice()).as_str());
    let part = map.json(&format!("content?path={path}&offset=2&len=8"));
    assert_eq!(part, serde_json::json!({ "len": 34, "offset": 2, "base64": base64(b"settings") }));
    let link = map.json(&format!("artifact?path={}", map.path("link")));
    assert_eq!((&link["type"], &link["target"]), (&"symlink".into(), &"app.conf".into()));
}

/// Whose a cell is, and that its kind is the pixel's: every 8x8 square of the brick, against the pixels.
#[test]
fn every_square_knows_whose_it_is() {
    let map = Tree::filled().serve();
    let brick = RawBrick::open(&map.brick_file()).unwrap();
    let inspected = sfd_tests::daemon::sfd(&["inspect", "--json"]).arg(map.brick_file()).output().unwrap();
    let inspected: Value = serde_json::from_slice(&inspected.stdout).unwrap();
    let mut checked = 0;
    for artifact in inspected["artifacts"].as_array().unwrap() {
        let (start, cells) = (artifact["start"].as_u64().unwrap(), artifact["cells"].as_u64().unwrap());
        for cell in [start, start + cells - 1] {
            let (x, y) = sfd_tests::reader::d2xy(brick.order, cell);
            let at = map.json(&format!("at?x={x}&y={y}"));
            assert_eq!(at["path"], artifact["path"], "cell {cell}");
            checked += 1;
        }
    }
    assert!(checked > 400, "{checked}");
    let (x, y) = sfd_tests::reader::d2xy(brick.order, brick.original_size);
    assert_eq!(map.json(&format!("at?x={x}&y={y}"))["path"], Value::Null, "a free cell is nobody's");
}

#[test]
fn labels_and_lists_show_what_there_is() {
    let map = Tree::filled().serve();
    let side = map.about()["side"].as_u64().unwrap();
    let all = map.json(&format!("labels?x=0&y=0&w={side}&h={side}&min=1"));
    let labels = all["labels"].as_array().unwrap();
    let artifacts = map.about()["artifacts"].as_u64().unwrap();
    assert_eq!((labels.len() as u64, &all["more"]), (artifacts, &false.into()));
    let cells: Vec<u64> = labels.iter().map(|label| label["cells"].as_u64().unwrap()).collect();
    assert!(cells.is_sorted_by(|a, b| a >= b), "largest first");
    assert_eq!((&labels[0]["path"], &labels[0]["type"]), (&map.root.to_str().unwrap().into(), &"dir".into()));
    let few = map.json(&format!("labels?x=0&y=0&w={side}&h={side}&min=1&limit=3"));
    assert_eq!((few["labels"].as_array().unwrap()[..] == labels[..3], &few["more"]), (true, &true.into()));
    let large = map.json(&format!("labels?x=0&y=0&w={side}&h={side}&min=64"));
    for label in large["labels"].as_array().unwrap() {
        assert!(label["w"].as_u64().min(label["h"].as_u64()) >= Some(64), "{label:#}");
    }
    let children = map.json(&format!("children?path={}", map.root.display()));
    let names: Vec<&str> = children["children"]
        .as_array()
        .unwrap()
        .iter()
        .map(|child| child["path"].as_str().unwrap().rsplit('/').next().unwrap())
        .collect();
    assert_eq!(
        names,
        ["bin", "many", "secret", "app.conf", "link", "notes.txt"],
        "directories first, then by name"
    );
    assert_eq!(children["total"], 6);
    let page = map.json(&format!("children?path={}&offset=2&limit=2", map.root.display()));
    assert_eq!(page["children"].as_array().unwrap()[..], children["children"].as_array().unwrap()[2..4]);
}

#[test]
fn what_is_secret_is_in_no_answer() {
    let tree = Tree::filled();
    let more = tree.write("app/settings.conf", format!("user = me\ntoken = {SECRET}\n"));
    let map = tree.serve_with(&["--redact", "**/app/settings.conf"]);
    // What was readable before and is secret now is in the history of contents, and must not be told either.
    std::fs::write(&more, format!("user = you\ntoken = {SECRET}-2\n")).unwrap();
    let mut answers = Vec::new();
    let mut ask = |path: String| {
        let answer = map.client.get(&path);
        answers.push((path, answer));
    };
    let side = map.about()["side"].as_u64().unwrap();
    for name in ["secret/.netrc", "app/settings.conf"] {
        let path = map.path(name);
        let [x, y, w, h] = map.rect_of(name);
        for what in [
            format!("artifact?path={path}"),
            format!("content?path={path}"),
            format!("content?path={path}&offset=5&len=20"),
            format!("at?x={x}&y={y}"),
            format!("labels?x={x}&y={y}&w={w}&h={h}&min=1"),
            format!("children?path={}", path.rsplit_once('/').unwrap().0),
        ] {
            ask(format!("/api/bricks/{}/{what}", map.brick));
        }
    }
    for word in ["secret", "password", SECRET, "correct", "netrc", "settings"] {
        ask(format!("/api/search?q={word}"));
    }
    ask(format!("/api/bricks/{}/labels?x=0&y=0&w={side}&h={side}&min=1", map.brick));
    for path in ["/api/history?limit=1000", "/api/bricks", "/api/status", "/api/palette", "/api/openapi.json"]
    {
        ask(path.to_owned());
    }
    let encoded: Vec<String> =
        (0..3).map(|skip| base64(&SECRET.as_bytes()[skip..])[..20].to_owned()).collect();
    for (path, answer) in &answers {
        let text = answer.text();
        // What somebody searched for is not told back either.
        assert!(!text.contains(SECRET), "{path}: {text}");
        assert!(!encoded.iter().any(|part| text.contains(part)), "{path}: {text}");
    }
    let refused = answers.iter().filter(|(path, answer)| path.contains("/content?") && answer.status == 403);
    assert_eq!(refused.count(), 4);
    let artifact = map.json(&format!("artifact?path={}", map.path("secret/.netrc")));
    assert_eq!((&artifact["redacted"], &artifact["facts"]), (&true.into(), &serde_json::json!([])));
}

#[test]
fn names_that_are_no_text_are_exact_in_base64() {
    use std::os::unix::ffi::OsStrExt;
    let tree = Tree::new();
    let name = std::ffi::OsStr::from_bytes(b"bad-\xff-name<img src=x onerror=alert(1)>");
    std::fs::write(tree.root.join(name), "contents").unwrap();
    let exact = base64(tree.root.join(name).as_os_str().as_bytes());
    let map: Map = tree.serve();
    let children = map.json(&format!("children?path={}", map.root.display()));
    let child = &children["children"][0];
    assert_eq!(child["path_bytes"], exact.as_str());
    let encoded = exact.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let content = map.json(&format!("content?path_bytes={encoded}"));
    assert_eq!(content["base64"], base64(b"contents").as_str());
    let answer = map.ask(&format!("artifact?path_bytes={encoded}"));
    assert_eq!(answer.header("content-type"), Some("application/json"), "never a page");
    assert_eq!(answer.json()["path_bytes"], exact.as_str());
}
