//! Provisioning by certificate: a device that nobody knows shows a certificate that a known authority signed.
//!
//! Why beside logging in and not within it: most devices that are refused show nothing of the kind, and looking into the
//! registry must not need the right to change it. [`Registry::knows_chain`] says whether it is worth that.
//!
//! Invariants:
//! - What was shown has been verified: whoever calls has seen each certificate sign the one before it, and the proof that
//!   the client has the key of the first.
//! - A refusal changes nothing, and no device is taken out of another profile.
//! - Matching a name takes a time that grows with its length only.
//!
//! Source: section 1.5 of the device API's vectors.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use regex::{Regex, RegexBuilder};

use crate::change::Change;
use crate::credential::{Credential, fingerprint};
use crate::ids::{Chance, DeviceId};
use crate::profile::{ChainRule, Profile, Provisioning};
use crate::record::{Device, Role};
use crate::registry::{NewDevice, Registry};

/// The most bytes that a compiled pattern takes.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// A chain of certificates that a client showed.
#[derive(Clone, Copy, Debug)]
pub struct ShownChain<'a> {
    /// Their DER forms, the client's own first.
    pub certificates: &'a [&'a [u8]],
    /// The common name in the first one's subject.
    pub common_name: &'a str,
}

/// What came of a chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chained {
    /// The device that the client is.
    pub device: DeviceId,
    /// Whether it had another credential until now: connections that are open with it end.
    pub was_replaced: bool,
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
    /// Whether a certificate of a chain is the authority of a profile.
    #[must_use]
    pub fn knows_chain(&self, shown: &ShownChain<'_>) -> bool {
        self.rule_of(shown).is_some()
    }

    /// The device that a client with this chain is: made if the profile allows that, or else its credential is replaced by
    /// the client's certificate.
    pub fn provision_by_chain(
        &mut self,
        shown: &ShownChain<'_>,
        now_ms: i64,
        chance: Chance<'_>,
        changes: &mut Vec<Change>,
    ) -> Option<Chained> {
        let (profile, rule) = self.rule_of(shown)?;
        let (tenant, profile) = (profile.tenant, profile.id);
        let name = rule.name(shown.common_name)?;
        let credential = Credential::certificate(&STANDARD.encode(shown.certificates.first()?)).ok()?;
        match self.device_named(tenant, name) {
            None if rule.allows_create => {
                let new = NewDevice {
                    tenant,
                    profile: Some(profile),
                    customer: None,
                    role: Role::Ordinary,
                    name,
                    credential: Some(credential),
                };
                let device = self.create(new, now_ms, chance, changes).ok()?;
                self.endow(device, now_ms, changes);
                Some(Chained { device, was_replaced: false })
            }
            Some(known) if known.profile == profile && known.credential == credential => {
                Some(Chained { device: known.id, was_replaced: false })
            }
            Some(known) if known.profile == profile => {
                let device = Device { credential, ..known.clone() };
                let id = device.id;
                self.replace(device, changes).ok()?;
                Some(Chained { device: id, was_replaced: true })
            }
            Some(_) | None => None,
        }
    }

    fn rule_of(&self, shown: &ShownChain<'_>) -> Option<(&Profile, &ChainRule)> {
        let rules = || {
            self.profiles().filter_map(|profile| match &profile.provisioning {
                Provisioning::CertificateChain(rule) => Some((profile, &**rule)),
                Provisioning::Disabled
                | Provisioning::AllowCreate(_)
                | Provisioning::CheckPreProvisioned(_) => None,
            })
        };
        // Nobody's certificates are hashed where no profile asks for them.
        rules().next()?;
        shown.certificates.iter().find_map(|der| {
            let authority = fingerprint(der);
            rules().find(|(_, rule)| rule.authority == authority)
        })
    }
}

fn compiled(pattern: &str) -> Option<Regex> {
    RegexBuilder::new(pattern).size_limit(PATTERN_BYTES_MAX).build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ProfileId, TenantId};
    use crate::record::Tenant;
    use crate::registry::Clash;

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
        registry.put_tenant(Tenant { id: TENANT, name: "acme".into(), devices_max: None }, &mut changes);
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

    fn show(registry: &mut Registry, certificates: &[&[u8]], common_name: &str) -> (Option<Chained>, usize) {
        let mut changes = Vec::new();
        let shown = ShownChain { certificates, common_name };
        let chained = registry.provision_by_chain(&shown, 5, &mut || 77, &mut changes);
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
        assert_eq!(show(&mut registry, &[LEAF, AUTHORITY], "meter-1.devices.acme"), (Some(first), 0));
        let (again, _) = show(&mut registry, &[b"renewed", AUTHORITY], "meter-1.devices.acme");
        assert_eq!(again, Some(Chained { was_replaced: true, ..first }));
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
        assert_eq!(chained, Some(Chained { device: here, was_replaced: true }));
        assert_eq!(show(&mut registry, &[b"other", AUTHORITY], "elsewhere"), (None, 0));
        assert_eq!(show(&mut registry, &[b"other", AUTHORITY], "nowhere"), (None, 0), "none is made");
        assert_eq!(show(&mut registry, &[LEAF, AUTHORITY], "x"), (None, 0));
    }

    #[test]
    fn who_is_signed_by_nobody_known_or_has_another_name_is_nobody() {
        let mut registry = registry("device (.*)!", true);
        for (certificates, common_name) in [
            (&[LEAF][..], "device a!"),
            (&[][..], "device a!"),
            (&[LEAF, AUTHORITY][..], "meter a"),
            (&[LEAF, AUTHORITY][..], "device  !"),
        ] {
            assert_eq!(show(&mut registry, certificates, common_name), (None, 0), "{common_name}");
        }
        let shown = ShownChain { certificates: &[LEAF], common_name: "device a!" };
        assert!(!registry.knows_chain(&shown));
        assert!(registry.knows_chain(&ShownChain { certificates: &[LEAF, AUTHORITY], ..shown }));
        assert!(
            show(&mut registry, &[LEAF, AUTHORITY], "a device b!").0.is_some(),
            "found, not matched whole"
        );
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
        assert_eq!(show(&mut registry, &[LEAF, AUTHORITY], &name), (None, 0));
    }
}
