//! A world of real sockets.
//!
//! Why it never sleeps to see that nothing comes: expectations wait with a limit, and silence is proved by a fence.

use std::collections::{HashMap, VecDeque};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use super::fence::Fence;
use super::plug::Plug;
use super::server::{Launch, Server};
use crate::step::{Order, PolicyChange};
use crate::world::{Arrived, HangUp, LineId, World};

/// How long a client waits for what it expects.
const PATIENCE: Duration = Duration::from_secs(5);

/// A server and the connections to it.
pub struct TcpWorld {
    server: Server,
    plugs: HashMap<LineId, Plug>,
    opened: usize,
    sender: Sender<(LineId, Arrived)>,
    receiver: Receiver<(LineId, Arrived)>,
    pending: VecDeque<(LineId, Arrived)>,
    fence: Option<Fence>,
}

impl TcpWorld {
    /// Starts the server, or takes the one that runs.
    ///
    /// # Errors
    /// It does not start.
    pub fn new(launch: Launch) -> Result<Self, String> {
        let (sender, receiver) = channel();
        let server = Server::launch(launch)?;
        let (plugs, pending) = (HashMap::new(), VecDeque::new());
        Ok(Self { server, plugs, opened: 0, sender, receiver, pending, fence: None })
    }

    /// Takes in what arrives until `deadline`, or until something arrives for one of `wanted`.
    fn gather(&mut self, deadline: Instant, wanted: &[LineId]) {
        loop {
            let left = deadline.saturating_duration_since(now());
            let Ok((line, arrived)) = self.receiver.recv_timeout(left) else { return };
            self.pending.push_back((line, arrived));
            if wanted.contains(&line) {
                return;
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "real sockets need a limit in real time")]
fn now() -> Instant {
    Instant::now()
}

impl World for TcpWorld {
    fn transport(&self) -> &'static str {
        "tcp"
    }

    fn open(&mut self, _core: Option<u16>) -> Result<LineId, String> {
        let line = LineId(self.opened);
        self.opened += 1;
        self.plugs.insert(line, Plug::connect(self.server.address(), line, self.sender.clone())?);
        Ok(line)
    }

    fn send(&mut self, line: LineId, bytes: &[u8]) {
        if let Some(plug) = self.plugs.get(&line) {
            plug.send(bytes);
        }
    }

    fn hang_up(&mut self, line: LineId, how: HangUp) {
        if let Some(plug) = self.plugs.remove(&line) {
            plug.hang_up(how);
        }
    }

    fn set_reading(&mut self, line: LineId, is_reading: bool) {
        if let Some(plug) = self.plugs.get(&line) {
            plug.set_reading(is_reading);
        }
    }

    fn listen(&mut self, wanted: &[LineId]) -> Vec<(LineId, Arrived)> {
        self.pending.extend(self.receiver.try_iter());
        let has_wanted = self.pending.iter().any(|(line, _)| wanted.contains(line));
        if !wanted.is_empty() && !has_wanted {
            self.gather(now() + PATIENCE, wanted);
        }
        self.pending.drain(..).collect()
    }

    fn wait(&mut self, span: Duration) {
        self.gather(now() + span, &[]);
    }

    fn is_exact(&self) -> bool {
        false
    }

    fn fence(&mut self) -> Result<(), String> {
        let mut fence = match self.fence.take() {
            Some(fence) => fence,
            None => Fence::raise(self.server.address(), self.server.fence_members())?,
        };
        fence.pass()?;
        self.fence = Some(fence);
        Ok(())
    }

    fn order(&mut self, order: Order) -> Result<(), String> {
        self.fence = None;
        match order {
            Order::Stop => self.server.stop(),
            Order::Crash => self.server.crash(),
            Order::Start => self.server.start(),
        }
    }

    fn change_policy(&mut self, _change: &PolicyChange) -> Result<(), String> {
        Err("a policy needs the memory runner: say `transports: memory`".to_owned())
    }

    fn resident_bytes(&mut self) -> Option<u64> {
        self.server.resident_bytes()
    }

    fn server_log(&mut self) -> Vec<String> {
        self.server.log()
    }
}
