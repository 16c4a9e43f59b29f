//! What the driver asks of the thing that it drives.
//!
//! Why a trait: the driver moves bytes and must be testable, and its cost measurable, without a broker behind it. The
//! release binary is monomorphic in [`shard::Shard`], so the trait costs nothing.
//!
//! Invariants:
//! - Methods are called on one thread, and effects are carried out before the next event.

use std::sync::Arc;

use broker::{Batch, Change, CoreId, Fetched, StoreHealth};
use device::{DeviceId, HubCall};
use shard::{Accepted, Answer, Arrival, Call, ConnId, Effects, Reply, Shard};
use stdx::Instant;
use wire::Wardrobe;

/// One core's mind: [`shard::Shard`], or a stand-in that echoes.
pub trait Mind: 'static {
    /// A connection was accepted here. `None` refuses it: its socket is closed at once.
    fn handle_accepted(&mut self, now: Instant, accepted: Accepted) -> Option<ConnId>;
    /// A connection came from another core. `None` refuses it.
    fn handle_arrival(&mut self, now: Instant, arrival: Arrival) -> Option<ConnId>;
    /// Bytes of the connection's stream, cut anywhere.
    fn handle_bytes(&mut self, now: Instant, conn: ConnId, bytes: &[u8]);
    /// The socket took `count` of the bytes fetched with `take_out`.
    fn handle_sent(&mut self, now: Instant, conn: ConnId, count: usize);
    /// The peer is gone.
    fn handle_gone(&mut self, now: Instant, conn: ConnId);
    /// A batch from another core.
    fn handle_batch(&mut self, now: Instant, from: CoreId, batch: Batch);
    /// Fires the timers that are due.
    fn handle_timers(&mut self, now: Instant);
    /// Answers the control plane.
    fn handle_call(&mut self, call: Call) -> Reply;
    /// Begins the graceful end.
    fn handle_shutdown(&mut self, now: Instant);
    /// Completes `effects`.
    fn end_turn(&mut self, now: Instant);
    /// What must be done after the turn.
    fn effects(&mut self) -> &mut Effects;
    /// Swaps the connection's out buffer for `spare`, which is empty.
    fn take_out(&mut self, conn: ConnId, spare: Vec<u8>) -> Vec<u8>;
    /// When `handle_timers` must be called at the latest.
    fn next_deadline(&self) -> Option<Instant>;
    /// Whether received bytes must wait.
    fn is_congested(&self) -> bool;
    /// A batch could not be handed over; it leads the next one for that core.
    fn return_batch(&mut self, to: CoreId, batch: Batch);
    /// Connections that are still open.
    fn connections(&self) -> usize;
    /// Whether connections must be received from once at a time, because the mind may want one to be left unread.
    fn is_metered(&self) -> bool {
        false
    }

    /// Packets that were read of clients so far, if the mind knows packets.
    fn packets_read(&self) -> u64 {
        0
    }

    /// What was found out about a client that waits. Only where somebody is asked.
    fn handle_answer(&mut self, _now: Instant, _conn: ConnId, _answer: Answer) {}
    /// What new connections wear from now on, by listener.
    fn handle_wardrobes(&mut self, _now: Instant, _wardrobes: Arc<[Wardrobe]>) {}
    /// Everything that this core had written up to that turn is durable. As all below: only where there is a store.
    fn handle_durable(&mut self, _now: Instant, _turn: u64) {}
    /// Queued messages that were asked for.
    fn handle_fetched(&mut self, _now: Instant, _fetched: Fetched) {}
    /// Whether the store keeps anything new.
    fn handle_store_health(&mut self, _now: Instant, _health: StoreHealth) {}
    /// Takes over some of what an earlier process kept, before the first event.
    fn restore(&mut self, _changes: &[Change]) {}
    /// As above, of devices whose home is here; the registry is complete by then.
    fn restore_devices(&mut self, _changes: &[device::Change]) {}
    /// Somebody asks about a device that is at home here, or wants something of it; the reply stands in the effects under
    /// the same number when what it tells is safe.
    fn handle_device_call(&mut self, _now: Instant, _call_id: u64, _device: DeviceId, _call: HubCall) {}
    /// There is nothing more to take over. Also called where there was nothing.
    fn finish_restore(&mut self, _now: Instant) {}
}

impl Mind for Shard {
    fn handle_accepted(&mut self, now: Instant, accepted: Accepted) -> Option<ConnId> {
        Shard::handle_accepted(self, now, accepted).ok()
    }

    fn handle_arrival(&mut self, now: Instant, arrival: Arrival) -> Option<ConnId> {
        Shard::handle_arrival(self, now, arrival).ok()
    }

    fn handle_bytes(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) {
        Shard::handle_bytes(self, now, conn, bytes);
    }

    fn handle_sent(&mut self, now: Instant, conn: ConnId, count: usize) {
        Shard::handle_sent(self, now, conn, count);
    }

    fn handle_gone(&mut self, now: Instant, conn: ConnId) {
        Shard::handle_gone(self, now, conn);
    }

    fn handle_batch(&mut self, now: Instant, from: CoreId, batch: Batch) {
        Shard::handle_batch(self, now, from, batch);
    }

    fn handle_answer(&mut self, now: Instant, conn: ConnId, answer: Answer) {
        Shard::handle_answer(self, now, conn, answer);
    }

    fn packets_read(&self) -> u64 {
        self.counters().packets_received
    }

    fn handle_wardrobes(&mut self, now: Instant, wardrobes: Arc<[Wardrobe]>) {
        Shard::handle_wardrobes(self, now, wardrobes);
    }

    fn handle_durable(&mut self, now: Instant, turn: u64) {
        Shard::handle_durable(self, now, turn);
    }

    fn handle_fetched(&mut self, now: Instant, fetched: Fetched) {
        Shard::handle_fetched(self, now, fetched);
    }

    fn handle_store_health(&mut self, now: Instant, health: StoreHealth) {
        Shard::handle_store_health(self, now, health);
    }

    fn restore(&mut self, changes: &[Change]) {
        Shard::restore(self, changes);
    }

    fn restore_devices(&mut self, changes: &[device::Change]) {
        Shard::restore_devices(self, changes);
    }

    fn handle_device_call(&mut self, now: Instant, call_id: u64, device: DeviceId, call: HubCall) {
        Shard::handle_device_call(self, now, call_id, device, call);
    }

    fn finish_restore(&mut self, now: Instant) {
        Shard::finish_restore(self, now);
    }

    fn handle_timers(&mut self, now: Instant) {
        Shard::handle_timers(self, now);
    }

    fn handle_call(&mut self, call: Call) -> Reply {
        Shard::handle_call(self, call)
    }

    fn handle_shutdown(&mut self, now: Instant) {
        Shard::handle_shutdown(self, now);
    }

    fn end_turn(&mut self, now: Instant) {
        Shard::end_turn(self, now);
    }

    fn effects(&mut self) -> &mut Effects {
        Shard::effects(self)
    }

    fn take_out(&mut self, conn: ConnId, spare: Vec<u8>) -> Vec<u8> {
        Shard::take_out(self, conn, spare)
    }

    fn next_deadline(&self) -> Option<Instant> {
        Shard::next_deadline(self)
    }

    fn is_congested(&self) -> bool {
        Shard::is_congested(self)
    }

    fn return_batch(&mut self, to: CoreId, batch: Batch) {
        Shard::return_batch(self, to, batch);
    }

    fn connections(&self) -> usize {
        Shard::connections(self)
    }

    fn is_metered(&self) -> bool {
        Shard::is_metered(self)
    }
}
