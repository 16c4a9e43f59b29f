//! Who may depend on whom: the import table of docs/ARCHITECTURE.md as data, against every manifest.
//!
//! Why a table of crates from outside too: a dependency is a decision, and a decision should be seen in a diff that is
//! about it. Adding a crate means one line in the manifest, one word here and one line in docs/DECISIONS.md.
//!
//! Invariants:
//! - Every member of the workspace stands in `ROOMS`, and every room in `ROOMS` that exists is a member.
//! - Crates in `GUARDED` may be named only by the rooms listed there, even for tests.

use std::collections::BTreeMap;

use toml::{Table, Value};

use crate::Finding;
use crate::tree::Tree;

/// One crate of the workspace and what its manifest may name.
struct Room {
    name: &'static str,
    folder: &'static str,
    rooms: &'static [&'static str],
    crates: Crates,
}

enum Crates {
    These(&'static [&'static str]),
    /// Tools and tests: anything that `GUARDED` does not refuse.
    Any,
}

use Crates::{Any, These};

const PURE: &[&str] = &["stdx", "mqtt", "wire", "access", "broker", "device", "dialect", "shard"];

/// For tests that drive the record logic of the store, or read what a disk may hold.
const PURE_AND_STORE: &[&str] =
    &["stdx", "mqtt", "wire", "access", "broker", "device", "dialect", "shard", "store"];

/// For the fuzzer, which throws files at whoever reads them.
const PURE_AND_WINDOWS: &[&str] =
    &["stdx", "mqtt", "wire", "access", "broker", "device", "dialect", "shard", "store", "server"];

/// In reading order; a room may name only rooms below it.
const ROOMS: &[Room] = &[
    Room { name: "stdx", folder: "src/stdx", rooms: &[], crates: These(&["xxhash-rust"]) },
    Room { name: "mqtt", folder: "src/mqtt", rooms: &["stdx"], crates: These(&["bytes", "simdutf8"]) },
    Room {
        name: "wire",
        folder: "src/wire",
        rooms: &["mqtt", "stdx"],
        crates: These(&["bytes", "ipnet", "ppp", "rustls", "thiserror", "tungstenite", "x509-parser"]),
    },
    Room {
        name: "access",
        folder: "src/access",
        rooms: &["mqtt", "stdx"],
        crates: These(&[
            "ahash",
            "argon2",
            "base64",
            "hashbrown",
            "hmac",
            "jsonwebtoken",
            "pbkdf2",
            "serde",
            "serde_json",
            "sha2",
            "subtle",
            "thiserror",
            "x509-parser",
        ]),
    },
    Room {
        name: "broker",
        folder: "src/broker",
        rooms: &["mqtt", "stdx"],
        crates: These(&["ahash", "bytes", "hashbrown", "slab"]),
    },
    Room {
        name: "device",
        folder: "src/device",
        rooms: &["mqtt", "stdx"],
        crates: These(&[
            "ahash",
            "base64",
            "bytes",
            "crc32fast",
            "hashbrown",
            "md-5",
            "murmur3",
            "regex",
            "serde",
            "serde_json",
            "sha2",
            "sha3",
            "slab",
            "subtle",
        ]),
    },
    Room {
        name: "dialect",
        folder: "src/dialect",
        rooms: &["device", "mqtt", "stdx"],
        crates: These(&["bytes", "prost", "prost-build", "prost-reflect", "protox", "serde", "serde_json"]),
    },
    Room {
        name: "shard",
        folder: "src/shard",
        rooms: &["wire", "broker", "device", "mqtt", "stdx"],
        crates: These(&["ahash", "bytes", "hashbrown", "slab"]),
    },
    Room {
        name: "platform",
        folder: "src/platform",
        rooms: &["device"],
        crates: These(&["ahash", "flume", "hashbrown", "thiserror"]),
    },
    Room {
        name: "store",
        folder: "src/store",
        rooms: &["broker", "device", "mqtt", "stdx"],
        crates: These(&[
            "ahash",
            "bytes",
            "fjall",
            "flume",
            "rustix",
            "serde_json",
            "thiserror",
            "xxhash-rust",
        ]),
    },
    Room {
        name: "server",
        folder: "src/server",
        rooms: &["store", "shard", "platform", "wire", "access", "broker", "device", "mqtt", "stdx"],
        crates: These(&[
            "ahash",
            "arc-swap",
            "bytes",
            "flume",
            "glommio",
            "hdrhistogram",
            "http-body-util",
            "hyper",
            "hyper-rustls",
            "hyper-util",
            "io-uring",
            "ipnet",
            "libc",
            "rcgen",
            "rpassword",
            "rustix",
            "rustls",
            "sd-notify",
            "serde",
            "signal-hook",
            "slab",
            "socket2",
            "strsim",
            "thiserror",
            "time",
            "tokio",
            "toml",
            "tracing",
            "tracing-appender",
            "tracing-subscriber",
            "x509-parser",
        ]),
    },
    Room {
        name: "control",
        folder: "src/control",
        // The HTTP API of a dialect reads payloads as its devices' messages are read.
        rooms: &["store", "shard", "platform", "dialect", "access", "broker", "device", "mqtt", "stdx"],
        crates: These(&[
            "axum",
            "bytes",
            "flume",
            "http-body-util",
            "hyper",
            "hyper-rustls",
            "hyper-util",
            "jiff",
            "jsonwebtoken",
            "prost",
            "rustix",
            "serde",
            "serde_json",
            "thiserror",
            "tokio",
            "tower-http",
            "tracing",
            "utoipa",
            "utoipa-swagger-ui",
        ]),
    },
    Room {
        name: "ringmq",
        folder: "",
        rooms: &["server", "control", "dialect", "platform", "store"],
        crates: These(&["anyhow", "clap", "clap_complete", "mimalloc"]),
    },
    Room { name: "ringmq-bench", folder: "bench", rooms: &["mqtt", "stdx"], crates: Any },
    // The socket path of the server without a broker, which is what it prices.
    Room {
        name: "ring-relay",
        folder: "bench/relay/ring",
        rooms: &["server", "shard", "broker", "stdx"],
        crates: These(&[]),
    },
    Room { name: "warm", folder: "perf/warm", rooms: PURE, crates: Any },
    Room { name: "dialects", folder: "tests/dialects", rooms: PURE, crates: Any },
    Room { name: "talk", folder: "tests/talk", rooms: PURE_AND_STORE, crates: Any },
    Room {
        name: "simulation",
        folder: "tests/simulation",
        // Its world of devices is the house in which vectors are played.
        rooms: &[
            "stdx", "mqtt", "wire", "access", "broker", "device", "dialect", "shard", "store", "dialects",
        ],
        crates: Any,
    },
    Room { name: "crash", folder: "tests/crash", rooms: &["stdx"], crates: Any },
    Room { name: "overload", folder: "tests/overload", rooms: &["crash"], crates: Any },
    Room { name: "fuzz", folder: "tests/fuzz", rooms: PURE_AND_WINDOWS, crates: Any },
];

/// Crates with one job, and the only members that may name them.
const GUARDED: &[(&str, &[&str])] = &[
    ("glommio", &["server", "control", "store", "ringmq-bench"]),
    ("tokio", &["server", "control", "store", "ringmq-bench"]),
    ("flume", &["platform", "server", "control", "store", "ringmq-bench"]),
    ("serde_json", &["access", "dialect", "device", "store", "control", "ringmq-bench", "crash", "fuzz"]),
    ("prost", &["dialect", "device", "control", "dialects"]),
    ("rustls", &["wire", "server", "ringmq-bench", "fuzz"]),
    ("hdrhistogram", &["server", "ringmq-bench"]),
    ("mimalloc", &["ringmq", "warm"]),
];

/// All findings in the manifests of a tree.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let Some(root) = tree.text("Cargo.toml") else {
        return vec![Finding::new("Cargo.toml", 1, "is missing")];
    };
    let mut findings = members(root);
    for room in ROOMS {
        let path = manifest_path(room.folder);
        let Some(text) = tree.text(&path) else { continue };
        findings.extend(one(room, &path, text));
    }
    findings
}

fn manifest_path(folder: &str) -> String {
    if folder.is_empty() { "Cargo.toml".to_owned() } else { format!("{folder}/Cargo.toml") }
}

fn members(root: &str) -> Vec<Finding> {
    let table: Table = root.parse().expect("cargo has read this manifest");
    let members = table["workspace"].get("members").and_then(Value::as_array).cloned().unwrap_or_default();
    let unknown = members
        .iter()
        .filter_map(Value::as_str)
        .filter(|member| ROOMS.iter().all(|room| room.folder != *member));
    unknown
        .map(|member| Finding::new("Cargo.toml", 1, format!("{member} is not in the import table")))
        .collect()
}

fn one(room: &Room, path: &str, text: &str) -> Vec<Finding> {
    let manifest: Table = text.parse().expect("cargo has read this manifest");
    let mut findings = Vec::new();
    for (section, name) in dependencies(&manifest) {
        let line =
            text.lines().position(|line| line.trim_start().starts_with(&name)).map_or(1, |index| index + 1);
        let mut refuse =
            |why: &str| findings.push(Finding::new(path, line, format!("{}: {name} {why}", room.name)));
        if ROOMS.iter().any(|other| other.name == name) {
            if !room.rooms.contains(&name.as_str()) && section != "dev-dependencies" {
                refuse("is not a room that it may know");
            } else if !room.rooms.contains(&name.as_str()) && !is_allowed_in_tests(room, &name) {
                refuse("is not a room that even its tests may know");
            }
        } else if GUARDED.iter().any(|(guarded, rooms)| *guarded == name && !rooms.contains(&room.name)) {
            refuse("is reserved for other rooms");
        } else if let These(crates) = room.crates
            && section != "dev-dependencies"
            && !crates.contains(&name.as_str())
        {
            refuse("is not in the import table");
        }
    }
    findings
}

/// Tests of a room may look at rooms below it through their façades, never at rooms with windows.
fn is_allowed_in_tests(room: &Room, name: &str) -> bool {
    PURE.contains(&name) || !PURE.contains(&room.name)
}

/// Section and name of every dependency, also of those for one target only.
fn dependencies(manifest: &Table) -> Vec<(String, String)> {
    let targets = manifest.get("target").and_then(Value::as_table);
    let tables = targets
        .into_iter()
        .flat_map(|targets| targets.values().filter_map(Value::as_table))
        .chain([manifest]);
    let mut found = BTreeMap::new();
    for table in tables {
        for section in ["dependencies", "build-dependencies", "dev-dependencies"] {
            for (name, value) in table.get(section).and_then(Value::as_table).into_iter().flatten() {
                let real = value.get("package").and_then(Value::as_str).unwrap_or(name);
                found.entry((section.to_owned(), real.to_owned())).or_insert(());
            }
        }
    }
    found.into_keys().collect()
}

#[cfg(test)]
fn texts(manifest: &str, room: &str) -> Vec<String> {
    let room = ROOMS.iter().find(|known| known.name == room).expect("a room of the table");
    one(room, "x", manifest).into_iter().map(|finding| finding.text).collect()
}

#[test]
fn a_room_may_not_name_a_room_above_it() {
    assert_eq!(
        texts("[dependencies]\nbroker.workspace = true", "mqtt"),
        ["mqtt: broker is not a room that it may know"]
    );
    assert_eq!(texts("[dependencies]\nmqtt.workspace = true", "broker"), [""; 0]);
    assert_eq!(
        texts("[dev-dependencies]\nserver.workspace = true", "broker"),
        ["broker: server is not a room that even its tests may know"]
    );
}

#[test]
fn a_crate_from_outside_must_stand_in_the_table() {
    assert_eq!(texts("[dependencies]\nrand = \"1\"", "broker"), ["broker: rand is not in the import table"]);
    assert_eq!(
        texts("[target.x.dependencies]\nrand = \"1\"", "broker"),
        ["broker: rand is not in the import table"]
    );
    assert_eq!(texts("[dev-dependencies]\nproptest = \"1\"", "broker"), [""; 0]);
}

#[test]
fn a_guarded_crate_stays_in_its_rooms_under_any_name() {
    assert_eq!(texts("[dependencies]\ntokio = \"1\"", "talk"), ["talk: tokio is reserved for other rooms"]);
    assert_eq!(
        texts("[dev-dependencies]\nt = { package = \"tokio\" }", "shard"),
        ["shard: tokio is reserved for other rooms"]
    );
    assert_eq!(texts("[dependencies]\nflume = \"1\"", "server"), [""; 0]);
}

#[test]
fn a_member_that_the_table_does_not_know_is_found() {
    let tree = Tree::of(&[(
        "Cargo.toml",
        "[workspace]\nmembers = [\"src/mqtt\", \"src/attic\"]\n[package]\nname = \"ringmq\"",
    )]);
    assert_eq!(check(&tree), [Finding::new("Cargo.toml", 1, "src/attic is not in the import table")]);
}

#[test]
fn the_table_itself_runs_downwards() {
    for (index, room) in ROOMS.iter().enumerate() {
        for name in room.rooms {
            assert!(ROOMS[..index].iter().any(|below| below.name == *name), "{} -> {name}", room.name);
        }
    }
}
