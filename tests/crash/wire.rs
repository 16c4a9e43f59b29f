//! What the ledger says to a broker and understands of its answers: MQTT 3.1.1 and 5.0, no more than it needs.
//!
//! Why not the broker's own room: a judge that reads with the eyes of the judged overlooks the same things.
//!
//! Invariants:
//! - Nothing here is shared with the broker's codec.
//! - Bytes that are not MQTT are an error with a sentence, never a panic.

/// The version that a client speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// MQTT 3.1.1.
    V311,
    /// MQTT 5.0.
    V5,
}

/// A packet id; the standard forbids zero.
pub type PacketId = u16;

/// The will of a CONNECT, QoS 1, not retained.
#[derive(Clone, Debug)]
pub struct Will {
    /// Where.
    pub topic: String,
    /// What.
    pub payload: Vec<u8>,
    /// Will Delay Interval in seconds, 5.0 only.
    pub delay_s: u32,
}

/// What a CONNECT says.
#[derive(Clone, Debug)]
pub struct Connect {
    /// Who.
    pub client_id: String,
    /// Clean Start, Clean Session.
    pub is_clean: bool,
    /// Session Expiry Interval in seconds, 5.0 only.
    pub expiry_s: u32,
    /// Receive Maximum, 5.0 only.
    pub receive_maximum: u16,
    /// The will, if any.
    pub will: Option<Will>,
}

/// What a PUBLISH says.
#[derive(Clone, Debug)]
pub struct Publish<'a> {
    /// Whether it may have been sent before.
    pub is_dup: bool,
    /// 0, 1 or 2.
    pub qos: u8,
    /// Whether it sets or clears a retained message, or is one.
    pub is_retained: bool,
    /// Where.
    pub topic: &'a str,
    /// Zero for QoS 0.
    pub packet_id: PacketId,
    /// Message Expiry Interval in seconds, 5.0 only.
    pub expiry_s: Option<u32>,
    /// What.
    pub payload: &'a [u8],
}

/// The four packets that settle a PUBLISH.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ack {
    /// PUBACK.
    PubAck = 0x40,
    /// PUBREC.
    PubRec = 0x50,
    /// PUBREL.
    PubRel = 0x62,
    /// PUBCOMP.
    PubComp = 0x70,
}

/// A packet from a broker.
#[derive(Clone, Debug)]
pub enum Answer<'a> {
    /// CONNACK.
    ConnAck {
        /// Session Present.
        is_present: bool,
        /// Zero is yes.
        code: u8,
    },
    /// PUBLISH.
    Publish(Publish<'a>),
    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    Ack {
        /// Which.
        ack: Ack,
        /// For which PUBLISH.
        packet_id: PacketId,
        /// Reason code; zero in 3.1.1.
        code: u8,
    },
    /// SUBACK.
    SubAck {
        /// For which SUBSCRIBE.
        packet_id: PacketId,
        /// One code per filter.
        codes: &'a [u8],
    },
    /// UNSUBACK.
    UnsubAck {
        /// For which UNSUBSCRIBE.
        packet_id: PacketId,
    },
    /// PINGRESP.
    Pong,
    /// DISCONNECT.
    Disconnect {
        /// Reason code.
        code: u8,
    },
}

/// Bytes that are not what a broker may send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(pub &'static str);

/// The first packet of `bytes` and its length; none if more bytes are needed.
///
/// # Errors
/// `Broken` says what is wrong with the bytes.
pub fn decode(version: Version, bytes: &[u8]) -> Result<Option<(Answer<'_>, usize)>, Broken> {
    let Some((length, header)) = remaining_length(bytes)? else { return Ok(None) };
    let Some(body) = bytes.get(header..header + length) else { return Ok(None) };
    let answer = body_of(version, bytes[0], Reader { bytes: body })?;
    Ok(Some((answer, header + length)))
}

/// Remaining Length and the length of the fixed header.
fn remaining_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, Broken> {
    let mut length = 0_usize;
    for index in 1..=4 {
        let Some(byte) = bytes.get(index) else { return Ok(None) };
        length |= usize::from(byte & 0x7f) << (7 * (index - 1));
        if byte & 0x80 == 0 {
            return Ok(Some((length, index + 1)));
        }
    }
    Err(Broken("a remaining length of five bytes"))
}

fn body_of(version: Version, first: u8, mut body: Reader<'_>) -> Result<Answer<'_>, Broken> {
    let is_v5 = version == Version::V5;
    match first {
        0x20 => {
            let (flags, code) = (body.u8()?, body.u8()?);
            Ok(Answer::ConnAck { is_present: flags & 1 == 1, code })
        }
        0x30..=0x3f => Ok(Answer::Publish(publish_of(is_v5, first, body)?)),
        0x40 => ack_of(Ack::PubAck, body),
        0x50 => ack_of(Ack::PubRec, body),
        0x62 => ack_of(Ack::PubRel, body),
        0x70 => ack_of(Ack::PubComp, body),
        0x90 | 0xb0 => {
            let packet_id = body.u16()?;
            if is_v5 {
                body.skip_properties()?;
            }
            let is_suback = first == 0x90;
            Ok(if is_suback {
                Answer::SubAck { packet_id, codes: body.bytes }
            } else {
                Answer::UnsubAck { packet_id }
            })
        }
        0xd0 => Ok(Answer::Pong),
        0xe0 => Ok(Answer::Disconnect { code: body.u8().unwrap_or(0) }),
        _ => Err(Broken("a first byte that no broker sends")),
    }
}

fn ack_of(ack: Ack, mut body: Reader<'_>) -> Result<Answer<'_>, Broken> {
    let packet_id = body.u16()?;
    let code = body.u8().unwrap_or(0);
    Ok(Answer::Ack { ack, packet_id, code })
}

fn publish_of(is_v5: bool, first: u8, mut body: Reader<'_>) -> Result<Publish<'_>, Broken> {
    let qos = first >> 1 & 3;
    if qos == 3 {
        return Err(Broken("QoS 3"));
    }
    let topic = body.text()?;
    let packet_id = if qos > 0 { body.u16()? } else { 0 };
    if qos > 0 && packet_id == 0 {
        return Err(Broken("packet id 0"));
    }
    if is_v5 {
        body.skip_properties()?;
    }
    Ok(Publish {
        is_dup: first & 8 != 0,
        qos,
        is_retained: first & 1 != 0,
        topic,
        packet_id,
        expiry_s: None,
        payload: body.bytes,
    })
}

/// The rest of a body.
struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Broken> {
        let (head, tail) = self.bytes.split_at_checked(length).ok_or(Broken("a body that ends too early"))?;
        self.bytes = tail;
        Ok(head)
    }

    fn u8(&mut self) -> Result<u8, Broken> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<u16, Broken> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn text(&mut self) -> Result<&'a str, Broken> {
        let length = self.u16()?;
        std::str::from_utf8(self.take(usize::from(length))?).map_err(|_| Broken("text that is not UTF-8"))
    }

    fn skip_properties(&mut self) -> Result<(), Broken> {
        let mut length = 0_usize;
        for place in 0..4 {
            let byte = self.u8()?;
            length |= usize::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                break;
            }
        }
        self.take(length).map(drop)
    }
}

/// Writes a CONNECT with keep alive 0.
pub fn connect(out: &mut Vec<u8>, version: Version, terms: &Connect) {
    let is_v5 = version == Version::V5;
    let mut body = Vec::new();
    put_text(&mut body, "MQTT");
    body.push(if is_v5 { 5 } else { 4 });
    // A will of QoS 1 sets bits 2 and 3.
    body.push(if terms.is_clean { 2 } else { 0 } | if terms.will.is_some() { 0x0c } else { 0 });
    body.extend([0, 0]);
    if is_v5 {
        let mut properties = vec![0x11];
        properties.extend(terms.expiry_s.to_be_bytes());
        properties.push(0x21);
        properties.extend(terms.receive_maximum.to_be_bytes());
        put_properties(&mut body, &properties);
    }
    put_text(&mut body, &terms.client_id);
    if let Some(will) = &terms.will {
        if is_v5 {
            let mut properties = vec![0x18];
            properties.extend(will.delay_s.to_be_bytes());
            put_properties(&mut body, &properties);
        }
        put_text(&mut body, &will.topic);
        put_bytes(&mut body, &will.payload);
    }
    put_packet(out, 0x10, &[&body]);
}

/// Writes a PUBLISH.
pub fn publish(out: &mut Vec<u8>, version: Version, publish: &Publish<'_>) {
    let mut head = Vec::with_capacity(publish.topic.len() + 10);
    put_text(&mut head, publish.topic);
    if publish.qos > 0 {
        head.extend(publish.packet_id.to_be_bytes());
    }
    if version == Version::V5 {
        match publish.expiry_s {
            None => head.push(0),
            Some(expiry_s) => {
                head.extend([5, 0x02]);
                head.extend(expiry_s.to_be_bytes());
            }
        }
    }
    let flags = u8::from(publish.is_dup) << 3 | publish.qos << 1 | u8::from(publish.is_retained);
    put_packet(out, 0x30 | flags, &[&head, publish.payload]);
}

/// Writes a PUBACK, PUBREC, PUBREL or PUBCOMP that means yes.
pub fn ack(out: &mut Vec<u8>, ack: Ack, packet_id: PacketId) {
    put_packet(out, ack as u8, &[&packet_id.to_be_bytes()]);
}

/// Writes a SUBSCRIBE for one filter.
pub fn subscribe(out: &mut Vec<u8>, version: Version, packet_id: PacketId, filter: &str, qos: u8) {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version == Version::V5 {
        body.push(0);
    }
    put_text(&mut body, filter);
    body.push(qos);
    put_packet(out, 0x82, &[&body]);
}

/// Writes an UNSUBSCRIBE for one filter.
pub fn unsubscribe(out: &mut Vec<u8>, version: Version, packet_id: PacketId, filter: &str) {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version == Version::V5 {
        body.push(0);
    }
    put_text(&mut body, filter);
    put_packet(out, 0xa2, &[&body]);
}

/// Writes a PINGREQ.
pub fn ping(out: &mut Vec<u8>) {
    out.extend([0xc0, 0]);
}

/// Writes a DISCONNECT.
pub fn disconnect(out: &mut Vec<u8>) {
    out.extend([0xe0, 0]);
}

fn put_packet(out: &mut Vec<u8>, first: u8, parts: &[&[u8]]) {
    out.push(first);
    put_length(out, parts.iter().map(|part| part.len()).sum());
    for part in parts {
        out.extend_from_slice(part);
    }
}

fn put_length(out: &mut Vec<u8>, mut length: usize) {
    loop {
        let low = u8::try_from(length & 0x7f).expect("seven bits");
        length >>= 7;
        if length == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

fn put_properties(out: &mut Vec<u8>, properties: &[u8]) {
    put_length(out, properties.len());
    out.extend_from_slice(properties);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.as_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).expect("the ledger writes short texts");
    out.extend(length.to_be_bytes());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publish_reads_back_in_both_versions() {
        for version in [Version::V311, Version::V5] {
            let sent = Publish {
                is_dup: true,
                qos: 2,
                is_retained: false,
                topic: "a/b",
                packet_id: 258,
                expiry_s: Some(3),
                payload: &[7; 200],
            };
            let mut out = Vec::new();
            publish(&mut out, version, &sent);
            assert!(decode(version, &out[..out.len() - 1]).unwrap().is_none(), "{version:?}");
            let (answer, length) = decode(version, &out).unwrap().unwrap();
            assert_eq!(length, out.len());
            let Answer::Publish(read) = answer else { panic!("{answer:?}") };
            assert_eq!((read.is_dup, read.qos, read.is_retained), (true, 2, false));
            assert_eq!((read.topic, read.packet_id, read.payload), ("a/b", 258, &[7; 200][..]));
        }
    }

    #[test]
    fn answers_are_read_by_the_standard() {
        let five = |bytes: &[u8]| format!("{:?}", decode(Version::V5, bytes).unwrap().unwrap().0);
        assert_eq!(five(&[0x20, 3, 1, 0, 0]), "ConnAck { is_present: true, code: 0 }");
        assert_eq!(five(&[0x40, 2, 1, 2]), "Ack { ack: PubAck, packet_id: 258, code: 0 }");
        assert_eq!(five(&[0x50, 3, 0, 1, 0x97]), "Ack { ack: PubRec, packet_id: 1, code: 151 }");
        assert_eq!(five(&[0x90, 4, 0, 9, 0, 2]), "SubAck { packet_id: 9, codes: [2] }");
        assert_eq!(five(&[0xb0, 4, 0, 9, 0, 0]), "UnsubAck { packet_id: 9 }");
        assert_eq!(five(&[0xe0, 1, 0x8b]), "Disconnect { code: 139 }");
        assert_eq!(
            decode(Version::V311, &[0xf0, 0]).unwrap_err(),
            Broken("a first byte that no broker sends")
        );
        assert_eq!(decode(Version::V311, &[0x32, 3, 0, 0, 0]).unwrap_err().0, "a body that ends too early");
    }
}
