//! The configuration of a broker that is measured: the one that was given, with two listeners of ours.
//!
//! Why both in one process: what TLS costs is a difference, and two brokers differ by more than that from start to start.
//! Why the first listener that was given is the pattern: who may come in and what is noted belongs to the costs.
//!
//! Invariants:
//! - Nothing but the listeners is changed.
//! - The two differ in address, protocol and certificate only.

use std::net::SocketAddr;

use toml::{Table, Value};

use crate::compare::{CERTIFICATE, KEY};

/// Keys of a listener that say what it is wrapped in, and where it is.
const REPLACED: [&str; 10] = [
    "bind",
    "protocol",
    "certificate",
    "private_key",
    "certificates",
    "client_ca",
    "client_certificate",
    "crl",
    "tls_min",
    "proxy_protocol_from",
];

/// `text`, a configuration, with a listener at `plain` and one with TLS 1.3 at `sealed` instead of its own.
///
/// # Errors
///
/// What is wrong with `text`, if it is not TOML.
pub(super) fn furnished(text: &str, plain: SocketAddr, sealed: SocketAddr) -> Result<String, String> {
    let mut config: Table = text.parse().map_err(|fault: toml::de::Error| fault.to_string())?;
    let first = config.get("listener").and_then(Value::as_array).and_then(|all| all.first());
    let mut pattern = first.and_then(Value::as_table).cloned().unwrap_or_default();
    pattern.retain(|key, _| !REPLACED.contains(&key));
    let listener = |bind: SocketAddr, keys: &[(&str, &str)]| {
        let mut listener = pattern.clone();
        listener.insert("bind".into(), bind.to_string().into());
        let keys = keys.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value)));
        listener.extend(keys);
        Value::Table(listener)
    };
    let tls = [("protocol", "mqtts"), ("certificate", CERTIFICATE), ("private_key", KEY), ("tls_min", "1.3")];
    let both = vec![listener(plain, &[("protocol", "mqtt")]), listener(sealed, &tls)];
    config.insert("listener".into(), Value::Array(both));
    Ok(config.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> [SocketAddr; 2] {
        ["127.0.0.1:1001", "127.0.0.1:1002"].map(|text| text.parse().expect("an address"))
    }

    fn listeners(text: &str) -> (Table, Vec<Table>) {
        let [plain, sealed] = addresses();
        let made = furnished(text, plain, sealed).expect("lawful TOML");
        let table: Table = made.parse().expect("what was written is TOML");
        let both = table["listener"].as_array().expect("listeners").clone();
        (table, both.into_iter().map(|one| one.as_table().expect("a table").clone()).collect())
    }

    #[test]
    fn there_are_two_listeners_and_one_of_them_has_a_certificate() {
        let (_, both) = listeners("");
        assert_eq!(both.len(), 2);
        assert_eq!(
            (both[0]["bind"].as_str(), both[0]["protocol"].as_str()),
            (Some("127.0.0.1:1001"), Some("mqtt"))
        );
        assert_eq!(
            (both[1]["bind"].as_str(), both[1]["protocol"].as_str()),
            (Some("127.0.0.1:1002"), Some("mqtts"))
        );
        assert!(!both[0].contains_key("certificate") && both[1].contains_key("certificate"));
    }

    #[test]
    fn what_else_was_configured_stays_and_the_first_listener_is_the_pattern() {
        let text = "[limits]\npacket_bytes_max = 70000\n[[listener]]\nbind = \"0.0.0.0:8883\"\nprotocol = \"mqtts\"\n\
                    client_ca = \"ca.pem\"\nacl_file = \"/etc/acl\"\n[[listener]]\nbind = \"127.0.0.1:1\"\n";
        let (config, both) = listeners(text);
        assert_eq!(config["limits"]["packet_bytes_max"].as_integer(), Some(70_000));
        for listener in &both {
            assert_eq!(listener["acl_file"].as_str(), Some("/etc/acl"));
            assert!(!listener.contains_key("client_ca"), "the generator has no certificate of its own");
        }
        assert_eq!(both[0]["protocol"].as_str(), Some("mqtt"));
    }

    #[test]
    fn what_is_no_configuration_is_refused() {
        let [plain, sealed] = addresses();
        assert!(furnished("[limits", plain, sealed).is_err());
    }
}
