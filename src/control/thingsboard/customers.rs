//! Customers of a tenant, and which devices are theirs.
//!
//! Invariants:
//! - A customer's user sees that customer and no other.
//!
//! Source: section 13.2 of the vectors, rows without a rank.

use axum::extract::{Path, State};
use device::{Change, Customer, CustomerId, Device, DeviceId, HubCall, Margin, Registry, TenantId};
use serde_json::{Value, json};

use super::asked::{Asked, Object, check_length, id};
use super::beside::{self, check_version, kept, picked};
use super::caller::Caller;
use super::clock::chance;
use super::device_shape::device_json;
use super::house::Api;
use super::pages::{Few, PAGE, Page};
use super::refusal::Refusal;
use super::rollout::{PLACES_AT_ONCE, ask_all};
use super::routes::{Route, delete, get, post};
use super::shape::{Answer, empty_answer, entity, json_answer, tenant_entity};

/// Devices that a customer gives back at one time.
const RELEASED_AT_ONCE: usize = 1_024;
/// Devices whose homes are asked at one time.
const ASKED_AT_ONCE: usize = 64;

/// Members of a customer that mean nothing here.
const OF_CUSTOMER: [&str; 9] =
    ["address", "address2", "city", "country", "email", "phone", "state", "zip", "additionalInfo"];

const TAKEN: &str = "Customer with such title already exists!";

pub(super) fn routes() -> Vec<Route> {
    vec![
        post("/api/customer", "Creates a customer, or changes the one whose id is given.", save)
            .body(r#"{"title":"Customer A"}"#),
        get("/api/customer/{customerId}", "A customer.", one),
        delete("/api/customer/{customerId}", "Deletes a customer and its users; its devices stay.", remove),
        get("/api/customers", "All customers.", all).query(PAGE),
        post("/api/customer/{customerId}/device/{deviceId}", "Gives a device to a customer.", assign),
        delete("/api/customer/device/{deviceId}", "Takes a device from its customer.", unassign),
    ]
}

async fn save(State(api): State<Api>, caller: Caller, body: Object) -> Answer {
    let tenant = caller.admin()?;
    let title = body.text("title")?.unwrap_or_default().trim().to_owned();
    if title.is_empty() {
        return Err(Refusal::bad("Customer title should be specified!"));
    }
    check_length("title", &title)?;
    let known = match body.id("id", CustomerId::parse)? {
        Some(id) => Some(customer_in(&api, tenant, &id.to_string())?),
        None => None,
    };
    let customer = Customer {
        id: known.as_ref().map_or_else(|| CustomerId::random(&mut chance), |known| known.id),
        tenant,
        created_ms: known.as_ref().map_or_else(|| api.now_ms(), |known| known.created_ms),
        title: title.into(),
        margin: Margin { changes: 0, additional: kept(picked(&body, &OF_CUSTOMER))? },
    };
    let (version, is_new) = (body.whole("version")?, known.is_none());
    let put = |registry: &mut Registry, changes: &mut Vec<Change>| {
        put(registry, customer, (is_new, version), changes)
    };
    json_answer(customer_json(&api.change(put).await?))
}

fn put(
    registry: &mut Registry,
    mut customer: Customer,
    (is_new, version): (bool, Option<i64>),
    changes: &mut Vec<Change>,
) -> Result<Customer, Refusal> {
    if !is_new {
        let known = registry.customer(customer.id);
        let known = known.ok_or_else(|| Refusal::missing("Customer", customer.id))?;
        check_version(&known.margin, version, "Customer")?;
        customer.margin = known.margin.changed(customer.margin.additional);
    }
    registry.put_customer(customer.clone(), changes).map_err(|clash| Refusal::of_clash(clash, TAKEN))?;
    Ok(customer)
}

async fn one(State(api): State<Api>, caller: Caller, Path(text): Path<String>) -> Answer {
    json_answer(customer_json(&customer_of(&api, &caller, &text)?))
}

async fn remove(State(api): State<Api>, caller: Caller, Path(text): Path<String>) -> Answer {
    let customer = customer_in(&api, caller.admin()?, &text)?.id;
    release_all(&api, customer).await?;
    api.take_away(|registry, changes| registry.delete_customer(customer, changes)).await?;
    empty_answer()
}

/// Gives all devices of a customer back to the tenant, a few at a time: others look up devices meanwhile.
async fn release_all(api: &Api, customer: CustomerId) -> Result<(), Refusal> {
    if api.read(|registry| registry.owned_by(customer)) == 0 {
        return Ok(());
    }
    let owned = api.away(|limits| &limits.searches, move |api| owned_by(api, customer)).await?;
    for some in owned.chunks(RELEASED_AT_ONCE) {
        // What they offered while somebody owned them counts for nothing.
        for few in some.chunks(ASKED_AT_ONCE) {
            if ask_all(api, few, &drop_offer()).await.iter().any(Option::is_none) {
                return Err(Refusal::silence());
            }
        }
        api.take_away(|registry, changes| {
            registry.release(customer, some, changes);
            Ok(())
        })
        .await?;
    }
    Ok(())
}

fn owned_by(api: &Api, customer: CustomerId) -> Vec<DeviceId> {
    let (mut owned, mut from) = (Vec::new(), 0);
    loop {
        let part = api.read(|registry| {
            let devices = registry.devices_in(from, PLACES_AT_ONCE)?;
            let theirs = devices.filter(|device| device.customer == Some(customer));
            Some(theirs.map(|device| device.id).collect::<Vec<_>>())
        });
        let Some(part) = part else { return owned };
        owned.extend(part);
        from += PLACES_AT_ONCE;
    }
}

async fn all(State(api): State<Api>, caller: Caller, asked: Asked) -> Answer {
    let (tenant, page) = (caller.admin()?, Page::read(&asked)?);
    let few = |customer: &Customer| Few {
        id: *customer.id.bytes(),
        name: customer.title.to_string(),
        created_ms: customer.created_ms,
        json: customer_json(customer),
    };
    let theirs = |customer: &&Customer| customer.tenant == tenant;
    let found = api.read(|registry| registry.customers().filter(theirs).map(few).collect());
    json_answer(page.of_few(found)?)
}

async fn assign(
    State(api): State<Api>,
    caller: Caller,
    Path((customer, device)): Path<(String, String)>,
) -> Answer {
    let tenant = caller.admin()?;
    let customer = customer_in(&api, tenant, &customer)?.id;
    let device = api.device_in(tenant, &device)?.id;
    json_answer(api.give(device, Some(customer)).await?)
}

async fn unassign(State(api): State<Api>, caller: Caller, Path(device): Path<String>) -> Answer {
    let device = api.device_in(caller.admin()?, &device)?;
    if device.customer.is_none() {
        return Err(Refusal::bad("Device isn't assigned to any customer!"));
    }
    json_answer(api.give(device.id, None).await?)
}

impl Api {
    /// Gives a device to a customer or back to the tenant; the device as it is then.
    pub async fn give(&self, device: DeviceId, customer: Option<CustomerId>) -> Result<Value, Refusal> {
        if customer.is_none() {
            // What it offered while somebody owned it counts for nothing.
            self.ask(device, drop_offer()).await?;
        }
        self.change(|registry: &mut Registry, changes: &mut Vec<Change>| {
            let known = registry.device(device).ok_or_else(|| Refusal::missing("Device", device))?;
            let given = Device { customer, ..known.clone() };
            registry.save(given, changes)?;
            let given = registry.device(device).ok_or_else(|| Refusal::missing("Device", device))?;
            Ok(device_json(registry, given))
        })
        .await
    }
}

/// Ends what a device offers: whatever secret is shown, the offer is gone.
pub(super) fn drop_offer() -> HubCall {
    HubCall::Redeem { secret: "".into() }
}

/// A customer that the caller may see.
pub(super) fn customer_of(api: &Api, caller: &Caller, text: &str) -> Result<Customer, Refusal> {
    let customer = customer_in(api, caller.tenant()?, text)?;
    match caller.customer() {
        Some(own) if own != customer.id => Err(Refusal::forbidden()),
        Some(_) | None => Ok(customer),
    }
}

fn customer_in(api: &Api, tenant: TenantId, text: &str) -> Result<Customer, Refusal> {
    let id = id(text, CustomerId::parse)?;
    let customer = api.read(|registry| registry.customer(id).cloned());
    customer.filter(|customer| customer.tenant == tenant).ok_or_else(|| Refusal::missing("Customer", id))
}

fn customer_json(customer: &Customer) -> Value {
    let mut json = json!({
        "id": entity("CUSTOMER", customer.id),
        "createdTime": customer.created_ms,
        "tenantId": tenant_entity(Some(customer.tenant)),
        "title": customer.title,
        "name": customer.title,
        "externalId": null,
        "version": customer.margin.version(),
    });
    beside::show(&mut json, &OF_CUSTOMER, customer.margin.additional.as_deref());
    json
}
