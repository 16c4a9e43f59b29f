//! What clients say, drawn from small alphabets so that collisions happen.
//!
//! Invariants:
//! - Everything drawn here is lawful.

use std::rc::Rc;

use super::{Client, Deed, Desk};
use crate::message;
use crate::rig::ClientEnd;
use crate::wire::{ClientPacket, Connect, Meta, Publish, Request, Subscribe, Version, Will};

const TOPICS: [&str; 9] = ["a", "a/b", "a/c", "b/c", "$x/a", "a/b/c", "/a", "a/", "é"];

const FILTERS: [&str; 18] = [
    "a", "a/b", "#", "a/#", "+/b", "a/+", "+", "+/+", "$x/#", "a/b/c", "b/c", "/+", "+/#", "a/+/c", "/a",
    "a/c", "a/", "é",
];

const GROUPS: [&str; 2] = ["g", "h"];

pub(super) fn version(desk: &mut Desk) -> Version {
    match desk.dice.weighted(&desk.habits.versions) {
        0 => Version::V31,
        1 => Version::V311,
        _two => Version::V5,
    }
}

fn topic(desk: &mut Desk) -> Rc<str> {
    let count = desk.habits.topics.min(TOPICS.len());
    (*desk.dice.pick(&TOPICS[..count])).into()
}

pub(super) fn filter(desk: &mut Desk) -> String {
    let filter =
        if desk.dice.percent(50) { (*desk.dice.pick(&FILTERS)).to_string() } else { topic(desk).to_string() };
    if desk.dice.percent(desk.habits.shared) {
        let group = *desk.dice.pick(&GROUPS);
        return format!("$share/{group}/{filter}");
    }
    filter
}

fn qos(desk: &mut Desk) -> u8 {
    u8::try_from(desk.dice.weighted(&desk.habits.qos)).expect("0 to 2")
}

/// A publish without its packet id and alias.
pub(super) fn publish(version: Version, desk: &mut Desk) -> Publish {
    let topic = topic(desk);
    let is_retained = desk.dice.percent(desk.habits.retained);
    let is_empty = is_retained && desk.dice.percent(desk.habits.clears);
    content(topic, version, desk, Shape { is_retained, is_empty, is_will: false })
}

#[derive(Clone, Copy)]
struct Shape {
    is_retained: bool,
    is_empty: bool,
    is_will: bool,
}

fn content(topic: Rc<str>, version: Version, desk: &mut Desk, shape: Shape) -> Publish {
    let number = desk.messages;
    desk.messages += 1;
    let bytes =
        if desk.dice.percent(desk.habits.large) { desk.dice.below(3000) } else { desk.dice.below(30) };
    let is_5 = version == Version::V5;
    let expiry_s =
        (is_5 && desk.dice.percent(desk.habits.expiry)).then(|| *desk.dice.pick(&[1, 2, 5, 30, 600]));
    Publish {
        message: number,
        topic,
        is_topic_omitted: false,
        alias: None,
        qos: qos(desk),
        is_retained: shape.is_retained,
        is_dup: false,
        id: 0,
        expiry_s,
        meta: Rc::new(if is_5 { meta(desk) } else { Meta::default() }),
        payload: if shape.is_empty {
            Rc::from(&[][..])
        } else {
            message::payload(number, shape.is_will, bytes)
        },
    }
}

fn meta(desk: &mut Desk) -> Meta {
    if desk.dice.percent(60) {
        return Meta::default();
    }
    let dice = &mut desk.dice;
    let text = |is_there: bool, text: &str| is_there.then(|| text.to_string());
    let pairs = dice.below(4);
    Meta {
        payload_format: dice.percent(30).then_some(u8::from(dice.percent(50))),
        content_type: text(dice.percent(30), "text/plain"),
        response_topic: text(dice.percent(30), "answers/1"),
        correlation: dice.percent(30).then(|| vec![0, 255, 7]),
        user: (0..pairs)
            .map(|index| (["k", "a", ""][index % 3].to_string(), format!("v{}", dice.below(3))))
            .collect(),
    }
}

/// A CONNECT of a client. Another version only if nothing is under way that the other version could not say again.
pub(super) fn connect(client: &Client, desk: &mut Desk) -> Connect {
    let is_anonymous = client.name.is_empty();
    let is_clean = is_anonymous || desk.dice.percent(desk.habits.clean);
    let may_change = is_clean || client.outgoing.is_empty();
    let mut version = if may_change && desk.dice.percent(25) { version(desk) } else { client.version };
    if is_anonymous && version == Version::V31 {
        version = Version::V311;
    }
    let is_5 = version == Version::V5;
    let habits = desk.habits.clone();
    let will = desk.dice.percent(habits.will).then(|| will(version, desk));
    let dice = &mut desk.dice;
    let narrow = |number: u64| u16::try_from(number).expect("a small number");
    let expiry_s = *dice.pick(&[None, Some(0), Some(1), Some(5), Some(30), Some(600), Some(u32::MAX)]);
    Connect {
        version,
        client_id: client.name.clone(),
        is_clean,
        keep_alive_s: if dice.percent(habits.keep_alive) { narrow(dice.between(2, 30)) } else { 0 },
        expiry_s: expiry_s.filter(|_| is_5 && !is_anonymous),
        receive_maximum: (is_5 && dice.percent(60)).then(|| narrow(dice.between(1, habits.receive_maximum))),
        // The identifier that the server assigns would not fit.
        packet_bytes_max: (is_5 && !is_anonymous && dice.percent(habits.small_packets))
            .then(|| u32::try_from(dice.between(40, 200)).expect("a small number")),
        alias_max: (is_5 && dice.percent(50)).then(|| narrow(dice.between(0, 4))),
        will,
    }
}

fn will(version: Version, desk: &mut Desk) -> Will {
    let topic = topic(desk);
    let is_retained = desk.dice.percent(desk.habits.retained);
    let publish = content(topic, version, desk, Shape { is_retained, is_empty: false, is_will: true });
    let delay_s = if version == Version::V5 { *desk.dice.pick(&[0, 0, 2, 10, 100]) } else { 0 };
    Will { message: publish.message, publish, delay_s }
}

pub(super) fn subscribe(id: u16, version: Version, desk: &mut Desk) -> Subscribe {
    let count = *desk.dice.pick(&[1, 1, 1, 2, 3]);
    let is_5 = version == Version::V5;
    let subscription_id =
        (is_5 && desk.dice.percent(40)).then(|| *desk.dice.pick(&[1, 2, 127, 128, 268_435_455]));
    let request = |desk: &mut Desk| {
        let filter = filter(desk);
        let is_shared = filter.starts_with("$share/");
        Request {
            qos: qos(desk),
            is_no_local: is_5 && !is_shared && desk.dice.percent(20),
            keeps_retain: is_5 && desk.dice.percent(40),
            retain_handling: if is_5 { *desk.dice.pick(&[0, 0, 1, 2]) } else { 0 },
            filter,
        }
    };
    Subscribe { id, subscription_id, requests: (0..count).map(|_| request(desk)).collect() }
}

/// One of the ways to end a connection.
pub(super) fn leave(version: Version, expiry_s: Option<u32>, desk: &mut Desk) -> Deed {
    let is_lasting = expiry_s.unwrap_or(0) > 0;
    let goodbye =
        |code, expiry_s| Deed::Leave(vec![ClientPacket::Disconnect(code, expiry_s)], ClientEnd::Fin);
    match desk.dice.below(6) {
        0 | 1 => goodbye(0, None),
        2 if version == Version::V5 => goodbye(4, None),
        3 if version == Version::V5 => {
            let new_s = if is_lasting { *desk.dice.pick(&[0, 3, 100]) } else { 0 };
            goodbye(*desk.dice.pick(&[0, 4]), Some(new_s))
        }
        4 => Deed::Leave(Vec::new(), ClientEnd::Reset),
        _other => Deed::Leave(Vec::new(), ClientEnd::Fin),
    }
}
