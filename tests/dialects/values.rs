//! What becomes of values: appendix A of the device API, as a device says them in either version and a gateway of its child.

use device::{HubCall, HubReply, Value};
use dialects::client;
use dialects::house::House;
use mqtt::{QoS, Version};

/// What is stored of a value.
#[derive(Debug, PartialEq)]
enum Stored {
    Long(i64),
    Double(f64),
    Text(&'static str),
    Bool(bool),
    Json(&'static str),
    Nothing,
}

use Stored::{Bool, Double, Json, Long, Nothing, Text};

/// The rows of the appendix. 10000000.0 stays what it is: that it becomes a whole number is a switch, `rereadsDoubles`.
const ROWS: &[(&str, Stored)] = &[
    ("5", Long(5)),
    ("-7", Long(-7)),
    ("5.0", Double(5.0)),
    ("9999999.0", Double(9_999_999.0)),
    ("10000000.0", Double(10_000_000.0)),
    ("12345678901.5", Double(12_345_678_901.5)),
    ("1e3", Long(1_000)),
    ("1.5e3", Long(1_500)),
    ("1e-3", Double(0.001)),
    ("-0.0", Double(0.0)),
    ("0.1234567890123456", Double(0.123_456_789_012_345_6)),
    ("0.12345678901234567", Text("0.12345678901234567")),
    ("1e-17", Text("0.00000000000000001")),
    ("9223372036854775807", Long(i64::MAX)),
    ("9223372036854775808", Text("9223372036854775808")),
    ("1e20", Text("100000000000000000000")),
    ("\"0042\"", Long(42)),
    ("\"1.50\"", Double(1.5)),
    ("\"2.0\"", Double(2.0)),
    ("\".5\"", Double(0.5)),
    ("\"5.\"", Text("5.")),
    ("\"1e3\"", Text("1e3")),
    ("\"-5\"", Long(-5)),
    ("\"+5\"", Text("+5")),
    ("\"--5\"", Text("--5")),
    ("\" 5\"", Text(" 5")),
    ("\"-\"", Text("-")),
    ("\"\"", Text("")),
    ("\"0x1F\"", Text("0x1F")),
    ("\"1,5\"", Text("1,5")),
    ("\"NaN\"", Text("NaN")),
    ("\"true\"", Text("true")),
    ("\"00000000000000000000001\"", Long(1)),
    ("\"9223372036854775808\"", Text("9223372036854775808")),
    ("\"89883030000000000001\"", Text("89883030000000000001")),
    ("\"8944123412341234\"", Long(8_944_123_412_341_234)),
    ("true", Bool(true)),
    ("null", Nothing),
    ("{\"a\":1}", Json("{\"a\":1}")),
    ("[1,2]", Json("[1,2]")),
    ("01", Long(1)),
];

fn is_stored(expected: &Stored, found: Option<&Value<'_>>) -> bool {
    match (expected, found) {
        (Nothing, None) => true,
        (Long(expected), Some(Value::Long(found))) => expected == found,
        // Signs count: what is stored of -0.0 has none.
        (Double(expected), Some(Value::Double(found))) => expected.to_bits() == found.to_bits(),
        (Text(expected), Some(Value::Text(found))) => expected == found,
        (Bool(expected), Some(Value::Bool(found))) => expected == found,
        (Json(expected), Some(Value::Json(found))) => expected == found,
        _another_type => false,
    }
}

fn value(house: &mut House, device: &str) -> Option<Value<'static>> {
    let id = house.id(device);
    let HubReply::Facts(facts) = house.ask(id, HubCall::Latest { keys: Some(vec!["v".into()]) }) else {
        panic!("values")
    };
    facts.into_iter().next().map(|fact| fact.value)
}

#[test]
fn every_value_of_the_appendix_is_stored_as_its_row_says() {
    for version in [Version::V311, Version::V5] {
        let acknowledged = if version == Version::V5 { "PUBACK 0x00" } else { "PUBACK" };
        for (written, expected) in ROWS {
            let mut house = House::new(2);
            for (token, topic, device) in
                [("T", "v1/devices/me/telemetry", "D"), ("TG", "v1/gateway/telemetry", "A")]
            {
                let connect = client::connect(version, "", Some(token), None, None);
                let id = house.connect(0, 0, version, &connect);
                let payload = match token {
                    "T" => format!("{{\"v\":{written}}}"),
                    _gateway => format!("{{\"A\":[{{\"v\":{written}}}]}}"),
                };
                house.publish(id, topic, QoS::AtLeastOnce, payload.as_bytes());
                assert_eq!(house.seen(id).last().map(String::as_str), Some(acknowledged), "{written}");
                let found = value(&mut house, device);
                assert!(
                    is_stored(expected, found.as_ref()),
                    "{written} of {device}: {found:?}, not {expected:?}"
                );
            }
        }
    }
}

#[test]
fn a_number_with_many_digits_is_a_text_and_one_with_too_many_is_refused() {
    let mut house = House::new(1);
    let device = house.device("T");
    let mut say = |written: &str| {
        let payload = format!("{{\"v\":{written}}}");
        house.publish(device, "v1/devices/me/telemetry", QoS::AtLeastOnce, payload.as_bytes());
        (house.seen(device), value(&mut house, "D"))
    };
    let (seen, found) = say("1e308");
    assert_eq!(seen, ["PUBACK 0x00"]);
    assert!(matches!(found, Some(Value::Text(text)) if text.len() == 309 && text.starts_with("1000")));
    let (seen, _) = say("1e999999999");
    assert_eq!(seen, ["PUBACK 0x99"], "it would fill the memory");
}
