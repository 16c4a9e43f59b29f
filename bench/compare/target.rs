//! What can be compared: the broker under test, peers, servers of ours without a broker, and anything that already runs.
//!
//! Why the null relays are always there: an absolute figure belongs to one machine, a ratio to a ceiling measured in
//! the same run does not.
//!
//! Invariants:
//! - A target that is not installed is named together with the command that installs it.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use super::door::Door;
use super::figures::TargetFacts;
use super::load::{Load, LoadKind};
use super::peers::{PEERS, Peer, said};
use crate::failure::Failure;

/// The target that is held to floors.
pub(crate) const UNDER_TEST: &str = "ringmq";
/// The same without the door of a load that is about a door.
pub(crate) const UNDER_TEST_PLAIN: &str = "ringmq-plain";
/// Names of targets that others are compared with.
pub(crate) const MOSQUITTO: &str = "mosquitto";
pub(crate) const NATS: &str = "nats";
pub(crate) const RUMQTTD: &str = "rumqttd";
pub(crate) const NULL_EPOLL: &str = "null-epoll";
pub(crate) const NULL_RING: &str = "null-ring";
pub(crate) const NULL_GLOMMIO: &str = "null-glommio";
/// The ceilings, in the order of the table.
pub(crate) const CEILINGS: [&str; 3] = [NULL_RING, NULL_EPOLL, NULL_GLOMMIO];
const ECHO: &str = "echo";

/// One thing to load.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Its name in the table.
    pub(crate) name: String,
    /// What it is.
    pub(crate) kind: Kind,
}

/// How a target comes to life.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// The broker under test.
    Ringmq(PathBuf),
    /// Another broker.
    Peer(&'static Peer, PathBuf),
    /// A server of ours without a broker: the program, and its arguments before the address.
    Own(PathBuf, &'static [&'static str]),
    /// A broker that somebody else runs.
    Remote {
        /// Its host.
        host: String,
        /// Its port.
        port: u16,
        /// Its process, when it is on this machine.
        pid: Option<u32>,
    },
}

/// Where a target that is being started may listen and keep files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site<'a> {
    /// For MQTT, and for whatever else it must open.
    pub(crate) ports: [u16; 3],
    /// An empty directory in memory.
    pub(crate) directory: &'a Path,
    /// Processors it will run on.
    pub(crate) processors: usize,
}

/// The programs that make up one target, in the order of starting; the broker comes last.
pub(crate) struct Programs {
    /// Others that must be there first, and the port at which each answers.
    pub(crate) companions: Vec<(Command, u16)>,
    /// The broker.
    pub(crate) broker: Command,
    /// How it is asked to end.
    pub(crate) farewell: Signal,
}

impl Target {
    /// Whether the target can do anything with `load`.
    pub(crate) fn understands(&self, load: &Load) -> bool {
        match (load.door, self.name.as_str()) {
            (Door::Plain, ECHO) => load.echoes,
            (Door::Plain, name) => name != UNDER_TEST_PLAIN,
            (Door::Tls | Door::WebSocket | Door::Acl, name) => name == UNDER_TEST || name == UNDER_TEST_PLAIN,
        }
    }

    /// Whether the target has anything of its own to be counted under `load`.
    pub(crate) fn is_counted(&self, load: &Load) -> bool {
        load.kind == LoadKind::Traffic && self.understands(load)
    }

    /// The generator's arguments for `load` at this target.
    pub(crate) fn arguments(&self, load: &Load) -> String {
        match self.name.as_str() {
            ECHO => load.echo_arguments(),
            UNDER_TEST_PLAIN => load.plain_arguments(),
            _ => load.arguments(),
        }
    }

    /// What must be started for a load behind `door`; `None` for a target that runs already.
    pub(crate) fn programs(&self, site: &Site<'_>, door: Door) -> Result<Option<Programs>, Failure> {
        let address = format!("127.0.0.1:{}", site.ports[0]);
        let broker = match &self.kind {
            Kind::Ringmq(program) => {
                let mut command = Command::new(program);
                let cores = site.processors.to_string();
                command.args(["serve", "--cores", &cores]);
                if door == Door::Plain || self.name == UNDER_TEST_PLAIN {
                    command.args(["--listen", &address]);
                } else {
                    command.args(["-c", door.furnish(site.directory, site.ports[0])?]);
                }
                command.args(durability(program).into_iter().flatten());
                command
            }
            Kind::Own(program, arguments) => {
                let mut command = Command::new(program);
                command.args(*arguments).arg(address);
                command
            }
            Kind::Peer(peer, program) => return peer.programs(program, site).map(Some),
            Kind::Remote { .. } => return Ok(None),
        };
        Ok(Some(Programs { companions: vec![], broker, farewell: Signal::TERM }))
    }

    /// How a person would start it, and what it says about itself.
    pub(crate) fn facts(&self) -> TargetFacts {
        let (command, version, durability) = match &self.kind {
            Kind::Ringmq(program) => {
                let flag =
                    durability(program).map_or_else(String::new, |words| format!(" {}", words.join(" ")));
                let command = format!("ringmq serve --listen 127.0.0.1:PORT --cores 1{flag}");
                (command, said(program, &["version"]), "memory")
            }
            Kind::Peer(peer, program) => (peer.how.to_owned(), (peer.version)(program), peer.durability),
            Kind::Own(program, arguments) => {
                let name = program.file_name().unwrap_or_default().to_string_lossy();
                let words: Vec<&str> = std::iter::once(&*name)
                    .chain(arguments.iter().copied())
                    .chain(["127.0.0.1:PORT"])
                    .collect();
                (words.join(" "), env!("CARGO_PKG_VERSION").to_owned(), "nothing kept")
            }
            Kind::Remote { host, port, .. } => {
                (format!("already running at {host}:{port}"), String::new(), "unknown")
            }
        };
        TargetFacts { name: self.name.clone(), command, version, durability: durability.to_owned() }
    }
}

/// Memory durability, for a broker that can be asked for it; one that cannot has nothing else.
fn durability(program: &Path) -> Option<[&'static str; 2]> {
    let knows = |arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok();
        output.is_some_and(|output| String::from_utf8_lossy(&output.stdout).contains("--durability"))
    };
    (knows(&["serve", "--help"]) || knows(&["--help"])).then_some(["--durability", "memory"])
}

/// The targets that `names` name and the null relays, if they are here, and advice on those that are not.
///
/// The broker under test is there a second time, for loads that are about a door.
pub(crate) fn chosen(
    names: &[String],
    ringmq: Option<&Path>,
    loads: &[Load],
) -> Result<(Vec<Target>, Vec<String>), Failure> {
    let ours = std::env::current_exe().map_err(|source| Failure::os("finding our own program", source))?;
    let (mut targets, mut skipped) = (vec![], vec![]);
    let ceilings = CEILINGS.map(str::to_owned);
    for name in names.iter().chain(&ceilings) {
        let short = name.split_once('=').map_or(name.as_str(), |(short, _)| short);
        if targets.iter().any(|target: &Target| target.name == short) {
            continue;
        }
        match kind(name, &ours, ringmq)? {
            Ok(kind) => targets.push(Target { name: short.to_owned(), kind }),
            Err(advice) => skipped.push(format!("{name} is skipped: {advice}")),
        }
    }
    let has_door = loads.iter().any(|load| load.door != Door::Plain);
    if has_door && let Some(at) = targets.iter().position(|target| target.name == UNDER_TEST) {
        let plain = Target { name: UNDER_TEST_PLAIN.to_owned(), ..targets[at].clone() };
        targets.insert(at + 1, plain);
    }
    Ok((targets, skipped))
}

fn kind(name: &str, ours: &Path, ringmq: Option<&Path>) -> Result<Result<Kind, String>, Failure> {
    let built = |path: PathBuf| {
        let path = path.canonicalize();
        path.map_err(|_| "build it with `cargo build --release --workspace`".to_owned())
    };
    Ok(match name {
        UNDER_TEST => {
            let path = ringmq.map_or_else(|| ours.with_file_name("ringmq"), Path::to_path_buf);
            built(path).map(Kind::Ringmq)
        }
        NULL_RING => built(ours.with_file_name("ring-relay")).map(|program| Kind::Own(program, &[])),
        NULL_EPOLL => Ok(Kind::Own(ours.to_path_buf(), &["null-relay", "--listen"])),
        NULL_GLOMMIO => Ok(Kind::Own(ours.to_path_buf(), &["null-relay", "--form", "glommio", "--listen"])),
        ECHO => Ok(Kind::Own(ours.to_path_buf(), &["echo-server", "--listen"])),
        other => match PEERS.iter().find(|peer| peer.name == other) {
            Some(peer) => match (peer.find)() {
                Some(path) => Ok(Kind::Peer(peer, path)),
                None => Err(format!("install it with `{}`", peer.install)),
            },
            None => Ok(remote(other)?),
        },
    })
}

fn remote(text: &str) -> Result<Kind, Failure> {
    let unknown = || {
        let peers: Vec<&str> = PEERS.iter().map(|peer| peer.name).collect();
        Failure::Usage(format!(
            "there is no target {text}; there are {UNDER_TEST}, {}, {}, {ECHO}, and name=host:port[:pid]",
            peers.join(", "),
            CEILINGS.join(", ")
        ))
    };
    let (_, address) = text.split_once('=').ok_or_else(unknown)?;
    let mut parts = address.split(':');
    let (host, port) = (parts.next(), parts.next());
    let (Some(host), Some(Ok(port))) = (host, port.map(str::parse)) else { return Err(unknown()) };
    let pid = parts.next().map(str::parse).transpose().map_err(|_| unknown())?;
    match parts.next() {
        None => Ok(Kind::Remote { host: host.to_owned(), port, pid }),
        Some(_) => Err(unknown()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_broker_is_named_with_host_port_and_perhaps_process() {
        let named = |text: &str| {
            let (targets, _) = chosen(&[text.to_owned()], None, &[]).ok()?;
            match targets.into_iter().next()? {
                Target { name, kind: Kind::Remote { host, port, pid } } => Some((name, host, port, pid)),
                other => panic!("{other:?}"),
            }
        };
        let target = |pid| Some(("x".to_owned(), "10.0.0.1".to_owned(), 1883, pid));
        assert_eq!(named("x=10.0.0.1:1883"), target(None));
        assert_eq!(named("x=10.0.0.1:1883:77"), target(Some(77)));
        for wrong in ["x", "x=", "x=host", "x=host:port", "x=host:1:2:3", "x=host:1:pid"] {
            assert_eq!(named(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_missing_broker_is_skipped_with_advice_and_the_relays_are_always_there() {
        let (targets, skipped) = chosen(&["ringmq".to_owned()], Some(Path::new("/nonexistent/ringmq")), &[])
            .expect("names are known");
        assert!(skipped[0].contains("ringmq is skipped: build it with `cargo build --release --workspace`"));
        let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
        assert!(names.contains(&NULL_EPOLL) && names.contains(&NULL_GLOMMIO), "{names:?}");
    }

    #[test]
    fn a_target_named_twice_is_measured_once() {
        let names = [NULL_EPOLL.to_owned(), ECHO.to_owned(), NULL_EPOLL.to_owned()];
        let (targets, _) = chosen(&names, None, &[]).expect("names are known");
        assert_eq!(targets.iter().filter(|target| target.name == NULL_EPOLL).count(), 1);
    }

    #[test]
    fn behind_a_door_the_broker_under_test_is_compared_with_itself() {
        let loads = super::super::load::chosen(&["B".to_owned(), "T".to_owned()], 100).expect("both exist");
        let ours = std::env::current_exe().expect("a test has a program");
        let names = [UNDER_TEST.to_owned()];
        let (targets, _) = chosen(&names, Some(&ours), &loads).expect("names are known");
        let understood = |load: &Load| -> Vec<&str> {
            let who = targets.iter().filter(|target| target.understands(load));
            who.map(|target| target.name.as_str()).filter(|name| name.starts_with(UNDER_TEST)).collect()
        };
        assert_eq!(understood(&loads[0]), [UNDER_TEST]);
        assert_eq!(understood(&loads[1]), [UNDER_TEST, UNDER_TEST_PLAIN]);
        let arguments: Vec<String> = targets[..2].iter().map(|target| target.arguments(&loads[1])).collect();
        assert_eq!(arguments[0], format!("{} -S --tls-min 1.3", arguments[1]));
        assert!(!targets.iter().any(|target| target.name == NULL_EPOLL && target.understands(&loads[1])));
        let (targets, _) = chosen(&names, Some(&ours), &loads[..1]).expect("names are known");
        assert!(targets.iter().all(|target| target.name != UNDER_TEST_PLAIN));
    }

    #[test]
    fn only_loads_made_for_it_reach_the_echo_server() {
        let loads = super::super::load::chosen(&["B".to_owned(), "S".to_owned()], 100).expect("both exist");
        let echo = Target { name: ECHO.into(), kind: Kind::Own(PathBuf::new(), &[]) };
        assert_eq!(loads.iter().map(|load| echo.understands(load)).collect::<Vec<_>>(), [false, true]);
        assert!(echo.arguments(&loads[1]).contains("--raw-echo"));
    }
}
