//! How much a device and its children may say.
//!
//! Why a limit is no reason to end a connection: a device that is cut off comes back and says it again, louder. In 5.0 it is
//! told; below, where an acknowledgement cannot say no, its connection is left unread until there is room.
//!
//! Invariants:
//! - What is not allowed takes nothing from any bucket and is not heard.
//! - What one child may not say does not silence another.
//!
//! Source: section 11 of the vectors for what takes what.

use std::sync::Arc;

use device::{Answer, Bucket, Downlink, Offer, Rates, Remark, Said, Speech, Subject, TooMuch, Uplink};
use mqtt::{QoS, ReasonCode, Version};

use super::session::Session;

/// What a connection may still say.
#[derive(Debug)]
pub(super) struct Allowance {
    own: Buckets,
    children: Buckets,
}

#[derive(Debug)]
struct Buckets {
    messages: Bucket,
    telemetry_messages: Bucket,
    telemetry_values: Bucket,
}

/// What something takes.
#[derive(Clone, Copy, Default)]
struct Cost {
    messages: u64,
    telemetry_messages: u64,
    telemetry_values: u64,
}

impl Allowance {
    pub fn new(offer: &Offer) -> Self {
        Self { own: Buckets::new(&offer.own), children: Buckets::new(&offer.children) }
    }
}

impl Buckets {
    fn new(rates: &Rates) -> Self {
        Self {
            messages: rates.messages.bucket(),
            telemetry_messages: rates.telemetry_messages.bucket(),
            telemetry_values: rates.telemetry_values.bucket(),
        }
    }

    /// Takes all of it or nothing.
    fn take(&mut self, cost: Cost, now_ms: i64) -> Result<(), TooMuch> {
        self.messages.check(cost.messages, now_ms)?;
        self.telemetry_messages.check(cost.telemetry_messages, now_ms)?;
        self.telemetry_values.check(cost.telemetry_values, now_ms)?;
        self.messages.take(cost.messages);
        self.telemetry_messages.take(cost.telemetry_messages);
        self.telemetry_values.take(cost.telemetry_values);
        Ok(())
    }
}

impl Cost {
    fn of(uplink: &Uplink<'_>) -> Self {
        match uplink {
            Uplink::Alive => Self::default(),
            Uplink::Telemetry(samples) | Uplink::Attributes(samples) if !samples.is_empty() => {
                let telemetry_values = u64::try_from(samples.len()).unwrap_or(u64::MAX);
                Self { messages: 0, telemetry_messages: 1, telemetry_values }
            }
            Uplink::Telemetry(_)
            | Uplink::Attributes(_)
            | Uplink::AttributesWanted { .. }
            | Uplink::Listens { .. }
            | Uplink::CommandAnswered { .. }
            | Uplink::Called { .. }
            | Uplink::Claimable { .. }
            | Uplink::ChunkWanted(_)
            | Uplink::Provision(_)
            | Uplink::ChildHere { .. }
            | Uplink::ChildGone => Self { messages: 1, ..Self::default() },
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            messages: self.messages.saturating_add(other.messages),
            telemetry_messages: self.telemetry_messages.saturating_add(other.telemetry_messages),
            telemetry_values: self.telemetry_values.saturating_add(other.telemetry_values),
        }
    }
}

impl Session {
    /// Lets through what may be said, and answers accordingly.
    pub fn limit<'a>(&mut self, said: &Said<'a>, speech: &mut Speech<'a>, answer: Answer) -> Answer {
        if self.allowance.is_none() || speech.remarks.is_empty() || answer.end.is_some() {
            return answer;
        }
        if self.version == Version::V5 && speech.remarks.iter().any(is_of_child) {
            return self.limit_each_child(said.now_ms, speech, answer);
        }
        let sum = |is_wanted: fn(&Remark<'_>) -> bool| {
            let wanted = speech.remarks.iter().filter(|remark| is_wanted(remark));
            wanted.map(|remark| Cost::of(&remark.uplink)).fold(Cost::default(), Cost::and)
        };
        let (own, children) = (sum(|remark| !is_of_child(remark)), sum(is_of_child));
        let Some(allowance) = &mut self.allowance else { return answer };
        let taken = allowance.own.take(own, said.now_ms);
        match taken.and_then(|()| allowance.children.take(children, said.now_ms)) {
            Ok(()) => answer,
            Err(too_much) => {
                *speech = Speech::default();
                self.refuse(said.qos, too_much)
            }
        }
    }

    fn refuse(&self, qos: QoS, too_much: TooMuch) -> Answer {
        let code = ReasonCode::QuotaExceeded;
        let why = "more is said than may be";
        match self.version {
            Version::V5 => Answer::acknowledged(code).because(why),
            // What needs no acknowledgement may be lost.
            Version::V31 | Version::V311 if qos == QoS::AtMostOnce => Answer::acknowledged(code).because(why),
            Version::V31 | Version::V311 => Answer::again(too_much.after_ms).because(why),
        }
    }

    /// Hears the children that may speak; of the others the gateway is told.
    fn limit_each_child<'a>(&mut self, now_ms: i64, speech: &mut Speech<'a>, answer: Answer) -> Answer {
        let Some(allowance) = &mut self.allowance else { return answer };
        let mut silenced = Vec::new();
        let buckets = &mut allowance.children;
        speech.remarks.retain(|Remark { subject, uplink }| {
            let Subject::Child(child) = subject else { return true };
            let may_speak = buckets.take(Cost::of(uplink), now_ms).is_ok();
            if !may_speak {
                silenced.push(child.to_string());
            }
            may_speak
        });
        if silenced.is_empty() {
            return answer;
        }
        for child in &silenced {
            let names = self.canonical.child(child);
            let is_theirs = |topic: &Arc<str>| *topic == names.telemetry || *topic == names.attributes;
            speech.forwards.retain(|forward| !is_theirs(&forward.topic));
            let told = Downlink::Unheard { reason: ReasonCode::MessageRateTooHigh };
            // A gateway has words for this in 5.0, which is what it speaks here.
            let _told = self.tell_of_child(child, &told, &mut speech.utterances);
        }
        Answer::acknowledged(ReasonCode::QuotaExceeded).because("more is said of a child than may be")
    }
}

fn is_of_child(remark: &Remark<'_>) -> bool {
    matches!(remark.subject, Subject::Child(_))
}

#[cfg(test)]
mod tests {
    use device::Rate;

    use super::super::session::trial::{gateway_offered, publish};
    use super::*;

    const TWO: &[u8] = b"{\"A\":[{\"t\":1}],\"B\":[{\"t\":1}]}";

    #[test]
    fn a_child_that_may_not_speak_is_neither_heard_nor_forwarded() {
        let mut offer = Offer::default();
        offer.children.telemetry_messages = Rate::read("1:1").unwrap();
        let mut session = gateway_offered(Version::V5, "", offer);
        let (answer, speech) = publish(&mut session, "v1/gateway/telemetry", TWO);
        assert_eq!((answer.acknowledge, answer.end), (Some(ReasonCode::QuotaExceeded), None));
        assert_eq!(speech.remarks.len(), 1);
        assert_eq!(speech.remarks[0].subject, Subject::Child("A".into()));
        let topics: Vec<_> = speech.forwards.iter().map(|forward| &*forward.topic).collect();
        assert_eq!(topics, ["thingsboard/t/A/telemetry"]);
        assert_eq!(speech.utterances.len(), 1);
    }

    #[test]
    fn what_waits_is_not_forwarded_either() {
        let mut offer = Offer::default();
        offer.own.telemetry_values = Rate::read("1:1").unwrap();
        let mut session = gateway_offered(Version::V311, "", offer);
        let (_, speech) = publish(&mut session, "v2/t", b"{\"a\":1}");
        assert_eq!((speech.remarks.len(), speech.forwards.len()), (1, 1));
        let (answer, speech) = publish(&mut session, "v2/t", b"{\"a\":1}");
        assert_eq!((answer.again_ms, answer.acknowledge), (Some(1000), None));
        assert_eq!(speech, Speech::default());
    }
}
