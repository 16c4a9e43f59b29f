//! The campaign: load, fall, recover, check; again and again; then a drain in which everything owed must arrive.
//!
//! Why random moments from a seed: the seed repeats the plan (who, when, how), though never the exact machine timing.
//!
//! Invariants:
//! - A fall is counted when the process has been killed, whether under load or while it recovered.
//! - After the last fall there is a drain, so nothing lost stays unseen.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use stdx::Prng;

use crate::book::{Book, Kind, Rule};
use crate::broker::{self, Broker, Failure, Ready, Setup};
use crate::cast::{Actor, Mayfly, Moment, Mortal, Mourner, Observer, Phase, Publisher, Subscriber};
use crate::clock::now_ms;
use crate::ground::Ground;
use crate::report::Report;
use crate::wire::Version;
use crate::world::World;

/// What a drain waits for the next sign of progress.
const STALL_MS: u64 = 8000;
/// What a drain takes at most.
const DRAIN_MS_MAX: u64 = 120_000;

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The binary under test.
    pub binary: PathBuf,
    /// Overrides the durability of all listeners.
    pub durability: Option<String>,
    /// How many times the broker falls.
    pub falls: u64,
    /// Randomness.
    pub seed: u64,
    /// New messages a second.
    pub rate: u64,
    /// Shortest and longest load between two falls, in milliseconds.
    pub load_ms: (u64, u64),
    /// After how many falls everything is drained.
    pub drain_every: u64,
    /// Most cores.
    pub cores_max: u64,
    /// Where logs and configuration go.
    pub work: PathBuf,
    /// Whether progress is shown.
    pub is_shown: bool,
    /// Ends when a rule has been broken so many times.
    pub broken_max: u64,
    /// What the broker's environment holds besides.
    pub variables: Vec<(String, String)>,
}

/// Publishers, subscribers and the others: how many.
const PUBLISHERS: usize = 20;
const SUBSCRIBERS: usize = 24;
const OTHERS: usize = 4;
const MORTALS: usize = 9;
/// Publishers that a subscriber listens to.
const SOURCES: u64 = 3;
/// Messages that a publisher may have unanswered.
const WINDOW: u16 = 64;
/// Places of subscribers in the cast: they come first.
const FIRST_SUBSCRIBER: usize = 0;

/// Queues that no offline subscriber of a campaign fills; `$SYS` would only be noise.
const CONFIG: &str = "[limits]\nqueue_messages_max = 10_000_000\nqueue_bytes_max = 4_000_000_000\n\n[log]\n\
                      level = \"info\"\n\n[sys]\ninterval_s = 0\n";

/// A campaign that runs.
pub struct Campaign<'a> {
    plan: &'a Plan,
    ground: &'a mut dyn Ground,
    setup: Setup,
    world: World,
    subscribers: Vec<usize>,
    cores: u64,
    report: Report,
}

/// Runs a plan on some ground.
///
/// # Errors
/// A sentence, if the work cannot be done at all.
pub fn run(plan: &Plan, ground: &mut dyn Ground) -> Result<Report, String> {
    let setup = setup(plan, ground.store()).map_err(|failure| failure.to_string())?;
    let mut campaign = Campaign::new(plan, ground, setup);
    campaign.go()?;
    Ok(campaign.report.close(&campaign.world.book))
}

fn setup(plan: &Plan, store: &Path) -> std::io::Result<Setup> {
    fs::create_dir_all(&plan.work)?;
    let config = plan.work.join("ringmq.toml");
    fs::write(&config, CONFIG)?;
    Ok(Setup {
        binary: plan.binary.clone(),
        config,
        store: store.to_owned(),
        durability: plan.durability.clone(),
        log: plan.work.join("broker.log"),
        variables: plan.variables.clone(),
    })
}

impl<'a> Campaign<'a> {
    fn new(plan: &'a Plan, ground: &'a mut dyn Ground, setup: Setup) -> Self {
        let mut dice = Prng::new(plan.seed);
        let mut book = Book { run: dice.next_u64(), ..Book::default() };
        let publishers = publishers(&mut book);
        let mut cast: Vec<Box<dyn Actor>> = Vec::new();
        let subscribers = (0..SUBSCRIBERS).map(|number| subscriber(number, &mut dice, &book));
        let subscribers: Vec<Subscriber> = subscribers.collect();
        let places = (FIRST_SUBSCRIBER..FIRST_SUBSCRIBER + SUBSCRIBERS).collect();
        cast.extend(subscribers.into_iter().map(|one| Box::new(one) as Box<dyn Actor>));
        cast.extend(publishers.into_iter().map(|one| Box::new(one) as Box<dyn Actor>));
        cast.push(Box::new(Mourner::new("mourner".into())));
        for number in 0..OTHERS {
            let version = if number.is_multiple_of(2) { Version::V5 } else { Version::V311 };
            cast.push(Box::new(Observer::new(format!("observer-{number}"), version)));
            cast.push(Box::new(Mayfly::new(format!("mayfly-{number}"))));
        }
        for number in 0..MORTALS {
            let delay_s = u32::try_from(number % 3).expect("small");
            cast.push(Box::new(Mortal::new(format!("mortal-{number}"), number, delay_s)));
        }
        let moment = Moment { now_ms: now_ms(), ready_ms: 0, phase: Phase::Load, allowance: 0, dice };
        let world = World::new(cast, book, moment, plan.rate);
        let report = Report::open(plan, ground.word());
        Self { plan, ground, setup, world, subscribers: places, cores: 1, report }
    }

    fn go(&mut self) -> Result<(), String> {
        while self.report.falls < self.plan.falls {
            self.world.book.cycle += 1;
            if self.world.moment.dice.one_in(3) {
                self.cores = 1 + self.world.moment.dice.below(self.plan.cores_max);
            }
            let is_drain = self.world.book.cycle.is_multiple_of(self.plan.drain_every);
            self.cycle(is_drain)?;
            if self.world.book.broken_in_all() >= self.plan.broken_max {
                return Ok(());
            }
        }
        self.world.book.cycle += 1;
        self.last_words()
    }

    /// One life of the broker.
    fn cycle(&mut self, is_drain: bool) -> Result<(), String> {
        let mut broker = self.start()?;
        if self.report.falls > 0 && self.dice().one_in(6) {
            let typical_ms = self.report.start_ms_p50() + 1;
            let wait_ms = self.dice().below(typical_ms);
            match broker.wait_ready_for(wait_ms) {
                None => {
                    self.report.falls_in_recovery += 1;
                    return self.fall(&mut broker);
                }
                Some(outcome) => return self.live(&mut broker, outcome, is_drain),
            }
        }
        let outcome = broker.wait_ready();
        self.live(&mut broker, outcome, is_drain)
    }

    fn live(
        &mut self,
        broker: &mut Broker,
        outcome: Result<Ready, Failure>,
        is_drain: bool,
    ) -> Result<(), String> {
        let ready = self.ready(outcome)?;
        self.load(broker, ready)?;
        if is_drain {
            self.drain(broker, ready)?;
        }
        if self.dice().one_in(12) {
            return self.stop(broker, ready);
        }
        self.fall(broker)
    }

    /// Writes a line between those of the broker.
    fn note(&self, what: &str) {
        let line = format!("--- cycle {}: {what}\n", self.world.book.cycle);
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.setup.log);
        // The log is for people; without it the judgement is the same.
        let _ = log.and_then(|mut log| log.write_all(line.as_bytes()));
    }

    fn start(&mut self) -> Result<Broker, String> {
        let cores = usize::try_from(self.cores).expect("few cores");
        self.note(&format!("start on {cores} cores"));
        Broker::start(&self.setup, cores).map_err(|failure| self.no_broker(&failure))
    }

    fn ready(&mut self, outcome: Result<Ready, Failure>) -> Result<Ready, String> {
        let ready = outcome.map_err(|failure| self.no_broker(&failure))?;
        self.report.started(ready.start_us);
        self.world.moment.ready_ms = now_ms();
        Ok(ready)
    }

    fn no_broker(&mut self, failure: &Failure) -> String {
        let tail = broker::tail(&self.setup.log, 2000);
        format!("cycle {}: no broker: {failure:?}\n{tail}", self.world.book.cycle)
    }

    /// Half of the subscribers are there; now and then something changes; nothing else is planned.
    fn load(&mut self, broker: &mut Broker, ready: Ready) -> Result<(), String> {
        self.world.moment.phase = Phase::Load;
        let (least_ms, most_ms) = self.plan.load_ms;
        let end_ms = now_ms() + least_ms + self.dice().below(most_ms - least_ms + 1);
        let mut change_ms = 0;
        while now_ms() < end_ms {
            self.world.turn(ready.address);
            if now_ms() >= change_ms {
                change_ms = now_ms() + 10 + self.dice().below(60);
                self.change();
            }
            self.look(broker)?;
        }
        Ok(())
    }

    /// Something happens to somebody.
    fn change(&mut self) {
        let place = usize::try_from(self.dice().below(64)).expect("an index");
        let what = self.dice().below(12);
        let index = place % self.subscribers.len();
        let moment = &mut self.world.moment;
        let Some(subscriber) = self.world.cast[self.subscribers[index]].as_subscriber() else {
            return;
        };
        match what {
            0..=3 => {
                subscriber.is_away = !subscriber.is_away;
                subscriber.seat().is_cut |= subscriber.is_away;
            }
            4..=6 => subscriber.change(moment),
            7 if subscriber.seat().link.is_none() => subscriber.is_ending = true,
            8 => subscriber.seat().is_cut = true,
            9 => {
                // Somebody else loses the connection without meaning to.
                let other = place % self.world.cast.len();
                self.world.cast[other].seat().is_cut = true;
            }
            // Nothing happens as often as something does.
            _ => {}
        }
    }

    /// Publishers fall silent, everybody comes, everything owed arrives.
    fn drain(&mut self, broker: &mut Broker, ready: Ready) -> Result<(), String> {
        self.world.moment.phase = Phase::Drain;
        let started_ms = now_ms();
        let (mut heard, mut heard_ms) = (0, started_ms);
        while !self.world.is_done() {
            self.world.turn(ready.address);
            self.look(broker)?;
            let sums = &self.world.book.sums;
            let now_heard = sums.received + sums.acked + sums.repeated + sums.retained_seen + sums.wills;
            if now_heard != heard {
                (heard, heard_ms) = (now_heard, now_ms());
            }
            if now_ms() > heard_ms + STALL_MS || now_ms() > started_ms + DRAIN_MS_MAX {
                break;
            }
        }
        self.report.drains += 1;
        self.world.write_off();
        Ok(())
    }

    /// A broker that ends by itself while it should run is a broken promise too.
    fn look(&mut self, broker: &mut Broker) -> Result<(), String> {
        self.show();
        let Some(status) = broker.ended() else { return Ok(()) };
        self.world.fall();
        let tail = broker::tail(&self.setup.log, 2000);
        Err(format!("cycle {}: the broker ended by itself, {status}\n{tail}", self.world.book.cycle))
    }

    fn fall(&mut self, broker: &mut Broker) -> Result<(), String> {
        broker.kill();
        self.note("killed");
        self.world.fall();
        self.report.falls += 1;
        self.ground.fall().map_err(|failure| format!("the ground gave way: {failure}"))
    }

    /// An end as an operator asks for it: exit code 0, and nothing is lost either.
    fn stop(&mut self, broker: &mut Broker, ready: Ready) -> Result<(), String> {
        broker.ask_to_end();
        let end_ms = now_ms() + 20_000;
        while broker.ended().is_none() && now_ms() < end_ms {
            self.world.turn(ready.address);
        }
        let status = broker.wait_end();
        self.world.fall();
        self.report.stops += 1;
        if !status.is_some_and(|status| status.success()) {
            self.world.book.accuse(Rule::Broker, format!("SIGTERM ended with {status:?}"));
        }
        self.ground.fall().map_err(|failure| format!("the ground gave way: {failure}"))
    }

    /// One more life, without a fall: everything must still be there. Without any falls it is the ledger's own test.
    fn last_words(&mut self) -> Result<(), String> {
        let mut broker = self.start()?;
        let outcome = broker.wait_ready();
        let ready = self.ready(outcome)?;
        self.load(&mut broker, ready)?;
        self.drain(&mut broker, ready)?;
        self.stop(&mut broker, ready)
    }

    fn dice(&mut self) -> &mut Prng {
        &mut self.world.moment.dice
    }

    fn show(&mut self) {
        if self.plan.is_shown {
            self.report.show(&self.world.book);
        }
    }
}

/// Twenty publishers: half at QoS 1, half at QoS 2, both versions; each writes plain topics, and some that expire or are
/// retained.
fn publishers(book: &mut Book) -> Vec<Publisher> {
    let one = |number: usize| {
        let qos = if number.is_multiple_of(2) { 1 } else { 2 };
        let version = if number % 4 < 2 { Version::V5 } else { Version::V311 };
        let mut streams: Vec<usize> =
            (0..2).map(|topic| book.open(number, format!("c/{number}/{topic}"), qos, Kind::Plain)).collect();
        if version == Version::V5 && number.is_multiple_of(3) {
            streams.push(book.open(number, format!("c/{number}/x"), qos, Kind::Expiring(1)));
        }
        if number.is_multiple_of(5) {
            streams.push(book.open(number, format!("r/{number}/0"), qos, Kind::Retained));
            streams.push(book.open(number, format!("r/{number}/1"), qos, Kind::Retained));
        }
        Publisher::new(format!("publisher-{number}"), version, streams, WINDOW)
    };
    (0..PUBLISHERS).map(one).collect()
}

fn subscriber(number: usize, dice: &mut Prng, book: &Book) -> Subscriber {
    let publishers = u64::try_from(PUBLISHERS).expect("64 bits");
    let mut sources: Vec<usize> =
        (0..SOURCES).map(|_| usize::try_from(dice.below(publishers)).expect("an index")).collect();
    sources.push(number % PUBLISHERS);
    sources.sort_unstable();
    sources.dedup();
    let version = if number.is_multiple_of(2) { Version::V5 } else { Version::V311 };
    let qos = if number.is_multiple_of(3) { 1 } else { 2 };
    let mut one = Subscriber::new(format!("subscriber-{number}"), version, qos, &sources, book);
    one.is_away = number % 4 > 1;
    one
}
