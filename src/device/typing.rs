//! What type a number or text of a payload has.
//!
//! Why by its spelling: a device that writes `5` means a count and one that writes `5.0` means a measurement; which of
//! them it is must not change with the reading, or a chart breaks in two. Text that looks like a number becomes one,
//! because much firmware writes all values as text; a profile that means text turns that off, for all keys or for some.
//!
//! Invariants:
//! - No spelling makes the typing reserve more than [`PLAIN_DIGITS_MAX`] digits.
//! - What is typed as [`Value::Double`] is finite.
//!
//! Source: the value table of the device API (appendix A of its vectors, here as the tests).

use std::borrow::Cow;
use std::sync::Arc;

use crate::value::Value;

/// The most digits to which a number with an exponent is written out. A longer one is refused.
pub const PLAIN_DIGITS_MAX: usize = 400;

/// The most digits after the point that a double keeps; more make a number text, so that no digit is lost.
const SCALE_MAX: i64 = 16;

/// How numbers and texts are typed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Typing {
    /// Whether text that looks like a number becomes one, and a number that fits no type becomes text.
    pub casts: bool,
    /// Keys whose texts stay texts although `casts` is on.
    pub text_keys: Arc<[Box<str>]>,
    /// The longest text in bytes; 0 is no limit.
    pub text_bytes_max: usize,
    /// Whether whole doubles from 10,000,000 on become longs, as in the system whose API this is.
    pub rereads_doubles: bool,
}

/// Why a value has no type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Untypable {
    /// A number that fits no type.
    NumberTooLarge,
    /// A text longer than the limit.
    TextTooLong,
}

impl Untypable {
    /// In words, for a reason string.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::NumberTooLarge => "a number that fits no type",
            Self::TextTooLong => "a text that is too long",
        }
    }
}

impl Default for Typing {
    fn default() -> Self {
        Self { casts: true, text_keys: Arc::from([]), text_bytes_max: 0, rereads_doubles: false }
    }
}

impl Typing {
    /// Types a number as it is spelled in JSON.
    ///
    /// # Errors
    /// It fits no type and casting is off, or it has too many digits.
    pub fn number<'a>(&self, text: &'a str) -> Result<Value<'a>, Untypable> {
        if let Some(short) = short_number(text) {
            return Ok(match short {
                Short::Whole(value) => Value::Long(value),
                Short::Measured(value) => self.double(value),
            });
        }
        let decimal = Decimal::read(text).ok_or(Untypable::NumberTooLarge)?;
        if !decimal.is_measured() && decimal.is_whole() {
            let plain = decimal.plain();
            // What stands behind the point of a whole number is zeros.
            let whole = plain.as_deref().and_then(|plain| plain.split('.').next()?.parse().ok());
            return match whole {
                Some(value) => Ok(Value::Long(value)),
                None => self.as_text(&decimal),
            };
        }
        if decimal.scale() > SCALE_MAX {
            return self.as_text(&decimal);
        }
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(self.double(value)),
            Ok(_) | Err(_) => self.as_text(&decimal),
        }
    }

    /// Types a text; `key` is whose value it is.
    ///
    /// # Errors
    /// It is too long.
    pub fn text<'a>(&self, key: &str, text: Cow<'a, str>) -> Result<Value<'a>, Untypable> {
        if self.casts && looks_like_number(&text) && !self.text_keys.iter().any(|kept| **kept == *key) {
            match self.number(&text) {
                Ok(Value::Long(value)) => return Ok(Value::Long(value)),
                Ok(Value::Double(value)) => return Ok(Value::Double(value)),
                // What is not a number after all stays as it was written, with its leading zeros.
                Ok(Value::Bool(_) | Value::Text(_) | Value::Json(_)) | Err(_) => {}
            }
        }
        if self.text_bytes_max > 0 && text.len() > self.text_bytes_max {
            return Err(Untypable::TextTooLong);
        }
        Ok(Value::Text(text))
    }

    fn double(&self, value: f64) -> Value<'static> {
        // Minus zero is zero to everybody who looks at a chart.
        let value = if value == 0.0 { 0.0 } else { value };
        if self.rereads_doubles && value.abs() >= 1e7 && value.fract() == 0.0 {
            let plain = format!("{value:.0}");
            if let Ok(long) = plain.parse() {
                return Value::Long(long);
            }
        }
        Value::Double(value)
    }

    fn as_text(&self, decimal: &Decimal<'_>) -> Result<Value<'static>, Untypable> {
        if !self.casts {
            return Err(Untypable::NumberTooLarge);
        }
        let plain = decimal.plain().ok_or(Untypable::NumberTooLarge)?;
        if self.text_bytes_max > 0 && plain.len() > self.text_bytes_max {
            return Err(Untypable::TextTooLong);
        }
        Ok(Value::Text(Cow::Owned(plain)))
    }
}

/// What most numbers are.
enum Short {
    Whole(i64),
    Measured(f64),
}

/// A number of at most nine digits without an exponent, read in one go: with so few, a whole number divided by a power of
/// ten is the double that is nearest to what is written.
fn short_number(text: &str) -> Option<Short> {
    const TENS: [f64; 10] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
    let bytes = text.as_bytes();
    let (is_negative, digits) = match bytes {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || digits.len() > 10 {
        return None;
    }
    let (mut number, mut point) = (0_u32, None);
    for (at, byte) in digits.iter().enumerate() {
        match byte {
            b'0'..=b'9' if at < 9 || point.is_some() => number = number * 10 + u32::from(byte - b'0'),
            b'.' if point.is_none() => point = Some(at),
            _other => return None,
        }
    }
    let Some(point) = point else {
        let value = i64::from(number);
        return Some(Short::Whole(if is_negative { -value } else { value }));
    };
    let value = f64::from(number) / TENS[digits.len() - 1 - point];
    Some(Short::Measured(if is_negative { -value } else { value }))
}

/// At most one minus, digits, at most one point, not at the end.
fn looks_like_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let mut points = 0;
    let plain = digits.bytes().all(|byte| {
        points += usize::from(byte == b'.');
        byte == b'.' || byte.is_ascii_digit()
    });
    plain && points <= 1 && digits.as_bytes().last().is_some_and(u8::is_ascii_digit)
}

/// A number as it is spelled: sign, digits around the point, exponent.
struct Decimal<'a> {
    is_negative: bool,
    whole: &'a str,
    fraction: &'a str,
    exponent: i64,
    has_point: bool,
    has_exponent: bool,
}

impl<'a> Decimal<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let (is_negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, Some(exponent)),
            None => (rest, None),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let has_exponent = exponent.is_some();
        let exponent = exponent.map_or(Some(0), |digits| digits.parse::<i64>().ok())?;
        let in_reach = exponent.unsigned_abs() <= 1_000_000 && mantissa.len() <= 1_000_000;
        let has_point = mantissa.len() > whole.len();
        in_reach.then_some(Self { is_negative, whole, fraction, exponent, has_point, has_exponent })
    }

    /// Digits after the point once the exponent is gone, as written: zeros count.
    fn scale(&self) -> i64 {
        i64::try_from(self.fraction.len()).unwrap_or(i64::MAX).saturating_sub(self.exponent)
    }

    /// Written with a point and without an exponent: a measurement, whatever its value.
    fn is_measured(&self) -> bool {
        self.has_point && !self.has_exponent
    }

    fn is_whole(&self) -> bool {
        let digits = || self.whole.bytes().chain(self.fraction.bytes());
        if digits().all(|digit| digit == b'0') {
            return true;
        }
        let zeros = digits().rev().take_while(|digit| *digit == b'0').count();
        self.scale() <= i64::try_from(zeros).unwrap_or(i64::MAX)
    }

    /// The number without an exponent; nothing if that is too long.
    fn plain(&self) -> Option<String> {
        let digits: String = [self.whole, self.fraction].concat();
        let point = i64::try_from(self.whole.len()).ok()? + self.exponent;
        let length = digits.len().max(usize::try_from(point.unsigned_abs()).ok()?);
        if length > PLAIN_DIGITS_MAX
            || digits.len() + usize::try_from((-point).max(0)).ok()? > PLAIN_DIGITS_MAX
        {
            return None;
        }
        let (whole, fraction) = match usize::try_from(point) {
            Err(_) => {
                let zeros = "0".repeat(usize::try_from(-point).ok()?);
                (String::new(), zeros + &digits)
            }
            Ok(point) if point >= digits.len() => {
                let zeros = "0".repeat(point - digits.len());
                (digits + &zeros, String::new())
            }
            Ok(point) => (digits[..point].to_owned(), digits[point..].to_owned()),
        };
        let whole = whole.trim_start_matches('0');
        let whole = if whole.is_empty() { "0" } else { whole };
        let fraction = if self.scale() > 0 { fraction.as_str() } else { "" };
        let is_zero = whole == "0" && fraction.bytes().all(|digit| digit == b'0');
        let sign = if self.is_negative && !is_zero { "-" } else { "" };
        let point = if fraction.is_empty() { "" } else { "." };
        Some(format!("{sign}{whole}{point}{fraction}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(value: i64) -> Value<'static> {
        Value::Long(value)
    }

    fn double(value: f64) -> Value<'static> {
        Value::Double(value)
    }

    fn words(text: &str) -> Value<'static> {
        Value::Text(Cow::Owned(text.to_owned()))
    }

    #[test]
    fn a_number_is_typed_by_its_spelling() {
        let typing = Typing::default();
        let rows = [
            ("5", long(5)),
            ("-7", long(-7)),
            ("-0", long(0)),
            ("5.0", double(5.0)),
            ("9999999.0", double(9_999_999.0)),
            ("10000000.0", double(10_000_000.0)),
            ("12345678901.5", double(12_345_678_901.5)),
            ("1e3", long(1000)),
            ("1.5e3", long(1500)),
            ("1.5E+3", long(1500)),
            ("1500e-2", long(15)),
            ("1e-3", double(0.001)),
            ("0.1234567890123456", double(0.123_456_789_012_345_6)),
            ("0.12345678901234567", words("0.12345678901234567")),
            ("1e-17", words("0.00000000000000001")),
            ("-1e-17", words("-0.00000000000000001")),
            ("9223372036854775807", long(i64::MAX)),
            ("-9223372036854775808", long(i64::MIN)),
            ("9223372036854775808", words("9223372036854775808")),
            ("1e20", words("100000000000000000000")),
            ("-1.25e20", words("-125000000000000000000")),
            ("0e999999999999999999999", Value::Bool(false)),
        ];
        for (text, value) in rows {
            let expected =
                if value == Value::Bool(false) { Err(Untypable::NumberTooLarge) } else { Ok(value) };
            assert_eq!(typing.number(text), expected, "{text}");
        }
        let Ok(Value::Double(zero)) = typing.number("-0.0") else { panic!("a double") };
        assert!(zero.is_sign_positive() && zero == 0.0);
        let Ok(Value::Text(digits)) = typing.number("1e308") else { panic!("text") };
        assert_eq!(digits.len(), 309);
    }

    #[test]
    fn short_numbers_are_read_as_long_ones_are() {
        let mut numbers: Vec<String> = [
            "0",
            "-0",
            "0.0",
            "-0.0",
            "999999999",
            "-999999999",
            "0.00000001",
            "99999999.9",
            "1234567890",
            "5.",
        ]
        .map(str::to_owned)
        .to_vec();
        numbers.extend((0..20_000_u32).map(|number| {
            let number = number.wrapping_mul(2_654_435_761);
            format!("{}.{}", number % 1000, number / 1000 % 1_000_000)
        }));
        for text in &numbers {
            match short_number(text) {
                Some(Short::Whole(value)) => assert_eq!(text.parse(), Ok(value), "{text}"),
                Some(Short::Measured(value)) => assert_eq!(text.parse::<f64>(), Ok(value), "{text}"),
                None => assert!(text.len() >= 10, "{text}"),
            }
        }
        for text in ["", "-", "1e5", "1.2.3", "+1", "1234567890", "x", "12345678901.5"] {
            assert!(short_number(text).is_none(), "{text}");
        }
    }

    #[test]
    fn text_that_looks_like_a_number_becomes_one() {
        let typing = Typing::default();
        let rows = [
            ("0042", long(42)),
            ("1.50", double(1.5)),
            ("2.0", double(2.0)),
            (".5", double(0.5)),
            ("-.5", double(-0.5)),
            ("-5", long(-5)),
            ("5.", words("5.")),
            ("1e3", words("1e3")),
            ("+5", words("+5")),
            ("--5", words("--5")),
            (" 5", words(" 5")),
            ("-", words("-")),
            ("", words("")),
            (".", words(".")),
            ("1.2.3", words("1.2.3")),
            ("0x1F", words("0x1F")),
            ("1,5", words("1,5")),
            ("NaN", words("NaN")),
            ("true", words("true")),
            ("00000000000000000000001", long(1)),
            ("9223372036854775808", words("9223372036854775808")),
            ("89883030000000000001", words("89883030000000000001")),
            ("8944123412341234", long(8_944_123_412_341_234)),
            ("0.12345678901234567", words("0.12345678901234567")),
        ];
        for (text, value) in rows {
            assert_eq!(typing.text("k", Cow::Borrowed(text)), Ok(value), "{text}");
        }
    }

    #[test]
    fn a_profile_that_means_text_gets_text() {
        let off = Typing { casts: false, ..Typing::default() };
        assert_eq!(off.text("k", "0042".into()), Ok(words("0042")));
        assert_eq!(off.number("1e20"), Err(Untypable::NumberTooLarge));
        assert_eq!(off.number("7"), Ok(long(7)));
        let some = Typing { text_keys: Arc::from([Box::from("iccid")]), ..Typing::default() };
        assert_eq!(some.text("iccid", "0042".into()), Ok(words("0042")));
        assert_eq!(some.text("count", "0042".into()), Ok(long(42)));
    }

    #[test]
    fn limits_hold_for_texts_and_for_exponents() {
        let short = Typing { text_bytes_max: 3, ..Typing::default() };
        assert_eq!(short.text("k", "abc".into()), Ok(words("abc")));
        assert_eq!(short.text("k", "abcd".into()), Err(Untypable::TextTooLong));
        assert_eq!(short.number("1e20"), Err(Untypable::TextTooLong));
        let typing = Typing::default();
        for text in ["1e999999999", "1e401", "1e-401", "1.5e-999999"] {
            assert_eq!(typing.number(text), Err(Untypable::NumberTooLarge), "{text}");
        }
    }

    #[test]
    fn whole_doubles_are_longs_where_the_profile_asks_for_that() {
        let rereads = Typing { rereads_doubles: true, ..Typing::default() };
        assert_eq!(rereads.number("10000000.0"), Ok(long(10_000_000)));
        assert_eq!(rereads.number("9999999.0"), Ok(double(9_999_999.0)));
        assert_eq!(rereads.number("12345678901.5"), Ok(double(12_345_678_901.5)));
    }
}
