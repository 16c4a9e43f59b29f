//! The relay as a program: what a publisher sends arrives at its subscriber, byte for byte.
//!
//! Invariants:
//! - The system chooses the port, and the program says which.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// After this a silent relay fails the test.
const PATIENCE: Duration = Duration::from_secs(30);
const CONNECT: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01x";
const SUBSCRIBE: &[u8] = b"\x82\x08\x00\x07\x00\x03a/b\x01";
const PUBLISH: &[u8] = b"\x32\x09\x00\x03a/b\x00\x01hi";
const PUBACK: &[u8] = b"\x40\x02\x00\x01";

struct Relay {
    child: Child,
    address: String,
}

impl Relay {
    fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ring-relay"));
        let mut child =
            command.arg("127.0.0.1:0").stdout(Stdio::piped()).spawn().expect("the program starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it was asked for");
        BufReader::new(stdout).read_line(&mut line).expect("the program says where it listens");
        let address =
            line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}")).to_owned();
        Self { child, address }
    }

    fn client(&self) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).expect("the relay listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a positive time");
        stream.write_all(CONNECT).expect("the relay reads");
        assert_eq!(read(&mut stream, 4), [0x20, 2, 0, 0]);
        stream
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.child.kill().expect("it runs until it is told to end");
        self.child.wait().expect("it can be waited for");
    }
}

fn read(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).expect("the relay writes");
    bytes
}

#[test]
fn packets_reach_the_subscriber_and_acknowledgements_the_publisher() {
    let relay = Relay::start();
    let mut subscriber = relay.client();
    subscriber.write_all(SUBSCRIBE).expect("the relay reads");
    assert_eq!(read(&mut subscriber, 5), [0x90, 3, 0, 7, 1]);
    let mut publisher = relay.client();
    for _ in 0..3 {
        let twice = [PUBLISH, PUBLISH].concat();
        publisher.write_all(&twice).expect("the relay reads");
        assert_eq!(read(&mut subscriber, twice.len()), twice);
        subscriber.write_all(PUBACK).expect("the relay reads");
        assert_eq!(read(&mut publisher, PUBACK.len()), PUBACK);
    }
}

#[test]
fn who_says_goodbye_is_let_go_and_the_others_stay() {
    let relay = Relay::start();
    let mut stays = relay.client();
    let mut leaves = relay.client();
    leaves.write_all(b"\xe0\x00").expect("the relay reads");
    let mut rest = vec![];
    leaves.read_to_end(&mut rest).expect("the relay closes");
    assert_eq!(rest, b"");
    stays.write_all(b"\xc0\x00").expect("the relay reads");
    assert_eq!(read(&mut stays, 2), [0xd0, 0]);
}
