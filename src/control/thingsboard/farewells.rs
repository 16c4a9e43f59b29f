//! What a gateway is told of its children: that one was deleted, or has another name.
//!
//! Why as a command to the gateway itself: it may be away, and a command waits for it.
//!
//! Invariants:
//! - A gateway that cannot be told fails no request: what was asked for has been done by then.
//!
//! Source: section 8.7 of the vectors.

use device::{CommandId, CommandKind, Device, HubCall, Order};
use serde_json::{Map, Value, json};

use super::clock::chance;
use super::house::Api;

/// How often delivery is tried again.
const RETRIES: u32 = 3;
/// How long a gateway may be away, in milliseconds.
const WAIT_MS: i64 = 86_400_000;

impl Api {
    /// Tells the gateway that spoke for a device last that the device is gone.
    pub async fn tell_deleted(&self, child: &Device) {
        self.tell_gateway(child, "gateway_device_deleted", json!(child.name)).await;
    }

    /// Tells the gateway that spoke for a device last that the device was called `old_name`.
    pub async fn tell_renamed(&self, child: &Device, old_name: &str) {
        let names = Map::from_iter([(old_name.to_owned(), json!(child.name))]);
        self.tell_gateway(child, "gateway_device_renamed", Value::Object(names)).await;
    }

    async fn tell_gateway(&self, child: &Device, method: &str, params: Value) {
        let gateway =
            child.gateway().filter(|gateway| self.read(|registry| registry.device(*gateway).is_some()));
        let Some(gateway) = gateway else { return };
        let order = Order {
            id: CommandId::random(&mut chance),
            method: method.into(),
            params: params.to_string().into(),
            kind: CommandKind::OneWay,
            is_persistent: true,
            expires_ms: self.now_ms().saturating_add(WAIT_MS),
            retries: Some(RETRIES),
            additional: None,
        };
        let _too_many_wait_already = self.ask(gateway, HubCall::Order(order)).await;
    }
}
