//! What a shard tells a human: a closed vocabulary of levels, a kind to limit rates by, and one line of text.
//!
//! Why a client is named late: the exchange knows a client id, and of a device not even that; whoever keeps connections knows
//! names and addresses, and is asked when a line is told. So no session and no link carries a name for the log.
//!
//! Invariants:
//! - A notice is never made on the warm path of a message.
//! - A client id that no packet can carry is in no line.

use std::fmt;
use std::fmt::Display;

use crate::exchange::Exchange;
use crate::link::LinkId;
use crate::session::SessionKey;

/// How urgent a notice is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// For someone who watches one client.
    Debug,
    /// The ordinary life of the broker.
    Info,
    /// Somebody should look at it.
    Warn,
}

/// What a notice is about; the edge limits the rate of each kind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum NoticeKind {
    /// A client connected.
    Connected,
    /// A connection ended as the client wished.
    Disconnected,
    /// A client broke a statement of the standard, or went silent.
    Violation,
    /// A CONNECT was refused.
    Refused,
    /// A limit was reached.
    Limit,
    /// A client exceeds its rates.
    Quota,
    /// A connection ended because another one has its client or its device.
    TakenOver,
    /// The store cannot do what it should.
    Store,
}

/// One line for a human.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    /// How urgent.
    pub level: Level,
    /// About what.
    pub kind: NoticeKind,
    /// The line, without a full stop at its end.
    pub text: String,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// How a connection is shown in a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    /// Whose it is, if that is better known than by a client id.
    pub name: Option<String>,
    /// Where it comes from.
    pub address: String,
}

/// The lines of one core that nobody has taken yet.
#[derive(Debug)]
pub(crate) struct Notices {
    lines: Vec<Notice>,
    /// Lines that begin with a client as the exchange knows it.
    unnamed: Vec<Unnamed>,
    /// What is less urgent is not made.
    level_min: Level,
}

/// A line that whoever knows connections can say better.
#[derive(Clone, Copy, Debug)]
struct Unnamed {
    line: usize,
    /// Bytes at its beginning that name the client.
    name_bytes: usize,
    link: LinkId,
    /// A connection that the line ends with.
    rival: Option<LinkId>,
}

impl Notices {
    pub fn new(level_min: Level) -> Self {
        Self { lines: Vec::new(), unnamed: Vec::new(), level_min }
    }

    fn push(&mut self, level: Level, kind: NoticeKind, text: String) {
        if level >= self.level_min {
            self.lines.push(Notice { level, kind, text });
        }
    }
}

impl Exchange {
    /// Adds a line for a human.
    pub fn notice(&mut self, level: Level, kind: NoticeKind, text: String) {
        self.notices.push(level, kind, text);
    }

    /// Whether a line of this level would be told at all.
    #[must_use]
    pub fn would_tell(&self, level: Level) -> bool {
        level >= self.notices.level_min
    }

    /// Adds a line about a client: its name, and this behind it.
    pub(crate) fn notice_of(&mut self, key: SessionKey, level: Level, kind: NoticeKind, text: impl Display) {
        let Some(session) = self.sessions.get(key.index()) else { return };
        let (who, link) = (client(&session.client_id), session.link.as_ref().map(|link| link.id));
        self.notice_on(level, kind, (&who, link, None), text);
    }

    /// The same for somebody who is named here, on a connection that may have a rival.
    pub(crate) fn notice_on(
        &mut self,
        level: Level,
        kind: NoticeKind,
        (who, link, rival): (&str, Option<LinkId>, Option<LinkId>),
        text: impl Display,
    ) {
        if !self.would_tell(level) {
            return;
        }
        let line = self.notices.lines.len();
        self.notices.push(level, kind, format!("{who} {text}"));
        if let Some(link) = link {
            self.notices.unnamed.push(Unnamed { line, name_bytes: who.len(), link, rival });
        }
    }

    /// Names whom lines are about by their connections. To be called before one of those is forgotten, and before
    /// [`Exchange::take_notices`]. Cost: nothing, if there are no such lines.
    #[inline]
    pub fn name_notices(&mut self, shown: impl FnMut(LinkId) -> Option<Shown>) {
        if !self.notices.unnamed.is_empty() {
            self.name_all(shown);
        }
    }

    #[cold]
    fn name_all(&mut self, mut shown: impl FnMut(LinkId) -> Option<Shown>) {
        let Notices { lines, unnamed, .. } = &mut self.notices;
        for Unnamed { line, name_bytes, link, rival } in unnamed.drain(..) {
            let Some(text) = lines.get_mut(line).map(|notice| &mut notice.text) else { continue };
            let Some(Shown { name, address }) = shown(link) else { continue };
            let rival = rival.and_then(&mut shown);
            // A client is found by its id; its address matters where two connections have one name.
            if name.is_none() && rival.is_none() {
                continue;
            }
            let name = name.unwrap_or_else(|| text[..name_bytes].to_owned());
            text.replace_range(..name_bytes, &format!("{name} at {address}"));
            if let Some(rival) = rival {
                text.push_str(&format!(" from {}", rival.address));
            }
        }
    }

    /// The notices since the last call.
    pub fn take_notices(&mut self, notices: &mut Vec<Notice>) {
        self.notices.unnamed.clear();
        notices.append(&mut self.notices.lines);
    }
}

/// How a client is named where only its client id is known: one that begins with a zero was given to a device here.
pub(crate) fn client(client_id: &str) -> String {
    if client_id.starts_with('\0') { "a device".to_owned() } else { format!("client {client_id:?}") }
}

/// How a device is named.
#[must_use]
pub fn device(name: &str) -> String {
    format!("device {name:?}")
}
