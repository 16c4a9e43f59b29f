//! Values of records that belong to all cores: tenants, customers, users, profiles, devices, packages.
//!
//! Why a device begins with its tenant and profile: the sweep of old points reads these of every device and nothing else.
//!
//! Invariants:
//! - The id of a thing is in its key alone.
//! - What a record of an earlier edition does not have at its end is read as nothing.

use std::sync::Arc;

use device::{
    Algorithm, Authority, ChainRule, Content, Credential, Customer, CustomerId, Device, DeviceId, Keeping,
    Label, Margin, Package, PackageId, PackageKind, Profile, ProfileId, ProvisionKey, Provisioning, Rare,
    Role, Tenant, TenantId, Transport, Untold, User, UserId,
};

use crate::codec::{Garbled, Input, Output};

use super::field::{begin, begun, flag_of, i64_of, id_of, push_i64, push_some, push_text, some_of, text_of};

/// The bytes of a package stand in pieces of so many.
pub(crate) const PIECE_BYTES: usize = 1_048_576;

pub(crate) fn encode_tenant(tenant: &Tenant, out: &mut Vec<u8>) {
    begin(out);
    push_some(out, tenant.devices_max, |out, most| out.push_u32(most));
    push_text(out, &tenant.name);
    push_margin(&tenant.margin, out);
}

pub(super) fn decode_tenant(id: TenantId, value: &[u8]) -> Result<Tenant, Garbled> {
    let mut input = begun(value)?;
    let devices_max = some_of(&mut input, Input::u32)?;
    let name = text_of(&mut input)?;
    let margin = margin_of(&mut input)?;
    input.end()?;
    Ok(Tenant { id, name, devices_max, margin })
}

/// What stands beside a record, at its end: nothing if there is nothing, as in records of earlier editions.
fn push_margin(margin: &Margin, out: &mut Vec<u8>) {
    if *margin != Margin::default() {
        out.push_u32(margin.changes);
        push_some(out, margin.additional.as_deref(), push_text);
    }
}

fn margin_of(input: &mut Input<'_>) -> Result<Margin, Garbled> {
    if input.is_empty() {
        return Ok(Margin::default());
    }
    let margin = Margin { changes: input.u32()?, additional: some_of(input, text_of)? };
    if margin == Margin::default() { Err(Garbled("nothing stands beside a record")) } else { Ok(margin) }
}

pub(crate) fn encode_customer(customer: &Customer, out: &mut Vec<u8>) {
    begin(out);
    out.extend_from_slice(customer.tenant.bytes());
    push_i64(out, customer.created_ms);
    push_text(out, &customer.title);
    push_margin(&customer.margin, out);
}

pub(super) fn decode_customer(id: CustomerId, value: &[u8]) -> Result<Customer, Garbled> {
    let mut input = begun(value)?;
    let tenant = TenantId::from_bytes(id_of(&mut input)?);
    let created_ms = i64_of(&mut input)?;
    let title = text_of(&mut input)?;
    let margin = margin_of(&mut input)?;
    input.end()?;
    Ok(Customer { id, tenant, created_ms, title, margin })
}

pub(crate) fn encode_user(user: &User, out: &mut Vec<u8>) {
    begin(out);
    out.push(match user.authority {
        Authority::SystemAdmin => 0,
        Authority::TenantAdmin => 1,
        Authority::CustomerUser => 2,
    });
    push_some(out, user.tenant.as_ref(), |out, tenant| out.extend_from_slice(tenant.bytes()));
    push_some(out, user.customer.as_ref(), |out, customer| out.extend_from_slice(customer.bytes()));
    push_i64(out, user.created_ms);
    push_text(out, &user.name);
    push_text(out, &user.password_hash);
    push_margin(&user.margin, out);
}

pub(super) fn decode_user(id: UserId, value: &[u8]) -> Result<User, Garbled> {
    let mut input = begun(value)?;
    let authority = match input.u8()? {
        0 => Authority::SystemAdmin,
        1 => Authority::TenantAdmin,
        2 => Authority::CustomerUser,
        _unknown => return Err(Garbled("a user has an unknown authority")),
    };
    let tenant = some_of(&mut input, id_of)?.map(TenantId::from_bytes);
    let customer = some_of(&mut input, id_of)?.map(CustomerId::from_bytes);
    let created_ms = i64_of(&mut input)?;
    let (name, password_hash) = (text_of(&mut input)?, text_of(&mut input)?);
    let margin = margin_of(&mut input)?;
    input.end()?;
    Ok(User { id, tenant, customer, authority, created_ms, name, password_hash, margin })
}

/// What a dialect understood of a profile's settings is not written down: it follows from them.
pub(crate) fn encode_profile(profile: &Profile, out: &mut Vec<u8>) {
    begin(out);
    out.extend_from_slice(profile.tenant.bytes());
    out.push(u8::from(profile.is_default));
    out.push(match profile.transport {
        Transport::Default => 0,
        Transport::Mqtt => 1,
        Transport::Foreign => 2,
    });
    out.push(match profile.keeping {
        Keeping::History => 0,
        Keeping::Latest => 1,
        Keeping::Forward => 2,
    });
    push_some(out, profile.retention_ms, |out, ms| out.push_u64(ms));
    push_package_id(profile.firmware, out);
    push_package_id(profile.software, out);
    push_text(out, &profile.name);
    push_text(out, &profile.settings);
    encode_provisioning(&profile.provisioning, out);
    out.push(u8::from(profile.untold.firmware));
    out.push(u8::from(profile.untold.software));
    push_i64(out, profile.created_ms);
    out.push_u32(profile.version);
    if let Some(additional) = &profile.additional {
        push_text(out, additional);
    }
}

pub(super) fn decode_profile(id: ProfileId, value: &[u8]) -> Result<Profile, Garbled> {
    let mut input = begun(value)?;
    let tenant = TenantId::from_bytes(id_of(&mut input)?);
    let is_default = flag_of(&mut input)?;
    let transport = match input.u8()? {
        0 => Transport::Default,
        1 => Transport::Mqtt,
        2 => Transport::Foreign,
        _unknown => return Err(Garbled("a profile has an unknown transport")),
    };
    let keeping = match input.u8()? {
        0 => Keeping::History,
        1 => Keeping::Latest,
        2 => Keeping::Forward,
        _unknown => return Err(Garbled("a profile keeps nobody knows what")),
    };
    let retention_ms = some_of(&mut input, Input::u64)?;
    let (firmware, software) = (package_id_of(&mut input)?, package_id_of(&mut input)?);
    let (name, settings) = (text_of(&mut input)?, Arc::from(input.text()?));
    let provisioning = decode_provisioning(&mut input)?;
    let (untold, created_ms, version) = if input.is_empty() {
        (Untold::default(), 0, 1)
    } else {
        let untold = Untold { firmware: flag_of(&mut input)?, software: flag_of(&mut input)? };
        (untold, i64_of(&mut input)?, input.u32()?)
    };
    let additional = if input.is_empty() { None } else { Some(Arc::from(input.text()?)) };
    input.end()?;
    Ok(Profile {
        id,
        tenant,
        name,
        is_default,
        transport,
        settings,
        terms: None,
        provisioning,
        keeping,
        retention_ms,
        firmware,
        software,
        untold,
        created_ms,
        version,
        additional,
    })
}

fn push_package_id(id: Option<PackageId>, out: &mut Vec<u8>) {
    push_some(out, id, |out, id| out.extend_from_slice(id.bytes()));
}

fn package_id_of(input: &mut Input<'_>) -> Result<Option<PackageId>, Garbled> {
    Ok(some_of(input, id_of)?.map(PackageId::from_bytes))
}

fn encode_provisioning(provisioning: &Provisioning, out: &mut Vec<u8>) {
    let mut keyed = |tag: u8, key: &ProvisionKey| {
        out.push(tag);
        push_text(out, &key.key);
        push_text(out, &key.secret);
    };
    match provisioning {
        Provisioning::Disabled => out.push(0),
        Provisioning::AllowCreate(key) => keyed(1, key),
        Provisioning::CheckPreProvisioned(key) => keyed(2, key),
        Provisioning::CertificateChain(rule) => {
            out.push(3);
            out.extend_from_slice(&rule.authority);
            out.push(u8::from(rule.allows_create));
            push_text(out, &rule.name_pattern);
        }
    }
}

fn decode_provisioning(input: &mut Input<'_>) -> Result<Provisioning, Garbled> {
    let keyed = |input: &mut Input<'_>| -> Result<ProvisionKey, Garbled> {
        Ok(ProvisionKey { key: text_of(input)?, secret: text_of(input)? })
    };
    Ok(match input.u8()? {
        0 => Provisioning::Disabled,
        1 => Provisioning::AllowCreate(keyed(input)?),
        2 => Provisioning::CheckPreProvisioned(keyed(input)?),
        3 => Provisioning::CertificateChain(Box::new(ChainRule {
            authority: input.take(32)?.try_into().expect("32 bytes"),
            allows_create: flag_of(input)?,
            name_pattern: text_of(input)?,
        })),
        _unknown => return Err(Garbled("a profile provisions nobody knows how")),
    })
}

pub(crate) fn encode_device(device: &Device, out: &mut Vec<u8>) {
    begin(out);
    out.extend_from_slice(device.tenant.bytes());
    out.extend_from_slice(device.profile.bytes());
    out.push(match device.role {
        Role::Ordinary => 0,
        Role::Gateway => 1,
        Role::GatewayForActivity => 2,
    });
    push_i64(out, device.created_ms);
    push_some(out, device.customer.as_ref(), |out, customer| out.extend_from_slice(customer.bytes()));
    push_text(out, &device.name);
    encode_credential(&device.credential, out);
    push_some(out, device.rare.as_deref(), |out, rare| encode_rare(rare, out));
}

/// The profile of a device, without reading the rest.
pub(crate) fn profile_of_device(value: &[u8]) -> Result<ProfileId, Garbled> {
    let mut input = begun(value)?;
    input.take(16)?;
    Ok(ProfileId::from_bytes(id_of(&mut input)?))
}

pub(super) fn decode_device(id: DeviceId, value: &[u8]) -> Result<Device, Garbled> {
    let mut input = begun(value)?;
    let tenant = TenantId::from_bytes(id_of(&mut input)?);
    let profile = ProfileId::from_bytes(id_of(&mut input)?);
    let role = match input.u8()? {
        0 => Role::Ordinary,
        1 => Role::Gateway,
        2 => Role::GatewayForActivity,
        _unknown => return Err(Garbled("a device has an unknown role")),
    };
    let created_ms = i64_of(&mut input)?;
    let customer = some_of(&mut input, id_of)?.map(CustomerId::from_bytes);
    let name = text_of(&mut input)?;
    let credential = decode_credential(&mut input)?;
    let rare = some_of(&mut input, decode_rare)?.map(Box::new);
    input.end()?;
    Ok(Device { id, tenant, profile, customer, role, created_ms, name, credential, rare })
}

fn encode_credential(credential: &Credential, out: &mut Vec<u8>) {
    match credential {
        Credential::Token(token) => {
            out.push(0);
            push_text(out, token);
        }
        Credential::Basic(basic) => {
            out.push(1);
            for part in [basic.client_id(), basic.user_name(), basic.password()] {
                // An absent part and an empty one are the same.
                push_text(out, part.unwrap_or_default());
            }
        }
        Credential::Certificate(certificate) => {
            out.push(2);
            push_text(out, certificate.text());
        }
    }
}

fn decode_credential(input: &mut Input<'_>) -> Result<Credential, Garbled> {
    let credential = match input.u8()? {
        0 => return Ok(Credential::Token(text_of(input)?)),
        1 => Credential::basic(input.text()?, input.text()?, input.text()?),
        // Not read again as if it came from outside: what is left without its frame may look like a frame.
        2 => return Ok(Credential::bare_certificate(input.text()?)),
        _unknown => return Err(Garbled("a credential of no known kind")),
    };
    credential.map_err(|_| Garbled("a credential is none"))
}

fn encode_rare(rare: &Rare, out: &mut Vec<u8>) {
    push_some(out, rare.label.as_deref(), push_text);
    push_some(out, rare.additional.as_deref(), push_text);
    push_package_id(rare.firmware, out);
    push_package_id(rare.software, out);
    for device in [rare.gateway, rare.creator] {
        push_some(out, device, |out, device| out.extend_from_slice(device.bytes()));
    }
    out.push(u8::from(rare.is_provisioned));
    out.push_u32(rare.changes);
    out.push_u32(rare.credential_changes);
}

fn decode_rare(input: &mut Input<'_>) -> Result<Rare, Garbled> {
    Ok(Rare {
        label: some_of(input, text_of)?,
        additional: some_of(input, text_of)?,
        firmware: package_id_of(input)?,
        software: package_id_of(input)?,
        gateway: some_of(input, id_of)?.map(DeviceId::from_bytes),
        creator: some_of(input, id_of)?.map(DeviceId::from_bytes),
        is_provisioned: flag_of(input)?,
        changes: if input.is_empty() { 0 } else { input.u32()? },
        credential_changes: if input.is_empty() { 0 } else { input.u32()? },
    })
}

/// A package without its bytes, which stand in pieces; their number is in the record if they are here.
pub(crate) fn encode_package(package: &Package, bytes_len: u64, out: &mut Vec<u8>) {
    begin(out);
    out.extend_from_slice(package.tenant.bytes());
    out.extend_from_slice(package.profile.bytes());
    out.push(match package.kind {
        PackageKind::Firmware => 0,
        PackageKind::Software => 1,
    });
    push_text(out, &package.title);
    push_text(out, &package.version);
    push_some(out, package.tag.as_deref(), push_text);
    match &package.content {
        Content::Missing => out.push(0),
        Content::Here { bytes: _, algorithm, checksum } => {
            out.push(1);
            out.push_u64(bytes_len);
            push_sum(out, (*algorithm, checksum));
        }
        Content::At { url, bytes_len, checksum } => {
            out.push(2);
            push_text(out, url);
            push_some(out, *bytes_len, |out, len| out.push_u64(len));
            push_some(out, checksum.as_ref().map(|(algorithm, sum)| (*algorithm, &**sum)), push_sum);
        }
    }
    push_i64(out, package.created_ms);
    if package.label != Label::default() {
        let Label { file_name, content_type, additional } = &package.label;
        [file_name, content_type, additional]
            .into_iter()
            .for_each(|text| push_some(out, text.as_deref(), push_text));
    }
}

fn label_of(input: &mut Input<'_>) -> Result<Label, Garbled> {
    if input.is_empty() {
        return Ok(Label::default());
    }
    let (file_name, content_type) = (some_of(input, text_of)?, some_of(input, text_of)?);
    let label = Label { file_name, content_type, additional: some_of(input, text_of)? };
    if label == Label::default() { Err(Garbled("nothing is said of a package")) } else { Ok(label) }
}

fn push_sum(out: &mut Vec<u8>, (algorithm, sum): (Algorithm, &str)) {
    let place = Algorithm::ALL.iter().position(|known| *known == algorithm).expect("all stand there");
    out.push(u8::try_from(place).expect("there are seven"));
    push_text(out, sum);
}

fn sum_of(input: &mut Input<'_>) -> Result<(Algorithm, Box<str>), Garbled> {
    let algorithm = Algorithm::ALL.get(usize::from(input.u8()?)).copied();
    Ok((algorithm.ok_or(Garbled("a checksum of no known kind"))?, text_of(input)?))
}

/// A package without its bytes, and how many these are.
pub(super) fn decode_package(id: PackageId, value: &[u8]) -> Result<(Package, u64), Garbled> {
    let mut input = begun(value)?;
    let tenant = TenantId::from_bytes(id_of(&mut input)?);
    let profile = ProfileId::from_bytes(id_of(&mut input)?);
    let kind = match input.u8()? {
        0 => PackageKind::Firmware,
        1 => PackageKind::Software,
        _unknown => return Err(Garbled("a package of no known kind")),
    };
    let (title, version) = (text_of(&mut input)?, text_of(&mut input)?);
    let tag = some_of(&mut input, text_of)?;
    let mut len = 0;
    let content = match input.u8()? {
        0 => Content::Missing,
        1 => {
            len = input.u64()?;
            let (algorithm, checksum) = sum_of(&mut input)?;
            Content::Here { bytes: Arc::from([]), algorithm, checksum }
        }
        2 => Content::At {
            url: text_of(&mut input)?,
            bytes_len: some_of(&mut input, Input::u64)?,
            checksum: some_of(&mut input, sum_of)?,
        },
        _unknown => return Err(Garbled("the bytes of a package are nobody knows where")),
    };
    let created_ms = if input.is_empty() { 0 } else { i64_of(&mut input)? };
    let label = label_of(&mut input)?;
    input.end()?;
    Ok((Package { id, tenant, profile, kind, title, version, tag, created_ms, content, label }, len))
}

pub(crate) fn encode_piece(bytes: &[u8], out: &mut Vec<u8>) {
    begin(out);
    out.extend_from_slice(bytes);
}

pub(super) fn decode_piece(value: &[u8]) -> Result<&[u8], Garbled> {
    Ok(begun(value)?.rest())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_an_earlier_edition_is_read_without_what_it_does_not_have() {
        let mut out = Vec::new();
        let profile = Profile {
            created_ms: 9,
            version: 4,
            untold: Untold { firmware: true, software: false },
            ..Profile::named(ProfileId::from_bytes([1; 16]), TenantId::from_bytes([2; 16]), "p")
        };
        encode_profile(&profile, &mut out);
        let read = |bytes: &[u8]| {
            let read = decode_profile(profile.id, bytes).unwrap();
            (read.untold, read.created_ms, read.version)
        };
        assert_eq!(read(&out), (profile.untold, 9, 4));
        assert_eq!(read(&out[..out.len() - 14]), (Untold::default(), 0, 1));
        let rare = Rare { changes: 3, credential_changes: 5, is_provisioned: true, ..Rare::default() };
        let mut out = Vec::new();
        encode_rare(&rare, &mut out);
        assert_eq!(decode_rare(&mut Input(&out)), Ok(rare.clone()));
        let old = decode_rare(&mut Input(&out[..out.len() - 8]));
        assert_eq!(old, Ok(Rare { changes: 0, credential_changes: 0, ..rare }));
    }

    #[test]
    fn what_stands_beside_a_record_is_read_again_and_may_be_missing() {
        let (id, margin) = ([1; 16], Margin { changes: 3, additional: Some("{}".into()) });
        let bare = Tenant { devices_max: Some(4), ..Tenant::named(TenantId::from_bytes(id), "t") };
        let full = Tenant { margin: margin.clone(), ..bare.clone() };
        let (mut short, mut long) = (Vec::new(), Vec::new());
        encode_tenant(&bare, &mut short);
        encode_tenant(&full, &mut long);
        assert_eq!(long[..short.len()], short, "an earlier edition wrote no more than this");
        assert_eq!(decode_tenant(bare.id, &short), Ok(bare));
        assert_eq!(decode_tenant(full.id, &long), Ok(full));
        let (tenant, created_ms) = (TenantId::from_bytes(id), 5);
        let customer =
            Customer { id: CustomerId::from_bytes(id), tenant, created_ms, title: "c".into(), margin };
        let mut out = Vec::new();
        encode_customer(&customer, &mut out);
        assert_eq!(decode_customer(customer.id, &out).as_ref(), Ok(&customer));
        let old = Customer { margin: Margin::default(), ..customer.clone() };
        assert_eq!(decode_customer(customer.id, &out[..out.len() - 11]), Ok(old));
        let user = User {
            id: UserId::from_bytes(id),
            tenant: Some(tenant),
            customer: None,
            authority: Authority::TenantAdmin,
            created_ms,
            name: "u".into(),
            password_hash: "h".into(),
            margin: customer.margin,
        };
        out.clear();
        encode_user(&user, &mut out);
        assert_eq!(decode_user(user.id, &out).as_ref(), Ok(&user));
        let old = User { margin: Margin::default(), ..user.clone() };
        assert_eq!(decode_user(user.id, &out[..out.len() - 11]), Ok(old));
    }

    #[test]
    fn what_is_said_of_a_package_and_a_profile_is_read_again_and_may_be_missing() {
        let package = Package {
            id: PackageId::from_bytes([1; 16]),
            tenant: TenantId::from_bytes([2; 16]),
            profile: ProfileId::from_bytes([3; 16]),
            kind: PackageKind::Software,
            title: "app".into(),
            version: "1".into(),
            tag: None,
            created_ms: 9,
            content: Content::Missing,
            label: Label {
                file_name: Some("a.bin".into()),
                content_type: Some("x/y".into()),
                additional: None,
            },
        };
        let mut out = Vec::new();
        encode_package(&package, 0, &mut out);
        assert_eq!(decode_package(package.id, &out), Ok((package.clone(), 0)));
        let (id, old) = (package.id, Package { label: Label::default(), ..package });
        assert_eq!(decode_package(id, &out[..out.len() - 19]), Ok((old, 0)));
        let profile = Profile {
            additional: Some(Arc::from("{}")),
            ..Profile::named(ProfileId::from_bytes([1; 16]), TenantId::from_bytes([2; 16]), "p")
        };
        let mut out = Vec::new();
        encode_profile(&profile, &mut out);
        let additional = |bytes: &[u8]| decode_profile(profile.id, bytes).map(|profile| profile.additional);
        assert_eq!(additional(&out), Ok(profile.additional.clone()));
        assert_eq!(additional(&out[..out.len() - 6]), Ok(None));
    }
}
