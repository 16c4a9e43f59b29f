//! What is wrapped around MQTT on its way to the broker: TLS, WebSocket, or WebSocket inside TLS.
//!
//! Why layers without sockets: bytes of the socket go in, MQTT comes out, and back; the event loop stays the only place
//! that reads and writes, and a plain connection passes by without a layer and without a cost.
//!
//! Invariants:
//! - Nothing here is shared with the broker's own code for the same protocols.

mod fault;
mod layers;
mod pipe;
mod terms;
mod tls;
mod websocket;

pub(crate) use fault::LayerFault;
pub(crate) use layers::{Layers, ROOM_BYTES, Wardrobe};
pub(crate) use terms::{Transport, TransportOptions};
pub(crate) use tls::Handshake;
