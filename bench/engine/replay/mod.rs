//! Plays a scenario file against a broker and keeps the books of it.
//!
//! Why an engine beside the other one: here clients come and go and change their minds, so what each of them should
//! receive differs from moment to moment. It runs on one thread: scenarios are about behaviour, not about millions.
//!
//! Invariants:
//! - A message is expected from a subscriber only where the standard leaves the broker no choice.

mod books;
mod client;
mod player;
mod show;

pub(crate) use show::run_replay;
