//! What a client may do that was let in.
//!
//! Why whatever a client brought narrows and never widens: the operator's file is the fence, and a token or a service may
//! grant less than what stands in it. So a stolen signing key does not open what the file forbids.
//!
//! Invariants:
//! - Rules are read at the moment of the question: after a reload the next message is judged by the new ones.
//! - `$SYS` is for administrators, and for those to whom a line of the file gives it by name.
//! - A name that nobody has checked is no name.

use std::sync::Arc;

use access::{Access, Acl, Identity, TokenRights};
use arc_swap::ArcSwapOption;
use broker::Rights;
use stdx::WallMs;

/// The rules of a listener: shared with whoever reads its file again; none allow everything.
pub(super) type Rules = ArcSwapOption<Acl>;

/// Who was let in.
#[derive(Clone, Debug, Default)]
pub(super) struct Person {
    /// The user whose credentials were good.
    pub(super) user: Option<Box<str>>,
    /// Whether it is an administrator, whoever its user is.
    pub(super) is_admin: bool,
    /// What it may do at most.
    pub(super) rights: Option<Arc<TokenRights>>,
    /// When what let it in runs out.
    pub(super) expires_at: Option<WallMs>,
}

/// A client's pass.
#[derive(Debug)]
pub(super) struct Pass {
    pub(super) client_id: Box<str>,
    pub(super) person: Person,
    /// The files that must allow it, each of them.
    pub(super) rules: Box<[Arc<Rules>]>,
}

impl Pass {
    fn identity(&self) -> Identity<'_> {
        Identity { client_id: &self.client_id, user: self.person.user.as_deref() }
    }

    fn allows(&self, access: Access, topic: &str) -> bool {
        let who = self.identity();
        let is_sys = is_sys(topic);
        if is_sys && access == Access::Read && self.person.is_admin {
            return true;
        }
        self.is_within(is_sys, |acl| acl.allows(who, access, topic))
            && self.person.rights.as_ref().is_none_or(|rights| rights.allows(who, access, topic))
    }

    /// Whether every file allows it. What no file speaks of is allowed, except for `$SYS`.
    fn is_within(&self, is_sys: bool, allows: impl Fn(&Acl) -> bool) -> bool {
        let mut is_named = !is_sys;
        for rules in &self.rules {
            match &*rules.load() {
                None => {}
                Some(acl) if allows(acl) => is_named = true,
                Some(_) => return false,
            }
        }
        is_named
    }
}

impl Rights for Pass {
    fn may_publish(&self, topic: &str) -> bool {
        self.allows(Access::Write, topic)
    }

    fn may_subscribe(&self, filter: &str) -> bool {
        let who = self.identity();
        let is_sys = is_sys(filter);
        if is_sys && self.person.is_admin {
            return true;
        }
        self.is_within(is_sys, |acl| acl.may_subscribe(who, filter))
            && self.person.rights.as_ref().is_none_or(|rights| rights.may_subscribe(who, filter))
    }

    fn may_receive(&self, topic: &str) -> bool {
        self.allows(Access::Read, topic)
    }

    fn user(&self) -> Option<&str> {
        self.person.user.as_deref()
    }

    fn expires_at(&self) -> Option<WallMs> {
        self.person.expires_at
    }
}

/// Whether a topic or filter lies in what the broker says of itself. Wildcards in front do not reach there.
/// Source: [MQTT-4.7.2-1].
fn is_sys(name: &str) -> bool {
    name.strip_prefix("$SYS").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(acl: Option<&str>, person: Person) -> Pass {
        let rules = Rules::new(acl.map(|text| Arc::new(Acl::parse(text).unwrap())));
        Pass { client_id: "c".into(), person, rules: Box::new([Arc::new(rules)]) }
    }

    fn admin() -> Person {
        Person { user: Some("root".into()), is_admin: true, ..Person::default() }
    }

    #[test]
    fn sys_is_for_administrators_and_for_those_whom_a_line_names() {
        let open = pass(None, Person::default());
        assert!(open.may_publish("a") && open.may_receive("a") && open.may_subscribe("#"));
        assert!(!open.may_receive("$SYS/broker/uptime") && !open.may_subscribe("$SYS/#"));
        assert!(!open.may_subscribe("$SYS") && open.may_subscribe("$SYSTEM/x"));
        let admin_anyhow = pass(Some("topic write a\n"), admin());
        assert!(admin_anyhow.may_receive("$SYS/x") && admin_anyhow.may_subscribe("$SYS/#"));
        assert!(!admin_anyhow.may_receive("a") && !admin_anyhow.may_publish("$SYS/x"));
        let named = pass(Some("topic read $SYS/broker/uptime\n"), Person::default());
        assert!(named.may_receive("$SYS/broker/uptime") && !named.may_receive("$SYS/broker/version"));
        let everything = pass(Some("topic #\n"), Person::default());
        assert!(everything.may_receive("a") && !everything.may_receive("$SYS/x"));
    }

    #[test]
    fn what_a_client_brings_narrows_and_never_widens() {
        let body = br#"{"allow":true,"acl":{"publish":["a","b"],"subscribe":["a","$SYS/#"]}}"#;
        let Ok(access::Opinion::Allowed { rights, .. }) = access::Opinion::read(200, body) else {
            panic!("a good answer");
        };
        let person = Person { rights: rights.map(Arc::new), ..Person::default() };
        let fenced = pass(Some("topic write a\ntopic read #\n"), person.clone());
        assert!(fenced.may_publish("a") && !fenced.may_publish("b"));
        assert!(fenced.may_receive("a") && !fenced.may_receive("b"));
        let open = pass(None, person);
        assert!(open.may_publish("b") && !open.may_publish("c") && !open.may_receive("$SYS/x"));
    }

    #[test]
    fn new_rules_hold_from_the_next_question_on() {
        let pass = pass(Some("topic a\n"), Person::default());
        assert!(pass.may_receive("a") && !pass.may_receive("b"));
        pass.rules[0].store(Some(Arc::new(Acl::parse("topic b\n").unwrap())));
        assert!(!pass.may_receive("a") && pass.may_receive("b"));
    }

    #[test]
    fn several_files_must_all_allow_it() {
        let rules = |text: &str| Arc::new(Rules::new(Some(Arc::new(Acl::parse(text).unwrap()))));
        let pass = Pass {
            client_id: "c".into(),
            person: Person::default(),
            rules: Box::new([
                rules("topic a\ntopic b\n"),
                rules("topic b\ntopic c\n"),
                Arc::new(Rules::new(None)),
            ]),
        };
        assert!(pass.may_receive("b") && !pass.may_receive("a") && !pass.may_receive("c"));
    }
}
