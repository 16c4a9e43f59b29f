//! The transport of a run: which layers, with which files and names.
//!
//! Invariants:
//! - Options that mean nothing without another one are refused, so that nobody believes a plain run to be a sealed one.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tungstenite::http::Uri;

use super::tls::{TlsFiles, TlsTerms, versions};
use crate::failure::Failure;

/// What MQTT is wrapped in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transport {
    /// TLS.
    pub(super) tls: Option<TlsTerms>,
    /// WebSocket, and what it is asked for by.
    pub(super) websocket: Option<Uri>,
}

/// Options about the transport.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct TransportOptions {
    /// Speak TLS.
    #[arg(short = 'S', long)]
    pub(crate) ssl: bool,
    /// Certificates (PEM) that the broker's must lead to; without them it is not checked.
    #[arg(long, value_name = "FILE", requires = "ssl")]
    pub(crate) cacertfile: Option<PathBuf>,
    /// The clients' own certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "ssl")]
    pub(crate) certfile: Option<PathBuf>,
    /// The key of that certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "ssl")]
    pub(crate) keyfile: Option<PathBuf>,
    /// Oldest TLS version [default: 1.2].
    #[arg(long, value_name = "1.2|1.3", requires = "ssl")]
    pub(crate) tls_min: Option<TlsVersionOption>,
    /// Newest TLS version [default: 1.3].
    #[arg(long, value_name = "1.2|1.3", requires = "ssl")]
    pub(crate) tls_max: Option<TlsVersionOption>,
    /// Speak MQTT inside WebSocket.
    #[arg(long)]
    pub(crate) ws: bool,
    /// The path that a WebSocket is asked for by [default: /mqtt].
    #[arg(long, value_name = "PATH", requires = "ws")]
    pub(crate) ws_path: Option<String>,
}

/// A TLS version as people type it.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TlsVersionOption {
    /// 1.2.
    #[value(name = "1.2", alias = "tlsv1.2")]
    Two,
    /// 1.3.
    #[value(name = "1.3", alias = "tlsv1.3")]
    Three,
}

impl TlsVersionOption {
    const fn name(self) -> &'static str {
        match self {
            Self::Two => "1.2",
            Self::Three => "1.3",
        }
    }
}

impl Transport {
    /// What `options` say about connections to `host` and `port`.
    pub(crate) fn new(options: &TransportOptions, host: &str, port: u16) -> Result<Self, Failure> {
        let TransportOptions { ssl, cacertfile, certfile, keyfile, tls_min, tls_max, ws, ws_path } =
            options.clone();
        let tls = if ssl {
            let least = tls_min.unwrap_or(TlsVersionOption::Two).name();
            let most = tls_max.unwrap_or(TlsVersionOption::Three).name();
            let files = TlsFiles { ca: cacertfile, certificate: certfile, key: keyfile };
            let alpn = if ws { "http/1.1" } else { "mqtt" };
            Some(TlsTerms::new(host, &files, &versions(least, most)?, alpn)?)
        } else {
            None
        };
        let websocket = if ws {
            let scheme = if ssl { "wss" } else { "ws" };
            let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
            let path = ws_path.as_deref().unwrap_or("/mqtt");
            let uri = format!("{scheme}://{host}:{port}{path}");
            let refused = |_| Failure::Usage(format!("{uri} is no address of a WebSocket"));
            Some(uri.parse().map_err(refused)?)
        } else {
            None
        };
        Ok(Self { tls, websocket })
    }

    /// Whether MQTT goes over TCP as it is.
    pub(crate) fn is_plain(&self) -> bool {
        self.tls.is_none() && self.websocket.is_none()
    }

    /// Lets each client resume its TLS session when it comes again.
    pub(crate) fn resume(&mut self) -> Result<(), Failure> {
        let Some(tls) = &mut self.tls else {
            return Err(Failure::Usage("--resume is about TLS sessions: it needs -S".into()));
        };
        tls.resumes = true;
        Ok(())
    }

    /// In words, for the title of a report; empty for plain TCP.
    pub(crate) fn in_words(&self) -> &'static str {
        match (&self.tls, &self.websocket) {
            (None, None) => "",
            (Some(_), None) => ", over TLS",
            (None, Some(_)) => ", over WebSocket",
            (Some(_), Some(_)) => ", over WebSocket in TLS",
        }
    }
}
