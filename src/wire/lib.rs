//! The doorways between a byte stream and MQTT frames: bytes in, however they were cut, frames out.
//!
//! Why a room of its own: what a peer wraps around MQTT is none of the exchange's business. A plain stream is only cut
//! anywhere ([`Inlet`]); others wear coats, which come off here and are put on again ([`Coats`]).
//!
//! Invariants:
//! - An inlet holds bytes only while a packet is incomplete or the reader has asked it to wait; otherwise it owns no
//!   memory.
//! - How a stream was cut changes nothing in what comes out. Source: MQTT 5.0 section 4.2.

mod chain;
mod coats;
mod fault;
mod inlet;
mod pipe;
mod proxy;
mod tls;
mod websocket;

pub use chain::{CHAIN_CERTIFICATES_MAX, ChainFault, common_name};
pub use coats::{Coats, ProxyTerms, Wardrobe};
pub use fault::CoatFault;
pub use inlet::{Flow, Inlet};
pub use tls::TlsFacts;
pub use websocket::WebSocketTerms;
