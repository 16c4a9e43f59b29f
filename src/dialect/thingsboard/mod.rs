//! ThingsBoard's device API over MQTT: devices, gateways and provisioning, in JSON and in Protobuf.

mod calls;
mod canonical;
mod door;
mod downlinks;
mod downloads;
mod gateway;
pub mod http;
mod json;
mod limits;
mod proto;
mod registrar;
mod render;
mod schema;
mod session;
mod settings;
mod subscriptions;
mod topics;

pub use door::ThingsBoard;
