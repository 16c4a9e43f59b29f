//! The hub: attributes, commands, claims, silence, take-over and restart, told as stories.

use mqtt::QoS;

use super::*;
use crate::change::{Change, Scope};
use crate::claim::Redeemed;
use crate::command::{CommandKind, CommandState, Order, Submit};
use crate::ids::{CommandId, DeviceId};
use crate::presence::Turn;
use crate::profile::Keeping;
use crate::speech::{Cookie, Downlink, Ear, Uplink, Wanted};
use crate::value::{Sample, Value};

const DEVICE: DeviceId = DeviceId::from_bytes([1; 16]);
const ONE: Ear = Ear(1);
const TWO: Ear = Ear(2);

fn sample(key: &'static str, value: i64) -> Sample<'static> {
    Sample { key: key.into(), value: Value::Long(value), at_ms: 5 }
}

fn order(id: u8, kind: CommandKind, is_persistent: bool) -> Order {
    Order {
        id: CommandId::from_bytes([id; 16]),
        method: "m".into(),
        params: "{\"a\":1}".into(),
        kind,
        is_persistent,
        expires_ms: 60_000,
        retries: None,
        additional: None,
    }
}

struct Story {
    hub: Hub,
    out: Outcome,
    all: Vec<Change>,
}

impl Story {
    fn new() -> Self {
        let mut story = Self { hub: Hub::default(), out: Outcome::default(), all: Vec::new() };
        story.hub.open(DEVICE, ONE, Keeping::History, 0, &mut story.out);
        story.take();
        story
    }

    fn hear(&mut self, ear: Ear, uplink: Uplink<'_>, now_ms: i64) -> Outcome {
        self.hub.hear(DEVICE, ear, uplink, now_ms, &mut self.out);
        self.take()
    }

    fn order(&mut self, order: Order) -> (i32, Outcome) {
        let number = self.hub.order(DEVICE, order, 0, &mut self.out).unwrap();
        (number, self.take())
    }

    fn take(&mut self) -> Outcome {
        let out = std::mem::take(&mut self.out);
        self.all.extend(out.changes.iter().cloned());
        out
    }
}

fn listens() -> Uplink<'static> {
    Uplink::Listens { attributes: true, commands: Some(QoS::AtLeastOnce) }
}

fn numbers(out: &Outcome) -> Vec<i32> {
    let number = |addressed: &Addressed| match addressed.downlink {
        Downlink::Command { number, .. } => Some(number),
        _ => None,
    };
    out.downlinks.iter().filter_map(number).collect()
}

#[test]
fn attributes_are_answered_as_they_are_asked_for() {
    let mut story = Story::new();
    story.hear(ONE, Uplink::Attributes(vec![sample("fw", 1), sample("n", 7)]), 0);
    story.hub.write(DEVICE, Scope::Shared, &[sample("interval", 30)], &mut Outcome::default());
    let mut ask = |client, shared| {
        let wanted = Uplink::AttributesWanted { cookie: Cookie(9), client, shared };
        let out = story.hear(ONE, wanted, 0);
        let Downlink::Attributes { cookie, client, shared, keys } = out.downlinks[0].downlink.clone() else {
            panic!("attributes")
        };
        assert_eq!((cookie, out.downlinks[0].ear), (Cookie(9), ONE));
        let shown = |samples: Option<Vec<Sample<'static>>>| {
            samples.map(|samples| samples.iter().map(|one| one.key.to_string()).collect::<Vec<_>>().join(","))
        };
        (keys, shown(client), shown(shared))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(ask(Wanted::All, Wanted::All), (0, some("fw,n"), some("interval")));
    let keys = |list: &[&'static str]| Wanted::Keys(list.iter().map(|key| (*key).into()).collect());
    assert_eq!(ask(keys(&["n", "n", "none"]), Wanted::Nothing), (3, some("n"), None));
    assert_eq!(ask(Wanted::Nothing, keys(&["interval"])), (1, None, some("interval")));
}

#[test]
fn who_listens_is_told_every_key_of_a_write_and_of_a_delete() {
    let mut story = Story::new();
    let write = |story: &mut Story| {
        story.hub.write(DEVICE, Scope::Shared, &[sample("a", 1)], &mut story.out);
        story.take()
    };
    assert_eq!(write(&mut story).downlinks, [], "nobody listens");
    story.hear(ONE, listens(), 0);
    let out = write(&mut story);
    assert_eq!(out.changes.len(), 0, "the value is the same");
    assert_eq!(out.downlinks[0].downlink, Downlink::SharedWritten([sample("a", 1)].into()));
    story.hub.delete(DEVICE, Scope::Shared, &["a", "never"], 9, &mut story.out);
    let out = story.take();
    assert_eq!(out.changes.len(), 1);
    assert_eq!(out.downlinks[0].downlink, Downlink::SharedDeleted(["a".into(), "never".into()].into()));
    story.hub.write(DEVICE, Scope::Server, &[sample("s", 1)], &mut story.out);
    assert_eq!(story.take().downlinks, [], "the server's own are not told");
}

#[test]
fn a_command_waits_until_somebody_listens_and_is_sent_there_once() {
    let mut story = Story::new();
    let (number, out) = story.order(order(1, CommandKind::TwoWay, false));
    assert_eq!((number, numbers(&out)), (0, vec![]));
    assert_eq!(out.reports[0].state, CommandState::Queued);
    assert_eq!(numbers(&story.hear(ONE, listens(), 0)), [0]);
    story.hub.command_sent(DEVICE, 0, QoS::AtLeastOnce, 0, &mut story.out);
    assert_eq!(story.take().reports[0].state, CommandState::Sent);
    assert_eq!(numbers(&story.hear(ONE, listens(), 0)), [0; 0], "a repeated SUBSCRIBE repeats nothing");
    let (number, out) = story.order(order(2, CommandKind::TwoWay, false));
    assert_eq!((number, numbers(&out)), (1, vec![1]));
    let answer = Uplink::CommandAnswered { number: 0, answer: b"{\"ok\":true}".as_slice().into() };
    let out = story.hear(ONE, answer.clone(), 0);
    assert_eq!(out.reports[0].state, CommandState::Successful);
    assert_eq!(out.reports[0].response.as_deref(), Some("{\"ok\":true}"));
    assert_eq!(story.hear(ONE, answer, 0).reports, [], "an answer to nothing is nothing");
}

#[test]
fn a_command_that_was_not_acknowledged_goes_to_the_next_connection() {
    let mut story = Story::new();
    story.hear(ONE, listens(), 0);
    story.order(order(1, CommandKind::TwoWay, true));
    story.hub.command_sent(DEVICE, 0, QoS::AtLeastOnce, 0, &mut story.out);
    story.hub.close(DEVICE, ONE, 5, &mut story.out);
    story.take();
    story.hub.advance(10_000, &mut story.out);
    assert_eq!(story.take().reports, [], "nobody is there to acknowledge it");
    story.hub.open(DEVICE, TWO, Keeping::History, 10_001, &mut story.out);
    story.take();
    assert_eq!(numbers(&story.hear(TWO, listens(), 10_002)), [0]);
    story.hub.command_sent(DEVICE, 0, QoS::AtLeastOnce, 10_003, &mut story.out);
    story.hub.command_acknowledged(DEVICE, 0, &mut story.out);
    story.hub.close(DEVICE, TWO, 10_004, &mut story.out);
    story.hub.open(DEVICE, ONE, Keeping::History, 10_005, &mut story.out);
    story.take();
    assert_eq!(numbers(&story.hear(ONE, listens(), 10_006)), [0; 0], "it has it");
}

#[test]
fn a_missed_acknowledgement_is_a_timeout_and_a_new_subscription_tries_again() {
    let mut story = Story::new();
    story.hear(ONE, listens(), 0);
    story.order(order(1, CommandKind::TwoWay, true));
    story.hub.command_sent(DEVICE, 0, QoS::AtLeastOnce, 0, &mut story.out);
    story.take();
    assert_eq!(story.hub.due_ms(), Some(10_000));
    story.hub.advance(10_000, &mut story.out);
    assert_eq!(story.take().reports[0].state, CommandState::Timeout);
    assert_eq!(numbers(&story.hear(ONE, listens(), 10_001)), [0]);
    story.hub.advance(60_000, &mut story.out);
    assert_eq!(story.take().reports[0].state, CommandState::Expired);
    assert_eq!(numbers(&story.hear(ONE, listens(), 60_001)), [0; 0]);
}

#[test]
fn after_a_restart_persistent_commands_attributes_and_claims_are_there() {
    let mut story = Story::new();
    story.hear(ONE, listens(), 0);
    story.hear(ONE, Uplink::Attributes(vec![sample("fw", 1)]), 0);
    story.hear(ONE, Uplink::Telemetry(vec![sample("t", 21)]), 0);
    story.hear(ONE, Uplink::Claimable { secret: "s".into(), duration_ms: None }, 0);
    story.order(order(1, CommandKind::TwoWay, true));
    story.order(order(2, CommandKind::TwoWay, false));
    story.hub.command_sent(DEVICE, 0, QoS::AtLeastOnce, 0, &mut story.out);
    story.take();
    let mut again = Hub::default();
    for change in &story.all {
        again.restore(change);
    }
    let mut out = Outcome::default();
    assert_eq!(again.attributes(DEVICE, Scope::Client).next(), Some(("fw", &Value::Long(1), 5)));
    assert_eq!(again.latest(DEVICE).next(), Some(("t", &Value::Long(21), 5)));
    assert!(!again.presence(DEVICE).is_connected() && again.presence(DEVICE).is_active);
    assert_eq!(again.redeem(DEVICE, "s", 10, &mut out), Redeemed::Granted);
    again.open(DEVICE, TWO, Keeping::History, 10, &mut out);
    again.hear(DEVICE, TWO, listens(), 10, &mut out);
    assert_eq!(numbers(&out), [0], "the persistent one, although it was sent before");
    let mut out = Outcome::default();
    assert_eq!(again.order(DEVICE, order(3, CommandKind::TwoWay, false), 10, &mut out), Ok(1));
}

#[test]
fn whoever_listens_outside_takes_nobodys_place() {
    let mut story = Story::new();
    let outside = Ear(0xFFFF << 48 | 7);
    story.hub.open(DEVICE, outside, Keeping::History, 1, &mut story.out);
    assert_eq!(story.take().evicted, []);
    story.hub.open(DEVICE, TWO, Keeping::History, 2, &mut story.out);
    assert_eq!(story.take().evicted, [(ONE, DEVICE)], "another connection does");
}

#[test]
fn a_second_connection_evicts_the_first() {
    let mut story = Story::new();
    story.hub.open(DEVICE, TWO, Keeping::History, 1, &mut story.out);
    let out = story.take();
    assert_eq!(out.evicted, [(ONE, DEVICE)]);
    assert_eq!(out.turns, [], "the device was there all the time");
    assert_eq!(story.hear(ONE, Uplink::Attributes(vec![sample("a", 1)]), 1).changes.len(), 0);
    story.hub.close(DEVICE, ONE, 2, &mut story.out);
    assert!(story.hub.presence(DEVICE).is_connected(), "the end of the evicted one is not the device's");
    story.hub.close(DEVICE, TWO, 3, &mut story.out);
    assert_eq!(story.take().turns, [(DEVICE, Turn::Disconnected)]);
}

#[test]
fn silence_is_noticed_when_its_time_has_come_and_a_device_may_set_its_own() {
    let mut story = Story::new();
    story.hear(ONE, Uplink::Alive, 0);
    story.hear(ONE, Uplink::Alive, 500_000);
    story.hub.advance(600_000, &mut story.out);
    assert_eq!(story.take().turns, [], "it spoke since");
    assert_eq!(story.hub.due_ms(), Some(1_100_000));
    story.hub.advance(1_100_000, &mut story.out);
    assert_eq!(story.take().turns, [(DEVICE, Turn::FellSilent)]);
    story.hub.write(DEVICE, Scope::Server, &[sample("inactivityTimeout", 1000)], &mut story.out);
    story.hear(ONE, Uplink::Alive, 2_000_000);
    assert_eq!(story.hub.due_ms(), Some(2_001_000));
}

#[test]
fn only_what_the_profile_keeps_is_kept() {
    let kept = |keeping| {
        let mut story = Story { hub: Hub::default(), out: Outcome::default(), all: Vec::new() };
        story.hub.open(DEVICE, ONE, keeping, 0, &mut story.out);
        story.take();
        let out = story.hear(ONE, Uplink::Telemetry(vec![sample("t", 1)]), 0);
        let changes = out.changes.iter().filter(|change| matches!(change, Change::Telemetry { .. })).count();
        (changes, story.hub.latest(DEVICE).count())
    };
    assert_eq!(kept(Keeping::History), (1, 1));
    assert_eq!(kept(Keeping::Latest), (1, 1));
    assert_eq!(kept(Keeping::Forward), (0, 0));
}

#[test]
fn a_deleted_command_is_not_sent_any_more() {
    let mut story = Story::new();
    story.order(order(1, CommandKind::TwoWay, true));
    story.hub.delete_command(DEVICE, CommandId::from_bytes([1; 16]), &mut story.out);
    assert_eq!(story.take().reports[0].state, CommandState::Deleted);
    assert_eq!(numbers(&story.hear(ONE, listens(), 0)), [0; 0]);
}

#[test]
fn no_more_commands_wait_than_may() {
    let mut terms = HubTerms::default();
    terms.commands.waiting_max = 1;
    let mut hub = Hub::new(terms);
    let mut out = Outcome::default();
    assert_eq!(hub.order(DEVICE, order(1, CommandKind::TwoWay, true), 0, &mut out), Ok(0));
    assert_eq!(hub.order(DEVICE, order(2, CommandKind::TwoWay, true), 0, &mut out), Err(NotOrdered::TooMany));
}

#[test]
fn a_command_that_waits_is_not_asked_for_again_and_one_that_is_gone_may_be() {
    let mut story = Story::new();
    story.order(order(1, CommandKind::TwoWay, true));
    story.take();
    let again = || order(1, CommandKind::OneWay, true);
    assert_eq!(story.hub.order(DEVICE, again(), 0, &mut story.out), Err(NotOrdered::Known));
    let out = story.take();
    assert_eq!((out.changes.len(), out.reports.len(), out.downlinks.len()), (0, 0, 0));
    story.hub.delete_command(DEVICE, CommandId::from_bytes([1; 16]), &mut story.out);
    assert_eq!(story.hub.order(DEVICE, again(), 0, &mut story.out), Ok(1));
}

#[test]
fn a_deleted_device_leaves_no_deadline() {
    let mut story = Story::new();
    story.hear(ONE, Uplink::Alive, 0);
    story.hub.forget(DEVICE, &mut story.out);
    assert_eq!(story.take().evicted, [(ONE, DEVICE)]);
    assert_eq!(story.hub.due_ms(), None);
}

fn telemetry(samples: Vec<Sample<'static>>) -> Uplink<'static> {
    Uplink::Telemetry(samples)
}

fn kept(out: &Outcome) -> Vec<Vec<String>> {
    let shown = |sample: &Sample<'_>| format!("{}={}@{}", sample.key, sample.value.to_json(), sample.at_ms);
    let list = |change: &Change| match change {
        Change::Telemetry { samples, .. } => Some(samples.iter().map(shown).collect()),
        _ => None,
    };
    out.changes.iter().filter_map(list).collect()
}

fn at(key: &'static str, value: i64, at_ms: i64) -> Sample<'static> {
    Sample { at_ms, ..sample(key, value) }
}

#[test]
fn what_a_device_says_a_hundred_times_in_a_turn_leaves_one_latest_record_and_all_of_its_history() {
    let says = |keeping| {
        let mut hub = Hub::default();
        let mut out = Outcome::default();
        hub.open(DEVICE, ONE, keeping, 0, &mut out);
        for number in 0..100 {
            hub.hear(DEVICE, ONE, telemetry(vec![at("t", number, number), at("u", 1, number)]), 0, &mut out);
        }
        (kept(&out), hub, out)
    };
    let (latest, mut hub, mut out) = says(Keeping::Latest);
    assert_eq!(latest, [["t=99@99", "u=1@99"]]);
    hub.hear(DEVICE, ONE, telemetry(vec![at("t", 5, 50)]), 0, &mut out);
    assert_eq!(kept(&out), latest, "what came late is nothing");
    let mut next = Outcome::default();
    hub.hear(DEVICE, ONE, telemetry(vec![at("t", 7, 100)]), 0, &mut next);
    assert_eq!(kept(&next), [["t=7@100"]], "another turn, another record");
    let (history, _, _) = says(Keeping::History);
    assert_eq!((history.len(), history[0].len()), (1, 200));
    assert_eq!(history[0][..3], ["t=0@0", "u=1@0", "t=1@1"]);
}

#[test]
fn nothing_is_gathered_across_a_deletion_or_for_another_device() {
    let mut hub = Hub::default();
    let mut out = Outcome::default();
    let other = DeviceId::from_bytes([2; 16]);
    hub.open(DEVICE, ONE, Keeping::Latest, 0, &mut out);
    hub.open(other, TWO, Keeping::Latest, 0, &mut out);
    hub.hear(DEVICE, ONE, telemetry(vec![at("t", 1, 1)]), 0, &mut out);
    hub.hear(other, TWO, telemetry(vec![at("t", 2, 1)]), 0, &mut out);
    hub.delete_history(DEVICE, "t".into(), (0, 10), true, None, &mut out);
    hub.hear(DEVICE, ONE, telemetry(vec![at("t", 3, 1)]), 0, &mut out);
    hub.keep(DEVICE, vec![at("t", 4, 1)], Keeping::History, &mut out);
    hub.hear(DEVICE, ONE, telemetry(vec![at("t", 5, 1)]), 0, &mut out);
    assert_eq!(kept(&out), [["t=1@1"], ["t=2@1"], ["t=3@1"], ["t=4@1"], ["t=5@1"]]);
    let mut again = Hub::default();
    out.changes.iter().for_each(|change| again.restore(change));
    assert_eq!(again.latest(DEVICE).next(), Some(("t", &Value::Long(5), 1)));
}

#[test]
fn one_record_does_not_grow_without_end() {
    let mut hub = Hub::default();
    let mut out = Outcome::default();
    hub.open(DEVICE, ONE, Keeping::History, 0, &mut out);
    for number in 0..3000 {
        hub.hear(DEVICE, ONE, telemetry(vec![at("t", number, number)]), 0, &mut out);
    }
    assert_eq!(kept(&out).iter().map(Vec::len).collect::<Vec<_>>(), [1024, 1024, 952]);
}

#[test]
fn keys_that_are_too_many_are_refused_and_the_device_is_told() {
    let mut hub = Hub::new(HubTerms { facts_per_device_max: 3, ..HubTerms::default() });
    let mut out = Outcome::default();
    hub.open(DEVICE, ONE, Keeping::Latest, 0, &mut out);
    hub.write(DEVICE, Scope::Server, &[sample("s", 1)], &mut out);
    hub.hear(DEVICE, ONE, telemetry(vec![sample("a", 1), sample("b", 1), sample("c", 1)]), 0, &mut out);
    assert_eq!(out.refused, [(ONE, DEVICE, Refusal::TooManyFacts)]);
    assert_eq!(Refusal::TooManyFacts.reason(), mqtt::ReasonCode::QuotaExceeded);
    assert_eq!(hub.latest(DEVICE).count(), 2);
    hub.hear(DEVICE, ONE, Uplink::Attributes(vec![sample("fw", 1)]), 0, &mut out);
    assert_eq!((out.refused.len(), hub.counters().facts_refused), (2, 2));
    hub.hear(DEVICE, ONE, telemetry(vec![sample("a", 2)]), 0, &mut out);
    assert_eq!(out.refused.len(), 2, "what it says of keys that it has is taken");
}

#[test]
fn devices_that_are_too_many_are_refused_and_those_that_are_known_are_not() {
    let mut hub = Hub::new(HubTerms { devices_max: 1, ..HubTerms::default() });
    let mut out = Outcome::default();
    let other = DeviceId::from_bytes([2; 16]);
    hub.open(DEVICE, ONE, Keeping::Latest, 0, &mut out);
    hub.open(other, TWO, Keeping::Latest, 0, &mut out);
    assert_eq!(out.refused, [(TWO, other, Refusal::TooManyDevices)]);
    hub.hear(other, TWO, telemetry(vec![sample("t", 1)]), 0, &mut out);
    assert_eq!((hub.len(), hub.latest(other).count()), (1, 0));
    assert_eq!(hub.order(other, order(1, CommandKind::OneWay, false), 0, &mut out), Err(NotOrdered::TooMany));
    hub.close(DEVICE, ONE, 1, &mut out);
    hub.open(DEVICE, ONE, Keeping::Latest, 2, &mut out);
    assert_eq!((out.refused.len(), hub.counters().devices_refused), (1, 2));
}

/// A device that listens at QoS 1 to a hub that sends commands so, with three two-way commands.
fn in_turn(submit: Submit) -> (Story, Vec<i32>) {
    let mut terms = HubTerms::default();
    terms.commands.submit = submit;
    let mut story = Story { hub: Hub::new(terms), out: Outcome::default(), all: Vec::new() };
    story.hub.open(DEVICE, ONE, Keeping::History, 0, &mut story.out);
    story.hear(ONE, listens(), 0);
    let sent =
        (1..=3).flat_map(|id| numbers(&story.order(order(id, CommandKind::TwoWay, false)).1)).collect();
    (story, sent)
}

#[test]
fn commands_go_all_at_once_or_one_after_the_other() {
    assert_eq!(in_turn(Submit::Burst).1, [0, 1, 2]);

    let (mut story, sent) = in_turn(Submit::AfterAck);
    assert_eq!(sent, [0]);
    story.hub.command_sent(DEVICE, 0, QoS::AtLeastOnce, 0, &mut story.out);
    assert_eq!(numbers(&story.take()), [0; 0]);
    story.hub.command_acknowledged(DEVICE, 0, &mut story.out);
    assert_eq!(numbers(&story.take()), [1]);
    story.hub.delete_command(DEVICE, CommandId::from_bytes([2; 16]), &mut story.out);
    assert_eq!(numbers(&story.take()), [2], "what is taken back stands in nobody's way");

    let (mut story, sent) = in_turn(Submit::AfterAnswer);
    assert_eq!(sent, [0]);
    story.hub.command_sent(DEVICE, 0, QoS::AtLeastOnce, 0, &mut story.out);
    story.hub.command_acknowledged(DEVICE, 0, &mut story.out);
    assert_eq!(numbers(&story.take()), [0; 0]);
    let answer = Uplink::CommandAnswered { number: 0, answer: b"1".as_slice().into() };
    assert_eq!(numbers(&story.hear(ONE, answer, 0)), [1]);
}

#[test]
fn one_that_is_not_acknowledged_is_sent_again_before_the_next() {
    let (mut story, _) = in_turn(Submit::AfterAck);
    story.hub.command_sent(DEVICE, 0, QoS::AtLeastOnce, 0, &mut story.out);
    story.take();
    story.hub.advance(10_000, &mut story.out);
    let out = story.take();
    assert_eq!((out.reports[0].state, numbers(&out)), (CommandState::Timeout, vec![0]));
    story.hub.command_sent(DEVICE, 0, QoS::AtLeastOnce, 10_000, &mut story.out);
    story.take();
    story.hub.advance(60_000, &mut story.out);
    assert_eq!(numbers(&story.take()), [0; 0], "all of them have expired");
}

#[test]
fn one_that_is_not_answered_fails_and_makes_room() {
    let (mut story, _) = in_turn(Submit::AfterAnswer);
    story.hub.command_sent(DEVICE, 0, QoS::AtMostOnce, 0, &mut story.out);
    story.take();
    assert_eq!(story.hub.due_ms(), Some(30_000));
    story.hub.advance(30_000, &mut story.out);
    let out = story.take();
    let report = out.reports.iter().find(|report| report.state == CommandState::Failed).unwrap();
    let why = "{\"error\":\"There was a timeout awaiting for RPC response from device.\"}";
    assert_eq!(report.response.as_deref(), Some(why));
    assert_eq!(numbers(&out), [1]);
}

#[test]
fn who_asks_for_it_is_told_again_what_he_has_not_answered() {
    let mut story = Story::new();
    story.order(order(1, CommandKind::TwoWay, false));
    let again = |story: &mut Story| {
        let repeated = numbers(&story.hear(ONE, Uplink::ListensAgain, 0));
        (repeated, numbers(&story.hear(ONE, listens(), 0)))
    };
    assert_eq!(again(&mut story), (vec![], vec![0]), "the first time it is told once");
    story.hub.command_sent(DEVICE, 0, QoS::AtLeastOnce, 0, &mut story.out);
    assert_eq!(again(&mut story), (vec![0], vec![]));
    story.hub.advance(10_000, &mut story.out);
    assert_eq!(story.take().reports[0].state, CommandState::Timeout);
    assert_eq!(again(&mut story), (vec![], vec![0]), "what was missed is told once");
    story.hub.command_acknowledged(DEVICE, 0, &mut story.out);
    assert_eq!(again(&mut story), (vec![0], vec![]), "it has it and has not answered");
    story.hear(ONE, Uplink::CommandAnswered { number: 0, answer: b"1".as_slice().into() }, 0);
    assert_eq!(again(&mut story), (vec![], vec![]));
}

#[test]
fn where_commands_go_one_after_the_other_what_was_acknowledged_is_not_told_again() {
    for submit in [Submit::AfterAck, Submit::AfterAnswer] {
        let (mut story, _) = in_turn(submit);
        story.hub.command_sent(DEVICE, 0, QoS::AtLeastOnce, 0, &mut story.out);
        story.take();
        assert_eq!(numbers(&story.hear(ONE, Uplink::ListensAgain, 0)), [0]);
        story.hub.command_acknowledged(DEVICE, 0, &mut story.out);
        story.take();
        let repeated = numbers(&story.hear(ONE, Uplink::ListensAgain, 0));
        assert!(!repeated.contains(&0), "{submit:?}");
    }
}

#[test]
fn shared_attributes_of_a_gateway_are_kept_and_told_nobody() {
    let mut story = Story::new();
    story.hear(ONE, listens(), 0);
    let out = story.hear(ONE, Uplink::Shared(vec![sample("s", 1)]), 0);
    assert_eq!((out.changes.len(), out.downlinks.len()), (1, 0));
    assert!(matches!(&out.changes[0], Change::Attribute { scope: Scope::Shared, .. }));
    assert_eq!(story.hub.attributes(DEVICE, Scope::Shared).count(), 1);
    assert_eq!(story.hub.attributes(DEVICE, Scope::Client).count(), 0);
}

#[test]
fn where_claiming_is_not_allowed_an_attribute_must_allow_it_and_an_offer_holds_as_long_as_is_said() {
    let terms = HubTerms { claiming_allowed: false, claim_ms: 1_000, ..HubTerms::default() };
    let mut story = Story { hub: Hub::new(terms), out: Outcome::default(), all: Vec::new() };
    story.hub.open(DEVICE, ONE, Keeping::History, 0, &mut story.out);
    let offer =
        |story: &mut Story| story.hear(ONE, Uplink::Claimable { secret: "s".into(), duration_ms: None }, 0);
    let redeem = |story: &mut Story, now_ms| story.hub.redeem(DEVICE, "s", now_ms, &mut Outcome::default());
    offer(&mut story);
    assert_eq!(redeem(&mut story, 1), Redeemed::NoClaim);
    let allowed = Sample { value: Value::Bool(true), ..sample("claimingAllowed", 0) };
    story.hub.write(DEVICE, Scope::Server, &[allowed], &mut Outcome::default());
    offer(&mut story);
    assert_eq!(redeem(&mut story, 999), Redeemed::Granted);
    offer(&mut story);
    assert_eq!(redeem(&mut story, 1_000), Redeemed::NoClaim, "it is over");
}

#[test]
fn a_command_that_is_never_acknowledged_ends_connections_if_it_shall_and_goes_to_the_next_one() {
    let mut terms = HubTerms::default();
    (terms.commands.closes, terms.commands.retries_max) = (true, 0);
    let mut story = Story { hub: Hub::new(terms), out: Outcome::default(), all: Vec::new() };
    story.hub.open(DEVICE, ONE, Keeping::History, 0, &mut story.out);
    story.hear(ONE, listens(), 0);
    story.order(order(1, CommandKind::TwoWay, true));
    story.hub.command_sent(DEVICE, 0, QoS::AtLeastOnce, 0, &mut story.out);
    story.take();
    story.hub.advance(9_999, &mut story.out);
    assert_eq!(story.take().evicted, []);
    story.hub.advance(10_000, &mut story.out);
    let out = story.take();
    assert_eq!((out.evicted, out.reports[0].state), (vec![(ONE, DEVICE)], CommandState::Queued));
    story.hub.close(DEVICE, ONE, 10_001, &mut story.out);
    story.hub.open(DEVICE, TWO, Keeping::History, 10_002, &mut story.out);
    story.take();
    assert_eq!(numbers(&story.hear(TWO, listens(), 10_003)), [0]);
}

#[test]
fn presence_is_telemetry_where_that_is_wanted() {
    let terms = HubTerms { presence_in_telemetry: true, ..HubTerms::default() };
    let mut hub = Hub::new(terms);
    let mut out = Outcome::default();
    hub.open(DEVICE, ONE, Keeping::Forward, 10, &mut out);
    hub.hear(DEVICE, ONE, Uplink::Alive, 20, &mut out);
    hub.hear(DEVICE, ONE, Uplink::Alive, 30, &mut out);
    hub.close(DEVICE, ONE, 40, &mut out);
    hub.advance(600_030, &mut out);
    let told = [
        "lastConnectTime=10@10",
        "active=true@20",
        "lastActivityTime=20@20",
        "inactivityAlarmTime=0@20",
        "lastDisconnectTime=40@40",
        "active=false@600030",
        "inactivityAlarmTime=600030@600030",
    ];
    assert_eq!(kept(&out).concat(), told);
}

fn presences(out: &Outcome) -> Vec<i64> {
    let heard = |change: &Change| match change {
        Change::Presence { presence, .. } => Some(presence.heard_ms),
        _ => None,
    };
    out.changes.iter().filter_map(heard).collect()
}

#[test]
fn a_device_that_goes_on_speaking_is_written_down_now_and_then() {
    let mut story = Story::new();
    let mut noted = Vec::new();
    for second in 1..=1_000 {
        noted.extend(presences(&story.hear(ONE, telemetry(vec![sample("t", second)]), second * 1_000)));
    }
    assert_eq!(
        noted,
        [1_000, 301_000, 601_000, 901_000],
        "not every word, and none that is five minutes old"
    );
    story.hub.write(DEVICE, Scope::Server, &[sample("inactivityTimeout", 20_000)], &mut story.out);
    assert_eq!(presences(&story.hear(ONE, Uplink::Alive, 1_201_000)), [1_201_000]);
    assert_eq!(presences(&story.hear(ONE, Uplink::Alive, 1_210_999)), [0; 0]);
    assert_eq!(presences(&story.hear(ONE, Uplink::Alive, 1_211_000)), [1_211_000], "half of its own time");
    story.hub.write(DEVICE, Scope::Server, &[sample("inactivityTimeout", 1)], &mut story.out);
    assert_eq!(presences(&story.hear(ONE, Uplink::Alive, 1_221_000)), [1_221_000]);
    assert_eq!(
        presences(&story.hear(ONE, Uplink::Alive, 1_221_999)),
        [0; 0],
        "nobody is written down all the time"
    );
}

#[test]
fn nobody_falls_silent_because_the_broker_was_away() {
    for presence_in_telemetry in [false, true] {
        let mut story = Story::new();
        story.hear(ONE, Uplink::Alive, 1_000);
        let mut again = Hub::new(HubTerms { presence_in_telemetry, ..HubTerms::default() });
        story.all.iter().for_each(|change| again.restore(change));
        again.begin(10_000_000);
        let mut out = Outcome::default();
        again.advance(10_000_000, &mut out);
        again.advance(10_599_999, &mut out);
        assert_eq!((out.turns.len(), out.changes.len()), (0, 0), "it was not heard because nobody listened");
        let presence = again.presence(DEVICE);
        assert_eq!((presence.is_active, presence.heard_ms, presence.alarmed_ms), (true, 1_000, 0));
        assert_eq!(again.due_ms(), Some(10_600_000));
        again.advance(10_600_000, &mut out);
        assert_eq!(out.turns, [(DEVICE, Turn::FellSilent)]);
        assert_eq!(again.presence(DEVICE).alarmed_ms, 10_600_000);
    }
}

#[test]
fn what_was_restored_is_written_down_again_when_it_is_stale_and_at_an_orderly_end() {
    let mut story = Story::new();
    story.hear(ONE, Uplink::Alive, 1_000);
    let mut again = Hub::default();
    story.all.iter().for_each(|change| again.restore(change));
    again.begin(2_000);
    let says = |hub: &mut Hub, now_ms| {
        let mut out = Outcome::default();
        hub.say(DEVICE, Keeping::Latest, &Uplink::Alive, now_ms, &mut out).unwrap();
        presences(&out)
    };
    let ends = |hub: &mut Hub| {
        let mut out = Outcome::default();
        hub.note_presences(&mut out);
        presences(&out)
    };
    assert_eq!(ends(&mut again), [0; 0], "nothing was said");
    assert_eq!(says(&mut again, 300_999), [0; 0]);
    assert_eq!(says(&mut again, 301_000), [301_000]);
    assert_eq!(says(&mut again, 302_000), [0; 0]);
    assert_eq!((ends(&mut again), ends(&mut again)), (vec![302_000], vec![]));
    again.open(DEVICE, TWO, Keeping::Latest, 303_000, &mut Outcome::default());
    assert_eq!(says(&mut again, 304_000), [0; 0]);
    assert_eq!(ends(&mut again), [0; 0], "the end of its connection writes that down");
}

fn text(key: &'static str, len: usize) -> Sample<'static> {
    Sample { value: Value::Text("x".repeat(len).into()), ..sample(key, 0) }
}

#[test]
fn bytes_that_are_too_many_are_refused_and_the_device_is_told() {
    let terms = HubTerms { facts_bytes_per_device_max: 100, ..HubTerms::default() };
    let mut hub = Hub::new(terms);
    let mut out = Outcome::default();
    hub.open(DEVICE, ONE, Keeping::History, 0, &mut out);
    hub.write(DEVICE, Scope::Server, &[text("s", 29)], &mut out);
    hub.hear(DEVICE, ONE, Uplink::Attributes(vec![text("c", 29)]), 0, &mut out);
    hub.hear(DEVICE, ONE, telemetry(vec![text("a", 40), text("b", 40), text("t", 9)]), 0, &mut out);
    assert_eq!(out.refused, [(ONE, DEVICE, Refusal::FactsTooLarge)]);
    assert_eq!(Refusal::FactsTooLarge.reason(), mqtt::ReasonCode::QuotaExceeded);
    assert_eq!(hub.latest(DEVICE).map(|(key, _, _)| key).collect::<Vec<_>>(), ["t"]);
    assert_eq!(kept(&out).concat().len(), 1, "what is refused is not written down");
    assert_eq!((hub.counters().facts_too_large, hub.counters().facts_refused), (2, 0));
    hub.hear(DEVICE, ONE, Uplink::Shared(vec![text("d", 30)]), 0, &mut out);
    hub.hear(DEVICE, ONE, Uplink::Attributes(vec![text("c", 60)]), 0, &mut out);
    assert_eq!(out.refused.len(), 3, "all scopes take from one account");
    assert_eq!(hub.write_all(DEVICE, Scope::Shared, &[text("d", 30)], &mut out), Err(Refusal::FactsTooLarge));
    assert_eq!(hub.counters().facts_too_large, 5);
    hub.hear(DEVICE, ONE, telemetry(vec![sample("t", 7)]), 0, &mut out);
    hub.hear(DEVICE, ONE, Uplink::Attributes(vec![text("c", 28), text("n", 8)]), 0, &mut out);
    hub.delete(DEVICE, Scope::Server, &["s"], 0, &mut out);
    assert_eq!(hub.write_all(DEVICE, Scope::Shared, &[text("d", 30)], &mut out), Ok(()));
    assert_eq!(out.refused.len(), 3, "what became smaller or was deleted has made room");
}

#[test]
fn what_is_restored_is_never_refused_and_counts() {
    let mut story = Story::new();
    story.hear(ONE, telemetry(vec![text("t", 99)]), 0);
    story.hear(ONE, Uplink::Attributes(vec![text("c", 99)]), 0);
    let mut again = Hub::new(HubTerms { facts_bytes_per_device_max: 100, ..HubTerms::default() });
    story.all.iter().for_each(|change| again.restore(change));
    assert_eq!((again.latest(DEVICE).count(), again.attributes(DEVICE, Scope::Client).count()), (1, 1));
    let says = |hub: &mut Hub, samples| {
        let mut out = Outcome::default();
        hub.say(DEVICE, Keeping::Latest, &telemetry(samples), 0, &mut out)
    };
    assert_eq!(says(&mut again, vec![text("t", 98)]), Ok(()), "smaller than before");
    assert_eq!(says(&mut again, vec![text("t", 99)]), Err(Refusal::FactsTooLarge));
    assert_eq!(says(&mut again, vec![sample("u", 1)]), Err(Refusal::FactsTooLarge));
    assert_eq!(says(&mut again, vec![sample("t", 1)]), Ok(()));
    let mut out = Outcome::default();
    again.delete(DEVICE, Scope::Client, &["c"], 0, &mut out);
    assert_eq!(says(&mut again, vec![text("t", 99)]), Ok(()));
}
