//! Provisioning: something without credentials asks for some, with a key and a secret of its profile.
//!
//! Why the answer does not say whether key or secret was wrong: whoever guesses must not learn which half was right.
//!
//! Invariants:
//! - A refused request leaves no device and no credential behind.
//! - A device that was created in advance gets its credentials once.
//!
//! Source: the provisioning strategies of the device API.

use std::borrow::Cow;

use subtle::ConstantTimeEq;

use crate::change::{Change, Scope};
use crate::credential::{Credential, NoCredential};
use crate::ids::{Chance, DeviceId, ProfileId, TenantId, random_word};
use crate::profile::Provisioning;
use crate::record::Role;
use crate::registry::{NewDevice, Registry};
use crate::value::Value;

/// How long a connection on which something was provisioned stays open, in milliseconds; successful or not.
pub const PROVISIONED_STAY_MS: i64 = 60_000;

/// Letters of a name that is made here.
const NAME_LETTERS: usize = 20;

/// What is asked.
#[derive(Clone, PartialEq, Eq)]
pub struct ProvisionRequest<'a> {
    /// Says which profile.
    pub key: Cow<'a, str>,
    /// Says that it may.
    pub secret: Cow<'a, str>,
    /// Its name; none for one that is made up.
    pub name: Option<Cow<'a, str>>,
    /// Which credential it wants.
    pub credential: CredentialWanted<'a>,
    /// Whether it is a gateway.
    pub is_gateway: bool,
}

/// Which credential is wanted.
#[derive(Clone, PartialEq, Eq)]
pub enum CredentialWanted<'a> {
    /// A token: this one, or a new one.
    Token(Option<Cow<'a, str>>),
    /// These names; empty is absent.
    Basic {
        /// Client id.
        client_id: Cow<'a, str>,
        /// User name.
        user_name: Cow<'a, str>,
        /// Password.
        password: Cow<'a, str>,
    },
    /// This certificate, as text.
    Certificate(Cow<'a, str>),
}

/// What is answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProvisionReply {
    /// By this it will be recognized.
    Granted(Credential),
    /// No profile has that key and secret.
    NotFound,
    /// It cannot be.
    Failed,
    /// The profile takes no requests of this kind: end the connection.
    Broken,
}

impl ProvisionRequest<'_> {
    /// The same, owning everything.
    #[must_use]
    pub fn into_owned(self) -> ProvisionRequest<'static> {
        let own = |text: Cow<'_, str>| -> Cow<'static, str> { Cow::Owned(text.into_owned()) };
        let credential = match self.credential {
            CredentialWanted::Token(token) => CredentialWanted::Token(token.map(own)),
            CredentialWanted::Basic { client_id, user_name, password } => CredentialWanted::Basic {
                client_id: own(client_id),
                user_name: own(user_name),
                password: own(password),
            },
            CredentialWanted::Certificate(text) => CredentialWanted::Certificate(own(text)),
        };
        ProvisionRequest {
            key: own(self.key),
            secret: own(self.secret),
            name: self.name.map(own),
            credential,
            is_gateway: self.is_gateway,
        }
    }
}

impl std::fmt::Debug for ProvisionRequest<'_> {
    // Keys and secrets stay out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProvisionRequest").field("name", &self.name).finish_non_exhaustive()
    }
}

impl CredentialWanted<'_> {
    fn make(&self, chance: Chance<'_>) -> Result<Credential, NoCredential> {
        match self {
            Self::Token(None) => Ok(Credential::random_token(chance)),
            Self::Token(Some(token)) => Credential::token(token),
            Self::Basic { client_id, user_name, password } => {
                Credential::basic(client_id, user_name, password)
            }
            Self::Certificate(text) => Credential::certificate(text),
        }
    }
}

impl Registry {
    /// Answers a request for credentials. What stands in the list and is no business of the registry is for
    /// [`crate::Hub::learn`].
    pub fn provision(
        &mut self,
        request: &ProvisionRequest<'_>,
        now_ms: i64,
        chance: Chance<'_>,
        changes: &mut Vec<Change>,
    ) -> ProvisionReply {
        if self.kinds.is_authority(&request.key) {
            return ProvisionReply::Broken;
        }
        let Some(profile) = self.profile_of_key(&request.key) else { return ProvisionReply::NotFound };
        let (tenant, profile_id) = (profile.tenant, profile.id);
        let creates = match &profile.provisioning {
            Provisioning::AllowCreate(key) if is_secret(&key.secret, &request.secret) => true,
            Provisioning::CheckPreProvisioned(key) if is_secret(&key.secret, &request.secret) => false,
            Provisioning::AllowCreate(_)
            | Provisioning::CheckPreProvisioned(_)
            | Provisioning::Disabled
            | Provisioning::CertificateChain(_) => return ProvisionReply::NotFound,
        };
        let name = match request.name.as_deref() {
            None | Some("") => random_word(NAME_LETTERS, &mut *chance),
            Some(name) => name.trim().to_owned(),
        };
        let granted = match self.device_named(tenant, &name).map(|device| device.id) {
            None if creates => {
                self.provision_new(request, (tenant, profile_id), &name, now_ms, chance, changes)
            }
            Some(device) if !creates => self.provision_known(device, profile_id, now_ms, changes),
            Some(_) | None => None,
        };
        granted.map_or(ProvisionReply::Failed, ProvisionReply::Granted)
    }

    fn provision_new(
        &mut self,
        request: &ProvisionRequest<'_>,
        (tenant, profile): (TenantId, ProfileId),
        name: &str,
        now_ms: i64,
        chance: Chance<'_>,
        changes: &mut Vec<Change>,
    ) -> Option<Credential> {
        let credential = request.credential.make(&mut *chance).ok()?;
        let new = NewDevice {
            tenant,
            profile: Some(profile),
            customer: None,
            role: if request.is_gateway { Role::Gateway } else { Role::Ordinary },
            name,
            credential: Some(credential.clone()),
        };
        let device = self.create(new, now_ms, chance, changes).ok()?;
        self.mark_provisioned(device, now_ms, changes);
        self.endow(device, now_ms, changes);
        Some(credential)
    }

    fn provision_known(
        &mut self,
        id: DeviceId,
        profile: ProfileId,
        now_ms: i64,
        changes: &mut Vec<Change>,
    ) -> Option<Credential> {
        let device = self.device(id)?;
        let was_provisioned = device.rare.as_ref().is_some_and(|rare| rare.is_provisioned);
        if device.profile != profile || was_provisioned {
            return None;
        }
        let credential = device.credential.clone();
        self.mark_provisioned(id, now_ms, changes);
        Some(credential)
    }

    fn mark_provisioned(&mut self, id: DeviceId, now_ms: i64, changes: &mut Vec<Change>) {
        let Some(device) = self.device(id) else { return };
        let mut device = device.clone();
        device.rare_mut().is_provisioned = true;
        self.note(Change::Device(Box::new(device)), changes);
        changes.push(Change::Attribute {
            device: id,
            scope: Scope::Server,
            key: "provisionState".into(),
            value: Some(Value::Text("provisioned".into())),
            at_ms: now_ms,
        });
    }
}

fn is_secret(known: &str, shown: &str) -> bool {
    known.as_bytes().ct_eq(shown.as_bytes()).into()
}
