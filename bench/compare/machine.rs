//! What a reader must know about the machine to judge figures made on it.
//!
//! Why gathered by the program: what people write down by hand is what they remember.
//!
//! Invariants:
//! - A fact that the system does not tell is reported as unknown.

use std::fs;

use serde::Serialize;

use crate::number::wide;

/// The machine and its state before the first run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Machine {
    /// Kernel release.
    pub(crate) kernel: String,
    /// Processor model.
    pub(crate) processor: String,
    /// Processors this process may use.
    pub(crate) processors: u64,
    /// Frequency governor.
    pub(crate) governor: String,
    /// Clock source.
    pub(crate) clock: String,
    /// Congestion control of TCP, which also works on loopback.
    pub(crate) congestion_control: String,
    /// Memory.
    pub(crate) memory: String,
    /// Transparent huge pages, which change memory per connection.
    pub(crate) huge_pages: String,
    /// Load averages over 1, 5 and 15 minutes: other work on the machine spoils figures.
    pub(crate) load_average: String,
    /// Date in UTC.
    pub(crate) date: String,
}

impl Machine {
    /// Reads the facts.
    pub(crate) fn read() -> Self {
        let processors = std::thread::available_parallelism().map_or(0, |count| wide(count.get()));
        Self {
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            processor: value("/proc/cpuinfo", "model name"),
            processors,
            governor: line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            clock: line("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            congestion_control: line("/proc/sys/net/ipv4/tcp_congestion_control"),
            memory: value("/proc/meminfo", "MemTotal"),
            huge_pages: chosen_of(&line("/sys/kernel/mm/transparent_hugepage/enabled")),
            load_average: line("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" "),
            date: date(),
        }
    }

    /// Names and values, for a page.
    pub(crate) fn facts(&self) -> Vec<(String, String)> {
        let fact = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        vec![
            fact("processor", &self.processor),
            fact("processors", &self.processors.to_string()),
            fact("memory", &self.memory),
            fact("kernel", &self.kernel),
            fact("governor", &self.governor),
            fact("clock", &self.clock),
            fact("TCP congestion control", &self.congestion_control),
            fact("transparent huge pages", &self.huge_pages),
            fact("load average before the first run", &self.load_average),
            fact("ringmq-bench", env!("CARGO_PKG_VERSION")),
            fact("date", &self.date),
        ]
    }

    /// The same as one sentence.
    pub(crate) fn in_words(&self) -> String {
        let words: Vec<String> = self.facts().iter().map(|(name, value)| format!("{name} {value}")).collect();
        words.join(", ")
    }
}

/// The word in brackets of a list of choices.
fn chosen_of(choices: &str) -> String {
    let chosen = choices.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    chosen.map_or_else(|| choices.to_owned(), |(chosen, _)| chosen.to_owned())
}

/// Today's date in UTC, as year-month-day.
pub(crate) fn date() -> String {
    time::OffsetDateTime::now_utc().date().to_string()
}

fn line(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| "unknown".into(), |text| text.trim().to_owned())
}

fn value(path: &str, key: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let found = text.lines().find_map(|line| line.strip_prefix(key)?.split_once(':'));
    found.map_or_else(|| "unknown".into(), |(_, value)| value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_list_of_choices_the_chosen_one_is_told() {
        assert_eq!(chosen_of("always [madvise] never"), "madvise");
        assert_eq!(chosen_of("unknown"), "unknown");
    }

    #[test]
    fn the_sentence_names_every_fact() {
        let machine = Machine::read();
        assert!(machine.facts().iter().all(|(_, value)| machine.in_words().contains(value)));
        assert!(machine.in_words().contains("kernel"));
    }
}
