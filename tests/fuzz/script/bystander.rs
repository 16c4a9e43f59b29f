//! The bystander: a client that does everything right and must be served whatever the others do.
//!
//! Invariants:
//! - It reads at once, acknowledges at once, and asks only when the network is about to come to rest.
//!
//! Source: [MQTT-3.12.4-1], [MQTT-3.3.4-1], [MQTT-4.8.0-1] (MQTT 3.1.1 knows the same duties).

use mqtt::{Framing, frame};

use super::network::Network;
use crate::packet::{field, packet};

/// Its name; an input that contains it could speak for it and is left out.
pub const NAME: &str = "bystander";
/// Where it writes to itself.
const TOPIC: &str = "bystander/post";

/// The bystander.
#[derive(Debug)]
pub struct Bystander {
    /// Its socket.
    pub socket: usize,
    letters: u16,
}

/// What it found in its mail.
#[derive(Debug, Default, PartialEq)]
struct Mail {
    pongs: usize,
    acks: Vec<[u8; 2]>,
    letters: usize,
}

impl Bystander {
    /// It connects and subscribes to its own topic.
    pub fn new(network: &mut Network) -> Self {
        let socket = network.connect(0);
        let bystander = Self { socket, letters: 0 };
        let hello = packet(0x10, &[&field("MQTT"), &[4, 2, 0, 0], &field(NAME)]);
        let subscribe = packet(0x82, &[&[0, 1], &field(TOPIC), &[1]]);
        network.write(socket, &[hello, subscribe].concat(), usize::MAX);
        network.come_to_rest(socket);
        assert_eq!(
            network.received(socket),
            b"\x20\x02\0\0\x90\x03\0\x01\x01",
            "the bystander is not let in"
        );
        bystander
    }

    /// It pings, and writes a letter to itself; all three answers must be there when the network is at rest.
    pub fn look(&mut self, network: &mut Network) {
        self.letters += 1;
        let id = self.letters.to_be_bytes();
        let letter = packet(0x32, &[&field(TOPIC), &id, b"letter ", &id]);
        network.write(self.socket, &[vec![0xc0, 0], letter].concat(), usize::MAX);
        let mut mail = Mail::default();
        loop {
            network.come_to_rest(self.socket);
            let received = network.received(self.socket);
            if received.is_empty() {
                break;
            }
            let answers = mail.open(&received, id);
            network.write(self.socket, &answers, usize::MAX);
        }
        assert!(network.is_open(self.socket), "the bystander was thrown out");
        assert_eq!(mail, Mail { pongs: 1, acks: vec![id], letters: 1 }, "letter {}", self.letters);
    }
}

impl Mail {
    /// Reads what came and returns the acknowledgements that it calls for.
    fn open(&mut self, received: &[u8], own: [u8; 2]) -> Vec<u8> {
        let (mut rest, mut answers) = (received, Vec::new());
        while let Ok(Framing::Whole(whole)) = frame(rest, u32::MAX) {
            rest = &rest[whole.bytes.len()..];
            match whole.first {
                0xd0 => self.pongs += 1,
                0x40 => self.acks.push([whole.body[0], whole.body[1]]),
                0x32 | 0x3a => {
                    let behind = 2 + usize::from(u16::from_be_bytes([whole.body[0], whole.body[1]]));
                    answers.extend([0x40, 2, whole.body[behind], whole.body[behind + 1]]);
                    self.letters += usize::from(whole.body[behind + 2..] == [b"letter ", &own[..]].concat());
                }
                0x30 => {}
                first => panic!("the bystander gets a packet that begins with {first:02x}"),
            }
        }
        answers
    }
}
