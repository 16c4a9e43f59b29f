//! `warm LOAD ROUNDS`: runs the warm path for an instruction counter. Counting two numbers of rounds and taking the
//! difference leaves out everything that happens once; `perf/instructions.sh` does that. `warm place CORES COUNT`: prints
//! COUNT client ids for each core, with the core on which they are at home; `perf/crossing.py` needs them. `warm registry
//! COUNT`: builds a registry of COUNT devices from changes, and prints how long that took and what a device takes.

use std::process::ExitCode;

use broker::CoreId;
use device::{Keeping, Registry};
use warm::{
    Bench, CROSSING_QOS0, Devices, FAN_OUT_100, FAN_OUT_RULED, Load, PAIRS_QOS0, PAIRS_QOS1, PAIRS_RULED,
};

/// The allocator of the broker: it takes a part in what a stored message costs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const LOADS: &[(&str, Load)] = &[
    ("pairs-qos0", PAIRS_QOS0),
    ("crossing-qos0", CROSSING_QOS0),
    ("pairs-qos1", PAIRS_QOS1),
    ("fan-out-100", FAN_OUT_100),
    ("pairs-ruled", PAIRS_RULED),
    ("fan-out-ruled", FAN_OUT_RULED),
];

const TELEMETRY: &[(&str, Keeping)] = &[
    ("telemetry-forward", Keeping::Forward),
    ("telemetry-latest", Keeping::Latest),
    ("telemetry-history", Keeping::History),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    if let [_, command, cores, count] = &args[..]
        && command == "place"
        && let (Ok(cores), Ok(count)) = (cores.parse(), count.parse())
    {
        place(cores, count);
        return ExitCode::SUCCESS;
    }
    if let [_, command, count] = &args[..]
        && command == "registry"
        && let Ok(count) = count.parse()
    {
        fill(count);
        return ExitCode::SUCCESS;
    }
    if let [_, name, rounds] = &args[..]
        && let Some((_, keeping)) = TELEMETRY.iter().find(|(known, _)| known == name)
        && let Ok(rounds) = rounds.parse()
    {
        println!("{}", Devices::new(*keeping).run(rounds));
        return ExitCode::SUCCESS;
    }
    let load = args.get(1).and_then(|name| LOADS.iter().find(|(known, _)| known == name));
    let rounds = args.get(2).and_then(|rounds| rounds.parse().ok());
    let (Some((_, load)), Some(rounds)) = (load, rounds) else {
        let telemetry = TELEMETRY.iter().map(|(name, _)| *name);
        let names: Vec<&str> = LOADS.iter().map(|(name, _)| *name).chain(telemetry).collect();
        eprintln!("usage: warm {} ROUNDS", names.join("|"));
        return ExitCode::from(2);
    };
    println!("{}", Bench::new(*load).run(rounds));
    ExitCode::SUCCESS
}

/// Prints `count` client ids for each of `cores` cores.
fn place(cores: u16, count: usize) {
    for core in 0..cores {
        let at_home = |id: &String| CoreId::home_of(id.as_bytes(), cores).get() == core;
        let ids = (0u32..).map(|number| format!("client-{number}")).filter(at_home);
        ids.take(count).for_each(|id| println!("{core} {id}"));
    }
}

/// Builds a registry of so many devices, as a start does from a store.
#[expect(clippy::disallowed_methods, reason = "how long a start takes is a matter of the real clock")]
fn fill(count: u32) {
    let changes: Vec<_> = warm::changes(count).collect();
    let begun = std::time::Instant::now();
    let mut registry = Registry::default();
    for change in &changes {
        registry.apply(change);
    }
    let seconds = begun.elapsed().as_secs_f64();
    let bytes = registry.memory_bytes() / registry.len().max(1);
    println!("{} devices in {seconds:.2} s, {bytes} bytes each", registry.len());
}
