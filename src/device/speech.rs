//! What devices say and what is said to them, in words that no dialect owns.
//!
//! Why two lists of verbs: whatever a dialect's packets look like, a device can only do what stands in [`Uplink`], and can
//! only be told what stands in [`Downlink`]. Who knows these lists knows what the platform does.
//!
//! Invariants:
//! - An uplink borrows from the packet that brought it; a downlink owns everything, because it may cross cores.
//! - A [`Cookie`] comes back as it was given; nobody but the dialect reads it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use mqtt::{QoS, ReasonCode};

use crate::ids::PackageId;
use crate::package::{Chunk, NoChunk, PackageKind};
use crate::provision::{ProvisionReply, ProvisionRequest};
use crate::value::Sample;

/// A connection that can be spoken to. Its number means something to whoever gave it only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ear(pub u64);

impl Ear {
    /// Nobody's: what is said to it is heard by nobody.
    pub const NOBODY: Self = Self(u64::MAX);

    /// Whether it belongs to no core but to somebody outside: the highest sixteen bits say so.
    #[must_use]
    pub const fn is_outside(self) -> bool {
        self.0 >> 48 == 0xFFFF
    }
}

/// What a dialect wants back with an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cookie(pub u64);

/// Whom something that was said is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Subject<'a> {
    /// The device whose connection it is.
    Own,
    /// A child of that gateway, by its name.
    Child(Cow<'a, str>),
}

/// One thing that a device says about itself or a child.
#[derive(Clone, PartialEq, Debug)]
pub struct Remark<'a> {
    /// About whom.
    pub subject: Subject<'a>,
    /// What.
    pub uplink: Uplink<'a>,
}

/// What devices can say.
#[derive(Clone, PartialEq, Debug)]
pub enum Uplink<'a> {
    /// Measured values.
    Telemetry(Vec<Sample<'a>>),
    /// Its own attributes.
    Attributes(Vec<Sample<'a>>),
    /// Attributes that the server shares with it, as its gateway has them; nobody is told of them.
    Shared(Vec<Sample<'a>>),
    /// It asks for attributes.
    AttributesWanted {
        /// For the answer.
        cookie: Cookie,
        /// Of its own attributes.
        client: Wanted<'a>,
        /// Of those that the server shares with it.
        shared: Wanted<'a>,
    },
    /// From now on it wants to be told, or no longer.
    Listens {
        /// When shared attributes change.
        attributes: bool,
        /// Of commands, and with which quality.
        commands: Option<QoS>,
    },
    /// It wants to be told again what it was told to do on this connection and has not answered. Said before it listens.
    ListensAgain,
    /// It answers a command.
    CommandAnswered {
        /// By the number that it knows.
        number: i32,
        /// What.
        answer: Cow<'a, [u8]>,
    },
    /// It asks the server to do something.
    Called {
        /// For the answer.
        cookie: Cookie,
        /// What to do.
        method: Cow<'a, str>,
        /// With what, as JSON.
        params: Cow<'a, str>,
    },
    /// It asks for something that nobody does, and is told so when it has waited long enough.
    CalledInVain {
        /// For the answer.
        cookie: Cookie,
        /// How long it waits, in milliseconds.
        wait_ms: u32,
    },
    /// Whoever knows the secret may own it.
    Claimable {
        /// The secret; may be empty.
        secret: Cow<'a, str>,
        /// For how long, in milliseconds.
        duration_ms: Option<i64>,
    },
    /// It asks for a part of its firmware or software.
    ChunkWanted(ChunkWanted),
    /// Something that has no credentials yet asks for them.
    Provision(Box<ProvisionRequest<'a>>),
    /// The gateway speaks for a child from now on.
    ChildHere {
        /// Of what kind the child is, if it must be created.
        kind: Option<Cow<'a, str>>,
    },
    /// The gateway speaks for the child no longer.
    ChildGone,
    /// Nothing but that it is there.
    Alive,
}

/// Which attributes are asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wanted<'a> {
    /// None.
    Nothing,
    /// All.
    All,
    /// Those of the keys that exist.
    Keys(Vec<Cow<'a, str>>),
}

/// A part of a package that is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunkWanted {
    /// For the answer.
    pub cookie: Cookie,
    /// Of which kind.
    pub kind: PackageKind,
    /// Which part, from 0.
    pub index: u64,
    /// Bytes of a part; 0 for the whole package.
    pub bytes_max: u64,
    /// Of which package; none for the one that is assigned now.
    pub package: Option<PackageId>,
    /// Whether its connection ends if there is none.
    pub ends: bool,
}

/// What devices can be told.
#[derive(Clone, PartialEq, Debug)]
pub enum Downlink {
    /// The attributes that were asked for; a scope that was not asked for is none.
    Attributes {
        /// As asked.
        cookie: Cookie,
        /// How many keys were named.
        keys: usize,
        /// The device's own.
        client: Option<Vec<Sample<'static>>>,
        /// The shared ones.
        shared: Option<Vec<Sample<'static>>>,
    },
    /// Shared attributes were written.
    SharedWritten(Arc<[Sample<'static>]>),
    /// Shared attributes were deleted.
    SharedDeleted(Arc<[Box<str>]>),
    /// It is to do something.
    Command {
        /// By which number it answers.
        number: i32,
        /// What to do.
        method: Box<str>,
        /// With what, as JSON.
        params: Box<str>,
        /// Whether an answer is wanted.
        is_answered: bool,
    },
    /// What came of [`Uplink::Called`].
    CallAnswered {
        /// As asked.
        cookie: Cookie,
        /// JSON, or what went wrong in words.
        answer: Result<Box<str>, Box<str>>,
    },
    /// A part of a package.
    Chunk {
        /// As asked.
        cookie: Cookie,
        /// Of which package.
        package: PackageId,
        /// The part.
        chunk: Chunk,
    },
    /// There is no part of a package.
    NoChunk {
        /// As asked.
        cookie: Cookie,
        /// Why.
        why: NoChunk,
    },
    /// What came of [`Uplink::Provision`].
    Provisioned(ProvisionReply),
    /// What was said for a child was not taken.
    Unheard {
        /// Why.
        reason: ReasonCode,
    },
}

/// A message of a device, as far as a dialect looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    /// Its topic name.
    pub topic: &'a str,
    /// The application message.
    pub payload: &'a [u8],
    /// As published.
    pub qos: QoS,
    /// The wall clock, in Unix milliseconds.
    pub now_ms: i64,
}

/// A message to a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Utterance {
    /// Its topic name.
    pub topic: Cow<'static, str>,
    /// The application message.
    pub payload: Vec<u8>,
    /// The quality.
    pub qos: QoS,
    /// The number of the command that it carries: who writes it tells the hub so, and of its acknowledgement.
    pub command: Option<i32>,
}

/// What was said, for those who subscribe to canonical topics.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Forward<'a> {
    /// The canonical topic.
    pub topic: Arc<str>,
    /// The application message.
    pub payload: Cow<'a, [u8]>,
}

/// The most entries of a list that is kept for later.
const SPARE_ENTRIES_MAX: usize = 1024;

/// What comes of a message: filled by a dialect, emptied by whoever asked it.
///
/// Whoever hears many messages keeps one, reads the remarks where they are ([`crate::Hub::heed`]), and turns it into the
/// next message's with [`Speech::recycle`]: then nothing is allocated for a message.
#[derive(Clone, Debug, Default)]
pub struct Speech<'a> {
    /// What was said.
    pub remarks: Vec<Remark<'a>>,
    /// What is answered at once.
    pub utterances: Vec<Utterance>,
    /// What goes to subscribers.
    pub forwards: Vec<Forward<'a>>,
    /// An empty list that has room. One is enough: few messages but those of gateways have more than one.
    spare: Vec<Sample<'a>>,
}

/// How a PUBLISH is answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Acknowledge with this code, as soon as what was said is kept; none is no acknowledgement. Below 5.0 the code is not
    /// sent, and at QoS 0 nothing is.
    pub acknowledge: Option<ReasonCode>,
    /// End the connection, in 5.0 with this code.
    pub end: Option<ReasonCode>,
    /// Nothing was done: leave the connection unread and offer the same message again after so many milliseconds.
    pub again_ms: Option<i64>,
    /// Why, for the log and the reason string.
    pub why: Option<Box<str>>,
}

impl Remark<'_> {
    /// Whether it is about one of these children.
    #[must_use]
    pub fn is_of_one(&self, children: &BTreeSet<String>) -> bool {
        matches!(&self.subject, Subject::Child(name) if children.contains(&**name))
    }
}

impl Uplink<'_> {
    /// The same, owning everything: for another core.
    #[must_use]
    pub fn into_owned(self) -> Uplink<'static> {
        let own = |text: Cow<'_, str>| -> Cow<'static, str> { Cow::Owned(text.into_owned()) };
        let own_all = |samples: Vec<Sample<'_>>| samples.into_iter().map(Sample::into_owned).collect();
        match self {
            Self::Telemetry(samples) => Uplink::Telemetry(own_all(samples)),
            Self::Attributes(samples) => Uplink::Attributes(own_all(samples)),
            Self::Shared(samples) => Uplink::Shared(own_all(samples)),
            Self::AttributesWanted { cookie, client, shared } => {
                Uplink::AttributesWanted { cookie, client: client.into_owned(), shared: shared.into_owned() }
            }
            Self::Listens { attributes, commands } => Uplink::Listens { attributes, commands },
            Self::ListensAgain => Uplink::ListensAgain,
            Self::CommandAnswered { number, answer } => {
                Uplink::CommandAnswered { number, answer: Cow::Owned(answer.into_owned()) }
            }
            Self::Called { cookie, method, params } => {
                Uplink::Called { cookie, method: own(method), params: own(params) }
            }
            Self::CalledInVain { cookie, wait_ms } => Uplink::CalledInVain { cookie, wait_ms },
            Self::Claimable { secret, duration_ms } => Uplink::Claimable { secret: own(secret), duration_ms },
            Self::ChunkWanted(wanted) => Uplink::ChunkWanted(wanted),
            Self::Provision(request) => Uplink::Provision(Box::new(request.into_owned())),
            Self::ChildHere { kind } => Uplink::ChildHere { kind: kind.map(own) },
            Self::ChildGone => Uplink::ChildGone,
            Self::Alive => Uplink::Alive,
        }
    }
}

impl Wanted<'_> {
    /// The same, owning everything.
    #[must_use]
    pub fn into_owned(self) -> Wanted<'static> {
        match self {
            Self::Nothing => Wanted::Nothing,
            Self::All => Wanted::All,
            Self::Keys(keys) => {
                Wanted::Keys(keys.into_iter().map(|key| Cow::Owned(key.into_owned())).collect())
            }
        }
    }
}

impl PartialEq for Speech<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.remarks == other.remarks
            && self.utterances == other.utterances
            && self.forwards == other.forwards
    }
}

impl<'a> Speech<'a> {
    /// An empty list of samples, with room if one was left over.
    #[must_use]
    pub fn samples(&mut self) -> Vec<Sample<'a>> {
        std::mem::take(&mut self.spare)
    }

    /// Takes a list back that was not used.
    #[inline]
    pub fn give_back(&mut self, mut samples: Vec<Sample<'a>>) {
        samples.clear();
        if samples.capacity() <= SPARE_ENTRIES_MAX {
            self.spare = samples;
        }
    }

    /// Nothing was said after all; the room stays.
    pub fn clear(&mut self) {
        while let Some(Remark { uplink, .. }) = self.remarks.pop() {
            if let Uplink::Telemetry(samples) | Uplink::Attributes(samples) = uplink {
                self.give_back(samples);
            }
        }
        self.utterances.clear();
        self.forwards.clear();
    }

    /// An empty speech with the room of this one, for a message that lives at another time.
    #[must_use]
    pub fn recycle<'b>(mut self) -> Speech<'b> {
        self.clear();
        Speech {
            remarks: emptied(self.remarks),
            utterances: self.utterances,
            forwards: emptied(self.forwards),
            spare: emptied(self.spare),
        }
    }

    /// Adds what the device says about itself.
    pub fn remark(&mut self, uplink: Uplink<'a>) {
        self.remarks.push(Remark { subject: Subject::Own, uplink });
    }

    /// Adds what a gateway says about a child.
    pub fn remark_of(&mut self, child: Cow<'a, str>, uplink: Uplink<'a>) {
        self.remarks.push(Remark { subject: Subject::Child(child), uplink });
    }
}

/// A list without entries as one of another type. If both have one layout, the library keeps the room.
fn emptied<One, Other>(list: Vec<One>) -> Vec<Other> {
    if list.capacity() == 0 || list.capacity() > SPARE_ENTRIES_MAX {
        return Vec::new();
    }
    list.into_iter().map(|_| unreachable!("the list is empty")).collect()
}

impl Answer {
    /// All is well.
    #[must_use]
    pub const fn accepted() -> Self {
        Self::acknowledged(ReasonCode::Success)
    }

    /// An acknowledgement with a code; the connection stays.
    #[must_use]
    pub const fn acknowledged(reason: ReasonCode) -> Self {
        Self { acknowledge: Some(reason), end: None, again_ms: None, why: None }
    }

    /// No acknowledgement, and the end of the connection.
    #[must_use]
    pub const fn ended(reason: ReasonCode) -> Self {
        Self { acknowledge: None, end: Some(reason), again_ms: None, why: None }
    }

    /// An acknowledgement with a code, and then the end of the connection.
    #[must_use]
    pub const fn acknowledged_and_ended(reason: ReasonCode) -> Self {
        Self { acknowledge: Some(reason), end: Some(reason), again_ms: None, why: None }
    }

    /// Nothing yet: the same message again, later.
    #[must_use]
    pub const fn again(after_ms: i64) -> Self {
        Self { acknowledge: None, end: None, again_ms: Some(after_ms), why: None }
    }

    /// The answer with an explanation.
    #[must_use]
    pub fn because(self, why: impl Into<Box<str>>) -> Self {
        Self { why: Some(why.into()), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;

    #[test]
    fn what_is_recycled_is_empty_and_has_the_room_that_it_had() {
        let mut speech = Speech::default();
        let name = String::from("t");
        let mut samples = speech.samples();
        samples.push(Sample { key: name.as_str().into(), value: Value::Long(1), at_ms: 0 });
        let list_at = samples.as_ptr().addr();
        speech.remark(Uplink::Telemetry(samples));
        speech.forwards.push(Forward { topic: Arc::from("a"), payload: name.as_bytes().into() });
        let remarks_at = speech.remarks.as_ptr().addr();
        let mut again: Speech<'static> = speech.recycle();
        drop(name);
        assert_eq!(again, Speech::default());
        assert_eq!(again.remarks.as_ptr().addr(), remarks_at);
        let list = again.samples();
        assert_eq!((list.as_ptr().addr(), list.is_empty()), (list_at, true));
        assert_eq!(again.samples().capacity(), 0, "there was one list");
    }

    #[test]
    fn room_that_one_large_message_took_is_not_kept() {
        let mut speech = Speech::default();
        speech.remark(Uplink::Telemetry(Vec::with_capacity(SPARE_ENTRIES_MAX + 1)));
        speech.remarks.reserve(SPARE_ENTRIES_MAX + 1);
        let mut again: Speech<'_> = speech.recycle();
        assert_eq!((again.samples().capacity(), again.remarks.capacity()), (0, 0));
    }
}
