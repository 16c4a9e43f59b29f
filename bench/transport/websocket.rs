//! WebSocket around one connection, from the client's side.
//!
//! Why the frames are taken apart here and the library only reads and writes their headers: MQTT is a stream that cares
//! for no frame, so payloads can be joined in place, without a copy into messages.
//!
//! Invariants:
//! - Every frame that leaves is masked with a new key. Source: RFC 6455 section 5.3.
//! - What a control frame asks for is answered behind the frames of the same read.
//!
//! Source: RFC 6455; MQTT 5.0 section 6.

use std::io::Cursor;
use std::ops::Range;

use tungstenite::client::{ClientRequestBuilder, IntoClientRequest};
use tungstenite::handshake::HandshakeError;
use tungstenite::handshake::MidHandshake;
use tungstenite::handshake::client::ClientHandshake;
use tungstenite::http::Uri;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::fault::LayerFault;
use super::pipe::Pipe;
use crate::number::{place, wide};

/// Longest frame header. Source: RFC 6455 section 5.2.
const HEADER_BYTES_MAX: usize = 14;
/// Longest answer to the upgrade that is waited for.
const ANSWER_BYTES_MAX: usize = 16_384;
const ANSWER_END: &[u8] = b"\r\n\r\n";
const SUBPROTOCOL: &str = "mqtt";
/// What closes without a word mean. Source: RFC 6455 section 7.4.1.
const NO_CODE: u16 = 1005;

type Asking = MidHandshake<ClientHandshake<Pipe>>;

/// One connection's WebSocket.
#[derive(Debug)]
pub(super) struct WebSocketLayer {
    /// Until the broker has agreed: the request, and what has come of the answer.
    asking: Option<Box<(Asking, Vec<u8>)>>,
    head: Head,
    kind: Kind,
    left: u64,
    control: Vec<u8>,
    closing: Option<LayerFault>,
    masks: fastrand::Rng,
}

/// The beginning of a frame header.
#[derive(Clone, Copy, Default, Debug)]
struct Head {
    bytes: [u8; HEADER_BYTES_MAX],
    len: usize,
}

/// What the payload under way belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Binary,
    Ping,
    Pong,
    Close,
}

impl WebSocketLayer {
    /// A layer whose request is in `request`.
    pub(super) fn begin(uri: &Uri, request: &mut Vec<u8>) -> Result<Self, LayerFault> {
        let asked = ClientRequestBuilder::new(uri.clone())
            .with_sub_protocol(SUBPROTOCOL)
            .into_client_request()
            .and_then(|request| ClientHandshake::start(Pipe::default(), request, None))
            .map_err(|fault| told(&fault))?;
        let mut asking = match asked.handshake() {
            Err(HandshakeError::Interrupted(asking)) => asking,
            Err(HandshakeError::Failure(fault)) => return Err(told(&fault)),
            Ok(_) => return Err(LayerFault::WebSocket("agreed to before it was asked for".to_owned())),
        };
        request.append(&mut asking.get_mut().get_mut().output);
        Ok(Self {
            asking: Some(Box::new((asking, vec![]))),
            head: Head::default(),
            kind: Kind::Binary,
            left: 0,
            control: vec![],
            closing: None,
            masks: fastrand::Rng::new(),
        })
    }

    /// Whether MQTT may be written.
    pub(super) fn is_open(&self) -> bool {
        self.asking.is_none()
    }

    /// Why the stream will end; `None` while the broker has not said so.
    pub(super) fn closing(&self) -> Option<&LayerFault> {
        self.closing.as_ref()
    }

    /// Takes the frames in `buffer[raw]` and joins what is in them at `buffer[start..]`; returns its end. What must be
    /// answered is appended to `reply`, as it leaves.
    pub(super) fn take_off(
        &mut self,
        buffer: &mut [u8],
        start: usize,
        raw: Range<usize>,
        reply: &mut Vec<u8>,
    ) -> Result<usize, LayerFault> {
        let mut read = raw.start;
        if self.asking.is_some() {
            read += self.hear(&buffer[raw.clone()])?;
        }
        let mut end = start;
        // Behind a close nothing counts.
        while read < raw.end && self.closing.is_none() {
            if self.left == 0 {
                read += self.read_head(&buffer[read..raw.end])?;
                self.end_if_empty(reply);
                continue;
            }
            let count = (raw.end - read).min(usize::try_from(self.left).unwrap_or(usize::MAX));
            match self.kind {
                Kind::Binary => {
                    buffer.copy_within(read..read + count, end);
                    end += count;
                }
                Kind::Ping | Kind::Pong | Kind::Close => {
                    self.control.extend_from_slice(&buffer[read..read + count]);
                }
            }
            read += count;
            self.left -= wide(count);
            self.end_if_empty(reply);
        }
        Ok(end)
    }

    /// Appends `plain` to `framed` as one binary frame.
    pub(super) fn put_on(&mut self, plain: &[u8], framed: &mut Vec<u8>) {
        self.frame(OpCode::Data(Data::Binary), plain, framed);
    }

    fn frame(&mut self, opcode: OpCode, payload: &[u8], framed: &mut Vec<u8>) {
        let mask = self.masks.u32(..).to_be_bytes();
        let header = FrameHeader { opcode, mask: Some(mask), ..FrameHeader::default() };
        header.format(wide(payload.len()), framed).expect("memory takes everything");
        let start = framed.len();
        framed.extend_from_slice(payload);
        cover(&mut framed[start..], mask);
    }

    /// Takes a part of the answer; returns how much of it belongs to the answer.
    fn hear(&mut self, raw: &[u8]) -> Result<usize, LayerFault> {
        let Some(mut asking) = self.asking.take() else { return Ok(0) };
        let heard = &mut asking.1;
        let before = heard.len();
        heard.extend_from_slice(raw);
        let Some(end) = heard.windows(ANSWER_END.len()).position(|window| window == ANSWER_END) else {
            if heard.len() > ANSWER_BYTES_MAX {
                return Err(LayerFault::WebSocket("the answer to the upgrade has no end".to_owned()));
            }
            self.asking = Some(asking);
            return Ok(raw.len());
        };
        let (mut handshake, mut heard) = *asking;
        heard.truncate(end + ANSWER_END.len());
        let taken = heard.len() - before;
        handshake.get_mut().get_mut().input = heard;
        match handshake.handshake() {
            Ok(_) => Ok(taken),
            Err(HandshakeError::Failure(fault)) => Err(told(&fault)),
            Err(HandshakeError::Interrupted(_)) => {
                Err(LayerFault::WebSocket("the answer to the upgrade is not whole".to_owned()))
            }
        }
    }

    /// Takes bytes of a header; returns how many.
    fn read_head(&mut self, raw: &[u8]) -> Result<usize, LayerFault> {
        let Head { bytes, len } = &mut self.head;
        let before = *len;
        let count = raw.len().min(HEADER_BYTES_MAX - before);
        bytes[before..before + count].copy_from_slice(&raw[..count]);
        let mut cursor = Cursor::new(&bytes[..before + count]);
        let Some((header, left)) = FrameHeader::parse(&mut cursor).map_err(|fault| told(&fault))? else {
            *len += count;
            return Ok(count);
        };
        let taken = place(cursor.position()) - before;
        self.head = Head::default();
        self.left = left;
        self.kind = match header.opcode {
            OpCode::Data(Data::Binary | Data::Continue) => Kind::Binary,
            OpCode::Control(Control::Ping) => Kind::Ping,
            OpCode::Control(Control::Pong) => Kind::Pong,
            OpCode::Control(Control::Close) => Kind::Close,
            OpCode::Data(Data::Text | Data::Reserved(_)) | OpCode::Control(Control::Reserved(_)) => {
                return Err(LayerFault::WebSocket(format!("a frame of kind {}", header.opcode)));
            }
        };
        if header.mask.is_some() {
            return Err(LayerFault::WebSocket("a masked frame of a server".to_owned()));
        }
        Ok(taken)
    }

    /// Does what a control frame asks for, once it is whole.
    fn end_if_empty(&mut self, reply: &mut Vec<u8>) {
        if self.left > 0 || self.head.len > 0 || self.kind == Kind::Binary {
            return;
        }
        let control = std::mem::take(&mut self.control);
        match std::mem::replace(&mut self.kind, Kind::Binary) {
            Kind::Ping => self.frame(OpCode::Control(Control::Pong), &control, reply),
            Kind::Close => {
                let code = control.first_chunk().map_or(NO_CODE, |code| u16::from_be_bytes(*code));
                self.closing = Some(LayerFault::Closed(code));
                self.frame(OpCode::Control(Control::Close), &control, reply);
            }
            Kind::Pong | Kind::Binary => {}
        }
    }
}

/// Masks `bytes`. Source: RFC 6455 section 5.3.
fn cover(bytes: &mut [u8], mask: [u8; 4]) {
    let mut parts = bytes.chunks_exact_mut(4);
    for part in &mut parts {
        part.iter_mut().zip(mask).for_each(|(byte, key)| *byte ^= key);
    }
    parts.into_remainder().iter_mut().zip(mask).for_each(|(byte, key)| *byte ^= key);
}

fn told(fault: &tungstenite::Error) -> LayerFault {
    LayerFault::WebSocket(match fault {
        tungstenite::Error::Http(response) => format!("the broker answered {}", response.status()),
        other => other.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use tungstenite::handshake::server::{NoCallback, ServerHandshake};
    use tungstenite::protocol::Role;
    use tungstenite::{Message, WebSocket};

    use super::*;

    fn uri() -> Uri {
        "ws://127.0.0.1:8083/mqtt".parse().expect("a lawful address")
    }

    /// What a server answers to `request`.
    fn answer_to(request: Vec<u8>) -> Vec<u8> {
        let pipe = Pipe { input: request, output: vec![] };
        let mut socket =
            ServerHandshake::start(pipe, NoCallback, None).handshake().expect("a lawful request");
        std::mem::take(&mut socket.get_mut().output)
    }

    /// Feeds `stream` in pieces and returns what comes out, and the replies.
    fn feed(
        layer: &mut WebSocketLayer,
        stream: &[u8],
        piece_len: usize,
    ) -> Result<(Vec<u8>, Vec<u8>), LayerFault> {
        let (mut plain, mut reply) = (vec![], vec![]);
        for piece in stream.chunks(piece_len) {
            let mut buffer = [b"gap".as_slice(), piece].concat();
            let raw = 3..buffer.len();
            let end = layer.take_off(&mut buffer, 1, raw, &mut reply)?;
            plain.extend_from_slice(&buffer[1..end]);
        }
        Ok((plain, reply))
    }

    fn open() -> WebSocketLayer {
        let mut request = vec![];
        let mut layer = WebSocketLayer::begin(&uri(), &mut request).expect("a lawful request");
        assert!(!layer.is_open());
        // A server that knows no subprotocol; brokers choose one.
        let mut answer = String::from_utf8(answer_to(request)).expect("text");
        answer.insert_str(answer.len() - 2, "Sec-WebSocket-Protocol: mqtt\r\n");
        let came = feed(&mut layer, answer.as_bytes(), 7).expect("a lawful answer");
        assert!(layer.is_open() && came.0.is_empty());
        layer
    }

    fn frames(messages: Vec<Message>) -> Vec<u8> {
        let mut server = WebSocket::from_raw_socket(Pipe::default(), Role::Server, None);
        messages.into_iter().for_each(|message| server.write(message).expect("memory takes everything"));
        server.flush().expect("memory takes everything");
        std::mem::take(&mut server.get_mut().output)
    }

    #[test]
    fn mqtt_comes_out_whole_however_frames_are_cut() {
        let packet: Vec<u8> = (0..=255).cycle().take(70_000).collect();
        let stream = frames(vec![
            Message::binary(packet[..3].to_vec()),
            Message::Ping(b"are you there".as_slice().into()),
            Message::binary(vec![]),
            Message::binary(packet[3..200].to_vec()),
            Message::binary(packet[200..].to_vec()),
        ]);
        for piece_len in [1, 2, 13, 4_096, stream.len()] {
            let mut layer = open();
            let (plain, reply) = feed(&mut layer, &stream, piece_len).expect("lawful frames");
            assert!(plain == packet, "in pieces of {piece_len}");
            assert_eq!(reply.len(), 2 + 4 + 13, "one masked pong");
        }
    }

    #[test]
    fn what_leaves_is_understood_by_a_server() {
        for size in [0, 1, 5, 125, 126, 65_535, 65_536] {
            let plain: Vec<u8> = (0..=255).cycle().take(size).collect();
            let mut framed = vec![];
            open().put_on(&plain, &mut framed);
            let pipe = Pipe { input: framed, output: vec![] };
            let mut server = WebSocket::from_raw_socket(pipe, Role::Server, None);
            assert_eq!(server.read().expect("a lawful frame").into_data(), plain);
        }
    }

    #[test]
    fn refusals_and_text_are_faults_and_a_close_is_told_behind_what_came_before_it() {
        let mut request = vec![];
        let mut layer = WebSocketLayer::begin(&uri(), &mut request).expect("a lawful request");
        let refused = feed(&mut layer, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 100);
        assert_eq!(refused, Err(LayerFault::WebSocket("the broker answered 404 Not Found".to_owned())));
        let text = feed(&mut open(), &frames(vec![Message::text("x")]), 100);
        assert!(matches!(text, Err(LayerFault::WebSocket(_))));
        for (close, code) in [(b"\x88\x02\x03\xe9".as_slice(), 1001), (b"\x88\x00", NO_CODE)] {
            let stream = [b"\x82\x02\xe0\x00".as_slice(), close, b"\x82\x01x"].concat();
            for piece_len in [1, stream.len()] {
                let mut layer = open();
                let (plain, reply) = feed(&mut layer, &stream, piece_len).expect("a lawful end");
                assert_eq!(
                    (plain.as_slice(), layer.closing()),
                    (b"\xe0\x00".as_slice(), Some(&LayerFault::Closed(code)))
                );
                assert_eq!(reply[0], 0x88, "a close is answered by a close");
            }
        }
    }
}
