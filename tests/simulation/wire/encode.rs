//! Writes client packets.
//!
//! Invariants:
//! - A variable byte integer is minimal, and a field that the version lacks is not written.
//!
//! Source: MQTT 5.0 section 3, MQTT 3.1.1 section 3, MQTT 3.1 section 3.

use super::client::{ClientPacket, Connect, Meta, Publish, Subscribe, Version, Will};

/// The bytes of `packet` in `version`.
#[must_use]
pub fn encode(version: Version, packet: &ClientPacket) -> Vec<u8> {
    let is_5 = version == Version::V5;
    match packet {
        ClientPacket::Connect(connect) => framed(0x10, &connect_body(connect)),
        ClientPacket::Publish(publish) => framed(publish_first(publish), &publish_body(is_5, publish)),
        ClientPacket::PubAck(id, code) => framed(0x40, &ack_body(is_5, *id, *code)),
        ClientPacket::PubRec(id, code) => framed(0x50, &ack_body(is_5, *id, *code)),
        ClientPacket::PubRel(id) => framed(0x62, &id.to_be_bytes()),
        ClientPacket::PubComp(id) => framed(0x70, &id.to_be_bytes()),
        ClientPacket::Subscribe(subscribe) => framed(0x82, &subscribe_body(is_5, subscribe)),
        ClientPacket::Unsubscribe(id, filters) => framed(0xa2, &unsubscribe_body(is_5, *id, filters)),
        ClientPacket::PingReq => vec![0xc0, 0],
        ClientPacket::Disconnect(code, expiry_s) => framed(0xe0, &disconnect_body(is_5, *code, *expiry_s)),
        ClientPacket::Bad(bad) => bad.bytes.clone(),
    }
}

fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    varint(&mut packet, body.len());
    packet.extend_from_slice(body);
    packet
}

fn varint(out: &mut Vec<u8>, mut value: usize) {
    loop {
        let low = u8::try_from(value & 0x7f).expect("seven bits");
        value >>= 7;
        if value == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

fn binary(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u16::try_from(bytes.len()).expect("a short field").to_be_bytes());
    out.extend_from_slice(bytes);
}

fn four(out: &mut Vec<u8>, id: u8, value: Option<u32>) {
    if let Some(value) = value {
        out.push(id);
        out.extend_from_slice(&value.to_be_bytes());
    }
}

fn two(out: &mut Vec<u8>, id: u8, value: Option<u16>) {
    if let Some(value) = value {
        out.push(id);
        out.extend_from_slice(&value.to_be_bytes());
    }
}

fn properties(out: &mut Vec<u8>, list: &[u8]) {
    varint(out, list.len());
    out.extend_from_slice(list);
}

fn connect_body(connect: &Connect) -> Vec<u8> {
    let (name, level): (&[u8], u8) = match connect.version {
        Version::V31 => (b"MQIsdp", 3),
        Version::V311 => (b"MQTT", 4),
        Version::V5 => (b"MQTT", 5),
    };
    let mut body = Vec::new();
    binary(&mut body, name);
    body.push(level);
    let will = connect.will.as_ref();
    let will_flags =
        will.map_or(0, |will| 4 | will.publish.qos << 3 | u8::from(will.publish.is_retained) << 5);
    body.push(u8::from(connect.is_clean) << 1 | will_flags);
    body.extend_from_slice(&connect.keep_alive_s.to_be_bytes());
    let is_5 = connect.version == Version::V5;
    if is_5 {
        let mut list = Vec::new();
        four(&mut list, 0x11, connect.expiry_s);
        two(&mut list, 0x21, connect.receive_maximum);
        four(&mut list, 0x27, connect.packet_bytes_max);
        two(&mut list, 0x22, connect.alias_max);
        properties(&mut body, &list);
    }
    binary(&mut body, connect.client_id.as_bytes());
    if let Some(will) = will {
        will_fields(&mut body, is_5, will);
    }
    body
}

fn will_fields(body: &mut Vec<u8>, is_5: bool, will: &Will) {
    if is_5 {
        let mut list = Vec::new();
        four(&mut list, 0x18, (will.delay_s > 0).then_some(will.delay_s));
        four(&mut list, 0x02, will.publish.expiry_s);
        meta(&mut list, &will.publish.meta);
        properties(body, &list);
    }
    binary(body, will.publish.topic.as_bytes());
    binary(body, &will.publish.payload);
}

fn meta(list: &mut Vec<u8>, meta: &Meta) {
    if let Some(format) = meta.payload_format {
        list.extend_from_slice(&[0x01, format]);
    }
    for (id, text) in [(0x03, &meta.content_type), (0x08, &meta.response_topic)] {
        if let Some(text) = text {
            list.push(id);
            binary(list, text.as_bytes());
        }
    }
    if let Some(correlation) = &meta.correlation {
        list.push(0x09);
        binary(list, correlation);
    }
    for (key, value) in &meta.user {
        list.push(0x26);
        binary(list, key.as_bytes());
        binary(list, value.as_bytes());
    }
}

fn publish_first(publish: &Publish) -> u8 {
    0x30 | u8::from(publish.is_dup) << 3 | publish.qos << 1 | u8::from(publish.is_retained)
}

fn publish_body(is_5: bool, publish: &Publish) -> Vec<u8> {
    let mut body = Vec::new();
    binary(&mut body, if publish.is_topic_omitted { b"" } else { publish.topic.as_bytes() });
    if publish.qos > 0 {
        body.extend_from_slice(&publish.id.to_be_bytes());
    }
    if is_5 {
        let mut list = Vec::new();
        two(&mut list, 0x23, publish.alias);
        four(&mut list, 0x02, publish.expiry_s);
        meta(&mut list, &publish.meta);
        properties(&mut body, &list);
    }
    body.extend_from_slice(&publish.payload);
    body
}

fn ack_body(is_5: bool, id: u16, code: u8) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if is_5 && code != 0 {
        body.push(code);
    }
    body
}

fn subscribe_body(is_5: bool, subscribe: &Subscribe) -> Vec<u8> {
    let mut body = subscribe.id.to_be_bytes().to_vec();
    if is_5 {
        let mut list = Vec::new();
        if let Some(id) = subscribe.subscription_id {
            list.push(0x0b);
            varint(&mut list, usize::try_from(id).expect("28 bits"));
        }
        properties(&mut body, &list);
    }
    for request in &subscribe.requests {
        binary(&mut body, request.filter.as_bytes());
        let options = u8::from(request.is_no_local) << 2
            | u8::from(request.keeps_retain) << 3
            | request.retain_handling << 4;
        body.push(request.qos | if is_5 { options } else { 0 });
    }
    body
}

fn unsubscribe_body(is_5: bool, id: u16, filters: &[String]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if is_5 {
        body.push(0);
    }
    for filter in filters {
        binary(&mut body, filter.as_bytes());
    }
    body
}

fn disconnect_body(is_5: bool, code: u8, expiry_s: Option<u32>) -> Vec<u8> {
    let mut body = Vec::new();
    if is_5 && (code != 0 || expiry_s.is_some()) {
        body.push(code);
    }
    if is_5 && expiry_s.is_some() {
        let mut list = Vec::new();
        four(&mut list, 0x11, expiry_s);
        properties(&mut body, &list);
    }
    body
}
