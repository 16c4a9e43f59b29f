//! A doorkeeper that lets everybody in under access rules that all have to be read before one allows anything.
//!
//! Invariants:
//! - The rules never change.

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

use access::{Access, Acl, Identity};
use broker::Rights;
use shard::{Doorkeeper, Judgement, Knock, ListenerId, Owner, Turned};
use stdx::WallMs;

/// The doorkeeper.
#[derive(Debug)]
pub(crate) struct Porter {
    acl: Arc<Acl>,
}

impl Porter {
    pub(crate) fn new(rules: usize) -> Self {
        let mut text = String::new();
        for number in 0..rules.saturating_sub(1) {
            let _infallible = writeln!(text, "topic readwrite bench/elsewhere{number:05}/#");
        }
        text.push_str("topic readwrite bench/#\n");
        Self { acl: Arc::new(Acl::parse(&text).expect("the rules were just written")) }
    }
}

impl Doorkeeper for Porter {
    fn arrive(&self, _listener: ListenerId, _from: IpAddr, _now: WallMs) -> Result<(), Turned> {
        Ok(())
    }

    fn leave(&self, _listener: ListenerId, _from: IpAddr) {}

    fn client_id(&self, _knock: &Knock<'_>) -> Option<Box<str>> {
        None
    }

    fn judge(&self, knock: &Knock<'_>) -> Judgement {
        let client_id = knock.client_id.to_owned();
        Judgement::Admitted(Some(Arc::new(Pass { acl: Arc::clone(&self.acl), client_id })))
    }

    fn remember(&self, _owner: &Owner<'_>) -> Option<Arc<dyn Rights>> {
        None
    }

    fn rules_version(&self) -> u64 {
        1
    }
}

#[derive(Debug)]
struct Pass {
    acl: Arc<Acl>,
    client_id: String,
}

impl Pass {
    fn who(&self) -> Identity<'_> {
        Identity { client_id: &self.client_id, user: None }
    }
}

impl Rights for Pass {
    fn may_publish(&self, topic: &str) -> bool {
        self.acl.allows(self.who(), Access::Write, topic)
    }

    fn may_subscribe(&self, filter: &str) -> bool {
        self.acl.may_subscribe(self.who(), filter)
    }

    fn may_receive(&self, topic: &str) -> bool {
        self.acl.allows(self.who(), Access::Read, topic)
    }

    fn user(&self) -> Option<&str> {
        None
    }

    fn expires_at(&self) -> Option<WallMs> {
        None
    }
}
