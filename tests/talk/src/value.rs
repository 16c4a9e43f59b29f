//! Values of the language: bytes and numbers to be said, and patterns that what was heard must match.

use std::collections::HashMap;

use stdx::Prng;

use crate::property;

/// What was bound to a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Bound {
    /// A number.
    Number(u64),
    /// Text or binary.
    Bytes(Vec<u8>),
}

/// The names that are bound so far.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Names(HashMap<String, Bound>);

impl Names {
    /// What `name` (without `@`) is bound to.
    #[must_use]
    pub fn bound(&self, name: &str) -> Option<&Bound> {
        self.0.get(name)
    }

    /// Binds or rebinds a name.
    pub fn bind(&mut self, name: &str, value: Bound) {
        self.0.insert(name.to_owned(), value);
    }

    /// Forgets all names that `earlier` does not have.
    pub fn retreat(&mut self, earlier: &Names) {
        self.0.retain(|name, _| earlier.0.contains_key(name));
    }

    /// The text that stands for `{name}` in a line.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        self.bound(name).map(|bound| match bound {
            Bound::Number(number) => number.to_string(),
            Bound::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        })
    }

    fn agree(&mut self, name: &str, came: Bound) -> bool {
        match self.bound(name) {
            None => {
                self.bind(name, came);
                true
            }
            Some(Bound::Number(number)) => came == Bound::Number(*number),
            Some(Bound::Bytes(bytes)) => came == Bound::Bytes(bytes.clone()),
        }
    }
}

/// Evaluates a value to bytes.
///
/// # Errors
/// A text that is no value, or a free name.
pub fn bytes(text: &str, names: &Names) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, behind) = piece(rest, names)?;
        let (times, behind) = repetition(behind, rest)?;
        for _ in 0..times {
            out.extend(&piece);
        }
        rest = behind;
    }
    Ok(out)
}

/// One piece at the start of `text`, and the text behind it.
fn piece<'a>(text: &'a str, names: &Names) -> Result<(Vec<u8>, &'a str), String> {
    if let Some(inside) = text.strip_prefix('"') {
        return quoted(inside);
    }
    if let Some(name) = text.strip_prefix('@') {
        let end =
            name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-').unwrap_or(name.len());
        let bound = names.bound(&name[..end]).ok_or_else(|| format!("@{} is not bound", &name[..end]))?;
        let bytes = match bound {
            Bound::Number(number) => number.to_string().into_bytes(),
            Bound::Bytes(bytes) => bytes.clone(),
        };
        return Ok((bytes, &name[end..]));
    }
    for (name, call) in CALLS {
        if let Some(behind) = text.strip_prefix(name).and_then(|rest| rest.strip_prefix('(')) {
            let end = closing(behind)?;
            return Ok((call(&behind[..end], names)?, &behind[end + 1..]));
        }
    }
    let end = text.find('"').unwrap_or(text.len());
    if text[..end].contains(['(', ')']) {
        return Err(format!("a word with parentheses must be quoted: {text}"));
    }
    Ok((text.as_bytes()[..end].to_vec(), &text[end..]))
}

/// `*n` behind a quoted piece or a call.
fn repetition<'a>(behind: &'a str, piece: &str) -> Result<(u64, &'a str), String> {
    let Some(digits) = behind.strip_prefix('*').filter(|_| piece.starts_with('"') || piece.contains('('))
    else {
        return Ok((1, behind));
    };
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let times = digits[..end].parse().map_err(|_| format!("a number must follow the * of {piece}"))?;
    Ok((times, &digits[end..]))
}

type Call = fn(&str, &Names) -> Result<Vec<u8>, String>;

const CALLS: [(&str, Call); 4] = [
    ("hex", |inside, _| hex(inside)),
    ("bytes", |inside, _| Ok(pattern(count(inside)?))),
    ("random", |inside, _| random(inside)),
    ("utf8", |inside, names| {
        let mut out = Vec::new();
        property::push_field(&mut out, &bytes(inside, names)?);
        Ok(out)
    }),
];

/// Where the parenthesis that was opened in front of `text` is closed.
fn closing(text: &str) -> Result<usize, String> {
    let mut depth = 0_usize;
    let mut in_quotes = false;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if in_quotes => escaped = true,
            '"' => in_quotes = !in_quotes,
            '(' if !in_quotes => depth += 1,
            ')' if !in_quotes && depth == 0 => return Ok(at),
            ')' if !in_quotes => depth -= 1,
            _ => {}
        }
    }
    Err(format!("a parenthesis is not closed: {text}"))
}

/// Reads hex digits, blanks between them allowed.
///
/// # Errors
/// Anything else, or half a byte.
pub fn hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| {
            c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()).ok_or(format!("no hex digit: {c}"))
        })
        .collect::<Result<_, _>>()?;
    match digits.len() % 2 {
        0 => Ok(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()),
        _ => Err(format!("half a byte at the end of: {text}")),
    }
}

fn count(text: &str) -> Result<usize, String> {
    text.trim().parse().map_err(|_| format!("no count: {text}"))
}

/// A fixed pattern whose bytes tell where they stand, so that lost or doubled stretches show.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from((at ^ at >> 8) & 0xff).expect("masked to eight bits")).collect()
}

fn random(inside: &str) -> Result<Vec<u8>, String> {
    let (length, seed) = inside.trim().split_once(' ').ok_or("random(COUNT SEED)")?;
    let mut prng = Prng::new(seed.trim().parse().map_err(|_| format!("no seed: {seed}"))?);
    Ok((0..count(length)?).map(|_| u8::try_from(prng.below(256)).expect("below 256")).collect())
}

/// The text of a quoted piece whose opening quote was read already.
fn quoted(inside: &str) -> Result<(Vec<u8>, &str), String> {
    let mut out = Vec::new();
    let mut chars = inside.char_indices();
    let broken = || format!("unknown escape in \"{inside}");
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((out, &inside[at + 1..])),
            '\\' => match chars.next().ok_or_else(broken)?.1 {
                'n' => out.push(b'\n'),
                'r' => out.push(b'\r'),
                't' => out.push(b'\t'),
                '0' => out.push(0),
                'x' => {
                    let digits: String = chars.by_ref().take(2).map(|(_, c)| c).collect();
                    out.push(u8::from_str_radix(&digits, 16).map_err(|_| broken())?);
                }
                'u' => {
                    let digits: String =
                        chars.by_ref().skip(1).map(|(_, c)| c).take_while(|c| *c != '}').collect();
                    let point =
                        u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32).ok_or_else(broken)?;
                    out.extend(point.to_string().as_bytes());
                }
                c @ ('"' | '\\' | '{' | '}') => out.extend(c.to_string().as_bytes()),
                _ => return Err(broken()),
            },
            c => out.extend(c.to_string().as_bytes()),
        }
    }
    Err(format!("a quote is not closed: \"{inside}"))
}

/// Evaluates a value to a number.
///
/// # Errors
/// A text that is no number, or a name that is bound to none.
pub fn number(text: &str, names: &Names) -> Result<u64, String> {
    if let Some(name) = text.strip_prefix('@') {
        return match names.bound(name) {
            Some(Bound::Number(number)) => Ok(*number),
            Some(Bound::Bytes(_)) => Err(format!("{text} is no number")),
            None => Err(format!("{text} is not bound")),
        };
    }
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None if text == "never" => Some(0xffff_ffff),
        None => text.parse().ok(),
    };
    parsed.ok_or_else(|| format!("no number: {text}"))
}

/// Splits at the `|` that stand outside of quotes and parentheses.
#[must_use]
pub fn alternatives(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let (mut start, mut depth, mut in_quotes, mut escaped) = (0, 0_usize, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if in_quotes => escaped = true,
            '"' => in_quotes = !in_quotes,
            '(' if !in_quotes => depth += 1,
            ')' if !in_quotes => depth = depth.saturating_sub(1),
            '|' if !in_quotes && depth == 0 => {
                out.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    out.push(&text[start..]);
    out
}

/// Whether a number that came (or did not) matches a pattern: numbers, ranges, `any`, `absent`, `@name`.
///
/// # Errors
/// A pattern that is none.
pub fn number_matches(pattern: &str, came: Option<u64>, names: &mut Names) -> Result<bool, String> {
    for alternative in alternatives(pattern) {
        let Some(number_came) = came else {
            if alternative == "absent" {
                return Ok(true);
            }
            continue;
        };
        let fits = match (alternative, alternative.strip_prefix('@'), alternative.split_once("..")) {
            ("any", ..) => true,
            ("absent", ..) => false,
            (_, Some(name), _) => names.agree(name, Bound::Number(number_came)),
            (_, None, Some((low, high))) => {
                let low = if low.is_empty() { 0 } else { number(low, names)? };
                let high = if high.is_empty() { u64::MAX } else { number(high, names)? };
                (low..=high).contains(&number_came)
            }
            (exact, None, None) => number(exact, names)? == number_came,
        };
        if fits {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether bytes that came (or did not) match a pattern: values, `any`, `absent`, `@name`.
///
/// # Errors
/// A pattern that is none.
pub fn bytes_match(pattern: &str, came: Option<&[u8]>, names: &mut Names) -> Result<bool, String> {
    for alternative in alternatives(pattern) {
        let Some(bytes_came) = came else {
            if alternative == "absent" {
                return Ok(true);
            }
            continue;
        };
        let fits = match (alternative, alternative.strip_prefix('@')) {
            ("any", _) => true,
            ("absent", _) => false,
            (_, Some(name)) if names.bound(name).is_none() => {
                names.agree(name, Bound::Bytes(bytes_came.to_vec()))
            }
            (value, _) => bytes(value, names)? == bytes_came,
        };
        if fits {
            return Ok(true);
        }
    }
    Ok(false)
}
