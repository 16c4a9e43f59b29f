//! The exchange of one core: sessions, subscriptions, routes, retained messages, wills. It knows no device and no dialect.
//!
//! Why pure: every promise of MQTT is kept or broken here, so this room must run in a simulator, under a fuzzer and
//! under an instruction counter, with time and randomness as arguments.
//!
//! Invariants:
//! - Nothing here reads a socket, a file, a clock or a lock.
//! - Every queue has a limit in [`Limits`], and every drop a counter in [`Counters`].
//!
//! Source: MQTT 5.0 sections 3 and 4; MQTT 3.1.1 sections 3 and 4.

mod acks;
mod arena;
mod change;
mod connect;
mod core_id;
mod counters;
mod deliver;
mod depart;
mod directory;
mod durable;
mod exchange;
mod filter_tree;
mod gate;
mod holders;
mod inbox;
mod interpreted;
mod journal;
mod limits;
mod link;
mod message;
mod meter;
mod notice;
mod parcel;
mod publish;
mod pump;
mod restore;
mod retain;
mod retained;
mod rights;
mod route;
mod seats;
mod session;
#[cfg(test)]
mod sizes;
mod spares;
mod subscribe;
mod sys;
mod table;
mod template;
mod timers;
mod waiting;
mod window;

pub use change::{
    Change, Fetch, Fetched, MessageCopy, SessionOwner, Shipped, StoreHealth, SubscriptionTerms, WillState,
    Written,
};
pub use connect::{Admission, Guest};
pub use core_id::{CORES_MAX, CoreId, CoreSet};
pub use counters::{CounterKind, Counters};
pub use exchange::{Exchange, ExchangeSetup, LinkEnd};
pub use filter_tree::FilterTree;
pub use interpreted::{Behalf, Freight, Saying};
pub use limits::Limits;
pub use link::LinkId;
pub use message::{StoredMessage, StoredParts};
pub use notice::{Level, Notice, NoticeKind, Shown, device as device_named};
pub use parcel::Batch;
pub use retained::RetainedVersion;
pub use rights::Rights;
pub use session::SessionKey;
