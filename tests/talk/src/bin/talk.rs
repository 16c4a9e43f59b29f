//! Plays talk files from the command line, for those who write them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use talk::{Launch, Script, TcpWorld, World, play};

/// Plays talk files. The language is described in docs/TALK.md.
#[derive(Parser)]
struct Arguments {
    /// Talk files, or folders of them.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Only read the files: grammar and headers.
    #[arg(long)]
    check: bool,
    /// Show the transcript also if all went well.
    #[arg(short, long)]
    verbose: bool,
    /// Where to play.
    #[arg(long, value_enum, default_value = "memory")]
    world: Place,
    /// Cores of the server; all that the file and the world know, if left out.
    #[arg(long)]
    cores: Option<u16>,
    /// Play over TCP against a broker that runs already.
    #[arg(long)]
    target: Option<SocketAddr>,
    /// Only this version.
    #[arg(long)]
    only: Option<String>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Place {
    Memory,
    Tcp,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut failed = 0_usize;
    let mut passed = 0_usize;
    for path in arguments.files.iter().flat_map(|path| talk::corpus::files(path)) {
        match play_file(&path, &arguments) {
            Ok(count) => passed += count,
            Err(text) => {
                failed += 1;
                eprintln!("{text}");
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn play_file(path: &Path, arguments: &Arguments) -> Result<usize, String> {
    let script = talk::corpus::read(path)?;
    if arguments.check {
        return Ok(1);
    }
    let transport =
        if arguments.target.is_some() || arguments.world == Place::Tcp { "tcp" } else { "memory" };
    if !script.runs_in(transport) {
        println!("{}: not for {transport}", path.display());
        return Ok(0);
    }
    let mut count = 0;
    for version in &script.header.versions {
        if arguments.only.as_ref().is_some_and(|only| only != version.word()) {
            continue;
        }
        for cores in cores_of(&script, arguments) {
            let mut world = world_for(&script, cores, arguments)?;
            let transcript = play(&script, *version, world.as_mut())
                .map_err(|failure| format!("[{} cores={cores}] {failure}", version.word()))?;
            if arguments.verbose {
                println!("{} [{} cores={cores}]\n{}", path.display(), version.word(), transcript.join("\n"));
            }
            count += 1;
        }
    }
    Ok(count)
}

fn cores_of(script: &Script, arguments: &Arguments) -> Vec<u16> {
    let known: &[u16] = match (arguments.target, arguments.world) {
        (Some(_), _) => &[1],
        (None, Place::Memory) => &talk::corpus::MEMORY_CORES,
        (None, Place::Tcp) => &talk::corpus::TCP_CORES,
    };
    match arguments.cores {
        Some(cores) => vec![cores],
        None => known.iter().copied().filter(|cores| script.runs_on(*cores)).collect(),
    }
}

fn world_for(script: &Script, cores: u16, arguments: &Arguments) -> Result<Box<dyn World>, String> {
    if let Some(address) = arguments.target {
        return Ok(Box::new(TcpWorld::new(Launch::Running(address))?));
    }
    match arguments.world {
        Place::Memory => talk::corpus::memory_world(script, cores),
        Place::Tcp => {
            let path = talk::corpus::binary().ok_or("no binary: build it, or name it with RINGMQ_BIN")?;
            Ok(Box::new(TcpWorld::new(Launch::Binary {
                path,
                cores,
                settings: script.header.settings.clone(),
            })?))
        }
    }
}
