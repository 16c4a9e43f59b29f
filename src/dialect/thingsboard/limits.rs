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

use device::{Allowance, Answer, Cost, Downlink, Offer, Remark, Said, Scarce, Speech, Subject, TooMuch};
use mqtt::{QoS, ReasonCode, Version};

use super::session::Session;

/// What a connection may still say.
#[derive(Debug)]
pub(super) struct Limits {
    own: Allowance,
    children: Allowance,
}

impl Limits {
    pub fn new(offer: &Offer) -> Self {
        Self { own: Allowance::new(&offer.own), children: Allowance::new(&offer.children) }
    }
}

impl Session {
    /// Lets through what may be said, and answers accordingly. The tenant's allowance is asked first.
    pub fn limit<'a>(
        &mut self,
        said: &Said<'a>,
        speech: &mut Speech<'a>,
        answer: Answer,
        tenant: Option<&mut Allowance>,
    ) -> Answer {
        if (self.limits.is_none() && tenant.is_none()) || speech.remarks.is_empty() || answer.end.is_some() {
            return answer;
        }
        let speaks_for_children = speech.remarks.iter().any(is_of_child);
        if self.version == Version::V5 && speaks_for_children {
            return self.limit_each_child(said.now_ms, speech, answer, tenant);
        }
        let sum = |is_wanted: fn(&Remark<'_>) -> bool| {
            let wanted = speech.remarks.iter().filter(|remark| is_wanted(remark));
            wanted.map(|remark| Cost::of(&remark.uplink)).fold(Cost::default(), Cost::and)
        };
        let (own, children) = (sum(|remark| !is_of_child(remark)), sum(is_of_child));
        let mut asked: Vec<Asked<'_>> = Vec::with_capacity(3);
        asked.extend(tenant.map(|tenant| (Whose::Tenant, tenant, own.and(children))));
        if let Some(limits) = &mut self.limits {
            asked.push((Whose::Device, &mut limits.own, own));
            asked.push((Whose::Children, &mut limits.children, children));
        }
        match take(&mut asked, said.now_ms) {
            Ok(()) => answer,
            Err(refused) => {
                speech.clear();
                if speaks_for_children && self.settings.quirks.rate_limits_end {
                    return ended_for_children().because(self.words(&refused));
                }
                self.refuse(said.qos, &refused)
            }
        }
    }

    /// Which limit it is, in words.
    fn words(&self, refused: &Refused) -> String {
        let (whose, rates) = match refused.whose {
            Whose::Tenant => ("tenant", &self.offer.tenant),
            Whose::Device => ("device", &self.offer.own),
            Whose::Children => ("child", &self.offer.children),
        };
        let (what, rate) = match refused.scarce {
            Scarce::Messages => ("messages", &rates.messages),
            Scarce::TelemetryMessages => ("telemetry", &rates.telemetry_messages),
            Scarce::TelemetryValues => ("values", &rates.telemetry_values),
        };
        format!("rate limit: {whose} {what} {}", rate.text())
    }

    fn refuse(&self, qos: QoS, refused: &Refused) -> Answer {
        let code = ReasonCode::QuotaExceeded;
        let why = self.words(refused);
        match self.version {
            _any if self.settings.quirks.rate_limits_end => {
                Answer::ended(ReasonCode::ImplementationSpecificError).because(why)
            }
            Version::V5 => Answer::acknowledged(code).because(why),
            // What needs no acknowledgement may be lost.
            Version::V31 | Version::V311 if qos == QoS::AtMostOnce => Answer::acknowledged(code).because(why),
            Version::V31 | Version::V311 => Answer::again(refused.after_ms).because(why),
        }
    }

    /// Hears the children that may speak; of the others the gateway is told.
    fn limit_each_child<'a>(
        &mut self,
        now_ms: i64,
        speech: &mut Speech<'a>,
        answer: Answer,
        mut tenant: Option<&mut Allowance>,
    ) -> Answer {
        let mut silenced = Vec::new();
        let mut last = None;
        let limits = &mut self.limits;
        speech.remarks.retain(|Remark { subject, uplink }| {
            let cost = Cost::of(uplink);
            let mut asked: Vec<Asked<'_>> = Vec::with_capacity(2);
            asked.extend(tenant.as_deref_mut().map(|tenant| (Whose::Tenant, tenant, cost)));
            let own = limits.as_mut().map(|limits| match subject {
                Subject::Own => (Whose::Device, &mut limits.own, cost),
                Subject::Child(_) => (Whose::Children, &mut limits.children, cost),
            });
            asked.extend(own);
            let taken = take(&mut asked, now_ms);
            let may_speak = taken.is_ok();
            last = taken.err().or(last.take());
            if let (false, Subject::Child(child)) = (may_speak, subject) {
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
        let answer = if self.settings.quirks.rate_limits_end {
            ended_for_children()
        } else {
            Answer::acknowledged(ReasonCode::QuotaExceeded)
        };
        match last {
            Some(refused) => answer.because(self.words(&refused)),
            None => answer,
        }
    }
}

/// Whose allowance it is, and what is asked of it.
type Asked<'a> = (Whose, &'a mut Allowance, Cost);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Whose {
    Tenant,
    Device,
    Children,
}

/// What was not allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Refused {
    whose: Whose,
    scarce: Scarce,
    after_ms: i64,
}

/// A gateway that says too much of its children, where that ends its connection. Source: section 11.4.
fn ended_for_children() -> Answer {
    Answer::acknowledged_and_ended(ReasonCode::QuotaExceeded)
}

/// Takes all of it or nothing.
fn take(asked: &mut [Asked<'_>], now_ms: i64) -> Result<(), Refused> {
    for (whose, allowance, cost) in &mut *asked {
        if let Err(TooMuch { after_ms }) = allowance.check(*cost, now_ms) {
            return Err(Refused { whose: *whose, scarce: allowance.scarce(*cost, now_ms), after_ms });
        }
    }
    for (_, allowance, cost) in asked {
        allowance.spend(*cost);
    }
    Ok(())
}

fn is_of_child(remark: &Remark<'_>) -> bool {
    matches!(remark.subject, Subject::Child(_))
}

#[cfg(test)]
mod tests {
    use device::{Interpreter, Rate, Rates, TenantAllowances, TenantId};

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

    #[test]
    fn connections_of_a_tenant_share_and_what_is_refused_takes_nothing() {
        let tenant = TenantId::from_bytes([1; 16]);
        let rates = Rates { telemetry_values: Rate::read("4:1").unwrap(), ..Rates::default() };
        let mut tenants = TenantAllowances::new(2);
        let mut offer = Offer::default();
        offer.own.telemetry_messages = Rate::read("1:1").unwrap();
        let mut sessions = [0, 1].map(|_| gateway_offered(Version::V5, "", offer.clone()));
        let mut say = |index: usize, topic: &str, payload: &[u8]| {
            let mut speech = Speech::default();
            let said = Said { topic, payload, qos: QoS::AtLeastOnce, now_ms: 99 };
            let allowance = tenants.of(tenant, &rates).unwrap();
            let answer = sessions[index].publish_within(&said, &mut speech, allowance);
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
            let mut session = gateway_offered(Version::V5, "", offer);
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
            let mut session = gateway_offered(version, settings, offer.clone());
            publish(&mut session, "v1/devices/me/claim", b"");
            let (answer, _) = publish(&mut session, "v1/devices/me/claim", b"");
            assert_eq!(
                (answer.acknowledge, answer.end),
                (None, Some(ReasonCode::ImplementationSpecificError))
            );
        }
    }
}
