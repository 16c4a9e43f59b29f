//! A second reading of the standard: slow, plain, and written from the standard's own tables and not from the codec.
//!
//! It says of a packet whether it is lawful, and if so, which parts it has.

use mqtt::Version;

/// The properties of section 2.2.2.2: identifier, shape, and the packets that may have it.
///
/// Shapes: `b` byte, `2` and `4` integers, `v` variable byte integer, `s` string, `d` binary data, `p` string pair.
/// Packets: `C` CONNECT, `w` will, `c` CONNACK, `P` PUBLISH, `k` PUBACK, `r` PUBREC, `l` PUBREL, `m` PUBCOMP,
/// `S` SUBSCRIBE, `s` SUBACK, `U` UNSUBSCRIBE, `u` UNSUBACK, `D` DISCONNECT, `A` AUTH.
pub const TABLE: [(u8, char, &str); 27] = [
    (0x01, 'b', "Pw"),
    (0x02, '4', "Pw"),
    (0x03, 's', "Pw"),
    (0x08, 's', "Pw"),
    (0x09, 'd', "Pw"),
    (0x0b, 'v', "PS"),
    (0x11, '4', "CcD"),
    (0x12, 's', "c"),
    (0x13, '2', "c"),
    (0x15, 's', "CcA"),
    (0x16, 'd', "CcA"),
    (0x17, 'b', "C"),
    (0x18, '4', "w"),
    (0x19, 'b', "C"),
    (0x1a, 's', "c"),
    (0x1c, 's', "cD"),
    (0x1f, 's', "ckrlmsuDA"),
    (0x21, '2', "Cc"),
    (0x22, '2', "Cc"),
    (0x23, '2', "P"),
    (0x24, 'b', "c"),
    (0x25, 'b', "c"),
    (0x26, 'p', "CwcPkrlmSsUuDA"),
    (0x27, '4', "Cc"),
    (0x28, 'b', "c"),
    (0x29, 'b', "c"),
    (0x2a, 'b', "c"),
];

/// The parts of a lawful packet, in an order of its own for each type.
pub type Parts = Vec<Vec<u8>>;

/// One property: identifier and value bytes without lengths.
pub type Property = (u8, Vec<u8>);

/// Reads bytes by index.
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        if count > self.left() {
            return None;
        }
        self.at += count;
        Some(self.bytes[self.at - count..self.at].to_vec())
    }

    pub fn byte(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    pub fn field(&mut self) -> Option<Vec<u8>> {
        let length = self.take(2)?;
        self.take(usize::from(length[0]) * 256 + usize::from(length[1]))
    }

    pub fn string(&mut self) -> Option<Vec<u8>> {
        let text = String::from_utf8(self.field()?).ok()?;
        (!text.contains('\0')).then(|| text.into_bytes())
    }

    pub fn id(&mut self) -> Option<Vec<u8>> {
        self.take(2).filter(|id| id[..] != [0, 0])
    }

    pub fn varint(&mut self) -> Option<usize> {
        let (mut value, mut unit) = (0, 1);
        for count in 1..=4 {
            let byte = self.byte()?;
            value += usize::from(byte % 128) * unit;
            unit *= 128;
            if byte < 128 {
                return (count == 1 || byte != 0).then_some(value);
            }
        }
        None
    }

    /// The properties that stand here, if all are lawful in `place`.
    pub fn properties(&mut self, place: char) -> Option<Vec<Property>> {
        let length = self.varint()?;
        let bytes = self.take(length)?;
        let mut inner = Reader::new(&bytes);
        let mut found: Vec<Property> = Vec::new();
        while inner.left() > 0 {
            let id = inner.byte()?;
            let (_, shape, places) = TABLE.into_iter().find(|row| row.0 == id)?;
            // Only a server tells subscription identifiers in a PUBLISH, and only there they repeat.
            let repeats = id == 0x26 || (id == 0x0b && place == 'P');
            if !places.contains(place) || (!repeats && found.iter().any(|other| other.0 == id)) {
                return None;
            }
            let value = match shape {
                'b' => inner.take(1)?,
                '2' => inner.take(2)?,
                '4' => inner.take(4)?,
                'v' => inner.varint()?.to_be_bytes().to_vec(),
                's' => inner.string()?,
                'd' => inner.field()?,
                'p' => [inner.string()?, vec![0], inner.string()?].concat(),
                other => panic!("no shape {other}"),
            };
            let lawful = match id {
                0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2a => value[0] <= 1,
                0x0b | 0x21 | 0x27 => value.iter().any(|&byte| byte != 0),
                0x08 => !value.is_empty() && !value.contains(&b'+') && !value.contains(&b'#'),
                _ => true,
            };
            if !lawful {
                return None;
            }
            found.push((id, value));
        }
        Some(found)
    }
}

/// The value of a property, or nothing.
pub fn find(properties: &[Property], id: u8) -> Vec<u8> {
    properties.iter().find(|property| property.0 == id).map(|property| property.1.clone()).unwrap_or_default()
}

/// Splits a whole packet into its first byte and its body.
pub fn split(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let mut reader = Reader::new(bytes);
    let first = reader.byte()?;
    let length = reader.varint()?;
    (reader.left() == length).then(|| (first, &bytes[reader.at..]))
}

/// Reads what a client sends after CONNECT; the parts begin with the packet type.
pub fn client(bytes: &[u8], version: Version) -> Option<Parts> {
    let (first, body) = split(bytes)?;
    let new = version == Version::V5;
    let mut reader = Reader::new(body);
    let mut parts = vec![vec![first >> 4]];
    let dup = u8::from(version == Version::V31) << 3;
    match first >> 4 {
        1 if first == 0x10 => return Some(parts),
        3 => publish(first, &mut reader, new, &mut parts)?,
        4 | 5 if first & 15 == 0 => ack(&mut reader, new, &mut parts)?,
        7 if first & 15 == 0 => ack(&mut reader, new, &mut parts)?,
        6 if first & !dup == 0x62 => ack(&mut reader, new, &mut parts)?,
        8 if first & !dup == 0x82 => subscribe(&mut reader, new, &mut parts)?,
        10 if first & !dup == 0xa2 => unsubscribe(&mut reader, new, &mut parts)?,
        12 if first == 0xc0 => {}
        14 if first == 0xe0 => disconnect(&mut reader, new, &mut parts)?,
        15 if first == 0xf0 && new => auth(&mut reader, &mut parts)?,
        _ => return None,
    }
    (reader.left() == 0).then_some(parts)
}

fn publish(first: u8, reader: &mut Reader<'_>, new: bool, parts: &mut Parts) -> Option<()> {
    let qos = (first & 6) / 2;
    if qos == 3 || (qos == 0 && first & 8 != 0) {
        return None;
    }
    let topic = reader.field()?;
    let id = if qos == 0 { Vec::new() } else { reader.id()? };
    let found = if new { reader.properties('P')? } else { Vec::new() };
    if found.iter().any(|property| property.0 == 0x0b) || (topic.is_empty() && find(&found, 0x23).is_empty())
    {
        return None;
    }
    let payload = reader.take(reader.left())?;
    let utf8 = find(&found, 0x01) == [1];
    parts.extend([
        vec![first & 15],
        topic,
        id,
        find(&found, 0x23),
        find(&found, 0x02),
        vec![u8::from(utf8)],
        payload,
    ]);
    Some(())
}

fn ack(reader: &mut Reader<'_>, new: bool, parts: &mut Parts) -> Option<()> {
    let place = [' ', ' ', ' ', ' ', 'k', 'r', 'l', 'm'][usize::from(parts[0][0])];
    let id = reader.id()?;
    let mut reason = 0;
    if new && reader.left() > 0 {
        reason = reader.byte()?;
        let lawful: &[u8] = match place {
            'k' | 'r' => &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99],
            _ => &[0x00, 0x92],
        };
        if !lawful.contains(&reason) {
            return None;
        }
        if reader.left() > 0 {
            reader.properties(place)?;
        }
    }
    parts.extend([id, vec![reason]]);
    Some(())
}

fn subscribe(reader: &mut Reader<'_>, new: bool, parts: &mut Parts) -> Option<()> {
    parts.push(reader.id()?);
    let found = if new { reader.properties('S')? } else { Vec::new() };
    if found.iter().filter(|property| property.0 == 0x0b).count() > 1 || reader.left() == 0 {
        return None;
    }
    parts.push(find(&found, 0x0b));
    while reader.left() > 0 {
        let filter = reader.string()?;
        let options = reader.byte()?;
        let lawful = if new { options & 0xc0 == 0 && options & 0x30 != 0x30 } else { options & 0xfc == 0 };
        if !lawful || options & 3 == 3 || (options & 4 != 0 && filter.starts_with(b"$share/")) {
            return None;
        }
        parts.extend([filter, vec![options]]);
    }
    Some(())
}

fn unsubscribe(reader: &mut Reader<'_>, new: bool, parts: &mut Parts) -> Option<()> {
    parts.push(reader.id()?);
    if new {
        reader.properties('U')?;
    }
    if reader.left() == 0 {
        return None;
    }
    while reader.left() > 0 {
        parts.push(reader.string()?);
    }
    Some(())
}

fn disconnect(reader: &mut Reader<'_>, new: bool, parts: &mut Parts) -> Option<()> {
    let (mut reason, mut found) = (0, Vec::new());
    if new && reader.left() > 0 {
        reason = reader.byte()?;
        let lawful = [0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99];
        if !lawful.contains(&reason) {
            return None;
        }
        if reader.left() > 0 {
            found = reader.properties('D')?;
        }
    }
    parts.extend([vec![reason], find(&found, 0x11), find(&found, 0x1f)]);
    Some(())
}

fn auth(reader: &mut Reader<'_>, parts: &mut Parts) -> Option<()> {
    let reason = reader.byte()?;
    let found = reader.properties('A')?;
    let has_method = found.iter().any(|property| property.0 == 0x15);
    if ![0x18, 0x19].contains(&reason) || !has_method {
        return None;
    }
    parts.extend([vec![reason], find(&found, 0x15), find(&found, 0x16)]);
    Some(())
}

/// Reads a CONNECT; the parts begin with the protocol level.
pub fn connect(bytes: &[u8]) -> Option<Parts> {
    let (first, body) = split(bytes)?;
    let mut reader = Reader::new(body);
    let name = reader.field()?;
    let level = reader.byte()?;
    let known: [(&[u8], u8); 3] = [(b"MQTT", 5), (b"MQTT", 4), (b"MQIsdp", 3)];
    if first != 0x10 || !known.contains(&(&name, level)) {
        return None;
    }
    let flags = reader.byte()?;
    let (user_name, password, will) = (flags & 128 != 0, flags & 64 != 0, flags & 4 != 0);
    let will_qos = flags / 8 % 4;
    let only_with_will = will_qos != 0 || flags & 32 != 0;
    let lonely_password = password && !user_name && level < 5;
    if flags & 1 != 0 || will_qos == 3 || (only_with_will && !will) || lonely_password {
        return None;
    }
    let keep_alive = reader.take(2)?;
    let found = if level == 5 { reader.properties('C')? } else { Vec::new() };
    if found.iter().any(|property| property.0 == 0x16) && !found.iter().any(|property| property.0 == 0x15) {
        return None;
    }
    let client_id = reader.string()?;
    if client_id.is_empty() && (level == 3 || (level == 4 && flags & 2 == 0)) {
        return None;
    }
    let mut parts = vec![vec![level], vec![flags & 0x3e], keep_alive, client_id];
    for id in [0x11, 0x15, 0x16, 0x17, 0x19, 0x21, 0x22, 0x27] {
        parts.push(find(&found, id));
    }
    if will {
        let found = if level == 5 { reader.properties('w')? } else { Vec::new() };
        let topic = reader.string()?;
        if topic.is_empty() || topic.contains(&b'+') || topic.contains(&b'#') {
            return None;
        }
        parts.extend([topic, reader.field()?, find(&found, 0x18), find(&found, 0x02), find(&found, 0x01)]);
    }
    // The last fields may be missing in 3.1, flags or not.
    if user_name && (level > 3 || reader.left() > 0) {
        parts.push(reader.string()?);
    }
    if password && (level > 3 || reader.left() > 0) {
        parts.push(reader.field()?);
    }
    (reader.left() == 0).then_some(parts)
}
