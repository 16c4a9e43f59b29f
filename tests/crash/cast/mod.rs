//! The cast: clients that do one thing each, and write down what they were promised.
//!
//! Invariants:
//! - A client acts only when the stage (`world.rs`) calls it.

mod mayfly;
mod mortal;
mod observer;
mod publisher;
mod seat;
mod subscriber;

pub use mayfly::Mayfly;
pub use mortal::{Mortal, Mourner};
pub use observer::Observer;
pub use publisher::Publisher;
pub use seat::{Actor, Known, Moment, Phase, Seat, Want};
pub use subscriber::Subscriber;
