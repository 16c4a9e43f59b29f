//! What devices say about themselves: most of it goes to the hub, some to the registry or to whoever is outside.
//!
//! Invariants:
//! - A device speaks to the hub of its own core, because its connection is at home there.
//! - What the registry changed is on its way to the store before anything rests on it.

use broker::{Level, NoticeKind};
use device::{
    Addressed, Change, Cookie, DeviceId, Downlink, Keeping, News, Outcome, PROVISIONED_STAY_MS,
    ProvisionReply, ProvisionRequest, Remark, Subject, Uplink,
};
use mqtt::ReasonCode;
use stdx::{Instant, Span};

use super::end::DeviceEnd;
use super::packages::Wish;
use crate::effects::ConnId;
use crate::shard::Shard;

/// Of a device that is not there yet.
const NOBODY: DeviceId = DeviceId::from_bytes([0; 16]);
/// Calls of one connection that wait although nobody answers them.
const VAIN_CALLS_MAX: usize = 100;

/// What became of a remark.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Heard {
    Well,
    /// It was not taken, and that is told so.
    Not(ReasonCode),
    /// As above, with why.
    NotBecause(ReasonCode, &'static str),
    /// It was not taken, and the connection ends.
    Ends(ReasonCode),
    /// It was not taken, and the connection ends without another answer.
    Breaks(ReasonCode),
}

impl Shard {
    /// Hears a remark. `is_awaited` says whether an acknowledgement waits until it is kept.
    pub(crate) fn hear(
        &mut self,
        now: Instant,
        conn: ConnId,
        end: &mut DeviceEnd,
        remark: Remark<'_>,
        is_awaited: bool,
        out: &mut Outcome,
    ) -> Heard {
        match remark.subject {
            Subject::Own => self.hear_own(now, conn, end, remark.uplink, out),
            Subject::Child(name) => self.hear_child(now, end, &name, remark.uplink, is_awaited, out),
        }
    }

    /// As [`Shard::hear`], for whoever keeps the room of what was said: what is measured is read where it is.
    pub(crate) fn heed(
        &mut self,
        now: Instant,
        conn: ConnId,
        end: &mut DeviceEnd,
        remark: &mut Remark<'_>,
        is_awaited: bool,
        out: &mut Outcome,
    ) -> Heard {
        let own = end.own.as_ref().filter(|own| remark.subject == Subject::Own && !own.speaks_for_all);
        if let (Some(own), Uplink::Telemetry(_) | Uplink::Attributes(_)) = (own, &remark.uplink) {
            let now_ms = self.wall_ms(now);
            let desk = self.desk();
            desk.told += values_kept(&remark.uplink, own.keeping);
            desk.hub.heed(own.id, end.ear, &remark.uplink, now_ms, out);
            return Heard::Well;
        }
        let said = std::mem::replace(remark, Remark { subject: Subject::Own, uplink: Uplink::Alive });
        self.hear(now, conn, end, said, is_awaited, out)
    }

    /// Hears what a device says about itself.
    pub(crate) fn hear_own(
        &mut self,
        now: Instant,
        conn: ConnId,
        end: &mut DeviceEnd,
        uplink: Uplink<'_>,
        out: &mut Outcome,
    ) -> Heard {
        let (now_ms, ear) = (self.wall_ms(now), end.ear);
        let Some(own) = &end.own else {
            return match uplink {
                Uplink::Provision(request) => self.provision(now, conn, end, &request, out),
                _nothing_else_is_heard_of_nobody => Heard::Well,
            };
        };
        let (device, keeping, speaks_for_all) = (own.id, own.keeping, own.speaks_for_all);
        let mut heard = Heard::Well;
        let uplink = match uplink {
            Uplink::ChunkWanted(wanted) => {
                heard = self.chunk_wanted(now, conn, Wish { ear, device, wanted }, out);
                Uplink::Alive
            }
            Uplink::CalledInVain { cookie, wait_ms } => {
                let waits_until = now + Span::from_ms(wait_ms.into());
                if let Some(downlink) = self.wait_in_vain(conn, end, (waits_until, cookie)) {
                    out.downlinks.push(Addressed { ear, device, downlink });
                }
                Uplink::Alive
            }
            Uplink::Called { cookie, method, params } => {
                let (method, params) = (method.into(), params.into());
                self.effects.news.push(News::Called { device, ear, cookie, method, params });
                Uplink::Alive
            }
            uplink => uplink,
        };
        let desk = self.desk();
        desk.told += values_kept(&uplink, keeping);
        desk.hub.hear(device, ear, uplink, now_ms, out);
        if speaks_for_all {
            self.hear_for_all(now_ms, end, out);
        }
        heard
    }

    /// Lets a call wait that nobody answers; at once it is told so only if too many do. A second call of one number is
    /// answered with the first.
    fn wait_in_vain(
        &mut self,
        conn: ConnId,
        end: &mut DeviceEnd,
        (until, cookie): (Instant, Cookie),
    ) -> Option<Downlink> {
        let vain_calls = &mut end.seldom.get_or_insert_default().vain_calls;
        if vain_calls.iter().any(|(_, waiting)| *waiting == cookie) {
            return None;
        }
        if vain_calls.len() >= VAIN_CALLS_MAX {
            self.exchange.counters_mut().calls_refused += 1;
            return Some(Downlink::CallAnswered { cookie, answer: Err("too many calls wait".into()) });
        }
        // One entry of the wheel for a connection: those behind the first come in its order.
        if vain_calls.is_empty() {
            self.desk().stays.insert(until, conn);
        }
        vain_calls.push_back((until, cookie));
        None
    }

    fn provision(
        &mut self,
        now: Instant,
        conn: ConnId,
        end: &mut DeviceEnd,
        request: &ProvisionRequest<'_>,
        out: &mut Outcome,
    ) -> Heard {
        let now_ms = self.wall_ms(now);
        let mut chance = self.chance();
        let mut reply = ProvisionReply::Failed;
        let mut changed: Vec<Change> = Vec::new();
        self.desk().registry.change(&mut |registry, changes| {
            let before = changes.len();
            reply = registry.provision(request, now_ms, &mut chance, changes);
            changed.extend_from_slice(&changes[before..]);
        });
        self.note_registered(&changed);
        self.tell_home_of_facts(now, changed);
        if reply == ProvisionReply::Broken {
            return Heard::Ends(ReasonCode::ImplementationSpecificError);
        }
        if end.leaves_at == Instant::NEVER {
            let leaves_at = now + Span::from_ms(u64::try_from(PROVISIONED_STAY_MS).unwrap_or(0));
            end.leaves_at = leaves_at;
            self.desk().stays.insert(leaves_at, conn);
        }
        let is_granted = matches!(reply, ProvisionReply::Granted(_));
        self.exchange.counters_mut().provisionings_granted += u64::from(is_granted);
        self.exchange.counters_mut().provisionings_refused += u64::from(!is_granted);
        if !is_granted {
            let name = request.name.as_deref().unwrap_or_default();
            let text = format!("device {name:?} was not provisioned");
            self.exchange.notice(Level::Info, NoticeKind::Refused, text);
        }
        let downlink = Downlink::Provisioned(reply);
        out.downlinks.push(Addressed { ear: end.ear, device: NOBODY, downlink });
        Heard::Well
    }
}

/// How many values of telemetry the hub may keep of this.
pub(crate) fn values_kept(uplink: &Uplink<'_>, keeping: Keeping) -> usize {
    match uplink {
        Uplink::Telemetry(samples) if keeping != Keeping::Forward => samples.len(),
        _others_are_never_gathered => 0,
    }
}
