//! What a run shall do, after the options have been checked.
//!
//! Why apart from the options: `compare` and the tests build plans too, and the engine must not know a command line.
//!
//! Invariants:
//! - Payloads have room for a stamp, and every count is at least one.

use std::net::{IpAddr, SocketAddr};

use super::topology::Topology;
use crate::codec::{Credentials, Qos, Version};

/// How to reach the broker and who to be.
#[derive(Clone, Debug)]
pub(crate) struct Ends {
    /// The broker.
    pub(crate) broker: SocketAddr,
    /// Source addresses, used in turn; empty leaves the choice to the kernel.
    pub(crate) sources: Vec<IpAddr>,
    /// Protocol version.
    pub(crate) version: Version,
    /// User name and password.
    pub(crate) credentials: Credentials,
    /// Seconds; 0 turns keep-alive off.
    pub(crate) keep_alive_s: u16,
    /// First part of every client id.
    pub(crate) prefix: String,
    /// Between two connects of the whole run; 0 goes as fast as the broker answers.
    pub(crate) connect_gap_ns: u64,
    /// Processors for the threads, in turn; empty leaves the choice to the scheduler.
    pub(crate) processors: Vec<usize>,
}

/// What decides when a publisher sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pace {
    /// A fixed timetable: one message per publisher every so many nanoseconds.
    Open {
        /// Between two messages of one publisher.
        interval_ns: u64,
    },
    /// At most so many messages per publisher that its subscribers have not received.
    Closed {
        /// Messages.
        window: u64,
    },
}

/// A load.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Broker and clients.
    pub(crate) ends: Ends,
    /// Who publishes to whom.
    pub(crate) topology: Topology,
    /// Topic template; without one nobody subscribes, which only idle connections may want.
    pub(crate) topic: Option<String>,
    /// Bytes of payload.
    pub(crate) payload_bytes: usize,
    /// QoS of publishers.
    pub(crate) publish_qos: Qos,
    /// QoS that subscribers ask for.
    pub(crate) subscribe_qos: Qos,
    /// When to send.
    pub(crate) pace: Pace,
    /// Unacknowledged QoS 1 and 2 messages per publisher.
    pub(crate) inflight: u16,
    /// Messages per write.
    pub(crate) batch: u64,
    /// Before counting starts.
    pub(crate) warmup_ns: u64,
    /// While counting; 0 ends when all messages have been sent.
    pub(crate) duration_ns: u64,
    /// Messages per publisher after which it falls silent; `u64::MAX` is never.
    pub(crate) messages_per_publisher: u64,
    /// After so long without progress a closed loop counts what is missing as lost.
    pub(crate) stall_ns: u64,
    /// How long all clients may take to get ready.
    pub(crate) patience_s: u64,
    /// The broker's process, when it runs on this machine.
    pub(crate) broker_pid: Option<u32>,
}

/// A load of connections that do nothing.
#[derive(Clone, Debug)]
pub(crate) struct IdlePlan {
    /// The connections; its duration is how long to watch the broker do nothing.
    pub(crate) load: Plan,
    /// How long the broker may settle before each look at its memory.
    pub(crate) settle_ns: u64,
}

impl Ends {
    /// The id of subscriber `number`.
    pub(crate) fn subscriber_id(&self, number: u32) -> String {
        format!("{}-s{number}", self.prefix)
    }

    /// The id of publisher `number`.
    pub(crate) fn publisher_id(&self, number: u32) -> String {
        format!("{}-p{number}", self.prefix)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::engine::topology::Shape;

    /// A small closed loop without end, for tests to change.
    pub(crate) fn plan(shape: Shape, [publishers, subscribers]: [u32; 2]) -> Plan {
        Plan {
            ends: Ends {
                broker: SocketAddr::from(([127, 0, 0, 1], 0)),
                sources: vec![],
                version: Version::V4,
                credentials: Credentials::default(),
                keep_alive_s: 0,
                prefix: "test".into(),
                connect_gap_ns: 0,
                processors: vec![],
            },
            topology: Topology { shape, publishers, subscribers, threads: 1 },
            topic: Some("bench/pair/%i".into()),
            payload_bytes: 16,
            publish_qos: Qos::AtMostOnce,
            subscribe_qos: Qos::AtMostOnce,
            pace: Pace::Closed { window: 8 },
            inflight: 4,
            batch: 4,
            warmup_ns: 0,
            duration_ns: 0,
            messages_per_publisher: u64::MAX,
            stall_ns: 1_000_000_000,
            patience_s: 60,
            broker_pid: None,
        }
    }

    #[test]
    fn clients_of_both_kinds_have_ids_of_their_own() {
        let ends = plan(Shape::Pairs, [1, 1]).ends;
        assert_eq!((ends.subscriber_id(3), ends.publisher_id(3)), ("test-s3".into(), "test-p3".into()));
    }
}
