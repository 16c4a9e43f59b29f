//! Lists of devices, page by page.
//!
//! Why in parts: a look at a million devices takes as long as a thousand messages, and a core that wants to look up one
//! must not wait for it.
//!
//! Invariants:
//! - The lock of the registry is held for [`PLACES_AT_ONCE`] devices at most.
//! - A device that is created or deleted meanwhile is on the page or not, as it happens.
//!
//! Source: rank 7 of section 13.2 of the vectors.

use std::sync::Arc;

use axum::extract::{Path, State};
use device::{CustomerId, Device, DeviceId, HubCall, HubReply, ProfileId, Registry, TenantId};
use serde_json::Value;

use super::asked::{Asked, id};
use super::caller::Caller;
use super::device_shape::{device_json, device_with_state_json};
use super::house::Api;
use super::pages::{Cut, Page, Rank, unsorted};
use super::refusal::Refusal;
use super::rollout::PLACES_AT_ONCE;
use super::routes::{Route, get};
use super::shape::{Answer, json_answer};

/// Devices whose homes are asked whether they are active, where only such are wanted.
const ASKED_MAX: usize = 100_000;

const QUERY: &[&str] =
    &["pageSize", "page", "textSearch", "sortProperty", "sortOrder", "type", "deviceProfileId"];
const STATE_QUERY: &[&str] =
    &["pageSize", "page", "textSearch", "sortProperty", "sortOrder", "type", "deviceProfileId", "active"];
const TENANT_QUERY: &[&str] =
    &["pageSize", "page", "textSearch", "sortProperty", "sortOrder", "type", "deviceProfileId", "deviceName"];

pub(super) fn routes() -> Vec<Route> {
    vec![
        get("/api/tenant/devices", "The tenant's devices; with deviceName the one of that name.", of_tenant)
            .query(TENANT_QUERY),
        get(
            "/api/tenant/deviceInfos",
            "The tenant's devices, and whether they are active.",
            of_tenant_with_state,
        )
        .query(STATE_QUERY),
        get("/api/deviceInfos/all", "The same, by another name.", of_tenant_with_state).query(STATE_QUERY),
        get("/api/customer/{customerId}/devices", "A customer's devices.", of_customer).query(QUERY),
        get(
            "/api/customer/{customerId}/deviceInfos",
            "A customer's devices, and whether they are active.",
            of_customer_with_state,
        )
        .query(STATE_QUERY),
    ]
}

async fn of_tenant(State(api): State<Api>, caller: Caller, asked: Asked) -> Answer {
    if let Some(name) = asked.get("deviceName") {
        return json_answer(super::devices::by_name(&api, &caller, name)?);
    }
    tenant_page(&api, &caller, &asked, Shown::Alone).await
}

async fn of_tenant_with_state(State(api): State<Api>, caller: Caller, asked: Asked) -> Answer {
    tenant_page(&api, &caller, &asked, Shown::WithState).await
}

async fn tenant_page(api: &Api, caller: &Caller, asked: &Asked, shown: Shown) -> Answer {
    let filter = Filter::read(caller.admin()?, None, asked)?;
    page(api, filter, Page::read(asked)?, shown).await
}

async fn of_customer(
    State(api): State<Api>,
    caller: Caller,
    Path(customer): Path<String>,
    asked: Asked,
) -> Answer {
    customer_page(&api, &caller, &customer, &asked, Shown::Alone).await
}

async fn of_customer_with_state(
    State(api): State<Api>,
    caller: Caller,
    Path(customer): Path<String>,
    asked: Asked,
) -> Answer {
    customer_page(&api, &caller, &customer, &asked, Shown::WithState).await
}

async fn customer_page(api: &Api, caller: &Caller, customer: &str, asked: &Asked, shown: Shown) -> Answer {
    let customer = super::customers::customer_of(api, caller, customer)?;
    let filter = Filter::read(customer.tenant, Some(customer.id), asked)?;
    page(api, filter, Page::read(asked)?, shown).await
}

/// What is shown of each device.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// Its record.
    Alone,
    /// And whether it is active.
    WithState,
}

/// Which devices are wanted.
struct Filter {
    tenant: TenantId,
    customer: Option<CustomerId>,
    kind: Option<String>,
    profile: Option<ProfileId>,
    /// Whether they are active; looked at only where that is shown.
    active: Option<bool>,
}

impl Filter {
    fn read(tenant: TenantId, customer: Option<CustomerId>, asked: &Asked) -> Result<Self, Refusal> {
        let profile = asked.get("deviceProfileId").map(|text| id(text, ProfileId::parse)).transpose()?;
        let kind = asked.get("type").map(str::to_owned);
        Ok(Self { tenant, customer, kind, profile, active: asked.flag("active") })
    }

    fn lets(&self, registry: &Registry, device: &Device) -> bool {
        device.tenant == self.tenant
            && self.customer.is_none_or(|customer| device.customer == Some(customer))
            && self.profile.is_none_or(|profile| device.profile == profile)
            && self.kind.as_ref().is_none_or(|kind| *kind == kind_of(registry, device))
    }
}

fn kind_of<'r>(registry: &'r Registry, device: &Device) -> &'r str {
    registry.profile(device.profile).map_or("", |profile| &profile.name)
}

async fn page(api: &Api, filter: Filter, page: Page, shown: Shown) -> Answer {
    let page = Arc::new(page);
    let wanted = Arc::clone(&page);
    let has_state = shown == Shown::WithState;
    let Cut { items, total } = match filter.active.filter(|_| has_state) {
        Some(is_active) => by_state(api, filter, &page, is_active).await?,
        None => {
            let search = move |api: &Api| Ok::<_, Refusal>(wanted.cut(search(api, &filter, &wanted)?));
            api.away(|limits| &limits.searches, search).await??
        }
    };
    let active = if has_state { active(api, &items).await? } else { Vec::new() };
    let shown: Vec<Value> = api.read(|registry| {
        let devices = items.iter().enumerate().filter_map(|(at, id)| Some((at, registry.device(*id)?)));
        let show = |(at, device)| match active.get(at) {
            Some(is_active) => device_with_state_json(registry, device, *is_active),
            None => device_json(registry, device),
        };
        devices.map(show).collect()
    });
    json_answer(page.answer(shown, total))
}

/// Those that are active, or those that are not: their homes know.
async fn by_state(
    api: &Api,
    filter: Filter,
    page: &Arc<Page>,
    is_wanted: bool,
) -> Result<Cut<DeviceId>, Refusal> {
    let _place = api.limits().readings.enter().await?;
    let wanted = Arc::clone(page);
    let search = move |api: &Api| search(api, &filter, &wanted);
    let found = api.away(|limits| &limits.searches, search).await??;
    if found.len() > ASKED_MAX {
        return Err(Refusal::bad(format!(
            "`active` looks at {ASKED_MAX} devices at most: narrow the search"
        )));
    }
    let devices: Vec<DeviceId> = found.iter().map(|(_, device)| *device).collect();
    let active = active(api, &devices).await?;
    let theirs = found.into_iter().zip(active).filter(|(_, is_active)| *is_active == is_wanted);
    Ok(page.cut(theirs.map(|(found, _)| found).collect()))
}

fn search(api: &Api, filter: &Filter, page: &Page) -> Result<Vec<(Rank, DeviceId)>, Refusal> {
    let mut found = Vec::new();
    let mut from = 0;
    loop {
        let has_more = api.read(|registry| -> Result<bool, Refusal> {
            let Some(devices) = registry.devices_in(from, PLACES_AT_ONCE) else { return Ok(false) };
            for device in devices.filter(|device| filter.lets(registry, device)) {
                let kind = kind_of(registry, device);
                let label = label(device);
                if page.finds(&[&device.name, kind, label]) {
                    found.push((rank(registry, device, page.sort.as_deref())?, device.id));
                }
            }
            Ok(true)
        })?;
        if !has_more {
            return Ok(found);
        }
        from += PLACES_AT_ONCE;
    }
}

fn label(device: &Device) -> &str {
    device.rare.as_ref().and_then(|rare| rare.label.as_deref()).unwrap_or_default()
}

fn rank(registry: &Registry, device: &Device, by: Option<&str>) -> Result<Rank, Refusal> {
    Ok(match by {
        None => Rank::None,
        Some("createdTime") => Rank::Time(device.created_ms),
        Some("name") => Rank::Text(device.name.clone()),
        Some("type" | "deviceProfileName") => Rank::Text(kind_of(registry, device).into()),
        Some("label") => Rank::Text(label(device).into()),
        Some("id" | "tenantId") => Rank::None,
        Some("customerTitle") => {
            let customer = device.customer.and_then(|customer| registry.customer(customer));
            Rank::Text(customer.map_or_else(Box::default, |customer| customer.title.clone()))
        }
        Some(other) => return Err(unsorted(other)),
    })
}

/// Whether each of some devices is active.
async fn active(api: &Api, devices: &[DeviceId]) -> Result<Vec<bool>, Refusal> {
    let mut active = Vec::with_capacity(devices.len());
    for some in devices.chunks(64) {
        let mut answers = Vec::with_capacity(some.len());
        for device in some {
            answers.push(api.hand(*device, HubCall::Presence).await?);
        }
        for answer in answers {
            let reply = tokio::time::timeout(super::house::ANSWER_MAX, answer.recv_async()).await;
            match reply.map_err(|_| Refusal::silence())?.map_err(|_| Refusal::silence())? {
                HubReply::Presence(presence) => active.push(presence.is_active),
                _no_other_answer => return Err(Refusal::fault("A core gave another answer")),
            }
        }
    }
    Ok(active)
}
