//! A capacity plan as a page with curves.
//!
//! Why curves beside the tables: that a latency explodes, that a line is straight, or that 64 cores are a guess is seen
//! at once and believed sooner.
//!
//! Invariants:
//! - Measurements are dots, models are broken lines, intervals are areas.

use super::limits::{Answer, Demand};
use super::memory::Kept;
use super::profile::{KINDS, Profile};
use super::report::{CORES_SHOWN, PlanReport, interval, verdict};
use super::scaling::Across;
use super::usl::Scalability;
use crate::html::{Axis, Band, Bar, Bars, Block, Lines, Mark, Page, Series, Table, Tile, compact};

impl PlanReport {
    /// The page.
    pub(crate) fn page(&self) -> Page {
        let mut facts = vec![("broker".to_owned(), self.broker.clone())];
        facts.extend(self.machine.facts());
        let mut page = Page::new("Capacity plan", format!("{}.", self.question.words()), facts);
        page.section("Answer", self.answer_blocks());
        page.section("Highest rate at the service level", self.search_blocks());
        page.section("CPU by kind of message", self.cost_blocks());
        page.section("Memory", self.memory_blocks());
        page.section("More cores", self.core_blocks());
        page.section("Disk", vec![Block::Tiles(self.disk_tiles())]);
        if !self.checks.is_empty() {
            page.section("Predicted and measured", self.check_blocks());
        }
        page
    }

    fn answer_blocks(&self) -> Vec<Block> {
        let mut blocks = vec![];
        match &self.answer {
            None => blocks.push(Block::Text(format!("No answer: {}.", self.no_answer()))),
            Some(answer) => {
                blocks.push(Block::Tiles(tiles(answer)));
                blocks.push(Block::Text(format!("{}.", answer.words())));
                blocks.push(Block::Bars(demand_bars(answer)));
                blocks.push(Block::Table(demand_table(answer)));
                let reasons = answer.extrapolations.iter().map(|reason| format!("Extrapolated: {reason}"));
                blocks.push(Block::Notes(reasons.chain(self.notes.iter().cloned()).collect()));
            }
        }
        blocks
    }

    fn search_blocks(&self) -> Vec<Block> {
        let points = |of: fn(&super::search::Trial) -> f64| {
            let mut points: Vec<_> =
                self.finding.trials.iter().map(|trial| (trial.rate, of(trial))).collect();
            points.sort_by(|one, other| one.0.total_cmp(&other.0));
            // Of a rate that was tried twice the second try counts, as it did in the search.
            let groups = points.chunk_by(|one, next| (next.0 / one.0 - 1.0).abs() < 1e-9);
            groups.filter_map(|group| group.last().copied()).collect::<Vec<_>>()
        };
        let rate = || Axis::logarithmic("messages/s offered");
        let mark =
            (self.finding.rate > 0.0).then(|| Mark { name: "sustainable".into(), at: self.finding.rate });
        let series = vec![
            Series::line("p50", points(|trial| trial.p50_us)),
            Series::line("p99", points(|trial| trial.p99_us)),
            Series::line("p99.9", points(|trial| trial.p999_us)),
        ];
        let mut latency =
            Lines::new("Latency from the intended send time", rate(), Axis::logarithmic("us"), series);
        let busy = Series::dots("broker", points(|trial| trial.cores));
        let mut cores = Lines::new("Processor time of the broker", rate(), Axis::linear("cores"), vec![busy]);
        latency.marks.extend(mark.clone());
        cores.marks.extend(mark);
        let mut table =
            Table::new("Steps", &["offered/s", "p50 us", "p99 us", "p99.9 us", "broker cores", "level"]);
        for trial in &self.finding.trials {
            let figures = [trial.rate, trial.p50_us, trial.p99_us, trial.p999_us, trial.cores].map(compact);
            table.rows.push(figures.into_iter().chain([verdict(&trial.verdict)]).collect());
        }
        vec![
            Block::Text(format!("{}.", self.sustainable())),
            Block::Lines(latency),
            Block::Lines(cores),
            Block::Table(table),
        ]
    }

    fn cost_blocks(&self) -> Vec<Block> {
        let fitted: Vec<&Profile> =
            self.profiles.iter().filter(|profile| !profile.costs_ns.is_empty()).collect();
        let bars = |kind: usize| {
            let bar = |profile: &&Profile| {
                let cost = profile.costs_ns[kind];
                Bar {
                    name: format!("QoS {}", profile.name()),
                    value: cost.value,
                    range: Some((cost.low, cost.high)),
                    is_ours: profile.qos == self.question.qos && profile.coat == self.question.coat,
                }
            };
            let title = format!("One {}", KINDS[kind]);
            Block::Bars(Bars {
                title,
                axis: "ns of CPU, with 90 % interval".into(),
                bars: fitted.iter().map(bar).collect(),
            })
        };
        let mut blocks: Vec<Block> = (0..KINDS.len()).map(bars).collect();
        let mut table =
            Table::new("Experiments", &["load", "messages/s", "broker cores", "us measured", "us fitted"]);
        for profile in &self.profiles {
            for one in &profile.experiments {
                let pattern = one.pattern;
                let fit =
                    profile.cost_ns(pattern.deliveries(), pattern.receivers, f64::from(pattern.payload));
                table.rows.push(vec![
                    pattern.words(),
                    compact(one.rate),
                    compact(one.cores),
                    compact(one.cost_ns / 1e3),
                    fit.map_or("unknown".to_owned(), |fit| compact(fit.value / 1e3)),
                ]);
            }
        }
        let doubts = self
            .profiles
            .iter()
            .filter_map(|profile| Some(format!("QoS {}: {}", profile.name(), profile.doubt.as_ref()?)));
        blocks.push(Block::Notes(doubts.collect()));
        blocks.extend(self.tls_words().map(Block::Text));
        blocks.push(Block::Table(table));
        blocks
    }

    fn memory_blocks(&self) -> Vec<Block> {
        let mebibyte = 1.0 / 1_048_576.0;
        let chart = |kept: &Kept| {
            let points: Vec<_> =
                kept.points.iter().map(|(count, bytes)| (*count, bytes * mebibyte)).collect();
            let mut series = vec![Series::dots("resident", points)];
            let words =
                kept.line.map_or("unknown".to_owned(), |line| format!("{} B each", interval(&line.slope)));
            if let Some(line) = kept.line {
                let ends = [0.0, kept.most()]
                    .map(|count| (count, (line.intercept + line.slope.value * count) * mebibyte));
                series.push(Series::dashes(words.clone(), ends.to_vec()));
            }
            let title = format!("{}: {words}", kept.name);
            Block::Lines(Lines::new(title, Axis::linear("how many"), Axis::linear("MiB"), series))
        };
        let mut blocks: Vec<Block> = self.kinds_kept().into_iter().map(chart).collect();
        let kernel = format!(
            "The kernel keeps another {} B for each connection, as its own tables say; buffers with data come on top.",
            compact(self.memory.kernel_bytes)
        );
        blocks.push(Block::Text(kernel));
        blocks
    }

    fn core_blocks(&self) -> Vec<Block> {
        let Some(across) = &self.across else {
            return vec![Block::Text("Not measured: the broker was running already.".into())];
        };
        let words = format!("Universal Scalability Law: {}.", across.law.verdict());
        let mut blocks = vec![Block::Text(words), Block::Lines(cores_chart(across))];
        let mut table = Table::new("Capacity by the law", &["cores", "messages/s", "basis"]);
        for cores in CORES_SHOWN {
            if let Some(reading) = across.law.at(cores, across.most()) {
                table.rows.push(vec![
                    cores.to_string(),
                    interval(&reading.throughput),
                    reading.basis.name().to_owned(),
                ]);
            }
        }
        blocks.push(Block::Table(table));
        blocks
    }

    fn disk_tiles(&self) -> Vec<Tile> {
        let disk = &self.disk;
        let sync = format!("{} us", compact(disk.sync_us.value));
        let rate = format!("{} MB/s", compact(disk.bytes_per_s.value / 1e6));
        vec![
            Tile::new(
                "4 KiB and fdatasync",
                sync,
                format!("p99 {} us, {}", compact(disk.sync_us_p99), disk.file_system),
            ),
            Tile::new("with fdatasync per MiB", rate, disk.directory.clone()),
        ]
    }

    fn check_blocks(&self) -> Vec<Block> {
        let mut table = Table::new(
            "Points that no cost was fitted to",
            &["what", "unit", "predicted", "measured", "error", "within 10 %"],
        );
        for check in &self.checks {
            table.rows.push(vec![
                check.what.clone(),
                check.unit.clone(),
                interval(&check.predicted),
                interval(&check.measured),
                format!("{:+.1} %", check.error() * 100.0),
                if check.is_good() { "yes" } else { "NO" }.to_owned(),
            ]);
        }
        vec![Block::Table(table)]
    }
}

fn tiles(answer: &Answer) -> Vec<Tile> {
    let first = &answer.demands[0];
    let machines = answer.machines;
    let range = format!("{} to {}, one to spare not counted", compact(machines.low), compact(machines.high));
    let of = |resource| answer.demands.iter().find(|demand: &&Demand| demand.resource == resource);
    let mut tiles = vec![
        Tile::new("machines", compact(machines.value), range),
        Tile::new("first limit", first.resource.name(), format!("{}: {}", first.basis.name(), first.because)),
        Tile::new("published", format!("{}/s", compact(answer.rate)), "in all"),
    ];
    use super::limits::Resource::{Cores, Memory, NetworkOut};
    tiles.extend([Cores, Memory, NetworkOut].into_iter().filter_map(of).map(|demand| {
        let value = format!("{} {}", compact(demand.amount.value), demand.unit);
        Tile::new(
            demand.resource.name(),
            value,
            format!("{} to {}", compact(demand.amount.low), compact(demand.amount.high)),
        )
    }));
    tiles
}

fn demand_bars(answer: &Answer) -> Bars {
    let first = answer.demands[0].resource;
    let bar = |demand: &Demand| Bar {
        name: demand.resource.name().to_owned(),
        value: demand.machines.value,
        range: Some((demand.machines.low, demand.machines.high)).filter(|(_, high)| high.is_finite()),
        is_ours: demand.resource == first,
    };
    Bars {
        title: "Machines that each resource asks for".into(),
        axis: "machines, with interval".into(),
        bars: answer.demands.iter().map(bar).collect(),
    }
}

fn demand_table(answer: &Answer) -> Table {
    let mut table = Table::new(
        "",
        &["resource", "needed in all", "unit", "one machine may give", "machines", "basis", "because"],
    );
    for demand in &answer.demands {
        table.rows.push(vec![
            demand.resource.name().to_owned(),
            interval(&demand.amount),
            demand.unit.clone(),
            interval(&demand.per_machine),
            interval(&demand.machines),
            demand.basis.name().to_owned(),
            demand.because.clone(),
        ]);
    }
    table
}

fn cores_chart(across: &Across) -> Lines {
    let most = across.most();
    let readings = || {
        let reach = CORES_SHOWN.into_iter().filter(move |cores| *cores <= (most * 8.0).max(8.0));
        reach.filter_map(|cores| Some((cores, across.law.at(cores, most)?.throughput)))
    };
    let dots = across.points.iter().map(|point| (point.cores, point.throughput)).collect();
    let mut series = vec![Series::dots("capacity, measured", dots)];
    if matches!(across.law, Scalability::Fitted { .. }) {
        series.push(Series::dashes(
            "the law",
            readings().map(|(cores, throughput)| (cores, throughput.value)).collect(),
        ));
    }
    let title = format!("Capacity with {}", across.pattern.words());
    let mut lines = Lines::new(title, Axis::logarithmic("cores"), Axis::logarithmic("messages/s"), series);
    let points = readings().map(|(cores, throughput)| (cores, throughput.low, throughput.high)).collect();
    lines.bands.push(Band { name: "what the measurements allow".into(), points });
    lines.marks.push(Mark { name: "measured up to here".into(), at: most });
    lines
}

#[cfg(test)]
mod tests {
    use crate::plan::report::tests::report;
    use crate::plan::slo::Verdict;

    #[test]
    fn the_page_has_the_answer_every_curve_and_the_doubts() {
        let text = report().page().text();
        for words in [
            "Capacity plan",
            "first limit",
            "Machines that each resource asks for",
            "Latency from the intended send time",
            "One publish in",
            "QoS 1 over TLS",
            "a full TLS handshake",
            "sealed: 9k B each",
            "retained: 300 B each",
            "what the measurements allow",
            "measured up to here",
            "Extrapolated: 1000000 devices per machine",
            "cannot be known without a third core count",
            "Predicted and measured",
        ] {
            assert!(text.contains(words), "{words}");
        }
    }

    #[test]
    fn a_missed_step_keeps_its_reason() {
        let report = report();
        assert!(report.finding.trials.iter().any(|trial| matches!(trial.verdict, Verdict::Missed(_))));
        assert!(report.page().text().contains("missed: late"));
    }
}
