//! What was published and by whom, what has come by which path, and the first thing that was not allowed.
//!
//! Invariants:
//! - A message is judged once, when its shard is handed its last byte; a will, when a will is sent.

use std::collections::{BTreeMap, BTreeSet};

use super::reference::Who;

/// How many messages came by each path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Paths {
    /// While publisher and receiver were there, on one core.
    pub live: usize,
    /// The same over two cores.
    pub crossing: usize,
    /// To a member of a group.
    pub shared: usize,
    /// With a subscription, from the past.
    pub retained: usize,
    /// After it had waited for its receiver to come back.
    pub queued: usize,
    /// For the second time.
    pub again: usize,
    /// As a will.
    pub wills: usize,
    /// Messages and wills that were not allowed.
    pub refused: usize,
}

/// One message.
#[derive(Clone, Debug)]
pub(super) struct Note {
    pub who: Who,
    pub topic: &'static str,
    pub is_will: bool,
    /// Whether it could be published when it was; nothing before.
    pub is_allowed: Option<bool>,
    /// The turn in which it was, and on which core.
    pub turn: u64,
    pub core: Option<usize>,
}

/// The record of a run.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub notes: Vec<Note>,
    pub paths: Paths,
    /// Wills that may still be sent, by message.
    pub wills: BTreeSet<usize>,
    /// Who has got which message.
    pub received: BTreeMap<usize, BTreeSet<usize>>,
    pub complaint: Option<String>,
}

impl Ledger {
    /// A new message.
    pub fn note(&mut self, who: Who, topic: &'static str, is_will: bool) -> usize {
        let note = Note { who, topic, is_will, is_allowed: None, turn: 0, core: None };
        self.notes.push(note);
        if is_will {
            self.wills.insert(self.notes.len() - 1);
        }
        self.notes.len() - 1
    }

    /// The message was handed to a core in a turn, and the rules of that turn say this about it.
    pub fn judge(&mut self, message: usize, is_allowed: bool, turn: u64, core: usize) {
        let note = &mut self.notes[message];
        (note.is_allowed, note.turn, note.core) = (Some(is_allowed), turn, Some(core));
        self.paths.refused += usize::from(!is_allowed);
    }

    /// Notes the first thing that is wrong.
    pub fn complain(&mut self, text: String) {
        self.complaint.get_or_insert(text);
    }
}
