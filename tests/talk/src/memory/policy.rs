//! The policy of a talk file: denials and passwords, changeable while it runs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use broker::Policy;
use mqtt::{Connect, ReasonCode};

use crate::fit::filter_matches;
use crate::step::{Denial, PolicyChange, Right};

/// The rules, shared by the scenario and all shards.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    denials: Arc<Mutex<Vec<Denial>>>,
    passwords: Vec<(String, Vec<u8>)>,
}

impl Rules {
    pub(super) fn new(denials: &[Denial], passwords: &[(String, Vec<u8>)]) -> Self {
        Self { denials: Arc::new(Mutex::new(denials.to_vec())), passwords: passwords.to_vec() }
    }

    pub(super) fn change(&self, change: &PolicyChange) {
        let mut denials = self.lock();
        denials.retain(|denial| *denial != change.denial);
        if change.is_added {
            denials.push(change.denial.clone());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Denial>> {
        self.denials.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn allows(&self, right: Right, client_id: &str, topic: &str) -> bool {
        !self.lock().iter().any(|denial| {
            denial.right == right
                && (denial.client == "*" || denial.client == client_id)
                && filter_matches(denial.filter.as_bytes(), topic.as_bytes())
        })
    }
}

impl Policy for Rules {
    fn authenticate(&self, connect: &Connect<'_>) -> Result<(), ReasonCode> {
        if self.passwords.is_empty() {
            return Ok(());
        }
        let shown = connect.user_name.zip(connect.password);
        let is_known =
            |(user, password): (&str, &[u8])| self.passwords.iter().any(|(u, p)| u == user && p == password);
        if shown.is_some_and(is_known) { Ok(()) } else { Err(ReasonCode::BadUserNameOrPassword) }
    }

    fn may_publish(&self, client_id: &str, topic: &str) -> bool {
        self.allows(Right::Publish, client_id, topic)
    }

    /// The levels of the filter are compared as if they were those of a topic: `secret/#` denies `secret/+` too.
    fn may_subscribe(&self, client_id: &str, filter: &str) -> bool {
        self.allows(Right::Subscribe, client_id, filter)
    }

    fn may_receive(&self, client_id: &str, topic: &str) -> bool {
        self.allows(Right::Receive, client_id, topic)
    }
}
