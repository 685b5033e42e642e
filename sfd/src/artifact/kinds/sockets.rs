//! Tables of sockets of the kernel: `/proc/net/{tcp,tcp6,udp,udp6,unix}`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{ArtifactInput, Body, Draft, Facts, Nature, text};

/// States of include/net/tcp_states.h; a UDP socket that is not connected is `CLOSE`.
const ESTABLISHED: &str = "01";
const CLOSE: &str = "07";
const LISTEN: &str = "0A";

pub(super) fn matches(input: &ArtifactInput<'_>) -> bool {
    const NAMES: [&str; 5] = ["net/tcp", "net/tcp6", "net/udp", "net/udp6", "net/unix"];
    matches!(input.nature, Nature::Projection { name, .. } if NAMES.contains(name)) && !input.unread
}

struct Socket {
    local: String,
    remote: String,
    state: String,
    uid: String,
}

impl Socket {
    /// Whether others can reach it without being asked for.
    fn listens(&self) -> bool {
        self.state == LISTEN || (self.state == CLOSE && self.remote.ends_with(":0"))
    }

    fn is_local(&self) -> bool {
        self.local.starts_with("127.")
            || self.local.starts_with("[::1]")
            || self.local.starts_with("[::ffff:127.")
    }
}

/// Lines of the projection: `local remote state uid inode`.
fn sockets(body: &str) -> impl Iterator<Item = Socket> {
    body.lines().skip(1).filter_map(|line| {
        let mut words = line.split_whitespace();
        let (local, remote) = (address(words.next()?)?, address(words.next()?)?);
        let (state, uid) = (words.next()?.to_owned(), words.next()?.to_owned());
        Some(Socket { local, remote, state, uid })
    })
}

/// `0100007F:0016` is 127.0.0.1:22: words of 32 bits in the order of this host, written as numbers.
pub(crate) fn address(hex: &str) -> Option<String> {
    let (host, port) = hex.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words: Vec<u32> = host
        .as_bytes()
        .chunks_exact(8)
        .map(|word| u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok())
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let ip = match (host.len(), <[u8; 4]>::try_from(&bytes[..]), <[u8; 16]>::try_from(&bytes[..])) {
        (8, Ok(v4), _) => IpAddr::V4(Ipv4Addr::from(v4)),
        (32, _, Ok(v6)) => IpAddr::V6(Ipv6Addr::from(v6)),
        _ => return None,
    };
    Some(match ip {
        IpAddr::V4(ip) => format!("{ip}:{port}"),
        IpAddr::V6(ip) => format!("[{ip}]:{port}"),
    })
}

/// Paths of `net/unix`: the last of `protocol flags type state inode path`.
fn unix_paths(body: &str) -> impl Iterator<Item = &str> {
    body.lines().skip(1).filter_map(|line| line.split_whitespace().find(|w| w.starts_with(['/', '@'])))
}

fn is_unix(body: &str) -> bool {
    !body.starts_with("local remote")
}

pub(super) fn describe(input: &ArtifactInput<'_>) -> Draft {
    let Nature::Projection { name, .. } = input.nature else { return Draft::default() };
    let body = input.text().unwrap_or_default();
    let what = super::projection::meaning(name);
    let draft = if is_unix(body) {
        let n = text::count(body.lines().skip(1).count(), input.whole, "socket");
        let mut paths: Vec<&str> = unix_paths(body).take(1000).collect();
        paths.sort_unstable();
        paths.dedup();
        Draft::new(format!("{what}: {n}"), format!("{what}: {n}; named {}.", text::list(paths, 4)))
    } else {
        let listening: Vec<Socket> = sockets(body).filter(Socket::listens).take(1000).collect();
        let outside = text::list(listening.iter().filter(|s| !s.is_local()).map(|s| &s.local), 4);
        let outside = if outside.is_empty() { "for this host only".to_owned() } else { outside };
        let n = sockets(body).count();
        let counted = text::count(n, input.whole, "socket");
        Draft::new(
            format!("{what}: {} listening", listening.len()),
            format!("{what}: {counted}, {} listening: {outside}.", listening.len()),
        )
    };
    draft.tag("proc").tag("network").tag("sockets")
}

pub(super) fn facts(body: &Body<'_>) -> Facts {
    let mut facts = Facts::default();
    if is_unix(body.text) {
        facts.say("sockets", text::count(body.text.lines().skip(1).count(), body.whole, "socket"));
        facts.list("named", unix_paths(body.text));
        return facts;
    }
    facts.say("sockets", text::count(sockets(body.text).count(), body.whole, "socket"));
    for socket in sockets(body.text).filter(Socket::listens).take(16) {
        facts.say("listens on", format!("{} (user {})", socket.local, socket.uid));
    }
    let connected = sockets(body.text).filter(|s| s.state == ESTABLISHED);
    facts.list("connected", connected.map(|s| format!("{} to {}", s.local, s.remote)));
    facts
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    #[cfg(target_endian = "little")]
    fn addresses() {
        for (hex, want) in [
            ("0100007F:0016", Some("127.0.0.1:22")),
            ("00000000000000000000000001000000:1F90", Some("[::1]:8080")),
            ("0000000000000000FFFF00000100007F:0050", Some("[::ffff:127.0.0.1]:80")),
            ("0100007F", None),
            ("0100007F:", None),
            ("0100:0016", None),
            ("zz00007F:0016", None),
            ("010000\u{e9}F:0016", None),
        ] {
            assert_eq!(address(hex).as_deref(), want, "{hex}");
        }
    }
}
