//! What may still be said: by one connection, and by all connections of a tenant on one core.
//!
//! Why a tenant's rate is divided among cores: cores share nothing on the way of a message, and devices are at home where
//! a hash of their ids says, so the devices of a tenant that has many are spread evenly. Each core gives out its part of
//! the rate. A tenant never gets more than its rate; one whose few devices are all at home on one core gets that core's
//! part of it.
//!
//! Invariants:
//! - What is refused takes nothing from any bucket.
//! - Over all cores the mean is never more than the tenant's rate.
//!
//! Source: sections 11.2 and 11.3 of the device API's vectors.

use ahash::RandomState;
use hashbrown::HashMap;

use crate::dialect::{Offer, Rates};
use crate::ids::TenantId;
use crate::rate::{Bucket, TooMuch};
use crate::speech::{Remark, Subject, Uplink};

/// Three rates in use.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Allowance {
    messages: Bucket,
    telemetry_messages: Bucket,
    telemetry_values: Bucket,
}

/// What one device may still say, over all its connections.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceAllowance {
    own: Allowance,
    children: Allowance,
}

/// What something that is said is taken from. What is none is not limited.
#[derive(Default)]
pub struct Within<'a> {
    /// What all devices of the tenant may say together; asked first.
    pub tenant: Option<&'a mut Allowance>,
    /// What the device may say.
    pub device: Option<&'a mut DeviceAllowance>,
    /// Whether the gateway speaks for a child already. One that it meets is looked up and opened, which costs as well.
    pub meets: Option<&'a dyn Fn(&str) -> bool>,
}

/// Whose rate it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whose {
    /// The tenant's.
    Tenant,
    /// The device's, for what it says of itself.
    Device,
    /// The gateway's, for what it says of its children.
    Children,
}

/// Something is not there, and nothing was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Short {
    /// Whose rate does not allow it.
    pub whose: Whose,
    /// Which one.
    pub scarce: Scarce,
    /// When it will, after so many milliseconds of silence.
    pub after_ms: i64,
}

/// One of the rates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scarce {
    /// Messages that are not telemetry.
    Messages,
    /// Messages with telemetry or attributes.
    TelemetryMessages,
    /// Values in them.
    TelemetryValues,
}

/// What something takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cost {
    /// Of messages that are not telemetry.
    pub messages: u64,
    /// Of messages with telemetry or attributes.
    pub telemetry_messages: u64,
    /// Of values in them.
    pub telemetry_values: u64,
}

/// The allowances of all tenants on one core.
#[derive(Debug)]
pub struct TenantAllowances {
    shares: u16,
    /// By tenant; several rates if it connects at listeners that offer several.
    known: HashMap<TenantId, Vec<(Rates, Allowance)>, RandomState>,
}

impl Allowance {
    /// The whole of each rate.
    #[must_use]
    pub fn new(rates: &Rates) -> Self {
        Self {
            messages: rates.messages.bucket(),
            telemetry_messages: rates.telemetry_messages.bucket(),
            telemetry_values: rates.telemetry_values.bucket(),
        }
    }

    /// Whether all of it is there; takes nothing.
    ///
    /// # Errors
    /// It is not: when it will be.
    pub fn check(&mut self, cost: Cost, now_ms: i64) -> Result<(), TooMuch> {
        self.messages.check(cost.messages, now_ms)?;
        self.telemetry_messages.check(cost.telemetry_messages, now_ms)?;
        self.telemetry_values.check(cost.telemetry_values, now_ms)
    }

    /// Of what there is not enough, where [`Allowance::check`] has said so.
    pub fn scarce(&mut self, cost: Cost, now_ms: i64) -> Scarce {
        if self.messages.check(cost.messages, now_ms).is_err() {
            Scarce::Messages
        } else if self.telemetry_messages.check(cost.telemetry_messages, now_ms).is_err() {
            Scarce::TelemetryMessages
        } else {
            Scarce::TelemetryValues
        }
    }

    fn look(&mut self, whose: Whose, cost: Cost, now_ms: i64) -> Result<(), Short> {
        self.check(cost, now_ms).map_err(|TooMuch { after_ms }| {
            let scarce = self.scarce(cost, now_ms);
            Short { whose, scarce, after_ms }
        })
    }

    /// After how many milliseconds of silence all of it is there.
    pub fn full_after_ms(&mut self, now_ms: i64) -> i64 {
        let Self { messages, telemetry_messages, telemetry_values } = self;
        [messages, telemetry_messages, telemetry_values]
            .map(|bucket| bucket.full_after_ms(now_ms))
            .into_iter()
            .fold(0, i64::max)
    }

    /// Takes it, as [`Allowance::check`] has allowed.
    pub fn spend(&mut self, cost: Cost) {
        self.messages.take(cost.messages);
        self.telemetry_messages.take(cost.telemetry_messages);
        self.telemetry_values.take(cost.telemetry_values);
    }
}

impl DeviceAllowance {
    /// The whole of what is offered.
    #[must_use]
    pub fn new(offer: &Offer) -> Self {
        Self { own: Allowance::new(&offer.own), children: Allowance::new(&offer.children) }
    }

    /// After how many milliseconds of silence all of it is there.
    pub fn full_after_ms(&mut self, now_ms: i64) -> i64 {
        self.own.full_after_ms(now_ms).max(self.children.full_after_ms(now_ms))
    }
}

impl Within<'_> {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_boundless(&self) -> bool {
        self.tenant.is_none() && self.device.is_none()
    }

    /// What a remark takes, of what is the device's own and of what is its children's.
    #[must_use]
    pub fn costs(&self, remark: &Remark<'_>) -> (Cost, Cost) {
        let cost = Cost::of(&remark.uplink);
        match &remark.subject {
            Subject::Own => (cost, Cost::default()),
            Subject::Child(_) if remark.uplink == Uplink::ChildGone => (Cost::default(), cost),
            Subject::Child(name) if self.meets.is_some_and(|is_known| !is_known(name)) => {
                // To be here is what a child is opened for.
                let is_said = u64::from(!matches!(remark.uplink, Uplink::ChildHere { .. }));
                (Cost::default(), cost.and(Cost { messages: 1 + is_said, ..Cost::default() }))
            }
            Subject::Child(_) => (Cost::default(), cost),
        }
    }

    /// Takes all of it or nothing: of the device's own, and of its children's; of the tenant's both.
    ///
    /// # Errors
    /// What is not there.
    pub fn take(&mut self, own: Cost, children: Cost, now_ms: i64) -> Result<(), Short> {
        let all = own.and(children);
        if let Some(tenant) = &mut self.tenant {
            tenant.look(Whose::Tenant, all, now_ms)?;
        }
        if let Some(DeviceAllowance { own: of_own, children: of_children }) = &mut self.device {
            of_own.look(Whose::Device, own, now_ms)?;
            of_children.look(Whose::Children, children, now_ms)?;
            of_own.spend(own);
            of_children.spend(children);
        }
        if let Some(tenant) = &mut self.tenant {
            tenant.spend(all);
        }
        Ok(())
    }
}

impl std::fmt::Debug for Within<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { tenant, device, meets: _ } = self;
        f.debug_struct("Within").field("tenant", tenant).field("device", device).finish_non_exhaustive()
    }
}

impl Offer {
    /// Which limit it is that does not allow something, in words.
    #[must_use]
    pub fn words(&self, short: &Short) -> String {
        let (whose, rates) = match short.whose {
            Whose::Tenant => ("tenant", &self.tenant),
            Whose::Device => ("device", &self.own),
            Whose::Children => ("child", &self.children),
        };
        let (what, rate) = match short.scarce {
            Scarce::Messages => ("messages", &rates.messages),
            Scarce::TelemetryMessages => ("telemetry", &rates.telemetry_messages),
            Scarce::TelemetryValues => ("values", &rates.telemetry_values),
        };
        format!("rate limit: {whose} {what} {}", rate.text())
    }
}

impl Cost {
    /// What one message that is no telemetry takes.
    pub const MESSAGE: Self = Self { messages: 1, telemetry_messages: 0, telemetry_values: 0 };

    /// What saying something takes.
    #[must_use]
    pub fn of(uplink: &Uplink<'_>) -> Self {
        match uplink {
            Uplink::Alive | Uplink::ListensAgain => Self::default(),
            Uplink::Telemetry(samples) | Uplink::Attributes(samples) | Uplink::Shared(samples)
                if !samples.is_empty() =>
            {
                let telemetry_values = u64::try_from(samples.len()).unwrap_or(u64::MAX);
                Self { messages: 0, telemetry_messages: 1, telemetry_values }
            }
            Uplink::Telemetry(_)
            | Uplink::Attributes(_)
            | Uplink::Shared(_)
            | Uplink::AttributesWanted { .. }
            | Uplink::Listens { .. }
            | Uplink::CommandAnswered { .. }
            | Uplink::Called { .. }
            | Uplink::CalledInVain { .. }
            | Uplink::Claimable { .. }
            | Uplink::ChunkWanted(_)
            | Uplink::Provision(_)
            | Uplink::ChildHere { .. }
            | Uplink::ChildGone => Self { messages: 1, ..Self::default() },
        }
    }

    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            messages: self.messages.saturating_add(other.messages),
            telemetry_messages: self.telemetry_messages.saturating_add(other.telemetry_messages),
            telemetry_values: self.telemetry_values.saturating_add(other.telemetry_values),
        }
    }
}

impl TenantAllowances {
    /// Nobody has said anything yet, on one of `shares` cores.
    #[must_use]
    pub fn new(shares: u16) -> Self {
        Self { shares: shares.max(1), known: HashMap::default() }
    }

    /// This core's part of what a tenant may say, at `rates` for all its connections; none if there is no limit. Cost: one
    /// look into a map.
    pub fn of(&mut self, tenant: TenantId, rates: &Rates) -> Option<&mut Allowance> {
        if *rates == Rates::default() {
            return None;
        }
        let known = self.known.entry(tenant).or_default();
        let index = known.iter().position(|(of, _)| of == rates).unwrap_or_else(|| {
            known.push((rates.clone(), Allowance::new(&rates.shared_by(self.shares))));
            known.len() - 1
        });
        Some(&mut known[index].1)
    }

    /// Forgets a tenant; its next word meets full buckets. To be called when it is deleted or its rates change.
    pub fn forget(&mut self, tenant: TenantId) {
        self.known.remove(&tenant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate::Rate;
    use crate::value::{Sample, Value};

    const TENANT: TenantId = TenantId::from_bytes([1; 16]);

    fn telemetry(values: usize) -> Cost {
        let sample = Sample { key: "k".into(), value: Value::Long(1), at_ms: 0 };
        Cost::of(&Uplink::Telemetry(vec![sample; values]))
    }

    fn rates(telemetry_values: &str) -> Rates {
        Rates { telemetry_values: Rate::read(telemetry_values).unwrap(), ..Rates::default() }
    }

    #[test]
    fn what_takes_what() {
        let cost = |messages, telemetry_messages, telemetry_values| Cost {
            messages,
            telemetry_messages,
            telemetry_values,
        };
        assert_eq!(telemetry(3), cost(0, 1, 3));
        assert_eq!(telemetry(0), cost(1, 0, 0), "telemetry of nothing is a message like others");
        assert_eq!(Cost::of(&Uplink::Alive), cost(0, 0, 0));
        assert_eq!(Cost::of(&Uplink::ChildGone).and(telemetry(2)), cost(1, 1, 2));
    }

    #[test]
    fn all_connections_of_a_tenant_take_from_one_allowance() {
        let mut tenants = TenantAllowances::new(1);
        let rates = rates("4:1");
        let mut say = |tenant, now_ms| {
            let allowance = tenants.of(tenant, &rates).unwrap();
            let checked = allowance.check(telemetry(2), now_ms);
            if checked.is_ok() {
                allowance.spend(telemetry(2));
            }
            checked
        };
        let other = TenantId::from_bytes([2; 16]);
        assert_eq!([say(TENANT, 0), say(TENANT, 0)], [Ok(()), Ok(())]);
        assert_eq!(say(TENANT, 0), Err(TooMuch { after_ms: 500 }));
        assert_eq!(say(other, 0), Ok(()), "another tenant has its own");
        assert_eq!(say(TENANT, 500), Ok(()));
        tenants.forget(TENANT);
        assert_eq!(tenants.of(TENANT, &rates).unwrap().check(telemetry(4), 500), Ok(()));
    }

    #[test]
    fn a_child_that_is_met_costs_its_look_and_its_opening() {
        let is_known = |name: &str| name == "A";
        let within = Within { meets: Some(&is_known), ..Within::default() };
        let costs = |child: &'static str, uplink| {
            let (own, children) = within.costs(&Remark { subject: Subject::Child(child.into()), uplink });
            assert_eq!(own, Cost::default());
            (children.messages, children.telemetry_messages)
        };
        let sample = Sample { key: "k".into(), value: Value::Long(1), at_ms: 0 };
        let here = Uplink::ChildHere { kind: None };
        assert_eq!((costs("A", here.clone()), costs("B", here)), ((1, 0), (2, 0)));
        let telemetry = Uplink::Telemetry(vec![sample]);
        assert_eq!((costs("A", telemetry.clone()), costs("B", telemetry)), ((0, 1), (2, 1)));
        assert_eq!(costs("B", Uplink::ChildGone), (1, 0), "nobody is met to be sent away");
    }

    #[test]
    fn cores_together_give_no_more_than_the_rate() {
        for cores in [1, 2, 3, 16] {
            let rates = rates("12:1");
            let mut all: Vec<_> = (0..cores).map(|_| TenantAllowances::new(cores)).collect();
            let mut given = 0;
            for now_ms in 0..100_000 {
                for core in &mut all {
                    let allowance = core.of(TENANT, &rates).unwrap();
                    if allowance.check(telemetry(1), now_ms).is_ok() {
                        allowance.spend(telemetry(1));
                        given += 1;
                    }
                }
            }
            let burst = 12.max(i64::from(cores));
            assert!((12 * 99..=12 * 100 + burst).contains(&given), "{given} with {cores} cores");
        }
    }

    #[test]
    fn who_has_no_limit_has_no_allowance() {
        assert_eq!(TenantAllowances::new(2).of(TENANT, &Rates::default()), None);
    }
}
