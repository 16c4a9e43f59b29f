//! Golden packets, whole, cut, bent and shuffled: the decoder and the reference must agree on every one of them.
//!
//! Why agreement: "does not panic" is little. A bent packet may be lawful by chance, and then both must find the same
//! parts in it; a packet that only one of them accepts is a bug in one of them.

use mqtt::{Connect, Framing, Packet, QoS, RetainHandling, Version, decode, decode_connect, frame};
use stdx::Prng;

use crate::golden;
use crate::reference::{self, Parts};
use crate::wire::{VERSIONS, packet, whole};

fn id(id: mqtt::PacketId) -> Vec<u8> {
    id.get().to_be_bytes().to_vec()
}

fn number<const N: usize>(bytes: Option<[u8; N]>) -> Vec<u8> {
    bytes.map(Vec::from).unwrap_or_default()
}

fn text(text: Option<&str>) -> Vec<u8> {
    text.unwrap_or_default().into()
}

fn data(data: Option<&[u8]>) -> Vec<u8> {
    data.unwrap_or_default().into()
}

/// The parts of a decoded packet, in the order of the reference.
fn parts(packet: &Packet<'_>) -> Parts {
    let ack = |kind: u8, ack: &mqtt::Ack| vec![vec![kind], id(ack.packet_id), vec![ack.reason.byte()]];
    match packet {
        Packet::Connect => vec![vec![1]],
        Packet::Publish(publish) => {
            let flags = u8::from(publish.dup) << 3 | publish.qos.bits() << 1 | u8::from(publish.retain);
            assert_eq!(publish.packet_id.is_none(), publish.qos == QoS::AtMostOnce);
            let untouched = publish.topic_alias.is_none() && publish.expiry_s.is_none();
            assert_eq!(publish.raw_is_forwardable, untouched);
            vec![
                vec![3],
                vec![flags],
                publish.topic.to_vec(),
                publish.packet_id.map(id).unwrap_or_default(),
                number(publish.topic_alias.map(u16::to_be_bytes)),
                number(publish.expiry_s.map(u32::to_be_bytes)),
                vec![u8::from(publish.payload_is_utf8)],
                publish.payload.to_vec(),
            ]
        }
        Packet::PubAck(puback) => ack(4, puback),
        Packet::PubRec(pubrec) => ack(5, pubrec),
        Packet::PubRel(pubrel) => ack(6, pubrel),
        Packet::PubComp(pubcomp) => ack(7, pubcomp),
        Packet::Subscribe(subscribe) => {
            let mut parts = vec![vec![8], id(subscribe.packet_id)];
            parts.push(number(subscribe.subscription_id.map(|id| u64::from(id).to_be_bytes())));
            for request in subscribe.requests() {
                let options = request.options;
                let handling = match options.retain_handling {
                    RetainHandling::Send => 0,
                    RetainHandling::SendIfNew => 0x10,
                    RetainHandling::Never => 0x20,
                };
                let flags = u8::from(options.no_local) << 2 | u8::from(options.retain_as_published) << 3;
                parts.extend([request.filter.into(), vec![options.qos.bits() | flags | handling]]);
            }
            assert_eq!(parts.len(), 3 + 2 * subscribe.len());
            parts
        }
        Packet::Unsubscribe(unsubscribe) => {
            let mut parts = vec![vec![10], id(unsubscribe.packet_id)];
            parts.extend(unsubscribe.filters().map(Vec::from));
            assert_eq!(parts.len(), 2 + unsubscribe.len());
            parts
        }
        Packet::PingReq => vec![vec![12]],
        Packet::Disconnect(disconnect) => vec![
            vec![14],
            vec![disconnect.reason.byte()],
            number(disconnect.session_expiry_s.map(u32::to_be_bytes)),
            text(disconnect.reason_string),
        ],
        Packet::Auth(auth) => vec![vec![15], vec![auth.reason.byte()], text(auth.method), data(auth.data)],
    }
}

fn connect_parts(connect: &Connect<'_>) -> Parts {
    let level = match connect.version {
        Version::V31 => 3,
        Version::V311 => 4,
        Version::V5 => 5,
    };
    let mut flags = u8::from(connect.clean_start) << 1;
    if let Some(will) = &connect.will {
        flags |= 4 | will.qos.bits() << 3 | u8::from(will.retain) << 5;
    }
    let said = &connect.properties;
    let flag = |byte: bool| vec![u8::from(byte)];
    let mut parts = vec![
        vec![level],
        vec![flags],
        connect.keep_alive_s.to_be_bytes().to_vec(),
        connect.client_id.into(),
        number(said.session_expiry_s.map(u32::to_be_bytes)),
        text(said.authentication_method),
        data(said.authentication_data),
        said.request_problem_information.map(flag).unwrap_or_default(),
        flag(said.request_response_information),
        number(said.receive_maximum.map(u16::to_be_bytes)),
        said.topic_alias_max.to_be_bytes().to_vec(),
        number(said.packet_bytes_max.map(u32::to_be_bytes)),
    ];
    if let Some(will) = &connect.will {
        parts.extend([
            will.topic.into(),
            will.payload.to_vec(),
            will.delay_s.to_be_bytes().to_vec(),
            number(will.expiry_s.map(u32::to_be_bytes)),
            flag(will.payload_is_utf8),
        ]);
    }
    parts.extend(connect.user_name.map(Vec::from));
    parts.extend(connect.password.map(Vec::from));
    parts
}

/// Fills in what absent properties mean, so that the reference's parts compare with the decoder's.
fn with_defaults(mut parts: Parts) -> Parts {
    let mut absent = |index: usize, default: &[u8]| {
        if parts[index].is_empty() {
            parts[index] = default.to_vec();
        }
    };
    absent(8, &[0]);
    absent(10, &[0, 0]);
    if parts[1][0] & 4 != 0 {
        let mut absent = |index: usize, default: &[u8]| {
            if parts[index].is_empty() {
                parts[index] = default.to_vec();
            }
        };
        absent(14, &[0, 0, 0, 0]);
        absent(16, &[0]);
    }
    parts
}

/// Both read the same bytes; returns whether they were accepted.
fn agree(bytes: &[u8], version: Version) -> bool {
    let expected = reference::client(bytes, version);
    let cut = match frame(bytes, u32::MAX) {
        Ok(Framing::Whole(frame)) if frame.bytes.len() == bytes.len() => frame,
        Ok(Framing::Whole(_) | Framing::Partial) | Err(_) => {
            assert_eq!(expected, None, "framing of {bytes:02x?}");
            return false;
        }
    };
    let decoded = decode(cut, version);
    assert_eq!(decoded.as_ref().ok().map(parts), expected, "{version:?} {bytes:02x?}: {decoded:?}");
    decoded.is_ok()
}

fn agree_on_connect(bytes: &[u8]) -> bool {
    let expected = reference::connect(bytes);
    let cut = match frame(bytes, u32::MAX) {
        Ok(Framing::Whole(frame)) if frame.bytes.len() == bytes.len() => frame,
        Ok(Framing::Whole(_) | Framing::Partial) | Err(_) => {
            assert_eq!(expected, None, "framing of {bytes:02x?}");
            return false;
        }
    };
    let decoded = decode_connect(cut);
    let expected = expected.map(with_defaults);
    assert_eq!(decoded.as_ref().ok().map(connect_parts), expected, "{bytes:02x?}: {decoded:?}");
    decoded.is_ok()
}

/// A packet of the same first byte with another body and a fitting remaining length.
fn rebuilt(bytes: &[u8], body: &[u8]) -> Vec<u8> {
    packet(bytes[0], &[body])
}

#[test]
fn every_golden_packet_is_accepted() {
    for (version, bytes) in golden::packets() {
        assert!(agree(&bytes, version), "{version:?} {bytes:02x?}");
    }
    for bytes in golden::connects() {
        assert!(agree_on_connect(&bytes), "{bytes:02x?}");
    }
}

#[test]
fn a_packet_cut_anywhere_is_the_beginning_of_one() {
    // FR-11.
    let connects = golden::connects().into_iter();
    for bytes in golden::packets().into_iter().map(|(_, bytes)| bytes).chain(connects) {
        for end in 0..bytes.len() {
            assert_eq!(frame(&bytes[..end], u32::MAX), Ok(Framing::Partial));
        }
        let longer = [&bytes[..], &[0x30]].concat();
        match frame(&longer, u32::MAX) {
            Ok(Framing::Whole(cut)) => assert_eq!(cut.bytes, bytes),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_body_cut_or_lengthened_anywhere_is_read_alike_by_both() {
    for (version, bytes) in golden::packets() {
        let body = whole(&bytes).body;
        for end in 0..body.len() {
            agree(&rebuilt(&bytes, &body[..end]), version);
        }
        for surplus in [&[0][..], &[1], &[0xff, 0], &[0, 0, 0]] {
            agree(&rebuilt(&bytes, &[body, surplus].concat()), version);
        }
    }
    for bytes in golden::connects() {
        let body = whole(&bytes).body;
        for end in 0..body.len() {
            agree_on_connect(&rebuilt(&bytes, &body[..end]));
        }
        agree_on_connect(&rebuilt(&bytes, &[body, &[0]].concat()));
    }
}

#[test]
fn every_byte_off_by_one_is_read_alike_by_both() {
    // Every length field is among the bytes, the remaining length too.
    let bends: [fn(u8) -> u8; 6] = [
        |byte| byte.wrapping_add(1),
        |byte| byte.wrapping_sub(1),
        |byte| byte ^ 0x80,
        |_| 0,
        |_| 0xff,
        |byte| byte ^ 4,
    ];
    for (version, bytes) in golden::packets() {
        for (index, bend) in (0..bytes.len()).flat_map(|index| bends.iter().map(move |bend| (index, bend))) {
            let mut bent = bytes.clone();
            bent[index] = bend(bent[index]);
            agree(&bent, version);
        }
    }
    for bytes in golden::connects() {
        for (index, bend) in (0..bytes.len()).flat_map(|index| bends.iter().map(move |bend| (index, bend))) {
            let mut bent = bytes.clone();
            bent[index] = bend(bent[index]);
            agree_on_connect(&bent);
        }
    }
}

#[test]
fn a_packet_of_one_version_is_read_alike_by_both_in_the_others() {
    for (_, bytes) in golden::packets() {
        for version in VERSIONS {
            agree(&bytes, version);
        }
        agree_on_connect(&bytes);
    }
    for bytes in golden::connects() {
        for version in VERSIONS {
            agree(&bytes, version);
        }
    }
}

/// One random change of a body.
fn mutate(body: &mut Vec<u8>, other: &[u8], random: &mut Prng) {
    let below = |random: &mut Prng, bound: usize| {
        usize::try_from(random.below(u64::try_from(bound.max(1)).expect("small"))).expect("small")
    };
    let at = below(random, body.len());
    let byte = random.next_u64().to_be_bytes()[0];
    // Small numbers are lengths and identifiers of properties more often than others.
    let byte = if random.one_in(2) { byte % 0x2c } else { byte };
    match random.below(6) {
        0 => body.insert(at, byte),
        1 if !body.is_empty() => drop(body.remove(at)),
        2 => body.truncate(at),
        3 => {
            let start = below(random, other.len());
            let end = start + below(random, other.len() - start + 1);
            body.splice(at..at, other[start..end].iter().copied());
        }
        _ if !body.is_empty() => body[at] = byte,
        _ => {}
    }
}

#[test]
fn shuffled_packets_are_read_alike_by_both() {
    let packets = golden::packets();
    let connects = golden::connects();
    let mut accepted = 0;
    for seed in 0..150_000 {
        let mut random = Prng::new(seed);
        let pick = |count: usize, random: &mut Prng| {
            usize::try_from(random.below(u64::try_from(count).expect("small"))).expect("small")
        };
        let (version, bytes) = &packets[pick(packets.len(), &mut random)];
        let other = &packets[pick(packets.len(), &mut random)].1;
        let mut body = whole(bytes).body.to_vec();
        for _ in 0..=random.below(3) {
            mutate(&mut body, whole(other).body, &mut random);
        }
        accepted += usize::from(agree(&rebuilt(bytes, &body), *version));

        let bytes = &connects[pick(connects.len(), &mut random)];
        let other = &connects[pick(connects.len(), &mut random)];
        let mut body = whole(bytes).body.to_vec();
        for _ in 0..=random.below(3) {
            mutate(&mut body, whole(other).body, &mut random);
        }
        accepted += usize::from(agree_on_connect(&rebuilt(bytes, &body)));
    }
    // Both sides of the border were visited.
    assert!((50_000..250_000).contains(&accepted), "{accepted}");
}
