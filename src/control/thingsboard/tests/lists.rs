//! Lists: how large a page is, what it is ordered by, and what it is narrowed by.

use device::{Ear, HubCall, Keeping, Uplink};
use serde_json::{Value, json};

use super::world::{OK, Who, World, customer_id, device_id, story};

/// One member of each item of a page.
async fn members(world: &World, call: &str, member: &str) -> Vec<Value> {
    let page = world.expect(Who::Admin, call, Value::Null, OK, json!({})).await;
    page["data"].as_array().unwrap().iter().map(|item| item[member].clone()).collect()
}

#[test]
fn a_page_that_is_too_large_is_cut_and_the_next_one_has_the_rest() {
    story(|world| async move {
        let ((), _kept_in_memory) = world.api.platform().change(|registry, changes| {
            let admin = super::world::user(Who::Admin);
            for number in 0..10_001_u32 {
                let mut bytes = [1; 16];
                bytes[..4].copy_from_slice(&number.to_be_bytes());
                let name = format!("u{number}@example.com").into();
                let user = device::User { id: device::UserId::from_bytes(bytes), name, ..admin.clone() };
                registry.put_user(user, changes).unwrap();
            }
            changes.clear();
        });
        // Beside those there are the administrator and the user of a customer.
        for (query, items, has_next) in [
            ("pageSize=2147483647&page=0", 10_000, true),
            ("pageSize=2147483647&page=1", 3, false),
            ("pageSize=10000&page=1", 3, false),
        ] {
            let call = format!("GET /api/users?{query}");
            let expected = json!({"totalElements": 10_003, "totalPages": 2, "hasNext": has_next});
            let page = world.expect(Who::Admin, &call, Value::Null, OK, expected).await;
            assert_eq!(page["data"].as_array().unwrap().len(), items, "{query}");
        }
    });
}

#[test]
fn devices_are_narrowed_to_those_that_are_active() {
    story(|world| async move {
        let (here, away) = (world.device("here").await, world.device("away").await);
        for id in [&here, &away] {
            let give = format!("POST /api/customer/{}/device/{id}", customer_id());
            world.expect(Who::Admin, &give, Value::Null, OK, json!({})).await;
        }
        let (device, ear) = (device_id(&here), Ear(1));
        world.api.ask(device, HubCall::Open { ear, keeping: Keeping::History }).await.unwrap();
        world.api.ask(device, HubCall::Hear { ear, uplink: Uplink::Alive }).await.unwrap();
        let of_customer = format!("customer/{}/deviceInfos", customer_id());
        for path in ["tenant/deviceInfos", "deviceInfos/all", &of_customer] {
            for (wish, expected) in [("true", "here"), ("false", "away")] {
                let call = format!("GET /api/{path}?pageSize=9&page=0&active={wish}");
                let one = json!({"totalElements": 1, "totalPages": 1, "hasNext": false, "data": [{"name": expected}]});
                world.expect(Who::Admin, &call, Value::Null, OK, one).await;
            }
            let call = format!("GET /api/{path}?pageSize=9&page=0&active=");
            assert_eq!(members(&world, &call, "name").await.len(), 2);
        }
    });
}

#[test]
fn lists_are_ordered_by_what_is_shown_of_their_items() {
    story(|world| async move {
        for (name, transport) in [("x", "MQTT"), ("y", "COAP"), ("z", "DEFAULT")] {
            let wish = json!({"name": name, "transportType": transport});
            world.expect(Who::Admin, "POST /api/deviceProfile", wish, OK, json!({})).await;
        }
        let list = "GET /api/deviceProfiles?pageSize=9&page=0&textSearch=&sortProperty=";
        let by_transport = members(&world, &format!("{list}transportType"), "transportType").await;
        assert_eq!(by_transport, ["COAP", "DEFAULT", "DEFAULT", "MQTT"]);
        let by_default = members(&world, &format!("{list}default&sortOrder=DESC"), "default").await;
        assert_eq!(by_default, [true, false, false, false]);
        for property in ["type", "isDefault", "description", "name", "createdTime"] {
            assert_eq!(members(&world, &format!("{list}{property}"), "name").await.len(), 4, "{property}");
        }
        let profile = world.ask(Who::Admin, "GET /api/deviceProfileInfo/default", Value::Null).await.json();
        for version in ["2", "1"] {
            let body = json!({"title": "t", "version": version, "type": "FIRMWARE", "deviceProfileId": profile["id"]});
            world.expect(Who::Admin, "POST /api/otaPackage", body, OK, json!({})).await;
        }
        let packages = "GET /api/otaPackages?pageSize=9&page=0&sortProperty=";
        assert_eq!(members(&world, &format!("{packages}version"), "version").await, ["1", "2"]);
        for property in ["type", "tag", "title", "url", "checksum", "dataSize", "fileName"] {
            assert_eq!(
                members(&world, &format!("{packages}{property}"), "title").await.len(),
                2,
                "{property}"
            );
        }
        for property in ["firstName", "lastName", "authority", "email"] {
            let call = format!("GET /api/users?pageSize=9&page=0&sortProperty={property}");
            assert_eq!(members(&world, &call, "email").await.len(), 2, "{property}");
        }
        let unknown = format!("{list}colour");
        world.expect(Who::Admin, &unknown, Value::Null, 400, json!({"errorCode": 31})).await;
    });
}

#[test]
fn devices_by_their_ids_need_ids() {
    story(|world| async move {
        let missing = json!({"message": "Required request parameter 'deviceIds' is not present"});
        world.expect(Who::Admin, "GET /api/devices", Value::Null, 400, missing).await;
    });
}

#[test]
fn another_method_on_a_known_path_is_refused_with_the_body_of_all_errors() {
    story(|world| async move {
        for call in ["DELETE /api/auth/login", "PUT /api/device", "GET /api/v1/T/claim"] {
            let error = json!({"status": 405, "errorCode": 31, "message": "*", "timestamp": "*"});
            world.expect(Who::Admin, call, Value::Null, 405, error).await;
        }
    });
}
