//! The window to the kernel: executors, the socket driver of each core, the mesh between cores, configuration, signals
//! and the log.
//!
//! Why all of this in one room: every other room of the data plane is a value that is told what happened. Whatever
//! touches a socket, a clock, a thread or a file on their behalf stands here, where it can be reviewed at once.
//!
//! Invariants:
//! - A core's mind is driven by one thread, its own.
//! - `unsafe` occurs only in the folder `ring`.
#![allow(clippy::disallowed_methods, reason = "this room reads the clock for all others")]

mod bell;
mod census;
mod clock;
mod config;
mod control;
mod cores;
mod doors;
mod doorway;
mod driver;
mod explain;
mod founding;
mod guard;
mod journal;
mod kernel;
mod launch;
mod listen;
mod logging;
mod mesh;
mod mind;
mod notices;
mod passwd;
mod reload;
mod restore;
mod rights;
mod ring;
mod service;
mod signals;

pub use census::census;
pub use clock::Clock;
pub use config::{
    Access, Authenticator, AuthenticatorKind, Bind, CertificateUse, ClientCertificate, Complaint, Config,
    ControlPlane, Devices, KeyPairs, Listener, Log, LogFormat, LogLevel, Names, Networks, NotAnAddress,
    NotNetworks, NotPairs, Place, Protocol, Server, Sources, Store, Sys, TlsKeys, TlsMin, default_file, load,
};
pub use cores::{Cores, CoresError, allowed_cpus};
pub use doors::{Doors, DoorsError, examine_doors};
pub use doorway::{CertError, inspect, make_first_certificates};
pub use explain::explain_acl;
pub use founding::Founded;
pub use guard::{Guard, Watching};
pub use journal::{SafeError, StoreWatch};
pub use kernel::KernelError;
pub use launch::{LaunchError, Plan, Running, Stopper, launch};
pub use listen::{ListenError, Listening, bind, listen};
pub use logging::{LogGuard, open_log};
pub use mesh::Inquiry;
pub use mind::Mind;
pub use passwd::{PasswdFile, PasswdTask, passwd};
pub use reload::{Reloader, Tiding};
pub use restore::Homes;
pub use rights::RightsError;
pub use ring::Depth;
pub use service::{Failure, Started, offer_to_device, offer_to_gateway, serve};
