//! MQTT inside WebSocket: the upgrade request, frames, ping, pong and close.
//!
//! Why frames mean nothing to MQTT: a packet may be spread over several and one may hold several, so what comes out is a
//! plain stream again. Source: [MQTT-6.0.0-2].
//!
//! Invariants:
//! - Nothing but binary frames carries MQTT. Source: [MQTT-6.0.0-1].
//! - No frame is compressed: no extension is ever agreed on.
//! - The answer to a bad request is ready when the fault is told.
//!
//! Source: RFC 6455; MQTT 5.0 section 6.

use tungstenite::error::ProtocolError;
use tungstenite::handshake::HandshakeError;
use tungstenite::handshake::server::{
    Callback, ErrorResponse, Request, Response, ServerHandshake, write_response,
};
use tungstenite::http::{HeaderValue, Response as HttpResponse, StatusCode};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tungstenite::{Error, Message, Utf8Bytes, WebSocket};

use crate::fault::CoatFault;
use crate::pipe::Pipe;

/// Bytes that the frame reader keeps per connection.
const READ_BUFFER_BYTES: usize = 4096;
/// How a request ends.
const REQUEST_END: &[u8] = b"\r\n\r\n";
/// Longest request taken.
const REQUEST_BYTES_MAX: usize = 16_384;
/// Header that names the subprotocols.
const PROTOCOL: &str = "sec-websocket-protocol";
/// Subprotocols spoken, best first. Source: [MQTT-6.0.0-4]; the older name is that of MQTT 3.1.
const SUBPROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

/// What a listener demands of an upgrade.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WebSocketTerms {
    /// The only path accepted, such as `/mqtt`; a query behind it is ignored.
    pub path: String,
    /// Largest frame and message, in bytes.
    pub frame_bytes_max: usize,
}

impl Default for WebSocketTerms {
    fn default() -> Self {
        Self { path: "/mqtt".to_owned(), frame_bytes_max: 16 << 20 }
    }
}

#[derive(Debug)]
pub(crate) enum WebSocketCoat {
    /// The request has not been read whole.
    Upgrading(Box<Upgrade>),
    /// Frames.
    Open(Box<WebSocket<Pipe>>),
}

/// A request on its way, and what will be demanded of it.
#[derive(Debug)]
pub(crate) struct Upgrade {
    held: Vec<u8>,
    terms: WebSocketTerms,
}

/// Judges the request.
#[derive(Debug)]
pub(crate) struct Doorkeeper {
    path: String,
}

impl Callback for Doorkeeper {
    fn on_request(self, request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
        if request.uri().path() != self.path {
            return Err(refusal(StatusCode::NOT_FOUND, "MQTT is spoken on another path\n"));
        }
        let offers = request.headers().get_all(PROTOCOL);
        let offered =
            || offers.iter().filter_map(|offer| offer.to_str().ok()).flat_map(|offer| offer.split(','));
        match SUBPROTOCOLS.into_iter().find(|known| offered().any(|offer| offer.trim() == *known)) {
            Some(known) => {
                response.headers_mut().insert(PROTOCOL, HeaderValue::from_static(known));
                Ok(response)
            }
            // Some small clients name none; naming only others asks for something that is not here.
            None if offers.iter().next().is_none() => Ok(response),
            None => Err(refusal(StatusCode::BAD_REQUEST, "the subprotocol must be mqtt\n")),
        }
    }
}

fn refusal(status: StatusCode, text: &str) -> ErrorResponse {
    let mut response = HttpResponse::new(Some(text.to_owned()));
    *response.status_mut() = status;
    response
}

impl WebSocketCoat {
    pub fn new(terms: &WebSocketTerms) -> Self {
        Self::Upgrading(Box::new(Upgrade { held: Vec::new(), terms: terms.clone() }))
    }

    /// Takes bytes of the stream, appends the MQTT in them to `plain` and what must be answered to `reply`.
    pub fn take_off(
        &mut self,
        raw: &[u8],
        plain: &mut Vec<u8>,
        reply: &mut Vec<u8>,
    ) -> Result<(), CoatFault> {
        match self {
            Self::Upgrading(upgrade) => {
                if let Some(socket) = upgrade.take(raw, reply)? {
                    *self = Self::Open(Box::new(socket));
                }
            }
            Self::Open(socket) => socket.get_mut().feed(raw),
        }
        let Self::Open(socket) = self else { return Ok(()) };
        let outcome = read(socket, plain);
        socket.get_mut().fetch(reply);
        outcome
    }

    /// Appends `plain` to `raw` as one binary frame.
    pub fn put_on(&mut self, plain: &[u8], raw: &mut Vec<u8>) {
        let Self::Open(socket) = self else { return };
        // Behind a close nothing may follow.
        if !socket.can_write() {
            return;
        }
        // Not through the socket, which would copy twice and keep buffers as large as the largest frame.
        let header = FrameHeader { opcode: OpCode::Data(Data::Binary), ..FrameHeader::default() };
        let _writing_into_memory_cannot_fail =
            header.format(u64::try_from(plain.len()).unwrap_or(u64::MAX), raw);
        raw.extend_from_slice(plain);
    }

    /// Appends a close frame.
    pub fn close(&mut self, raw: &mut Vec<u8>) {
        let Self::Open(socket) = self else { return };
        let frame = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() };
        let _ = socket.close(Some(frame));
        let _ = socket.flush();
        socket.get_mut().fetch(raw);
    }
}

impl Upgrade {
    /// The request is judged whole, so it does not matter how it was cut.
    fn take(&mut self, raw: &[u8], reply: &mut Vec<u8>) -> Result<Option<WebSocket<Pipe>>, CoatFault> {
        let seen = self.held.len().saturating_sub(REQUEST_END.len());
        self.held.extend_from_slice(raw);
        let end = self.held[seen..].windows(REQUEST_END.len()).position(|window| window == REQUEST_END);
        let Some(end) = end.map(|end| seen + end + REQUEST_END.len()) else {
            if self.held.len() > REQUEST_BYTES_MAX {
                return Err(refused(Error::Protocol(ProtocolError::HandshakeIncomplete), reply));
            }
            return Ok(None);
        };
        // A client that does not wait for the answer is served all the same: whether its first frame comes with the
        // request or just behind it is the network's choice.
        let (request, behind) = self.held.split_at(end);
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(self.terms.frame_bytes_max))
            .max_frame_size(Some(self.terms.frame_bytes_max));
        let mut pipe = Pipe::default();
        pipe.feed(request);
        let doorkeeper = Doorkeeper { path: self.terms.path.clone() };
        match ServerHandshake::start(pipe, doorkeeper, Some(config)).handshake() {
            Ok(mut socket) => {
                socket.get_mut().feed(behind);
                Ok(Some(socket))
            }
            Err(HandshakeError::Failure(fault)) => Err(refused(fault, reply)),
            Err(HandshakeError::Interrupted(_)) => {
                Err(refused(Error::Protocol(ProtocolError::HandshakeIncomplete), reply))
            }
        }
    }
}

fn read(socket: &mut WebSocket<Pipe>, plain: &mut Vec<u8>) -> Result<(), CoatFault> {
    loop {
        match socket.read() {
            Ok(Message::Binary(bytes)) => plain.extend_from_slice(&bytes),
            Ok(Message::Text(_)) => {
                let reason = Utf8Bytes::from_static("MQTT goes in binary frames");
                let _ = socket.close(Some(CloseFrame { code: CloseCode::Unsupported, reason }));
                let _ = socket.flush();
                return Err(CoatFault::TextFrame);
            }
            // A pong is written by the library.
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
            Ok(Message::Close(_)) => {
                let _ = socket.flush();
                return Err(CoatFault::Closed);
            }
            Err(Error::Io(_)) => {
                let _ = socket.flush();
                return Ok(());
            }
            Err(Error::ConnectionClosed | Error::AlreadyClosed) => return Err(CoatFault::Closed),
            Err(fault) => {
                let code = match fault {
                    Error::Capacity(_) => CloseCode::Size,
                    _ => CloseCode::Protocol,
                };
                let _ = socket.close(Some(CloseFrame { code, reason: Utf8Bytes::default() }));
                let _ = socket.flush();
                return Err(CoatFault::WebSocket(fault.to_string()));
            }
        }
    }
}

fn refused(fault: Error, reply: &mut Vec<u8>) -> CoatFault {
    let (status, text) = match &fault {
        Error::Http(response) => {
            let text =
                response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default().into_owned();
            (response.status(), text)
        }
        _ => (StatusCode::BAD_REQUEST, format!("not a WebSocket request: {fault}\n")),
    };
    let response = HttpResponse::builder()
        .status(status)
        .header("Connection", "close")
        .header("Content-Type", "text/plain")
        .header("Content-Length", text.len())
        .body(());
    // The parts are ours and valid; if they were not, the peer would get no answer, which is no worse.
    if let Ok(response) = response
        && write_response(&mut *reply, &response).is_ok()
    {
        reply.extend_from_slice(text.as_bytes());
    }
    match fault {
        Error::Http(_) => CoatFault::WebSocket(text.trim_end().to_owned()),
        fault => CoatFault::WebSocket(fault.to_string()),
    }
}

/// A client's end, for tests of whatever stands behind a WebSocket.
#[cfg(test)]
pub(crate) fn client() -> WebSocket<Pipe> {
    WebSocket::from_raw_socket(Pipe::default(), tungstenite::protocol::Role::Client, None)
}

#[cfg(test)]
mod tests {
    use tungstenite::Bytes;

    use super::*;

    fn request(path: &str, protocol: &str) -> Vec<u8> {
        let offer = if protocol.is_empty() {
            String::new()
        } else {
            format!("Sec-WebSocket-Protocol: {protocol}\r\n")
        };
        format!(
            "GET {path} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{offer}\r\n"
        )
        .into_bytes()
    }

    fn upgraded(bytes: &[u8]) -> (Result<(), CoatFault>, String, WebSocketCoat) {
        let mut coat = WebSocketCoat::new(&WebSocketTerms::default());
        let (mut plain, mut reply) = (Vec::new(), Vec::new());
        let outcome = coat.take_off(bytes, &mut plain, &mut reply);
        assert!(plain.is_empty());
        (outcome, String::from_utf8(reply).unwrap(), coat)
    }

    fn frames(messages: Vec<Message>) -> Vec<u8> {
        let mut socket = client();
        messages.into_iter().for_each(|message| socket.write(message).unwrap());
        socket.flush().unwrap();
        std::mem::take(&mut socket.get_mut().output)
    }

    #[test]
    fn an_upgrade_chooses_mqtt_and_gives_the_key_of_the_standard() {
        let (outcome, reply, _) = upgraded(&request("/mqtt", "foo, mqttv3.1, mqtt"));
        outcome.unwrap();
        let reply = reply.to_lowercase();
        assert!(reply.starts_with("http/1.1 101 "), "{reply}");
        assert!(reply.contains("sec-websocket-protocol: mqtt\r\n"), "{reply}");
        // Source: RFC 6455 section 1.3, whose example uses this key.
        assert!(reply.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{reply}");
    }

    #[test]
    fn another_path_another_subprotocol_and_plain_http_are_refused_in_words() {
        let (outcome, reply, _) = upgraded(&request("/other", "mqtt"));
        assert!(
            matches!(outcome, Err(CoatFault::WebSocket(_))) && reply.starts_with("HTTP/1.1 404 "),
            "{reply}"
        );
        let (outcome, reply, _) = upgraded(&request("/mqtt", "stomp"));
        assert!(outcome.is_err() && reply.starts_with("HTTP/1.1 400 "), "{reply}");
        let (outcome, reply, _) = upgraded(b"GET /mqtt HTTP/1.1\r\nHost: h\r\n\r\n");
        assert!(outcome.is_err() && reply.starts_with("HTTP/1.1 400 "), "{reply}");
        assert!(upgraded(&request("/mqtt", "")).0.is_ok());
    }

    #[test]
    fn a_frame_may_come_with_the_request() {
        let stream = [request("/mqtt", "mqtt"), frames(vec![Message::binary(&b"\xc0\x00"[..])])].concat();
        for piece_len in [1, stream.len() - 1, stream.len()] {
            let mut coat = WebSocketCoat::new(&WebSocketTerms::default());
            let (mut plain, mut reply) = (Vec::new(), Vec::new());
            for piece in stream.chunks(piece_len) {
                coat.take_off(piece, &mut plain, &mut reply).unwrap();
            }
            assert_eq!(plain, b"\xc0\x00", "{piece_len}");
        }
    }

    #[test]
    fn a_request_may_come_byte_by_byte_but_not_without_end() {
        let mut coat = WebSocketCoat::new(&WebSocketTerms::default());
        let (mut plain, mut reply) = (Vec::new(), Vec::new());
        for byte in request("/mqtt", "mqtt") {
            coat.take_off(&[byte], &mut plain, &mut reply).unwrap();
        }
        assert!(reply.starts_with(b"HTTP/1.1 101 "));
        let (outcome, reply, _) = upgraded(&[b'a'; REQUEST_BYTES_MAX + 1]);
        assert!(outcome.is_err() && reply.starts_with("HTTP/1.1 400 "));
    }

    #[test]
    fn packets_come_out_whole_however_frames_and_stream_are_cut() {
        let packet: Vec<u8> = (0..=255).cycle().take(700).collect();
        for cut in [1, 2, 7, 350, 699] {
            let (head, tail) = packet.split_at(cut);
            let stream = frames(vec![
                Message::Binary(Bytes::copy_from_slice(head)),
                Message::Ping(Bytes::from_static(b"p")),
                Message::Binary([tail, &packet].concat().into()),
            ]);
            for piece_len in [1, 3, 64, stream.len()] {
                let (_, _, mut coat) = upgraded(&request("/mqtt", "mqtt"));
                let (mut plain, mut reply) = (Vec::new(), Vec::new());
                for piece in stream.chunks(piece_len) {
                    coat.take_off(piece, &mut plain, &mut reply).unwrap();
                }
                assert_eq!(plain, [packet.as_slice(), &packet].concat());
                assert_eq!(reply, b"\x8a\x01p");
            }
        }
    }

    #[test]
    fn what_is_written_is_one_binary_frame() {
        let (_, _, mut coat) = upgraded(&request("/mqtt", "mqtt"));
        let mut raw = Vec::new();
        coat.put_on(b"\xd0\x00", &mut raw);
        assert_eq!(raw, b"\x82\x02\xd0\x00");
        coat.close(&mut raw);
        assert_eq!(raw[4..], *b"\x88\x02\x03\xe8");
    }

    #[test]
    fn text_unmasked_oversized_and_closed_end_with_the_right_code() {
        let outcome_of = |stream: &[u8]| {
            let terms = WebSocketTerms { frame_bytes_max: 1000, ..WebSocketTerms::default() };
            let mut coat = WebSocketCoat::new(&terms);
            let (mut plain, mut reply) = (Vec::new(), Vec::new());
            coat.take_off(&request("/mqtt", "mqtt"), &mut plain, &mut reply).unwrap();
            reply.clear();
            let outcome = coat.take_off(stream, &mut plain, &mut reply);
            (outcome.unwrap_err(), reply)
        };
        let (fault, reply) = outcome_of(&frames(vec![Message::text("x")]));
        assert_eq!((fault, &reply[2..4]), (CoatFault::TextFrame, &1003u16.to_be_bytes()[..]));
        let (fault, reply) = outcome_of(b"\x82\x02\xd0\x00");
        assert!(matches!(fault, CoatFault::WebSocket(_)));
        assert_eq!(reply[2..4], 1002u16.to_be_bytes());
        let (fault, reply) = outcome_of(b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0");
        assert!(matches!(fault, CoatFault::WebSocket(_)));
        assert_eq!(reply[2..4], 1009u16.to_be_bytes());
        let (fault, reply) = outcome_of(&frames(vec![Message::Close(None)]));
        assert_eq!((fault, &reply[..1]), (CoatFault::Closed, &b"\x88"[..]));
    }
}
