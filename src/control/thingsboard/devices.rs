//! Devices: created, changed, found and deleted.
//!
//! Why a changed device keeps its connections: a change counts in running sessions; only another credential, another transport,
//! and becoming a gateway or none end them.
//!
//! Invariants:
//! - A refused request changes nothing.
//! - A device that was deleted is forgotten by its home before the answer.
//!
//! Source: section 13.2 of the vectors.

use axum::extract::{Path, State};
use device::{
    Change, Clash, Credential, Device, DeviceId, HubCall, HubReply, NewDevice, PackageKind, Profile,
    ProfileId, Registry, TenantId,
};
use serde_json::{Value, json};

use super::asked::{Asked, Object};
use super::caller::Caller;
use super::clock::chance;
use super::credentials::credential_of;
use super::customers::drop_offer;
use super::device_shape::{Wish, device_json, device_with_state_json};
use super::house::Api;
use super::names::{NAMING, Naming};
use super::refusal::Refusal;
use super::rollout::{Assigned, assigned};
use super::routes::{Route, delete, get, post};
use super::shape::{Answer, empty_answer, json_answer, tenant_entity};

/// Devices of one request by ids.
const IDS_MAX: usize = 1_000;

pub(super) fn routes() -> Vec<Route> {
    vec![
        post("/api/device", "Creates a device, or changes the one whose id is given.", save)
            .query(NAMING)
            .body(r#"{"name":"A","type":"default","label":"x"}"#),
        post("/api/device-with-credentials", "As above, with credentials of any kind.", save_with_credentials)
            .query(&NAMING[1..])
            .body(r#"{"device":{"name":"A","type":"default"},"credentials":{"credentialsType":"ACCESS_TOKEN","credentialsId":"T"}}"#),
        get("/api/device/{deviceId}", "A device.", one),
        delete("/api/device/{deviceId}", "Deletes a device with all that is known of it.", remove),
        get("/api/device/info/{deviceId}", "A device, and whether it is active.", one_with_state),
        get("/api/tenant/device", "A device by its name.", named).query(&["deviceName"]),
        get("/api/devices", "Devices by their ids.", several).query(&["deviceIds"]),
        get("/api/device/types", "The names of all kinds of devices.", kinds),
    ]
}

async fn save(State(api): State<Api>, caller: Caller, asked: Asked, body: Object) -> Answer {
    let token = asked.get("accessToken").map(Credential::token).transpose();
    let token = token.map_err(|why| Refusal::bad(why.text()))?;
    let tenant = may_save(&api, &caller, &body, token.as_ref())?;
    let device = put(&api, tenant, &body, (token, Naming::read(&asked)?)).await?;
    json_answer(api.read(|registry| device_json(registry, &device)))
}

/// The tenant of whoever may save a device: customers change theirs, but make none and give none away. What a device may do
/// is not for them: a gateway speaks for devices of others, and an unknown kind would make a profile.
fn may_save(
    api: &Api,
    caller: &Caller,
    body: &Object,
    token: Option<&Credential>,
) -> Result<TenantId, Refusal> {
    let Some(own) = caller.customer() else { return caller.admin() };
    let known = body.id("id", DeviceId::parse)?.ok_or_else(Refusal::forbidden)?;
    let (known, wish) = (api.device_of(caller, &known.to_string())?, Wish::read(body)?);
    let is_theirs = wish.customer.is_none_or(|customer| customer == Some(own));
    let is_of_kind = match (wish.profile, &wish.kind) {
        (None, None) => true,
        (Some(profile), _) => profile == known.profile,
        (None, Some(kind)) => api
            .read(|registry| registry.profile(known.profile).is_some_and(|profile| *profile.name == **kind)),
    };
    if is_theirs && is_of_kind && wish.role == known.role && token.is_none() {
        caller.tenant()
    } else {
        Err(Refusal::forbidden())
    }
}

async fn save_with_credentials(State(api): State<Api>, caller: Caller, asked: Asked, body: Object) -> Answer {
    let device = body.object("device")?.ok_or_else(|| Refusal::bad_body("`device` is missing"))?;
    let shown = body.object("credentials")?.ok_or_else(|| Refusal::bad_body("`credentials` is missing"))?;
    let credential = Some(credential_of(&shown)?);
    let device = put(&api, caller.admin()?, &device, (credential, Naming::read(&asked)?)).await?;
    json_answer(api.read(|registry| device_json(registry, &device)))
}

async fn one(State(api): State<Api>, caller: Caller, Path(id): Path<String>) -> Answer {
    let device = api.device_of(&caller, &id)?;
    json_answer(api.read(|registry| device_json(registry, &device)))
}

async fn one_with_state(State(api): State<Api>, caller: Caller, Path(id): Path<String>) -> Answer {
    let device = api.device_of(&caller, &id)?;
    let is_active = is_active(&api, device.id).await?;
    json_answer(api.read(|registry| device_with_state_json(registry, &device, is_active)))
}

async fn named(State(api): State<Api>, caller: Caller, asked: Asked) -> Answer {
    json_answer(by_name(&api, &caller, asked.needed("deviceName")?)?)
}

/// A device of the caller's tenant by its name.
pub(super) fn by_name(api: &Api, caller: &Caller, name: &str) -> Result<Value, Refusal> {
    let tenant = caller.tenant()?;
    let found = api.read(|registry| {
        let device = registry.device_named(tenant, name).filter(|device| caller.may_see(device))?;
        Some(device_json(registry, device))
    });
    found.ok_or_else(Refusal::nothing)
}

async fn several(State(api): State<Api>, caller: Caller, asked: Asked) -> Answer {
    let tenant = caller.tenant()?;
    let missing = || Refusal::bad("Required request parameter 'deviceIds' is not present");
    let ids = asked.list("deviceIds", "deviceId").ok_or_else(missing)?;
    if ids.len() > IDS_MAX {
        return Err(Refusal::bad(format!("More than {IDS_MAX} ids")));
    }
    let ids =
        ids.iter().map(|text| super::asked::id(text, DeviceId::parse)).collect::<Result<Vec<_>, _>>()?;
    let found: Vec<Value> = api.read(|registry| {
        let devices = ids.iter().filter_map(|id| registry.device(*id));
        let theirs = devices.filter(|device| device.tenant == tenant && caller.may_see(device));
        theirs.map(|device| device_json(registry, device)).collect()
    });
    json_answer(Value::Array(found))
}

async fn kinds(State(api): State<Api>, caller: Caller) -> Answer {
    let tenant = caller.tenant()?;
    let theirs = |profile: &&Profile| profile.tenant == tenant;
    let mut names: Vec<_> =
        api.read(|registry| registry.profiles().filter(theirs).map(|profile| profile.name.clone()).collect());
    names.sort_unstable();
    let kind =
        |name: &str| json!({"tenantId": tenant_entity(Some(tenant)), "entityType": "DEVICE", "type": name});
    json_answer(names.iter().map(|name| kind(name)).collect())
}

async fn remove(State(api): State<Api>, caller: Caller, Path(id): Path<String>) -> Answer {
    let gone = api.device_in(caller.admin()?, &id)?;
    api.delete_device(gone.id).await?;
    api.tell_deleted(&gone).await;
    empty_answer()
}

/// Whether a device has said something lately.
pub(super) async fn is_active(api: &Api, device: DeviceId) -> Result<bool, Refusal> {
    match api.ask(device, HubCall::Presence).await? {
        HubReply::Presence(presence) => Ok(presence.is_active),
        _no_other_answer => Err(Refusal::fault("A core gave another answer")),
    }
}

/// Creates or changes a device.
async fn put(
    api: &Api,
    tenant: TenantId,
    body: &Object,
    (credential, naming): (Option<Credential>, Naming),
) -> Result<Device, Refusal> {
    let mut wish = Wish::read(body)?;
    let now_ms = api.now_ms();
    match body.id("id", DeviceId::parse)? {
        None => {
            let make = |registry: &mut Registry, changes: &mut Vec<Change>| {
                wish.name = naming.name(registry, tenant, wish.name);
                create(registry, (tenant, now_ms), wish, credential, changes)
            };
            let (device, has) = api.change(make).await?;
            api.tell_assigned(device.id, Assigned::default(), has).await?;
            Ok(device)
        }
        Some(id) => {
            let alter = |registry: &mut Registry, changes: &mut Vec<Change>| {
                alter(registry, (tenant, id, now_ms), wish, credential, changes)
            };
            let altered = api.change(alter).await?;
            match altered.follows {
                Follows::Nothing => {}
                Follows::Leave => drop(api.ask(id, HubCall::Evict).await?),
                Follows::Renew => drop(api.ask(id, HubCall::Renew).await?),
            }
            if altered.changes_hands {
                // What it offered before counts for nothing.
                api.ask(id, drop_offer()).await?;
            }
            api.tell_assigned(id, altered.had, altered.has).await?;
            if altered.device.name != altered.old_name {
                api.tell_renamed(&altered.device, &altered.old_name).await;
            }
            Ok(altered.device)
        }
    }
}

fn create(
    registry: &mut Registry,
    (tenant, now_ms): (TenantId, i64),
    wish: Wish,
    credential: Option<Credential>,
    changes: &mut Vec<Change>,
) -> Result<(Device, Assigned), Refusal> {
    // All that can be refused is refused before a profile is made for the device.
    check(registry, tenant, &wish, None)?;
    registry.may_create(tenant, &wish.name)?;
    let is_taken = |credential: &Credential| registry.device_showing(credential.probe()).is_some();
    if credential.as_ref().is_some_and(is_taken) {
        return Err(Clash::CredentialTaken.into());
    }
    let profile = profile_of(registry, (tenant, now_ms), &wish, changes)?;
    check_packages(registry, profile, &wish)?;
    let new = NewDevice {
        tenant,
        profile: Some(profile),
        customer: wish.customer.flatten(),
        role: wish.role,
        name: &wish.name,
        credential,
    };
    let id = registry.create(new, now_ms, &mut chance, changes)?;
    let mut device = registry.device(id).ok_or(Clash::DeviceUnknown)?.clone();
    wish.fulfil(&mut device);
    if device.rare.is_some() {
        registry.replace(device.clone(), changes)?;
    }
    Ok((device, assigned(registry, id)))
}

/// What came of changing a device.
struct Altered {
    device: Device,
    old_name: Box<str>,
    /// Whether it belongs to another customer, or to none any more.
    changes_hands: bool,
    follows: Follows,
    had: Assigned,
    has: Assigned,
}

/// What follows for its connections.
enum Follows {
    Nothing,
    /// They end.
    Leave,
    /// They go on by what is known of it now.
    Renew,
}

fn alter(
    registry: &mut Registry,
    (tenant, id, now_ms): (TenantId, DeviceId, i64),
    wish: Wish,
    credential: Option<Credential>,
    changes: &mut Vec<Change>,
) -> Result<Altered, Refusal> {
    let known = registry.device(id).filter(|device| device.tenant == tenant).cloned();
    let known = known.ok_or_else(|| Refusal::missing("Device", id))?;
    if wish.version.is_some_and(|version| version != i64::from(known.version())) {
        return Err(Refusal::outdated("Device"));
    }
    check(registry, tenant, &wish, Some(id))?;
    let profile = match (wish.profile, &wish.kind) {
        (None, None) => known.profile,
        (Some(_), _) | (None, Some(_)) => profile_of(registry, (tenant, now_ms), &wish, changes)?,
    };
    check_packages(registry, profile, &wish)?;
    let had = assigned(registry, id);
    let mut device = Device { profile, ..known.clone() };
    wish.fulfil(&mut device);
    if let Some(credential) = credential {
        device.credential = credential;
    }
    registry.save(device, changes)?;
    let device = registry.device(id).ok_or(Clash::DeviceUnknown)?.clone();
    let follows = follows(registry, &known, &device);
    let changes_hands = device.customer != known.customer;
    Ok(Altered { follows, changes_hands, had, has: assigned(registry, id), old_name: known.name, device })
}

fn follows(registry: &Registry, known: &Device, device: &Device) -> Follows {
    let transport = |device: &Device| registry.profile(device.profile).map(|profile| profile.transport);
    if device.credential != known.credential
        || device.is_gateway() != known.is_gateway()
        || transport(device) != transport(known)
    {
        return Follows::Leave;
    }
    if device.profile != known.profile || device.role != known.role || device.name != known.name {
        return Follows::Renew;
    }
    Follows::Nothing
}

/// What can be wrong with a wish, but for its profile.
fn check(registry: &Registry, tenant: TenantId, wish: &Wish, own: Option<DeviceId>) -> Result<(), Refusal> {
    let known = own.and_then(|id| registry.device(id));
    // A name that was written down before names had a length stays.
    if known.is_none_or(|known| *known.name != *wish.name) {
        device::check_name(&wish.name)?;
    }
    if registry.device_named(tenant, &wish.name).is_some_and(|known| Some(known.id) != own) {
        return Err(Clash::NameTaken.into());
    }
    let is_theirs = |customer| registry.customer(customer).is_some_and(|customer| customer.tenant == tenant);
    if wish.customer.flatten().is_some_and(|customer| !is_theirs(customer)) {
        return Err(Clash::CustomerUnknown.into());
    }
    let is_known = |profile| registry.profile(profile).is_some_and(|profile| profile.tenant == tenant);
    if wish.profile.is_some_and(|profile| !is_known(profile)) {
        return Err(Clash::ProfileUnknown.into());
    }
    Ok(())
}

/// The profile that a wish names, made if it has no other sign than an unknown name.
fn profile_of(
    registry: &mut Registry,
    (tenant, now_ms): (TenantId, i64),
    wish: &Wish,
    changes: &mut Vec<Change>,
) -> Result<ProfileId, Refusal> {
    if let Some(profile) = wish.profile {
        return Ok(profile);
    }
    let known = match &wish.kind {
        Some(kind) => registry.profile_named(tenant, kind),
        None => registry.default_profile(tenant),
    };
    if let Some(known) = known {
        return Ok(known.id);
    }
    let id = ProfileId::random(&mut chance);
    let name = wish.kind.as_deref().unwrap_or("default");
    registry
        .put_profile(Profile { created_ms: now_ms, ..registry.new_profile(id, tenant, name) }, changes)?;
    Ok(id)
}

/// Whether the packages of a wish are made for its profile, and there.
fn check_packages(registry: &Registry, profile: ProfileId, wish: &Wish) -> Result<(), Refusal> {
    let packages = [(PackageKind::Firmware, wish.firmware), (PackageKind::Software, wish.software)];
    for (kind, package) in packages {
        if let Some(package) = package {
            super::packages::check_assignable(registry, package, kind, profile)?;
        }
    }
    Ok(())
}
