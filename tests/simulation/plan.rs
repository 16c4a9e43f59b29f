//! What a seed decides before its run begins: sizes, limits, rates and faults.
//!
//! Why "swarm": runs that all use every feature a little look alike; runs that each leave most features out and stress a
//! few reach corners that the average never sees.
//!
//! Invariants:
//! - A plan depends on its seed and on nothing else.

use broker::Limits;

use crate::dice::Dice;

/// Everything that a seed decides in advance.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Simulated cores.
    pub cores: usize,
    /// Scheduler actions before the last rest.
    pub actions: usize,
    /// Rests in between, at which everything must be delivered.
    pub rests: usize,
    /// Client ids in use.
    pub clients: usize,
    /// The broker's limits, as the oracle knows them and as the shards are told.
    pub limits: Limits,
    /// How clients behave.
    pub habits: Habits,
    /// How the world behaves.
    pub weather: Weather,
    /// Whether the broker starts again before everybody comes back.
    pub restart: Option<Restart>,
}

/// The broker ends, and another one takes over its changes.
#[derive(Clone, Copy, Debug)]
pub struct Restart {
    /// Cores of the new broker.
    pub cores: usize,
    /// Messages of a queue that stay in memory.
    pub queue_memory_messages: u32,
    /// Whether all connections are open when it ends; else all of them ended before, in the midst of everything.
    pub is_sudden: bool,
}

/// Shares (of 100) and weights for what clients do.
#[derive(Clone, Debug)]
pub struct Habits {
    /// Topics in use, from the front of the list of topics.
    pub topics: usize,
    /// Weights of connect, subscribe, unsubscribe, publish, leave, misbehave.
    pub weights: [u64; 6],
    /// Weights of versions 3.1, 3.1.1, 5.0.
    pub versions: [u64; 3],
    /// Share of clean connects.
    pub clean: u64,
    /// Share of connects with a will.
    pub will: u64,
    /// Share of retained publishes.
    pub retained: u64,
    /// Share of empty payloads among retained publishes.
    pub clears: u64,
    /// Share of shared filters among requests.
    pub shared: u64,
    /// Share of messages with an expiry.
    pub expiry: u64,
    /// Share of large payloads.
    pub large: u64,
    /// Weights of QoS 0, 1, 2.
    pub qos: [u64; 3],
    /// Share of acknowledgements withheld for a while.
    pub withholds: u64,
    /// Share of connections that send on before their CONNACK.
    pub pipelines: u64,
    /// Largest Receive Maximum that clients ask for; small ones stress the window.
    pub receive_maximum: u64,
    /// Share of 5.0 connects with a small Maximum Packet Size.
    pub small_packets: u64,
    /// Share of connects with a keep alive.
    pub keep_alive: u64,
}

/// How streams, batches, sockets and clocks behave.
#[derive(Clone, Debug)]
pub struct Weather {
    /// Share of hand-overs that are cut at a random byte.
    pub cuts: u64,
    /// Bytes a socket holds for a client that does not read.
    pub socket_bytes: usize,
    /// Batches a link between two cores holds before it refuses more.
    pub link_batches: usize,
    /// Share of turns that end with `take_out` deferred while earlier bytes are unsent.
    pub late_takes: u64,
    /// Events a turn takes at most.
    pub turn_events: usize,
    /// Weights of a core's turn, a client's deed, a client's reading, and a step of time.
    pub weights: [u64; 4],
    /// Longest step of time in milliseconds.
    pub step_ms: u64,
}

impl Plan {
    /// The plan of `seed`.
    #[must_use]
    pub fn new(dice: &mut Dice) -> Self {
        let cores = *dice.pick(&[1, 2, 2, 3, 4]);
        Self {
            cores,
            actions: *dice.pick(&[150, 300, 300, 600, 900]),
            rests: dice.below(4),
            clients: dice.below(6) + 2,
            limits: limits(dice),
            habits: Habits::new(dice),
            weather: Weather::new(dice),
            restart: None,
        }
    }
}

impl Restart {
    /// Whether and how the broker of `seed` starts again. Its draws are apart, so that no other choice depends on it.
    #[must_use]
    pub fn of(seed: u64) -> Option<Self> {
        let mut dice = Dice::new(!seed);
        let restart = Self {
            cores: *dice.pick(&[1, 2, 3]),
            is_sudden: dice.percent(40),
            queue_memory_messages: *dice.pick(&[1, 2, 4, 1000]),
        };
        dice.percent(30).then_some(restart)
    }
}

/// A share that is often nothing, sometimes much.
fn swarm(dice: &mut Dice, most: u64) -> u64 {
    match dice.below(4) {
        0 => 0,
        1 => most / 8,
        _ => dice.between(0, most),
    }
}

fn limits(dice: &mut Dice) -> Limits {
    // Takeovers are part of the plan, however many there are in a minute of virtual time.
    let takeovers_per_minute_max = 0;
    let mut limits =
        Limits { receive_maximum: 20, topic_alias_max: 5, takeovers_per_minute_max, ..Limits::default() };
    if dice.percent(25) {
        limits.queue_messages_max = *dice.pick(&[1, 3, 10]);
    }
    if dice.percent(25) {
        limits.inflight_3x_max = *dice.pick(&[1, 2, 5]);
        limits.inflight_max = *dice.pick(&[1, 2, 5]);
    }
    if dice.percent(20) {
        limits.out_bytes_high = *dice.pick(&[1, 60, 400]);
        limits.queue_qos0_messages_max = *dice.pick(&[1, 5, 1000]);
    }
    if dice.percent(15) {
        limits.topic_alias_out_max = *dice.pick(&[0, 1, 2]);
    }
    if dice.percent(10) {
        limits.session_expiry_max_s = *dice.pick(&[5, 60]);
    }
    if dice.percent(10) {
        limits.keep_alive_max_s = *dice.pick(&[5, 20]);
    }
    limits.queue_drops_oldest = dice.percent(30);
    limits
}

impl Habits {
    fn new(dice: &mut Dice) -> Self {
        let connects = dice.between(4, 12);
        let misdeeds = swarm(dice, 6);
        Self {
            topics: dice.below(6) + 2,
            weights: [
                connects,
                dice.between(3, 15),
                swarm(dice, 8),
                dice.between(10, 40),
                swarm(dice, 10),
                misdeeds,
            ],
            versions: *dice.pick(&[[1, 4, 5], [0, 0, 1], [0, 1, 0], [1, 1, 1], [0, 1, 9]]),
            clean: dice.between(0, 100),
            will: swarm(dice, 60),
            retained: swarm(dice, 60),
            clears: swarm(dice, 40),
            shared: swarm(dice, 50),
            expiry: swarm(dice, 40),
            large: swarm(dice, 15),
            qos: *dice.pick(&[[1, 1, 1], [1, 5, 5], [0, 1, 0], [0, 0, 1], [5, 1, 1]]),
            withholds: swarm(dice, 80),
            pipelines: swarm(dice, 60),
            receive_maximum: *dice.pick(&[1, 2, 5, 100]),
            small_packets: swarm(dice, 30),
            keep_alive: swarm(dice, 50),
        }
    }
}

impl Weather {
    fn new(dice: &mut Dice) -> Self {
        Self {
            cuts: *dice.pick(&[0, 20, 100]),
            socket_bytes: *dice.pick(&[1, 40, 300, 100_000, 100_000]),
            link_batches: *dice.pick(&[1, 2, 8, 1000]),
            late_takes: swarm(dice, 100),
            turn_events: *dice.pick(&[1, 3, 8, 30]),
            weights: [
                dice.between(20, 60),
                dice.between(10, 40),
                dice.between(10, 40),
                *dice.pick(&[0, 1, 3, 10]),
            ],
            step_ms: *dice.pick(&[10, 300, 3_000, 20_000]),
        }
    }
}
