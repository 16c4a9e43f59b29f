//! The comparison as a page with charts.
//!
//! Why after the table: the page shows the same figures and knows none that the table does not.
//!
//! Invariants:
//! - Every chart says what is better.

use super::figures::{Comparison, Figure, LoadFacts};
use super::target::UNDER_TEST;
use super::{floors, table};
use crate::html::{Bar, Bars, Block, Page, Table};

/// Renders `comparison`.
pub(crate) fn page(comparison: &Comparison) -> Page {
    let mut page = Page::new(
        format!("Brokers side by side, {}", comparison.machine.date),
        table::method(comparison),
        comparison.machine.facts(),
    );
    page.section("Targets", vec![targets(comparison), Block::Notes(comparison.skipped.clone())]);
    if !comparison.floors.is_empty() {
        let rows = comparison.floors.iter().map(|finding| finding.cells().to_vec()).collect();
        let table = Table { caption: String::new(), head: words(&floors::COLUMNS), rows };
        page.section(format!("What {UNDER_TEST} is held to"), vec![Block::Table(table)]);
    }
    for load in &comparison.loads {
        page.section(format!("{}: {}", load.letter, load.title), blocks(comparison, load));
    }
    page
}

fn targets(comparison: &Comparison) -> Block {
    let row = |target: &super::figures::TargetFacts| {
        vec![target.name.clone(), target.version.clone(), target.command.clone(), target.durability.clone()]
    };
    let head = words(&["target", "version", "command", "keeps its state in"]);
    Block::Table(Table { caption: String::new(), head, rows: comparison.targets.iter().map(row).collect() })
}

fn blocks(comparison: &Comparison, load: &LoadFacts) -> Vec<Block> {
    let is_idle = table::is_idle(comparison, &load.letter);
    let charts: &[(&str, &str, Figure)] = if is_idle {
        &[
            ("Memory, less is better", "user bytes per idle connection", Figure::ConnectionBytes),
            ("Connecting, less is better", "CPU us per connect", Figure::ConnectUs),
        ]
    } else {
        &[
            ("Cost, less is better", "CPU us per delivered message", Figure::CpuUs),
            ("Throughput, more is better", "messages/s", Figure::Rate),
            ("Latency, less is better", "99.9th percentile, us", Figure::P999),
        ]
    };
    let mut blocks = vec![Block::Text(format!("ringmq-bench {}", load.arguments))];
    blocks.extend(
        charts.iter().map(|&(title, axis, figure)| bars(comparison, &load.letter, title, axis, figure)),
    );
    let head: &[&str] = if is_idle { &table::IDLE_COLUMNS } else { &table::TRAFFIC_COLUMNS };
    let ran = |name: &str| comparison.runs(&load.letter, name).count() > 0;
    let targets = comparison.targets.iter().filter(|target| ran(&target.name));
    let rows = targets.map(|target| table::cells(comparison, &load.letter, target, is_idle)).collect();
    blocks.push(Block::Table(Table { caption: String::new(), head: words(head), rows }));
    blocks.push(Block::Notes(table::notes(comparison, &load.letter)));
    blocks
}

fn bars(comparison: &Comparison, load: &str, title: &str, axis: &str, figure: Figure) -> Block {
    let bar = |target: &super::figures::TargetFacts| {
        let spread = comparison.spread(load, &target.name, figure)?;
        Some(Bar {
            name: target.name.clone(),
            value: spread.median,
            range: Some((spread.least, spread.most)),
            is_ours: target.name == UNDER_TEST,
        })
    };
    let bars = comparison.targets.iter().filter_map(bar).collect();
    Block::Bars(Bars { title: title.to_owned(), axis: axis.to_owned(), bars })
}

fn words(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::{comparison, idle, traffic};
    use super::super::target::NATS;
    use super::*;

    #[test]
    fn the_page_shows_what_the_table_shows() {
        let rounds = [vec![(UNDER_TEST, traffic(400.0, 0)), (NATS, traffic(1_000.0, 0))]];
        let text = page(&comparison("B", &rounds)).text();
        for shown in ["0.400 (0.400 to 0.400)", "target reached", "CPU us per delivered message", "<svg"] {
            assert!(text.contains(shown), "{shown}: {text}");
        }
        let text = page(&comparison("F", &[vec![(UNDER_TEST, idle(700.0))]])).text();
        assert!(text.contains("user bytes per idle connection") && !text.contains("messages/s</"), "{text}");
    }
}
