//! The layers of one connection, and what a client keeps from one visit to the next.
//!
//! Why plaintext is written into the buffer that the records stand in: a second buffer would cost the generator a copy of
//! everything it receives. Records are read some way behind the place where their plaintext goes.
//!
//! Invariants:
//! - What leaves is appended to one buffer, in the order in which it was written or asked for.

use std::ops::Range;
use std::sync::Arc;

use rustls::ClientConfig;

use super::fault::LayerFault;
use super::terms::Transport;
use super::tls::{Handshake, TlsLayer};
use super::websocket::WebSocketLayer;

/// How far behind the place of their plaintext records must stand: the longest one, of which all but the end may have
/// been read before. Source: RFC 8446 section 5.2, RFC 5246 section 6.2.3.
pub(crate) const ROOM_BYTES: usize = 32 * 1_024;

/// What one client uses for all its visits: its TLS tickets.
#[derive(Debug, Default)]
pub(crate) struct Wardrobe {
    tls: Option<Arc<ClientConfig>>,
}

/// What is wrapped around the MQTT of one connection.
#[derive(Debug)]
pub(crate) struct Layers {
    tls: Option<TlsLayer>,
    websocket: Option<WebSocketLayer>,
    /// The request for a WebSocket, until TLS is there.
    request: Vec<u8>,
    framed: Vec<u8>,
    sealed: Vec<u8>,
}

impl Layers {
    /// Layers for a new connection, whose first bytes are ready; `None` for plain TCP.
    pub(crate) fn begin(
        transport: &Transport,
        wardrobe: &mut Wardrobe,
    ) -> Result<Option<Box<Self>>, LayerFault> {
        if transport.is_plain() {
            return Ok(None);
        }
        let mut layers = Self { tls: None, websocket: None, request: vec![], framed: vec![], sealed: vec![] };
        if let Some(terms) = &transport.tls {
            let config = wardrobe.tls.get_or_insert_with(|| terms.of_one_client());
            let config = Arc::clone(config);
            layers.tls = Some(TlsLayer::begin(config, terms.server.clone(), &mut layers.sealed)?);
        }
        if let Some(uri) = &transport.websocket {
            layers.websocket = Some(WebSocketLayer::begin(uri, &mut layers.request)?);
        }
        layers.ask();
        Ok(Some(Box::new(layers)))
    }

    /// Whether MQTT may be written.
    pub(crate) fn is_open(&self) -> bool {
        self.tls.as_ref().is_none_or(TlsLayer::is_open)
            && self.websocket.as_ref().is_none_or(WebSocketLayer::is_open)
    }

    /// How the TLS handshake ended; `None` without one, or before its end.
    pub(crate) fn handshake(&self) -> Option<Handshake> {
        self.tls.as_ref().filter(|tls| tls.is_open()).and_then(TlsLayer::handshake)
    }

    /// Why the broker has ended the stream, if a layer was told.
    pub(crate) fn closing(&self) -> Option<&LayerFault> {
        self.websocket.as_ref().and_then(WebSocketLayer::closing)
    }

    /// Takes the layers off `buffer[raw]`, which stands at least [`ROOM_BYTES`] behind `start`, and writes the MQTT in it
    /// to `buffer[start..]`; returns its end.
    pub(crate) fn take_off(
        &mut self,
        buffer: &mut [u8],
        start: usize,
        raw: Range<usize>,
    ) -> Result<usize, LayerFault> {
        let raw = match &mut self.tls {
            None => raw,
            Some(tls) => start..tls.take_off(buffer, start, raw, &mut self.sealed)?,
        };
        self.ask();
        let Some(websocket) = &mut self.websocket else { return Ok(raw.end) };
        let mut reply = vec![];
        let outcome = websocket.take_off(buffer, start, raw, &mut reply);
        self.seal(&reply);
        outcome
    }

    /// Appends MQTT to what leaves.
    pub(crate) fn put_on(&mut self, plain: &[u8]) {
        let Some(websocket) = &mut self.websocket else { return self.seal(plain) };
        let mut framed = std::mem::take(&mut self.framed);
        match &mut self.tls {
            None => websocket.put_on(plain, &mut self.sealed),
            Some(tls) => {
                websocket.put_on(plain, &mut framed);
                tls.put_on(&framed, &mut self.sealed);
                framed.clear();
            }
        }
        self.framed = framed;
    }

    /// What waits for the socket.
    pub(crate) fn sealed(&self) -> &[u8] {
        &self.sealed
    }

    /// The socket has taken so many bytes.
    pub(crate) fn consume(&mut self, count: usize) {
        if count == self.sealed.len() {
            self.sealed.clear();
        } else {
            self.sealed.drain(..count);
        }
    }

    /// Gives back the memory of the handshake.
    pub(crate) fn shed(&mut self) {
        if self.sealed.is_empty() {
            self.sealed = vec![];
        }
        self.framed = vec![];
    }

    /// Asks for the WebSocket as soon as nothing stands before it.
    fn ask(&mut self) {
        if self.request.is_empty() || self.tls.as_ref().is_some_and(|tls| !tls.is_open()) {
            return;
        }
        let request = std::mem::take(&mut self.request);
        self.seal(&request);
    }

    fn seal(&mut self, bytes: &[u8]) {
        match &mut self.tls {
            _ if bytes.is_empty() => {}
            None => self.sealed.extend_from_slice(bytes),
            Some(tls) => tls.put_on(bytes, &mut self.sealed),
        }
    }
}
