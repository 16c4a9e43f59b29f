//! Splits one line of a talk file into words, and replaces the loop variables in it.
//!
//! Why by hand: words hold quotes, parentheses and wildcards side by side, which is easier to say in forty lines than
//! in a grammar file.

/// One word of a line.
#[derive(Clone, PartialEq, Debug)]
pub struct Word {
    /// `key` of `key=value`.
    pub key: Option<String>,
    /// The value, or the whole word; a value expression not yet evaluated.
    pub text: String,
    /// The words inside `will(...)` and `up(...)`, whose name is then the key.
    pub group: Option<Vec<Word>>,
    /// Whether a comma stood in front of it.
    pub after_comma: bool,
}

impl Word {
    /// Whether the word is exactly `text`, without key or quotes.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        self.key.is_none() && self.text == text
    }

    /// The text of a bare word: no key, no group, no quote.
    #[must_use]
    pub fn bare(&self) -> Option<&str> {
        (self.key.is_none() && self.group.is_none() && !self.text.starts_with('"'))
            .then_some(self.text.as_str())
    }
}

/// The line without its trailing ` -- comment`.
#[must_use]
pub fn without_comment(line: &str) -> &str {
    let mut in_quotes = false;
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if in_quotes => escaped = true,
            '"' => in_quotes = !in_quotes,
            '-' if !in_quotes && is_comment_mark(line, at) => return line[..at].trim_end(),
            _ => {}
        }
    }
    line.trim_end()
}

fn is_comment_mark(line: &str, at: usize) -> bool {
    let rest = &line[at..];
    let before = line[..at].chars().next_back().is_none_or(char::is_whitespace);
    before && rest.starts_with("--") && rest[2..].chars().next().is_none_or(char::is_whitespace)
}

/// Splits a line into words.
///
/// # Errors
/// An open quote or parenthesis.
pub fn words(line: &str) -> Result<Vec<Word>, String> {
    let mut out = Vec::new();
    let mut rest = line.trim_start();
    let mut after_comma = false;
    while !rest.is_empty() {
        if let Some(behind) = rest.strip_prefix(',') {
            after_comma = true;
            rest = behind.trim_start();
            continue;
        }
        let end = word_end(rest)?;
        out.push(word(&rest[..end], after_comma)?);
        after_comma = false;
        rest = rest[end..].trim_start();
    }
    Ok(out)
}

/// The first word of a line as it is written, and what follows it.
///
/// # Errors
/// An open quote or parenthesis.
pub fn first_word(text: &str) -> Result<(&str, &str), String> {
    Ok(text.split_at(word_end(text)?))
}

/// Where the word at the start of `text` ends.
fn word_end(text: &str) -> Result<usize, String> {
    let mut depth = 0_usize;
    let mut in_quotes = false;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if in_quotes => escaped = true,
            '"' => in_quotes = !in_quotes,
            _ if in_quotes => {}
            '(' => depth += 1,
            ')' if depth > 0 => depth -= 1,
            c if depth == 0 && (c == ',' || c.is_whitespace()) => return Ok(at),
            _ => {}
        }
    }
    match (in_quotes, depth) {
        (true, _) => Err(format!("a quote is not closed: {text}")),
        (false, 0) => Ok(text.len()),
        (false, _) => Err(format!("a parenthesis is not closed: {text}")),
    }
}

fn word(raw: &str, after_comma: bool) -> Result<Word, String> {
    for name in ["will", "up"] {
        let inner = raw
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix('('))
            .and_then(|rest| rest.strip_suffix(')'));
        if let Some(inner) = inner {
            let group = Some(words(inner)?);
            return Ok(Word { key: Some(name.to_owned()), text: inner.to_owned(), group, after_comma });
        }
    }
    if let Some((key, text)) = raw.split_once('=').filter(|(key, _)| is_key(key)) {
        return Ok(Word { key: Some(key.to_owned()), text: text.to_owned(), group: None, after_comma });
    }
    Ok(Word { key: None, text: raw.to_owned(), group: None, after_comma })
}

fn is_key(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// Replaces every `{name}`, `{name+1}`, ... in `line` by what `lookup` says. `\{` and `\u{...}` stay.
///
/// # Errors
/// A name that `lookup` does not know, or a calculation that cannot be done.
pub fn expand(line: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find('{') {
        let (before, behind) = rest.split_at(at);
        out.push_str(before);
        let Some(end) = behind.find('}').filter(|_| !before.ends_with('\\') && !before.ends_with("\\u"))
        else {
            out.push('{');
            rest = &behind[1..];
            continue;
        };
        out.push_str(&expanded(&behind[1..end], lookup)?);
        rest = &behind[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn expanded(inside: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let unknown = |name: &str| format!("{{{name}}} is not bound; write \\{{ for a brace");
    let Some(at) = inside.find(['+', '-', '*', '/', '%']) else {
        return lookup(inside).ok_or_else(|| unknown(inside));
    };
    let (name, operator, operand) = (&inside[..at], &inside[at..=at], &inside[at + 1..]);
    let left: u64 =
        lookup(name).ok_or_else(|| unknown(name))?.parse().map_err(|_| format!("{name} is no number"))?;
    let right: u64 = operand.parse().map_err(|_| format!("{operand} is no number"))?;
    let result = match operator {
        "+" => left.checked_add(right),
        "-" => left.checked_sub(right),
        "*" => left.checked_mul(right),
        "/" => left.checked_div(right),
        _ => left.checked_rem(right),
    };
    result.map(|number| number.to_string()).ok_or_else(|| format!("{{{inside}}} cannot be calculated"))
}
