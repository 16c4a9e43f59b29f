//! Telemetry and attributes over HTTP.

use std::ops::ControlFlow;

use device::{Command, CommandId, DeviceId, HubCall, Keeping, Sample, Value as Typed};
use platform::{Archive, ArchiveFault, Points};
use serde_json::{Value, json};

use super::world::{OK, START_MS, Who, device_id, story};
use crate::thingsboard::history::aggregated;

#[test]
fn telemetry_is_typed_by_its_spelling_and_shown_as_text_or_as_it_is() {
    story(|world| async move {
        let id = world.device("A").await;
        let path = format!("/api/plugins/telemetry/DEVICE/{id}");
        let body = json!([{"ts": 17, "values": {"d": 5.0, "l": 5, "b": true, "t": "x", "n": "0042", "j": {"a": [1]}}}]);
        world.expect(Who::Admin, &format!("POST {path}/timeseries/ANY"), body, OK, json!("")).await;
        let point = |value: Value| json!([{"ts": 17, "value": value}]);
        let rows = [
            ("d", json!("5.0"), json!(5.0)),
            ("l", json!("5"), json!(5)),
            ("b", json!("true"), json!(true)),
            ("t", json!("x"), json!("x")),
            ("n", json!("42"), json!(42)),
            ("j", json!("{\"a\":[1]}"), json!({"a": [1]})),
        ];
        for (key, text, typed) in rows {
            for history in ["", "&startTs=0&endTs=100"] {
                let call = format!("GET {path}/values/timeseries?keys={key}{history}");
                world.expect(Who::Admin, &call, Value::Null, OK, json!({key: point(text.clone())})).await;
                let call = format!("{call}&useStrictDataTypes=true");
                world.expect(Who::Admin, &call, Value::Null, OK, json!({key: point(typed.clone())})).await;
            }
        }
        let call = format!("GET {path}/values/timeseries?keys=none");
        let nothing = json!({"none": [{"ts": START_MS, "value": null}]});
        world.expect(Who::Admin, &call, Value::Null, OK, nothing).await;
        let all = world.ask(Who::Admin, &format!("GET {path}/values/timeseries"), Value::Null).await.json();
        assert_eq!(all.as_object().unwrap().len(), 6);
        let keys = json!(["b", "d", "j", "l", "n", "t"]);
        world.expect(Who::Admin, &format!("GET {path}/keys/timeseries"), Value::Null, OK, keys).await;
        for body in [json!([]), json!({}), json!(5)] {
            let call = format!("POST {path}/timeseries/ANY/60");
            world.expect(Who::Admin, &call, body, 400, json!({"errorCode": 31})).await;
        }
    });
}

#[test]
fn history_is_limited_ordered_and_aggregated() {
    story(|world| async move {
        let id = world.device("A").await;
        let sample = |at_ms: i64| Sample { key: "k".into(), value: Typed::Long(at_ms), at_ms };
        let samples = (0..10).map(|number| sample(number * 10)).collect();
        let call = HubCall::Keep { samples, keeping: Keeping::History, forward: None };
        world.api.ask(device_id(&id), call).await.unwrap();
        let path = format!("GET /api/plugins/telemetry/DEVICE/{id}/values/timeseries");
        let point = |at_ms: i64, value: &str| json!({"ts": at_ms, "value": value});
        let rows = [
            ("startTs=0&endTs=100&limit=2", json!([point(90, "90"), point(80, "80")])),
            ("startTs=0&endTs=100&limit=2&orderBy=ASC", json!([point(0, "0"), point(10, "10")])),
            ("startTs=10&endTs=30", json!([point(20, "20"), point(10, "10")])),
            ("startTs=0&endTs=100&agg=COUNT&interval=50", json!([point(25, "5"), point(75, "5")])),
            ("startTs=0&endTs=100&agg=AVG&interval=50", json!([point(25, "20.0"), point(75, "70.0")])),
            ("startTs=0&endTs=100&agg=SUM&interval=0&limit=1", json!([point(90, "90")])),
            ("startTs=0&endTs=25&agg=MAX&interval=20", json!([point(10, "10"), point(22, "20")])),
            (
                "startTs=0&endTs=100&agg=COUNT&intervalType=MONTH&timeZone=Europe/Berlin",
                json!([point(50, "10")]),
            ),
        ];
        for (query, expected) in rows {
            for more in ["", "/history"] {
                let call = format!("{path}{more}?keys=k,none&{query}");
                let told = world.ask(Who::Admin, &call, Value::Null).await;
                assert_eq!((told.status, told.json()), (OK, json!({"k": expected.clone()})), "{call}");
            }
        }
        let wrong = [
            "startTs=0&endTs=701&agg=SUM&interval=1",
            "startTs=0&endTs=9999999999999&agg=SUM&intervalType=WEEK",
            "startTs=0&endTs=9&agg=SUM&intervalType=YEAR",
            "startTs=0&endTs=9&agg=SUM&intervalType=WEEK&timeZone=Mars",
            "startTs=0&endTs=9&agg=MODE&interval=9",
            "startTs=0&endTs=9&limit=0",
        ];
        for query in wrong {
            let call = format!("{path}?keys=k&{query}");
            world.expect(Who::Admin, &call, Value::Null, 400, json!({"errorCode": 31})).await;
        }
    });
}

/// A key with so many points, of which none is held.
struct Endless(i64);

impl Archive for Endless {
    fn points(
        &self,
        points: Points<'_>,
        visit: &mut dyn FnMut(i64, Typed<'_>) -> ControlFlow<()>,
    ) -> Result<(), ArchiveFault> {
        for at_ms in points.from_ms.max(0)..points.to_ms.min(self.0) {
            if visit(at_ms, Typed::Long(at_ms)).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn command(&self, _id: CommandId) -> Result<Option<(DeviceId, Command)>, ArchiveFault> {
        Ok(None)
    }

    fn has_command(&self, _id: CommandId) -> Result<bool, ArchiveFault> {
        Ok(false)
    }

    fn commands(&self, _device: DeviceId) -> Result<Vec<Command>, ArchiveFault> {
        Ok(Vec::new())
    }
}

#[test]
fn a_million_points_become_a_few_without_being_held() {
    let query = "keys=k&startTs=0&endTs=1000000&agg=SUM&interval=500000&useStrictDataTypes=true";
    let told = aggregated(&Endless(1_000_000), DeviceId::from_bytes([1; 16]), query);
    let halves = (0..500_000_i64).sum::<i64>();
    let expected = format!(
        "{{\"k\":[{{\"ts\":250000,\"value\":{halves}}},{{\"ts\":750000,\"value\":{}}}]}}",
        halves + 500_000 * 500_000
    );
    assert_eq!(told, expected);
}

#[test]
fn deleted_telemetry_is_gone_and_an_older_value_may_take_its_place() {
    story(|world| async move {
        let id = world.device("A").await;
        let path = format!("/api/plugins/telemetry/DEVICE/{id}");
        let body = json!([{"ts": 10, "values": {"k": 1}}, {"ts": 20, "values": {"k": 2}}, {"ts": 30, "values": {"k": 3}}]);
        world.expect(Who::Admin, &format!("POST {path}/timeseries/ANY"), body, OK, json!("")).await;
        let delete = format!("DELETE {path}/timeseries/delete?keys=k");
        let missing = json!({"errorCode": 31});
        world.expect(Who::Admin, &delete, Value::Null, 400, missing).await;
        let call = format!("{delete}&startTs=20&endTs=40&rewriteLatestIfDeleted=true");
        world.expect(Who::Admin, &call, Value::Null, OK, json!("")).await;
        let latest = format!("GET {path}/values/timeseries?keys=k");
        world.expect(Who::Admin, &latest, Value::Null, OK, json!({"k": [{"ts": 10, "value": "1"}]})).await;
        let history = format!("{latest}&startTs=0&endTs=99");
        world.expect(Who::Admin, &history, Value::Null, OK, json!({"k": [{"ts": 10, "value": "1"}]})).await;
        world
            .expect(Who::Admin, &format!("{delete}&deleteAllDataForKeys=true"), Value::Null, OK, json!(""))
            .await;
        assert_eq!(world.ask(Who::Admin, &history, Value::Null).await.json(), json!({}));
        world.expect(Who::Admin, &latest, Value::Null, OK, json!({"k": [{"value": null}]})).await;
    });
}

#[test]
fn attributes_have_scopes_and_keep_their_types() {
    story(|world| async move {
        let id = world.device("A").await;
        let path = format!("/api/plugins/telemetry/DEVICE/{id}");
        for (call, body) in [
            (format!("POST /api/plugins/telemetry/{id}/SHARED_SCOPE"), json!({"a": "0042", "o": {"x": 1}})),
            (format!("POST {path}/SERVER_SCOPE"), json!({"s": 1.5})),
            (format!("POST {path}/attributes/SHARED_SCOPE"), json!({"b": true})),
        ] {
            world.expect(Who::Admin, &call, body, OK, json!("")).await;
        }
        let fact = |key: &str, value: Value| json!({"key": key, "value": value, "lastUpdateTs": START_MS});
        let shared = json!([fact("a", json!("0042")), fact("b", json!(true)), fact("o", json!({"x": 1}))]);
        world
            .expect(
                Who::Admin,
                &format!("GET {path}/values/attributes/SHARED_SCOPE"),
                Value::Null,
                OK,
                shared,
            )
            .await;
        let some = json!([fact("b", json!(true)), fact("s", json!(1.5))]);
        world
            .expect(Who::Admin, &format!("GET {path}/values/attributes?keys=s,b"), Value::Null, OK, some)
            .await;
        world
            .expect(
                Who::Admin,
                &format!("GET {path}/keys/attributes/SHARED_SCOPE"),
                Value::Null,
                OK,
                json!(["a", "b", "o"]),
            )
            .await;
        let wrong = json!({"message": "Invalid scope: CLIENT_SCOPE"});
        world.expect(Who::Admin, &format!("POST {path}/CLIENT_SCOPE"), json!({"a": 1}), 400, wrong).await;
        for body in [json!({"a": null}), json!({}), json!([1])] {
            world
                .expect(Who::Admin, &format!("POST {path}/SERVER_SCOPE"), body, 400, json!({"errorCode": 31}))
                .await;
        }
        world
            .expect(Who::Admin, &format!("DELETE {path}/SHARED_SCOPE?keys=a,o"), Value::Null, OK, json!(""))
            .await;
        world
            .expect(
                Who::Admin,
                &format!("GET {path}/keys/attributes/SHARED_SCOPE"),
                Value::Null,
                OK,
                json!(["b"]),
            )
            .await;
        world
            .expect(
                Who::Admin,
                &format!("DELETE /api/plugins/telemetry/{id}/SHARED_SCOPE"),
                Value::Null,
                400,
                json!({"errorCode": 31}),
            )
            .await;
    });
}
