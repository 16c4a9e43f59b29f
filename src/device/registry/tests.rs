//! The registry: log-ins by every accepted combination, uniqueness, children, provisioning, restarts, and memory.

use stdx::Prng;

use super::*;
use crate::change::Change;
use crate::credential::Credential;
use crate::ids::{CustomerId, DeviceId, PackageId, ProfileId, TenantId, UserId};
use crate::package::PackageKind;
use crate::profile::{Keeping, Profile, ProvisionKey, Provisioning};
use crate::provision::{CredentialWanted, ProvisionReply, ProvisionRequest};
use crate::record::{Authority, Customer, Device, Margin, Role, Tenant, User};

const TENANT: TenantId = TenantId::from_bytes([1; 16]);
const PROFILE: ProfileId = ProfileId::from_bytes([2; 16]);

struct House {
    registry: Registry,
    prng: Prng,
    changes: Vec<Change>,
}

impl House {
    fn new() -> Self {
        let mut house = Self { registry: Registry::default(), prng: Prng::new(1), changes: Vec::new() };
        let tenant = Tenant::named(TENANT, "acme");
        house.registry.put_tenant(tenant, &mut house.changes);
        house.registry.put_profile(Profile::named(PROFILE, TENANT, "default"), &mut house.changes).unwrap();
        house
    }

    fn create(&mut self, name: &str, credential: Option<Credential>) -> Result<DeviceId, Clash> {
        let new = NewDevice {
            tenant: TENANT,
            profile: None,
            customer: None,
            role: Role::Ordinary,
            name,
            credential,
        };
        self.registry.create(new, 7, &mut || self.prng.next_u64(), &mut self.changes)
    }

    fn child(&mut self, gateway: DeviceId, name: &str, kind: Option<&str>) -> Result<DeviceId, Clash> {
        let Self { registry, prng, changes } = self;
        registry.child(gateway, name, kind, 8, &mut || prng.next_u64(), changes)
    }

    fn provision(&mut self, request: &ProvisionRequest<'_>) -> ProvisionReply {
        let Self { registry, prng, changes } = self;
        registry.provision(request, 9, &mut || prng.next_u64(), changes)
    }
}

fn token(text: &str) -> Option<Credential> {
    Some(Credential::token(text).unwrap())
}

fn basic(client_id: &str, user_name: &str, password: &str) -> Option<Credential> {
    Some(Credential::basic(client_id, user_name, password).unwrap())
}

#[test]
fn every_stored_credential_lets_in_exactly_what_it_names() {
    let mut house = House::new();
    let t = house.create("t", token("T")).unwrap();
    let c = house.create("c", basic("C", "", "")).unwrap();
    let u = house.create("u", basic("", "U", "")).unwrap();
    let up = house.create("up", basic("", "UP", "P")).unwrap();
    let cu = house.create("cu", basic("C2", "U2", "")).unwrap();
    let cup = house.create("cup", basic("C3", "U3", "P3")).unwrap();
    let rows = [
        (("", "T", ""), Some(t)),
        (("anything", "T", "anything"), Some(t)),
        (("T", "", ""), None),
        (("C", "", ""), Some(c)),
        (("C", "", "any"), Some(c)),
        (("C", "x", ""), None),
        (("any", "U", "any"), Some(u)),
        (("", "U", ""), Some(u)),
        (("any", "UP", "P"), Some(up)),
        (("any", "UP", "Q"), None),
        (("any", "UP", ""), None),
        (("C2", "U2", "any"), Some(cu)),
        (("C9", "U2", "any"), None),
        (("C2", "", ""), None),
        (("C3", "U3", "P3"), Some(cup)),
        (("C3", "U3", ""), None),
        (("C3", "U3", "Q"), None),
        (("C9", "U3", "P3"), None),
        (("", "", ""), None),
        (("", "nobody", ""), None),
    ];
    for ((client_id, user_name, password), expected) in rows {
        let found = house.registry.log_in(client_id, user_name, password.as_bytes());
        assert_eq!(found, expected, "{client_id} {user_name} {password}");
    }
}

#[test]
fn a_wrong_password_is_not_tried_against_a_token_of_the_same_word() {
    let mut house = House::new();
    house.create("strict", basic("C", "U", "P")).unwrap();
    let loose = house.create("loose", token("U")).unwrap();
    assert_eq!(house.registry.log_in("C", "U", b"wrong"), None);
    assert_eq!(
        house.registry.log_in("D", "U", b"wrong"),
        Some(loose),
        "another client id means another record"
    );
}

#[test]
fn a_certificate_is_shown_as_a_certificate_only() {
    let mut house = House::new();
    let device = house.create("x", Some(Credential::certificate("MAMCAf8=").unwrap())).unwrap();
    let fingerprint = crate::fingerprint(&[0x30, 0x03, 0x02, 0x01, 0xff]);
    assert_eq!(house.registry.log_in_with_certificate(&fingerprint), Some(device));
    let word = crate::credential::hex(&fingerprint);
    assert_eq!(house.registry.log_in("", &word, b""), None, "who knows the fingerprint has not the key");
    house.create("y", token(&"ab".repeat(32))).unwrap();
    assert_eq!(house.registry.log_in_with_certificate(&[0xab; 32]), None, "a token is no certificate");
}

#[test]
fn names_and_credentials_are_unique() {
    let mut house = House::new();
    house.create("a", token("T")).unwrap();
    assert_eq!(house.create("a", token("U")), Err(Clash::NameTaken));
    assert_eq!(house.create("b", token("T")), Err(Clash::CredentialTaken));
    assert_eq!(house.create("b", basic("", "T", "p")), Err(Clash::CredentialTaken), "one id, two kinds");
    assert_eq!(house.create(" ", None), Err(Clash::NameEmpty));
    assert_eq!(house.registry.len(), 1);
}

#[test]
fn a_device_is_found_by_what_it_is_now() {
    let mut house = House::new();
    let id = house.create("a", token("T")).unwrap();
    let device = house.registry.device(id).unwrap().clone();
    let device = Device { name: "b".into(), credential: Credential::token("U").unwrap(), ..device };
    house.registry.replace(device, &mut house.changes).unwrap();
    assert_eq!(house.registry.log_in("", "T", b""), None);
    assert_eq!(house.registry.log_in("", "U", b""), Some(id));
    assert!(house.registry.device_named(TENANT, "a").is_none());
    assert_eq!(house.registry.device_named(TENANT, "b").map(|device| device.id), Some(id));
    house.registry.delete(id, &mut house.changes).unwrap();
    assert!(house.registry.is_empty());
    assert_eq!(house.registry.log_in("", "U", b""), None);
    assert_eq!(house.registry.delete(id, &mut house.changes), Err(Clash::DeviceUnknown));
}

#[test]
fn devices_that_come_and_go_leave_no_holes() {
    let mut house = House::new();
    let mut bytes = Vec::new();
    for round in 0..1000 {
        let id = house.create(&format!("{round:04}"), token(&format!("{round:04}"))).unwrap();
        bytes.push(house.registry.memory_bytes());
        house.registry.delete(id, &mut house.changes).unwrap();
    }
    assert_eq!(bytes[999], bytes[1]);
}

#[test]
fn a_child_is_created_once_and_follows_the_gateway_that_spoke_last() {
    let mut house = House::new();
    let one = house.create("g1", token("G1")).unwrap();
    let two = house.create("g2", token("G2")).unwrap();
    let child = house.child(one, "A", Some("thermo")).unwrap();
    let record = house.registry.device(child).unwrap();
    assert_eq!(record.gateway(), Some(one));
    assert_eq!(&*house.registry.profile(record.profile).unwrap().name, "thermo");
    let before = house.changes.len();
    assert_eq!(house.child(one, "A", Some("other")), Ok(child));
    assert_eq!(house.changes.len(), before, "nothing is written for a known child");
    assert_eq!(house.registry.known_child(one, "A"), Some(child));
    assert_eq!(house.child(two, "A", None), Ok(child));
    assert_eq!(house.registry.device(child).unwrap().gateway(), Some(two));
    assert_eq!(house.registry.device(child).unwrap().rare.as_ref().unwrap().creator, Some(one));
    assert_eq!(house.registry.known_child(one, "A"), None);
    let plain = house.child(one, "B", None).unwrap();
    assert_eq!(house.registry.device(plain).unwrap().profile, PROFILE);
    assert_eq!(house.child(one, "", None), Err(Clash::NameEmpty));
}

#[test]
fn the_profile_of_a_new_kind_of_child_keeps_what_the_default_one_does() {
    let mut house = House::new();
    let gateway = house.create("g", token("G")).unwrap();
    let pattern = Profile {
        is_default: true,
        keeping: Keeping::Latest,
        retention_ms: Some(5),
        ..Profile::named(PROFILE, TENANT, "default")
    };
    house.registry.put_profile(pattern, &mut house.changes).unwrap();
    house.child(gateway, "A", Some("thermo")).unwrap();
    let made = house.registry.profile_named(TENANT, "thermo").unwrap();
    assert_eq!((made.keeping, made.retention_ms, made.is_default), (Keeping::Latest, Some(5), false));
}

#[test]
fn a_tenant_has_as_many_devices_as_it_may() {
    let mut house = House::new();
    let gateway = house.create("g", token("G")).unwrap();
    let tenant = Tenant { devices_max: Some(2), ..Tenant::named(TENANT, "acme") };
    house.registry.put_tenant(tenant, &mut house.changes);
    let child = house.child(gateway, "A", None).unwrap();
    let profiles = house.registry.profiles.len();
    assert_eq!(house.child(gateway, "B", Some("new")), Err(Clash::TooManyDevices));
    assert_eq!(house.registry.profiles.len(), profiles, "a refusal leaves no profile behind");
    assert_eq!(house.create("c", None), Err(Clash::TooManyDevices));
    house.registry.delete(child, &mut house.changes).unwrap();
    assert!(house.child(gateway, "B", None).is_ok());
}

#[test]
fn names_have_at_most_255_characters() {
    let longest = "\u{e9}".repeat(255);
    let longer = "/".repeat(256);
    let mut house = House::new();
    let gateway = house.create(&longest, token("G")).unwrap();
    let (devices, profiles) = (house.registry.len(), house.registry.profiles.len());
    assert_eq!(house.create(&longer, None), Err(Clash::NameTooLong));
    assert_eq!(house.child(gateway, &longer, None), Err(Clash::NameTooLong));
    assert_eq!(house.child(gateway, &longer, Some("new")), Err(Clash::NameTooLong));
    assert_eq!(house.child(gateway, "A", Some(&longer)), Err(Clash::NameTooLong), "the name of a profile");
    let renamed = Device { name: (&*longer).into(), ..house.registry.device(gateway).unwrap().clone() };
    assert_eq!(house.registry.save(renamed.clone(), &mut house.changes), Err(Clash::NameTooLong));
    provisioning(&mut house, Provisioning::AllowCreate(key()));
    let reply = house.provision(&request("s1", &longer, CredentialWanted::Token(None)));
    assert_eq!(reply, ProvisionReply::Failed);
    let customer = Customer {
        id: CustomerId::from_bytes([7; 16]),
        tenant: TENANT,
        created_ms: 0,
        title: (&*longer).into(),
        margin: Margin::default(),
    };
    assert_eq!(house.registry.put_customer(customer, &mut house.changes), Err(Clash::NameTooLong));
    assert_eq!(
        (house.registry.len(), house.registry.profiles.len()),
        (devices, profiles),
        "nothing is left behind"
    );
    // What was written down before names had a length can still be changed, in everything else.
    house.registry.apply(&Change::Device(Box::new(renamed.clone())));
    let saved = Device { role: Role::Gateway, ..renamed };
    assert_eq!(house.registry.save(saved, &mut house.changes), Ok(()));
}

#[test]
fn a_tenant_has_as_many_profiles_as_it_may_and_each_is_found_by_what_it_is_now() {
    let mut house = House::new();
    let gateway = house.create("g", token("G")).unwrap();
    house.registry.limit_profiles(3);
    house.child(gateway, "A", Some("a")).unwrap();
    house.child(gateway, "B", Some("b")).unwrap();
    let devices = house.registry.len();
    assert_eq!(house.child(gateway, "C", Some("c")), Err(Clash::TooManyProfiles));
    assert_eq!(house.registry.len(), devices, "a refusal leaves no device behind");
    house.child(gateway, "C", Some("b")).unwrap();
    let other = Profile::named(ProfileId::from_bytes([9; 16]), TENANT, "d");
    assert_eq!(house.registry.put_profile(other, &mut house.changes), Err(Clash::TooManyProfiles));
    // One that is there is changed, and found by its new name, key and rank only.
    let named =
        |house: &House, name: &str| house.registry.profile_named(TENANT, name).map(|profile| profile.id);
    let a = named(&house, "a").unwrap();
    let known = house.registry.profile(a).unwrap().clone();
    let provisioning = Provisioning::AllowCreate(key());
    let changed = Profile { name: "e".into(), is_default: true, provisioning, ..known.clone() };
    house.registry.put_profile(changed, &mut house.changes).unwrap();
    let found = |house: &House| {
        let of_key = house.registry.profile_of_key("k1").map(|profile| profile.id);
        (named(house, "a"), named(house, "e"), of_key, house.registry.default_profile(TENANT).unwrap().id)
    };
    assert_eq!(found(&house), (None, Some(a), Some(a), a));
    house.registry.put_profile(known, &mut house.changes).unwrap();
    let plain = Profile { is_default: true, ..house.registry.profile(PROFILE).unwrap().clone() };
    house.registry.put_profile(plain, &mut house.changes).unwrap();
    assert_eq!(found(&house), (Some(a), None, None, PROFILE));
    let child = house.registry.device_named(TENANT, "A").unwrap().id;
    house.registry.delete(child, &mut house.changes).unwrap();
    house.registry.delete_profile(a, &mut house.changes).unwrap();
    assert_eq!(found(&house), (None, None, None, PROFILE));
    assert!(house.child(gateway, "D", Some("d")).is_ok(), "there is room again");
}

#[test]
fn a_gateway_is_a_known_child_of_its_own() {
    let mut house = House::new();
    let gateway = house.create("g", token("G")).unwrap();
    let before = house.changes.len();
    assert_eq!(house.registry.known_child(gateway, "g"), Some(gateway));
    assert_eq!(house.child(gateway, "g", None), Ok(gateway));
    assert_eq!(house.changes.len(), before, "nothing need be written for it");
}

fn provisioning(house: &mut House, provisioning: Provisioning) {
    let profile = Profile { provisioning, ..house.registry.profile(PROFILE).unwrap().clone() };
    house.registry.put_profile(profile, &mut house.changes).unwrap();
}

fn key() -> ProvisionKey {
    ProvisionKey { key: "k1".into(), secret: "s1".into() }
}

fn request<'a>(secret: &'a str, name: &'a str, credential: CredentialWanted<'a>) -> ProvisionRequest<'a> {
    let name = (!name.is_empty()).then(|| name.into());
    ProvisionRequest { key: "k1".into(), secret: secret.into(), name, credential, is_gateway: false }
}

#[test]
fn provisioning_answers_as_the_strategy_says() {
    use ProvisionReply::{Failed, Granted, NotFound};
    let any = || CredentialWanted::Token(None);
    let mut house = House::new();
    assert_eq!(house.provision(&request("s1", "new", any())), NotFound, "disabled");

    provisioning(&mut house, Provisioning::AllowCreate(key()));
    assert_eq!(house.provision(&request("wrong", "new", any())), NotFound);
    assert!(matches!(house.provision(&request("s1", "new", any())), Granted(Credential::Token(_))));
    let device = house.registry.device_named(TENANT, "new").unwrap();
    assert!(device.rare.as_ref().unwrap().is_provisioned);
    assert_eq!(house.provision(&request("s1", "new", any())), Failed, "it exists");
    let own = CredentialWanted::Token(Some("mine".into()));
    assert!(matches!(house.provision(&request("s1", "two", own.clone())), Granted(_)));
    assert_eq!(house.provision(&request("s1", "three", own)), Failed, "the token is taken");
    assert!(house.registry.device_named(TENANT, "three").is_none());
    assert_eq!(house.provision(&request("s1", "  ", any())), Failed, "a name of blanks");
    let before = house.registry.len();
    assert!(matches!(house.provision(&request("s1", "", any())), Granted(_)));
    assert_eq!(house.registry.len(), before + 1, "a name is made up");

    provisioning(&mut house, Provisioning::CheckPreProvisioned(key()));
    assert_eq!(house.provision(&request("s1", "four", any())), Failed, "unknown");
    let known = house.create("four", token("FOUR")).unwrap();
    let reply = house.provision(&request("s1", "four", CredentialWanted::Token(Some("ignored".into()))));
    assert!(reply == Granted(Credential::token("FOUR").unwrap()), "its existing credential");
    assert_eq!(house.provision(&request("s1", "four", any())), Failed, "once only");
    assert_eq!(house.registry.log_in("", "FOUR", b""), Some(known));
}

#[test]
fn provisioning_makes_every_kind_of_credential() {
    let mut house = House::new();
    provisioning(&mut house, Provisioning::AllowCreate(key()));
    let names =
        |client_id: &'static str, user_name: &'static str, password: &'static str| CredentialWanted::Basic {
            client_id: client_id.into(),
            user_name: user_name.into(),
            password: password.into(),
        };
    house.provision(&request("s1", "a", names("c3", "u3", "p3")));
    assert!(house.registry.log_in("c3", "u3", b"p3").is_some());
    house.provision(&request("s1", "b", CredentialWanted::Certificate("MAMCAf8=".into())));
    let fingerprint = crate::fingerprint(&[0x30, 0x03, 0x02, 0x01, 0xff]);
    assert!(house.registry.log_in_with_certificate(&fingerprint).is_some());
    assert_eq!(house.provision(&request("s1", "c", names("", "", "p"))), ProvisionReply::Failed);
}

#[test]
fn changes_repeated_in_order_make_the_same_registry() {
    let mut house = House::new();
    let gateway = house.create("g", token("G")).unwrap();
    house.child(gateway, "A", Some("thermo")).unwrap();
    let gone = house.create("gone", token("X")).unwrap();
    house.registry.delete(gone, &mut house.changes).unwrap();
    provisioning(&mut house, Provisioning::AllowCreate(key()));
    house.provision(&request("s1", "new", CredentialWanted::Token(Some("N".into()))));
    let mut again = Registry::default();
    for change in &house.changes {
        again.apply(change);
    }
    let sorted = |registry: &Registry| {
        let mut devices: Vec<_> = registry.devices().cloned().collect();
        devices.sort_by_key(|device| device.id);
        devices
    };
    assert_eq!(sorted(&again), sorted(&house.registry));
    assert_eq!(again.log_in("", "N", b""), house.registry.log_in("", "N", b""));
    assert_eq!(again.log_in("", "X", b""), None);
    assert_eq!(again.default_profile(TENANT).map(|profile| profile.id), Some(PROFILE));
}

#[test]
fn a_provision_key_belongs_to_one_profile_and_a_default_replaces_the_other() {
    let mut house = House::new();
    provisioning(&mut house, Provisioning::AllowCreate(key()));
    let id = ProfileId::from_bytes([3; 16]);
    let mut other = Profile { is_default: true, ..Profile::named(id, TENANT, "other") };
    other.provisioning = Provisioning::AllowCreate(key());
    let refused = house.registry.put_profile(other.clone(), &mut house.changes);
    assert_eq!(refused, Err(Clash::ProvisionKeyTaken));
    other.provisioning = Provisioning::Disabled;
    house.registry.put_profile(other, &mut house.changes).unwrap();
    assert_eq!(house.registry.default_profile(TENANT).map(|profile| profile.id), Some(id));
    assert!(!house.registry.profile(PROFILE).unwrap().is_default);
}

#[test]
fn a_device_with_a_token_takes_less_than_256_bytes() {
    // Names as long as serial numbers, tokens as they are made here.
    let mut house = House::new();
    let devices: u32 = 50_000;
    house.registry.reserve(stdx::widen(devices));
    for number in 0..devices {
        let name = format!("meter-{number:010}");
        house.create(&name, None).unwrap();
        house.changes.clear();
    }
    let each = house.registry.memory_bytes() / stdx::widen(devices);
    assert!((150..256).contains(&each), "{each} bytes each");
}

fn customer(id: u8, title: &str) -> Customer {
    Customer {
        id: CustomerId::from_bytes([id; 16]),
        tenant: TENANT,
        created_ms: 0,
        title: title.into(),
        margin: Margin::default(),
    }
}

fn user(id: u8, name: &str, customer: Option<u8>) -> User {
    User {
        id: UserId::from_bytes([id; 16]),
        tenant: Some(TENANT),
        customer: customer.map(|id| CustomerId::from_bytes([id; 16])),
        authority: Authority::CustomerUser,
        created_ms: 0,
        name: name.into(),
        password_hash: "".into(),
        margin: Margin::default(),
    }
}

#[test]
fn a_customer_has_a_title_of_its_own_in_a_tenant_that_there_is() {
    let mut house = House::new();
    let mut put = |customer| house.registry.put_customer(customer, &mut house.changes);
    assert_eq!(put(customer(1, "ann")), Ok(()));
    assert_eq!(put(customer(1, "ann")), Ok(()), "once more itself");
    assert_eq!(put(customer(2, "ann")), Err(Clash::NameTaken));
    assert_eq!(put(customer(2, " ")), Err(Clash::NameEmpty));
    let stranger = Customer { tenant: TenantId::from_bytes([9; 16]), ..customer(2, "bob") };
    assert_eq!(put(stranger), Err(Clash::TenantUnknown));
    assert_eq!(house.registry.customers().count(), 1);
}

#[test]
fn somebody_has_a_name_of_their_own_in_any_case_of_letters() {
    let mut house = House::new();
    house.registry.put_customer(customer(1, "ann"), &mut house.changes).unwrap();
    let mut put = |user| house.registry.put_user(user, &mut house.changes);
    assert_eq!(put(user(1, "ann@acme.org", Some(1))), Ok(()));
    assert_eq!(put(user(2, "Ann@Acme.org", None)), Err(Clash::NameTaken));
    assert_eq!(put(user(2, "bob", Some(7))), Err(Clash::CustomerUnknown));
    assert_eq!(
        put(User { tenant: None, ..user(2, "bob", Some(1)) }),
        Err(Clash::CustomerUnknown),
        "of another tenant"
    );
    assert_eq!(
        put(User { tenant: Some(TenantId::from_bytes([9; 16])), ..user(2, "bob", None) }),
        Err(Clash::TenantUnknown)
    );
    assert_eq!(put(user(2, " ", None)), Err(Clash::NameEmpty));
    let ann = UserId::from_bytes([1; 16]);
    assert_eq!(house.registry.user_named("ANN@acme.org").map(|user| user.id), Some(ann));
    let written = house.changes.len();
    house.registry.delete_user(UserId::from_bytes([5; 16]), &mut house.changes);
    assert_eq!(house.changes.len(), written, "nobody is nobody");
    house.registry.delete_user(ann, &mut house.changes);
    assert_eq!(house.registry.user(ann), None);
    assert!(matches!(house.changes.last(), Some(Change::UserGone(id)) if *id == ann));
}

#[test]
fn with_a_customer_go_those_who_log_in_for_it_and_its_devices_stay() {
    let mut house = House::new();
    let (ann, bob) = (customer(1, "ann"), customer(2, "bob"));
    let id = ann.id;
    for customer in [ann, bob] {
        house.registry.put_customer(customer, &mut house.changes).unwrap();
    }
    house.registry.put_user(user(1, "a", Some(1)), &mut house.changes).unwrap();
    house.registry.put_user(user(2, "b", Some(2)), &mut house.changes).unwrap();
    let owned = house.create("owned", token("T1")).unwrap();
    let other = house.create("other", token("T2")).unwrap();
    for (device, customer) in [(owned, 1), (other, 2)] {
        let record = house.registry.device(device).unwrap().clone();
        let customer = Some(CustomerId::from_bytes([customer; 16]));
        house.registry.replace(Device { customer, ..record }, &mut house.changes).unwrap();
    }
    house.registry.delete_customer(id, &mut house.changes).unwrap();
    assert_eq!(house.registry.customer(id), None);
    assert_eq!(house.registry.users().map(|user| &*user.name).collect::<Vec<_>>(), ["b"]);
    assert_eq!(house.registry.device(owned).unwrap().customer, None);
    assert!(house.registry.device(other).unwrap().customer.is_some());
    assert_eq!(house.registry.delete_customer(id, &mut house.changes), Err(Clash::CustomerUnknown));
    let mut again = Registry::default();
    house.changes.iter().for_each(|change| again.apply(change));
    assert_eq!(again.users().count(), 1, "a restart knows it too");
    assert_eq!((again.customers().count(), again.device(owned).unwrap().customer), (1, None));
}

#[test]
fn a_profile_goes_only_if_nobody_needs_it() {
    let mut house = House::new();
    let spare = ProfileId::from_bytes([5; 16]);
    house.registry.put_profile(Profile::named(spare, TENANT, "spare"), &mut house.changes).unwrap();
    let mut delete = |id| house.registry.delete_profile(id, &mut house.changes);
    assert_eq!(delete(PROFILE), Err(Clash::ProfileInUse), "it is the default");
    assert_eq!(delete(ProfileId::from_bytes([6; 16])), Err(Clash::ProfileUnknown));
    let device = house.create("d", token("T")).unwrap();
    let record = house.registry.device(device).unwrap().clone();
    house.registry.replace(Device { profile: spare, ..record.clone() }, &mut house.changes).unwrap();
    assert_eq!(house.registry.delete_profile(spare, &mut house.changes), Err(Clash::ProfileInUse));
    house.registry.replace(record, &mut house.changes).unwrap();
    assert_eq!(house.registry.delete_profile(spare, &mut house.changes), Ok(()));
    assert!(house.registry.profile(spare).is_none());
}

#[test]
fn changes_of_a_device_and_of_its_credential_are_counted_apart() {
    let mut house = House::new();
    let id = house.create("a", token("A")).unwrap();
    let versions = |house: &House| {
        let device = house.registry.device(id).unwrap();
        (device.version(), device.credential_version())
    };
    assert_eq!(versions(&house), (1, 1));
    let save = |house: &mut House, change: &dyn Fn(&mut Device)| {
        let mut device = house.registry.device(id).unwrap().clone();
        change(&mut device);
        house.registry.save(device, &mut house.changes).unwrap();
    };
    save(&mut house, &|device| device.name = "b".into());
    assert_eq!(versions(&house), (2, 1));
    save(&mut house, &|_device| {});
    assert_eq!(versions(&house), (3, 1), "who saves counts, whatever it is");
    save(&mut house, &|device| device.credential = token("B").unwrap());
    assert_eq!(versions(&house), (3, 2));
    save(&mut house, &|device| {
        device.name = "c".into();
        device.credential = token("C").unwrap();
    });
    assert_eq!(versions(&house), (4, 3));
}

#[test]
fn devices_of_a_profile_and_of_a_customer_are_counted_and_given_back() {
    let mut house = House::new();
    let record = customer(5, "c");
    let customer = record.id;
    house.registry.put_customer(record, &mut house.changes).unwrap();
    let other = ProfileId::from_bytes([6; 16]);
    house.registry.put_profile(Profile::named(other, TENANT, "other"), &mut house.changes).unwrap();
    let ids: Vec<_> = ["a", "b", "c"].iter().map(|name| house.create(name, token(name)).unwrap()).collect();
    for id in &ids {
        let known = house.registry.device(*id).unwrap().clone();
        let device = Device { customer: Some(customer), profile: other, ..known };
        house.registry.save(device, &mut house.changes).unwrap();
    }
    assert_eq!(house.registry.owned_by(customer), 3);
    assert_eq!(house.registry.delete_profile(other, &mut house.changes), Err(Clash::ProfileInUse));
    house.registry.release(customer, &ids[..2], &mut house.changes);
    assert_eq!(house.registry.owned_by(customer), 1);
    assert_eq!(house.registry.device(ids[0]).unwrap().version(), 3);
    house.registry.delete_customer(customer, &mut house.changes).unwrap();
    assert_eq!(house.registry.owned_by(customer), 0);
    assert!(house.registry.devices().all(|device| device.customer.is_none()));
    for id in ids {
        house.registry.delete(id, &mut house.changes).unwrap();
    }
    assert_eq!(house.registry.delete_profile(other, &mut house.changes), Ok(()));
}

#[test]
fn that_all_devices_were_told_counts_only_for_the_package_that_they_were_told_of() {
    let mut house = House::new();
    let [old, new] = [1, 2].map(|id| Some(PackageId::from_bytes([id; 16])));
    let mut profile = house.registry.profile(PROFILE).unwrap().clone();
    profile.firmware = new;
    profile.untold.set(PackageKind::Firmware, true);
    house.registry.put_profile(profile, &mut house.changes).unwrap();
    for (package, is_untold) in [(old, true), (None, true), (new, false)] {
        house.registry.told(PROFILE, PackageKind::Firmware, package, &mut house.changes);
        let untold = house.registry.profile(PROFILE).unwrap().untold;
        assert_eq!(untold.of(PackageKind::Firmware), is_untold, "{package:?}");
    }
    let before = house.changes.len();
    house.registry.told(PROFILE, PackageKind::Firmware, new, &mut house.changes);
    assert_eq!(house.changes.len(), before, "it is said once");
}
