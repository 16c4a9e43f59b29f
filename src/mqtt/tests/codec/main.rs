//! Tests of the codec through its façade: tables of bytes, mutations, and encoders read back.
//!
//! Why a second reading: `reference` reads packets in its own plain way from its own table, so that a slip in the
//! decoder or the encoder is not confirmed by the same slip in its test.

mod client;
mod connect;
mod golden;
mod mutation;
mod placement;
mod reference;
mod server;
mod wire;
