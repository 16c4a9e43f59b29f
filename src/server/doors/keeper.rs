//! The doors of the whole broker, as cores, signals and the control plane see them.
//!
//! Why opened before anything else starts: a file that is not good must end the program with a line that names it, and
//! not some client's evening.
//!
//! Invariants:
//! - Doors that were opened have read every file that the configuration names.
//! - Reading files again changes each of them wholly or not at all.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use access::Recent;
use broker::Rights;
use device::SharedRegistry;
use hyper::Uri;
use platform::Platform;
use shard::{Answer, Doorkeeper, Judgement, Knock, ListenerId, Owner, Question, Turned};
use stdx::WallMs;
use thiserror::Error;

use super::answers::DoorEnd;
use super::chain::{Caller, Chain, Look, Member, Service};
use super::desk::{Desk, Premises, token_terms};
use super::sources::{AclFile, KeyFile, KeySource, PasswordFile, Source, random_key};
use super::watch::Watch;
use crate::bell::Bell;
use crate::clock::Clock;
use crate::config::{Authenticator, AuthenticatorKind, ChainMember, Config, Listener};
use crate::reload::{Reload, Tiding};

/// Answers of a service that are kept; 200 bytes each and what it granted.
const OPINIONS_MAX: usize = 65_536;

/// The doors.
#[derive(Clone, Debug)]
pub struct Doors {
    desk: Arc<Desk>,
    /// Whether what becomes of devices is told to whoever counts failed logins.
    counts_devices: bool,
}

/// Why doors cannot be opened: what is wrong with the files, one line each.
#[derive(Debug, Error)]
#[error("{}", .0.join("\nringmq: "))]
pub struct DoorsError(Vec<String>);

impl Reload for Doors {
    fn reload(&mut self) -> Vec<Tiding> {
        self.reread()
    }
}

/// What is wrong with the files that a configuration names, one line each.
#[must_use]
pub fn examine_doors(config: &Config) -> Vec<String> {
    let nobody = Platform::new(Box::new(|_settings| Ok(None)));
    read(config, &nobody).err().unwrap_or_default()
}

impl Doors {
    /// Reads all files and starts the threads that answer questions; `watch` counts connections and failures, `platform`
    /// knows devices.
    ///
    /// # Errors
    /// Everything that is wrong with the files, or a thread could not be started.
    pub(crate) fn open(
        config: &Config,
        cores: usize,
        clock: Clock,
        watch: Arc<dyn Watch>,
        platform: &Platform,
    ) -> Result<Self, DoorsError> {
        let premises = read(config, platform).map_err(DoorsError)?;
        let desk = Desk::open(premises, watch, cores, clock)
            .map_err(|failure| DoorsError(vec![format!("cannot start the doors: {failure}")]))?;
        Ok(Self { desk, counts_devices: config.devices.failed_logins_count })
    }

    /// Reads all files again, and forgets what services have said. What is not good stays as it was.
    pub(super) fn reread(&self) -> Vec<Tiding> {
        let mut tidings = Vec::new();
        for source in &self.desk.premises().sources {
            match source.reload() {
                Ok(()) => {
                    if source.holds_rules() {
                        self.desk.note_new_rules();
                    }
                    tidings.push(Tiding::Fresh(format!("{}: read again", source.path().display())));
                }
                Err(complaint) => {
                    self.desk.figures().reload_failures.up();
                    tidings.push(Tiding::Kept(complaint));
                }
            }
        }
        self.desk.services().for_each(Service::forget);
        tidings
    }

    /// Everything that was counted, in Prometheus' text format.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.desk.figures().metrics()
    }

    /// Each core's way to ask.
    pub(crate) fn ends(&self, bells: &Arc<[Bell]>) -> Vec<DoorEnd> {
        DoorEnd::all(&self.desk, bells)
    }

    #[cfg(test)]
    pub(super) fn desk(&self) -> &Desk {
        &self.desk
    }
}

impl Doorkeeper for Doors {
    fn arrive(&self, listener: ListenerId, from: IpAddr, now: WallMs) -> Result<(), Turned> {
        self.desk.watch().arrive(listener, from, now)
    }

    fn leave(&self, listener: ListenerId, from: IpAddr) {
        self.desk.watch().leave(listener, from);
    }

    fn note_refused(&self, _listener: ListenerId, from: IpAddr, now: WallMs) {
        self.desk.figures().refused.up();
        if self.counts_devices {
            self.desk.watch().failed(from, now);
        }
    }

    fn note_welcomed(&self, _listener: ListenerId, from: IpAddr) {
        self.desk.figures().admitted.up();
        if self.counts_devices {
            self.desk.watch().succeeded(from);
        }
    }

    fn client_id(&self, knock: &Knock<'_>) -> Option<Box<str>> {
        self.desk.chain(knock.listener)?.client_id(knock.tls).map(Into::into)
    }

    fn judge(&self, knock: &Knock<'_>) -> Judgement {
        let caller = Caller::of_knock(knock);
        let Some(chain) = self.desk.chain(knock.listener) else {
            return Judgement::Refused(mqtt::ReasonCode::NotAuthorized);
        };
        match chain.look(0, &caller, self.desk.figures()) {
            Look::Decided(finding) => match self.desk.conclude(knock.listener, &caller, finding) {
                Answer::Admitted(rights) => Judgement::Admitted(rights),
                Answer::Refused(code) => Judgement::Refused(code),
            },
            Look::Later(step, _) => Judgement::Asked(Box::new(question(knock, step))),
        }
    }

    fn remember(&self, owner: &Owner<'_>) -> Option<Arc<dyn Rights>> {
        self.desk.remember(owner.listener, owner.client_id, owner.user)
    }

    fn rules_version(&self) -> u64 {
        self.desk.rules_version()
    }
}

fn question(knock: &Knock<'_>, step: usize) -> Question {
    Question {
        // The shard fills in which connection waits.
        conn: shard::ConnId { index: 0, generation: 0 },
        listener: knock.listener,
        from: knock.from,
        client_id: knock.client_id.into(),
        user: knock.connect.user_name.map(Into::into),
        password: knock.connect.password.map(Into::into),
        step,
        tls: knock.tls.cloned().map(Box::new),
    }
}

/// Reads everything that the configuration names; one file that two listeners name is read once.
pub(super) fn read(config: &Config, platform: &Platform) -> Result<Premises, Vec<String>> {
    let registry: Arc<dyn SharedRegistry> = Arc::new(platform.clone());
    let mut reader = Reader { config, registry, sources: Vec::new(), complaints: Vec::new() };
    let authenticators: Vec<Option<Made>> =
        config.authenticator.iter().map(|authenticator| reader.make(authenticator)).collect();
    let mut acls = BTreeMap::new();
    let chains: Vec<Chain> =
        config.listener.iter().map(|listener| reader.chain(listener, &authenticators, &mut acls)).collect();
    let Reader { sources, complaints, .. } = reader;
    if complaints.is_empty() {
        Ok(Premises { chains, sources, admins: config.access.admins.0.clone() })
    } else {
        Err(complaints)
    }
}

/// An authenticator, to be shared by all chains that name it.
enum Made {
    Certificate,
    Passwords(Arc<PasswordFile>),
    Tokens(Arc<KeyFile>),
    Service(Arc<Service>),
    Registry(Arc<dyn SharedRegistry>),
}

struct Reader<'a> {
    config: &'a Config,
    registry: Arc<dyn SharedRegistry>,
    sources: Vec<Arc<dyn Source>>,
    complaints: Vec<String>,
}

impl Reader<'_> {
    fn make(&mut self, authenticator: &Authenticator) -> Option<Made> {
        let made = match authenticator.kind? {
            AuthenticatorKind::Certificate => Ok(Made::Certificate),
            AuthenticatorKind::PasswordFile => {
                PasswordFile::open(authenticator.file.as_deref()?).map(Arc::new).map(Made::Passwords)
            }
            AuthenticatorKind::Jwt => keys(authenticator)?.map(Arc::new).map(Made::Tokens),
            AuthenticatorKind::Http => service(authenticator).map(Arc::new).map(Made::Service),
            AuthenticatorKind::Registry => Ok(Made::Registry(Arc::clone(&self.registry))),
        };
        match made {
            Ok(made) => {
                match &made {
                    Made::Passwords(file) => self.sources.push(file.clone()),
                    Made::Tokens(keys) => self.sources.push(keys.clone()),
                    Made::Certificate | Made::Service(_) | Made::Registry(_) => {}
                }
                Some(made)
            }
            Err(complaint) => {
                self.complaints.push(complaint);
                None
            }
        }
    }

    fn chain(
        &mut self,
        listener: &Listener,
        authenticators: &[Option<Made>],
        acls: &mut BTreeMap<PathBuf, Option<Arc<AclFile>>>,
    ) -> Chain {
        let chain = self.config.chain_of(listener);
        let everybody_is_admin = chain == [ChainMember::Anonymous] && listener.is_local();
        // Of an authenticator that is missing there is a complaint, and the chain will not be used.
        let members = chain.iter().filter_map(|member| match member {
            ChainMember::Anonymous => Some(Member::Anonymous),
            ChainMember::Authenticator(place) => {
                let made = authenticators.get(*place)?.as_ref()?;
                Some(member_of(made, &self.config.authenticator[*place]))
            }
        });
        let members = members.collect();
        let acl = listener.acl_file.as_ref().and_then(|path| {
            acls.entry(path.clone())
                .or_insert_with(|| self.acl(path))
                .as_ref()
                .map(|file| file.rules().clone())
        });
        Chain { listener: listener.bind.to_string().into(), members, rules: acl, everybody_is_admin }
    }

    fn acl(&mut self, path: &Path) -> Option<Arc<AclFile>> {
        match AclFile::open(path) {
            Ok(file) => {
                let file = Arc::new(file);
                self.sources.push(file.clone());
                Some(file)
            }
            Err(complaint) => {
                self.complaints.push(complaint);
                None
            }
        }
    }
}

fn member_of(made: &Made, authenticator: &Authenticator) -> Member {
    match made {
        Made::Certificate => {
            Member::Certificate { name: authenticator.identity, counts_as: authenticator.identity_as }
        }
        Made::Passwords(file) => Member::Passwords(file.clone()),
        Made::Tokens(keys) => Member::Tokens(keys.clone()),
        Made::Service(service) => Member::Service(service.clone()),
        Made::Registry(registry) => Member::Registry(Arc::clone(registry)),
    }
}

/// None only if the configuration was not checked.
fn keys(authenticator: &Authenticator) -> Option<Result<KeyFile, String>> {
    let Authenticator { secret_file, public_key_file, jwks_file, issuer, audience, user_claim, .. } =
        authenticator;
    let source = secret_file.clone().map(KeySource::Secret);
    let source = source.or_else(|| public_key_file.clone().map(KeySource::PublicKey));
    let source = source.or_else(|| jwks_file.clone().map(KeySource::KeySet))?;
    Some(KeyFile::open(source, token_terms(issuer.as_ref(), audience.as_ref(), user_claim)))
}

fn service(authenticator: &Authenticator) -> Result<Service, String> {
    let url = authenticator.url.as_deref().unwrap_or_default();
    let lifetime_ms = u64::from(authenticator.cache_s) * 1000;
    Ok(Service {
        name: authenticator.name.as_str().into(),
        url: url
            .parse::<Uri>()
            .map_err(|fault| format!("authenticator `{}`: `{url}`: {fault}", authenticator.name))?,
        timeout: Duration::from_millis(authenticator.timeout_ms.into()),
        recent: Mutex::new(Recent::new(random_key()?, OPINIONS_MAX, lifetime_ms)),
        told_at: Mutex::new(WallMs(0)),
    })
}
