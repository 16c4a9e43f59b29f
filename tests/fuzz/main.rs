//! Mutates for as long as it is told, or writes the golden inputs anew.
//!
//! Why a loop of our own: it runs on stable Rust, on any machine, without a build of its own kind.
//!
//! Invariants:
//! - What it prints names the seed; with the same seed, corpus and number of executions it tries the same mutants.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use clap::Parser;
use fuzz::{Mutator, TARGETS, Target, begin, golden, load, target, watch};

/// Throws mutated inputs at one target.
#[derive(Parser, Debug)]
#[command(name = "fuzz")]
struct Options {
    /// The target; none lists them all.
    target: Option<String>,
    /// How long to go on.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The seed of the mutations; without it, the time.
    #[arg(long)]
    seed: Option<u64>,
    /// Runs one saved input instead.
    #[arg(long)]
    input: Option<PathBuf>,
    /// Writes the golden inputs to the corpus instead.
    #[arg(long)]
    golden: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let Some(target) = options.target.as_deref().and_then(target) else {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("name one of the targets: {}", names.join(", "));
        return ExitCode::from(2);
    };
    match carry_out(target, &options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(target: &Target, options: &Options) -> std::io::Result<()> {
    if options.golden {
        return write_golden(target);
    }
    if let Some(path) = &options.input {
        (target.run)(&fs::read(path)?);
        println!("{} holds", path.display());
        return Ok(());
    }
    watch();
    hammer(target, options)
}

#[expect(clippy::disallowed_methods, reason = "how long to mutate is a matter of the real clock")]
fn hammer(target: &Target, options: &Options) -> std::io::Result<()> {
    let corpus: Vec<Vec<u8>> = load(target.name)?.into_iter().map(|(_, input)| input).collect();
    let clock =
        || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let seed = options.seed.unwrap_or_else(clock);
    println!("{}: {} inputs, seed {seed}", target.name, corpus.len());
    let (mut mutator, mut input) = (Mutator::new(seed), Vec::new());
    let (begun, time) = (Instant::now(), Duration::from_secs(options.seconds));
    let (mut count, mut told) = (0u64, Duration::ZERO);
    loop {
        let spent = begun.elapsed();
        if spent >= time || spent >= told {
            let rate = u128::from(count) * 1000 / spent.as_millis().max(1);
            println!("{:>5} s  {count} executions, {rate} exec/s", spent.as_secs());
            told = spent + Duration::from_secs(10);
        }
        if spent >= time {
            return Ok(());
        }
        for _ in 0..64 {
            mutator.mutant(&corpus, &mut input);
            begin(target.name, &input);
            (target.run)(&input);
            count += 1;
        }
    }
}

fn write_golden(target: &Target) -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    fs::create_dir_all(&folder)?;
    for (name, input) in golden(target.name) {
        fs::write(folder.join(name), input)?;
    }
    Ok(())
}
