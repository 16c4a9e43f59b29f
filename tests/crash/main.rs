//! `crash`: the campaigns from the command line.
//!
//! Invariants:
//! - Exit code 0: every promise was kept; 1: a rule was broken, or the work could not be done; 2: wrong options.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use crash::campaign::{self, Plan};
use crash::ground::Plain;
use crash::powercut::PowerCut;
use crash::report::Report;

/// A disk that no campaign fills.
const DISK_BYTES: u64 = 8 << 30;

/// Kills the broker again and again under load, and counts what it had acknowledged and does not have any more.
#[derive(Parser)]
#[command(name = "crash")]
struct Options {
    /// The broker's binary.
    #[arg(long, value_name = "PATH", env = "RINGMQ_BIN", default_value = "target/release/ringmq")]
    broker: PathBuf,
    /// How many times it is killed.
    #[arg(long, value_name = "N", default_value_t = 30)]
    kills: u64,
    /// Cut the power so many times instead: all that was not synced is lost too. Needs the right to mount.
    #[arg(long, value_name = "N", conflicts_with = "kills")]
    cuts: Option<u64>,
    /// Randomness: who does what, when the broker falls.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// New messages a second, of all publishers together.
    #[arg(long, default_value_t = 15_000)]
    rate: u64,
    /// The longest load between two falls, in milliseconds; the shortest is 200.
    #[arg(long, value_name = "MS", default_value_t = 2000)]
    load_ms_max: u64,
    /// Falls from drain to drain.
    #[arg(long, value_name = "N", default_value_t = 25)]
    drain_every: u64,
    /// Most cores of the broker; it changes from start to start.
    #[arg(long, value_name = "N", default_value_t = 2)]
    cores_max: u64,
    /// Overrides the durability of the broker.
    #[arg(long, value_name = "MODE")]
    durability: Option<String>,
    /// Where data, configuration and logs go; made anew.
    #[arg(long, value_name = "DIR", default_value = "target/crash")]
    work: PathBuf,
    /// Succeed only if the broker was found out: for brokers that keep less than they say.
    #[arg(long)]
    expect_loss: bool,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// Write the report as text and JSON into a folder of today's date in this one, too.
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let plan = Plan {
        binary: options.broker.clone(),
        durability: options.durability.clone(),
        falls: options.cuts.unwrap_or(options.kills),
        seed: options.seed,
        rate: options.rate,
        load_ms: (200, options.load_ms_max.max(200)),
        drain_every: options.drain_every.max(1),
        cores_max: options.cores_max.max(1),
        work: options.work.clone(),
        is_shown: true,
        broken_max: 1000,
        variables: Vec::new(),
    };
    // What an earlier run left would be taken for state.
    let _ = fs::remove_dir_all(&plan.work);
    let outcome = match options.cuts {
        None => campaign::run(&plan, &mut Plain::new(&plan.work)),
        Some(_) => PowerCut::mount(&plan.work, DISK_BYTES, plan.seed)
            .map_err(|failure| format!("nothing can be mounted here: {failure}"))
            .and_then(|mut ground| campaign::run(&plan, &mut ground)),
    };
    let told = outcome.and_then(|report| {
        tell(&options, &report)?;
        Ok(report.is_good() != options.expect_loss)
    });
    match told {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(sentence) => {
            eprintln!("crash: {sentence}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the report, and archives it if that is wanted.
fn tell(options: &Options, report: &Report) -> Result<(), String> {
    let json = serde_json::to_string_pretty(report).map_err(|failure| failure.to_string())?;
    println!("{}", if options.json { json.clone() } else { report.to_string() });
    let Some(archive) = &options.archive else { return Ok(()) };
    let folder = archive.join(time::OffsetDateTime::now_utc().date().to_string());
    let name = format!("crash-{}-{}", report.falls, report.word.replace(' ', "-"));
    let machine = fs::read_to_string("/proc/version").unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let command: Vec<String> = std::env::args().skip(1).collect();
    let text = format!(
        "# {} {}\n\n`crash {}`, seed {}, {processors} processors, {}\n```\n{report}```\n",
        report.falls,
        report.word,
        command.join(" "),
        report.seed,
        machine.split(" (").next().unwrap_or_default().trim_end().to_owned() + "\n",
    );
    let write = || -> std::io::Result<()> {
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("{name}.json")), json + "\n")?;
        fs::write(folder.join(format!("{name}.md")), text)
    };
    write().map_err(|failure| format!("{}: {failure}", folder.display()))
}
