//! The steps from a mind that is made, or restored, to open doors.
//!
//! Why steps: sessions that were restored want messages before their clients are back, and which core wants what is known
//! only when all of them have told each other. Until then a message that came through one core could miss a session of
//! another.
//!
//! Invariants:
//! - A core counts itself settled when everything of its first turn has been handed over.
//! - It counts itself informed when it has taken in all that the others handed over until they had settled.
//! - Doors open when every core is informed and whoever started the cores has said so.

use flume::Sender;

use super::turn::Driver;
use crate::mind::Mind;

/// How far the start has come on one core.
pub(super) struct Opening {
    step: Step,
    informed: Sender<()>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Settling,
    Settled,
    Informed,
    Open,
}

impl Opening {
    /// At the beginning; `informed` is told when this core knows what all others want.
    pub(super) fn new(informed: Sender<()>) -> Self {
        Self { step: Step::Settling, informed }
    }
}

impl<M: Mind> Driver<M> {
    /// Whether the next turn can take a step of the start.
    pub(super) fn must_go_on_opening(&self) -> bool {
        match self.opening.step {
            Step::Settling => true,
            Step::Settled => self.control().all_settled(),
            Step::Informed => self.control().is_open(),
            Step::Open => false,
        }
    }

    /// Takes the step that the turn which now ends has made possible. `could` is what
    /// [`Driver::must_go_on_opening`] said before the turn took in its freight; `owes` is whether something for another
    /// core is still here.
    pub(super) fn go_on_opening(&mut self, could: bool, owes: bool) {
        match self.opening.step {
            Step::Settling if !owes => {
                self.opening.step = Step::Settled;
                if self.control().note_settled() {
                    self.mesh.sound_alarms();
                }
            }
            Step::Settled if could && !self.mesh.bell().has_mail() => {
                self.opening.step = Step::Informed;
                // Nobody listens any more only if another core has failed, and then this one is stopped too.
                let _ = self.opening.informed.send(());
            }
            Step::Informed if could => {
                self.opening.step = Step::Open;
                self.open_doors();
            }
            Step::Settling | Step::Settled | Step::Informed | Step::Open => {}
        }
    }
}
