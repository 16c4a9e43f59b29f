//! ThingsBoard's device API over MQTT: devices, gateways and provisioning, in JSON and in Protobuf.

mod calls;
mod canonical;
mod door;
mod downlinks;
mod downloads;
mod gateway;
pub mod http;
mod json;
mod latency;
mod lenient;
mod limits;
mod proto;
mod quirks;
mod registrar;
mod render;
mod scan;
mod schema;
mod session;
mod settings;
mod subscriptions;
mod topics;

pub use door::ThingsBoard;
