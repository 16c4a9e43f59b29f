//! The configuration as the program uses it.
//!
//! Invariants:
//! - Field names are the keys of the file; section names are the names of these fields. The exceptions say so.

use std::net::SocketAddr;
use std::path::PathBuf;

use broker::Limits;
use device::DoorQuirks;
use shard::Durability;

use super::authentication::{Access, Authenticator, Names};
use super::complaint::Place;
use super::devices::Devices;
use super::transport::{Bind, Networks, Protocol, TlsKeys};
use crate::cores::Cores;

/// Everything that can be configured.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[[listener]]`
    pub listener: Vec<Listener>,
    /// `[[authenticator]]`
    pub authenticator: Vec<Authenticator>,
    /// `[access]`
    pub access: Access,
    /// `[devices]`
    pub devices: Devices,
    /// `[store]`
    pub store: Store,
    /// `[limits]`
    pub limits: Limits,
    /// `[log]`
    pub log: Log,
    /// `[sys]`
    pub sys: Sys,
    /// `[control]`
    pub control: ControlPlane,
}

/// The process.
#[derive(Clone, Debug)]
pub struct Server {
    /// The processors to run on.
    pub cores: Cores,
    /// Seconds that the graceful end may take.
    pub shutdown_grace_s: u32,
    /// Empty turns before a core sleeps.
    pub spin_rounds: u32,
    /// Microseconds for which what arrives may gather while much does; 0 is never.
    pub gather_us: u32,
    /// Receives per second of a core from which on.
    pub gather_from: u32,
}

/// An address to listen on.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Where it listens.
    pub bind: Bind,
    /// What is spoken there.
    pub protocol: Protocol,
    /// Certificates and what is demanded of clients. Its fields are keys of the listener.
    pub tls: TlsKeys,
    /// The only path for WebSocket.
    pub websocket_path: String,
    /// Whose PROXY headers are believed; unset reads none.
    pub proxy_protocol_from: Option<Networks>,
    /// The dialect of the devices there.
    pub dialect: String,
    /// Where it does as the system does whose API the dialect is, before it knows a device.
    pub quirks: DoorQuirks,
    /// Whether clients there are devices of the registry. No key: it follows from the dialect.
    pub has_devices: bool,
    /// Whom to ask about clients, in turn; unset is nobody.
    pub authentication: Option<Names>,
    /// Whether clients need no credentials; unset means only on loopback, and only if nobody is asked.
    pub allow_anonymous: Option<bool>,
    /// What clients may do; unset is everything.
    pub acl_file: Option<PathBuf>,
    /// What an acknowledgement there means; unset is as in `[store]`.
    pub durability: Option<Durability>,
    /// Connections there; 0 is no limit. As the two below.
    pub connections_max: u32,
    /// Connections there from one address.
    pub connections_per_address_max: u32,
    /// Connections accepted there per second.
    pub connects_per_s_max: u32,
    /// Where it was configured, for complaints.
    pub place: Place,
    /// Where its keys were.
    pub key_places: Vec<(&'static str, Place)>,
}

/// What is kept over restarts, and where.
#[derive(Clone, Debug)]
pub struct Store {
    /// The directory.
    pub dir: PathBuf,
    /// What an acknowledgement means, for listeners that do not say it themselves.
    pub durability: Durability,
    /// How long a change that nobody waits for may stay unwritten.
    pub interval_ms: u32,
    /// Free space below which nothing new is kept.
    pub reserve_bytes: u64,
    /// Whether to move a damaged store aside and start with nothing. No key: in a file it would outlive the decision.
    pub quarantine: bool,
}

/// The log on standard error.
#[derive(Clone, Debug)]
pub struct Log {
    /// The least urgent lines to show.
    pub level: LogLevel,
    /// How lines look.
    pub format: LogFormat,
}

/// The urgency of log lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogLevel {
    /// Only what stops the broker.
    Error,
    /// What somebody should look at.
    Warn,
    /// The ordinary life of the broker.
    Info,
    /// The life of single clients.
    Debug,
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The control plane over HTTP.
#[derive(Clone, Debug)]
pub struct ControlPlane {
    /// Address and port; unset is off.
    pub listen: Option<SocketAddr>,
    /// The first administrator of the broker.
    pub admin: String,
    /// The first administrator of the first tenant.
    pub tenant_admin: String,
    /// Their first password; unset makes one.
    pub admin_password_file: Option<PathBuf>,
    /// How long somebody who has logged in stays so.
    pub token_lifetime_s: u32,
    /// How long that can be prolonged without a password.
    pub refresh_lifetime_s: u32,
    /// Who answers calls of devices.
    pub rpc_webhook: Option<String>,
    /// How long that may take.
    pub rpc_webhook_ms: u32,
    /// How long a device may take to answer a command, if nobody says.
    pub rpc_timeout_ms: u32,
    /// The shortest such time.
    pub rpc_timeout_min_ms: u32,
    /// Whose pages may use the API in browsers.
    pub allowed_origins: Names,
}

/// `$SYS` topics.
#[derive(Clone, Debug)]
pub struct Sys {
    /// Seconds between publications.
    pub interval_s: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: Server {
                cores: Cores::All,
                shutdown_grace_s: 5,
                spin_rounds: 50,
                gather_us: 1_000,
                gather_from: 50_000,
            },
            listener: vec![Listener::default()],
            authenticator: Vec::new(),
            access: Access::default(),
            devices: Devices::default(),
            store: Store::default(),
            limits: Limits::default(),
            log: Log { level: LogLevel::Info, format: LogFormat::Text },
            sys: Sys { interval_s: 10 },
            control: ControlPlane::default(),
        }
    }
}

impl Default for ControlPlane {
    fn default() -> Self {
        Self {
            listen: None,
            // The names that back-end scripts have in them.
            admin: "sysadmin@thingsboard.org".to_owned(),
            tenant_admin: "tenant@thingsboard.org".to_owned(),
            admin_password_file: None,
            token_lifetime_s: 9000,
            refresh_lifetime_s: 604_800,
            rpc_webhook: None,
            rpc_webhook_ms: 10_000,
            rpc_timeout_ms: 10_000,
            rpc_timeout_min_ms: 5_000,
            allowed_origins: Names::default(),
        }
    }
}

impl Default for Store {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("ringmq-data"),
            durability: Durability::Fsync,
            interval_ms: 100,
            reserve_bytes: 64 << 20,
            quarantine: false,
        }
    }
}

impl Config {
    /// What an acknowledgement on a listener means.
    #[must_use]
    pub fn durability_of(&self, listener: &Listener) -> Durability {
        listener.durability.unwrap_or(self.store.durability)
    }

    /// Notes which listeners have devices, once their dialects are known.
    pub(super) fn note_dialects(&mut self, with_devices: &[&'static str]) {
        for listener in &mut self.listener {
            listener.has_devices = with_devices.contains(&listener.dialect.as_str());
        }
    }

    /// Whether clients anywhere are looked up in the registry of devices.
    #[must_use]
    pub fn has_devices(&self) -> bool {
        let is_registry =
            |known: &Authenticator| known.kind == Some(super::authentication::AuthenticatorKind::Registry);
        self.listener.iter().any(|listener| listener.has_devices)
            || self.authenticator.iter().any(is_registry)
    }

    /// Whether any listener asks for a store.
    #[must_use]
    pub fn stores(&self) -> bool {
        self.listener.iter().any(|listener| self.durability_of(listener) != Durability::Memory)
    }
}

impl Listener {
    /// Where a key was set; where the listener is, if it was not.
    #[must_use]
    pub fn place_of(&self, key: &str) -> &Place {
        let set = self.key_places.iter().rev().find(|(set, _)| *set == key);
        set.map_or(&self.place, |(_, place)| place)
    }
}

impl Default for Listener {
    fn default() -> Self {
        Self {
            bind: Bind::Tcp(SocketAddr::from(([127, 0, 0, 1], 1883))),
            protocol: Protocol::Mqtt,
            tls: TlsKeys::default(),
            websocket_path: "/mqtt".to_owned(),
            proxy_protocol_from: None,
            dialect: "plain".to_owned(),
            quirks: DoorQuirks::default(),
            has_devices: false,
            authentication: None,
            allow_anonymous: None,
            acl_file: None,
            durability: None,
            connections_max: 0,
            connections_per_address_max: 0,
            connects_per_s_max: 0,
            place: Place::Default,
            key_places: Vec::new(),
        }
    }
}
