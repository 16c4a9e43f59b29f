//! The doorkeeper of the simulation: rules in Mosquitto's syntax, read by the broker's own room, and the breaches.
//!
//! Why breaches are committed here: a check that the exchange does not make looks from outside like one that was answered
//! with yes, so the answer-giver can commit any of them without a hook in the broker.
//!
//! Invariants:
//! - Without a breach every answer is that of the rules of the moment.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use access::{Access, Acl, Identity};
use broker::Rights;
use shard::{Answer, ConnId, Doorkeeper, Judgement, Knock, ListenerId, Owner, Question, Turned};
use stdx::WallMs;

use super::Breach;

/// The rules and who is who, shared by the stage and all shards.
#[derive(Clone, Debug)]
pub(super) struct Book(Arc<Mutex<Pages>>);

#[derive(Debug)]
pub(super) struct Pages {
    acl: Acl,
    pub version: u64,
    pub breach: Option<Breach>,
    /// The user as whom each client comes in.
    pub users: BTreeMap<String, Option<String>>,
    /// Clients that must be asked about first.
    pub asked: BTreeSet<String>,
    /// Clients whose CONNECT is under way.
    pub arriving: BTreeSet<String>,
    /// Clients that wait for a SUBACK, or for what comes behind it.
    pub subscribing: BTreeSet<String>,
    /// Clients that have gone.
    pub gone: BTreeSet<String>,
    /// Whether what happens now is a batch of another core.
    pub is_crossing: bool,
    /// Connections that have arrived and not left, by address.
    pub present: i64,
    pub complaint: Option<String>,
}

impl Book {
    pub fn new(text: &str, breach: Option<Breach>) -> Self {
        Self(Arc::new(Mutex::new(Pages {
            acl: Acl::parse(text).expect("the stage writes files that can be read"),
            version: 1,
            breach,
            users: BTreeMap::new(),
            asked: BTreeSet::new(),
            arriving: BTreeSet::new(),
            subscribing: BTreeSet::new(),
            gone: BTreeSet::new(),
            is_crossing: false,
            present: 0,
            complaint: None,
        })))
    }

    pub fn open(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Other rules hold from now on.
    pub fn rewrite(&self, text: &str) {
        let mut pages = self.open();
        pages.acl = Acl::parse(text).expect("the stage writes files that can be read");
        pages.version += 1;
    }

    /// Whether a subscription is to be accepted now.
    pub fn may_subscribe(&self, client_id: &str, user: Option<&str>, filter: &str) -> bool {
        self.open().acl.may_subscribe(Identity { client_id, user }, filter)
    }

    /// The answer to a question.
    pub fn answer(&self, question: &Question) -> Answer {
        Answer::Admitted(self.rights(&question.client_id))
    }

    fn rights(&self, client_id: &str) -> Option<Arc<dyn Rights>> {
        let user = self.open().users.get(client_id).cloned().flatten();
        Some(Arc::new(Holder { book: self.clone(), client_id: client_id.to_owned(), user }))
    }
}

impl Doorkeeper for Book {
    fn arrive(&self, _listener: ListenerId, _from: IpAddr, _now: WallMs) -> Result<(), Turned> {
        self.open().present += 1;
        Ok(())
    }

    fn leave(&self, _listener: ListenerId, _from: IpAddr) {
        let mut pages = self.open();
        pages.present -= 1;
        if pages.present < 0 {
            pages.complaint = Some("a connection has left twice".to_owned());
        }
    }

    fn client_id(&self, _knock: &Knock<'_>) -> Option<Box<str>> {
        None
    }

    fn judge(&self, knock: &Knock<'_>) -> Judgement {
        if !self.open().asked.contains(knock.client_id) {
            return Judgement::Admitted(self.rights(knock.client_id));
        }
        Judgement::Asked(Box::new(Question {
            conn: ConnId { index: 0, generation: 0 },
            listener: knock.listener,
            from: knock.from,
            client_id: knock.client_id.into(),
            user: None,
            password: None,
            step: 0,
            tls: None,
        }))
    }

    fn remember(&self, owner: &Owner<'_>) -> Option<Arc<dyn Rights>> {
        let user = owner.user.map(ToOwned::to_owned);
        let mut pages = self.open();
        if pages.breach == Some(Breach::Forgotten) {
            return None;
        }
        if owner.listener != Some(ListenerId(0)) {
            pages.complaint = Some(format!("{owner:?} comes back without a listener"));
        }
        drop(pages);
        Some(Arc::new(Holder { book: self.clone(), client_id: owner.client_id.to_owned(), user }))
    }

    fn rules_version(&self) -> u64 {
        let pages = self.open();
        if pages.breach == Some(Breach::Stale) { 1 } else { pages.version }
    }
}

/// What one client may do.
#[derive(Debug)]
struct Holder {
    book: Book,
    client_id: String,
    user: Option<String>,
}

impl Holder {
    fn allows(&self, pages: &Pages, access: Access, topic: &str) -> bool {
        pages.acl.allows(Identity { client_id: &self.client_id, user: self.user.as_deref() }, access, topic)
    }
}

impl Rights for Holder {
    fn may_publish(&self, topic: &str) -> bool {
        let pages = self.book.open();
        let (is_gone, is_arriving) =
            (pages.gone.contains(&self.client_id), pages.arriving.contains(&self.client_id));
        let is_breach = match pages.breach {
            Some(Breach::Publish) => !is_gone && !is_arriving,
            Some(Breach::Will) => is_gone,
            Some(Breach::WillAtConnect) => is_arriving,
            _others_are_of_receivers => false,
        };
        is_breach || self.allows(&pages, Access::Write, topic)
    }

    fn may_subscribe(&self, filter: &str) -> bool {
        let pages = self.book.open();
        let who = Identity { client_id: &self.client_id, user: self.user.as_deref() };
        pages.breach == Some(Breach::Subscribe) || pages.acl.may_subscribe(who, filter)
    }

    fn may_receive(&self, topic: &str) -> bool {
        let pages = self.book.open();
        let client_id = &self.client_id;
        let is_arriving = pages.arriving.contains(client_id);
        let is_subscribing = pages.subscribing.contains(client_id);
        let is_breach = match pages.breach {
            Some(Breach::Live) => !is_arriving && !is_subscribing && !pages.is_crossing,
            Some(Breach::Crossing) => pages.is_crossing,
            Some(Breach::Retained) => is_subscribing,
            Some(Breach::Return) => is_arriving,
            Some(Breach::Shared) => client_id.starts_with("share"),
            _others_are_of_publishers => false,
        };
        is_breach || self.allows(&pages, Access::Read, topic)
    }

    fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    fn expires_at(&self) -> Option<WallMs> {
        None
    }
}
