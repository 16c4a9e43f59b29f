//! Carrying out what the mind has decided.
//!
//! Why in this order: what must be written down goes to the store before anybody can act on it; a connection that leaves
//! takes nothing of this core with it; sends come before closes, so that what was taken out goes first; batches come last,
//! when all of this core's own work stands.
//!
//! Invariants:
//! - All effects of a turn are carried out in it, or kept by somebody who will be asked again.

use broker::{Batch, CoreId};
use shard::{Arrival, Closing, ConnId, Moved, Pace};
use stdx::Instant;

use super::sockets::Stage;
use super::turn::Driver;
use crate::mind::Mind;
use crate::ring::Slot;

impl<M: Mind> Driver<M> {
    pub(super) fn carry_out(&mut self, now: Instant) {
        let mut effects = std::mem::take(&mut self.desk.effects);
        std::mem::swap(&mut effects, self.mind.effects());
        if let Some(journal) = &self.journal {
            if let Some(written) = effects.written.take() {
                journal.write(written, std::mem::take(&mut effects.device_changes));
            }
            assert!(effects.device_changes.is_empty(), "changes of devices belong to a turn that is written");
            effects.fetches.drain(..).for_each(|fetch| journal.fetch(fetch));
        }
        effects.device_changes.clear();
        if let Some(door) = &self.door {
            effects.questions.drain(..).for_each(|question| door.ask(question));
        }
        effects.adopted.drain(..).for_each(|conn| self.settle(conn));
        effects.moved.drain(..).for_each(|moved| self.ship(moved));
        self.send_unsent();
        effects.dirty.drain(..).for_each(|conn| self.send_out(conn));
        effects.paces.drain(..).for_each(|(conn, pace)| self.set_pace(conn, pace));
        effects.closing.drain(..).for_each(|closing| self.say_goodbye(now, closing));
        self.sockets.end_turn();
        self.desk.owing = false;
        effects.batches.drain(..).for_each(|(to, batch)| self.hand_over(to, batch));
        effects.device_replies.drain(..).for_each(|(call, reply)| self.callers.answer(call, reply));
        effects.news.drain(..).for_each(|news| self.callers.tell(news));
        effects.notices.drain(..).for_each(|notice| self.notices.report(now, &notice));
        self.listen();
        self.desk.effects = effects;
    }

    fn settle(&mut self, conn: ConnId) {
        let Some(slot) = self.sockets.slot_of(conn) else { return };
        let Some(socket) = self.sockets.find(slot) else { return };
        socket.stage = Stage::Home;
        self.desk.listening.push(slot);
    }

    fn set_pace(&mut self, conn: ConnId, pace: Pace) {
        let Some(slot) = self.sockets.slot_of(conn) else { return };
        let Some(socket) = self.sockets.find(slot) else { return };
        socket.paused = pace == Pace::Pause;
        if pace == Pace::Go {
            self.desk.listening.push(slot);
        }
    }

    fn ship(&mut self, moved: Moved) {
        let Moved { conn, to, arrival } = moved;
        let Some(slot) = self.sockets.slot_of(conn) else { return };
        let Some(socket) = self.sockets.find(slot) else { return };
        assert!(socket.stage == Stage::Lobby);
        if socket.sending {
            // The last words of a handshake: no other core could tell when they have left.
            socket.stage = Stage::Moving;
            return self.desk.moving.push((slot, to, arrival));
        }
        self.hand_on(slot, to, arrival);
    }

    fn hand_on(&mut self, slot: Slot, to: CoreId, arrival: Box<Arrival>) {
        let socket = self.sockets.remove(slot);
        self.mesh.send_arrival(to, socket.fd, arrival);
    }

    /// A connection that waited for its last send leaves now.
    pub(super) fn go_on_moving(&mut self, slot: Slot) {
        let Some(index) = self.desk.moving.iter().position(|(moving, _, _)| *moving == slot) else { return };
        let (slot, to, arrival) = self.desk.moving.swap_remove(index);
        self.hand_on(slot, to, arrival);
    }

    fn say_goodbye(&mut self, now: Instant, closing: Closing) {
        let Some(slot) = self.sockets.slot_of(closing.conn) else { return };
        self.part(now, slot, closing.last);
    }

    fn hand_over(&mut self, to: CoreId, batch: Batch) {
        if let Err(batch) = self.mesh.send_batch(to, batch) {
            self.mind.return_batch(to, batch);
            self.desk.owing = true;
        }
    }
}
