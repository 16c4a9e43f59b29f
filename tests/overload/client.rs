//! One client that never blocks: what it says is queued, what it hears is counted.
//!
//! Invariants:
//! - A client that does not read leaves everything to the kernel.
//! - What a client has got is kept as numbers, in the order of arrival.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use crash::wire::{self, Ack, Answer, Publish, Version};
use socket2::{Domain, SockRef, Socket, Type};

/// How much one read takes.
const READ_BYTES: usize = 64 * 1024;

/// What a CONNECT says.
#[derive(Clone, Debug)]
pub struct Hello<'a> {
    /// The version.
    pub version: Version,
    /// The client id.
    pub client_id: &'a str,
    /// Whether nothing outlives the connection; otherwise the session lasts an hour.
    pub is_clean: bool,
    /// Keep alive in seconds.
    pub keep_alive_s: u16,
    /// Receive Maximum, 5.0 only.
    pub receive_maximum: u16,
    /// Topic and number of the will, QoS 1.
    pub will: Option<(&'a str, u32)>,
}

impl<'a> Hello<'a> {
    /// A clean client of version 5.0 without keep alive.
    #[must_use]
    pub fn new(client_id: &'a str) -> Self {
        Self {
            version: Version::V5,
            client_id,
            is_clean: true,
            keep_alive_s: 0,
            receive_maximum: 1000,
            will: None,
        }
    }

    /// The packet.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let is_v5 = self.version == Version::V5;
        let mut body = text("MQTT");
        let will_flags = if self.will.is_some() { 0x0c } else { 0 };
        body.extend([if is_v5 { 5 } else { 4 }, u8::from(self.is_clean) << 1 | will_flags]);
        body.extend(self.keep_alive_s.to_be_bytes());
        if is_v5 {
            body.extend([8, 0x11]);
            body.extend(if self.is_clean { 0_u32 } else { 3600 }.to_be_bytes());
            body.push(0x21);
            body.extend(self.receive_maximum.to_be_bytes());
        }
        body.extend(text(self.client_id));
        if let Some((topic, number)) = self.will {
            if is_v5 {
                body.push(0);
            }
            body.extend(text(topic));
            body.extend([0, 4]);
            body.extend(number.to_be_bytes());
        }
        packet(0x10, &body)
    }
}

/// A packet of any length.
#[must_use]
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mut length = body.len();
    loop {
        let low = u8::try_from(length & 0x7f).expect("seven bits");
        length >>= 7;
        out.push(if length == 0 { low } else { low | 0x80 });
        if length == 0 {
            break;
        }
    }
    out.extend_from_slice(body);
    out
}

fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("short texts");
    [&length.to_be_bytes()[..], text.as_bytes()].concat()
}

/// A client.
#[derive(Debug)]
pub struct Client {
    /// Its socket.
    pub socket: TcpStream,
    version: Version,
    input: Vec<u8>,
    /// Written and not yet taken by the kernel.
    pub output: Vec<u8>,
    packet_id: u16,
    /// Whether it reads at all.
    pub reads: bool,
    /// Whether it acknowledges by itself.
    pub acknowledges: bool,
    /// Whether the other side has ended the connection.
    pub has_ended: bool,
    /// Session Present and the code of the CONNACK.
    pub connack: Option<(bool, u8)>,
    /// Filters that were granted, and refused with 0x97.
    pub granted: usize,
    /// See `granted`.
    pub refused: usize,
    /// PUBACKs that say yes.
    pub acked: usize,
    /// PINGREQs sent.
    pub pings: usize,
    /// PINGRESPs.
    pub pongs: usize,
    /// The code of a DISCONNECT.
    pub goodbye: Option<u8>,
    /// The numbers in the payloads that came, in order.
    pub got: Vec<u32>,
    /// Packet ids that it has not acknowledged.
    pub owed: Vec<u16>,
    /// The most of those at once.
    pub owed_max: usize,
}

impl Client {
    /// Connects from an address of this machine, and says nothing yet.
    ///
    /// # Errors
    /// As `TcpStream::connect`.
    pub fn open_from(from: IpAddr, to: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        if !from.is_unspecified() {
            socket.bind(&SocketAddr::from((from, 0)).into())?;
        }
        socket.connect(&to.into())?;
        Self::over(socket.into())
    }

    /// Connects, and says nothing yet.
    ///
    /// # Errors
    /// As `TcpStream::connect`.
    pub fn open(to: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect(to)?)
    }

    fn over(socket: TcpStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        Ok(Self {
            socket,
            version: Version::V5,
            input: Vec::new(),
            output: Vec::new(),
            packet_id: 0,
            reads: true,
            acknowledges: true,
            has_ended: false,
            connack: None,
            granted: 0,
            refused: 0,
            acked: 0,
            pings: 0,
            pongs: 0,
            goodbye: None,
            got: Vec::new(),
            owed: Vec::new(),
            owed_max: 0,
        })
    }

    /// Connects and sends a CONNECT.
    ///
    /// # Errors
    /// As `TcpStream::connect`.
    pub fn connect(to: SocketAddr, hello: &Hello<'_>) -> io::Result<Self> {
        let mut client = Self::open(to)?;
        client.greet(hello);
        Ok(client)
    }

    /// Sends a CONNECT.
    pub fn greet(&mut self, hello: &Hello<'_>) {
        self.version = hello.version;
        self.say(&hello.bytes());
    }

    /// Whether it was let in.
    #[must_use]
    pub fn is_in(&self) -> bool {
        matches!(self.connack, Some((_, 0))) && !self.has_ended
    }

    /// Says any bytes.
    pub fn say(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
        self.flush();
    }

    /// Subscribes to some filters with one packet.
    pub fn subscribe(&mut self, filters: &[String], qos: u8) {
        let id = self.fresh();
        let mut body = id.to_be_bytes().to_vec();
        if self.version == Version::V5 {
            body.push(0);
        }
        for filter in filters {
            body.extend(text(filter));
            body.push(qos);
        }
        self.say(&packet(0x82, &body));
    }

    /// Publishes a number, padded to so many bytes.
    pub fn publish(&mut self, topic: &str, qos: u8, is_retained: bool, number: u32, bytes: usize) {
        let packet_id = if qos > 0 { self.fresh() } else { 0 };
        let mut payload = number.to_be_bytes().to_vec();
        payload.resize(bytes.max(4), b'.');
        let publish =
            Publish { is_dup: false, qos, is_retained, topic, packet_id, expiry_s: None, payload: &payload };
        wire::publish(&mut self.output, self.version, &publish);
    }

    /// Asks for a PINGRESP.
    pub fn ping(&mut self) {
        self.pings += 1;
        self.say(&[0xc0, 0]);
    }

    /// Acknowledges everything that it owes.
    pub fn pay(&mut self) {
        for id in std::mem::take(&mut self.owed) {
            wire::ack(&mut self.output, Ack::PubAck, id);
        }
        self.flush();
    }

    /// Vanishes with a reset, as a device does that loses its power and comes back.
    pub fn reset(self) {
        // Without it the connection would only end more gently.
        let _ = SockRef::from(&self.socket).set_linger(Some(Duration::ZERO));
    }

    /// Gives the kernel what it takes.
    pub fn flush(&mut self) {
        let mut sent = 0;
        while sent < self.output.len() {
            match self.socket.write(&self.output[sent..]) {
                Ok(length) => sent += length,
                Err(failure) if failure.kind() == io::ErrorKind::WouldBlock => break,
                Err(failure) if failure.kind() == io::ErrorKind::Interrupted => {}
                // What the broker had said before is still to be read: the read finds the end.
                Err(_) => sent = self.output.len(),
            }
        }
        self.output.drain(..sent);
    }

    /// Reads what is there, a few reads at a time, and understands it.
    pub fn hear(&mut self) {
        let mut buffer = [0; READ_BYTES];
        for _ in 0..4 {
            match self.socket.read(&mut buffer) {
                Ok(0) => self.has_ended = true,
                Ok(length) => {
                    self.input.extend_from_slice(&buffer[..length]);
                    continue;
                }
                Err(failure) if failure.kind() == io::ErrorKind::WouldBlock => {}
                Err(failure) if failure.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => self.has_ended = true,
            }
            break;
        }
        self.understand();
        self.flush();
    }

    fn understand(&mut self) {
        let input = std::mem::take(&mut self.input);
        let mut rest = input.as_slice();
        while let Ok(Some((answer, length))) = wire::decode(self.version, rest) {
            self.note(&answer);
            rest = &rest[length..];
        }
        self.input = rest.to_vec();
    }

    fn note(&mut self, answer: &Answer<'_>) {
        match answer {
            Answer::ConnAck { is_present, code } => self.connack = Some((*is_present, *code)),
            Answer::Ack { code, .. } => self.acked += usize::from(*code < 0x80),
            Answer::SubAck { codes, .. } => {
                self.granted += codes.iter().filter(|code| **code < 0x80).count();
                self.refused += codes.iter().filter(|code| **code == 0x97).count();
            }
            Answer::UnsubAck { .. } => {}
            Answer::Pong => self.pongs += 1,
            Answer::Disconnect { code } => self.goodbye = Some(*code),
            Answer::Publish(publish) => {
                let number =
                    publish.payload.first_chunk().map_or(u32::MAX, |bytes| u32::from_be_bytes(*bytes));
                self.got.push(number);
                if publish.qos == 1 && self.acknowledges {
                    wire::ack(&mut self.output, Ack::PubAck, publish.packet_id);
                } else if publish.qos == 1 {
                    self.owed.push(publish.packet_id);
                    self.owed_max = self.owed_max.max(self.owed.len());
                }
            }
        }
    }

    fn fresh(&mut self) -> u16 {
        self.packet_id = self.packet_id % 60_000 + 1;
        self.packet_id
    }
}
