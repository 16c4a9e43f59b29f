//! SUBSCRIBE and UNSUBSCRIBE: decoding, and the iterators over what they ask for.
//!
//! Why the packet keeps its bytes: a list of requests would have to live somewhere; reading the checked bytes again
//! costs less than an allocation, and these packets are rare.
//!
//! Invariants:
//! - [`Subscribe::requests`] and [`Unsubscribe::filters`] yield every element that `decode` has counted: all elements
//!   were read once by the same function before the packet was handed out.
//!
//! Source: MQTT 5.0 sections 3.8 and 3.10.

use crate::cursor::Cursor;
use crate::properties::{self, Place, Property, Value};
use crate::{
    QoS, RetainHandling, Subscribe, SubscribeOptions, SubscribeRequest, Unsubscribe, Version, Violation,
    topic,
};

impl<'a> Subscribe<'a> {
    pub(crate) fn decode(mut cursor: Cursor<'a>, version: Version) -> Result<Self, Violation> {
        let packet_id = cursor.packet_id()?;
        let mut subscription_id = None;
        if version == Version::V5 {
            properties::walk(cursor.properties()?, Place::SUBSCRIBE, |property, value| {
                if let (Property::SubscriptionId, Value::Number(id)) = (property, value) {
                    subscription_id = Some(id);
                }
                Ok(())
            })?;
        }
        let body = cursor.rest();
        if body.is_empty() {
            return Err(Violation::SubscribeEmpty);
        }
        while !cursor.is_empty() {
            request(&mut cursor, version)?;
        }
        Ok(Self { packet_id, subscription_id, body, version })
    }

    /// The topic requests, in the order in which the SUBACK answers them. Source: [MQTT-3.8.4-6].
    pub fn requests(&self) -> impl Iterator<Item = SubscribeRequest<'a>> + use<'a> {
        let (mut cursor, version) = (Cursor::new(self.body), self.version);
        std::iter::from_fn(move || request(&mut cursor, version).ok())
    }

    /// How many topic requests there are; at least one. Cost: one pass over them.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "never empty: [MQTT-3.8.3-2]")]
    pub fn len(&self) -> usize {
        self.requests().count()
    }
}

fn request<'a>(cursor: &mut Cursor<'a>, version: Version) -> Result<SubscribeRequest<'a>, Violation> {
    let filter = cursor.text()?;
    let options = options(cursor.byte()?, version)?;
    if options.no_local && topic::is_shared(filter) {
        return Err(Violation::NoLocalOnShared);
    }
    Ok(SubscribeRequest { filter, options })
}

/// Reads an options byte; below 5.0 all bits but the QoS are reserved. Source: [MQTT-3.8.3-5], section 3.8.3.1.
fn options(byte: u8, version: Version) -> Result<SubscribeOptions, Violation> {
    let reserved = if version == Version::V5 { 0xc0 } else { 0xfc };
    if byte & reserved != 0 {
        return Err(Violation::SubscribeFlagReserved);
    }
    let retain_handling = match byte >> 4 & 3 {
        0 => RetainHandling::Send,
        1 => RetainHandling::SendIfNew,
        2 => RetainHandling::Never,
        // Two bits: only 3 is left.
        _ => return Err(Violation::RetainHandlingInvalid),
    };
    Ok(SubscribeOptions {
        qos: QoS::from_bits(byte & 3).ok_or(Violation::SubscribeQoSInvalid)?,
        no_local: byte & 4 != 0,
        retain_as_published: byte & 8 != 0,
        retain_handling,
    })
}

impl<'a> Unsubscribe<'a> {
    pub(crate) fn decode(mut cursor: Cursor<'a>, version: Version) -> Result<Self, Violation> {
        let packet_id = cursor.packet_id()?;
        if version == Version::V5 {
            properties::walk(cursor.properties()?, Place::UNSUBSCRIBE, |_, _| Ok(()))?;
        }
        let body = cursor.rest();
        if body.is_empty() {
            return Err(Violation::UnsubscribeEmpty);
        }
        while !cursor.is_empty() {
            cursor.text()?;
        }
        Ok(Self { packet_id, body })
    }

    /// The filters as sent, in the order in which the UNSUBACK answers them. UTF-8, not checked for filter syntax.
    /// Source: [MQTT-3.11.3-1].
    pub fn filters(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut cursor = Cursor::new(self.body);
        std::iter::from_fn(move || cursor.text().ok())
    }

    /// How many filters there are; at least one. Cost: one pass over them.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "never empty: [MQTT-3.10.3-2]")]
    pub fn len(&self) -> usize {
        self.filters().count()
    }
}
