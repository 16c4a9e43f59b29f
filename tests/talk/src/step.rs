//! The lines of a talk file as values: what one line says, before anybody does it.

use std::time::Duration;

use crate::lexer::{self, Word};
use crate::packet::{Kind, Version};
use crate::value;

/// A packet name and the words behind it.
#[derive(Clone, PartialEq, Debug)]
pub struct Phrase {
    /// Which packet.
    pub kind: Kind,
    /// The words behind the name.
    pub words: Vec<Word>,
}

/// One line.
#[derive(Clone, PartialEq, Debug)]
pub enum Step {
    /// `who > ...`
    Say(String, Speech),
    /// `who + ...`: in the same write as the line above.
    Join(String, Speech),
    /// `who < ...`
    Hear(Hearers, Expected),
    /// `who connects ...` and the like.
    Exchange(String, Exchange),
    /// `who is ...`
    Be(String, Vec<Word>),
    /// `who opens`, `who closes`, ...
    Act(String, Act),
    /// `wait 30s`
    Wait(Duration),
    /// `server stops` and the like.
    Server(Order),
    /// `policy deny ...`
    Policy(PolicyChange),
    /// `check A != B`
    Check(Word, String, Word),
    /// `memory marks`: `None`; `memory grew < N`: the limit.
    Memory(Option<u64>),
}

/// What a client writes.
#[derive(Clone, PartialEq, Debug)]
pub struct Speech {
    /// How the bytes are cut.
    pub cut: Cut,
    /// What they are.
    pub matter: Matter,
}

/// How a write is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// One write.
    Whole,
    /// Writes of so many bytes.
    Chunks(usize),
    /// Only the first bytes, or all but the last ones if negative.
    Part(i64),
}

/// What is written.
#[derive(Clone, PartialEq, Debug)]
pub enum Matter {
    /// A packet.
    Packet(Phrase),
    /// Bytes.
    Raw(Vec<Word>),
    /// Bytes in hex.
    Hex(Vec<u8>),
    /// What `part` held back.
    Rest,
}

/// Who hears: one of several clients, and the name that the one gets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hearers {
    /// The clients.
    pub names: Vec<String>,
    /// `as who`.
    pub alias: Option<String>,
}

/// What must come.
#[derive(Clone, PartialEq, Debug)]
pub enum Expected {
    /// One packet that matches one of these.
    OneOf(Vec<Phrase>),
    /// So many packets in a row.
    Count(u64, Phrase),
    /// As many as come, at least so many.
    Some(u64, Phrase),
    /// So many PUBLISH whose payloads count up; gaps allowed or not.
    Run {
        /// How many.
        count: u64,
        /// Whether each number must follow the one before.
        is_gapless: bool,
        /// What each must match.
        phrase: Phrase,
    },
    /// These bytes.
    Hex(Vec<u8>),
    /// The end of the connection.
    Close,
    /// DISCONNECT with one of these codes (5.0), then the end.
    Cut(String),
    /// CONNACK with one of these codes or none, then the end.
    Refused(String),
    /// Nothing; the connection lives.
    Nothing,
    /// Nothing, found out without a word of this client.
    Quiet,
    /// The head of an `unordered` block.
    Unordered,
}

/// A packet and its answer.
#[derive(Clone, PartialEq, Debug)]
pub struct Exchange {
    /// Which one.
    pub verb: Verb,
    /// The words of the packet.
    pub words: Vec<Word>,
    /// The words behind `->`.
    pub answer: Option<Vec<Word>>,
}

/// The exchanges.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    /// CONNECT, CONNACK.
    Connects,
    /// SUBSCRIBE, SUBACK.
    Subscribes,
    /// UNSUBSCRIBE, UNSUBACK.
    Unsubscribes,
    /// PUBLISH and the handshake of its QoS.
    Publishes,
    /// The reverse.
    Receives,
    /// PINGREQ, PINGRESP.
    Pings,
    /// DISCONNECT, close.
    Disconnects,
}

/// What a client does with its connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// Opens it.
    Opens,
    /// Ends it with FIN.
    Closes,
    /// Ends it with RST.
    Resets,
    /// Leaves what arrives in the socket.
    StopsReading,
    /// Takes it out again.
    Reads,
}

/// What happens to the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// Asked to end.
    Stop,
    /// Killed.
    Crash,
    /// Started.
    Start,
}

/// What a client may not do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Right {
    /// Publish to.
    Publish,
    /// Subscribe to.
    Subscribe,
    /// Receive from.
    Receive,
}

/// A rule of the policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Denial {
    /// Of what.
    pub right: Right,
    /// The client identifier; `*` is every client.
    pub client: String,
    /// The topics that match this filter.
    pub filter: String,
}

/// A change of the policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PolicyChange {
    /// Whether the denial comes or goes.
    pub is_added: bool,
    /// The rule.
    pub denial: Denial,
}

/// Reads one line, its loop variables replaced already.
///
/// # Errors
/// A line that is none.
pub fn parse(line: &str) -> Result<Vec<Step>, String> {
    let (first, rest) = split_word(line);
    let rest = rest.trim();
    Ok(vec![match first {
        "wait" => Step::Wait(span(rest)?),
        "check" => return Ok(vec![check(rest)?]),
        "policy" => Step::Policy(policy(rest)?),
        "memory" => Step::Memory(memory(rest)?),
        "server" => return server(rest),
        who => return Ok(vec![client_step(who, rest)?]),
    }])
}

/// The first word and the rest.
#[must_use]
pub fn split_word(text: &str) -> (&str, &str) {
    let text = text.trim();
    text.split_once(char::is_whitespace).unwrap_or((text, ""))
}

fn client_step(who: &str, rest: &str) -> Result<Step, String> {
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '|' | '.');
    if who.is_empty() || !who.chars().all(is_name) {
        return Err(format!(
            "a line begins with a client, or wait, repeat, each, either, server, policy, check: {who}"
        ));
    }
    let (verb, behind) = split_word(rest);
    let behind = behind.trim();
    let (name, words) = (who.to_owned(), || lexer::words(behind));
    let act = |act| {
        if behind.is_empty() { Ok(Step::Act(who.to_owned(), act)) } else { Err(format!("unknown: {rest}")) }
    };
    let exchange = |verb| Ok(Step::Exchange(who.to_owned(), exchange(verb, behind)?));
    match verb {
        ">" => Ok(Step::Say(name, speech(behind)?)),
        "+" => Ok(Step::Join(name, speech(behind)?)),
        "<" => Ok(Step::Hear(hearers(who, None), expected(behind)?)),
        "as" => match split_word(behind) {
            (alias, tail) if tail.trim().starts_with("< ") => {
                Ok(Step::Hear(hearers(who, Some(alias)), expected(tail.trim()[2..].trim())?))
            }
            _ => Err("`a|b as who < ...`".to_owned()),
        },
        "is" => Ok(Step::Be(name, words()?)),
        "opens" => act(Act::Opens),
        "closes" => act(Act::Closes),
        "resets" => act(Act::Resets),
        "reads" => act(Act::Reads),
        "stops" if behind == "reading" => Ok(Step::Act(name, Act::StopsReading)),
        "connects" => exchange(Verb::Connects),
        "subscribes" => exchange(Verb::Subscribes),
        "unsubscribes" => exchange(Verb::Unsubscribes),
        "publishes" => exchange(Verb::Publishes),
        "receives" => exchange(Verb::Receives),
        "pings" => exchange(Verb::Pings),
        "disconnects" => exchange(Verb::Disconnects),
        _ => Err(format!("`{who}` does nothing known: {rest}")),
    }
}

fn hearers(who: &str, alias: Option<&str>) -> Hearers {
    Hearers { names: who.split('|').map(str::to_owned).collect(), alias: alias.map(str::to_owned) }
}

fn speech(text: &str) -> Result<Speech, String> {
    let (first, rest) = split_word(text);
    let (cut, matter_text) = match first {
        "chunked" | "part" => {
            let (number, behind) = split_word(rest);
            let count: i64 = number.parse().map_err(|_| format!("{first} needs a number of bytes"))?;
            let cut = match (first, usize::try_from(count)) {
                ("chunked", Ok(count)) if count > 0 => Cut::Chunks(count),
                ("part", _) => Cut::Part(count),
                _ => return Err("chunked needs a number of bytes above 0".to_owned()),
            };
            (cut, behind.trim())
        }
        _ => (Cut::Whole, text),
    };
    let (first, rest) = split_word(matter_text);
    let matter = match first {
        "rest" => Matter::Rest,
        "hex" => Matter::Hex(value::hex(rest)?),
        "raw" => Matter::Raw(lexer::words(rest)?),
        _ => Matter::Packet(phrase(matter_text)?),
    };
    Ok(Speech { cut, matter })
}

/// Reads `PACKET words`.
///
/// # Errors
/// An unknown packet name.
pub fn phrase(text: &str) -> Result<Phrase, String> {
    let (name, rest) = split_word(text);
    let kind = Kind::from_word(name).ok_or_else(|| format!("no packet is called `{name}`"))?;
    Ok(Phrase { kind, words: lexer::words(rest)? })
}

fn expected(text: &str) -> Result<Expected, String> {
    let (first, rest) = split_word(text);
    let rest = rest.trim();
    if let Ok(count) = first.parse() {
        return Ok(Expected::Count(count, phrase(rest)?));
    }
    Ok(match first {
        "close" => Expected::Close,
        "nothing" => Expected::Nothing,
        "quiet" => Expected::Quiet,
        "unordered" => Expected::Unordered,
        "cut" if rest.is_empty() => return Err("cut needs a code".to_owned()),
        "cut" => Expected::Cut(rest.to_owned()),
        "refused" if rest.is_empty() => return Err("refused needs a code".to_owned()),
        "refused" => Expected::Refused(rest.to_owned()),
        "hex" => Expected::Hex(value::hex(rest)?),
        "some" => Expected::Some(1, phrase(rest)?),
        "any" => Expected::Some(0, phrase(rest)?),
        "run" => run(rest)?,
        _ => Expected::OneOf(text.split(" or ").map(phrase).collect::<Result<_, _>>()?),
    })
}

fn run(text: &str) -> Result<Expected, String> {
    let (count, rest) = split_word(text);
    let (mode, packet) = split_word(rest);
    let is_gapless = match mode {
        "gapless" => true,
        "rising" => false,
        _ => return Err("run COUNT gapless|rising PUBLISH ...".to_owned()),
    };
    let count = count.parse().map_err(|_| format!("no count: {count}"))?;
    Ok(Expected::Run { count, is_gapless, phrase: phrase(packet)? })
}

fn exchange(verb: Verb, text: &str) -> Result<Exchange, String> {
    let words = lexer::words(text)?;
    let Some(at) = words.iter().position(|word| word.is("->")) else {
        return Ok(Exchange { verb, words, answer: None });
    };
    Ok(Exchange { verb, words: words[..at].to_vec(), answer: Some(words[at + 1..].to_vec()) })
}

/// Reads `30s`, `500ms`, `2m`, `1h`, `1d`.
///
/// # Errors
/// Anything else.
pub fn span(text: &str) -> Result<Duration, String> {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..at].parse().map_err(|_| format!("no time: {text}"))?;
    let unit_ms = match &text[at..] {
        "ms" => 1.0,
        "s" => 1_000.0,
        "m" => 60_000.0,
        "h" => 3_600_000.0,
        "d" => 86_400_000.0,
        _ => return Err(format!("a time is written 500ms, 30s, 2m, 1h or 1d: {text}")),
    };
    Ok(Duration::from_secs_f64(number * unit_ms / 1_000.0))
}

fn check(text: &str) -> Result<Step, String> {
    match lexer::words(text)?.as_slice() {
        [left, operator, right] if matches!(operator.text.as_str(), "==" | "!=" | "<" | ">") => {
            Ok(Step::Check(left.clone(), operator.text.clone(), right.clone()))
        }
        _ => Err("check A == B, with ==, !=, < or >".to_owned()),
    }
}

fn policy(text: &str) -> Result<PolicyChange, String> {
    let (first, rest) = split_word(text);
    match first {
        "deny" => Ok(PolicyChange { is_added: true, denial: denial(rest)? }),
        "allow" => Ok(PolicyChange { is_added: false, denial: denial(rest)? }),
        _ => Err("policy deny|allow publish|subscribe|receive CLIENT FILTER".to_owned()),
    }
}

/// Reads `publish alice secret/#`.
///
/// # Errors
/// Anything else.
pub fn denial(text: &str) -> Result<Denial, String> {
    let parts: Vec<&str> = text.split_whitespace().collect();
    let [right, client, filter] = parts.as_slice() else {
        return Err("deny publish|subscribe|receive CLIENT FILTER".to_owned());
    };
    let right = match *right {
        "publish" => Right::Publish,
        "subscribe" => Right::Subscribe,
        "receive" => Right::Receive,
        other => return Err(format!("no right is called `{other}`")),
    };
    Ok(Denial { right, client: (*client).to_owned(), filter: (*filter).to_owned() })
}

fn memory(text: &str) -> Result<Option<u64>, String> {
    match text.split_whitespace().collect::<Vec<_>>().as_slice() {
        ["marks"] => Ok(None),
        ["grew", "<", limit] => limit.parse().map(Some).map_err(|_| format!("no number: {limit}")),
        _ => Err("memory marks, or memory grew < BYTES".to_owned()),
    }
}

fn server(text: &str) -> Result<Vec<Step>, String> {
    let orders: &[Order] = match text {
        "stops" => &[Order::Stop],
        "starts" => &[Order::Start],
        "restarts" => &[Order::Stop, Order::Start],
        "crashes" => &[Order::Crash],
        _ => return Err("server stops, starts, restarts or crashes".to_owned()),
    };
    Ok(orders.iter().map(|order| Step::Server(*order)).collect())
}

/// Reads the guard `[v5]` at the start of a line: the words in it, and the rest.
#[must_use]
pub fn guard(line: &str) -> (Vec<&str>, &str) {
    match line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((words, rest)) => (words.split_whitespace().collect(), rest.trim()),
        None => (Vec::new(), line),
    }
}

/// Whether a guard lets the line through: of each group of words (versions, runners) one must fit.
///
/// # Errors
/// An unknown word.
pub fn passes(guard: &[&str], version: Version, world: &str) -> Result<bool, String> {
    let (mut versions, mut worlds) = (Vec::new(), Vec::new());
    for word in guard {
        match *word {
            "v3" => versions.extend([Version::V31, Version::V311]),
            "memory" | "tcp" => worlds.push(*word),
            _ => {
                versions.push(Version::from_word(word).ok_or_else(|| format!("no guard is called `{word}`"))?)
            }
        }
    }
    Ok((versions.is_empty() || versions.contains(&version)) && (worlds.is_empty() || worlds.contains(&world)))
}
