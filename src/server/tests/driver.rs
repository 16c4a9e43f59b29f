//! The driver over real sockets on loopback, with a mind that speaks lines.
//!
//! Invariants:
//! - No test waits for a time to pass; what must happen is waited for by reading from a socket.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod line;

use std::io::Write;
use std::net::TcpListener;

use server::Depth;

use line::host::Host;
use line::pattern;

/// Few and small buffers, and a ring that is full after a few operations.
const TINY: Depth = Depth { submissions: 4, completions: 8, buffers: 2, buffer_bytes: 64 };

#[test]
fn lines_are_echoed_in_order_on_one_core() {
    let host = Host::start(1, Depth::default());
    let mut client = host.connect_to(0);
    let lines: String = (0..10_000).map(|number| format!("line {number}\n")).collect();
    let mut writer = client.stream.try_clone().unwrap();
    let sent = lines.clone();
    let writing = std::thread::spawn(move || writer.write_all(sent.as_bytes()).unwrap());
    assert_eq!(client.bytes(lines.len()), lines.as_bytes());
    writing.join().unwrap();
}

#[test]
fn a_connection_moves_to_its_home_with_its_unread_bytes() {
    let host = Host::start(2, Depth::default());
    // Which core accepts is the kernel's choice, so enough connections make both kinds: those that stay and those that
    // move.
    let mut clients = Vec::new();
    for number in 0..64u16 {
        let mut client = host.connect();
        client.say(&format!("HOME {}\nCORE\nunread {number}\n", number % 2));
        clients.push((number, client));
    }
    for (number, client) in &mut clients {
        assert_eq!(client.line(), format!("CORE {}", *number % 2));
        assert_eq!(client.line(), format!("unread {number}"));
        client.round();
    }
}

#[test]
fn a_connection_that_speaks_byte_by_byte_moves_too() {
    let host = Host::start(2, Depth::default());
    for core in [0, 1, 0, 1, 0, 1, 0, 1] {
        let mut client = host.connect();
        client.stream.set_nodelay(true).unwrap();
        for byte in format!("HOME {core}\nCORE\n").chars() {
            client.say(&byte.to_string());
        }
        assert_eq!(client.line(), format!("CORE {core}"));
    }
}

#[test]
fn the_last_bytes_arrive_although_unread_bytes_are_left() {
    // With so few buffers, most of what the peer goes on saying is unread when the mind has had enough.
    let host = Host::start(1, TINY);
    for _ in 0..50 {
        let mut client = host.connect_to(0);
        client.say(&format!("BYE the reason\n{}", "x".repeat(30_000)));
        assert_eq!(client.rest(), "the reason\n");
    }
}

#[test]
fn the_last_bytes_follow_those_that_wait_for_a_slow_reader() {
    let host = Host::start(1, Depth::default());
    let mut client = host.connect_to(0);
    client.say("FLOOD 5000000\n");
    // The echo of another client says that the flood has begun to be sent.
    host.connect_to(0).round();
    client.say("BYE the end\n");
    let expected = pattern(5_000_000);
    assert!(client.bytes(expected.len()) == expected);
    assert_eq!(client.rest(), "the end\n");
}

#[test]
fn a_slow_reader_gets_everything_and_delays_nobody() {
    let host = Host::start(1, Depth::default());
    let mut slow = host.connect_to(0);
    let mut other = host.connect_to(0);
    slow.say("FLOOD 8000000\n");
    other.round();
    // This answer is made while the socket is still full of the flood.
    slow.say("afterwards\n");
    for _ in 0..100 {
        other.round();
    }
    let expected = pattern(8_000_000);
    assert!(slow.bytes(expected.len()) == expected);
    assert_eq!(slow.line(), "afterwards");
}

#[test]
fn nothing_is_lost_when_buffers_and_queues_are_far_too_small() {
    let host = Host::start(2, TINY);
    let text = format!("{}\n", String::from_utf8(pattern(4000)).unwrap());
    let mut clients: Vec<_> = (0..50u16).map(|number| host.connect_to(number % 2)).collect();
    for client in &mut clients {
        client.say(&text);
        client.say("second\n");
    }
    for client in &mut clients {
        assert_eq!(client.bytes(text.len()), text.as_bytes());
        assert_eq!(client.line(), "second");
    }
}

#[test]
fn a_congested_mind_is_spared_and_gets_its_bytes_in_order_later() {
    const ROUNDS: usize = 20;
    for depth in [Depth::default(), TINY] {
        let host = Host::start(1, depth);
        let mut first = host.connect_to(0);
        let mut second = host.connect_to(0);
        first.say(&format!("JAM {}\n", ROUNDS + 1));
        for number in 0..ROUNDS {
            // The core has refused the connection, so it has seen what came before; the mind asserts that it has not.
            assert_eq!(host.connect().rest(), "");
            first.say(&format!("first {number}\n"));
            second.say(&format!("second {number}\n"));
        }
        second.stop_talking();
        let _relief = host.connect();
        for number in 0..ROUNDS {
            assert_eq!(first.line(), format!("first {number}"));
            assert_eq!(second.line(), format!("second {number}"));
        }
        assert_eq!(second.rest(), "");
    }
}

#[test]
fn a_connection_whose_home_was_held_back_with_its_bytes_still_gets_there() {
    let host = Host::start(2, Depth::default());
    // Which core accepts is the kernel's choice: of so many some are at the jammed one.
    let mut others: Vec<_> = (0..64).map(|_| host.connect()).collect();
    let mut first = host.connect_to(0);
    first.say("JAM 2\nheld\n");
    for other in &mut others {
        other.say("HOME 1\nCORE\n");
    }
    // One is refused by the jammed core, which has seen what came before; one more that it accepts ends the jam.
    for number in 0..128 {
        let mut client = host.connect();
        client.say(&format!("HOME {}\n", number % 2));
        others[number % 64].say("more\n");
    }
    assert_eq!(first.line(), "held");
    for other in &mut others {
        assert_eq!(
            (other.line(), other.line(), other.line()),
            ("CORE 1".into(), "more".into(), "more".into())
        );
    }
}

#[test]
fn a_peer_that_closes_its_write_side_at_once_still_gets_its_answers() {
    let host = Host::start(2, Depth::default());
    for core in [0, 1, 0, 1, 0, 1] {
        let mut client = host.connect();
        client.say(&format!("HOME {core}\none\ntwo\n"));
        client.stop_talking();
        assert_eq!(client.rest(), "one\ntwo\n");
    }
}

#[test]
fn a_sleeping_core_is_woken_by_a_timer_by_bytes_and_by_its_neighbour() {
    let host = Host::start(2, Depth::default());
    let mut client = host.connect_to(0);
    for _ in 0..20 {
        client.say("NAP\n");
        assert_eq!(client.line(), "WOKE");
        client.round();
        host.connect_to(1).round();
        host.connect_to(0).round();
    }
}

#[test]
fn after_a_standstill_everything_that_came_meanwhile_is_heard_before_a_timer_fires() {
    const OTHERS: usize = 200;
    // With fewer buffers than connections, some are refused a receive although their bytes have come.
    for depth in [Depth::default(), Depth { buffers: 16, ..Depth::default() }] {
        let host = Host::start(1, depth);
        let mut others: Vec<_> = (0..OTHERS).map(|_| host.connect_to(0)).collect();
        let mut first = host.connect_to(0);
        let gate = TcpListener::bind("127.0.0.1:0").unwrap();
        first.say(&format!("HOLD {}\n", gate.local_addr().unwrap().port()));
        let held = gate.accept().unwrap();
        for other in &mut others {
            other.say("still here\n");
        }
        drop(held);
        assert_eq!(first.line(), format!("HEARD {OTHERS}"));
        for other in &mut others {
            assert_eq!(other.line(), "still here");
        }
    }
}

#[test]
fn a_device_whose_call_nobody_takes_is_answered_at_once_by_a_core_that_sleeps_otherwise() {
    let host = Host::start(1, Depth::default());
    let mut client = host.connect_to(0);
    for _ in 0..20 {
        client.say("CALL home\n");
        assert_eq!(client.line(), "too many calls wait");
    }
}

#[test]
fn a_peer_that_resets_the_connection_leaves_the_core_unharmed() {
    let host = Host::start(1, Depth::default());
    for _ in 0..100 {
        let client = host.connect_to(0);
        let mut writer = client.stream.try_clone().unwrap();
        writer.write_all(b"FLOOD 3000000\n").unwrap();
        // Closing with unread bytes resets the connection while the core is sending.
        let _ = client.stream.peek(&mut [0; 64]).unwrap();
        drop(writer);
        drop(client);
    }
    host.connect_to(0).round();
}

#[test]
fn the_graceful_end_says_goodbye_to_everybody_and_then_all_cores_have_ended() {
    let host = Host::start(2, Depth::default());
    let mut clients: Vec<_> = (0..20u16).map(|number| host.connect_to(number % 2)).collect();
    let lobby: Vec<_> = (0..4).map(|_| host.connect()).collect();
    let stopper = host.stopper();
    let watching = std::thread::spawn(move || host.join());
    stopper.stop();
    for client in &mut clients {
        assert_eq!(client.rest(), "closing time\n");
    }
    drop(clients);
    drop(lobby);
    assert!(watching.join().unwrap().is_ok());
}
