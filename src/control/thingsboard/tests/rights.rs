//! What users of customers may do, and what they may not.

use serde_json::{Value, json};

use super::world::{OK, Who, customer_id, id_of, story};

const FORBIDDEN: u16 = 403;

#[test]
fn a_customer_sees_which_profiles_there_are_and_no_secret_of_theirs() {
    story(|world| async move {
        let wish = json!({
            "name": "meter", "provisionType": "ALLOW_CREATE_NEW_DEVICES", "provisionDeviceKey": "k",
            "profileData": {"provisionConfiguration": {"provisionDeviceSecret": "s3cret"}},
        });
        let made = world.expect(Who::Admin, "POST /api/deviceProfile", wish, OK, json!({})).await;
        let one = format!("GET /api/deviceProfile/{}", id_of(&made));
        world.expect(Who::Customer, &one, Value::Null, FORBIDDEN, json!({"errorCode": 20})).await;
        world.expect(Who::Admin, &one, Value::Null, OK, json!({"provisionDeviceKey": "k"})).await;
        for short in [
            format!("GET /api/deviceProfileInfo/{}", id_of(&made)),
            "GET /api/deviceProfileInfos?pageSize=9&page=0".to_owned(),
        ] {
            let told = world.ask(Who::Customer, &short, Value::Null).await;
            assert_eq!(told.status, OK, "{short}");
            assert!(!told.json().to_string().contains("s3cret"), "{short}");
        }
    });
}

#[test]
fn a_customer_sees_which_packages_there_are_and_gets_no_bytes() {
    story(|world| async move {
        let profile = world.ask(Who::Admin, "GET /api/deviceProfileInfo/default", Value::Null).await.json();
        let body = json!({"title": "t", "version": "1", "type": "FIRMWARE", "deviceProfileId": profile["id"], "usesUrl": true, "url": "https://a/b"});
        let made = world.expect(Who::Admin, "POST /api/otaPackage", body, OK, json!({})).await;
        let id = id_of(&made);
        for (call, status) in [
            (format!("GET /api/otaPackage/{id}"), FORBIDDEN),
            (format!("GET /api/otaPackage/{id}/download"), FORBIDDEN),
            (format!("GET /api/otaPackage/info/{id}"), OK),
            ("GET /api/otaPackages?pageSize=9&page=0".to_owned(), OK),
        ] {
            assert_eq!(world.ask(Who::Customer, &call, Value::Null).await.status, status, "{call}");
        }
    });
}

#[test]
fn a_customer_changes_the_devices_that_are_theirs_and_makes_and_takes_none() {
    story(|world| async move {
        let (own, other) = (world.device("own").await, world.device("other").await);
        let give = format!("POST /api/customer/{}/device/{own}", customer_id());
        let mut device = world.expect(Who::Admin, &give, Value::Null, OK, json!({})).await;
        device["label"] = json!("kitchen");
        let call = "POST /api/device";
        world.expect(Who::Customer, call, device.clone(), OK, json!({"label": "kitchen"})).await;
        let one = format!("GET /api/device/{own}");
        world.expect(Who::Admin, &one, Value::Null, OK, json!({"label": "kitchen"})).await;

        let mut nobodys = device.clone();
        nobodys["customerId"] = json!({"id": "13814000-1dd2-11b2-8080-808080808080"});
        let mut gateway = device.clone();
        gateway["additionalInfo"]["gateway"] = json!(true);
        let mut of_kind = device.clone();
        of_kind["type"] = json!("unheard of");
        of_kind["deviceProfileId"] = Value::Null;
        let mut others = world.ask(Who::Admin, &format!("GET /api/device/{other}"), Value::Null).await.json();
        others["label"] = json!("x");
        for (what, body) in [
            ("new", json!({"name": "new"})),
            ("given away", nobodys),
            ("a gateway", gateway),
            ("of another kind", of_kind),
            ("another's", others),
        ] {
            let told = world.ask(Who::Customer, call, body).await;
            assert_eq!((told.status, &told.json()["errorCode"]), (FORBIDDEN, &json!(20)), "{what}");
        }
        let with_token = world.ask(Who::Customer, "POST /api/device?accessToken=T2", device.clone()).await;
        assert_eq!(with_token.status, FORBIDDEN);
        let with = json!({"device": device, "credentials": {"credentialsType": "ACCESS_TOKEN", "credentialsId": "T2"}});
        let told = world.ask(Who::Customer, "POST /api/device-with-credentials", with).await;
        assert_eq!(told.status, FORBIDDEN);
        world
            .expect(
                Who::Admin,
                &one,
                Value::Null,
                OK,
                json!({"customerId": {"id": customer_id().to_string()}}),
            )
            .await;
    });
}
