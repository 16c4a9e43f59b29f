//! Watches one connection and holds every packet of the server against what the client said before.
//!
//! Why without being asked: a scenario looks at one obligation, but each packet that passes by can break any other.
//!
//! Invariants:
//! - `open` holds the identifiers of the server's QoS 1 and 2 messages that are not finished, over all connections of
//!   one session; `open_here` those that were sent on this connection.
//! - `awaited` counts the acknowledgements that the client's packets on this connection have earned.

use std::collections::{BTreeMap, HashMap};

use crate::hear::{self, Breach, breach};
use crate::packet::{Heard, Kind, Version};
use crate::property::{Held, REASON_STRING, SUBSCRIPTION_ID, TOPIC_ALIAS, USER_PROPERTY};
use crate::uttered::{self, Terms, Uttered};

/// A message of the server that is not finished.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenMessage {
    qos: u8,
    is_received: bool,
    is_released: bool,
}

/// The unfinished messages of one session, by packet identifier.
pub type Ledger = BTreeMap<u16, OpenMessage>;

/// The ledgers of all sessions, by client identifier.
#[derive(Default, Debug)]
pub struct Ledgers(HashMap<Vec<u8>, Ledger>);

/// What is known of one connection.
#[derive(Debug)]
pub struct Watch {
    version: Version,
    said: Vec<u8>,
    terms: Option<Terms>,
    is_accepted: bool,
    is_resumed: bool,
    is_vague: bool,
    is_over: bool,
    awaited: HashMap<(Kind, u16), usize>,
    subscribes: HashMap<u16, Vec<u8>>,
    unsubscribes: HashMap<u16, usize>,
    open_here: BTreeMap<u16, ()>,
    aliases: HashMap<u64, Vec<u8>>,
}

impl Watch {
    /// A new connection of a client whose version is so far `version`.
    #[must_use]
    pub fn new(version: Version) -> Self {
        Self {
            version,
            said: Vec::new(),
            terms: None,
            is_accepted: false,
            is_resumed: false,
            is_vague: false,
            is_over: false,
            awaited: HashMap::new(),
            subscribes: HashMap::new(),
            unsubscribes: HashMap::new(),
            open_here: BTreeMap::new(),
            aliases: HashMap::new(),
        }
    }

    /// The version of the connection.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether the server has accepted the CONNECT.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.is_accepted && !self.is_over
    }

    /// Whether a packet was begun and not ended, so that nothing else may be said in between.
    #[must_use]
    pub fn is_amid_packet(&self) -> bool {
        !self.said.is_empty()
    }

    /// Notes what the client says.
    pub fn note_said(&mut self, bytes: &[u8], ledgers: &mut Ledgers) {
        self.said.extend(bytes);
        for uttered in uttered::take_packets(&mut self.said, self.version) {
            self.note(uttered, ledgers);
        }
    }

    fn note(&mut self, uttered: Uttered, ledgers: &mut Ledgers) {
        match uttered {
            Uttered::Connect(terms) if self.terms.is_none() => {
                self.version = terms.version;
                self.terms = Some(terms);
            }
            Uttered::Publish { qos, id } if qos > 0 => {
                self.await_ack(if qos == 1 { Kind::PubAck } else { Kind::PubRec }, id);
            }
            Uttered::Ack { kind, id, code } => self.note_ack(kind, id, code, ledgers),
            Uttered::Subscribe { id, qos } => {
                self.await_ack(Kind::SubAck, id);
                self.subscribes.insert(id, qos);
            }
            Uttered::Unsubscribe { id, filters } => {
                self.await_ack(Kind::UnsubAck, id);
                self.unsubscribes.insert(id, filters);
            }
            Uttered::Ping => self.await_ack(Kind::PingResp, 0),
            _ => {} // A second CONNECT and QoS 0 earn nothing.
        }
    }

    fn await_ack(&mut self, kind: Kind, id: u16) {
        *self.awaited.entry((kind, id)).or_default() += 1;
    }

    fn note_ack(&mut self, kind: Kind, id: u16, code: u8, ledgers: &mut Ledgers) {
        match kind {
            Kind::PubRel => self.await_ack(Kind::PubComp, id),
            Kind::PubRec if code < 0x80 => {
                self.await_ack(Kind::PubRel, id);
                if let Some(message) = self.ledger(ledgers).get_mut(&id) {
                    message.is_received = true;
                }
            }
            _ => {
                // PUBACK, PUBCOMP and a refusing PUBREC finish a message, but only one of the matching QoS.
                let ledger = self.ledger(ledgers);
                let expected_qos = if kind == Kind::PubAck { 1 } else { 2 };
                if ledger.get(&id).is_some_and(|message| message.qos == expected_qos) {
                    ledger.remove(&id);
                    self.open_here.remove(&id);
                }
            }
        }
    }

    fn ledger<'a>(&self, ledgers: &'a mut Ledgers) -> &'a mut Ledger {
        let id = self.terms.as_ref().map(|terms| terms.client_id.clone()).unwrap_or_default();
        ledgers.0.entry(id).or_default()
    }

    /// Decodes a packet of the server and judges it.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn hear(&mut self, frame: &[u8], ledgers: &mut Ledgers) -> Result<Heard, Breach> {
        if self.is_over {
            return breach("MQTT-4.13.2-1", "a packet behind one that ends the connection");
        }
        let version = match &self.terms {
            Some(terms) if terms.is_unknown_level && frame == [0x20, 2, 0, 1] => Version::V31,
            _ => self.version, // The version of the CONNECT, or the client's before it.
        };
        let mut heard = hear::hear(frame, version)?;
        let is_begun = self.said.first().is_some_and(|first| first >> 4 == Kind::Connect.number());
        let terms = self.terms.clone().or_else(|| is_begun.then(|| Terms::of_version(self.version)));
        let Some(terms) = terms else {
            return breach("MQTT-3.2.0-1", format!("{} before any CONNECT was sent", heard.kind.word()));
        };
        if frame.len() > terms.packet_bytes_max {
            return breach(
                "MQTT-3.1.2-24",
                format!("{} bytes, but the client takes {}", frame.len(), terms.packet_bytes_max),
            );
        }
        if !self.is_accepted && !matches!(heard.kind, Kind::ConnAck | Kind::Auth) {
            return breach("MQTT-3.2.0-1", format!("{} before CONNACK", heard.kind.word()));
        }
        match heard.kind {
            Kind::ConnAck => self.judge_connack(&heard, &terms, ledgers)?,
            Kind::Publish => self.judge_publish(&mut heard, &terms, ledgers)?,
            Kind::Auth => judge_method(&heard, &terms)?,
            Kind::Disconnect => self.is_over = true,
            _ => self.judge_ack(&heard, ledgers)?, // All the others answer something.
        }
        let is_diagnosed = [REASON_STRING, USER_PROPERTY].iter().any(|id| heard.property(*id).is_some());
        let may_diagnose = matches!(heard.kind, Kind::ConnAck | Kind::Publish | Kind::Disconnect);
        if is_diagnosed && !may_diagnose && !terms.wants_problems {
            return breach("MQTT-3.1.2-29", "a diagnosis though Request Problem Information is 0");
        }
        Ok(heard)
    }

    fn judge_connack(&mut self, heard: &Heard, terms: &Terms, ledgers: &mut Ledgers) -> Result<(), Breach> {
        if self.is_accepted {
            return breach("MQTT-3.2.0-2", "a second CONNACK");
        }
        self.is_accepted = heard.code() == 0;
        self.is_over = !self.is_accepted;
        self.is_resumed = heard.session_present;
        if terms.clean && heard.session_present {
            return breach("MQTT-3.2.2-2", "Session Present after a clean start");
        }
        if !terms.wants_response && heard.property(0x1a).is_some() {
            return breach("MQTT-3.1.2-28", "Response Information that was not asked for");
        }
        let is_assigned = heard.property(0x12).is_some();
        if self.version == Version::V5 && self.is_accepted && is_assigned != terms.client_id.is_empty() {
            return breach(
                "MQTT-3.2.2-16",
                "Assigned Client Identifier must answer an empty one, and only that",
            );
        }
        let names_method = heard.property(0x15).is_some() || heard.property(0x16).is_some();
        if names_method || (self.is_accepted && terms.method.is_some()) {
            judge_method(heard, terms)?;
        }
        if self.is_accepted {
            if let Some(Held::Bytes(assigned)) = heard.property(0x12)
                && let Some(terms) = &mut self.terms
            {
                terms.client_id.clone_from(assigned);
            }
            // 3.1 does not say whether the session was resumed, so after an unclean start everything may be.
            self.is_vague = self.version == Version::V31 && !terms.clean;
            if !heard.session_present && !self.is_vague {
                self.ledger(ledgers).clear();
            }
        }
        Ok(())
    }

    fn judge_publish(
        &mut self,
        heard: &mut Heard,
        terms: &Terms,
        ledgers: &mut Ledgers,
    ) -> Result<(), Breach> {
        self.resolve_alias(heard, terms)?;
        if heard.properties.iter().any(|(id, value)| *id == SUBSCRIPTION_ID && *value == Held::Number(0)) {
            return breach("3.8.2.1.2", "Subscription Identifier 0");
        }
        if heard.qos == 0 {
            return Ok(());
        }
        if self.open_here.contains_key(&heard.id) {
            return breach("MQTT-2.2.1-4", format!("packet identifier {} is in use", heard.id));
        }
        let (is_resumed, is_vague) = (self.is_resumed, self.is_vague);
        let ledger = self.ledger(ledgers);
        match ledger.get(&heard.id) {
            _ if is_vague => {}
            Some(message) if message.is_released => {
                return breach("MQTT-4.3.3-6", format!("PUBLISH {} again after its PUBREL", heard.id));
            }
            Some(_) if !heard.dup => {
                return breach("MQTT-3.3.1-1", format!("PUBLISH {} again without DUP", heard.id));
            }
            None if heard.dup && !is_resumed => {
                return breach(
                    "MQTT-4.3.2-2",
                    format!("DUP on PUBLISH {}, which is new to the session", heard.id),
                );
            }
            _ => {} // A first delivery, or a proper repetition.
        }
        ledger.insert(heard.id, OpenMessage { qos: heard.qos, is_received: false, is_released: false });
        self.open_here.insert(heard.id, ());
        if self.open_here.len() > terms.receive_maximum {
            return breach(
                "MQTT-3.3.4-9",
                format!(
                    "{} messages are open, Receive Maximum is {}",
                    self.open_here.len(),
                    terms.receive_maximum
                ),
            );
        }
        Ok(())
    }

    fn resolve_alias(&mut self, heard: &mut Heard, terms: &Terms) -> Result<(), Breach> {
        let Some(alias) = heard.number(TOPIC_ALIAS) else { return Ok(()) };
        if alias > terms.topic_alias_max {
            return breach(
                "MQTT-3.1.2-26",
                format!("alias {alias}, Topic Alias Maximum is {}", terms.topic_alias_max),
            );
        }
        if !heard.wire_topic.is_empty() {
            self.aliases.insert(alias, heard.wire_topic.clone());
        }
        match self.aliases.get(&alias) {
            Some(topic) => heard.topic.clone_from(topic),
            None => return breach("3.3.2.3.4", format!("alias {alias} was never defined")),
        }
        Ok(())
    }

    fn judge_ack(&mut self, heard: &Heard, ledgers: &mut Ledgers) -> Result<(), Breach> {
        let is_awaited = match self.awaited.get_mut(&(heard.kind, heard.id)) {
            Some(count) if *count > 0 => {
                *count -= 1;
                true
            }
            _ => false, // Nothing of the kind is owed.
        };
        if heard.kind == Kind::PubRel {
            return self.judge_pubrel(heard, is_awaited, ledgers);
        }
        if !is_awaited {
            return breach("MQTT-2.2.1-5", format!("{} {} answers nothing", heard.kind.word(), heard.id));
        }
        match heard.kind {
            Kind::SubAck => self.judge_suback(heard),
            Kind::UnsubAck => {
                let filters = self.unsubscribes.remove(&heard.id).unwrap_or_default();
                if self.version == Version::V5 && heard.codes.len() != filters {
                    return breach(
                        "MQTT-3.11.3-1",
                        format!("{} codes for {filters} filters", heard.codes.len()),
                    );
                }
                Ok(())
            }
            _ => Ok(()), // The identifier was all there is to say.
        }
    }

    fn judge_suback(&mut self, heard: &Heard) -> Result<(), Breach> {
        let asked = self.subscribes.remove(&heard.id).unwrap_or_default();
        if heard.codes.len() != asked.len() {
            return breach(
                "MQTT-3.8.4-6",
                format!("{} codes for {} filters", heard.codes.len(), asked.len()),
            );
        }
        match heard.codes.iter().zip(&asked).find(|(granted, asked)| **granted <= 2 && granted > asked) {
            Some((granted, asked)) => {
                breach("MQTT-3.9.3-2", format!("QoS {granted} granted, {asked} asked for"))
            }
            None => Ok(()),
        }
    }

    fn judge_pubrel(&mut self, heard: &Heard, is_awaited: bool, ledgers: &mut Ledgers) -> Result<(), Breach> {
        let is_resumed = self.is_resumed || self.is_vague;
        let message = self.ledger(ledgers).get_mut(&heard.id);
        let is_repeated = is_resumed && message.as_ref().is_some_and(|message| message.is_received);
        if !is_awaited && !is_repeated {
            return breach("MQTT-4.3.3-4", format!("PUBREL {} without a PUBREC", heard.id));
        }
        if let Some(message) = message {
            message.is_released = true;
        }
        Ok(())
    }
}

fn judge_method(heard: &Heard, terms: &Terms) -> Result<(), Breach> {
    let method = match heard.property(0x15) {
        Some(Held::Bytes(method)) => Some(method),
        _ => None, // Left out.
    };
    match (&terms.method, method) {
        (None, _) => {
            breach("MQTT-4.12.0-6", format!("{} with authentication nobody asked for", heard.kind.word()))
        }
        (Some(asked), Some(method)) if asked == method => Ok(()),
        (Some(_), _) => breach("MQTT-4.12.0-5", "another Authentication Method than that of CONNECT"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Ledgers, Watch};
    use crate::packet::Version;

    const CONNECT_RM_1: &[u8] =
        &[0x10, 17, 0, 4, b'M', b'Q', b'T', b'T', 5, 0, 0, 0, 3, 0x21, 0, 1, 0, 1, b'a'];
    const CONNACK: &[u8] = &[0x20, 3, 0, 0, 0];

    /// Bytes, and whether the client says them.
    type Turn<'a> = (bool, &'a [u8]);

    fn broken(turns: &[Turn<'_>]) -> &'static str {
        let mut ledgers = Ledgers::default();
        let mut watch = Watch::new(Version::V5);
        for (is_client, bytes) in turns {
            if *is_client {
                watch.note_said(bytes, &mut ledgers);
            } else if let Err(breach) = watch.hear(bytes, &mut ledgers) {
                return breach.statement;
            }
        }
        "nothing"
    }

    #[test]
    fn what_the_server_may_say_depends_on_what_was_said_before() {
        let start: [Turn<'_>; 2] = [(true, CONNECT_RM_1), (false, CONNACK)];
        let q1: &[u8] = &[0x32, 6, 0, 1, b'a', 0, 7, 0];
        let q1_next: &[u8] = &[0x32, 6, 0, 1, b'a', 0, 8, 0];
        let q1_dup: &[u8] = &[0x3a, 6, 0, 1, b'a', 0, 7, 0];
        let puback: &[u8] = &[0x40, 2, 0, 7];
        let rows: [(&[Turn<'_>], &str); 11] = [
            (&[(false, q1), (true, puback), (false, q1)], "nothing"),
            (&[(false, CONNACK)], "MQTT-3.2.0-2"),
            (&[(false, q1), (false, q1_next)], "MQTT-3.3.4-9"),
            (&[(false, q1), (false, q1)], "MQTT-2.2.1-4"),
            (&[(false, q1_dup)], "MQTT-4.3.2-2"),
            (&[(false, puback)], "MQTT-2.2.1-5"),
            (&[(false, &[0x62, 2, 0, 7])], "MQTT-4.3.3-4"),
            (&[(false, &[0xd0, 0])], "MQTT-2.2.1-5"),
            (&[(false, &[0xe0, 1, 0x82]), (false, q1)], "MQTT-4.13.2-1"),
            (&[(false, &[0x30, 7, 0, 1, b'a', 3, 0x23, 0, 1])], "MQTT-3.1.2-26"),
            (&[(true, &[0x82, 6, 0, 3, 0, 0, 0, 0]), (false, &[0x90, 5, 0, 3, 0, 0, 0])], "MQTT-3.8.4-6"),
        ];
        for (behind, statement) in rows {
            let turns: Vec<Turn<'_>> = start.iter().chain(behind).copied().collect();
            assert_eq!(broken(&turns), statement, "{behind:02x?}");
        }
        assert_eq!(broken(&[(true, CONNECT_RM_1), (false, q1)]), "MQTT-3.2.0-1");
        assert_eq!(broken(&[(true, CONNECT_RM_1), (false, &[0xe0, 1, 0x82])]), "MQTT-3.2.0-1");
    }

    #[test]
    fn the_form_of_unknown_levels_may_be_old_or_new() {
        let level_6: &[u8] = &[0x10, 14, 0, 4, b'M', b'Q', b'T', b'T', 6, 2, 0, 0, 0, 0, 1, b'a'];
        assert_eq!(broken(&[(true, level_6), (false, &[0x20, 2, 0, 1])]), "nothing");
        assert_eq!(broken(&[(true, level_6), (false, &[0x20, 3, 0, 0x84, 0])]), "nothing");
    }
}
