//! The words in which vectors are written, and their table.
//!
//! Invariants:
//! - What stands before `;;` prepares; only what is seen behind it is compared.
//! - A word that is not known is an error, never passed over.

use std::collections::BTreeMap;

use device::{CommandId, CommandKind, Rate, Sample, Value};
use mqtt::QoS;

use crate::scene::{Place, Scene};

/// One row of a table of vectors.
#[derive(Debug)]
pub struct Row {
    /// Its number in the table of the API's vectors.
    pub number: String,
    /// What happens.
    pub input: String,
    /// What a client of 3.1.1 sees.
    pub v311: String,
    /// What a client of 5.0 sees.
    pub v5: String,
}

/// The rows of a Markdown table whose first column is a number.
pub fn rows(table: &str) -> Vec<Row> {
    let cells = |line: &str| -> Option<Row> {
        let mut cells =
            line.strip_prefix('|')?.split(" | ").map(|cell| cell.trim().trim_end_matches('|').trim());
        let number = cells.next()?.to_owned();
        let mut text = || Some(cells.next()?.to_owned());
        let (input, v311, v5) = (text()?, text()?, text()?);
        number.starts_with(|first: char| first.is_ascii_digit()).then_some(Row { number, input, v311, v5 })
    };
    table.lines().filter_map(cells).collect()
}

/// Plays a row in a scene where nothing has happened; what is seen.
pub fn play(scene: impl Scene, input: &str) -> String {
    let mut stage = Stage { world: scene, ears: BTreeMap::new(), asked: None };
    let (before, after) = input.split_once(" ;; ").unwrap_or(("", input));
    for step in before.split(" ; ").filter(|step| !step.trim().is_empty()) {
        stage.step(step);
    }
    stage.world.take_seen();
    let mut seen = Vec::new();
    for step in after.split(" ; ") {
        seen.extend(stage.step(step));
    }
    if seen.is_empty() { "nothing".to_owned() } else { seen.join(", ") }
}

struct Stage<S> {
    world: S,
    ears: BTreeMap<String, Place>,
    asked: Option<CommandId>,
}

impl<S: Scene> Stage<S> {
    fn step(&mut self, step: &str) -> Vec<String> {
        let (actor, rest) = split(step.trim());
        let mut told = Vec::new();
        match actor {
            "connect" => {
                let named = |name: &str| {
                    rest.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
                };
                let (connack, ear) =
                    self.world.connect(named("c").unwrap_or_default(), named("u"), named("p"));
                told.push(connack);
                if let Some(ear) = ear {
                    self.ears.insert("it".to_owned(), ear);
                }
            }
            "profile" => self.world.settings(rest),
            "kind" => {
                let (name, settings) = split(rest);
                self.world.kind(name, settings);
            }
            "door" => self.world.offer().door = rest.parse().expect("quirks of a door"),
            "limits" => self.limits(rest),
            "provisioning" => self.world.allow_provisioning(),
            "wait" => {
                let seconds: i64 = rest.trim_end_matches('s').parse().expect("seconds");
                self.world.wait(seconds * 1000);
            }
            "assign" => {
                let (device, bytes) = split(rest);
                self.world.assign(device, bytes.as_bytes());
            }
            "latest" => told.push(format!("{rest}: {}", self.world.latest(rest)).trim_end().to_owned()),
            "type" => {
                told.push(format!("{rest}: {}", self.world.kind_of(rest)));
            }
            "caller" => {
                let report = self.world.command(self.asked.expect("something was asked"));
                let garbled = if report.is_garbled { "garbled " } else { "" };
                let response = report.response.as_deref().unwrap_or_default();
                told.push(format!("{} {garbled}{response}", report.state.name()).trim_end().to_owned());
            }
            "server" => self.serve(rest),
            client => self.act(client, rest),
        }
        let mut seen = self.world.take_seen();
        seen.extend(told);
        seen
    }

    /// `telemetry 2:1` or `values 5:1` for a device, `children 2:1` for all children's telemetry, `messages 1:1` for the rest.
    fn limits(&mut self, rest: &str) {
        let (what, rate) = split(rest);
        let rate = Rate::read(rate).expect("a rate");
        let offer = self.world.offer();
        match what {
            "telemetry" => offer.own.telemetry_messages = rate,
            "values" => offer.own.telemetry_values = rate,
            "messages" => offer.own.messages = rate,
            "children" => offer.children.telemetry_messages = rate,
            other => panic!("`{other}` is not limited"),
        }
    }

    fn serve(&mut self, rest: &str) {
        let (verb, rest) = split(rest);
        let (device, rest) = split(rest);
        match verb {
            "writes" => {
                let (key, value) = rest.split_once('=').expect("key=value");
                let value = Value::Long(value.parse().expect("a number"));
                let at_ms = self.world.now_ms();
                let key = key.to_owned().into();
                self.world.write(device, vec![Sample { key, value, at_ms }]);
            }
            "deletes" => self.world.delete(device, rest),
            "removes" => self.world.delete_device(device),
            "asks" => {
                let (kind, rest) = split(rest);
                let (method, params) = split(rest);
                let kind = match kind {
                    "oneway" => CommandKind::OneWay,
                    "twoway" => CommandKind::TwoWay,
                    other => panic!("`{other}` is no kind of command"),
                };
                let params = if params.is_empty() { "null" } else { params };
                self.asked = Some(self.world.order(device, kind, method, params));
            }
            other => panic!("the server does not know how to `{other}`"),
        }
    }

    fn act(&mut self, client: &str, rest: &str) {
        let ear = self.ear(client);
        let (verb, rest) = split(rest);
        match verb {
            "publishes" => {
                let (qos, rest) = split(rest);
                let (topic, payload) = split(rest);
                self.world.publish(ear, topic, quality(qos), payload.as_bytes());
            }
            "subscribes" => {
                let (qos, filter) = split(rest);
                self.world.subscribe(ear, filter, quality(qos));
            }
            "unsubscribes" => self.world.unsubscribe(ear, rest),
            "connects" => {}
            other => panic!("`{client}` does not know how to `{other}`"),
        }
    }

    fn ear(&mut self, client: &str) -> Place {
        if let Some(ear) = self.ears.get(client) {
            return *ear;
        }
        let user_name = match client {
            "D" => "T",
            "G" => "TG",
            "P" => "provision",
            other => panic!("nobody is called `{other}`"),
        };
        let (_, ear) = self.world.connect("", Some(user_name), None);
        let ear = ear.expect("it has credentials");
        self.ears.insert(client.to_owned(), ear);
        self.world.take_seen();
        ear
    }
}

fn split(text: &str) -> (&str, &str) {
    text.split_once(' ').map_or((text, ""), |(first, rest)| (first, rest.trim_start()))
}

fn quality(word: &str) -> QoS {
    match word {
        "q0" => QoS::AtMostOnce,
        "q1" => QoS::AtLeastOnce,
        "q2" => QoS::ExactlyOnce,
        other => panic!("`{other}` is no quality"),
    }
}
