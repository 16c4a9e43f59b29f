//! All clients of one thread and what arriving packets do to them.
//!
//! Why apart from the event loop: this half touches no socket, so the ledger can be tested with bytes.
//!
//! Invariants:
//! - Answers go to the connection's outbox and leave with the turn's flush.
//! - A publisher is in `ready` at most once.

use std::sync::Arc;

use hdrhistogram::Histogram;

use super::board::Board;
use super::connection::{Connection, Departure, Stage};
use super::plan::{Pace, Plan};
use super::publisher::Publisher;
use super::subscriber::{self, Books, Subscriber};
use super::topology::{Cast, Shape};
use crate::codec::{self, Connack, Delivery, Frame, Lasting, PacketType, Qos};
use crate::flow::{Unexpected, Window};
use crate::ledger::{Arrival, Pool, Tally};
use crate::number::{id, place};
use crate::stamp::Stamp;

/// The longest latency that is told apart from longer ones: one minute.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// Clients and books of one thread.
#[derive(Debug)]
pub(crate) struct Crew {
    /// Publishers, in the order of their numbers.
    pub(crate) publishers: Vec<Publisher>,
    /// Subscribers, in the order of their numbers.
    pub(crate) subscribers: Vec<Subscriber>,
    /// Closed-loop windows by publisher number; `None` for publishers that nobody here hears.
    pub(crate) windows: Vec<Option<Window>>,
    /// Publishers that may be able to send.
    pub(crate) ready: Vec<usize>,
    /// Other threads whose publishers made progress here this turn.
    pub(crate) to_ring: Vec<bool>,
    /// What was counted.
    pub(crate) tally: Tally,
    /// The books of subscribers that share them, or that take messages in any order.
    pub(crate) pool: Pool,
    /// From intended send time, or from the request, to arrival, in nanoseconds; since the last hand-in.
    pub(crate) recent: Histogram<u64>,
    /// From intended send time to the last acknowledgement, in nanoseconds.
    pub(crate) acknowledged: Histogram<u64>,
    /// From asking to having all, in nanoseconds, for each subscriber that got all.
    pub(crate) completion: Histogram<u64>,
    /// From CONNECT to CONNACK, in nanoseconds.
    pub(crate) welcome: Histogram<u64>,
    /// When the last new message or the last acknowledgement came.
    pub(crate) received_ns: u64,
    /// Messages sent that wait for an acknowledgement.
    pub(crate) unacknowledged: u64,
    /// Welcomes to a session that should have been kept and was not.
    pub(crate) sessions_missing: u64,
    /// Messages of a replay without the RETAIN flag.
    pub(crate) flag_missing: u64,
    /// Acknowledgements that refused a message.
    pub(crate) refused: u64,
    /// Acknowledgements of nothing.
    pub(crate) unexpected: u64,
    plan: Arc<Plan>,
    board: Arc<Board>,
    thread: u32,
}

impl Crew {
    /// A thread without clients, but with the closed-loop windows that its subscribers will move.
    pub(crate) fn new(plan: Arc<Plan>, board: Arc<Board>, thread: u32) -> Self {
        Self {
            publishers: vec![],
            subscribers: vec![],
            windows: windows(&plan, thread),
            ready: vec![],
            to_ring: vec![false; board.counters.len()],
            tally: Tally::default(),
            pool: Pool::default(),
            recent: histogram(),
            acknowledged: histogram(),
            completion: histogram(),
            welcome: histogram(),
            received_ns: 0,
            unacknowledged: 0,
            sessions_missing: 0,
            flag_missing: 0,
            refused: 0,
            unexpected: 0,
            plan,
            board,
            thread,
        }
    }

    /// Takes one packet that arrived on `connection`.
    #[inline]
    pub(crate) fn take(
        &mut self,
        connection: &mut Connection,
        frame: &Frame<'_>,
        now_ns: u64,
    ) -> Result<(), Departure> {
        match frame.packet_type() {
            PacketType::Publish => self.take_publish(connection, frame, now_ns),
            PacketType::Puback | PacketType::Pubrec | PacketType::Pubrel | PacketType::Pubcomp => {
                self.take_acknowledgement(connection, frame, now_ns)
            }
            PacketType::Connack => self.take_connack(connection, frame, now_ns),
            PacketType::Suback => self.take_suback(connection, frame),
            PacketType::Pingresp => Ok(()),
            PacketType::Disconnect => Err(Departure::Disconnected(codec::disconnect_reason(frame))),
            PacketType::Connect
            | PacketType::Subscribe
            | PacketType::Unsuback
            | PacketType::Pingreq
            | PacketType::Other => Err(Departure::Malformed),
        }
    }

    /// Puts a publisher on the ready list.
    #[inline]
    pub(crate) fn wake(&mut self, local: usize) {
        let publisher = &mut self.publishers[local];
        if !publisher.queued {
            publisher.queued = true;
            self.ready.push(local);
        }
    }

    /// Puts all publishers on the ready list.
    pub(crate) fn wake_all(&mut self) {
        (0..self.publishers.len()).for_each(|local| self.wake(local));
    }

    /// Counts as lost what a window has been waiting for since the last call with the same `marks`.
    pub(crate) fn forgive_stalled(&mut self, marks: &mut Vec<(u64, u64)>) -> u64 {
        if self.plan.topology.is_pooled() {
            return self.forgive_own(marks);
        }
        marks.resize(self.windows.len(), (0, 0));
        let mut forgiven = 0;
        for (publisher, mark) in marks.iter_mut().enumerate() {
            let number = id(publisher);
            let Some(window) = &mut self.windows[publisher] else { continue };
            let (done, sent) = (window.done(), self.board.sent(number));
            if *mark == (done, sent) && done < sent {
                window.forgive(sent);
                forgiven += 1;
                self.announce(number, sent);
            }
            *mark = (done, sent);
        }
        forgiven
    }

    /// The same where progress is a sum over threads, for this thread's own publishers.
    fn forgive_own(&mut self, marks: &mut Vec<(u64, u64)>) -> u64 {
        marks.resize(self.publishers.len(), (0, 0));
        let mut forgiven = 0;
        for (local, mark) in marks.iter_mut().enumerate() {
            let publisher = &self.publishers[local];
            let progress = (self.board.done(publisher.number), publisher.sent());
            if *mark == progress && progress.0 < progress.1 {
                self.board.forgive(publisher.number, self.thread);
                forgiven += 1;
                self.wake(local);
            }
            *mark = progress;
        }
        forgiven
    }

    #[inline]
    fn take_publish(
        &mut self,
        connection: &mut Connection,
        frame: &Frame<'_>,
        now_ns: u64,
    ) -> Result<(), Departure> {
        let delivery = codec::delivery(frame, self.plan.ends.version).ok_or(Departure::Malformed)?;
        match delivery.qos {
            Qos::AtMostOnce => {}
            Qos::AtLeastOnce => {
                codec::acknowledge(PacketType::Puback, delivery.packet_id, &mut connection.outbox);
            }
            Qos::ExactlyOnce => {
                codec::acknowledge(PacketType::Pubrec, delivery.packet_id, &mut connection.outbox);
            }
        }
        match connection.duties.subscriber {
            Some(subscriber) => self.enter(place(u64::from(subscriber)), &delivery, now_ns),
            None => self.tally.foreign += 1,
        }
        Ok(())
    }

    #[inline]
    fn enter(&mut self, local: usize, delivery: &Delivery<'_>, now_ns: u64) {
        let subscriber = &mut self.subscribers[local];
        let topology = &self.board.topology;
        let known = Stamp::find(delivery.payload).and_then(|stamp| {
            let slot = topology.slot(subscriber.number, stamp.publisher)?;
            Some((stamp, place(u64::from(slot))))
        });
        let Some((stamp, slot)) = known else {
            self.tally.foreign += 1;
            return;
        };
        let sent = self.board.sent(stamp.publisher);
        let group = subscriber.number % topology.groups;
        let arrival = match &mut subscriber.books {
            Books::Tracks(tracks) => tracks[slot].note(stamp.sequence, sent),
            Books::Newest(newest) => {
                let row = topology.pool_row(subscriber.number, id(local));
                let arrival = self.pool.note(row, stamp.publisher, stamp.sequence, sent);
                in_order(arrival, &mut newest[slot], topology.shape)
            }
        };
        match arrival {
            Arrival::Newest { first, last } if !topology.is_pooled() => {
                self.pass(stamp.publisher, first, last);
            }
            Arrival::Newest { .. } => self.count(stamp.publisher, group),
            Arrival::Late => {
                self.tally.reordered += 1;
                if topology.is_pooled() {
                    self.count(stamp.publisher, group);
                }
            }
            Arrival::Duplicate => {
                self.tally.duplicated += 1;
                return;
            }
            Arrival::Foreign => {
                self.tally.foreign += 1;
                return;
            }
        }
        self.tally.received += 1;
        self.received_ns = now_ns;
        self.clock(local, &stamp, delivery.retained, now_ns);
    }

    /// Notes how long a new message took, and whether it was the last one that its subscriber waited for.
    #[inline]
    fn clock(&mut self, local: usize, stamp: &Stamp, retained: bool, now_ns: u64) {
        let subscriber = &mut self.subscribers[local];
        subscriber.received += 1;
        if self.plan.kept.is_empty() {
            if let Some(intended_ns) = stamp.intended_ns {
                self.recent.saturating_record(now_ns.saturating_sub(intended_ns));
            }
            return;
        }
        let since_ns = now_ns.saturating_sub(subscriber.asked_ns);
        self.recent.saturating_record(since_ns);
        if subscriber.received == subscriber.wanted {
            self.completion.saturating_record(since_ns);
        }
        self.flag_missing += u64::from(self.plan.topology.shape == Shape::Retained && !retained);
    }

    #[inline]
    fn pass(&mut self, publisher: u32, first: u64, last: u64) {
        let Some(Some(window)) = self.windows.get_mut(place(u64::from(publisher))) else { return };
        if window.pass(first, last) {
            let done = window.done();
            self.announce(publisher, done);
        }
    }

    #[inline]
    fn count(&mut self, publisher: u32, group: u32) {
        self.board.add_done(publisher, self.thread, group, 1);
        self.tell(publisher);
    }

    #[inline]
    fn announce(&mut self, publisher: u32, done: u64) {
        self.board.set_done(publisher, self.thread, done);
        self.tell(publisher);
    }

    /// Lets `publisher` look at its progress.
    #[inline]
    fn tell(&mut self, publisher: u32) {
        let topology = &self.board.topology;
        let home = topology.thread_of(publisher);
        if topology.cast == Cast::Subscribers {
            return;
        }
        if home == self.thread {
            self.wake(place(u64::from(publisher / topology.threads)));
        } else {
            self.to_ring[place(u64::from(home))] = true;
        }
    }

    #[inline]
    fn take_acknowledgement(
        &mut self,
        connection: &mut Connection,
        frame: &Frame<'_>,
        now_ns: u64,
    ) -> Result<(), Departure> {
        let answer = codec::acknowledgement(frame).ok_or(Departure::Malformed)?;
        let kind = frame.packet_type();
        if kind == PacketType::Pubrel {
            codec::acknowledge(PacketType::Pubcomp, answer.packet_id, &mut connection.outbox);
            return Ok(());
        }
        let Some(local) = connection.duties.publisher.map(|local| place(u64::from(local))) else {
            self.unexpected += 1;
            return Ok(());
        };
        let refused = answer.reason >= 0x80;
        self.refused += u64::from(refused);
        let Some(inflight) = &mut self.publishers[local].inflight else {
            self.unexpected += 1;
            return Ok(());
        };
        let ended = match kind {
            PacketType::Pubrec if !refused => inflight.release(answer.packet_id).map(|_| {
                codec::acknowledge(PacketType::Pubrel, answer.packet_id, &mut connection.outbox);
                None
            }),
            PacketType::Pubcomp => inflight.complete(answer.packet_id).map(Some),
            _ => inflight.finish(answer.packet_id).map(Some), // PUBACK, or a PUBREC that refuses.
        };
        match ended {
            Ok(Some(begun_ns)) => {
                self.acknowledged.saturating_record(now_ns.saturating_sub(begun_ns));
                self.received_ns = now_ns;
                self.unacknowledged = self.unacknowledged.saturating_sub(1);
            }
            Ok(None) => {}
            Err(Unexpected) => self.unexpected += 1,
        }
        self.wake(local);
        Ok(())
    }

    fn take_connack(
        &mut self,
        connection: &mut Connection,
        frame: &Frame<'_>,
        now_ns: u64,
    ) -> Result<(), Departure> {
        if connection.stage != Stage::Greeting {
            return Err(Departure::Malformed);
        }
        let answer = codec::connack(frame, self.plan.ends.version).ok_or(Departure::Malformed)?;
        if answer.code != 0 {
            return Err(Departure::Refused(answer.code));
        }
        self.welcome.saturating_record(now_ns.saturating_sub(connection.greeted_ns));
        let resumes = self.plan.topology.cast == Cast::Subscribers && self.plan.topic.is_none();
        if resumes && self.plan.ends.lasting != Lasting::Never && !answer.session_present {
            self.sessions_missing += 1;
        }
        if let Some(local) = connection.duties.publisher {
            self.obey(place(u64::from(local)), &answer)?;
        }
        match subscriber::filter(&self.plan, connection.number)
            .filter(|_| connection.duties.subscriber.is_some())
        {
            Some(filter) => {
                let Plan { ends, subscribe_qos, .. } = &*self.plan;
                codec::subscribe(ends.version, 1, &filter, *subscribe_qos, &mut connection.outbox);
                self.ask(connection, now_ns);
                connection.stage = Stage::Subscribing;
            }
            None => connection.stage = Stage::Ready,
        }
        Ok(())
    }

    /// Notes when a subscriber asked for what had been kept.
    pub(crate) fn ask(&mut self, connection: &Connection, now_ns: u64) {
        if let Some(local) = connection.duties.subscriber {
            self.subscribers[place(u64::from(local))].asked_ns = now_ns;
        }
    }

    /// Keeps a publisher within the limits that the broker announced.
    fn obey(&mut self, local: usize, answer: &Connack) -> Result<(), Departure> {
        let Some(inflight) = &mut self.publishers[local].inflight else { return Ok(()) };
        if let Some(receive_maximum) = answer.asked.receive_maximum {
            inflight.restrict(receive_maximum);
        }
        match answer.asked.qos_maximum {
            Some(qos_maximum) if qos_maximum < self.plan.publish_qos.bits() => {
                Err(Departure::QosTooHigh(qos_maximum))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn take_suback(&mut self, connection: &mut Connection, frame: &Frame<'_>) -> Result<(), Departure> {
        if connection.stage != Stage::Subscribing {
            return Err(Departure::Malformed);
        }
        match codec::suback_refusal(frame, self.plan.ends.version) {
            None => Err(Departure::Malformed),
            Some(Some(code)) => Err(Departure::SubscriptionRefused(code)),
            Some(None) => {
                connection.stage = Stage::Ready;
                Ok(())
            }
        }
    }
}

/// What an arrival at a pool means for the order at one receiver. The order of retained messages means nothing.
#[inline]
fn in_order(arrival: Arrival, newest: &mut u64, shape: Shape) -> Arrival {
    let Arrival::Newest { last, .. } = arrival else { return arrival };
    if last < *newest && shape != Shape::Retained {
        return Arrival::Late;
    }
    *newest = last + 1;
    arrival
}

fn windows(plan: &Plan, thread: u32) -> Vec<Option<Window>> {
    let Pace::Closed { window } = plan.pace else { return vec![] };
    if plan.topology.is_pooled() || plan.topology.cast != Cast::Everybody {
        return vec![];
    }
    let audience_of = |publisher| plan.topology.audience(publisher, thread);
    (0..plan.topology.publishers)
        .map(|publisher| Some(audience_of(publisher)).filter(|&audience| audience > 0))
        .map(|audience| audience.map(|audience| Window::new(window, audience)))
        .collect()
}

/// A histogram for times between a nanosecond and a minute, three digits each.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).expect("the bounds are lawful constants")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Body, Pattern, Scan, Template, Version, scan};
    use crate::engine::connection::Duties;
    use crate::engine::plan::tests::plan;

    const SENT: u64 = 100;

    struct Thread {
        crew: Crew,
        subscriber: Connection,
        publisher: Connection,
    }

    /// One publisher that has sent `SENT` messages and one subscriber, on one thread.
    fn thread(qos: Qos) -> Thread {
        let plan = Arc::new(Plan { publish_qos: qos, ..plan(Shape::Pairs, [1, 1]) });
        let board = Arc::new(Board::new(&plan).expect("a doorbell can be made"));
        board.set_sent(0, SENT);
        let mut crew = Crew::new(Arc::clone(&plan), board, 0);
        crew.subscribers.push(Subscriber::new(&plan, 0));
        crew.publishers.push(Publisher::new(&plan, 0, 1));
        let seated = |publisher, subscriber| {
            let mut connection = Connection::seated(0, Duties { publisher, subscriber });
            connection.stage = Stage::Greeting;
            connection
        };
        Thread { crew, subscriber: seated(None, Some(0)), publisher: seated(Some(0), None) }
    }

    fn take(crew: &mut Crew, connection: &mut Connection, mut bytes: &[u8]) -> Result<(), Departure> {
        while let Scan::Whole(frame) = scan(bytes) {
            crew.take(connection, &frame, 1_000)?;
            bytes = &bytes[frame.length..];
        }
        assert!(bytes.is_empty(), "tests feed whole packets");
        Ok(())
    }

    fn message(qos: Qos, publisher: u32, sequence: u32) -> Vec<u8> {
        let mut out = vec![];
        let packet_id = (qos > Qos::AtMostOnce).then_some(7);
        let stamp = Stamp { sequence, publisher, intended_ns: Some(400) };
        let pattern = Pattern {
            version: Version::V4,
            topic: "bench/pair/0",
            qos,
            retain: false,
            body: Body::Filler,
            payload_bytes: 16,
        };
        Template::new(&pattern).append(&stamp, packet_id, &mut out);
        out
    }

    fn lost(subscriber: &Subscriber) -> u64 {
        match &subscriber.books {
            Books::Tracks(tracks) => tracks[0].lost(SENT),
            Books::Newest(_) => panic!("a pair keeps tracks"),
        }
    }

    #[test]
    fn dropped_repeated_and_swapped_messages_are_told_apart() {
        let Thread { mut crew, mut subscriber, .. } = thread(Qos::AtMostOnce);
        for sequence in [0, 1, 3, 2, 3, 5, 5] {
            let bytes = message(Qos::AtMostOnce, 0, sequence);
            take(&mut crew, &mut subscriber, &bytes).expect("a lawful PUBLISH");
        }
        assert_eq!(crew.tally, Tally { received: 5, reordered: 1, duplicated: 2, foreign: 0 });
        assert_eq!(lost(&crew.subscribers[0]), SENT - 5);
        assert_eq!(crew.recent.len(), 5);
        assert_eq!(crew.recent.max(), 600);
    }

    #[test]
    fn messages_of_strangers_are_foreign() {
        let Thread { mut crew, mut subscriber, .. } = thread(Qos::AtMostOnce);
        let unsent = u32::try_from(SENT).expect("a small number");
        for bytes in [message(Qos::AtMostOnce, 9, 0), message(Qos::AtMostOnce, 0, unsent)] {
            take(&mut crew, &mut subscriber, &bytes).expect("a lawful PUBLISH");
        }
        take(&mut crew, &mut subscriber, b"\x30\x05\x00\x01ahi").expect("a lawful PUBLISH");
        assert_eq!(crew.tally, Tally { foreign: 3, ..Tally::default() });
    }

    #[test]
    fn an_arrival_lets_its_publisher_go_on() {
        let Thread { mut crew, mut subscriber, .. } = thread(Qos::AtMostOnce);
        take(&mut crew, &mut subscriber, &message(Qos::AtMostOnce, 0, 0)).expect("a lawful PUBLISH");
        take(&mut crew, &mut subscriber, &message(Qos::AtMostOnce, 0, 1)).expect("a lawful PUBLISH");
        assert_eq!(crew.ready, [0], "once, however many arrived");
        assert_eq!(crew.board.done(0), 2);
    }

    #[test]
    fn a_window_that_does_not_move_is_reopened_at_the_second_look() {
        let mut crew = thread(Qos::AtMostOnce).crew;
        let mut marks = vec![];
        assert_eq!(crew.forgive_stalled(&mut marks), 0);
        assert_eq!(crew.forgive_stalled(&mut marks), 1);
        assert_eq!(crew.board.done(0), SENT);
        assert_eq!(crew.forgive_stalled(&mut marks), 0);
    }

    #[test]
    fn each_qos_gets_its_answer() {
        let Thread { mut crew, mut subscriber, .. } = thread(Qos::ExactlyOnce);
        take(&mut crew, &mut subscriber, &message(Qos::AtLeastOnce, 0, 0)).expect("a lawful PUBLISH");
        take(&mut crew, &mut subscriber, &message(Qos::ExactlyOnce, 0, 1)).expect("a lawful PUBLISH");
        take(&mut crew, &mut subscriber, &[0x62, 2, 0, 7]).expect("a lawful PUBREL");
        assert_eq!(subscriber.outbox, [0x40, 2, 0, 7, 0x50, 2, 0, 7, 0x70, 2, 0, 7]);
    }

    #[test]
    fn a_qos_2_publisher_releases_and_is_free_again() {
        let Thread { mut crew, mut publisher, .. } = thread(Qos::ExactlyOnce);
        let inflight = crew.publishers[0].inflight.as_mut().expect("QoS 2 has packet ids");
        let (room, packet_id) = (inflight.room(), inflight.reserve(400));
        assert_eq!(packet_id, Some(1));
        take(&mut crew, &mut publisher, &[0x50, 2, 0, 1, 0x70, 2, 0, 1]).expect("lawful answers");
        assert_eq!(publisher.outbox, [0x62, 2, 0, 1]);
        assert_eq!(crew.publishers[0].inflight.as_ref().map(crate::flow::Inflight::room), Some(room));
        assert_eq!((crew.refused, crew.unexpected), (0, 0));
        assert_eq!((crew.acknowledged.len(), crew.acknowledged.max()), (1, 600), "counted at PUBCOMP");
    }

    #[test]
    fn refusing_and_surplus_acknowledgements_are_counted() {
        let Thread { mut crew, mut publisher, .. } = thread(Qos::AtLeastOnce);
        crew.publishers[0].inflight.as_mut().and_then(|inflight| inflight.reserve(0));
        take(&mut crew, &mut publisher, &[0x40, 3, 0, 1, 0x97, 0x40, 2, 0, 9]).expect("lawful answers");
        assert_eq!((crew.refused, crew.unexpected), (1, 1));
    }

    #[test]
    fn a_subscriber_subscribes_after_connack_and_is_ready_after_suback() {
        let Thread { mut crew, mut subscriber, mut publisher } = thread(Qos::AtMostOnce);
        take(&mut crew, &mut subscriber, &[0x20, 2, 0, 0]).expect("a welcome");
        assert_eq!(subscriber.outbox, b"\x82\x11\x00\x01\x00\x0cbench/pair/0\x00");
        assert_eq!(subscriber.stage, Stage::Subscribing);
        take(&mut crew, &mut subscriber, &[0x90, 3, 0, 1, 0]).expect("a grant");
        assert_eq!(subscriber.stage, Stage::Ready);
        take(&mut crew, &mut publisher, &[0x20, 2, 0, 0]).expect("a welcome");
        assert_eq!(publisher.stage, Stage::Ready);
    }

    #[test]
    fn refusals_and_nonsense_end_the_client_with_their_reason() {
        let ended = |bytes: &[u8], stage| {
            let Thread { mut crew, mut subscriber, .. } = thread(Qos::AtMostOnce);
            subscriber.stage = stage;
            take(&mut crew, &mut subscriber, bytes).err()
        };
        assert_eq!(ended(&[0x20, 2, 0, 5], Stage::Greeting), Some(Departure::Refused(5)));
        assert_eq!(
            ended(&[0x90, 3, 0, 1, 0x80], Stage::Subscribing),
            Some(Departure::SubscriptionRefused(0x80))
        );
        assert_eq!(ended(&[0xe0, 1, 0x8b], Stage::Ready), Some(Departure::Disconnected(0x8b)));
        assert_eq!(ended(&[0x20, 2, 0, 0], Stage::Ready), Some(Departure::Malformed));
        assert_eq!(ended(&[0x36, 3, 0, 1, b'a'], Stage::Ready), Some(Departure::Malformed));
        assert_eq!(ended(&[0x10, 0], Stage::Ready), Some(Departure::Malformed));
    }

    #[test]
    fn the_brokers_announced_limits_are_kept() {
        let plan = plan(Shape::Pairs, [1, 1]);
        let ends = crate::engine::Ends { version: Version::V5, ..plan.ends.clone() };
        let plan = Arc::new(Plan { publish_qos: Qos::ExactlyOnce, ends, ..plan });
        let board = Arc::new(Board::new(&plan).expect("a doorbell can be made"));
        let mut crew = Crew::new(Arc::clone(&plan), board, 0);
        crew.publishers.push(Publisher::new(&plan, 0, 0));
        let mut publisher = Connection::seated(0, Duties { publisher: Some(0), subscriber: None });
        publisher.stage = Stage::Greeting;
        take(&mut crew, &mut publisher, &[0x20, 6, 0, 0, 3, 0x21, 0, 3]).expect("a welcome");
        assert_eq!(crew.publishers[0].inflight.as_ref().map(crate::flow::Inflight::room), Some(3));
        publisher.stage = Stage::Greeting;
        let refused = take(&mut crew, &mut publisher, &[0x20, 5, 0, 0, 2, 0x24, 1]);
        assert_eq!(refused, Err(Departure::QosTooHigh(1)));
    }
}
