//! The targets and their list.

mod access;
mod coats;
mod config;
mod devices;
mod filters;
mod list;
mod packets;
mod properties;
mod store;
mod stream;
mod tls;

pub use access::{acl, passwords};
pub(crate) use coats::{SIGNATURE, UPGRADE};
pub use coats::{proxy, websocket};
pub use config::config;
pub(crate) use devices::TOPICS;
pub use devices::devices;
pub use filters::filters;
pub use list::{TARGETS, Target, target};
pub use packets::{connect, packet_v3, packet_v5};
pub use properties::properties;
pub use store::store;
pub use stream::stream_splitter;
pub use tls::tls;
