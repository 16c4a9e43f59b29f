//! Cores with [`Line`] minds behind a port that the kernel has chosen, and clients for them.
//!
//! Invariants:
//! - A host that is dropped has stopped, and all its cores have ended.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use server::{Clock, Depth, LaunchError, Plan, Running, Stopper};
use stdx::Span;

use super::Line;

/// Cores that run.
pub struct Host {
    address: SocketAddr,
    running: Option<Running>,
}

impl Host {
    /// That many cores; they share a processor if there are not enough.
    pub fn start(cores: usize, depth: Depth) -> Self {
        let listening = server::listen("127.0.0.1:0".parse().unwrap(), cores).unwrap();
        let allowed = server::allowed_cpus().unwrap();
        let plan = Plan {
            cpus: allowed.into_iter().cycle().take(cores).collect(),
            listeners: vec![listening.sockets],
            clock: Clock::start(),
            depth,
            spin_rounds: 10,
            gather_us: 0,
            gather_from: 50_000,
            shutdown_grace: Span::from_s(60),
            stores: false,
            doors: None,
            platform: None,
        };
        let running = server::launch(plan, |_nothing_was_kept| Ok(()), |core, _| Line::new(core)).unwrap();
        running.open();
        Self { address: listening.address.tcp().unwrap(), running: Some(running) }
    }

    /// Asks for the graceful end.
    pub fn stopper(&self) -> Stopper {
        self.running.as_ref().unwrap().stopper()
    }

    /// Waits for the end.
    pub fn join(mut self) -> Result<(), LaunchError> {
        self.running.take().unwrap().join()
    }

    /// A connection that has not said anything yet.
    pub fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        // Not a time that a test relies on: it turns a test that would hang into one that fails.
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Client { stream }
    }

    /// A connection at home on a core.
    pub fn connect_to(&self, core: u16) -> Client {
        let mut client = self.connect();
        client.say(&format!("HOME {core}\nhello\n"));
        assert_eq!(client.line(), "hello");
        client
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stopper().stop();
            let outcome = running.join();
            // A second panic would hide the first.
            assert!(std::thread::panicking() || outcome.is_ok(), "{outcome:?}");
        }
    }
}

/// One end of a connection.
pub struct Client {
    pub stream: TcpStream,
}

impl Client {
    /// Sends text.
    pub fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// Reads one line, without its end.
    pub fn line(&mut self) -> String {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            line.extend(self.bytes(1));
        }
        line.pop();
        String::from_utf8(line).unwrap()
    }

    /// Reads that many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Reads everything up to the end of the stream. A reset is a failure.
    pub fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.stream.read_to_string(&mut rest).unwrap();
        rest
    }

    /// Says one line and waits for its echo.
    pub fn round(&mut self) {
        self.say("round\n");
        assert_eq!(self.line(), "round");
    }

    /// Sends no more, but goes on reading.
    pub fn stop_talking(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }
}
