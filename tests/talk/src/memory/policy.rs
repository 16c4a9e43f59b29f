//! The policy of a talk file as a doorkeeper: denials and passwords, changeable while it runs.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use broker::Rights;
use mqtt::ReasonCode;
use shard::{Doorkeeper, Judgement, Knock, ListenerId, Owner, Turned};
use stdx::WallMs;

use crate::fit::filter_matches;
use crate::step::{Denial, PolicyChange, Right};

/// The rules, shared by the scenario and all shards.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    book: Arc<Mutex<Book>>,
    passwords: Vec<(String, Vec<u8>)>,
}

#[derive(Debug)]
struct Book {
    denials: Vec<Denial>,
    version: u64,
}

impl Rules {
    pub(super) fn new(denials: &[Denial], passwords: &[(String, Vec<u8>)]) -> Self {
        let book = Book { denials: denials.to_vec(), version: 1 };
        Self { book: Arc::new(Mutex::new(book)), passwords: passwords.to_vec() }
    }

    pub(super) fn change(&self, change: &PolicyChange) {
        let mut book = self.lock();
        book.denials.retain(|denial| *denial != change.denial);
        if change.is_added {
            book.denials.push(change.denial.clone());
        }
        book.version += 1;
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn allows(&self, right: Right, client_id: &str, topic: &str) -> bool {
        !self.lock().denials.iter().any(|denial| {
            denial.right == right
                && (denial.client == "*" || denial.client == client_id)
                && filter_matches(denial.filter.as_bytes(), topic.as_bytes())
        })
    }

    fn rights(&self, client_id: &str) -> Option<Arc<dyn Rights>> {
        Some(Arc::new(Client { rules: self.clone(), client_id: client_id.to_owned() }))
    }
}

impl Doorkeeper for Rules {
    fn arrive(&self, _listener: ListenerId, _from: IpAddr, _now: WallMs) -> Result<(), Turned> {
        Ok(())
    }

    fn leave(&self, _listener: ListenerId, _from: IpAddr) {}

    fn client_id(&self, _knock: &Knock<'_>) -> Option<Box<str>> {
        None
    }

    fn judge(&self, knock: &Knock<'_>) -> Judgement {
        let shown = knock.connect.user_name.zip(knock.connect.password);
        let is_known =
            |(user, password): (&str, &[u8])| self.passwords.iter().any(|(u, p)| u == user && p == password);
        match self.passwords.is_empty() || shown.is_some_and(is_known) {
            true => Judgement::Admitted(self.rights(knock.client_id)),
            false => Judgement::Refused(ReasonCode::BadUserNameOrPassword),
        }
    }

    fn remember(&self, owner: &Owner<'_>) -> Option<Arc<dyn Rights>> {
        self.rights(owner.client_id)
    }

    fn rules_version(&self) -> u64 {
        self.lock().version
    }
}

/// What one client may do.
#[derive(Debug)]
struct Client {
    rules: Rules,
    client_id: String,
}

impl Rights for Client {
    fn may_publish(&self, topic: &str) -> bool {
        self.rules.allows(Right::Publish, &self.client_id, topic)
    }

    /// The levels of the filter are compared as if they were those of a topic: `secret/#` denies `secret/+` too.
    fn may_subscribe(&self, filter: &str) -> bool {
        self.rules.allows(Right::Subscribe, &self.client_id, filter)
    }

    fn may_receive(&self, topic: &str) -> bool {
        self.rules.allows(Right::Receive, &self.client_id, topic)
    }

    fn user(&self) -> Option<&str> {
        None
    }

    fn expires_at(&self) -> Option<WallMs> {
        None
    }
}
