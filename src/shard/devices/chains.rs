//! Devices that nobody knows yet, and that show certificates which an authority of a profile has signed.
//!
//! Why at the CONNECT and not in the handshake: which authorities count stands in the registry, and a client that asks for
//! credentials in another way may show any certificate. Signatures are verified with the steps that handshakes have, so who
//! shows chains makes others wait who want to come in, and nobody who is in.
//!
//! Invariants:
//! - Nothing is made of a chain that was not verified just before, by this core.
//! - What is cheap comes first: no signature is looked at for a device that would not be let in anyway.
//! - A device that is there is changed on its home core, where its other connections end before the new one is let in.

use broker::{Level, NoticeKind};
use device::{
    ChainRefusal, Change, DeviceId, Fingerprint, Foreseen, HubCall, ShownChain, Welcome, fingerprint,
};
use mqtt::Connect;
use stdx::Instant;
use wire::{CHAIN_CERTIFICATES_MAX, TlsFacts, common_name};

use super::downlinks::Cause;
use crate::effects::ConnId;
use crate::shard::Shard;

/// Letters of a common name in a notice.
const NAME_LETTERS_SHOWN: usize = 64;

/// Certificates that a client showed, its own current and unknown.
struct Chain {
    facts: TlsFacts,
    own: Fingerprint,
}

/// What became of a chain.
enum Made {
    /// The device is known by the client's certificate now.
    Known,
    /// It is at home on another core, which goes on with it.
    AtHome(DeviceId),
    /// The registry has changed meanwhile.
    Again,
}

impl Shard {
    /// As [`Shard::welcome`], but whoever is refused with a certificate may be a device by who signed that. None if that is
    /// found out in another turn.
    pub(crate) fn welcome_or_make(
        &mut self,
        now: Instant,
        conn: ConnId,
        connect: &Connect<'_>,
    ) -> Option<Welcome> {
        let welcome = self.welcome(now, conn, connect);
        if !matches!(welcome, Welcome::Refused(_)) {
            return Some(welcome);
        }
        let Some(chain) = self.unknown_chain(now, conn) else { return Some(welcome) };
        if !self.take_step_or_wait(conn) {
            return None;
        }
        match self.make_of(now, conn, &chain) {
            Ok(None) => Some(welcome),
            Ok(Some(Made::Known)) => Some(self.welcome(now, conn, connect)),
            Ok(Some(Made::AtHome(device))) => Some(Welcome::Device(device)),
            Ok(Some(Made::Again)) => {
                self.wait_for_step(conn);
                None
            }
            Err(why) => {
                self.note_chain_refused(conn, &why);
                Some(welcome)
            }
        }
    }

    /// The chain of a client whose own certificate is current and unknown, where somebody may know who signed it.
    fn unknown_chain(&mut self, now: Instant, conn: ConnId) -> Option<Chain> {
        let wall = self.exchange.wall_at(now);
        let desk = self.devices.as_ref()?;
        let connection = self.connections.get_mut(conn)?;
        let dialect = self.settings.dialects.get(usize::from(connection.listener.0))?;
        let facts = connection.coating.as_ref().filter(|_| dialect.takes_chains())?.coats.tls_facts()?;
        let [own, _behind, ..] = &facts.client_certificates[..] else { return None };
        let own = fingerprint(own);
        let mut is_worth_it = false;
        desk.registry.read(&mut |registry| {
            is_worth_it = registry.takes_chains() && registry.log_in_with_certificate(&own).is_none();
        });
        (is_worth_it && facts.is_current(wall)).then_some(Chain { facts, own })
    }

    /// Makes a device of a chain, or gives it to the one that is there. None if no profile knows its authority.
    fn make_of(&mut self, now: Instant, conn: ConnId, chain: &Chain) -> Result<Option<Made>, String> {
        let certificates = &chain.facts.client_certificates;
        let behind = certificates.iter().take(CHAIN_CERTIFICATES_MAX).skip(1);
        let fingerprints: Vec<Fingerprint> =
            std::iter::once(chain.own).chain(behind.map(|der| fingerprint(der))).collect();
        let common_name = common_name(&certificates[0]).unwrap_or_default();
        let shown =
            ShownChain { leaf: &certificates[0], fingerprints: &fingerprints, common_name: &common_name };
        let mut foreseen = Err(ChainRefusal::AuthorityUnknown);
        self.desk().registry.read(&mut |registry| foreseen = registry.foresee(&shown));
        if foreseen == Err(ChainRefusal::AuthorityUnknown) {
            return Ok(None);
        }
        let named = |why: ChainRefusal| {
            let name: String = common_name.chars().take(NAME_LETTERS_SHOWN).collect();
            format!("of {name:?} makes no device: {}", why.text())
        };
        let foreseen = foreseen.map_err(named)?;
        if let Some(device) = foreseen.device.filter(|device| self.home_of(*device) != self.core) {
            return Ok(Some(Made::AtHome(device)));
        }
        self.verify(now, conn, chain, foreseen.authority)?;
        self.provision_by_chain(now, conn, &shown, foreseen).map(Some).map_err(named)
    }

    fn verify(&mut self, now: Instant, conn: ConnId, chain: &Chain, authority: usize) -> Result<(), String> {
        let wall = self.exchange.wall_at(now);
        let listener = self.connections.get_mut(conn).map(|connection| usize::from(connection.listener.0));
        let wardrobe = listener.and_then(|listener| self.wardrobes.get(listener));
        let wardrobe = wardrobe.ok_or_else(|| "has no listener any more".to_owned())?;
        self.exchange.counters_mut().chains_checked += 1;
        let verdict = wardrobe.verify_chain(&chain.facts.client_certificates[..=authority], wall);
        verdict.map_err(|fault| fault.to_string())
    }

    /// Does what was foreseen, unless it would be something else by now.
    fn provision_by_chain(
        &mut self,
        now: Instant,
        conn: ConnId,
        shown: &ShownChain<'_>,
        foreseen: Foreseen,
    ) -> Result<Made, ChainRefusal> {
        let now_ms = self.wall_ms(now);
        let mut chance = self.chance();
        let mut chained = Ok(None);
        let mut changed: Vec<Change> = Vec::new();
        self.desk().registry.change(&mut |registry, changes| {
            if registry.foresee(shown) == Ok(foreseen) {
                let before = changes.len();
                chained = registry.provision_by_chain(shown, now_ms, &mut chance, changes).map(Some);
                changed.extend_from_slice(&changes[before..]);
            }
        });
        let Some(chained) = chained? else { return Ok(Made::Again) };
        self.note_registered(&changed);
        if let Some(coating) = self.coating_mut(conn) {
            coating.rests_on_change |= !changed.is_empty();
        }
        self.tell_home_of_facts(now, changed);
        self.exchange.counters_mut().provisionings_granted += 1;
        if chained.was_replaced {
            self.end_earlier(now, chained.device);
        }
        Ok(Made::Known)
    }

    /// Ends all connections of a device that is at home here, as its credential is another one from now on.
    fn end_earlier(&mut self, now: Instant, device: DeviceId) {
        let now_ms = self.wall_ms(now);
        let mut out = self.outcome();
        let _done = self.desk().hub.call(device, HubCall::Evict, now_ms, &mut out);
        self.settle(now, out, Cause::Administrative);
        self.settle_ends(now);
    }

    fn note_chain_refused(&mut self, conn: ConnId, why: &str) {
        self.exchange.counters_mut().chains_refused += 1;
        self.exchange.counters_mut().provisionings_refused += 1;
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let text = format!("certificate chain from {} {why}", connection.peer);
        self.exchange.notice(Level::Info, NoticeKind::Refused, text);
    }
}
