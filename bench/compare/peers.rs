//! Brokers by others: where they are found, how they are started, and how they are installed.
//!
//! Why their configurations lie in files: what was tuned, and why, must be readable by those who made the peers.
//!
//! Invariants:
//! - A peer listens on loopback only and writes to its own directory only.
//! - Each keeps its state in memory, so that like is compared with like.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use super::target::{MOSQUITTO, NATS, Programs, RUMQTTD, Site};
use crate::failure::Failure;

/// Directories that hold servers but are not in everybody's PATH.
const SERVER_DIRECTORIES: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/usr/local/bin"];
/// Debian's own place for the script that does not change the user.
const RABBITMQ: [&str; 2] =
    ["/usr/lib/rabbitmq/bin/rabbitmq-server", "/usr/local/lib/rabbitmq/bin/rabbitmq-server"];
const NODE_MODULES: [&str; 2] = ["/usr/lib/node_modules", "/usr/local/lib/node_modules"];

/// A broker by others.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Its name in the table.
    pub(crate) name: &'static str,
    /// The command that installs it.
    pub(crate) install: &'static str,
    /// Where it keeps what it must not lose.
    pub(crate) durability: &'static str,
    /// As a command, for readers.
    pub(crate) how: &'static str,
    /// Finds the program.
    pub(crate) find: fn() -> Option<PathBuf>,
    /// What it says about its version.
    pub(crate) version: fn(&Path) -> String,
    /// Its configuration: names and texts, with `@PORT@`, `@CLIENT_PORT@` and `@DIR@` to be filled in.
    files: &'static [(&'static str, &'static str)],
    programs: fn(&Path, &Site<'_>) -> Programs,
}

impl Peer {
    /// Writes the configuration and says what must be started.
    pub(crate) fn programs(&self, program: &Path, site: &Site<'_>) -> Result<Programs, Failure> {
        for (name, template) in self.files {
            let path = site.directory.join(name);
            let text = template
                .replace("@PORT@", &site.ports[0].to_string())
                .replace("@CLIENT_PORT@", &site.ports[1].to_string())
                .replace("@DIR@", &site.directory.to_string_lossy());
            std::fs::write(&path, text)
                .map_err(|source| Failure::os(format!("writing {}", path.display()), source))?;
        }
        Ok((self.programs)(program, site))
    }
}

/// All of them.
pub(crate) static PEERS: [Peer; 6] = [
    Peer {
        name: MOSQUITTO,
        install: "apt-get install mosquitto",
        durability: "memory (persistence off)",
        how: "mosquitto -c bench/peers/mosquitto.conf",
        find: || find("mosquitto"),
        version: |program| said(program, &["-h"]),
        files: &[("mosquitto.conf", include_str!("../peers/mosquitto.conf"))],
        programs: |program, _| alone(program, &["-c", "mosquitto.conf"]),
    },
    Peer {
        name: NATS,
        install: "apt-get install nats-server",
        durability: "memory (JetStream store on tmpfs)",
        how: "nats-server -c bench/peers/nats-server.conf",
        find: || find("nats-server"),
        version: |program| said(program, &["-v"]),
        files: &[("nats-server.conf", include_str!("../peers/nats-server.conf"))],
        programs: |program, _| alone(program, &["-c", "nats-server.conf"]),
    },
    Peer {
        name: RUMQTTD,
        install: "cargo install rumqttd",
        durability: "memory (commit log)",
        how: "rumqttd -q -c bench/peers/rumqttd.toml",
        find: || find("rumqttd"),
        version: |program| said(program, &["--version"]),
        files: &[("rumqttd.toml", include_str!("../peers/rumqttd.toml"))],
        programs: |program, _| alone(program, &["-q", "-c", "rumqttd.toml"]),
    },
    Peer {
        name: "rmqttd",
        install: "apt-get install protobuf-compiler cmake g++ && cargo install rmqttd",
        durability: "memory",
        how: "rmqttd -f bench/peers/rmqttd.toml",
        find: || find("rmqttd"),
        version: |program| said(program, &["--version"]),
        files: &[("rmqttd.toml", include_str!("../peers/rmqttd.toml"))],
        programs: |program, _| alone(program, &["-f", "rmqttd.toml"]),
    },
    Peer {
        name: "rabbitmq",
        install: "apt-get install rabbitmq-server",
        durability: "memory (queues of clean sessions are transient; store on tmpfs)",
        how: "rabbitmq-server with bench/peers/rabbitmq.conf and the plugin rabbitmq_mqtt",
        find: || RABBITMQ.into_iter().map(PathBuf::from).find(|path| path.is_file()),
        version: version_of_rabbitmq,
        files: &[
            ("rabbitmq.conf", include_str!("../peers/rabbitmq.conf")),
            ("enabled_plugins", "[rabbitmq_mqtt].\n"),
        ],
        programs: rabbitmq,
    },
    Peer {
        name: "aedes",
        install: "npm install -g aedes",
        durability: "memory",
        how: "node bench/peers/aedes.mjs MODULE PORT",
        find: aedes,
        version: version_of_aedes,
        files: &[("aedes.mjs", include_str!("../peers/aedes.mjs"))],
        programs: |module, site| {
            let mut broker = Command::new("node");
            broker.arg("aedes.mjs").arg(module).arg(site.ports[0].to_string());
            Programs { companions: vec![], broker, farewell: Signal::TERM }
        },
    },
];

fn alone(program: &Path, arguments: &[&str]) -> Programs {
    let mut broker = Command::new(program);
    broker.args(arguments);
    Programs { companions: vec![], broker, farewell: Signal::TERM }
}

/// RabbitMQ wants a port mapper. It would start one that outlives it, so it finds one of ours.
fn rabbitmq(program: &Path, site: &Site<'_>) -> Programs {
    const LOOPBACK: &str = "127.0.0.1";
    let [_, mapper_port, distribution_port] = site.ports.map(|port| port.to_string());
    let mut mapper = Command::new("epmd");
    mapper.args(["-port", &mapper_port, "-address", LOOPBACK]);
    let schedulers = site.processors;
    let erlang = format!(
        "+S {schedulers}:{schedulers} +sbwt none +sbwtdcpu none +sbwtdio none \
         -kernel inet_dist_use_interface {{127,0,0,1}}"
    );
    let mut broker = Command::new(program);
    // The name of this variable is the script's; with it the shell becomes the broker instead of waiting for it.
    broker.env("RUNNING_UNDER_SYSTEMD", "true").env_remove("NOTIFY_SOCKET");
    broker.env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", erlang).env("RABBITMQ_NODENAME", "bench@localhost");
    broker.env("ERL_EPMD_PORT", mapper_port).env("ERL_EPMD_ADDRESS", LOOPBACK);
    broker.env("RABBITMQ_DIST_PORT", distribution_port);
    broker.env("HOME", site.directory).env("RABBITMQ_CONF_ENV_FILE", "/dev/null");
    for (variable, place) in [
        ("RABBITMQ_CONFIG_FILE", "rabbitmq.conf"),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", "enabled_plugins"),
        ("RABBITMQ_MNESIA_BASE", "mnesia"),
        ("RABBITMQ_LOG_BASE", "log-files"),
        ("RABBITMQ_PID_FILE", "pid"),
        ("RABBITMQ_GENERATED_CONFIG_DIR", "generated"),
    ] {
        broker.env(variable, site.directory.join(place));
    }
    // Its orderly end takes seconds, for a store that is thrown away.
    Programs { companions: vec![(mapper, site.ports[1])], broker, farewell: Signal::KILL }
}

fn version_of_rabbitmq(program: &Path) -> String {
    let path = program.canonicalize().unwrap_or_default();
    let version =
        path.iter().filter_map(|part| part.to_str()).find_map(|part| part.strip_prefix("rabbitmq_server-"));
    version.map_or_else(String::new, |version| format!("rabbitmq-server {version}"))
}

fn aedes() -> Option<PathBuf> {
    find("node")?;
    let named = std::env::var_os("NODE_PATH").unwrap_or_default();
    let modules = std::env::split_paths(&named).chain(NODE_MODULES.map(PathBuf::from));
    modules.map(|directory| directory.join("aedes/aedes.js")).find(|path| path.is_file())
}

fn version_of_aedes(module: &Path) -> String {
    let text = std::fs::read_to_string(module.with_file_name("package.json")).unwrap_or_default();
    let package: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let version = package["version"].as_str().unwrap_or("of unknown version");
    format!("aedes {version} on node {}", said(Path::new("node"), &["--version"]))
}

/// The first line that `program` prints.
pub(super) fn said(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().ok();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or_default().trim().to_owned()
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let cargo = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo/bin"));
    std::env::split_paths(&path)
        .chain(SERVER_DIRECTORIES.map(PathBuf::from))
        .chain(cargo)
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::super::keeper::Nest;
    use super::*;

    #[test]
    fn every_configuration_is_written_without_gaps_and_stays_on_loopback() {
        let nest = Nest::make("peers").expect("memory can be written");
        let site = Site { ports: [1001, 1002, 1003], directory: nest.path(), processors: 1 };
        for peer in &PEERS {
            let programs =
                peer.programs(Path::new("/nonexistent/program"), &site).expect("it can be written");
            let mut text = format!("{:?}", programs.broker);
            for (name, _) in peer.files {
                text += &std::fs::read_to_string(nest.path().join(name)).expect("it was just written");
            }
            let settings: Vec<&str> =
                text.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
            let settings = settings.join("\n");
            assert!(settings.contains("1001"), "{}: {settings}", peer.name);
            assert!(settings.contains("127.0.0.1"), "{}: {settings}", peer.name);
            assert!(!settings.contains('@') || peer.name == "rabbitmq", "{}: {settings}", peer.name);
            assert!(!settings.contains("0.0.0.0:"), "{}: {settings}", peer.name);
        }
    }
}
