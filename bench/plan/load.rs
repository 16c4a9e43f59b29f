//! Loads as commands of this very program, run as processes of their own.
//!
//! Why processes: what was run is then exactly what a person can type again, its memory and threads are nobody else's,
//! and a run that fails ends alone.
//!
//! Invariants:
//! - Publishers send one message per write, as devices do; consumers and brokers batch as they like.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::broker::Broker;
use super::coat::Coat;
use super::options::Receivers;
use crate::affinity;
use crate::failure::Failure;
use crate::report::{IdleReport, RunReport};

/// Seconds of traffic before counting, as a share of the counted time.
const WARMUP_SHARE: f64 = 0.25;
const WARMUP_S_MIN: f64 = 0.1;

/// Who sends what to whom, without the rate.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Pattern {
    /// Publishers.
    pub(crate) publishers: u32,
    /// Receivers of each message.
    pub(crate) fan_out: u32,
    /// Who they are.
    pub(crate) receivers: Receivers,
    /// Bytes of payload.
    pub(crate) payload: u32,
    /// On both legs.
    pub(crate) qos: u8,
    /// On both legs.
    pub(crate) coat: Coat,
}

/// The generator and where it aims.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Generator {
    /// Its processors, one thread each.
    pub(crate) processors: Vec<usize>,
    /// Counted seconds of each run.
    pub(crate) duration_s: f64,
}

impl Pattern {
    /// Deliveries of each message; devices receive one by one.
    pub(crate) fn deliveries(&self) -> f64 {
        match self.receivers {
            Receivers::Consumers => f64::from(self.fan_out),
            Receivers::Devices => 1.0,
        }
    }

    /// In a few words.
    pub(crate) fn words(&self) -> String {
        let receivers = match (self.receivers, self.fan_out) {
            (Receivers::Consumers, 1) => "1 consumer".to_owned(),
            (Receivers::Consumers, count) => format!("{count} consumers"),
            (Receivers::Devices, _) => "a device each".to_owned(),
        };
        format!("QoS {}, {} B, to {receivers}{}", self.qos, self.payload, self.coat.words())
    }

    fn arguments(&self) -> Vec<String> {
        let mut words: Vec<String> = match self.receivers {
            Receivers::Consumers => {
                let (receivers, publishers) = (self.fan_out.to_string(), self.publishers.to_string());
                vec!["fan-out".into(), "-c".into(), receivers, "--publishers".into(), publishers]
            }
            Receivers::Devices => vec!["pairs".into(), "-c".into(), self.publishers.to_string()],
        };
        words.extend(["-s".into(), self.payload.to_string(), "-q".into(), self.qos.to_string()]);
        words.extend(["--batch".into(), "1".into()]);
        words
    }
}

impl Generator {
    /// An open loop of `rate` messages per second.
    pub(crate) fn run(&self, broker: &Broker, pattern: &Pattern, rate: f64) -> Result<RunReport, Failure> {
        let mut words = pattern.arguments();
        let interval_ms = f64::from(pattern.publishers) * 1e3 / rate;
        let warmup_s = (self.duration_s * WARMUP_SHARE).max(WARMUP_S_MIN);
        words.extend(["-I".into(), format!("{interval_ms:.6}"), "--warmup".into(), format!("{warmup_s:.3}")]);
        words.extend(["--duration".into(), format!("{:.3}", self.duration_s)]);
        self.start(broker, pattern.coat, &words)
    }

    /// `count` connections that do nothing, each subscribed to a topic of its own or not at all.
    pub(crate) fn hold(&self, broker: &Broker, held: &Held) -> Result<IdleReport, Failure> {
        let mut words: Vec<String> = vec!["idle".into(), "-c".into(), held.count.to_string()];
        if held.is_subscribed {
            words.extend(["-t".into(), "plan/device/%i/in".into()]);
        }
        words.extend(["-k".into(), held.keep_alive_s.to_string()]);
        words.extend(["--settle".into(), format!("{:.3}", held.settle_s)]);
        words.extend(["--duration".into(), format!("{:.3}", held.duration_s)]);
        self.start(broker, held.coat, &words)
    }

    fn start<T: DeserializeOwned>(
        &self,
        broker: &Broker,
        coat: Coat,
        words: &[String],
    ) -> Result<T, Failure> {
        let failed = |cause: String| Failure::Target { target: words_of(words), cause };
        let door = broker.door(coat).ok_or_else(|| failed("the broker has no listener for this".into()))?;
        let ours =
            std::env::current_exe().map_err(|source| Failure::os("finding our own program", source))?;
        let mut command = Command::new(ours);
        let processors: Vec<String> = self.processors.iter().map(usize::to_string).collect();
        command.args(words).args(aim(door)).args(coat.arguments()).args(["--pid", &broker.pid.to_string()]);
        command.args(["--threads", &processors.len().to_string(), "--cpu", &processors.join(","), "--json"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = affinity::pinned(&self.processors, || command.spawn())?;
        let output = child.and_then(Child::wait_with_output).map_err(|error| failed(error.to_string()))?;
        if !output.status.success() {
            return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        serde_json::from_slice(&output.stdout)
            .map_err(|error| failed(format!("an unreadable report: {error}")))
    }
}

/// Connections to hold.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Held {
    /// How many.
    pub(crate) count: u32,
    /// Whether each subscribes.
    pub(crate) is_subscribed: bool,
    /// What they are wrapped in.
    pub(crate) coat: Coat,
    /// Seconds; 0 is none.
    pub(crate) keep_alive_s: u16,
    /// Seconds before each look at the memory.
    pub(crate) settle_s: f64,
    /// Seconds to hold them all.
    pub(crate) duration_s: f64,
}

fn aim(address: SocketAddr) -> [String; 4] {
    ["-h".into(), address.ip().to_string(), "-p".into(), address.port().to_string()]
}

fn words_of(words: &[String]) -> String {
    format!("ringmq-bench {}", words.join(" "))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::options::{Command, Options};

    #[test]
    fn every_pattern_is_a_command_that_is_understood() {
        let pattern = |receivers| Pattern {
            publishers: 20,
            fan_out: 3,
            receivers,
            payload: 64,
            qos: 1,
            coat: Coat::Tls,
        };
        let parsed = |pattern: Pattern| {
            let words = std::iter::once("ringmq-bench".to_owned()).chain(pattern.arguments());
            let words = words.chain(pattern.coat.arguments());
            Options::try_parse_from(words).map(|options| options.command)
        };
        assert!(matches!(parsed(pattern(Receivers::Consumers)), Ok(Command::FanOut(_))));
        assert!(matches!(parsed(pattern(Receivers::Devices)), Ok(Command::Pairs(_))));
        assert!((pattern(Receivers::Consumers).deliveries() - 3.0).abs() < f64::EPSILON);
        assert!((pattern(Receivers::Devices).deliveries() - 1.0).abs() < f64::EPSILON);
    }
}
