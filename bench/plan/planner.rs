//! One plan from the first measurement to the files.
//!
//! Why this order: the disk and the memory need no tuning; costs need the rate of the planned utilisation, which the
//! search finds on its way to the broker's end.
//!
//! Invariants:
//! - The report is printed before any file is written, so that a wrong path loses nothing.

use std::fs;
use std::path::Path;

use super::broker::Source;
use super::campaign;
use super::coat::Coat;
use super::disk::Disk;
use super::limits::{self, Measured, Question, Supply, Unanswered};
use super::load::{Generator, Pattern};
use super::memory;
use super::options::{Effort, MachineOptions, PlanOptions, Receivers};
use super::profile::{Experiment, Profile, design};
use super::report::PlanReport;
use super::scaling::{self, Across, Counts};
use super::search::{self, Finding, Trial};
use super::slo::{Offer, Slo};
use super::statistics::Estimate;
use super::verify;
use crate::compare::Machine;
use crate::failure::Failure;
use crate::number::{float, wide};
use crate::options::QosOption;
use crate::progress::Progress;

/// Consumers in the search, at most: more are the generator's load, not the broker's.
const CONSUMERS_MAX: u32 = 32;
/// Seconds for each of the two measurements of the disk.
const DISK_S: f64 = 2.0;
/// The first rate of the search.
const START_RATE: f64 = 2_000.0;
/// A run of the search is so many times as long as one that only counts processor time: its 99th percentile is of few.
const SEARCH_TIMES: f64 = 2.0;

/// Everything that is decided before the first measurement.
#[derive(Debug)]
struct Setting {
    source: Source,
    generator: Generator,
    effort: Effort,
    question: Question,
    supply: Supply,
    counts: Counts,
    slo: Slo,
    is_quick: bool,
}

/// Measures, answers, prints and writes what `options` ask for.
pub(crate) fn plan(options: &PlanOptions) -> Result<(), Failure> {
    let setting = Setting::of(options)?;
    if !setting.source.coats().contains(&setting.question.coat) {
        eprintln!("ringmq-bench: {}", Unanswered::Tls);
    }
    let progress = Progress::on_terminal();
    let report = setting.measure(options, &progress)?;
    progress.clear();
    let json = || serde_json::to_string(&report).expect("a report has only numbers, texts and lists");
    match options.json.as_deref() {
        Some(path) if path == Path::new("-") => println!("{}", json()),
        path => {
            print!("{report}");
            path.map_or(Ok(()), |path| write(path, &(json() + "\n")))?;
        }
    }
    if let Some(path) = &options.markdown {
        write(path, &report.to_string())?;
    }
    options.html.as_deref().map_or(Ok(()), |path| report.page().write(path))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|source| Failure::os(format!("writing {}", path.display()), source))
}

impl Setting {
    fn of(options: &PlanOptions) -> Result<Self, Failure> {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let effort = options.effort.effort();
        check(options)?;
        let broker_cpu = match &options.effort.broker_cpu[..] {
            [] => (0..processors).collect(),
            chosen => chosen.to_vec(),
        };
        let load_cpu = match &options.effort.load_cpu[..] {
            [] => vec![processors - 1],
            chosen => chosen.to_vec(),
        };
        let counts = match &options.effort.cores[..] {
            [] => scaling::doubling(broker_cpu.len()),
            chosen => chosen.to_vec(),
        };
        let most = counts.iter().copied().max().unwrap_or(1);
        if most > broker_cpu.len() || counts.contains(&0) {
            return Err(Failure::Usage(format!(
                "--cores must be 1 to {}, the processors for the broker",
                broker_cpu.len()
            )));
        }
        let is_shared = broker_cpu.iter().take(most).any(|processor| load_cpu.contains(processor));
        let qos = match options.question.qos {
            QosOption::Zero => 0,
            QosOption::One => 1,
            QosOption::Two => 2,
        };
        Ok(Self {
            source: Source::of(&options.effort, broker_cpu)?,
            generator: Generator { processors: load_cpu, duration_s: effort.duration_s },
            effort,
            question: Question::of(&options.question, qos),
            supply: supply(&options.machine, processors),
            counts: Counts { counts, rounds: effort.rounds.div_ceil(2), is_shared },
            slo: options.question.slo.clone(),
            is_quick: options.effort.quick,
        })
    }

    fn measure(&self, options: &PlanOptions, progress: &Progress) -> Result<PlanReport, Failure> {
        let machine = Machine::read();
        let disk =
            Disk::measure(&options.effort.data_dir, if self.is_quick { DISK_S / 10.0 } else { DISK_S })?;
        let memory =
            memory::measure(&self.source, &self.generator, &self.effort, options.question.payload, progress)?;
        let finding = self.search(options, progress)?;
        let events_per_s = self.events_per_s(&finding, options);
        let (profiles, held_out) = self.profiles(events_per_s, options, progress)?;
        let across = self.across(options.question.payload, progress)?;
        let measured = Measured {
            profiles: &profiles,
            memory: &memory,
            disk: &disk,
            across: across.as_ref(),
            finding: &finding,
        };
        let (answer, unanswered) = match limits::answer(&self.question, &self.supply, &measured) {
            Ok(answer) => (Some(answer), None),
            Err(why) => (None, Some(why.to_string())),
        };
        let notes = self.notes(&measured, options);
        let mut checks = verify::costs(&profiles, &held_out);
        if options.effort.verify {
            checks.extend(verify::connections(
                &self.source,
                &self.generator,
                &memory,
                &self.effort,
                progress,
            )?);
        }
        Ok(PlanReport {
            broker: self.source.description(),
            machine,
            is_quick: self.is_quick,
            question: self.question,
            supply: self.supply,
            slo: self.slo.clone(),
            load: format!("{} publishers, {}", self.effort.clients, self.pattern(options).words()),
            notes,
            finding,
            profiles,
            memory,
            disk,
            across,
            answer,
            unanswered,
            checks,
        })
    }

    /// Publishes and deliveries per second on a core that is as busy as planned, if the service level allows it.
    fn events_per_s(&self, finding: &Finding, options: &PlanOptions) -> f64 {
        rate_of_costs(finding, self.supply.utilisation) * (1.0 + self.pattern(options).deliveries())
    }

    /// Costs by QoS and coat, and the runs that no cost was fitted to.
    ///
    /// TLS and what is held out are measured at the QoS that is asked about: records do not know what is in them.
    fn profiles(
        &self,
        events_per_s: f64,
        options: &PlanOptions,
        progress: &Progress,
    ) -> Result<(Vec<Profile>, Vec<Experiment>), Failure> {
        let publishers = self.effort.clients;
        let (mut profiles, mut held_out) = (vec![], vec![]);
        for qos in (0..=2).filter(|qos| !self.is_quick || *qos == self.question.qos) {
            let is_asked = qos == self.question.qos;
            let (coats, rounds) = match is_asked {
                true => (self.source.coats(), self.effort.rounds),
                false => (&[Coat::Plain][..], self.effort.rounds.div_ceil(3)),
            };
            let designs: Vec<_> = coats.iter().map(|&coat| (coat, design(qos, publishers, coat))).collect();
            let mut patterns: Vec<Pattern> = designs.iter().flat_map(|(_, design)| design.clone()).collect();
            if is_asked && options.effort.verify {
                patterns.extend(coats.iter().flat_map(|&coat| verify::held_out(qos, publishers, coat)));
            }
            let aim = campaign::Aim { events_per_s: events_per_s.min(calm_events(qos)), rounds };
            let mut runs = campaign::measure(&self.source, &self.generator, &patterns, &aim, progress)?;
            for (coat, design) in designs {
                let (fitted, others) = runs.into_iter().partition(|one| design.contains(&one.pattern));
                profiles.push(Profile::of(qos, coat, fitted));
                runs = others;
            }
            held_out.extend(runs);
        }
        Ok((profiles, held_out))
    }

    fn across(&self, payload: u32, progress: &Progress) -> Result<Option<Across>, Failure> {
        if !self.source.is_program() {
            return Ok(None);
        }
        // Pairs meet on different cores in the most ways.
        let pattern = Pattern {
            publishers: self.effort.clients,
            fan_out: 1,
            receivers: Receivers::Devices,
            payload,
            qos: self.question.qos,
            coat: self.coat(),
        };
        scaling::measure(&self.source, &self.generator, &pattern, &self.counts, progress).map(Some)
    }

    fn pattern(&self, options: &PlanOptions) -> Pattern {
        Pattern {
            publishers: self.effort.clients,
            fan_out: options.question.fan_out.min(CONSUMERS_MAX),
            receivers: options.question.receivers,
            payload: options.question.payload,
            qos: self.question.qos,
            coat: self.coat(),
        }
    }

    /// The coat that is asked about, where it can be measured.
    fn coat(&self) -> Coat {
        if self.source.coats().contains(&self.question.coat) { self.question.coat } else { Coat::Plain }
    }

    fn search(&self, options: &PlanOptions, progress: &Progress) -> Result<Finding, Failure> {
        let broker = self.source.start(1)?;
        let pattern = self.pattern(options);
        let long = SEARCH_TIMES * self.generator.duration_s;
        let generator = Generator { duration_s: long, ..self.generator.clone() };
        search::search(START_RATE, self.effort.steps, |rate| {
            progress.show(|| format!("searching: {rate:.0} messages/s"));
            let report = generator.run(&broker, &pattern, rate)?;
            let offer = Offer { rate, fan_out: pattern.deliveries() };
            Ok(Trial {
                rate,
                verdict: self.slo.judge(&report, offer),
                p50_us: report.latency.p50_us,
                p99_us: report.latency.p99_us,
                p999_us: report.latency.p999_us,
                cores: report.broker.map_or(0.0, |broker| broker.cores),
            })
        })
    }

    fn notes(&self, measured: &Measured<'_>, options: &PlanOptions) -> Vec<String> {
        let Measured { profiles, disk, across, finding, .. } = measured;
        let mut notes = vec![];
        let cores = profiles.iter().flat_map(|profile| &profile.experiments).map(|one| one.cores).collect();
        let reached = Estimate::of_samples(cores).map_or(0.0, |cores| cores.value);
        let mut note = |applies: bool, text: &str| {
            if applies {
                notes.push(text.to_owned());
            }
        };
        note(
            self.is_quick,
            "--quick: runs were short; intervals are missing or wide, and the figures are a first guess",
        );
        note(
            across.is_some_and(|across| across.is_shared),
            "the generator shares a processor with the broker at the largest core count: scaling is judged by CPU per \
             message, not by throughput",
        );
        note(
            reached < self.supply.utilisation * 0.8,
            &format!(
                "costs were measured with the broker {:.0} % busy, less than planned, because the generator was at its \
                 end: a busier broker handles more messages per turn, so the plan is on the safe side",
                reached * 100.0
            ),
        );
        note(
            finding.is_lower_bound,
            "the search ended before the broker did: the sustainable rate is a lower bound",
        );
        note(
            disk.is_memory(),
            "the data directory is in memory: its fdatasync times mean nothing (--data-dir)",
        );
        note(
            options.question.durable && self.question.qos == 0,
            "QoS 0 promises nothing, so nothing is written although --durable was asked for",
        );
        note(
            options.question.fan_out > CONSUMERS_MAX && options.question.receivers == Receivers::Consumers,
            "the search was made with 32 consumers",
        );
        note(
            !self.source.coats().contains(&Coat::Tls),
            "nothing is known about TLS: the target's TLS listener was not named (--target-tls)",
        );
        note(
            !self.source.is_program(),
            "the broker was running already: what earlier loads left in its memory is in these figures",
        );
        note(
            true,
            "loopback has no network interface: interrupts and drivers of a real one come on top, and the broker is \
             charged for its receivers' TCP input",
        );
        notes
    }
}

/// The rate to measure costs at. Below where the search begins it is the machine that has no time, and a run counts hardly
/// any messages.
fn rate_of_costs(finding: &Finding, utilisation: f64) -> f64 {
    finding.rate_at(utilisation).unwrap_or(START_RATE).max(START_RATE)
}

/// Receives per second and core up to which costs are measured. Above, a broker may take messages in larger portions (RingMQ
/// does from 50,000 on) and pay less for each the more there are, which no line fits. Costs from below are an upper limit there.
const CALM_RECEIVES: f64 = 40_000.0;

/// Publishes and deliveries per second at which no pattern makes the broker receive more often than that.
fn calm_events(qos: u8) -> f64 {
    // Received are, of a message with one delivery, which is half of two events: itself; at QoS 1 the receiver's PUBACK as well; at
    // QoS 2 PUBREL from one side, PUBREC and PUBCOMP from the other.
    let per_event = match qos {
        0 => 0.5,
        1 => 1.0,
        _exactly_once => 2.0,
    };
    CALM_RECEIVES / per_event
}

fn check(options: &PlanOptions) -> Result<(), Failure> {
    let positive = [
        (options.question.period, "--period"),
        (options.question.connect_storm, "--connect-storm"),
        (options.machine.machine_network, "--machine-network"),
        (options.machine.machine_memory.unwrap_or(1.0), "--machine-memory"),
        (options.effort.duration.unwrap_or(1.0), "--duration"),
    ];
    if let Some((value, name)) = positive.iter().find(|(value, _)| !value.is_finite() || *value <= 0.0) {
        return Err(Failure::Usage(format!("{name} must be more than 0, not {value}")));
    }
    if !(0.05..=0.95).contains(&options.machine.utilisation) {
        return Err(Failure::Usage("--utilisation is a share from 0.05 to 0.95".into()));
    }
    Ok(())
}

fn supply(options: &MachineOptions, processors: usize) -> Supply {
    let gibibyte = 1_073_741_824.0;
    Supply {
        cores: options.machine_cores.map_or(float(wide(processors)), f64::from),
        memory_bytes: options.machine_memory.map_or_else(own_memory_bytes, |gib| gib * gibibyte),
        network_bytes_per_s: options.machine_network * 1e9 / 8.0,
        connections: f64::from(options.machine_connections),
        utilisation: options.utilisation,
    }
}

fn own_memory_bytes() -> f64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<f64>().ok());
    // Every kernel says it; a machine that does not is not planned to have any.
    kibibytes.map_or(1.0, |kibibytes| kibibytes * 1_024.0)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::options::{Command, Options};

    fn options(line: &str) -> PlanOptions {
        let words = std::iter::once("ringmq-bench plan").chain(line.split_ascii_whitespace());
        let words = words.flat_map(|word| word.split(' '));
        match Options::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).command {
            Command::Plan(options) => *options,
            other => panic!("not a plan: {other:?}"),
        }
    }

    fn refusal(line: &str) -> String {
        Setting::of(&options(line)).expect_err("the options contradict each other").to_string()
    }

    #[test]
    fn the_question_is_read_with_its_units() {
        let line =
            "--devices 10000000 --period 30 -s 200 -q 1 --fan-out 2 --connect-storm 120 --machine-memory 2";
        let setting =
            Setting::of(&options(&format!("{line} --target 127.0.0.1:1 --pid 1"))).expect("lawful options");
        assert!((setting.question.rate() - 1e7 / 30.0).abs() < 1e-6);
        assert_eq!((setting.question.qos, setting.question.fan_out), (1, 2.0));
        assert!((setting.supply.memory_bytes - 2_147_483_648.0).abs() < 1.0);
        assert!((setting.supply.network_bytes_per_s - 1.25e9).abs() < 1.0);
    }

    #[test]
    fn the_plans_of_the_readme_are_lawful_as_they_stand() {
        let lines = include_str!("../README.md").lines();
        let plans: Vec<_> = lines.filter_map(|line| line.strip_prefix("ringmq-bench plan ")).collect();
        assert!(!plans.is_empty(), "the README shows a plan");
        for line in plans {
            assert!(Setting::of(&options(&format!("{line} --target 127.0.0.1:1 --pid 1"))).is_ok(), "{line}");
        }
    }

    #[test]
    fn costs_are_measured_where_no_broker_takes_messages_in_large_portions() {
        // Packets that a broker receives of one message: from its publisher, and from each receiver.
        for (qos, from_publisher, from_receiver) in [(0, 1.0, 0.0), (1, 1.0, 1.0), (2, 2.0, 2.0)] {
            let receives = |pattern: &Pattern| {
                let deliveries = pattern.deliveries();
                calm_events(qos) / (1.0 + deliveries) * (from_publisher + deliveries * from_receiver)
            };
            let most = design(qos, 100, Coat::Plain).iter().map(receives).fold(0.0, f64::max);
            assert!((most - CALM_RECEIVES).abs() < 1e-6, "QoS {qos}: {most}");
        }
    }

    #[test]
    fn contradictions_are_named() {
        let target = "--target 127.0.0.1:1 --pid 1";
        assert!(refusal(&format!("{target} --period 0")).contains("--period"));
        assert!(refusal(&format!("{target} --utilisation 1.5")).contains("--utilisation"));
        assert!(refusal(&format!("{target} --cores 4 --broker-cpu 0,1")).contains("--cores must be 1 to 2"));
        assert!(refusal("--ringmq /nonexistent/ringmq").contains("cargo build"));
        assert!(refusal("--target nowhere --pid 1").contains("--target"));
    }

    #[test]
    fn tls_is_asked_about_in_the_letters_of_the_workloads_and_measured_where_there_is_some() {
        let setting = |line: &str| Setting::of(&options(line)).expect("lawful options");
        let target = "--target 127.0.0.1:1 --pid 1";
        let plain = setting(target);
        assert_eq!((plain.question.coat, plain.source.coats()), (Coat::Plain, &[Coat::Plain][..]));
        for letters in ["-S", "--ssl", "--tls"] {
            let sealed = setting(&format!("{target} --target-tls 127.0.0.1:2 {letters}"));
            assert_eq!((sealed.question.coat, sealed.coat()), (Coat::Tls, Coat::Tls), "{letters}");
            assert_eq!(sealed.source.coats(), [Coat::Plain, Coat::Tls]);
            let unknown = setting(&format!("{target} {letters}"));
            assert_eq!(unknown.coat(), Coat::Plain, "nothing else can be searched");
        }
        assert!(refusal(&format!("{target} --target-tls nowhere")).contains("--target-tls"));
        let words = ["ringmq-bench", "plan", "--target-tls", "127.0.0.1:2"];
        assert!(Options::try_parse_from(words).is_err(), "without a target");
    }

    #[test]
    fn a_search_that_got_nowhere_does_not_bring_the_costs_to_a_standstill() {
        let found = |rate: f64| {
            let report = crate::plan::report::tests::report();
            let trial = Trial { rate, cores: 0.1, ..report.finding.trials[0].clone() };
            rate_of_costs(&Finding { trials: vec![trial], ..report.finding }, 0.5)
        };
        assert!((found(1.0) - START_RATE).abs() < 1e-9, "{}", found(1.0));
        assert!((found(90_000.0) - 90_000.0).abs() < 1e-6, "{}", found(90_000.0));
    }

    #[test]
    fn quick_runs_are_shorter_and_may_still_be_told_how_long() {
        let quick = options("--quick --duration 0.7").effort.effort();
        let thorough = options("").effort.effort();
        assert!((quick.duration_s - 0.7).abs() < 1e-9);
        assert!(
            quick.clients < thorough.clients
                && quick.rounds < thorough.rounds
                && quick.steps < thorough.steps
        );
    }
}
