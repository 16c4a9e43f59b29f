//! One real connection: a stream, and a thread that reads it into a channel.
//!
//! Why a thread each: a scenario waits for whichever client hears something first, and a channel is the one thing that
//! std can wait for.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::SockRef;

use crate::world::{Arrived, HangUp, LineId};

/// A connection.
pub(super) struct Plug {
    stream: Arc<TcpStream>,
    gate: Arc<Gate>,
    reader: Option<JoinHandle<()>>,
}

/// Keeps the reader from the socket while the client does not read.
#[derive(Default)]
struct Gate {
    is_shut: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    fn set(&self, is_shut: bool) {
        *self.is_shut.lock().unwrap_or_else(PoisonError::into_inner) = is_shut;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let shut = self.is_shut.lock().unwrap_or_else(PoisonError::into_inner);
        let _open = self.changed.wait_while(shut, |shut| *shut).unwrap_or_else(PoisonError::into_inner);
    }
}

impl Plug {
    /// Connects, and reads into `sender` from now on.
    pub(super) fn connect(
        address: SocketAddr,
        line: LineId,
        sender: Sender<(LineId, Arrived)>,
    ) -> Result<Self, String> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))
            .map_err(|error| format!("no connection to {address}: {error}"))?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let (stream, gate) = (Arc::new(stream), Arc::new(Gate::default()));
        let (reading, passing) = (Arc::clone(&stream), Arc::clone(&gate));
        let reader = std::thread::spawn(move || read(&reading, &passing, line, &sender));
        Ok(Self { stream, gate, reader: Some(reader) })
    }

    /// Writes; a connection that is gone swallows it, and the reader tells that it is gone.
    pub(super) fn send(&self, bytes: &[u8]) {
        let _gone = (&*self.stream).write_all(bytes);
    }

    /// Lets arriving bytes stay in the socket, or takes them out.
    pub(super) fn set_reading(&self, is_reading: bool) {
        self.gate.set(!is_reading);
    }

    /// Ends the connection.
    pub(super) fn hang_up(mut self, how: HangUp) {
        match how {
            HangUp::Finish => {
                let _gone = self.stream.shutdown(Shutdown::Write);
            }
            HangUp::Reset => {
                let _gone = SockRef::from(&*self.stream).set_linger(Some(Duration::ZERO));
            }
        }
        self.end_reader();
    }

    /// The socket is closed only when the reader has let go of it.
    fn end_reader(&mut self) {
        let _gone = self.stream.shutdown(Shutdown::Read);
        self.gate.set(false);
        if let Some(reader) = self.reader.take() {
            let _panicked = reader.join();
        }
    }
}

impl Drop for Plug {
    fn drop(&mut self) {
        self.end_reader();
    }
}

fn read(mut stream: &TcpStream, gate: &Gate, line: LineId, sender: &Sender<(LineId, Arrived)>) {
    let mut buffer = vec![0; 65_536];
    loop {
        gate.pass();
        let arrived = match stream.read(&mut buffer) {
            Ok(0) | Err(_) => Arrived::Ended,
            Ok(count) => Arrived::Bytes(buffer[..count].to_vec()),
        };
        let has_ended = arrived == Arrived::Ended;
        if sender.send((line, arrived)).is_err() || has_ended {
            return;
        }
    }
}
