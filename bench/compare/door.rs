//! The doors that clients come through in a comparison, for what a door costs: TLS, WebSocket, access rules.
//!
//! Why only the broker under test: what a door costs is a question to one broker, and the same broker without the door,
//! in the same round, is the measure.
//!
//! Invariants:
//! - A door changes the listener and nothing else.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::failure::Failure;

/// Rules in the file of the door with rules.
const RULES: usize = 1_000;
/// Files that [`certify`] writes.
pub(crate) const CERTIFICATE: &str = "server.pem";
pub(crate) const KEY: &str = "server.key";
const ACL: &str = "acl.conf";
const CONFIG: &str = "door.toml";

/// What clients come through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Door {
    /// TCP as it is.
    Plain,
    /// TLS 1.3 with a certificate on the curve P-256.
    Tls,
    /// WebSocket.
    WebSocket,
    /// TCP, and rules of which the last one allows what the load does.
    Acl,
}

impl Door {
    /// The generator's arguments.
    pub(crate) const fn arguments(self) -> &'static str {
        match self {
            Self::Plain | Self::Acl => "",
            Self::Tls => " -S --tls-min 1.3",
            Self::WebSocket => " --ws",
        }
    }

    /// Writes the configuration of a broker with this door at `port`, and the files it names, into `directory`; returns
    /// its name there.
    pub(crate) fn furnish(self, directory: &Path, port: u16) -> Result<&'static str, Failure> {
        let protocol = match self {
            Self::Plain | Self::Acl => "mqtt",
            Self::Tls => "mqtts",
            Self::WebSocket => "ws",
        };
        let mut config = format!("[[listener]]\nbind = \"127.0.0.1:{port}\"\nprotocol = \"{protocol}\"\n");
        match self {
            Self::Plain => {}
            Self::Tls => {
                certify(directory)?;
                config +=
                    &format!("certificate = \"{CERTIFICATE}\"\nprivate_key = \"{KEY}\"\ntls_min = \"1.3\"\n");
            }
            Self::WebSocket => config += "websocket_path = \"/mqtt\"\n",
            Self::Acl => {
                write(directory, ACL, &rules())?;
                config += &format!("authentication = \"anonymous\"\nacl_file = \"{ACL}\"\n");
            }
        }
        write(directory, CONFIG, &config)?;
        Ok(CONFIG)
    }
}

/// Writes a certificate for 127.0.0.1 on the curve P-256, signed by itself, and its key into `directory`.
pub(crate) fn certify(directory: &Path) -> Result<(), Failure> {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]);
    let made =
        made.map_err(|fault| Failure::os("making a certificate", std::io::Error::other(fault.to_string())))?;
    write(directory, CERTIFICATE, &made.cert.pem())?;
    write(directory, KEY, &made.signing_key.serialize_pem())
}

fn write(directory: &Path, name: &str, text: &str) -> Result<(), Failure> {
    let path = directory.join(name);
    fs::write(&path, text).map_err(|source| Failure::os(format!("writing {}", path.display()), source))
}

fn rules() -> String {
    let mut text = String::new();
    for number in 1..RULES {
        writeln!(text, "topic readwrite site/{number}/+/value").expect("writing to a string succeeds");
    }
    text + "topic readwrite bench/pair/+\n"
}

#[cfg(test)]
mod tests {
    use super::super::keeper::Nest;
    use super::*;

    #[test]
    fn each_door_has_the_files_that_its_configuration_names() {
        let nest = Nest::make("doors").expect("memory can be written");
        for door in [Door::Plain, Door::Tls, Door::WebSocket, Door::Acl] {
            let name = door.furnish(nest.path(), 1001).expect("it can be written");
            let text = fs::read_to_string(nest.path().join(name)).expect("it was just written");
            assert!(text.contains("bind = \"127.0.0.1:1001\""), "{text}");
            for file in [CERTIFICATE, KEY, ACL].into_iter().filter(|file| text.contains(file)) {
                assert!(nest.path().join(file).is_file(), "{door:?}: {file}");
            }
        }
        let rules = rules();
        assert_eq!(rules.lines().count(), RULES);
        assert!(rules.ends_with("topic readwrite bench/pair/+\n"), "the one that is needed comes last");
    }
}
