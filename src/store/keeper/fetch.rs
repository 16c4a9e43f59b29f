//! Reads queued messages back: what the disk has, as what was accepted since would have it.
//!
//! Why both: a message may be wanted back before it was committed, and one on the disk may have been dropped since.
//!
//! Invariants:
//! - Messages come in the order of their places, none twice, at least one if there is one.

use std::ops::ControlFlow;

use broker::{Fetch, Fetched, MessageCopy};

use crate::engine::Engine;
use crate::fault::Fault;
use crate::record::{Key, Record, range_of_messages, seq_of};

use super::keep::Keeper;

impl<E: Engine> Keeper<E> {
    /// Reads messages back.
    ///
    /// # Errors
    /// `Damaged` or `Io`.
    pub fn fetch(&self, fetch: &Fetch) -> Result<Fetched, Fault> {
        let mut basket = Basket { fetch, messages: Vec::new(), bytes: 0 };
        if let Some(number) = self.sessions.get(&fetch.client_id) {
            self.fill(*number, &mut basket)?;
        }
        Ok(Fetched { client_id: fetch.client_id.clone(), serial: fetch.serial, messages: basket.messages })
    }

    fn fill(&self, number: u64, basket: &mut Basket<'_>) -> Result<(), Fault> {
        let from_seq = basket.fetch.from_seq;
        let mut newer =
            self.pending.range(Key::Message(number, from_seq)..=Key::Message(number, u64::MAX)).peekable();
        let range = range_of_messages(number, from_seq);
        let mut visit = |key: &[u8], value: &[u8]| {
            let seq = seq_of(key)?;
            // What is not on the disk yet and comes before this one.
            while let Some((key, record)) = newer.next_if(|(key, _)| **key < Key::Message(number, seq)) {
                basket.offer(key, record);
            }
            match newer.next_if(|(key, _)| **key == Key::Message(number, seq)) {
                Some((key, record)) => basket.offer(key, record),
                None if !basket.is_full() => match Record::decode(key, value, self.anchor)? {
                    Record::Message(copy) => basket.add(seq, copy),
                    _other_kinds_have_other_keys => {}
                },
                None => {}
            }
            Ok(if basket.is_full() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        };
        self.engine.scan(&range.start..&range.end, &mut visit)?;
        newer.for_each(|(key, record)| basket.offer(key, record));
        Ok(())
    }
}

struct Basket<'a> {
    fetch: &'a Fetch,
    messages: Vec<(u64, MessageCopy)>,
    bytes: usize,
}

impl Basket<'_> {
    fn is_full(&self) -> bool {
        let enough = stdx::widen(self.fetch.bytes_max);
        !self.messages.is_empty()
            && (self.messages.len() >= stdx::widen(self.fetch.messages_max) || self.bytes >= enough)
    }

    fn offer(&mut self, key: &Key, record: Option<&Record>) {
        if let (Key::Message(_, seq), Some(Record::Message(copy))) = (key, record)
            && !self.is_full()
        {
            self.add(*seq, copy.clone());
        }
    }

    fn add(&mut self, seq: u64, copy: MessageCopy) {
        self.bytes += copy.message.cost_bytes();
        self.messages.push((seq, copy));
    }
}
