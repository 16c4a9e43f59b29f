//! Every talk file in every runner, each as a test of its own: `memory2::publish/PB-05::v5`.

use std::path::Path;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use talk::{Launch, Script, TcpWorld, Version, World, corpus, play};

/// Runs at the same time, unless the command line says otherwise.
const THREADS: usize = 4;

fn main() {
    let mut arguments = Arguments::from_args();
    // Over TCP a run mostly waits, so more of them than processors fit beside each other.
    arguments.test_threads.get_or_insert(THREADS);
    let home = corpus::home().join("corpus");
    let mut trials = Vec::new();
    for path in corpus::files(&home) {
        let name = path.strip_prefix(&home).unwrap_or(&path).with_extension("").display().to_string();
        match corpus::read(&path) {
            Ok(script) => trials.extend(trials_of(&name, &Arc::new(script))),
            Err(error) => {
                trials.push(Trial::test(format!("grammar::{name}"), move || Err(Failed::from(error))))
            }
        }
    }
    if corpus::binary().is_none() {
        eprintln!("no binary under target/ and no RINGMQ_BIN: the TCP runners are left out");
    }
    libtest_mimic::run(&arguments, trials).exit();
}

fn trials_of(name: &str, script: &Arc<Script>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for version in script.header.versions.iter().copied() {
        for cores in corpus::MEMORY_CORES.into_iter().filter(|cores| script.runs_on(*cores)) {
            let of = Arc::clone(script);
            if script.runs_in("memory") {
                let name = format!("memory{cores}::{name}::{}", version.word());
                trials
                    .push(Trial::test(name, move || run(&of, version, || corpus::memory_world(&of, cores))));
            }
        }
        for cores in corpus::TCP_CORES.into_iter().filter(|cores| script.runs_on(*cores)) {
            let Some(path) = corpus::binary().filter(|_| script.runs_in("tcp")) else { continue };
            let of = Arc::clone(script);
            let name = format!("tcp{cores}::{name}::{}", version.word());
            trials.push(Trial::test(name, move || run(&of, version, || tcp_world(&of, &path, cores))));
        }
    }
    trials
}

fn tcp_world(script: &Script, path: &Path, cores: u16) -> Result<Box<dyn World>, String> {
    let launch = Launch::Binary { path: path.to_owned(), cores, settings: script.header.settings.clone() };
    Ok(Box::new(TcpWorld::new(launch)?))
}

fn run(
    script: &Script,
    version: Version,
    world: impl FnOnce() -> Result<Box<dyn World>, String>,
) -> Result<(), Failed> {
    let mut world = world()?;
    play(script, version, world.as_mut()).map(|_| ()).map_err(|failure| Failed::from(failure.to_string()))
}
