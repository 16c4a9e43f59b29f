//! What can be compared: the broker under test, Debian's brokers, our two servers without a broker, and anything that
//! already runs.
//!
//! Why the configurations lie in files: what was tuned, and why, must be readable by those who made the peers.
//!
//! Invariants:
//! - A target that is not installed is named together with the command that installs it.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::load::Load;
use crate::failure::Failure;

/// Directories that hold servers but are not in everybody's PATH.
const SERVER_DIRECTORIES: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// One thing to load.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Target {
    /// Its name in the table.
    pub(crate) name: String,
    /// What it is.
    pub(crate) kind: Kind,
}

/// How a target comes to life.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// The broker under test.
    Ringmq(PathBuf),
    /// Debian's nats-server with MQTT.
    Nats(PathBuf),
    /// Debian's mosquitto.
    Mosquitto(PathBuf),
    /// Our relay.
    NullRelay(PathBuf),
    /// Our echo server.
    Echo(PathBuf),
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
    /// For MQTT.
    pub(crate) port: u16,
    /// For whatever else it must open.
    pub(crate) other_port: u16,
    /// An empty directory in memory.
    pub(crate) directory: &'a Path,
}

impl Target {
    /// Whether the target can do anything with `load`.
    pub(crate) fn understands(&self, load: &Load) -> bool {
        !matches!(self.kind, Kind::Echo(_)) || load.echo_arguments.is_some()
    }

    /// The generator's arguments for `load` at this target.
    pub(crate) fn arguments(&self, load: &Load) -> &'static str {
        match self.kind {
            Kind::Echo(_) => load.echo_arguments.unwrap_or(load.arguments),
            _ => load.arguments, // Everything else speaks MQTT.
        }
    }

    /// The command that starts the target; `None` for one that runs already.
    pub(crate) fn command(&self, site: &Site<'_>) -> Result<Option<Command>, Failure> {
        let address = format!("127.0.0.1:{}", site.port);
        let (program, arguments) = match &self.kind {
            Kind::Ringmq(program) => {
                (program, vec!["serve".into(), "--listen".into(), address, "--cores".into(), "1".into()])
            }
            Kind::Nats(program) => {
                let path = configure(site, "nats-server.conf", include_str!("../peers/nats-server.conf"))?;
                (program, vec!["-c".into(), path])
            }
            Kind::Mosquitto(program) => {
                let path = configure(site, "mosquitto.conf", include_str!("../peers/mosquitto.conf"))?;
                (program, vec!["-c".into(), path])
            }
            Kind::NullRelay(program) => (program, vec!["null-relay".into(), "--listen".into(), address]),
            Kind::Echo(program) => (program, vec!["echo-server".into(), "--listen".into(), address]),
            Kind::Remote { .. } => return Ok(None),
        };
        let mut command = Command::new(program);
        command.args(arguments).current_dir(site.directory);
        Ok(Some(command))
    }

    /// How a person would start it, and what it says about its version.
    pub(crate) fn facts(&self) -> (String, String) {
        let said = |program: &Path, argument: &str| {
            let output = Command::new(program).arg(argument).output().ok();
            let text =
                output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
            text.lines().next().unwrap_or_default().trim().to_owned()
        };
        match &self.kind {
            Kind::Ringmq(program) => {
                ("ringmq serve --listen 127.0.0.1:PORT --cores 1".into(), said(program, "version"))
            }
            Kind::Nats(program) => {
                ("nats-server -c bench/peers/nats-server.conf".into(), said(program, "-v"))
            }
            Kind::Mosquitto(program) => {
                ("mosquitto -c bench/peers/mosquitto.conf".into(), said(program, "-h"))
            }
            Kind::NullRelay(_) => ("ringmq-bench null-relay --listen 127.0.0.1:PORT".into(), own_version()),
            Kind::Echo(_) => ("ringmq-bench echo-server --listen 127.0.0.1:PORT".into(), own_version()),
            Kind::Remote { host, port, .. } => (format!("already running at {host}:{port}"), String::new()),
        }
    }
}

/// The targets that `names` name and that are here, and advice on those that are not.
pub(crate) fn chosen(names: &[String], ringmq: Option<&Path>) -> Result<(Vec<Target>, Vec<String>), Failure> {
    let ours = std::env::current_exe().map_err(|source| Failure::os("finding our own program", source))?;
    let (mut targets, mut skipped) = (vec![], vec![]);
    for name in names {
        let installed = |program: &str, kind: fn(PathBuf) -> Kind| match find(program) {
            Some(path) => Ok(kind(path)),
            None => Err(format!("{name} is skipped: install it with `apt-get install {program}`")),
        };
        let kind = match name.as_str() {
            "ringmq" => {
                let path = ringmq.map_or_else(|| ours.with_file_name("ringmq"), Path::to_path_buf);
                let built = path.canonicalize().map(Kind::Ringmq);
                built.map_err(|_| format!("{name} is skipped: build it with `cargo build --release`"))
            }
            "nats" => installed("nats-server", Kind::Nats),
            "mosquitto" => installed("mosquitto", Kind::Mosquitto),
            "null-relay" => Ok(Kind::NullRelay(ours.clone())),
            "echo" => Ok(Kind::Echo(ours.clone())),
            other => Ok(remote(other)?),
        };
        match kind {
            Ok(kind) => {
                let name = name.split_once('=').map_or(name.as_str(), |(name, _)| name).to_owned();
                targets.push(Target { name, kind });
            }
            Err(advice) => skipped.push(advice),
        }
    }
    Ok((targets, skipped))
}

fn remote(text: &str) -> Result<Kind, Failure> {
    let unknown = || {
        Failure::Usage(format!(
            "there is no target {text}; there are ringmq, nats, mosquitto, null-relay, echo, and name=host:port[:pid]"
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

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(SERVER_DIRECTORIES.map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

fn configure(site: &Site<'_>, name: &str, template: &str) -> Result<String, Failure> {
    let path = site.directory.join(name);
    let text = template
        .replace("@PORT@", &site.port.to_string())
        .replace("@CLIENT_PORT@", &site.other_port.to_string())
        .replace("@DIR@", &site.directory.to_string_lossy());
    std::fs::write(&path, text)
        .map_err(|source| Failure::os(format!("writing {}", path.display()), source))?;
    Ok(path.to_string_lossy().into_owned())
}

fn own_version() -> String {
    format!("ringmq-bench {}", env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_broker_is_named_with_host_port_and_perhaps_process() {
        let named = |text: &str| chosen(&[text.to_owned()], None).map(|(targets, _)| targets);
        let remote = |pid| Kind::Remote { host: "10.0.0.1".into(), port: 1883, pid };
        let target = |pid| vec![Target { name: "x".into(), kind: remote(pid) }];
        assert_eq!(named("x=10.0.0.1:1883").ok(), Some(target(None)));
        assert_eq!(named("x=10.0.0.1:1883:77").ok(), Some(target(Some(77))));
        for wrong in ["x", "x=", "x=host", "x=host:port", "x=host:1:2:3", "x=host:1:pid"] {
            assert!(named(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_missing_broker_is_skipped_with_advice() {
        let (targets, skipped) =
            chosen(&["ringmq".to_owned()], Some(Path::new("/nonexistent/ringmq"))).expect("names are known");
        assert!(targets.is_empty());
        assert!(skipped[0].contains("cargo build --release"));
    }

    #[test]
    fn only_loads_made_for_it_reach_the_echo_server() {
        let loads = super::super::load::chosen(&["B".to_owned(), "S".to_owned()]).expect("both exist");
        let echo = Target { name: "echo".into(), kind: Kind::Echo(PathBuf::new()) };
        assert_eq!(loads.iter().map(|load| echo.understands(load)).collect::<Vec<_>>(), [false, true]);
        assert!(echo.arguments(&loads[1]).contains("--raw-echo"));
    }
}
