//! Devices that speak HTTP: what they say, ask and wait for.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::world::{OK, START_MS, Who, World, story};

#[test]
fn a_device_says_and_asks_with_its_token_alone() {
    story(|world| async move {
        let id = world.device("A").await;
        world
            .expect(
                Who::Nobody,
                "POST /api/v1/A/telemetry",
                json!([{"ts": 17, "values": {"t": "0042"}}]),
                OK,
                json!(""),
            )
            .await;
        world.expect(Who::Nobody, "POST /api/v1/A/attributes", json!({"serial": "x"}), OK, json!("")).await;
        let path = format!("/api/plugins/telemetry/DEVICE/{id}");
        let latest = format!("GET {path}/values/timeseries?keys=t");
        world.expect(Who::Admin, &latest, Value::Null, OK, json!({"t": [{"ts": 17, "value": "42"}]})).await;
        let write = format!("POST {path}/SHARED_SCOPE");
        world.expect(Who::Admin, &write, json!({"interval": 60}), OK, json!("")).await;
        let rows = [
            ("", json!({"client": {"serial": "x"}, "shared": {"interval": 60}})),
            ("?clientKeys=serial,none", json!({"client": {"serial": "x"}})),
            ("?sharedKeys=interval", json!({"shared": {"interval": 60}})),
        ];
        for (query, expected) in rows {
            let told = world.ask(Who::Nobody, &format!("GET /api/v1/A/attributes{query}"), Value::Null).await;
            assert_eq!((told.status, told.json()), (OK, expected), "{query}");
        }
        world
            .expect(
                Who::Admin,
                &format!("GET /api/device/info/{id}"),
                Value::Null,
                OK,
                json!({"active": true}),
            )
            .await;
        let connected = format!("GET {path}/values/attributes/SERVER_SCOPE?keys=connected");
        world.expect(Who::Admin, &connected, Value::Null, OK, json!([{"value": false}])).await;
    });
}

#[test]
fn json_as_firmware_writes_it_is_read_as_over_mqtt() {
    story(|world| async move {
        let id = world.device("A").await;
        let say = |call: &'static str, body: &'static str| {
            world.send(Who::Nobody, call, "application/json", body.as_bytes().to_vec())
        };
        assert_eq!(say("POST /api/v1/A/telemetry", "{t:01;'u':x}").await.status, OK);
        assert_eq!(say("POST /api/v1/A/attributes", "{serial:'x'}").await.status, OK);
        assert_eq!(say("POST /api/v1/A/claim", "{secretKey:abc}").await.status, OK);
        let answer = say("POST /api/v1/A/rpc", "{method:ping,params:{}}").await;
        assert_eq!((answer.status, answer.json()), (OK, json!("pong")));
        let call = format!("GET /api/plugins/telemetry/DEVICE/{id}/values/timeseries?keys=t,u");
        let points = json!({"t": [{"value": "1"}], "u": [{"value": "x"}]});
        world.expect(Who::Admin, &call, Value::Null, OK, points).await;
        let unknown = say("POST /api/v1/provision", "{provisionDeviceKey:k,provisionDeviceSecret:s}").await;
        assert_eq!((unknown.status, unknown.json()["status"].clone()), (OK, json!("NOT_FOUND")));
    });
}

#[test]
fn strangers_and_broken_bodies_have_their_statuses() {
    story(|world| async move {
        world.device("A").await;
        let broken = |call: &'static str, body: &'static [u8]| {
            world.send(Who::Nobody, call, "application/json", body.to_vec())
        };
        assert_eq!(broken("POST /api/v1/B/telemetry", b"{}").await.status, 401);
        assert_eq!(broken("POST /api/v1/A/telemetry", b"{").await.status, 500);
        assert_eq!(broken("POST /api/v1/A/attributes", b"[]").await.status, 500);
        assert_eq!(broken("POST /api/v1/A/rpc/x", b"{}").await.status, 400);
        assert_eq!(
            broken("POST /api/v1/A/rpc", b"{\"method\":\"m\"}").await.status,
            400,
            "params are needed"
        );
        let large =
            world.send(Who::Nobody, "POST /api/v1/A/rpc/1", "application/json", vec![b'1'; 65_537]).await;
        assert_eq!(large.status, 413);
        world
            .expect(Who::Nobody, "GET /api/v1/A/firmware?title=a&version=1", Value::Null, 404, json!(""))
            .await;
    });
}

#[test]
fn a_poll_hears_of_attributes_and_ends_at_its_time() {
    story(|world| async move {
        let id = world.device("A").await;
        let poll = |query: &'static str| {
            let (world, call) = (Arc::clone(&world), format!("GET /api/v1/A/attributes/updates{query}"));
            tokio::spawn(async move { world.ask(Who::Nobody, &call, Value::Null).await })
        };
        for (query, lasts_s) in [("?timeout=20000", 20), ("", 60), ("?timeout=9999999", 300)] {
            let begin = tokio::time::Instant::now();
            assert_eq!(poll(query).await.unwrap().status, 408);
            assert_eq!(begin.elapsed().as_secs(), lasts_s, "{query}");
        }
        let scope = format!("/api/plugins/telemetry/{id}/SHARED_SCOPE");
        for (call, body, expected) in [
            (format!("POST {scope}"), json!({"k": 5}), json!({"k": 5})),
            (format!("DELETE {scope}?keys=k"), Value::Null, json!({"deleted": ["k"]})),
        ] {
            let polling = poll("");
            // The poll waits once its first step is done.
            tokio::time::advance(Duration::from_millis(1)).await;
            world.expect(Who::Admin, &call, body, OK, json!("")).await;
            assert_eq!(polling.await.unwrap().json(), expected);
        }
    });
}

#[test]
fn a_poll_ends_at_once_when_its_device_is_deleted_or_recognised_by_something_else() {
    story(|world| async move {
        let id = world.device("A").await;
        for path in ["attributes/updates", "rpc"] {
            let poll = |token: &'static str| {
                let (world, call) = (Arc::clone(&world), format!("GET /api/v1/{token}/{path}"));
                tokio::spawn(async move { world.ask(Who::Nobody, &call, Value::Null).await })
            };
            let credential = |token: &str| json!({"deviceId": {"id": id, "entityType": "DEVICE"}, "credentialsType": "ACCESS_TOKEN", "credentialsId": token});
            let polling = poll("A");
            // The poll waits once its first step is done.
            tokio::time::advance(Duration::from_millis(1)).await;
            let begin = tokio::time::Instant::now();
            for token in ["B", "A"] {
                let call = "POST /api/device/credentials";
                world.expect(Who::Admin, call, credential(token), OK, json!({"credentialsId": token})).await;
            }
            assert_eq!((polling.await.unwrap().status, begin.elapsed().as_secs()), (408, 0), "{path}");
        }
        let poll = Arc::clone(&world);
        let polling = tokio::spawn(async move {
            poll.ask(Who::Nobody, "GET /api/v1/A/attributes/updates", Value::Null).await
        });
        tokio::time::advance(Duration::from_millis(1)).await;
        let begin = tokio::time::Instant::now();
        world.expect(Who::Admin, &format!("DELETE /api/device/{id}"), Value::Null, OK, json!("")).await;
        let told = polling.await.unwrap();
        assert_eq!((told.status, told.bytes.as_slice()), (403, &b"Device was deleted!"[..]));
        assert_eq!(begin.elapsed().as_secs(), 0, "nobody waits for somebody who is gone");
        assert_eq!(world.api.platform().waiting_figures().listeners, 0);
    });
}

#[test]
fn a_poll_gets_commands_one_by_one_and_answers_them() {
    story(|world| async move {
        let id = world.device("A").await;
        let asking: Vec<_> = ["one", "two"]
            .into_iter()
            .map(|method| {
                let (world, call) = (Arc::clone(&world), format!("POST /api/rpc/twoway/{id}"));
                tokio::spawn(async move {
                    world.ask(Who::Admin, &call, json!({"method": method, "params": 1})).await
                })
            })
            .collect();
        tokio::time::advance(Duration::from_millis(1)).await;
        for (number, method) in [(0, "one"), (1, "two")] {
            let poll = world.ask(Who::Nobody, "GET /api/v1/A/rpc?timeout=1000", Value::Null).await;
            assert_eq!(poll.json(), json!({"id": number, "method": method, "params": 1}));
            let call = format!("POST /api/v1/A/rpc/{number}");
            world.expect(Who::Nobody, &call, json!({"done": number}), OK, json!("")).await;
        }
        for (number, asking) in asking.into_iter().enumerate() {
            assert_eq!(asking.await.unwrap().json(), json!({"done": number}));
        }
        assert_eq!(world.ask(Who::Nobody, "GET /api/v1/A/rpc?timeout=1000", Value::Null).await.status, 408);
    });
}

#[test]
fn calls_are_answered_here_or_by_whoever_was_named() {
    story(|world| async move {
        world.device("A").await;
        let call = |method: &str| json!({"method": method, "params": {}});
        world
            .expect(Who::Nobody, "POST /api/v1/A/rpc", call("getCurrentTime"), OK, json!({"time": START_MS}))
            .await;
        world
            .expect(
                Who::Nobody,
                "POST /api/v1/A/rpc",
                call("getSessionLimits"),
                OK,
                json!({"maxPayloadSize": 65_536}),
            )
            .await;
        world
            .expect(
                Who::Nobody,
                "POST /api/v1/A/rpc",
                call("reboot"),
                OK,
                json!({"error": "unknown method: reboot"}),
            )
            .await;
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let echo = |body: String| async move {
            let called: Value = serde_json::from_str(&body).unwrap();
            match called["method"].as_str() {
                Some("echo") => Ok(called.to_string()),
                Some("broken") => Ok("no JSON".to_owned()),
                _other => Err(axum::http::StatusCode::NOT_FOUND),
            }
        };
        let service = axum::Router::new().fallback(axum::routing::post(echo));
        tokio::spawn(async move { axum::serve(listener, service).await });
        let world = World::new(Some(address));
        let id = world.device("A").await;
        let echo = json!({"method": "echo", "params": {"a": [1]}});
        let expected = json!({"requestId": null, "deviceId": id, "deviceName": "A", "deviceType": "default", "method": "echo", "params": {"a": [1]}});
        world.expect(Who::Nobody, "POST /api/v1/A/rpc", echo, OK, expected.clone()).await;
        for (method, error) in [("reboot", "unknown method: reboot"), ("broken", "no answer")] {
            let body = json!({"method": method, "params": null});
            let told = world.ask(Who::Nobody, "POST /api/v1/A/rpc", body).await;
            assert_eq!(told.json(), json!({"error": error}), "no parameters are parameters, too");
            let told = world.ask(Who::Nobody, "POST /api/v1/A/rpc", json!({"method": method})).await;
            assert_eq!(told.status, 400, "params are needed");
        }

        world.api.start();
        let mut expected = expected;
        expected["requestId"] = json!(1);
        let listening = world.api.platform().listen();
        let (device, ear, cookie) = (super::world::device_id(&id), listening.ear(), device::Cookie(7));
        let call = |method: &str| device::News::Called { device, ear, cookie, method: method.into(), params: "{\"a\":[1]}".into() };
        for (method, expected) in [("echo", Ok(expected)), ("reboot", Err("unknown method: reboot"))] {
            assert!(world.api.platform().tell(call(method)));
            let heard = listening.downlinks().recv_async().await.unwrap();
            let device::Downlink::CallAnswered { cookie: back, answer } = heard else { panic!("{heard:?}") };
            assert_eq!(back, cookie);
            match (answer, expected) {
                (Ok(json), Ok(expected)) => assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), expected),
                (Err(why), Err(expected)) => assert_eq!(&*why, expected),
                (answer, expected) => panic!("{answer:?} is not {expected:?}"),
            }
        }
    });
}

#[test]
fn an_address_that_hangs_is_a_timeout() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let world = World::new(Some(format!("http://{}", listener.local_addr().unwrap())));
        world.device("A").await;
        let body = json!({"method": "slow", "params": {}});
        world.expect(Who::Nobody, "POST /api/v1/A/rpc", body, 408, json!({"error": "timeout"})).await;
    });
}

#[test]
fn provisioning_gives_credentials_and_refuses_what_it_must() {
    story(|world| async move {
        let profile = json!({
            "name": "p", "provisionType": "ALLOW_CREATE_NEW_DEVICES", "provisionDeviceKey": "k1",
            "profileData": {"provisionConfiguration": {"type": "ALLOW_CREATE_NEW_DEVICES", "provisionDeviceSecret": "s1"}},
        });
        world.expect(Who::Admin, "POST /api/deviceProfile", profile, OK, json!({})).await;
        let request = |name: &str, secret: &str| json!({"deviceName": name, "provisionDeviceKey": "k1", "provisionDeviceSecret": secret, "token": name});
        let call = "POST /api/v1/provision";
        let granted =
            json!({"status": "SUCCESS", "credentialsType": "ACCESS_TOKEN", "credentialsValue": "th"});
        world.expect(Who::Nobody, call, request("th", "s1"), OK, granted).await;
        world
            .expect(Who::Nobody, call, request("th", "s1"), OK, json!({"status": "FAILURE", "errorMsg": "*"}))
            .await;
        world
            .expect(
                Who::Nobody,
                call,
                request("x", "s2"),
                OK,
                json!({"status": "NOT_FOUND", "errorMsg": "*"}),
            )
            .await;
        assert_eq!(world.ask(Who::Nobody, call, json!({"deviceName": "y"})).await.status, 500);
        let made = world.ask(Who::Admin, "GET /api/tenant/device?deviceName=th", Value::Null).await.json();
        let id = super::world::id_of(&made);
        let call = format!(
            "GET /api/plugins/telemetry/DEVICE/{id}/values/attributes/SERVER_SCOPE?keys=provisionState"
        );
        world.expect(Who::Admin, &call, Value::Null, OK, json!([{"value": "provisioned"}])).await;
        world.expect(Who::Nobody, "POST /api/v1/th/telemetry", json!({"t": 1}), OK, json!("")).await;
    });
}

#[test]
fn the_attribute_says_whether_a_device_was_provisioned() {
    story(|world| async move {
        let profile = json!({
            "name": "p", "provisionType": "CHECK_PRE_PROVISIONED_DEVICES", "provisionDeviceKey": "k1",
            "profileData": {"provisionConfiguration": {
                "type": "CHECK_PRE_PROVISIONED_DEVICES", "provisionDeviceSecret": "s1",
            }},
        });
        world.expect(Who::Admin, "POST /api/deviceProfile", profile, OK, json!({})).await;
        let device = json!({"name": "th", "type": "p"});
        let made = world.expect(Who::Admin, "POST /api/device?accessToken=th", device, OK, json!({})).await;
        let attributes = format!("/api/plugins/telemetry/DEVICE/{}/SERVER_SCOPE", super::world::id_of(&made));
        let (write, delete) =
            (format!("POST {attributes}"), format!("DELETE {attributes}?keys=provisionState"));
        let (nothing, state) = (Value::Null, json!({"provisionState": "provisioned"}));
        let request = json!({"deviceName": "th", "provisionDeviceKey": "k1", "provisionDeviceSecret": "s1"});
        let rows = [
            (None, "SUCCESS"),
            (None, "FAILURE"),
            (Some((&delete, nothing.clone())), "SUCCESS"),
            (Some((&delete, nothing)), "SUCCESS"),
            (Some((&write, state)), "FAILURE"),
        ];
        for (before, status) in rows {
            if let Some((call, body)) = before {
                assert_eq!(world.ask(Who::Admin, call, body).await.status, OK);
            }
            let expected = json!({"status": status});
            world.expect(Who::Nobody, "POST /api/v1/provision", request.clone(), OK, expected).await;
        }
    });
}

#[test]
fn firmware_comes_whole_or_in_parts_to_whom_it_was_assigned() {
    story(|world| async move {
        world.device("A").await;
        let ((), _kept) = world.api.platform().change(|registry, changes| {
            let device = registry.device_showing(device::Probe::of("A")).unwrap().clone();
            let content =
                device::Content::upload(Arc::from(&b"0123456789"[..]), device::Algorithm::Md5, None).unwrap();
            let package = device::Package {
                created_ms: 0,
                id: device::PackageId::from_bytes([5; 16]),
                tenant: device.tenant,
                profile: device.profile,
                kind: device::PackageKind::Firmware,
                title: "app".into(),
                version: "1".into(),
                tag: None,
                content,
                label: device::Label::default(),
            };
            let mut device = device;
            device.rare_mut().firmware = Some(package.id);
            registry.put_package(Arc::new(package), changes);
            registry.replace(device, changes).unwrap();
        });
        let rows: [(&str, u16, &[u8]); 6] = [
            ("title=app&version=1", 200, b"0123456789"),
            ("title=app&version=1&size=4&chunk=0", 200, b"0123"),
            ("title=app&version=1&size=4&chunk=2", 200, b"89"),
            ("title=app&version=1&size=4&chunk=3", 200, b""),
            ("title=app&version=2", 400, b""),
            ("title=other&version=1", 400, b""),
        ];
        for (query, status, bytes) in rows {
            let told = world.ask(Who::Nobody, &format!("GET /api/v1/A/firmware?{query}"), Value::Null).await;
            assert_eq!((told.status, told.bytes.as_slice()), (status, bytes), "{query}");
        }
        let told = world.ask(Who::Nobody, "GET /api/v1/A/software?title=app&version=1", Value::Null).await;
        assert_eq!(told.status, 404);
    });
}

#[test]
fn whoever_guesses_tokens_and_keys_is_made_to_wait() {
    story(|world| async move {
        world.device("A").await;
        let body = json!({"provisionDeviceKey": "k", "provisionDeviceSecret": "s"});
        for (call, status) in [("attributes", 401), ("telemetry", 401)] {
            let call = format!("POST /api/v1/guess/{call}");
            assert_eq!(world.ask(Who::Nobody, &call, json!({"a": 1})).await.status, status);
        }
        world
            .expect(Who::Nobody, "POST /api/v1/provision", body.clone(), OK, json!({"status": "NOT_FOUND"}))
            .await;
        let told = json!({"status": 429, "errorCode": 33});
        for call in ["POST /api/v1/A/telemetry", "POST /api/v1/provision"] {
            world.expect(Who::Nobody, call, body.clone(), 429, told.clone()).await;
        }
        world.expect(Who::Admin, "GET /api/auth/user", Value::Null, OK, json!({})).await;
        assert!(world.api.metrics().contains("ringmq_api_refused_total{what=\"guesses\"} 2\n"));
    });
}

/// A store without space, in which nothing is ever kept.
struct Full;

impl platform::Journal for Full {
    fn keep(&self, _changes: Vec<device::Change>, kept: Option<flume::Sender<()>>) {
        // Whoever waits for it waits for ever.
        std::mem::forget(kept);
    }

    fn has_space(&self) -> bool {
        false
    }
}

#[test]
fn without_space_what_adds_is_refused_at_once_and_what_takes_away_is_tried() {
    story(|world| async move {
        let id = world.device("A").await;
        world.api.platform().attach_journal(Box::new(Full));
        let begin = tokio::time::Instant::now();
        let refused = json!({"status": 507, "errorCode": 46, "message": "*"});
        let calls = [
            "POST /api/v1/A/telemetry".to_owned(),
            "POST /api/v1/A/claim".to_owned(),
            format!("POST /api/plugins/telemetry/DEVICE/{id}/timeseries/ANY"),
            format!("POST /api/plugins/telemetry/{id}/SERVER_SCOPE"),
            "POST /api/customer".to_owned(),
            "POST /api/device".to_owned(),
        ];
        for call in &calls {
            world.expect(Who::Admin, call, json!({"name": "n", "title": "t"}), 507, refused.clone()).await;
        }
        world.expect(Who::Nobody, "GET /api/v1/A/attributes", Value::Null, OK, json!({})).await;
        assert_eq!(begin.elapsed().as_millis(), 0, "nobody waited");
        let counted = format!("ringmq_api_refused_total{{what=\"full\"}} {}\n", calls.len());
        assert!(world.api.metrics().contains(&counted));
        let gone = world.ask(Who::Admin, &format!("DELETE /api/device/{id}"), Value::Null).await;
        assert_eq!((gone.status, begin.elapsed().as_secs()), (503, 10), "the disk is asked");
    });
}

/// Cores that have room for nothing.
struct Crowd;

impl platform::Cores for Crowd {
    fn ask(
        &self,
        _device: device::DeviceId,
        call: device::HubCall,
        _reply: flume::Sender<device::HubReply>,
    ) -> Result<(), platform::Crowded> {
        Err(platform::Crowded(Box::new(call)))
    }
}

#[test]
fn where_too_many_calls_wait_one_more_is_refused_by_name() {
    story(|_world| async move {
        let platform = platform::Platform::new(Box::new(|_| Ok(None)));
        platform.attach_cores(Box::new(Crowd));
        let world = World::on(platform, None);
        let id = world.device("A").await;
        let told = json!({"status": 503, "message": "Too many calls wait at the home of the device"});
        let calls = ["POST /api/v1/A/telemetry".to_owned(), format!("GET /api/device/info/{id}")];
        for call in calls {
            world.expect(Who::Admin, &call, json!({"a": 1}), 503, told.clone()).await;
        }
        assert!(world.api.metrics().contains("ringmq_api_refused_total{what=\"crowded\"} 2\n"));
    });
}
