//! Commands: what is asked of a device, and what becomes of it.
//!
//! Why a machine of states and no callbacks: a command outlives connections and restarts, so all that is known of it must
//! stand in it. Time comes in as a value; [`Command::due_ms`] says when to look again.
//!
//! Invariants:
//! - A command that has ended never changes again, except that it may be deleted.
//! - A command is answered once: of several answers the first counts.
//!
//! Source: the life cycle of server-side commands of the device API.

use mqtt::QoS;

use crate::ids::CommandId;
use crate::value::write_text;

/// What is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Order {
    /// Its id, known to whoever asks.
    pub id: CommandId,
    /// What to do.
    pub method: Box<str>,
    /// With what, as JSON.
    pub params: Box<str>,
    /// Whether an answer is wanted.
    pub kind: CommandKind,
    /// Whether it is kept when nobody waits for it.
    pub is_persistent: bool,
    /// Until when it is worth doing, in Unix milliseconds.
    pub expires_ms: i64,
    /// How often delivery is tried again; none for the limit of the server.
    pub retries: Option<u32>,
    /// What whoever asks wants to be kept with it, as JSON.
    pub additional: Option<Box<str>>,
}

/// Whether an answer is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommandKind {
    /// No: delivery is enough.
    OneWay,
    /// Yes.
    TwoWay,
}

/// How far a command is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommandState {
    /// Waits for a device that listens.
    Queued,
    /// Sent, and not acknowledged yet.
    Sent,
    /// The device has it.
    Delivered,
    /// The device has answered.
    Successful,
    /// The device did not acknowledge it in time.
    Timeout,
    /// It was not worth doing any more.
    Expired,
    /// It will not be tried again.
    Failed,
    /// Somebody took it back.
    Deleted,
}

/// How patient deliveries are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CommandTerms {
    /// How long an acknowledgement may take.
    pub ack_ms: i64,
    /// How often delivery is tried again at most.
    pub retries_max: u32,
    /// Commands that may wait for one device.
    pub waiting_max: usize,
    /// When the next one is sent.
    pub submit: Submit,
    /// With [`Submit::AfterAnswer`]: how long an answer may take from the moment at which its command was sent.
    pub answer_ms: i64,
    /// Whether a command that was never acknowledged ends the device's connections and waits for the next one, instead of
    /// failing.
    pub closes: bool,
}

/// When the next command of a device is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Submit {
    /// At once.
    #[default]
    Burst,
    /// When the one before it is acknowledged, or has ended.
    AfterAck,
    /// When the one before it is answered if it is to be, or has ended.
    AfterAnswer,
}

/// One command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Command {
    /// What is asked.
    pub order: Order,
    /// By what number the device knows it.
    pub number: i32,
    /// How far it is.
    pub state: CommandState,
    /// When it was asked, in Unix milliseconds.
    pub created_ms: i64,
    /// When its acknowledgement is missed; only while it is sent.
    pub ack_due_ms: Option<i64>,
    /// How often an acknowledgement was missed.
    pub missed: u32,
    /// What the device answered, or what went wrong, as JSON.
    pub response: Option<Box<str>>,
    /// Whether the device answered something that is no JSON.
    pub is_garbled: bool,
}

impl Default for CommandTerms {
    fn default() -> Self {
        Self {
            ack_ms: 10_000,
            retries_max: 5,
            waiting_max: 1000,
            submit: Submit::Burst,
            answer_ms: 30_000,
            closes: false,
        }
    }
}

impl CommandState {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Sent,
        Self::Delivered,
        Self::Successful,
        Self::Timeout,
        Self::Expired,
        Self::Failed,
        Self::Deleted,
    ];

    /// Its name in the HTTP API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::Sent => "SENT",
            Self::Delivered => "DELIVERED",
            Self::Successful => "SUCCESSFUL",
            Self::Timeout => "TIMEOUT",
            Self::Expired => "EXPIRED",
            Self::Failed => "FAILED",
            Self::Deleted => "DELETED",
        }
    }

    /// Whether nothing more becomes of a command of that kind.
    #[must_use]
    pub const fn ends(self, kind: CommandKind) -> bool {
        match self {
            Self::Queued | Self::Sent | Self::Timeout => false,
            Self::Delivered => matches!(kind, CommandKind::OneWay),
            Self::Successful | Self::Expired | Self::Failed | Self::Deleted => true,
        }
    }
}

impl Command {
    /// A command that was just asked for.
    #[must_use]
    pub fn new(order: Order, number: i32, now_ms: i64) -> Self {
        let state = if order.expires_ms <= now_ms { CommandState::Expired } else { CommandState::Queued };
        Self {
            order,
            number,
            state,
            created_ms: now_ms,
            ack_due_ms: None,
            missed: 0,
            response: None,
            is_garbled: false,
        }
    }

    /// Whether nothing more will happen to it.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.state.ends(self.order.kind)
    }

    /// Whether it should be sent to a device that begins to listen: nobody has acknowledged it.
    #[must_use]
    pub const fn is_undelivered(&self) -> bool {
        matches!(self.state, CommandState::Queued | CommandState::Sent | CommandState::Timeout)
    }

    /// It was written to the device. Without an acknowledgement to come, that is all one can know.
    pub fn sent(&mut self, qos: QoS, now_ms: i64, terms: &CommandTerms) {
        if !self.is_undelivered() {
            return;
        }
        if qos == QoS::AtMostOnce {
            self.state = CommandState::Delivered;
            self.ack_due_ms = None;
            return;
        }
        self.state = CommandState::Sent;
        self.ack_due_ms = Some(now_ms.saturating_add(terms.ack_ms).min(self.order.expires_ms));
    }

    /// The device acknowledged it.
    pub fn acknowledged(&mut self) {
        if self.is_undelivered() {
            self.state = CommandState::Delivered;
            self.ack_due_ms = None;
        }
    }

    /// The device answered. Text that is no JSON becomes an error, in JSON.
    pub fn answered(&mut self, answer: &[u8]) {
        if self.has_ended() || self.order.kind == CommandKind::OneWay {
            return;
        }
        self.state = CommandState::Successful;
        self.ack_due_ms = None;
        let text = String::from_utf8_lossy(answer);
        let is_json = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
        self.is_garbled = !is_json;
        self.response = Some(if is_json { text.into() } else { error_json(&text) });
    }

    /// It could not be put into the device's words.
    pub fn fail(&mut self, text: &str) {
        if !self.has_ended() {
            self.state = CommandState::Failed;
            self.ack_due_ms = None;
            self.response = Some(error_json(text));
        }
    }

    /// Somebody took it back.
    pub fn delete(&mut self) {
        self.state = CommandState::Deleted;
        self.ack_due_ms = None;
    }

    /// The device's connection ended: what was sent and not acknowledged waits for the next one.
    pub fn cut_off(&mut self) {
        if self.state == CommandState::Sent {
            self.state = CommandState::Queued;
            self.ack_due_ms = None;
        }
    }

    /// When to look at it again, in Unix milliseconds; none if it has ended.
    #[must_use]
    pub fn due_ms(&self) -> Option<i64> {
        if self.has_ended() {
            return None;
        }
        let expires_ms = self.order.expires_ms;
        Some(self.ack_due_ms.map_or(expires_ms, |due| due.min(expires_ms)))
    }

    /// Looks at it: whether it has expired or its acknowledgement is missed. Returns whether it changed.
    pub fn look(&mut self, now_ms: i64, terms: &CommandTerms) -> bool {
        if self.has_ended() {
            return false;
        }
        if self.order.expires_ms <= now_ms {
            self.state = CommandState::Expired;
            self.ack_due_ms = None;
            return true;
        }
        if self.ack_due_ms.is_none_or(|due| now_ms < due) {
            return false;
        }
        self.ack_due_ms = None;
        self.missed += 1;
        let retries = self.order.retries.map_or(terms.retries_max, |retries| retries.min(terms.retries_max));
        if self.missed > retries && terms.closes {
            self.missed = 0;
            self.state = CommandState::Queued;
        } else if self.missed > retries {
            self.fail(&format!(
                "There was a Timeout and all retry attempts have been exhausted. Retry attempts set: {retries}"
            ));
        } else {
            self.state = CommandState::Timeout;
        }
        true
    }
}

fn error_json(text: &str) -> Box<str> {
    let mut out = String::from("{\"error\":");
    write_text(text, &mut out);
    out.push('}');
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use CommandState::{Deleted, Delivered, Expired, Failed, Queued, Sent, Successful, Timeout};

    const TERMS: CommandTerms = CommandTerms {
        ack_ms: 10_000,
        retries_max: 5,
        waiting_max: 10,
        submit: Submit::Burst,
        answer_ms: 30_000,
        closes: false,
    };

    fn command(kind: CommandKind, expires_ms: i64) -> Command {
        let order = Order {
            id: CommandId::from_bytes([7; 16]),
            method: "m".into(),
            params: "{}".into(),
            kind,
            is_persistent: true,
            expires_ms,
            retries: None,
            additional: None,
        };
        Command::new(order, 0, 0)
    }

    #[test]
    fn a_two_way_command_goes_from_queued_to_successful() {
        let mut command = command(CommandKind::TwoWay, 60_000);
        assert_eq!((command.state, command.due_ms()), (Queued, Some(60_000)));
        command.sent(QoS::AtLeastOnce, 1_000, &TERMS);
        assert_eq!((command.state, command.due_ms()), (Sent, Some(11_000)));
        command.acknowledged();
        assert_eq!((command.state, command.due_ms()), (Delivered, Some(60_000)));
        command.answered(b"{\"ok\":true}");
        assert_eq!((command.state, command.response.as_deref()), (Successful, Some("{\"ok\":true}")));
        command.answered(b"2");
        assert_eq!(command.response.as_deref(), Some("{\"ok\":true}"), "the first answer counts");
        assert_eq!(command.due_ms(), None);
    }

    #[test]
    fn a_one_way_command_ends_when_it_is_delivered() {
        let mut one = command(CommandKind::OneWay, 60_000);
        one.sent(QoS::AtLeastOnce, 0, &TERMS);
        assert!(!one.has_ended());
        one.acknowledged();
        assert!(one.has_ended() && one.state == Delivered);
        one.answered(b"1");
        assert_eq!((one.state, one.response), (Delivered, None));
        let mut other = command(CommandKind::OneWay, 60_000);
        other.sent(QoS::AtMostOnce, 0, &TERMS);
        assert!(other.has_ended() && other.state == Delivered, "nothing will be acknowledged");
    }

    #[test]
    fn a_missed_acknowledgement_is_a_timeout_until_retries_are_used_up() {
        let mut command = command(CommandKind::TwoWay, 1_000_000);
        for missed in 1..=5 {
            command.sent(QoS::AtLeastOnce, 0, &TERMS);
            assert!(!command.look(9_999, &TERMS));
            assert!(command.look(10_000, &TERMS));
            assert_eq!((command.state, command.missed), (Timeout, missed));
        }
        command.sent(QoS::AtLeastOnce, 0, &TERMS);
        assert!(command.look(10_000, &TERMS));
        assert_eq!(command.state, Failed);
        assert_eq!(
            command.response.as_deref(),
            Some(
                "{\"error\":\"There was a Timeout and all retry attempts have been exhausted. \
                 Retry attempts set: 5\"}"
            )
        );
    }

    #[test]
    fn a_command_that_ends_connections_waits_for_the_next_one_and_does_not_fail() {
        let terms = CommandTerms { closes: true, retries_max: 1, ..TERMS };
        let mut command = command(CommandKind::TwoWay, 1_000_000);
        for expected in [Timeout, Queued, Timeout, Queued] {
            command.sent(QoS::AtLeastOnce, 0, &terms);
            assert!(command.look(10_000, &terms));
            assert_eq!(command.state, expected);
        }
    }

    #[test]
    fn an_acknowledgement_is_never_waited_for_beyond_the_expiry() {
        let mut command = command(CommandKind::TwoWay, 5_000);
        command.sent(QoS::AtLeastOnce, 0, &TERMS);
        assert_eq!(command.due_ms(), Some(5_000));
        assert!(command.look(5_000, &TERMS));
        assert_eq!(command.state, Expired);
    }

    #[test]
    fn what_is_no_json_is_an_error_in_json() {
        let mut command = command(CommandKind::TwoWay, 60_000);
        command.sent(QoS::AtLeastOnce, 0, &TERMS);
        command.answered(b"o\"k");
        assert_eq!(command.response.as_deref(), Some("{\"error\":\"o\\\"k\"}"));
        assert!(command.is_garbled);
    }

    #[test]
    fn a_command_that_comes_too_late_is_expired_at_once_and_a_deleted_one_is_deleted() {
        assert_eq!(command(CommandKind::OneWay, 0).state, Expired);
        let mut taken_back = command(CommandKind::TwoWay, 60_000);
        taken_back.delete();
        assert!(taken_back.state == Deleted && taken_back.has_ended());
    }

    #[test]
    fn a_command_that_was_cut_off_is_sent_again() {
        let mut command = command(CommandKind::TwoWay, 60_000);
        command.sent(QoS::AtLeastOnce, 0, &TERMS);
        command.cut_off();
        assert_eq!((command.state, command.due_ms()), (Queued, Some(60_000)));
        command.sent(QoS::AtLeastOnce, 1, &TERMS);
        command.acknowledged();
        command.cut_off();
        assert_eq!(command.state, Delivered, "the device has it");
    }
}
