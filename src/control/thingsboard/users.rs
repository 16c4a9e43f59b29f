//! Who may log in, and tenants.
//!
//! Invariants:
//! - A tenant's administrator makes users of the tenant and of its customers; whoever looks after the broker makes tenants and
//!   their administrators.
//! - A hash never leaves the broker.
//!
//! Source: section 13.1 of the vectors.

use axum::extract::{Path, State};
use device::{Authority, Change, CustomerId, Margin, Registry, Tenant, TenantId, User, UserId};
use serde_json::{Map, Value, json};

use super::asked::{Asked, Object, check_length, id};
use super::beside::{self, check_version, kept, picked};
use super::caller::Caller;
use super::clock::chance;
use super::customers::customer_of;
use super::house::Api;
use super::login::{activation_link, set_password, user_id};
use super::pages::{Few, PAGE, Page};
use super::refusal::Refusal;
use super::routes::{Route, delete, get, post};
use super::shape::{
    Answer, HAS_PASSWORD, OF_USER, authority_named, empty_answer, entity, json_answer, user_json,
};

/// Members of a tenant that mean nothing here.
const OF_TENANT: [&str; 10] =
    ["region", "address", "address2", "city", "country", "email", "phone", "state", "zip", "additionalInfo"];

const TAKEN: &str = "User with such email is already present in database!";

pub(super) fn routes() -> Vec<Route> {
    vec![
        post("/api/user", "Creates a user, or changes the one whose id is given; `password` sets a password at once.", save)
            .query(&["sendActivationMail"])
            .body(r#"{"email":"user@example.com","authority":"CUSTOMER_USER","customerId":{"entityType":"CUSTOMER","id":"784f394c-42b6-435a-983c-b7beff2784f9"}}"#),
        get("/api/user/{userId}", "A user.", one),
        delete("/api/user/{userId}", "Deletes a user; their tokens end.", remove),
        get("/api/user/{userId}/activationLink", "Where a user chooses a first password, as text.", activation_link),
        get("/api/users", "All users that the caller looks after.", all).query(PAGE),
        get("/api/customer/{customerId}/users", "The users of a customer.", of_customer).query(PAGE),
        post("/api/tenant", "Creates a tenant, or changes the one whose id is given.", save_tenant)
            .body(r#"{"title":"Tenant A","devicesMax":1000}"#),
        get("/api/tenant/{tenantId}", "A tenant.", one_tenant),
        get("/api/tenants", "All tenants.", all_tenants).query(PAGE),
        get("/api/tenant/{tenantId}/users", "The administrators of a tenant.", of_tenant).query(PAGE),
    ]
}

async fn save(State(api): State<Api>, caller: Caller, body: Object) -> Answer {
    let name = body.needed("email")?.trim().to_lowercase();
    let authority = authority_named(body.needed("authority")?);
    let authority = authority.ok_or_else(|| Refusal::bad_body("`authority` is unknown"))?;
    let known = match body.id("id", UserId::parse)? {
        Some(id) => Some(user_of(&api, &caller, &id.to_string())?),
        None => None,
    };
    let tenant = match caller.user.authority {
        Authority::SystemAdmin => body.id("tenantId", TenantId::parse)?,
        Authority::TenantAdmin | Authority::CustomerUser => Some(caller.admin()?),
    };
    let customer = body.id("customerId", CustomerId::parse)?;
    let customer = match (authority, customer) {
        (Authority::CustomerUser, None) => return Err(Refusal::bad("User should be assigned to customer!")),
        (Authority::CustomerUser, Some(customer)) => Some(customer),
        (Authority::SystemAdmin | Authority::TenantAdmin, _) => None,
    };
    check_authority(&caller, authority, tenant)?;
    let user = User {
        id: known.as_ref().map_or_else(|| UserId::random(&mut chance), |known| known.id),
        tenant: if authority == Authority::SystemAdmin { None } else { tenant },
        customer,
        authority,
        created_ms: known.as_ref().map_or_else(|| api.now_ms(), |known| known.created_ms),
        name: name.into(),
        password_hash: known.as_ref().map_or_else(Box::default, |known| known.password_hash.clone()),
        margin: Margin { changes: 0, additional: kept(described(&body)?)? },
    };
    let (version, is_new) = (body.whole("version")?, known.is_none());
    let put =
        |registry: &mut Registry, changes: &mut Vec<Change>| put(registry, user, (is_new, version), changes);
    let shown = api.change(put).await?;
    let shown = match body.text("password")? {
        None => shown,
        Some(password) => set_password(&api, shown.id, password.to_owned(), None).await?,
    };
    json_answer(user_json(&shown))
}

/// What a user is said to be, and what means nothing here.
fn described(body: &Object) -> Result<Map<String, Value>, Refusal> {
    let mut members = picked(body, &OF_USER);
    if let Some(mut additional) = body.object("additionalInfo")? {
        additional.0.remove(HAS_PASSWORD);
        members.insert("additionalInfo".to_owned(), Value::Object(additional.0));
    }
    Ok(members)
}

fn put(
    registry: &mut Registry,
    mut user: User,
    (is_new, version): (bool, Option<i64>),
    changes: &mut Vec<Change>,
) -> Result<User, Refusal> {
    if !is_new {
        let known = registry.user(user.id).ok_or_else(|| Refusal::missing("User", user.id))?;
        check_version(&known.margin, version, "User")?;
        // Whoever has chosen a password meanwhile keeps it.
        user.password_hash = known.password_hash.clone();
        user.margin = known.margin.changed(user.margin.additional);
    }
    registry.put_user(user.clone(), changes).map_err(|clash| Refusal::of_clash(clash, TAKEN))?;
    Ok(user)
}

/// Whether the caller may make somebody who may do that.
fn check_authority(caller: &Caller, wanted: Authority, tenant: Option<TenantId>) -> Result<(), Refusal> {
    match (caller.user.authority, wanted) {
        (Authority::SystemAdmin, Authority::SystemAdmin)
        | (Authority::TenantAdmin, Authority::TenantAdmin | Authority::CustomerUser) => Ok(()),
        (Authority::SystemAdmin, Authority::TenantAdmin) if tenant.is_some() => Ok(()),
        (Authority::SystemAdmin, Authority::TenantAdmin) => {
            Err(Refusal::bad("Tenant administrator should be assigned to tenant!"))
        }
        (Authority::SystemAdmin, Authority::CustomerUser)
        | (Authority::TenantAdmin, Authority::SystemAdmin)
        | (Authority::CustomerUser, _) => Err(Refusal::forbidden()),
    }
}

async fn one(State(api): State<Api>, caller: Caller, Path(text): Path<String>) -> Answer {
    json_answer(user_json(&user_of(&api, &caller, &text)?))
}

async fn remove(State(api): State<Api>, caller: Caller, Path(text): Path<String>) -> Answer {
    let user = user_of(&api, &caller, &text)?.id;
    if user == caller.user.id || caller.user.authority == Authority::CustomerUser {
        return Err(Refusal::forbidden());
    }
    api.take_away(|registry, changes| {
        registry.delete_user(user, changes);
        Ok(())
    })
    .await?;
    empty_answer()
}

/// A user that the caller may see: themselves, those of their tenant, or anybody's administrator.
pub(super) fn user_of(api: &Api, caller: &Caller, text: &str) -> Result<User, Refusal> {
    let id = user_id(text)?;
    let user = api.read(|registry| registry.user(id).cloned());
    let user = user.ok_or_else(|| Refusal::missing("User", id))?;
    let is_visible = match caller.user.authority {
        Authority::SystemAdmin => user.authority != Authority::CustomerUser,
        Authority::TenantAdmin => user.tenant == caller.user.tenant,
        Authority::CustomerUser => user.id == caller.user.id,
    };
    if is_visible { Ok(user) } else { Err(Refusal::missing("User", id)) }
}

async fn all(State(api): State<Api>, caller: Caller, asked: Asked) -> Answer {
    let own = match caller.user.authority {
        Authority::SystemAdmin => None,
        Authority::TenantAdmin | Authority::CustomerUser => Some(caller.admin()?),
    };
    users(&api, &asked, |user| match own {
        None => user.authority != Authority::CustomerUser,
        Some(tenant) => user.tenant == Some(tenant),
    })
}

async fn of_customer(
    State(api): State<Api>,
    caller: Caller,
    Path(customer): Path<String>,
    asked: Asked,
) -> Answer {
    let customer = customer_of(&api, &caller, &customer)?.id;
    users(&api, &asked, |user| user.customer == Some(customer))
}

async fn of_tenant(
    State(api): State<Api>,
    caller: Caller,
    Path(tenant): Path<String>,
    asked: Asked,
) -> Answer {
    caller.system()?;
    let tenant = id(&tenant, TenantId::parse)?;
    users(&api, &asked, |user| user.tenant == Some(tenant) && user.authority == Authority::TenantAdmin)
}

fn users(api: &Api, asked: &Asked, is_wanted: impl Fn(&User) -> bool) -> Answer {
    let page = Page::read(asked)?;
    let few = |user: &User| Few {
        id: *user.id.bytes(),
        name: user.name.to_string(),
        created_ms: user.created_ms,
        json: user_json(user),
    };
    let found = api.read(|registry| registry.users().filter(|user| is_wanted(user)).map(few).collect());
    json_answer(page.of_few(found)?)
}

async fn save_tenant(State(api): State<Api>, caller: Caller, body: Object) -> Answer {
    caller.system()?;
    let title = body.needed("title")?.trim().to_owned();
    check_length("title", &title)?;
    let known = body.id("id", TenantId::parse)?;
    let devices_max = body.whole("devicesMax")?.map(|devices| u32::try_from(devices).unwrap_or(u32::MAX));
    let mut tenant = Tenant {
        devices_max: devices_max.filter(|devices| *devices > 0),
        margin: Margin { changes: 0, additional: kept(picked(&body, &OF_TENANT))? },
        ..Tenant::named(known.unwrap_or_else(|| TenantId::random(&mut chance)), &title)
    };
    let (version, says_how_many) = (body.whole("version")?, body.0.contains_key("devicesMax"));
    let tenant = api
        .change(|registry, changes| {
            if known.is_some() {
                let known = registry.tenant(tenant.id);
                let known = known.ok_or_else(|| Refusal::missing("Tenant", tenant.id))?;
                check_version(&known.margin, version, "Tenant")?;
                tenant.margin = known.margin.changed(tenant.margin.additional);
                // Scripts for the other system do not know this member: what they do not say stays.
                if !says_how_many {
                    tenant.devices_max = known.devices_max;
                }
            }
            // Names stand in canonical topics, so two tenants never share one.
            if registry.tenants().any(|other| other.id != tenant.id && other.name == tenant.name) {
                return Err(Refusal::bad("Tenant with such title already exists!"));
            }
            registry.put_tenant(tenant.clone(), changes);
            Ok(tenant)
        })
        .await?;
    json_answer(tenant_json(&tenant))
}

async fn one_tenant(State(api): State<Api>, caller: Caller, Path(text): Path<String>) -> Answer {
    let tenant = id(&text, TenantId::parse)?;
    let may_see = caller.user.tenant.is_none_or(|own| own == tenant);
    let found = api.read(|registry| registry.tenant(tenant).map(tenant_json)).filter(|_| may_see);
    json_answer(found.ok_or_else(|| Refusal::missing("Tenant", tenant))?)
}

async fn all_tenants(State(api): State<Api>, caller: Caller, asked: Asked) -> Answer {
    caller.system()?;
    let page = Page::read(&asked)?;
    let few = |tenant: &Tenant| Few {
        id: *tenant.id.bytes(),
        name: tenant.name.to_string(),
        created_ms: 0,
        json: tenant_json(tenant),
    };
    let found = api.read(|registry| registry.tenants().map(few).collect());
    json_answer(page.of_few(found)?)
}

fn tenant_json(tenant: &Tenant) -> Value {
    let mut json = json!({
        "id": entity("TENANT", tenant.id),
        "createdTime": 0,
        "title": tenant.name,
        "name": tenant.name,
        "devicesMax": tenant.devices_max,
        "version": tenant.margin.version(),
    });
    beside::show(&mut json, &OF_TENANT, tenant.margin.additional.as_deref());
    json
}
