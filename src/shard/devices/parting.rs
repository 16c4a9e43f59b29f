//! The end of a device's connection, and what its time brings: stays that are over, and the hub's own deadlines.
//!
//! Invariants:
//! - A will is heard while its device still counts as connected, and once.
//! - When a connection has ended, no hub has it among its listeners.

use broker::Behalf;
use device::{Addressed, Cookie, Downlink, Said, Speech};
use mqtt::QoS;
use stdx::Instant;

use super::downlinks::Cause;
use super::end::DeviceEnd;
use crate::connections::{State, link_of};
use crate::effects::ConnId;
use crate::shard::Shard;

impl Shard {
    /// Whether connections of devices have ended that were not parted with yet.
    #[inline]
    pub(crate) fn has_parted(&self) -> bool {
        self.devices.as_ref().is_some_and(|desk| !desk.parted.is_empty())
    }

    /// Parts with devices whose connections have ended.
    pub(crate) fn part(&mut self, now: Instant) {
        while let Some(end) = self.devices.as_deref_mut().and_then(|desk| desk.parted.pop()) {
            self.part_with(now, end);
        }
    }

    fn part_with(&mut self, now: Instant, mut end: DeviceEnd) {
        self.say_last_word(now, &mut end);
        self.desk().forget_ear(end.ear);
        self.forget_package(end.ear);
        let now_ms = self.wall_ms(now);
        for child in end.all_children() {
            self.leave_child(now, child.home, child.id, end.ear);
        }
        self.close_account(now, &end);
        if let Some(own) = end.own_id() {
            let mut out = self.outcome();
            self.desk().hub.close(own, end.ear, now_ms, &mut out);
            self.settle(now, out, Cause::TakenOver);
        }
    }

    /// Hears a will as if the device had published it.
    fn say_last_word(&mut self, now: Instant, end: &mut DeviceEnd) {
        let Some(will) = end.will.take() else { return };
        let now_ms = self.wall_ms(now);
        let said = Said { topic: &will.topic, payload: &will.payload, qos: QoS::AtMostOnce, now_ms };
        let mut speech = Speech::default();
        let _nobody_is_answered = self.interpret(end, &said, &mut speech);
        self.turn_away_others(end, &mut speech);
        self.exchange.counters_mut().wills_published += 1;
        self.bring_forwards(now, Behalf::Nobody, QoS::AtMostOnce, &speech);
        let mut out = self.outcome();
        for remark in speech.remarks {
            let nowhere = ConnId { index: u32::MAX, generation: u32::MAX };
            let _nobody_is_answered = self.hear(now, nowhere, end, remark, false, &mut out);
        }
        self.settle(now, out, Cause::TakenOver);
    }

    /// Hears all wills, as the broker is about to end every connection: they still find their readers.
    pub(crate) fn say_last_words(&mut self, now: Instant) {
        if self.devices.is_none() {
            return;
        }
        let has_will = |(conn, connection): (ConnId, &crate::connections::Connection)| {
            connection.device.as_ref().is_some_and(|end| end.will.is_some()).then_some(conn)
        };
        let conns: Vec<ConnId> = self.connections.iter().filter_map(has_will).collect();
        for conn in conns {
            let Some(mut end) = self.lend_end(conn) else { continue };
            self.say_last_word(now, &mut end);
            self.return_end(conn, end);
        }
    }

    /// Notes when devices were heard last that have no connection whose end would note it.
    pub(crate) fn note_last_words(&mut self, now: Instant) {
        if self.devices.is_none() {
            return;
        }
        let mut out = self.outcome();
        self.desk().hub.note_presences(&mut out);
        self.settle(now, out, Cause::Deaf);
    }

    /// Does what is due for devices.
    pub(crate) fn device_timers(&mut self, now: Instant) {
        if self.devices.is_none() {
            return;
        }
        let now_ms = self.wall_ms(now);
        let mut out = self.outcome();
        self.desk().hub.advance(now_ms, &mut out);
        self.settle(now, out, Cause::Deaf);
        let mut fired = Vec::new();
        self.desk().stays.advance(now, &mut fired);
        for conn in fired {
            let Some(connection) = self.connections.get_mut(conn) else { continue };
            let State::Home { key, .. } = connection.state else { continue };
            let is_over = connection.device.as_ref().is_some_and(|end| end.leaves_at <= now);
            if !self.exchange.is_on(key, link_of(conn)) {
                continue;
            }
            if is_over {
                self.exchange.end(now, key, None, None);
            } else {
                self.answer_vain_calls(now, conn);
            }
        }
    }

    /// Tells a device that nobody has answered what has waited long enough.
    fn answer_vain_calls(&mut self, now: Instant, conn: ConnId) {
        let Some(end) = self.connections.get_mut(conn).and_then(|own| own.device.as_deref_mut()) else {
            return;
        };
        let Some(device) = end.own_id() else { return };
        let (ear, Some(seldom)) = (end.ear, end.seldom.as_deref_mut()) else { return };
        let due = seldom.vain_calls.partition_point(|(until, _)| *until <= now);
        let cookies: Vec<Cookie> = seldom.vain_calls.drain(..due).map(|(_, cookie)| cookie).collect();
        if let Some((until, _)) = seldom.vain_calls.front().copied() {
            self.desk().stays.insert(until, conn);
        }
        for cookie in cookies {
            let downlink = Downlink::CallAnswered { cookie, answer: Err("timeout".into()) };
            self.speak(now, &Addressed { ear, device, downlink });
        }
    }

    /// When [`Shard::device_timers`] should be called at the latest.
    pub(crate) fn device_deadline(&self) -> Option<Instant> {
        let desk = self.devices.as_deref()?;
        let due = desk
            .hub
            .due_ms()
            .map(|due_ms| self.exchange.instant_of(stdx::WallMs(u64::try_from(due_ms).unwrap_or(0))));
        due.into_iter().chain(desk.stays.next_deadline()).chain(desk.packages.deadline()).min()
    }
}
