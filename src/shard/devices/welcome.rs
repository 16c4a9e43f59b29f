//! The lobby's part: whose connection it is, by what the registry says.
//!
//! Why twice: the core that accepted asks to find the home, and the home asks again, because the registry may have changed in
//! between and only the home opens anything.
//!
//! Invariants:
//! - A device's session has a name that no packet can carry, begins anew and ends with its connection.
//! - A will is the device's, not the exchange's: nobody receives it by its own topic.

use std::sync::Arc;

use broker::{Admission, Guest, SessionKey};
use device::{DeviceId, Ear, Hello, Offer, Role, Shown, Welcome, fingerprint};
use mqtt::{Connect, ReasonCode, Version, Will, encode};
use stdx::{Instant, Span};

use super::downlinks::Cause;
use super::end::{DeviceEnd, LastWord, Own};
use crate::connections::link_of;
use crate::effects::{ConnId, ListenerId};
use crate::lobby::Outcome;
use crate::settings::Durability;
use crate::shard::Shard;

impl Shard {
    /// What the listener's dialect says to a CONNECT; anyone is welcome where no devices are known.
    pub(crate) fn welcome(&mut self, now: Instant, conn: ConnId, connect: &Connect<'_>) -> Welcome {
        let Some(desk) = &self.devices else { return Welcome::Anyone };
        let Some(connection) = self.connections.get_mut(conn) else { return Welcome::Anyone };
        let Some(dialect) = self.settings.dialects.get(usize::from(connection.listener.0)) else {
            return Welcome::Anyone;
        };
        let facts = connection.coating.as_ref().and_then(|coating| coating.coats.tls_facts());
        let wall = self.exchange.wall_at(now);
        let certificate = facts.as_ref().and_then(|facts| {
            let der = facts.client_certificates.first()?;
            let is_current = !self.settings.certificate_terms_count || facts.is_current(wall);
            Some(Shown { fingerprint: fingerprint(der), is_current })
        });
        let hello = Hello { connect, certificate };
        let mut welcome = Welcome::Anyone;
        desk.registry.read(&mut |registry| welcome = dialect.welcome(&hello, registry));
        welcome
    }

    /// Lets a device in, or somebody who wants to become one, or nobody.
    pub(crate) fn judge_device(
        &mut self,
        now: Instant,
        conn: ConnId,
        connect: &mut Connect<'_>,
        connect_len: usize,
        welcome: Welcome,
    ) -> Outcome {
        let refused = |bytes| Outcome::Judged(Admission::Refused(bytes), connect.version, connect_len);
        let device = match welcome {
            Welcome::Device(device) => Some(device),
            Welcome::Unregistered | Welcome::Anyone => None,
            Welcome::Refused(reason) => return refused(self.refuse_device(now, conn, connect, reason)),
        };
        if let Some(home) = device.map(|device| self.home_of(device)).filter(|home| *home != self.core) {
            return Outcome::Elsewhere(home);
        }
        self.exchange.counters_mut().packets_received += 1;
        let Some(connection) = self.connections.get_mut(conn) else { return Outcome::Partial };
        let listener = connection.listener;
        let Some(mut end) = self.make_end(conn, listener, connect, device) else {
            return refused(self.exchange.refuse(connect, "", ReasonCode::ServerUnavailable));
        };
        if self.open_account(now, &end).is_err() {
            self.desk().forget_ear(end.ear);
            self.exchange.counters_mut().connects_over_rate += 1;
            let name = end.own.as_ref().map(|own| &*own.name);
            let reason = ReasonCode::ConnectionRateExceeded;
            let mut bytes = self.exchange.refuse_as(connect, name, "", reason);
            self.add_farewell(conn, connect, reason, &mut bytes);
            return refused(bytes);
        }
        end.will = connect.will.take().map(|will| Box::new(last_word(&will)));
        let client_id = self.session_name(&end);
        let guest = Guest {
            link: link_of(conn),
            client_id: &client_id,
            shown_as: end.own.as_ref().map(|own| &*own.name),
            is_gated: end.is_gated,
            listener: None,
            rights: None,
            packet_bytes_max: Some(self.offer(listener).packet_bytes_max),
            is_fleeting: true,
            echoes_session: end.habits.echoes_session,
            silence_max: self
                .offer(listener)
                .silence_max_s
                .map(|max_s| Span::from_ms(u64::from(max_s) * 1_000)),
        };
        let admission = self.exchange.connect(now, connect, guest);
        let key = match admission {
            Admission::Admitted(key) => key,
            Admission::Refused(bytes) => {
                self.desk().forget_ear(end.ear);
                self.close_account(now, &end);
                return refused(bytes);
            }
        };
        if end.is_gated && self.coating_mut(conn).is_some_and(|coating| coating.rests_on_change) {
            self.exchange.hold_connack(key);
        }
        if device.is_some() {
            self.note_welcomed(conn);
        }
        // What the connection before it leaves is settled first: it may have had the same session.
        self.settle_ends(now);
        self.open_end(now, conn, key, end);
        Outcome::Judged(Admission::Admitted(key), connect.version, connect_len)
    }

    /// What a listener offers to devices.
    pub(crate) fn offer(&self, listener: ListenerId) -> Arc<Offer> {
        self.settings.offers.get(usize::from(listener.0)).cloned().unwrap_or_default()
    }

    /// What it offers to those of them that are gateways.
    fn gateway_offer(&self, listener: ListenerId) -> Arc<Offer> {
        let own = self.settings.gateway_offers.get(usize::from(listener.0)).cloned();
        own.unwrap_or_else(|| self.offer(listener))
    }

    fn make_end(
        &mut self,
        conn: ConnId,
        listener: ListenerId,
        connect: &Connect<'_>,
        device: Option<DeviceId>,
    ) -> Option<Box<DeviceEnd>> {
        let dialect = *self.settings.dialects.get(usize::from(listener.0))?;
        let (offer, gateway_offer) = (self.offer(listener), self.gateway_offer(listener));
        let is_gated = self.settings.journal_is_on && self.durability_of(listener) == Durability::Fsync;
        let core = self.core;
        let desk = self.desk();
        let mut own = None;
        let interpreter = match device {
            None => dialect.registrar(connect.version, offer.door)?,
            Some(id) => {
                let mut made = None;
                desk.registry.read(&mut |registry| {
                    let Some(device) = registry.device(id) else { return };
                    let records = registry.tenant(device.tenant).zip(registry.profile(device.profile));
                    let Some((tenant, profile)) = records else { return };
                    let version = connect.version;
                    let offer = if device.is_gateway() { &gateway_offer } else { &offer };
                    made = dialect.interpreter(&device::Guest { version, device, tenant, profile, offer });
                    own = Some(Own {
                        id,
                        name: device.name.clone(),
                        tenant: tenant.id,
                        limits: offer.limits_anything().then(|| Arc::clone(offer)),
                        keeping: profile.keeping,
                        speaks_for_all: device.role == Role::GatewayForActivity,
                        is_gateway: device.is_gateway(),
                    });
                });
                made?
            }
        };
        let ear = desk.give_ear(core, conn);
        Some(Box::new(DeviceEnd {
            ear,
            habits: interpreter.habits(),
            interpreter,
            own,
            will: None,
            children: None,
            commands: Vec::new(),
            leaves_at: Instant::NEVER,
            is_gated,
            wants_reasons: connect.properties.request_problem_information != Some(false),
            is_judged: false,
            verdicts: None,
            seldom: None,
        }))
    }

    /// The client id that the exchange knows the session by: that of the device, as one device has one session; with the
    /// ear, where it may have more.
    fn session_name(&self, end: &DeviceEnd) -> String {
        let Ear(ear) = end.ear;
        match &end.own {
            Some(own) if self.settings.hub.sessions_max <= 1 => format!("\0{}", own.id),
            Some(own) => format!("\0{}/{ear}", own.id),
            None => format!("\0provision/{ear}"),
        }
    }

    fn open_end(&mut self, now: Instant, conn: ConnId, key: SessionKey, end: Box<DeviceEnd>) {
        let now_ms = self.wall_ms(now);
        let opened = end.own.as_ref().map(|own| (own.id, end.ear, own.keeping));
        let Some(connection) = self.connections.get_mut(conn) else { return };
        connection.device = Some(end);
        if let Some((device, ear, keeping)) = opened {
            let mut out = self.outcome();
            self.desk().hub.open(device, ear, keeping, now_ms, &mut out);
            let refusal = out.refused.drain(..).next().map(|(_, _, refusal)| refusal);
            self.settle(now, out, Cause::TakenOver);
            // It was let in and is known of nowhere: its connection ends behind the CONNACK.
            if let Some(refusal) = refusal {
                self.exchange.end(now, key, Some(refusal.reason()), Some(refusal.text()));
            }
        }
    }

    fn note_welcomed(&mut self, conn: ConnId) {
        if let (Some(doorkeeper), Some(connection)) =
            (self.settings.doorkeeper.as_ref(), self.connections.get_mut(conn))
        {
            doorkeeper.note_welcomed(connection.listener, connection.peer.ip());
        }
    }

    fn refuse_device(
        &mut self,
        now: Instant,
        conn: ConnId,
        connect: &Connect<'_>,
        reason: ReasonCode,
    ) -> Vec<u8> {
        self.exchange.counters_mut().packets_received += 1;
        self.exchange.counters_mut().authentications_refused += 1;
        let wall = self.exchange.wall_at(now);
        if let (Some(doorkeeper), Some(connection)) =
            (self.settings.doorkeeper.as_ref(), self.connections.get_mut(conn))
        {
            doorkeeper.note_refused(connection.listener, connection.peer.ip(), wall);
        }
        let mut bytes = self.exchange.refuse(connect, connect.client_id, reason);
        self.add_farewell(conn, connect, reason, &mut bytes);
        bytes
    }

    fn add_farewell(&mut self, conn: ConnId, connect: &Connect<'_>, reason: ReasonCode, bytes: &mut Vec<u8>) {
        if let Some(farewell) = self.farewell(conn, reason).filter(|_| connect.version == Version::V5) {
            encode::disconnect_behind_refusal(bytes, farewell);
        }
    }

    /// The code of the DISCONNECT behind a CONNACK that refuses, where the listener has one.
    fn farewell(&mut self, conn: ConnId, refused: ReasonCode) -> Option<ReasonCode> {
        let listener = self.connections.get_mut(conn)?.listener;
        let dialect = self.settings.dialects.get(usize::from(listener.0))?;
        self.offer(listener).door.refusals_disconnect.then(|| dialect.farewell(refused))
    }
}

fn last_word(will: &Will<'_>) -> LastWord {
    LastWord { topic: will.topic.into(), payload: will.payload.into() }
}
