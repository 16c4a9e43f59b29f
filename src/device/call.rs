//! What is asked of a hub from outside, in the name of an application, and what it answers.
//!
//! Why values and no methods across cores: whoever asks lives on another thread, and the core answers when it comes to it.
//! A reply that says that something was written may leave only when that is safe on disk; whoever carries it waits.
//!
//! Invariants:
//! - A call is answered once.
//! - A call about a device of which nothing is known yet is answered as for one that has said nothing.

use crate::change::{Change, Scope};
use crate::claim::Redeemed;
use crate::command::Order;
use crate::hub::{Addressed, Hub, NotOrdered, Outcome, Refusal, Report};
use crate::ids::{CommandId, DeviceId};
use crate::package::{Assignment, PackageKind, unassign};
use crate::presence::{Presence, Turn};
use crate::profile::Keeping;
use crate::speech::{Cookie, Downlink, Ear, Forward, Uplink};
use crate::value::{Sample, Value};

/// What is asked of the hub at a device's home.
#[derive(Clone, Debug)]
pub enum HubCall {
    /// Its attributes of a scope.
    Attributes {
        /// Which scope.
        scope: Scope,
        /// Which keys; none for all.
        keys: Option<Vec<Box<str>>>,
    },
    /// Its latest telemetry.
    Latest {
        /// Which keys; none for all.
        keys: Option<Vec<Box<str>>>,
    },
    /// How it is.
    Presence,
    /// Write attributes.
    WriteAttributes {
        /// In which scope.
        scope: Scope,
        /// What.
        samples: Vec<Sample<'static>>,
    },
    /// Delete attributes.
    DeleteAttributes {
        /// In which scope.
        scope: Scope,
        /// Which keys.
        keys: Vec<Box<str>>,
    },
    /// Write telemetry in its name.
    Keep {
        /// What.
        samples: Vec<Sample<'static>>,
        /// What to keep of it.
        keeping: Keeping,
        /// What subscribers of canonical topics get. No hub's business: whoever carries the call takes it out.
        forward: Option<Forward<'static>>,
    },
    /// It says something without a connection: it is heard, and nobody listens.
    Say {
        /// What is kept of what it says.
        keeping: Keeping,
        /// What.
        uplink: Uplink<'static>,
        /// As above.
        forward: Option<Forward<'static>>,
    },
    /// Delete telemetry.
    DeleteTelemetry {
        /// Which key.
        key: Box<str>,
        /// History from this time on, in Unix milliseconds.
        from_ms: i64,
        /// History before this time; nothing of it if it is not later than `from_ms`.
        to_ms: i64,
        /// Whether the latest value goes too, if it lies in that time.
        deletes_latest: bool,
        /// What the latest value is then, if any.
        rewritten: Option<Sample<'static>>,
    },
    /// Ask something of the device.
    Order(Order),
    /// Take a command back.
    DeleteCommand(CommandId),
    /// Somebody shows its secret.
    Redeem {
        /// The secret.
        secret: Box<str>,
    },
    /// A package was assigned to it.
    Assign(Assignment),
    /// It has no package of that kind any more.
    Unassign(PackageKind),
    /// It was deleted: forget it and end its connections.
    Forget,
    /// Its credential was changed, or what it is on the network: end its connections.
    Evict,
    /// Something else of it or of its profile was changed: its connections go on by the records as they are now. Whoever
    /// carries the call to the hub reads them: [`Hub::renew`].
    Renew,
    /// Somebody outside listens in its place.
    Open {
        /// By what he is known.
        ear: Ear,
        /// What is kept of what he says.
        keeping: Keeping,
    },
    /// He says something in its place, or listens for something.
    Hear {
        /// Who.
        ear: Ear,
        /// What.
        uplink: Uplink<'static>,
    },
    /// A command was handed to him.
    Delivered {
        /// By the number that the device knows.
        number: i32,
    },
    /// He listens no longer.
    Close {
        /// Who.
        ear: Ear,
    },
    /// A call of the device was answered.
    AnswerCall {
        /// The connection that called.
        ear: Ear,
        /// As it called.
        cookie: Cookie,
        /// JSON, or what went wrong in words.
        answer: Result<Box<str>, Box<str>>,
    },
    /// A change that was written down elsewhere on its behalf.
    Restore(Box<Change>),
}

/// What a hub answers.
#[derive(Clone, PartialEq, Debug)]
pub enum HubReply {
    /// It is done, and kept.
    Done,
    /// Values with their times, in order of keys.
    Facts(Vec<Fact>),
    /// To [`HubCall::Presence`].
    Presence(Presence),
    /// To [`HubCall::Order`]: the number by which the device knows it.
    Ordered(i32),
    /// To [`HubCall::Order`]: too many commands wait for the device.
    TooManyCommands,
    /// To [`HubCall::Order`]: a command of that id waits for the device.
    KnownCommand,
    /// To [`HubCall::Redeem`].
    Redeemed(Redeemed),
    /// To [`HubCall::WriteAttributes`], [`HubCall::Keep`] and [`HubCall::Say`]: not all of it was taken, and why.
    Refused(Refusal),
    /// To a call that [brings to life](HubCall::brings_to_life): the device was deleted. Whoever carries the call says so.
    Gone,
}

/// A value of a device.
pub type Fact = Sample<'static>;

/// What hubs tell whoever is outside.
#[derive(Clone, PartialEq, Debug)]
pub enum News {
    /// How far a command is.
    Report(Report),
    /// Something for an ear that belongs to no core.
    Told(Addressed),
    /// Such an ear listens no longer: its device was deleted, or is recognised by something else now.
    Evicted(Ear),
    /// A device calls, and its dialect has no answer: [`HubCall::AnswerCall`] brings one.
    Called {
        /// Which device, and where its home is.
        device: DeviceId,
        /// The connection that called.
        ear: Ear,
        /// To be given back.
        cookie: Cookie,
        /// What to do.
        method: Box<str>,
        /// With what, as JSON.
        params: Box<str>,
    },
    /// What became of a device's presence.
    Turn(DeviceId, Turn),
}

impl HubCall {
    /// Takes out what goes to subscribers, for whoever brings it to them.
    pub fn take_forward(&mut self) -> Option<Forward<'static>> {
        match self {
            Self::Keep { forward, .. } | Self::Say { forward, .. } => forward.take(),
            _nobody_subscribes_to => None,
        }
    }

    /// Whether something is known of the device afterwards, although nothing was before: whoever carries the call asks first
    /// whether the device is still there.
    #[must_use]
    pub fn brings_to_life(&self) -> bool {
        match self {
            Self::WriteAttributes { .. }
            | Self::Keep { .. }
            | Self::Say { .. }
            | Self::Order(_)
            | Self::Assign(_)
            | Self::Open { .. }
            | Self::Restore(_) => true,
            Self::Attributes { .. }
            | Self::Latest { .. }
            | Self::Presence
            | Self::DeleteAttributes { .. }
            | Self::DeleteTelemetry { .. }
            | Self::DeleteCommand(_)
            | Self::Redeem { .. }
            | Self::Unassign(_)
            | Self::Forget
            | Self::Evict
            | Self::Renew
            | Self::Hear { .. }
            | Self::Delivered { .. }
            | Self::Close { .. }
            | Self::AnswerCall { .. } => false,
        }
    }

    /// Whether there will be more to keep than before, for whoever knows that there is no space.
    #[must_use]
    pub fn adds(&self) -> bool {
        match self {
            Self::WriteAttributes { .. } | Self::Keep { .. } | Self::Assign(_) => true,
            Self::Say { uplink, .. } | Self::Hear { uplink, .. } => {
                matches!(
                    uplink,
                    Uplink::Telemetry(_)
                        | Uplink::Attributes(_)
                        | Uplink::Shared(_)
                        | Uplink::Claimable { .. }
                )
            }
            Self::Order(order) => order.is_persistent,
            Self::Attributes { .. }
            | Self::Latest { .. }
            | Self::Presence
            | Self::DeleteAttributes { .. }
            | Self::DeleteTelemetry { .. }
            | Self::DeleteCommand(_)
            | Self::Redeem { .. }
            | Self::Unassign(_)
            | Self::Forget
            | Self::Evict
            | Self::Renew
            | Self::Open { .. }
            | Self::Delivered { .. }
            | Self::Close { .. }
            | Self::AnswerCall { .. }
            | Self::Restore(_) => false,
        }
    }
}

impl Hub {
    /// Answers a call from outside.
    pub fn call(&mut self, device: DeviceId, call: HubCall, now_ms: i64, out: &mut Outcome) -> HubReply {
        match call {
            HubCall::Attributes { scope, keys } => facts(self.attributes(device, scope), keys.as_deref()),
            HubCall::Latest { keys } => facts(self.latest(device), keys.as_deref()),
            HubCall::Presence => HubReply::Presence(self.presence(device)),
            HubCall::Order(order) => match self.order(device, order, now_ms, out) {
                Ok(number) => HubReply::Ordered(number),
                Err(NotOrdered::TooMany) => HubReply::TooManyCommands,
                Err(NotOrdered::Known) => HubReply::KnownCommand,
            },
            HubCall::Redeem { secret } => HubReply::Redeemed(self.redeem(device, &secret, now_ms, out)),
            HubCall::WriteAttributes { scope, samples } => done(self.write_all(device, scope, &samples, out)),
            HubCall::Keep { samples, keeping, .. } => done(self.keep_all(device, &samples, keeping, out)),
            HubCall::Say { keeping, uplink, .. } => done(self.say(device, keeping, &uplink, now_ms, out)),
            verb => {
                self.do_verb(device, verb, now_ms, out);
                HubReply::Done
            }
        }
    }

    fn do_verb(&mut self, device: DeviceId, verb: HubCall, now_ms: i64, out: &mut Outcome) {
        match verb {
            HubCall::DeleteAttributes { scope, keys } => {
                let keys: Vec<&str> = keys.iter().map(|key| &**key).collect();
                self.delete(device, scope, &keys, now_ms, out);
            }
            HubCall::DeleteTelemetry { key, from_ms, to_ms, deletes_latest, rewritten } => {
                self.delete_history(device, key, (from_ms, to_ms), deletes_latest, rewritten, out);
            }
            HubCall::DeleteCommand(id) => self.delete_command(device, id, out),
            HubCall::Assign(assignment) => self.assign(device, assignment, now_ms, out),
            HubCall::Unassign(kind) => {
                let keys = unassign(kind);
                let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
                self.delete(device, Scope::Shared, &keys, now_ms, out);
            }
            HubCall::Forget => self.forget(device, out),
            HubCall::Evict => self.evict(device, out),
            // What was to be done is done by whoever carried it.
            HubCall::Renew => {}
            HubCall::Open { ear, keeping } => self.open(device, ear, keeping, now_ms, out),
            HubCall::Hear { ear, uplink } => self.hear(device, ear, uplink, now_ms, out),
            HubCall::Delivered { number } => {
                self.command_sent(device, number, mqtt::QoS::AtMostOnce, now_ms, out);
            }
            HubCall::Close { ear } => self.close(device, ear, now_ms, out),
            HubCall::AnswerCall { ear, cookie, answer } => {
                let downlink = Downlink::CallAnswered { cookie, answer };
                out.downlinks.push(Addressed { ear, device, downlink });
            }
            HubCall::Restore(change) => self.restore(&change),
            HubCall::Attributes { .. }
            | HubCall::Latest { .. }
            | HubCall::Presence
            | HubCall::Order(_)
            | HubCall::Redeem { .. }
            | HubCall::WriteAttributes { .. }
            | HubCall::Keep { .. }
            | HubCall::Say { .. } => unreachable!("answered by whoever called this"),
        }
    }
}

fn done(written: Result<(), Refusal>) -> HubReply {
    written.map_or_else(HubReply::Refused, |()| HubReply::Done)
}

fn facts<'h>(
    known: impl Iterator<Item = (&'h str, &'h Value<'static>, i64)>,
    keys: Option<&[Box<str>]>,
) -> HubReply {
    let is_wanted = |key: &str| keys.is_none_or(|keys| keys.iter().any(|wanted| **wanted == *key));
    let wanted = known.filter(|(key, _, _)| is_wanted(key));
    let copy = |(key, value, at_ms): (&str, &Value<'static>, i64)| Sample {
        key: key.to_owned().into(),
        value: value.clone(),
        at_ms,
    };
    HubReply::Facts(wanted.map(copy).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claim::Claim;
    use crate::command::{CommandKind, CommandState};
    use crate::hub::HubTerms;
    use crate::package::{Content, Package};
    use crate::{Algorithm, PackageId, ProfileId, TenantId, Wanted};

    const DEVICE: DeviceId = DeviceId::from_bytes([1; 16]);
    const EAR: Ear = Ear(0xffff << 48);

    fn sample(key: &'static str, value: i64, at_ms: i64) -> Sample<'static> {
        Sample { key: key.into(), value: Value::Long(value), at_ms }
    }

    fn order(id: u8) -> Order {
        Order {
            id: CommandId::from_bytes([id; 16]),
            method: "m".into(),
            params: "null".into(),
            kind: CommandKind::TwoWay,
            is_persistent: true,
            expires_ms: 60_000,
            retries: None,
            additional: None,
        }
    }

    /// Asks, at time 10; what is answered and what comes of it.
    fn ask(hub: &mut Hub, call: HubCall) -> (HubReply, Outcome) {
        let mut out = Outcome::default();
        (hub.call(DEVICE, call, 10, &mut out), out)
    }

    fn shown(reply: HubReply) -> String {
        let HubReply::Facts(facts) = reply else { panic!("{reply:?}") };
        let words = facts.iter().map(|fact| format!("{}={}@{}", fact.key, fact.value.to_json(), fact.at_ms));
        words.collect::<Vec<_>>().join(" ")
    }

    fn latest(hub: &mut Hub) -> String {
        shown(ask(hub, HubCall::Latest { keys: None }).0)
    }

    #[test]
    fn of_a_device_that_has_said_nothing_nothing_is_known() {
        let mut hub = Hub::default();
        let scope = Scope::Client;
        assert_eq!(ask(&mut hub, HubCall::Attributes { scope, keys: None }).0, HubReply::Facts(vec![]));
        assert_eq!(latest(&mut hub), "");
        assert_eq!(ask(&mut hub, HubCall::Presence).0, HubReply::Presence(Presence::default()));
        let redeemed = ask(&mut hub, HubCall::Redeem { secret: "s".into() });
        assert_eq!(redeemed.0, HubReply::Redeemed(Redeemed::NoClaim));
        for call in [HubCall::Forget, HubCall::Evict, HubCall::Close { ear: EAR }] {
            let (reply, out) = ask(&mut hub, call);
            assert_eq!((reply, out.changes.len(), out.evicted.len()), (HubReply::Done, 0, 0));
        }
        assert!(hub.is_empty(), "a question leaves no trace");
    }

    #[test]
    fn attributes_are_written_read_by_name_and_deleted() {
        let mut hub = Hub::default();
        let scope = Scope::Server;
        let samples = vec![sample("b", 2, 3), sample("a", 1, 3)];
        let (reply, out) = ask(&mut hub, HubCall::WriteAttributes { scope, samples });
        assert_eq!((reply, out.changes.len()), (HubReply::Done, 2));
        let read = |keys: Option<&[&str]>| HubCall::Attributes {
            scope,
            keys: keys.map(|keys| keys.iter().map(|key| Box::from(*key)).collect()),
        };
        assert_eq!(shown(ask(&mut hub, read(None)).0), "a=1@3 b=2@3");
        assert_eq!(shown(ask(&mut hub, read(Some(&["b", "none"]))).0), "b=2@3");
        let (_, out) =
            ask(&mut hub, HubCall::DeleteAttributes { scope, keys: vec!["a".into(), "none".into()] });
        assert_eq!(out.changes.len(), 1);
        assert_eq!(shown(ask(&mut hub, read(None)).0), "b=2@3");
    }

    #[test]
    fn history_is_deleted_and_the_latest_value_only_if_it_lies_there() {
        let mut hub = Hub::default();
        let keep = |samples| HubCall::Keep { samples, keeping: Keeping::History, forward: None };
        let (_, out) =
            ask(&mut hub, keep(vec![sample("t", 1, 100), sample("t", 2, 200), sample("u", 5, 100)]));
        assert!(matches!(&out.changes[..], [Change::Telemetry { samples, .. }] if samples.len() == 3));
        let delete = |from_ms, to_ms, deletes_latest, rewritten| HubCall::DeleteTelemetry {
            key: "t".into(),
            from_ms,
            to_ms,
            deletes_latest,
            rewritten,
        };
        let (_, out) = ask(&mut hub, delete(0, 150, true, None));
        assert!(matches!(out.changes[..], [Change::HistoryGone { from_ms: 0, to_ms: 150, .. }]));
        assert_eq!(latest(&mut hub), "t=2@200 u=5@100", "the latest is not in that time");
        ask(&mut hub, delete(0, 500, false, None));
        assert_eq!(latest(&mut hub), "t=2@200 u=5@100", "nobody wants it deleted");
        let (_, out) = ask(&mut hub, delete(150, 500, true, Some(sample("t", 1, 100))));
        let changes = &out.changes[..];
        assert!(
            matches!(
                changes,
                [Change::HistoryGone { .. }, Change::LatestGone { .. }, Change::Telemetry { .. }]
            ),
            "{changes:?}"
        );
        assert_eq!(latest(&mut hub), "t=1@100 u=5@100", "the one before it takes its place");
        let (_, out) = ask(&mut hub, delete(5, 5, true, None));
        assert_eq!(out.changes.len(), 0, "no time, no deletion");
        ask(&mut hub, delete(0, 101, true, None));
        assert_eq!(latest(&mut hub), "u=5@100");
    }

    #[test]
    fn commands_are_numbered_taken_back_and_too_many_refused() {
        let mut terms = HubTerms::default();
        terms.commands.waiting_max = 2;
        let mut hub = Hub::new(terms);
        assert_eq!(ask(&mut hub, HubCall::Order(order(1))).0, HubReply::Ordered(0));
        assert_eq!(ask(&mut hub, HubCall::Order(order(2))).0, HubReply::Ordered(1));
        assert_eq!(ask(&mut hub, HubCall::Order(order(3))).0, HubReply::TooManyCommands);
        let (reply, out) = ask(&mut hub, HubCall::Order(order(2)));
        assert_eq!((reply, out.reports.len(), out.changes.len()), (HubReply::KnownCommand, 0, 0));
        let (_, out) = ask(&mut hub, HubCall::DeleteCommand(CommandId::from_bytes([1; 16])));
        assert_eq!(out.reports[0].state, CommandState::Deleted);
        assert!(matches!(out.changes[..], [Change::CommandGone { .. }]));
        assert_eq!(ask(&mut hub, HubCall::Order(order(3))).0, HubReply::Ordered(2));
    }

    #[test]
    fn somebody_outside_listens_in_the_devices_place() {
        let mut hub = Hub::default();
        ask(&mut hub, HubCall::Open { ear: EAR, keeping: Keeping::History });
        let HubReply::Presence(presence) = ask(&mut hub, HubCall::Presence).0 else { panic!("presence") };
        assert!(presence.is_connected());
        let listens = Uplink::Listens { attributes: true, commands: Some(mqtt::QoS::AtMostOnce) };
        ask(&mut hub, HubCall::Hear { ear: EAR, uplink: listens });
        let (_, out) = ask(&mut hub, HubCall::Order(order(1)));
        assert_eq!(out.downlinks[0].ear, EAR);
        let (_, out) = ask(&mut hub, HubCall::Delivered { number: 0 });
        assert_eq!(out.reports[0].state, CommandState::Delivered);
        let wanted =
            Uplink::AttributesWanted { cookie: Cookie(3), client: Wanted::All, shared: Wanted::Nothing };
        let (_, out) = ask(&mut hub, HubCall::Hear { ear: EAR, uplink: wanted });
        assert!(matches!(out.downlinks[0].downlink, Downlink::Attributes { cookie: Cookie(3), .. }));
        let (_, out) = ask(&mut hub, HubCall::Evict);
        assert_eq!(out.evicted, [(EAR, DEVICE)]);
        let (_, out) = ask(&mut hub, HubCall::Close { ear: EAR });
        assert_eq!(out.turns, [(DEVICE, Turn::Disconnected)]);
    }

    #[test]
    fn what_is_said_without_a_connection_is_heard_as_on_one_and_wakes_the_device_once() {
        let mut hub = Hub::new(HubTerms { facts_per_device_max: 1, ..HubTerms::default() });
        let say = |samples| HubCall::Say {
            keeping: Keeping::History,
            uplink: Uplink::Telemetry(samples),
            forward: None,
        };
        let (reply, out) = ask(&mut hub, say(vec![sample("t", 1, 5)]));
        assert_eq!(reply, HubReply::Done);
        assert!(
            matches!(out.changes[..], [Change::Presence { .. }, Change::Telemetry { .. }]),
            "{:?}",
            out.changes
        );
        let (_, out) = ask(&mut hub, say(vec![sample("t", 2, 6)]));
        assert!(matches!(out.changes[..], [Change::Telemetry { .. }]), "{:?}", out.changes);
        let presence = hub.presence(DEVICE);
        assert_eq!((presence.is_active, presence.connected_ms, presence.heard_ms), (true, 0, 10));
        assert_eq!(ask(&mut hub, say(vec![sample("u", 2, 6)])).0, HubReply::Refused(Refusal::TooManyFacts));
        let claimable = Uplink::Claimable { secret: "s".into(), duration_ms: None };
        ask(&mut hub, HubCall::Say { keeping: Keeping::Latest, uplink: claimable, forward: None });
        let redeemed = ask(&mut hub, HubCall::Redeem { secret: "s".into() }).0;
        assert_eq!(redeemed, HubReply::Redeemed(Redeemed::Granted));
    }

    #[test]
    fn telemetry_that_is_only_forwarded_is_not_kept_whoever_writes_it() {
        let mut hub = Hub::default();
        let samples = vec![sample("t", 1, 5)];
        let call = HubCall::Keep { samples: samples.clone(), keeping: Keeping::Forward, forward: None };
        assert_eq!(ask(&mut hub, call).0, HubReply::Done);
        let uplink = Uplink::Telemetry(samples);
        ask(&mut hub, HubCall::Say { keeping: Keeping::Forward, uplink, forward: None });
        assert_eq!(latest(&mut hub), "");
    }

    #[test]
    fn an_answer_to_a_call_goes_to_whoever_called() {
        let answer: Result<Box<str>, Box<str>> = Ok("5".into());
        let call = HubCall::AnswerCall { ear: EAR, cookie: Cookie(9), answer: answer.clone() };
        let (_, out) = ask(&mut Hub::default(), call);
        let downlink = Downlink::CallAnswered { cookie: Cookie(9), answer };
        assert_eq!(out.downlinks, [Addressed { ear: EAR, device: DEVICE, downlink }]);
    }

    #[test]
    fn what_was_assigned_is_told_and_gone_when_it_is_unassigned() {
        let package = Package {
            created_ms: 0,
            id: PackageId::from_bytes([1; 16]),
            tenant: TenantId::from_bytes([1; 16]),
            profile: ProfileId::from_bytes([1; 16]),
            kind: PackageKind::Firmware,
            title: "app".into(),
            version: "1".into(),
            tag: None,
            content: Content::upload([1, 2].into(), Algorithm::Crc32, None).unwrap(),
            label: crate::Label::default(),
        };
        let mut hub = Hub::default();
        ask(&mut hub, HubCall::Assign(package.assign(5)));
        let shared = HubCall::Attributes { scope: Scope::Shared, keys: Some(vec!["fw_title".into()]) };
        assert_eq!(shown(ask(&mut hub, shared.clone()).0), "fw_title=\"app\"@5");
        ask(&mut hub, HubCall::Unassign(PackageKind::Firmware));
        assert_eq!(shown(ask(&mut hub, shared).0), "");
    }

    #[test]
    fn a_change_from_elsewhere_is_taken_in_and_a_claim_is_redeemed_once() {
        let mut hub = Hub::default();
        let change = Change::Claim { device: DEVICE, claim: Some(Claim::new("s", None, 0)) };
        let (_, out) = ask(&mut hub, HubCall::Restore(Box::new(change)));
        assert_eq!(out.changes.len(), 0, "it is written down already");
        let mut redeem = || ask(&mut hub, HubCall::Redeem { secret: "s".into() }).0;
        assert_eq!(redeem(), HubReply::Redeemed(Redeemed::Granted));
        assert_eq!(redeem(), HubReply::Redeemed(Redeemed::NoClaim));
    }

    #[test]
    fn what_is_too_much_for_a_device_is_refused() {
        let mut hub = Hub::new(HubTerms { facts_per_device_max: 2, ..HubTerms::default() });
        let write = |samples| HubCall::WriteAttributes { scope: Scope::Shared, samples };
        let keep = |samples| HubCall::Keep { samples, keeping: Keeping::Latest, forward: None };
        let too_many = HubReply::Refused(Refusal::TooManyFacts);
        assert_eq!(ask(&mut hub, write(vec![sample("a", 1, 0)])).0, HubReply::Done);
        let (reply, out) =
            ask(&mut hub, write(vec![sample("a", 2, 0), sample("b", 1, 0), sample("c", 1, 0)]));
        assert_eq!((reply, out.changes.len()), (too_many.clone(), 0), "all or nothing");
        assert_eq!(ask(&mut hub, keep(vec![sample("t", 1, 0)])).0, HubReply::Done);
        assert_eq!(ask(&mut hub, keep(vec![sample("t", 2, 0), sample("u", 1, 0)])).0, too_many);
        assert_eq!(latest(&mut hub), "t=2@0", "keys that are there go on");
        assert_eq!(hub.counters().facts_refused, 3);
    }
}
