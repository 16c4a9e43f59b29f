//! What all clients have: a name, a version, a connection or none, and an opinion on what the broker remembers of them.
//!
//! Why three opinions: a broker that falls while it answers a CONNECT may or may not have made or ended the session; only
//! an answer that came makes it certain, and only what is certain is judged.
//!
//! Invariants:
//! - `known` is `Surely` only after a CONNACK of a session that has not been ended since.

use stdx::Prng;

use crate::book::{Book, Rule};
use crate::link::Link;
use crate::wire::{Answer, Connect, Version};

/// Whether the broker holds a session of this client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Known {
    /// It holds none.
    Nothing,
    /// Nobody can know.
    Maybe,
    /// It promised to.
    Surely,
}

/// What runs at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Load, until the broker falls.
    Load,
    /// Nothing new is sent; everything owed must arrive.
    Drain,
}

/// What all clients may know when they act.
#[derive(Debug)]
pub struct Moment {
    /// Now, in milliseconds.
    pub now_ms: u64,
    /// When the running broker said that it is ready.
    pub ready_ms: u64,
    /// What runs.
    pub phase: Phase,
    /// How many more messages may be sent at once, by all publishers together.
    pub allowance: u64,
    /// Randomness.
    pub dice: Prng,
}

/// Whether a client wants to be connected.
#[derive(Debug)]
pub enum Want {
    /// No.
    Away,
    /// Yes, with this CONNECT.
    Here(Connect),
}

/// What all clients have.
#[derive(Debug)]
pub struct Seat {
    /// The client id.
    pub client_id: String,
    /// The version spoken.
    pub version: Version,
    /// The connection.
    pub link: Option<Link>,
    /// Whether a CONNACK has come on it.
    pub is_online: bool,
    /// Whether the broker holds a session.
    pub known: Known,
    /// Whether the connection is to be cut, without a word.
    pub is_cut: bool,
}

impl Seat {
    /// A client that has never been connected.
    #[must_use]
    pub fn new(client_id: String, version: Version) -> Self {
        Self { client_id, version, link: None, is_online: false, known: Known::Nothing, is_cut: false }
    }

    /// A CONNECT that takes up the session, with a Receive Maximum of 64.
    #[must_use]
    pub fn resume(&self) -> Connect {
        Connect {
            client_id: self.client_id.clone(),
            is_clean: false,
            expiry_s: 3600,
            receive_maximum: 64,
            will: None,
        }
    }

    /// Judges a CONNACK; `is_promised` says whether a session of ours must be, must not be, or may be there.
    pub fn judge(&mut self, book: &mut Book, is_present: bool, code: u8) {
        if code != 0 {
            book.accuse(Rule::Protocol, format!("{}: CONNACK {code:#04x}", self.client_id));
            return;
        }
        match (self.known, is_present) {
            (Known::Surely, false) => {
                book.accuse(
                    Rule::SessionUntrue,
                    format!("{}: a session was promised and is gone", self.client_id),
                );
            }
            (Known::Nothing, true) => {
                book.accuse(
                    Rule::SessionUntrue,
                    format!("{}: a session is there that had ended", self.client_id),
                );
            }
            (Known::Surely, true) => book.sums.resumed += 1,
            (Known::Nothing, false) | (Known::Maybe, _) => {}
        }
        self.is_online = true;
    }
}

/// A client of the cast.
pub trait Actor {
    /// What all clients have.
    fn seat(&mut self) -> &mut Seat;
    /// Asked while there is no connection.
    fn want(&mut self, moment: &mut Moment, book: &mut Book) -> Want;
    /// CONNACK came and was lawful; what the client says first goes to `out`.
    fn welcome(&mut self, is_present: bool, out: &mut Vec<u8>, book: &mut Book, moment: &mut Moment);
    /// Any other packet came.
    fn hear(&mut self, answer: &Answer<'_>, out: &mut Vec<u8>, book: &mut Book, moment: &mut Moment);
    /// The client may do something of its own accord. Called while it is online.
    fn act(&mut self, out: &mut Vec<u8>, book: &mut Book, moment: &mut Moment);
    /// The connection is gone.
    fn lose(&mut self, moment: &mut Moment, book: &mut Book);
    /// Whether nothing is outstanding; asked during a drain.
    fn is_done(&self, book: &Book) -> bool;
    /// The client as a subscriber, if it is one.
    fn as_subscriber(&mut self) -> Option<&mut super::Subscriber> {
        None
    }
    /// A drain ended without that: says what is lost, and forgets it.
    fn write_off(&mut self, book: &mut Book);
}
