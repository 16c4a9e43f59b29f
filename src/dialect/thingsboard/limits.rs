//! How much a device and its children may say.
//!
//! Why a limit is no reason to end a connection: a device that is cut off comes back and says it again, louder. In 5.0 it is
//! told; below, where an acknowledgement cannot say no, its connection is left unread until there is room.
//!
//! Invariants:
//! - What is not allowed takes nothing from any bucket and is not heard.
//! - What one child may not say does not silence another.
//! - What is left of a limit is not known here: it is lent for each message, by whoever keeps it over connections.
//!
//! Source: section 11 of the vectors for what takes what.

use std::collections::BTreeSet;

use device::{Answer, Cost, Downlink, Interpreter, Remark, Said, Short, Speech, Subject, Within};
use mqtt::{QoS, ReasonCode, Version};

use super::canonical::Names;
use super::session::Session;

/// Children of one message that was not heard of whose disconnection a gateway is told; the answer to the message counts for
/// all.
const UNHEARD_TOLD_MAX: usize = 100;

impl Session {
    /// Lets through what may be said, and answers accordingly.
    pub fn limit<'a>(
        &mut self,
        said: &Said<'a>,
        speech: &mut Speech<'a>,
        answer: Answer,
        mut within: Within<'_>,
    ) -> Answer {
        if within.is_boundless() || speech.remarks.is_empty() || answer.end.is_some() {
            return answer;
        }
        let speaks_for_children = speech.remarks.iter().any(is_of_child);
        if self.version == Version::V5 && speaks_for_children {
            return self.limit_each_child(said.now_ms, speech, answer, within);
        }
        let (mut own, mut children) = (Cost::default(), Cost::default());
        for remark in &speech.remarks {
            let costs = within.costs(remark);
            (own, children) = (own.and(costs.0), children.and(costs.1));
        }
        match within.take(own, children, said.now_ms) {
            Ok(()) => answer,
            Err(short) => {
                speech.clear();
                if speaks_for_children && self.settings.quirks.rate_limits_end {
                    return ended_for_children().because(self.offer.words(&short));
                }
                self.refuse(said.qos, &short)
            }
        }
    }

    fn refuse(&self, qos: QoS, short: &Short) -> Answer {
        let code = ReasonCode::QuotaExceeded;
        let why = self.offer.words(short);
        match self.version {
            _any if self.settings.quirks.rate_limits_end => {
                Answer::ended(ReasonCode::ImplementationSpecificError).because(why)
            }
            Version::V5 => Answer::acknowledged(code).because(why),
            // What needs no acknowledgement may be lost.
            Version::V31 | Version::V311 if qos == QoS::AtMostOnce => Answer::acknowledged(code).because(why),
            Version::V31 | Version::V311 => Answer::again(short.after_ms).because(why),
        }
    }

    /// Hears the children that may speak; of the others the gateway is told.
    fn limit_each_child<'a>(
        &mut self,
        now_ms: i64,
        speech: &mut Speech<'a>,
        answer: Answer,
        mut within: Within<'_>,
    ) -> Answer {
        let mut silenced = BTreeSet::new();
        let mut last = None;
        speech.remarks.retain(|remark| {
            let (own, children) = within.costs(remark);
            let taken = within.take(own, children, now_ms);
            let may_speak = taken.is_ok();
            last = taken.err().or(last.take());
            if let (false, Subject::Child(child)) = (may_speak, &remark.subject) {
                silenced.insert(child.to_string());
            }
            may_speak
        });
        if last.is_none() {
            return answer;
        }
        // A child that stands in a message twice is heard whole or not at all.
        self.unsay(&silenced, speech);
        for child in silenced.iter().take(UNHEARD_TOLD_MAX) {
            let told = Downlink::Unheard { reason: ReasonCode::MessageRateTooHigh };
            // A gateway has words for this in 5.0, which is what it speaks here.
            let _told = self.tell_of_child(child, &told, &mut speech.utterances);
        }
        let answer = if self.settings.quirks.rate_limits_end {
            ended_for_children()
        } else {
            Answer::acknowledged(ReasonCode::QuotaExceeded)
        };
        match last {
            Some(short) => answer.because(self.offer.words(&short)),
            None => answer,
        }
    }

    /// Nothing of what is said of some children goes to subscribers.
    pub fn keep_back(&mut self, children: &BTreeSet<String>, speech: &mut Speech<'_>) {
        let mut topics = BTreeSet::new();
        for child in children {
            if let Some(Names { telemetry, attributes }) = self.canonical.child(child) {
                topics.extend([telemetry, attributes]);
            }
        }
        speech.forwards.retain(|forward| !topics.contains(&forward.topic));
    }
}

/// A gateway that says too much of its children, where that ends its connection. Source: section 11.4.
fn ended_for_children() -> Answer {
    Answer::acknowledged_and_ended(ReasonCode::QuotaExceeded)
}

fn is_of_child(remark: &Remark<'_>) -> bool {
    matches!(remark.subject, Subject::Child(_))
}

#[cfg(test)]
mod tests {
    use device::{DeviceAllowance, Offer, Rate, Rates, TenantAllowances, TenantId};

    use super::super::session::trial::gateway_offered;
    use super::*;

    /// A gateway with what it may still say.
    fn gateway(version: Version, settings: &str, offer: &Offer) -> (Session, DeviceAllowance) {
        (gateway_offered(version, settings, offer.clone()), DeviceAllowance::new(offer))
    }

    /// What comes of a message of QoS 1 at time 99.
    fn publish<'a>(
        (session, allowance): &mut (Session, DeviceAllowance),
        topic: &'a str,
        payload: &'a [u8],
    ) -> (Answer, Speech<'a>) {
        let mut speech = Speech::default();
        let said = Said { topic, payload, qos: QoS::AtLeastOnce, now_ms: 99 };
        let within = Within { device: Some(allowance), ..Within::default() };
        (session.publish_within(&said, &mut speech, within), speech)
    }

    const TWO: &[u8] = b"{\"A\":[{\"t\":1}],\"B\":[{\"t\":1}]}";

    #[test]
    fn a_child_that_may_not_speak_is_neither_heard_nor_forwarded() {
        let mut offer = Offer::default();
        offer.children.telemetry_messages = Rate::read("1:1").unwrap();
        let mut session = gateway(Version::V5, "", &offer);
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
        let mut session = gateway(Version::V311, "", &offer);
        let (_, speech) = publish(&mut session, "v2/t", b"{\"a\":1}");
        assert_eq!((speech.remarks.len(), speech.forwards.len()), (1, 1));
        let (answer, speech) = publish(&mut session, "v2/t", b"{\"a\":1}");
        assert_eq!((answer.again_ms, answer.acknowledge), (Some(1000), None));
        assert_eq!(speech, Speech::default());
    }

    #[test]
    fn connections_of_a_tenant_share_and_what_is_refused_takes_nothing() {
        let tenant = TenantId::from_bytes([1; 16]);
        let rates = Rates { telemetry_values: Rate::read("4:1").unwrap(), ..Rates::default() };
        let mut tenants = TenantAllowances::new(2);
        let mut offer = Offer::default();
        offer.own.telemetry_messages = Rate::read("1:1").unwrap();
        let mut sessions = [0, 1].map(|_| gateway(Version::V5, "", &offer));
        let mut say = |index: usize, topic: &str, payload: &[u8]| {
            let mut speech = Speech::default();
            let said = Said { topic, payload, qos: QoS::AtLeastOnce, now_ms: 99 };
            let (session, allowance) = &mut sessions[index];
            let within = Within { tenant: tenants.of(tenant, &rates), device: Some(allowance), meets: None };
            let answer = session.publish_within(&said, &mut speech, within);
            (answer.acknowledge.map(ReasonCode::byte), speech.remarks.len())
        };
        assert_eq!(say(0, "v2/t", b"{\"a\":1}"), (Some(0), 1));
        assert_eq!(
            say(0, "v2/t", b"{\"a\":1}"),
            (Some(0x97), 0),
            "its own message a second; the tenant's was not taken"
        );
        assert_eq!(say(1, "v2/t", b"{\"a\":1}"), (Some(0), 1));
        assert_eq!(say(1, "v1/gateway/telemetry", TWO), (Some(0x97), 0), "two cores: two values here");
        assert_eq!(say(1, "v2/a/req/1", b"{}"), (Some(0), 1), "other messages are not limited");
    }

    #[test]
    fn a_refusal_says_which_limit_it_is() {
        let rate = |text| Rate::read(text).unwrap();
        let rates = |messages, telemetry, values| Rates {
            messages: rate(messages),
            telemetry_messages: rate(telemetry),
            telemetry_values: rate(values),
        };
        let one: (&str, &[u8]) = ("v2/t", b"{\"a\":1}");
        let claim: (&str, &[u8]) = ("v1/devices/me/claim", b"");
        let child: (&str, &[u8]) = ("v1/gateway/telemetry", b"{\"A\":[{\"t\":1}]}");
        let rows = [
            (rates("", "1:60", ""), rates("", "", ""), one, "rate limit: device telemetry 1:60"),
            (rates("", "", "1:60,9:99"), rates("", "", ""), one, "rate limit: device values 1:60,9:99"),
            (rates("1:60", "", ""), rates("", "", ""), claim, "rate limit: device messages 1:60"),
            (rates("", "", ""), rates("", "1:60", ""), child, "rate limit: child telemetry 1:60"),
        ];
        for (own, children, (topic, payload), why) in rows {
            let offer = Offer { own, children, ..Offer::default() };
            let mut session = gateway(Version::V5, "", &offer);
            publish(&mut session, topic, payload);
            let (answer, _) = publish(&mut session, topic, payload);
            assert_eq!(answer.why.as_deref(), Some(why));
        }
    }

    #[test]
    fn a_switch_ends_connections_that_say_too_much() {
        let mut offer = Offer::default();
        offer.own.messages = Rate::read("1:60").unwrap();
        for version in [Version::V311, Version::V5] {
            let settings = "{\"quirks\":{\"rateLimitsEnd\":true}}";
            let mut session = gateway(version, settings, &offer);
            publish(&mut session, "v1/devices/me/claim", b"");
            let (answer, _) = publish(&mut session, "v1/devices/me/claim", b"");
            assert_eq!(
                (answer.acknowledge, answer.end),
                (None, Some(ReasonCode::ImplementationSpecificError))
            );
        }
    }
}
