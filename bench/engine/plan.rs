//! What a run shall do, after the options have been checked.
//!
//! Why apart from the options: `compare` and the tests build plans too, and the engine must not know a command line.
//!
//! Invariants:
//! - Payloads have room for a stamp, and every count is at least one.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::topology::Topology;
use crate::codec::{Body, Credentials, Lasting, Qos, Version};
use crate::flow::Spread;
use crate::number::place;
use crate::topic::{self, Names};
use crate::transport::Transport;

/// How to reach the broker and who to be.
#[derive(Clone, Debug)]
pub(crate) struct Ends {
    /// The broker.
    pub(crate) broker: SocketAddr,
    /// Where subscribers find it, if elsewhere.
    pub(crate) subscriber_broker: Option<SocketAddr>,
    /// What MQTT is wrapped in.
    pub(crate) transport: Transport,
    /// Source addresses, used in turn; empty leaves the choice to the kernel.
    pub(crate) sources: Vec<IpAddr>,
    /// Protocol version.
    pub(crate) version: Version,
    /// User name and password, as templates.
    pub(crate) credentials: Credentials,
    /// User names of publishers, in their order, that stand before the template's; empty when there are none.
    pub(crate) tokens: Arc<[String]>,
    /// The same for subscribers.
    pub(crate) subscriber_credentials: Credentials,
    /// What becomes of the clients' sessions.
    pub(crate) lasting: Lasting,
    /// The number of the first client of each kind.
    pub(crate) first_number: u32,
    /// Seconds; 0 turns keep-alive off.
    pub(crate) keep_alive_s: u16,
    /// First part of every client id.
    pub(crate) prefix: String,
    /// Between two connects of the whole run; 0 goes as fast as the broker answers.
    pub(crate) connect_gap_ns: u64,
    /// Clients of one thread that may be between dialling and ready.
    pub(crate) handshakes: usize,
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
        /// How publishers share the interval.
        spread: Spread,
    },
    /// At most so many messages per publisher that its subscribers have not received.
    Closed {
        /// Messages.
        window: u64,
    },
}

/// Whether what a workload has left in the broker stays there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tidiness {
    /// Retained messages are cleared and lasting sessions ended.
    Clear,
    /// They stay.
    Leave,
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
    /// What subscribers ask for, if it does not follow from the topic.
    pub(crate) filter: Option<String>,
    /// The kind of payload.
    pub(crate) body: Body,
    /// Bytes of payload.
    pub(crate) payload_bytes: usize,
    /// Whether the broker shall keep each topic's last message.
    pub(crate) retain: bool,
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
    /// What each publisher has sent before this run, for subscribers that come to fetch it; empty when nothing.
    pub(crate) kept: Arc<[u64]>,
    /// Whether connections come and go; `None` when they stay.
    pub(crate) storm: Option<Storm>,
    /// Whether what the run leaves in the broker stays there.
    pub(crate) tidiness: Tidiness,
    /// After so long without progress a closed loop counts what is missing as lost.
    pub(crate) stall_ns: u64,
    /// How long all clients may take to get ready.
    pub(crate) patience_s: u64,
    /// The broker's process, when it runs on this machine.
    pub(crate) broker_pid: Option<u32>,
}

/// What becomes of connections once they are there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Storm {
    /// Thousandths of the connections that a wave cuts.
    pub(crate) cut_permille: u64,
    /// Whether clients leave as soon as they are welcome, and come again.
    pub(crate) churn: bool,
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
        format!("{}-s{}", self.prefix, self.first_number + number)
    }

    /// The id of publisher `number`.
    pub(crate) fn publisher_id(&self, number: u32) -> String {
        format!("{}-p{}", self.prefix, self.first_number + number)
    }

    /// `template` with the placeholders that concern publisher `number` filled in.
    pub(crate) fn publisher_text(&self, template: &str, number: u32, group: u32) -> String {
        let client_id = self.publisher_id(number);
        let named = Names { number: self.first_number + number, client_id: &client_id, user: "", group };
        let user = topic::topic(self.credentials.user.as_deref().unwrap_or_default(), &named);
        topic::topic(template, &Names { user: &user, ..named })
    }

    /// User name and password of publisher `number`.
    pub(crate) fn publisher_credentials(&self, number: u32) -> Credentials {
        let mut filled = filled(&self.credentials, self.first_number + number, &self.publisher_id(number));
        if let Some(token) = self.tokens.get(place(u64::from(number))) {
            filled.user = Some(token.clone());
        }
        filled
    }

    /// User name and password of subscriber `number`.
    pub(crate) fn subscriber_credentials(&self, number: u32) -> Credentials {
        filled(&self.subscriber_credentials, self.first_number + number, &self.subscriber_id(number))
    }
}

fn filled(templates: &Credentials, number: u32, client_id: &str) -> Credentials {
    let fill = |template: &Option<String>| {
        let names = Names { number, client_id, user: "", group: 0 };
        template.as_ref().map(|template| topic::topic(template, &names))
    };
    Credentials { user: fill(&templates.user), password: fill(&templates.password) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::engine::topology::{Cast, Shape};

    /// A small closed loop without end, for tests to change.
    pub(crate) fn plan(shape: Shape, [publishers, subscribers]: [u32; 2]) -> Plan {
        Plan {
            ends: Ends {
                broker: SocketAddr::from(([127, 0, 0, 1], 0)),
                subscriber_broker: None,
                transport: Transport::default(),
                sources: vec![],
                version: Version::V4,
                credentials: Credentials::default(),
                tokens: Arc::from([]),
                subscriber_credentials: Credentials::default(),
                lasting: Lasting::Never,
                first_number: 0,
                keep_alive_s: 0,
                prefix: "test".into(),
                connect_gap_ns: 0,
                handshakes: 64,
                processors: vec![],
            },
            topology: Topology {
                shape,
                publishers,
                subscribers,
                groups: 1,
                cast: Cast::Everybody,
                threads: 1,
            },
            topic: Some("bench/pair/%i".into()),
            filter: None,
            body: Body::Filler,
            payload_bytes: 16,
            retain: false,
            publish_qos: Qos::AtMostOnce,
            subscribe_qos: Qos::AtMostOnce,
            pace: Pace::Closed { window: 8 },
            inflight: 4,
            batch: 4,
            warmup_ns: 0,
            duration_ns: 0,
            messages_per_publisher: u64::MAX,
            kept: Arc::new([]),
            storm: None,
            tidiness: Tidiness::Clear,
            stall_ns: 1_000_000_000,
            patience_s: 60,
            broker_pid: None,
        }
    }

    #[test]
    fn clients_of_both_kinds_have_ids_of_their_own() {
        let ends = plan(Shape::Pairs, [1, 1]).ends;
        assert_eq!((ends.subscriber_id(3), ends.publisher_id(3)), ("test-s3".into(), "test-p3".into()));
        let later = Ends { first_number: 100, ..ends };
        assert_eq!(later.publisher_id(3), "test-p103");
        assert_eq!(later.publisher_text("a/%i/%c/%g", 3, 7), "a/103/test-p103/7");
    }

    #[test]
    fn names_and_passwords_may_differ_per_client_and_stand_in_topics() {
        let user = |template: &str| Some(template.to_owned());
        let mut ends = plan(Shape::Pairs, [1, 1]).ends;
        ends.credentials = Credentials { user: user("token-%i"), password: user("pw-%c") };
        ends.subscriber_credentials = Credentials { user: user("boss"), password: None };
        assert_eq!(
            ends.publisher_credentials(2),
            Credentials { user: user("token-2"), password: user("pw-test-p2") }
        );
        assert_eq!(ends.subscriber_credentials(2), Credentials { user: user("boss"), password: None });
        assert_eq!(ends.publisher_text("in/%u", 2, 0), "in/token-2");
    }
}
