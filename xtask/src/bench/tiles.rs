//! P8: a tile of the map right after a change, beside a file that nginx serves.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::engine::{brick_of, pixel_of};
use super::observer::{Observer, Place};
use super::{Bench, Tmpfs, stats};

/// Files beside the one that changes: enough for several levels of tiles.
const FILES: u32 = 2000;
/// Changes in a round.
const CHANGES: u32 = 100;
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a brick's header.
const HEADER: u64 = 132;

/// One connection that is kept open, as a browser's.
struct Client {
    stream: BufReader<TcpStream>,
    head: String,
}

struct Answer {
    status: u16,
    tag: String,
    body: Vec<u8>,
    ms: f64,
}

impl Client {
    fn new(port: u16, head: String) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream), head })
    }

    fn get(&mut self, path: &str, tag: Option<&str>) -> Result<Answer> {
        let has = tag.map(|tag| format!("If-None-Match: {tag}\r\n")).unwrap_or_default();
        let request = format!("GET {path} HTTP/1.1\r\n{}{has}\r\n", self.head);
        let started = Instant::now();
        self.stream.get_mut().write_all(request.as_bytes())?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let status = line.split(' ').nth(1).context("no status")?.parse()?;
        let (mut len, mut tag) = (0, String::new());
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => len = value.parse()?,
                "etag" => value.clone_into(&mut tag),
                _ => {}
            }
        }
        let mut body = vec![0; len];
        self.stream.read_exact(&mut body)?;
        Ok(Answer { status, tag, body, ms: started.elapsed().as_secs_f64() * 1e3 })
    }
}

/// nginx with one file, ended when dropped.
struct Nginx(Child);

impl Nginx {
    /// `None`: it is not installed.
    fn start(dir: &Path, port: u16) -> Result<Option<Self>> {
        let conf = format!(
            "user root; daemon off; pid {0}/nginx.pid; error_log {0}/nginx.log; events {{}} http {{ access_log off; \
             server {{ listen 127.0.0.1:{port}; root {0}/www; }} }}",
            dir.display()
        );
        let file = dir.join("nginx.conf");
        std::fs::write(&file, conf)?;
        let mut command = Command::new("nginx");
        command.arg("-c").arg(&file).arg("-p").arg(dir).stdout(Stdio::null()).stderr(Stdio::null());
        match command.spawn() {
            Ok(child) => Ok(Some(Self(child))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context("nginx"),
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master ends its workers when it is asked to, and not when it is killed.
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.0),
            rustix::process::Signal::TERM,
        );
        let _ = self.0.wait();
    }
}

pub(super) fn run(bench: &Bench) -> Result<String> {
    let watched = Tmpfs::mount(bench.scratch.join("watched"))?;
    for n in 0..FILES {
        let text = format!("line {n} of a file\n").repeat(20 * (n as usize % 40 + 1));
        std::fs::write(watched.0.join(format!("file-{n}")), text)?;
    }
    let file = watched.0.join("changing");
    std::fs::write(&file, [b'0'; 4096])?;
    let place = Place { sfd: &bench.sfd, watched: &watched.0, scratch: &bench.scratch, keep_output: false };
    let running = Observer::SFD.start(&place)?;
    let brick = brick_of(bench)?;
    let at = pixel_of(bench, &brick, "/changing")?;
    let mut header = [0; HEADER as usize];
    File::open(&brick)?.read_exact_at(&mut header, 0)?;
    let order = u32::from_le_bytes([header[16], header[17], header[18], header[19]]);
    let pixel = (at - HEADER) / 4;
    let (x, y, z) = (pixel & ((1 << order) - 1), pixel >> order, order.saturating_sub(8));
    let url = std::fs::read_to_string(bench.scratch.join("state/map-url"))?;
    let (address, token) = url.trim().split_once("/?token=").context("an address")?;
    let port = address.rsplit_once(':').context("a port")?.1.parse()?;
    let head = format!("Host: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n");
    let mut client = Client::new(port, head)?;
    let name = brick.file_stem().and_then(|name| name.to_str()).context("a name")?;
    let tile = |z: u32, x: u64, y: u64| format!("/api/bricks/{name}/tile/{z}/{x}/{y}.png?mode=kind");
    let (deep, coarse) = (tile(z, x / 256, y / 256), tile(0, 0, 0));
    let mut times: [Vec<f64>; 4] = Default::default();
    let mut tags = [client.get(&deep, None)?.tag, client.get(&coarse, None)?.tag];
    let mut sample = Vec::new();
    for change in 0..CHANGES * bench.rounds {
        // Not in step with whatever the daemon does in intervals.
        std::thread::sleep(Duration::from_millis(120 + u64::from(change * 7 % 41)));
        let byte = b'1' + (change % 64) as u8;
        let started = Instant::now();
        File::options().write(true).open(&file)?.write_all_at(&[byte], 0)?;
        for (n, path) in [&deep, &coarse].into_iter().enumerate() {
            // As after the event: what is measured is the first answer that shows the change.
            let answer = loop {
                ensure!(started.elapsed() < PATIENCE, "the tile did not change");
                let answer = client.get(path, None)?;
                ensure!(answer.status == 200, "{path}: {}", answer.status);
                if answer.tag != tags[n] {
                    break answer;
                }
                std::thread::sleep(Duration::from_micros(200));
            };
            times[n].push(answer.ms);
            answer.tag.clone_into(&mut tags[n]);
            sample = answer.body;
        }
        times[2].push(client.get(&deep, None)?.ms);
        let same = client.get(&deep, Some(&tags[0]))?;
        ensure!(same.status == 304, "the tile was sent again: {}", same.status);
        times[3].push(same.ms);
    }
    running.stop()?;
    let mut table = format!(
        "\n{FILES} files, order {order}, one connection, one client.\n\n| a tile of 256x256 pixels | p50, ms | p99, ms |\n|---|--:|--:|\n"
    );
    let rows = [
        "after a change, deepest level",
        "after a change, whole brick",
        "again, from the cache",
        "again, and the client has it (304)",
    ];
    for (name, times) in rows.iter().zip(&mut times) {
        row(&mut table, name, times)?;
    }
    match nginx(bench, &sample)? {
        Some(mut times) => row(&mut table, "the same PNG from nginx", &mut times)?,
        None => table.push_str("| the same PNG from nginx | not installed here | |\n"),
    }
    Ok(table)
}

fn row(table: &mut String, name: &str, times: &mut [f64]) -> Result<()> {
    times.sort_unstable_by(f64::total_cmp);
    let p99 = times.get(times.len() * 99 / 100).or(times.last()).copied().unwrap_or(f64::NAN);
    writeln!(table, "| {name} | {:.2} | {p99:.2} |", stats::median(times))?;
    Ok(())
}

/// The same bytes as a file.
fn nginx(bench: &Bench, png: &[u8]) -> Result<Option<Vec<f64>>> {
    let dir = bench.scratch.join("nginx");
    std::fs::create_dir_all(dir.join("www"))?;
    std::fs::write(dir.join("www/tile.png"), png)?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let Some(_nginx) = Nginx::start(&dir, port)? else { return Ok(None) };
    let started = Instant::now();
    let mut client = loop {
        match Client::new(port, format!("Host: 127.0.0.1:{port}\r\n")) {
            Ok(client) => break client,
            Err(error) if started.elapsed() > PATIENCE => return Err(error.context("nginx")),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    let mut times = Vec::new();
    for _ in 0..CHANGES * bench.rounds {
        std::thread::sleep(Duration::from_millis(5));
        let answer = client.get("/tile.png", None)?;
        ensure!(answer.status == 200 && answer.body == png, "nginx: {}", answer.status);
        times.push(answer.ms);
    }
    Ok(Some(times))
}
