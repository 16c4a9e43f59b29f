//! Device profiles.
//!
//! Why devices of a changed profile stay connected: a change counts in running sessions; only another transport ends them.
//!
//! Invariants:
//! - Settings that the dialect does not understand are refused, and nothing is changed.
//!
//! Source: rank 24 of section 13.2 of the vectors.

use axum::extract::{Path, State};
use device::{Change, PackageKind, Profile, ProfileId, Registry, TenantId};

use super::asked::{Asked, Object, id};
use super::caller::Caller;
use super::clock::chance;
use super::house::Api;
use super::packages::check_assignable;
use super::pages::{Few, PAGE, Page};
use super::profile_shape::{differs_for_connections, fulfil, must_leave, profile_json, short_json};
use super::refusal::Refusal;
use super::routes::{Route, delete, get, post};
use super::shape::{Answer, empty_answer, json_answer};

const TAKEN: &str = "Device profile with such name already exists!";

pub(super) fn routes() -> Vec<Route> {
    vec![
        post("/api/deviceProfile", "Creates a profile, or changes the one whose id is given.", save).body(
            r#"{"name":"p","type":"DEFAULT","transportType":"MQTT","provisionType":"DISABLED","profileData":{"configuration":{"type":"DEFAULT"},"transportConfiguration":{"type":"MQTT"},"provisionConfiguration":{"type":"DISABLED"}},"telemetryKeeping":"HISTORY","retentionDays":30}"#,
        ),
        get("/api/deviceProfile/{deviceProfileId}", "A profile.", one),
        delete("/api/deviceProfile/{deviceProfileId}", "Deletes a profile that no device has.", remove),
        post("/api/deviceProfile/{deviceProfileId}/default", "Makes a profile that of devices without a type.", make_default),
        get("/api/deviceProfiles", "All profiles.", all).query(PAGE),
        get("/api/deviceProfileInfos", "All profiles, in short.", all_short).query(PAGE),
        get("/api/deviceProfileInfo/default", "The profile of devices without a type, in short.", default_short),
        get("/api/deviceProfileInfo/{deviceProfileId}", "A profile, in short.", one_short),
    ]
}

async fn save(State(api): State<Api>, caller: Caller, body: Object) -> Answer {
    let tenant = caller.admin()?;
    let known = match body.id("id", ProfileId::parse)? {
        Some(id) => Some(profile_of(&api, tenant, &id.to_string())?),
        None => None,
    };
    let version = body.whole("version")?;
    let is_new = known.is_none();
    let base = known.unwrap_or_else(|| {
        let fresh = api.read(|registry| registry.new_profile(ProfileId::random(&mut chance), tenant, ""));
        Profile { created_ms: api.now_ms(), ..fresh }
    });
    let mut profile = fulfil(&body, base)?;
    profile.terms = api.platform().read_settings(&profile.settings).map_err(Refusal::bad)?;
    let change = |registry: &mut Registry, changes: &mut Vec<Change>| {
        put(registry, profile, (is_new, version), changes)
    };
    let Saved { profile, before, rolls_out } = api.change(change).await?;
    match &before {
        Some(before) if must_leave(before, &profile) => api.let_in_anew(profile.id),
        Some(before) if differs_for_connections(before, &profile) => api.renew_all(profile.id),
        Some(_) | None => {}
    }
    for kind in rolls_out {
        api.roll_out(profile.id, kind);
    }
    json_answer(profile_json(&profile))
}

/// What came of saving a profile.
struct Saved {
    profile: Profile,
    /// What it was before, unless it is new.
    before: Option<Profile>,
    /// Packages that its devices are to be told of.
    rolls_out: Vec<PackageKind>,
}

fn put(
    registry: &mut Registry,
    mut profile: Profile,
    (is_new, version): (bool, Option<i64>),
    changes: &mut Vec<Change>,
) -> Result<Saved, Refusal> {
    let kinds = [PackageKind::Firmware, PackageKind::Software];
    for kind in kinds {
        if let Some(package) = profile.package(kind) {
            check_assignable(registry, package, kind, profile.id)?;
        }
    }
    let mut rolls_out = Vec::new();
    if !is_new {
        let known =
            registry.profile(profile.id).ok_or_else(|| Refusal::missing("Device profile", profile.id))?;
        if version.is_some_and(|version| version != i64::from(known.version)) {
            return Err(Refusal::outdated("Device profile"));
        }
        profile.version = known.version.saturating_add(1);
        profile.untold = known.untold;
        rolls_out.extend(kinds.into_iter().filter(|kind| known.package(*kind) != profile.package(*kind)));
        rolls_out.iter().for_each(|kind| profile.untold.set(*kind, true));
    }
    let before = registry.profile(profile.id).cloned();
    let taken = |clash| Refusal::of_clash(clash, TAKEN);
    registry.put_profile(profile.clone(), changes).map_err(taken)?;
    let profile = registry.profile(profile.id).cloned().unwrap_or(profile);
    Ok(Saved { profile, before, rolls_out })
}

async fn one(State(api): State<Api>, caller: Caller, Path(text): Path<String>) -> Answer {
    // It has the secret with which devices provision themselves, so it is not for customers.
    json_answer(profile_json(&profile_of(&api, caller.admin()?, &text)?))
}

async fn one_short(State(api): State<Api>, caller: Caller, Path(text): Path<String>) -> Answer {
    json_answer(short_json(&profile_of(&api, caller.tenant()?, &text)?))
}

async fn default_short(State(api): State<Api>, caller: Caller) -> Answer {
    let tenant = caller.tenant()?;
    let found = api.read(|registry| registry.default_profile(tenant).map(short_json));
    json_answer(found.ok_or_else(Refusal::nothing)?)
}

async fn remove(State(api): State<Api>, caller: Caller, Path(text): Path<String>) -> Answer {
    let profile = profile_of(&api, caller.admin()?, &text)?.id;
    api.take_away(|registry, changes| registry.delete_profile(profile, changes)).await?;
    empty_answer()
}

async fn make_default(State(api): State<Api>, caller: Caller, Path(text): Path<String>) -> Answer {
    let known = profile_of(&api, caller.admin()?, &text)?;
    let profile = Profile { is_default: true, version: known.version.saturating_add(1), ..known };
    let shown = profile_json(&profile);
    api.change_or_clash(TAKEN, |registry, changes| registry.put_profile(profile, changes)).await?;
    json_answer(shown)
}

async fn all(State(api): State<Api>, caller: Caller, asked: Asked) -> Answer {
    list(&api, caller.admin()?, &asked, profile_json)
}

async fn all_short(State(api): State<Api>, caller: Caller, asked: Asked) -> Answer {
    list(&api, caller.tenant()?, &asked, short_json)
}

fn list(api: &Api, tenant: TenantId, asked: &Asked, show: fn(&Profile) -> serde_json::Value) -> Answer {
    let page = Page::read(asked)?;
    let few = |profile: &Profile| Few {
        id: *profile.id.bytes(),
        name: profile.name.to_string(),
        created_ms: profile.created_ms,
        json: show(profile),
    };
    let theirs = |profile: &&Profile| profile.tenant == tenant;
    let found = api.read(|registry| registry.profiles().filter(theirs).map(few).collect());
    json_answer(page.of_few(found)?)
}

fn profile_of(api: &Api, tenant: TenantId, text: &str) -> Result<Profile, Refusal> {
    let id = id(text, ProfileId::parse)?;
    let profile = api.read(|registry| registry.profile(id).cloned());
    profile.filter(|profile| profile.tenant == tenant).ok_or_else(|| Refusal::missing("Device profile", id))
}
