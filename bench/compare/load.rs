//! The loads that brokers are compared under, by letter.
//!
//! Why fixed presets: a figure is only worth keeping if the next one was made the same way.
//!
//! Invariants:
//! - The arguments are those of `ringmq-bench` itself, so that a person can repeat any run by hand.

use super::door::Door;
use crate::failure::Failure;

/// One load.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Load {
    /// What `--load` calls it.
    pub(crate) letter: &'static str,
    /// What it is, in words, with `#` for the number of clients.
    title: &'static str,
    /// The generator's workload and what follows `-c`.
    workload: &'static str,
    rest: &'static str,
    /// Clients, and how much of a crowd of them is wanted.
    count: u32,
    crowd_percent: u32,
    /// What is found out.
    pub(crate) kind: LoadKind,
    /// Whether the same bytes can be sent to an echo server.
    pub(crate) echoes: bool,
    /// What the clients of the broker under test come through.
    pub(crate) door: Door,
}

/// What a load finds out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LoadKind {
    /// What a message costs.
    Traffic,
    /// What a connection costs.
    Idle,
}

const fn traffic(
    letter: &'static str,
    title: &'static str,
    workload: &'static str,
    count: u32,
    rest: &'static str,
) -> Load {
    Load {
        letter,
        title,
        workload,
        rest,
        count,
        crowd_percent: 100,
        kind: LoadKind::Traffic,
        echoes: false,
        door: Door::Plain,
    }
}

/// Load C through a door.
const fn behind(door: Door, letter: &'static str, title: &'static str) -> Load {
    Load { door, ..traffic(letter, title, "pairs", 50, C) }
}

const fn idle(letter: &'static str, title: &'static str, rest: &'static str) -> Load {
    Load {
        letter,
        title,
        workload: "idle",
        rest,
        count: 5_000,
        crowd_percent: 100,
        kind: LoadKind::Idle,
        echoes: false,
        door: Door::Plain,
    }
}

const C: &str = "-q 0 -s 256 --batch 16 --window 64";

/// All loads.
const LOADS: [Load; 13] = [
    traffic(
        "A",
        "# pairs, QoS 0, 16 B, one PUBLISH per write, window 64",
        "pairs",
        50,
        "-q 0 -s 16 --batch 1 --window 64",
    ),
    traffic(
        "B",
        "# pairs, QoS 0, 16 B, 16 PUBLISH per write, window 64",
        "pairs",
        50,
        "-q 0 -s 16 --batch 16 --window 64",
    ),
    traffic("C", "# pairs, QoS 0, 256 B, 16 PUBLISH per write, window 64", "pairs", 50, C),
    traffic(
        "D",
        "fan-out 1 -> #, QoS 0, 16 B, 16 PUBLISH per write, window 64",
        "fan-out",
        100,
        "-q 0 -s 16 --batch 16 --window 64",
    ),
    traffic(
        "E",
        "# pairs, QoS 1 on both legs, 256 B, 16 PUBLISH per write, window 64",
        "pairs",
        50,
        "-q 1 -s 256 --batch 16 --window 64 -F 64",
    ),
    idle("F", "# idle connections without subscription", ""),
    idle("F1", "# idle connections, one subscription each", "-t idle/%i"),
    traffic(
        "G",
        "# pairs, QoS 0, 256 B, open loop at 20,000 messages/s",
        "pairs",
        50,
        "-q 0 -s 256 --batch 1 -I 2.5",
    ),
    Load {
        echoes: true,
        ..traffic(
            "S",
            "# pairs, QoS 0, 16 B, one message in flight each",
            "pairs",
            5_000,
            "-q 0 -s 16 --batch 1 --window 1",
        )
    },
    behind(Door::Tls, "T", "# pairs as in C, over TLS 1.3"),
    behind(Door::WebSocket, "W", "# pairs as in C, over WebSocket"),
    behind(Door::Acl, "L", "# pairs as in C, with 1,000 access rules"),
    Load { door: Door::Tls, ..idle("FT", "# idle connections over TLS 1.3", "") },
];

/// From this many clients on it is a crowd.
const CROWD: u32 = 1_000;

impl Load {
    /// What it is, in words.
    pub(crate) fn title(&self) -> String {
        self.title.replace('#', &self.clients().to_string())
    }

    /// The generator's arguments.
    pub(crate) fn arguments(&self) -> String {
        self.plain_arguments() + self.door.arguments()
    }

    /// The generator's arguments for the same without a door.
    pub(crate) fn plain_arguments(&self) -> String {
        format!("{} -c {} {}", self.workload, self.clients(), self.rest).trim_end().to_owned()
    }

    /// The generator's arguments for an echo server.
    pub(crate) fn echo_arguments(&self) -> String {
        format!("{} --raw-echo", self.arguments())
    }

    fn clients(&self) -> u32 {
        if self.count < CROWD {
            return self.count;
        }
        (self.count * self.crowd_percent / 100).max(1)
    }
}

/// The loads that `letters` name, in that order and once; F stands for F and F1.
pub(crate) fn chosen(letters: &[String], crowd_percent: u32) -> Result<Vec<Load>, Failure> {
    let mut loads: Vec<Load> = vec![];
    for letter in letters {
        let is_named = |load: &&Load| {
            load.letter.eq_ignore_ascii_case(letter)
                || letter.eq_ignore_ascii_case("F") && load.letter == "F1"
        };
        let mut named = LOADS.iter().filter(is_named).peekable();
        if named.peek().is_none() {
            let known = LOADS.map(|load| load.letter).join(", ");
            return Err(Failure::Usage(format!("there is no load {letter}; there are {known}")));
        }
        for load in named {
            if loads.iter().all(|other| other.letter != load.letter) {
                loads.push(Load { crowd_percent, ..*load });
            }
        }
    }
    Ok(loads)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::options::{Command, Options};
    use crate::planning;

    fn letters(names: &[&str]) -> Result<Vec<&'static str>, Failure> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        chosen(&names, 100).map(|loads| loads.iter().map(|load| load.letter).collect())
    }

    #[test]
    fn the_arguments_of_every_load_are_understood() {
        for load in LOADS {
            let echo = load.echoes.then(|| load.echo_arguments());
            for arguments in
                [Some(load.arguments()), Some(load.plain_arguments()), echo].into_iter().flatten()
            {
                let words = std::iter::once("ringmq-bench").chain(arguments.split(' '));
                let options = Options::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
                let planned = match &options.command {
                    Command::Pairs(options) => planning::pairs(options).map(drop),
                    Command::FanOut(options) => planning::fan_out(options).map(drop),
                    Command::Idle(options) => planning::idle(options).map(drop),
                    other => panic!("no load uses {other:?}"),
                };
                assert!(planned.is_ok(), "load {}", load.letter);
            }
        }
    }

    #[test]
    fn loads_are_found_by_letter_and_unknown_ones_are_named() {
        assert_eq!(letters(&["b", "S"]).ok(), Some(vec!["B", "S"]));
        let unknown = letters(&["X"]).expect_err("there is no load X");
        assert!(unknown.to_string().contains("A, B, C"));
    }

    #[test]
    fn f_is_measured_without_and_with_a_subscription() {
        assert_eq!(letters(&["F"]).ok(), Some(vec!["F", "F1"]));
        assert_eq!(letters(&["F1"]).ok(), Some(vec!["F1"]));
        assert_eq!(letters(&["F", "B", "F1", "b"]).ok(), Some(vec!["F", "F1", "B"]), "each of them once");
    }

    #[test]
    fn a_load_behind_a_door_is_the_same_load() {
        let loads = chosen(&["C".into(), "T".into(), "W".into(), "L".into()], 100).expect("all exist");
        let plain: Vec<String> = loads.iter().map(Load::plain_arguments).collect();
        assert!(plain.iter().all(|arguments| *arguments == plain[0]), "{plain:?}");
        assert_eq!(loads[1].arguments(), format!("{} -S --tls-min 1.3", plain[0]));
    }

    #[test]
    fn a_percentage_changes_crowds_and_leaves_the_small_loads_alone() {
        let loads = chosen(&["B".into(), "F1".into(), "S".into()], 1).expect("all exist");
        let arguments: Vec<String> = loads.iter().map(Load::arguments).collect();
        assert_eq!(arguments[0], "pairs -c 50 -q 0 -s 16 --batch 16 --window 64");
        assert_eq!(arguments[1], "idle -c 50 -t idle/%i");
        assert_eq!(arguments[2], "pairs -c 50 -q 0 -s 16 --batch 1 --window 1");
        assert_eq!(loads[1].title(), "50 idle connections, one subscription each");
    }
}
