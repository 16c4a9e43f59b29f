//! Reads history beside the keeper: points of telemetry and commands, from any thread, while the store goes on.
//!
//! Why not through the keeper: a question over a million points must not keep a flush waiting.
//!
//! Why merged: points of one key may stand alone and in rows of several sets of names (`devices/row.rs`), each in the order
//! of their times.
//!
//! Invariants:
//! - What was committed before the question is seen by it.
//! - What is gone is not seen, although its records may still be there.
//! - Of points of one key and time the one that was written last is seen.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::{ControlFlow, Range};

use device::{Command, CommandId, DeviceId, Value};

use crate::codec::Garbled;
use crate::devices::{
    DeviceKey, DeviceRecord, Series, judge_device, kind, range_of_device, read_command, read_point, set_in,
    sets_of, time_of,
};
use crate::engine::Visit;
use crate::fault::Fault;
use crate::fjall::Shared;
use crate::memory::{SharedMap, entries};

/// Reads history. Clones read the same.
#[derive(Clone)]
pub struct History {
    records: Records,
}

#[derive(Clone)]
enum Records {
    Disk(Shared),
    Memory(SharedMap),
}

/// Which points of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// From this time on, in Unix milliseconds.
    pub from_ms: i64,
    /// Before this time.
    pub to_ms: i64,
    /// Which come first.
    pub order: Order,
}

/// In which order points are visited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// In that of their times.
    OldestFirst,
    /// The other way round.
    NewestFirst,
}

/// Keys and values of a range, in order.
pub(crate) type Walk<'a, K, V> = Box<dyn Iterator<Item = Result<(K, V), Fault>> + 'a>;

/// Makes walks through ranges of one state.
pub(crate) type Walks<'a, K, V> = dyn Fn(Range<Vec<u8>>, Order) -> Walk<'a, K, V> + 'a;

/// Called for each point with its time in Unix milliseconds.
pub type VisitPoint<'v> = dyn FnMut(i64, Value<'_>) -> ControlFlow<()> + 'v;

impl History {
    pub(crate) fn on_disk(shared: Shared) -> Self {
        Self { records: Records::Disk(shared) }
    }

    pub(crate) fn in_memory(map: SharedMap) -> Self {
        Self { records: Records::Memory(map) }
    }

    /// Visits points of a key until `visit` breaks.
    ///
    /// # Errors
    /// `Damaged` or `Io`; also if the store is closed or opened anew meanwhile.
    pub fn points(
        &self,
        device: DeviceId,
        key: &str,
        span: Span,
        visit: &mut VisitPoint<'_>,
    ) -> Result<(), Fault> {
        let series = Series::new(device, key);
        let Some(gone) = self.gone_of(device, &series)? else { return Ok(()) };
        let mut visit = |at_ms: i64, value: Value<'_>| {
            let is_gone = gone.iter().any(|(from_ms, to_ms)| (*from_ms..*to_ms).contains(&at_ms));
            if is_gone { ControlFlow::Continue(()) } else { visit(at_ms, value) }
        };
        let question = Question { device, name: key, series, span };
        match &self.records {
            Records::Disk(shared) => shared.at_one_moment(|walks| question.answer(walks, &mut visit)),
            Records::Memory(map) => {
                let map = map.read();
                question.answer(
                    &|range, order| {
                        let mut found = entries(&map, &range.start..&range.end);
                        Box::new(std::iter::from_fn(move || {
                            let entry = match order {
                                Order::OldestFirst => found.next(),
                                Order::NewestFirst => found.next_back(),
                            };
                            entry.map(Ok)
                        }))
                    },
                    &mut visit,
                )
            }
        }
    }

    /// A command and its device.
    ///
    /// # Errors
    /// As above.
    pub fn command(&self, id: CommandId) -> Result<Option<(DeviceId, Command)>, Fault> {
        let mut key = Vec::new();
        DeviceKey::Index(id).encode(&mut key);
        let Some(value) = self.read(&key)? else { return Ok(None) };
        let DeviceRecord::Index(_, device) = judge_device(&key, &value)? else {
            return Err(Garbled("a command stands under another key").into());
        };
        if self.is_gone(device)? {
            return Ok(None);
        }
        DeviceKey::Command(device, id).encode(&mut key);
        let Some(value) = self.read(&key)? else { return Ok(None) };
        Ok(Some((device, read_command(&key, &value)?)))
    }

    /// Whether an id is that of a command, also of one whose device is gone and that is not removed yet.
    ///
    /// # Errors
    /// As above.
    pub fn has_command(&self, id: CommandId) -> Result<bool, Fault> {
        let mut key = Vec::new();
        DeviceKey::Index(id).encode(&mut key);
        Ok(self.read(&key)?.is_some())
    }

    /// The commands of a device, in the order of their ids.
    ///
    /// # Errors
    /// As above.
    pub fn commands(&self, device: DeviceId) -> Result<Vec<Command>, Fault> {
        let mut commands = Vec::new();
        if self.is_gone(device)? {
            return Ok(commands);
        }
        let range = range_of_device(kind::COMMAND, device);
        self.scan(range, Order::OldestFirst, &mut |key, value| {
            commands.push(read_command(key, value)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(commands)
    }

    /// The parts of a series that are gone and not removed yet; none if the device is.
    fn gone_of(&self, device: DeviceId, series: &Series) -> Result<Option<Vec<(i64, i64)>>, Fault> {
        if self.is_gone(device)? {
            return Ok(None);
        }
        let mut gone = Vec::new();
        self.scan(series.swaths(), Order::OldestFirst, &mut |key, value| {
            if let DeviceRecord::Swath(_, span) = judge_device(key, value)? {
                gone.push(span);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(Some(gone))
    }

    fn is_gone(&self, device: DeviceId) -> Result<bool, Fault> {
        let mut key = Vec::new();
        DeviceKey::Gone(device).encode(&mut key);
        Ok(self.read(&key)?.is_some())
    }

    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        match &self.records {
            Records::Disk(shared) => shared.read_one(key),
            Records::Memory(map) => Ok(map.read().get(key).map(|value| value.to_vec())),
        }
    }

    fn scan(&self, range: Range<Vec<u8>>, order: Order, visit: &mut Visit<'_>) -> Result<(), Fault> {
        match &self.records {
            Records::Disk(shared) => shared.scan_beside(&range.start..&range.end, order, visit),
            Records::Memory(map) => {
                let map = map.read();
                let mut found = entries(&map, &range.start..&range.end);
                let mut next = || match order {
                    Order::OldestFirst => found.next(),
                    Order::NewestFirst => found.next_back(),
                };
                while let Some((key, value)) = next() {
                    if visit(key, value)? == ControlFlow::Break(()) {
                        break;
                    }
                }
                Ok(())
            }
        }
    }
}

/// Points of one key.
struct Question<'q> {
    device: DeviceId,
    name: &'q str,
    series: Series,
    span: Span,
}

/// A walk, with what it gave last.
struct Source<'a, K, V> {
    walk: Walk<'a, K, V>,
    head: Option<(K, V)>,
}

impl Question<'_> {
    fn answer<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        walks: &Walks<'_, K, V>,
        visit: &mut VisitPoint<'_>,
    ) -> Result<(), Fault> {
        let Span { from_ms, to_ms, order } = self.span;
        let sets = sets_of(self.device, |range| {
            let Some(first) = walks(range, Order::OldestFirst).next() else { return Ok(None) };
            let (key, value) = first?;
            Ok(Some(set_in(key.as_ref(), value.as_ref(), self.name)?))
        })?;
        let of_rows = sets.into_iter().map(|set| Series::of_rows(self.device, set));
        let mut sources = Vec::new();
        for series in std::iter::once(self.series.clone()).chain(of_rows) {
            let mut walk = walks(series.range((from_ms, to_ms)), order);
            if let Some(head) = walk.next().transpose()? {
                sources.push(Source { walk, head: Some(head) });
            }
        }
        match &mut sources[..] {
            [] => Ok(()),
            [only] => self.follow(only, visit),
            several => self.merge(several, visit),
        }
    }

    /// All of one walk.
    fn follow<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        source: &mut Source<'_, K, V>,
        visit: &mut VisitPoint<'_>,
    ) -> Result<(), Fault> {
        while let Some((key, value)) = source.head.take() {
            let (key, value) = (key.as_ref(), value.as_ref());
            if let Some((_, value)) = read_point(key, value, self.name)?
                && visit(time_in(key)?, value).is_break()
            {
                break;
            }
            source.head = source.walk.next().transpose()?;
        }
        Ok(())
    }

    /// All of several walks, in order; of one time what was written last.
    fn merge<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        sources: &mut [Source<'_, K, V>],
        visit: &mut VisitPoint<'_>,
    ) -> Result<(), Fault> {
        let mut next = BinaryHeap::new();
        for (index, source) in sources.iter().enumerate() {
            next.extend(self.turn_of(source)?.map(|turn| Reverse((turn, index))));
        }
        let mut same = Vec::new();
        while let Some(Reverse((turn, index))) = next.pop() {
            same.push(index);
            if next.peek().is_some_and(|Reverse((other, _))| *other == turn) {
                continue;
            }
            let mut newest: Option<(u64, i64, Value<'_>)> = None;
            for index in &same {
                let Some((key, value)) = &sources[*index].head else { continue };
                if let Some((number, value)) = read_point(key.as_ref(), value.as_ref(), self.name)?
                    && newest.as_ref().is_none_or(|(known, ..)| number > *known)
                {
                    newest = Some((number, time_in(key.as_ref())?, value));
                }
            }
            if let Some((_, at_ms, value)) = newest
                && visit(at_ms, value).is_break()
            {
                return Ok(());
            }
            for index in same.drain(..) {
                let source = &mut sources[index];
                source.head = source.walk.next().transpose()?;
                next.extend(self.turn_of(source)?.map(|turn| Reverse((turn, index))));
            }
        }
        Ok(())
    }

    /// When it is the turn of what a walk gave last: the smaller, the sooner.
    fn turn_of<K: AsRef<[u8]>, V>(&self, source: &Source<'_, K, V>) -> Result<Option<i64>, Fault> {
        let Some((key, _)) = &source.head else { return Ok(None) };
        let at_ms = time_in(key.as_ref())?;
        Ok(Some(match self.span.order {
            Order::OldestFirst => at_ms,
            // The opposite of every number that there is.
            Order::NewestFirst => !at_ms,
        }))
    }
}

/// The time at the end of a key.
fn time_in(key: &[u8]) -> Result<i64, Garbled> {
    time_of(&key[key.len().saturating_sub(8)..])
}
