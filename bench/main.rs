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
#[allow(dead_code, reason = "the pages of reports are wired next")]
mod html;
mod ledger;
mod number;
mod options;
mod output;
mod planning;
mod procfs;
mod progress;
mod relay;
mod report;
mod sheet;
mod stamp;
mod topic;

use std::process::ExitCode;

use clap::Parser;

use crate::failure::Failure;
use crate::options::{Command, Options, OutputOptions};
use crate::progress::Progress;

fn main() -> ExitCode {
    match start(&Options::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("ringmq-bench: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn start(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Pairs(options) => run(planning::pairs(options)?, &options.traffic.output),
        Command::FanIn(options) => run(planning::fan_in(options)?, &options.traffic.output),
        Command::FanOut(options) => run(planning::fan_out(options)?, &options.traffic.output),
        Command::Idle(options) => {
            let plan = planning::idle(options)?;
            output::publish(&engine::run_idle(plan, &Progress::on_terminal())?, &options.output)
        }
        Command::EchoServer(options) => relay::serve_echo(relay::listen(options.listen)?),
        Command::NullRelay(options) => relay::serve_null(relay::listen(options.listen)?),
        Command::Compare(options) => compare::compare(options),
    }
}

fn run(plan: engine::Plan, output: &OutputOptions) -> Result<(), Failure> {
    output::publish(&engine::run(plan, &Progress::on_terminal())?, output)
}
