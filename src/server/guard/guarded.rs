//! A mind behind the guard: connections are judged before the mind hears of them, and counted until it forgets them.
//!
//! Why around the mind: every way in which a connection begins, moves or ends passes through its methods, whichever socket
//! is behind it.
//!
//! Invariants:
//! - A connection that was let in is taken back once: by the core on which it ends.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use broker::{Batch, Change, CoreId, Fetched, Level, Notice, NoticeKind, StoreHealth};
use shard::{Accepted, Arrival, Call, ConnId, Effects, Reply};
use stdx::Instant;

use super::turnstile::Guard;
use crate::mind::Mind;

/// The mind, the guard, and who is inside.
pub(crate) struct Guarded<M> {
    mind: M,
    guard: Arc<Guard>,
    inside: HashMap<ConnId, Guest>,
}

/// Through which listener a connection came, and from where.
#[derive(Clone, Copy)]
struct Guest {
    listener: u16,
    ip: IpAddr,
}

impl<M: Mind> Guarded<M> {
    /// `mind` behind `guard`, who may stand at other doors too.
    pub(crate) fn new(mind: M, guard: Arc<Guard>) -> Self {
        Self { mind, guard, inside: HashMap::new() }
    }

    fn let_in(&mut self, conn: Option<ConnId>, guest: Guest) -> Option<ConnId> {
        match conn {
            Some(conn) => {
                self.inside.insert(conn, guest);
            }
            None => self.guard.leave(guest.listener, guest.ip),
        }
        conn
    }

    fn take_back(&mut self, conn: ConnId) {
        if let Some(guest) = self.inside.remove(&conn) {
            self.guard.leave(guest.listener, guest.ip);
        }
    }
}

impl<M: Mind> Mind for Guarded<M> {
    fn handle_accepted(&mut self, now: Instant, accepted: Accepted) -> Option<ConnId> {
        let guest = Guest { listener: accepted.listener.0, ip: accepted.peer.ip() };
        if let Err(turned) = self.guard.arrive(guest.listener, guest.ip, now) {
            let text = format!("connection from {} turned away: {turned}", accepted.peer);
            self.mind.effects().notices.push(Notice { level: Level::Warn, kind: NoticeKind::Limit, text });
            return None;
        }
        let conn = self.mind.handle_accepted(now, accepted);
        self.let_in(conn, guest)
    }

    fn handle_arrival(&mut self, now: Instant, arrival: Arrival) -> Option<ConnId> {
        let guest = Guest { listener: arrival.listener.0, ip: arrival.peer.ip() };
        let conn = self.mind.handle_arrival(now, arrival);
        self.let_in(conn, guest)
    }

    fn handle_gone(&mut self, now: Instant, conn: ConnId) {
        self.mind.handle_gone(now, conn);
        self.take_back(conn);
    }

    fn end_turn(&mut self, now: Instant) {
        self.mind.end_turn(now);
        for moved in &self.mind.effects().moved {
            self.inside.remove(&moved.conn);
        }
        let closing: Vec<ConnId> = self.mind.effects().closing.iter().map(|closing| closing.conn).collect();
        closing.into_iter().for_each(|conn| self.take_back(conn));
    }

    fn handle_bytes(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) {
        self.mind.handle_bytes(now, conn, bytes);
    }

    fn handle_sent(&mut self, now: Instant, conn: ConnId, count: usize) {
        self.mind.handle_sent(now, conn, count);
    }

    fn handle_batch(&mut self, now: Instant, from: CoreId, batch: Batch) {
        self.mind.handle_batch(now, from, batch);
    }

    fn handle_timers(&mut self, now: Instant) {
        self.mind.handle_timers(now);
    }

    fn handle_call(&mut self, call: Call) -> Reply {
        self.mind.handle_call(call)
    }

    fn handle_shutdown(&mut self, now: Instant) {
        self.mind.handle_shutdown(now);
    }

    fn effects(&mut self) -> &mut Effects {
        self.mind.effects()
    }

    fn take_out(&mut self, conn: ConnId, spare: Vec<u8>) -> Vec<u8> {
        self.mind.take_out(conn, spare)
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.mind.next_deadline()
    }

    fn is_congested(&self) -> bool {
        self.mind.is_congested()
    }

    fn return_batch(&mut self, to: CoreId, batch: Batch) {
        self.mind.return_batch(to, batch);
    }

    fn connections(&self) -> usize {
        self.mind.connections()
    }

    fn is_metered(&self) -> bool {
        self.mind.is_metered()
    }

    fn handle_durable(&mut self, now: Instant, turn: u64) {
        self.mind.handle_durable(now, turn);
    }

    fn handle_fetched(&mut self, now: Instant, fetched: Fetched) {
        self.mind.handle_fetched(now, fetched);
    }

    fn handle_store_health(&mut self, now: Instant, health: StoreHealth) {
        self.mind.handle_store_health(now, health);
    }

    fn restore(&mut self, changes: &[Change]) {
        self.mind.restore(changes);
    }

    fn finish_restore(&mut self, now: Instant) {
        self.mind.finish_restore(now);
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use shard::{ListenerId, Settings, Setup, Shard};
    use stdx::WallMs;

    use super::*;
    use crate::config::Config;
    use crate::guard::Rules;

    const NOW: Instant = Instant::START;

    fn guarded(core: u16, guard: &Arc<Guard>) -> Guarded<Shard> {
        let settings = Arc::new(Settings { sys_interval_s: 0, ..Settings::default() });
        let setup = Setup { core: CoreId::new(core), cores: 2, seed: 1, settings, wall: WallMs(0) };
        Guarded::new(Shard::new(setup, NOW), Arc::clone(guard))
    }

    fn open(guard: &Guard) -> u32 {
        guard.tally().open[0]
    }

    fn accept(guarded: &mut Guarded<Shard>) -> Option<ConnId> {
        let peer = SocketAddr::from(([192, 0, 2, 1], 9));
        guarded.handle_accepted(NOW, Accepted { listener: ListenerId(0), peer })
    }

    #[test]
    fn a_connection_is_counted_until_it_ends_on_whichever_core_and_however() {
        let guard = Arc::new(Guard::new(Rules::of(&Config::default(), 3)));
        let mut minds = [guarded(0, &guard), guarded(1, &guard)];
        let home = CoreId::home_of(b"a", 2).index();
        let away = 1 - home;
        let conns = [(); 3].map(|()| accept(&mut minds[away]).unwrap());
        assert_eq!((accept(&mut minds[away]), open(&guard)), (None, 3));
        let told = minds[away].effects().notices.pop().unwrap().text;
        assert_eq!(told, "connection from 192.0.2.1:9 turned away: too many connections");

        minds[away].handle_bytes(NOW, conns[0], b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a");
        minds[away].handle_bytes(NOW, conns[1], b"\xc0\x00");
        minds[away].end_turn(NOW);
        assert_eq!(open(&guard), 2, "the second was closed");
        minds[away].handle_gone(NOW, conns[1]);
        minds[away].handle_gone(NOW, conns[2]);
        assert_eq!(open(&guard), 1, "the third is gone, the first moves");
        let moved = minds[away].effects().moved.pop().unwrap();
        let conn = minds[home].handle_arrival(NOW, *moved.arrival).unwrap();
        minds[home].end_turn(NOW);
        assert_eq!(open(&guard), 1);
        minds[home].handle_gone(NOW, conn);
        minds[home].end_turn(NOW);
        assert_eq!(open(&guard), 0);
    }
}
