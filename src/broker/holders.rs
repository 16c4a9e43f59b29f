//! Who holds which rights, and how long a decision about them may be used again.
//!
//! Why beside the sessions and not in them: without authentication nobody has rights of his own, and an idle session should
//! not pay for what it does not have.
//!
//! Why a clock of changes: rules may be thousands, and a message passes in half a microsecond, so a decision is kept with
//! the route, the link or the queue for which it was made. Each change of the rules or of a holder moves the clock; a
//! decision is as good as the last change before it.
//!
//! Invariants:
//! - While nobody asks for rights, there are no holders and everything is allowed.
//! - While somebody asks, a session without a holder may do nothing.

use std::sync::Arc;

use stdx::WallMs;

use crate::change::SessionOwner;
use crate::rights::Rights;
use crate::session::SessionKey;

#[derive(Debug)]
pub(crate) struct Holders {
    /// Whether rights are asked for at all.
    pub is_on: bool,
    by_session: Vec<Option<Held>>,
    /// Who was let in last: a crowd without names of its own shares what it holds.
    latest: Option<Arc<Holder>>,
    /// Moves with every change.
    clock: u64,
    /// When the rules changed last, on this clock.
    rules_at: u64,
    rules_version: Option<u64>,
}

/// What a session's client was let in with.
#[derive(Debug)]
pub(crate) struct Holder {
    rights: Option<Arc<dyn Rights>>,
    listener: Option<Arc<str>>,
}

/// What one session holds.
#[derive(Clone, Debug)]
struct Held {
    holder: Arc<Holder>,
    /// Since when, on the clock of changes.
    since: u64,
}

impl Holder {
    /// Rights that were given on a listener; no rights are all rights.
    pub fn new(rights: Option<Arc<dyn Rights>>, listener: Option<Arc<str>>) -> Self {
        Self { rights, listener }
    }

    /// Whether it may do all that another one may, and came in by the same listener.
    fn is_like(&self, other: &Self) -> bool {
        let is_same_listener = match (&self.listener, &other.listener) {
            (Some(one), Some(another)) => Arc::ptr_eq(one, another),
            (one, another) => one.is_none() && another.is_none(),
        };
        self.rights.is_none() && other.rights.is_none() && is_same_listener
    }

    /// Whether it may publish to a topic.
    pub fn may_publish(&self, topic: &str) -> bool {
        self.rights.as_deref().is_none_or(|rights| rights.may_publish(topic))
    }
}

impl Holders {
    pub fn new(is_on: bool) -> Self {
        let by_session = Vec::with_capacity(if is_on { stdx::ROOM } else { 0 });
        Self { is_on, by_session, latest: None, clock: 1, rules_at: 1, rules_version: None }
    }

    /// The rules have this version now. Returns whether that is another one than before.
    pub fn renew(&mut self, rules_version: u64) -> bool {
        if self.rules_version == Some(rules_version) {
            return false;
        }
        self.rules_version = Some(rules_version);
        self.clock += 1;
        self.rules_at = self.clock;
        true
    }

    /// A session's client has these rights from now on.
    pub fn set(&mut self, key: SessionKey, holder: Holder) {
        self.clock += 1;
        let since = self.clock;
        if self.by_session.len() <= key.index() {
            self.by_session.resize(key.index() + 1, None);
        }
        let holder = match self.latest.take() {
            Some(latest) if holder.is_like(&latest) => latest,
            _ => Arc::new(holder),
        };
        self.latest = Some(Arc::clone(&holder));
        self.by_session[key.index()] = Some(Held { holder, since });
    }

    /// A session has ended.
    pub fn remove(&mut self, key: SessionKey) {
        if let Some(held) = self.by_session.get_mut(key.index()) {
            *held = None;
        }
    }

    /// What time it is on the clock of changes: remember it with a decision.
    pub fn now(&self) -> u64 {
        self.clock
    }

    /// Whether what the rules said at `at` is what they say now.
    pub fn is_in_force(&self, at: u64) -> bool {
        at >= self.rules_at
    }

    /// Whether a decision about a session that was made at `at` still holds.
    pub fn is_decided(&self, key: SessionKey, at: u64) -> bool {
        !self.is_on || self.is_in_force(at) && self.held(key).is_some_and(|held| held.since <= at)
    }

    fn held(&self, key: SessionKey) -> Option<&Held> {
        self.by_session.get(key.index())?.as_ref()
    }

    fn holder(&self, key: SessionKey) -> Option<&Holder> {
        self.held(key).map(|held| &*held.holder)
    }

    fn allows(&self, key: SessionKey, ask: impl Fn(&dyn Rights) -> bool) -> bool {
        !self.is_on || self.holder(key).is_some_and(|holder| holder.rights.as_deref().is_none_or(ask))
    }

    pub fn may_publish(&self, key: SessionKey, topic: &str) -> bool {
        self.allows(key, |rights| rights.may_publish(topic))
    }

    pub fn may_subscribe(&self, key: SessionKey, filter: &str) -> bool {
        self.allows(key, |rights| rights.may_subscribe(filter))
    }

    pub fn may_receive(&self, key: SessionKey, topic: &str) -> bool {
        self.allows(key, |rights| rights.may_receive(topic))
    }

    /// When what let the client in runs out.
    pub fn expires_at(&self, key: SessionKey) -> Option<WallMs> {
        self.holder(key)?.rights.as_ref()?.expires_at()
    }

    /// What the store keeps of a session's owner.
    pub fn owner(&self, key: SessionKey) -> Option<SessionOwner> {
        let holder = self.holder(key)?;
        let user = holder.rights.as_ref().and_then(|rights| rights.user()).map(Into::into);
        Some(SessionOwner { listener: holder.listener.clone(), user })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Only(&'static str);

    impl Rights for Only {
        fn may_publish(&self, topic: &str) -> bool {
            topic == self.0
        }

        fn may_subscribe(&self, filter: &str) -> bool {
            filter == self.0
        }

        fn may_receive(&self, topic: &str) -> bool {
            topic == self.0
        }

        fn user(&self) -> Option<&str> {
            Some(self.0)
        }

        fn expires_at(&self) -> Option<WallMs> {
            None
        }
    }

    #[test]
    fn a_session_without_a_holder_may_do_nothing_once_rights_are_asked_for() {
        let key = SessionKey::new(3);
        assert!(Holders::new(false).may_publish(key, "t"));
        let mut holders = Holders::new(true);
        assert!(!holders.may_publish(key, "t") && !holders.may_receive(key, "t"));
        holders.set(key, Holder::new(None, None));
        assert!(holders.may_subscribe(key, "#"));
        holders.set(key, Holder::new(Some(Arc::new(Only("t"))), Some("here".into())));
        assert!(holders.may_receive(key, "t") && !holders.may_receive(key, "u"));
        let owner = holders.owner(key).unwrap();
        assert_eq!((owner.listener.as_deref(), owner.user.as_deref()), (Some("here"), Some("t")));
        holders.remove(key);
        assert!(!holders.may_receive(key, "t"));
    }

    #[test]
    fn a_decision_holds_until_the_rules_or_the_holder_change() {
        let (one, two) = (SessionKey::new(0), SessionKey::new(1));
        let mut holders = Holders::new(true);
        holders.set(one, Holder::new(None, None));
        holders.set(two, Holder::new(None, None));
        assert!(holders.renew(7) && !holders.renew(7));
        let at = holders.now();
        assert!(holders.is_decided(one, at) && !holders.is_decided(one, 0));
        holders.set(one, Holder::new(None, None));
        assert!(!holders.is_decided(one, at) && holders.is_decided(two, at));
        holders.renew(8);
        assert!(!holders.is_decided(two, at) && holders.is_decided(two, holders.now()));
        assert!(Holders::new(false).is_decided(one, 0));
    }
}
