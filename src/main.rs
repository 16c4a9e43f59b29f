//! The front door: command line, configuration, start.
//!
//! Why so little: it is the only file that names the server and the dialects together, and nothing that can be tested
//! elsewhere should stand where it can only be tried by starting a process.
//!
//! Invariants:
//! - Exit codes: 0 done, 2 something that the user can set right, 3 the kernel lacks something, 4 the disk failed or what
//!   is on it is damaged.
//! - Standard output gets the one line that says that the broker is ready, or what was asked for; all else goes to
//!   standard error.

use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use dialect::DIALECTS;
use server::{Bind, Complaint, Config, Cores, PasswdFile, PasswdTask, Sources, Started, Tiding};
use store::{ExportKind, Style, Task};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Exit code for what the user can set right.
const USER_ERROR: u8 = 2;

/// A broker for MQTT 3.1, 3.1.1 and 5.0 on every core.
#[derive(Parser)]
#[command(name = "ringmq", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Subcommand)]
enum Command {
    /// Run the broker. This is also what happens without a command.
    Serve(Serve),
    /// Tell what is wrong with a configuration file.
    Check {
        /// The file.
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Make certificates for a first try: an authority, one for the broker, one for a client.
    Cert {
        /// The directory; made if it is missing. Nothing in it is overwritten.
        dir: PathBuf,
        /// A name or address by which clients reach the broker, besides localhost. May be given several times.
        #[arg(long, value_name = "NAME")]
        host: Vec<String>,
    },
    /// Look into the data directory, copy it, bring it back. Works while the broker runs, except for restore.
    #[command(subcommand)]
    Store(StoreCommand),
    /// Change who is in a password file. The password is asked for, or read from standard input as one line.
    Passwd {
        /// Make a new file.
        #[arg(short, long, conflicts_with = "delete")]
        create: bool,
        /// Remove the user.
        #[arg(short = 'D', long, conflicts_with = "batch")]
        delete: bool,
        /// Read lines of user:password from standard input.
        #[arg(short, long)]
        batch: bool,
        /// The file.
        file: PathBuf,
        /// The user.
        #[arg(required_unless_present = "batch", conflicts_with = "batch")]
        user: Option<String>,
    },
    /// Tell what a client may do with a topic by a file of rules, and which line decides.
    Acl {
        /// The file.
        file: PathBuf,
        /// The client's user name, if it has one that was checked.
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// The client id.
        #[arg(long, value_name = "ID", default_value = "")]
        client: String,
        /// A topic, or a filter with wildcards.
        #[arg(long)]
        topic: String,
    },
    /// Print the version.
    Version,
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// Exit codes: 0 all is well, 1 check found a problem, 2 wrong arguments, 4 the store could not be read or written.
#[derive(Subcommand)]
enum StoreCommand {
    /// Read everything and tell what is wrong.
    Check(StoreAt),
    /// Count sessions, messages, bytes.
    Stats(StoreAt),
    /// Print sessions, subscriptions, messages and retained messages as JSON lines.
    Export {
        /// The data directory, or a backup file.
        #[arg(long, value_name = "DIR", default_value = DATA_DIR)]
        data: PathBuf,
        /// Print only lines of this kind. May be given several times.
        #[arg(long, value_name = "KIND", value_parser = ExportKind::ALL.map(|(name, _)| name))]
        only: Vec<String>,
    },
    /// Copy everything, as it is at one moment, into a file.
    Backup {
        #[command(flatten)]
        at: StoreAt,
        /// The file; it is replaced when the copy is whole.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// Make a new data directory from a backup.
    Restore {
        #[command(flatten)]
        at: StoreAt,
        /// The backup.
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
    },
}

#[derive(Args)]
struct StoreAt {
    /// The data directory. check and stats take a backup file, too; for restore it must be empty or missing.
    #[arg(long, value_name = "DIR", default_value = DATA_DIR)]
    data: PathBuf,
    /// Print the result as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Where the broker keeps its state if nothing else is said.
const DATA_DIR: &str = "ringmq-data";

#[derive(Args, Default)]
struct Serve {
    /// Configuration file; without one, the defaults hold: MQTT on 127.0.0.1:1883.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Listen here instead of on the listeners of the file. May be given several times.
    #[arg(long, value_name = "ADDR:PORT|unix:PATH")]
    listen: Vec<Bind>,
    /// Processors to run on: a number of them, or a list such as 0,2-3 ("3," is processor 3 alone).
    #[arg(long, value_name = "N|LIST")]
    cores: Option<Cores>,
    /// Keep sessions, queues and retained messages in this directory.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// What an acknowledgement means, on all listeners: fsync (it is on the disk), interval or memory.
    #[arg(long, value_name = "MODE", value_parser = ["fsync", "interval", "memory"])]
    durability: Option<String>,
    /// If what is in the data directory is damaged, move it aside and start with nothing.
    #[arg(long)]
    quarantine: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        None => serve(cli.serve),
        Some(Command::Serve(arguments)) => serve(arguments),
        Some(Command::Check { config }) => check(config),
        Some(Command::Cert { dir, host }) => make_certificates(&dir, &host),
        Some(Command::Store(command)) => look_into_store(command),
        Some(Command::Passwd { create, delete, batch: _, file, user }) => passwd(&file, create, delete, user),
        Some(Command::Acl { file, user, client, topic }) => {
            tell(server::explain_acl(&file, &client, user.as_deref(), &topic))
        }
        Some(Command::Version) => say(&format!("ringmq {VERSION}")),
        Some(Command::Completions { shell }) => {
            clap_complete::generate(shell, &mut Cli::command(), "ringmq", &mut std::io::stdout());
            ExitCode::SUCCESS
        }
    }
}

fn serve(arguments: Serve) -> ExitCode {
    let Serve { config: file, listen, cores, data, durability, quarantine } = arguments;
    let sources = Sources { file, listen, cores, data, durability, quarantine, ..Sources::default() };
    let config = match load(sources) {
        Ok(config) => config,
        Err(complaints) => return complain(&complaints),
    };
    let log = server::open_log(&config.log);
    let outcome = server::serve(&config, DIALECTS, VERSION, |started| {
        start_control(&config, &started)?;
        if let Some(founded) = &started.founded {
            eprintln!("ringmq: {founded}");
        }
        say(&started.ready_line);
        Ok(())
    });
    drop(log);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("ringmq: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Starts the control plane, if the configuration asks for one.
fn start_control(config: &Config, started: &Started) -> Result<(), String> {
    let Some(bind) = config.control.listen else { return Ok(()) };
    let (inquiry, ailing, shown) = (started.inquiry.clone(), started.store.clone(), started.store.clone());
    let (doors, guard) = (started.doors.clone(), Arc::clone(&started.guard));
    let (reloader, platform) = (started.reloader.clone(), started.platform.clone());
    let sources = control::Sources {
        reload: Arc::new(move || {
            let tidings = reloader.reload("POST /reload");
            control::Reloaded {
                text: tidings.iter().map(|tiding| format!("{tiding}\n")).collect(),
                is_whole: !tidings.iter().any(|tiding| matches!(tiding, Tiding::Kept(_))),
            }
        }),
        ask: Arc::new(move || inquiry.ask_counters()),
        ailment: Arc::new(move || ailing.ailment()),
        more_metrics: Arc::new(move || {
            let (store, doors, guard) = (shown.metrics(), doors.metrics(), guard.metrics());
            format!("{store}{doors}{guard}{}", server::census(&platform))
        }),
        platform: started.platform.clone(),
        doorman: Arc::new(Doorman {
            watching: Arc::clone(&started.watching),
            counts: config.devices.failed_logins_count,
        }),
        api: api_settings(config, started),
    };
    control::start(bind, VERSION, sources).map(drop).map_err(|failure| failure.to_string())
}

/// Counts those who guess over HTTP with those who guess over MQTT, if wrong credentials of devices count at all.
struct Doorman {
    watching: Arc<server::Watching>,
    counts: bool,
}

impl control::Doorman for Doorman {
    fn shuts_out(&self, from: IpAddr) -> bool {
        self.counts && self.watching.shuts_out(from)
    }

    fn failed(&self, from: IpAddr) {
        if self.counts {
            self.watching.note_failure(from);
        }
    }

    fn succeeded(&self, from: IpAddr) {
        if self.counts {
            self.watching.note_success(from);
        }
    }
}

fn api_settings(config: &Config, started: &Started) -> control::ApiSettings {
    let terms = &config.control;
    control::ApiSettings {
        jwt_secret: started.token_secret.clone(),
        token_s: terms.token_lifetime_s.into(),
        refresh_s: terms.refresh_lifetime_s.into(),
        webhook: terms.rpc_webhook.clone(),
        webhook_ms: terms.rpc_webhook_ms.into(),
        packet_bytes_max: usize::try_from(config.limits.packet_bytes_max).unwrap_or(usize::MAX),
        offer: server::offer_to_device(config),
        gateway_offer: server::offer_to_gateway(config),
        command_ms: terms.rpc_timeout_ms.into(),
        command_ms_min: terms.rpc_timeout_min_ms.into(),
        claiming_allowed: config.devices.claiming_allowed,
        allowed_origins: terms.allowed_origins.0.clone(),
    }
}

fn look_into_store(command: StoreCommand) -> ExitCode {
    let (task, StoreAt { data, json }) = match command {
        StoreCommand::Check(at) => (Task::Check, at),
        StoreCommand::Stats(at) => (Task::Stats, at),
        StoreCommand::Export { data, only } => {
            let asked = |name: &str| only.iter().any(|only| only == name);
            let kinds =
                ExportKind::ALL.iter().filter(|(name, _)| asked(name)).map(|(_, kind)| *kind).collect();
            (Task::Export { kinds }, StoreAt { data, json: true })
        }
        StoreCommand::Backup { at, to } => (Task::Backup { to }, at),
        StoreCommand::Restore { at, from } => (Task::Restore { from }, at),
    };
    let style = if json { Style::Json } else { Style::Text };
    let (mut out, mut report) = (std::io::stdout().lock(), std::io::stderr().lock());
    ExitCode::from(store::run(&task, &data, style, &mut out, &mut report))
}

fn passwd(file: &Path, create: bool, delete: bool, user: Option<String>) -> ExitCode {
    let kind = if create { PasswdFile::New } else { PasswdFile::Old };
    let task = match user {
        None => PasswdTask::SetMany,
        Some(user) if delete => PasswdTask::Delete(user),
        Some(user) => PasswdTask::Set(user),
    };
    tell(server::passwd(file, kind, &task))
}

/// Prints what was done or found out, or why not.
fn tell(outcome: Result<String, String>) -> ExitCode {
    match outcome {
        Ok(text) => say(text.trim_end()),
        Err(complaint) => {
            eprintln!("ringmq: {complaint}");
            ExitCode::from(USER_ERROR)
        }
    }
}

fn check(file: PathBuf) -> ExitCode {
    let shown = file.display().to_string();
    let loaded = load(Sources { file: Some(file), ..Sources::default() });
    let inspected = loaded.and_then(|config| server::inspect(&config).map(|remarks| (config, remarks)));
    match inspected {
        Ok((config, remarks)) => {
            remarks.iter().for_each(|remark| eprintln!("ringmq: warning: {remark}"));
            let wrong = server::examine_doors(&config);
            wrong.iter().for_each(|line| eprintln!("ringmq: {line}"));
            match (wrong.is_empty(), remarks.is_empty()) {
                (false, _) => ExitCode::from(USER_ERROR),
                (true, true) => say(&format!("{shown}: nothing to complain about")),
                (true, false) => say(&format!("{shown}: nothing that stops the start")),
            }
        }
        Err(complaints) => complain(&complaints),
    }
}

fn make_certificates(dir: &Path, hosts: &[String]) -> ExitCode {
    match server::make_first_certificates(dir, hosts) {
        Ok(directions) => say(&directions),
        Err(failure) => {
            eprintln!("ringmq: {failure}");
            ExitCode::from(USER_ERROR)
        }
    }
}

fn load(sources: Sources) -> Result<Config, Vec<Complaint>> {
    let dialects = DIALECTS.iter().map(|dialect| dialect.name()).collect();
    let device_dialects =
        DIALECTS.iter().filter(|dialect| dialect.has_devices()).map(|dialect| dialect.name()).collect();
    // A variable that is not text cannot be one of ours.
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    server::load(&Sources { dialects, device_dialects, variables: variables.collect(), ..sources })
}

fn complain(complaints: &[Complaint]) -> ExitCode {
    for complaint in complaints {
        eprintln!("ringmq: {complaint}");
    }
    ExitCode::from(USER_ERROR)
}

/// Prints a line. Whoever has closed our standard output does not want to know.
fn say(line: &str) -> ExitCode {
    let mut output = std::io::stdout().lock();
    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
    ExitCode::SUCCESS
}
