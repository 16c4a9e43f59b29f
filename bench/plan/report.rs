//! A capacity plan for people, as Markdown.
//!
//! Why Markdown on the terminal too: it reads well there, and what somebody pastes into a ticket is what they saw.
//!
//! Invariants:
//! - No figure without its interval where there is one, and none beyond the measurements without the word
//!   EXTRAPOLATED.

use std::fmt::{self, Write};

use serde::Serialize;

use super::coat::Coat;
use super::disk::Disk;
use super::limits::{Answer, Question, Supply};
use super::memory::{Kept, Memory};
use super::options::Receivers;
use super::profile::{KINDS, Profile};
use super::scaling::Across;
use super::search::Finding;
use super::slo::{Slo, Verdict};
use super::statistics::Estimate;
use super::verify::Check;
use crate::compare::Machine;
use crate::html::compact;

/// Everything that a plan found out.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct PlanReport {
    /// The broker, in words.
    pub(crate) broker: String,
    /// Where it was measured.
    pub(crate) machine: Machine,
    /// Whether runs were short.
    pub(crate) is_quick: bool,
    /// The question.
    pub(crate) question: Question,
    /// One machine to plan with.
    pub(crate) supply: Supply,
    /// The service level.
    pub(crate) slo: Slo,
    /// The load of the search, in words.
    pub(crate) load: String,
    /// The highest rate at the service level, on one core.
    pub(crate) finding: Finding,
    /// Costs by QoS.
    pub(crate) profiles: Vec<Profile>,
    /// Memory and connects.
    pub(crate) memory: Memory,
    /// The disk.
    pub(crate) disk: Disk,
    /// Cores; `None` for a broker that could not be restarted.
    pub(crate) across: Option<Across>,
    /// The answer; `None` without costs.
    pub(crate) answer: Option<Answer>,
    /// Why there is none.
    pub(crate) unanswered: Option<String>,
    /// Predictions and measurements; empty without `--verify`.
    pub(crate) checks: Vec<Check>,
    /// What a reader must know before believing the figures.
    pub(crate) notes: Vec<String>,
}

impl Question {
    /// In one sentence.
    pub(crate) fn words(&self) -> String {
        let receivers = match self.receivers {
            Receivers::Consumers => "consumers that hear everything",
            Receivers::Devices => "other devices",
        };
        format!(
            "{} devices, one message of {:.0} B each every {} s at QoS {}, each to {} of the {receivers}{}",
            compact(self.devices),
            self.payload,
            compact(self.period_s),
            self.qos,
            compact(self.fan_out),
            self.coat.words()
        )
    }
}

impl Answer {
    /// In one sentence.
    pub(crate) fn words(&self) -> String {
        let machines = self.machines;
        let first = self.demands.first().map_or("nothing", |demand| demand.resource.name());
        let mut text =
            format!("{:.0} machine{}", machines.value, if machines.value > 1.0 { "s" } else { "" });
        if machines.low < machines.high {
            let _ = write!(text, " ({:.0} to {:.0})", machines.low, machines.high);
        }
        let _ = write!(text, ", and one more to lose one; the first limit is {first}");
        if !self.also_first.is_empty() {
            let also: Vec<&str> = self.also_first.iter().map(|resource| resource.name()).collect();
            let _ = write!(text, ", though within the intervals it could be {}", also.join(" or "));
        }
        text
    }
}

/// A figure with its interval.
pub(crate) fn interval(estimate: &Estimate) -> String {
    let Estimate { value, low, high } = *estimate;
    let near = |end: f64| (end - value).abs() <= value.abs() * 0.005;
    if near(low) && near(high) {
        return compact(value);
    }
    let high = if high.is_finite() { compact(high) } else { "unknown".to_owned() };
    format!("{} ({} to {high})", compact(value), compact(low))
}

/// What became of a step of the search.
pub(crate) fn verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Met => "met".to_owned(),
        Verdict::Missed(why) => format!("missed: {why}"),
        Verdict::Unmade(why) => format!("not the broker's limit: {why}"),
    }
}

impl PlanReport {
    /// The service level's rate in one sentence.
    pub(crate) fn sustainable(&self) -> String {
        let Finding { rate, cores, is_lower_bound, missed, .. } = &self.finding;
        if *rate <= 0.0 {
            return format!("no rate met {} ({})", self.slo.text, self.load);
        }
        let bound = match (is_lower_bound, missed) {
            (true, _) => "at least, the broker was not at its end: ".to_owned(),
            (false, Some(missed)) => format!("lost at {}/s: ", compact(*missed)),
            (false, None) => String::new(),
        };
        format!(
            "{}/s on one core at {} ({bound}{} cores busy; {})",
            compact(*rate),
            self.slo.text,
            compact(*cores),
            self.load
        )
    }

    /// Why there is no answer, in words.
    pub(crate) fn no_answer(&self) -> &str {
        self.unanswered.as_deref().unwrap_or("the costs are unknown")
    }

    /// What TLS makes of a message as it is asked about, of a connect and of a connection; `None` if it was not measured.
    pub(crate) fn tls_words(&self) -> Option<String> {
        let Question { qos, fan_out, receivers, payload, .. } = self.question;
        let cost = |coat: Coat| {
            let mut profiles = self.profiles.iter();
            let profile = profiles.find(|profile| profile.qos == qos && profile.coat == coat)?;
            profile.cost_ns(fan_out, receivers, payload)
        };
        let (plain, sealed) = (cost(Coat::Plain)?, cost(Coat::Tls)?);
        let connect_ns = self.memory.sealed_connect_ns?;
        let bytes = self.memory.sealed.as_ref()?.bytes();
        Some(format!(
            "Over TLS a message as it is asked about costs {} us, without {} us: {:.2} times as much. CONNECT with \
             SUBSCRIBE and a full TLS handshake: {} us, so one core does {:.0} a second. A connection takes {} B, \
             without TLS {} B.",
            interval(&sealed.times(1e-3)),
            interval(&plain.times(1e-3)),
            sealed.value / plain.value,
            interval(&connect_ns.times(1e-3)),
            1e9 / connect_ns.value,
            interval(&bytes),
            interval(&self.memory.subscriber.bytes())
        ))
    }

    fn markdown_answer(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(answer) = &self.answer else {
            return writeln!(f, "**No answer**: {}.\n", self.no_answer());
        };
        writeln!(f, "**{}.**\n", answer.words())?;
        writeln!(
            f,
            "{}/s published{}, planned with {:.0} % of the cores of machines with {} cores, {:.1} GiB and {} Gbit/s.\n",
            compact(answer.rate),
            self.question.coat.name(),
            answer.utilisation * 100.0,
            self.supply.cores,
            self.supply.memory_bytes / 1_073_741_824.0,
            compact(self.supply.network_bytes_per_s * 8.0 / 1e9)
        )?;
        writeln!(f, "| resource | needed in all | one machine may give | machines | basis | because |")?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        for demand in &answer.demands {
            writeln!(
                f,
                "| {} | {} {} | {} | {} | {} | {} |",
                demand.resource.name(),
                interval(&demand.amount),
                demand.unit,
                interval(&demand.per_machine),
                interval(&demand.machines),
                demand.basis.name(),
                demand.because
            )?;
        }
        writeln!(f)?;
        for reason in &answer.extrapolations {
            writeln!(f, "- EXTRAPOLATED: {reason}")?;
        }
        if answer.extrapolations.is_empty() { Ok(()) } else { writeln!(f) }
    }

    fn markdown_search(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "## Highest rate at the service level\n\n{}\n", self.sustainable())?;
        writeln!(
            f,
            "| offered/s | p50 us | p99 us | p99.9 us | broker cores | level |\n|---|---|---|---|---|---|"
        )?;
        for trial in &self.finding.trials {
            writeln!(
                f,
                "| {} | {} | {} | {} | {} | {} |",
                compact(trial.rate),
                compact(trial.p50_us),
                compact(trial.p99_us),
                compact(trial.p999_us),
                compact(trial.cores),
                verdict(&trial.verdict)
            )?;
        }
        writeln!(f)
    }

    fn markdown_costs(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "## CPU by kind of message\n")?;
        writeln!(
            f,
            "Nanoseconds of the broker's CPU, with 90 % intervals; fitted to designed experiments at so many publishes and \
             deliveries per second, together. Where more arrive, they may come to be handled many at once: then these are upper \
             limits. TLS is 1.3.\n"
        )?;
        writeln!(f, "| QoS | events/s | {} | typical miss | doubt |", KINDS.join(" | "))?;
        writeln!(f, "|---|---|{}---|---|", "---|".repeat(KINDS.len()))?;
        for profile in &self.profiles {
            let costs: Vec<String> = match &profile.costs_ns[..] {
                [] => vec!["unknown".to_owned(); KINDS.len()],
                costs => costs.iter().map(interval).collect(),
            };
            let doubt = profile.doubt.as_deref().unwrap_or("");
            writeln!(
                f,
                "| {} | {} | {} | {:.0} % | {doubt} |",
                profile.name(),
                compact(profile.events_per_s),
                costs.join(" | "),
                profile.residual * 100.0
            )?;
        }
        let connect = self.memory.connect_ns.map_or("unknown".to_owned(), |ns| interval(&ns.times(1e-3)));
        let ping = self.memory.ping_ns.map_or("unknown".to_owned(), |ns| interval(&ns.times(1e-3)));
        writeln!(
            f,
            "\nCONNECT with SUBSCRIBE: {connect} us. PINGREQ on a broker that is otherwise idle: {ping} us.\n"
        )?;
        match self.tls_words() {
            Some(words) => writeln!(f, "{words}\n"),
            None => writeln!(f, "TLS: not measured, or its costs are unknown.\n"),
        }
    }

    fn markdown_memory(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "## Memory of one more\n\n| kind | bytes | up to | R2 |\n|---|---|---|---|")?;
        for kept in self.kinds_kept() {
            let line = kept.line;
            let bytes = line.map_or("unknown".to_owned(), |line| interval(&line.slope));
            let explained = line.map_or(0.0, |line| line.explained);
            writeln!(f, "| {} | {bytes} | {} | {explained:.3} |", kept.name, compact(kept.most()))?;
        }
        writeln!(f, "| the kernel's part of a connection | {} | | |\n", compact(self.memory.kernel_bytes))
    }

    fn markdown_disk(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Disk { directory, file_system, sync_us, sync_us_p99, bytes_per_s, syncs } = &self.disk;
        writeln!(f, "## Disk\n")?;
        writeln!(
            f,
            "4 KiB and fdatasync in {directory} ({file_system}): {} us, p99 {} us over {syncs}; {} MB/s in steps of \
             1 MiB. A message on its own waits for one of these; together they share it.\n",
            interval(sync_us),
            compact(*sync_us_p99),
            interval(&bytes_per_s.times(1e-6))
        )
    }

    fn markdown_cores(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "## More cores\n")?;
        let Some(across) = &self.across else {
            return writeln!(f, "Not measured: the broker was running already.\n");
        };
        writeln!(f, "Universal Scalability Law: {}.\n", across.law.verdict())?;
        writeln!(f, "| cores | capacity, messages/s | basis |\n|---|---|---|")?;
        for cores in CORES_SHOWN {
            if let Some(reading) = across.law.at(cores, across.most()) {
                writeln!(f, "| {cores} | {} | {} |", interval(&reading.throughput), reading.basis.name())?;
            }
        }
        writeln!(
            f,
            "\nLoad: {}; capacity is cores over CPU per message, so waiting is not in it.\n",
            across.pattern.words()
        )
    }

    fn markdown_checks(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.checks.is_empty() {
            return Ok(());
        }
        writeln!(f, "## Predicted and measured\n\nPoints that no cost was fitted to.\n")?;
        writeln!(
            f,
            "| what | unit | predicted | measured | error | within 10 % |\n|---|---|---|---|---|---|"
        )?;
        for check in &self.checks {
            writeln!(
                f,
                "| {} | {} | {} | {} | {:+.1} % | {} |",
                check.what,
                check.unit,
                interval(&check.predicted),
                interval(&check.measured),
                check.error() * 100.0,
                if check.is_good() { "yes" } else { "NO" }
            )?;
        }
        writeln!(f)
    }

    /// Everything that was counted in memory.
    pub(crate) fn kinds_kept(&self) -> Vec<&Kept> {
        let Memory { connection, subscriber, sealed, subscription, session, retained, .. } = &self.memory;
        let sealed = sealed.iter();
        [connection, subscriber].into_iter().chain(sealed).chain([subscription, session, retained]).collect()
    }
}

/// Core counts that a reader may want.
pub(crate) const CORES_SHOWN: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

impl fmt::Display for PlanReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# Capacity plan\n\n{}.\n", self.question.words())?;
        self.markdown_answer(f)?;
        for note in &self.notes {
            writeln!(f, "- {note}")?;
        }
        writeln!(f)?;
        self.markdown_search(f)?;
        self.markdown_costs(f)?;
        self.markdown_memory(f)?;
        self.markdown_disk(f)?;
        self.markdown_cores(f)?;
        self.markdown_checks(f)?;
        writeln!(f, "## Machine\n\n{}", self.broker)?;
        self.machine.facts().iter().try_for_each(|(name, value)| writeln!(f, "- {name}: {value}"))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::plan::limits::{self, Measured, tests as parts};
    use crate::plan::load::Pattern;
    use crate::plan::search::Trial;
    use crate::plan::usl::{Scalability, Scaling};

    /// A plan of round numbers.
    pub(crate) fn report() -> PlanReport {
        let profiles = [Coat::Plain, Coat::Tls].map(|coat| parts::profile(1, coat)).to_vec();
        let (memory, disk) = (parts::memory(), parts::disk());
        let trial = |rate: f64, verdict| Trial {
            rate,
            verdict,
            p50_us: 50.0,
            p99_us: 400.0,
            p999_us: 900.0,
            cores: rate / 4e5,
        };
        let trials = vec![
            trial(100_000.0, Verdict::Met),
            trial(300_000.0, Verdict::Met),
            trial(320_000.0, Verdict::Missed("late".into())),
        ];
        let finding = Finding { trials, ..parts::finding() };
        let points = [1.0, 2.0]
            .map(|cores: f64| Scaling { cores, throughput: 4e5 * cores / (1.0 + 0.1 * (cores - 1.0)) });
        let (receivers, coat) = (Receivers::Devices, Coat::Plain);
        let pattern = Pattern { publishers: 100, fan_out: 1, receivers, payload: 128, qos: 1, coat };
        let law = Scalability::of(&points);
        let across = Across { pattern, points: points.to_vec(), runs: vec![], law, is_shared: true };
        let (question, supply) = (parts::question(), parts::SUPPLY);
        let measured = Measured {
            profiles: &profiles,
            memory: &memory,
            disk: &disk,
            across: Some(&across),
            finding: &finding,
        };
        let answer = limits::answer(&question, &supply, &measured).ok();
        PlanReport {
            broker: "ringmq 1".into(),
            machine: Machine::read(),
            is_quick: true,
            question,
            supply,
            slo: "p99=10ms,loss=0".parse().expect("a lawful level"),
            load: "a load".into(),
            finding,
            profiles,
            memory,
            disk,
            across: Some(across),
            answer,
            unanswered: None,
            checks: vec![Check {
                what: "CPU".into(),
                unit: "us".into(),
                predicted: Estimate { value: 2.0, low: 1.9, high: 2.1 },
                measured: Estimate::exact(2.5),
            }],
            notes: vec!["mind the gap".into()],
        }
    }

    #[test]
    fn the_answer_comes_first_with_limit_interval_and_extrapolation() {
        let text = report().to_string();
        let answer = text.find("the first limit is").expect("the limit is named");
        assert!(answer < text.find("## ").expect("details follow"), "{text}");
        for words in [
            "1M devices, one message of 128 B each every 10 s at QoS 1",
            "EXTRAPOLATED: 1000000 devices per machine",
            "300k/s on one core at p99=10ms,loss=0 (lost at 320k/s",
            "missed: late",
            "cannot be known without a third core count",
            "| 64 |",
            "-20.0 % | NO |",
            "mind the gap",
        ] {
            assert!(text.contains(words), "{words} is missing in\n{text}");
        }
    }

    #[test]
    fn without_costs_there_is_no_answer() {
        let text = PlanReport { answer: None, ..report() }.to_string();
        assert!(text.contains("**No answer**: the costs are unknown."), "{text}");
        let why = Some(limits::Unanswered::Tls.to_string());
        let text = PlanReport { answer: None, unanswered: why, ..report() }.to_string();
        assert!(text.contains("**No answer**: the question is about TLS"), "{text}");
        assert!(text.contains("--target-tls"), "what to do is named: {text}");
    }

    #[test]
    fn tls_has_a_row_of_its_own_and_is_set_beside_what_there_is_without() {
        let text = report().to_string();
        for words in [
            "| 1 | 200k |",
            "| 1 over TLS | 200k |",
            "costs 6 us, without 2 us: 3.00 times as much",
            "full TLS handshake: 250 us, so one core does 4000 a second",
            "| sealed | 9k |",
        ] {
            assert!(text.contains(words), "{words} is missing in\n{text}");
        }
        let bare = report();
        let memory = Memory { sealed: None, sealed_connect_ns: None, ..bare.memory.clone() };
        let profiles = bare.profiles[..1].to_vec();
        let text = PlanReport { memory, profiles, ..bare }.to_string();
        assert!(text.contains("TLS: not measured") && !text.contains("over TLS"), "{text}");
    }

    #[test]
    fn a_question_about_tls_says_so_in_the_question_and_in_the_answer() {
        let sealed = Question { coat: Coat::Tls, ..parts::question() };
        let text = PlanReport { question: sealed, ..report() }.to_string();
        assert!(text.contains("of the consumers that hear everything, over TLS."), "{text}");
        assert!(text.contains("100k/s published over TLS, planned"), "{text}");
    }

    #[test]
    fn intervals_are_shown_only_where_they_are() {
        assert_eq!(interval(&Estimate::exact(5.0)), "5");
        assert_eq!(interval(&Estimate { value: 5.0, low: 4.0, high: 6.5 }), "5 (4 to 6.5)");
        assert_eq!(interval(&Estimate { value: 0.0, low: 0.0, high: f64::INFINITY }), "0 (0 to unknown)");
    }
}
