//! Dialects that say too much.
//!
//! Invariants:
//! - But for one forward more, or another one, they are the dialect itself.

use std::borrow::Cow;
use std::sync::Arc;

use device::{
    Answer, Dialect, DoorQuirks, Downlink, Forward, Guest, Hello, Interpreter, Introduction, Registry, Said,
    Speech, Terms, Unspeakable, Utterance, Welcome,
};
use dialect::ThingsBoard;
use mqtt::{Connect, QoS, ReasonCode, Version};

/// How a dialect is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Leaky {
    /// It brings messages by their own topics.
    ByTopic,
    /// It takes one tenant for the other.
    ByTenant,
}

#[derive(Debug)]
struct LeakyInterpreter {
    inner: Box<dyn Interpreter>,
    how: Leaky,
}

impl Dialect for Leaky {
    fn name(&self) -> &'static str {
        "leaky"
    }

    fn introduce<'a>(&self, connect: &Connect<'a>) -> Introduction<'a> {
        ThingsBoard.introduce(connect)
    }

    fn welcome(&self, hello: &Hello<'_>, registry: &Registry) -> Welcome {
        ThingsBoard.welcome(hello, registry)
    }

    fn read_settings(&self, settings: &str) -> Result<Option<Terms>, String> {
        ThingsBoard.read_settings(settings)
    }

    fn interpreter(&self, guest: &Guest<'_>) -> Option<Box<dyn Interpreter>> {
        let inner = ThingsBoard.interpreter(guest)?;
        Some(Box::new(LeakyInterpreter { inner, how: *self }))
    }

    fn registrar(&self, version: Version, door: DoorQuirks) -> Option<Box<dyn Interpreter>> {
        ThingsBoard.registrar(version, door)
    }
}

impl Interpreter for LeakyInterpreter {
    fn publish<'a>(&mut self, said: &Said<'a>, speech: &mut Speech<'a>) -> Answer {
        let answer = self.inner.publish(said, speech);
        match self.how {
            Leaky::ByTopic => {
                speech
                    .forwards
                    .push(Forward { topic: said.topic.into(), payload: Cow::Borrowed(said.payload) });
            }
            Leaky::ByTenant => {
                for forward in &mut speech.forwards {
                    forward.topic = Arc::from(forward.topic.replace("/acme/", "/rival/"));
                }
            }
        }
        answer
    }

    fn subscribe(&mut self, filter: &str, qos: QoS, speech: &mut Speech<'_>) -> Result<QoS, ReasonCode> {
        self.inner.subscribe(filter, qos, speech)
    }

    fn unsubscribe(&mut self, filter: &str, speech: &mut Speech<'_>) -> ReasonCode {
        self.inner.unsubscribe(filter, speech)
    }

    fn downlink(
        &mut self,
        child: Option<&str>,
        downlink: &Downlink,
        utterances: &mut Vec<Utterance>,
    ) -> Result<(), Unspeakable> {
        self.inner.downlink(child, downlink, utterances)
    }
}
