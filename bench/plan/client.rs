//! One blocking client that leaves things behind in a broker: retained messages, sessions, subscriptions.
//!
//! Why not the load engine: its clients measure time; this one only needs the broker's word that each thing is kept
//! before the next look at its memory.
//!
//! Invariants:
//! - Every request has been answered when a function returns.
//!
//! Source: MQTT 3.1.1 sections 3.1, 3.3, 3.8.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::failure::Failure;

const PATIENCE: Duration = Duration::from_secs(20);
/// Requests between two waits for answers; below every broker's Receive Maximum.
const TOGETHER: u32 = 50;

/// A connection with a CONNACK.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
}

impl Client {
    /// Connects as `id`; a lasting session stays behind.
    pub(crate) fn connect(address: SocketAddr, id: &str, session: Session) -> Result<Self, Failure> {
        let flags = match session {
            Session::Clean => 2,
            Session::Lasting => 0,
        };
        let mut body = b"\x00\x04MQTT\x04".to_vec();
        body.extend_from_slice(&[flags, 0, 0]);
        string(id, &mut body);
        let work = || -> std::io::Result<(TcpStream, Vec<u8>)> {
            let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_nodelay(true)?;
            stream.write_all(&packet(0x10, &body))?;
            let mut answer = vec![0; 4];
            stream.read_exact(&mut answer)?;
            Ok((stream, answer))
        };
        let (stream, answer) = work().map_err(|source| Failure::os("connecting a client", source))?;
        match answer[..] {
            [0x20, 2, _, 0] => Ok(Self { stream }),
            _ => Err(Failure::Client { client: id.into(), cause: format!("it was answered {answer:02x?}") }),
        }
    }

    /// Keeps messages of `payload` bytes on the topics `plan/retained/<number>`.
    pub(crate) fn retain(&mut self, numbers: std::ops::Range<u32>, payload: usize) -> Result<(), Failure> {
        self.ask(numbers, 4, |number, id| {
            let mut body = vec![];
            string(&format!("plan/retained/{number}"), &mut body);
            body.extend_from_slice(&id.to_be_bytes());
            body.resize(body.len() + payload, b'x');
            packet(0x33, &body)
        })
    }

    /// Subscribes to `plan/filter/<number>`.
    pub(crate) fn subscribe(&mut self, numbers: std::ops::Range<u32>) -> Result<(), Failure> {
        self.ask(numbers, 5, |number, id| {
            let mut body = id.to_be_bytes().to_vec();
            string(&format!("plan/filter/{number}"), &mut body);
            body.push(0);
            packet(0x82, &body)
        })
    }

    /// Says goodbye.
    pub(crate) fn leave(mut self) -> Result<(), Failure> {
        let said = self.stream.write_all(&[0xe0, 0]);
        // The broker closes when it has read the goodbye; then the session is away.
        said.and_then(|()| self.stream.read_to_end(&mut vec![]).map(drop))
            .map_err(|source| Failure::os("saying goodbye", source))
    }

    /// Sends a request for each number and waits for as many answers of `answer_bytes`.
    fn ask(
        &mut self,
        numbers: std::ops::Range<u32>,
        answer_bytes: usize,
        request: impl Fn(u32, u16) -> Vec<u8>,
    ) -> Result<(), Failure> {
        let mut work = || -> std::io::Result<()> {
            let (mut next, mut answer) = (numbers.start, vec![0; answer_bytes]);
            while next < numbers.end {
                let until = (next + TOGETHER).min(numbers.end);
                let ids = 1_u16..;
                let requests: Vec<u8> =
                    (next..until).zip(ids).flat_map(|(number, id)| request(number, id)).collect();
                self.stream.write_all(&requests)?;
                for _ in next..until {
                    self.stream.read_exact(&mut answer)?;
                }
                next = until;
            }
            Ok(())
        };
        work().map_err(|source| Failure::os("leaving things in the broker", source))
    }
}

/// What becomes of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Session {
    /// It ends with the connection.
    Clean,
    /// It stays.
    Lasting,
}

fn string(text: &str, out: &mut Vec<u8>) {
    let length = u16::try_from(text.len()).expect("short names");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mut rest = body.len();
    loop {
        let low = u8::try_from(rest & 0x7f).expect("seven bits");
        rest >>= 7;
        out.push(low | if rest > 0 { 0x80 } else { 0 });
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(body);
    out
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Answers everything that a client may ask with what `answers` say, and returns what it read.
    fn broker(answers: Vec<&'static [u8]>) -> (SocketAddr, std::thread::JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback can be listened on");
        let address = listener.local_addr().expect("a bound socket has an address");
        let serve = move || {
            let (mut stream, _) = listener.accept().expect("a client comes");
            let mut all = vec![];
            for answer in answers {
                let mut bytes = [0; 512];
                let count = stream.read(&mut bytes).expect("a request comes");
                all.extend_from_slice(&bytes[..count]);
                stream.write_all(answer).expect("the client listens");
            }
            all
        };
        (address, std::thread::spawn(serve))
    }

    #[test]
    fn requests_have_the_bytes_of_the_standard() {
        let (address, broker) = broker(vec![&[0x20, 2, 0, 0], &[0x40, 2, 0, 1], &[0x90, 3, 0, 1, 0]]);
        let mut client = Client::connect(address, "a", Session::Lasting).expect("a welcome");
        client.retain(7..8, 3).expect("an answer");
        client.subscribe(0..1).expect("an answer");
        let said = broker.join().expect("the broker ends");
        let expected = [
            &b"\x10\x0d\x00\x04MQTT\x04\x00\x00\x00\x00\x01a"[..],
            b"\x33\x16\x00\x0fplan/retained/7\x00\x01xxx",
            b"\x82\x12\x00\x01\x00\x0dplan/filter/0\x00",
        ];
        assert_eq!(said, expected.concat());
    }

    #[test]
    fn a_refused_client_says_so() {
        let (address, broker) = broker(vec![&[0x20, 2, 0, 5]]);
        let refused = Client::connect(address, "a", Session::Clean).expect_err("not welcome");
        assert!(refused.to_string().contains("05"), "{refused}");
        assert!(broker.join().is_ok());
    }
}
