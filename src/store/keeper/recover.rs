//! Recovery: the records of an earlier process, as changes that bring a broker back.
//!
//! Why in this order: a session comes before what belongs to it, what was sent before what waits, and the retained
//! messages, which nobody waits for by name, at the end. Whoever takes the changes sees them one by one, so a store of any
//! size can be recovered with little memory.
//!
//! Invariants:
//! - Changes of one client: session, subscriptions, received ids, sent messages by place, queued messages by place, and at
//!   the end a summary of those that stay on disk.
//! - A record that cannot be read ends the recovery with a fault; none is skipped.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use broker::{Change, MessageCopy};
use mqtt::PacketId;

use crate::engine::{Engine, Visit};
use crate::fault::{Fault, FaultKind};
use crate::record::{
    Key, Record, cores_of, cost_of_message, judge, number_of, packet_id_of, range_of, seq_of,
};

use super::keep::Keeper;

/// Records between two reports of progress.
const REPORT_RECORDS: u64 = 16_384;

/// How many queued messages of each session are given back at once; the rest is only summed up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heads {
    /// Messages.
    pub messages_max: u64,
    /// What they cost in memory; one message is given back in any case.
    pub bytes_max: u64,
}

impl Heads {
    /// All of them.
    pub const ALL: Self = Self { messages_max: u64::MAX, bytes_max: u64::MAX };
}

/// How far recovery is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Records read.
    pub done: u64,
    /// About as many there are; too high if much was removed lately.
    pub about: u64,
}

/// What was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Recovered {
    /// Sessions.
    pub sessions: u64,
    /// Subscriptions of all sessions.
    pub subscriptions: u64,
    /// Messages sent and not settled.
    pub inflight: u64,
    /// Queued messages, of which `spilled` stay on disk for now.
    pub queued: u64,
    /// Queued messages that were only summed up.
    pub spilled: u64,
    /// Retained messages.
    pub retained: u64,
    /// Devices.
    pub devices: u64,
    /// Attributes, latest values, commands, claims and presences of devices.
    pub facts: u64,
    /// All records that were read.
    pub records: u64,
}

/// Where a recovery stands.
pub(super) struct Recovery<'a> {
    clients: HashMap<u64, Arc<str>>,
    /// Queued messages that are inflight, by session.
    sent: HashMap<u64, HashSet<u64>>,
    /// Sessions that have ended and left records.
    ended: BTreeSet<u64>,
    number_max: u64,
    counter_max: u64,
    pub(super) found: Recovered,
    about: u64,
    visit: &'a mut dyn FnMut(Change),
    progress: &'a mut dyn FnMut(Progress),
}

impl<E: Engine> Keeper<E> {
    /// Reads all records but those of history, and calls `visit` and `visit_devices` with changes that bring back what they
    /// say: of devices first the registry, then the rest, then sessions. To be called once, first of all.
    ///
    /// # Errors
    /// `Damaged` or `Io`.
    pub fn recover(
        &mut self,
        heads: Heads,
        visit: &mut dyn FnMut(Change),
        visit_devices: &mut dyn FnMut(device::Change),
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Recovered, Fault> {
        let mut recovery = Recovery {
            clients: HashMap::new(),
            sent: HashMap::new(),
            ended: BTreeSet::new(),
            number_max: 0,
            counter_max: 0,
            found: Recovered::default(),
            about: self.engine.records_about(),
            visit,
            progress,
        };
        self.recover_devices(&mut recovery, visit_devices)?;
        self.recover_plain(b'h', &mut recovery)?;
        self.recover_plain(b's', &mut recovery)?;
        self.recover_plain(b'u', &mut recovery)?;
        self.recover_plain(b'r', &mut recovery)?;
        self.recover_inflight(&mut recovery)?;
        self.recover_queues(heads, &mut recovery)?;
        self.recover_plain(b't', &mut recovery)?;
        self.next_number = recovery.number_max + 1;
        self.recent.note_recovered(recovery.counter_max);
        self.ended.extend(&recovery.ended);
        self.sessions = recovery.clients.into_iter().map(|(number, client_id)| (client_id, number)).collect();
        Ok(recovery.found)
    }

    fn scan_kind(&self, kind: u8, visit: &mut Visit<'_>) -> Result<(), Fault> {
        let range = range_of(kind);
        self.engine.scan(&range.start..&range.end, visit)
    }

    /// Records each of which is one change.
    fn recover_plain(&self, kind: u8, recovery: &mut Recovery<'_>) -> Result<(), Fault> {
        self.scan_kind(kind, &mut |key, value| {
            recovery.count();
            let record = judge(key, value, self.anchor).map_err(|garbled| named(key, garbled.into()))?;
            recovery.plain(key, record)?;
            Ok(ControlFlow::Continue(()))
        })
    }

    fn recover_inflight(&self, recovery: &mut Recovery<'_>) -> Result<(), Fault> {
        let mut group = Inflight::default();
        self.scan_kind(b'i', &mut |key, value| {
            recovery.count();
            let Some((number, _)) = recovery.owner(key)? else { return Ok(ControlFlow::Continue(())) };
            if group.number != number {
                self.give_inflight(&mut group, recovery)?;
                group.number = number;
            }
            let record =
                Record::decode(key, value, self.anchor).map_err(|garbled| named(key, garbled.into()))?;
            if let Record::Inflight { seq, is_released, copy } = record {
                group.sent.push(Sent { seq, packet_id: packet_id_of(key)?, is_released, copy });
            }
            Ok(ControlFlow::Continue(()))
        })?;
        self.give_inflight(&mut group, recovery)
    }

    /// Gives back what one session has sent, in the order of places.
    fn give_inflight(&self, group: &mut Inflight, recovery: &mut Recovery<'_>) -> Result<(), Fault> {
        let Some(client_id) = recovery.clients.get(&group.number).cloned() else { return Ok(()) };
        group.sent.sort_by_key(|sent| sent.seq);
        for Sent { seq, packet_id, is_released, copy } in group.sent.drain(..) {
            let copy = match copy {
                None if !is_released => {
                    recovery.sent.entry(group.number).or_default().insert(seq);
                    Some(self.read_message(group.number, seq)?)
                }
                known => known,
            };
            recovery.found.inflight += 1;
            recovery.give(Change::Sent { client_id: client_id.clone(), seq, packet_id, copy });
            if is_released {
                recovery.give(Change::Released { client_id: client_id.clone(), seq, packet_id });
            }
        }
        Ok(())
    }

    fn read_message(&self, number: u64, seq: u64) -> Result<MessageCopy, Fault> {
        let mut key = Vec::new();
        Key::Message(number, seq).encode(&mut key);
        let value = self.engine.read(&key)?;
        let missing = || named(&key, Fault::new(FaultKind::Damaged, "a message in flight is missing"));
        match Record::decode(&key, &value.ok_or_else(missing)?, self.anchor) {
            Ok(Record::Message(copy)) => Ok(copy),
            Ok(_other_kinds_have_other_keys) => Err(missing()),
            Err(garbled) => Err(named(&key, garbled.into())),
        }
    }

    fn recover_queues(&self, heads: Heads, recovery: &mut Recovery<'_>) -> Result<(), Fault> {
        let mut queue = Queue::default();
        self.scan_kind(b'm', &mut |key, value| {
            recovery.count();
            let Some((number, client_id)) = recovery.owner(key)? else {
                return Ok(ControlFlow::Continue(()));
            };
            let seq = seq_of(key)?;
            if recovery.sent.get(&number).is_some_and(|sent| sent.contains(&seq)) {
                return Ok(ControlFlow::Continue(()));
            }
            if queue.number != number {
                std::mem::replace(&mut queue, Queue::of(number)).finish(recovery);
            }
            recovery.found.queued += 1;
            let cost = cost_of_message(value).map_err(|garbled| named(key, garbled.into()))?;
            if queue.takes(heads, cost) {
                let record =
                    Record::decode(key, value, self.anchor).map_err(|garbled| named(key, garbled.into()))?;
                if let Record::Message(copy) = record {
                    recovery.give(Change::Queued { client_id, seq, copy });
                }
            } else {
                queue.spill(seq, cost);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        queue.finish(recovery);
        Ok(())
    }
}

impl Recovery<'_> {
    fn give(&mut self, change: Change) {
        (self.visit)(change);
    }

    pub(super) fn count(&mut self) {
        self.found.records += 1;
        if self.found.records.is_multiple_of(REPORT_RECORDS) {
            (self.progress)(Progress { done: self.found.records, about: self.about.max(self.found.records) });
        }
    }

    /// Number and client of a record; nothing if its session has ended.
    fn owner(&mut self, key: &[u8]) -> Result<Option<(u64, Arc<str>)>, Fault> {
        let missing = || named(key, Fault::new(FaultKind::Damaged, "a record belongs to nobody"));
        let number = number_of(key).ok_or_else(missing)?;
        self.number_max = self.number_max.max(number);
        match self.clients.get(&number) {
            Some(client_id) => Ok(Some((number, Arc::clone(client_id)))),
            None => {
                self.ended.insert(number);
                Ok(None)
            }
        }
    }

    fn plain(&mut self, key: &[u8], record: Record) -> Result<(), Fault> {
        match record {
            Record::Handled { turn } => {
                let (core, from) = cores_of(key)?;
                self.give(Change::Handled { core, from, turn });
            }
            Record::Session(session) => {
                let number = number_of(key).expect("a session's key was judged");
                self.number_max = self.number_max.max(number);
                self.clients.insert(number, session.client_id.clone());
                self.found.sessions += 1;
                self.give(Change::Session {
                    client_id: session.client_id,
                    expiry_s: session.expiry_s,
                    ends_at: session.ends_at,
                    is_connected: session.is_connected,
                    will: session.will,
                    owner: session.owner,
                });
            }
            Record::Subscription { filter, terms } => {
                if let Some((_, client_id)) = self.owner(key)? {
                    self.found.subscriptions += 1;
                    self.give(Change::Subscribed { client_id, filter, terms });
                }
            }
            Record::Received { shipped } => {
                if let Some((_, client_id)) = self.owner(key)? {
                    self.give(Change::Received { client_id, packet_id: packet_id_of(key)?, shipped });
                }
            }
            Record::Retained { message, version } => {
                self.counter_max = self.counter_max.max(version.counter);
                self.found.retained += 1;
                self.give(Change::Retained { message, version });
            }
            Record::Inflight { .. } | Record::Message(_) => {}
        }
        Ok(())
    }
}

/// What one session has sent.
#[derive(Default)]
struct Inflight {
    number: u64,
    sent: Vec<Sent>,
}

struct Sent {
    seq: u64,
    packet_id: PacketId,
    is_released: bool,
    copy: Option<MessageCopy>,
}

/// What waits for one session.
#[derive(Default)]
struct Queue {
    number: u64,
    given: u64,
    given_bytes: u64,
    spilled: u64,
    spilled_bytes: u64,
    first_seq: u64,
    last_seq: u64,
}

impl Queue {
    fn of(number: u64) -> Self {
        Self { number, ..Self::default() }
    }

    /// Whether one more is to be given back; counts it then.
    fn takes(&mut self, heads: Heads, cost: u64) -> bool {
        let has_room =
            self.given < heads.messages_max && self.given_bytes.saturating_add(cost) <= heads.bytes_max;
        // Behind the first that stays on disk, all do.
        if self.spilled > 0 || !(has_room || self.given == 0) {
            return false;
        }
        self.given += 1;
        self.given_bytes += cost;
        true
    }

    fn spill(&mut self, seq: u64, cost: u64) {
        if self.spilled == 0 {
            self.first_seq = seq;
        }
        self.last_seq = seq;
        self.spilled += 1;
        self.spilled_bytes += cost;
    }

    fn finish(self, recovery: &mut Recovery<'_>) {
        if self.spilled == 0 {
            return;
        }
        let Some(client_id) = recovery.clients.get(&self.number).cloned() else { return };
        recovery.found.spilled += self.spilled;
        recovery.give(Change::Spilled {
            client_id,
            first_seq: self.first_seq,
            last_seq: self.last_seq,
            messages: self.spilled,
            bytes: self.spilled_bytes,
        });
    }
}

/// The fault with the key at which it was found.
pub(super) fn named(key: &[u8], fault: Fault) -> Fault {
    Fault { what: format!("{} (record {})", fault.what, key.escape_ascii()), ..fault }
}
