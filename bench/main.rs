//! `ringmq-bench`: load for any MQTT broker, and a comparison of several in one run.
//!
//! Why a program of its own, without a line of the broker: a generator that shares the broker's codec shares its
//! mistakes, and people who compare brokers must be able to trust that it treats all of them alike.
//!
//! Invariants:
//! - Exit code 0 means that a report was printed, 1 that a run failed, 2 that the options were wrong.
//! - The report goes to standard output, everything else to standard error.

mod affinity;
mod clock;
mod codec;
mod compare;
mod engine;
mod failure;
mod flow;
mod html;
mod interrupt;
mod ledger;
mod number;
mod options;
mod output;
mod plan;
mod planning;
mod procfs;
mod progress;
mod provision;
mod relay;
mod report;
mod scenario;
mod sheet;
mod stamp;
mod topic;
mod transport;

use std::process::ExitCode;

use clap::Parser;

use crate::failure::Failure;
use crate::options::{Command, Options, TrafficOptions};
use crate::progress::Progress;

fn main() -> ExitCode {
    let options = Options::parse();
    match start(&options.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("ringmq-bench: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn start(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Pairs(options) => run(planning::pairs(options)?, &options.traffic),
        Command::FanIn(options) => run(planning::fan_in(options)?, &options.traffic),
        Command::FanOut(options) => run(planning::fan_out(options)?, &options.traffic),
        Command::Shared(options) => run(planning::shared(options)?, &options.traffic),
        Command::Telemetry(options) => {
            let plan = planning::telemetry(options)?;
            if let Some(url) = &options.provision {
                provision::provision(url, options, &plan)?;
            }
            if options.only_provision {
                return Ok(());
            }
            run(plan, &options.traffic)
        }
        Command::Retained(options) => {
            let plan = planning::retained(options)?;
            output::publish(&engine::run_retained(&plan, &begin()?)?, &options.output)
        }
        Command::Conn(options) => {
            let plan = planning::conn(options)?;
            output::publish(&engine::run_connects(plan, &begin()?)?, &options.output)
        }
        Command::Idle(options) => {
            let plan = planning::idle(options)?;
            output::publish(&engine::run_idle(plan, &begin()?)?, &options.output)
        }
        Command::Replay(options) => {
            let (plan, scenario) = planning::replay(options)?;
            output::publish(&engine::run_replay(plan, scenario, &begin()?)?, &options.output)
        }
        Command::EchoServer(options) => relay::serve_echo(relay::listen(options.listen)?),
        Command::NullRelay(options) => relay::serve_null(options),
        Command::Compare(options) => compare::compare(options),
        Command::Plan(options) => plan::plan(options),
        Command::Tether(options) => compare::tether(options),
    }
}

fn run(plan: engine::Plan, traffic: &TrafficOptions) -> Result<(), Failure> {
    let progress = begin()?;
    let report = if traffic.offline_subscribers {
        engine::run_offline(&plan, &progress)?
    } else {
        engine::run(plan, &progress)?
    };
    output::publish(&report, &traffic.output)
}

/// From here on a signal ends the workload early, with a report; servers of ours end at once, as ever.
fn begin() -> Result<Progress, Failure> {
    interrupt::listen()?;
    Ok(Progress::on_terminal())
}
