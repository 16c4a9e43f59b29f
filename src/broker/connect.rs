//! CONNECT on its home core: who may come in, what becomes of the session, and the CONNACK.
//!
//! Invariants:
//! - A refused CONNECT has no effect: the holder of the client id keeps its connection. Source: [MQTT-3.1.4-1].
//! - CONNACK is the first packet, before anything that waited for the session. Source: [MQTT-3.2.0-1].
//! - Limits come from this CONNECT, never from an earlier one of the session.

use std::cell::OnceCell;
use std::sync::Arc;

use mqtt::{ConnAck, Connect, Fit, QoS, ReasonCode, Version, encode, properties};
use stdx::{Instant, Span};

use crate::depart::Departure;
use crate::exchange::Exchange;
use crate::holders::Holder;
use crate::link::{AliasesOut, Hold, Link, LinkId, Silence};
use crate::message::{Message, StoredMessage};
use crate::notice::{self, Level, NoticeKind};
use crate::rights::Rights;
use crate::session::{Session, SessionKey, Will};
use crate::subscribe::inner_filter;
use crate::timers::Timer;

/// What became of a CONNECT.
#[derive(Debug)]
pub enum Admission {
    /// The client is connected; its CONNACK stands in the out buffer.
    Admitted(SessionKey),
    /// It is not: send these bytes (perhaps none) and close.
    Refused(Vec<u8>),
}

/// Who a CONNECT comes from, as was found out at the door.
#[derive(Clone, Debug)]
pub struct Guest<'a> {
    /// The connection.
    pub link: LinkId,
    /// The client id in use: that of the CONNECT, an assigned one if that was empty, or one that whoever let the client in
    /// has put in its place. It must be at home on this core.
    pub client_id: &'a str,
    /// The name of the device that it is, for humans; none for whoever is known by the client id.
    pub shown_as: Option<&'a str>,
    /// Whether what this client is promised waits for the store, if there is one.
    pub is_gated: bool,
    /// The name of the listener, for the store.
    pub listener: Option<Arc<str>>,
    /// What it may do; no rights are all rights. Means nothing where rights are not asked for.
    pub rights: Option<Arc<dyn Rights>>,
    /// The largest packet that is announced; none for the limit of all clients.
    pub packet_bytes_max: Option<u32>,
    /// Whether its session begins anew with each connection and ends with it, whatever it wants.
    pub is_fleeting: bool,
    /// The longest silence, whatever its keep alive is; none for no limit.
    pub silence_max: Option<Span>,
    /// Whether it is told that there is a session whenever it did not ask for a clean one.
    pub echoes_session: bool,
}

/// How a session begins or goes on.
struct Terms {
    expiry_s: u32,
    keep_alive_s: u16,
    server_keep_alive_s: Option<u16>,
    packet_bytes_max: u32,
    silence_max: Option<Span>,
}

impl Terms {
    fn silence(&self) -> Silence {
        let kept_alive = Span::from_ms(u64::from(self.keep_alive_s) * 1_500);
        match self.silence_max {
            Some(ours) if kept_alive == Span::ZERO || ours < kept_alive => Silence::new(ours, true),
            Some(_) | None => Silence::new(kept_alive, false),
        }
    }
}

impl Exchange {
    /// Handles a CONNECT whose client is at home on this core and may come in.
    pub fn connect(&mut self, now: Instant, connect: &Connect<'_>, guest: Guest<'_>) -> Admission {
        let stamp = self.stamp();
        let Guest {
            link,
            client_id,
            shown_as,
            is_gated,
            listener,
            rights,
            packet_bytes_max,
            is_fleeting,
            silence_max,
            ..
        } = guest;
        let echoes_session = guest.echoes_session && !connect.clean_start;
        // A client id that no packet could carry, because of the zero in front, is told without it.
        let assigned = connect.client_id.is_empty().then_some(client_id.trim_start_matches('\0'));
        let holder = Holder::new(rights, listener);
        let terms = Terms { silence_max, ..self.terms(connect, packet_bytes_max, is_fleeting) };
        if let Err(reason) =
            self.judge_connect(connect, client_id).and_then(|()| self.judge_will(connect, &holder))
        {
            return Admission::Refused(self.refuse_as(connect, shown_as, client_id, reason));
        }
        let mut probe = Vec::new();
        let fit = encode::connack(
            &mut probe,
            connect.version,
            &self.connack(connect, &terms, assigned),
            bytes_max(connect),
        );
        if fit == Fit::Nothing {
            return Admission::Refused(Vec::new());
        }
        if !self.may_take_over(now, client_id, shown_as) {
            let reason = ReasonCode::ConnectionRateExceeded;
            return Admission::Refused(self.refuse_as(connect, shown_as, client_id, reason));
        }
        let resumed = self.settle_earlier(now, (client_id, link), connect.clean_start || is_fleeting);
        let (key, session_present) = match resumed {
            Some(key) => (key, true),
            None => (self.new_session(client_id), false),
        };
        self.entrust(key, holder);
        let mut connack = self.connack(connect, &terms, assigned);
        connack.session_present = session_present || echoes_session;
        let mut out = self.spares.take();
        let _written = encode::connack(&mut out, connect.version, &connack, bytes_max(connect));
        self.attach(now, key, link, connect, &terms, out);
        self.mark_connack(key, stamp, is_gated, is_fleeting);
        self.resend(now, key, true);
        self.pump(now, key);
        Admission::Admitted(key)
    }

    /// CONNACK says what has become of the session, so it waits for what was written about that. Whatever else is under
    /// way to disk may be an earlier session's end.
    fn mark_connack(&mut self, key: SessionKey, stamp: usize, is_gated: bool, is_fleeting: bool) {
        // Of a fleeting session CONNACK promises nothing.
        let is_behind = !is_fleeting && (self.stamp() != stamp || self.journal.gate.is_behind());
        let link = self.sessions[key.index()].link.as_deref_mut().expect("attached by the caller");
        link.is_gated = is_gated && self.journal.is_on;
        if is_behind && link.is_gated {
            self.journal.gate.mark_connack(key, link);
        }
    }

    fn terms(&self, connect: &Connect<'_>, packet_bytes_max: Option<u32>, is_fleeting: bool) -> Terms {
        let wanted_s = match connect.version {
            _any if is_fleeting => 0,
            Version::V31 | Version::V311 if connect.clean_start => 0,
            Version::V31 | Version::V311 => u32::MAX,
            Version::V5 => connect.properties.session_expiry_s.unwrap_or(0),
        };
        let max_s = self.limits.keep_alive_max_s;
        let is_too_long = max_s > 0 && (connect.keep_alive_s == 0 || connect.keep_alive_s > max_s);
        // A 3.x client cannot be told of another keep alive, so its own is what is enforced.
        let server_keep_alive_s = (is_too_long && connect.version == Version::V5).then_some(max_s);
        Terms {
            expiry_s: wanted_s.min(self.limits.session_expiry_max_s),
            keep_alive_s: server_keep_alive_s.unwrap_or(connect.keep_alive_s),
            server_keep_alive_s,
            packet_bytes_max: packet_bytes_max.unwrap_or(u32::MAX).min(self.limits.packet_bytes_max),
            silence_max: None,
        }
    }

    /// Says why a CONNECT will be refused whoever it comes from, before anybody is asked who that is: the bytes to answer
    /// with.
    ///
    /// # Errors
    /// Perhaps no bytes at all.
    pub fn screen(&mut self, connect: &Connect<'_>, client_id: &str) -> Result<(), Vec<u8>> {
        self.judge_connect(connect, client_id).map_err(|reason| self.refuse(connect, client_id, reason))
    }

    /// Everything that can refuse a CONNECT that is well-formed, but its will. Source: sections 3.1.4 and 3.2.2.2.
    fn judge_connect(&self, connect: &Connect<'_>, client_id: &str) -> Result<(), ReasonCode> {
        if self.is_closing {
            return Err(ReasonCode::ServerShuttingDown);
        }
        let is_odd_v31 = connect.version == Version::V31
            && self.limits.strict_client_id_v31
            && !(1..=23).contains(&client_id.chars().count());
        if is_odd_v31 || client_id.len() > stdx::widen(self.limits.client_id_bytes_max) {
            return Err(ReasonCode::ClientIdNotValid);
        }
        if self.limits.strict_strings && !is_plain_connect(connect) {
            return Err(ReasonCode::MalformedPacket);
        }
        if connect.properties.authentication_method.is_some() {
            return Err(ReasonCode::BadAuthenticationMethod);
        }
        let share = self.limits.sessions_max.div_ceil(u32::from(self.cores));
        if !self.by_client.contains_key(client_id) && stdx::narrow(self.sessions.len()) >= share {
            return Err(ReasonCode::QuotaExceeded);
        }
        Ok(())
    }

    fn judge_will(&self, connect: &Connect<'_>, holder: &Holder) -> Result<(), ReasonCode> {
        let Some(will) = &connect.will else { return Ok(()) };
        if will.qos.bits() > self.limits.qos_max {
            return Err(ReasonCode::QoSNotSupported);
        }
        if will.retain && !self.limits.retain_available {
            return Err(ReasonCode::RetainNotSupported);
        }
        if will.topic.split('/').count() > stdx::widen(self.limits.topic_levels_max) {
            return Err(ReasonCode::TopicNameInvalid);
        }
        match will.topic.split('/').next() {
            Some("$SYS") => Err(ReasonCode::NotAuthorized),
            Some("$share") => Err(ReasonCode::TopicNameInvalid),
            // Asked again when it is sent.
            Some(_) | None if self.holders.is_on && !holder.may_publish(will.topic) => {
                Err(ReasonCode::NotAuthorized)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Refuses a CONNECT: gives the bytes to answer with, perhaps none.
    pub fn refuse(&mut self, connect: &Connect<'_>, client_id: &str, reason: ReasonCode) -> Vec<u8> {
        self.refuse_as(connect, None, client_id, reason)
    }

    /// The same for a device, which is named by its name.
    pub fn refuse_as(
        &mut self,
        connect: &Connect<'_>,
        shown_as: Option<&str>,
        client_id: &str,
        reason: ReasonCode,
    ) -> Vec<u8> {
        self.counters.connects_refused += 1;
        self.counters.sessions_refused += u64::from(reason == ReasonCode::QuotaExceeded);
        let who = shown_as.map_or_else(|| notice::client(client_id), notice::device);
        self.notice(Level::Info, NoticeKind::Refused, format!("{who} refused: {}", reason.text()));
        let connack = ConnAck { reason, reason_string: Some(reason.text()), ..ConnAck::default() };
        let mut out = Vec::new();
        let _nothing_means_close_bare =
            encode::connack(&mut out, connect.version, &connack, bytes_max(connect));
        out
    }

    fn connack<'a>(&self, connect: &Connect<'_>, terms: &Terms, assigned: Option<&'a str>) -> ConnAck<'a> {
        let limits = &self.limits;
        let off = |is_available: bool| (!is_available).then_some(false);
        let asked_s = connect.properties.session_expiry_s.unwrap_or(0);
        ConnAck {
            session_present: false,
            reason: ReasonCode::Success,
            session_expiry_s: (terms.expiry_s != asked_s).then_some(terms.expiry_s),
            receive_maximum: (limits.receive_maximum != u16::MAX).then_some(limits.receive_maximum),
            qos_max: QoS::from_bits(limits.qos_max).filter(|qos| *qos != QoS::ExactlyOnce),
            retain_available: off(limits.retain_available),
            packet_bytes_max: Some(terms.packet_bytes_max),
            assigned_client_id: assigned,
            topic_alias_max: (limits.topic_alias_max > 0).then_some(limits.topic_alias_max),
            wildcard_available: off(limits.wildcard_available),
            subscription_id_available: off(limits.subscription_id_available),
            shared_available: off(limits.shared_available),
            server_keep_alive_s: terms.server_keep_alive_s,
            ..ConnAck::default()
        }
    }

    /// Ends or keeps what an earlier connection of this client left; returns the session to resume.
    fn settle_earlier(
        &mut self,
        now: Instant,
        (client_id, newcomer): (&str, LinkId),
        clean_start: bool,
    ) -> Option<SessionKey> {
        let key = *self.by_client.get(client_id)?;
        if let Some(earlier) = self.link(key).map(|link| link.id) {
            self.counters.takeovers += 1;
            let about = (&*notice::client(client_id), Some(earlier), Some(newcomer));
            self.notice_on(Level::Info, NoticeKind::TakenOver, about, "is taken over by a connection");
            self.depart(now, key, Departure::with_will(ReasonCode::SessionTakenOver));
        }
        // Departing may have ended the session.
        let key = *self.by_client.get(client_id)?;
        // A session whose time is over has ended, whether or not its timer has fired yet.
        let session = &self.sessions[key.index()];
        let is_over = session.ends_at <= now || session.ends_with_link();
        if clean_start || is_over {
            self.counters.sessions_expired += u64::from(is_over);
            self.end_session(now, key);
            return None;
        }
        let session = &mut self.sessions[key.index()];
        // Back in time: a delayed will is not sent. Source: [MQTT-3.1.3-9].
        session.will = None;
        session.ends_at = Instant::NEVER;
        Some(key)
    }

    pub(crate) fn new_session(&mut self, client_id: &str) -> SessionKey {
        let client_id: Arc<str> = client_id.into();
        let serial = self.serial_next;
        self.serial_next += 1;
        let key = SessionKey::new(self.sessions.insert(Session {
            origin: stdx::stable_hash(client_id.as_bytes()).max(1),
            client_id: Arc::clone(&client_id),
            serial,
            link: None,
            subscriptions: Vec::new(),
            window: None,
            waiting: None,
            received: None,
            will: None,
            expiry_s: 0,
            ends_at: Instant::NEVER,
            seq: 0,
            is_lasting: false,
            is_written: false,
        }));
        self.by_client.insert(client_id, key);
        self.counters.sessions += 1;
        key
    }

    /// Gives a session its rights; what was decided about earlier ones is decided again.
    pub(crate) fn entrust(&mut self, key: SessionKey, holder: Holder) {
        if !self.holders.is_on {
            return;
        }
        self.holders.set(key, holder);
        for subscription in &self.sessions[key.index()].subscriptions {
            self.table.doubt(inner_filter(&subscription.filter).1);
        }
    }

    fn attach(
        &mut self,
        now: Instant,
        key: SessionKey,
        id: LinkId,
        connect: &Connect<'_>,
        terms: &Terms,
        out: Vec<u8>,
    ) {
        let ours = match connect.version {
            Version::V31 | Version::V311 => self.limits.inflight_3x_max,
            Version::V5 => self.limits.inflight_max,
        };
        let alias_max = connect.properties.topic_alias_max.min(self.limits.topic_alias_out_max);
        // The wheel that looks at keep alives looks at both, so a packet costs nothing more.
        let silence_max = terms.silence();
        let link = Link {
            id,
            out,
            taken: 0,
            is_dirty: true,
            marks: None,
            is_gated: false,
            version: connect.version,
            hold: Hold::None,
            packet_bytes_max: bytes_max(connect),
            window_max: connect.properties.receive_maximum.unwrap_or(u16::MAX).min(ours),
            inbound_open: 0,
            silence_max,
            last_seen: now,
            route_near: u32::MAX,
            admitted_at: 0,
            large_bytes: 0,
            aliases_in: Vec::new(),
            aliases_out: AliasesOut::new(alias_max, self.hasher.clone()),
        };
        if silence_max.max() > Span::ZERO {
            self.timers.insert(now + silence_max.max(), Timer::Silence(key, id));
        }
        if let Some(ends_at) = self.holders.expires_at(key) {
            self.timers.insert(self.instant_of(ends_at), Timer::RightsEnd(key, id));
        }
        let will = connect.will.as_ref().map(|will| Box::new(stored_will(now, will)));
        let session = &mut self.sessions[key.index()];
        session.link = Some(Box::new(link));
        session.will = will;
        session.expiry_s = terms.expiry_s;
        session.is_lasting |= terms.expiry_s > 0;
        self.dirty.push(key);
        self.counters.packets_sent += 1;
        self.counters.clients_connected += 1;
        self.begin_metering(now, key);
        self.note_session(key);
        self.announce_groups_of(key);
    }

    /// A client id for a client that sent none; it is at home on this core, so that the connection need not move.
    pub fn assign_client_id(&mut self) -> String {
        loop {
            let id = format!("auto-{:016x}{:016x}", self.prng.next_u64(), self.prng.next_u64());
            if crate::CoreId::home_of(id.as_bytes(), self.cores) == self.core {
                return id;
            }
        }
    }
}

fn bytes_max(connect: &Connect<'_>) -> u32 {
    connect.properties.packet_bytes_max.unwrap_or(u32::MAX)
}

fn is_plain_connect(connect: &Connect<'_>) -> bool {
    let will_topic = connect.will.as_ref().map_or("", |will| will.topic);
    [connect.client_id, connect.user_name.unwrap_or(""), will_topic].into_iter().all(mqtt::is_plain)
}

fn stored_will(now: Instant, will: &mqtt::Will<'_>) -> Will {
    let mut forward = Vec::new();
    properties::forwardable(will.raw, &mut forward);
    let message = Message {
        topic: will.topic.as_bytes(),
        forward: &forward,
        payload: will.payload,
        qos: will.qos,
        retain: will.retain,
        is_awaited: false,
        expiry_s: None,
        at: now,
        publisher: None,
        origin: 0,
        stored: OnceCell::new(),
        verbatim: None,
    };
    let message: Arc<StoredMessage> = Arc::clone(message.stored());
    Will { message, expiry_s: will.expiry_s, delay_s: will.delay_s, due_at: Instant::NEVER }
}
