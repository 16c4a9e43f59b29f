//! `$SYS`: the broker's own figures as retained messages, under Mosquitto's names.
//!
//! Why core 0: a figure is the sum over all cores, so every core sends its counters there once an interval, and core 0
//! publishes through the ordinary way of any message.
//!
//! Invariants:
//! - A value is published only when it changed, apart from the uptime.
//! - No name of a client stands in a topic or a value.
//!
//! Source: mosquitto(8), "Broker Status".

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fmt::Write;

use mqtt::QoS;
use stdx::{Instant, Span};

use crate::change::StoreHealth;
use crate::core_id::CoreId;
use crate::counters::Counters;
use crate::exchange::{Exchange, ExchangeSetup};
use crate::message::Message;
use crate::parcel::Parcel;
use crate::timers::Timer;

/// What `$SYS` needs between two intervals.
#[derive(Debug)]
pub(crate) struct SysState {
    version: String,
    durability: String,
    interval: Span,
    started_at: Instant,
    per_core: Vec<Counters>,
    published: BTreeMap<&'static str, String>,
    clients_max: u64,
    loads: [Load; LOADS.len()],
}

/// An exponentially weighted rate per minute over 1, 5 and 15 minutes.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    last: u64,
    per_min: [f64; 3],
}

/// A figure that is read off the counters.
struct Figure {
    topic: &'static str,
    read: fn(&Counters) -> u64,
}

macro_rules! figures {
    ($($topic:literal = |$counters:ident| $value:expr;)*) => {
        &[$(Figure { topic: concat!("$SYS/broker/", $topic), read: |$counters| $value },)*]
    };
}

const FIGURES: &[Figure] = figures! {
    "clients/total" = |c| c.sessions;
    "clients/connected" = |c| c.clients_connected;
    "clients/active" = |c| c.clients_connected;
    "clients/disconnected" = |c| c.sessions.saturating_sub(c.clients_connected);
    "clients/inactive" = |c| c.sessions.saturating_sub(c.clients_connected);
    "clients/expired" = |c| c.sessions_expired;
    "bytes/received" = |c| c.bytes_received;
    "bytes/sent" = |c| c.bytes_sent;
    "messages/received" = |c| c.packets_received;
    "messages/sent" = |c| c.packets_sent;
    "messages/inflight" = |c| c.inflight_messages;
    "messages/stored" = |c| c.queued_messages + c.inflight_messages + c.retained_messages;
    "store/messages/count" = |c| c.queued_messages + c.inflight_messages + c.retained_messages;
    "store/messages/bytes" = |c| c.retained_bytes;
    "store/unsynced/bytes" = |c| c.unsynced_bytes;
    "publish/messages/received" = |c| c.publish_received;
    "publish/messages/sent" = |c| c.publish_sent;
    "publish/messages/dropped" = |c| c.dropped();
    "publish/bytes/received" = |c| c.publish_bytes_received;
    "publish/bytes/sent" = |c| c.publish_bytes_sent;
    "retained messages/count" = |c| c.retained_messages;
    "subscriptions/count" = |c| c.subscriptions;
    "shared_subscriptions/count" = |c| c.shared_subscriptions;
};

/// A rate: its topics for 1, 5 and 15 minutes, and what it counts.
struct LoadFigure {
    topics: [&'static str; 3],
    read: fn(&Counters) -> u64,
}

macro_rules! loads {
    ($($name:literal = |$counters:ident| $value:expr;)*) => {
        [$(LoadFigure {
            topics: [
                concat!("$SYS/broker/load/", $name, "/1min"),
                concat!("$SYS/broker/load/", $name, "/5min"),
                concat!("$SYS/broker/load/", $name, "/15min"),
            ],
            read: |$counters| $value,
        },)*]
    };
}

const LOADS: [LoadFigure; 8] = loads! {
    "messages/received" = |c| c.packets_received;
    "messages/sent" = |c| c.packets_sent;
    "publish/received" = |c| c.publish_received;
    "publish/sent" = |c| c.publish_sent;
    "publish/dropped" = |c| c.dropped();
    "bytes/received" = |c| c.bytes_received;
    "bytes/sent" = |c| c.bytes_sent;
    "connections" = |c| c.connections_accepted;
};

const VERSION: &str = "$SYS/broker/version";
const DURABILITY: &str = "$SYS/broker/store/durability";
const HEALTH: &str = "$SYS/broker/store/health";
const UPTIME: &str = "$SYS/broker/uptime";
const CLIENTS_MAXIMUM: &str = "$SYS/broker/clients/maximum";

impl SysState {
    pub fn new(setup: &ExchangeSetup) -> Self {
        Self {
            version: setup.version.clone(),
            durability: setup.durability.clone(),
            interval: Span::from_s(u64::from(setup.sys_interval_s)),
            started_at: setup.now,
            per_core: vec![Counters::default(); usize::from(setup.cores)],
            published: BTreeMap::new(),
            clients_max: 0,
            loads: [Load::default(); LOADS.len()],
        }
    }

    pub fn counters_of(&mut self, core: CoreId, counters: Counters) {
        self.per_core[core.index()] = counters;
    }

    fn total(&self) -> Counters {
        let mut total = Counters::default();
        self.per_core.iter().for_each(|counters| total.add(counters));
        // Every core holds the same retained messages: one replica is the truth, their sum is not.
        total.retained_messages = self.per_core[0].retained_messages;
        total.retained_bytes = self.per_core[0].retained_bytes;
        total
    }
}

impl Exchange {
    /// Starts the `$SYS` interval; the first values are published at once.
    pub fn start_sys(&mut self, now: Instant) {
        if self.sys.interval > Span::ZERO {
            self.sys_tick(now);
        }
    }

    pub(crate) fn sys_tick(&mut self, now: Instant) {
        self.timers.insert(now + self.sys.interval, Timer::Sys);
        self.tell_writes_above();
        self.counters.unsynced_bytes = self.unsynced_bytes();
        let counters = self.counters.clone();
        if self.core.get() == 0 {
            self.sys.counters_of(self.core, counters);
            self.publish_sys(now);
        } else {
            self.outgoing.to(CoreId::new(0)).parcels.push(Parcel::Counters(Box::new(counters)));
        }
    }

    fn publish_sys(&mut self, now: Instant) {
        let total = self.sys.total();
        self.sys.clients_max = self.sys.clients_max.max(total.clients_connected);
        let mut values: Vec<(&'static str, String)> = vec![
            (VERSION, format!("ringmq version {}", self.sys.version)),
            (DURABILITY, self.sys.durability.clone()),
            (HEALTH, health(self.store_health).to_owned()),
            (UPTIME, format!("{} seconds", now.since(self.sys.started_at).s())),
            (CLIENTS_MAXIMUM, self.sys.clients_max.to_string()),
        ];
        values.extend(FIGURES.iter().map(|figure| (figure.topic, (figure.read)(&total).to_string())));
        let interval_min = self.sys.interval.ms().max(1) as f64 / 60_000.0;
        for (load, figure) in self.sys.loads.iter_mut().zip(&LOADS) {
            load.step((figure.read)(&total), interval_min);
            for (topic, per_min) in figure.topics.iter().zip(load.per_min) {
                let mut text = String::new();
                let _infallible = write!(text, "{per_min:.2}");
                values.push((topic, text));
            }
        }
        for (topic, value) in values {
            if self.sys.published.get(topic) != Some(&value) {
                self.publish_own(now, topic, value.as_bytes());
                self.sys.published.insert(topic, value);
            }
        }
    }

    /// Publishes a retained message in the broker's own name.
    fn publish_own(&mut self, now: Instant, topic: &str, payload: &[u8]) {
        let message = Message {
            topic: topic.as_bytes(),
            forward: &[],
            payload,
            qos: QoS::AtMostOnce,
            retain: true,
            is_awaited: false,
            expiry_s: None,
            at: now,
            publisher: None,
            origin: 0,
            stored: OnceCell::new(),
            verbatim: None,
        };
        if let Ok((route, _)) = self.table.route(topic.as_bytes(), usize::MAX, &self.holders) {
            self.route_message(now, route, &message);
        }
    }
}

fn health(health: StoreHealth) -> &'static str {
    match health {
        StoreHealth::Good => "good",
        StoreHealth::Full => "full",
    }
}

impl Load {
    fn step(&mut self, value: u64, interval_min: f64) {
        let per_min = value.wrapping_sub(self.last) as f64 / interval_min;
        self.last = value;
        for (average, window_min) in self.per_min.iter_mut().zip([1.0, 5.0, 15.0]) {
            let weight = (-interval_min / window_min).exp();
            *average = per_min + weight * (*average - per_min);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_is_approached_and_the_short_window_gets_there_first() {
        let mut load = Load::default();
        for minute in 1..=5 {
            load.step(minute * 600, 1.0);
        }
        assert!(load.per_min[0] > 590.0 && load.per_min[0] <= 600.0);
        assert!(load.per_min[2] < load.per_min[1] && load.per_min[1] < load.per_min[0]);
    }
}
