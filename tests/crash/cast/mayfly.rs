//! A client whose session lives for seconds: it comes back in time, or too late, and Session Present must know which.
//!
//! Why bounds and not a moment: the broker begins to count when it notices that the client left, which for one that fell
//! in between is when it is up again.
//!
//! Invariants:
//! - Between the bounds either answer is right.

use super::seat::{Actor, Known, Moment, Phase, Seat, Want};
use crate::book::{Book, Rule};
use crate::wire::{Answer, Version};

/// How long its session lasts.
const EXPIRY_S: u32 = 2;
/// What timers and a busy machine may add.
const GRACE_MS: u64 = 2000;

/// A client with a session of seconds.
#[derive(Debug)]
pub struct Mayfly {
    seat: Seat,
    /// When it left.
    left_ms: u64,
    /// When it comes back.
    back_ms: u64,
    /// When it leaves.
    leaves_ms: u64,
}

impl Mayfly {
    /// A mayfly; 5.0 only, as 3.1.1 has no expiry.
    #[must_use]
    pub fn new(client_id: String) -> Self {
        Self { seat: Seat::new(client_id, Version::V5), left_ms: 0, back_ms: 0, leaves_ms: 0 }
    }
}

impl Actor for Mayfly {
    fn seat(&mut self) -> &mut Seat {
        &mut self.seat
    }

    fn want(&mut self, moment: &mut Moment, _: &mut Book) -> Want {
        if moment.now_ms < self.back_ms {
            return Want::Away;
        }
        let life_ms = u64::from(EXPIRY_S) * 1000;
        let counted_from = self.left_ms.max(moment.ready_ms);
        let is_alive = moment.now_ms + GRACE_MS / 4 < self.left_ms + life_ms;
        self.seat.known = match self.seat.known {
            Known::Surely if moment.now_ms > counted_from + life_ms + GRACE_MS => Known::Nothing,
            Known::Surely if is_alive => Known::Surely,
            Known::Surely | Known::Maybe => Known::Maybe,
            Known::Nothing => Known::Nothing,
        };
        let mut terms = self.seat.resume();
        terms.expiry_s = EXPIRY_S;
        Want::Here(terms)
    }

    fn welcome(&mut self, is_present: bool, _: &mut Vec<u8>, book: &mut Book, moment: &mut Moment) {
        if !is_present && self.seat.known == Known::Nothing && self.left_ms > 0 {
            book.sums.ended += 1;
        }
        self.seat.known = Known::Surely;
        self.leaves_ms = moment.now_ms + moment.dice.below(800);
    }

    fn hear(&mut self, answer: &Answer<'_>, _: &mut Vec<u8>, book: &mut Book, _: &mut Moment) {
        book.accuse(Rule::Protocol, format!("{}: {answer:?}", self.seat.client_id));
    }

    fn act(&mut self, _: &mut Vec<u8>, _: &mut Book, moment: &mut Moment) {
        if moment.phase == Phase::Load && moment.now_ms >= self.leaves_ms {
            self.seat.is_cut = true;
        }
    }

    fn lose(&mut self, moment: &mut Moment, _: &mut Book) {
        if self.seat.is_online {
            self.left_ms = moment.now_ms;
        } else if self.seat.known == Known::Surely {
            // The CONNECT may have given the session a new life, or not.
            self.seat.known = Known::Maybe;
        }
        self.back_ms = moment.now_ms + moment.dice.below(9000);
    }

    fn is_done(&self, _: &Book) -> bool {
        true
    }

    fn write_off(&mut self, _: &mut Book) {}
}
