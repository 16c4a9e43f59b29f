//! Packets of devices: what passes through the interpreter on its way.
//!
//! Why the box is lent out: an interpreter speaks while the shard's other parts listen, and everything that follows from what
//! it said happens when it is back in its place.
//!
//! Invariants:
//! - What a message says is heard before it is acknowledged, and acknowledged before anything is answered to it; an answer
//!   from another core may come first.
//! - A message that must be offered again has changed nothing.

use broker::{Behalf, Level, NoticeKind, Saying, SessionKey};
use device::{Answer, Outcome, Said, Short, Speech, Uplink, Within};
use mqtt::{
    Ack, Frame, Packet, Publish, QoS, ReasonCode, Subscribe, Unsubscribe, Version, Violation, decode,
};
use stdx::{Instant, Span};
use wire::Flow;

use super::children::Household;
use super::desk::Desk;
use super::downlinks::Cause;
use super::end::DeviceEnd;
use super::rates::limits_of;
use super::remarks::Heard;
use super::verdicts::REASON_BYTES_MAX;
use crate::effects::ConnId;
use crate::packets::Reader;
use crate::shard::Shard;

/// One packet of a device.
#[derive(Clone, Copy)]
struct Turnstile {
    now: Instant,
    conn: ConnId,
    key: SessionKey,
    version: Version,
}

impl Shard {
    /// Any part of the byte stream of a device's connection; none to go on with what was kept.
    pub(crate) fn device_bytes(
        &mut self,
        now: Instant,
        conn: ConnId,
        (key, version): (SessionKey, Version),
        bytes: Option<&[u8]>,
    ) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let listener = connection.listener;
        // Lent out for the call: whatever the packets do, nobody else looks at the bytes.
        let mut inlet = std::mem::take(&mut connection.inlet);
        let bytes_max = self.settings.limits.packet_bytes_max.min(self.offer(listener).packet_bytes_max);
        let mut packets = 0;
        let at = Turnstile { now, conn, key, version };
        let read = |frame: Frame<'_>| {
            packets += 1;
            self.device_frame(at, frame)
        };
        let result = match bytes {
            Some(bytes) => inlet.feed(bytes, bytes_max, read),
            None => inlet.resume(bytes_max, read),
        };
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.inlet = inlet;
        }
        // A packet that is too large for what devices are offered is told to them as their API has it.
        let result = match result {
            Err(Violation::PacketTooLarge) => {
                self.exchange.violated_as(now, key, Violation::PacketTooLarge, ReasonCode::MalformedPacket);
                Ok(())
            }
            other => other,
        };
        self.after_reading(now, key, packets, result);
        if self.is_metered() {
            self.set_pace(conn, key);
        }
    }

    fn device_frame(&mut self, at: Turnstile, frame: Frame<'_>) -> Flow {
        match self.device_packet(at, frame) {
            Ok(flow) => flow,
            Err(violation) => {
                self.exchange.violated(at.now, at.key, violation);
                Flow::End
            }
        }
    }

    fn device_packet(&mut self, at: Turnstile, frame: Frame<'_>) -> Result<Flow, Violation> {
        let Turnstile { now, conn, key, version } = at;
        match decode(frame, version)? {
            Packet::Publish(publish) => {
                let flow = self.device_publish(at, &publish)?;
                let is_over = flow == Flow::More
                    && self.exchange.is_metered()
                    && self.exchange.overdraws(now, key, publish.packet.len());
                return Ok(if is_over { Flow::Wait } else { flow });
            }
            Packet::Subscribe(subscribe) => return self.device_subscribe(at, &subscribe),
            Packet::Unsubscribe(unsubscribe) => return self.device_unsubscribe(at, &unsubscribe),
            Packet::PubAck(ack) | Packet::PubRec(ack) => self.device_acknowledges(at, ack),
            Packet::PingReq => self.device_is_alive(at),
            Packet::Disconnect(disconnect) => {
                let end = self.connections.get_mut(conn).and_then(|own| own.device.as_deref_mut());
                let echoes = end.as_ref().is_some_and(|end| end.habits.echoes_disconnect);
                if let Some(end) = end.filter(|_| disconnect.reason == ReasonCode::Success) {
                    end.will = None;
                }
                if echoes && version == Version::V5 {
                    self.exchange.end(now, key, Some(ReasonCode::Success), None);
                    return Ok(Flow::End);
                }
            }
            Packet::PubRel(_) | Packet::PubComp(_) | Packet::Auth(_) | Packet::Connect => {}
        }
        Reader::new(&mut self.exchange, now, key, version).packet(frame)
    }

    fn device_publish(&mut self, at: Turnstile, publish: &Publish<'_>) -> Result<Flow, Violation> {
        let Turnstile { now, conn, key, .. } = at;
        let as_qos1;
        let publish = if publish.qos == QoS::ExactlyOnce && self.has_no_qos2(conn) {
            as_qos1 = Publish { qos: QoS::AtLeastOnce, ..*publish };
            &as_qos1
        } else {
            publish
        };
        let Some(topic) = self.exchange.take_in(key, publish)? else { return Ok(Flow::More) };
        let Some(mut end) = self.lend_end(conn) else { return Ok(Flow::End) };
        if end.has_many_unanswered() {
            self.return_end(conn, end);
            self.exchange.counters_mut().messages_postponed += 1;
            self.exchange.hold_for(now, key, Span::from_ms(1));
            return Ok(Flow::Again);
        }
        let now_ms = self.wall_ms(now);
        let said = Said { topic: &topic, payload: publish.payload, qos: publish.qos, now_ms };
        // Lent out for its room, which comes back when the message is dealt with.
        let mut speech: Speech<'_> = std::mem::take(&mut self.desk().speech);
        let mut answer = self.interpret(&mut end, &said, &mut speech);
        self.exchange.counters_mut().messages_interpreted += 1;
        self.tell_why(&end, &answer);
        if let Some(after_ms) = answer.again_ms {
            self.desk().speech = speech.recycle();
            let why = answer.why.as_deref().unwrap_or_default();
            // What is dropped is not acknowledged: a device that keeps it says it again on its next connection.
            let waits = self.leave_unread(now, key, &mut end, after_ms, why);
            self.return_end(conn, end);
            return Ok(if waits { Flow::Again } else { Flow::More });
        }
        if let Some(refused) = self.turn_away_others(&mut end, &mut speech)
            && answer.acknowledge.is_some()
        {
            answer = Answer { end: answer.end, ..refused };
        }
        let mut out = self.outcome();
        self.bring_forwards(now, Behalf::Client(key), publish.qos, &speech);
        let wants_answer = publish.qos != QoS::AtMostOnce;
        let is_awaited = end.is_gated && wants_answer;
        end.is_judged = at.version == Version::V5 && wants_answer;
        for remark in &mut speech.remarks {
            amend(&mut answer, self.heed(now, conn, &mut end, remark, is_awaited, &mut out));
        }
        mind_refusals(&mut answer, &mut out);
        self.note_kept(&mut out.changes);
        self.answer_in_turn(key, &mut end, publish, &answer);
        end.is_judged = false;
        let why = answer.why.as_deref().map(|why| &why[..why.floor_char_boundary(REASON_BYTES_MAX)]);
        let own = end.own_id();
        self.return_end(conn, end);
        self.utter(now, conn, own, &mut speech.utterances);
        self.desk().speech = speech.recycle();
        self.settle(now, out, Cause::TakenOver);
        match answer.end {
            None => Ok(Flow::More),
            Some(code) => {
                self.exchange.end(now, key, Some(code), why);
                Ok(Flow::End)
            }
        }
    }

    fn has_no_qos2(&mut self, conn: ConnId) -> bool {
        let end = self.connections.get_mut(conn).and_then(|connection| connection.device.as_deref());
        end.is_some_and(|end| end.habits.has_no_qos2)
    }

    /// Asks the interpreter what a message means; within what is left to the device and its tenant, if that is limited.
    pub(crate) fn interpret<'a>(
        &mut self,
        end: &mut DeviceEnd,
        said: &Said<'a>,
        speech: &mut Speech<'a>,
    ) -> Answer {
        let DeviceEnd { own, interpreter, children, .. } = end;
        let Some(own) = own.as_ref().filter(|own| own.limits.is_some() || own.is_gateway) else {
            return interpreter.publish(said, speech);
        };
        let children = children.as_deref();
        let meets =
            |name: &str| *own.name == *name || children.is_some_and(|children| children.is_known(name));
        let Desk { registry, allowances, spent, .. } = self.desk();
        let within = Within { meets: Some(&meets), ..limits_of((allowances, spent), Some(own)) };
        if own.is_gateway {
            let kin = Household { children, registry: &**registry, gateway: own.id };
            return interpreter.publish_among(said, speech, within, &kin);
        }
        interpreter.publish_within(said, speech, within)
    }

    /// Brings what was said to those who subscribe to canonical topics.
    pub(crate) fn bring_forwards(&mut self, now: Instant, on_behalf: Behalf, qos: QoS, speech: &Speech<'_>) {
        for forward in &speech.forwards {
            let saying = Saying { topic: &forward.topic, payload: &forward.payload, qos };
            self.exchange.bring(now, on_behalf, saying);
        }
    }

    /// Counts what was not taken as it was meant, and says why.
    fn tell_why(&mut self, end: &DeviceEnd, answer: &Answer) {
        let is_refused = answer.end.is_some() || answer.acknowledge.is_some_and(|code| code.is_failure());
        self.exchange.counters_mut().messages_not_understood += u64::from(is_refused);
        let Some(why) = answer.why.as_deref().filter(|_| is_refused) else { return };
        let name = end.own.as_ref().map_or("without credentials", |own| &*own.name);
        let text = format!("a message of device {name:?} was not taken: {why}");
        self.exchange.notice(Level::Info, NoticeKind::Violation, text);
    }

    fn device_subscribe(&mut self, at: Turnstile, subscribe: &Subscribe<'_>) -> Result<Flow, Violation> {
        let Turnstile { now, conn, key, .. } = at;
        self.exchange.check_subscribe(key, subscribe)?;
        let Some(mut end) = self.lend_end(conn) else { return Ok(Flow::End) };
        let mut speech = Speech::default();
        let mut codes = Vec::with_capacity(subscribe.len());
        let telling =
            subscribe.requests().filter(|request| end.interpreter.is_telling(request.filter)).count();
        let short = self.charge_own(now, &end, telling).err();
        let forgets = short.is_some() && end.habits.forgets_subscriptions;
        if let Some(short) = short.filter(|_| !forgets && at.version != Version::V5)
            && self.leave_unread(now, key, &mut end, short.after_ms, "a subscription")
        {
            self.return_end(conn, end);
            return Ok(Flow::Again);
        }
        for request in subscribe.requests() {
            if short.is_some() && !forgets && end.interpreter.is_telling(request.filter) {
                self.exchange.counters_mut().subscriptions_refused += 1;
                codes.push(ReasonCode::QuotaExceeded);
                continue;
            }
            let granted = end.interpreter.subscribe(request.filter, request.options.qos, &mut speech);
            codes.push(match granted {
                Ok(QoS::AtMostOnce) => ReasonCode::Success,
                Ok(QoS::AtLeastOnce) => ReasonCode::GrantedQoS1,
                Ok(QoS::ExactlyOnce) => ReasonCode::GrantedQoS2,
                Err(code) => code,
            });
        }
        self.exchange.answer_subscribe(key, subscribe.packet_id, &codes);
        if forgets {
            speech.clear();
        }
        self.hear_asides(now, conn, end, speech);
        Ok(Flow::More)
    }

    fn device_unsubscribe(
        &mut self,
        at: Turnstile,
        unsubscribe: &Unsubscribe<'_>,
    ) -> Result<Flow, Violation> {
        let Turnstile { now, conn, key, .. } = at;
        self.exchange.check_unsubscribe(key, unsubscribe)?;
        let Some(mut end) = self.lend_end(conn) else { return Ok(Flow::End) };
        let mut speech = Speech::default();
        let telling = unsubscribe.filters().filter(|filter| end.interpreter.is_telling(filter)).count();
        let _may_always_be_taken_back = self.charge_own(now, &end, telling);
        let codes: Vec<ReasonCode> =
            unsubscribe.filters().map(|filter| end.interpreter.unsubscribe(filter, &mut speech)).collect();
        self.exchange.answer_unsubscribe(key, unsubscribe.packet_id, &codes);
        self.hear_asides(now, conn, end, speech);
        Ok(Flow::More)
    }

    /// Takes so many messages of what a device may say of itself.
    fn charge_own(&mut self, now: Instant, end: &DeviceEnd, messages: usize) -> Result<(), Short> {
        let Some(own) = end.own.as_ref().filter(|own| messages > 0 && own.limits.is_some()) else {
            return Ok(());
        };
        let now_ms = self.wall_ms(now);
        self.desk().charge(own, own.id, stdx::count(messages), now_ms)
    }

    /// Hears what follows from a SUBSCRIBE or an UNSUBSCRIBE.
    fn hear_asides(&mut self, now: Instant, conn: ConnId, mut end: Box<DeviceEnd>, mut speech: Speech<'_>) {
        let mut out = self.outcome();
        for remark in speech.remarks {
            // Nobody is named and nothing is created, so nothing can be refused.
            let _heard = self.hear(now, conn, &mut end, remark, false, &mut out);
        }
        let own = end.own_id();
        self.return_end(conn, end);
        self.utter(now, conn, own, &mut speech.utterances);
        self.settle(now, out, Cause::TakenOver);
    }

    /// An acknowledgement of what may have been a command.
    fn device_acknowledges(&mut self, at: Turnstile, ack: Ack) {
        let Turnstile { now, conn, key, .. } = at;
        let connection = self.connections.get_mut(conn);
        let Some(end) = connection.and_then(|connection| connection.device.as_deref_mut()) else { return };
        if end.commands.is_empty() {
            return;
        }
        let Some(place) = self.exchange.place_of(key, ack.packet_id) else { return };
        let Some(index) = end.commands.iter().position(|command| command.place == place) else { return };
        let command = end.commands.remove(index);
        if let (Some(own), Some(desk)) = (&end.own, self.devices.as_deref_mut()) {
            let now_ms = i64::try_from(self.exchange.wall_at(now).0).unwrap_or(i64::MAX);
            let _is_acknowledged_all_the_same = desk.charge(own, command.device, 1, now_ms);
        }
        self.command_acknowledged(now, command.device, command.number);
    }

    /// A packet that says nothing but that the device is there.
    fn device_is_alive(&mut self, at: Turnstile) {
        let Turnstile { now, conn, .. } = at;
        let Some(mut end) = self.lend_end(conn) else { return };
        let mut out = self.outcome();
        self.hear_own(now, conn, &mut end, Uplink::Alive, &mut out);
        self.return_end(conn, end);
        self.settle(now, out, Cause::TakenOver);
    }

    /// Takes a connection's end out of its place.
    pub(crate) fn lend_end(&mut self, conn: ConnId) -> Option<Box<DeviceEnd>> {
        self.connections.get_mut(conn)?.device.take()
    }

    /// Puts it back.
    pub(crate) fn return_end(&mut self, conn: ConnId, end: Box<DeviceEnd>) {
        match self.connections.get_mut(conn) {
            Some(connection) => connection.device = Some(end),
            // The connection has ended meanwhile.
            None => self.desk().parted.push(*end),
        }
    }
}

/// What became of a part of a message changes how the message is answered.
fn amend(answer: &mut Answer, heard: Heard) {
    match heard {
        Heard::Well => {}
        Heard::Not(code) => answer.acknowledge = answer.acknowledge.map(|_| code),
        Heard::NotBecause(code, why) => {
            answer.acknowledge = answer.acknowledge.map(|_| code);
            answer.why = Some(why.into());
        }
        Heard::Ends(code) => *answer = Answer::acknowledged_and_ended(code),
        Heard::Breaks(code) => *answer = Answer::ended(code),
    }
}

/// What the hub of this core has not taken is answered so, unless there is worse to say.
fn mind_refusals(answer: &mut Answer, out: &mut Outcome) {
    let refusal = out.refused.drain(..).next().map(|(_, _, refusal)| refusal);
    let is_well = answer.acknowledge.is_some_and(|code| !code.is_failure());
    if let Some(refusal) = refusal.filter(|_| is_well) {
        answer.acknowledge = Some(refusal.reason());
        answer.why = Some(refusal.text().into());
    }
}
