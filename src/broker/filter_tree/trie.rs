//! The trie of filters with wildcards.
//!
//! Why this shape: a node is 24 bytes without pointers of its own. Level names are kept once and named by id, and all
//! edges share one hash table keyed by parent and level, so a filter costs little beyond its nodes and a step of the
//! walk is two look-ups whatever the fan-out. Nodes know their parents, so the walk can return without a stack.
//!
//! Invariants:
//! - Every node but the root carries a value, a `#` value, a `+` child or a literal child.
//! - `children` counts the literal children; each of them has one seat in `edges`.
//! - A level name is kept exactly as long as a node uses it.
//! - `+` and `#` are never level names: a `+` child hangs on its parent's `plus`, a `#` is a value of its parent.
//!
//! Source: MQTT 5.0 and 3.1.1, sections 4.7.1 and 4.7.2.

use ahash::RandomState;

use crate::arena::{Arena, Id};
use crate::directory::{Directory, Named};
use crate::seats::Seats;

/// Filters with at least one wildcard, and their values.
#[derive(Debug)]
pub(super) struct Trie<T> {
    hasher: RandomState,
    nodes: Arena<Node>,
    root: Id,
    levels: Directory<Level>,
    edges: Seats,
    values: Arena<T>,
}

impl<T> Trie<T> {
    pub(super) fn new(hasher: RandomState) -> Self {
        let levels = Directory::new(hasher.clone());
        let mut nodes = Arena::new();
        let root = nodes.insert(Node::new(None, None));
        Self { hasher, nodes, root, levels, edges: Seats::new(), values: Arena::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.values.len() == 0
    }

    pub(super) fn get(&self, filter: &str) -> Option<&T> {
        let (node, ending) = self.locate(filter)?;
        self.nodes[node].value(ending).map(|id| &self.values[id])
    }

    pub(super) fn get_mut(&mut self, filter: &str) -> Option<&mut T> {
        let (node, ending) = self.locate(filter)?;
        let id = self.nodes[node].value(ending)?;
        Some(&mut self.values[id])
    }

    pub(super) fn entry(&mut self, filter: &str) -> &mut T
    where
        T: Default,
    {
        let (node, ending) = self.grow(filter);
        let id = match self.nodes[node].value(ending) {
            Some(id) => id,
            None => {
                let id = self.values.insert(T::default());
                *self.nodes[node].value_mut(ending) = Some(id);
                id
            }
        };
        &mut self.values[id]
    }

    pub(super) fn remove(&mut self, filter: &str) -> Option<T> {
        let (node, ending) = self.locate(filter)?;
        let id = self.nodes[node].value_mut(ending).take()?;
        self.prune(node);
        Some(self.values.remove(id))
    }

    /// Walks all paths that match `topic`, depth first: down by the literal level if there is one, else by `+`; back to
    /// the nearest parent whose `+` child was not tried yet.
    pub(super) fn matches<'a>(&'a self, topic: &str, visit: &mut impl FnMut(&'a T)) {
        let Some(mut place) = self.entrance(topic) else { return };
        let top = place.node;
        loop {
            self.visit(place, topic, visit);
            let onward = self.descend(place, topic).or_else(|| self.retreat(place, top, topic));
            let Some(next) = onward else { return };
            place = next;
        }
    }

    /// All filters and their values, in no order that means anything. Cost: the levels of all filters.
    pub(super) fn iter(&self) -> impl Iterator<Item = (String, &T)> {
        self.nodes.iter().flat_map(|(id, node)| {
            let here = node.here.map(|value| (self.path(id, None), &self.values[value]));
            let below = node.below.map(|value| (self.path(id, Some("#")), &self.values[value]));
            here.into_iter().chain(below)
        })
    }

    #[cfg(test)]
    pub(super) fn slots_in_use(&self) -> usize {
        self.nodes.len() - 1 + self.levels.len() + self.edges.len() + self.values.len()
    }

    /// Where the walk for `topic` begins: at the root, or for a `$` topic below it, out of reach of the wildcards that
    /// must not match. Source: [MQTT-4.7.2-1].
    fn entrance(&self, topic: &str) -> Option<Place> {
        let place = Place { node: self.root, start: 0 };
        if !topic.starts_with('$') {
            return Some(place);
        }
        let level = level_at(topic, 0);
        self.child(self.root, level).map(|node| Place { node, start: level.len() + 1 })
    }

    fn visit<'a>(&'a self, place: Place, topic: &str, visit: &mut impl FnMut(&'a T)) {
        let node = &self.nodes[place.node];
        if let Some(below) = node.below {
            visit(&self.values[below]);
        }
        if let (true, Some(here)) = (place.is_end(topic), node.here) {
            visit(&self.values[here]);
        }
    }

    fn descend(&self, place: Place, topic: &str) -> Option<Place> {
        if place.is_end(topic) {
            return None;
        }
        let level = level_at(topic, place.start);
        let node = self.child(place.node, level).or(self.nodes[place.node].plus)?;
        Some(Place { node, start: place.start + level.len() + 1 })
    }

    fn retreat(&self, mut place: Place, top: Id, topic: &str) -> Option<Place> {
        while place.node != top {
            let left = &self.nodes[place.node];
            let parent = left.parent.expect("only the root has no parent");
            if let (Some(_), Some(plus)) = (left.level, self.nodes[parent].plus) {
                return Some(Place { node: plus, start: place.start });
            }
            place = Place { node: parent, start: previous_start(topic, place.start) };
        }
        None
    }

    fn locate(&self, filter: &str) -> Option<(Id, Ending)> {
        let mut node = self.root;
        for level in filter.split('/') {
            node = match level {
                "#" => return Some((node, Ending::Below)),
                "+" => self.nodes[node].plus?,
                name => self.child(node, name)?,
            };
        }
        Some((node, Ending::Here))
    }

    fn grow(&mut self, filter: &str) -> (Id, Ending) {
        let mut node = self.root;
        for level in filter.split('/') {
            node = match level {
                "#" => return (node, Ending::Below),
                "+" => self.nodes[node].plus.unwrap_or_else(|| self.add_plus(node)),
                name => self.child(node, name).unwrap_or_else(|| self.add_child(node, name)),
            };
        }
        (node, Ending::Here)
    }

    fn child(&self, parent: Id, name: &str) -> Option<Id> {
        if self.nodes[parent].children == 0 {
            return None;
        }
        let level = self.levels.find(name.as_bytes())?;
        let hash = self.edge_hash(parent, level);
        self.edges.find(hash, |child| self.nodes[child].hangs_on(parent, level))
    }

    fn add_plus(&mut self, parent: Id) -> Id {
        let child = self.nodes.insert(Node::new(Some(parent), None));
        self.nodes[parent].plus = Some(child);
        child
    }

    fn add_child(&mut self, parent: Id, name: &str) -> Id {
        let level = match self.levels.find(name.as_bytes()) {
            Some(level) => level,
            None => self.levels.insert(Level { name: name.into(), uses: 0 }),
        };
        self.levels[level].uses += 1;
        let child = self.nodes.insert(Node::new(Some(parent), Some(level)));
        self.nodes[parent].children += 1;
        self.edges.insert(self.edge_hash(parent, level), child);
        child
    }

    /// Frees `node` and then its parents, as far as nothing is kept in or below them.
    fn prune(&mut self, mut node: Id) {
        while let (true, Some(parent)) = (self.nodes[node].is_bare(), self.nodes[node].parent) {
            match self.nodes.remove(node).level {
                Some(level) => self.cut(parent, level, node),
                None => self.nodes[parent].plus = None,
            }
            node = parent;
        }
    }

    fn cut(&mut self, parent: Id, level: Id, child: Id) {
        self.edges.remove(self.edge_hash(parent, level), child);
        self.nodes[parent].children -= 1;
        self.levels[level].uses -= 1;
        if self.levels[level].uses == 0 {
            self.levels.remove(level);
        }
    }

    fn edge_hash(&self, parent: Id, level: Id) -> u64 {
        self.hasher.hash_one((u64::from(parent.number()) << 32) | u64::from(level.number()))
    }

    fn path(&self, node: Id, last: Option<&'static str>) -> String {
        let mut levels: Vec<&str> = last.into_iter().collect();
        let mut at = &self.nodes[node];
        while let Some(parent) = at.parent {
            levels.push(at.level.map_or("+", |level| &*self.levels[level].name));
            at = &self.nodes[parent];
        }
        levels.reverse();
        levels.join("/")
    }
}

/// One level of some filters; its name is on the edge that leads to it.
#[derive(Debug)]
struct Node {
    /// None at the root only.
    parent: Option<Id>,
    /// The name in `levels`; None at the root and at a `+` node.
    level: Option<Id>,
    /// The `+` child.
    plus: Option<Id>,
    /// The value of the filter that ends with `#` below this node.
    below: Option<Id>,
    /// The value of the filter that ends here.
    here: Option<Id>,
    children: u32,
}

const _: () = assert!(size_of::<Node>() == 24);

impl Node {
    fn new(parent: Option<Id>, level: Option<Id>) -> Self {
        Self { parent, level, plus: None, below: None, here: None, children: 0 }
    }

    fn hangs_on(&self, parent: Id, level: Id) -> bool {
        self.parent == Some(parent) && self.level == Some(level)
    }

    fn is_bare(&self) -> bool {
        self.here.is_none() && self.below.is_none() && self.plus.is_none() && self.children == 0
    }

    fn value(&self, ending: Ending) -> Option<Id> {
        match ending {
            Ending::Here => self.here,
            Ending::Below => self.below,
        }
    }

    fn value_mut(&mut self, ending: Ending) -> &mut Option<Id> {
        match ending {
            Ending::Here => &mut self.here,
            Ending::Below => &mut self.below,
        }
    }
}

/// Whether a filter ends at its last node or with a `#` below it.
#[derive(Clone, Copy)]
enum Ending {
    Here,
    Below,
}

/// A level name and the number of nodes that bear it.
#[derive(Debug)]
struct Level {
    name: Box<str>,
    uses: u32,
}

impl Named for Level {
    fn name(&self) -> &[u8] {
        self.name.as_bytes()
    }
}

/// How far the walk has come: at `node`, with the topic's next level beginning at byte `start`. Behind the last level
/// `start` is one more than the length, as if a slash had followed.
#[derive(Clone, Copy)]
struct Place {
    node: Id,
    start: usize,
}

impl Place {
    fn is_end(self, topic: &str) -> bool {
        self.start > topic.len()
    }
}

fn level_at(topic: &str, start: usize) -> &str {
    let rest = &topic[start..];
    let end = rest.bytes().position(|byte| byte == b'/').unwrap_or(rest.len());
    &rest[..end]
}

/// The beginning of the level that ends one byte before `start`.
fn previous_start(topic: &str, start: usize) -> usize {
    let before = &topic.as_bytes()[..start - 1];
    before.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1)
}
