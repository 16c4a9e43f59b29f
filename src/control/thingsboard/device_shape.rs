//! A device as JSON, and what a device is wished to be.
//!
//! Invariants:
//! - A device that is sent back as it was read stays as it is.
//!
//! Source: section 13.2 of the vectors.

use device::{CustomerId, Device, PackageId, ProfileId, Rare, Registry, Role};
use serde_json::{Map, Value, json};

use super::asked::Object;
use super::refusal::Refusal;
use super::shape::{customer_entity, entity, entity_or_null, tenant_entity};

/// Members of `additionalInfo` that a device has in other places.
const KEPT_APART: [&str; 3] = ["gateway", "overwriteActivityTime", "lastConnectedGateway"];

/// What a device is wished to be.
pub(super) struct Wish {
    pub name: String,
    /// The name of its profile.
    pub kind: Option<String>,
    pub profile: Option<ProfileId>,
    /// None leaves it as it is.
    pub customer: Option<Option<CustomerId>>,
    pub role: Role,
    pub label: Option<Box<str>>,
    pub additional: Option<Box<str>>,
    pub firmware: Option<PackageId>,
    pub software: Option<PackageId>,
    /// Which version of the device was read by whoever wishes; none for whoever does not mind.
    pub version: Option<i64>,
}

impl Wish {
    /// Reads a device as it is sent.
    pub fn read(body: &Object) -> Result<Self, Refusal> {
        let name = body.text("name")?.unwrap_or_default().trim().to_owned();
        if name.is_empty() {
            return Err(Refusal::bad("Device name should be specified!"));
        }
        let mut additional = body.object("additionalInfo")?.unwrap_or(Object(Map::new()));
        let role = match (additional.flag("gateway"), additional.flag("overwriteActivityTime")) {
            (true, true) => Role::GatewayForActivity,
            (true, false) => Role::Gateway,
            (false, _) => Role::Ordinary,
        };
        additional.0.retain(|name, _| !KEPT_APART.contains(&name.as_str()));
        let is_plain = additional.0.iter().all(|(name, value)| name == "description" && value == "");
        let customer = body.id("customerId", CustomerId::parse)?;
        Ok(Self {
            name,
            kind: body.text("type")?.filter(|kind| !kind.trim().is_empty()).map(str::to_owned),
            profile: body.id("deviceProfileId", ProfileId::parse)?,
            customer: body.get("customerId").is_some().then_some(customer),
            role,
            label: body.text("label")?.map(Box::from),
            additional: (!is_plain).then(|| Value::Object(additional.0).to_string().into()),
            firmware: body.id("firmwareId", PackageId::parse)?,
            software: body.id("softwareId", PackageId::parse)?,
            version: body.whole("version")?,
        })
    }

    /// Writes the wish into a device.
    pub fn fulfil(self, device: &mut Device) {
        device.name = self.name.into();
        device.role = self.role;
        if let Some(customer) = self.customer {
            device.customer = customer;
        }
        let rare = Rare {
            label: self.label,
            additional: self.additional,
            firmware: self.firmware,
            software: self.software,
            ..device.rare.take().map_or_else(Rare::default, |rare| *rare)
        };
        device.rare = (rare != Rare::default()).then(|| Box::new(rare));
    }
}

/// A device.
pub(super) fn device_json(registry: &Registry, device: &Device) -> Value {
    let kind = registry.profile(device.profile).map(|profile| &*profile.name);
    let rare = device.rare.as_deref();
    json!({
        "id": entity("DEVICE", device.id),
        "createdTime": device.created_ms,
        "tenantId": tenant_entity(Some(device.tenant)),
        "customerId": customer_entity(device.customer),
        "name": device.name,
        "type": kind,
        "label": rare.and_then(|rare| rare.label.as_deref()),
        "deviceProfileId": entity("DEVICE_PROFILE", device.profile),
        "deviceData": {"configuration": {"type": "DEFAULT"}, "transportConfiguration": {"type": "DEFAULT"}},
        "firmwareId": entity_or_null("OTA_PACKAGE", rare.and_then(|rare| rare.firmware)),
        "softwareId": entity_or_null("OTA_PACKAGE", rare.and_then(|rare| rare.software)),
        "externalId": null,
        "version": device.version(),
        "additionalInfo": additional(device),
    })
}

/// A device with what a list of devices shows.
pub(super) fn device_with_state_json(registry: &Registry, device: &Device, is_active: bool) -> Value {
    let mut json = device_json(registry, device);
    let customer = device.customer.and_then(|customer| registry.customer(customer));
    json["customerTitle"] = json!(customer.map(|customer| &*customer.title));
    json["customerIsPublic"] = json!(false);
    json["deviceProfileName"] = json["type"].clone();
    json["active"] = json!(is_active);
    json
}

fn additional(device: &Device) -> Value {
    let written = device.rare.as_ref().and_then(|rare| rare.additional.as_deref());
    let mut members: Map<String, Value> =
        written.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    members.insert("gateway".to_owned(), json!(device.role != Role::Ordinary));
    let overwrites = device.role == Role::GatewayForActivity;
    members.insert("overwriteActivityTime".to_owned(), json!(overwrites));
    if let Some(gateway) = device.gateway() {
        members.insert("lastConnectedGateway".to_owned(), json!(gateway.to_string()));
    }
    members.entry("description").or_insert_with(|| json!(""));
    Value::Object(members)
}
