//! What is refused, and how: one row a request.

use crate::client::Client;
use crate::{Map, SECRET, Tree};

/// A request: what is wrong with it, the method, the path, the headers, the answer's status.
struct Row<'a> {
    what: &'a str,
    method: &'a str,
    path: String,
    headers: Vec<(&'a str, String)>,
    body: usize,
    status: u16,
}

fn rows<'a>(map: &Map) -> Vec<Row<'a>> {
    let client = &map.client;
    let host = || ("Host", client.host());
    let token = || ("Authorization", format!("Bearer {}", client.token));
    let (port, brick, root) = (client.port, &map.brick, map.root.display());
    let with =
        |what, path: String, headers, status| Row { what, method: "GET", path, headers, body: 0, status };
    let api = |what, headers, status| with(what, "/api/bricks".into(), headers, status);
    let of = |what, path: String, status| {
        with(what, format!("/api/bricks/{brick}/{path}"), vec![host(), token()], status)
    };
    let plain = |what, path: &str, status| with(what, path.to_owned(), vec![host(), token()], status);
    let method = |method, path: &str, status| Row {
        what: "a method that would change something",
        method,
        path: path.to_owned(),
        headers: vec![host(), token()],
        body: 0,
        status,
    };
    let wrong = "0".repeat(64);
    let cookie = |name: String, value: &str| ("Cookie", format!("{name}={value}"));
    vec![
        // Who asks.
        api("no token", vec![host()], 401),
        api("a wrong token", vec![host(), ("Authorization", format!("Bearer {wrong}"))], 401),
        api("half a token", vec![host(), ("Authorization", format!("Bearer {}", &client.token[..32]))], 401),
        api("an empty token", vec![host(), ("Authorization", "Bearer ".into())], 401),
        api("another scheme", vec![host(), ("Authorization", format!("Basic {}", client.token))], 401),
        api("a wrong cookie", vec![host(), cookie(format!("sfd_token_{port}"), &wrong)], 401),
        api("the cookie of another port", vec![host(), cookie("sfd_token_1".into(), &client.token)], 401),
        with("a page without a token", "/".into(), vec![host()], 401),
        with("a file without a token", "/index.html".into(), vec![host()], 401),
        with("a wrong token in the address", format!("/?token={wrong}"), vec![host()], 401),
        with(
            "a token in an address of the API",
            format!("/api/bricks?token={}", client.token),
            vec![host()],
            401,
        ),
        // Whom he asks.
        api("another host", vec![("Host", format!("evil.example:{port}")), token()], 421),
        api("this host without its port", vec![("Host", "127.0.0.1".into()), token()], 421),
        api("this host with another port", vec![("Host", "127.0.0.1:1".into()), token()], 421),
        api(
            "a name that begins like this host",
            vec![("Host", format!("127.0.0.1.evil.example:{port}")), token()],
            421,
        ),
        api("no host", vec![token()], 400),
        api("two hosts", vec![host(), ("Host", "evil.example".into()), token()], 400),
        with(
            "another host in the first line",
            "http://evil.example/api/bricks".into(),
            vec![host(), token()],
            421,
        ),
        // From where.
        api("another origin", vec![host(), token(), ("Origin", "http://evil.example".into())], 403),
        api("no origin in particular", vec![host(), token(), ("Origin", "null".into())], 403),
        api(
            "another scheme's origin",
            vec![host(), token(), ("Origin", format!("https://127.0.0.1:{port}"))],
            403,
        ),
        api("another port's origin", vec![host(), token(), ("Origin", "http://127.0.0.1:1".into())], 403),
        api("another site", vec![host(), token(), ("Sec-Fetch-Site", "cross-site".into())], 403),
        // How much.
        plain("a long address", &format!("/api/search?q={}", "x".repeat(9000)), 414),
        api("long headers", vec![host(), token(), ("X-Long", "x".repeat(20_000))], 431),
        api("many headers", (0..300).map(|_| ("X-Many", "x".into())).chain([host(), token()]).collect(), 431),
        Row {
            what: "a body",
            method: "POST",
            path: "/api/bricks".into(),
            headers: vec![host(), token(), ("Content-Length", "1000000".into())],
            body: 2000,
            status: 413,
        },
        Row {
            what: "a body of a GET",
            method: "GET",
            path: "/api/bricks".into(),
            headers: vec![host(), token(), ("Content-Length", "1000000".into())],
            body: 2000,
            status: 413,
        },
        // To do what.
        method("POST", "/api/bricks", 405),
        method("PUT", "/api/history", 405),
        method("DELETE", &format!("/api/bricks/{brick}/artifact?path={root}/app.conf"), 405),
        method("PATCH", "/api/palette", 405),
        method("OPTIONS", "/api/bricks", 405),
        method("POST", "/index.html", 405),
        // Numbers.
        of("a coordinate that is no number", "at?x=one&y=2".into(), 400),
        of("a negative coordinate", "at?x=-1&y=2".into(), 400),
        of("a coordinate that is missing", "at?x=1".into(), 400),
        of("a coordinate beyond all numbers", "at?x=99999999999999999999&y=0".into(), 400),
        of("a coordinate outside", "at?x=4000000000&y=0".into(), 404),
        of("a view without a size", "labels?x=0&y=0&min=1".into(), 400),
        of("a level of nodes that there is not", "nodes?z=200".into(), 404),
        of("a level of nodes that is no number", "nodes?z=deep".into(), 400),
        of("a length that is no number", format!("content?path={root}/app.conf&len=all"), 400),
        // Tiles.
        of("a tile that is too deep", "tile/12/0/0.png".into(), 404),
        of("a tile that is far too deep", "tile/99999/0/0.png".into(), 404),
        of("a tile outside", "tile/0/1/0.png".into(), 404),
        of("a tile of a wrong form", "tile/0/0/0.jpg".into(), 400),
        of("a tile that is no number", "tile/0/0/zero.png".into(), 400),
        of("a tile with a sign", "tile/0/-0/+0.png".into(), 400),
        of("a mode that there is not", "tile/0/0/0.png?mode=smell".into(), 400),
        of("a theme that there is not", "tile/0/0/0.png?theme=pink".into(), 400),
        of("a time that is none", "tile/0/0/0.png?since_ns=yesterday".into(), 400),
        // Names.
        plain("a brick that there is not", "/api/bricks/no-such-brick/at?x=0&y=0", 404),
        plain("a brick above all bricks", "/api/bricks/..%2F..%2Fetc/at?x=0&y=0", 404),
        plain("history of a brick that there is not", "/api/history?brick=no-such-brick", 404),
        of("no path", "artifact".into(), 400),
        of("a path that is not absolute", "artifact?path=app.conf".into(), 400),
        of("a path with a zero", format!("artifact?path={root}/app%00.conf"), 400),
        of("a path that there is not", format!("artifact?path={root}/nothing"), 404),
        of("a path outside what is watched", "content?path=/etc/passwd".into(), 404),
        of("a path with dots", format!("content?path={root}/../../../etc/passwd"), 404),
        of("a path that is no base64", "artifact?path_bytes=%%%".into(), 400),
        of("a path in both forms", format!("artifact?path={root}/app.conf&path_bytes=Lw=="), 400),
        plain("no words", "/api/search", 400),
        // Contents.
        of("contents that are secret", format!("content?path={root}/secret/.netrc"), 403),
        of("contents of a directory", format!("content?path={root}/bin"), 404),
        // Files.
        plain("a file above the front end", "/../Cargo.toml", 404),
        plain("the same, encoded", "/%2e%2e/Cargo.toml", 404),
        plain("the same, encoded with its slash", "/..%2fCargo.toml", 404),
        plain("an absolute path", "//etc/passwd", 404),
        plain("something of the API that there is not", "/api/secrets", 404),
        plain("a picture of the Infinite Map, which is off", "/builder/queue/x.rts.png", 404),
        plain("another name there", "/builder/queue/..%2F..%2Fmap-url", 404),
    ]
}

#[test]
fn what_is_wrong_is_refused_and_says_why() {
    let map = Tree::filled().serve();
    let rows = rows(&map);
    assert!(rows.len() >= 30);
    let mut wrong = Vec::new();
    for row in &rows {
        let headers: Vec<(&str, &str)> =
            row.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = match map.client.send(row.method, &row.path, &headers, &vec![b'x'; row.body]) {
            Ok(answer) => answer,
            Err(error) => {
                wrong.push(format!("{} ({} {}): {error:#}", row.what, row.method, row.path));
                continue;
            }
        };
        let text = answer.text();
        if answer.status != row.status {
            wrong.push(format!("{}: {} instead of {}: {text}", row.what, answer.status, row.status));
        }
        if text.contains(SECRET) || text.contains(&map.client.token) || text.contains("root:x:0") {
            wrong.push(format!("{}: tells too much: {text}", row.what));
        }
        // What the HTTP library itself refuses has no body.
        let is_api = row.path.starts_with("/api/") && !text.is_empty();
        if is_api && answer.json()["error"].as_str().is_none_or(str::is_empty) {
            wrong.push(format!("{}: does not say why: {text}", row.what));
        }
        if !text.is_empty() && !is_guarded(&answer) {
            wrong.push(format!("{}: without its headers: {:?}", row.what, answer.headers));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    // And it is there for whoever asks well.
    assert_eq!(map.client.get("/api/bricks").status, 200);
    let refused = map.daemon.glance().unwrap()["map"]["refused"].clone();
    for status in ["400", "401", "403", "404", "405", "413", "414", "421", "431"] {
        assert!(refused[status].as_u64() > Some(0), "{status} is not counted: {refused}");
    }
}

fn is_guarded(answer: &crate::Answer) -> bool {
    answer.header("content-security-policy").is_some_and(|policy| policy.starts_with("default-src 'none'"))
        && answer.header("x-content-type-options") == Some("nosniff")
        && answer.header("referrer-policy") == Some("no-referrer")
        && answer.header("cross-origin-resource-policy") == Some("same-origin")
        && answer.header("cache-control") == Some("no-store")
}

#[test]
fn what_is_no_http_is_refused() {
    let map = Tree::new().serve();
    for bytes in
        [&b"\x16\x03\x01\x02\x00\x01\x00"[..], b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\0\0\0\0\r\n\r\n"]
    {
        if let Ok(answer) = map.client.exchange(bytes) {
            assert!((400..600).contains(&answer.status), "{bytes:?}: {}", answer.status);
        }
    }
    assert_eq!(map.client.get("/api/bricks").status, 200);
}

#[test]
fn the_token_of_the_address_becomes_a_cookie() {
    let map = Tree::new().serve();
    let Client { port, token } = &map.client;
    let host = map.client.host();
    let first = map.client.send("GET", &format!("/?token={token}"), &[("Host", &host)], b"").unwrap();
    assert_eq!((first.status, first.header("location")), (303, Some("/")));
    let cookie = first.header("set-cookie").unwrap();
    assert_eq!(cookie, format!("sfd_token_{port}={token}; HttpOnly; SameSite=Strict; Path=/"));
    let cookie = cookie.split(';').next().unwrap();
    // Sent here by a page of another origin, a browser keeps a strict cookie back from what it is redirected to.
    let headers = [("Host", host.as_str()), ("Sec-Fetch-Site", "cross-site")];
    let onward = map.client.send("GET", &format!("/?token={token}"), &headers, b"").unwrap();
    assert_eq!((onward.status, onward.header("location")), (200, None));
    assert!(onward.header("set-cookie").unwrap().starts_with(cookie));
    assert!(onward.text().contains("url=/") && !onward.text().contains(token.as_str()), "{}", onward.text());
    let page = map.client.send("GET", "/", &[("Host", &host), ("Cookie", cookie)], b"").unwrap();
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let names = format!("other=1; {cookie}; last=2");
    let origin = format!("http://{host}");
    let headers =
        [("Host", host.as_str()), ("Cookie", &names), ("Origin", &origin), ("Sec-Fetch-Site", "same-origin")];
    assert_eq!(map.client.send("GET", "/api/bricks", &headers, b"").unwrap().status, 200);
    let localhost = format!("localhost:{port}");
    let headers = [("Host", localhost.as_str()), ("Cookie", cookie)];
    assert_eq!(map.client.send("GET", "/api/bricks", &headers, b"").unwrap().status, 200);
}
