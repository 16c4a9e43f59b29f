//! Templates: a PUBLISH encoded once and copied to every receiver that takes the same form.
//!
//! Why: in a fan-out almost all receivers differ in nothing but the packet id, so one copy and a patch of two bytes
//! replace an encoding.
//!
//! Invariants:
//! - A template belongs to one message; `reset` comes before each.
//! - A receiver with aliases, identifiers or a repeated packet is encoded by itself.

use mqtt::{QoS, Version, encode};

use crate::deliver::{Outbound, publish_out};
use crate::link::Link;
use crate::message::Message;

/// Forms: two wire versions, three QoS, RETAIN or not.
const FORMS: usize = 12;

#[derive(Debug, Default)]
pub(crate) struct Templates {
    forms: [Template; FORMS],
    built: u16,
    is_wanted: bool,
}

#[derive(Debug, Default)]
struct Template {
    bytes: Vec<u8>,
    packet_id_offset: usize,
}

impl Templates {
    /// Begins a new message; `is_wanted` if it has several receivers.
    #[inline]
    pub fn reset(&mut self, is_wanted: bool) {
        self.built = 0;
        self.is_wanted = is_wanted;
    }

    #[inline]
    pub fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    /// Copies the template for this form, built on first use; false if it exceeds the receiver's maximum.
    #[inline]
    pub fn write(&mut self, link: &mut Link, message: &Message<'_>, outbound: Outbound<'_>) -> bool {
        let form = form(link.version, outbound);
        if self.built & (1 << form) == 0 {
            self.build(form, link.version, message, outbound);
        }
        let template = &self.forms[form];
        if template.bytes.len() > stdx::widen(link.packet_bytes_max) {
            return false;
        }
        let start = link.out.len();
        link.out.extend_from_slice(&template.bytes);
        if let Some(id) = outbound.id {
            encode::publish_patch(&mut link.out[start..], template.packet_id_offset, id, false);
        }
        true
    }

    fn build(&mut self, form: usize, version: Version, message: &Message<'_>, outbound: Outbound<'_>) {
        let publish = publish_out(message, outbound, None);
        let template = &mut self.forms[form];
        template.bytes.clear();
        encode::publish(&mut template.bytes, version, &publish);
        template.packet_id_offset = encode::publish_packet_id_offset(version, &publish).unwrap_or(0);
        self.built |= 1 << form;
    }
}

#[inline]
fn form(version: Version, outbound: Outbound<'_>) -> usize {
    let is_v5 = usize::from(version == Version::V5);
    let qos = match outbound.grant.qos {
        QoS::AtMostOnce => 0,
        QoS::AtLeastOnce => 1,
        QoS::ExactlyOnce => 2,
    };
    (is_v5 * 3 + qos) * 2 + usize::from(outbound.grant.retain)
}
