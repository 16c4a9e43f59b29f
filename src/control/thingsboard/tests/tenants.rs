//! Nobody sees what belongs to somebody else.

use serde_json::{Value, json};

use super::world::{OK, Who, story};

#[test]
fn what_belongs_to_another_tenant_does_not_exist_and_another_customers_is_forbidden() {
    story(|world| async move {
        let id = world.device("A").await;
        let telemetry = format!("/api/plugins/telemetry/DEVICE/{id}");
        let calls = [
            (format!("GET /api/device/{id}"), Value::Null),
            (format!("GET /api/device/info/{id}"), Value::Null),
            (format!("GET /api/device/{id}/credentials"), Value::Null),
            (format!("GET {telemetry}/values/timeseries"), Value::Null),
            (format!("GET {telemetry}/values/timeseries?keys=a&startTs=0&endTs=9"), Value::Null),
            (format!("GET {telemetry}/keys/timeseries"), Value::Null),
            (format!("GET {telemetry}/values/attributes"), Value::Null),
            (format!("GET {telemetry}/values/attributes/SERVER_SCOPE"), Value::Null),
            (format!("GET {telemetry}/keys/attributes"), Value::Null),
            (format!("GET {telemetry}/keys/attributes/SHARED_SCOPE"), Value::Null),
            (format!("POST {telemetry}/SERVER_SCOPE"), json!({"a": 1})),
            (format!("POST {telemetry}/timeseries/ANY"), json!({"a": 1})),
            (format!("DELETE {telemetry}/SERVER_SCOPE?keys=a"), Value::Null),
            (format!("DELETE {telemetry}/timeseries/delete?keys=a&deleteAllDataForKeys=true"), Value::Null),
            (format!("POST /api/rpc/oneway/{id}"), json!({"method": "m"})),
            (format!("POST /api/plugins/rpc/twoway/{id}"), json!({"method": "m"})),
            (format!("GET /api/rpc/persistent/device/{id}?pageSize=1&page=0"), Value::Null),
        ];
        for (call, body) in &calls {
            assert_eq!(world.ask(Who::Other, call, body.clone()).await.status, 404, "{call}");
            assert_eq!(world.ask(Who::Customer, call, body.clone()).await.status, 403, "{call}");
            assert_eq!(world.ask(Who::System, call, body.clone()).await.status, 403, "{call}");
            assert_eq!(world.ask(Who::Nobody, call, body.clone()).await.status, 401, "{call}");
        }
        let call = format!("POST /api/customer/{}/device/{id}", super::world::customer_id());
        world.expect(Who::Admin, &call, Value::Null, OK, json!({"name": "A"})).await;
        for (call, body) in
            calls.iter().filter(|(call, _)| !call.contains("/rpc/twoway") && !call.contains("/rpc/oneway"))
        {
            assert_eq!(world.ask(Who::Customer, call, body.clone()).await.status, OK, "{call}");
            assert_eq!(world.ask(Who::Other, call, body.clone()).await.status, 404, "{call}");
        }
    });
}

#[test]
fn only_administrators_change_what_is_everybodys() {
    story(|world| async move {
        let id = world.device("A").await;
        let profile = json!({"name": "p"});
        let package =
            json!({"title": "t", "version": "1", "type": "FIRMWARE", "deviceProfileId": {"id": id}});
        let calls = [
            ("POST /api/device".to_owned(), json!({"name": "B"})),
            (format!("DELETE /api/device/{id}"), Value::Null),
            (
                "POST /api/device/credentials".to_owned(),
                json!({"deviceId": {"id": id}, "credentialsId": "X"}),
            ),
            ("POST /api/deviceProfile".to_owned(), profile),
            ("POST /api/otaPackage".to_owned(), package),
            ("POST /api/customer".to_owned(), json!({"title": "D"})),
            ("POST /api/user".to_owned(), json!({"email": "x@y", "authority": "TENANT_ADMIN"})),
            ("GET /api/tenant/devices?pageSize=1&page=0".to_owned(), Value::Null),
            ("GET /api/customers?pageSize=1&page=0".to_owned(), Value::Null),
            ("GET /api/users?pageSize=1&page=0".to_owned(), Value::Null),
            ("POST /api/tenant".to_owned(), json!({"title": "T"})),
        ];
        for (call, body) in calls {
            world.expect(Who::Customer, &call, body, 403, json!({"status": 403, "errorCode": 20})).await;
        }
        world
            .expect(Who::Admin, "POST /api/tenant", json!({"title": "T"}), 403, json!({"errorCode": 20}))
            .await;
    });
}

#[test]
fn names_are_taken_within_a_tenant_only() {
    story(|world| async move {
        world.device("A").await;
        world.expect(Who::Other, "POST /api/device", json!({"name": "A"}), OK, json!({"name": "A"})).await;
        let page = json!({"totalElements": 1});
        for who in [Who::Admin, Who::Other] {
            world
                .expect(who, "GET /api/tenant/devices?pageSize=9&page=0", Value::Null, OK, page.clone())
                .await;
            world
                .expect(who, "GET /api/deviceProfiles?pageSize=9&page=0", Value::Null, OK, page.clone())
                .await;
        }
    });
}
