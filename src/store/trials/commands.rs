//! Commands that have ended do not fill the disk: of each device the youngest are kept.
//!
//! Invariants:
//! - What has not ended stays, however old it is.

use device::{
    Change, Command, CommandId, CommandKind, CommandState, Credential, Device, DeviceId, Order, ProfileId,
    Role, TenantId,
};
use stdx::{Instant, WallMs};

use crate::{Anchor, Engine, Heads, Keeper, MemoryEngine};

const ANCHOR: Anchor = Anchor { at: Instant::START, wall: WallMs(1_000_000_000_000) };
const ONE: DeviceId = DeviceId::from_bytes([3; 16]);
const OTHER: DeviceId = DeviceId::from_bytes([4; 16]);

fn opened(engine: MemoryEngine, kept_max: usize) -> Keeper<MemoryEngine> {
    let mut keeper = Keeper::new(engine, ANCHOR);
    keeper.keep_commands(kept_max);
    keeper.recover(Heads::ALL, &mut drop, &mut drop, &mut |_| {}).unwrap();
    keeper
}

fn device(id: DeviceId) -> Change {
    Change::Device(Box::new(Device {
        id,
        tenant: TenantId::from_bytes([1; 16]),
        profile: ProfileId::from_bytes([2; 16]),
        customer: None,
        role: Role::Ordinary,
        created_ms: 1,
        name: id.to_string().into(),
        credential: Credential::Token("token".into()),
        rare: None,
    }))
}

/// The id of the command that was asked at that time; ids are in no order of times.
fn id_at(at_ms: i64) -> CommandId {
    let scattered = u128::from(at_ms.cast_unsigned()).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
    CommandId::from_bytes(scattered.to_be_bytes())
}

fn command(device: DeviceId, at_ms: i64, state: CommandState) -> Change {
    let order = Order {
        id: id_at(at_ms),
        method: "m".into(),
        params: "{}".into(),
        kind: CommandKind::TwoWay,
        is_persistent: true,
        expires_ms: i64::MAX,
        retries: None,
        additional: None,
    };
    let mut command = Command::new(order, 0, at_ms);
    command.state = state;
    Change::Command { device, command: Box::new(command) }
}

fn ended(device: DeviceId, times: std::ops::Range<i64>) -> Vec<Change> {
    times.map(|at_ms| command(device, at_ms, CommandState::Successful)).collect()
}

/// When the commands were asked that are there; each is found by its id.
fn times(keeper: &Keeper<MemoryEngine>, device: DeviceId) -> Vec<i64> {
    let history = keeper.engine().history();
    let commands = history.commands(device).unwrap();
    let mut times: Vec<i64> = commands.iter().map(|command| command.created_ms).collect();
    times.sort_unstable();
    for command in commands {
        assert_eq!(history.command(command.order.id).unwrap(), Some((device, command)));
    }
    times
}

/// Flushes until nothing is left to be done; returns how many commands each flush has removed.
fn settle(keeper: &mut Keeper<MemoryEngine>) -> Vec<usize> {
    let mut removed = Vec::new();
    while !keeper.is_idle() {
        removed.push(keeper.flush().unwrap().commands);
        assert!(removed.len() < 100, "it goes on for ever");
    }
    removed
}

#[test]
fn the_oldest_commands_that_have_ended_go_and_those_that_go_on_stay() {
    let mut keeper = opened(MemoryEngine::default(), 16);
    keeper.keep(1, vec![device(ONE), device(OTHER)]);
    let waiting = [CommandState::Queued, CommandState::Sent, CommandState::Timeout, CommandState::Delivered];
    keeper
        .keep(2, (0..4).map(|at_ms| command(ONE, at_ms, waiting[usize::try_from(at_ms).unwrap()])).collect());
    keeper.keep(3, ended(OTHER, 100_000..100_016));
    keeper.keep(4, ended(ONE, 10..26));
    assert_eq!(settle(&mut keeper), [0], "sixteen may stay");
    keeper.keep(5, ended(ONE, 26..27));
    assert_eq!(settle(&mut keeper), [0, 3], "room for two more is made");
    assert_eq!(times(&keeper, ONE), Vec::from_iter((0..4).chain(13..27)));
    let history = keeper.engine().history();
    assert!((10..13).all(|at_ms| !history.has_command(id_at(at_ms)).unwrap()));
    // One by one, with a flush for each.
    for at_ms in 27..200 {
        keeper.keep(6, ended(ONE, at_ms..at_ms + 1));
        keeper.flush().unwrap();
        // The one that came with the flush is not seen by its look.
        assert!(times(&keeper, ONE).len() <= 4 + 17);
    }
    settle(&mut keeper);
    let left = times(&keeper, ONE);
    assert!((4 + 14..=4 + 16).contains(&left.len()), "{left:?}");
    assert_eq!(left[4..], Vec::from_iter(200 - i64::try_from(left.len()).unwrap() + 4..200));
    // Without a flush in between.
    keeper.keep(7, ended(ONE, 200..300));
    settle(&mut keeper);
    assert_eq!(times(&keeper, ONE), Vec::from_iter((0..4).chain(286..300)));
    assert_eq!(times(&keeper, OTHER).len(), 16);
    // Two devices, and a command with its index for each that is left.
    assert_eq!(keeper.engine().records_about(), 2 + 2 * (18 + 16));
}

#[test]
fn too_many_commands_of_an_earlier_start_go_a_few_at_a_time() {
    let mut keeper = opened(MemoryEngine::default(), usize::MAX);
    let mut changes = vec![device(ONE), device(OTHER)];
    changes.extend(ended(ONE, 0..5_000));
    changes.extend(ended(OTHER, 10_000..11_010));
    keeper.keep(1, changes);
    assert_eq!(settle(&mut keeper), [0]);
    let mut keeper = opened(keeper.into_engine(), 1_000);
    assert!(!keeper.is_idle());
    let removed = settle(&mut keeper);
    assert!(removed.iter().all(|removed| *removed <= 2_000), "{removed:?}");
    let left = times(&keeper, ONE);
    assert!(left.len() <= 1_000 && left.ends_with(&Vec::from_iter(4_125..5_000)), "{}", left.len());
    assert_eq!(times(&keeper, OTHER), Vec::from_iter(10_135..11_010));
    let mut keeper = opened(keeper.into_engine(), 1_000);
    assert!(keeper.is_idle(), "what is left is counted anew");
    keeper.keep(2, ended(ONE, 5_000..5_126));
    settle(&mut keeper);
    assert_eq!(times(&keeper, ONE), Vec::from_iter(4_251..5_126));
}

#[test]
fn a_command_that_goes_leaves_the_index_of_another_device_and_a_device_that_goes_leaves_nothing() {
    let mut keeper = opened(MemoryEngine::default(), 8);
    keeper.keep(1, vec![device(ONE), device(OTHER)]);
    keeper.keep(2, ended(ONE, 0..8));
    // An earlier version let an id be taken twice.
    keeper.keep(3, vec![command(OTHER, 0, CommandState::Queued)]);
    settle(&mut keeper);
    keeper.keep(4, ended(ONE, 8..9));
    assert_eq!(settle(&mut keeper), [0, 2]);
    assert_eq!((times(&keeper, ONE), times(&keeper, OTHER)), (Vec::from_iter(2..9), vec![0]));
    keeper.keep(5, ended(ONE, 9..200));
    keeper.keep(6, vec![Change::DeviceGone(ONE)]);
    assert_eq!(settle(&mut keeper).iter().sum::<usize>(), 0);
    assert_eq!(keeper.engine().records_about(), 3);
    keeper.keep(7, vec![Change::DeviceGone(OTHER)]);
    settle(&mut keeper);
    assert_eq!(keeper.engine().records_about(), 0);
}
