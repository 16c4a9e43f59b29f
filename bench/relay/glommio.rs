//! The null relay on glommio's own `TcpStream`: a task that reads and a task that writes for each connection.
//!
//! Why: RingMQ takes executors from glommio and brings a ring of its own for sockets. What that ring is worth is the
//! difference between this relay and the one on it.
//!
//! Invariants:
//! - A writer writes all that has gathered since it last ran, in one write if the socket takes it.
//! - A slot is used again only when both tasks of its former connection have ended.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures_io::{AsyncRead, AsyncWrite};
use glommio::net::{TcpListener, TcpStream};
use glommio::{LocalExecutorBuilder, Placement, spawn_local};

use super::peer::seat;
use super::switch::{Refused, Switch};
use crate::failure::Failure;

const INBOUND_BYTES: usize = 256 * 1_024;

type Shared = Rc<RefCell<Hall>>;
type Line = Rc<RefCell<TcpStream>>;

/// Everything that the tasks share.
struct Hall {
    switch: Switch,
    seats: Vec<Option<Seat>>,
    free: Vec<usize>,
    /// A read ends at once or not at all, so one buffer serves all readers.
    inbound: Vec<u8>,
}

#[derive(Default)]
struct Seat {
    outbox: Vec<u8>,
    /// Present while the writer waits.
    writer: Option<Waker>,
    leaving: bool,
}

/// Relays on `address` until the process ends.
pub(super) fn serve(address: SocketAddr) -> Result<(), Failure> {
    let failed = |what: &str, error: String| Failure::os(what, io::Error::other(error));
    let executor = LocalExecutorBuilder::new(Placement::Unbound)
        .spawn(move || async move {
            let listener = TcpListener::bind(address).map_err(|error| error.to_string())?;
            let address = listener.local_addr().map_err(|error| error.to_string())?;
            println!("listening on {address}");
            accept(&listener).await.map_err(|error| error.to_string())
        })
        .map_err(|error| failed("starting an executor", error.to_string()))?;
    let outcome = executor.join().map_err(|error| failed("running an executor", error.to_string()))?;
    outcome.map_err(|error| failed("serving with glommio", error))
}

async fn accept(listener: &TcpListener) -> Result<(), glommio::GlommioError<()>> {
    let hall = Rc::new(RefCell::new(Hall::new()));
    loop {
        let stream = listener.accept().await?;
        stream.set_nodelay(true)?;
        let slot = hall.borrow_mut().admit();
        let line = Rc::new(RefCell::new(stream));
        let (of_writer, to_write) = (hall.clone(), line.clone());
        let writer = spawn_local(async move { write(&of_writer, &to_write, slot).await });
        let hall = hall.clone();
        spawn_local(async move {
            read(&hall, &line, slot).await;
            hall.borrow_mut().dismiss(slot);
            writer.await;
            let mut hall = hall.borrow_mut();
            hall.seats[slot] = None;
            hall.free.push(slot);
        })
        .detach();
    }
}

/// Until the peer is gone.
async fn read(hall: &Shared, line: &Line, slot: usize) {
    loop {
        let taken = poll_fn(|context| hall.borrow_mut().take(&mut line.borrow_mut(), slot, context)).await;
        if taken.is_err() {
            return;
        }
    }
}

/// Until the peer is gone.
async fn write(hall: &Shared, line: &Line, slot: usize) {
    let mut bytes = vec![];
    while poll_fn(|context| hall.borrow_mut().hand_out(slot, &mut bytes, context)).await {
        let mut sent = 0;
        while sent < bytes.len() {
            let rest = &bytes[sent..];
            let written =
                poll_fn(|context| Pin::new(&mut *line.borrow_mut()).poll_write(context, rest)).await;
            match written {
                Ok(count) if count > 0 => sent += count,
                Ok(_) | Err(_) => return, // The reader sees the same end.
            }
        }
        bytes.clear();
    }
}

impl Hall {
    fn new() -> Self {
        Self { switch: Switch::default(), seats: vec![], free: vec![], inbound: vec![0; INBOUND_BYTES] }
    }

    fn admit(&mut self) -> usize {
        let slot = self.free.pop().unwrap_or(self.seats.len());
        seat(&mut self.seats, slot, Seat::default());
        self.switch.admit(slot);
        slot
    }

    fn dismiss(&mut self, slot: usize) {
        self.switch.dismiss(slot);
        if let Some(seat) = &mut self.seats[slot] {
            seat.leaving = true;
            if let Some(writer) = seat.writer.take() {
                writer.wake();
            }
        }
    }

    /// Reads once and passes on what came.
    fn take(
        &mut self,
        stream: &mut TcpStream,
        slot: usize,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Refused>> {
        let Self { switch, seats, inbound, .. } = self;
        let count = match Pin::new(stream).poll_read(context, inbound) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Refused)),
            Poll::Ready(Ok(count)) => count,
        };
        let mut outlet = |target: usize, bytes: &[u8]| {
            let Some(Some(seat)) = seats.get_mut(target) else { return };
            seat.outbox.extend_from_slice(bytes);
            if let Some(writer) = seat.writer.take() {
                writer.wake();
            }
        };
        Poll::Ready(switch.feed(slot, &inbound[..count], &mut outlet).map(drop))
    }

    /// Swaps what has gathered for `bytes`, which is empty; false when the peer is gone.
    fn hand_out(&mut self, slot: usize, bytes: &mut Vec<u8>, context: &Context<'_>) -> Poll<bool> {
        let Some(Some(seat)) = self.seats.get_mut(slot) else { return Poll::Ready(false) };
        if seat.leaving {
            return Poll::Ready(false);
        }
        if seat.outbox.is_empty() {
            seat.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        std::mem::swap(&mut seat.outbox, bytes);
        Poll::Ready(true)
    }
}
