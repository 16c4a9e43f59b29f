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
use crate::hub::{Addressed, Hub, Outcome, Refusal, Report, TooManyCommands};
use crate::ids::{CommandId, DeviceId};
use crate::package::{Assignment, PackageKind, unassign};
use crate::presence::{Presence, Turn};
use crate::profile::Keeping;
use crate::speech::{Cookie, Downlink, Ear, Uplink};
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
    /// Its credential or its kind was changed: end its connections.
    Evict,
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
    /// To [`HubCall::Redeem`].
    Redeemed(Redeemed),
    /// To [`HubCall::WriteAttributes`] and [`HubCall::Keep`]: not all of it was taken, and why.
    Refused(Refusal),
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

impl Hub {
    /// Answers a call from outside.
    pub fn call(&mut self, device: DeviceId, call: HubCall, now_ms: i64, out: &mut Outcome) -> HubReply {
        match call {
            HubCall::Attributes { scope, keys } => facts(self.attributes(device, scope), keys.as_deref()),
            HubCall::Latest { keys } => facts(self.latest(device), keys.as_deref()),
            HubCall::Presence => HubReply::Presence(self.presence(device)),
            HubCall::Order(order) => match self.order(device, order, now_ms, out) {
                Ok(number) => HubReply::Ordered(number),
                Err(TooManyCommands) => HubReply::TooManyCommands,
            },
            HubCall::Redeem { secret } => HubReply::Redeemed(self.redeem(device, &secret, now_ms, out)),
            HubCall::WriteAttributes { scope, samples } => done(self.write_all(device, scope, &samples, out)),
            HubCall::Keep { samples, keeping } => done(self.keep_all(device, &samples, keeping, out)),
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
            | HubCall::Keep { .. } => unreachable!("answered by whoever called this"),
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
