//! Every limit that a client can reach, with its default.
//!
//! Why one struct: a limit that is not in this list does not exist, and the configuration file, the docs and the code
//! must mean the same number.
//!
//! Invariants:
//! - Every field has a default that a public broker could run with.

use stdx::Rates;

/// The limits of one broker. Names equal the keys of the `[limits]` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections of the whole broker, an equal share on each core; one more is closed at once.
    pub connections_max: u32,
    /// Connections from one address (IPv6: from one /64), over all listeners; one more is closed at once. 0 is no limit.
    pub connections_per_address_max: u32,
    /// Connections accepted per second, over all listeners; one more is closed at once. 0 is no limit.
    pub connects_per_s_max: u32,
    /// Failed logins of one address (IPv6: of one /64) within five minutes; above it, its connections are closed at once
    /// until some are forgotten, one after the other. 0 is no limit.
    pub failed_logins_per_address_max: u32,
    /// Takeovers of one client id per minute; above it, the newcomer is refused with 0x9F. 0 is no limit.
    pub takeovers_per_minute_max: u32,
    /// Messages that one client may publish; above it, it is left unread until it may again.
    pub publish_rate: Rates,
    /// Bytes of PUBLISH packets, likewise.
    pub publish_bytes_rate: Rates,
    /// Seconds from accept to a complete CONNECT.
    pub connect_timeout_s: u32,
    /// Bytes a connection may send before its CONNECT is accepted.
    pub pre_auth_bytes_max: u32,
    /// CONNECTs per core whose clients are being asked about elsewhere (a password is hashed, a directory asked); one more is
    /// refused as busy.
    pub questions_open_max: u32,
    /// Largest packet from a client, in bytes with its header; announced in 5.0, refused with 0x95.
    pub packet_bytes_max: u32,
    /// Levels of a topic name or filter.
    pub topic_levels_max: u32,
    /// Bytes of a client identifier.
    pub client_id_bytes_max: u32,
    /// Subscriptions of one client; one more is refused with 0x97.
    pub subscriptions_per_client_max: u32,
    /// QoS 2 messages a client may have open towards us; announced in 5.0, one more is refused with 0x93.
    pub receive_maximum: u16,
    /// Unacknowledged QoS 1 and 2 messages towards a 5.0 client, below its own Receive Maximum.
    pub inflight_max: u16,
    /// Unacknowledged QoS 1 and 2 messages towards a 3.x client, which cannot announce a number.
    pub inflight_3x_max: u16,
    /// QoS 1 and 2 messages that wait for one client, on disk included; a message too many is dropped and counted,
    /// although its publisher got an acknowledgement.
    pub queue_messages_max: u32,
    /// Bytes of messages that wait for one client, on disk and inflight included.
    pub queue_bytes_max: u32,
    /// Bytes of messages that wait for all clients, on disk included, an equal share on each core.
    pub queue_bytes_total_max: u64,
    /// QoS 1 and 2 messages of one lasting session's queue that stand in memory when there is a store; the rest waits on
    /// disk.
    pub queue_memory_messages: u32,
    /// Bytes likewise.
    pub queue_memory_bytes: u32,
    /// Bytes of messages that wait for all clients in memory, an equal share on each core; above it, queues of lasting
    /// sessions grow on disk only, and others not at all.
    pub queue_memory_bytes_total_max: u64,
    /// Bytes of one core that were handed to the store and are not synced; above it, clients are not read.
    pub unwritten_bytes_max: u32,
    /// QoS 0 messages that wait for a connected client that reads too slowly; the oldest goes first.
    pub queue_qos0_messages_max: u32,
    /// Unsent bytes towards one connection above which further messages wait in its queues.
    pub out_bytes_high: u32,
    /// Unsent bytes towards one connection that no queue can hold back (acknowledgements); above it, it is closed.
    pub out_bytes_max: u32,
    /// Topic aliases a client may set; announced in 5.0, others are refused with 0x94.
    pub topic_alias_max: u16,
    /// Topic aliases we set towards a client, below its own maximum.
    pub topic_alias_out_max: u16,
    /// Longest Session Expiry Interval in seconds; 4,294,967,295 is no limit. Applies to 3.x too.
    pub session_expiry_max_s: u32,
    /// Longest keep alive in seconds; 0 is no limit. Announced as Server Keep Alive.
    pub keep_alive_max_s: u16,
    /// Sessions, connected or not, of the whole broker, an equal share on each core; one more is refused with 0x97.
    pub sessions_max: u32,
    /// Retained messages of the whole broker; one more is refused with 0x97.
    pub retained_messages_max: u32,
    /// Bytes of all retained messages.
    pub retained_bytes_max: u64,
    /// Bytes of the retained messages that one client has set; one more is refused with 0x97.
    pub retained_bytes_per_client_max: u64,
    /// Bytes received from a connection while its SUBSCRIBE waits for the other cores.
    pub held_bytes_max: u32,
    /// Highest QoS granted and accepted: 0, 1 or 2.
    pub qos_max: u8,
    /// Whether retained messages are available.
    pub retain_available: bool,
    /// Whether wildcard filters are available.
    pub wildcard_available: bool,
    /// Whether subscription identifiers are available.
    pub subscription_id_available: bool,
    /// Whether shared subscriptions are available.
    pub shared_available: bool,
    /// Whether QoS 0 messages wait for lasting sessions that are away.
    pub queue_qos0_offline: bool,
    /// Whether a full queue drops its oldest message rather than refuse the newest.
    pub queue_drops_oldest: bool,
    /// Whether payloads that claim to be UTF-8 are checked; a wrong one is refused with 0x99.
    pub payload_format_checked: bool,
    /// Whether control characters and non-characters in strings are refused.
    pub strict_strings: bool,
    /// Whether a 3.1 client id must have 1 to 23 characters, as that version says.
    pub strict_client_id_v31: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 1_000_000,
            connections_per_address_max: 0,
            connects_per_s_max: 0,
            failed_logins_per_address_max: 30,
            takeovers_per_minute_max: 20,
            publish_rate: Rates::default(),
            publish_bytes_rate: Rates::default(),
            connect_timeout_s: 10,
            pre_auth_bytes_max: 131_072,
            questions_open_max: 10_000,
            packet_bytes_max: 1_048_576,
            topic_levels_max: 128,
            client_id_bytes_max: 65_535,
            subscriptions_per_client_max: 10_000,
            receive_maximum: 1_024,
            inflight_max: 4_096,
            inflight_3x_max: 64,
            queue_messages_max: 100_000,
            queue_bytes_max: 67_108_864,
            queue_bytes_total_max: 17_179_869_184,
            queue_memory_messages: 1_000,
            queue_memory_bytes: 1_048_576,
            queue_memory_bytes_total_max: 1_073_741_824,
            unwritten_bytes_max: 67_108_864,
            queue_qos0_messages_max: 1_000,
            out_bytes_high: 262_144,
            out_bytes_max: 8_388_608,
            topic_alias_max: 32,
            topic_alias_out_max: 16,
            session_expiry_max_s: u32::MAX,
            keep_alive_max_s: 0,
            sessions_max: 2_000_000,
            retained_messages_max: 1_000_000,
            retained_bytes_max: 1_073_741_824,
            retained_bytes_per_client_max: 268_435_456,
            held_bytes_max: 4_194_304,
            qos_max: 2,
            retain_available: true,
            wildcard_available: true,
            subscription_id_available: true,
            shared_available: true,
            queue_qos0_offline: false,
            queue_drops_oldest: false,
            payload_format_checked: false,
            strict_strings: false,
            strict_client_id_v31: false,
        }
    }
}
