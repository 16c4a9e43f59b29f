//! Packets in one short line each, for people who read a trace.
//!
//! Invariants:
//! - What equals its default is left out.

use super::client::{ClientPacket, Connect, Publish, Request, Subscribe};
use super::server::{ConnAck, Delivery, ServerPacket};
use crate::message;

impl ClientPacket {
    /// The packet in one line.
    #[must_use]
    pub fn brief(&self) -> String {
        match self {
            Self::Connect(connect) => connect_line(connect),
            Self::Publish(publish) => format!("PUBLISH {}", publish_line(publish)),
            Self::PubAck(id, code) => format!("PUBACK {id} {code:#04x}"),
            Self::PubRec(id, code) => format!("PUBREC {id} {code:#04x}"),
            Self::PubRel(id) => format!("PUBREL {id}"),
            Self::PubComp(id) => format!("PUBCOMP {id}"),
            Self::Subscribe(subscribe) => subscribe_line(subscribe),
            Self::Unsubscribe(id, filters) => format!("UNSUBSCRIBE {id} {filters:?}"),
            Self::PingReq => "PINGREQ".into(),
            Self::Disconnect(code, expiry_s) => {
                format!("DISCONNECT {code:#04x}{}", option(" expiry", expiry_s.as_ref()))
            }
            Self::Bad(bad) => format!("BAD {:?} {:02x?}", bad.what, bad.bytes),
        }
    }
}

impl ServerPacket {
    /// The packet in one line.
    #[must_use]
    pub fn brief(&self) -> String {
        match self {
            Self::ConnAck(connack) => connack_line(connack),
            Self::Publish(delivery) => delivery_line(delivery),
            Self::PubAck(id, code) => format!("PUBACK {id} {code:#04x}"),
            Self::PubRec(id, code) => format!("PUBREC {id} {code:#04x}"),
            Self::PubRel(id, code) => format!("PUBREL {id} {code:#04x}"),
            Self::PubComp(id, code) => format!("PUBCOMP {id} {code:#04x}"),
            Self::SubAck(id, codes) => format!("SUBACK {id} {codes:02x?}"),
            Self::UnsubAck(id, codes) => format!("UNSUBACK {id} {codes:02x?}"),
            Self::PingResp => "PINGRESP".into(),
            Self::Disconnect(code) => format!("DISCONNECT {code:#04x}"),
            Self::Auth(code) => format!("AUTH {code:#04x}"),
        }
    }
}

fn option<T: std::fmt::Debug>(name: &str, value: Option<&T>) -> String {
    value.map_or_else(String::new, |value| format!("{name}={value:?}"))
}

fn flag(name: &str, is_set: bool) -> &str {
    if is_set { name } else { "" }
}

fn payload_name(payload: &[u8]) -> String {
    match message::number(payload) {
        Some(number) => format!("{}{number}", if message::is_will(payload) { "w" } else { "m" }),
        None => format!("{} bytes", payload.len()),
    }
}

fn connect_line(connect: &Connect) -> String {
    let will = connect.will.as_ref();
    let will = will.map(|will| format!(" will[{} delay={}]", publish_line(&will.publish), will.delay_s));
    [
        format!("CONNECT {:?} {:?}", connect.version, connect.client_id),
        flag(" clean", connect.is_clean).to_string(),
        format!(" keep_alive={}", connect.keep_alive_s),
        option(" expiry", connect.expiry_s.as_ref()),
        option(" receive_maximum", connect.receive_maximum.as_ref()),
        option(" packet_max", connect.packet_bytes_max.as_ref()),
        option(" alias_max", connect.alias_max.as_ref()),
        will.unwrap_or_default(),
    ]
    .concat()
}

fn publish_line(publish: &Publish) -> String {
    [
        format!("q{} {:?} {}", publish.qos, publish.topic, payload_name(&publish.payload)),
        if publish.qos > 0 { format!(" id={}", publish.id) } else { String::new() },
        flag(" retain", publish.is_retained).to_string(),
        flag(" dup", publish.is_dup).to_string(),
        option(" alias", publish.alias.as_ref()),
        flag(" (omitted)", publish.is_topic_omitted).to_string(),
        option(" expiry", publish.expiry_s.as_ref()),
        format!(" {} B", publish.payload.len()),
    ]
    .concat()
}

fn subscribe_line(subscribe: &Subscribe) -> String {
    let request = |request: &Request| {
        [
            format!(" {:?} q{}", request.filter, request.qos),
            flag(" no-local", request.is_no_local).to_string(),
            flag(" rap", request.keeps_retain).to_string(),
            format!(" rh{}", request.retain_handling),
        ]
        .concat()
    };
    let requests: Vec<String> = subscribe.requests.iter().map(request).collect();
    format!(
        "SUBSCRIBE {}{}{}",
        subscribe.id,
        option(" sub_id", subscribe.subscription_id.as_ref()),
        requests.join(",")
    )
}

fn connack_line(connack: &ConnAck) -> String {
    [
        format!("CONNACK {:#04x}", connack.code),
        flag(" session-present", connack.is_session_present).to_string(),
        option(" expiry", connack.expiry_s.as_ref()),
        option(" keep_alive", connack.keep_alive_s.as_ref()),
        option(" assigned", connack.assigned_id.as_ref()),
    ]
    .concat()
}

fn delivery_line(delivery: &Delivery) -> String {
    [
        format!("PUBLISH q{} {:?} {}", delivery.qos, delivery.topic, payload_name(&delivery.payload)),
        if delivery.qos > 0 { format!(" id={}", delivery.id) } else { String::new() },
        flag(" retain", delivery.is_retained).to_string(),
        flag(" dup", delivery.is_dup).to_string(),
        option(" alias", delivery.alias.as_ref()),
        option(" expiry", delivery.expiry_s.as_ref()),
        if delivery.subscription_ids.is_empty() {
            String::new()
        } else {
            format!(" ids={:?}", delivery.subscription_ids)
        },
    ]
    .concat()
}
