//! Members of records that mean nothing to a broker, and versions: whoever reads, changes one thing and sends back loses none.

use serde_json::{Value, json};

use super::world::{OK, Told, Who, World, id_of, includes, story};

/// Reads something, sends it back as it is, and then once more as it was before: the second time it is outdated.
async fn send_back(world: &World, who: Who, (get, post): (&str, &str), kept: Value) {
    let read = world.expect(who, &format!("GET {get}"), Value::Null, OK, kept.clone()).await;
    let before = read["version"].as_u64().unwrap();
    let mut expected = kept;
    expected["version"] = json!(before + 1);
    world.expect(who, &format!("POST {post}"), read.clone(), OK, expected.clone()).await;
    world.expect(who, &format!("GET {get}"), Value::Null, OK, expected).await;
    world.expect(who, &format!("POST {post}"), read, 409, json!({"errorCode": 35})).await;
}

#[test]
fn a_profile_keeps_what_it_is_sent_with() {
    story(|world| async move {
        let kept = json!({
            "description": "of the north", "image": "data:image/png;base64,AAAA", "defaultQueueName": "HighPriority",
            "defaultRuleChainId": {"entityType": "RULE_CHAIN", "id": "784f394c-42b6-435a-983c-b7beff2784f9"},
            "defaultDashboardId": {"entityType": "DASHBOARD", "id": "784f394c-42b6-435a-983c-b7beff2784f9"},
            "profileData": {"alarms": [{"id": "a", "alarmType": "Hot", "createRules": {}}]},
        });
        for (name, transport) in [("p", "MQTT"), ("q", "LWM2M"), ("r", "SNMP"), ("s", "DEFAULT")] {
            let mut body = kept.clone();
            body["name"] = json!(name);
            body["transportType"] = json!(transport);
            let made = world.expect(Who::Admin, "POST /api/deviceProfile", body, OK, kept.clone()).await;
            let mut expected = kept.clone();
            expected["transportType"] = json!(transport);
            expected["profileData"]["transportConfiguration"] = json!({"type": transport});
            let get = format!("/api/deviceProfile/{}", id_of(&made));
            send_back(&world, Who::Admin, (&get, "/api/deviceProfile"), expected).await;
            let short = format!("GET /api/deviceProfileInfo/{}", id_of(&made));
            let image = json!({"image": kept["image"], "transportType": transport});
            world.expect(Who::Admin, &short, Value::Null, OK, image).await;
        }
    });
}

#[test]
fn settings_that_nobody_has_said_are_shown_as_they_are() {
    story(|world| async move {
        let body = |settings: Value| json!({"name": "p", "transportType": "MQTT", "profileData": {"transportConfiguration": settings}});
        let made = world
            .expect(Who::Admin, "POST /api/deviceProfile", body(json!({"type": "MQTT"})), OK, json!({}))
            .await;
        let plain = json!({
            "type": "MQTT",
            "deviceTelemetryTopic": "v1/devices/me/telemetry",
            "deviceAttributesTopic": "v1/devices/me/attributes",
            "deviceAttributesSubscribeTopic": "v1/devices/me/attributes",
            "transportPayloadTypeConfiguration": {"transportPayloadType": "JSON"},
            "sparkplug": false,
            "sparkplugAttributesMetricNames": [],
            "sendAckOnValidationException": false,
        });
        assert_eq!(made["profileData"]["transportConfiguration"], plain);
        let get = format!("/api/deviceProfile/{}", id_of(&made));
        send_back(&world, Who::Admin, (&get, "/api/deviceProfile"), json!({"name": "p"})).await;
        let mut changed = world.ask(Who::Admin, &format!("GET {get}"), Value::Null).await.json();
        changed["profileData"]["transportConfiguration"]["deviceTelemetryTopic"] = json!("a/b");
        let mut expected = plain;
        expected["deviceTelemetryTopic"] = json!("a/b");
        let told = world.expect(Who::Admin, "POST /api/deviceProfile", changed, OK, json!({})).await;
        assert_eq!(told["profileData"]["transportConfiguration"], expected);
    });
}

#[test]
fn a_user_keeps_names_and_a_password() {
    story(|world| async move {
        let kept =
            json!({"firstName": "Ann", "lastName": "Ng", "phone": "+1", "additionalInfo": {"lang": "de_DE"}});
        let mut body = kept.clone();
        body["email"] = json!("ann@example.com");
        body["authority"] = json!("TENANT_ADMIN");
        body["password"] = json!("secret!");
        let made = world.expect(Who::Admin, "POST /api/user", body, OK, kept.clone()).await;
        let mut expected = kept;
        expected["additionalInfo"]["userCredentialsEnabled"] = json!(true);
        let get = format!("/api/user/{}", id_of(&made));
        send_back(&world, Who::Admin, (&get, "/api/user"), expected).await;
        let login = json!({"username": "ann@example.com", "password": "secret!"});
        world.expect(Who::Nobody, "POST /api/auth/login", login, OK, json!({"token": "*"})).await;
    });
}

#[test]
fn a_customer_and_a_tenant_keep_their_addresses() {
    story(|world| async move {
        let kept =
            json!({"city": "Bonn", "phone": "+49", "zip": "53111", "additionalInfo": {"description": "x"}});
        let mut body = kept.clone();
        body["title"] = json!("D");
        let made = world.expect(Who::Admin, "POST /api/customer", body.clone(), OK, kept.clone()).await;
        let get = format!("/api/customer/{}", id_of(&made));
        send_back(&world, Who::Admin, (&get, "/api/customer"), kept.clone()).await;
        body["devicesMax"] = json!(7);
        body["region"] = json!("Global");
        let made = world.expect(Who::System, "POST /api/tenant", body, OK, kept.clone()).await;
        let get = format!("/api/tenant/{}", id_of(&made));
        let mut expected = kept;
        expected["region"] = json!("Global");
        expected["devicesMax"] = json!(7);
        send_back(&world, Who::System, (&get, "/api/tenant"), expected).await;
        let mut foreign = world.ask(Who::System, &format!("GET {get}"), Value::Null).await.json();
        foreign.as_object_mut().unwrap().remove("devicesMax");
        let told = world.expect(Who::System, "POST /api/tenant", foreign, OK, json!({"devicesMax": 7})).await;
        let mut free = told;
        free["devicesMax"] = Value::Null;
        world.expect(Who::System, "POST /api/tenant", free, OK, json!({"devicesMax": null})).await;
    });
}

#[test]
fn what_is_kept_beside_a_record_has_a_limit() {
    story(|world| async move {
        let body = json!({"title": "D", "additionalInfo": {"description": "x".repeat(262_144)}});
        world.expect(Who::Admin, "POST /api/customer", body, 400, json!({"errorCode": 31})).await;
    });
}

/// Asks as a page of another origin does.
async fn ask_from(world: &World, method: &str, origin: &str) -> Told {
    let headers = [("origin", origin), ("access-control-request-method", "POST")];
    world.send_with(Who::Admin, &format!("{method} /api/device"), &headers).await
}

#[test]
fn pages_of_origins_that_are_named_may_use_the_api_and_others_may_not() {
    let header =
        |told: &Told, name: &str| told.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    for (origins, origin, expected) in [
        (&[][..], "https://a.example", None),
        (&["https://a.example", "http://b.example"], "http://b.example", Some("http://b.example")),
        (&["https://a.example"], "https://c.example", None),
        (&["*"], "https://c.example", Some("*")),
    ] {
        super::world::story_with(origins, |world| async move {
            let told = ask_from(&world, "OPTIONS", origin).await;
            let expected = expected.map(str::to_owned);
            assert_eq!(header(&told, "access-control-allow-origin"), expected, "{origins:?} {origin}");
            if expected.is_some() {
                let allowed = header(&told, "access-control-allow-headers").unwrap();
                assert!(told.status == OK && allowed.contains("x-authorization"), "{told:?}");
            }
            let told = ask_from(&world, "GET", origin).await;
            assert_eq!(header(&told, "access-control-allow-origin"), expected, "{origins:?} {origin}");
            assert!(includes(&told.json(), &json!({"status": 405})));
        });
    }
}
