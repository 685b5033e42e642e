//! Who listens, from the socket tables of `/proc/net` as they are projected: `local remote state uid inode`.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Findings, LOW};

/// Most listening sockets that are told apart; of more, only the first.
const LISTENERS_MAX: usize = 1024;
/// The kernel gives ports from here on to sockets that ask for none (`net.ipv4.ip_local_port_range`): a UDP socket with
/// one waits for an answer, and serves nobody.
const EPHEMERAL_FROM: u16 = 32_768;

/// A socket that waits for others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Listener {
    pub(crate) port: u16,
    pub(crate) address: IpAddr,
    pub(crate) uid: u32,
}

impl Listener {
    /// Whether only this host can reach it.
    pub(crate) fn is_local(&self) -> bool {
        match self.address {
            IpAddr::V4(address) => address.is_loopback(),
            IpAddr::V6(address) => {
                address.is_loopback() || address.to_ipv4_mapped().is_some_and(|mapped| mapped.is_loopback())
            }
        }
    }

    /// `0.0.0.0:80`.
    pub(crate) fn shown(&self) -> String {
        match self.address {
            IpAddr::V4(address) => format!("{address}:{}", self.port),
            IpAddr::V6(address) => format!("[{address}]:{}", self.port),
        }
    }
}

/// The listeners of one table. `name` is that of the table, such as `net/tcp`.
pub(crate) fn listeners(name: &str, text: &str) -> BTreeSet<Listener> {
    let udp = name.starts_with("net/udp");
    // TCP_LISTEN, and TCP_CLOSE for UDP sockets that are not connected (include/net/tcp_states.h).
    let state = if udp { "07" } else { "0A" };
    let listening = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (local, remote, at, uid) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let (address, port) = local.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        let waits = at == state && remote.ends_with(":0000") && port != 0 && !(udp && port >= EPHEMERAL_FROM);
        waits
            .then(|| Some(Listener { port, address: self::address(address)?, uid: uid.parse().ok()? }))
            .flatten()
    });
    listening.take(LISTENERS_MAX).collect()
}

/// An address as the kernel prints it: 32-bit words in the byte order of the host, in network order each.
fn address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(hex.get(at * 8..at * 8 + 8)?, 16).ok()?.to_ne_bytes());
    match hex.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let mut octets = [0; 16];
            for (at, part) in octets.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(at)?);
            }
            Some(IpAddr::V6(Ipv6Addr::from(octets)))
        }
        _ => None,
    }
}

pub(super) fn judge(name: &str, text: &str, found: &mut Findings) {
    let listeners = listeners(name, text);
    let open: Vec<&Listener> =
        listeners.iter().filter(|listener| listener.address.is_unspecified()).collect();
    if open.is_empty() {
        return;
    }
    let ports: BTreeSet<u16> = open.iter().map(|listener| listener.port).collect();
    let shown: Vec<String> = ports.iter().take(12).map(u16::to_string).collect();
    let more = if ports.len() > shown.len() { ", ..." } else { "" };
    found.add(LOW, format!("listens on all addresses: port {}{more}", shown.join(", ")));
}
