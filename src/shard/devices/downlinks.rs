//! What follows from a hub's answer: changes, things to be said, connections that end, news for whoever is outside.
//!
//! Invariants:
//! - A connection is spoken to on its own core only; a session that is not its own is never touched.
//! - A command that was handed to a connection is told so to the device's home, and so is its acknowledgement.

use std::mem::take;

use broker::{CoreId, Level, NoticeKind, Saying};
use device::{Addressed, DeviceId, Downlink, Ear, News, NoChunk, Outcome, Utterance};
use mqtt::{QoS, ReasonCode};
use stdx::Instant;

use super::desk::{Place, place_of};
use super::end::SentCommand;
use super::letters::Letter;
use crate::connections::{State, link_of};
use crate::effects::ConnId;
use crate::shard::Shard;

/// Why a connection is open for a device no longer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cause {
    /// Another connection is.
    TakenOver,
    /// Somebody has changed or deleted the device.
    Administrative,
    /// The device has not acknowledged a command.
    Deaf,
}

impl Shard {
    /// Does what follows from an answer of the hub, at once but for the changes, which wait for the end of the turn.
    pub(crate) fn settle(&mut self, now: Instant, mut out: Outcome, cause: Cause) {
        self.tell_news(&mut out);
        // Whoever can be told has looked.
        out.refused.clear();
        let (mut evicted, mut downlinks) = (take(&mut out.evicted), take(&mut out.downlinks));
        // The changes are back before anything follows: that may ask the hub again.
        self.give_back(out);
        for (ear, device) in evicted.drain(..) {
            match place_of(ear) {
                Place::Outside => self.effects.news.push(News::Evicted(ear)),
                Place::Core(core) if core == self.core => self.evict_here(now, ear, device, cause),
                Place::Core(core) => self.send_letter(core, Letter::Evicted { ear, device, cause }, false),
            }
        }
        for addressed in downlinks.drain(..) {
            match place_of(addressed.ear) {
                Place::Outside => self.effects.news.push(News::Told(addressed)),
                Place::Core(core) if core == self.core => self.speak(now, &addressed),
                Place::Core(core) => self.send_letter(core, Letter::Told(addressed), false),
            }
        }
        let turn = &mut self.desk().turn;
        if turn.evicted.is_empty() && turn.downlinks.is_empty() {
            (turn.evicted, turn.downlinks) = (evicted, downlinks);
        }
    }

    fn tell_news(&mut self, out: &mut Outcome) {
        self.effects.news.extend(out.reports.drain(..).map(News::Report));
        self.effects.news.extend(out.turns.drain(..).map(|(device, turn)| News::Turn(device, turn)));
    }

    /// A connection of this core is open for a device no longer: its own ends. A gateway's goes on: without that child, if
    /// another connection has it or it was deleted; with it as it is now, if it was only changed.
    pub(crate) fn evict_here(&mut self, now: Instant, ear: Ear, device: DeviceId, cause: Cause) {
        let Some(conn) = self.desk().conn_of(ear) else { return };
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let Some(end) = connection.device.as_deref_mut() else { return };
        if end.own_id() != Some(device) {
            if cause == Cause::TakenOver {
                self.tell_of_takeover(ear, device);
            }
            if cause == Cause::Administrative && self.renew_here(now, ear, device) {
                return;
            }
            let Some(connection) = self.connections.get_mut(conn) else { return };
            let Some(end) = connection.device.as_deref_mut() else { return };
            if end.drop_child(device) && cause != Cause::TakenOver {
                let home = self.home_of(device);
                self.leave_child(now, home, device, ear);
            }
            return;
        }
        let State::Home { key, .. } = connection.state else { return };
        if !self.exchange.is_on(key, link_of(conn)) {
            return;
        }
        let (code, why) = match cause {
            Cause::TakenOver => {
                self.tell_of_takeover(ear, device);
                self.exchange.counters_mut().takeovers += 1;
                (ReasonCode::SessionTakenOver, "another connection of the device")
            }
            Cause::Administrative => {
                self.exchange.counters_mut().clients_sent_away += 1;
                (ReasonCode::AdministrativeAction, "the device was changed or deleted")
            }
            Cause::Deaf => {
                self.exchange.counters_mut().clients_sent_away += 1;
                (ReasonCode::AdministrativeAction, "the device has not acknowledged a command")
            }
        };
        self.exchange.end(now, key, Some(code), Some(why));
    }

    /// Tells humans who has taken a device from a connection of this core, as far as that is known here.
    fn tell_of_takeover(&mut self, ear: Ear, device: DeviceId) {
        let mut name = None;
        if self.exchange.would_tell(Level::Info) {
            let named = |device: &device::Device| broker::device_named(&device.name);
            self.desk().registry.read(&mut |registry| name = registry.device(device).map(named));
        }
        // A device that was deleted is nobody's.
        let Some(name) = name else { return };
        let Some(earlier) = self.shown_at(ear) else { return };
        let newest = self.desk().hub.newest(device);
        let rival = match newest.and_then(|newest| self.shown_at(newest)) {
            Some(rival) => rival,
            None => self.gateway_of(device).unwrap_or_else(|| "another connection".to_owned()),
        };
        let text = format!("{name} is taken over from {earlier} by {rival}");
        self.exchange.notice(Level::Info, NoticeKind::TakenOver, text);
    }

    /// Whose connection of this core it is, and where it comes from.
    fn shown_at(&mut self, ear: Ear) -> Option<String> {
        let Place::Core(core) = place_of(ear) else { return None };
        let conn = self.desk().conn_of(ear).filter(|_| core == self.core)?;
        let connection = self.connections.get_mut(conn)?;
        let end = connection.device.as_deref()?;
        Some(format!("the connection of {} at {}", end.shown(), connection.peer))
    }

    /// The gateway that has spoken for a device last.
    fn gateway_of(&mut self, device: DeviceId) -> Option<String> {
        let mut gateway = None;
        self.desk().registry.read(&mut |registry| {
            let known = registry.device(device).and_then(device::Device::gateway);
            let known = known.and_then(|gateway| registry.device(gateway));
            gateway = known.map(|gateway| format!("gateway {:?}", gateway.name));
        });
        gateway
    }

    /// Tells a child's home that a gateway's connection is open for it no longer; nothing follows from it for others.
    pub(crate) fn leave_child(&mut self, now: Instant, home: CoreId, device: DeviceId, ear: Ear) {
        if home != self.core {
            return self.send_letter(home, Letter::Close { device, ear }, false);
        }
        let now_ms = self.wall_ms(now);
        let mut out = self.outcome();
        self.desk().hub.close(device, ear, now_ms, &mut out);
        self.tell_news(&mut out);
        self.give_back(out);
    }

    /// Says something on a connection of this core, if it is still there and still open for the device.
    pub(crate) fn speak(&mut self, now: Instant, addressed: &Addressed) {
        let Addressed { ear, device, downlink } = addressed;
        let Some(conn) = self.desk().conn_of(*ear) else { return };
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let Some(end) = connection.device.as_deref_mut() else { return };
        let is_own = end.own_id().is_none_or(|own| own == *device);
        let child = if is_own { None } else { end.name_of(*device) };
        if !is_own && child.is_none() {
            return;
        }
        let mut utterances = Vec::new();
        let spoken = end.interpreter.downlink(child.as_deref(), downlink, &mut utterances);
        if let (State::Home { key, .. }, Downlink::Chunk { cookie, .. }) = (connection.state, downlink) {
            let fits = |said: &Utterance| self.exchange.fits(key, saying(said));
            if !utterances.iter().all(fits) {
                self.exchange.counters_mut().packages_refused += 1;
                utterances.clear();
                let instead = Downlink::NoChunk { cookie: *cookie, why: NoChunk::TooLarge };
                let _always_speakable = end.interpreter.downlink(None, &instead, &mut utterances);
            }
        }
        let is_promise = matches!(downlink, Downlink::Provisioned(_)) && end.is_gated;
        if let (State::Home { key, .. }, true) = (connection.state, is_promise) {
            self.exchange.mark(key);
        }
        if let (Err(unspeakable), Downlink::Command { number, .. }) = (spoken, downlink) {
            self.exchange.counters_mut().commands_unspeakable += 1;
            let (device, number, why) = (*device, *number, unspeakable.why);
            self.tell_of_command(now, device, Letter::Failed { device, number, why });
        }
        self.utter(now, conn, Some(*device), &mut utterances);
    }

    /// Writes messages to a connection; `device` is whom they are about.
    pub(crate) fn utter(
        &mut self,
        now: Instant,
        conn: ConnId,
        device: Option<DeviceId>,
        utterances: &mut Vec<Utterance>,
    ) {
        for Utterance { topic, payload, qos, command } in utterances.drain(..) {
            let Some(connection) = self.connections.get_mut(conn) else { return };
            let State::Home { key, .. } = connection.state else { return };
            if !self.exchange.is_on(key, link_of(conn)) {
                return;
            }
            let said = self.exchange.say(now, key, Saying { topic: &topic, payload: &payload, qos });
            let Some((device, number)) = device.zip(command) else { continue };
            let Some(place) = said else {
                let why = "The message does not fit into the device's connection".into();
                self.tell_of_command(now, device, Letter::Failed { device, number, why });
                continue;
            };
            if let Some(end) = connection.device.as_deref_mut() {
                if let (Some(own), Some(desk)) = (&end.own, self.devices.as_deref_mut()) {
                    let now_ms = i64::try_from(self.exchange.wall_at(now).0).unwrap_or(i64::MAX);
                    let _was_sent_all_the_same = desk.charge(own, device, 1, now_ms);
                }
                if qos != QoS::AtMostOnce {
                    end.commands.push(SentCommand { place, device, number });
                }
            }
            self.tell_of_command(now, device, Letter::Sent { device, number, qos });
        }
    }

    /// A command was acknowledged.
    pub(crate) fn command_acknowledged(&mut self, now: Instant, device: DeviceId, number: i32) {
        self.tell_of_command(now, device, Letter::Acknowledged { device, number });
    }

    /// Tells the home of a device how far a command is. Nothing is said and nobody evicted because of that.
    fn tell_of_command(&mut self, now: Instant, device: DeviceId, letter: Letter) {
        let home = self.home_of(device);
        if home != self.core {
            return self.send_letter(home, letter, false);
        }
        let now_ms = self.wall_ms(now);
        let mut out = self.outcome();
        let hub = &mut self.desk().hub;
        match letter {
            Letter::Sent { device, number, qos } => hub.command_sent(device, number, qos, now_ms, &mut out),
            Letter::Acknowledged { device, number } => hub.command_acknowledged(device, number, &mut out),
            Letter::Failed { device, number, why } => hub.command_failed(device, number, &why, &mut out),
            Letter::Open { .. }
            | Letter::Hear { .. }
            | Letter::Close { .. }
            | Letter::Learn { .. }
            | Letter::Judge { .. }
            | Letter::Judged { .. }
            | Letter::Told(_)
            | Letter::Evicted { .. }
            | Letter::Renewed { .. } => unreachable!("only what is about a command is told here"),
        }
        self.tell_news(&mut out);
        self.give_back(out);
    }
}

fn saying(utterance: &Utterance) -> Saying<'_> {
    Saying { topic: &utterance.topic, payload: &utterance.payload, qos: utterance.qos }
}
