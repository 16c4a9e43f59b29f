//! Opening the doorway at the start, and reading its files again later.
//!
//! Why a listener that cannot be read again keeps everything it had: half of an exchange (a new key beside an old
//! certificate, a list that is being written) is what a moment between two copies looks like.
//!
//! Invariants:
//! - The wardrobes stand in the order of the listeners in the configuration.
//! - Tickets that were given out are worth nothing any more when authorities or lists have changed: a resumed session shows
//!   no certificate again.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::ServerConfig;
use rustls::server::ProducesTickets;
use wire::{ProxyTerms, Wardrobe, WebSocketTerms};

use super::papers::{Mistake, Papers};
use super::session::{configure, tickets};
use crate::config::{Complaint, Config, Listener};
use crate::mesh::Inquiry;
use crate::reload::{Reload, Tiding};

/// Room for several packets in one WebSocket frame, as multiples of the largest.
const FRAME_PACKETS: usize = 2;
/// And at least so many bytes.
const FRAME_BYTES_MIN: usize = 128 << 10;

/// What is wrong with the files that a configuration names, or, if nothing is, what somebody should look at.
///
/// # Errors
/// Everything that would stop the start.
pub fn inspect(config: &Config) -> Result<Vec<Complaint>, Vec<Complaint>> {
    Doorway::open(config).map(|(_, remarks)| remarks)
}

/// What connections of all listeners wear, and how it was made.
pub(crate) struct Doorway {
    doors: Vec<Door>,
}

struct Door {
    listener: Listener,
    wardrobe: Wardrobe,
    /// None without TLS.
    safe: Option<Safe>,
}

/// What a wardrobe with TLS was made from.
struct Safe {
    papers: Papers,
    tickets: Arc<dyn ProducesTickets>,
}

/// What a listener was read as.
struct Reading {
    safe: Safe,
    session: Arc<ServerConfig>,
    remarks: Vec<Complaint>,
}

impl Doorway {
    /// Reads everything that the listeners name; also returns what somebody should look at.
    pub(crate) fn open(config: &Config) -> Result<(Self, Vec<Complaint>), Vec<Complaint>> {
        let (mut doors, mut remarks, mut complaints) = (Vec::new(), Vec::new(), Vec::new());
        for listener in &config.listener {
            match Door::open(listener, config) {
                Ok((door, more)) => {
                    doors.push(door);
                    remarks.extend(more);
                }
                Err(more) => complaints.extend(more),
            }
        }
        if complaints.is_empty() { Ok((Self { doors }, remarks)) } else { Err(complaints) }
    }

    /// What connections wear, by listener.
    pub(crate) fn wardrobes(&self) -> Arc<[Wardrobe]> {
        self.doors.iter().map(|door| door.wardrobe.clone()).collect()
    }

    /// Reads everything again.
    pub(super) fn reread(&mut self) -> Vec<Tiding> {
        self.doors.iter_mut().flat_map(Door::reread).collect()
    }
}

impl Door {
    fn open(listener: &Listener, config: &Config) -> Result<(Self, Vec<Complaint>), Vec<Complaint>> {
        let packet_bytes_max = usize::try_from(config.limits.packet_bytes_max).unwrap_or(usize::MAX);
        let frame_bytes_max = packet_bytes_max.saturating_mul(FRAME_PACKETS).max(FRAME_BYTES_MIN);
        let websocket = || WebSocketTerms { path: listener.websocket_path.clone(), frame_bytes_max };
        let proxy = listener.proxy_protocol_from.as_ref().map(|from| ProxyTerms { trusted: from.0.clone() });
        let websocket = listener.protocol.has_websocket().then(websocket);
        let mut door = Self {
            listener: listener.clone(),
            wardrobe: Wardrobe { proxy, tls: None, websocket },
            safe: None,
        };
        if !listener.protocol.has_tls() {
            return Ok((door, Vec::new()));
        }
        let papers = Papers::read(&listener.tls).map_err(|mistakes| placed(listener, mistakes))?;
        let Reading { safe, session, remarks } = read(listener, papers, None)?;
        (door.wardrobe.tls, door.safe) = (Some(session), Some(safe));
        Ok((door, remarks))
    }

    fn reread(&mut self) -> Vec<Tiding> {
        let Some(safe) = &self.safe else { return Vec::new() };
        let name = format!("{} {}", self.listener.protocol.name(), self.listener.bind);
        let kept = |complaints: Vec<Complaint>| -> Vec<Tiding> {
            complaints.iter().map(|complaint| Tiding::Kept(format!("{name}: {complaint}"))).collect()
        };
        let papers = match Papers::read(&self.listener.tls) {
            Ok(papers) if papers == safe.papers => {
                return vec![Tiding::Fresh(format!("{name}: nothing has changed"))];
            }
            Ok(papers) => papers,
            Err(mistakes) => return kept(placed(&self.listener, mistakes)),
        };
        match read(&self.listener, papers, Some(safe)) {
            Err(complaints) => kept(complaints),
            Ok(Reading { safe, session, remarks }) => {
                (self.wardrobe.tls, self.safe) = (Some(session), Some(safe));
                let fresh = Tiding::Fresh(format!("{name}: what has changed holds for new connections"));
                let doubts = remarks.iter().map(|remark| Tiding::Doubtful(format!("{name}: {remark}")));
                std::iter::once(fresh).chain(doubts).collect()
            }
        }
    }
}

fn read(listener: &Listener, papers: Papers, before: Option<&Safe>) -> Result<Reading, Vec<Complaint>> {
    let same_trust =
        |safe: &&Safe| safe.papers.authorities == papers.authorities && safe.papers.revoked == papers.revoked;
    let tickets = match before.filter(same_trust) {
        Some(safe) => Arc::clone(&safe.tickets),
        None => tickets().map_err(|mistake| placed(listener, vec![mistake]))?,
    };
    let session = configure(listener, &papers, Arc::clone(&tickets));
    let session = session.map_err(|mistakes| placed(listener, mistakes))?;
    let remarks = placed(listener, papers.remarks(&listener.tls, now_s()));
    Ok(Reading { safe: Safe { papers, tickets }, session: Arc::new(session), remarks })
}

fn placed(listener: &Listener, mistakes: Vec<Mistake>) -> Vec<Complaint> {
    let place = |mistake: Mistake| listener.place_of(mistake.key).complain(mistake.text);
    mistakes.into_iter().map(place).collect()
}

fn now_s() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX)
}

/// The doorway of a running broker.
pub(crate) struct Rereading {
    /// What it is now.
    pub(crate) doorway: Doorway,
    /// The cores that must know it.
    pub(crate) inquiry: Inquiry,
}

impl Reload for Rereading {
    fn reload(&mut self) -> Vec<Tiding> {
        let mut tidings = self.doorway.reread();
        if tidings.is_empty() {
            return tidings;
        }
        // Also if nothing has changed: a core that did not answer last time may do so now.
        let silent = self.inquiry.give_wardrobes(&self.doorway.wardrobes());
        tidings.extend(silent.into_iter().map(|core| {
            Tiding::Doubtful(format!("core {core} is busy and has not answered; read again to make sure"))
        }));
        tidings
    }
}
