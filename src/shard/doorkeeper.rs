//! Who is let in: the questions that a shard asks at its door and somebody else answers.
//!
//! Why a trait: passwords, tokens and directories live in files, on pools and behind HTTP, of which a shard knows nothing.
//! What can be answered from memory is answered at once; the rest becomes a [`Question`] that leaves with the effects of the
//! turn, and the connection waits in the lobby for [`crate::Shard::handle_answer`].
//!
//! Invariants:
//! - No call waits. A call may take a lock, since it happens per connection and never per message.
//! - A connection that was let in by [`Doorkeeper::arrive`] is taken back by exactly one [`Doorkeeper::leave`].

use std::fmt::{self, Debug};
use std::net::IpAddr;
use std::sync::Arc;

use broker::Rights;
use mqtt::{Connect, ReasonCode};
use stdx::WallMs;
use wire::TlsFacts;

use crate::effects::{ConnId, ListenerId};

/// Lets clients in, or does not.
pub trait Doorkeeper: Send + Sync + Debug {
    /// A connection was accepted (its address known, a PROXY header read if there is one).
    ///
    /// # Errors
    /// A limit of the address or the listener is reached: close it without a word.
    fn arrive(&self, listener: ListenerId, from: IpAddr, now: WallMs) -> Result<(), Turned>;
    /// A connection that had arrived is gone, from whichever core.
    fn leave(&self, listener: ListenerId, from: IpAddr);
    /// A client was refused by somebody else: by what is known of devices.
    fn note_refused(&self, _listener: ListenerId, _from: IpAddr, _now: WallMs) {}
    /// A device was let in by what is known of it.
    fn note_welcomed(&self, _listener: ListenerId, _from: IpAddr) {}
    /// The client id to use instead of the one in the CONNECT (which the knock names, and which may be empty), known before
    /// the client is placed on a core. Asked on the core that accepted and again at home; the answers must be the same.
    fn client_id(&self, knock: &Knock<'_>) -> Option<Box<str>>;
    /// Judges a CONNECT on the core where its client is at home.
    fn judge(&self, knock: &Knock<'_>) -> Judgement;
    /// The rights of a session that comes back from the store, while its client is away. No rights are all rights, as with
    /// [`Judgement::Admitted`]: for an owner that is not known any more, give rights that allow nothing and name the user, for
    /// what [`Rights::user`] says is what the store keeps.
    fn remember(&self, owner: &Owner<'_>) -> Option<Arc<dyn Rights>>;
    /// Goes up whenever the rules were changed, after they were: what was decided before is decided again. Must be cheap: it is asked in
    /// every turn in which something happens.
    fn rules_version(&self) -> u64;
}

/// Why a connection is turned away before its first byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turned {
    /// Too many connections on the listener.
    ListenerFull,
    /// Too many connections from the address.
    AddressFull,
    /// Connections come too fast.
    TooFast,
    /// Too many failed logins from the address.
    TooManyFailures,
}

/// A CONNECT at the door.
#[derive(Clone, Copy, Debug)]
pub struct Knock<'a> {
    /// The listener.
    pub listener: ListenerId,
    /// The client's address, as a trusted proxy tells it if there is one.
    pub from: IpAddr,
    /// The CONNECT.
    pub connect: &'a Connect<'a>,
    /// The client id in use: that of the CONNECT, an assigned one, or that of [`Doorkeeper::client_id`].
    pub client_id: &'a str,
    /// What TLS found out; none for connections without.
    pub tls: Option<&'a TlsFacts>,
    /// The wall clock.
    pub now: WallMs,
}

/// What is decided about a CONNECT.
#[derive(Debug)]
pub enum Judgement {
    /// Let in; no rights are all rights.
    Admitted(Option<Arc<dyn Rights>>),
    /// The code for the CONNACK. Source: [MQTT-3.1.4-2].
    Refused(ReasonCode),
    /// It must be found out; ask and wait.
    Asked(Box<Question>),
}

/// Something to be found out about a client before it is let in. Owns everything, since it leaves the core.
#[derive(Clone)]
pub struct Question {
    /// The connection that waits; filled in by the shard.
    pub conn: ConnId,
    /// The listener.
    pub listener: ListenerId,
    /// The client's address.
    pub from: IpAddr,
    /// The client id in use.
    pub client_id: Box<str>,
    /// The user name.
    pub user: Option<Box<str>>,
    /// The password.
    pub password: Option<Box<[u8]>>,
    /// At which member of the listener's chain the finding out begins.
    pub step: usize,
    /// The certificate's facts that later members may want.
    pub tls: Option<Box<TlsFacts>>,
}

impl fmt::Debug for Question {
    /// Without the password: nobody should find it in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Question");
        shown.field("conn", &self.conn).field("listener", &self.listener).field("from", &self.from);
        shown.field("client_id", &self.client_id).field("user", &self.user).field("step", &self.step);
        shown.finish_non_exhaustive()
    }
}

/// What was found out about a [`Question`]; given to [`crate::Shard::handle_answer`] with the question's connection.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Let in; no rights are all rights.
    Admitted(Option<Arc<dyn Rights>>),
    /// The code for the CONNACK. Source: [MQTT-3.1.4-2].
    Refused(ReasonCode),
}

/// Whose session comes back from the store.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// The listener's number in the configuration of today; a listener that is gone has no number.
    pub listener: Option<ListenerId>,
    /// The client id.
    pub client_id: &'a str,
    /// As [`Rights::user`] said.
    pub user: Option<&'a str>,
}
