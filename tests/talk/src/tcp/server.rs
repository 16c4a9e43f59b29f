//! The server that a scenario talks to: a process of our own, or one that runs already.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Which server to talk to.
#[derive(Clone, Debug)]
pub enum Launch {
    /// A binary to be started with so many cores and these overrides.
    Binary {
        /// The binary.
        path: PathBuf,
        /// Cores.
        cores: u16,
        /// Section, key, value.
        settings: Vec<(String, String, String)>,
    },
    /// A server that runs already.
    Running(SocketAddr),
}

/// A server.
pub(super) struct Server {
    launch: Launch,
    address: SocketAddr,
    files: Option<Files>,
    process: Option<Process>,
}

/// What a server of ours is started with; gone when it is dropped.
struct Files {
    config: PathBuf,
    data: PathBuf,
}

struct Process {
    child: Child,
    ticks: Receiver<()>,
    log: Arc<Mutex<Vec<String>>>,
}

/// How long a server may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(5);

impl Server {
    /// Starts the server if it is ours.
    pub(super) fn launch(launch: Launch) -> Result<Self, String> {
        let mut server = match &launch {
            Launch::Running(address) => Self { address: *address, launch, files: None, process: None },
            Launch::Binary { settings, .. } => {
                let address = free_address()?;
                let files = Files::write(address, settings)?;
                Self { launch, address, files: Some(files), process: None }
            }
        };
        if server.files.is_some() {
            server.start()?;
        }
        Ok(server)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many hidden clients reach every core.
    pub(super) fn fence_members(&self) -> usize {
        match &self.launch {
            Launch::Binary { cores: 1, .. } => 1,
            _ => 8, // With two cores, one in 128 runs leaves a core without.
        }
    }

    pub(super) fn start(&mut self) -> Result<(), String> {
        let (Launch::Binary { path, cores, .. }, Some(files)) = (&self.launch, &self.files) else {
            return Err("this server is not ours to start".to_owned());
        };
        let mut child = Command::new(path)
            .args(["serve", "--cores", &cores.to_string(), "--listen", &self.address.to_string(), "-c"])
            .arg(&files.config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{} does not start: {error}", path.display()))?;
        let log = Arc::new(Mutex::new(Vec::new()));
        let (alive, ticks) = channel();
        if let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) {
            follow(out, Arc::clone(&log), alive.clone());
            follow(err, Arc::clone(&log), alive);
        }
        self.process = Some(Process { child, ticks, log });
        self.await_ready()
    }

    /// Waits for the line that names the address. A connection alone would not do: it may come to a listener that is
    /// there before the rest of the server is.
    fn await_ready(&mut self) -> Result<(), String> {
        let address = self.address.to_string();
        let Some(process) = &mut self.process else { return Ok(()) };
        for _ in 0..PATIENCE.as_millis() / TICK.as_millis() {
            let log = process.log.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if log.iter().any(|line| line.contains("ready") && line.contains(&address)) {
                return Ok(());
            }
            if let Ok(Some(status)) = process.child.try_wait() {
                return Err(format!("the server ended with {status}:\n{}", log.join("\n")));
            }
            pause(&process.ticks);
        }
        Err("the server does not say that it is ready".to_owned())
    }

    /// Asks the process to end and waits for it; the exit must be clean.
    pub(super) fn stop(&mut self) -> Result<(), String> {
        let mut process = self.process.take().ok_or("this server is not ours to stop")?;
        let pid =
            i32::try_from(process.child.id()).ok().and_then(Pid::from_raw).ok_or("the server has no pid")?;
        kill_process(pid, Signal::TERM).map_err(|error| format!("SIGTERM: {error}"))?;
        for _ in 0..PATIENCE.as_millis() / TICK.as_millis() {
            match process.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(format!("the server ended with {status}")),
                Ok(None) => pause(&process.ticks),
                Err(error) => return Err(error.to_string()),
            }
        }
        let _gone = process.child.kill();
        let _status = process.child.wait();
        Err("the server does not end after SIGTERM".to_owned())
    }

    pub(super) fn crash(&mut self) -> Result<(), String> {
        let mut process = self.process.take().ok_or("this server is not ours to kill")?;
        process.child.kill().map_err(|error| error.to_string())?;
        process.child.wait().map(|_| ()).map_err(|error| error.to_string())
    }

    pub(super) fn resident_bytes(&self) -> Option<u64> {
        let pid = self.process.as_ref()?.child.id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kib * 1024)
    }

    pub(super) fn log(&self) -> Vec<String> {
        let Some(process) = &self.process else { return Vec::new() };
        let log = process.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().map(|line| format!("server: {line}")).collect()
    }
}

/// Waits one tick, also when the process writes nothing any more.
fn pause(ticks: &Receiver<()>) {
    if ticks.recv_timeout(TICK) == Err(std::sync::mpsc::RecvTimeoutError::Disconnected) {
        std::thread::park_timeout(TICK);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _gone = process.child.kill();
            let _status = process.child.wait();
        }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.config);
        let _gone = std::fs::remove_dir_all(&self.data);
    }
}

/// Reads what the process writes, for the report of a failure.
fn follow(stream: impl Read + Send + 'static, log: Arc<Mutex<Vec<String>>>, alive: Sender<()>) {
    const LINES_MAX: usize = 200;
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            if log.len() < LINES_MAX {
                log.push(line);
            }
            let _nobody = alive.send(());
        }
    });
}

/// An address that no other server of this machine has: each gets a loopback address of its own, because servers that
/// share a port with SO_REUSEPORT would take each other's connections.
fn free_address() -> Result<SocketAddr, String> {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let process = u8::try_from(std::process::id() % 120).expect("below 120");
    let host = Ipv4Addr::new(127, 100 + process, high, low);
    let listener = TcpListener::bind((host, 0)).map_err(|error| format!("no free port: {error}"))?;
    listener.local_addr().map_err(|error| error.to_string())
}

impl Files {
    /// A configuration with these settings and with a data directory that does not exist yet.
    fn write(address: SocketAddr, settings: &[(String, String, String)]) -> Result<Self, String> {
        let name = address.to_string().replace([':', '.'], "-");
        let config = std::env::temp_dir().join(format!("talk-{name}.toml"));
        let data = std::env::temp_dir().join(format!("talk-{name}-data"));
        // An earlier run may have been killed.
        let _gone = std::fs::remove_dir_all(&data);
        let dir = ("store".to_owned(), "dir".to_owned(), format!("{:?}", data.display().to_string()));
        let settings: Vec<_> = settings.iter().cloned().chain([dir]).collect();
        write(&config, &toml(&settings)).map_err(|error| format!("{}: {error}", config.display()))?;
        Ok(Self { config, data })
    }
}

fn toml(settings: &[(String, String, String)]) -> String {
    let mut sections: Vec<&str> = settings.iter().map(|(section, ..)| section.as_str()).collect();
    sections.sort_unstable();
    sections.dedup();
    let mut text = String::new();
    for section in sections {
        text.push_str(&format!("[{section}]\n"));
        for (_, key, value) in settings.iter().filter(|(of, ..)| of == section) {
            text.push_str(&format!("{key} = {value}\n"));
        }
    }
    text
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    std::fs::File::create(path)?.write_all(text.as_bytes())
}
