//! The load engine: one event loop per thread, many MQTT clients in each.
//!
//! Why plain epoll and one big buffer: the generator must cost less per message than the broker it measures. Each turn
//! reads every readable socket once, counts by frame headers, and writes once per batch; nothing is allocated and
//! nobody is woken per message.
//!
//! Invariants:
//! - A client belongs to one thread for its whole life.
//! - Threads share only the `Board`: counters, window marks, and doorbells.

mod acts;
mod board;
mod connection;
mod crew;
mod dialer;
mod fleet;
mod idle;
mod plan;
mod publisher;
mod recorder;
mod replay;
mod run;
mod storm;
mod subscriber;
mod topology;
mod worker;

pub(crate) use acts::{can_be_offline, run_offline, run_retained};
pub(crate) use idle::run_idle;
pub(crate) use plan::{Ends, IdlePlan, Pace, Plan, Storm, Tidiness};
pub(crate) use replay::run_replay;
pub(crate) use run::run;
pub(crate) use storm::{ConnectPlan, run_connects};
pub(crate) use topology::{Cast, Shape, Topology};
