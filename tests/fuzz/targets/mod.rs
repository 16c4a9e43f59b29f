//! The targets and their list.

mod filters;
mod list;
mod packets;
mod properties;
mod store;
mod stream;

pub use filters::filters;
pub use list::{TARGETS, Target, target};
pub use packets::{connect, packet_v3, packet_v5};
pub use properties::properties;
pub use store::store;
pub use stream::stream_splitter;
