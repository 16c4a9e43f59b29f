//! Heap allocations per message and heap bytes per idle client, counted by the allocator.
//!
//! Why exact figures: they are the same in every run, so a single allocation too many is a regression and no noise.
//!
//! Invariants:
//! - There is one test: the counter counts for the whole process, and the test runner allocates between tests.

use std::alloc::System;

use device::Keeping;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use warm::{Bench, Crowd, Devices, FAN_OUT_100, Load, PAIRS_QOS0, PAIRS_QOS1, Subscribing};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Heap bytes of an idle client, and of one with a subscription of its own; 3 % above what was measured. Its place in the tables
/// is not among them: those have room from the start, and the sizes of what is in them are gates of their own.
const CLIENT_BYTES_MAX: usize = 241;
const SUBSCRIBED_CLIENT_BYTES_MAX: usize = 438;

/// Allocations and messages of 100 warm rounds; the least of some attempts, because the runner has a thread of its own.
fn allocations(load: Load) -> (usize, u64) {
    let mut bench = Bench::new(load);
    bench.run(10);
    let attempt = |_: u32| {
        let region = Region::new(ALLOCATOR);
        let messages = bench.run(100);
        let change = region.change();
        (change.allocations + change.reallocations, messages)
    };
    (0..3).map(attempt).min().expect("three attempts")
}

/// Allocations and messages of 100 warm rounds of devices.
fn allocations_of_telemetry(keeping: Keeping) -> (usize, u64) {
    let mut devices = Devices::new(keeping);
    devices.run(10);
    let attempt = |_: u32| {
        let region = Region::new(ALLOCATOR);
        let messages = devices.run(100);
        let change = region.change();
        (change.allocations + change.reallocations, messages)
    };
    (0..3).map(attempt).min().expect("three attempts")
}

/// Heap bytes that three thousand further idle clients add, each.
fn bytes_per_client(subscribing: Subscribing) -> usize {
    let mut crowd = Crowd::new();
    crowd.join(1024, subscribing);
    let region = Region::new(ALLOCATOR);
    crowd.join(3072, subscribing);
    let change = region.change();
    (change.bytes_allocated - change.bytes_deallocated) / 3072
}

#[test]
fn messages_of_qos_0_allocate_nothing_and_idle_clients_keep_little() {
    assert_eq!(allocations(PAIRS_QOS0), (0, 80_000), "pairs at QoS 0");
    assert_eq!(allocations(FAN_OUT_100), (0, 160_000), "fan-out at QoS 0");
    assert_eq!(allocations(PAIRS_QOS1), (160_000, 80_000), "pairs at QoS 1: the message and its bytes");
    assert_eq!(allocations_of_telemetry(Keeping::Forward), (0, 80_000), "telemetry that is only forwarded");
    let latest = allocations_of_telemetry(Keeping::Latest);
    assert_eq!(latest, (20_000, 80_000), "latest: a list and three keys per device and turn");
    let bytes = bytes_per_client(Subscribing::Never);
    assert!(bytes <= CLIENT_BYTES_MAX, "{bytes} bytes per idle client");
    let bytes = bytes_per_client(Subscribing::ToOwnTopic);
    assert!(bytes <= SUBSCRIBED_CLIENT_BYTES_MAX, "{bytes} bytes per client with a subscription");
}
