//! The event loop of one thread.
//!
//! Why turns: one wait, every readable socket read once, then every publisher that may send, then one flush of what
//! the turn left in the outboxes. The order keeps answers and new messages of one connection in one write.
//!
//! Invariants:
//! - No allocation and no clock call per message; the clock is read once per read and once per write.
//! - The loop ends when the board says stop, whatever the broker does.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};

use hdrhistogram::Histogram;
use rustix::event::epoll::{self, Event, EventFlags};

use super::board::{Board, Phase};
use super::connection::{Connection, Departure, Duties, Stage};
use super::crew::{Crew, histogram};
use super::dialer::{Dialer, Due};
use super::plan::{Pace, Plan};
use super::publisher::{self, Publisher};
use super::subscriber::{Books, Subscriber};
use super::topology::{Cast, Shape};
use crate::clock::{now_ns, timespec};
use crate::codec::{self, Login, Scan, scan};
use crate::failure::Failure;
use crate::flow::{Cursor, Schedule};
use crate::ledger::{Pool, Seen, Tally, Track};
use crate::number::{id, place, wide};
use crate::transport::ROOM_BYTES;

const BELL: u64 = u64::MAX;
const EVENTS_MAX: usize = 1_024;
const INBOUND_BYTES: usize = 256 * 1_024;
/// Writes of one publisher in one turn: a publisher that nothing holds back must not keep the others waiting.
const WRITES_MAX: usize = 16;
/// Room for topic, properties and header of one packet beside its payload.
const HEAD_BYTES: usize = 70_000;

/// What one thread brings home.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Counts.
    pub(crate) tally: Tally,
    /// From intended send time to arrival, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
    /// How late messages of an open loop left, in nanoseconds.
    pub(crate) lag: Histogram<u64>,
    /// From dialling to ready, in nanoseconds.
    pub(crate) connect: Histogram<u64>,
    /// From intended send time to the last acknowledgement, in nanoseconds.
    pub(crate) acknowledged: Histogram<u64>,
    /// From asking for what had been kept to having all of it, in nanoseconds.
    pub(crate) completion: Histogram<u64>,
    /// From CONNECT to CONNACK, in nanoseconds.
    pub(crate) welcome: Histogram<u64>,
    /// From the end of the TCP handshake to the end of those of TLS and WebSocket, in nanoseconds.
    pub(crate) opening: Histogram<u64>,
    /// TLS handshakes, by kind.
    pub(crate) handshakes: Handshakes,
    /// From the beginning of each wave to every welcome in it, in nanoseconds.
    pub(crate) waves: Vec<Histogram<u64>>,
    /// What each publisher sent.
    pub(crate) sent: Vec<(u32, u64)>,
    /// What each subscriber saw, by publisher.
    pub(crate) tracks: Vec<(u32, Track)>,
    /// What each row of a pool saw, by row and publisher; rows that threads share have the same number on each.
    pub(crate) seen: Vec<(u32, u32, Seen)>,
    /// Welcomes to a session that should have been kept and was not.
    pub(crate) sessions_missing: u64,
    /// Messages of a replay without the RETAIN flag.
    pub(crate) flag_missing: u64,
    /// Acknowledgements that refused a message.
    pub(crate) refused: u64,
    /// Acknowledgements of nothing.
    pub(crate) unexpected: u64,
    /// Windows that were reopened because nothing moved.
    pub(crate) stalls: u64,
}

/// TLS handshakes of one thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Handshakes {
    /// With certificates and signatures.
    pub(crate) full: u64,
    /// From tickets of an earlier one.
    pub(crate) resumed: u64,
    /// Version and suite of the last one.
    pub(crate) suite: Option<String>,
}

/// One thread's loop.
#[derive(Debug)]
pub(crate) struct Worker {
    plan: Arc<Plan>,
    board: Arc<Board>,
    thread: u32,
    phase: Phase,
    poller: OwnedFd,
    connections: Vec<Connection>,
    crew: Crew,
    dialer: Dialer,
    cursor: Option<Cursor>,
    inbound: Vec<u8>,
    dirty: Vec<usize>,
    spare: Vec<usize>,
    lag: Histogram<u64>,
    latency: Histogram<u64>,
    connect: Histogram<u64>,
    opening: Histogram<u64>,
    handshakes: Handshakes,
    waves: Vec<Histogram<u64>>,
    wave: u64,
    second: u64,
    ready: u64,
    departed: u64,
    dropped: u64,
    recalled: u64,
    sent: u64,
    next_ping_ns: u64,
    pings: u64,
    stalls: u64,
    stall_marks: Vec<(u64, u64)>,
    next_stall_look_ns: u64,
}

impl Worker {
    /// Seats the clients of `thread`; nobody is dialled yet.
    pub(crate) fn new(plan: Arc<Plan>, board: Arc<Board>, thread: u32) -> Result<Self, Failure> {
        let poller = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|source| Failure::os("making an epoll instance", source))?;
        epoll::add(&poller, board.bell(thread), epoll::EventData::new_u64(BELL), EventFlags::IN)
            .map_err(|source| Failure::os("watching a doorbell", source))?;
        let start_ns = now_ns();
        let gap_ns = plan.ends.connect_gap_ns;
        let threads = u64::from(plan.topology.threads);
        let mut worker = Self {
            crew: Crew::new(Arc::clone(&plan), Arc::clone(&board), thread),
            dialer: Dialer::new(
                gap_ns * threads,
                start_ns + gap_ns * u64::from(thread),
                plan.ends.handshakes,
            ),
            thread,
            phase: Phase::Connect,
            poller,
            connections: vec![],
            cursor: None,
            inbound: vec![0; ROOM_BYTES + INBOUND_BYTES.max(2 * (plan.payload_bytes + HEAD_BYTES))],
            dirty: vec![],
            spare: vec![],
            lag: histogram(),
            latency: histogram(),
            connect: histogram(),
            opening: histogram(),
            handshakes: Handshakes::default(),
            waves: plan.storm.iter().map(|_| histogram()).collect(),
            wave: 0,
            second: 0,
            ready: 0,
            departed: 0,
            dropped: 0,
            recalled: 0,
            sent: 0,
            next_ping_ns: u64::MAX,
            pings: 0,
            stalls: 0,
            stall_marks: vec![],
            next_stall_look_ns: 0,
            plan,
            board,
        };
        worker.seat();
        Ok(worker)
    }

    /// Works until the board says stop.
    pub(crate) fn run(mut self) -> Result<Outcome, Failure> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        self.board.counters[place(u64::from(self.thread))].thread_id.store(kernel_thread_id(), Relaxed);
        loop {
            self.wait(&mut events)?;
            // Behind the wait: the bell that woke us was rung for this phase, and the counters posted below belong to it.
            let phase = self.board.phase();
            if phase != self.phase {
                self.enter(phase);
            }
            if phase == Phase::Stop {
                return Ok(self.finish());
            }
            for event in events.drain(..) {
                self.take_event(event);
            }
            let now_ns = now_ns();
            self.follow_wave();
            self.dial(now_ns);
            self.wake_due(now_ns);
            self.publish_ready();
            self.ping(now_ns);
            self.flush_dirty();
            self.look_for_stalls(now_ns);
            self.post();
        }
    }

    fn seat(&mut self) {
        let Plan { topology, .. } = &*Arc::clone(&self.plan);
        for number in topology.local(topology.subscribers_cast(), self.thread) {
            let duties = Duties { subscriber: Some(id(self.crew.subscribers.len())), publisher: None };
            self.crew.subscribers.push(Subscriber::new(&self.plan, number));
            self.connections.push(Connection::seated(number, duties));
        }
        for number in topology.local(topology.publishers_cast(), self.thread) {
            let mut duties = Duties { publisher: Some(id(self.crew.publishers.len())), subscriber: None };
            if topology.shape == Shape::Echo {
                duties.subscriber = Some(id(self.crew.subscribers.len()));
                self.crew.subscribers.push(Subscriber::new(&self.plan, number));
            }
            self.crew.publishers.push(Publisher::new(&self.plan, number, self.connections.len()));
            self.connections.push(Connection::seated(number, duties));
        }
        let rows = topology.pool_rows(id(self.crew.subscribers.len()));
        self.crew.pool = Pool::new(rows, topology.publishers);
    }

    fn enter(&mut self, phase: Phase) {
        match phase {
            Phase::Connect | Phase::Drain | Phase::Stop => {}
            Phase::Leave => self.say_goodbye(),
            Phase::Warmup => self.begin_traffic(),
            Phase::Measure => {
                if self.phase == Phase::Connect {
                    self.begin_traffic();
                }
                self.crew.recent.reset();
                self.crew.acknowledged.reset();
                self.latency.reset();
                self.lag.reset();
            }
        }
        self.phase = phase;
    }

    fn say_goodbye(&mut self) {
        for (at, connection) in self.connections.iter_mut().enumerate() {
            if connection.stage != Stage::Ready {
                continue;
            }
            connection.outbox.extend_from_slice(&codec::DISCONNECT);
            connection.stage = Stage::Leaving;
            if !connection.dirty {
                connection.dirty = true;
                self.dirty.push(at);
            }
        }
    }

    fn begin_traffic(&mut self) {
        let start_ns = self.board.start_ns();
        self.next_stall_look_ns = start_ns + self.plan.stall_ns;
        match self.plan.pace {
            Pace::Closed { .. } => self.crew.wake_all(),
            Pace::Open { interval_ns, spread } => {
                let publishers = self.plan.topology.publishers;
                let schedule = Schedule { start_ns, interval_ns, publishers, spread };
                self.cursor = Some(Cursor::new(schedule, publisher::numbers(&self.crew.publishers)));
            }
        }
    }

    fn wait(&self, events: &mut Vec<Event>) -> Result<(), Failure> {
        let deadline_ns = self.next_deadline_ns();
        let timeout = deadline_ns.map(|deadline_ns| timespec(deadline_ns.saturating_sub(now_ns())));
        match epoll::wait(&self.poller, rustix::buffer::spare_capacity(events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(Failure::os("waiting for sockets", errno)),
        }
    }

    fn next_deadline_ns(&self) -> Option<u64> {
        let publishing = self.is_publishing();
        if publishing && !self.crew.ready.is_empty() {
            return Some(0);
        }
        let allowed = self.board.dial_allowance(self.connections.len());
        let due = self.cursor.as_ref().filter(|_| publishing).and_then(Cursor::next_due_ns);
        let stall = (publishing && self.is_closed()).then_some(self.next_stall_look_ns);
        [self.dialer.next_due_ns(allowed), due, stall, Some(self.next_ping_ns)]
            .into_iter()
            .flatten()
            .min()
            .filter(|&deadline_ns| deadline_ns != u64::MAX)
    }

    fn is_publishing(&self) -> bool {
        matches!(self.phase, Phase::Warmup | Phase::Measure)
    }

    /// Whether subscribers hold publishers back.
    fn is_closed(&self) -> bool {
        matches!(self.plan.pace, Pace::Closed { .. }) && self.plan.topology.cast == Cast::Everybody
    }

    fn take_event(&mut self, event: Event) {
        let token = event.data.u64();
        if token == BELL {
            let mut count = [0; 8];
            // Nothing to read means that somebody else's ring was already taken.
            let _read = rustix::io::read(self.board.bell(self.thread), &mut count);
            // Only subscribers on other threads can have made room that nobody here has noticed.
            if self.is_publishing() && self.is_closed() && self.plan.topology.threads > 1 {
                self.crew.wake_all();
            }
            return;
        }
        let at = place(token);
        let flags = event.flags;
        if flags.contains(EventFlags::OUT)
            && let Err(departure) = self.take_writable(at)
        {
            self.part(at, departure);
            return;
        }
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR)
            && let Err(departure) = self.take_readable(at)
        {
            self.part(at, departure);
        }
    }

    fn take_writable(&mut self, at: usize) -> Result<(), Departure> {
        let connection = &mut self.connections[at];
        if connection.stage == Stage::Dialling {
            connection.finish_dial()?;
            self.open(at);
        }
        let connection = &mut self.connections[at];
        connection.unblock(&self.poller, wide(at))?;
        if let Some(local) = connection.duties.publisher.filter(|_| connection.is_writable()) {
            self.crew.wake(place(u64::from(local)));
        }
        Ok(())
    }

    /// Goes on as soon as nothing stands between the client and MQTT.
    fn open(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        if !connection.is_open() {
            return;
        }
        if let Some(handshake) = connection.handshake() {
            let kind = match handshake.is_resumed {
                true => &mut self.handshakes.resumed,
                false => &mut self.handshakes.full,
            };
            *kind += 1;
            self.handshakes.suite = Some(handshake.suite);
        }
        self.opening.saturating_record(now_ns().saturating_sub(connection.reached_ns));
        if self.plan.topology.shape == Shape::Echo {
            connection.stage = Stage::Ready;
            self.note_ready(at);
        } else {
            self.greet(at);
        }
    }

    fn greet(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        let ends = &self.plan.ends;
        let client_id = client_id(&self.plan, connection);
        let credentials = match connection.duties.publisher {
            Some(_) => ends.publisher_credentials(connection.number),
            None => ends.subscriber_credentials(connection.number),
        };
        let login = Login {
            version: ends.version,
            client_id: &client_id,
            credentials: &credentials,
            keep_alive_s: ends.keep_alive_s,
            lasting: ends.lasting,
        };
        codec::connect(&login, &mut connection.outbox);
        connection.stage = Stage::Greeting;
        connection.greeted_ns = now_ns();
        let greeted_ns = connection.greeted_ns;
        if self.plan.topic.is_none() {
            self.crew.ask(connection, greeted_ns);
        }
    }

    fn take_readable(&mut self, at: usize) -> Result<(), Departure> {
        let connection = &mut self.connections[at];
        let Some(count) = connection.receive(&mut self.inbound)? else { return Ok(()) };
        let now_ns = now_ns();
        if connection.stage == Stage::Opening {
            self.open(at);
        }
        let connection = &mut self.connections[at];
        let before = connection.stage;
        let mut rest = &self.inbound[..count];
        loop {
            match scan(rest) {
                Scan::Whole(frame) => {
                    self.crew.take(connection, &frame, now_ns)?;
                    rest = &rest[frame.length..];
                }
                Scan::Partial => break,
                Scan::Broken => return Err(Departure::Malformed),
            }
        }
        connection.carry_over(rest);
        if connection.has_unsent() && !connection.dirty {
            connection.dirty = true;
            self.dirty.push(at);
        }
        if before != Stage::Ready && connection.stage == Stage::Ready {
            self.note_ready(at);
        }
        Ok(())
    }

    fn note_ready(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        connection.shed();
        let now_ns = now_ns();
        self.connect.saturating_record(now_ns.saturating_sub(connection.due_ns));
        if let Some(wave) = self.waves.last_mut() {
            wave.saturating_record(now_ns.saturating_sub(self.board.wave_ns()));
        }
        self.dialer.settle();
        self.ready += 1;
        if self.ready == wide(self.connections.len()) && self.plan.ends.keep_alive_s > 0 {
            self.next_ping_ns = now_ns + self.ping_gap_ns();
        }
        if self.plan.storm.is_some_and(|storm| storm.churn) && self.phase < Phase::Drain {
            let connection = &mut self.connections[at];
            connection.outbox.extend_from_slice(&codec::DISCONNECT);
            connection.stage = Stage::Leaving;
            if !connection.dirty {
                connection.dirty = true;
                self.dirty.push(at);
            }
        }
    }

    /// Cuts this thread's part of a wave that has begun, and lets the same clients come again.
    fn follow_wave(&mut self) {
        let wave = self.board.wave();
        let Some(storm) = self.plan.storm.filter(|_| wave != self.wave) else { return };
        self.wave = wave;
        self.waves.push(histogram());
        for (at, connection) in self.connections.iter_mut().enumerate() {
            let is_hit = u64::from(connection.number) * storm.cut_permille % 1_000 < storm.cut_permille;
            if is_hit && connection.stage == Stage::Ready {
                connection.cut();
                self.dialer.again(at);
                self.recalled += 1;
            }
        }
    }

    /// Every connection pings once in three quarters of its keep-alive; their turns are evenly spread.
    fn ping_gap_ns(&self) -> u64 {
        u64::from(self.plan.ends.keep_alive_s) * 750_000_000 / wide(self.connections.len().max(1))
    }

    fn part(&mut self, at: usize, departure: Departure) {
        let connection = &mut self.connections[at];
        match connection.stage {
            Stage::Leaving => {
                connection.cut();
                if self.phase < Phase::Drain {
                    self.dialer.again(at);
                } else {
                    connection.stage = Stage::Gone;
                }
                return;
            }
            Stage::Gone => {}
            Stage::Ready => self.dropped += 1,
            Stage::Seated | Stage::Dialling | Stage::Opening | Stage::Greeting | Stage::Subscribing => {
                self.dialer.settle();
            }
        }
        if connection.stage != Stage::Gone {
            self.departed += 1;
            self.board.report_trouble(client_id(&self.plan, connection), departure.to_string());
        }
        connection.close(&[]);
    }

    fn dial(&mut self, now_ns: u64) {
        let allowed = self.board.dial_allowance(self.connections.len());
        while let Some(Due { client: at, due_ns }) = self.dialer.next(allowed, now_ns) {
            self.connections[at].due_ns = due_ns;
            if let Err(departure) = self.connections[at].dial(&self.plan.ends, &self.poller, at) {
                self.part(at, departure);
            }
        }
    }

    fn wake_due(&mut self, now_ns: u64) {
        if !self.is_publishing() {
            return;
        }
        let Some(cursor) = &mut self.cursor else { return };
        while let Some(local) = cursor.next_due(now_ns) {
            self.crew.wake(local);
        }
    }

    fn publish_ready(&mut self) {
        let mut ready = std::mem::replace(&mut self.crew.ready, std::mem::take(&mut self.spare));
        for local in ready.drain(..) {
            self.crew.publishers[local].queued = false;
            if self.is_publishing()
                && let Err(departure) = self.publish(local)
            {
                self.part(self.crew.publishers[local].connection, departure);
            }
        }
        self.spare = ready;
        for thread in 0..self.crew.to_ring.len() {
            if std::mem::take(&mut self.crew.to_ring[thread]) {
                self.board.ring(id(thread));
            }
        }
    }

    #[inline]
    fn publish(&mut self, local: usize) -> Result<(), Departure> {
        let publisher = &mut self.crew.publishers[local];
        let at = publisher.connection;
        let connection = &mut self.connections[at];
        let schedule = self.cursor.as_ref().map(Cursor::schedule);
        for _ in 0..WRITES_MAX {
            if !connection.is_writable() {
                return Ok(());
            }
            let now_ns = now_ns();
            let count = publisher.next_write(&self.board, schedule, now_ns);
            if count == 0 {
                return Ok(());
            }
            publisher.append(count, schedule, now_ns, &mut self.lag, &mut connection.outbox);
            self.board.set_sent(publisher.number, publisher.sent());
            self.sent += count;
            if publisher.inflight.is_some() {
                self.crew.unacknowledged += count;
            }
            connection.flush(&self.poller, wide(at))?;
        }
        self.crew.wake(local);
        Ok(())
    }

    fn ping(&mut self, now_ns: u64) {
        while self.next_ping_ns <= now_ns {
            self.next_ping_ns += self.ping_gap_ns().max(1);
            let at = place(self.pings % wide(self.connections.len()));
            self.pings += 1;
            let connection = &mut self.connections[at];
            if connection.stage == Stage::Ready && self.plan.topology.shape != Shape::Echo {
                connection.outbox.extend_from_slice(&codec::PINGREQ);
                if !connection.dirty {
                    connection.dirty = true;
                    self.dirty.push(at);
                }
            }
        }
    }

    fn flush_dirty(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for at in dirty.drain(..) {
            self.connections[at].dirty = false;
            if let Err(departure) = self.connections[at].flush(&self.poller, wide(at)) {
                self.part(at, departure);
            }
        }
        self.dirty = dirty;
    }

    fn look_for_stalls(&mut self, now_ns: u64) {
        if self.is_publishing() && now_ns >= self.next_stall_look_ns {
            self.stalls += self.crew.forgive_stalled(&mut self.stall_marks);
            self.next_stall_look_ns = now_ns + self.plan.stall_ns;
        }
    }

    fn post(&mut self) {
        let second = self.board.second();
        if second != self.second {
            self.second = second;
            self.hand_in();
        }
        let counters = &self.board.counters[place(u64::from(self.thread))];
        counters.ready.store(self.ready, Relaxed);
        counters.departed.store(self.departed, Relaxed);
        counters.sent.store(self.sent, Relaxed);
        counters.received.store(self.crew.tally.received, Relaxed);
        counters.received_ns.store(self.crew.received_ns, Relaxed);
        counters.dropped.store(self.dropped, Relaxed);
        counters.recalled.store(self.recalled, Relaxed);
        counters.unacknowledged.store(self.crew.unacknowledged, Relaxed);
        counters.wave.store(self.wave, Release);
        // Last, so that whoever sees a silent thread sees its final counts too.
        let all = |is: fn(&Connection) -> bool| self.connections.iter().all(is);
        let has_written = |connection: &Connection| {
            !connection.has_unsent() || matches!(connection.stage, Stage::Seated | Stage::Gone)
        };
        if self.phase >= Phase::Drain {
            counters.silent.store(all(has_written), Release);
        }
        if self.phase >= Phase::Leave {
            counters.left.store(all(|connection| connection.stage != Stage::Leaving), Release);
        }
    }

    /// Gives the watcher what was measured since the last time, and keeps it in the whole.
    fn hand_in(&mut self) {
        if self.crew.recent.is_empty() {
            return;
        }
        self.board.hand_in(self.thread, &self.crew.recent);
        self.latency.add(&self.crew.recent).expect("all histograms have the same bounds");
        self.crew.recent.reset();
    }

    fn finish(mut self) -> Outcome {
        self.hand_in();
        let goodbye: &[u8] = if self.plan.topology.shape == Shape::Echo { &[] } else { &codec::DISCONNECT };
        self.connections.iter_mut().for_each(|connection| connection.close(goodbye));
        let topology = self.plan.topology;
        let numbers: Vec<u32> = self.crew.subscribers.iter().map(|subscriber| subscriber.number).collect();
        let tracks = self.crew.subscribers.into_iter().flat_map(|subscriber| {
            let number = subscriber.number;
            let named = move |(slot, track)| (topology.publisher_at(number, id(slot)), track);
            let tracks = match subscriber.books {
                Books::Tracks(tracks) => tracks,
                Books::Newest(_) => Box::default(),
            };
            tracks.into_iter().enumerate().map(named)
        });
        let row = |row: u32| match topology.shape {
            Shape::Shared => row,
            _ => numbers[place(u64::from(row))], // Everywhere else a row is one subscriber of this thread.
        };
        Outcome {
            tally: self.crew.tally,
            latency: self.latency,
            lag: self.lag,
            connect: self.connect,
            acknowledged: self.crew.acknowledged,
            completion: self.crew.completion,
            welcome: self.crew.welcome,
            opening: self.opening,
            handshakes: self.handshakes,
            waves: self.waves,
            sent: self.crew.publishers.iter().map(|publisher| (publisher.number, publisher.sent())).collect(),
            tracks: tracks.collect(),
            seen: self
                .crew
                .pool
                .into_records()
                .map(|(at, publisher, seen)| (row(at), publisher, seen))
                .collect(),
            sessions_missing: self.crew.sessions_missing,
            flag_missing: self.crew.flag_missing,
            refused: self.crew.refused,
            unexpected: self.crew.unexpected,
            stalls: self.stalls,
        }
    }
}

fn client_id(plan: &Plan, connection: &Connection) -> String {
    match connection.duties.publisher {
        Some(_) => plan.ends.publisher_id(connection.number),
        None => plan.ends.subscriber_id(connection.number),
    }
}

fn kernel_thread_id() -> u32 {
    u32::try_from(rustix::thread::gettid().as_raw_nonzero().get()).expect("thread ids are positive")
}
