//! Firmware and software packages.
//!
//! Why an upload makes another package of the same id: what was uploaded never changes, and devices that are reading the old
//! one hold it until they are done.
//!
//! Invariants:
//! - A package is of one profile, and only that profile and its devices may have it.
//! - A package that devices have is not deleted.
//!
//! Source: section 7 and rank 23 of section 13.2 of the vectors.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::multipart::MultipartRejection;
use axum::extract::{Multipart, Path, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use device::{
    Algorithm, Clash, Content, Label, Package, PackageId, PackageKind, ProfileId, Registry, TenantId,
};
use serde_json::{Value, json};

use super::asked::{Asked, Object, check_length, id};
use super::beside::{self, kept, picked};
use super::caller::Caller;
use super::clock::chance;
use super::house::Api;
use super::pages::{Few, PAGE, Page};
use super::refusal::Refusal;
use super::rollout::PLACES_AT_ONCE;
use super::routes::{Route, delete, get, post};
use super::shape::{Answer, empty_answer, entity, json_answer, tenant_entity};

/// Bytes of a package.
const PACKAGE_BYTES_MAX: usize = 50 << 20;
/// Bytes of a form beside its file.
const FORM_BYTES_MAX: usize = 65_536;
/// Bytes of the name and of the kind of a file.
const FILE_NAME_BYTES_MAX: usize = 1_024;
/// What a file is of which nobody has said so.
const ANY_BYTES: &str = "application/octet-stream";

/// Members of a package that mean nothing here.
const OF_PACKAGE: [&str; 1] = ["additionalInfo"];

pub(super) fn routes() -> Vec<Route> {
    vec![
        post("/api/otaPackage", "Creates a package, with an address or to be uploaded.", create).body(
            r#"{"title":"app","version":"1.1","type":"FIRMWARE","deviceProfileId":{"entityType":"DEVICE_PROFILE","id":"784f394c-42b6-435a-983c-b7beff2784f9"},"tag":"app 1.1","usesUrl":false}"#,
        ),
        post("/api/otaPackage/{otaPackageId}", "Uploads the bytes of a package.", upload)
            .query(&["checksumAlgorithm", "checksum"])
            .file()
            .limit(PACKAGE_BYTES_MAX + FORM_BYTES_MAX),
        get("/api/otaPackage/{otaPackageId}", "A package.", one),
        get("/api/otaPackage/info/{otaPackageId}", "A package, for customers too.", info),
        get("/api/otaPackage/{otaPackageId}/download", "The bytes of a package.", download),
        delete("/api/otaPackage/{otaPackageId}", "Deletes a package that nothing has.", remove),
        get("/api/otaPackages", "All packages.", all).query(PAGE),
        get("/api/otaPackages/{deviceProfileId}/{type}", "Packages for devices of a profile, with their bytes.", of_profile)
            .query(PAGE),
    ]
}

async fn create(State(api): State<Api>, caller: Caller, body: Object) -> Answer {
    let tenant = caller.admin()?;
    let kind = kind_named(body.needed("type")?)?;
    let profile = body.id("deviceProfileId", ProfileId::parse)?;
    let profile = profile.ok_or_else(|| Refusal::bad("OtaPackage device profile should be specified!"))?;
    let known = body.id("id", PackageId::parse)?;
    let content = match (body.flag("usesUrl"), body.text("url")?.filter(|url| !url.trim().is_empty())) {
        (true, None) => return Err(Refusal::bad("Ota package URL should be specified!")),
        (true, Some(url)) => elsewhere(&body, url)?,
        (false, _) => Content::Missing,
    };
    for member in ["title", "version"] {
        check_length(member, body.needed(member)?)?;
    }
    let package = Package {
        id: known.unwrap_or_else(|| PackageId::random(&mut chance)),
        tenant,
        profile,
        kind,
        title: body.needed("title")?.into(),
        version: body.needed("version")?.into(),
        tag: body.text("tag")?.filter(|tag| !tag.is_empty()).map(Box::from),
        created_ms: api.now_ms(),
        content,
        label: Label { additional: kept(picked(&body, &OF_PACKAGE))?, ..Label::default() },
    };
    let package = api
        .change(|registry, changes| {
            let package = Arc::new(check_new(registry, package, known)?);
            registry.put_package(Arc::clone(&package), changes);
            Ok(package)
        })
        .await?;
    json_answer(package_json(&package))
}

fn elsewhere(body: &Object, url: &str) -> Result<Content, Refusal> {
    let checksum = match (body.text("checksumAlgorithm")?, body.text("checksum")?) {
        (Some(algorithm), Some(sum)) => Some((algorithm_named(algorithm)?, Box::from(sum))),
        (None, _) | (_, None) => None,
    };
    let bytes_len = body.whole("dataSize")?.and_then(|length| u64::try_from(length).ok());
    Ok(Content::At { url: url.into(), bytes_len, checksum })
}

/// A package as it may be written: titles and versions are taken once, and what is known keeps its content.
fn check_new(registry: &Registry, package: Package, known: Option<PackageId>) -> Result<Package, Refusal> {
    let profile = registry.profile(package.profile).filter(|profile| profile.tenant == package.tenant);
    profile.ok_or(Clash::ProfileUnknown)?;
    let is_same = |other: &&Arc<Package>| {
        (other.tenant, other.kind, &other.title, &other.version)
            == (package.tenant, package.kind, &package.title, &package.version)
    };
    if registry.packages().filter(is_same).any(|other| other.id != package.id) {
        return Err(Refusal::bad("OtaPackage with such title and version already exists!"));
    }
    let Some(id) = known else { return Ok(package) };
    let old = registry.package(id).filter(|old| old.tenant == package.tenant);
    let old = old.ok_or_else(|| Refusal::missing("OtaPackage", id))?;
    if (old.profile, old.kind, &old.title, &old.version)
        != (package.profile, package.kind, &package.title, &package.version)
    {
        return Err(Refusal::bad(
            "Updating otaPackage title, version, type or device profile is prohibited!",
        ));
    }
    let label = Label { additional: package.label.additional, ..old.label.clone() };
    Ok(Package { content: old.content.clone(), created_ms: old.created_ms, label, ..package })
}

async fn upload(
    State(api): State<Api>,
    caller: Caller,
    Path(text): Path<String>,
    asked: Asked,
    form: Result<Multipart, MultipartRejection>,
) -> Answer {
    let tenant = caller.admin()?;
    let package = package_of(&api, tenant, &text)?;
    if matches!(package.content, Content::At { .. }) {
        return Err(Refusal::bad("Can't upload bytes to otaPackage with URL!"));
    }
    let algorithm = algorithm_named(asked.get("checksumAlgorithm").unwrap_or("SHA256"))?;
    let wanted = asked.get("checksum").map(str::to_owned);
    let _place = api.limits().bodies.enter().await?;
    let form = form.map_err(|_| Refusal::bad("Invalid request body"))?;
    let File { bytes, name: file_name, kind: content_type } = file(form).await?;
    let take = move |_: &Api| Content::upload(Arc::from(&bytes[..]), algorithm, wanted.as_deref());
    let content = api.away(|limits| &limits.readings, take).await?;
    let content = content.map_err(|_| Refusal::bad("Wrong otaPackage file!"))?;
    let package = api
        .change(|registry, changes| {
            let known =
                registry.package(package.id).ok_or_else(|| Refusal::missing("OtaPackage", package.id))?;
            if !matches!(known.content, Content::Missing) {
                return Err(Refusal::bad("Updating otaPackage file is prohibited!"));
            }
            let label = Label { file_name, content_type, ..known.label.clone() };
            let package = Arc::new(Package { content, label, ..Package::clone(known) });
            registry.put_package(Arc::clone(&package), changes);
            Ok(package)
        })
        .await?;
    json_answer(package_json(&package))
}

/// A file that was uploaded.
struct File {
    bytes: Bytes,
    name: Option<Box<str>>,
    kind: Option<Box<str>>,
}

/// The file of a form.
async fn file(mut form: Multipart) -> Result<File, Refusal> {
    let refuse = |error: axum::extract::multipart::MultipartError| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Refusal::too_large(),
        _broken_off => Refusal::bad("Invalid request body"),
    };
    while let Some(field) = form.next_field().await.map_err(refuse)? {
        if field.name() == Some("file") {
            let word = |word: Option<&str>| word.filter(|word| !word.is_empty()).map(Box::<str>::from);
            let (name, kind) = (word(field.file_name()), word(field.content_type()));
            if [&name, &kind].into_iter().flatten().any(|word| word.len() > FILE_NAME_BYTES_MAX) {
                return Err(Refusal::bad(format!("A file's name has at most {FILE_NAME_BYTES_MAX} bytes")));
            }
            let bytes = field.bytes().await.map_err(refuse)?;
            let is_small = bytes.len() <= PACKAGE_BYTES_MAX;
            return is_small.then_some(File { bytes, name, kind }).ok_or_else(Refusal::too_large);
        }
    }
    Err(Refusal::bad("Required part 'file' is not present."))
}

async fn one(State(api): State<Api>, caller: Caller, Path(text): Path<String>) -> Answer {
    json_answer(package_json(&*package_of(&api, caller.admin()?, &text)?))
}

async fn info(State(api): State<Api>, caller: Caller, Path(text): Path<String>) -> Answer {
    json_answer(package_json(&*package_of(&api, caller.tenant()?, &text)?))
}

async fn download(State(api): State<Api>, caller: Caller, Path(text): Path<String>) -> Answer {
    let package = package_of(&api, caller.admin()?, &text)?;
    let Content::Here { bytes, .. } = &package.content else {
        return Err(Refusal::bad("There are no bytes to download"));
    };
    Ok((file_headers(&package), Bytes::from_owner(Arc::clone(bytes))).into_response())
}

/// What a download says of its file. A header does not hold every letter; the record has the name as it is.
pub(super) fn file_headers(package: &Package) -> [(HeaderName, HeaderValue); 3] {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_');
    let name = file_name(package);
    let name: String = name.chars().map(|letter| if is_plain(letter) { letter } else { '_' }).collect();
    let any = HeaderValue::from_static(ANY_BYTES);
    let header = |text: &str| HeaderValue::from_str(text).unwrap_or_else(|_| any.clone());
    [
        (header::CONTENT_TYPE, header(content_type(package))),
        (header::CONTENT_DISPOSITION, header(&format!("attachment;filename={name}"))),
        (HeaderName::from_static("x-filename"), header(&name)),
    ]
}

/// The name of a package's file; one that was uploaded without gets one.
fn file_name(package: &Package) -> String {
    let uploaded = package.label.file_name.as_ref().map(ToString::to_string);
    uploaded.unwrap_or_else(|| format!("{}_{}", package.title, package.version))
}

fn content_type(package: &Package) -> &str {
    package.label.content_type.as_deref().unwrap_or(ANY_BYTES)
}

async fn remove(State(api): State<Api>, caller: Caller, Path(text): Path<String>) -> Answer {
    let package = package_of(&api, caller.admin()?, &text)?.id;
    let has = move |api: &Api| is_assigned(api, package);
    if api.away(|limits| &limits.searches, has).await? {
        return Err(Clash::PackageInUse.into());
    }
    api.take_away(|registry, changes| {
        registry.delete_package(package, changes);
        Ok(())
    })
    .await?;
    empty_answer()
}

/// Whether a profile or a device has a package.
fn is_assigned(api: &Api, package: PackageId) -> bool {
    let kinds = [PackageKind::Firmware, PackageKind::Software];
    let of_profile = api.read(|registry| {
        let mut profiles = registry.profiles();
        profiles.any(|profile| kinds.iter().any(|kind| profile.package(*kind) == Some(package)))
    });
    let mut from = 0;
    let mut is_found = of_profile;
    while !is_found {
        let part = api.read(|registry| {
            let mut devices = registry.devices_in(from, PLACES_AT_ONCE)?;
            Some(devices.any(|device| kinds.iter().any(|kind| device.package(*kind) == Some(package))))
        });
        let Some(found) = part else { return false };
        is_found = found;
        from += PLACES_AT_ONCE;
    }
    is_found
}

async fn all(State(api): State<Api>, caller: Caller, asked: Asked) -> Answer {
    let tenant = caller.tenant()?;
    list(&api, &asked, |package| package.tenant == tenant)
}

async fn of_profile(
    State(api): State<Api>,
    caller: Caller,
    Path((profile, kind)): Path<(String, String)>,
    asked: Asked,
) -> Answer {
    let (tenant, profile, kind) = (caller.tenant()?, id(&profile, ProfileId::parse)?, kind_named(&kind)?);
    list(&api, &asked, |package| {
        let has_bytes = !matches!(package.content, Content::Missing);
        package.tenant == tenant && package.profile == profile && package.kind == kind && has_bytes
    })
}

fn list(api: &Api, asked: &Asked, is_wanted: impl Fn(&Package) -> bool) -> Answer {
    let page = Page::read(asked)?;
    let few = |package: &Arc<Package>| Few {
        id: *package.id.bytes(),
        name: package.title.to_string(),
        created_ms: package.created_ms,
        json: package_json(package),
    };
    let found =
        api.read(|registry| registry.packages().filter(|package| is_wanted(package)).map(few).collect());
    json_answer(page.of_few(found)?)
}

fn package_of(api: &Api, tenant: TenantId, text: &str) -> Result<Arc<Package>, Refusal> {
    let id = id(text, PackageId::parse)?;
    let package = api.read(|registry| registry.package(id).cloned());
    package.filter(|package| package.tenant == tenant).ok_or_else(|| Refusal::missing("OtaPackage", id))
}

/// Whether a package may be assigned to devices of a profile.
pub(super) fn check_assignable(
    registry: &Registry,
    package: PackageId,
    kind: PackageKind,
    profile: ProfileId,
) -> Result<(), Refusal> {
    let word = kind_name(kind).to_lowercase();
    let tenant = registry.profile(profile).map(|profile| profile.tenant);
    let package = registry.package(package).filter(|package| Some(package.tenant) == tenant);
    let package = package.ok_or_else(|| Refusal::bad(format!("Can't assign non-existent {word}!")))?;
    if package.kind != kind {
        return Err(Refusal::bad(format!("Can't assign {word} with type: {}", kind_name(package.kind))));
    }
    if package.profile != profile {
        return Err(Refusal::bad(format!("Can't assign {word} with different deviceProfile!")));
    }
    match package.content {
        Content::Missing => Err(Refusal::bad(format!("Can't assign {word} with empty data!"))),
        Content::Here { .. } | Content::At { .. } => Ok(()),
    }
}

fn package_json(package: &Package) -> Value {
    let (algorithm, checksum, length, url) = match &package.content {
        Content::Missing => (None, None, None, None),
        Content::Here { bytes, algorithm, checksum } => {
            (Some(*algorithm), Some(checksum), u64::try_from(bytes.len()).ok(), None)
        }
        Content::At { url, bytes_len, checksum } => {
            let (algorithm, sum) = checksum.as_ref().map(|(algorithm, sum)| (*algorithm, sum)).unzip();
            (algorithm, sum, *bytes_len, Some(url))
        }
    };
    let is_here = matches!(package.content, Content::Here { .. });
    let mut json = json!({
        "id": entity("OTA_PACKAGE", package.id),
        "createdTime": package.created_ms,
        "tenantId": tenant_entity(Some(package.tenant)),
        "deviceProfileId": entity("DEVICE_PROFILE", package.profile),
        "type": kind_name(package.kind),
        "title": package.title,
        "version": package.version,
        "tag": package.tag,
        "url": url,
        "hasData": is_here || url.is_some(),
        "fileName": is_here.then(|| file_name(package)),
        "contentType": is_here.then(|| content_type(package)),
        "checksumAlgorithm": algorithm.map(Algorithm::name),
        "checksum": checksum,
        "dataSize": length,
        "externalId": null,
    });
    beside::show(&mut json, &OF_PACKAGE, package.label.additional.as_deref());
    json
}

const fn kind_name(kind: PackageKind) -> &'static str {
    match kind {
        PackageKind::Firmware => "FIRMWARE",
        PackageKind::Software => "SOFTWARE",
    }
}

fn kind_named(name: &str) -> Result<PackageKind, Refusal> {
    let kinds = [PackageKind::Firmware, PackageKind::Software];
    let found = kinds.into_iter().find(|kind| kind_name(*kind) == name);
    found.ok_or_else(|| Refusal::bad(format!("'{name}' is no type of packages")))
}

fn algorithm_named(name: &str) -> Result<Algorithm, Refusal> {
    Algorithm::named(name).ok_or_else(|| Refusal::bad(format!("'{name}' is no checksum algorithm")))
}
