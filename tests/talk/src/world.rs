//! What a scenario needs from the place where it runs.

use std::time::Duration;

use crate::step::{Order, PolicyChange};

/// One connection of a scenario.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LineId(pub usize);

/// What came over a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Arrived {
    /// Bytes, cut anywhere.
    Bytes(Vec<u8>),
    /// The server has ended the connection.
    Ended,
}

/// How a client ends its connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HangUp {
    /// With FIN.
    Finish,
    /// With RST.
    Reset,
}

/// A server and the way to it.
pub trait World {
    /// `memory` or `tcp`, as guards name it.
    fn transport(&self) -> &'static str;

    /// Opens a connection, accepted by `core` where that can be chosen.
    ///
    /// # Errors
    /// The server takes no connection.
    fn open(&mut self, core: Option<u16>) -> Result<LineId, String>;

    /// Writes bytes in one piece. A connection that is gone swallows them.
    fn send(&mut self, line: LineId, bytes: &[u8]);

    /// Ends a connection; nothing arrives from it any more.
    fn hang_up(&mut self, line: LineId, how: HangUp);

    /// Lets arriving bytes pile up in the connection, or takes them out again.
    fn set_reading(&mut self, line: LineId, is_reading: bool);

    /// What has arrived. Where things take time, waits a while until something arrives on one of `wanted`.
    fn listen(&mut self, wanted: &[LineId]) -> Vec<(LineId, Arrived)>;

    /// Lets time pass.
    fn wait(&mut self, span: Duration);

    /// Whether `listen` alone already returns everything that is on the way.
    fn is_exact(&self) -> bool;

    /// Makes sure that all that was said before has had its effect on every core.
    ///
    /// # Errors
    /// The server does not answer.
    fn fence(&mut self) -> Result<(), String>;

    /// Stops, kills or starts the server.
    ///
    /// # Errors
    /// It cannot be done here, or the server does not obey.
    fn order(&mut self, order: Order) -> Result<(), String>;

    /// Changes the policy.
    ///
    /// # Errors
    /// It cannot be done here.
    fn change_policy(&mut self, change: &PolicyChange) -> Result<(), String>;

    /// Resident bytes of the server, where that can be told.
    fn resident_bytes(&mut self) -> Option<u64>;

    /// Lines of the server's log, for a failure's report.
    fn server_log(&mut self) -> Vec<String>;
}
