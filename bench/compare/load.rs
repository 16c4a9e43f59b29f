//! The loads that brokers are compared under, by letter.
//!
//! Why fixed presets: a figure is only worth keeping if the next one was made the same way.
//!
//! Invariants:
//! - The arguments are those of `ringmq-bench` itself, so that a person can repeat any run by hand.

use serde::Serialize;

use crate::failure::Failure;

/// One load.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Load {
    /// What `--load` calls it.
    pub(crate) letter: &'static str,
    /// What it is, in words.
    pub(crate) title: &'static str,
    /// The generator's arguments.
    pub(crate) arguments: &'static str,
    /// The same load for an echo server, where that makes sense.
    pub(crate) echo_arguments: Option<&'static str>,
    /// What the broker under test is held to.
    pub(crate) goal: Option<Goal>,
}

/// A limit on CPU per delivered message, as a multiple of somebody else's in the same run.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(crate) struct Goal {
    /// The target to compare with.
    pub(crate) against: &'static str,
    /// The multiple.
    pub(crate) at_most: f64,
}

const fn goal(against: &'static str, at_most: f64) -> Option<Goal> {
    Some(Goal { against, at_most })
}

/// All loads.
const LOADS: [Load; 7] = [
    Load {
        letter: "A",
        title: "50 pairs, QoS 0, 16 B, one PUBLISH per write, window 64",
        arguments: "pairs -c 50 -q 0 -s 16 --batch 1 --window 64",
        echo_arguments: None,
        goal: goal("nats", 1.0),
    },
    Load {
        letter: "B",
        title: "50 pairs, QoS 0, 16 B, 16 PUBLISH per write, window 64",
        arguments: "pairs -c 50 -q 0 -s 16 --batch 16 --window 64",
        echo_arguments: None,
        goal: goal("nats", 1.2),
    },
    Load {
        letter: "C",
        title: "50 pairs, QoS 0, 256 B, 16 PUBLISH per write, window 64",
        arguments: "pairs -c 50 -q 0 -s 256 --batch 16 --window 64",
        echo_arguments: None,
        goal: goal("nats", 0.6),
    },
    Load {
        letter: "D",
        title: "fan-out 1 -> 100, QoS 0, 16 B, 16 PUBLISH per write, window 64",
        arguments: "fan-out -c 100 -q 0 -s 16 --batch 16 --window 64",
        echo_arguments: None,
        goal: goal("nats", 1.0),
    },
    Load {
        letter: "E",
        title: "50 pairs, QoS 1 on both legs, 256 B, 16 PUBLISH per write, window 64",
        arguments: "pairs -c 50 -q 1 -s 256 --batch 16 --window 64 -F 64",
        echo_arguments: None,
        goal: goal("mosquitto", 0.15),
    },
    Load {
        letter: "G",
        title: "50 pairs, QoS 0, 256 B, open loop at 20,000 messages/s",
        arguments: "pairs -c 50 -q 0 -s 256 --batch 1 -I 2.5",
        echo_arguments: None,
        goal: goal("null-relay", 1.2),
    },
    Load {
        letter: "S",
        title: "1,000 pairs, QoS 0, 16 B, one message in flight each",
        arguments: "pairs -c 1000 -q 0 -s 16 --batch 1 --window 1",
        echo_arguments: Some("pairs --raw-echo -c 1000 -q 0 -s 16 --batch 1 --window 1"),
        goal: goal("echo", 1.4),
    },
];

/// The loads that `letters` name, in that order.
pub(crate) fn chosen(letters: &[String]) -> Result<Vec<Load>, Failure> {
    let find = |letter: &String| {
        LOADS.into_iter().find(|load| load.letter.eq_ignore_ascii_case(letter)).ok_or_else(|| {
            let known = LOADS.map(|load| load.letter).join(", ");
            Failure::Usage(format!("there is no load {letter}; there are {known}"))
        })
    };
    letters.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::options::{Command, Options};
    use crate::planning;

    #[test]
    fn the_arguments_of_every_load_are_understood() {
        for load in LOADS {
            for arguments in [Some(load.arguments), load.echo_arguments].into_iter().flatten() {
                let words = std::iter::once("ringmq-bench").chain(arguments.split(' '));
                let options = Options::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
                let planned = match &options.command {
                    Command::Pairs(options) => planning::pairs(options),
                    Command::FanOut(options) => planning::fan_out(options),
                    other => panic!("no load uses {other:?}"),
                };
                assert!(planned.is_ok(), "load {}", load.letter);
            }
        }
    }

    #[test]
    fn loads_are_found_by_letter_and_unknown_ones_are_named() {
        let letters = chosen(&["b".to_owned(), "S".to_owned()])
            .map(|loads| loads.iter().map(|load| load.letter).collect::<Vec<_>>());
        assert_eq!(letters.ok(), Some(vec!["B", "S"]));
        let unknown = chosen(&["X".to_owned()]).expect_err("there is no load X");
        assert!(unknown.to_string().contains("A, B, C"));
    }
}
