//! How large the structs are that there are many of: one per client, subscription, message or delivery.
//!
//! Why a test: a field more in a session costs every device eight bytes, and nobody sees it in a diff.
//!
//! Invariants:
//! - A figure here is raised only together with a line in perf/LOG.md that says what the bytes are for.

use crate::change::MessageCopy;
use crate::link::Link;
use crate::message::{Message, StoredMessage};
use crate::route::{Subscriber, Target};
use crate::session::{Session, Subscription};
use crate::timers::Timer;
use crate::window::Window;

#[test]
fn what_there_is_much_of_is_small() {
    let sizes = [
        ("session", size_of::<Session>(), 120),
        ("link", size_of::<Link>(), 112),
        ("window", size_of::<Window>(), 96),
        ("timer", size_of::<Timer>(), 16),
        ("subscription of a session", size_of::<Subscription>(), 24),
        ("subscriber of a filter", size_of::<Subscriber>(), 12),
        ("target of a route", size_of::<Target>(), 40),
        ("copy of a message", size_of::<MessageCopy>(), 32),
        ("stored message", size_of::<StoredMessage>(), 48),
        ("message under way", size_of::<Message<'_>>(), 152),
    ];
    for (what, bytes, bytes_max) in sizes {
        assert!(bytes <= bytes_max, "a {what} has {bytes} bytes, more than {bytes_max}");
    }
}
