//! The gate of overload: what `tests/run --stage overload` runs against the binary that `RINGMQ_BIN` names.
//!
//! Why one at a time: each of these loads both cores, and a figure means something only if nothing else runs. The figures
//! are for people; what is asserted are counts, completeness, and bounds of memory.
//!
//! Invariants:
//! - In every scenario a bystander completes a fixed number of rounds while the others misbehave.

mod crowds;
mod doors;
mod rates;
mod storms;
mod time;

use libtest_mimic::{Arguments, Failed, Trial};
use overload::bystander::Bystander;
use overload::client::Client;
use overload::crowd::drive;
use overload::process::allow_descriptors;
use overload::stage::Stage;

/// Descriptors that the largest crowd needs.
const DESCRIPTORS: u64 = 16_000;

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let allowed = allow_descriptors(DESCRIPTORS).map(drop);
    let trials = [crowds::trials(), storms::trials(), doors::trials(), rates::trials(), time::trials()];
    let trials = trials.into_iter().flatten().map(|(name, test): Scenario| {
        let allowed = allowed.clone();
        Trial::test(name, move || allowed.and_then(|()| test()).map_err(Failed::from))
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

/// A name that is a sentence, and what it says.
type Scenario = (&'static str, fn() -> Result<(), String>);

/// A broker and its bystander, who has completed some rounds before anything happens.
fn begin(name: &str, config: &str) -> Result<(Stage, Bystander), String> {
    let stage = Stage::start(name, config)?;
    let mut bystander = Bystander::new(stage.address)?;
    bystander.rounds(100)?;
    Ok((stage, bystander))
}

/// Fails unless `found` is `wanted`.
fn must_be<T: PartialEq + std::fmt::Debug>(what: &str, found: T, wanted: T) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("{what}: {found:?} instead of {wanted:?}")) }
}

/// Fails unless the broker's memory has stayed within so many bytes more than `before`; returns how many.
fn must_be_small(stage: &Stage, before: u64, more_max: u64) -> Result<u64, String> {
    let more = stage.process.peak_bytes().saturating_sub(before);
    if more <= more_max { Ok(more) } else { Err(format!("{more} bytes more in memory, at most {more_max}")) }
}

/// Waits until the other side has ended all of these connections.
fn must_end(crowd: &mut [Client], what: &str) -> Result<(), String> {
    drive(crowd, what, |crowd| crowd.iter().all(|client| client.has_ended))
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
}

fn refused(failure: std::io::Error) -> String {
    format!("a connection of the crowd: {failure}")
}
