//! What client packets do to the model.
//!
//! Invariants:
//! - Packets of one connection count in the order in which they were handed over.
//!
//! Source: MQTT 5.0 sections 3.3.4, 3.8.4, 3.10.4, 3.14.4, 4.3, 4.4.

use super::conn::{Cause, Misdeed, OwedSubAck, OwedUnsubAck};
use super::routing::Sender;
use super::session::{Options, Replay, Subscription};
use super::turn::{Foresight, When};
use super::{Oracle, Step};
use crate::topic::split_share;
use crate::wire::{Bad, ClientPacket, Publish, Request, Subscribe, Version};

impl Oracle {
    /// A packet of an attached connection counts now.
    pub(super) fn obey(&mut self, socket: usize, packet: &ClientPacket, when: When, foresight: &Foresight) {
        match packet {
            ClientPacket::Connect(_) => unreachable!("a second CONNECT is a misdeed"),
            ClientPacket::Publish(publish) => self.publish(socket, publish, when, foresight),
            ClientPacket::PubAck(id, _) => self.settle_flow(socket, *id),
            ClientPacket::PubRec(id, code) if *code >= 0x80 => self.settle_flow(socket, *id),
            ClientPacket::PubRec(id, _) => self.pubrec(socket, *id),
            ClientPacket::PubRel(id) => self.pubrel(socket, *id),
            ClientPacket::PubComp(id) => self.settle_flow(socket, *id),
            ClientPacket::Subscribe(subscribe) => self.subscribe(socket, subscribe, when, foresight),
            ClientPacket::Unsubscribe(id, filters) => self.unsubscribe(socket, *id, filters, when),
            ClientPacket::PingReq => self.conn_mut(socket).owed.pings += 1,
            ClientPacket::Disconnect(code, expiry_s) => self.goodbye(socket, *code, *expiry_s, foresight),
            ClientPacket::Bad(bad) => self.misdeed(socket, bad, foresight),
        }
    }

    pub(super) fn conn_mut(&mut self, socket: usize) -> &mut super::Conn {
        self.conns.get_mut(&socket).expect("it was accepted")
    }

    fn session_index(&self, socket: usize) -> usize {
        self.conns[&socket].session.expect("only attached connections are obeyed")
    }

    fn publish(&mut self, socket: usize, publish: &Publish, when: When, foresight: &Foresight) {
        let session = self.session_index(socket);
        let message = publish.message;
        let sender = Sender { client: self.sessions[session].client, is_will: false, is_certain: true };
        match publish.qos {
            0 => {}
            1 => self.conn_mut(socket).owed.pubacks.push_back((publish.id, message)),
            _two => {
                self.conn_mut(socket).owed.pubrecs.push_back((publish.id, message));
                if self.sessions[session].received.insert(publish.id, message).is_some() {
                    return;
                }
            }
        }
        self.route(publish, sender, when, foresight);
    }

    /// PUBACK, PUBCOMP, or a PUBREC that refuses: the id is free.
    fn settle_flow(&mut self, socket: usize, id: u16) {
        let session = self.session_index(socket);
        self.sessions[session].flows.remove(&id);
    }

    fn pubrec(&mut self, socket: usize, id: u16) {
        let session = self.session_index(socket);
        self.conn_mut(socket).owed.pubrels.push_back(id);
        if let Some(flow) = self.sessions[session].flows.get_mut(&id) {
            flow.is_released = true;
        }
    }

    fn pubrel(&mut self, socket: usize, id: u16) {
        let session = self.session_index(socket);
        self.sessions[session].received.remove(&id);
        self.conn_mut(socket).owed.pubcomps.push_back(id);
    }

    fn subscribe(&mut self, socket: usize, subscribe: &Subscribe, when: When, foresight: &Foresight) {
        let session = self.session_index(socket);
        let is_5 = self.conns[&socket].version == Version::V5;
        let mut owed = OwedSubAck { id: subscribe.id, requests: Vec::new() };
        for request in &subscribe.requests {
            let request = if is_5 { request.clone() } else { without_options(request) };
            let index = self.request(socket, session, &request, subscribe.subscription_id, when.from);
            let options = self.sessions[session].subscriptions[index].options.len() - 1;
            owed.requests.push((index, options, request.qos));
        }
        self.conn_mut(socket).owed.subacks.push_back(owed);
        if self.cores > 1 && !foresight.subacks.contains(&(socket, subscribe.id)) {
            self.conn_mut(socket).held = Some(subscribe.id);
        }
        self.await_known_messages(session);
    }

    /// One request: a new subscription, or new options for an old one; and the retained messages it asks for.
    fn request(
        &mut self,
        socket: usize,
        session: usize,
        request: &Request,
        id: Option<u32>,
        begun: Step,
    ) -> usize {
        let (group, inner) = split_share(&request.filter);
        let options = Options {
            begun,
            acked: None,
            qos: request.qos,
            is_no_local: request.is_no_local,
            keeps_retain: request.keeps_retain,
            id,
        };
        let known = self.sessions[session].active(&request.filter);
        let is_doubtful = known.is_some_and(|index| self.sessions[session].is_doubtful(index, socket));
        let is_asked = match request.retain_handling {
            0 => true,
            1 => known.is_none() || is_doubtful,
            _never => false,
        };
        if is_asked && group.is_none() {
            let matching = self.retained.keys().filter(|topic| crate::topic::matches(inner, topic)).count();
            let state = &mut self.sessions[session];
            state.waiting_replays += matching;
            state.replays.push(Replay {
                socket,
                inner: inner.to_string(),
                begun,
                qos: request.qos,
                id,
                is_no_local: request.is_no_local,
                is_checked: request.retain_handling == 1 && is_doubtful,
            });
        }
        let state = &mut self.sessions[session];
        if let Some(index) = known {
            state.subscriptions[index].options.push(options);
            return index;
        }
        state.subscriptions.push(Subscription {
            filter: request.filter.clone(),
            inner: inner.to_string(),
            group: group.map(str::to_string),
            socket,
            begun,
            acked: None,
            ended: None,
            gone: None,
            is_refused: false,
            options: vec![options],
        });
        state.subscriptions.len() - 1
    }

    fn unsubscribe(&mut self, socket: usize, id: u16, filters: &[String], when: When) {
        let session = self.session_index(socket);
        let state = &mut self.sessions[session];
        let mut owed = OwedUnsubAck { id, codes: Vec::new(), indexes: Vec::new() };
        for filter in filters {
            let known = state.active(filter);
            owed.codes.push(match known {
                Some(index) if state.is_doubtful(index, socket) => None,
                Some(_) => Some(0x00),
                None => Some(0x11),
            });
            if let Some(index) = known {
                state.subscriptions[index].ended = Some(when.from);
                owed.indexes.push(index);
            }
        }
        self.conn_mut(socket).owed.unsubacks.push_back(owed);
    }

    fn goodbye(&mut self, socket: usize, code: u8, expiry_s: Option<u32>, foresight: &Foresight) {
        let session = self.session_index(socket);
        if let Some(expiry_s) = expiry_s {
            self.sessions[session].expiry_s = expiry_s.min(self.limits.session_expiry_max_s);
        }
        let keeps_will = code != 0;
        self.detach(socket, if keeps_will { Cause::GoodbyeWithWill } else { Cause::Goodbye }, foresight);
    }

    fn misdeed(&mut self, socket: usize, bad: &Bad, foresight: &Foresight) {
        self.conn_mut(socket).misdeed = Some(Misdeed { what: bad.what, codes: bad.codes, is_complete: true });
        self.detach(socket, Cause::Misdeed, foresight);
    }
}

/// Below 5.0 a request has nothing but its QoS.
fn without_options(request: &Request) -> Request {
    Request {
        filter: request.filter.clone(),
        qos: request.qos,
        is_no_local: false,
        keeps_retain: false,
        retain_handling: 0,
    }
}
