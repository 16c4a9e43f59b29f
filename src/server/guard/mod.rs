//! The guard at the doors: how many connections there may be, how fast they may come, and from where.
//!
//! Why beside the shards: these limits are about the whole broker, a listener or an address, whichever core a connection is
//! on. They are asked once per connection and once per failed login, so a lock costs nothing that anybody could measure.
//!
//! Invariants:
//! - Every connection that was let in is counted until it is taken back, once.
//! - Every table has a limit with a name, and what is evicted from it is what matters least.

mod address;
mod failures;
mod metrics;
mod rules;
mod turnstile;
mod watching;

pub(crate) use rules::Rules;
pub use turnstile::Guard;
pub use watching::Watching;
