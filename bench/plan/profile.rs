//! What one message costs the broker in processor time, by kind, from designed experiments.
//!
//! Why experiments and not one run: publishing and delivering, small and large messages, receivers that hear everything
//! and receivers that hear one device all have costs of their own, and a single load only shows their sum. Payload and
//! fan-out change independently here, so least squares can take the sum apart. Why all at one rate of events, publishes
//! and deliveries together: a broker that is half busy handles several messages per turn and an idle one wakes up for each,
//! so a cost belongs to a rate, and the one that matters is the one that machines are planned with. Why not all at one
//! utilisation: it grows so slowly with the rate that the rate at which it is reached is mostly noise.
//!
//! Why a term for pauses: at one rate of events a wider fan-out means fewer messages for each receiver, and one that has
//! gone to sleep since the last message must be woken by the sender. Costs of a delivery therefore rise with the time
//! between two of them, and a sum of fixed costs lies above what is measured between two fan-outs.
//!
//! Invariants:
//! - What was reached stands beside each observation.
//! - A run that lost messages is repeated at half its rate, and the fit counts deliveries that arrived.
//! - Each QoS has a fit of its own: acknowledgements change every term. So has TLS.

use serde::{Deserialize, Serialize};

use super::broker::Broker;
use super::coat::Coat;
use super::load::{Generator, Pattern};
use super::options::Receivers;
use super::statistics::{Estimate, Fit, Observation};
use crate::failure::Failure;
use crate::report::RunReport;

/// The pilot's rate in messages per second: any broker carries it, and it keeps the core awake.
const PILOT_RATE: f64 = 4_000.0;
/// A generator thread above this share of its core would soon measure itself.
pub(crate) const GENERATOR_MAX: f64 = 0.85;
/// Runs in search of the rate, at most.
const PILOTS_MAX: u32 = 7;
/// Rates whose logarithms differ by less count as the same.
const NEAR: f64 = 0.12;
/// The power of the rate with which utilisation grows, until two runs tell.
const FIRST_POWER: f64 = 0.6;
/// Deliveries that must arrive, as a share, for an experiment to count.
const ARRIVED: f64 = 0.98;
/// How often a rate is halved to get there.
const SLOWER_MAX: u32 = 5;
/// Consumers in the experiments with fan-out: three counts, with one, because a term that is bent needs three.
const SOME: u32 = 4;
const MANY: u32 = 8;
/// Half of all receivers sleep when messages come with such gaps, in seconds: about as long as a message is under way on a
/// core that is half busy. The measured fan-outs hardly depend on it; it keeps the pauses of larger ones from growing
/// without end, since nobody sleeps more than deeply.
const PAUSE_S: f64 = 100e-6;
/// The two payloads of the design, in bytes.
pub(crate) const PAYLOADS: [u32; 2] = [16, 1_024];

/// Names of the costs, in the order of the amounts.
pub(crate) const KINDS: [&str; 6] = [
    "publish in",
    "delivery to a consumer",
    "delivery to a device",
    "byte in",
    "byte out",
    "more if it sleeps between",
];

/// One experiment.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Experiment {
    /// Who sent what to whom.
    pub(crate) pattern: Pattern,
    /// Messages published per second.
    pub(crate) rate: f64,
    /// Deliveries of each, as they arrived.
    pub(crate) deliveries: f64,
    /// Processor time of the broker over elapsed time.
    pub(crate) cores: f64,
    /// Processor time of the broker per published message, in nanoseconds.
    pub(crate) cost_ns: f64,
    /// Processor time of the busiest generator thread, used or waited for, over elapsed time.
    pub(crate) generator_cores: f64,
}

impl Experiment {
    /// Publishes and deliveries per second.
    pub(crate) fn events_per_s(&self) -> f64 {
        self.rate * (1.0 + self.deliveries)
    }
}

/// The costs at one QoS, with or without TLS.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct Profile {
    /// The QoS.
    pub(crate) qos: u8,
    /// What both legs are wrapped in.
    pub(crate) coat: Coat,
    /// Publishes and deliveries per second at which the costs were measured.
    pub(crate) events_per_s: f64,
    /// What was measured.
    pub(crate) experiments: Vec<Experiment>,
    /// Nanoseconds of each of [`KINDS`]; empty if the experiments do not tell them apart.
    pub(crate) costs_ns: Vec<Estimate>,
    /// Typical relative distance between experiment and fit.
    pub(crate) residual: f64,
    /// Why there are no costs or no intervals.
    pub(crate) doubt: Option<String>,
    #[serde(skip)]
    fit: Option<Fit>,
}

/// The amounts that make up the cost of one published message.
fn amounts(mix: &Mix) -> Vec<f64> {
    let Mix { fan_out, receivers, payload, rate } = *mix;
    let (consumers, devices) = match receivers {
        Receivers::Consumers => (fan_out, 0.0),
        Receivers::Devices => (0.0, fan_out),
    };
    // A consumer gets every message, so it is asleep the more often the rarer they are. What it costs to wake it when it is
    // alone belongs to a plain delivery; with others, the same number of events leaves fewer messages for each.
    let asleep = |rate: f64| 1.0 / (1.0 + rate * PAUSE_S);
    let more_asleep = (asleep(rate) - asleep(rate * (1.0 + fan_out) / 2.0)).max(0.0);
    vec![1.0, consumers, devices, payload, payload * fan_out, consumers * more_asleep]
}

/// One published message, and how many of them there are.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Mix {
    fan_out: f64,
    receivers: Receivers,
    payload: f64,
    /// Messages published per second on one core.
    rate: f64,
}

impl Profile {
    /// Fits the costs to `experiments`.
    pub(crate) fn of(qos: u8, coat: Coat, experiments: Vec<Experiment>) -> Self {
        let observe = |one: &Experiment| {
            let Pattern { receivers, payload, .. } = one.pattern;
            let mix = Mix { fan_out: one.deliveries, receivers, payload: f64::from(payload), rate: one.rate };
            Observation { amounts: amounts(&mix), cost: one.cost_ns }
        };
        let fit = Fit::of(&experiments.iter().map(observe).collect::<Vec<_>>());
        let doubt = match &fit {
            Ok(fit) if fit.has_interval() => None,
            Ok(_) => Some("there was no experiment to spare, so there is no interval".to_owned()),
            Err(unknown) => Some(unknown.to_string()),
        };
        let fit = fit.ok();
        let costs = |fit: &Fit| (0..KINDS.len()).map(|kind| fit.coefficient(kind)).collect();
        let events: Vec<f64> = experiments.iter().map(Experiment::events_per_s).collect();
        Self {
            qos,
            coat,
            events_per_s: Estimate::of_repeats(&events).map_or(0.0, |events| events.value),
            costs_ns: fit.as_ref().map(costs).unwrap_or_default(),
            residual: fit.as_ref().map_or(0.0, |fit| fit.residual),
            experiments,
            doubt,
            fit,
        }
    }

    /// What it is about, for a table.
    pub(crate) fn name(&self) -> String {
        format!("{}{}", self.qos, self.coat.name())
    }

    /// Processor time of one published message with all its deliveries, in nanoseconds, on a core that has as many events
    /// per second as the experiments had.
    pub(crate) fn cost_ns(&self, fan_out: f64, receivers: Receivers, payload: f64) -> Option<Estimate> {
        let fit = self.fit.as_ref()?;
        let rate = self.events_per_s / (1.0 + fan_out);
        let mean = fit.predict(&amounts(&Mix { fan_out, receivers, payload, rate }));
        // The curve itself is bent a little everywhere; its typical miss belongs to a single figure.
        let miss = mean.value * fit.residual;
        let low = mean.value - (mean.value - mean.low).hypot(miss);
        Some(Estimate { low: low.max(0.0), high: mean.value + (mean.high - mean.value).hypot(miss), ..mean })
    }
}

/// The experiments of one QoS in one coat: fan-out, receivers and payload changed independently.
pub(crate) fn design(qos: u8, publishers: u32, coat: Coat) -> Vec<Pattern> {
    let consumers = [1, SOME, MANY].map(|count| (count, Receivers::Consumers));
    let kinds = consumers.into_iter().chain([(1, Receivers::Devices)]);
    let pattern = |(fan_out, receivers)| {
        PAYLOADS.map(|payload| Pattern { publishers, fan_out, receivers, payload, qos, coat })
    };
    kinds.flat_map(pattern).collect()
}

/// The rate at which `pattern` should keep the broker as busy as planned.
pub(crate) fn pilot(
    broker: &Broker,
    generator: &Generator,
    pattern: &Pattern,
    utilisation: f64,
) -> Result<f64, Failure> {
    let short = Generator { duration_s: (generator.duration_s / 3.0).max(0.2), ..generator.clone() };
    let mut rate = PILOT_RATE;
    let mut earlier = None;
    for _ in 0..PILOTS_MAX {
        let one = run(broker, &short, pattern, rate)?;
        rate = steer(earlier.as_ref(), &one, utilisation);
        if (rate / one.rate).ln().abs() < NEAR {
            break;
        }
        earlier = Some(one);
    }
    Ok(rate)
}

/// One run of `pattern` at `rate`, or at the rate below it at which everything arrives.
pub(crate) fn run(
    broker: &Broker,
    generator: &Generator,
    pattern: &Pattern,
    rate: f64,
) -> Result<Experiment, Failure> {
    let mut one = run_once(broker, generator, pattern, rate)?;
    // A message that is dropped costs less than one that is delivered, and would make deliveries look free.
    for _ in 0..SLOWER_MAX {
        if one.deliveries >= pattern.deliveries() * ARRIVED {
            break;
        }
        one = run_once(broker, generator, pattern, one.rate / 2.0)?;
    }
    Ok(one)
}

fn run_once(
    broker: &Broker,
    generator: &Generator,
    pattern: &Pattern,
    rate: f64,
) -> Result<Experiment, Failure> {
    let report = generator.run(broker, pattern, rate)?;
    let cost = cost_ns(&report).ok_or_else(|| Failure::Target {
        target: "the broker".into(),
        cause: format!("nothing was sent or no processor time was used at {rate:.0} messages/s"),
    })?;
    // A thread that waits for its processor is as much at its end as one that uses it.
    let busy =
        report.generator.iter().map(|thread| thread.cores + thread.cores_waited_for).fold(0.0, f64::max);
    Ok(Experiment {
        pattern: *pattern,
        rate: report.sent_per_s,
        deliveries: report.received_per_s / report.sent_per_s,
        cores: report.broker.as_ref().map_or(0.0, |broker| broker.cores),
        cost_ns: cost,
        generator_cores: busy,
    })
}

/// Processor time of the broker per published message.
pub(crate) fn cost_ns(report: &RunReport) -> Option<f64> {
    let cores = report.broker.as_ref()?.cores;
    (report.sent_per_s > 0.0 && cores > 0.0).then(|| cores / report.sent_per_s * 1e9)
}

/// The next rate: the planned utilisation, but never more than the generator can make.
///
/// A broker that is busier handles more at once, so its utilisation grows far slower than the rate: as a power of it, which
/// two runs at different rates tell.
fn steer(earlier: Option<&Experiment>, one: &Experiment, utilisation: f64) -> f64 {
    let power = earlier.map_or(FIRST_POWER, |earlier| {
        let step = (one.rate / earlier.rate).ln();
        if step.abs() < NEAR { FIRST_POWER } else { (one.cores / earlier.cores).ln() / step }
    });
    let factor = (utilisation / one.cores.max(0.001)).powf(1.0 / power.clamp(0.25, 1.0));
    let wanted = one.rate * factor.clamp(0.2, 5.0);
    let possible = one.rate * GENERATOR_MAX / one.generator_cores.max(0.01);
    wanted.min(possible).max(100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRUTH_NS: [f64; 6] = [900.0, 120.0, 1_500.0, 0.2, 0.4, 600.0];

    fn cost_ns(pattern: &Pattern, deliveries: f64, rate: f64) -> f64 {
        let mix = Mix {
            fan_out: deliveries,
            receivers: pattern.receivers,
            payload: f64::from(pattern.payload),
            rate,
        };
        amounts(&mix).iter().zip(TRUTH_NS).map(|(amount, cost)| amount * cost).sum()
    }

    fn fitted(qos: u8, experiments: Vec<Experiment>) -> Profile {
        Profile::of(qos, Coat::Plain, experiments)
    }

    fn design(qos: u8, publishers: u32) -> Vec<Pattern> {
        super::design(qos, publishers, Coat::Plain)
    }

    const EVENTS_PER_S: f64 = 1e5;

    fn experiment(pattern: Pattern, factor: f64) -> Experiment {
        let deliveries = pattern.deliveries();
        let rate = EVENTS_PER_S / (1.0 + deliveries);
        Experiment {
            pattern,
            rate,
            deliveries,
            cores: 0.5,
            cost_ns: cost_ns(&pattern, deliveries, rate) * factor,
            generator_cores: 0.3,
        }
    }

    #[test]
    fn the_design_tells_all_kinds_apart() {
        let profile = fitted(1, design(1, 100).into_iter().map(|pattern| experiment(pattern, 1.0)).collect());
        assert_eq!(profile.doubt, None);
        for (cost, truth) in profile.costs_ns.iter().zip(TRUTH_NS) {
            assert!((cost.value / truth - 1.0).abs() < 1e-6, "{profile:?}");
        }
        let cost = profile.cost_ns(3.0, Receivers::Consumers, 200.0).expect("a fit");
        // 25,000/s leave a consumer 40 us between two messages, 50,000/s 20 us, and 100 us are half asleep.
        let more_asleep = 40.0 / 140.0 - 20.0 / 120.0;
        let expected = 900.0 + 360.0 + 40.0 + 240.0 + 3.0 * 600.0 * more_asleep;
        assert!((cost.value - expected).abs() < 1e-6, "{cost:?}");
    }

    #[test]
    fn a_delivery_costs_more_where_messages_are_rarer() {
        let profile = fitted(1, design(1, 100).into_iter().map(|pattern| experiment(pattern, 1.0)).collect());
        let cost = |fan_out: f64| profile.cost_ns(fan_out, Receivers::Consumers, 16.0).expect("a fit").value;
        let one_more = |fan_out: f64| cost(fan_out + 1.0) - cost(fan_out);
        assert!(one_more(2.0) < one_more(6.0) && one_more(6.0) < one_more(40.0));
        let most = 120.0 + 0.4 * 16.0 + 600.0 * (1.0 - 20.0 / 120.0);
        assert!((one_more(100_000.0) / most - 1.0).abs() < 0.01, "no longer once everybody sleeps");
    }

    #[test]
    fn deliveries_that_never_arrived_do_not_make_the_others_cheap() {
        let lossy = design(1, 100).into_iter().map(|pattern| {
            let whole = experiment(pattern, 1.0);
            let arrived = if pattern.fan_out > 1 { whole.deliveries / 2.0 } else { whole.deliveries };
            Experiment { deliveries: arrived, cost_ns: cost_ns(&pattern, arrived, whole.rate), ..whole }
        });
        let profile = fitted(1, lossy.collect());
        assert!((profile.costs_ns[1].value / TRUTH_NS[1] - 1.0).abs() < 1e-6, "{profile:?}");
    }

    #[test]
    fn half_of_the_design_is_not_enough_and_says_so() {
        let half = design(0, 100).into_iter().filter(|pattern| pattern.payload == PAYLOADS[0]);
        let profile = fitted(0, half.map(|pattern| experiment(pattern, 1.0)).collect());
        assert!(profile.doubt.is_some() && profile.costs_ns.is_empty());
        assert_eq!(profile.cost_ns(1.0, Receivers::Consumers, 16.0), None);
    }

    #[test]
    fn noise_becomes_an_interval() {
        let noisy = design(0, 100).into_iter().cycle().take(24).enumerate();
        let factor = |place: usize| if place.is_multiple_of(2) { 1.05 } else { 0.95 };
        let profile =
            fitted(0, noisy.map(|(place, pattern)| experiment(pattern, factor(place / 8))).collect());
        let cost = profile.cost_ns(1.0, Receivers::Consumers, 16.0).expect("a fit");
        assert!(cost.low < cost.value && cost.value < cost.high && cost.high < cost.value * 1.3, "{cost:?}");
    }

    #[test]
    fn rates_are_steered_to_the_planned_utilisation_within_the_generators_reach() {
        // Twice as busy at thirty times the rate, as brokers that batch are.
        let at = |rate: f64| Experiment {
            rate,
            cores: 0.25 * (rate / 4_000.0).powf(0.3),
            generator_cores: rate / 1e6,
            ..experiment(design(0, 100)[0], 1.0)
        };
        let mut runs = vec![at(PILOT_RATE)];
        while runs.len() < 5 {
            let earlier = runs.len().checked_sub(2).map(|place| &runs[place]);
            runs.push(at(steer(earlier, &runs[runs.len() - 1], 0.5)));
        }
        let reached = runs[4].cores;
        assert!((reached / 0.5 - 1.0).abs() < 0.05, "{reached}");
        let tired = Experiment { generator_cores: 0.85, ..at(20_000.0) };
        assert!((steer(None, &tired, 0.5) - 20_000.0).abs() < 1e-6, "the generator is the limit here");
    }
}
