//! How clients reach a listener: address or socket file, protocol, certificates, load balancers.
//!
//! Invariants:
//! - What `Display` writes, `FromStr` reads as the same value.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use hyper::Uri;
use ipnet::IpNet;
use thiserror::Error;

/// How a bind address that is a file begins.
const FILE_PREFIX: &str = "unix:";

/// Where a listener listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Bind {
    /// An address and a port; port 0 lets the kernel choose one.
    Tcp(SocketAddr),
    /// A Unix-domain socket.
    Unix(PathBuf),
}

/// A text that is no address to listen on.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error(
    "wants an IP address and a port such as 127.0.0.1:1883 or [::1]:1883, or unix: and a path, not `{0}`"
)]
pub struct NotAnAddress(String);

impl Bind {
    /// Whether only processes of this machine can connect.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Bind::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Bind::Unix(_) => true,
        }
    }

    /// The address and port, if it is one.
    #[must_use]
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Bind::Tcp(address) => Some(*address),
            Bind::Unix(_) => None,
        }
    }

    /// Whether a second listener there would be in the way.
    pub(super) fn collides(&self, other: &Bind) -> bool {
        self == other && !matches!(self, Bind::Tcp(address) if address.port() == 0)
    }
}

impl From<SocketAddr> for Bind {
    fn from(address: SocketAddr) -> Self {
        Bind::Tcp(address)
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bind::Tcp(address) => address.fmt(f),
            Bind::Unix(path) => write!(f, "{FILE_PREFIX}{}", path.display()),
        }
    }
}

impl FromStr for Bind {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        match text.trim().strip_prefix(FILE_PREFIX) {
            Some("") => Err(NotAnAddress(text.to_owned())),
            Some(path) => Ok(Bind::Unix(path.into())),
            None => text.trim().parse().map(Bind::Tcp).map_err(|_| NotAnAddress(text.to_owned())),
        }
    }
}

/// What is spoken on a listener.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// MQTT over a plain stream.
    Mqtt,
    /// MQTT over TLS.
    Mqtts,
    /// MQTT in WebSocket.
    Ws,
    /// MQTT in WebSocket over TLS.
    Wss,
}

impl Protocol {
    /// Whether TLS is spoken.
    #[must_use]
    pub fn has_tls(self) -> bool {
        matches!(self, Protocol::Mqtts | Protocol::Wss)
    }

    /// Whether WebSocket is spoken.
    #[must_use]
    pub fn has_websocket(self) -> bool {
        matches!(self, Protocol::Ws | Protocol::Wss)
    }

    /// Its name in the configuration and in the line that says that the broker is ready.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Mqtt => "mqtt",
            Protocol::Mqtts => "mqtts",
            Protocol::Ws => "ws",
            Protocol::Wss => "wss",
        }
    }
}

/// The keys of a listener that are about TLS.
#[derive(Clone, Debug, Default)]
pub struct TlsKeys {
    /// A certificate chain, PEM.
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM.
    pub private_key: Option<PathBuf>,
    /// More of both, chosen by the name that the client asks for.
    pub certificates: Option<KeyPairs>,
    /// The authorities of client certificates, PEM.
    pub client_ca: Option<PathBuf>,
    /// Whether clients show a certificate; unset is required where there is a `client_ca`.
    pub client_certificate: Option<ClientCertificate>,
    /// What these authorities have revoked, PEM.
    pub crl: Option<PathBuf>,
    /// The oldest version spoken.
    pub tls_min: TlsMin,
}

/// A certificate chain and its key, and the keys of the configuration that name them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NamedPair<'a> {
    pub(crate) certificate: (&'static str, &'a Path),
    pub(crate) private_key: (&'static str, &'a Path),
}

impl TlsKeys {
    /// All certificates with their keys, the one that is shown in doubt first.
    pub(crate) fn pairs(&self) -> Vec<NamedPair<'_>> {
        let single = self.certificate.as_deref().zip(self.private_key.as_deref());
        let single = single.map(|(certificate, private_key)| NamedPair {
            certificate: ("certificate", certificate),
            private_key: ("private_key", private_key),
        });
        let more = self.certificates.iter().flat_map(|pairs| &pairs.0);
        let more = more.map(|(certificate, private_key)| NamedPair {
            certificate: ("certificates", certificate),
            private_key: ("certificates", private_key),
        });
        single.into_iter().chain(more).collect()
    }

    /// Whether clients show a certificate.
    #[must_use]
    pub fn client_certificate(&self) -> ClientCertificate {
        let by_authority = || match self.client_ca {
            Some(_) => ClientCertificate::Required,
            None => ClientCertificate::None,
        };
        self.client_certificate.unwrap_or_else(by_authority)
    }

    /// The keys that are set and mean something only with TLS.
    pub(super) fn set_keys(&self) -> impl Iterator<Item = &'static str> {
        let keys = [
            ("certificate", self.certificate.is_some()),
            ("private_key", self.private_key.is_some()),
            ("certificates", self.certificates.is_some()),
            ("client_ca", self.client_ca.is_some()),
            ("client_certificate", self.client_certificate.is_some()),
            ("crl", self.crl.is_some()),
        ];
        keys.into_iter().filter_map(|(key, is_set)| is_set.then_some(key))
    }
}

/// Whether a text is an address that can be asked over HTTP.
pub(super) fn is_web_address(text: &str) -> bool {
    let has_host = |url: Uri| matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some();
    text.parse::<Uri>().is_ok_and(has_host)
}

/// Whether clients show a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientCertificate {
    /// They are not asked.
    None,
    /// They are asked, and may have none; a wrong one is refused.
    Optional,
    /// Nobody gets in without one.
    Required,
    /// They are asked, and any one will do whose key they have: the registry of devices knows whose it is.
    Any,
}

/// The oldest version of TLS spoken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TlsMin {
    /// TLS 1.2.
    #[default]
    V12,
    /// TLS 1.3.
    V13,
}

/// Certificates with their keys: `a.pem a.key, b.pem b.key`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyPairs(pub Vec<(PathBuf, PathBuf)>);

/// A text that is no list of certificates with their keys.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("wants pairs of a certificate and its key such as \"a.pem a.key, b.pem b.key\", not `{0}`")]
pub struct NotPairs(String);

impl FromStr for KeyPairs {
    type Err = NotPairs;

    fn from_str(text: &str) -> Result<Self, NotPairs> {
        let pair = |part: &str| {
            let mut paths = part.split_whitespace().map(PathBuf::from);
            match (paths.next(), paths.next(), paths.next()) {
                (Some(certificate), Some(private_key), None) => Ok((certificate, private_key)),
                (_, _, _) => Err(NotPairs(part.trim().to_owned())),
            }
        };
        text.split(',').map(pair).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for KeyPairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pair =
            |(certificate, key): &(PathBuf, PathBuf)| format!("{} {}", certificate.display(), key.display());
        f.write_str(&self.0.iter().map(pair).collect::<Vec<_>>().join(", "))
    }
}

/// Networks: `10.0.0.0/8, ::1`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Networks(pub Vec<IpNet>);

/// A text that is no list of networks.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("wants addresses and networks such as \"10.0.0.0/8, 127.0.0.1\", not `{0}`")]
pub struct NotNetworks(String);

impl FromStr for Networks {
    type Err = NotNetworks;

    fn from_str(text: &str) -> Result<Self, NotNetworks> {
        let network = |part: &str| {
            let single = || part.trim().parse::<IpAddr>().map(IpNet::from);
            part.trim()
                .parse::<IpNet>()
                .or_else(|_| single())
                .map_err(|_| NotNetworks(part.trim().to_owned()))
        };
        text.split(',').map(network).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(IpNet::to_string).collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_reads_as_the_same() {
        for text in ["127.0.0.1:1883", "[::1]:0", "unix:/run/ringmq/mqtt.sock"] {
            assert_eq!(text.parse::<Bind>().unwrap().to_string(), text);
        }
        let networks = "10.0.0.0/8, 127.0.0.1/32, ::1/128";
        assert_eq!(networks.parse::<Networks>().unwrap().to_string(), networks);
        assert_eq!(
            "10.0.0.0/8,127.0.0.1".parse::<Networks>().unwrap().to_string(),
            "10.0.0.0/8, 127.0.0.1/32"
        );
        let pairs = "a.pem a.key, b.pem b.key";
        assert_eq!(pairs.parse::<KeyPairs>().unwrap().to_string(), pairs);
    }

    #[test]
    fn nonsense_is_refused_by_its_name() {
        assert_eq!("unix:".parse::<Bind>(), Err(NotAnAddress("unix:".to_owned())));
        assert_eq!("a.pem, b.pem b.key".parse::<KeyPairs>(), Err(NotPairs("a.pem".to_owned())));
        assert_eq!("10.0.0.0/8, home".parse::<Networks>(), Err(NotNetworks("home".to_owned())));
    }
}
