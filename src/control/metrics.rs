//! The counters of all cores in Prometheus' text format.
//!
//! Invariants:
//! - Every counter of every core is one line; counters end in `_total`, gauges do not.
//!
//! Source: Prometheus exposition format, version 0.0.4.

use std::fmt::Write;

use broker::{CounterKind, Counters};

/// Renders the counters, one entry per core.
pub(crate) fn render(version: &str, cores: &[Counters]) -> String {
    let mut text = String::new();
    let info = "# HELP ringmq_build_info The version of this broker.\n# TYPE ringmq_build_info gauge\n";
    line(&mut text, format_args!("{info}ringmq_build_info{{version=\"{version}\"}} 1"));
    let names: Vec<(&'static str, CounterKind)> =
        Counters::default().each().map(|(name, kind, _)| (name, kind)).collect();
    for (position, (name, kind)) in names.into_iter().enumerate() {
        let (suffix, kind) = match kind {
            CounterKind::Counter => ("_total", "counter"),
            CounterKind::Gauge => ("", "gauge"),
        };
        line(&mut text, format_args!("# TYPE ringmq_{name}{suffix} {kind}"));
        for (core, counters) in cores.iter().enumerate() {
            let value = counters.each().nth(position).map_or(0, |(_, _, value)| value);
            line(&mut text, format_args!("ringmq_{name}{suffix}{{core=\"{core}\"}} {value}"));
        }
    }
    text
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    let _writing_to_a_string_cannot_fail = writeln!(text, "{arguments}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_core_has_a_line_per_counter_and_gauges_have_no_total() {
        let cores = [
            Counters { sessions: 3, ..Counters::default() },
            Counters { packets_sent: 9, ..Counters::default() },
        ];
        let text = render("1.2.3", &cores);
        assert!(text.contains("ringmq_build_info{version=\"1.2.3\"} 1\n"));
        assert!(text.contains(
            "# TYPE ringmq_sessions gauge\nringmq_sessions{core=\"0\"} 3\nringmq_sessions{core=\"1\"} 0\n"
        ));
        assert!(text.contains("ringmq_packets_sent_total{core=\"1\"} 9\n"));
        assert!(
            text.lines()
                .all(|line| line.starts_with('#') || line.rsplit(' ').next().unwrap().parse::<u64>().is_ok())
        );
    }
}
