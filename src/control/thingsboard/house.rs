//! What all handlers share: the platform, the clock, limits, and the ways to ask and to change something.
//!
//! Why every wait is bounded: a store that hangs must not collect requests without end, and whoever waits for it should hear
//! so. Why work is sent away: one thread serves all requests, and a search through a million devices or points would stop it.
//!
//! Invariants:
//! - An answer that says that something is written comes after the store has said so.
//! - Nobody holds a lock, of the registry or of this room, while waiting.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use device::{Change, Clash, DeviceId, HubCall, HubReply, Registry};
use flume::Receiver;
use platform::{Archive, ArchiveFault, Crowded, Kept, Platform};
use tokio::time::Instant;

use super::attempts::Attempts;
use super::limits::{Gate, Limits};
use super::refusal::Refusal;
use super::responder::Asker;
use super::rollout::Rollouts;
use super::settings::ApiSettings;
use super::tokens::Tokens;
use crate::doorman::Doorman;
use crate::serve::Sources;

/// How long a call may wait for room at the home of its device.
const ROOM_MAX: Duration = Duration::from_secs(1);
/// How often it looks for some.
const ROOM_STEP: Duration = Duration::from_millis(10);
/// How long a core or the store may take to answer.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(10);

/// What all handlers share. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Api {
    house: Arc<House>,
}

struct House {
    platform: Platform,
    settings: ApiSettings,
    tokens: Tokens,
    attempts: Mutex<Attempts>,
    limits: Limits,
    rollouts: Rollouts,
    asker: Asker,
    doorman: Arc<dyn Doorman>,
    now_ms: Box<Clock>,
}

/// The wall clock, in Unix milliseconds.
pub(crate) type Clock = dyn Fn() -> i64 + Send + Sync;

impl Api {
    /// An API on what the control plane asks, with the machine's clock.
    pub fn on(sources: &Sources) -> Self {
        let Sources { platform, api, doorman, .. } = sources;
        Self::new(platform.clone(), api.clone(), Arc::clone(doorman), Box::new(super::clock::wall_ms))
    }

    /// An API on a platform, with a clock in Unix milliseconds.
    pub fn new(
        platform: Platform,
        settings: ApiSettings,
        doorman: Arc<dyn Doorman>,
        now_ms: Box<Clock>,
    ) -> Self {
        let house = House {
            tokens: Tokens::new(&settings),
            platform,
            settings,
            attempts: Mutex::default(),
            limits: Limits::default(),
            rollouts: Rollouts::default(),
            asker: Asker::default(),
            doorman,
            now_ms,
        };
        Self { house: Arc::new(house) }
    }

    pub fn platform(&self) -> &Platform {
        &self.house.platform
    }

    pub fn settings(&self) -> &ApiSettings {
        &self.house.settings
    }

    pub fn tokens(&self) -> &Tokens {
        &self.house.tokens
    }

    pub fn limits(&self) -> &Limits {
        &self.house.limits
    }

    pub fn rollouts(&self) -> &Rollouts {
        &self.house.rollouts
    }

    pub fn asker(&self) -> &Asker {
        &self.house.asker
    }

    /// Refuses an address that has guessed too often.
    pub fn trusts(&self, from: IpAddr) -> Result<(), Refusal> {
        if self.house.doorman.shuts_out(from) {
            self.limits().note_guess();
            return Err(Refusal::too_many("Too many wrong tokens from this address"));
        }
        Ok(())
    }

    /// Counts whether somebody has shown what is right.
    pub fn note_shown(&self, from: IpAddr, is_right: bool) {
        if is_right {
            self.house.doorman.succeeded(from);
        } else {
            self.house.doorman.failed(from);
        }
    }

    pub fn attempts(&self) -> MutexGuard<'_, Attempts> {
        self.house.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn now_ms(&self) -> i64 {
        (self.house.now_ms)()
    }

    /// Starts what goes on beside requests; on the thread's runtime.
    pub fn start(&self) {
        super::responder::start(self);
        self.resume_rollouts();
    }

    /// Metrics in Prometheus' text format.
    pub fn metrics(&self) -> String {
        let mut text = String::new();
        self.limits().render(&mut text);
        self.rollouts().render(&mut text);
        text
    }

    /// Looks into the registry.
    pub fn read<R>(&self, look: impl FnOnce(&Registry) -> R) -> R {
        self.platform().read(look)
    }

    /// Refuses if there is no space for anything new: whoever waits for the disk should hear so at once.
    pub fn needs_space(&self) -> Result<(), Refusal> {
        if self.platform().has_space() {
            return Ok(());
        }
        self.limits().note_full();
        Err(Refusal::full())
    }

    /// Changes the registry and waits until that is kept.
    pub async fn change<R>(
        &self,
        change: impl FnOnce(&mut Registry, &mut Vec<Change>) -> Result<R, Refusal>,
    ) -> Result<R, Refusal> {
        self.needs_space()?;
        self.change_anyway(change).await
    }

    /// As [`Api::change`], where something is taken away: that is tried without space, too.
    pub async fn change_anyway<R>(
        &self,
        change: impl FnOnce(&mut Registry, &mut Vec<Change>) -> Result<R, Refusal>,
    ) -> Result<R, Refusal> {
        let (result, kept) = self.platform().change(change);
        let result = result?;
        wait(kept).await?;
        Ok(result)
    }

    /// As [`Api::change`], for verbs that are refused in the registry's own words.
    pub async fn change_or_clash<R>(
        &self,
        taken: &'static str,
        change: impl FnOnce(&mut Registry, &mut Vec<Change>) -> Result<R, Clash>,
    ) -> Result<R, Refusal> {
        let refuse = |clash| Refusal::of_clash(clash, taken);
        self.change(|registry, changes| change(registry, changes).map_err(refuse)).await
    }

    /// As [`Api::change_anyway`], for verbs that are refused in the registry's own words.
    pub async fn take_away<R>(
        &self,
        change: impl FnOnce(&mut Registry, &mut Vec<Change>) -> Result<R, Clash>,
    ) -> Result<R, Refusal> {
        self.change_anyway(|registry, changes| change(registry, changes).map_err(Refusal::from)).await
    }

    /// Deletes a device; returns when that is kept and its home has forgotten it. Once it is deleted nothing stops the rest:
    /// whoever asked may go away, and the disk or the home may take long.
    pub async fn delete_device(&self, id: DeviceId) -> Result<(), Refusal> {
        let (deleted, kept) = self.platform().change(|registry, changes| registry.delete(id, changes));
        deleted.map_err(Refusal::from)?;
        let api = self.clone();
        let told = tokio::spawn(async move {
            loop {
                if let Ok(answer) = api.hand(id, HubCall::Forget).await {
                    return answer;
                }
            }
        });
        wait(kept).await?;
        let forgotten = async { told.await.ok()?.recv_async().await.ok() };
        match tokio::time::timeout(ANSWER_MAX, forgotten).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(Refusal::not_kept()),
            Err(_) => Err(Refusal::silence()),
        }
    }

    /// Asks the home of a device.
    pub async fn ask(&self, device: DeviceId, call: HubCall) -> Result<HubReply, Refusal> {
        if call.adds() {
            self.needs_space()?;
        }
        let answer = self.hand(device, call).await?;
        match tokio::time::timeout(ANSWER_MAX, answer.recv_async()).await {
            Ok(Ok(HubReply::Refused(refusal))) => Err(Refusal::of_home(refusal)),
            Ok(Ok(HubReply::Gone)) => Err(Refusal::nothing()),
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) => Err(Refusal::not_kept()),
            Err(_) => Err(Refusal::silence()),
        }
    }

    /// Hands a call to the home of a device, or waits a little for room there.
    pub async fn hand(&self, device: DeviceId, mut call: HubCall) -> Result<Receiver<HubReply>, Refusal> {
        let until = Instant::now() + ROOM_MAX;
        loop {
            match self.platform().ask(device, call) {
                Ok(answer) => return Ok(answer),
                Err(Crowded(back)) if Instant::now() < until => call = *back,
                Err(_) => {
                    self.limits().note_crowded();
                    return Err(Refusal::crowded());
                }
            }
            tokio::time::sleep(ROOM_STEP).await;
        }
    }

    /// Does something that takes long on another thread; a few at a time, and a few more may wait.
    pub async fn away<R: Send + 'static>(
        &self,
        gate: fn(&Limits) -> &Gate,
        work: impl FnOnce(&Self) -> R + Send + 'static,
    ) -> Result<R, Refusal> {
        let place = gate(self.limits()).enter().await?;
        let api = self.clone();
        let work = move || {
            let result = work(&api);
            drop(place);
            result
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| Refusal::fault("The work was broken off"))
    }

    /// Reads what is on disk; nothing if nothing is kept.
    pub async fn archive<R: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Archive) -> Result<R, ArchiveFault> + Send + 'static,
    ) -> Result<Option<R>, Refusal> {
        let read = |api: &Self| api.platform().archive().map(read).transpose();
        let found = self.away(|limits| &limits.readings, read).await?;
        found.map_err(|fault| Refusal::fault(fault.to_string()))
    }
}

async fn wait(kept: Kept) -> Result<(), Refusal> {
    match tokio::time::timeout(ANSWER_MAX, kept.wait()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Refusal::not_kept()),
        Err(_) => Err(Refusal::silence()),
    }
}
