//! Projections of `/proc`, as `view::project` makes them, and kernel settings.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use super::items::{Item, Parsed, Style, compare as compare_items};
use super::text::changed_lines;
use super::{Kind, Lines, file_name, shown, shown_pair};

/// State of a TCP socket that listens (`TCP_LISTEN`, include/net/tcp_states.h).
const TCP_LISTEN: &str = "0A";
/// State of a UDP socket that is connected to nobody (`TCP_CLOSE`).
const UDP_UNCONNECTED: &str = "07";
/// Flag of a Unix socket that listens (`__SO_ACCEPTCON`, include/uapi/linux/net.h).
const UNIX_ACCEPTS: &str = "00010000";
/// Lowest port that the kernel gives to sockets which ask for none (default of `net.ipv4.ip_local_port_range`). A UDP
/// socket on a port from there on is that of a client, which tells nobody anything.
const EPHEMERAL_PORTS: u16 = 32_768;

const KERNEL: Style = Style { secrets: false, comments: &[], ..Style::COLON };

/// Tells what a change means; nothing of tables that count.
pub(super) fn compare(kind: Kind, path: &Path, before: &[u8], after: &[u8], lines: &mut Lines) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace('\0', " ");
    let (before, after) = (text(before), text(after));
    if kind == Kind::Sysctl {
        let name = path.to_string_lossy();
        let name = name.split_once("/sys/").map_or(&*name, |(_, below)| below).replace('/', ".");
        return single(&name, &before, &after, lines);
    }
    let dir = path.parent().map(file_name).unwrap_or_default();
    let (style, parse): (Style, fn(&str) -> Parsed<'_>) = match (dir, file_name(path)) {
        (b"net", b"tcp" | b"tcp6") => (SOCKETS, |text| sockets(text, "tcp")),
        (b"net", b"udp" | b"udp6") => (SOCKETS, |text| sockets(text, "udp")),
        (b"net", b"unix") => (SOCKETS, unix),
        (b"net", b"route") => (KERNEL, routes),
        (_, b"modules") => (Style { added: "loaded", removed: "unloaded", ..KERNEL }, modules),
        (_, b"mounts") => (MOUNTS, mounts),
        (_, b"mountinfo") => (MOUNTS, mountinfo),
        (_, b"swaps") => (KERNEL, swaps),
        (_, b"status" | b"cpuinfo" | b"version") => (KERNEL, status),
        (_, b"filesystems" | b"devices" | b"cgroup" | b"limits" | b"ns") => {
            return tell_lines(&before, &after, lines);
        }
        (_, b"comm") => return single("name", &before, &after, lines),
        (_, b"exe") => return single("executable", &before, &after, lines),
        (_, b"cmdline") => return single("command line", &before, &after, lines),
        _ => return,
    };
    compare_items(&style, &parse(&before), &parse(&after), lines);
}

fn single(name: &str, before: &str, after: &str, lines: &mut Lines) {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (before, after) = shown_pair(name, &words(before), &words(after));
    if before != after {
        lines.push(format!("{name}: {before} -> {after}"));
    }
}

fn tell_lines(before: &str, after: &str, lines: &mut Lines) {
    let all = |text| -> Vec<&str> { str::lines(text).collect() };
    if let Some(changed) = changed_lines(&all(before), &all(after)) {
        lines.push(changed.tell("line"));
    }
}

/// `name size deps, state taint`.
fn modules(text: &str) -> Parsed<'_> {
    let items = text.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let taint = words.iter().rfind(|word| word.starts_with('(')).copied().unwrap_or_default();
        Some(Item::new(format!("kernel module {}", words.first()?)).text("taint", taint))
    });
    Parsed { items: items.collect(), ..Parsed::default() }
}

const MOUNTS: Style = Style { added: "mounted", removed: "unmounted", ..KERNEL };

/// `device place type options 0 0`.
fn mounts(text: &str) -> Parsed<'_> {
    let items = text.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (device, place, sort, options) = (words.next()?, words.next()?, words.next()?, words.next()?);
        Some(mount(device, place, sort, options))
    });
    Parsed { items: items.collect(), ..Parsed::default() }
}

/// `id parent major:minor root place options [optional...] - type device super-options` (proc_pid_mountinfo(5)).
fn mountinfo(text: &str) -> Parsed<'_> {
    let items = text.lines().filter_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        let (mut front, mut back) = (front.split(' ').skip(4), back.split(' '));
        let (place, options) = (front.next()?, front.next()?);
        let (sort, device) = (back.next()?, back.next()?);
        Some(mount(device, place, sort, options))
    });
    Parsed { items: items.collect(), ..Parsed::default() }
}

fn mount(device: &str, place: &str, sort: &str, options: &str) -> Item {
    let place = unescaped(place);
    let name = format!("{} on {place}", unescaped(device));
    Item::new(name).text("type", sort).set("options", options.split(','))
}

/// The kernel writes white space and backslashes in names as octal numbers (`mangle_path` in fs/seq_file.c).
fn unescaped(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", " ").replace("\\012", " ").replace("\\134", "\\")
}

/// `name type size used priority`; how much is used says nothing.
fn swaps(text: &str) -> Parsed<'_> {
    let items = text.lines().skip(1).filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        Some(
            Item::new(format!("swap {}", words.first()?))
                .text("KiB", words.get(2).copied().unwrap_or_default()),
        )
    });
    Parsed { items: items.collect(), ..Parsed::default() }
}

/// `Name:\tvalue`.
fn status(text: &str) -> Parsed<'_> {
    let items = text.lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some(Item::setting(name.trim(), value.split_whitespace().collect::<Vec<_>>().join(" ")))
    });
    Parsed { items: items.collect(), ..Parsed::default() }
}

const SOCKETS: Style = Style { added: "appeared", removed: "gone", ..KERNEL };

/// The sockets that wait for others, of `local remote state uid inode`. Connections come and go all the time.
fn sockets<'a>(text: &'a str, protocol: &'static str) -> Parsed<'a> {
    let items = text.lines().filter_map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let [local, remote, state, uid, _] = words[..] else { return None };
        let listens = match protocol {
            "tcp" => state == TCP_LISTEN,
            _ => state == UDP_UNCONNECTED && remote.ends_with(":0000"),
        };
        let (address, port) = listens.then(|| address(local)).flatten()?;
        if protocol == "udp" && port >= EPHEMERAL_PORTS {
            return None;
        }
        Some(Item::new(format!("listening on {address}/{protocol}")).text("uid", uid))
    });
    Parsed { items: items.collect(), ..Parsed::default() }
}

/// `Protocol Flags Type St Inode Path`, of the sockets that listen and have a name.
fn unix(text: &str) -> Parsed<'_> {
    let items = text.lines().skip(1).filter_map(|line| {
        let words: Vec<&str> = line.splitn(6, ' ').collect();
        let [_, UNIX_ACCEPTS, _, _, _, path] = words[..] else { return None };
        Some(Item::new(format!("listening on {path}")))
    });
    Parsed { items: items.collect(), ..Parsed::default() }
}

/// An address as the kernel prints it (`%08X:%04X`, words in the order of the host): as people write it, and its port.
fn address(text: &str) -> Option<(String, u16)> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    if !address.is_ascii() || !matches!(address.len(), 8 | 32) {
        return None;
    }
    let mut bytes = Vec::with_capacity(16);
    for at in (0..address.len()).step_by(8) {
        let word = u32::from_str_radix(&address[at..at + 8], 16).ok()?;
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    let shown = match <[u8; 16]>::try_from(bytes.as_slice()) {
        Ok(bytes) => {
            let six = Ipv6Addr::from(bytes);
            six.to_ipv4_mapped().map_or_else(|| format!("[{six}]:{port}"), |four| format!("{four}:{port}"))
        }
        Err(_) => format!("{}:{port}", Ipv4Addr::from(<[u8; 4]>::try_from(bytes.as_slice()).ok()?)),
    };
    Some((shown, port))
}

/// `Iface Destination Gateway Flags RefCnt Use Metric Mask ...`, numbers in the order of the host.
fn routes(text: &str) -> Parsed<'_> {
    let number =
        |word: &str| u32::from_str_radix(word, 16).ok().map(|word| Ipv4Addr::from(word.to_ne_bytes()));
    let items = text.lines().skip(1).filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (to, by) = (number(words.get(1)?)?, number(words.get(2)?)?);
        let bits = number(words.get(7)?)?.to_bits().count_ones();
        let name = if bits == 0 { "default route".to_owned() } else { format!("route to {to}/{bits}") };
        let by = if by.is_unspecified() { "direct".to_owned() } else { by.to_string() };
        Some(Item::new(name).text("through", shown("", words.first()?)).text("gateway", by))
    });
    Parsed { items: items.collect(), ..Parsed::default() }
}
