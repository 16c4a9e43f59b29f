//! The page of one run: what the terminal shows, and its seconds as curves.
//!
//! Why made of the sheet: the page must not know more than the terminal, only show it better.
//!
//! Invariants:
//! - A curve is shown only if the run has figures for it: a broker elsewhere has no processor time here.

use super::{Axis, Block, Lines, Page, Series, Table, Tile, compact};
use crate::number::float;
use crate::sheet::{Percentiles, Second, Sheet};

const TIME: &str = "time, s";
const MEBIBYTE: f64 = 1_048_576.0;

/// The page of `sheet`, with `facts` about the machine.
pub(crate) fn sheet_page(sheet: &Sheet, facts: Vec<(String, String)>) -> Page {
    let lead = if sheet.interrupted {
        "Interrupted: these are the figures up to the signal."
    } else {
        "One run of load against one broker."
    };
    let mut page = Page::new(sheet.title.clone(), lead, facts);
    page.section("What happened", summary(sheet));
    let charts = [
        rates(&sheet.series),
        latencies(&sheet.series),
        distribution(sheet),
        processors(&sheet.series),
        memory(&sheet.series),
    ];
    let charts: Vec<Block> = charts.into_iter().flatten().map(Block::Lines).collect();
    if !charts.is_empty() {
        page.section("Over time", charts);
    }
    if !sheet.times.is_empty() {
        page.section("Times", vec![Block::Table(times(&sheet.times))]);
    }
    page
}

fn summary(sheet: &Sheet) -> Vec<Block> {
    let mut table = Table::new("", &["what", "figure"]);
    table.rows.extend(sheet.rows.iter().map(|row| vec![row.name.to_owned(), row.text.clone()]));
    vec![Block::Tiles(tiles(sheet)), Block::Notes(sheet.notes.clone()), Block::Table(table)]
}

fn tiles(sheet: &Sheet) -> Vec<Tile> {
    let mean = |part: fn(&Second) -> f64| {
        let sum: f64 = sheet.series.iter().map(part).sum();
        sum / float(crate::number::wide(sheet.series.len()).max(1))
    };
    let mut tiles = vec![];
    let received = mean(|second| second.received_per_s);
    if received > 0.0 {
        tiles.push(Tile::new(
            "delivered",
            format!("{}/s", compact(received)),
            "mean over the counted seconds",
        ));
    }
    let connects = mean(|second| second.connects_per_s);
    if connects > 0.0 {
        tiles.push(Tile::new(
            "connects",
            format!("{}/s", compact(connects)),
            "mean over the counted seconds",
        ));
    }
    let timed = sheet.times.iter().filter(|(_, percentiles)| percentiles.count > 0);
    for (name, percentiles) in timed {
        let detail = format!("median {} us", compact(percentiles.p50_us));
        tiles.push(Tile::new(format!("{name}, p99"), format!("{} us", compact(percentiles.p99_us)), detail));
    }
    if sheet.series.iter().any(|second| second.broker_cores.is_some()) {
        let cores = mean(|second| second.broker_cores.unwrap_or_default());
        tiles.push(Tile::new(
            "broker",
            format!("{} cores", compact(cores)),
            "processor time over elapsed time",
        ));
    }
    tiles
}

fn curve(series: &[Second], name: &str, of: impl Fn(&Second) -> Option<f64>) -> Option<Series> {
    let points: Vec<_> = series.iter().filter_map(|second| Some((second.t_s, of(second)?))).collect();
    points.iter().any(|(_, value)| *value > 0.0).then(|| Series::line(name, points))
}

fn chart(title: &str, y: Axis, curves: impl IntoIterator<Item = Option<Series>>) -> Option<Lines> {
    let curves: Vec<_> = curves.into_iter().flatten().collect();
    (!curves.is_empty()).then(|| Lines::new(title, Axis::linear(TIME), y, curves))
}

fn rates(series: &[Second]) -> Option<Lines> {
    let curves = [
        curve(series, "published", |second| Some(second.sent_per_s)),
        curve(series, "delivered", |second| Some(second.received_per_s)),
        curve(series, "connected", |second| Some(second.connects_per_s)),
    ];
    chart("Throughput", Axis::linear("per second"), curves)
}

fn latencies(series: &[Second]) -> Option<Lines> {
    let curves = [
        curve(series, "p50", |second| Some(second.p50_us)),
        curve(series, "p99", |second| Some(second.p99_us)),
        curve(series, "p99.9", |second| Some(second.p999_us)),
    ];
    chart("Latency", Axis::logarithmic("us"), curves)
}

fn distribution(sheet: &Sheet) -> Option<Lines> {
    // One over the share that is slower: 100 stands for p99, 1,000 for p99.9.
    let slower = |quantile: f64| 1.0 / (1.0 - quantile);
    let points: Vec<_> =
        sheet.distribution.iter().map(|point| (slower(point.quantile), point.at_us)).collect();
    if points.iter().filter(|(x, _)| x.is_finite()).count() < 2 {
        return None;
    }
    let x = Axis::logarithmic("one message in so many is slower (100 is p99)");
    Some(Lines::new(
        "Distribution of the latency",
        x,
        Axis::logarithmic("us"),
        vec![Series::line("latency", points)],
    ))
}

fn processors(series: &[Second]) -> Option<Lines> {
    let curves = [
        curve(series, "broker", |second| second.broker_cores),
        curve(series, "busiest thread of the generator", |second| Some(second.generator_cores)),
    ];
    chart("Processor time", Axis::linear("cores"), curves)
}

fn memory(series: &[Second]) -> Option<Lines> {
    let resident = |second: &Second| second.broker_resident_bytes.map(|bytes| float(bytes) / MEBIBYTE);
    chart("Memory of the broker", Axis::linear("MiB"), [curve(series, "resident", resident)])
}

fn times(times: &[(&'static str, Percentiles)]) -> Table {
    let mut table = Table::new("", &["us", "p50", "p90", "p99", "p99.9", "max", "count"]);
    for (name, Percentiles { count, p50_us, p90_us, p99_us, p999_us, max_us }) in times {
        let figures = [p50_us, p90_us, p99_us, p999_us, max_us].map(|us| format!("{us:.0}"));
        table
            .rows
            .push(std::iter::once((*name).to_owned()).chain(figures).chain([count.to_string()]).collect());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sheet::{Point, Row};

    fn sheet(broker_cores: Option<f64>) -> Sheet {
        let second = |t_s| Second {
            t_s,
            sent_per_s: 100.0,
            received_per_s: 99.0,
            p50_us: 40.0,
            p99_us: 90.0,
            p999_us: 200.0,
            broker_cores,
            broker_resident_bytes: broker_cores.map(|_| 5_242_880),
            generator_cores: 0.3,
            ..Second::default()
        };
        Sheet {
            title: "50 pairs".into(),
            rows: vec![Row { name: "sent", text: "100 messages/s".into() }],
            times: vec![("latency", Percentiles { count: 7, p99_us: 90.0, ..Percentiles::default() })],
            distribution: [(0.5, 40.0), (0.99, 90.0), (1.0, 95.0)]
                .map(|(quantile, at_us)| Point { quantile, at_us })
                .to_vec(),
            series: vec![second(1.0), second(2.0)],
            notes: vec!["mind the gap".into()],
            ..Sheet::default()
        }
    }

    #[test]
    fn a_run_becomes_curves_tiles_and_its_table() {
        let text = sheet_page(&sheet(Some(0.5)), vec![]).text();
        for title in
            ["Throughput", "Latency", "Distribution of the latency", "Processor time", "Memory of the broker"]
        {
            assert!(text.contains(&format!("<figcaption>{title}</figcaption>")), "{title}");
        }
        for words in ["100 messages/s", "mind the gap", "latency, p99", "99/s"] {
            assert!(text.contains(words), "{words}");
        }
        assert!(!text.contains("connected"), "nobody connected in the counted time");
    }

    #[test]
    fn a_broker_elsewhere_has_no_curves_of_its_own() {
        let text = sheet_page(&sheet(None), vec![]).text();
        assert!(text.contains("busiest thread of the generator"));
        assert!(!text.contains("Memory of the broker") && !text.contains(">broker<"));
    }
}
