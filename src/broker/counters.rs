//! What one core counts. Plain numbers: one core owns them, and `$SYS` and the metrics sum the cores.
//!
//! Invariants:
//! - Every way in which a message can be dropped has a counter of its own.

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident: $kind:ident,)*) => {
        /// The counters and gauges of one core.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Counters { $($(#[$doc])* pub $name: u64,)* }

        impl Counters {
            /// Adds those of another core.
            pub fn add(&mut self, other: &Counters) {
                $(self.$name = self.$name.wrapping_add(other.$name);)*
            }

            /// Name, kind and value of each, in the order of the source.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, CounterKind, u64)> {
                [$((stringify!($name), CounterKind::$kind, self.$name),)*].into_iter()
            }
        }
    };
}

/// Whether a number only grows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CounterKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

counters! {
    /// Connections accepted.
    connections_accepted: Counter,
    /// Connections refused before a CONNECT was read, by a limit.
    connections_refused: Counter,
    /// Connections closed because no CONNECT came in time.
    connect_timeouts: Counter,
    /// Times that a listening socket was left alone for a moment, for want of descriptors or memory; counted by whoever
    /// accepts.
    accept_pauses: Counter,
    /// CONNECTs refused.
    connects_refused: Counter,
    /// CONNECTs whose client had to be asked about elsewhere.
    authentications_asked: Counter,
    /// CONNECTs refused because of who the client is, or claims to be.
    authentications_refused: Counter,
    /// CONNECTs refused because too many questions about clients were open.
    authentications_busy: Counter,
    /// Questions about clients that are open now.
    authentications_open: Gauge,
    /// Connections closed because what let the client in has run out.
    rights_expired: Counter,
    /// Connections open now, in the lobby or at home.
    connections_open: Gauge,
    /// Clients connected now.
    clients_connected: Gauge,
    /// Sessions that exist now, connected or not.
    sessions: Gauge,
    /// Sessions that ended by their expiry.
    sessions_expired: Counter,
    /// Connections closed because a second CONNECT used the client id.
    takeovers: Counter,
    /// CONNECTs refused because their client id changes hands too often.
    takeovers_refused: Counter,
    /// CONNECTs refused because there are too many sessions.
    sessions_refused: Counter,
    /// Connections closed because whoever looks after their clients has changed or deleted them.
    clients_sent_away: Counter,
    /// Messages that were interpreted rather than routed by their topics.
    messages_interpreted: Counter,
    /// Those of them that were not understood or not taken.
    messages_not_understood: Counter,
    /// Times that such a message was left for later, because its client says too much.
    messages_postponed: Counter,
    /// Messages and subscriptions of devices that were done without, because they say too much: below 5.0 after they were
    /// left unread for as long as may be, and over HTTP at once.
    dropped_over_rate: Counter,
    /// CONNECTs of devices that were refused because they have said too much.
    connects_over_rate: Counter,
    /// Devices whose rates were forgotten before all that they had spent was back, because too many are remembered.
    allowances_forgotten: Counter,
    /// Commands for which there were no words.
    commands_unspeakable: Counter,
    /// Children that gateways were not allowed to speak for.
    children_refused: Counter,
    /// Calls of devices that were answered at once, because too many of them wait for nobody.
    calls_refused: Counter,
    /// Values of devices that were not taken, because their keys are too many.
    facts_refused: Counter,
    /// Values of devices that were not taken, because the bytes of their keys and values are too many.
    facts_too_large: Counter,
    /// Connections and writes of devices that were not taken, because too many devices are known.
    devices_refused: Counter,
    /// Bytes of packages that are on their way to devices, in parts above 64 KiB.
    package_bytes_under_way: Gauge,
    /// Devices that wait until such a part may be sent to them.
    packages_waiting: Gauge,
    /// Times that such a part had to wait.
    packages_postponed: Counter,
    /// Parts that were refused: the device asks for more than one at a time, or takes no packet so large.
    packages_refused: Counter,
    /// Requests for credentials that were granted.
    provisionings_granted: Counter,
    /// Requests for credentials that were not.
    provisionings_refused: Counter,
    /// Certificate chains whose signatures were looked at, because nobody knew the device.
    chains_checked: Counter,
    /// Certificate chains with a known authority of which nothing came: forged, out of date, or no device's.
    chains_refused: Counter,
    /// Connections closed by a violation.
    violations: Counter,
    /// Connections closed by a packet above the largest packet, or above what may come before the CONNECT is accepted.
    packets_too_large: Counter,
    /// Connections closed by a topic or a filter with too many levels.
    topics_too_deep: Counter,
    /// Connections closed by more open QoS 2 messages than were allowed.
    receive_maximum_exceeded: Counter,
    /// Connections closed because a client read too little, or sent too much behind a SUBSCRIBE.
    clients_evicted: Counter,
    /// Connections closed by a fault below MQTT: TLS, WebSocket, PROXY header.
    coat_faults: Counter,
    /// Connections closed by their keep alive.
    keep_alive_timeouts: Counter,
    /// Connections closed because their listener lets nobody be silent for so long.
    idle_timeouts: Counter,
    /// Packets received.
    packets_received: Counter,
    /// Packets sent.
    packets_sent: Counter,
    /// Bytes received.
    bytes_received: Counter,
    /// Bytes handed to the socket.
    bytes_sent: Counter,
    /// PUBLISH packets received.
    publish_received: Counter,
    /// Payload bytes of PUBLISH packets received.
    publish_bytes_received: Counter,
    /// Times that a client was left unread because it had published too many messages.
    publish_rate_waits: Counter,
    /// Times that a client was left unread because it had published too many bytes.
    publish_bytes_rate_waits: Counter,
    /// Clients that are left unread for that now.
    clients_waiting: Gauge,
    /// PUBLISH packets sent.
    publish_sent: Counter,
    /// Payload bytes of PUBLISH packets sent.
    publish_bytes_sent: Counter,
    /// QoS 0 messages dropped because the receiver reads too slowly.
    dropped_slow_consumer: Counter,
    /// QoS 0 messages not kept because the receiver is away.
    dropped_offline_qos0: Counter,
    /// QoS 1 and 2 messages dropped because the receiver's queue is full.
    dropped_queue_full: Counter,
    /// Messages dropped because they expired.
    dropped_expired: Counter,
    /// Messages dropped because they exceed the receiver's Maximum Packet Size.
    dropped_too_large: Counter,
    /// Messages that waited or were sent before, and that their receiver may not have any more.
    dropped_barred: Counter,
    /// Messages refused: not authorised, reserved topic, quota, payload format, or a topic that no packet can carry.
    dropped_refused: Counter,
    /// Messages refused or not retained because the store has no space.
    dropped_store_full: Counter,
    /// Queued messages that were not found on disk when their turn came.
    dropped_unreadable: Counter,
    /// Messages that were waiting for a session that ended.
    dropped_session_ended: Counter,
    /// Messages waiting in queues now, inflight not counted.
    queued_messages: Gauge,
    /// Bytes of those.
    queued_bytes: Gauge,
    /// Those of the queued messages that are on disk only.
    spilled_messages: Gauge,
    /// Bytes of those.
    spilled_bytes: Gauge,
    /// Bytes handed to the store and not synced yet.
    unsynced_bytes: Gauge,
    /// Messages inflight towards clients now.
    inflight_messages: Gauge,
    /// Subscriptions now, shared ones included.
    subscriptions: Gauge,
    /// Shared subscriptions now.
    shared_subscriptions: Gauge,
    /// Filters refused because their client has too many subscriptions or says too much, or the store has no space.
    subscriptions_refused: Counter,
    /// Retained messages in this core's replica.
    retained_messages: Gauge,
    /// Bytes of those.
    retained_bytes: Gauge,
    /// Messages refused because there are too many retained ones.
    retained_refused: Counter,
    /// Wills published.
    wills_published: Counter,
    /// Route cache hits.
    route_hits: Counter,
    /// Route cache misses.
    route_misses: Counter,
    /// Messages sent to other cores.
    parcels_sent: Counter,
    /// Batches sent to other cores.
    batches_sent: Counter,
    /// Times that the core entered the kernel to hand over work or fetch it; filled in by whoever drives the core.
    kernel_entries: Counter,
    /// Waits in which a busy core let messages gather; filled in by whoever drives the core.
    gathering_waits: Counter,
}

impl Counters {
    /// A message of this cost joined a queue.
    pub(crate) fn queue_grew(&mut self, cost_bytes: usize) {
        self.queued_messages += 1;
        self.queued_bytes += bytes(cost_bytes);
    }

    /// A message of this cost left a queue.
    pub(crate) fn queue_shrank(&mut self, cost_bytes: usize) {
        self.queued_messages -= 1;
        self.queued_bytes -= bytes(cost_bytes);
    }

    /// Messages dropped, for whatever reason.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.each().filter(|(name, _, _)| name.starts_with("dropped_")).map(|(_, _, value)| value).sum()
    }
}

fn bytes(count: usize) -> u64 {
    u64::try_from(count).expect("a length fits 64 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_two_cores_counts_both_and_every_drop() {
        let mut a = Counters { dropped_expired: 2, sessions: 1, ..Counters::default() };
        let b = Counters { dropped_offline_qos0: 3, sessions: 4, ..Counters::default() };
        a.add(&b);
        assert_eq!((a.dropped(), a.sessions), (5, 5));
        assert!(a.each().any(|(name, kind, _)| name == "sessions" && kind == CounterKind::Gauge));
    }
}
