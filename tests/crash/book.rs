//! The book: every stream of messages, what of it was sent, acknowledged and refused, and every broken rule.
//!
//! Why streams of numbers: messages of one publisher and topic are numbered without gaps, so one number per receiver says
//! what it has, what it lacks, and what came twice.
//!
//! Invariants:
//! - A message is acknowledged when the promise was made: at PUBACK, at PUBREC.
//! - Broken rules are counted all and described up to a limit.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

/// How many broken rules are described in full.
const DESCRIBED_MAX: usize = 60;

/// What must hold.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub enum Rule {
    /// I1: an acknowledged message reaches every lasting subscriber that was owed it.
    Lost,
    /// I2: QoS 2 is delivered once per session.
    Duplicated,
    /// I3: messages of one publisher and topic arrive in their order.
    Disordered,
    /// I4: a retained value is the last acknowledged one or a later one.
    RetainedLost,
    /// I5: an unsubscribed client gets nothing, and nothing comes that nobody sent.
    Unwanted,
    /// I6: a packet id is not used for another message while it is in flight.
    PacketIdReused,
    /// I7: Session Present tells the truth.
    SessionUntrue,
    /// I8: an expired message is not delivered.
    Expired,
    /// I9: a full queue drops, and counts what it drops.
    QueueLimit,
    /// A will of a lasting session is published although the broker fell in between.
    WillLost,
    /// The broker says something else than MQTT, or refuses what is lawful.
    Protocol,
    /// The broker does not start, does not stop, or does not answer.
    Broker,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lost => "I1 lost",
            Self::Duplicated => "I2 duplicated",
            Self::Disordered => "I3 disordered",
            Self::RetainedLost => "I4 retained lost",
            Self::Unwanted => "I5 unwanted",
            Self::PacketIdReused => "I6 packet id reused",
            Self::SessionUntrue => "I7 session present untrue",
            Self::Expired => "I8 expired",
            Self::QueueLimit => "I9 queue limit",
            Self::WillLost => "will lost",
            Self::Protocol => "protocol",
            Self::Broker => "broker",
        })
    }
}

/// What kind of messages a stream carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Each must arrive.
    Plain,
    /// Each expires after so many seconds.
    Expiring(u32),
    /// Each sets or clears a retained message.
    Retained,
}

/// Messages of one publisher to one topic.
#[derive(Debug)]
pub struct Stream {
    /// Where they go.
    pub topic: String,
    /// The QoS they are published with.
    pub qos: u8,
    /// What they are.
    pub kind: Kind,
    /// Whose they are.
    pub publisher: usize,
    /// The number that the next one gets.
    pub sent: u64,
    /// Sent, neither acknowledged nor refused.
    pub open: BTreeSet<u64>,
    /// Refused by the broker: they may arrive and need not.
    pub refused: BTreeSet<u64>,
    /// From which number on which cycle sent: for descriptions.
    cycles: Vec<(u64, u64)>,
    /// When expiring ones were acknowledged, in milliseconds.
    acked_ms: BTreeMap<u64, u64>,
}

impl Stream {
    /// The first number that is not settled: everything below has its acknowledgement.
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.open.first().copied().unwrap_or(self.sent)
    }

    /// In which cycle a message was first sent.
    #[must_use]
    pub fn cycle_of(&self, counter: u64) -> u64 {
        let after = self.cycles.partition_point(|(from, _)| *from <= counter);
        after.checked_sub(1).map_or(0, |index| self.cycles[index].1)
    }

    /// Whether a number of a retained stream clears.
    #[must_use]
    pub fn is_clear(counter: u64) -> bool {
        counter % 5 == 3
    }
}

/// Sums of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sums {
    /// Messages sent for the first time.
    pub sent: u64,
    /// Messages acknowledged by PUBACK or PUBREC.
    pub acked: u64,
    /// Messages refused with a reason code.
    pub refused: u64,
    /// First deliveries to lasting subscribers.
    pub received: u64,
    /// QoS 1 deliveries beyond the first.
    pub repeated: u64,
    /// Retained values looked at.
    pub retained_seen: u64,
    /// Wills that came.
    pub wills: u64,
    /// Acknowledged SUBSCRIBE and UNSUBSCRIBE.
    pub subscriptions: u64,
    /// Sessions taken up again.
    pub resumed: u64,
    /// Sessions ended, by Clean Start or expiry.
    pub ended: u64,
}

/// The book.
#[derive(Debug, Default)]
pub struct Book {
    /// Mixed into every payload.
    pub run: u64,
    /// The cycle that runs.
    pub cycle: u64,
    /// All streams; a stream's number is its place.
    pub streams: Vec<Stream>,
    /// Sums.
    pub sums: Sums,
    /// Wills that were read.
    pub wills: BTreeSet<String>,
    /// Whether someone reads wills.
    pub is_mourned: bool,
    /// How often each rule was broken.
    pub broken: BTreeMap<Rule, u64>,
    /// The first broken rules in full.
    pub described: Vec<String>,
}

impl Book {
    /// Opens a stream and returns its number.
    pub fn open(&mut self, publisher: usize, topic: String, qos: u8, kind: Kind) -> usize {
        self.streams.push(Stream {
            topic,
            qos,
            kind,
            publisher,
            sent: 0,
            open: BTreeSet::new(),
            refused: BTreeSet::new(),
            cycles: Vec::new(),
            acked_ms: BTreeMap::new(),
        });
        self.streams.len() - 1
    }

    /// The number for a message that is sent now for the first time.
    pub fn send(&mut self, stream: usize) -> u64 {
        let cycle = self.cycle;
        let stream = &mut self.streams[stream];
        let counter = stream.sent;
        if stream.cycles.last().is_none_or(|(_, last)| *last != cycle) {
            stream.cycles.push((counter, cycle));
        }
        stream.sent += 1;
        stream.open.insert(counter);
        self.sums.sent += 1;
        counter
    }

    /// The broker has promised.
    pub fn acknowledge(&mut self, stream: usize, counter: u64, now_ms: u64) {
        let stream = &mut self.streams[stream];
        if stream.open.remove(&counter) {
            self.sums.acked += 1;
            if matches!(stream.kind, Kind::Expiring(_)) {
                stream.acked_ms.insert(counter, now_ms);
            }
        }
    }

    /// The broker has refused.
    pub fn refuse(&mut self, stream: usize, counter: u64) {
        let stream = &mut self.streams[stream];
        if stream.open.remove(&counter) {
            stream.refused.insert(counter);
            self.sums.refused += 1;
        }
    }

    /// Judges the moment at which an expiring message arrived for the first time, and not as a repetition.
    pub fn judge_expiry(&mut self, stream: usize, counter: u64, now_ms: u64) {
        let Kind::Expiring(expiry_s) = self.streams[stream].kind else { return };
        let Some(acked_ms) = self.streams[stream].acked_ms.get(&counter) else { return };
        let late_ms = now_ms.saturating_sub(acked_ms + u64::from(expiry_s) * 1000);
        // The second that the rule grants, and one for a ledger that shares two cores with the broker.
        if late_ms > 2000 {
            self.accuse(
                Rule::Expired,
                format!("{}: delivered {late_ms} ms after its end", self.name(stream, counter)),
            );
        }
    }

    /// A message, for people.
    #[must_use]
    pub fn name(&self, stream: usize, counter: u64) -> String {
        let known = &self.streams[stream];
        let state = match () {
            () if counter >= known.sent => "never sent",
            () if known.refused.contains(&counter) => "refused",
            () if known.open.contains(&counter) => "not acknowledged",
            () => "acknowledged",
        };
        format!("{} #{counter} (QoS {}, cycle {}, {state})", known.topic, known.qos, known.cycle_of(counter))
    }

    /// Writes down that a rule is broken.
    pub fn accuse(&mut self, rule: Rule, text: impl fmt::Display) {
        self.accuse_many(rule, 1, text);
    }

    /// Writes down that a rule is broken several times in one way.
    pub fn accuse_many(&mut self, rule: Rule, times: u64, text: impl fmt::Display) {
        *self.broken.entry(rule).or_default() += times;
        if self.described.len() < DESCRIBED_MAX {
            self.described.push(format!("cycle {}: {rule}: {text}", self.cycle));
        }
    }

    /// How often a rule was broken.
    #[must_use]
    pub fn broken(&self, rule: Rule) -> u64 {
        self.broken.get(&rule).copied().unwrap_or(0)
    }

    /// How often any rule was broken.
    #[must_use]
    pub fn broken_in_all(&self) -> u64 {
        self.broken.values().sum()
    }

    /// Whether every message sent has its answer.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.streams.iter().all(|stream| stream.open.is_empty())
    }
}
