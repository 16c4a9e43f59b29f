//! Pure rooms have no windows: no socket, file, clock, thread, lock, await or unsafe code in their shipped text.
//!
//! Why beside the manifests: the standard library needs no manifest.
//!
//! Invariants:
//! - A pure room takes time, randomness and bytes as arguments; the simulation stands on that.
//! - Addresses are values: rooms that carry the peer of a connection may name `std::net::SocketAddr`.

use crate::Finding;
use crate::paths::{self, Named};
use crate::source::Source;

const PURE: &[&str] = &[
    "src/stdx",
    "src/mqtt",
    "src/wire",
    "src/access",
    "src/broker",
    "src/device",
    "src/dialect",
    "src/shard",
];

const WINDOWS: &[&str] = &[
    "std::env",
    "std::fs",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
    "std::net",
    "std::os",
    "std::process",
    "std::sync::Barrier",
    "std::sync::Condvar",
    "std::sync::LazyLock",
    "std::sync::Mutex",
    "std::sync::Once",
    "std::sync::OnceLock",
    "std::sync::RwLock",
    "std::sync::atomic",
    "std::sync::mpsc",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::task",
    "std::future",
];

const WORDS: &[&str] = &[
    "Mutex",
    "RwLock",
    "Condvar",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "SystemTime",
    "async",
    "await",
    "unsafe",
    "thread_local",
    "println",
    "eprintln",
    "dbg",
];

/// Rooms that know where a connection came from, and the values with which they say it; and streams in memory, for
/// libraries that want to read and write one.
const ADDRESSES: &[(&str, &[&str])] = &[
    (
        "src/wire",
        &[
            "std::net::SocketAddr",
            "std::net::IpAddr",
            "std::io::Read",
            "std::io::Write",
            "std::io::ErrorKind",
            "std::io::Result",
        ],
    ),
    ("src/shard", &["std::net::SocketAddr", "std::net::IpAddr"]),
];

/// Windows that a pure room opens.
pub fn check(source: &Source) -> Vec<Finding> {
    let Some(room) = PURE.iter().find(|room| source.is_in(room)) else { return Vec::new() };
    let named = paths::of(source);
    let opened =
        named.iter().filter(|named| WINDOWS.iter().any(|window| named.is_under(window)) || is_whole(named));
    let refused = opened.filter(|named| !is_address(room, named));
    let mut findings: Vec<Finding> = refused
        .map(|named| Finding::new(&source.path, named.line, format!("{} in a pure room", named.path)))
        .collect();
    let words = source.shipped().filter(|token| WORDS.iter().any(|word| token.is(word)));
    findings.extend(
        words.map(|word| Finding::new(&source.path, word.line, format!("`{}` in a pure room", word.text))),
    );
    findings
}

/// `use std::time` would let `time::Instant` through.
fn is_whole(named: &Named) -> bool {
    ["std::time", "std::sync", "std::io", "std::time::*", "std::sync::*", "std::net::*", "std::*"]
        .contains(&named.path.as_str())
}

fn is_address(room: &str, named: &Named) -> bool {
    let allowed = ADDRESSES.iter().find(|(name, _)| *name == room).map_or(&[][..], |(_, values)| values);
    allowed.iter().any(|value| named.is_under(value))
}

#[cfg(test)]
fn texts(path: &str, text: &str) -> Vec<String> {
    check(&Source::parse(path, text).expect("lexes")).into_iter().map(|finding| finding.text).collect()
}

#[test]
fn every_kind_of_window_is_seen() {
    assert_eq!(texts("src/mqtt/a.rs", "use std::{fmt, fs::File};"), ["std::fs::File in a pure room"]);
    assert_eq!(
        texts("src/broker/a.rs", "fn f() { std::thread::sleep(t) }"),
        ["std::thread::sleep in a pure room"]
    );
    assert_eq!(texts("src/shard/a.rs", "use std::time;"), ["std::time in a pure room"]);
    assert_eq!(
        texts("src/shard/a.rs", "fn f() { std::time::Instant::now(); }"),
        ["std::time::Instant::now in a pure room"]
    );
    assert_eq!(
        texts("src/wire/a.rs", "async fn f() { g().await }"),
        ["`async` in a pure room", "`await` in a pure room"]
    );
    assert_eq!(texts("src/device/a.rs", "fn f() { unsafe { g() } }"), ["`unsafe` in a pure room"]);
    assert_eq!(texts("src/shard/a.rs", "use std::net::TcpStream;").len(), 2);
}

#[test]
fn what_is_pure_passes() {
    assert_eq!(texts("src/shard/a.rs", "use std::net::SocketAddr; use std::sync::Arc; // std::fs"), [""; 0]);
    assert_eq!(
        texts("src/broker/a.rs", "use std::net::SocketAddr;"),
        ["std::net::SocketAddr in a pure room"]
    );
    assert_eq!(texts("src/mqtt/a.rs", "#[cfg(test)] mod tests { use std::fs; }"), [""; 0]);
    assert_eq!(texts("src/server/a.rs", "use std::fs;"), [""; 0]);
    assert_eq!(texts("src/mqtt/a.rs", "const WHY: &str = \"Mutex std::fs\";"), [""; 0]);
}
