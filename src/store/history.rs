//! Reads history beside the keeper: points of telemetry and commands, from any thread, while the store goes on.
//!
//! Why not through the keeper: a question over a million points must not keep a flush waiting.
//!
//! Invariants:
//! - What was committed before the question is seen by it.
//! - What is gone is not seen, although its records may still be there.

use std::ops::{ControlFlow, Range};

use device::{Command, CommandId, DeviceId, Value};

use crate::codec::Garbled;
use crate::devices::{
    DeviceKey, DeviceRecord, Series, judge_device, kind, range_of_device, read_command, read_point,
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
        let range = series.range((span.from_ms, span.to_ms));
        let gone = self.gone_of(device, &series)?;
        let Some(gone) = gone else { return Ok(()) };
        self.scan(range, span.order, &mut |key, value| {
            let (at_ms, value) = read_point(key, value)?;
            let is_gone = gone.iter().any(|(from_ms, to_ms)| (*from_ms..*to_ms).contains(&at_ms));
            Ok(if is_gone { ControlFlow::Continue(()) } else { visit(at_ms, value) })
        })
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
