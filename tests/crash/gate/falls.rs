//! A killed broker keeps what it has acknowledged; one that keeps nothing is found out.

use crash::campaign::{self, Plan};
use crash::ground::Plain;
use libtest_mimic::Trial;

use crate::place::{must_be_caught, must_be_good, plan};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("without_a_fall_nothing_is_lost_and_the_ledger_accuses_nobody", without_a_fall),
        trial("thirty_kills_lose_nothing_that_was_acknowledged", thirty_kills),
        trial("a_broker_that_keeps_everything_in_memory_is_found_out", || without_durability("memory")),
        trial("a_broker_that_syncs_now_and_then_is_found_out", || without_durability("interval")),
    ]
}

fn without_a_fall() -> Result<(), String> {
    let mut plan = plan("no-fall", 0);
    plan.load_ms = (4000, 4000);
    must_be_good(&campaign::run(&plan, &mut Plain::new(&plan.work))?)
}

fn thirty_kills() -> Result<(), String> {
    let plan = plan("kills", 30);
    let report = campaign::run(&plan, &mut Plain::new(&plan.work))?;
    must_be_good(&report)?;
    if report.falls < 30 { Err(format!("only {} kills", report.falls)) } else { Ok(()) }
}

/// Ends with the first broken promise. On a fast disk a store that syncs now and then is often lucky.
fn without_durability(durability: &str) -> Result<(), String> {
    let plan = Plan { durability: Some(durability.to_owned()), broken_max: 1, ..plan(durability, 60) };
    must_be_caught(&campaign::run(&plan, &mut Plain::new(&plan.work))?)
}
