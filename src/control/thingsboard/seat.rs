//! A request in the place of a device: who it is, and its seat at the device's home while it lasts.
//!
//! Why a seat that gives itself up: whoever waits behind HTTP goes away without a word, and a home that keeps a listener for
//! ever would send commands into nothing.
//!
//! Invariants:
//! - Dropping a seat closes it.
//! - Only a token lets anybody in here; what else a device shows is shown over MQTT.
//!
//! Source: section 13.3 of the vectors.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::request::Parts;
use device::{Credential, Device, DeviceId, Downlink, Forward, HubCall, Keeping, Probe, Typing, Uplink};
use dialect::http;
use flume::Receiver;
use platform::{Listening, Platform};

use super::asked::Payload;
use super::caller::Peer;
use super::house::Api;
use super::refusal::Refusal;

/// Bytes of a packet that are neither its topic nor its payload, at most.
const PACKET_BYTES_BESIDE: usize = 16;

/// How often room is looked for to give a seat up.
const CLOSE_STEP: Duration = Duration::from_millis(50);

/// The device whose token stands in the path.
pub(super) struct Owner(pub Device);

/// A place at a device's home.
pub(super) struct Seat {
    platform: Platform,
    device: DeviceId,
    listening: Listening,
}

impl FromRequestParts<Api> for Owner {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Refusal> {
        let stranger = || Refusal::bare(StatusCode::UNAUTHORIZED);
        let Peer(peer) = Peer::from_request_parts(parts, api).await?;
        api.trusts(peer)?;
        let path = Path::<HashMap<String, String>>::from_request_parts(parts, api).await;
        let Path(path) = path.map_err(|_| stranger())?;
        let token = path.get("deviceToken").ok_or_else(stranger)?;
        let device = api.read(|registry| registry.device_showing(Probe::of(token)).cloned());
        let is_token = |device: &Device| matches!(device.credential, Credential::Token(_));
        let device = device.filter(is_token);
        api.note_shown(peer, device.is_some());
        device.map(Self).ok_or_else(stranger)
    }
}

impl Seat {
    /// Sits down in the place of a device.
    pub async fn take(api: &Api, device: &Device) -> Result<Self, Refusal> {
        let listening = api.platform().listen();
        let seat = Self { platform: api.platform().clone(), device: device.id, listening };
        let (_, keeping) = api.terms_of(device);
        api.ask(device.id, HubCall::Open { ear: seat.listening.ear(), keeping }).await?;
        Ok(seat)
    }

    /// Says something in the device's name; it is kept when this returns.
    pub async fn say(&self, api: &Api, uplink: Uplink<'static>) -> Result<(), Refusal> {
        let call = HubCall::Hear { ear: self.listening.ear(), uplink };
        api.ask(self.device, call).await.map(drop)
    }

    /// Whether the device is still who sat down: whoever changed it before that has told nobody here.
    pub fn still_theirs(&self, api: &Api, device: &Device) -> Result<(), Refusal> {
        api.still_there(self.device)?;
        let is_theirs = api.read(|registry| {
            registry.device(self.device).is_some_and(|known| known.credential == device.credential)
        });
        if is_theirs { Ok(()) } else { Err(Refusal::bare(StatusCode::UNAUTHORIZED)) }
    }

    /// What is said to the device; closed when somebody deletes it or gives it another credential.
    pub fn heard(&self) -> &Receiver<Downlink> {
        self.listening.downlinks()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // Nobody waits for the answer: a home that does not answer has no listeners either. But where there is no room for
        // the call, the home still listens.
        let (platform, device, ear) = (self.platform.clone(), self.device, self.listening.ear());
        if platform.ask(device, HubCall::Close { ear }).is_err()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move {
                while platform.ask(device, HubCall::Close { ear }).is_err() {
                    tokio::time::sleep(CLOSE_STEP).await;
                }
            });
        }
    }
}

impl Api {
    /// Says something in a device's name, without listening for anything; it is kept when this returns.
    pub async fn say(
        &self,
        device: &Device,
        uplink: Uplink<'static>,
        forward: Option<Forward<'static>>,
    ) -> Result<(), Refusal> {
        let (_, keeping) = self.terms_of(device);
        self.ask(device.id, HubCall::Say { keeping, uplink, forward }).await.map(drop)
    }

    /// The canonical topics of a device: that of its telemetry, and that of its attributes.
    pub fn topics_of(&self, device: &Device) -> (Arc<str>, Arc<str>) {
        self.read(|registry| {
            let tenant = registry.tenant(device.tenant).map_or("", |tenant| &tenant.name);
            http::topics(tenant, &device.name)
        })
    }

    /// What subscribers of a canonical topic get of a body; nothing if it is larger than any packet may be.
    pub fn forward(&self, topic: Arc<str>, body: &str) -> Option<Forward<'static>> {
        if body.len() + topic.len() + PACKET_BYTES_BESIDE > self.settings().packet_bytes_max {
            self.limits().note_unforwarded();
            return None;
        }
        Some(Forward { topic, payload: body.as_bytes().to_vec().into() })
    }

    /// How the values of a device are typed.
    pub fn typing_of(&self, device: &Device) -> (Typing, Keeping) {
        let (terms, keeping) = self.terms_of(device);
        (http::typing(terms.as_ref()), keeping)
    }

    /// What a device wrote, as JSON if it can be made so.
    pub(super) fn lawful_of<'b>(&self, device: &Device, body: &'b Payload) -> Result<Cow<'b, str>, Refusal> {
        let (terms, _) = self.terms_of(device);
        Ok(http::lawful(std::str::from_utf8(&body.bytes).map_err(Refusal::bad_body)?, terms.as_ref()))
    }

    /// Whether a device is still there.
    pub fn still_there(&self, device: DeviceId) -> Result<(), Refusal> {
        let is_there = self.read(|registry| registry.device(device).is_some());
        if is_there { Ok(()) } else { Err(Refusal::plain(StatusCode::FORBIDDEN, "Device was deleted!")) }
    }
}
