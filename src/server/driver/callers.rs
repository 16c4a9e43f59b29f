//! Who has called the hub of this core from another thread, and waits; and calls of devices that nobody outside has place for.
//!
//! Why numbers: a shard knows no channels, and a reply may leave many turns after its call.
//!
//! Invariants:
//! - A caller is told once, or finds his channel closed.
//! - A device's call is told to those outside, or answered here in the next turn.

use std::collections::BTreeMap;

use device::{DeviceId, HubCall, HubReply, News};
use flume::Sender;
use platform::Platform;

/// What a device is told whose call nobody takes.
const TOO_MANY_CALLS: &str = "too many calls wait";

/// Those who wait for replies and news.
#[derive(Default)]
pub(super) struct Callers {
    platform: Option<Platform>,
    waiting: BTreeMap<u64, Sender<HubReply>>,
    next_call: u64,
    refused: Vec<(DeviceId, HubCall)>,
}

impl Callers {
    /// Nobody yet; `platform` is told the news.
    pub(super) fn new(platform: Option<Platform>) -> Self {
        Self { platform, ..Self::default() }
    }

    /// Somebody calls. Gives the number of the call.
    pub(super) fn add(&mut self, reply: Sender<HubReply>) -> u64 {
        let call = self.add_nobody();
        self.waiting.insert(call, reply);
        call
    }

    /// The number of a call to whose reply nobody listens.
    pub(super) fn add_nobody(&mut self) -> u64 {
        let call = self.next_call;
        self.next_call += 1;
        call
    }

    /// Gives a reply to whoever waits for it.
    pub(super) fn answer(&mut self, call: u64, reply: HubReply) {
        if let Some(caller) = self.waiting.remove(&call) {
            // Whoever called may have given up waiting.
            let _ = caller.send(reply);
        }
    }

    /// Tells news to those who are outside.
    pub(super) fn tell(&mut self, news: News) {
        let refusal = refusal(&news);
        let somebody_waited = self.platform.as_ref().is_some_and(|platform| platform.tell(news));
        if !somebody_waited {
            self.refused.extend(refusal);
        }
    }

    /// Whether devices wait for [`Callers::take_refused`].
    pub(super) fn has_refused(&self) -> bool {
        !self.refused.is_empty()
    }

    /// Answers to calls that nobody took, for the hub of this core: a device is connected where it is at home.
    pub(super) fn take_refused(&mut self) -> Vec<(DeviceId, HubCall)> {
        std::mem::take(&mut self.refused)
    }
}

/// What to answer if nobody takes that; nothing where nobody waits for an answer.
fn refusal(news: &News) -> Option<(DeviceId, HubCall)> {
    let News::Called { device, ear, cookie, .. } = news else { return None };
    let answer = Err(TOO_MANY_CALLS.into());
    Some((*device, HubCall::AnswerCall { ear: *ear, cookie: *cookie, answer }))
}

#[cfg(test)]
mod tests {
    use device::{Cookie, Ear};

    use super::*;

    fn called(number: u64) -> News {
        let device = DeviceId::from_bytes([7; 16]);
        News::Called { device, ear: Ear(3), cookie: Cookie(number), method: "m".into(), params: "{}".into() }
    }

    #[test]
    fn a_call_of_a_device_is_answered_here_only_if_too_many_wait_outside() {
        let platform = Platform::new(Box::new(|_settings| Ok(None)));
        let mut callers = Callers::new(Some(platform.clone()));
        let mut refused = Vec::new();
        for number in 0..4_100 {
            callers.tell(called(number));
            assert_eq!(callers.has_refused(), number >= 4_096);
            refused.extend(callers.take_refused());
        }
        let answer = |number| HubCall::AnswerCall {
            ear: Ear(3),
            cookie: Cookie(number),
            answer: Err("too many calls wait".into()),
        };
        let expected = (4_096..4_100).map(|number| (DeviceId::from_bytes([7; 16]), answer(number)));
        let expected: Vec<_> = expected.collect();
        assert_eq!(format!("{refused:?}"), format!("{expected:?}"));
        assert!(platform.calls().try_recv().is_ok());
        callers.tell(called(5_000));
        assert!(!callers.has_refused(), "there is place again");
    }

    #[test]
    fn news_that_nobody_waits_for_are_no_reason_to_tell_a_device() {
        let mut callers = Callers::new(None);
        callers.tell(News::Turn(DeviceId::from_bytes([7; 16]), device::Turn::Awoke));
        assert!(!callers.has_refused());
        assert_ne!(callers.add_nobody(), callers.add(flume::unbounded().0), "numbers are given once");
    }
}
