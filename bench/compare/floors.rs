//! What the broker under test is held to: ratios to others in the same run, and a few sizes.
//!
//! Why floors and targets: below a floor something is wrong; a target is where we want to be.
//!
//! Invariants:
//! - Ratios are taken within a round, and the median of the rounds is judged, so that a drifting machine cancels out.
//! - A row whose runs are missing is not judged.

use serde::Serialize;

use super::figures::{Comparison, Figure, Spread};
use super::target::{MOSQUITTO, NATS, NULL_EPOLL, NULL_RING, RUMQTTD, UNDER_TEST, UNDER_TEST_PLAIN};

/// One requirement.
struct Row {
    what: &'static str,
    load: &'static str,
    figure: Figure,
    /// Whose figure is the measure; `None` when the figure itself is judged.
    against: Option<&'static str>,
    sense: Sense,
    floor: f64,
    target: f64,
}

/// Which way is better.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Sense {
    /// Small.
    AtMost,
    /// Large.
    AtLeast,
}

/// A requirement and what was measured.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct Finding {
    /// What is judged.
    pub(crate) what: String,
    /// The load's letter.
    pub(crate) load: String,
    /// Which way is better.
    pub(crate) sense: Sense,
    /// Must hold.
    pub(crate) floor: f64,
    /// Is aimed at.
    pub(crate) target: f64,
    /// The ratio, or the figure where there is nobody to compare with.
    pub(crate) measured: Spread,
    /// How it stands.
    pub(crate) verdict: Verdict,
}

/// How a requirement stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// Target and floor are reached.
    Target,
    /// The floor is reached.
    Floor,
    /// Neither.
    Missed,
}

const fn at_most(
    what: &'static str,
    load: &'static str,
    figure: Figure,
    against: Option<&'static str>,
    [floor, target]: [f64; 2],
) -> Row {
    Row { what, load, figure, against, sense: Sense::AtMost, floor, target }
}

const ROWS: [Row; 18] = [
    at_most("CPU per message against nats-server", "B", Figure::CpuUs, Some(NATS), [0.85, 0.50]),
    Row {
        what: "messages/s against the null relay on our ring",
        load: "B",
        figure: Figure::Rate,
        against: Some(NULL_RING),
        sense: Sense::AtLeast,
        floor: 0.50,
        target: 0.75,
    },
    at_most("CPU per message against nats-server", "A", Figure::CpuUs, Some(NATS), [1.0, 0.75]),
    at_most("CPU per message against nats-server", "D", Figure::CpuUs, Some(NATS), [0.65, 0.40]),
    at_most("CPU per message against rumqttd", "E", Figure::CpuUs, Some(RUMQTTD), [0.45, 0.30]),
    at_most("CPU per message against nats-server", "C", Figure::CpuUs, Some(NATS), [0.60, 0.40]),
    at_most(
        "CPU per message against the null relay on epoll",
        "G",
        Figure::CpuUs,
        Some(NULL_EPOLL),
        [1.2, 1.05],
    ),
    at_most("p50 against mosquitto", "G", Figure::P50, Some(MOSQUITTO), [1.0, 0.95]),
    at_most("p99.9 against mosquitto", "G", Figure::P999, Some(MOSQUITTO), [1.0, 0.5]),
    at_most(
        "CPU per message against the null relay on epoll",
        "S",
        Figure::CpuUs,
        Some(NULL_EPOLL),
        [1.25, 1.0],
    ),
    at_most("user bytes per idle connection", "F", Figure::ConnectionBytes, None, [1_000.0, 500.0]),
    at_most("user bytes per idle connection", "F1", Figure::ConnectionBytes, None, [1_500.0, 800.0]),
    at_most("CPU per connect against mosquitto", "F", Figure::ConnectUs, Some(MOSQUITTO), [1.0, 0.7]),
    at_most("CPU per connect against mosquitto", "F1", Figure::ConnectUs, Some(MOSQUITTO), [1.0, 0.7]),
    at_most(
        "CPU per message against itself without TLS",
        "T",
        Figure::CpuUs,
        Some(UNDER_TEST_PLAIN),
        [2.2, 1.8],
    ),
    at_most(
        "CPU per message against itself over TCP",
        "W",
        Figure::CpuUs,
        Some(UNDER_TEST_PLAIN),
        [1.35, 1.2],
    ),
    at_most(
        "CPU per message against itself without rules",
        "L",
        Figure::CpuUs,
        Some(UNDER_TEST_PLAIN),
        [1.05, 1.02],
    ),
    at_most("user bytes per idle connection", "FT", Figure::ConnectionBytes, None, [20_000.0, 10_000.0]),
];

/// All requirements for which `comparison` has the runs.
pub(crate) fn judge(comparison: &Comparison) -> Vec<Finding> {
    ROWS.iter().filter_map(|row| row.judge(comparison)).collect()
}

impl Row {
    fn judge(&self, comparison: &Comparison) -> Option<Finding> {
        let measured = match self.against {
            Some(other) => comparison.ratio(self.load, UNDER_TEST, other, self.figure),
            None => comparison.spread(self.load, UNDER_TEST, self.figure),
        }?;
        let reaches = |limit: f64| match self.sense {
            Sense::AtMost => measured.median <= limit,
            Sense::AtLeast => measured.median >= limit,
        };
        let verdict = match (reaches(self.target), reaches(self.floor)) {
            (true, _) => Verdict::Target,
            (false, true) => Verdict::Floor,
            (false, false) => Verdict::Missed,
        };
        Some(Finding {
            what: self.what.to_owned(),
            load: self.load.to_owned(),
            sense: self.sense,
            floor: self.floor,
            target: self.target,
            measured,
            verdict,
        })
    }
}

impl Finding {
    /// The row of a table: load, what, floor, target, measured, verdict.
    pub(crate) fn cells(&self) -> [String; 6] {
        let sense = match self.sense {
            Sense::AtMost => "at most",
            Sense::AtLeast => "at least",
        };
        let decimals = if self.floor >= 100.0 { 0 } else { 2 };
        [
            self.load.clone(),
            self.what.clone(),
            format!("{sense} {:.decimals$}", self.floor),
            format!("{sense} {:.decimals$}", self.target),
            self.measured.show(decimals),
            match self.verdict {
                Verdict::Target => "target reached",
                Verdict::Floor => "floor reached",
                Verdict::Missed => "not reached",
            }
            .to_owned(),
        ]
    }
}

/// The columns of `Finding::cells`.
pub(crate) const COLUMNS: [&str; 6] = ["load", "what", "floor", "target", "measured", "verdict"];

#[cfg(test)]
mod tests {
    use super::super::table::tests::{comparison, idle, traffic};
    use super::*;

    fn verdicts(comparison: &Comparison) -> Vec<(String, Verdict)> {
        judge(comparison).into_iter().map(|finding| (finding.what, finding.verdict)).collect()
    }

    #[test]
    fn a_ratio_is_judged_by_the_median_of_the_rounds() {
        let judged = |ours: [f64; 3]| {
            let rounds = ours.map(|ours| vec![(UNDER_TEST, traffic(ours, 0)), (NATS, traffic(1_000.0, 0))]);
            verdicts(&comparison("B", &rounds))
        };
        let cpu = "CPU per message against nats-server".to_owned();
        assert_eq!(judged([400.0, 9_000.0, 500.0]), [(cpu.clone(), Verdict::Target)]);
        assert_eq!(judged([400.0, 9_000.0, 850.0]), [(cpu.clone(), Verdict::Floor)]);
        assert_eq!(judged([400.0, 9_000.0, 851.0]), [(cpu, Verdict::Missed)]);
    }

    #[test]
    fn a_rate_must_be_large() {
        // The figures in these tests deliver one message per CPU time.
        let rounds = [vec![(UNDER_TEST, traffic(1_000.0, 0)), (NULL_RING, traffic(600.0, 0))]];
        let found = judge(&comparison("B", &rounds));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].sense, found[0].verdict), (Sense::AtLeast, Verdict::Floor));
        assert_eq!(
            found[0].cells()[2..],
            ["at least 0.50", "at least 0.75", "0.60 (0.60 to 0.60)", "floor reached"]
        );
    }

    #[test]
    fn sizes_are_judged_without_anybody_else() {
        let found = judge(&comparison("F1", &[vec![(UNDER_TEST, idle(900.0))]]));
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].cells()[2..],
            ["at most 1500", "at most 800", "900 (900 to 900)", "floor reached"]
        );
    }

    #[test]
    fn without_the_other_side_there_is_no_verdict() {
        assert_eq!(judge(&comparison("E", &[vec![(UNDER_TEST, traffic(1.0, 0))]])), []);
        assert_eq!(judge(&comparison("E", &[vec![(RUMQTTD, traffic(1.0, 0))]])), []);
    }
}
