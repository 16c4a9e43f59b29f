//! Presence: whether a device is connected, whether it is active, and since when.
//!
//! Why two answers: a connection can stand while nothing is said on it, and a device that comes once an hour is well while
//! it is away. *Connected* is about the connection and immediate; *active* is about what is said, with a time-out.
//!
//! Invariants:
//! - A device becomes active by saying something, and inactive by silence only, never by disconnecting.
//! - Silence is counted from the last word, or from when somebody began to listen if that was later: who was not heard
//!   because nobody listened was not silent.
//!
//! Source: the activity attributes of the device API.

use crate::value::{Sample, Value};

/// How a device is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Presence {
    /// How many connections it has, its own and those of gateways that speak for it.
    pub connections: u16,
    /// Whether it has said something lately.
    pub is_active: bool,
    /// When its first connection was made, in Unix milliseconds; 0 is never. So for all below.
    pub connected_ms: i64,
    /// When its last connection ended.
    pub disconnected_ms: i64,
    /// When it said something.
    pub heard_ms: i64,
    /// When its silence became too long; 0 while it is active.
    pub alarmed_ms: i64,
}

/// What becomes of a device's presence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// Its first connection was made.
    Connected,
    /// Its last connection ended.
    Disconnected,
    /// It said something after a silence.
    Awoke,
    /// It has been silent for too long.
    FellSilent,
}

impl Presence {
    /// Whether it has a connection.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        self.connections > 0
    }

    /// A connection was made.
    pub fn connect(&mut self, now_ms: i64) -> Option<Turn> {
        self.connections = self.connections.saturating_add(1);
        if self.connections > 1 {
            return None;
        }
        self.connected_ms = now_ms;
        Some(Turn::Connected)
    }

    /// A connection ended.
    pub fn disconnect(&mut self, now_ms: i64) -> Option<Turn> {
        let was_connected = self.is_connected();
        self.connections = self.connections.saturating_sub(1);
        if !was_connected || self.is_connected() {
            return None;
        }
        self.disconnected_ms = now_ms;
        Some(Turn::Disconnected)
    }

    /// It said something.
    pub fn hear(&mut self, now_ms: i64) -> Option<Turn> {
        self.heard_ms = self.heard_ms.max(now_ms);
        if self.is_active {
            return None;
        }
        self.is_active = true;
        self.alarmed_ms = 0;
        Some(Turn::Awoke)
    }

    /// What the server's attributes say of it: `active` and the times in Unix milliseconds, those that there were.
    #[must_use]
    pub fn samples(&self) -> Vec<Sample<'static>> {
        let times = [
            ("lastConnectTime", self.connected_ms),
            ("lastDisconnectTime", self.disconnected_ms),
            ("lastActivityTime", self.heard_ms),
            ("inactivityAlarmTime", self.alarmed_ms),
        ];
        let at_ms = times.iter().map(|(_, time_ms)| *time_ms).max().unwrap_or_default();
        let sample = |key: &'static str, value| Sample { key: key.into(), value, at_ms };
        let mut samples = vec![sample("active", Value::Bool(self.is_active))];
        let there = times.into_iter().filter(|(key, time_ms)| *time_ms > 0 || *key == "inactivityAlarmTime");
        samples.extend(there.map(|(key, time_ms)| sample(key, Value::Long(time_ms))));
        samples
    }

    /// What telemetry says of a turn, where it is kept there: the times in Unix milliseconds.
    #[must_use]
    pub fn samples_of(&self, turn: Turn) -> Vec<Sample<'static>> {
        let (at_ms, values) = match turn {
            Turn::Connected => (self.connected_ms, vec![("lastConnectTime", Value::Long(self.connected_ms))]),
            Turn::Disconnected => {
                (self.disconnected_ms, vec![("lastDisconnectTime", Value::Long(self.disconnected_ms))])
            }
            Turn::Awoke => {
                let heard = Value::Long(self.heard_ms);
                let alarm = ("inactivityAlarmTime", Value::Long(0));
                (self.heard_ms, vec![("active", Value::Bool(true)), ("lastActivityTime", heard), alarm])
            }
            Turn::FellSilent => {
                let alarmed = Value::Long(self.alarmed_ms);
                (self.alarmed_ms, vec![("active", Value::Bool(false)), ("inactivityAlarmTime", alarmed)])
            }
        };
        let sample = |(key, value): (&'static str, _)| Sample { key: key.into(), value, at_ms };
        values.into_iter().map(sample).collect()
    }

    /// When its silence becomes too long for whoever has listened since `began_ms`; none while it is not active.
    #[must_use]
    pub fn silent_at_ms(&self, began_ms: i64, timeout_ms: i64) -> Option<i64> {
        self.is_active.then(|| self.heard_ms.max(began_ms).saturating_add(timeout_ms))
    }

    /// Looks whether its silence is too long for whoever has listened since `began_ms`.
    pub fn look(&mut self, now_ms: i64, began_ms: i64, timeout_ms: i64) -> Option<Turn> {
        if self.silent_at_ms(began_ms, timeout_ms).is_none_or(|silent_at| now_ms < silent_at) {
            return None;
        }
        self.is_active = false;
        self.alarmed_ms = now_ms;
        Some(Turn::FellSilent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_connection_and_the_end_of_the_last_are_told() {
        let mut presence = Presence::default();
        assert_eq!(presence.connect(10), Some(Turn::Connected));
        assert_eq!(presence.connect(20), None);
        assert_eq!(presence.disconnect(30), None);
        assert!(presence.is_connected());
        assert_eq!(presence.disconnect(40), Some(Turn::Disconnected));
        assert_eq!(presence.disconnect(50), None);
        assert_eq!((presence.connected_ms, presence.disconnected_ms), (10, 40));
    }

    #[test]
    fn a_device_is_active_from_its_first_word_until_its_silence_is_too_long() {
        let mut presence = Presence::default();
        presence.connect(0);
        assert!(!presence.is_active, "a connection is not a word");
        assert_eq!(presence.hear(100), Some(Turn::Awoke));
        assert_eq!(presence.hear(200), None);
        presence.disconnect(250);
        assert!(presence.is_active, "a device that goes is not silent yet");
        assert_eq!(presence.look(799, 0, 600), None);
        assert_eq!(presence.look(800, 0, 600), Some(Turn::FellSilent));
        assert_eq!(presence.look(900, 0, 600), None);
        assert_eq!(presence.alarmed_ms, 800);
        assert_eq!(presence.hear(1000), Some(Turn::Awoke));
        assert_eq!(presence.alarmed_ms, 0);
    }

    #[test]
    fn attributes_tell_what_is_known() {
        let mut presence = Presence::default();
        presence.connect(10);
        presence.hear(30);
        let shown: Vec<_> =
            presence.samples().iter().map(|one| format!("{}={}", one.key, one.value.to_json())).collect();
        assert_eq!(
            shown,
            ["active=true", "lastConnectTime=10", "lastActivityTime=30", "inactivityAlarmTime=0"]
        );
    }

    #[test]
    fn a_clock_that_jumps_back_does_not_make_a_device_silent_earlier() {
        let mut presence = Presence::default();
        presence.hear(1000);
        presence.hear(500);
        assert_eq!(presence.silent_at_ms(0, 100), Some(1100));
    }

    #[test]
    fn nobody_is_silent_while_nobody_listens() {
        let mut presence = Presence::default();
        presence.hear(1000);
        assert_eq!(presence.look(5_099, 5_000, 100), None);
        assert_eq!(presence.look(5_100, 5_000, 100), Some(Turn::FellSilent));
    }
}
