//! How large a connection is: every client has one, connected and silent or not.
//!
//! Why a test: a field more costs every device eight bytes, and nobody sees it in a diff.
//!
//! Invariants:
//! - A figure here is raised only together with a line in perf/LOG.md that says what the bytes are for.

use wire::Inlet;

use crate::connections::Connection;
use crate::effects::ConnId;

#[test]
fn what_there_is_one_of_per_connection_is_small() {
    let sizes = [
        ("connection", size_of::<Connection>(), 96),
        ("inlet", size_of::<Inlet>(), 24),
        ("name of a connection", size_of::<ConnId>(), 8),
    ];
    for (what, bytes, bytes_max) in sizes {
        assert!(bytes <= bytes_max, "a {what} has {bytes} bytes, more than {bytes_max}");
    }
}
