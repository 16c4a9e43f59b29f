//! The table of keys.
//!
//! Why one table: a key that the parser knows but the default file does not mention, or the other way round, cannot
//! exist.
//!
//! Invariants:
//! - Each row names section and field; the field of that name in [`Config`] holds the value.
//! - Every field of [`broker::Limits`] has a row.

use super::authentication::Authenticator;
use super::sections::{Config, Listener};
use super::setting::{Raw, Setting, read, read_within};

/// One row of the table; `T` is what it configures.
pub(super) struct Key<T> {
    /// The section it stands in.
    pub(super) section: &'static str,
    /// Its name.
    pub(super) name: &'static str,
    /// What it means, line by line.
    pub(super) doc: &'static [&'static str],
    /// Sets it.
    pub(super) set: fn(&mut T, &Raw) -> Result<(), String>,
    /// Shows its value as TOML, nothing if it is unset.
    pub(super) show: fn(&T) -> Option<String>,
    /// What it may look like, for a value that is unset.
    pub(super) example: fn(&T) -> &'static str,
}

macro_rules! key {
    (
        $target:ty, $section:ident, $name:ident, [$($doc:literal)*],
        |$t:ident| $place:expr $(, $range:expr)? $(=> $example:literal)?
    ) => {
        Key {
            section: stringify!($section),
            name: stringify!($name),
            doc: &[$($doc),*],
            set: |$t: &mut $target, raw: &Raw| {
                $place = key!(@read raw $(, $range)?)?;
                Ok(())
            },
            show: |$t: &$target| Setting::show(&$place),
            example: |$t: &$target| key!(@example Setting::example(&$place) $(, $example)?),
        }
    };
    (@example $default:expr) => { $default };
    (@example $default:expr, $example:literal) => {{
        // The kind of value knows an example, but the key knows a better one.
        let _ = $default;
        concat!("\"", $example, "\"")
    }};
    (@read $raw:ident) => { read($raw) };
    (@read $raw:ident, $range:expr) => { read_within($raw, $range) };
}

macro_rules! keys {
    ($($section:ident { $($(#[doc = $doc:literal])* $name:ident $(: $range:expr)?,)* })*) => {
        /// All keys that stand once in the configuration.
        pub(super) const KEYS: &[Key<Config>] = &[
            $($(key!(Config, $section, $name, [$($doc)*], |config| config.$section.$name $(, $range)?),)*)*
        ];
    };
}

macro_rules! limits {
    ($($(#[doc = $doc:literal])* $name:ident $(: $range:expr)?,)*) => {
        /// The keys of `[limits]`.
        pub(super) const LIMITS: &[Key<Config>] = &[
            $(key!(Config, limits, $name, [$($doc)*], |config| config.limits.$name $(, $range)?),)*
        ];

        // A limit without a row does not compile.
        const _: fn(broker::Limits) = |limits| {
            let broker::Limits { $($name: _,)* } = limits;
        };
    };
}

macro_rules! listener {
    ($($(#[doc = $doc:literal])* $name:ident $(in $group:ident)? $(: $example:literal)?,)*) => {
        /// The keys of each `[[listener]]`.
        pub(super) const LISTENER: &[Key<Listener>] = &[
            $(key!(Listener, listener, $name, [$($doc)*], |listener| listener$(.$group)?.$name $(=> $example)?),)*
        ];
    };
}

macro_rules! authenticator {
    ($($(#[doc = $doc:literal])* $name:ident = $field:ident $(: $range:expr)?,)*) => {
        /// The keys of each `[[authenticator]]`. One of them is a word of Rust, so fields have names of their own.
        pub(super) const AUTHENTICATOR: &[Key<Authenticator>] = &[
            $(Key {
                name: key_name(stringify!($name)),
                ..key!(Authenticator, authenticator, $field, [$($doc)*], |authenticator| authenticator.$field $(, $range)?)
            },)*
        ];
    };
}

/// A key whose name is a word of Rust is written with `r#` in the table.
const fn key_name(written: &'static str) -> &'static str {
    match written.as_bytes() {
        [b'r', b'#', ..] => written.split_at(2).1,
        _ => written,
    }
}

keys! {
    server {
        /// Processors to run on, one core each: "all" that the process may use, a number of them, or a list such as
        /// "0,2-3". A list of one processor ends with a comma: "3,".
        cores,
        /// Seconds that the graceful end after SIGTERM may take before connections are cut.
        shutdown_grace_s: 0..=3600,
        /// How often a core looks for work before it goes to sleep. More is a little faster on a machine that does
        /// nothing else, and costs processor time.
        spin_rounds: 0..=1_000_000,
        /// Microseconds for which a core that has nothing to do lets messages gather at most: those that have come together
        /// share the cost of waking, receiving and sending. Not where messages come together anyway, nor where clients turn
        /// out to be slowed by it. 0 is never. Needs Linux 6.12.
        gather_us: 0..=5_000,
        /// Receives per second from which a core does that, for an eighth of the time; from eight times as many, for all of
        /// it. A core that receives less often never waits.
        gather_from: 1_000..=10_000_000,
    }
    store {
        /// The directory of everything that outlives the process; made if it is missing. One broker at a time uses it.
        dir,
        /// What an acknowledgement of something that must be kept means: "fsync", it is on the disk; "interval", it will be
        /// there within interval_ms; "memory", nothing. Where all listeners say "memory", there is no directory.
        durability,
        /// How long a change that no acknowledgement waits for may stay unwritten.
        interval_ms: 1..=60_000,
        /// Free space on the disk below which nothing new is kept (0x97) until there is more; as much again is set aside in
        /// the directory, so that sessions can still be read out and ended on a full disk. 0 is neither.
        reserve_bytes: 0..=1 << 40,
    }
    log {
        /// The least urgent lines to show: "error", "warn", "info" or "debug".
        level,
        /// "text" for people, "json" for one JSON object per line. The log goes to standard error.
        format,
    }
    sys {
        /// Seconds between publications of the $SYS topics; 0 is never.
        interval_s: 0..=86_400,
    }
    access {
        /// Users who may read $SYS and use the API. Where a listener on loopback asks nobody who they are, everybody may.
        admins,
    }
    devices {
        /// The name of the first tenant, which is made at the first start. Its devices' topics for other clients begin with
        /// the dialect's name and this one.
        tenant,
        /// How many devices that tenant may have; 0 is no limit. Written down at the first start.
        devices_max,
        /// Profiles that each tenant may have. A gateway makes one for each type of its children that is not known.
        profiles_max: 1..=1_000_000,
        /// What is kept of telemetry: "history" (every value), "latest" (one per key) or "forward" (nothing; subscribers get
        /// it as it comes). Written into that tenant's first profile at the first start; profiles can say something else.
        telemetry,
        /// Days that history is kept; 0 is for ever. Written down likewise.
        history_days,
        /// Seconds of silence after which a device counts as inactive; its server attribute inactivityTimeout (in
        /// milliseconds) can say something else.
        silence_s: 1..=31_536_000,
        /// Seconds without a packet after which a device's connection ends, whatever its keep alive is; 0 is never.
        session_silence_s,
        /// Connections of one device at one time; one more ends the oldest.
        sessions_per_device_max: 1..=1000,
        /// Children for which one gateway may speak at one time; what it says of one more is refused with 0x97.
        gateway_children_max: 1..=10_000_000,
        /// Bytes of firmware and software that may be on their way to devices at one time, in parts above 64 KiB: whoever asks
        /// for a whole image waits until there is room. An equal share on each core, and one part at least.
        package_bytes_max: 1..=1 << 40,
        /// Milliseconds that a device may take to acknowledge a command before it is sent again.
        command_ack_ms: 100..=3_600_000,
        /// How often that is done; after that the command has failed.
        command_retries_max,
        /// Commands that may wait for one device; one more is refused.
        commands_waiting_max: 1..=1_000_000,
        /// Persistent commands of one device that are kept when they have ended; the oldest go when there are more.
        commands_kept_max: 1..=100_000,
        /// When the next of several commands for a device is sent: "burst", at once; "sequential-ack", when the one before it
        /// is acknowledged; "sequential-answer", when it is answered, if it is to be.
        command_submit,
        /// With "sequential-answer": milliseconds after which it is sent without that answer.
        command_answer_ms: 100..=3_600_000,
        /// Whether a command that was never acknowledged ends the device's connections (0x98) and waits for the next one,
        /// instead of failing.
        command_closes,
        /// Whether every device that belongs to no customer may be claimed. If not, its server attribute claimingAllowed
        /// must be true.
        claiming_allowed,
        /// Seconds that an offer to be claimed holds if the device does not say.
        claim_duration_s: 1..=315_360_000,
        /// Whether active, lastConnectTime, lastDisconnectTime, lastActivityTime and inactivityAlarmTime are written as
        /// telemetry as well, each when a device comes, goes, speaks after a silence, or falls silent.
        presence_in_telemetry,
        /// Whether a device's certificate counts from its first to its last day only. Off: devices that cannot be given a new
        /// one stay connected. A certificate that makes a device always is looked at.
        certificate_terms_count,
        /// Keys of attributes and of telemetry that are known of one device, together; what it says of more is refused.
        facts_per_device_max: 1..=1_000_000,
        /// Bytes of these keys and of their values; what it says of more is refused. A value that is not larger than the one
        /// before is always taken.
        facts_bytes_per_device_max: 1_024..=1 << 40,
        /// Devices of which something is known, an equal share on each core; the connection of one more is refused.
        known_devices_max: 1..=100_000_000,
        /// Whether refused devices count as failed logins of their address, and their listeners are closed to addresses
        /// that have too many. Off: devices of a site often share one address, and one old token would lock them all out.
        failed_logins_count,
        /// How often a device may say something that is no telemetry, such as "100:1,2000:60": at most 100 times in 1 s and
        /// 2000 times in 60 s. "" is no limit; likewise for the keys below.
        device_messages,
        /// Messages with telemetry or attributes of a device.
        device_telemetry_messages,
        /// Values in them.
        device_telemetry_values,
        /// What a gateway says of all its children together, and is no telemetry.
        gateway_messages,
        /// Telemetry and attributes of all its children together: messages, one for each child that is named.
        gateway_telemetry_messages,
        /// Values in them.
        gateway_telemetry_values,
        /// What a gateway says of itself, and is no telemetry.
        gateway_device_messages,
        /// Its own messages with telemetry or attributes.
        gateway_device_telemetry_messages,
        /// Values in them.
        gateway_device_telemetry_values,
        /// What all devices of a tenant say together, and is no telemetry. Each core spends its part of this.
        tenant_messages,
        /// Their messages with telemetry or attributes.
        tenant_telemetry_messages,
        /// Values in them.
        tenant_telemetry_values,
    }
    control {
        /// Address and port for health, readiness, metrics and the API of devices over HTTP, such as "127.0.0.1:9883". All
        /// but the API has no authentication, so keep it on loopback. Without this key there is none.
        listen,
        /// Who may administer the broker over the API; made at the first start with this key above, if nobody may.
        admin,
        /// Who may administer the first tenant and its devices; made likewise.
        tenant_admin,
        /// A file with the first password of both. Without it one is made, printed once on standard error and kept as
        /// admin-password in the directory of [store], which only its owner can read.
        admin_password_file,
        /// Seconds that somebody who has logged in stays so.
        token_lifetime_s: 60..=31_536_000,
        /// Seconds within which that can be prolonged without a password.
        refresh_lifetime_s: 60..=31_536_000,
        /// An address that calls of devices are posted to, if their dialect has no answer to them; what it answers is the
        /// answer. Without it they are answered at once, with an error.
        rpc_webhook,
        /// Milliseconds that it may take.
        rpc_webhook_ms: 1..=300_000,
        /// Milliseconds that a device gets to answer a command over the API, if whoever asks does not say.
        rpc_timeout_ms: 1..=86_400_000,
        /// The least that it gets, whatever is said.
        rpc_timeout_min_ms: 0..=86_400_000,
        /// Origins whose pages browsers let use the API, such as "https://a.example, https://b.example"; "*" is all. "" is
        /// none but its own.
        allowed_origins,
    }
}

listener! {
    /// Address and port to listen on, or "unix:" and the path of a socket for clients on this machine whose user or
    /// group is the broker's. Clients of such a socket count as 127.0.0.1.
    bind,
    /// What is spoken there: "mqtt" is MQTT 3.1, 3.1.1 and 5.0 over a plain stream, "mqtts" over TLS, "ws" in WebSocket,
    /// "wss" in WebSocket over TLS.
    protocol,
    /// For "mqtts" and "wss", the certificate of this broker and those that it was signed by, a PEM file. This key and all
    /// that name certificates are read again on SIGHUP and on POST /reload of [control].
    certificate in tls: "server.pem",
    /// The private key of the certificate, a PEM file without passphrase.
    private_key in tls: "server.key",
    /// More certificates with their keys. Each client gets the first one for the host name that it asks for (SNI), or
    /// the very first.
    certificates in tls,
    /// The authorities that sign certificates of clients, a PEM file.
    client_ca in tls: "ca.pem",
    /// Whether clients show a certificate: "none", "optional" (a wrong one is refused), "required", or, where clients are
    /// devices of a registry that knows their certificates, "any" (asked for; the client must have its key, and who signed it
    /// matters only to profiles that make devices by that). Without this key it is required where there is a client_ca.
    client_certificate in tls,
    /// What these authorities have revoked, a PEM file with a list of each of them. A client certificate is refused if its
    /// authority has no list there, or one that is out of date.
    crl in tls: "ca.crl",
    /// The oldest version of TLS: "1.2" or "1.3".
    tls_min in tls,
    /// For "ws" and "wss", the only path at which MQTT is spoken.
    websocket_path,
    /// Addresses and networks of load balancers. With this key only they may connect, each connection begins with a PROXY
    /// header (version 1 or 2), and the client's address is the one that it tells. Without it no header is read.
    proxy_protocol_from,
    /// The dialect of the devices there: "plain" is MQTT as it is, "thingsboard" is ThingsBoard's device API. Devices of a
    /// dialect are known by [devices] and need no `authentication`.
    dialect,
    /// Where "thingsboard" does as that system does although no client needs it, before it knows a device: "nullsRefused" (null in
    /// a request for credentials ends the connection), "refusalsDisconnect" (in 5.0 a DISCONNECT behind a CONNACK that refuses).
    /// Other switches are in profiles.
    quirks,
    /// Who is asked about a client, in turn: names of [[authenticator]]s, or the word anonymous. The first who knows the
    /// client decides; one whom nobody knows is refused.
    authentication,
    /// Whether clients may connect without credentials, as if anonymous stood at the end of `authentication`. Without either
    /// key they may on loopback addresses only; any other address needs one of them.
    allow_anonymous,
    /// What clients may publish and subscribe to, in Mosquitto's syntax; without it everything, except for $SYS. Read again on
    /// SIGHUP.
    acl_file,
    /// What an acknowledgement means there, if not what [store] says: "fsync", "interval" or "memory".
    durability,
    /// Connections there; one more is closed at once. 0 is no limit but that of [limits]; as for the two keys below.
    connections_max,
    /// Connections there from one address (IPv6: from one /64).
    connections_per_address_max,
    /// Connections accepted there per second.
    connects_per_s_max,
}

authenticator! {
    /// What listeners call it in `authentication`.
    name = name,
    /// "password-file" asks a file, "certificate" the client's certificate, "jwt" a token in the place of the password,
    /// "http" a service, "registry" the devices of [devices]: a client is the device whose credentials it shows.
    kind = kind,
    /// password-file: users and hashes as `ringmq passwd` and mosquitto_passwd write them. Read again on SIGHUP, as all
    /// files below.
    file = file,
    /// certificate: which name in it counts, "cn", "san" or "fingerprint".
    identity = identity,
    /// certificate: what that name is, "user" or "client-id".
    r#as = identity_as,
    /// jwt: the secret with which tokens are signed (HS256, HS384, HS512). Exactly one of these three.
    secret_file = secret_file,
    /// jwt: the public key of whoever signs them, in PEM (RSA, elliptic curve, Ed25519).
    public_key_file = public_key_file,
    /// jwt: a JSON Web Key Set.
    jwks_file = jwks_file,
    /// jwt: the `iss` that a token must have.
    issuer = issuer,
    /// jwt: the `aud` that must be among a token's.
    audience = audience,
    /// jwt: the claim that names the user.
    user_claim = user_claim,
    /// http: where the service is. It gets a POST with client_id, user, password, peer and listener in JSON.
    url = url,
    /// http: how long the service may take; after that the client is refused.
    timeout_ms = timeout_ms: 1..=60_000,
    /// http: how long an answer of the service holds for the same client; 0 is to ask every time.
    cache_s = cache_s: 0..=86_400,
}

limits! {
    /// Connections of the whole broker, an equal share on each core; one more is closed at once.
    connections_max: 1..=50_000_000,
    /// Connections from one address (IPv6: from one /64), over all listeners; one more is closed at once. 0 is no limit.
    connections_per_address_max,
    /// Connections accepted per second, over all listeners; one more is closed at once. 0 is no limit.
    connects_per_s_max,
    /// Failed logins of one address (IPv6: of one /64) within five minutes; above it, its connections are closed at once
    /// until some are forgotten, one after the other. 0 is no limit.
    failed_logins_per_address_max,
    /// Takeovers of one client id per minute; above it, the newcomer is refused with 0x9F. 0 is no limit.
    takeovers_per_minute_max,
    /// Messages that one client may publish, such as "100:1,2000:60": at most 100 in 1 s and 2000 in 60 s. Above it, the
    /// client is left unread until it may again; nothing is lost. "" is no limit.
    publish_rate,
    /// Bytes of PUBLISH packets that one client may send, likewise: "1000000:1".
    publish_bytes_rate,
    /// Seconds from accept to a complete CONNECT.
    connect_timeout_s: 1..=3600,
    /// Bytes a connection may send before its CONNECT is accepted.
    pre_auth_bytes_max: 256..=268_435_460,
    /// CONNECTs per core whose clients are being asked about elsewhere (a password is hashed, a directory asked); one more is
    /// refused as busy.
    questions_open_max: 1..=10_000_000,
    /// Largest packet from a client, in bytes with its header; announced in 5.0, refused with 0x95.
    packet_bytes_max: 256..=268_435_460,
    /// Levels of a topic name or filter.
    topic_levels_max: 1..=32_768,
    /// Bytes of a client identifier.
    client_id_bytes_max: 23..=65_535,
    /// Subscriptions of one client; one more is refused with 0x97.
    subscriptions_per_client_max,
    /// QoS 2 messages a client may have open towards us; announced in 5.0, one more is refused with 0x93.
    receive_maximum: 1..=u16::MAX,
    /// Unacknowledged QoS 1 and 2 messages towards a 5.0 client, below its own Receive Maximum.
    inflight_max: 1..=u16::MAX,
    /// Unacknowledged QoS 1 and 2 messages towards a 3.x client, which cannot announce a number.
    inflight_3x_max: 1..=u16::MAX,
    /// QoS 1 and 2 messages that wait for one client, on disk included; a message too many is dropped and counted,
    /// although its publisher got an acknowledgement.
    queue_messages_max,
    /// Bytes of messages that wait for one client, on disk and inflight included.
    queue_bytes_max,
    /// Bytes of messages that wait for all clients, on disk included, an equal share on each core.
    queue_bytes_total_max,
    /// QoS 1 and 2 messages of one lasting session's queue that stand in memory when there is a store; the rest waits on
    /// disk.
    queue_memory_messages: 1..=u32::MAX,
    /// Bytes of those.
    queue_memory_bytes,
    /// Bytes of messages that wait for all clients in memory, an equal share on each core; above it, queues of lasting
    /// sessions grow on disk only, and others not at all.
    queue_memory_bytes_total_max,
    /// Bytes of one core that were handed to the store and are not on the disk; above it, clients are not read.
    unwritten_bytes_max: 1024..=u32::MAX,
    /// QoS 0 messages that wait for a connected client that reads too slowly; the oldest goes first.
    queue_qos0_messages_max,
    /// Unsent bytes towards one connection above which further messages wait in its queues.
    out_bytes_high: 1024..=u32::MAX,
    /// Unsent bytes towards one connection that no queue can hold back (acknowledgements); above it, it is closed.
    out_bytes_max: 1024..=u32::MAX,
    /// Topic aliases a client may set; announced in 5.0, others are refused with 0x94.
    topic_alias_max,
    /// Topic aliases we set towards a client, below its own maximum.
    topic_alias_out_max,
    /// Longest Session Expiry Interval in seconds; 4,294,967,295 is no limit. Applies to 3.x too.
    session_expiry_max_s,
    /// Longest keep alive in seconds; 0 is no limit. Announced as Server Keep Alive.
    keep_alive_max_s,
    /// Sessions, connected or not, of the whole broker, an equal share on each core; one more is refused with 0x97.
    sessions_max: 1..=u32::MAX,
    /// Retained messages of the whole broker; one more is refused with 0x97.
    retained_messages_max,
    /// Bytes of all retained messages.
    retained_bytes_max,
    /// Bytes of the retained messages that one client has set; one more is refused with 0x97.
    retained_bytes_per_client_max,
    /// Bytes received from a connection while its SUBSCRIBE waits for the other cores.
    held_bytes_max,
    /// Highest QoS granted and accepted: 0, 1 or 2.
    qos_max: 0..=2,
    /// Whether retained messages are available.
    retain_available,
    /// Whether wildcard filters are available.
    wildcard_available,
    /// Whether subscription identifiers are available.
    subscription_id_available,
    /// Whether shared subscriptions are available.
    shared_available,
    /// Whether QoS 0 messages wait for lasting sessions that are away.
    queue_qos0_offline,
    /// Whether a full queue drops its oldest message rather than refuse the newest.
    queue_drops_oldest,
    /// Whether payloads that claim to be UTF-8 are checked; a wrong one is refused with 0x99.
    payload_format_checked,
    /// Whether control characters and non-characters in strings are refused.
    strict_strings,
    /// Whether a 3.1 client id must have 1 to 23 characters, as that version says.
    strict_client_id_v31,
}

/// The keys of a section that stands once.
pub(super) fn keys_of(section: &str) -> impl Iterator<Item = &'static Key<Config>> {
    KEYS.iter().chain(LIMITS).filter(move |key| key.section == section)
}

/// The names of all sections.
pub(super) const SECTIONS: [&str; 10] =
    ["server", "listener", "authenticator", "access", "devices", "store", "limits", "log", "sys", "control"];
