//! Provisioning by certificate: a device that nobody knows shows a certificate that a known authority signed.
//!
//! Why beside logging in and not within it: most devices that are refused show nothing of the kind, and looking into the
//! registry must not need the right to change it. [`Registry::takes_chains`] and [`Registry::foresee`] say, the
//! second for a higher price, whether it is worth verifying what is shown.
//!
//! Invariants:
//! - What was shown has been verified: whoever calls has seen each certificate sign the one before it up to the authority's,
//!   and the proof that the client has the key of the first.
//! - A refusal changes nothing, and no device is taken out of another profile.
//! - An authority is no device: its own certificate makes none.
//! - Matching a name takes a time that grows with its length only.
//!
//! Source: section 1.5 of the device API's vectors.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use regex::{Regex, RegexBuilder};

use crate::change::Change;
use crate::credential::{Credential, Fingerprint};
use crate::ids::{Chance, DeviceId};
use crate::profile::{ChainRule, Profile, Provisioning};
use crate::record::{Device, Role};
use crate::registry::{Clash, NewDevice, Registry};

/// The most bytes that a compiled pattern takes.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// A chain of certificates that a client showed.
#[derive(Clone, Copy, Debug)]
pub struct ShownChain<'a> {
    /// The DER form of the client's own certificate.
    pub leaf: &'a [u8],
    /// The fingerprints of all of them, the client's own first.
    pub fingerprints: &'a [Fingerprint],
    /// The common name in the first one's subject.
    pub common_name: &'a str,
}

/// What would come of a chain that is worth what it says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Foreseen {
    /// Which of the certificates is the authority's.
    pub authority: usize,
    /// The device that the client is; none for one that would be made.
    pub device: Option<DeviceId>,
}

/// What came of a chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chained {
    /// The device that the client is.
    pub device: DeviceId,
    /// Whether it had another credential until now: connections that are open with it end.
    pub was_replaced: bool,
}

/// Why nothing comes of a chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChainRefusal {
    /// No profile has one of the certificates as its authority.
    AuthorityUnknown,
    /// The common name is not what the profile's pattern asks for.
    NameUnfit,
    /// There is no device of that name, and the profile does not make any.
    NoneMade,
    /// The device of that name has another profile.
    OfAnotherProfile,
    /// The record cannot be written.
    Clash(Clash),
}

impl ChainRefusal {
    /// In words, for the log.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::AuthorityUnknown => "no profile knows its authority",
            Self::NameUnfit => "the common name does not fit the profile's pattern",
            Self::NoneMade => "there is no device of that name, and the profile makes none",
            Self::OfAnotherProfile => "the device of that name has another profile",
            Self::Clash(clash) => clash.text(),
        }
    }
}

impl ChainRule {
    /// Whether a pattern can be used, as a name's first group is what counts.
    #[must_use]
    pub fn is_pattern(pattern: &str) -> bool {
        compiled(pattern).is_some_and(|pattern| pattern.captures_len() > 1)
    }

    /// The name of a device in a certificate's common name.
    fn name<'n>(&self, common_name: &'n str) -> Option<&'n str> {
        let found = compiled(&self.name_pattern)?.captures(common_name)?.get(1)?;
        Some(found.as_str()).filter(|name| !name.trim().is_empty())
    }
}

impl Registry {
    /// Whether any profile knows devices by who signed their certificates.
    #[must_use]
    pub fn takes_chains(&self) -> bool {
        self.kinds.has_authorities()
    }

    /// What would come of a chain if it is worth what it says. Cost: a pattern that is compiled if the authority is known.
    ///
    /// # Errors
    /// Nothing, whatever it is worth.
    pub fn foresee(&self, shown: &ShownChain<'_>) -> Result<Foreseen, ChainRefusal> {
        self.look_at(shown).map(|(foreseen, _, _)| foreseen)
    }

    /// The device that a client with this chain is: made if the profile allows that, or else its credential is replaced by
    /// the client's certificate.
    ///
    /// # Errors
    /// Nothing comes of it.
    pub fn provision_by_chain(
        &mut self,
        shown: &ShownChain<'_>,
        now_ms: i64,
        chance: Chance<'_>,
        changes: &mut Vec<Change>,
    ) -> Result<Chained, ChainRefusal> {
        let (foreseen, profile, name) = self.look_at(shown)?;
        let (tenant, profile) = (profile.tenant, profile.id);
        let text = STANDARD.encode(shown.leaf);
        let credential = Credential::certificate(&text).map_err(|_| ChainRefusal::NameUnfit)?;
        let Some(known) = foreseen.device.and_then(|device| self.device(device)) else {
            let new = NewDevice {
                tenant,
                profile: Some(profile),
                customer: None,
                role: Role::Ordinary,
                name,
                credential: Some(credential),
            };
            let device = self.create(new, now_ms, chance, changes).map_err(ChainRefusal::Clash)?;
            self.endow(device, now_ms, changes);
            return Ok(Chained { device, was_replaced: false });
        };
        let device = known.id;
        if known.credential == credential {
            return Ok(Chained { device, was_replaced: false });
        }
        let record = Device { credential, ..known.clone() };
        self.replace(record, changes).map_err(ChainRefusal::Clash)?;
        Ok(Chained { device, was_replaced: true })
    }

    /// What would come of a chain, by which profile, and the device's name.
    fn look_at<'s>(&self, shown: &ShownChain<'s>) -> Result<(Foreseen, &Profile, &'s str), ChainRefusal> {
        let found = self.rule_among(shown.fingerprints);
        let (authority, profile, rule) = found.ok_or(ChainRefusal::AuthorityUnknown)?;
        let name = rule.name(shown.common_name).ok_or(ChainRefusal::NameUnfit)?;
        let device = match self.device_named(profile.tenant, name) {
            None if rule.allows_create => None,
            None => return Err(ChainRefusal::NoneMade),
            Some(known) if known.profile == profile.id => Some(known.id),
            Some(_) => return Err(ChainRefusal::OfAnotherProfile),
        };
        Ok((Foreseen { authority, device }, profile, name))
    }

    fn rule_among(&self, fingerprints: &[Fingerprint]) -> Option<(usize, &Profile, &ChainRule)> {
        let (index, id) = fingerprints
            .iter()
            .enumerate()
            .skip(1)
            .find_map(|(index, shown)| Some((index, self.kinds.of_authority(shown)?)))?;
        let profile = self.profile(id)?;
        match &profile.provisioning {
            Provisioning::CertificateChain(rule) => Some((index, profile, rule)),
            Provisioning::Disabled | Provisioning::AllowCreate(_) | Provisioning::CheckPreProvisioned(_) => {
                None
            }
        }
    }
}

fn compiled(pattern: &str) -> Option<Regex> {
    RegexBuilder::new(pattern).size_limit(PATTERN_BYTES_MAX).build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::fingerprint;
    use crate::ids::{ProfileId, TenantId};
    use crate::record::Tenant;

    const TENANT: TenantId = TenantId::from_bytes([1; 16]);
    const CHAINED: ProfileId = ProfileId::from_bytes([3; 16]);
    const LEAF: &[u8] = b"leaf";
    const AUTHORITY: &[u8] = b"authority";

    fn profile(name_pattern: &str, allows_create: bool) -> Profile {
        let rule =
            ChainRule { authority: fingerprint(AUTHORITY), name_pattern: name_pattern.into(), allows_create };
        let provisioning = Provisioning::CertificateChain(Box::new(rule));
        Profile { provisioning, ..Profile::named(CHAINED, TENANT, "chained") }
    }

    fn registry(name_pattern: &str, allows_create: bool) -> Registry {
        let mut registry = Registry::default();
        let mut changes = Vec::new();
        registry.put_tenant(Tenant::named(TENANT, "acme"), &mut changes);
        let other = Profile::named(ProfileId::from_bytes([2; 16]), TENANT, "default");
        registry.put_profile(other, &mut changes).unwrap();
        registry.put_profile(profile(name_pattern, allows_create), &mut changes).unwrap();
        registry
    }

    fn create(registry: &mut Registry, name: &str, profile: Option<ProfileId>) -> DeviceId {
        let credential = Some(Credential::token(&["token of ", name].concat()).unwrap());
        let new =
            NewDevice { tenant: TENANT, profile, customer: None, role: Role::Ordinary, name, credential };
        let mut bits = u64::from(name.as_bytes()[0]);
        let mut chance = || {
            bits += 1;
            bits
        };
        registry.create(new, 0, &mut chance, &mut Vec::new()).unwrap()
    }

    /// What comes of a chain and how many changes that takes; what was foreseen must come true.
    fn show(
        registry: &mut Registry,
        certificates: &[&[u8]],
        common_name: &str,
    ) -> (Result<Chained, ChainRefusal>, usize) {
        let mut changes = Vec::new();
        let fingerprints: Vec<_> = certificates.iter().map(|der| fingerprint(der)).collect();
        let leaf = certificates.first().copied().unwrap_or_default();
        let shown = ShownChain { leaf, fingerprints: &fingerprints, common_name };
        let foreseen = registry.foresee(&shown);
        let known = foreseen.ok().and_then(|foreseen| foreseen.device);
        let chained = registry.provision_by_chain(&shown, 5, &mut || 77, &mut changes);
        assert_eq!(foreseen.err(), chained.err());
        assert_eq!(known, chained.ok().map(|chained| chained.device).filter(|_| known.is_some()));
        (chained, changes.len())
    }

    #[test]
    fn a_device_that_a_known_authority_signed_is_made_and_known_again() {
        let mut registry = registry(r"^(.*)\.devices\.acme$", true);
        let (first, _) = show(&mut registry, &[LEAF, AUTHORITY], "meter-1.devices.acme");
        let first = first.unwrap();
        let made = registry.device(first.device).unwrap();
        assert_eq!((&*made.name, made.profile, first.was_replaced), ("meter-1", CHAINED, false));
        assert_eq!(registry.log_in_with_certificate(&fingerprint(LEAF)), Some(first.device));
        assert_eq!(show(&mut registry, &[LEAF, AUTHORITY], "meter-1.devices.acme"), (Ok(first), 0));
        let (again, _) = show(&mut registry, &[b"renewed", AUTHORITY], "meter-1.devices.acme");
        assert_eq!(again, Ok(Chained { was_replaced: true, ..first }));
        assert_eq!(
            registry.log_in_with_certificate(&fingerprint(LEAF)),
            None,
            "the old one is worth nothing"
        );
        assert_eq!(registry.log_in_with_certificate(&fingerprint(b"renewed")), Some(first.device));
    }

    #[test]
    fn a_device_that_is_there_changes_its_credential_only_in_its_own_profile() {
        let mut registry = registry("(.+)", false);
        let here = create(&mut registry, "here", Some(CHAINED));
        create(&mut registry, "elsewhere", None);
        let (chained, _) = show(&mut registry, &[LEAF, b"between", AUTHORITY], "here");
        assert_eq!(chained, Ok(Chained { device: here, was_replaced: true }));
        assert_eq!(
            show(&mut registry, &[b"other", AUTHORITY], "elsewhere"),
            (Err(ChainRefusal::OfAnotherProfile), 0)
        );
        for name in ["nowhere", "x"] {
            let outcome = show(&mut registry, &[b"other", AUTHORITY], name);
            assert_eq!(outcome, (Err(ChainRefusal::NoneMade), 0), "none is made");
        }
    }

    #[test]
    fn who_is_signed_by_nobody_known_or_has_another_name_is_nobody() {
        let mut registry = registry("device (.*)!", true);
        for (certificates, common_name, why) in [
            (&[LEAF][..], "device a!", ChainRefusal::AuthorityUnknown),
            (&[][..], "device a!", ChainRefusal::AuthorityUnknown),
            (&[LEAF, b"stranger"][..], "device a!", ChainRefusal::AuthorityUnknown),
            (&[AUTHORITY][..], "device a!", ChainRefusal::AuthorityUnknown),
            (&[LEAF, AUTHORITY][..], "meter a", ChainRefusal::NameUnfit),
            (&[LEAF, AUTHORITY][..], "device  !", ChainRefusal::NameUnfit),
        ] {
            assert_eq!(show(&mut registry, certificates, common_name), (Err(why), 0), "{common_name}");
        }
        assert!(show(&mut registry, &[LEAF, AUTHORITY], "a device b!").0.is_ok(), "found, not matched whole");
    }

    #[test]
    fn the_authority_that_is_nearest_to_the_client_decides_whose_device_it_is() {
        let mut registry = registry("(.+)", true);
        assert!(registry.takes_chains() && !Registry::default().takes_chains());
        let near = ProfileId::from_bytes([4; 16]);
        let rule = ChainRule {
            authority: fingerprint(b"between"),
            name_pattern: "near (.+)".into(),
            allows_create: true,
        };
        let provisioning = Provisioning::CertificateChain(Box::new(rule));
        let profile = Profile { provisioning, ..Profile::named(near, TENANT, "near") };
        registry.put_profile(profile, &mut Vec::new()).unwrap();
        for (chain, common_name, authority) in [
            ([LEAF, b"between", AUTHORITY].map(fingerprint), "near a", 1),
            ([LEAF, b"elsewhere", AUTHORITY].map(fingerprint), "a", 2),
        ] {
            let shown = ShownChain { leaf: LEAF, fingerprints: &chain, common_name };
            assert_eq!(registry.foresee(&shown), Ok(Foreseen { authority, device: None }));
        }
        let (chained, _) = show(&mut registry, &[LEAF, b"between", AUTHORITY], "near a");
        let made = registry.device(chained.unwrap().device).unwrap();
        assert_eq!((made.profile, &*made.name), (near, "a"));
        let (chained, _) = show(&mut registry, &[b"another", b"elsewhere", AUTHORITY], "near a");
        let made = registry.device(chained.unwrap().device).unwrap();
        assert_eq!((made.profile, &*made.name), (CHAINED, "near a"));
    }

    #[test]
    fn a_tenant_that_may_have_no_more_devices_gets_none() {
        let mut registry = registry("(.+)", true);
        let full = Tenant { devices_max: Some(0), ..Tenant::named(TENANT, "acme") };
        registry.put_tenant(full, &mut Vec::new());
        let mut changes = Vec::new();
        let fingerprints = [LEAF, AUTHORITY].map(fingerprint);
        let shown = ShownChain { leaf: LEAF, fingerprints: &fingerprints, common_name: "a" };
        let chained = registry.provision_by_chain(&shown, 5, &mut || 77, &mut changes);
        assert_eq!(chained, Err(ChainRefusal::Clash(Clash::TooManyDevices)));
        assert_eq!((changes.len(), registry.len()), (0, 0));
    }

    #[test]
    fn a_pattern_that_names_nothing_and_an_authority_of_another_profile_are_refused() {
        let mut registry = registry("(.*)", true);
        for pattern in ["", ".*", "(", "(?=x)(.*)", r"(.)\1", "((((((a{99}){99}){99}){99}){99}){99})"] {
            let put = registry.put_profile(profile(pattern, true), &mut Vec::new());
            assert_eq!(put, Err(Clash::PatternInvalid), "{pattern}");
        }
        let twin =
            Profile { id: ProfileId::from_bytes([4; 16]), name: "twin".into(), ..profile("(.*)", true) };
        assert_eq!(registry.put_profile(twin, &mut Vec::new()), Err(Clash::ProvisionKeyTaken));
    }

    #[test]
    fn a_long_name_takes_no_longer_than_its_length() {
        let mut registry = registry("^(a+)+$", true);
        let name = ["a".repeat(100_000), "!".to_owned()].concat();
        assert_eq!(show(&mut registry, &[LEAF, AUTHORITY], &name), (Err(ChainRefusal::NameUnfit), 0));
    }
}
