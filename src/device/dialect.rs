//! The trait that every dialect implements: packets become what devices say, and what is said to them becomes packets.
//!
//! Why two traits: a dialect is known by its name and has no state; an interpreter belongs to one connection and remembers
//! what that has subscribed to and asked for. A dialect without devices has no interpreters, and costs nothing.
//!
//! Invariants:
//! - A dialect translates and judges. It routes nothing, keeps nothing and places nothing.
//! - No payload and no topic makes an interpreter panic.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::{self, Debug, Display, Formatter};
use std::str::FromStr;
use std::sync::Arc;

use mqtt::{Connect, QoS, ReasonCode, Version};

use crate::allowance::Within;
use crate::credential::Fingerprint;
use crate::ids::DeviceId;
use crate::profile::{Profile, Terms};
use crate::rate::Rate;
use crate::record::{Device, Tenant};
use crate::registry::Registry;
use crate::speech::{Answer, Downlink, Said, Speech, Utterance};

/// One way in which devices speak over MQTT.
pub trait Dialect: Sync + Debug {
    /// The name by which the configuration knows it.
    fn name(&self) -> &'static str;

    /// Whether its clients are devices of the registry, so that nobody else is asked about them.
    fn has_devices(&self) -> bool {
        false
    }

    /// Says who a CONNECT comes from.
    fn introduce<'a>(&self, connect: &Connect<'a>) -> Introduction<'a>;

    /// Judges a CONNECT by what the registry knows. Who asks twice gets the same answer, so it also says where a device is
    /// at home.
    fn welcome(&self, _hello: &Hello<'_>, _registry: &Registry) -> Welcome {
        Welcome::Anyone
    }

    /// Reads a profile's settings, when the profile is made or changed.
    ///
    /// # Errors
    /// What is wrong with them, in words for whoever wrote them.
    fn read_settings(&self, _settings: &str) -> Result<Option<Terms>, String> {
        Ok(None)
    }

    /// An interpreter for a device that was welcomed; none if packets need no interpreting.
    fn interpreter(&self, _guest: &Guest<'_>) -> Option<Box<dyn Interpreter>> {
        None
    }

    /// Whether a client that is refused with a certificate may be known by who signed it: then whoever asks verifies the chain,
    /// tries [`Registry::provision_by_chain`], and if that finds or makes a device, asks [`Dialect::welcome`] again.
    fn takes_chains(&self) -> bool {
        false
    }

    /// An interpreter for something that was welcomed to be provisioned.
    fn registrar(&self, _version: Version, _door: DoorQuirks) -> Option<Box<dyn Interpreter>> {
        None
    }

    /// The code of the DISCONNECT behind a CONNACK of 5.0 that refuses, where [`DoorQuirks::refusals_disconnect`] wants one.
    fn farewell(&self, refused: ReasonCode) -> ReasonCode {
        refused
    }
}

/// What stands between one connection and the device that it belongs to.
pub trait Interpreter: Send + Debug {
    /// How its connection differs from what MQTT says; asked once.
    fn habits(&self) -> Habits {
        Habits::default()
    }

    /// A PUBLISH of the device.
    fn publish<'a>(&mut self, said: &Said<'a>, speech: &mut Speech<'a>) -> Answer;

    /// The same, where what may be said is limited: if not all that it takes is there, nothing is said, and nothing is taken
    /// from anything.
    fn publish_within<'a>(
        &mut self,
        said: &Said<'a>,
        speech: &mut Speech<'a>,
        _within: Within<'_>,
    ) -> Answer {
        self.publish(said, speech)
    }

    /// Whether a subscription to a filter changes what the device is told of, which counts as a message; others only say with
    /// which quality.
    fn is_telling(&self, _filter: &str) -> bool {
        false
    }

    /// Takes back all that a message says of some children: it is neither heard nor brought to anybody.
    fn unsay(&mut self, children: &BTreeSet<String>, speech: &mut Speech<'_>) {
        speech.remarks.retain(|remark| !remark.is_of_one(children));
    }

    /// The same for a gateway, whose children have profiles of their own.
    fn publish_among<'a>(
        &mut self,
        said: &Said<'a>,
        speech: &mut Speech<'a>,
        within: Within<'_>,
        _kin: &dyn Kin,
    ) -> Answer {
        self.publish_within(said, speech, within)
    }

    /// A filter of a SUBSCRIBE; what is subscribed to stays with the interpreter.
    ///
    /// # Errors
    /// The code for the SUBACK.
    fn subscribe(&mut self, filter: &str, qos: QoS, speech: &mut Speech<'_>) -> Result<QoS, ReasonCode>;

    /// A filter of an UNSUBSCRIBE; the code for the UNSUBACK.
    fn unsubscribe(&mut self, filter: &str, speech: &mut Speech<'_>) -> ReasonCode;

    /// The device or its profile was changed: from here on what it says means what the records say. What it has subscribed
    /// to and asked for stays.
    fn renew(&mut self, _device: &Device, _tenant: &Tenant, _profile: &Profile) {}

    /// Says something to the device, or to a child of the gateway.
    ///
    /// # Errors
    /// The dialect, as it is set up for this device, has no words for it.
    fn downlink(
        &mut self,
        child: Option<&str>,
        downlink: &Downlink,
        utterances: &mut Vec<Utterance>,
    ) -> Result<(), Unspeakable>;
}

/// What is known of a gateway's children when it speaks of them.
pub trait Kin {
    /// What the dialect has understood of the settings of a child's profile; none means the defaults.
    fn terms_of(&self, child: &str) -> Option<Cow<'_, Terms>>;
}

/// What a dialect's devices rely on although MQTT has it otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Habits {
    /// A message of QoS 2 is taken as one of QoS 1, PUBACK and all.
    pub has_no_qos2: bool,
    /// CONNACK says that there is a session if the client did not ask for a clean one.
    pub echoes_session: bool,
    /// A subscription that comes too often is granted and not heeded.
    pub forgets_subscriptions: bool,
    /// A gateway speaks only for children that were created for it.
    pub keeps_to_own_children: bool,
    /// In 5.0 a DISCONNECT is answered with one.
    pub echoes_disconnect: bool,
}

/// Where a listener does as the system whose API its dialect is, although no client needs it. A listener's, because no device
/// and so no profile is known yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DoorQuirks {
    /// `null` in a request for credentials ends the connection.
    pub nulls_refused: bool,
    /// In 5.0 a DISCONNECT stands behind a CONNACK that refuses.
    pub refusals_disconnect: bool,
}

impl DoorQuirks {
    const NAMES: [&'static str; 2] = ["nullsRefused", "refusalsDisconnect"];
}

impl FromStr for DoorQuirks {
    type Err = String;

    /// Names between commas.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut door = Self::default();
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name {
                "nullsRefused" => door.nulls_refused = true,
                "refusalsDisconnect" => door.refusals_disconnect = true,
                other => return Err(format!("wants {}, not `{other}`", Self::NAMES.join(" or "))),
            }
        }
        Ok(door)
    }
}

impl Display for DoorQuirks {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let are_on = [self.nulls_refused, self.refusals_disconnect];
        let names = Self::NAMES.into_iter().zip(are_on).filter_map(|(name, is_on)| is_on.then_some(name));
        f.write_str(&names.collect::<Vec<_>>().join(", "))
    }
}

/// Who a client is, before it is admitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Introduction<'a> {
    /// What decides the client's home core: the same for all connections that share a state.
    pub placement_key: &'a str,
}

/// All that is known of a client before it is let in.
#[derive(Clone, Copy, Debug)]
pub struct Hello<'a> {
    /// Its CONNECT.
    pub connect: &'a Connect<'a>,
    /// The certificate that it showed, if any.
    pub certificate: Option<Shown>,
}

/// A certificate that a client showed, and that TLS has verified the possession of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shown {
    /// As [`crate::fingerprint`] makes it.
    pub fingerprint: Fingerprint,
    /// Whether today lies within its validity.
    pub is_current: bool,
}

/// What comes of a CONNECT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Welcome {
    /// The dialect has no opinion: whoever the listener lets in.
    Anyone,
    /// A device, which is at home where its id says.
    Device(DeviceId),
    /// Nobody yet: it may ask for credentials and nothing else.
    Unregistered,
    /// The code for the CONNACK, in the form that the client's version has.
    Refused(ReasonCode),
}

/// A device that was welcomed, and all that its interpreter needs to know of it.
#[derive(Clone, Copy, Debug)]
pub struct Guest<'a> {
    /// The version that its connection speaks.
    pub version: Version,
    /// It.
    pub device: &'a Device,
    /// Whose it is.
    pub tenant: &'a Tenant,
    /// Of what kind it is.
    pub profile: &'a Profile,
    /// What the server offers it, and all that are like it.
    pub offer: &'a Arc<Offer>,
}

/// What a server offers to a device, as far as it is told of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offer {
    /// The largest packet, and the largest part of a package, in bytes.
    pub packet_bytes_max: u32,
    /// Messages that may be on their way to the server.
    pub inflight_max: u16,
    /// Seconds without a packet after which its connection ends, whatever its keep alive is; none for no limit.
    pub silence_max_s: Option<u32>,
    /// Limits of what it says about itself, over all its connections: [`crate::DeviceAllowances`].
    pub own: Rates,
    /// Limits of what a gateway says about its children, of all of them together.
    pub children: Rates,
    /// Limits of what all devices of a tenant say together: [`crate::TenantAllowances`]. These and the others are lent to
    /// [`Interpreter::publish_within`].
    pub tenant: Rates,
    /// Whether somebody answers calls that the dialect does not know.
    pub has_responder: bool,
    /// What the listener does before it knows a device.
    pub door: DoorQuirks,
}

impl Offer {
    /// Whether it limits how often one device may say something; limits of tenants are not asked for.
    #[must_use]
    pub fn has_limits(&self) -> bool {
        [&self.own, &self.children].into_iter().any(|rates| *rates != Rates::default())
    }

    /// Whether it limits how often anything may be said.
    #[must_use]
    pub fn limits_anything(&self) -> bool {
        self.has_limits() || self.tenant != Rates::default()
    }
}

impl Rates {
    /// The part of each of so many cores.
    #[must_use]
    pub fn shared_by(&self, cores: u16) -> Self {
        Self {
            messages: self.messages.shared_by(cores),
            telemetry_messages: self.telemetry_messages.shared_by(cores),
            telemetry_values: self.telemetry_values.shared_by(cores),
        }
    }
}

/// How often something may be said.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rates {
    /// Messages that are not telemetry.
    pub messages: Rate,
    /// Messages with telemetry or attributes.
    pub telemetry_messages: Rate,
    /// Values in them.
    pub telemetry_values: Rate,
}

/// A dialect has no words for something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unspeakable {
    /// Why, in words for whoever wanted to say it.
    pub why: Box<str>,
}

impl Default for Offer {
    fn default() -> Self {
        Self {
            packet_bytes_max: 65_536,
            inflight_max: 100,
            silence_max_s: Some(600),
            own: Rates::default(),
            children: Rates::default(),
            tenant: Rates::default(),
            has_responder: false,
            door: DoorQuirks::default(),
        }
    }
}

impl Unspeakable {
    /// Because of `why`.
    pub fn because(why: impl Into<Box<str>>) -> Self {
        Self { why: why.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quirks_of_a_door_are_told_as_they_are_read() {
        for text in ["", "nullsRefused", "refusalsDisconnect", "nullsRefused, refusalsDisconnect"] {
            let door: DoorQuirks = text.parse().unwrap();
            assert_eq!(door.to_string(), text);
            assert_eq!(door.nulls_refused, text.contains("nulls"));
            assert_eq!(door.refusals_disconnect, text.contains("refusals"));
        }
        let wrong = "nullRefused".parse::<DoorQuirks>();
        assert_eq!(wrong, Err("wants nullsRefused or refusalsDisconnect, not `nullRefused`".to_owned()));
    }
}
