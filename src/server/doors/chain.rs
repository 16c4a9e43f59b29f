//! The chain of one listener: who is asked about a client, and in which order.
//!
//! Why the first who knows the client decides: with "any of them may let in" a wrong password would be tried against
//! every other member, and with "all must agree" people and devices could not share a port. A member that has never heard
//! of the client passes on; the end of the chain refuses.
//!
//! | Member | Knows the client if | Else |
//! |---|---|---|
//! | certificate | it has shown a verified certificate with a name in it | passes on |
//! | password-file | its user name stands in the file | passes on |
//! | jwt | its password looks like a token | passes on |
//! | registry | it shows the credentials of a device, or its names with another password | passes on |
//! | http | the service says so | passes on if the service says `"known": false` |
//! | anonymous | it has shown neither user name nor password, or nobody else is asked | passes on |
//!
//! Invariants:
//! - A look costs no hash, no signature and no waiting; what does is left for later.
//! - A refusal at the end of a chain with passwords in it has cost a hash, as a wrong password does: how long it took does
//!   not say which users there are.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use access::{CertificateName, Recent, Tokens, certificate_name};
use device::{Registry, SharedRegistry, fingerprint};
use hyper::Uri;
use mqtt::ReasonCode;
use shard::{Knock, ListenerId, Question};
use stdx::WallMs;
use wire::TlsFacts;

use super::figures::Figures;
use super::pass::{Person, Rules};
use super::sources::{KeyFile, PasswordFile};
use crate::config::CertificateUse;

/// Whom a listener asks, in turn.
#[derive(Debug)]
pub(super) struct Chain {
    /// What the configuration calls the listener.
    pub(super) listener: Box<str>,
    pub(super) members: Vec<Member>,
    /// What its clients may do; shared with the source that reads it again.
    pub(super) rules: Option<Arc<Rules>>,
    /// Nobody is asked and only this machine gets here.
    pub(super) everybody_is_admin: bool,
}

/// One of them.
#[derive(Debug)]
pub(super) enum Member {
    Anonymous,
    Certificate { name: CertificateName, counts_as: CertificateUse },
    Passwords(Arc<PasswordFile>),
    Tokens(Arc<KeyFile>),
    Service(Arc<Service>),
    Registry(Arc<dyn SharedRegistry>),
}

/// A service that is asked over HTTP.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) name: Box<str>,
    pub(super) url: Uri,
    pub(super) timeout: Duration,
    pub(super) recent: Mutex<Recent<Finding>>,
    /// When something was last said about it in the log.
    pub(super) told_at: Mutex<WallMs>,
}

/// Who wants in, and what it has shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller<'a> {
    pub(super) listener: ListenerId,
    pub(super) from: IpAddr,
    pub(super) client_id: &'a str,
    pub(super) user: Option<&'a str>,
    pub(super) password: Option<&'a [u8]>,
    pub(super) tls: Option<&'a TlsFacts>,
    pub(super) now: WallMs,
}

/// What a member says.
#[derive(Clone, Debug)]
pub(super) enum Finding {
    Admitted(Person),
    Refused(ReasonCode),
    PassedOn,
}

/// Where a step of the chain is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// On the threads that hash passwords.
    Hashing,
    /// On the threads that check signatures.
    Signing,
    /// On the thread that asks services.
    Calling,
}

/// What one look at a client yields.
#[derive(Debug)]
pub(super) enum Look {
    Decided(Finding),
    /// It must be found out, from this step on, in this place.
    Later(usize, Place),
}

impl<'a> Caller<'a> {
    pub(super) fn of_knock(knock: &Knock<'a>) -> Self {
        Self {
            listener: knock.listener,
            from: knock.from,
            client_id: knock.client_id,
            user: knock.connect.user_name,
            password: knock.connect.password,
            tls: knock.tls,
            now: knock.now,
        }
    }

    pub(super) fn of_question(question: &'a Question, now: WallMs) -> Self {
        Self {
            listener: question.listener,
            from: question.from,
            client_id: &question.client_id,
            user: question.user.as_deref(),
            password: question.password.as_deref(),
            tls: question.tls.as_deref(),
            now,
        }
    }

    fn shows_nothing(&self) -> bool {
        self.user.is_none() && self.password.is_none()
    }
}

impl Chain {
    /// Goes along the chain from a step on, as far as that costs nothing.
    pub(super) fn look(&self, from: usize, caller: &Caller<'_>, figures: &Figures) -> Look {
        for (step, member) in self.members.iter().enumerate().skip(from) {
            match self.look_at(member, caller, figures) {
                Ok(Finding::PassedOn) => {}
                Ok(finding) => return Look::Decided(finding),
                Err(place) => return Look::Later(step, place),
            }
        }
        if self.hashing_member().is_some() && caller.user.is_some() && caller.password.is_some() {
            return Look::Later(self.members.len(), Place::Hashing);
        }
        Look::Decided(refusal(caller))
    }

    /// Takes a step that costs processor time. Beyond the end it is the price of a refusal.
    pub(super) fn toil(&self, step: usize, caller: &Caller<'_>, figures: &Figures) -> Finding {
        match self.members.get(step) {
            Some(Member::Passwords(file)) => verify(file, caller, figures),
            Some(Member::Tokens(keys)) => judge_token(&keys.tokens(), caller, figures),
            Some(
                Member::Anonymous | Member::Certificate { .. } | Member::Service(_) | Member::Registry(_),
            ) => Finding::PassedOn,
            None => {
                if let Some(file) = self.hashing_member() {
                    // Nobody is called so in any of the files, so this checks the decoy.
                    let _ = verify(file, caller, figures);
                }
                refusal(caller)
            }
        }
    }

    /// The client id that a client's certificate gives it.
    pub(super) fn client_id(&self, tls: Option<&TlsFacts>) -> Option<String> {
        let place = self.members.iter().find_map(|member| match member {
            Member::Certificate { name, counts_as: CertificateUse::ClientId } => Some(*name),
            _other_members_name_users => None,
        })?;
        certificate_name(tls?.client_certificates.first()?, place).ok().flatten()
    }

    fn hashing_member(&self) -> Option<&PasswordFile> {
        self.members.iter().find_map(|member| match member {
            Member::Passwords(file) => Some(&**file),
            Member::Anonymous
            | Member::Certificate { .. }
            | Member::Tokens(_)
            | Member::Service(_)
            | Member::Registry(_) => None,
        })
    }

    fn look_at(&self, member: &Member, caller: &Caller<'_>, figures: &Figures) -> Result<Finding, Place> {
        match member {
            Member::Anonymous if caller.shows_nothing() || self.members.len() == 1 => {
                // A name that nobody has checked is none.
                Ok(Finding::Admitted(Person { is_admin: self.everybody_is_admin, ..Person::default() }))
            }
            Member::Anonymous => Ok(Finding::PassedOn),
            Member::Certificate { name, counts_as } => Ok(look_at_certificate(*name, *counts_as, caller)),
            Member::Registry(registry) => {
                let mut finding = Finding::PassedOn;
                registry.read(&mut |registry| finding = look_up_device(registry, caller));
                Ok(finding)
            }
            Member::Passwords(file) => look_up_user(file, caller, figures),
            Member::Tokens(_) if caller.password.is_some_and(Tokens::resembles) => Err(Place::Signing),
            Member::Tokens(_) => Ok(Finding::PassedOn),
            Member::Service(service) => match service.remembered(caller) {
                Some(finding) => {
                    figures.calls_saved.up();
                    Ok(finding)
                }
                None => Err(Place::Calling),
            },
        }
    }
}

impl Service {
    /// What the service said about the very same client a moment ago.
    fn remembered(&self, caller: &Caller<'_>) -> Option<Finding> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.find(&tag(&recent, caller), caller.now.0).cloned()
    }

    /// Forgets what the service has said.
    pub(super) fn forget(&self) {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Remembers what the service has said.
    pub(super) fn remember(&self, caller: &Caller<'_>, finding: &Finding) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let tag = tag(&recent, caller);
        recent.keep(tag, finding.clone(), caller.now.0);
    }
}

/// The name of everything that a service is told about a client.
fn tag(recent: &Recent<Finding>, caller: &Caller<'_>) -> access::Tag {
    let from = caller.from.to_string();
    let shown = [u8::from(caller.user.is_some()), u8::from(caller.password.is_some())];
    let user = caller.user.unwrap_or_default().as_bytes();
    let password = caller.password.unwrap_or_default();
    let listener = caller.listener.0.to_be_bytes();
    recent.tag(&[&listener, caller.client_id.as_bytes(), &shown, user, password, from.as_bytes()])
}

fn look_at_certificate(name: CertificateName, counts_as: CertificateUse, caller: &Caller<'_>) -> Finding {
    let Some(certificate) = caller.tls.and_then(|tls| tls.client_certificates.first()) else {
        return Finding::PassedOn;
    };
    match (certificate_name(certificate, name), counts_as) {
        (Ok(None), _) => Finding::PassedOn,
        (Err(_), _) => Finding::Refused(ReasonCode::NotAuthorized),
        (Ok(Some(name)), CertificateUse::User) => {
            Finding::Admitted(Person { user: Some(name.into()), ..Person::default() })
        }
        // The shard has taken the name for the client id already; if not, this is not that client.
        (Ok(Some(name)), CertificateUse::ClientId) if name == caller.client_id => {
            Finding::Admitted(Person::default())
        }
        (Ok(Some(_)), CertificateUse::ClientId) => Finding::Refused(ReasonCode::NotAuthorized),
    }
}

/// A certificate comes first, as with dialects; TLS has verified it.
fn look_up_device(registry: &Registry, caller: &Caller<'_>) -> Finding {
    let certificate = caller.tls.and_then(|tls| tls.client_certificates.first());
    let shown = certificate.and_then(|der| registry.log_in_with_certificate(&fingerprint(der)));
    let (user, password) = (caller.user.unwrap_or_default(), caller.password.unwrap_or_default());
    let found = shown.or_else(|| registry.log_in(caller.client_id, user, password));
    match found.and_then(|device| registry.device(device)) {
        Some(device) => known(&device.name),
        None if registry.has_other_password(caller.client_id, user, password) => {
            Finding::Refused(ReasonCode::BadUserNameOrPassword)
        }
        None => Finding::PassedOn,
    }
}

fn look_up_user(file: &PasswordFile, caller: &Caller<'_>, figures: &Figures) -> Result<Finding, Place> {
    let Some(user) = caller.user.filter(|user| file.knows(user)) else { return Ok(Finding::PassedOn) };
    let Some(password) = caller.password else {
        return Ok(Finding::Refused(ReasonCode::BadUserNameOrPassword));
    };
    if file.remembers(user, password, caller.now) {
        figures.remembered.up();
        return Ok(known(user));
    }
    Err(Place::Hashing)
}

fn verify(file: &PasswordFile, caller: &Caller<'_>, figures: &Figures) -> Finding {
    let (Some(user), Some(password)) = (caller.user, caller.password) else { return Finding::PassedOn };
    // Between the look and now the file may have been read again; whoever is not in it any more is refused.
    figures.hashes.up();
    if file.verify(user, password, caller.now) {
        known(user)
    } else {
        Finding::Refused(ReasonCode::BadUserNameOrPassword)
    }
}

fn judge_token(tokens: &Tokens, caller: &Caller<'_>, figures: &Figures) -> Finding {
    figures.tokens.up();
    match tokens.judge(caller.password.unwrap_or_default(), caller.now.0 / 1000) {
        Ok(bearer) => Finding::Admitted(Person {
            user: Some(bearer.user.into()),
            is_admin: false,
            rights: bearer.rights.map(Arc::new),
            expires_at: bearer.expires_at_s.map(|at_s| WallMs(at_s.saturating_mul(1000))),
        }),
        Err(_) => Finding::Refused(ReasonCode::BadUserNameOrPassword),
    }
}

fn known(user: &str) -> Finding {
    Finding::Admitted(Person { user: Some(user.into()), ..Person::default() })
}

/// Nobody knows the client.
fn refusal(caller: &Caller<'_>) -> Finding {
    Finding::Refused(match caller.shows_nothing() {
        true => ReasonCode::NotAuthorized,
        false => ReasonCode::BadUserNameOrPassword,
    })
}
