//! The subscription table of one core: who here wants which topics, which other cores do, and the shared groups.
//!
//! Why one tree for all three: a topic is matched once, and what it finds says everything about where messages go.
//!
//! Invariants:
//! - A node exists as long as a local subscriber, a waiting SUBSCRIBE, another core or a group needs it.
//! - Every change invalidates the routes that it may touch.

use ahash::RandomState;
use mqtt::{QoS, Violation, topic};
use slab::Slab;

use crate::core_id::{CoreId, CoreSet};
use crate::filter_tree::FilterTree;
use crate::holders::Holders;
use crate::link::LinkId;
use crate::route::{Barred, Lookup, Route, RouteCache, Subscriber, SubscriptionIds, merge};
use crate::session::SessionKey;

#[derive(Debug)]
pub(crate) struct Table {
    tree: FilterTree<Node>,
    groups: Slab<Group>,
    routes: RouteCache,
    found: Vec<Subscriber>,
    /// Whether control characters and non-characters are refused in topic names.
    is_strict: bool,
}

#[derive(Debug, Default)]
struct Node {
    subscribers: Vec<Subscriber>,
    /// SUBSCRIBEs that wait for the other cores.
    pending: u32,
    remote: CoreSet,
    groups: Vec<u32>,
}

/// A shared subscription group over all cores. Source: section 4.8.2.
#[derive(Debug)]
pub(crate) struct Group {
    name: Box<str>,
    filter: Box<str>,
    pub members: Vec<Member>,
    /// SUBSCRIBEs that wait for the other cores.
    pub pending: u32,
    remote: Vec<RemoteMembers>,
    turn: usize,
    /// What the other cores were told: members connected and away.
    announced: (u32, u32),
}

/// A member of a group on this core.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub session: SessionKey,
    pub qos: QoS,
    pub keeps_retain: bool,
    pub ids: SubscriptionIds,
}

#[derive(Clone, Copy, Debug)]
struct RemoteMembers {
    core: CoreId,
    online: u32,
    offline: u32,
}

/// Whether a member of this core can be given a message now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    Connected,
    /// Not connected: the message waits for it.
    Away,
    /// Its rights do not allow this message.
    Barred,
}

/// Who of a group gets a message.
#[derive(Debug)]
pub(crate) enum Pick {
    Local(Member),
    Remote(CoreId),
    Nobody,
}

impl Table {
    pub fn new(seed: u64, hasher: RandomState, is_strict: bool) -> Self {
        Self {
            is_strict,
            tree: FilterTree::new(seed),
            groups: Slab::new(),
            routes: RouteCache::new(hasher),
            found: Vec::new(),
        }
    }

    /// The route of a topic; `true` if it was in the cache. A topic seen for the first time is checked.
    #[inline]
    pub fn route(
        &mut self,
        name: &[u8],
        levels_max: usize,
        holders: &Holders,
    ) -> Result<(usize, bool), Violation> {
        match self.routes.lookup(name) {
            Lookup::Fresh(index) => Ok((index, true)),
            Lookup::Stale(index) => {
                let name = std::str::from_utf8(name).expect("the cache holds valid topic names only");
                self.build(index, name, holders);
                Ok((index, false))
            }
            Lookup::Unknown => {
                let valid = topic::check_name(name, levels_max)?;
                if self.is_strict && !mqtt::is_plain(valid) {
                    return Err(Violation::ControlCharacter);
                }
                let index = self.routes.reserve(name);
                self.build(index, valid, holders);
                Ok((index, false))
            }
        }
    }

    /// As [`Table::route`], for someone whose last topic had the route `near`; keeps it up to date. Most publishers have
    /// one topic, and comparing it costs less than looking it up.
    #[inline]
    pub fn route_near(
        &mut self,
        name: &[u8],
        levels_max: usize,
        near: &mut u32,
        holders: &Holders,
    ) -> Result<(usize, bool), Violation> {
        let index = stdx::widen(*near);
        if self.routes.is_fresh(index, name) {
            return Ok((index, true));
        }
        let (index, was_cached) = self.route(name, levels_max, holders)?;
        *near = stdx::narrow(index);
        Ok((index, was_cached))
    }

    #[inline]
    pub fn route_at(&self, index: usize) -> &Route {
        self.routes.get(index)
    }

    fn build(&mut self, index: usize, name: &str, holders: &Holders) {
        let mut route = Route::default();
        let found = &mut self.found;
        found.clear();
        self.tree.matches(name, |node| {
            found.extend_from_slice(&node.subscribers);
            route.remote.merge(node.remote);
            route.groups.extend_from_slice(&node.groups);
        });
        if holders.is_on {
            self.judge(index, name, holders, &mut route);
        }
        route.targets = merge(&mut self.found);
        route.groups.sort_unstable();
        self.routes.fill(index, route);
    }

    /// Leaves out who may not receive. What the place's last route knew about that is used again, or every new subscriber
    /// of a topic would cost a judgement of all others.
    #[cold]
    fn judge(&mut self, index: usize, name: &str, holders: &Holders, route: &mut Route) {
        let last = self.routes.get(index);
        let may_receive = |session| last.admits(session, holders) || holders.may_receive(session, name);
        self.found.retain(|subscriber| may_receive(subscriber.session));
        let members = route.groups.iter().flat_map(|group| &self.groups[stdx::widen(*group)].members);
        let barred: Vec<SessionKey> = members
            .map(|member| member.session)
            .filter(|session| !holders.may_receive(*session, name))
            .collect();
        route.barred = (!barred.is_empty()).then(|| barred.into());
        route.judged_at = holders.now();
        if holders.is_in_force(last.judged_at) {
            route.publishers = last.publishers;
        }
    }

    /// The rules changed.
    pub fn renew_routes(&mut self) {
        self.routes.renew();
    }

    /// A session that has subscribed to a filter has other rights than before.
    pub fn doubt(&mut self, filter: &str) {
        self.routes.invalidate(filter);
    }

    /// As [`RouteCache::stamp`].
    #[inline]
    pub fn stamp(&self) -> u32 {
        self.routes.stamp()
    }

    /// A publisher may publish to the topic of a route.
    pub fn admit(&mut self, route: usize, link: LinkId) {
        self.routes.admit(route, link);
    }

    /// Who of the members of groups on this core may not receive a topic.
    pub fn barred(&mut self, name: &[u8], holders: &Holders) -> Result<Barred, Violation> {
        let (route, _) = self.route(name, usize::MAX, holders)?;
        Ok(self.routes.get(route).barred.clone())
    }

    /// Adds a subscriber; returns its slot.
    pub fn add(&mut self, filter: &str, subscriber: Subscriber) -> u32 {
        self.routes.invalidate(filter);
        let node = self.tree.entry(filter);
        // Most filters have one subscriber; room for four would cost all of them.
        if node.subscribers.is_empty() {
            node.subscribers.reserve_exact(1);
        }
        node.subscribers.push(subscriber);
        stdx::narrow(node.subscribers.len() - 1)
    }

    /// Changes the options of a subscriber.
    pub fn replace(&mut self, filter: &str, slot: u32, subscriber: Subscriber) {
        self.routes.invalidate(filter);
        let node = self.tree.get_mut(filter).expect("a subscription has a node");
        node.subscribers[stdx::widen(slot)] = subscriber;
    }

    /// Takes a subscriber out; returns the session whose subscriber moved into its slot.
    pub fn remove(&mut self, filter: &str, slot: u32) -> Option<SessionKey> {
        self.routes.invalidate(filter);
        let node = self.tree.get_mut(filter).expect("a subscription has a node");
        node.subscribers.swap_remove(stdx::widen(slot));
        let moved = node.subscribers.get(stdx::widen(slot)).map(|subscriber| subscriber.session);
        self.drop_if_empty(filter);
        moved
    }

    /// A SUBSCRIBE that waits counts as interest from now on; returns whether it is the first.
    pub fn add_pending(&mut self, filter: &str) -> bool {
        let node = self.tree.entry(filter);
        node.pending += 1;
        node.pending == 1 && node.subscribers.is_empty()
    }

    pub fn remove_pending(&mut self, filter: &str) {
        self.tree.get_mut(filter).expect("it was counted").pending -= 1;
        self.drop_if_empty(filter);
    }

    /// Whether a client of this core has, or waits for, a subscription with this filter.
    pub fn wants(&self, filter: &str) -> bool {
        self.tree.get(filter).is_some_and(|node| node.pending > 0 || !node.subscribers.is_empty())
    }

    /// Another core wants, or wants no more, messages that match `filter`.
    pub fn set_remote(&mut self, filter: &str, core: CoreId, wanted: bool) {
        self.routes.invalidate(filter);
        let node = self.tree.entry(filter);
        if wanted {
            node.remote.insert(core);
        } else {
            node.remote.remove(core);
            self.drop_if_empty(filter);
        }
    }

    fn drop_if_empty(&mut self, filter: &str) {
        let is_empty = |node: &Node| {
            node.subscribers.is_empty()
                && node.pending == 0
                && node.remote.is_empty()
                && node.groups.is_empty()
        };
        if self.tree.get(filter).is_some_and(is_empty) {
            self.tree.remove(filter);
        }
    }

    /// Filters in the tree, for leak checks.
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    fn group_index(&self, name: &str, filter: &str) -> Option<u32> {
        let node = self.tree.get(filter)?;
        node.groups.iter().copied().find(|index| *self.groups[stdx::widen(*index)].name == *name)
    }

    fn group_or_new(&mut self, name: &str, filter: &str) -> &mut Group {
        if let Some(index) = self.group_index(name, filter) {
            return &mut self.groups[stdx::widen(index)];
        }
        self.routes.invalidate(filter);
        let index = self.groups.insert(Group {
            name: name.into(),
            filter: filter.into(),
            members: Vec::new(),
            pending: 0,
            remote: Vec::new(),
            turn: 0,
            announced: (0, 0),
        });
        self.tree.entry(filter).groups.push(stdx::narrow(index));
        &mut self.groups[index]
    }

    /// The group's name and filter.
    pub fn group_name(&self, index: u32) -> (&str, &str) {
        let group = &self.groups[stdx::widen(index)];
        (&group.name, &group.filter)
    }

    pub fn group_mut(&mut self, name: &str, filter: &str) -> Option<&mut Group> {
        let index = self.group_index(name, filter)?;
        self.groups.get_mut(stdx::widen(index))
    }

    /// Adds a member, or changes the options of one.
    pub fn group_add(&mut self, name: &str, filter: &str, member: Member) {
        let group = self.group_or_new(name, filter);
        match group.members.iter_mut().find(|known| known.session == member.session) {
            Some(known) => *known = member,
            None => group.members.push(member),
        }
    }

    pub fn group_add_pending(&mut self, name: &str, filter: &str) {
        self.group_or_new(name, filter).pending += 1;
    }

    /// Another core has so many members of a group.
    pub fn group_set_remote(&mut self, name: &str, filter: &str, core: CoreId, online: u32, offline: u32) {
        let group = self.group_or_new(name, filter);
        group.remote.retain(|remote| remote.core != core);
        if online + offline > 0 {
            group.remote.push(RemoteMembers { core, online, offline });
            group.remote.sort_unstable_by_key(|remote| remote.core);
        }
        self.drop_group_if_empty(name, filter);
    }

    /// Forgets a group that nobody needs any more.
    pub fn drop_group_if_empty(&mut self, name: &str, filter: &str) {
        let Some(index) = self.group_index(name, filter) else { return };
        let group = &self.groups[stdx::widen(index)];
        if !group.members.is_empty() || group.pending > 0 || !group.remote.is_empty() {
            return;
        }
        self.routes.invalidate(filter);
        self.groups.remove(stdx::widen(index));
        self.tree.get_mut(filter).expect("the group was found there").groups.retain(|known| *known != index);
        self.drop_if_empty(filter);
    }

    /// Chooses who of a group gets the next message: by turn among connected members, on whatever core; if none is
    /// connected, by turn among those that are away. `here_only` asks for a member of this core if there is one.
    pub fn pick(&mut self, index: u32, here_only: bool, standing: impl Fn(SessionKey) -> Standing) -> Pick {
        let Some(group) = self.groups.get_mut(stdx::widen(index)) else { return Pick::Nobody };
        let standing = &standing;
        let members = |wanted| group.members.iter().filter(move |member| standing(member.session) == wanted);
        let (here, away) = (members(Standing::Connected).count(), members(Standing::Away).count());
        let (mut online, mut offline) = (0, 0);
        if !(here_only && here + away > 0) {
            online = group.remote.iter().map(|remote| stdx::widen(remote.online)).sum();
            offline = group.remote.iter().map(|remote| stdx::widen(remote.offline)).sum();
        }
        let (wanted, local, remote) = match here + online {
            0 => (Standing::Away, away, offline),
            _ => (Standing::Connected, here, online),
        };
        if local + remote == 0 {
            return Pick::Nobody;
        }
        let turn = group.turn.wrapping_add(1);
        let place = turn % (local + remote);
        let pick = match members(wanted).nth(place) {
            Some(member) => Pick::Local(member.clone()),
            None => group.remote_at(place - local, wanted),
        };
        group.turn = turn;
        pick
    }

    /// The group that `$share/name/filter` means, for a message that another core sent to it.
    pub fn group_of(&self, name: &str, filter: &str) -> Option<u32> {
        self.group_index(name, filter)
    }
}

impl Group {
    /// The core of the member at `place` among the wanted ones of all other cores.
    fn remote_at(&self, place: usize, wanted: Standing) -> Pick {
        let mut rest = place;
        for remote in &self.remote {
            let count =
                stdx::widen(if wanted == Standing::Connected { remote.online } else { remote.offline });
            if rest < count {
                return Pick::Remote(remote.core);
            }
            rest -= count;
        }
        Pick::Nobody
    }

    /// Members connected and away on this core, if the other cores were told something else; they count as told now. A
    /// SUBSCRIBE that waits counts as a connected member.
    pub fn news(&mut self, is_online: impl Fn(SessionKey) -> bool) -> Option<(u32, u32)> {
        let online = self.members.iter().filter(|member| is_online(member.session)).count();
        let now = (stdx::narrow(online) + self.pending, stdx::narrow(self.members.len() - online));
        (now != self.announced).then(|| {
            self.announced = now;
            now
        })
    }
}
