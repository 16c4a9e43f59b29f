//! The load engine: one event loop per thread, many MQTT clients in each.
//!
//! Why plain epoll and one big buffer: the generator must cost less per message than the broker it measures. Each turn
//! reads every readable socket once, counts by frame headers, and writes once per batch; nothing is allocated and
//! nobody is woken per message.
//!
//! Invariants:
//! - A client belongs to one thread for its whole life.
//! - Threads share only the `Board`: counters, window marks, and doorbells.

mod board;
mod connection;
mod crew;
mod dialer;
mod fleet;
mod idle;
mod plan;
mod publisher;
mod run;
mod subscriber;
mod topology;
mod worker;

pub(crate) use idle::run_idle;
pub(crate) use plan::{Ends, IdlePlan, Pace, Plan};
pub(crate) use run::run;
pub(crate) use topology::{Shape, Topology};
