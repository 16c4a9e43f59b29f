//! Devices and gateways that come, speak and go.
//!
//! Invariants:
//! - A client that is not connected owes and is owed nothing.

use std::collections::VecDeque;

use dialects::client;
use dialects::house::{ClientId, House};
use mqtt::{QoS, Version};
use stdx::Prng;

use super::ledger::{Kind, Ledger, word};

/// Names of children, of which each gateway of either tenant may speak; some try to climb out of their level.
const CHILDREN: [&str; 5] = ["a", "b/c", "#", "../rival/x", "$SYS"];

/// One device with its connection.
#[derive(Debug)]
pub(crate) struct Actor {
    pub tenant: &'static str,
    pub name: &'static str,
    pub token: &'static str,
    pub is_gateway: bool,
    client: Option<ClientId>,
    is_greeted: bool,
    next_id: u16,
    /// Numbers under each packet id that is not acknowledged, in order.
    open: VecDeque<(u16, Vec<u64>)>,
}

impl Actor {
    pub fn new(tenant: &'static str, name: &'static str, token: &'static str, is_gateway: bool) -> Self {
        Self {
            tenant,
            name,
            token,
            is_gateway,
            client: None,
            is_greeted: false,
            next_id: 1,
            open: VecDeque::new(),
        }
    }

    /// The connection is gone, and nothing is known of what was not acknowledged.
    pub fn forget(&mut self) {
        (self.client, self.is_greeted) = (None, false);
        self.open.clear();
    }

    /// Comes, speaks or goes.
    pub fn act(&mut self, house: &mut House, ledger: &mut Ledger, prng: &mut Prng) {
        let Some(client) = self.client else {
            let connect = client::connect(Version::V5, "", Some(self.token), None, None);
            let core = pick(prng, house.shards().len());
            self.client = Some(house.knock(core, 0, Version::V5, &connect));
            return;
        };
        if !self.is_greeted {
            return;
        }
        match prng.below(20) {
            0 => {
                house.lose(client);
                self.forget();
            }
            1 => self.write(house, client, "v1/devices/me/attributes/request/7", QoS::AtMostOnce, "{}", &[]),
            2 => self.speak_nonsense(house, client, ledger, prng),
            3 | 4 => self.speak_of(house, client, ledger, prng, Kind::Attribute),
            _mostly => self.speak_of(house, client, ledger, prng, Kind::Telemetry),
        }
    }

    fn speak_nonsense(&mut self, house: &mut House, client: ClientId, ledger: &mut Ledger, prng: &mut Prng) {
        let topics = [
            "thingsboard/rival/D/telemetry",
            "thingsboard/acme/D/telemetry",
            "$SYS/broker/version",
            "v1/devices/me/telemetry/x",
            "plain/topic",
        ];
        let owner = (self.tenant, self.name.to_owned(), "none".to_owned());
        let number = ledger.say(owner, Kind::Nothing);
        let payload = format!("{{\"x\":\"{}\"}}", word(number));
        let topic = topics[pick(prng, topics.len())];
        self.write(house, client, topic, QoS::AtLeastOnce, &payload, &[number]);
    }

    fn speak_of(
        &mut self,
        house: &mut House,
        client: ClientId,
        ledger: &mut Ledger,
        prng: &mut Prng,
        kind: Kind,
    ) {
        let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][pick(prng, 3)];
        let key = format!("{}{}", if kind == Kind::Telemetry { "t" } else { "a" }, self.token);
        let mut say = |device: &str| {
            let number = ledger.say((self.tenant, device.to_owned(), key.clone()), kind);
            (number, format!("{{\"{key}\":\"{}\"}}", word(number)))
        };
        if !self.is_gateway || prng.below(4) == 0 {
            let (number, payload) = say(self.name);
            let topic =
                if kind == Kind::Telemetry { "v1/devices/me/telemetry" } else { "v1/devices/me/attributes" };
            return self.write(house, client, topic, qos, &payload, &[number]);
        }
        let first = pick(prng, CHILDREN.len());
        let (mut parts, mut numbers) = (Vec::new(), Vec::new());
        for child in CHILDREN.iter().cycle().skip(first).take(1 + pick(prng, 3)) {
            let (number, payload) = say(child);
            let payload = if kind == Kind::Telemetry { format!("[{payload}]") } else { payload };
            parts.push(format!("\"{child}\":{payload}"));
            numbers.push(number);
        }
        let payload = format!("{{{}}}", parts.join(","));
        let topic = if kind == Kind::Telemetry { "v1/gateway/telemetry" } else { "v1/gateway/attributes" };
        self.write(house, client, topic, qos, &payload, &numbers);
    }

    fn write(
        &mut self,
        house: &mut House,
        client: ClientId,
        topic: &str,
        qos: QoS,
        payload: &str,
        numbers: &[u64],
    ) {
        let id = self.next_id;
        let packet = client::publish(Version::V5, id, topic, qos, payload.as_bytes());
        house.clients[client].unread.extend_from_slice(&packet);
        if qos != QoS::AtMostOnce {
            self.next_id = if id == u16::MAX { 1 } else { id + 1 };
            self.open.push_back((id, numbers.to_vec()));
        }
    }

    /// Looks at what came, and answers it.
    ///
    /// # Errors
    /// It should not have come.
    pub fn look(&mut self, house: &mut House, ledger: &mut Ledger) -> Result<(), String> {
        let Some(client) = self.client else { return Ok(()) };
        for line in house.seen(client) {
            if line == "CONNACK 0x00" {
                self.is_greeted = true;
            } else if line.starts_with("PUBACK") || line.starts_with("PUBREC") {
                let (id, numbers) = self.open.pop_front().ok_or("an acknowledgement of nothing")?;
                let is_taken = line.ends_with("0x00");
                numbers.into_iter().filter(|_| is_taken).for_each(|number| ledger.acknowledge(number));
                if line.starts_with("PUBREC") && is_taken {
                    house.clients[client].unread.extend_from_slice(&client::pubrel(id));
                }
            } else if line.starts_with("PUBLISH") {
                ledger.judge_told(self.tenant, &line)?;
            } else if line == "close" {
                self.forget();
                return Ok(());
            }
        }
        let owed = std::mem::take(&mut house.clients[client].owed);
        for id in owed {
            house.clients[client].unread.extend_from_slice(&client::puback(id));
        }
        Ok(())
    }
}

/// A place in a list by chance.
pub(crate) fn pick(prng: &mut Prng, len: usize) -> usize {
    usize::try_from(prng.below(stdx::count(len))).expect("below a length")
}
