//! The lines that expect something: takes events out of a client's stream and holds them against the line.

use std::collections::HashMap;

use crate::client::Event;
use crate::fit::{code_matches, differences};
use crate::packet::{Heard, Kind, Version, hex};
use crate::play::Play;
use crate::script::{Form, Node};
use crate::step::{self, Expected, Hearers, Phrase, Step};
use crate::value::{Bound, Names};

impl Play<'_> {
    pub(crate) fn hear(&mut self, hearers: &Hearers, expected: &Expected) -> Result<(), String> {
        match hearers.names.as_slice() {
            [who] => self.hear_one(who, expected),
            several => self.hear_any(several, hearers.alias.as_deref(), expected),
        }
    }

    /// One of several clients hears the packet; the one is bound to `alias`.
    fn hear_any(
        &mut self,
        several: &[String],
        alias: Option<&str>,
        expected: &Expected,
    ) -> Result<(), String> {
        let Expected::OneOf(phrases) = expected else {
            return Err("several clients can only share a packet".to_owned());
        };
        let lines: Vec<_> = several.iter().filter_map(|who| self.clients.get(who)?.line).collect();
        let is_silent =
            |play: &Self| several.iter().all(|who| play.clients.get(who).is_none_or(|c| c.inbox.is_empty()));
        while is_silent(self) && self.pump(&lines) {}
        let mut reasons = Vec::new();
        for who in several {
            let Some(Event::Packet(heard)) = self.client(who).inbox.front().cloned() else { continue };
            let (version, mut names) = (self.version_of(who), self.names.clone());
            match fitting(phrases, &heard, version, &mut names)? {
                Ok(()) => {
                    self.names = names;
                    if let Some(alias) = alias {
                        self.names.bind(alias, Bound::Bytes(who.clone().into_bytes()));
                    }
                    return self.take_packet(who).map(|_| ());
                }
                Err(reason) => reasons.push(format!("{who} heard {heard}: {reason}")),
            }
        }
        match reasons.is_empty() {
            true => Err(format!("nothing came for any of {}", several.join(", "))),
            false => Err(reasons.join("\n")),
        }
    }

    fn hear_one(&mut self, who: &str, expected: &Expected) -> Result<(), String> {
        match expected {
            Expected::OneOf(phrases) => self.expect_packet(who, phrases).map(|_| ()),
            Expected::Count(count, phrase) => {
                (1..=*count).try_for_each(|nth| match self.expect_packet(who, std::slice::from_ref(phrase)) {
                    Ok(_) => Ok(()),
                    Err(error) => Err(format!("packet {nth} of {count}: {error}")),
                })
            }
            Expected::Some(least, phrase) => self.expect_some(who, *least, phrase),
            Expected::Run { count, is_gapless, phrase } => self.expect_run(who, *count, *is_gapless, phrase),
            Expected::Hex(bytes) => self.expect_bytes(who, bytes),
            Expected::Close => self.expect_end(who),
            Expected::Cut(codes) => {
                if self.version_of(who) == Version::V5 {
                    self.expect_code(who, Kind::Disconnect, codes)?;
                }
                self.expect_end(who)
            }
            Expected::Refused(codes) => self.expect_refusal(who, codes),
            Expected::Nothing => self.expect_nothing(who, true),
            Expected::Quiet => self.expect_nothing(who, false),
            Expected::Unordered => Err("unordered begins a block".to_owned()),
        }
    }

    /// The version that a client's connection was opened with.
    pub(crate) fn version_of(&mut self, who: &str) -> Version {
        let client = self.client(who);
        if client.line.is_some() { client.watch.version() } else { client.version }
    }

    /// Waits for the next event of a client and leaves it in the stream.
    pub(crate) fn peek(&mut self, who: &str) -> Option<&Event> {
        while self.client(who).inbox.is_empty() {
            let line = self.client(who).line?;
            if !self.pump(&[line]) {
                break;
            }
        }
        self.client(who).inbox.front()
    }

    /// Takes the next event of a client.
    fn next(&mut self, who: &str) -> Result<Event, String> {
        if self.client(who).line.is_none() {
            return Err(format!("{who} has no connection"));
        }
        self.peek(who);
        self.client(who).inbox.pop_front().ok_or_else(|| "nothing came".to_owned())
    }

    /// Takes the next event, which must be a packet that breaks no rule.
    pub(crate) fn take_packet(&mut self, who: &str) -> Result<Box<Heard>, String> {
        let event = self.next(who)?;
        let text = self.told(who, &event);
        match event {
            Event::Packet(heard) => {
                if heard.kind != Kind::Publish {
                    self.note_answer(who);
                }
                self.client(who).remember(&heard);
                Ok(heard)
            }
            Event::Broken(..) | Event::Ended => Err(format!("came: {text}")),
        }
    }

    /// Takes the next packet, which must match one of the phrases.
    pub(crate) fn expect_packet(&mut self, who: &str, phrases: &[Phrase]) -> Result<Box<Heard>, String> {
        let heard = self.take_packet(who)?;
        self.fit(who, phrases, &heard)?;
        Ok(heard)
    }

    /// Holds a packet that was taken against phrases.
    pub(crate) fn fit(&mut self, who: &str, phrases: &[Phrase], heard: &Heard) -> Result<(), String> {
        let version = self.version_of(who);
        fitting(phrases, heard, version, &mut self.names)?
            .map_err(|reason| format!("came: {heard}    {}\n{reason}", hex(&heard.frame)))
    }

    fn expect_code(&mut self, who: &str, kind: Kind, codes: &str) -> Result<(), String> {
        let version = self.version_of(who);
        let heard = self.take_packet(who)?;
        if heard.kind != kind {
            return Err(format!("{} {codes} expected, {heard} came", kind.word()));
        }
        match code_matches(codes, heard.code(), version, &mut self.names)? {
            true => Ok(()),
            false => Err(format!("{} {codes} expected, {heard} came", kind.word())),
        }
    }

    pub(crate) fn expect_end(&mut self, who: &str) -> Result<(), String> {
        let event = self.next(who)?;
        let text = self.told(who, &event);
        if event != Event::Ended {
            return Err(format!("close expected, came: {text}"));
        }
        self.note_end(who);
        Ok(())
    }

    /// CONNACK with a code and close, or (5.0, or without 3.x codes) close alone.
    fn expect_refusal(&mut self, who: &str, codes: &str) -> Result<(), String> {
        let version = self.version_of(who);
        let is_answered = matches!(self.peek(who), Some(Event::Packet(_)));
        let needs_answer = version != Version::V5 && codes.contains('/');
        if is_answered || needs_answer {
            if version != Version::V5 && !codes.contains('/') {
                return self.expect_end(who);
            }
            self.expect_code(who, Kind::ConnAck, codes)?;
        }
        self.expect_end(who)
    }

    fn expect_bytes(&mut self, who: &str, bytes: &[u8]) -> Result<(), String> {
        let heard = self.take_packet(who)?;
        match heard.frame == bytes {
            true => Ok(()),
            false => Err(format!("{} expected\n{} came: {heard}", hex(bytes), hex(&heard.frame))),
        }
    }

    /// Makes sure that everything on the way to a client stands in its stream.
    fn settle(&mut self, who: &str, may_speak: bool) -> Result<(), String> {
        self.pump(&[]);
        if self.world.is_exact() {
            return Ok(());
        }
        self.world.fence()?;
        let client = self.client(who);
        let can_ping = may_speak && client.watch.is_accepted() && !client.watch.is_amid_packet();
        let Some(line) = client.line.filter(|_| can_ping) else {
            self.pump(&[]);
            return Ok(());
        };
        self.transmit(who, line, &[0xc0, 0]);
        let is_pong = |event: &Event| matches!(event, Event::Packet(heard) if heard.kind == Kind::PingResp);
        loop {
            let inbox = &mut self.client(who).inbox;
            if let Some(at) = inbox.iter().position(is_pong) {
                inbox.remove(at);
                self.unanswered = None;
                return Ok(());
            }
            if inbox.contains(&Event::Ended) {
                return Ok(());
            }
            if !self.pump(&[line]) {
                return Err("no PINGRESP came".to_owned());
            }
        }
    }

    fn expect_nothing(&mut self, who: &str, may_speak: bool) -> Result<(), String> {
        if self.client(who).line.is_none() {
            return Err(format!("{who} has no connection"));
        }
        self.settle(who, may_speak)?;
        match self.client(who).inbox.pop_front() {
            None => {
                self.log(&format!("{who} < nothing"));
                Ok(())
            }
            Some(event) => {
                let text = self.told(who, &event);
                Err(format!("nothing expected, came: {text}"))
            }
        }
    }

    fn expect_some(&mut self, who: &str, least: u64, phrase: &Phrase) -> Result<(), String> {
        self.settle(who, true)?;
        let version = self.version_of(who);
        let mut count = 0;
        while let Some(Event::Packet(heard)) = self.client(who).inbox.front().cloned() {
            if !differences(phrase, &heard, version, &mut self.names)?.is_empty() {
                break;
            }
            self.take_packet(who)?;
            count += 1;
        }
        if count < least {
            let next = self.client(who).inbox.front().cloned();
            let text = next.map_or_else(|| "nothing".to_owned(), |event| self.told(who, &event));
            return Err(format!("at least {least} expected, came: {text}"));
        }
        Ok(())
    }

    fn expect_run(&mut self, who: &str, count: u64, is_gapless: bool, phrase: &Phrase) -> Result<(), String> {
        let mut newest: HashMap<Vec<u8>, u64> = HashMap::new();
        for nth in 1..=count {
            let heard = self
                .expect_packet(who, std::slice::from_ref(phrase))
                .map_err(|error| format!("packet {nth} of {count}: {error}"))?;
            let text = String::from_utf8_lossy(&heard.payload);
            let number: u64 =
                text.parse().map_err(|_| format!("packet {nth}: the payload is no number: {heard}"))?;
            let is_next = newest.get(&heard.topic).is_none_or(|last| match is_gapless {
                true => number == last + 1,
                false => number > *last,
            });
            if !is_next {
                return Err(format!(
                    "packet {nth}: {number} follows {:?}: {heard}",
                    newest.get(&heard.topic)
                ));
            }
            newest.insert(heard.topic.clone(), number);
        }
        Ok(())
    }

    /// Takes as many packets as the block has, and finds an order in which they match.
    pub(crate) fn unordered(&mut self, who: &str, nodes: &[Node]) -> Result<(), String> {
        let mut phrases = Vec::new();
        self.flatten(nodes, &mut phrases)?;
        let version = self.version_of(who);
        let mut heard = Vec::new();
        for nth in 1..=phrases.len() {
            let packet =
                self.take_packet(who).map_err(|e| format!("packet {nth} of {}: {e}", phrases.len()))?;
            heard.push(packet);
        }
        let mut taken = vec![false; heard.len()];
        match assign(&phrases, &heard, &mut taken, version, &self.names)? {
            Some(names) => {
                self.names = names;
                Ok(())
            }
            None => Err("these packets do not match the lines of the block in any order".to_owned()),
        }
    }

    fn flatten(&mut self, nodes: &[Node], phrases: &mut Vec<Phrase>) -> Result<(), String> {
        for node in nodes {
            if !self.is_let_through(node)? {
                continue;
            }
            let before = self.names.clone();
            match &node.form {
                Form::Line(text, _) => phrases.push(step::phrase(&self.expand(text)?)?),
                Form::Repeat(count, name, body) => {
                    for round in 1..=crate::value::number(&self.expand(count)?, &self.names)? {
                        if let Some(name) = name {
                            self.names.bind(name, Bound::Number(round));
                        }
                        self.flatten(body, phrases)?;
                        self.names.retreat(&before);
                    }
                }
                Form::Each(names, rows, body) => {
                    for row in rows {
                        for (name, cell) in names.iter().zip(row) {
                            self.names.bind(name, Bound::Bytes(cell.clone().into_bytes()));
                        }
                        self.flatten(body, phrases)?;
                        self.names.retreat(&before);
                    }
                }
                Form::Either(_) | Form::Unordered(..) => {
                    return Err("only packets, repeat and each stand in an unordered block".to_owned());
                }
            }
        }
        Ok(())
    }

    /// Chooses a branch by its first line, and plays it.
    pub(crate) fn either(&mut self, branches: &[Vec<Node>]) -> Result<(), String> {
        let mut heads = Vec::new();
        for branch in branches {
            heads.push(self.head(branch)?);
        }
        let who = heads[0].0.clone();
        if heads.iter().any(|(other, _)| *other != who) {
            return Err("the branches of either must begin with one and the same client".to_owned());
        }
        if heads.iter().any(|(_, expected)| matches!(expected, Expected::Nothing | Expected::Quiet)) {
            self.settle(&who, heads.iter().any(|(_, expected)| *expected == Expected::Nothing))?;
        } else {
            self.peek(&who);
        }
        let version = self.version_of(&who);
        let front = self.client(&who).inbox.front().cloned();
        for ((_, expected), branch) in heads.iter().zip(branches) {
            let mut names = self.names.clone();
            if would_take(expected, front.as_ref(), version, &mut names)? {
                return self.nodes(branch);
            }
        }
        let text = front.map_or_else(|| "nothing".to_owned(), |event| self.told(&who, &event));
        Err(format!("no branch of either fits; came: {text}"))
    }

    /// The client and the expectation that a branch begins with.
    fn head(&mut self, branch: &[Node]) -> Result<(String, Expected), String> {
        let wrong = || "a branch of either begins with `who < ...`".to_owned();
        let first = branch.first().ok_or_else(wrong)?;
        let Form::Line(text, _) = &first.form else { return Err(wrong()) };
        match step::parse(&self.expand(text)?)?.pop() {
            Some(Step::Hear(hearers, expected)) if hearers.names.len() == 1 => {
                Ok((hearers.names[0].clone(), expected))
            }
            _ => Err(wrong()),
        }
    }
}

/// Whether the packet matches one of the phrases; if not, why.
fn fitting(
    phrases: &[Phrase],
    heard: &Heard,
    version: Version,
    names: &mut Names,
) -> Result<Result<(), String>, String> {
    let mut reasons = Vec::new();
    for phrase in phrases {
        let found = differences(phrase, heard, version, names)?;
        if found.is_empty() {
            return Ok(Ok(()));
        }
        reasons.push(found.join(", "));
    }
    Ok(Err(reasons.join("\nand ")))
}

fn would_take(
    expected: &Expected,
    front: Option<&Event>,
    version: Version,
    names: &mut Names,
) -> Result<bool, String> {
    let packet = match front {
        Some(Event::Packet(heard)) => Some(heard),
        _ => None, // Nothing, the end, or a breach.
    };
    let has_ended = front == Some(&Event::Ended);
    Ok(match (expected, packet) {
        (Expected::Nothing | Expected::Quiet, _) => front.is_none(),
        (Expected::Close, _) => has_ended,
        (Expected::Cut(_), None) => has_ended && version != Version::V5,
        (Expected::Cut(codes), Some(heard)) => {
            heard.kind == Kind::Disconnect && code_matches(codes, heard.code(), version, names)?
        }
        (Expected::Refused(_), None) => has_ended,
        (Expected::Refused(codes), Some(heard)) => {
            heard.kind == Kind::ConnAck && code_matches(codes, heard.code(), version, names)?
        }
        (Expected::OneOf(phrases), Some(heard)) => fitting(phrases, heard, version, names)?.is_ok(),
        (
            Expected::Count(_, phrase) | Expected::Some(_, phrase) | Expected::Run { phrase, .. },
            Some(heard),
        ) => differences(phrase, heard, version, names)?.is_empty(),
        (Expected::Hex(bytes), Some(heard)) => heard.frame == *bytes,
        (Expected::Unordered, _) => return Err("unordered cannot begin a branch".to_owned()),
        (_, None) => false,
    })
}

/// Gives every phrase a packet of its own; the names that this binds.
fn assign(
    phrases: &[Phrase],
    heard: &[Box<Heard>],
    taken: &mut [bool],
    version: Version,
    names: &Names,
) -> Result<Option<Names>, String> {
    let Some((phrase, rest)) = phrases.split_first() else { return Ok(Some(names.clone())) };
    for at in 0..heard.len() {
        let mut bound = names.clone();
        if taken[at] || !differences(phrase, &heard[at], version, &mut bound)?.is_empty() {
            continue;
        }
        taken[at] = true;
        if let Some(found) = assign(rest, heard, taken, version, &bound)? {
            return Ok(Some(found));
        }
        taken[at] = false;
    }
    Ok(None)
}
