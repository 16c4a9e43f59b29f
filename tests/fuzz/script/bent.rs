//! Golden packets with one byte wrong, or cut off, on connections in every state.
//!
//! Why beside mutations: these are the mistakes that real clients make and attackers try first, so each is made, not some.
//! Every byte becomes one more and one less, which takes every length field there is with it.
//!
//! Invariants:
//! - Whatever comes, on whichever connection, the bystander is served, and nobody else is left when all have gone.

use broker::Limits;

use super::bystander::Bystander;
use super::network::Network;
use super::speech;

/// How far the connection has come when the packet arrives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Nothing has been said.
    Lobby,
    /// CONNECT has been answered.
    Welcome,
    /// A SUBSCRIBE waits for the other core.
    Asking,
    /// Messages of QoS 2 are open in both directions.
    Busy,
    /// DISCONNECT has been sent.
    Leaving,
}

const STATES: [State; 5] = [State::Lobby, State::Welcome, State::Asking, State::Busy, State::Leaving];
const PINGREQ: [u8; 2] = [0xc0, 0];

/// Sends every bent form of `packet` of a client of `level` (3, 4 or 5) in every state, on `cores` cores; returns how many
/// there were.
pub fn bend(packet: &[u8], level: u8, cores: u16) -> usize {
    STATES.into_iter().map(|state| bend_in(state, packet, level, cores)).sum()
}

fn bend_in(state: State, packet: &[u8], level: u8, cores: u16) -> usize {
    let mut network = Network::new(cores, &Limits::default(), 1000);
    let mut bystander = Bystander::new(&mut network);
    bystander.look(&mut network);
    let forms = forms(packet);
    for form in &forms {
        let socket = bring_to(state, level, &mut network, bystander.socket);
        network.write(socket, form, usize::MAX);
        network.come_to_rest(bystander.socket);
        // What was cut off goes on with something else.
        network.write(socket, &PINGREQ, usize::MAX);
        network.come_to_rest(bystander.socket);
        bystander.look(&mut network);
        network.reset(socket);
        network.come_to_rest(bystander.socket);
    }
    bystander.look(&mut network);
    let living: usize = (0..network.cores()).map(|core| network.living(core)).sum();
    assert_eq!(living, 1, "somebody is still there after {packet:02x?} in {state:?}");
    forms.len()
}

/// The packet with each byte one more, with each byte one less, and cut off at each.
fn forms(packet: &[u8]) -> Vec<Vec<u8>> {
    let with = |at: usize, step: u8| {
        let mut form = packet.to_vec();
        form[at] = form[at].wrapping_add(step);
        form
    };
    (0..packet.len()).flat_map(|at| [with(at, 1), with(at, u8::MAX), packet[..at].to_vec()]).collect()
}

fn bring_to(state: State, level: u8, network: &mut Network, bystander: usize) -> usize {
    let version_bits = match level {
        3 => 1 << 1,
        4 => 0,
        _five => 2 << 1,
    };
    let socket = network.connect(0);
    if state == State::Lobby {
        return socket;
    }
    let say = |network: &mut Network, packet: Vec<u8>| network.write(socket, &packet, usize::MAX);
    // A clean session.
    say(network, speech::connect(version_bits | 1 << 3, 0));
    network.come_to_rest(bystander);
    match state {
        State::Lobby | State::Welcome => {}
        State::Asking => say(network, speech::subscribe(level, 2, 2, 1)),
        State::Busy => {
            say(network, speech::subscribe(level, 2, 2, 1));
            network.come_to_rest(bystander);
            for id in 1..=3 {
                say(network, speech::publish(level, 2, 1, id));
            }
            network.come_to_rest(bystander);
        }
        State::Leaving => say(network, speech::disconnect(level, 0)),
    }
    socket
}
