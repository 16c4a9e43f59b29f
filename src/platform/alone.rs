//! A platform without cores and disk: one hub behind a lock, and an archive in memory. For trials of what stands on a
//! platform.
//!
//! Invariants:
//! - It answers as cores do, but at once.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use device::{Change, Command, CommandId, DeviceId, Hub, HubCall, HubReply, Keeping, News, Outcome, Value};
use flume::Sender;

use crate::archive::{Archive, ArchiveFault, Points};
use crate::platform::{Cores, Crowded, Platform, ReadSettings};
use crate::waiting::held;

/// Values by device, key and time.
type Series = BTreeMap<(DeviceId, String, i64), Value<'static>>;

/// An archive in memory.
#[derive(Clone, Default)]
pub struct MemoryArchive {
    points: Arc<Mutex<Series>>,
    commands: Arc<Mutex<BTreeMap<CommandId, (DeviceId, Command)>>>,
}

/// One hub for all devices.
struct Alone {
    hub: Mutex<Hub>,
    archive: MemoryArchive,
    platform: Platform,
    now_ms: Box<dyn Fn() -> i64 + Send + Sync>,
}

impl Platform {
    /// A platform with one hub and no disk, on a clock in Unix milliseconds.
    #[must_use]
    pub fn alone(read_settings: Box<ReadSettings>, now_ms: Box<dyn Fn() -> i64 + Send + Sync>) -> Self {
        let platform = Self::new(read_settings);
        let archive = MemoryArchive::default();
        platform.attach_archive(Box::new(archive.clone()));
        // The platform holds itself by way of its cores: it lives as long as the trial's process.
        let alone = Alone { hub: Mutex::default(), archive, platform: platform.clone(), now_ms };
        platform.attach_cores(Box::new(alone));
        platform
    }
}

impl Cores for Alone {
    fn ask(&self, device: DeviceId, call: HubCall, reply: Sender<HubReply>) -> Result<(), Crowded> {
        let mut out = Outcome::default();
        let answer = {
            let mut hub = held(&self.hub);
            let is_there =
                || hub.knows(device) || self.platform.read(|registry| registry.device(device).is_some());
            match call.brings_to_life() && !is_there() {
                true => HubReply::Gone,
                false => hub.call(device, call, (self.now_ms)(), &mut out),
            }
        };
        out.changes.iter().for_each(|change| self.archive.keep(change));
        let news = out.reports.into_iter().map(News::Report);
        let news = news.chain(out.downlinks.into_iter().map(News::Told));
        let news = news.chain(out.evicted.into_iter().map(|(ear, _)| News::Evicted(ear)));
        news.for_each(|news| {
            let _somebody_waited = self.platform.tell(news);
        });
        // Whoever asked may be gone.
        let _ = reply.send(answer);
        Ok(())
    }
}

impl MemoryArchive {
    /// Keeps what belongs into an archive.
    pub fn keep(&self, change: &Change) {
        match change {
            Change::Telemetry { device, samples, keeping: Keeping::History }
            | Change::Late { device, samples } => {
                let mut points = held(&self.points);
                for sample in samples {
                    let place = (*device, sample.key.to_string(), sample.at_ms);
                    points.insert(place, sample.value.clone().into_owned());
                }
            }
            Change::HistoryGone { device, key, from_ms, to_ms } => {
                let is_gone = |(of, name, at_ms): &(DeviceId, String, i64)| {
                    of == device && **name == **key && (*from_ms..*to_ms).contains(at_ms)
                };
                held(&self.points).retain(|place, _| !is_gone(place));
            }
            Change::Command { device, command } => {
                held(&self.commands).insert(command.order.id, (*device, (**command).clone()));
            }
            Change::CommandGone { command, .. } => {
                held(&self.commands).remove(command);
            }
            _not_for_an_archive => {}
        }
    }
}

impl Archive for MemoryArchive {
    fn points(
        &self,
        points: Points<'_>,
        visit: &mut dyn FnMut(i64, Value<'_>) -> ControlFlow<()>,
    ) -> Result<(), ArchiveFault> {
        if points.from_ms >= points.to_ms {
            return Ok(());
        }
        let place = |at_ms| (points.device, points.key.to_owned(), at_ms);
        let all = held(&self.points);
        let mut range = all.range(place(points.from_ms)..place(points.to_ms));
        let mut next = || if points.newest_first { range.next_back() } else { range.next() };
        while let Some(((_, _, at_ms), value)) = next() {
            if visit(*at_ms, value.clone()).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn command(&self, id: CommandId) -> Result<Option<(DeviceId, Command)>, ArchiveFault> {
        Ok(held(&self.commands).get(&id).cloned())
    }

    fn has_command(&self, id: CommandId) -> Result<bool, ArchiveFault> {
        Ok(held(&self.commands).contains_key(&id))
    }

    fn commands(&self, device: DeviceId) -> Result<Vec<Command>, ArchiveFault> {
        let all = held(&self.commands);
        Ok(all.values().filter(|(of, _)| *of == device).map(|(_, command)| command.clone()).collect())
    }
}
