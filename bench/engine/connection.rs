//! One connection of a client: dialling, reading into the thread's big buffer, and one write per batch.
//!
//! Why no read buffer of its own: only the bytes of a packet cut in two are kept, so an idle connection costs the
//! generator next to nothing and 100,000 of them fit.
//!
//! Invariants:
//! - While `blocked`, nothing is written until the socket says that it is writable.
//! - `carry` holds less than one packet.

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

use super::plan::Ends;
use crate::clock::now_ns;
use crate::number::wide;
use crate::transport::{Handshake, LayerFault, Layers, ROOM_BYTES, Wardrobe};

/// How far a client has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// Not dialled yet.
    Seated,
    /// The TCP handshake is under way.
    Dialling,
    /// TLS and WebSocket are being agreed on.
    Opening,
    /// CONNECT is on its way.
    Greeting,
    /// SUBSCRIBE is on its way.
    Subscribing,
    /// At work.
    Ready,
    /// Has said goodbye and waits for the broker to close.
    Leaving,
    /// Closed, by whichever side.
    Gone,
}

/// Why a connection ended before the run did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Departure {
    /// CONNACK with this code.
    Refused(u8),
    /// SUBACK with this code.
    SubscriptionRefused(u8),
    /// The broker accepts only up to this QoS.
    QosTooHigh(u8),
    /// The broker's DISCONNECT with this reason.
    Disconnected(u8),
    /// The broker closed the stream.
    Closed,
    /// The broker sent what is not MQTT.
    Malformed,
    /// The broker sent a packet larger than any of this run.
    TooLarge,
    /// TLS or WebSocket failed, or ended.
    Layer(LayerFault),
    /// The socket failed.
    Socket(Errno),
}

impl fmt::Display for Departure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(code) => write!(f, "the broker refused the connection with code {code:#04x}"),
            Self::SubscriptionRefused(code) => {
                write!(f, "the broker refused the subscription with {code:#04x}")
            }
            Self::QosTooHigh(qos) => write!(f, "the broker accepts only QoS {qos} and below"),
            Self::Disconnected(reason) => write!(f, "the broker disconnected the client with {reason:#04x}"),
            Self::Closed => write!(f, "the broker closed the connection"),
            Self::TooLarge => write!(f, "the broker sent a packet larger than any of this run"),
            Self::Malformed => write!(f, "the broker sent bytes that are not MQTT"),
            Self::Layer(fault) => write!(f, "{fault}"),
            Self::Socket(errno) => write!(f, "{errno}"),
        }
    }
}

/// What a client does once it is ready: places in its thread's lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Duties {
    /// Publishes as this one of the thread's publishers.
    pub(crate) publisher: Option<u32>,
    /// Receives as this one of the thread's subscribers.
    pub(crate) subscriber: Option<u32>,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The client's number among its kind.
    pub(crate) number: u32,
    /// What it does.
    pub(crate) duties: Duties,
    /// How far it has come.
    pub(crate) stage: Stage,
    /// Bytes that wait for the next flush.
    pub(crate) outbox: Vec<u8>,
    /// Whether the thread's flush list knows it.
    pub(crate) dirty: bool,
    /// When it was dialled, or should have been.
    pub(crate) due_ns: u64,
    /// When the TCP handshake had ended.
    pub(crate) reached_ns: u64,
    /// When its CONNECT was ready to leave.
    pub(crate) greeted_ns: u64,
    layers: Option<Box<Layers>>,
    wardrobe: Wardrobe,
    socket: Option<OwnedFd>,
    carry: Vec<u8>,
    blocked: bool,
}

impl Connection {
    /// A client that has not been dialled.
    pub(crate) fn seated(number: u32, duties: Duties) -> Self {
        Self {
            number,
            duties,
            stage: Stage::Seated,
            outbox: vec![],
            dirty: false,
            due_ns: 0,
            reached_ns: 0,
            greeted_ns: 0,
            layers: None,
            wardrobe: Wardrobe::default(),
            socket: None,
            carry: vec![],
            blocked: false,
        }
    }

    /// Begins the TCP handshake and registers with `poller` as the client at `at`.
    pub(crate) fn dial(&mut self, ends: &Ends, poller: &OwnedFd, at: usize) -> Result<(), Departure> {
        let elsewhere = ends.subscriber_broker.filter(|_| self.duties.publisher.is_none());
        let broker = elsewhere.unwrap_or(ends.broker);
        let family = if broker.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket =
            rustix::net::socket_with(family, SocketType::STREAM, flags, None).map_err(Departure::Socket)?;
        sockopt::set_tcp_nodelay(&socket, true).map_err(Departure::Socket)?;
        if !ends.sources.is_empty() {
            let source = ends.sources[at % ends.sources.len()];
            rustix::net::bind(&socket, &SocketAddr::new(source, 0)).map_err(Departure::Socket)?;
        }
        match rustix::net::connect(&socket, &broker) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(errno) => return Err(Departure::Socket(errno)),
        }
        let interest = epoll::EventFlags::IN | epoll::EventFlags::OUT;
        let token = epoll::EventData::new_u64(wide(at));
        epoll::add(poller, &socket, token, interest).map_err(Departure::Socket)?;
        self.layers = Layers::begin(&ends.transport, &mut self.wardrobe).map_err(Departure::Layer)?;
        self.blocked = true;
        self.stage = Stage::Dialling;
        self.socket = Some(socket);
        Ok(())
    }

    /// Learns how the TCP handshake ended.
    pub(crate) fn finish_dial(&mut self) -> Result<(), Departure> {
        let socket = self.socket.as_ref().ok_or(Departure::Closed)?;
        match sockopt::socket_error(socket) {
            Ok(Ok(())) => {
                self.stage = Stage::Opening;
                self.reached_ns = now_ns();
                Ok(())
            }
            Ok(Err(errno)) | Err(errno) => Err(Departure::Socket(errno)),
        }
    }

    /// Whether MQTT may be written.
    pub(crate) fn is_open(&self) -> bool {
        self.layers.as_ref().is_none_or(|layers| layers.is_open())
    }

    /// How the TLS handshake ended, if there was one.
    pub(crate) fn handshake(&self) -> Option<Handshake> {
        self.layers.as_ref().and_then(|layers| layers.handshake())
    }

    /// Reads once, behind the bytes carried over, into `buffer`; the count of bytes of MQTT that now stand there, or
    /// `None` when there was nothing to read.
    #[inline]
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, Departure> {
        let Some(socket) = &self.socket else { return Ok(None) };
        let carried = self.carry.len();
        let start = carried + if self.layers.is_some() { ROOM_BYTES } else { 0 };
        if start >= buffer.len() {
            return Err(Departure::TooLarge);
        }
        buffer[..carried].copy_from_slice(&self.carry);
        let count = match rustix::net::recv(socket, &mut buffer[start..], RecvFlags::empty()) {
            Ok((0, _)) => return Err(self.end_of_stream()),
            Ok((count, _)) => count,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
            Err(errno) => return Err(Departure::Socket(errno)),
        };
        self.carry.clear();
        match &mut self.layers {
            None => Ok(Some(carried + count)),
            Some(layers) => {
                layers.take_off(buffer, carried, start..start + count).map(Some).map_err(Departure::Layer)
            }
        }
    }

    fn end_of_stream(&self) -> Departure {
        let told = self.layers.as_ref().and_then(|layers| layers.closing());
        told.map_or(Departure::Closed, |fault| Departure::Layer(fault.clone()))
    }

    /// Keeps the beginning of a packet for the next read.
    #[inline]
    pub(crate) fn carry_over(&mut self, rest: &[u8]) {
        if rest.is_empty() {
            return;
        }
        self.carry.extend_from_slice(rest);
    }

    /// Whether anything waits for a flush.
    #[inline]
    pub(crate) fn has_unsent(&self) -> bool {
        !self.outbox.is_empty() || self.layers.as_ref().is_some_and(|layers| !layers.sealed().is_empty())
    }

    /// Whether a write may be tried.
    #[inline]
    pub(crate) fn is_writable(&self) -> bool {
        !self.blocked && self.stage == Stage::Ready
    }

    /// The socket became writable.
    pub(crate) fn unblock(&mut self, poller: &OwnedFd, token: u64) -> Result<(), Departure> {
        self.blocked = false;
        self.flush(poller, token)?;
        if !self.blocked {
            self.watch(poller, token, epoll::EventFlags::IN)?;
        }
        Ok(())
    }

    /// Writes the outbox in one write; what does not fit waits for the socket.
    #[inline]
    pub(crate) fn flush(&mut self, poller: &OwnedFd, token: u64) -> Result<(), Departure> {
        let Some(socket) = &self.socket else { return Ok(()) };
        if self.blocked || !self.has_unsent() {
            return Ok(());
        }
        let unsent = match &mut self.layers {
            None => self.outbox.as_slice(),
            Some(layers) => {
                if !self.outbox.is_empty() {
                    layers.put_on(&self.outbox);
                    self.outbox.clear();
                }
                layers.sealed()
            }
        };
        let wanted = unsent.len();
        let written = match rustix::net::send(socket, unsent, SendFlags::NOSIGNAL) {
            Ok(written) => written,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(errno) => return Err(Departure::Socket(errno)),
        };
        match &mut self.layers {
            None if written == wanted => self.outbox.clear(),
            None => drop(self.outbox.drain(..written)),
            Some(layers) => layers.consume(written),
        }
        if written == wanted {
            return Ok(());
        }
        self.blocked = true;
        self.watch(poller, token, epoll::EventFlags::IN | epoll::EventFlags::OUT)
    }

    /// Gives back the memory of the handshake, unless answers to the first messages wait in it.
    pub(crate) fn shed(&mut self) {
        if self.outbox.is_empty() {
            self.outbox = vec![];
        }
        if let Some(layers) = &mut self.layers {
            layers.shed();
        }
    }

    /// Closes without a word, as a power cut would look from the broker, and without leaving a port occupied.
    pub(crate) fn cut(&mut self) {
        if let Some(socket) = self.socket.take() {
            // Without it the ports of a storm's clients would be unusable for a minute.
            let _refused = sockopt::set_socket_linger(&socket, Some(Duration::ZERO));
        }
        self.layers = None;
        self.outbox.clear();
        self.carry.clear();
        self.dirty = false;
        self.stage = Stage::Seated;
    }

    /// Says goodbye, if there is anybody to hear it, and closes.
    pub(crate) fn close(&mut self, goodbye: &[u8]) {
        if let Some(socket) = self.socket.take().filter(|_| !self.blocked && !goodbye.is_empty()) {
            let goodbye = match &mut self.layers {
                None => goodbye,
                // Before its layers are there the broker could make nothing of a goodbye.
                Some(layers) if !layers.is_open() => &[],
                Some(layers) => {
                    layers.put_on(goodbye);
                    layers.sealed()
                }
            };
            // Nothing depends on the goodbye; the close says the same.
            let _sent = rustix::net::send(&socket, goodbye, SendFlags::NOSIGNAL);
        }
        self.layers = None;
        self.stage = Stage::Gone;
    }

    fn watch(&self, poller: &OwnedFd, token: u64, interest: epoll::EventFlags) -> Result<(), Departure> {
        let Some(socket) = &self.socket else { return Ok(()) };
        epoll::modify(poller, socket, epoll::EventData::new_u64(token), interest).map_err(Departure::Socket)
    }
}
