//! The gate: what must be safe on disk before bytes may leave.
//!
//! Why marks in the out buffer: an acknowledgement is written when its turn comes, like any other packet, so order is
//! never a question; it only leaves later. A link without marks costs nothing.
//!
//! Invariants:
//! - Bytes behind a mark leave when the mark's turn is safe: no turn of this core up to it is unsynced, and no question to
//!   another core up to it is open.
//! - Turns of marks rise along a link, and along `marked`.
//! - Another core is answered once for each turn that it asked about. The answer waits for what was written because of
//!   the question, and for nothing else.

use std::collections::{BTreeMap, VecDeque};

use crate::change::Change;
use crate::core_id::{CoreId, CoreSet};
use crate::link::{Link, LinkId};
use crate::session::SessionKey;

/// What a change costs the store besides its message, roughly.
const CHANGE_BYTES: usize = 64;

#[derive(Debug)]
pub(crate) struct Gate {
    /// The present turn.
    turn: u64,
    /// Everything up to this turn is safe.
    safe: u64,
    unsynced: VecDeque<Unsynced>,
    unsynced_bytes: usize,
    /// The last turn with which a sync was asked for at once.
    urged: u64,
    /// Whether something waits for the sync of the present turn.
    is_urgent: bool,
    /// Parcels of this turn whose keeping somebody waits for.
    asking: usize,
    /// To whom they go.
    asked: CoreSet,
    /// To whom the message at hand went, if its publisher waits.
    shipped: ShippedTo,
    /// Turns about which other cores have not answered, and how many of them.
    open: BTreeMap<u64, u32>,
    /// Links that wait for a turn.
    marked: VecDeque<(u64, SessionKey, LinkId)>,
    /// What other cores are owed.
    answers: Vec<Answer>,
    due: Vec<(CoreId, u64)>,
}

/// To which cores one message went.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ShippedTo {
    pub subscribers: CoreSet,
    pub groups: CoreSet,
}

impl ShippedTo {
    /// All of them.
    pub fn all(self) -> CoreSet {
        let mut all = self.subscribers;
        all.merge(self.groups);
        all
    }
}

/// A turn that was handed over and is not synced.
#[derive(Debug)]
struct Unsynced {
    turn: u64,
    bytes: usize,
}

/// An answer to another core.
#[derive(Debug)]
struct Answer {
    to: CoreId,
    /// The turn that it asked about.
    asked: u64,
    /// The turn of this core in which it was handled.
    turn: u64,
    /// Whether that turn wrote something for it that is not synced.
    waits_for_sync: bool,
    /// Cores to which a message for a group was handed on, and that have not answered.
    waits_for: CoreSet,
}

impl Gate {
    /// A gate whose first turn is the one behind `turn`.
    pub fn new(turn: u64) -> Self {
        Self {
            turn: turn + 1,
            safe: turn,
            unsynced: VecDeque::new(),
            unsynced_bytes: 0,
            urged: turn,
            is_urgent: false,
            asking: 0,
            asked: CoreSet::default(),
            shipped: ShippedTo::default(),
            open: BTreeMap::new(),
            marked: VecDeque::new(),
            answers: Vec::new(),
            due: Vec::new(),
        }
    }

    /// The present turn.
    pub fn turn(&self) -> u64 {
        self.turn
    }

    /// Everything up to this turn is safe.
    pub fn safe(&self) -> u64 {
        self.safe
    }

    /// Parcels of this turn whose keeping somebody waits for.
    #[inline]
    pub fn asking(&self) -> usize {
        self.asking
    }

    /// Bytes handed over and not synced.
    pub fn unsynced_bytes(&self) -> usize {
        self.unsynced_bytes
    }

    /// Turns go on behind `turn`, which an earlier process has used. Before anything happens.
    pub fn go_on_behind(&mut self, turn: u64) {
        debug_assert!(self.unsynced.is_empty() && self.open.is_empty());
        if turn >= self.turn {
            *self = Self::new(turn);
        }
    }

    /// What is written into the link from here on leaves only when the present turn is safe.
    #[inline]
    pub fn mark(&mut self, key: SessionKey, link: &mut Link) {
        let offset = link.out.len();
        self.mark_from(key, link, offset);
    }

    /// All that stands in the link so far, CONNACK, leaves only then.
    pub fn mark_connack(&mut self, key: SessionKey, link: &mut Link) {
        self.mark_from(key, link, 0);
        if let Some(marks) = &mut link.marks {
            marks.greeted = self.turn;
        }
    }

    fn mark_from(&mut self, key: SessionKey, link: &mut Link, offset: usize) {
        if link.is_gated && link.marks.get_or_insert_default().push(offset, self.turn) {
            self.marked.push_back((self.turn, key, link.id));
            self.is_urgent = true;
        }
    }

    /// Somebody waits for the sync of the present turn.
    pub fn urge(&mut self) {
        self.is_urgent = true;
    }

    /// Whether a new connection should be told nothing before the store has caught up: something is not synced.
    pub fn is_behind(&self) -> bool {
        !self.unsynced.is_empty()
    }

    /// A message whose publisher waits goes to another core, to its subscribers or to a member of a group.
    pub fn ask(&mut self, core: CoreId, is_for_group: bool) {
        self.asking += 1;
        self.asked.insert(core);
        let shipped = if is_for_group { &mut self.shipped.groups } else { &mut self.shipped.subscribers };
        shipped.insert(core);
    }

    /// To whom the message at hand went, since the last call.
    pub fn take_shipped(&mut self) -> ShippedTo {
        std::mem::take(&mut self.shipped)
    }

    /// Another core asks whether what its turn sent is kept; `has_written` says whether anything was written for it, and
    /// `handed_on` to whom parts of it went on.
    pub fn asked_by(&mut self, core: CoreId, asked: u64, has_written: bool, handed_on: CoreSet) {
        self.is_urgent |= has_written;
        self.answers.push(Answer {
            to: core,
            asked,
            turn: self.turn,
            waits_for_sync: has_written,
            waits_for: handed_on,
        });
        self.settle_answers();
    }

    /// Another core has kept what `turn` sent to it.
    pub fn kept_by(&mut self, core: CoreId, turn: u64) {
        if let Some(open) = self.open.get_mut(&turn) {
            *open -= 1;
            if *open == 0 {
                self.open.remove(&turn);
            }
        }
        let waiting = self.answers.iter_mut().filter(|answer| answer.turn == turn);
        waiting.for_each(|answer| answer.waits_for.remove(core));
        self.settle_answers();
    }

    /// Everything written up to `turn` is synced.
    pub fn durable(&mut self, turn: u64) {
        while self.unsynced.front().is_some_and(|unsynced| unsynced.turn <= turn) {
            let unsynced = self.unsynced.pop_front().expect("looked at one line above");
            self.unsynced_bytes -= unsynced.bytes;
        }
        let waiting = self.answers.iter_mut().filter(|answer| answer.turn <= turn);
        waiting.for_each(|answer| answer.waits_for_sync = false);
        self.settle_answers();
    }

    fn settle_answers(&mut self) {
        let due = &mut self.due;
        self.answers.retain(|answer| {
            let is_due = !answer.waits_for_sync && answer.waits_for.is_empty();
            if is_due {
                due.push((answer.to, answer.asked));
            }
            !is_due
        });
    }

    /// Whose questions can be answered now: the core and the turn that it asked about.
    pub fn take_due(&mut self) -> Vec<(CoreId, u64)> {
        std::mem::take(&mut self.due)
    }

    /// The cores that must be asked about the present turn; they count as asked.
    pub fn take_asked(&mut self) -> CoreSet {
        self.asking = 0;
        let asked = std::mem::take(&mut self.asked);
        let count = stdx::narrow(asked.iter().count());
        if count > 0 {
            self.open.insert(self.turn, count);
        }
        asked
    }

    /// Closes the turn with what it wrote. Returns its number and whether it is urgent, if the store must hear of it.
    /// `beside` is what was written down beside that, in bytes.
    pub fn end_turn(&mut self, changes: &[Change], beside: Option<usize>) -> Option<(u64, bool)> {
        let turn = self.turn;
        let is_urgent = std::mem::take(&mut self.is_urgent);
        // A sync may also be wanted for turns before this one that nobody waited for until now.
        let has_unurged = self.unsynced.back().is_some_and(|unsynced| unsynced.turn > self.urged);
        let is_told = !changes.is_empty() || beside.is_some() || (is_urgent && has_unurged);
        if is_told {
            let bytes = changes.iter().map(cost_bytes).sum::<usize>() + beside.unwrap_or(0);
            self.unsynced_bytes += bytes;
            self.unsynced.push_back(Unsynced { turn, bytes });
            if is_urgent {
                self.urged = turn;
            }
        }
        self.turn += 1;
        let synced = self.unsynced.front().map_or(turn, |unsynced| unsynced.turn - 1);
        let answered = self.open.keys().next().map_or(turn, |open| open - 1);
        self.safe = synced.min(answered);
        is_told.then_some((turn, is_urgent))
    }

    /// The next link whose turn has become safe; each mark once.
    pub fn next_opened(&mut self) -> Option<(SessionKey, LinkId)> {
        let (_, key, link) = *self.marked.front().filter(|(turn, _, _)| *turn <= self.safe)?;
        self.marked.pop_front();
        Some((key, link))
    }
}

fn cost_bytes(change: &Change) -> usize {
    let message = match change {
        Change::Queued { copy, .. } | Change::Sent { copy: Some(copy), .. } => copy.message.cost_bytes(),
        Change::Retained { message, .. } => message.cost_bytes(),
        Change::Session { will: Some(will), .. } => will.message.cost_bytes(),
        _others_carry_no_message => 0,
    };
    CHANGE_BYTES + message
}

/// Where in an out buffer bytes begin that must wait. Empty for most links at most times.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// Offset and turn, both rising.
    marks: VecDeque<(usize, u64)>,
    /// The turn that CONNACK, which stands at offset 0 of the first bytes, waits for; 0 if it waits for none.
    greeted: u64,
}

impl Marks {
    /// Adds a mark; false if the last one serves as well.
    #[inline]
    pub fn push(&mut self, offset: usize, turn: u64) -> bool {
        if self.marks.back().is_some_and(|(_, last)| *last == turn) {
            return false;
        }
        self.marks.push_back((offset, turn));
        true
    }

    /// The turn that CONNACK waits for.
    pub fn greeted(&self) -> u64 {
        self.greeted
    }

    /// How many bytes in front may leave; `None` for all. Forgets the marks that are open.
    #[inline]
    pub fn open(&mut self, safe: u64) -> Option<usize> {
        while self.marks.front().is_some_and(|(_, turn)| *turn <= safe) {
            self.marks.pop_front();
        }
        self.marks.front().map(|(offset, _)| *offset)
    }

    /// So many bytes left in front.
    pub fn shift(&mut self, count: usize) {
        self.marks.iter_mut().for_each(|(offset, _)| *offset -= count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retained() -> Change {
        let version = crate::retained::RetainedVersion { counter: 1, core: 0 };
        Change::RetainedCleared { topic: "t".into(), version }
    }

    #[test]
    fn a_turn_is_safe_when_it_and_all_before_it_are_synced_and_answered() {
        let mut gate = Gate::new(0);
        assert_eq!(gate.end_turn(&[], None), None);
        assert_eq!(gate.safe(), 1);
        assert_eq!(gate.end_turn(&[retained()], None), Some((2, false)));
        gate.ask(CoreId::new(1), false);
        assert_eq!(gate.take_asked().iter().count(), 1);
        assert_eq!(gate.end_turn(&[], None), None);
        assert_eq!(gate.safe(), 1);
        gate.durable(2);
        gate.end_turn(&[], None);
        assert_eq!(gate.safe(), 2, "the question of turn 3 is open");
        gate.kept_by(CoreId::new(1), 3);
        gate.end_turn(&[], None);
        assert_eq!((gate.safe(), gate.unsynced_bytes()), (5, 0));
    }

    #[test]
    fn an_answer_waits_for_its_own_turn_and_for_what_was_handed_on_and_for_no_other_question() {
        let mut gate = Gate::new(0);
        let (c, e) = (CoreId::new(1), CoreId::new(2));
        let mut handed_on = CoreSet::default();
        handed_on.insert(e);
        gate.ask(e, true);
        gate.asked_by(c, 70, false, CoreSet::default());
        assert_eq!(gate.take_due(), [(c, 70)]);
        gate.asked_by(c, 71, true, CoreSet::default());
        gate.asked_by(c, 72, true, handed_on);
        gate.take_asked();
        assert_eq!(gate.end_turn(&[retained()], None), Some((1, true)));
        assert_eq!(gate.take_due(), []);
        gate.durable(1);
        assert_eq!(gate.take_due(), [(c, 71)]);
        gate.kept_by(e, 1);
        assert_eq!(gate.take_due(), [(c, 72)]);
    }

    #[test]
    fn a_sync_is_asked_for_late_if_somebody_waits_only_now() {
        let mut gate = Gate::new(0);
        assert_eq!(gate.end_turn(&[retained()], None), Some((1, false)));
        gate.is_urgent = true;
        assert_eq!(gate.end_turn(&[], None), Some((2, true)));
        gate.is_urgent = true;
        assert_eq!(gate.end_turn(&[], None), None, "it has been asked for already");
    }

    #[test]
    fn bytes_up_to_the_first_closed_mark_may_leave() {
        let mut marks = Marks::default();
        assert!(marks.push(3, 5) && !marks.push(9, 5) && marks.push(12, 6));
        assert_eq!(marks.open(4), Some(3));
        marks.shift(3);
        assert_eq!(marks.open(5), Some(9));
        assert_eq!(marks.open(6), None);
        assert_eq!(marks.open(0), None);
    }
}
