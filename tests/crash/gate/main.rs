//! The gate of the promise: what `tests/run --stage crash` runs against the binary that `RINGMQ_BIN` names.
//!
//! Why one at a time: each of these keeps two cores busy, and recovery times mean something only if nothing else runs.
//!
//! Invariants:
//! - A test that needs a right this process does not have (to mount) is skipped, says so, and counts as ignored, never as
//!   passed.

mod damage;
mod falls;
mod full;
mod limit;
mod place;
mod powercuts;

use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let missing = place::missing_rights();
    for why in &missing {
        println!("skipped, not passed: tests on mounted disks, because {why}");
    }
    let mut trials = Vec::new();
    trials.extend(falls::trials());
    trials.extend(limit::trials());
    trials.extend(damage::trials());
    let mounted = powercuts::trials().into_iter().chain(full::trials());
    trials.extend(mounted.map(|trial| trial.with_ignored_flag(!missing.is_empty())));
    libtest_mimic::run(&arguments, trials).exit();
}

/// A test with a name that is a sentence.
fn trial(name: &str, test: impl FnOnce() -> Result<(), String> + Send + 'static) -> Trial {
    Trial::test(name, move || test().map_err(Failed::from))
}
