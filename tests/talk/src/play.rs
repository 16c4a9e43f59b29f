//! Plays a script against a world: goes through its lines, speaks for its clients, and keeps the transcript.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::path::PathBuf;

use crate::client::{Client, Event};
use crate::lexer::{self, Word};
use crate::packet::{Kind, Version, hex, quoted};
use crate::say::{Speaker, say};
use crate::script::{Form, Node, Script};
use crate::step::{self, Act, Cut, Matter, Order, Speech, Step};
use crate::value::{self, Bound, Names};
use crate::watch::Ledgers;
use crate::world::{HangUp, LineId, World};

/// Why a script did not pass.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The file.
    pub path: PathBuf,
    /// The line that was being done.
    pub line: usize,
    /// Its text, if it is one line.
    pub source: String,
    /// What is wrong with it.
    pub message: String,
    /// What was said and heard until then, and the server's log.
    pub transcript: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}:{}: {}", self.path.display(), self.line, self.source)?;
        writeln!(f, "  {}", self.message.replace('\n', "\n  "))?;
        writeln!(f, "  so far:")?;
        self.transcript.iter().try_for_each(|line| writeln!(f, "    {line}"))
    }
}

/// Plays a script in one version; the transcript is returned if all went well.
///
/// # Errors
/// The first line that did not get what it expects.
pub fn play(script: &Script, version: Version, world: &mut dyn World) -> Result<Vec<String>, Failure> {
    let mut play = Play {
        world,
        version,
        clients: BTreeMap::new(),
        lines: HashMap::new(),
        ledgers: Ledgers::default(),
        names: Names::default(),
        transcript: VecDeque::new(),
        at: Place::default(),
        marked_bytes: None,
        is_stopped: false,
        unanswered: None,
        fences_left: FENCES_MAX,
    };
    let result = play.nodes(&script.body).and_then(|()| play.finish());
    let mut transcript: Vec<String> = play.transcript.into_iter().collect();
    match result {
        Ok(()) => Ok(transcript),
        Err(message) => {
            transcript.extend(play.world.server_log());
            let Place { line, source } = play.at;
            Err(Failure { path: script.path.clone(), line, source, message, transcript })
        }
    }
}

/// How often a run may wait for what was said last; a stream of thousands of lines cannot do so for each.
const FENCES_MAX: u32 = 200;

#[derive(Default)]
struct Place {
    line: usize,
    source: String,
}

/// A script being played.
pub(crate) struct Play<'w> {
    pub(crate) world: &'w mut dyn World,
    version: Version,
    pub(crate) clients: BTreeMap<String, Client>,
    lines: HashMap<LineId, String>,
    ledgers: Ledgers,
    pub(crate) names: Names,
    transcript: VecDeque<String>,
    at: Place,
    marked_bytes: Option<u64>,
    is_stopped: bool,
    /// Who spoke last without having heard an answer.
    pub(crate) unanswered: Option<String>,
    fences_left: u32,
}

impl Play<'_> {
    /// Notes a line of the transcript; only the newest ones are kept.
    pub(crate) fn log(&mut self, text: &str) {
        const LINES_MAX: usize = 60;
        if self.transcript.len() == LINES_MAX {
            self.transcript.pop_front();
        }
        self.transcript.push_back(format!("{:>4}  {text}", self.at.line));
    }

    pub(crate) fn expand(&self, text: &str) -> Result<String, String> {
        if !text.contains('{') {
            return Ok(text.to_owned());
        }
        lexer::expand(text, &|name| self.names.text(name))
    }

    pub(crate) fn nodes(&mut self, nodes: &[Node]) -> Result<(), String> {
        nodes.iter().try_for_each(|node| self.node(node))
    }

    fn node(&mut self, node: &Node) -> Result<(), String> {
        if !self.is_let_through(node)? {
            return Ok(());
        }
        self.at.line = node.line;
        match &node.form {
            Form::Line(text, joined) => self.line(text, joined),
            Form::Repeat(count, name, body) => self.repeat(count, name.as_deref(), body),
            Form::Each(names, rows, body) => self.each(names, rows, body),
            Form::Either(branches) => self.either(branches),
            Form::Unordered(who, packets) => {
                let who = self.expand(who)?;
                self.at.source = format!("{who} < unordered");
                self.unordered(&who, packets)
            }
        }
    }

    pub(crate) fn is_let_through(&self, node: &Node) -> Result<bool, String> {
        let words: Vec<&str> = node.guard.iter().map(String::as_str).collect();
        step::passes(&words, self.version, self.world.transport())
    }

    fn repeat(&mut self, count: &str, name: Option<&str>, body: &[Node]) -> Result<(), String> {
        let count = value::number(&self.expand(count)?, &self.names)?;
        let before = self.names.clone();
        for round in 1..=count {
            if let Some(name) = name {
                self.names.bind(name, Bound::Number(round));
            }
            self.nodes(body)?;
            self.names.retreat(&before);
        }
        Ok(())
    }

    fn each(&mut self, names: &[String], rows: &[Vec<String>], body: &[Node]) -> Result<(), String> {
        let before = self.names.clone();
        for row in rows {
            for (name, cell) in names.iter().zip(row) {
                let text = self.expand(cell)?;
                self.names.bind(name, Bound::Bytes(text.into_bytes()));
            }
            self.nodes(body)?;
            self.names.retreat(&before);
        }
        Ok(())
    }

    fn line(&mut self, text: &str, joined: &[Node]) -> Result<(), String> {
        let text = self.expand(text)?;
        for step in step::parse(&text)? {
            self.at.source.clone_from(&text);
            self.step(step, joined)?;
        }
        Ok(())
    }

    fn step(&mut self, step: Step, joined: &[Node]) -> Result<(), String> {
        match step {
            Step::Say(who, speech) => self.say(&who, &speech, joined),
            Step::Join(..) => Err("a `+` line must follow a `>` line".to_owned()),
            Step::Hear(hearers, expected) => self.hear(&hearers, &expected),
            Step::Exchange(who, exchange) => self.exchange(&who, &exchange),
            Step::Be(who, words) => self.be(&who, &words),
            Step::Act(who, act) => self.act(&who, act),
            Step::Wait(span) => {
                self.world.wait(span);
                self.log(&format!("wait {span:?}"));
                self.pump(&[]);
                Ok(())
            }
            Step::Server(order) => self.order(order),
            Step::Policy(change) => self.world.change_policy(&change),
            Step::Check(left, operator, right) => self.check(&left, &operator, &right),
            Step::Memory(limit) => self.memory(limit),
        }
    }

    pub(crate) fn client(&mut self, who: &str) -> &mut Client {
        let version = self.version;
        self.clients.entry(who.to_owned()).or_insert_with(|| Client::new(version))
    }

    fn be(&mut self, who: &str, words: &[Word]) -> Result<(), String> {
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            let client = self.client(who);
            match word.text.as_str() {
                "auto-ack" => client.is_auto_ack = true,
                "manual" => client.is_auto_ack = false,
                "core" => {
                    let number = rest.next().ok_or("core needs a number")?;
                    client.core = Some(number.text.parse().map_err(|_| format!("no core: {}", number.text))?);
                }
                version => {
                    client.version = Version::from_word(version)
                        .ok_or_else(|| format!("a client cannot be `{version}`"))?;
                }
            }
        }
        Ok(())
    }

    fn act(&mut self, who: &str, act: Act) -> Result<(), String> {
        self.log(&format!("{who} {act:?}"));
        match act {
            Act::Opens => return self.open(who),
            Act::Closes => self.hang_up(who, HangUp::Finish),
            Act::Resets => self.hang_up(who, HangUp::Reset),
            Act::StopsReading | Act::Reads => {
                let line = self.client(who).line.ok_or_else(|| format!("{who} has no connection"))?;
                self.world.set_reading(line, act == Act::Reads);
            }
        }
        Ok(())
    }

    /// Lets the last words of somebody else have their effect first: sockets keep no order among each other.
    pub(crate) fn await_others(&mut self, who: Option<&str>) {
        let is_due = self.unanswered.as_deref().is_some_and(|last| Some(last) != who);
        if self.world.is_exact() || !is_due || self.fences_left == 0 || self.is_stopped {
            return;
        }
        self.fences_left -= 1;
        self.unanswered = None;
        // Without hidden clients (a limit keeps them out) the script does what it can.
        let _nobody = self.world.fence();
    }

    fn hang_up(&mut self, who: &str, how: HangUp) {
        self.await_others(None);
        self.pump(&[]);
        if let Some(line) = self.client(who).line {
            self.world.hang_up(line, how);
            self.lines.remove(&line);
        }
        self.client(who).forget();
        self.pump(&[]);
    }

    fn open(&mut self, who: &str) -> Result<(), String> {
        let core = self.client(who).core;
        let line = self.world.open(core)?;
        self.lines.insert(line, who.to_owned());
        self.client(who).begin(line);
        Ok(())
    }

    /// The connection of a client; opened if there is none, or if the client has said farewell.
    fn connection(&mut self, who: &str) -> Result<LineId, String> {
        self.await_others(Some(who));
        if self.client(who).said_farewell {
            self.expect_end(who)?;
        }
        if self.client(who).line.is_none() {
            self.open(who)?;
        }
        self.client(who).line.ok_or_else(|| format!("{who} has no connection"))
    }

    fn say(&mut self, who: &str, speech: &Speech, joined: &[Node]) -> Result<(), String> {
        let line = self.connection(who)?;
        let mut bytes = self.bytes_of(who, &speech.matter)?;
        let mut says_farewell = bytes.first().is_some_and(|first| first >> 4 == Kind::Disconnect.number());
        for node in joined {
            if !self.is_let_through(node)? {
                continue;
            }
            let Form::Line(text, _) = &node.form else { continue };
            let text = self.expand(text)?;
            let Some(Step::Join(also, speech)) = step::parse(&text)?.pop() else { continue };
            if also != who {
                return Err(format!("line {}: {also} cannot join what {who} says", node.line));
            }
            let more = self.bytes_of(who, &speech.matter)?;
            says_farewell |= more.first().is_some_and(|first| first >> 4 == Kind::Disconnect.number());
            bytes.extend(more);
        }
        self.client(who).said_farewell = says_farewell;
        self.write(who, line, &bytes, speech.cut)
    }

    fn write(&mut self, who: &str, line: LineId, bytes: &[u8], cut: Cut) -> Result<(), String> {
        let now = match cut {
            Cut::Whole | Cut::Chunks(_) => bytes,
            Cut::Part(count) => {
                let kept = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
                let at = if count < 0 { bytes.len().checked_sub(kept) } else { Some(kept) };
                let at = at.filter(|at| *at <= bytes.len()).ok_or("part takes more bytes than there are")?;
                self.client(who).held = bytes[at..].to_vec();
                &bytes[..at]
            }
        };
        let size = match cut {
            Cut::Chunks(size) => size,
            Cut::Whole | Cut::Part(_) => now.len().max(1),
        };
        for chunk in now.chunks(size) {
            self.transmit(who, line, chunk);
        }
        Ok(())
    }

    /// Hands bytes to the world, noted by the rules of the connection.
    pub(crate) fn transmit(&mut self, who: &str, line: LineId, bytes: &[u8]) {
        if let Some(client) = self.clients.get_mut(who) {
            client.watch.note_said(bytes, &mut self.ledgers);
        }
        self.world.send(line, bytes);
        self.unanswered = Some(who.to_owned());
        self.pump(&[]);
    }

    fn bytes_of(&mut self, who: &str, matter: &Matter) -> Result<Vec<u8>, String> {
        let bytes = match matter {
            Matter::Packet(phrase) => return self.packet(who, phrase.kind, &phrase.words),
            Matter::Rest => std::mem::take(&mut self.client(who).held),
            Matter::Hex(bytes) => bytes.clone(),
            Matter::Raw(words) => {
                let pieces = words.iter().map(|word| value::bytes(&word.text, &self.names));
                pieces.collect::<Result<Vec<_>, _>>()?.concat()
            }
        };
        self.log(&format!("{who} > {}", hex(&bytes)));
        Ok(bytes)
    }

    /// Writes a packet in the words of a line.
    pub(crate) fn packet(&mut self, who: &str, kind: Kind, words: &[Word]) -> Result<Vec<u8>, String> {
        let version = self.version;
        let client = self.clients.entry(who.to_owned()).or_insert_with(|| Client::new(version));
        let mut speaker =
            Speaker { name: who, version: client.version, ids: &mut client.ids, names: &mut self.names };
        let bytes = say(kind, words, &mut speaker)?;
        client.version = speaker.version;
        let text: Vec<String> = words.iter().map(shown).collect();
        self.log(&format!("{who} > {} {}    {}", kind.word(), text.join(" "), hex(&bytes)));
        Ok(bytes)
    }

    /// Opens a connection if need be and says one packet.
    pub(crate) fn say_packet(&mut self, who: &str, kind: Kind, words: &[Word]) -> Result<Vec<u8>, String> {
        let line = self.connection(who)?;
        let bytes = self.packet(who, kind, words)?;
        self.transmit(who, line, &bytes);
        Ok(bytes)
    }

    /// Takes in what has arrived, after a while for one of `wanted`; whether anything came for these.
    pub(crate) fn pump(&mut self, wanted: &[LineId]) -> bool {
        let mut has_come = false;
        let mut is_first = true;
        loop {
            let arrived = self.world.listen(if is_first { wanted } else { &[] });
            is_first = false;
            let is_empty = arrived.is_empty();
            for (line, what) in arrived {
                has_come |= wanted.contains(&line);
                let Some(client) = self.lines.get(&line).and_then(|who| self.clients.get_mut(who)) else {
                    continue;
                };
                for answer in client.take(what, &mut self.ledgers) {
                    self.world.send(line, &answer);
                }
            }
            if is_empty {
                return has_come;
            }
        }
    }

    /// Forgets a connection whose end was seen.
    pub(crate) fn note_end(&mut self, who: &str) {
        self.note_answer(who);
        if let Some(line) = self.client(who).line {
            self.lines.remove(&line);
            self.world.hang_up(line, HangUp::Finish);
        }
        self.client(who).forget();
    }

    /// Notes that `who` has heard something that answers the words before it.
    pub(crate) fn note_answer(&mut self, who: &str) {
        if self.unanswered.as_deref() == Some(who) {
            self.unanswered = None;
        }
    }

    fn order(&mut self, order: Order) -> Result<(), String> {
        self.log(&format!("server {order:?}"));
        self.await_others(None);
        self.is_stopped = order != Order::Start;
        self.world.order(order)?;
        self.pump(&[]);
        Ok(())
    }

    fn check(&self, left: &Word, operator: &str, right: &Word) -> Result<(), String> {
        let numbers = (value::number(&left.text, &self.names), value::number(&right.text, &self.names));
        let (is_true, values) = if let (Ok(left), Ok(right)) = numbers {
            let is_true = match operator {
                "==" => left == right,
                "!=" => left != right,
                "<" => left < right,
                _ => left > right,
            };
            (is_true, format!("{left} and {right}"))
        } else {
            let (left, right) =
                (value::bytes(&left.text, &self.names)?, value::bytes(&right.text, &self.names)?);
            let is_true = match operator {
                "==" => left == right,
                "!=" => left != right,
                _ => return Err("only numbers can be compared with < and >".to_owned()),
            };
            (is_true, format!("{} and {}", quoted(&left), quoted(&right)))
        };
        if is_true { Ok(()) } else { Err(format!("the values are {values}")) }
    }

    fn memory(&mut self, limit: Option<u64>) -> Result<(), String> {
        let Some(bytes) = self.world.resident_bytes() else { return Ok(()) };
        match (limit, self.marked_bytes) {
            (None, _) => self.marked_bytes = Some(bytes),
            (Some(_), None) => return Err("memory grew needs memory marks above".to_owned()),
            (Some(limit), Some(marked)) if bytes.saturating_sub(marked) >= limit => {
                return Err(format!("the server's memory grew by {} bytes", bytes - marked));
            }
            (Some(_), Some(_)) => {}
        }
        Ok(())
    }

    /// Nothing may be left over.
    fn finish(&mut self) -> Result<(), String> {
        self.at.source = "the end of the file".to_owned();
        if !self.is_stopped {
            self.world.fence()?;
        }
        self.pump(&[]);
        let names: Vec<String> = self.clients.keys().cloned().collect();
        for who in names {
            while let Some(event) = self.client(&who).inbox.pop_front() {
                if event == Event::Ended && self.client(&who).said_farewell {
                    continue;
                }
                return Err(format!("left over for {who}: {}", self.told(&who, &event)));
            }
        }
        Ok(())
    }

    /// An event as a failure's text shows it, the rule that it breaks included.
    pub(crate) fn told(&mut self, who: &str, event: &Event) -> String {
        let text = match event {
            Event::Packet(heard) => format!("{heard}    {}", hex(&heard.frame)),
            Event::Broken(breach, bytes) => {
                format!("a breach of [{}]: {}    {}", breach.statement, breach.text, hex(bytes))
            }
            Event::Ended => "close".to_owned(),
        };
        self.log(&format!("{who} < {text}"));
        text
    }
}

/// A word as a line would spell it.
fn shown(word: &Word) -> String {
    let comma = if word.after_comma { ", " } else { "" };
    let text: String = word.text.chars().take(80).collect();
    match (&word.key, &word.group) {
        (Some(key), Some(_)) => format!("{comma}{key}({text})"),
        (Some(key), None) => format!("{comma}{key}={text}"),
        (None, _) => format!("{comma}{text}"),
    }
}
