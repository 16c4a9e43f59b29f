//! One TCP connection to a broker, never blocking: bytes in, packets out.
//!
//! Why unread bytes matter: what the kernel has already received from a broker that is dead counts as said.
//!
//! Invariants:
//! - `output` leaves in order; what is left of it when the connection ends was never sent.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// How much one read takes.
const READ_BYTES: usize = 64 * 1024;

/// A connection.
#[derive(Debug)]
pub struct Link {
    /// The socket, for polling.
    pub socket: TcpStream,
    /// Received and not yet understood.
    pub input: Vec<u8>,
    /// Written and not yet taken by the kernel.
    pub output: Vec<u8>,
}

/// Whether a connection goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// It goes on.
    Open,
    /// The other side has ended it.
    Ended,
}

impl Link {
    /// Connects to an address of this machine.
    ///
    /// # Errors
    /// As `TcpStream::connect`.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, input: Vec::new(), output: Vec::new() })
    }

    /// Reads what is there, at most a few reads at a time so that nobody starves.
    pub fn read(&mut self) -> Flow {
        for _ in 0..4 {
            let start = self.input.len();
            self.input.resize(start + READ_BYTES, 0);
            let outcome = self.socket.read(&mut self.input[start..]);
            self.input.truncate(start + *outcome.as_ref().unwrap_or(&0));
            match outcome {
                Ok(0) => return Flow::Ended,
                Ok(_) => {}
                Err(failure) if failure.kind() == io::ErrorKind::WouldBlock => return Flow::Open,
                Err(failure) if failure.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Flow::Ended,
            }
        }
        Flow::Open
    }

    /// Reads until the other side has ended.
    pub fn read_out(&mut self) {
        // The process at the other end is gone: the kernel ends the stream, so this ends too.
        let _ = self.socket.set_nonblocking(false);
        while self.read() == Flow::Open {}
    }

    /// Gives the kernel what it takes.
    pub fn flush(&mut self) -> Flow {
        let mut sent = 0;
        let flow = loop {
            if sent == self.output.len() {
                break Flow::Open;
            }
            match self.socket.write(&self.output[sent..]) {
                Ok(length) => sent += length,
                Err(failure) if failure.kind() == io::ErrorKind::WouldBlock => break Flow::Open,
                Err(failure) if failure.kind() == io::ErrorKind::Interrupted => {}
                // What the broker had said before is still to be read: the read finds the end.
                Err(_) => {
                    sent = self.output.len();
                    break Flow::Open;
                }
            }
        };
        self.output.drain(..sent);
        flow
    }
}
