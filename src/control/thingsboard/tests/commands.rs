//! Commands over HTTP: answered, unanswered, persistent.

use std::sync::Arc;
use std::time::Duration;

use device::{Downlink, HubCall, Keeping, Uplink};
use mqtt::QoS;
use platform::Listening;
use serde_json::{Value, json};

use super::world::{OK, START_MS, Who, World, device_id, story};

/// A device that listens for commands over something.
struct Listener {
    listening: Listening,
    device: device::DeviceId,
    world: Arc<World>,
}

impl Listener {
    async fn new(world: &Arc<World>, id: &str) -> Self {
        let listening = world.api.platform().listen();
        let listener = Self { listening, device: device_id(id), world: Arc::clone(world) };
        let ear = listener.listening.ear();
        listener.ask(HubCall::Open { ear, keeping: Keeping::History }).await;
        let uplink = Uplink::Listens { attributes: false, commands: Some(QoS::AtLeastOnce) };
        listener.ask(HubCall::Hear { ear, uplink }).await;
        listener
    }

    async fn ask(&self, call: HubCall) {
        self.world.api.ask(self.device, call).await.unwrap();
    }

    /// The next command, which counts as delivered.
    async fn command(&self) -> (i32, String, String) {
        let downlink = self.listening.downlinks().recv_async().await.unwrap();
        let Downlink::Command { number, method, params, .. } = downlink else { panic!("{downlink:?}") };
        self.ask(HubCall::Delivered { number }).await;
        (number, method.into(), params.into())
    }

    async fn answer(&self, number: i32, answer: &str) {
        let uplink = Uplink::CommandAnswered { number, answer: answer.as_bytes().to_vec().into() };
        self.ask(HubCall::Hear { ear: self.listening.ear(), uplink }).await;
    }
}

#[test]
fn an_answer_is_passed_on_as_it_is() {
    story(|world| async move {
        let id = world.device("A").await;
        let device = Listener::new(&world, &id).await;
        let rows = [
            ("{\"ok\": true}", 200, "{\"ok\": true}"),
            ("17", 200, "17"),
            ("", 200, ""),
            ("no JSON", 406, ""),
        ];
        for edition in ["/api/rpc/twoway", "/api/plugins/rpc/twoway"] {
            for (answer, status, body) in rows {
                let asking = {
                    let (world, call) = (Arc::clone(&world), format!("POST {edition}/{id}"));
                    let body = json!({"method": "set", "params": {"pin": 7}});
                    tokio::spawn(async move { world.ask(Who::Admin, &call, body).await })
                };
                let (number, method, params) = device.command().await;
                assert_eq!((method.as_str(), params.as_str()), ("set", "{\"pin\":7}"));
                device.answer(number, answer).await;
                let told = asking.await.unwrap();
                assert_eq!(
                    (told.status, String::from_utf8(told.bytes).unwrap().as_str()),
                    (status, body),
                    "{answer}"
                );
            }
        }
    });
}

#[test]
fn parameters_reach_a_device_as_the_caller_spelled_them() {
    story(|world| async move {
        let id = world.device("A").await;
        let device = Listener::new(&world, &id).await;
        let params = r#"{"z":1e3,"a":123456789012345678901234567890,"m":[1.0,-0]}"#;
        let body = format!("{{\"method\":\"set\", \"params\": {}}}", params.replace(',', " , "));
        let asking = {
            let (world, call) = (Arc::clone(&world), format!("POST /api/rpc/oneway/{id}"));
            tokio::spawn(
                async move { world.send(Who::Admin, &call, "application/json", body.into_bytes()).await },
            )
        };
        let (_, _, heard) = device.command().await;
        assert_eq!(heard, params);
        assert_eq!(asking.await.unwrap().status, OK);
    });
}

#[test]
fn one_way_is_over_when_it_is_delivered() {
    story(|world| async move {
        let id = world.device("A").await;
        let device = Listener::new(&world, &id).await;
        let call = format!("POST /api/rpc/oneway/{id}");
        let asking = {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.ask(Who::Admin, &call, json!({"method": "m"})).await })
        };
        let (_, _, params) = device.command().await;
        assert_eq!(params, "null");
        assert_eq!(asking.await.unwrap().status, OK);
    });
}

#[test]
fn without_an_answer_the_status_says_whether_it_was_sent_and_time_has_a_lower_bound() {
    story(|world| async move {
        let id = world.device("A").await;
        let body = json!({"method": "m", "timeout": 1});
        let rows = [("/api/rpc", 504), ("/api/plugins/rpc", 409)];
        for (edition, status) in rows {
            let begin = tokio::time::Instant::now();
            let told = world.ask(Who::Admin, &format!("POST {edition}/twoway/{id}"), body.clone()).await;
            let waited = begin.elapsed();
            assert_eq!(told.status, status, "{edition}, nobody listens");
            assert!(
                waited >= Duration::from_millis(5_000) && waited < Duration::from_millis(6_000),
                "{waited:?}"
            );
        }
        let device = Listener::new(&world, &id).await;
        while device.listening.downlinks().try_recv().is_ok() {}
        for (edition, status) in [("/api/rpc", 504), ("/api/plugins/rpc", 408)] {
            let asking = {
                let (world, call, body) =
                    (Arc::clone(&world), format!("POST {edition}/twoway/{id}"), body.clone());
                tokio::spawn(async move { world.ask(Who::Admin, &call, body).await.status })
            };
            device.command().await;
            assert_eq!(asking.await.unwrap(), status, "{edition}, sent");
        }
        let begin = tokio::time::Instant::now();
        let past = json!({"method": "m", "timeout": 60_000, "expirationTime": START_MS - 1});
        assert_eq!(world.ask(Who::Admin, &format!("POST /api/rpc/twoway/{id}"), past).await.status, 504);
        assert!(begin.elapsed() < Duration::from_secs(1), "what is over already is not waited for");
    });
}

#[test]
fn what_is_wrong_with_a_command_is_told() {
    story(|world| async move {
        let id = world.device("A").await;
        let call = format!("POST /api/rpc/twoway/{id}");
        world.expect(Who::Admin, &call, json!({"params": 1}), 500, json!({"errorCode": 2})).await;
        let told = world.send(Who::Admin, &call, "application/json", b"{".to_vec()).await;
        assert_eq!((told.status, &told.json()["message"]), (400, &json!("Invalid request body")));
        let large = json!({"method": "m", "params": "x".repeat(65_536)});
        assert_eq!(world.ask(Who::Admin, &call, large).await.status, 413);
        let unknown = "POST /api/rpc/twoway/784f394c-42b6-435a-983c-b7beff2784f9";
        let told = world.ask(Who::Admin, unknown, json!({"method": "m"})).await;
        assert_eq!(
            (told.status, told.bytes.as_slice()),
            (404, &b"Device with requested id wasn't found!"[..])
        );
    });
}

#[test]
fn a_dialect_without_words_for_a_command_is_told_as_the_real_system_tells_it() {
    story(|world| async move {
        let id = world.device("A").await;
        let asking = {
            let (world, call) = (Arc::clone(&world), format!("POST /api/rpc/twoway/{id}"));
            tokio::spawn(async move { world.ask(Who::Admin, &call, json!({"method": "m"})).await })
        };
        tokio::task::yield_now().await;
        let report = |state| {
            device::News::Report(device::Report {
                device: device_id(&id),
                command: device::CommandId::from_bytes([1; 16]),
                state,
                response: Some("{\"error\":\"no words\"}".into()),
                is_garbled: false,
            })
        };
        assert!(
            !world.api.platform().tell(report(device::CommandState::Failed)),
            "it is about another command"
        );
        assert_eq!(asking.await.unwrap().status, 504);
        let wanted = "784f394c-42b6-435a-983c-b7beff2784f9";
        let asking = {
            let (world, call) = (Arc::clone(&world), format!("POST /api/rpc/twoway/{id}"));
            let body = json!({"method": "m", "requestUUID": wanted});
            tokio::spawn(async move { world.ask(Who::Admin, &call, body).await })
        };
        let device::News::Report(mut failed) = report(device::CommandState::Failed) else { return };
        failed.command = device::CommandId::parse(wanted).unwrap();
        while !world.api.platform().tell(device::News::Report(failed.clone())) {
            tokio::task::yield_now().await;
        }
        let told = asking.await.unwrap();
        assert_eq!(
            (told.status, told.json()),
            (OK, json!({"result": "INVALID_ARGUMENTS", "error": "no words"}))
        );
    });
}

#[test]
fn a_persistent_command_is_found_listed_and_taken_back() {
    story(|world| async move {
        let id = world.device("A").await;
        let body = json!({"method": "m", "params": {"a": 1}, "persistent": true, "retries": 2, "additionalInfo": {"who": "me"}});
        let call = format!("POST /api/rpc/oneway/{id}");
        let made = world.expect(Who::Admin, &call, body, OK, json!({"rpcId": "*"})).await;
        let one = format!("/api/rpc/persistent/{}", made["rpcId"].as_str().unwrap());
        let expected = json!({
            "id": {"entityType": "RPC", "id": made["rpcId"]},
            "status": "QUEUED", "response": null, "expirationTime": START_MS + 10_000,
            "deviceId": {"entityType": "DEVICE", "id": id},
            "request": {"oneway": true, "persisted": true, "retries": 2, "body": {"method": "m", "params": "{\"a\":1}"}},
            "additionalInfo": {"who": "me"},
        });
        world.expect(Who::Admin, &format!("GET {one}"), Value::Null, OK, expected.clone()).await;
        assert_eq!(world.ask(Who::Other, &format!("GET {one}"), Value::Null).await.status, 404);
        assert_eq!(world.ask(Who::Customer, &format!("DELETE {one}"), Value::Null).await.status, 403);
        for (status, found) in [("QUEUED", json!([expected])), ("EXPIRED", json!([]))] {
            let call = format!("GET /api/rpc/persistent/device/{id}?pageSize=9&page=0&rpcStatus={status}");
            world.expect(Who::Admin, &call, Value::Null, OK, json!({"data": found})).await;
        }
        let device = Listener::new(&world, &id).await;
        device.command().await;
        world
            .expect(Who::Admin, &format!("GET {one}"), Value::Null, OK, json!({"status": "DELIVERED"}))
            .await;
        world.expect(Who::Admin, &format!("DELETE {one}"), Value::Null, OK, json!("")).await;
        assert_eq!(world.ask(Who::Admin, &format!("GET {one}"), Value::Null).await.status, 404);
    });
}

#[test]
fn an_id_that_is_taken_is_refused_and_harms_nobody_who_has_it() {
    story(|world| async move {
        let (id, other) = (world.device("A").await, world.device("B").await);
        let device = Listener::new(&world, &id).await;
        let wanted = "784f394c-42b6-435a-983c-b7beff2784f9";
        let body =
            |is_persistent: bool| json!({"method": "m", "requestUUID": wanted, "persistent": is_persistent});
        let asking = {
            let (world, call, body) = (Arc::clone(&world), format!("POST /api/rpc/twoway/{id}"), body(false));
            tokio::spawn(async move { world.ask(Who::Admin, &call, body).await })
        };
        let (number, ..) = device.command().await;
        let message = format!("A command with requestUUID '{wanted}' is there already");
        let refused = json!({"status": 400, "errorCode": 31, "message": message});
        for (device, is_persistent) in [(&id, false), (&other, false), (&id, true), (&other, true)] {
            for kind in ["oneway", "twoway"] {
                let call = format!("POST /api/rpc/{kind}/{device}");
                world.expect(Who::Admin, &call, body(is_persistent), 400, refused.clone()).await;
            }
        }
        device.answer(number, "7").await;
        let told = asking.await.unwrap();
        assert_eq!((told.status, told.json()), (OK, json!(7)), "the first caller has the answer");

        // The id is free now: what was not persistent is forgotten.
        let call = format!("POST /api/rpc/oneway/{id}");
        world.expect(Who::Admin, &call, body(true), OK, json!({"rpcId": wanted})).await;
        device.command().await;
        for device in [&id, &other] {
            for is_persistent in [true, false] {
                let call = format!("POST /api/rpc/oneway/{device}");
                world.expect(Who::Admin, &call, body(is_persistent), 400, refused.clone()).await;
            }
        }
        let kept = json!({"status": "DELIVERED", "deviceId": {"id": id}});
        let one = format!("/api/rpc/persistent/{wanted}");
        world.expect(Who::Admin, &format!("GET {one}"), Value::Null, OK, kept).await;
        world.expect(Who::Admin, &format!("DELETE {one}"), Value::Null, OK, json!("")).await;
        world.expect(Who::Admin, &call, body(true), OK, json!({"rpcId": wanted})).await;
    });
}

#[test]
fn another_tenants_command_is_not_taken_over() {
    story(|world| async move {
        let id = world.device("A").await;
        let foreign = world.expect(Who::Other, "POST /api/device", json!({"name": "F"}), OK, json!({})).await;
        let foreign = foreign["id"]["id"].as_str().unwrap().to_owned();
        let wanted = "784f394c-42b6-435a-983c-b7beff2784f9";
        let body = json!({"method": "m", "requestUUID": wanted, "persistent": true});
        let call = format!("POST /api/rpc/twoway/{id}");
        world.expect(Who::Admin, &call, body.clone(), OK, json!({"rpcId": wanted})).await;
        let call = format!("POST /api/rpc/twoway/{foreign}");
        world.expect(Who::Other, &call, body, 400, json!({"errorCode": 31})).await;
        let one = format!("GET /api/rpc/persistent/{wanted}");
        let kept = json!({"status": "QUEUED", "deviceId": {"id": id}});
        world.expect(Who::Admin, &one, Value::Null, OK, kept).await;
        assert_eq!(world.ask(Who::Other, &one, Value::Null).await.status, 404);
    });
}

#[test]
fn persistent_commands_are_listed_in_the_order_that_is_asked_for() {
    story(|world| async move {
        let id = world.device("A").await;
        for (number, method) in [(3, "b"), (1, "c"), (2, "a")] {
            let wanted = format!("784f394c-42b6-435a-983c-b7beff27840{number}");
            let body = json!({"method": method, "requestUUID": wanted, "persistent": true, "expirationTime": START_MS + 100 * number});
            let call = format!("POST /api/rpc/oneway/{id}");
            world.expect(Who::Admin, &call, body, OK, json!({"rpcId": wanted})).await;
        }
        let rows = [
            ("pageSize=2&page=0", "ca", 2, true),
            ("pageSize=2&page=1", "b", 2, false),
            ("pageSize=9&page=0&sortProperty=name&sortOrder=DESC", "cba", 1, false),
            ("pageSize=9&page=0&sortProperty=expirationTime", "cab", 1, false),
            ("pageSize=1&page=1&sortProperty=createdTime", "a", 3, true),
        ];
        for (query, methods, pages, has_next) in rows {
            let call = format!("GET /api/rpc/persistent/device/{id}?{query}");
            let told = world.ask(Who::Admin, &call, Value::Null).await.json();
            let items = told["data"].as_array().unwrap();
            let found: String =
                items.iter().map(|item| item["request"]["body"]["method"].as_str().unwrap()).collect();
            assert_eq!(
                (found.as_str(), &told["totalPages"], &told["totalElements"], &told["hasNext"]),
                (methods, &json!(pages), &json!(3), &json!(has_next)),
                "{query}"
            );
        }
        let call = format!("GET /api/rpc/persistent/device/{id}?pageSize=9&page=0&sortProperty=none");
        assert_eq!(world.ask(Who::Admin, &call, Value::Null).await.status, 400);
    });
}
