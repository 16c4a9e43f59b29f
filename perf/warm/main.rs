//! `warm LOAD ROUNDS`: runs the warm path for an instruction counter. Counting two numbers of rounds and taking the
//! difference leaves out everything that happens once; `perf/instructions.sh` does that.

use std::process::ExitCode;

use warm::{Bench, Load};

const LOADS: &[(&str, Load)] = &[
    ("pairs-qos0", Load { publishers: 50, subscribers_per_topic: 1, qos: 0, payload_len: 64, batch: 16 }),
    ("pairs-qos1", Load { publishers: 50, subscribers_per_topic: 1, qos: 1, payload_len: 256, batch: 16 }),
    ("fan-out-100", Load { publishers: 1, subscribers_per_topic: 100, qos: 0, payload_len: 16, batch: 16 }),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let load = args.get(1).and_then(|name| LOADS.iter().find(|(known, _)| known == name));
    let rounds = args.get(2).and_then(|rounds| rounds.parse().ok());
    let (Some((_, load)), Some(rounds)) = (load, rounds) else {
        let names: Vec<&str> = LOADS.iter().map(|(name, _)| *name).collect();
        eprintln!("usage: warm {} ROUNDS", names.join("|"));
        return ExitCode::from(2);
    };
    println!("{}", Bench::new(*load).run(rounds));
    ExitCode::SUCCESS
}
