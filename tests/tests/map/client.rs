//! HTTP/1.1 by hand: what a well-behaved library would not send can be sent.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Where the map is, and the token.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) port: u16,
    pub(crate) token: String,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn tag(&self) -> String {
        self.header("etag").expect("an ETag").to_owned()
    }
}

impl Client {
    /// From `http://127.0.0.1:PORT/?token=TOKEN`.
    pub(crate) fn of_url(url: &str) -> Self {
        let (address, token) = url.split_once("/?token=").unwrap();
        let port = address.rsplit_once(':').unwrap().1.parse().unwrap();
        Self { port, token: token.to_owned() }
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the map listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }

    /// With the token and everything else as it should be.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[])
    }

    pub(crate) fn get_with(&self, path: &str, more: &[(&str, &str)]) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let host = self.host();
        let headers = [&[("Host", host.as_str()), ("Authorization", &bearer)], more].concat();
        self.send("GET", path, &headers, b"").unwrap_or_else(|error| panic!("GET {path}: {error:#}"))
    }

    /// Exactly these headers, and `Connection: close`.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer> {
        let mut request = format!("{method} {path} HTTP/1.1\r\n");
        for (name, value) in headers {
            write!(request, "{name}: {value}\r\n").unwrap();
        }
        request.push_str("Connection: close\r\n\r\n");
        let mut bytes = request.into_bytes();
        bytes.extend(body);
        self.exchange(&bytes)
    }

    /// Any bytes.
    pub(crate) fn exchange(&self, request: &[u8]) -> Result<Answer> {
        let mut stream = self.connect();
        // A server that has seen enough of a request answers and closes, and what was not read yet fails.
        let _ = stream.write_all(request);
        read_answer(&mut BufReader::new(stream))
    }

    /// The stream of events, from its first one on.
    pub(crate) fn events(&self) -> Events {
        let mut stream = self.connect();
        let request = format!(
            "GET /api/events HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n",
            self.host(),
            self.token
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let (status, _) = read_head(&mut reader).unwrap();
        assert_eq!(status, 200);
        let mut events = Events { chunks: Chunks { reader, left: 0, done: false } };
        let (name, _) = events.next().unwrap();
        assert_eq!(name, "hello");
        events
    }
}

/// The body of an answer whose length is not known.
struct Chunks {
    reader: BufReader<TcpStream>,
    left: usize,
    done: bool,
}

impl Chunks {
    fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        loop {
            if self.left == 0 {
                ensure!(!self.done, "the stream has ended");
                let mut size = String::new();
                self.reader.read_line(&mut size)?;
                self.left =
                    usize::from_str_radix(size.trim(), 16).with_context(|| format!("chunk {size:?}"))?;
                self.done = self.left == 0;
                continue;
            }
            let mut byte = [0];
            self.reader.read_exact(&mut byte)?;
            self.left -= 1;
            if self.left == 0 {
                let mut end = [0; 2];
                self.reader.read_exact(&mut end)?;
            }
            if byte == *b"\n" {
                return Ok(String::from_utf8(line)?);
            }
            line.extend(byte);
        }
    }
}

/// Server-sent events.
pub(crate) struct Events {
    chunks: Chunks,
}

impl Events {
    /// The next event: its name and its data.
    pub(crate) fn next(&mut self) -> Result<(String, Value)> {
        let (mut name, mut data) = (String::new(), String::new());
        loop {
            let line = self.chunks.line()?;
            match line.split_once(": ") {
                Some(("event", value)) => value.clone_into(&mut name),
                Some(("data", value)) => data.push_str(value),
                _ if line.is_empty() && !name.is_empty() => return Ok((name, serde_json::from_str(&data)?)),
                _ => {}
            }
        }
    }

    /// How long `next` waits.
    pub(crate) fn patience(&mut self, time: Duration) {
        self.chunks.reader.get_ref().set_read_timeout(Some(time)).unwrap();
    }

    /// The next event that is wanted.
    pub(crate) fn wait(&mut self, wanted: impl Fn(&str, &Value) -> bool) -> Value {
        loop {
            let (name, data) = self.next().expect("the event that is waited for");
            if wanted(&name, &data) {
                return data;
            }
        }
    }
}

fn read_head(reader: &mut impl BufRead) -> Result<(u16, Vec<(String, String)>)> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).with_context(|| format!("first line {line:?}"))?.parse()?;
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { return Ok((status, headers)) };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
}

fn read_answer(reader: &mut impl BufRead) -> Result<Answer> {
    let (status, headers) = read_head(reader)?;
    let mut answer = Answer { status, headers, body: Vec::new() };
    if answer.header("transfer-encoding") == Some("chunked") {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size)?;
            let size = usize::from_str_radix(size.trim(), 16)?;
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk)?;
            if size == 0 {
                return Ok(answer);
            }
            answer.body.extend(&chunk[..size]);
        }
    }
    // The connection is closed after it; it may be cut when the request was not read to its end.
    match answer.header("content-length").map(str::parse::<usize>) {
        Some(len) => {
            answer.body = vec![0; len?];
            reader.read_exact(&mut answer.body)?;
        }
        None => {
            let _ = reader.read_to_end(&mut answer.body);
        }
    }
    Ok(answer)
}
