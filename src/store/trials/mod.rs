//! Tests of the store as a whole: random histories with crashes against a naive model, and real files that were harmed.
//!
//! Why here and not from outside: the crash points are calls of the engine, which nobody outside sees.
//!
//! Invariants:
//! - A failing seed names itself.

mod commands;
mod crashes;
mod devices;
mod fleet;
mod harm;
mod history;
mod model;
mod mutant;
mod rows;
