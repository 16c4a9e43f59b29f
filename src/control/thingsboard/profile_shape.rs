//! A device profile as JSON, and a profile read from JSON.
//!
//! Why members of our own: what is kept of telemetry, and for how long, is a matter of rule chains and of the tenant in the
//! system whose API this is; here it belongs to the profile.
//!
//! Invariants:
//! - A profile that is sent back as it was read stays as it is.
//!
//! Source: sections 2.8, 6.4 and rank 24 of 13.2 of the vectors.

use std::borrow::Cow;
use std::sync::Arc;

use device::{
    ChainRule, Fingerprint, Keeping, PackageId, Profile, ProvisionKey, Provisioning, Transport, fingerprint,
};
use serde_json::{Map, Value, json};

use super::asked::Object;
use super::beside::{kept, members, picked, show};
use super::refusal::Refusal;
use super::shape::{entity, entity_or_null, tenant_entity};

/// Members of a profile that mean nothing here.
const OF_PROFILE: [&str; 6] = [
    "description",
    "image",
    "defaultRuleChainId",
    "defaultDashboardId",
    "defaultQueueName",
    "defaultEdgeRuleChainId",
];
/// Such a member of its `profileData`.
const ALARMS: &str = "alarms";
/// Which transport of others it is.
const TRANSPORT: &str = "transportType";

/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;

/// Reads what a profile shall be into one that has an id and a tenant.
pub(super) fn fulfil(body: &Object, profile: Profile) -> Result<Profile, Refusal> {
    let name = body.text("name")?.unwrap_or_default().trim().to_owned();
    if name.is_empty() {
        return Err(Refusal::bad("Device profile name should be specified!"));
    }
    let parts = body.object("profileData")?.unwrap_or(Object(Map::new()));
    let transport = match body.text("transportType")?.unwrap_or("DEFAULT") {
        "DEFAULT" => Transport::Default,
        "MQTT" => Transport::Mqtt,
        "COAP" | "LWM2M" | "SNMP" => Transport::Foreign,
        other => return Err(Refusal::bad(format!("'{other}' is no transport type"))),
    };
    let written = parts.object("transportConfiguration")?.unwrap_or(Object(Map::new()));
    let settings = settings(transport, written.0);
    let mut beside = picked(body, &OF_PROFILE);
    beside.extend(
        parts
            .get(ALARMS)
            .filter(|alarms| **alarms != json!([]))
            .map(|some| (ALARMS.to_owned(), some.clone())),
    );
    if transport == Transport::Foreign {
        beside.extend(picked(body, &[TRANSPORT]));
    }
    // What is not said of a member of our own stays as it is: scripts for the other system do not know it.
    let retention_ms = if body.0.contains_key("retentionDays") {
        retention_ms(body.whole("retentionDays")?)
    } else {
        profile.retention_ms
    };
    Ok(Profile {
        name: name.into(),
        is_default: profile.is_default || body.flag("default"),
        transport,
        settings: Arc::from(settings),
        terms: None,
        provisioning: provisioning(body, &parts, &profile.provisioning)?,
        keeping: body.text("telemetryKeeping")?.map_or(Ok(profile.keeping), keeping)?,
        retention_ms,
        firmware: body.id("firmwareId", PackageId::parse)?,
        software: body.id("softwareId", PackageId::parse)?,
        additional: kept(beside)?.map(Arc::from),
        ..profile
    })
}

/// Settings as they are kept: without what is so anyway. A type alone is all defaults, which are written as nothing.
fn settings(transport: Transport, mut written: Map<String, Value>) -> String {
    let defaults = defaults(transport);
    written.retain(|name, value| name == "type" || defaults.get(name) != Some(value));
    if written.keys().all(|name| name == "type") { String::new() } else { Value::Object(written).to_string() }
}

/// What the members of a transport's settings are if nobody says.
fn defaults(transport: Transport) -> Value {
    match transport {
        Transport::Mqtt => json!({
            "type": "MQTT",
            "deviceTelemetryTopic": "v1/devices/me/telemetry",
            "deviceAttributesTopic": "v1/devices/me/attributes",
            "deviceAttributesSubscribeTopic": "v1/devices/me/attributes",
            "transportPayloadTypeConfiguration": {"transportPayloadType": "JSON"},
            "sparkplug": false,
            "sparkplugAttributesMetricNames": [],
            "sendAckOnValidationException": false,
        }),
        Transport::Default => json!({"type": "DEFAULT"}),
        Transport::Foreign => json!({}),
    }
}

fn retention_ms(days: Option<i64>) -> Option<u64> {
    let days = days.and_then(|days| u64::try_from(days).ok()).filter(|days| *days > 0)?;
    Some(days.saturating_mul(DAY_MS))
}

fn keeping(name: &str) -> Result<Keeping, Refusal> {
    match name {
        "HISTORY" => Ok(Keeping::History),
        "LATEST" => Ok(Keeping::Latest),
        "FORWARD" => Ok(Keeping::Forward),
        other => Err(Refusal::bad(format!("telemetryKeeping is HISTORY, LATEST or FORWARD, not '{other}'"))),
    }
}

fn provisioning(body: &Object, parts: &Object, known: &Provisioning) -> Result<Provisioning, Refusal> {
    let configuration = parts.object("provisionConfiguration")?.unwrap_or(Object(Map::new()));
    let kind = body.text("provisionType")?.or(configuration.text("type")?).unwrap_or("DISABLED");
    let secret = configuration.text("provisionDeviceSecret")?;
    let key = || {
        let key = body.text("provisionDeviceKey")?.filter(|key| !key.trim().is_empty());
        let key = key.ok_or_else(|| Refusal::bad("Provision device key should be specified!"))?;
        let secret = secret.filter(|secret| !secret.trim().is_empty());
        let secret = secret.ok_or_else(|| Refusal::bad("Provision device secret should be specified!"))?;
        Ok::<_, Refusal>(ProvisionKey { key: key.into(), secret: secret.into() })
    };
    match kind {
        "DISABLED" => Ok(Provisioning::Disabled),
        "ALLOW_CREATE_NEW_DEVICES" => Ok(Provisioning::AllowCreate(key()?)),
        "CHECK_PRE_PROVISIONED_DEVICES" => Ok(Provisioning::CheckPreProvisioned(key()?)),
        "X509_CERTIFICATE_CHAIN" => Ok(Provisioning::CertificateChain(Box::new(ChainRule {
            authority: authority(secret.unwrap_or_default(), known)?,
            name_pattern: configuration.text("certificateRegExPattern")?.unwrap_or_default().into(),
            allows_create: configuration.flag("allowCreateNewDevicesByX509Certificate"),
        }))),
        other => Err(Refusal::bad(format!("'{other}' is no provision type"))),
    }
}

/// The fingerprint of an authority's certificate; the certificate itself is not kept, so its fingerprint is taken back.
fn authority(text: &str, known: &Provisioning) -> Result<Fingerprint, Refusal> {
    if let Provisioning::CertificateChain(rule) = known
        && hex(&rule.authority) == text
    {
        return Ok(rule.authority);
    }
    let certificate = device::Credential::certificate(text).map_err(|why| Refusal::bad(why.text()))?;
    match certificate.probe() {
        device::Probe::Digest(digest) => Ok(digest),
        device::Probe::Word(word) => Ok(fingerprint(word.as_bytes())),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A profile.
pub(super) fn profile_json(profile: &Profile) -> Value {
    let (kind, key, configuration) = match &profile.provisioning {
        Provisioning::Disabled => ("DISABLED", None, json!({"provisionDeviceSecret": null})),
        Provisioning::AllowCreate(key) => (
            "ALLOW_CREATE_NEW_DEVICES",
            Some(key.key.to_string()),
            json!({"provisionDeviceSecret": key.secret}),
        ),
        Provisioning::CheckPreProvisioned(key) => {
            let secret = json!({"provisionDeviceSecret": key.secret});
            ("CHECK_PRE_PROVISIONED_DEVICES", Some(key.key.to_string()), secret)
        }
        Provisioning::CertificateChain(rule) => (
            "X509_CERTIFICATE_CHAIN",
            Some(hex(&rule.authority)),
            json!({
                "provisionDeviceSecret": hex(&rule.authority),
                "certificateRegExPattern": rule.name_pattern,
                "allowCreateNewDevicesByX509Certificate": rule.allows_create,
            }),
        ),
    };
    let mut configuration = configuration;
    configuration["type"] = json!(kind);
    let additional = profile.additional.as_deref();
    let alarms = members(additional).remove(ALARMS).unwrap_or_else(|| json!([]));
    let mut json = json!({
        "id": entity("DEVICE_PROFILE", profile.id),
        "createdTime": profile.created_ms,
        "tenantId": tenant_entity(Some(profile.tenant)),
        "name": profile.name,
        "type": "DEFAULT",
        "transportType": transport_name(profile),
        "provisionType": kind,
        "provisionDeviceKey": key,
        "firmwareId": entity_or_null("OTA_PACKAGE", profile.firmware),
        "softwareId": entity_or_null("OTA_PACKAGE", profile.software),
        "profileData": {
            "configuration": {"type": "DEFAULT"},
            "transportConfiguration": transport_json(profile),
            "provisionConfiguration": configuration,
            "alarms": alarms,
        },
        "default": profile.is_default,
        "telemetryKeeping": keeping_name(profile.keeping),
        "retentionDays": profile.retention_ms.map(|retention_ms| retention_ms / DAY_MS),
        "version": profile.version,
    });
    show(&mut json, &OF_PROFILE, additional);
    json
}

/// A profile as lists for choosing show it.
pub(super) fn short_json(profile: &Profile) -> Value {
    let mut json = json!({
        "id": entity("DEVICE_PROFILE", profile.id),
        "tenantId": tenant_entity(Some(profile.tenant)),
        "name": profile.name,
        "type": "DEFAULT",
        "transportType": transport_name(profile),
    });
    show(&mut json, &["image", "defaultDashboardId"], profile.additional.as_deref());
    json
}

fn transport_json(profile: &Profile) -> Value {
    let mut settings = defaults(profile.transport);
    settings["type"] = json!(transport_name(profile));
    for (name, value) in members(Some(&profile.settings)) {
        settings[name] = value;
    }
    settings
}

fn transport_name(profile: &Profile) -> Cow<'static, str> {
    match profile.transport {
        Transport::Default => "DEFAULT".into(),
        Transport::Mqtt => "MQTT".into(),
        // Which other transport it is makes no difference: its devices are refused.
        Transport::Foreign => {
            let named = members(profile.additional.as_deref()).remove(TRANSPORT);
            named.and_then(|name| name.as_str().map(|name| name.to_owned().into())).unwrap_or("COAP".into())
        }
    }
}

const fn keeping_name(keeping: Keeping) -> &'static str {
    match keeping {
        Keeping::History => "HISTORY",
        Keeping::Latest => "LATEST",
        Keeping::Forward => "FORWARD",
    }
}

/// Whether devices must be let in anew: what they are reached by is another thing.
pub(super) fn must_leave(known: &Profile, profile: &Profile) -> bool {
    known.transport != profile.transport
}

/// Whether connections go on by something else.
pub(super) fn differs_for_connections(known: &Profile, profile: &Profile) -> bool {
    known.settings != profile.settings || known.keeping != profile.keeping
}
