//! A service level: how late and how lossy a run may be.
//!
//! Why judged on open-loop runs only: a closed loop slows down with the broker, and its percentiles flatter it.
//!
//! Invariants:
//! - A run that did not carry the load asked for meets no service level, however fast its messages were.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::number::ratio;
use crate::report::RunReport;

/// An offered rate counts as carried from this share on.
const CARRIED: f64 = 0.995;
/// Deliveries of the counted time may lag behind what was sent by this share; more is a queue that grows.
const DELIVERED: f64 = 0.99;
/// The generator is late when its own lag is more than this share of the latency that it measured.
const LAG_SHARE_MAX: f64 = 0.5;
/// A generator thread above this share of its processor measures itself.
const SATURATED: f64 = 0.93;

/// A service level.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Slo {
    /// As it was asked for.
    pub(crate) text: String,
    /// Percentiles and their limits in microseconds.
    limits: Vec<(Quantile, f64)>,
    /// Share of messages that may be lost.
    loss_max: f64,
}

/// A broker that waits for a processor for more than this share of its own time shares it with something else.
const WAITED_SHARE_MAX: f64 = 0.5;

/// A percentile that runs report.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Quantile {
    P50,
    P90,
    P99,
    P999,
    Max,
}

/// What a run was asked to carry.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Offer {
    /// Messages published per second.
    pub(crate) rate: f64,
    /// Deliveries of each.
    pub(crate) fan_out: f64,
}

/// What a run says about its rate.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// The service level was met.
    Met,
    /// The broker did not meet it.
    Missed(String),
    /// The generator could not make the load, or something else was using the broker's processor.
    Unmade(String),
}

impl Slo {
    /// Whether the run of `report`, which was offered `offer`, met the level.
    pub(crate) fn judge(&self, report: &RunReport, offer: Offer) -> Verdict {
        let verdict = self.judge_traffic(report, offer);
        let Some(broker) = &report.broker else { return verdict };
        match verdict {
            Verdict::Missed(why) if broker.cores_waited_for > broker.cores * WAITED_SHARE_MAX => {
                Verdict::Unmade(format!(
                    "{why}, but the broker waited for a processor that something else was using"
                ))
            }
            verdict => verdict,
        }
    }

    fn judge_traffic(&self, report: &RunReport, offer: Offer) -> Verdict {
        let rate = offer.rate;
        let latency = &report.latency;
        let lag = report.lag.p99_us;
        let busy = report.generator.iter().map(|thread| thread.cores).fold(0.0, f64::max);
        if report.sent_per_s < rate * CARRIED {
            let carried = format!("only {:.0} of {rate:.0} messages/s were sent", report.sent_per_s);
            // A broker that stops reading holds the generator up as well; only a busy generator is to blame itself.
            return if busy > SATURATED { Verdict::Unmade(carried) } else { Verdict::Missed(carried) };
        }
        let lost = ratio(report.lost, report.expected);
        if lost > self.loss_max {
            return Verdict::Missed(format!("{} of {} messages were lost", report.lost, report.expected));
        }
        for (quantile, limit_us) in &self.limits {
            let measured_us = match quantile {
                Quantile::P50 => latency.p50_us,
                Quantile::P90 => latency.p90_us,
                Quantile::P99 => latency.p99_us,
                Quantile::P999 => latency.p999_us,
                Quantile::Max => latency.max_us,
            };
            if measured_us > *limit_us {
                let text = format!("{quantile:?} was {measured_us:.0} us, more than {limit_us:.0} us")
                    .to_lowercase();
                let own = busy > SATURATED || lag > measured_us * LAG_SHARE_MAX;
                return if own {
                    Verdict::Unmade(format!("{text}, and the generator was late itself"))
                } else {
                    Verdict::Missed(text)
                };
            }
        }
        if report.received_per_s < report.sent_per_s * offer.fan_out * DELIVERED {
            return Verdict::Missed("a queue was growing".into());
        }
        Verdict::Met
    }
}

impl FromStr for Slo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut slo = Self { text: text.to_owned(), limits: vec![], loss_max: 1.0 };
        for part in text.split(',') {
            let unknown = || format!("`{part}` is not a level such as p99=10ms, max=1s or loss=0.1%");
            let (name, limit) = part.trim().split_once('=').ok_or_else(unknown)?;
            let quantile = match name.trim() {
                "p50" => Quantile::P50,
                "p90" => Quantile::P90,
                "p99" => Quantile::P99,
                "p99.9" | "p999" => Quantile::P999,
                "max" => Quantile::Max,
                "loss" => {
                    slo.loss_max = share(limit.trim()).ok_or_else(unknown)?;
                    continue;
                }
                _ => return Err(unknown()),
            };
            slo.limits.push((quantile, microseconds(limit.trim()).ok_or_else(unknown)?));
        }
        Ok(slo)
    }
}

fn microseconds(text: &str) -> Option<f64> {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6)];
    let (number, factor) =
        units.into_iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    positive(number).map(|number| number * factor)
}

fn share(text: &str) -> Option<f64> {
    let share = match text.strip_suffix('%') {
        Some(number) => positive(number)? / 100.0,
        None => positive(text)?,
    };
    (share <= 1.0).then_some(share)
}

fn positive(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{BrokerUse, ThreadUse};
    use crate::sheet::Percentiles;

    const OFFER: Offer = Offer { rate: 1_000.0, fan_out: 1.0 };

    fn slo(text: &str) -> Slo {
        text.parse().expect("a lawful level")
    }

    fn report() -> RunReport {
        RunReport {
            elapsed_s: 1.0,
            sent_per_s: 1_000.0,
            received_per_s: 1_000.0,
            expected: 1_000,
            latency: Percentiles { p99_us: 900.0, p999_us: 5_000.0, ..Percentiles::default() },
            ..RunReport::default()
        }
    }

    #[test]
    fn levels_are_read_with_their_units() {
        assert_eq!(slo("p99=10ms,loss=0").limits, [(Quantile::P99, 10_000.0)]);
        assert_eq!(
            slo("p50=200us, p99.9=1.5s").limits,
            [(Quantile::P50, 200.0), (Quantile::P999, 1_500_000.0)]
        );
        assert!((slo("loss=0.1%").loss_max - 0.001).abs() < 1e-12);
        for wrong in ["", "p98=1ms", "p99", "p99=10", "p99=-1ms", "loss=2", "loss=x"] {
            assert!(wrong.parse::<Slo>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn late_lossy_and_slow_runs_miss_the_level() {
        let level = slo("p99=1ms,loss=0");
        assert_eq!(level.judge(&report(), OFFER), Verdict::Met);
        let missed = |report: RunReport| matches!(level.judge(&report, OFFER), Verdict::Missed(_));
        assert!(missed(RunReport { lost: 1, ..report() }));
        assert!(missed(RunReport { sent_per_s: 990.0, ..report() }));
        assert!(missed(RunReport {
            latency: Percentiles { p99_us: 1_100.0, ..Percentiles::default() },
            ..report()
        }));
        assert!(missed(RunReport { received_per_s: 900.0, ..report() }));
        assert!(!matches!(slo("p99.9=4ms").judge(&report(), OFFER), Verdict::Met));
    }

    #[test]
    fn a_generator_that_is_late_itself_blames_nobody_else() {
        let level = slo("p99=1ms");
        let busy = vec![ThreadUse { cores: 0.99, cores_waited_for: 0.0 }];
        let unmade = |report: RunReport| matches!(level.judge(&report, OFFER), Verdict::Unmade(_));
        assert!(unmade(RunReport { sent_per_s: 900.0, generator: busy, ..report() }));
        let latency = Percentiles { p99_us: 2_000.0, ..Percentiles::default() };
        let lag = Percentiles { p99_us: 1_500.0, ..Percentiles::default() };
        assert!(unmade(RunReport { latency, lag, ..report() }));
    }

    #[test]
    fn a_broker_without_a_processor_is_not_to_blame_either() {
        let late = Percentiles { p99_us: 2_000.0, ..Percentiles::default() };
        let broker = |cores_waited_for| BrokerUse {
            pid: 1,
            name: "x".into(),
            cpu_ns_per_message: 1.0,
            user_share: 0.5,
            cores: 0.1,
            cores_waited_for,
            resident_bytes: 1,
        };
        let judged = |waited| {
            slo("p99=1ms")
                .judge(&RunReport { latency: late, broker: Some(broker(waited)), ..report() }, OFFER)
        };
        assert!(matches!(judged(0.01), Verdict::Missed(_)));
        assert!(matches!(judged(0.2), Verdict::Unmade(_)));
    }
}
