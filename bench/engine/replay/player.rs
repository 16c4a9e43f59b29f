//! The event loop that plays a scenario.
//!
//! Why one queue of events by time: lines of a scenario overlap, and what a client does twice must happen in the order
//! of time, whatever the order of the lines.
//!
//! Invariants:
//! - A message's time passes whether or not it can be sent; what could not be sent is owed to nobody.
//! - What is sent within `GRACE_NS` before somebody leaves may or may not arrive.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};

use hdrhistogram::Histogram;
use rustix::event::epoll::{self, Event, EventFlags};

use super::books::Source;
use super::client::{Client, INFLIGHT_MAX};
use crate::clock::{now_ns, timespec};
use crate::codec::{self, Delivery, Frame, Lasting, Login, PacketType, Pattern, Qos, Scan, Template, scan};
use crate::engine::board::{Board, Phase};
use crate::engine::connection::{Departure, Stage};
use crate::engine::crew::histogram;
use crate::engine::plan::Plan;
use crate::failure::Failure;
use crate::flow::Inflight;
use crate::ledger::{Arrival, Tally};
use crate::number::{id, place, wide};
use crate::scenario::{Action, Publication, Scenario};
use crate::stamp::Stamp;
use crate::topic::{self, Names};
use crate::transport::ROOM_BYTES;

const BELL: u64 = u64::MAX;
const EVENTS_MAX: usize = 1_024;
const INBOUND_BYTES: usize = 256 * 1_024;
const GRACE_NS: u64 = 1_000_000_000;

/// What the player brings home.
#[derive(Debug)]
pub(super) struct Played {
    /// Counts.
    pub(super) tally: Tally,
    /// Deliveries owed.
    pub(super) expected: u64,
    /// Of those, deliveries that never came.
    pub(super) lost: u64,
    /// Messages whose client was away when their time came.
    pub(super) skipped: u64,
    /// Subscriptions and messages that the broker refused.
    pub(super) refused: u64,
    /// Acknowledgements of nothing.
    pub(super) unexpected: u64,
    /// Welcomes to a session that should have been kept and was not.
    pub(super) sessions_missing: u64,
    /// From the time when a message was due to its arrival, in nanoseconds.
    pub(super) latency: Histogram<u64>,
    /// How late messages left, in nanoseconds.
    pub(super) lag: Histogram<u64>,
    /// From the time when a message was due to its acknowledgement, in nanoseconds.
    pub(super) acknowledged: Histogram<u64>,
    /// From the time when a client should have dialled to its CONNACK, in nanoseconds.
    pub(super) connect: Histogram<u64>,
}

/// One client's publications of one step.
#[derive(Debug)]
struct Stream {
    client: usize,
    topic: String,
    qos: Qos,
    template: Template,
    source: Source,
    times: u64,
}

/// The loop.
#[derive(Debug)]
pub(super) struct Player {
    plan: Arc<Plan>,
    board: Arc<Board>,
    scenario: Arc<Scenario>,
    poller: OwnedFd,
    clients: Vec<Client>,
    /// Place of each group's first client.
    firsts: Vec<usize>,
    streams: Vec<Stream>,
    /// Place of the first stream of each step that publishes.
    stream_of: HashMap<usize, usize>,
    by_topic: HashMap<String, Vec<u32>>,
    /// Time, step, and number of the client in its group; a step that publishes comes again for every message.
    events: BinaryHeap<Reverse<(u64, usize, u32)>>,
    to_dial: VecDeque<(usize, u64)>,
    under_way: usize,
    inbound: Vec<u8>,
    dirty: Vec<usize>,
    next_ping_ns: u64,
    second: u64,
    phase: Phase,
    recent: Histogram<u64>,
    ready: u64,
    departed: u64,
    sent: u64,
    unacknowledged: u64,
    played: Played,
}

impl Player {
    /// Seats everybody; the scenario begins when `run` is called.
    pub(super) fn new(plan: Arc<Plan>, board: Arc<Board>, scenario: Arc<Scenario>) -> Result<Self, Failure> {
        let poller = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|source| Failure::os("making an epoll instance", source))?;
        epoll::add(&poller, board.bell(0), epoll::EventData::new_u64(BELL), EventFlags::IN)
            .map_err(|source| Failure::os("watching a doorbell", source))?;
        let largest = scenario.steps.iter().map(|step| match &step.action {
            Action::Publish(publication) => publication.payload_bytes,
            _ => 0, // Nothing else comes back.
        });
        let inbound = vec![0; ROOM_BYTES + INBOUND_BYTES.max(2 * (largest.max().unwrap_or(0) + 70_000))];
        let mut player = Self {
            poller,
            clients: vec![],
            firsts: vec![],
            streams: vec![],
            stream_of: HashMap::new(),
            by_topic: HashMap::new(),
            events: BinaryHeap::new(),
            to_dial: VecDeque::new(),
            under_way: 0,
            inbound,
            dirty: vec![],
            next_ping_ns: u64::MAX,
            second: 0,
            phase: Phase::Connect,
            recent: histogram(),
            ready: 0,
            departed: 0,
            sent: 0,
            unacknowledged: 0,
            played: Played {
                tally: Tally::default(),
                expected: 0,
                lost: 0,
                skipped: 0,
                refused: 0,
                unexpected: 0,
                sessions_missing: 0,
                latency: histogram(),
                lag: histogram(),
                acknowledged: histogram(),
                connect: histogram(),
            },
            plan,
            board,
            scenario,
        };
        player.seat();
        Ok(player)
    }

    /// Plays until the board says stop.
    pub(super) fn run(mut self) -> Result<Played, Failure> {
        let thread_id = rustix::thread::gettid().as_raw_nonzero().get();
        self.board.counters[0].thread_id.store(thread_id.unsigned_abs(), Relaxed);
        self.schedule(now_ns());
        let mut events = Vec::with_capacity(EVENTS_MAX);
        loop {
            self.wait(&mut events)?;
            self.phase = self.board.phase();
            match self.phase {
                Phase::Stop => return Ok(self.finish()),
                Phase::Drain | Phase::Leave => self.events.clear(),
                Phase::Connect | Phase::Warmup | Phase::Measure => {}
            }
            for event in events.drain(..) {
                self.take_event(event);
            }
            let now_ns = now_ns();
            self.act(now_ns);
            self.dial();
            self.ping(now_ns);
            self.flush_dirty();
            self.post();
        }
    }

    fn seat(&mut self) {
        let scenario = Arc::clone(&self.scenario);
        for group in &scenario.groups {
            self.firsts.push(self.clients.len());
            for number in 0..group.count {
                let client_id = format!("{}-{}-{number}", self.plan.ends.prefix, group.name);
                self.clients.push(Client::new(client_id, number, id(self.clients.len())));
            }
        }
        for (at, step) in scenario.steps.iter().enumerate() {
            let Action::Publish(publication) = &step.action else { continue };
            self.stream_of.insert(at, self.streams.len());
            for number in 0..scenario.groups[step.group].count {
                let client = self.firsts[step.group] + place(u64::from(number));
                self.add_stream(client, publication);
            }
        }
    }

    fn add_stream(&mut self, client: usize, publication: &Publication) {
        let topic = fill(&publication.topic, &self.clients[client]);
        let pattern = Pattern {
            version: self.plan.ends.version,
            topic: &topic,
            qos: publication.qos,
            retain: publication.retain,
            body: publication.body,
            payload_bytes: publication.payload_bytes,
        };
        let template = Template::new(&pattern);
        self.by_topic.entry(topic.clone()).or_default().push(id(self.streams.len()));
        let source = Source::every(publication.every_ns);
        self.streams.push(Stream {
            client,
            topic,
            qos: publication.qos,
            template,
            source,
            times: publication.times,
        });
    }

    fn schedule(&mut self, start_ns: u64) {
        for (at, step) in self.scenario.steps.iter().enumerate() {
            let count = self.scenario.groups[step.group].count;
            for number in 0..count {
                let due_ns = start_ns + step.due_ns(number, count);
                if let Some(first) = self.stream_of.get(&at) {
                    self.streams[first + place(u64::from(number))].source.start_ns = due_ns;
                }
                self.events.push(Reverse((due_ns, at, number)));
            }
        }
        if self.plan.ends.keep_alive_s > 0 {
            self.next_ping_ns = start_ns + self.ping_gap_ns();
        }
    }

    fn ping_gap_ns(&self) -> u64 {
        u64::from(self.plan.ends.keep_alive_s) * 500_000_000
    }

    fn wait(&self, events: &mut Vec<Event>) -> Result<(), Failure> {
        let next_ns =
            self.events.peek().map_or(u64::MAX, |Reverse((due_ns, ..))| *due_ns).min(self.next_ping_ns);
        let timeout = (next_ns != u64::MAX).then(|| timespec(next_ns.saturating_sub(now_ns())));
        match epoll::wait(&self.poller, rustix::buffer::spare_capacity(events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(Failure::os("waiting for sockets", errno)),
        }
    }

    fn act(&mut self, now_ns: u64) {
        while let Some(&Reverse((due_ns, step, number))) = self.events.peek() {
            if due_ns > now_ns {
                return;
            }
            self.events.pop();
            let at = self.firsts[self.scenario.steps[step].group] + place(u64::from(number));
            match self.stream_of.get(&step) {
                Some(first) => self.publish_due(first + place(u64::from(number)), step, number, now_ns),
                None => self.take_step(at, step, due_ns),
            }
        }
    }

    fn take_step(&mut self, at: usize, step: usize, due_ns: u64) {
        let scenario = Arc::clone(&self.scenario);
        let client = &mut self.clients[at];
        if let Action::Connect { lasting, credentials } = &scenario.steps[step].action {
            if client.is_ready() || client.is_coming() {
                return;
            }
            client.lasting = *lasting;
            client.credentials.clone_from(credentials);
            client.is_awaited = true;
            self.to_dial.push_back((at, due_ns));
            return;
        }
        if client.is_coming() {
            client.waiting.push(step);
            return;
        }
        if !client.is_ready() {
            return;
        }
        match &scenario.steps[step].action {
            Action::Connect { .. } | Action::Publish(_) => {}
            Action::Subscribe { filter, qos } => self.subscribe(at, filter, *qos),
            Action::Unsubscribe { filter } => self.unsubscribe(at, filter),
            Action::Disconnect => {
                self.retreat(at, Manner::Polite);
                let client = &mut self.clients[at];
                client.connection.outbox.extend_from_slice(&codec::DISCONNECT);
                client.connection.stage = Stage::Leaving;
                self.mark_dirty(at);
            }
            Action::Cut => {
                self.retreat(at, Manner::Abrupt);
                self.clients[at].connection.cut();
            }
        }
    }

    fn subscribe(&mut self, at: usize, filter: &str, qos: Qos) {
        let client = &mut self.clients[at];
        let filter = fill(filter, client);
        let packet_id = client.asking_id();
        codec::subscribe(self.plan.ends.version, packet_id, &filter, qos, &mut client.connection.outbox);
        client.asked.push_back((packet_id, filter, qos));
        self.mark_dirty(at);
    }

    fn unsubscribe(&mut self, at: usize, filter: &str) {
        let before_ns = now_ns().saturating_sub(GRACE_NS);
        let client = &mut self.clients[at];
        let filter = fill(filter, client);
        let packet_id = client.asking_id();
        codec::unsubscribe(self.plan.ends.version, packet_id, &filter, &mut client.connection.outbox);
        if let Some(known) = client.filters.iter().position(|(confirmed, _)| *confirmed == filter) {
            client.filters.remove(known);
            for stream in matching(&self.streams, &self.by_topic, &filter) {
                let record = client.records.entry(stream).or_default();
                record.depth = record.depth.saturating_sub(1);
                if record.depth == 0 {
                    record.close(self.streams[place(u64::from(stream))].source.passed_at(before_ns));
                }
            }
        }
        self.mark_dirty(at);
    }

    /// Enters into the books that client `at` goes.
    fn retreat(&mut self, at: usize, manner: Manner) {
        let now_ns = now_ns();
        let before_ns = now_ns.saturating_sub(GRACE_NS);
        let client = &mut self.clients[at];
        client.left_ns = now_ns;
        for (stream, record) in &mut client.records {
            let stream = &self.streams[place(u64::from(*stream))];
            let kept = client.lasting != Lasting::Never && granted(&client.filters, stream) > Qos::AtMostOnce;
            if !kept {
                record.close(stream.source.passed_at(before_ns));
            }
            if client.lasting == Lasting::Never {
                record.depth = 0;
            }
        }
        if client.lasting == Lasting::Never {
            client.filters.clear();
        }
        client.asked.clear();
        client.waiting.clear();
        let under_way = client.inflight.limit() - client.inflight.room();
        self.unacknowledged = self.unacknowledged.saturating_sub(under_way);
        client.inflight = Inflight::new(INFLIGHT_MAX);
        for (stream, number) in client.backlog.drain(..) {
            self.streams[place(u64::from(stream))].source.doubt(number, number + 1);
            self.played.skipped += 1;
        }
        if manner == Manner::Abrupt {
            for stream in self.streams.iter_mut().filter(|stream| stream.client == at) {
                let passed = stream.source.passed;
                stream.source.doubt(stream.source.passed_at(before_ns), passed);
            }
        }
    }

    fn publish_due(&mut self, stream: usize, step: usize, number: u32, now_ns: u64) {
        let entry = &mut self.streams[stream];
        let message = entry.source.passed;
        entry.source.passed += 1;
        if entry.source.passed < entry.times {
            self.events.push(Reverse((entry.source.due_ns(message + 1), step, number)));
        }
        let client = &mut self.clients[entry.client];
        if client.is_ready() || client.is_coming() {
            client.backlog.push_back((id(stream), message));
            let at = entry.client;
            self.send_backlog(at, now_ns);
        } else {
            entry.source.doubt(message, message + 1);
            self.played.skipped += 1;
        }
    }

    fn send_backlog(&mut self, at: usize, now_ns: u64) {
        let client = &mut self.clients[at];
        if !client.is_ready() {
            return;
        }
        while let Some(&(index, number)) = client.backlog.front() {
            let stream = &self.streams[place(u64::from(index))];
            let due_ns = stream.source.due_ns(number);
            let packet_id = match stream.qos {
                Qos::AtMostOnce => None,
                Qos::AtLeastOnce | Qos::ExactlyOnce => match client.inflight.reserve(due_ns) {
                    Some(packet_id) => Some(packet_id),
                    None => break,
                },
            };
            let sequence = u32::try_from(number).expect("a scenario limits `times` to 32 bits");
            let stamp = Stamp { sequence, publisher: index, intended_ns: Some(due_ns) };
            stream.template.append(&stamp, packet_id, &mut client.connection.outbox);
            self.played.lag.saturating_record(now_ns.saturating_sub(due_ns));
            self.sent += 1;
            self.unacknowledged += u64::from(packet_id.is_some());
            client.backlog.pop_front();
        }
        self.mark_dirty(at);
    }

    fn dial(&mut self) {
        while self.under_way < self.plan.ends.handshakes
            && let Some((at, due_ns)) = self.to_dial.pop_front()
        {
            let client = &mut self.clients[at];
            client.is_awaited = false;
            // Whoever is still leaving has been polite for long enough.
            client.connection.cut();
            client.connection.due_ns = due_ns;
            self.under_way += 1;
            if let Err(departure) = client.connection.dial(&self.plan.ends, &self.poller, at) {
                self.part(at, departure);
            }
        }
    }

    fn take_event(&mut self, event: Event) {
        let token = event.data.u64();
        if token == BELL {
            // The phase is looked at in every turn anyway.
            let _read = rustix::io::read(self.board.bell(0), &mut [0; 8]);
            return;
        }
        let at = place(token);
        let mut outcome = Ok(());
        let flags = event.flags;
        if flags.contains(EventFlags::OUT) {
            outcome = self.take_writable(at);
        }
        if outcome.is_ok() && flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            outcome = self.take_readable(at);
        }
        if let Err(departure) = outcome {
            self.part(at, departure);
        }
    }

    fn take_writable(&mut self, at: usize) -> Result<(), Departure> {
        let client = &mut self.clients[at];
        if client.connection.stage == Stage::Dialling {
            client.connection.finish_dial()?;
            self.greet(at);
        }
        self.clients[at].connection.unblock(&self.poller, wide(at))
    }

    /// Says who it is, as soon as nothing stands between the client and MQTT.
    fn greet(&mut self, at: usize) {
        let client = &mut self.clients[at];
        if client.connection.stage != Stage::Opening || !client.connection.is_open() {
            return;
        }
        let credentials = codec::Credentials {
            user: client.credentials.user.as_deref().map(|user| fill(user, client)),
            password: client.credentials.password.as_deref().map(|password| fill(password, client)),
        };
        let ends = &self.plan.ends;
        let login = Login {
            version: ends.version,
            client_id: &client.id,
            credentials: if credentials.user.is_some() { &credentials } else { &ends.credentials },
            keep_alive_s: ends.keep_alive_s,
            lasting: client.lasting,
        };
        codec::connect(&login, &mut client.connection.outbox);
        client.connection.stage = Stage::Greeting;
        client.connection.greeted_ns = now_ns();
    }

    fn take_readable(&mut self, at: usize) -> Result<(), Departure> {
        let mut inbound = std::mem::take(&mut self.inbound);
        let outcome = self.read(at, &mut inbound);
        self.inbound = inbound;
        outcome
    }

    fn read(&mut self, at: usize, inbound: &mut [u8]) -> Result<(), Departure> {
        let Some(count) = self.clients[at].connection.receive(inbound)? else { return Ok(()) };
        self.greet(at);
        let now_ns = now_ns();
        let mut rest = &inbound[..count];
        loop {
            match scan(rest) {
                Scan::Whole(frame) => {
                    self.take_frame(at, &frame, now_ns)?;
                    rest = &rest[frame.length..];
                }
                Scan::Partial => break,
                Scan::Broken => return Err(Departure::Malformed),
            }
        }
        self.clients[at].connection.carry_over(rest);
        self.mark_dirty(at);
        Ok(())
    }

    fn take_frame(&mut self, at: usize, frame: &Frame<'_>, now_ns: u64) -> Result<(), Departure> {
        match frame.packet_type() {
            PacketType::Publish => self.take_publish(at, frame, now_ns),
            PacketType::Puback | PacketType::Pubrec | PacketType::Pubrel | PacketType::Pubcomp => {
                self.take_acknowledgement(at, frame, now_ns)
            }
            PacketType::Connack => self.take_connack(at, frame, now_ns),
            PacketType::Suback => self.take_suback(at, frame),
            PacketType::Unsuback | PacketType::Pingresp => Ok(()),
            PacketType::Disconnect => Err(Departure::Disconnected(codec::disconnect_reason(frame))),
            PacketType::Connect | PacketType::Subscribe | PacketType::Pingreq | PacketType::Other => {
                Err(Departure::Malformed)
            }
        }
    }

    fn take_connack(&mut self, at: usize, frame: &Frame<'_>, now_ns: u64) -> Result<(), Departure> {
        let answer = codec::connack(frame, self.plan.ends.version).ok_or(Departure::Malformed)?;
        if answer.code != 0 {
            return Err(Departure::Refused(answer.code));
        }
        let client = &mut self.clients[at];
        if client.connection.stage != Stage::Greeting {
            return Err(Departure::Malformed);
        }
        client.connection.stage = Stage::Ready;
        client.connected_ns = now_ns;
        if let Some(receive_maximum) = answer.asked.receive_maximum {
            client.inflight.restrict(receive_maximum);
        }
        self.under_way = self.under_way.saturating_sub(1);
        self.ready += 1;
        self.played.connect.saturating_record(now_ns.saturating_sub(client.connection.due_ns));
        if client.lasting != Lasting::Never && !answer.session_present && !client.filters.is_empty() {
            self.played.sessions_missing += 1;
            client.filters.clear();
        }
        for (stream, record) in client.records.iter_mut().filter(|(_, record)| record.depth > 0) {
            // What is not kept for the absent is owed again from now on.
            record.open(self.streams[place(u64::from(*stream))].source.passed);
        }
        for step in std::mem::take(&mut client.waiting) {
            self.take_step(at, step, now_ns);
        }
        self.send_backlog(at, now_ns);
        Ok(())
    }

    fn take_suback(&mut self, at: usize, frame: &Frame<'_>) -> Result<(), Departure> {
        let answered = codec::suback_id(frame).ok_or(Departure::Malformed)?;
        let refusal = codec::suback_refusal(frame, self.plan.ends.version).ok_or(Departure::Malformed)?;
        let client = &mut self.clients[at];
        let Some(place_of) = client.asked.iter().position(|(packet_id, ..)| *packet_id == answered) else {
            self.played.unexpected += 1;
            return Ok(());
        };
        let Some((_, filter, qos)) = client.asked.remove(place_of) else { return Ok(()) };
        if let Some(code) = refusal {
            self.played.refused += 1;
            self.board.report_trouble(client.id.clone(), Departure::SubscriptionRefused(code).to_string());
            return Ok(());
        }
        let is_known = client.filters.iter().any(|(known, _)| *known == filter);
        client.filters.retain(|(known, _)| *known != filter);
        for stream in matching(&self.streams, &self.by_topic, &filter) {
            let record = client.records.entry(stream).or_default();
            record.depth += u32::from(!is_known);
            record.open(self.streams[place(u64::from(stream))].source.passed);
        }
        client.filters.push((filter, qos));
        Ok(())
    }

    fn take_publish(&mut self, at: usize, frame: &Frame<'_>, now_ns: u64) -> Result<(), Departure> {
        let delivery = codec::delivery(frame, self.plan.ends.version).ok_or(Departure::Malformed)?;
        let outbox = &mut self.clients[at].connection.outbox;
        match delivery.qos {
            Qos::AtMostOnce => {}
            Qos::AtLeastOnce => codec::acknowledge(PacketType::Puback, delivery.packet_id, outbox),
            Qos::ExactlyOnce => codec::acknowledge(PacketType::Pubrec, delivery.packet_id, outbox),
        }
        self.enter(at, &delivery, now_ns);
        Ok(())
    }

    fn enter(&mut self, at: usize, delivery: &Delivery<'_>, now_ns: u64) {
        let stamp = Stamp::find(delivery.payload);
        let known = stamp.and_then(|stamp| {
            let stream = self.streams.get(place(u64::from(stamp.publisher)))?;
            Some((stamp, stream.source.passed))
        });
        let tally = &mut self.played.tally;
        let Some((stamp, passed)) = known else {
            tally.foreign += 1;
            return;
        };
        let client = &mut self.clients[at];
        let record = client.records.entry(stamp.publisher).or_default();
        match record.note(stamp.sequence, passed) {
            Arrival::Newest { .. } => {}
            // A retained message is older than what is live, and has every right to be.
            Arrival::Late => tally.reordered += u64::from(!delivery.retained),
            Arrival::Duplicate => {
                // Overlapping subscriptions may bring one copy each, and a retained message repeats a live one.
                tally.duplicated += u64::from(record.depth < 2 && !delivery.retained);
                return;
            }
            Arrival::Foreign => {
                tally.foreign += 1;
                return;
            }
        }
        tally.received += 1;
        if let Some(due_ns) =
            stamp.intended_ns.filter(|&due_ns| due_ns > client.connected_ns && !delivery.retained)
        {
            self.recent.saturating_record(now_ns.saturating_sub(due_ns));
        }
    }

    fn take_acknowledgement(&mut self, at: usize, frame: &Frame<'_>, now_ns: u64) -> Result<(), Departure> {
        let answer = codec::acknowledgement(frame).ok_or(Departure::Malformed)?;
        let client = &mut self.clients[at];
        let kind = frame.packet_type();
        if kind == PacketType::Pubrel {
            codec::acknowledge(PacketType::Pubcomp, answer.packet_id, &mut client.connection.outbox);
            return Ok(());
        }
        let refused = answer.reason >= 0x80;
        self.played.refused += u64::from(refused);
        let ended = match kind {
            PacketType::Pubrec if !refused => client.inflight.release(answer.packet_id).map(|_| {
                codec::acknowledge(PacketType::Pubrel, answer.packet_id, &mut client.connection.outbox);
                None
            }),
            PacketType::Pubcomp => client.inflight.complete(answer.packet_id).map(Some),
            _ => client.inflight.finish(answer.packet_id).map(Some), // PUBACK, or a PUBREC that refuses.
        };
        match ended {
            Ok(Some(due_ns)) => {
                self.played.acknowledged.saturating_record(now_ns.saturating_sub(due_ns));
                self.unacknowledged = self.unacknowledged.saturating_sub(1);
                self.send_backlog(at, now_ns);
            }
            Ok(None) => {}
            Err(crate::flow::Unexpected) => self.played.unexpected += 1,
        }
        Ok(())
    }

    fn part(&mut self, at: usize, departure: Departure) {
        match self.clients[at].connection.stage {
            Stage::Leaving => self.clients[at].connection.cut(),
            Stage::Seated | Stage::Gone => {}
            Stage::Dialling | Stage::Opening | Stage::Greeting | Stage::Subscribing | Stage::Ready => {
                if !self.clients[at].is_ready() {
                    self.under_way = self.under_way.saturating_sub(1);
                }
                self.departed += 1;
                self.board.report_trouble(self.clients[at].id.clone(), departure.to_string());
                self.retreat(at, Manner::Abrupt);
                self.clients[at].connection.cut();
            }
        }
    }

    fn ping(&mut self, now_ns: u64) {
        if now_ns < self.next_ping_ns {
            return;
        }
        self.next_ping_ns = now_ns + self.ping_gap_ns();
        for at in 0..self.clients.len() {
            if self.clients[at].is_ready() {
                self.clients[at].connection.outbox.extend_from_slice(&codec::PINGREQ);
                self.mark_dirty(at);
            }
        }
    }

    fn mark_dirty(&mut self, at: usize) {
        let connection = &mut self.clients[at].connection;
        if !connection.dirty && connection.has_unsent() {
            connection.dirty = true;
            self.dirty.push(at);
        }
    }

    fn flush_dirty(&mut self) {
        for at in std::mem::take(&mut self.dirty) {
            self.clients[at].connection.dirty = false;
            if let Err(departure) = self.clients[at].connection.flush(&self.poller, wide(at)) {
                self.part(at, departure);
            }
        }
    }

    fn post(&mut self) {
        if self.board.second() != self.second {
            self.second = self.board.second();
            self.hand_in();
        }
        let counters = &self.board.counters[0];
        counters.ready.store(self.ready, Relaxed);
        counters.departed.store(self.departed, Relaxed);
        counters.sent.store(self.sent, Relaxed);
        counters.received.store(self.played.tally.received, Relaxed);
        counters.unacknowledged.store(self.unacknowledged, Relaxed);
        let is_over = self.events.is_empty()
            && self.to_dial.is_empty()
            && self.clients.iter().all(|client| client.backlog.is_empty() && !client.is_coming());
        counters.silent.store(is_over, Release);
    }

    fn hand_in(&mut self) {
        self.board.hand_in(0, &self.recent);
        self.played.latency.add(&self.recent).expect("all histograms have the same bounds");
        self.recent.reset();
    }

    fn finish(mut self) -> Played {
        self.hand_in();
        for client in &mut self.clients {
            let is_here = client.is_ready();
            for (stream, record) in &mut client.records {
                let source = &self.streams[place(u64::from(*stream))].source;
                let before_ns = client.left_ns.saturating_sub(GRACE_NS);
                if record.is_open() {
                    record.close(if is_here { source.passed } else { source.passed_at(before_ns) });
                }
                self.played.expected += record.owed(source);
                self.played.lost += record.lost(source);
            }
            let goodbye: &[u8] = if is_here { &codec::DISCONNECT } else { &[] };
            client.connection.close(goodbye);
        }
        self.played
    }
}

/// How a client goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Manner {
    Polite,
    Abrupt,
}

fn fill(template: &str, client: &Client) -> String {
    let user = client.credentials.user.as_deref().unwrap_or_default();
    let names = Names { number: client.number, client_id: &client.id, user: "", group: 0 };
    let user = topic::topic(user, &names);
    topic::topic(template, &Names { user: &user, ..names })
}

/// The streams whose topics `filter` matches; members of a shared subscription are owed nothing as individuals.
fn matching(streams: &[Stream], by_topic: &HashMap<String, Vec<u32>>, filter: &str) -> Vec<u32> {
    if !filter.contains(['+', '#']) {
        return by_topic.get(filter).cloned().unwrap_or_default();
    }
    let matched = (0..).zip(streams).filter(|(_, stream)| topic::is_matched(filter, &stream.topic));
    matched.map(|(index, _)| index).collect()
}

/// The QoS at which a client's subscriptions bring messages of `stream`.
fn granted(filters: &[(String, Qos)], stream: &Stream) -> Qos {
    let matched = filters.iter().filter(|(filter, _)| topic::is_matched(filter, &stream.topic));
    matched.map(|(_, qos)| *qos).max().unwrap_or(Qos::AtMostOnce).min(stream.qos)
}
