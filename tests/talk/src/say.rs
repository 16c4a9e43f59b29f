//! Writes what a client says: any packet of any version, right or deliberately wrong.
//!
//! Why it checks nothing: a conformance scenario must be able to say everything that a hostile client can. The only
//! errors here are those of the talk file itself.

use crate::lexer::Word;
use crate::packet::{Kind, Version};
use crate::property::{self, Shape, push_field, push_var};
use crate::value::{self, Bound, Names};

/// The packet identifiers that a client uses when a line names none.
#[derive(Clone, Debug)]
pub struct Ids {
    /// The one for the next request.
    pub next: u16,
    /// That of the newest PUBLISH it has read.
    pub publish: u16,
    /// That of the newest PUBREC it has read.
    pub pubrec: u16,
    /// That of the newest PUBREL it has read.
    pub pubrel: u16,
}

impl Default for Ids {
    fn default() -> Self {
        Self { next: 1, publish: 0, pubrec: 0, pubrel: 0 }
    }
}

/// Who speaks: what the defaults of a packet depend on.
#[derive(Debug)]
pub struct Speaker<'a> {
    /// The client's name, which is its client identifier by default.
    pub name: &'a str,
    /// Its version; a CONNECT that names another changes it.
    pub version: Version,
    /// Its packet identifiers.
    pub ids: &'a mut Ids,
    /// The names bound so far.
    pub names: &'a mut Names,
}

/// Writes one packet.
///
/// # Errors
/// A word that the packet does not have, or a value that is none.
pub fn say(kind: Kind, words: &[Word], speaker: &mut Speaker<'_>) -> Result<Vec<u8>, String> {
    if kind == Kind::Connect
        && let Some(version) = words.iter().find_map(|word| Version::from_word(word.bare()?))
    {
        speaker.version = version;
    }
    let mut letter = Letter::new(kind, speaker.version);
    match kind {
        Kind::Connect => connect(&mut letter, words, speaker)?,
        Kind::Publish => publish(&mut letter, words, speaker)?,
        Kind::PubAck | Kind::PubRec | Kind::PubRel | Kind::PubComp => ack(&mut letter, words, speaker)?,
        Kind::Subscribe | Kind::Unsubscribe => requests(&mut letter, words, speaker)?,
        Kind::Disconnect | Kind::Auth => farewell(&mut letter, words, speaker)?,
        Kind::PingReq => plain(&mut letter, words, speaker)?,
        Kind::ConnAck | Kind::SubAck | Kind::UnsubAck | Kind::PingResp => {
            return Err(format!("a client has no words for {}; say it with hex", kind.word()));
        }
    }
    letter.seal()
}

/// A packet in the making.
struct Letter {
    kind: Kind,
    version: Version,
    flags: u8,
    /// The variable header in front of the properties.
    head: Vec<u8>,
    /// `None` where the packet or version has no properties.
    properties: Option<Vec<u8>>,
    /// What follows the properties.
    body: Vec<u8>,
    property_length: Option<Vec<u8>>,
    length: Option<Vec<u8>>,
    extra: Vec<u8>,
    drop: usize,
}

impl Letter {
    fn new(kind: Kind, version: Version) -> Self {
        let flags = match kind {
            Kind::PubRel | Kind::Subscribe | Kind::Unsubscribe => 2,
            _ => 0, // Every other packet has no flags, or (PUBLISH) computes them.
        };
        let properties = (version == Version::V5 && kind != Kind::PingReq).then(Vec::new);
        Self {
            kind,
            version,
            flags,
            head: Vec::new(),
            properties,
            body: Vec::new(),
            property_length: None,
            length: None,
            extra: Vec::new(),
            drop: 0,
        }
    }

    /// Takes a word that any packet may have: spoiling or a property. Anything else is a mistake.
    fn take(&mut self, word: &Word, names: &Names) -> Result<(), String> {
        let Some(key) = word.key.as_deref() else {
            return match word.bare() {
                Some("noprops") => {
                    self.properties = None;
                    Ok(())
                }
                _ => Err(format!("{} has no word `{}`", self.kind.word(), word.text)),
            };
        };
        match key {
            "flags" => self.flags = byte(&word.text, names)? & 0x0f,
            "drop" => self.drop = size(&word.text, names)?,
            "extra" => self.extra.extend(value::bytes(&word.text, names)?),
            "length" => self.length = Some(length_bytes(&word.text, names)?),
            "proplen" => self.property_length = Some(length_bytes(&word.text, names)?),
            "prop" => {
                let raw = value::bytes(&word.text, names)?;
                self.property_section()?.extend(raw);
            }
            _ => {
                let in_message = self.kind == Kind::Publish;
                let mut out = Vec::new();
                push_property(&mut out, word, in_message, names)
                    .map_err(|error| format!("{}: {error}", self.kind.word()))?;
                self.property_section()?.extend(out);
            }
        }
        Ok(())
    }

    fn property_section(&mut self) -> Result<&mut Vec<u8>, String> {
        if self.version != Version::V5 {
            return Err(format!(
                "{} {} has no properties; guard the line with [v5]",
                self.version.word(),
                self.kind.word()
            ));
        }
        Ok(self.properties.get_or_insert_default())
    }

    /// Puts the parts together.
    fn seal(self) -> Result<Vec<u8>, String> {
        let mut content = self.head;
        if let Some(properties) = self.properties {
            push_section(&mut content, &properties, self.property_length.as_deref());
        }
        content.extend(self.body);
        content.extend(self.extra);
        let kept = content.len().checked_sub(self.drop).ok_or("drop takes more bytes than the packet has")?;
        content.truncate(kept);
        let mut out = vec![self.kind.number() << 4 | self.flags];
        match self.length {
            Some(length) => out.extend(length),
            None => push_var(&mut out, len(&content)),
        }
        out.extend(content);
        Ok(out)
    }
}

fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).expect("a length fits 64 bits")
}

fn push_section(out: &mut Vec<u8>, properties: &[u8], length: Option<&[u8]>) {
    match length {
        Some(length) => out.extend(length),
        None => push_var(out, len(properties)),
    }
    out.extend(properties);
}

/// A length that a line spells: a number, or the very bytes.
fn length_bytes(text: &str, names: &Names) -> Result<Vec<u8>, String> {
    if text.starts_with("hex(") {
        return value::bytes(text, names);
    }
    let mut out = Vec::new();
    push_var(&mut out, value::number(text, names)?);
    Ok(out)
}

fn byte(text: &str, names: &Names) -> Result<u8, String> {
    u8::try_from(value::number(text, names)?).map_err(|_| format!("{text} does not fit a byte"))
}

fn two(text: &str, names: &Names) -> Result<u16, String> {
    u16::try_from(value::number(text, names)?).map_err(|_| format!("{text} does not fit two bytes"))
}

fn size(text: &str, names: &Names) -> Result<usize, String> {
    usize::try_from(value::number(text, names)?).map_err(|_| format!("{text} is too large"))
}

fn push_property(out: &mut Vec<u8>, word: &Word, in_message: bool, names: &Names) -> Result<(), String> {
    let key = word.key.as_deref().unwrap_or_default();
    let row = property::by_key(key, in_message).ok_or_else(|| format!("no key `{key}`"))?;
    out.push(row.id);
    let no_fit = |_| format!("{} does not fit {key}", word.text);
    match row.shape {
        Shape::Byte => out.push(byte(&word.text, names)?),
        Shape::Two => out.extend(two(&word.text, names)?.to_be_bytes()),
        Shape::Four => {
            let number = u32::try_from(value::number(&word.text, names)?).map_err(no_fit)?;
            out.extend(number.to_be_bytes());
        }
        Shape::Var => push_var(out, value::number(&word.text, names)?),
        Shape::Text | Shape::Binary => push_field(out, &value::bytes(&word.text, names)?),
        Shape::Pair => {
            let pair = word.group.as_deref().filter(|group| group.len() == 2).ok_or("up(KEY VALUE)")?;
            for half in pair {
                push_field(out, &value::bytes(&whole(half), names)?);
            }
        }
    }
    Ok(())
}

/// The text of a word that may look like `key=value` but is not meant so.
fn whole(word: &Word) -> String {
    word.key.as_ref().map_or_else(|| word.text.clone(), |key| format!("{key}={}", word.text))
}

/// Topic, payload and flags of PUBLISH and of a will, which are spelled alike.
#[derive(Default)]
struct Content {
    topic: Option<Vec<u8>>,
    payload: Option<Vec<u8>>,
    qos: u8,
    retain: bool,
}

impl Content {
    /// Takes the word if it is one of content.
    fn take(&mut self, word: &Word, names: &Names) -> Result<bool, String> {
        match (word.key.as_deref(), word.bare()) {
            (Some("topic"), _) => self.topic = Some(value::bytes(&word.text, names)?),
            (Some("payload"), _) => self.payload = Some(value::bytes(&word.text, names)?),
            (None, Some("retain")) => self.retain = true,
            (None, Some(q)) if is_qos(q) => self.qos = q.as_bytes()[1] - b'0',
            (None, Some("noprops" | "dup")) => return Ok(false),
            (None, _) if self.topic.is_none() => self.topic = Some(value::bytes(&word.text, names)?),
            (None, _) if self.payload.is_none() => self.payload = Some(value::bytes(&word.text, names)?),
            _ => return Ok(false), // A key of the packet, a property, or a mistake: the caller knows.
        }
        Ok(true)
    }
}

/// Whether the word is `q0` to `q3`.
#[must_use]
pub fn is_qos(word: &str) -> bool {
    matches!(word, "q0" | "q1" | "q2" | "q3")
}

fn publish(letter: &mut Letter, words: &[Word], speaker: &mut Speaker<'_>) -> Result<(), String> {
    let mut content = Content::default();
    let mut dup = false;
    let mut id = None;
    let mut flags = None;
    for word in words {
        if content.take(word, speaker.names)? {
            continue;
        }
        match (word.key.as_deref(), word.bare()) {
            (None, Some("dup")) => dup = true,
            (Some("id"), _) => id = Some(word.text.as_str()),
            (Some("flags"), _) => flags = Some(byte(&word.text, speaker.names)? & 0x0f),
            _ => letter.take(word, speaker.names)?,
        }
    }
    letter.flags = flags.unwrap_or(u8::from(dup) << 3 | content.qos << 1 | u8::from(content.retain));
    push_field(&mut letter.head, &content.topic.unwrap_or_default());
    if letter.flags & 0x06 != 0 || id.is_some() {
        letter.head.extend(request_id(id, speaker)?.to_be_bytes());
    }
    letter.body = content.payload.unwrap_or_default();
    Ok(())
}

/// The identifier of a new request: as said, or the next one. `id=@name` binds a free name.
fn request_id(said: Option<&str>, speaker: &mut Speaker<'_>) -> Result<u16, String> {
    let free_name =
        said.and_then(|text| text.strip_prefix('@')).filter(|name| speaker.names.bound(name).is_none());
    if let (Some(text), None) = (said, free_name) {
        return two(text, speaker.names);
    }
    let id = speaker.ids.next;
    speaker.ids.next = id.checked_add(1).unwrap_or(1);
    if let Some(name) = free_name {
        speaker.names.bind(name, Bound::Number(u64::from(id)));
    }
    Ok(id)
}

fn ack(letter: &mut Letter, words: &[Word], speaker: &mut Speaker<'_>) -> Result<(), String> {
    let newest = match letter.kind {
        Kind::PubRel => speaker.ids.pubrec,
        Kind::PubComp => speaker.ids.pubrel,
        _ => speaker.ids.publish, // PUBACK and PUBREC answer a PUBLISH.
    };
    let mut id = newest;
    let mut others = Vec::new();
    for word in words {
        match word.key.as_deref() {
            Some("id") => id = two(&word.text, speaker.names)?,
            _ => others.push(word.clone()),
        }
    }
    letter.head.extend(id.to_be_bytes());
    coded(letter, &others, speaker)
}

fn farewell(letter: &mut Letter, words: &[Word], speaker: &mut Speaker<'_>) -> Result<(), String> {
    coded(letter, words, speaker)
}

/// A reason code and properties, either of which may be left out from the end.
fn coded(letter: &mut Letter, words: &[Word], speaker: &Speaker<'_>) -> Result<(), String> {
    let mut code = 0;
    let mut long = false;
    let mut noprops = false;
    for word in words {
        match word.bare() {
            Some("long") => long = true,
            Some("noprops") => noprops = true,
            Some(text) if text.starts_with(|c: char| c.is_ascii_digit()) => code = byte(text, speaker.names)?,
            _ => letter.take(word, speaker.names)?,
        }
    }
    let has_section = letter.properties.as_ref().is_some_and(|section| !section.is_empty())
        || letter.property_length.is_some();
    if letter.version != Version::V5 {
        let is_plain = code == 0 && !long;
        return if is_plain { Ok(()) } else { Err(format!("3.x {} has no code", letter.kind.word())) };
    }
    if code != 0 || long || has_section || noprops {
        letter.head.push(code);
    }
    if noprops || (!long && !has_section) {
        letter.properties = None;
    }
    Ok(())
}

fn plain(letter: &mut Letter, words: &[Word], speaker: &Speaker<'_>) -> Result<(), String> {
    words.iter().try_for_each(|word| letter.take(word, speaker.names))
}

/// SUBSCRIBE and UNSUBSCRIBE: filters separated by commas, each with its options.
fn requests(letter: &mut Letter, words: &[Word], speaker: &mut Speaker<'_>) -> Result<(), String> {
    let mut filters: Vec<Filter> = Vec::new();
    let mut id = None;
    let mut expects_filter = true;
    for word in words {
        expects_filter |= word.after_comma;
        match (word.key.as_deref(), word.bare()) {
            (Some("id"), _) => id = Some(word.text.as_str()),
            (Some("topic"), _) => {
                filters.push(Filter { bytes: value::bytes(&word.text, speaker.names)?, options: 0 });
                expects_filter = false;
            }
            (None, Some("noprops")) => letter.take(word, speaker.names)?,
            (None, _) if expects_filter => {
                filters.push(Filter { bytes: value::bytes(&word.text, speaker.names)?, options: 0 });
                expects_filter = false;
            }
            _ => {
                let is_option = match filters.last_mut().filter(|_| letter.kind == Kind::Subscribe) {
                    Some(filter) => filter.take_option(word, speaker.names)?,
                    None => false,
                };
                if !is_option {
                    letter.take(word, speaker.names)?;
                }
            }
        }
    }
    letter.head.extend(request_id(id, speaker)?.to_be_bytes());
    for filter in filters {
        push_field(&mut letter.body, &filter.bytes);
        if letter.kind == Kind::Subscribe {
            letter.body.push(filter.options);
        }
    }
    Ok(())
}

struct Filter {
    bytes: Vec<u8>,
    options: u8,
}

impl Filter {
    fn take_option(&mut self, word: &Word, names: &Names) -> Result<bool, String> {
        match (word.key.as_deref(), word.bare()) {
            (None, Some(q)) if is_qos(q) => self.options |= q.as_bytes()[1] - b'0',
            (None, Some("nl")) => self.options |= 0x04,
            (None, Some("rap")) => self.options |= 0x08,
            (Some("rh"), _) => self.options |= (byte(&word.text, names)? & 3) << 4,
            (Some("options"), _) => self.options = byte(&word.text, names)?,
            _ => return Ok(false), // Not an option; the caller tries what any packet may have.
        }
        Ok(true)
    }
}

/// The parts of a CONNECT that its flags byte speaks of.
struct Introduction {
    id: Vec<u8>,
    clean: bool,
    persistent: bool,
    has_expiry: bool,
    keep_alive_s: u16,
    protocol: Option<Vec<u8>>,
    level: Option<u8>,
    flags: Option<u8>,
    will: Option<Vec<u8>>,
    will_flags: u8,
    user: Option<Vec<u8>>,
    password: Option<Vec<u8>>,
}

fn connect(letter: &mut Letter, words: &[Word], speaker: &mut Speaker<'_>) -> Result<(), String> {
    let mut intro = Introduction {
        id: speaker.name.as_bytes().to_vec(),
        clean: true,
        persistent: false,
        has_expiry: false,
        keep_alive_s: 0,
        protocol: None,
        level: None,
        flags: None,
        will: None,
        will_flags: 0,
        user: None,
        password: None,
    };
    for word in words {
        if !intro.take(word, speaker)? {
            intro.has_expiry |= matches!(word.key.as_deref(), Some("expiry" | "session-expiry"));
            letter.take(word, speaker.names)?;
        }
    }
    if intro.persistent && !intro.has_expiry && speaker.version == Version::V5 {
        let section = letter.property_section()?;
        section.push(property::SESSION_EXPIRY);
        section.extend(u32::MAX.to_be_bytes());
    }
    intro.write(letter);
    Ok(())
}

impl Introduction {
    fn take(&mut self, word: &Word, speaker: &Speaker<'_>) -> Result<bool, String> {
        let names = &*speaker.names;
        match (word.key.as_deref(), word.bare()) {
            (None, Some("clean")) => self.clean = true,
            (None, Some("resume")) => self.clean = false,
            (None, Some("persistent")) => (self.clean, self.persistent) = (false, true),
            (None, Some(version)) if Version::from_word(version).is_some() => {}
            (Some("id"), _) => self.id = value::bytes(&word.text, names)?,
            (Some("ka"), _) => self.keep_alive_s = two(&word.text, names)?,
            (Some("user"), _) => self.user = Some(value::bytes(&word.text, names)?),
            (Some("password"), _) => self.password = Some(value::bytes(&word.text, names)?),
            (Some("protocol"), _) => self.protocol = Some(value::bytes(&word.text, names)?),
            (Some("level"), _) => self.level = Some(byte(&word.text, names)?),
            (Some("connect-flags"), _) => self.flags = Some(byte(&word.text, names)?),
            (Some("will"), _) => self.take_will(word.group.as_deref().unwrap_or_default(), speaker)?,
            _ => return Ok(false), // A property, spoiling, or a mistake.
        }
        Ok(true)
    }

    fn take_will(&mut self, words: &[Word], speaker: &Speaker<'_>) -> Result<(), String> {
        let mut content = Content::default();
        let mut section = Vec::new();
        let mut length = None;
        let mut has_section = speaker.version == Version::V5;
        for word in words {
            match (word.key.as_deref(), word.bare()) {
                (None, Some("noprops")) => has_section = false,
                (Some("prop"), _) => section.extend(value::bytes(&word.text, speaker.names)?),
                (Some("proplen"), _) => length = Some(length_bytes(&word.text, speaker.names)?),
                _ if content.take(word, speaker.names)? => {}
                _ => push_property(&mut section, word, true, speaker.names)
                    .map_err(|e| format!("will: {e}"))?,
            }
        }
        if speaker.version != Version::V5 && !section.is_empty() {
            return Err("a 3.x will has no properties; guard the line with [v5]".to_owned());
        }
        let mut out = Vec::new();
        if has_section {
            push_section(&mut out, &section, length.as_deref());
        }
        push_field(&mut out, &content.topic.unwrap_or_default());
        push_field(&mut out, &content.payload.unwrap_or_default());
        self.will_flags = 0x04 | content.qos << 3 | u8::from(content.retain) << 5;
        self.will = Some(out);
        Ok(())
    }

    fn write(self, letter: &mut Letter) {
        let (name, level): (&[u8], u8) = match letter.version {
            Version::V31 => (b"MQIsdp", 3),
            Version::V311 => (b"MQTT", 4),
            Version::V5 => (b"MQTT", 5),
        };
        let flags = u8::from(self.user.is_some()) << 7
            | u8::from(self.password.is_some()) << 6
            | self.will_flags
            | u8::from(self.clean) << 1;
        push_field(&mut letter.head, self.protocol.as_deref().unwrap_or(name));
        letter.head.push(self.level.unwrap_or(level));
        letter.head.push(self.flags.unwrap_or(flags));
        letter.head.extend(self.keep_alive_s.to_be_bytes());
        push_field(&mut letter.body, &self.id);
        letter.body.extend(self.will.unwrap_or_default());
        for field in [self.user, self.password].into_iter().flatten() {
            push_field(&mut letter.body, &field);
        }
    }
}
