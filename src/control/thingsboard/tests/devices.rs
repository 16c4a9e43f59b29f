//! Devices, their pages and credentials, and profiles.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use device::{Ear, HubCall, HubReply, Keeping, Probe};
use serde_json::{Value, json};

use super::world::{OK, Who, World, device_id, id_of, story};

#[test]
fn a_device_is_created_changed_found_and_deleted() {
    story(|world| async move {
        let wish = json!({"name": "A", "type": "meter", "label": "x", "additionalInfo": {"gateway": true, "site": "S"}});
        let expected = json!({
            "id": {"entityType": "DEVICE", "id": "*"},
            "createdTime": super::world::START_MS,
            "tenantId": {"entityType": "TENANT"},
            "customerId": {"entityType": "CUSTOMER", "id": "13814000-1dd2-11b2-8080-808080808080"},
            "name": "A", "type": "meter", "label": "x",
            "deviceProfileId": {"entityType": "DEVICE_PROFILE"},
            "firmwareId": null, "softwareId": null,
            "additionalInfo": {"gateway": true, "overwriteActivityTime": false, "site": "S"},
        });
        let made = world.expect(Who::Admin, "POST /api/device?accessToken=T", wish, OK, expected).await;
        let id = id_of(&made);
        let shown =
            world.api.read(|registry| registry.device_showing(Probe::of("T")).map(|device| device.id));
        assert_eq!(shown, Some(device_id(&id)));

        let taken =
            json!({"status": 400, "errorCode": 31, "message": "Device with such name already exists!"});
        world.expect(Who::Admin, "POST /api/device", json!({"name": "A"}), 400, taken).await;
        let nameless = json!({"message": "Device name should be specified!"});
        world.expect(Who::Admin, "POST /api/device", json!({"label": "x"}), 400, nameless).await;

        let mut other = made.clone();
        other["version"] = json!(2);
        world.expect(Who::Admin, "POST /api/device", made, OK, other.clone()).await;
        other["label"] = json!("y");
        other["type"] = Value::Null;
        let one = format!("GET /api/device/{id}");
        world.expect(Who::Admin, "POST /api/device", other, OK, json!({"label": "y", "type": "meter"})).await;
        world.expect(Who::Admin, &one, Value::Null, OK, json!({"label": "y"})).await;
        for call in ["GET /api/tenant/devices?deviceName=A", "GET /api/tenant/device?deviceName=A"] {
            world.expect(Who::Admin, call, Value::Null, OK, json!({"name": "A"})).await;
        }
        let call = format!("GET /api/devices?deviceIds={id},{id}");
        world.expect(Who::Admin, &call, Value::Null, OK, json!([{"name": "A"}, {"name": "A"}])).await;
        world
            .expect(
                Who::Admin,
                "GET /api/device/types",
                Value::Null,
                OK,
                json!([{"type": "default"}, {"type": "meter"}]),
            )
            .await;

        world.expect(Who::Admin, &format!("DELETE /api/device/{id}"), Value::Null, OK, json!("")).await;
        let gone = json!({"errorCode": 32, "message": format!("Device with id [{id}] is not found")});
        world.expect(Who::Admin, &one, Value::Null, 404, gone).await;
        world.expect(Who::Admin, "GET /api/device/no-id", Value::Null, 400, json!({"errorCode": 31})).await;
    });
}

#[test]
fn names_and_titles_have_at_most_255_characters() {
    story(|world| async move {
        let (longest, longer) = ("\u{e9}".repeat(255), "/".repeat(256));
        let said = |member: &str| {
            let message = format!("Validation error: {member} length must be equal or less than 255");
            json!({"status": 400, "errorCode": 31, "message": message})
        };
        let device =
            world.expect(Who::Admin, "POST /api/device", json!({"name": longest}), OK, json!({})).await;
        let mut renamed = device.clone();
        renamed["name"] = json!(longer);
        let profile = json!({
            "name": longer, "transportType": "DEFAULT", "profileData": {"transportConfiguration": {"type": "DEFAULT"}},
        });
        let package = |title: &str, version: &str| {
            let profile = device["deviceProfileId"].clone();
            json!({"title": title, "version": version, "type": "FIRMWARE", "deviceProfileId": profile})
        };
        let credentials = json!({"device": {"name": longer, "type": "new"},
            "credentials": {"credentialsType": "ACCESS_TOKEN", "credentialsId": "T"}});
        let long_title = json!({"title": longer});
        let rows = [
            (Who::Admin, "POST /api/device", json!({"name": longer, "type": "new"}), "name"),
            (Who::Admin, "POST /api/device", json!({"name": "A", "type": longer}), "name"),
            (Who::Admin, "POST /api/device-with-credentials", credentials, "name"),
            (Who::Admin, "POST /api/device", renamed, "name"),
            (Who::Admin, "POST /api/deviceProfile", profile, "name"),
            (Who::Admin, "POST /api/customer", long_title.clone(), "title"),
            (Who::Admin, "POST /api/otaPackage", package(&longer, "1"), "title"),
            (Who::Admin, "POST /api/otaPackage", package("a", &longer), "version"),
            (Who::System, "POST /api/tenant", long_title, "title"),
        ];
        for (who, call, body, member) in rows {
            world.expect(who, call, body, 400, said(member)).await;
        }
        let all = world.ask(Who::Admin, "GET /api/device/types", Value::Null).await;
        assert_eq!(
            all.json().as_array().map(Vec::len),
            Some(1),
            "a refused request leaves no profile behind"
        );
    });
}

#[test]
fn a_tenant_has_as_many_profiles_as_it_may() {
    story(|world| async move {
        world.api.platform().limit_profiles(2);
        world
            .expect(Who::Admin, "POST /api/device", json!({"name": "A", "type": "one"}), OK, json!({}))
            .await;
        let full = json!({"status": 400, "errorCode": 31, "message": "Device profiles limit reached"});
        let device = json!({"name": "B", "type": "two"});
        world.expect(Who::Admin, "POST /api/device", device, 400, full.clone()).await;
        let profile = json!({
            "name": "two", "transportType": "DEFAULT", "profileData": {"transportConfiguration": {"type": "DEFAULT"}},
        });
        world.expect(Who::Admin, "POST /api/deviceProfile", profile, 400, full).await;
        world
            .expect(Who::Admin, "POST /api/device", json!({"name": "B", "type": "one"}), OK, json!({}))
            .await;
    });
}

#[test]
fn pages_are_searched_sorted_and_cut() {
    story(|world| async move {
        for name in ["pump 3", "pump 1", "valve", "pump 2"] {
            world.pass(1);
            world.expect(Who::Admin, "POST /api/device", json!({"name": name}), OK, json!({})).await;
        }
        let names = |json: &Value| -> Vec<String> {
            let data = json["data"].as_array().unwrap().clone();
            data.iter().map(|device| device["name"].as_str().unwrap().to_owned()).collect()
        };
        let rows = [
            (
                "pageSize=2&page=0&textSearch=PUMP&sortProperty=name&sortOrder=ASC",
                vec!["pump 1", "pump 2"],
                3,
                true,
            ),
            ("pageSize=2&page=1&textSearch=PUMP&sortProperty=name&sortOrder=ASC", vec!["pump 3"], 3, false),
            (
                "pageSize=9&page=0&sortProperty=createdTime&sortOrder=DESC",
                vec!["pump 2", "valve", "pump 1", "pump 3"],
                4,
                false,
            ),
            ("pageSize=9&page=0&type=nothing", vec![], 0, false),
            ("pageSize=1&page=99", vec![], 4, false),
        ];
        for (query, expected, total, has_next) in rows {
            for path in ["devices", "deviceInfos"] {
                let call = format!("GET /api/tenant/{path}?{query}");
                let page = json!({"totalElements": total, "hasNext": has_next});
                let json = world.expect(Who::Admin, &call, Value::Null, OK, page).await;
                assert_eq!(names(&json), expected, "{query}");
            }
        }
        let all = world
            .expect(
                Who::Admin,
                "GET /api/tenant/devices?pageSize=3&page=0",
                Value::Null,
                OK,
                json!({"totalPages": 2}),
            )
            .await;
        assert_eq!(names(&all).len(), 3);
        for query in [
            "",
            "pageSize=1",
            "pageSize=0&page=0",
            "pageSize=1&page=x",
            "pageSize=1&page=0&sortProperty=colour",
        ] {
            let call = format!("GET /api/tenant/devices?{query}");
            world.expect(Who::Admin, &call, Value::Null, 400, json!({"errorCode": 31})).await;
        }
    });
}

#[test]
fn credentials_of_every_kind_are_read_as_they_were_written_and_end_connections() {
    story(|world| async move {
        let id = world.device("A").await;
        let read = format!("GET /api/device/{id}/credentials");
        let shown =
            json!({"credentialsType": "ACCESS_TOKEN", "credentialsId": "A", "credentialsValue": null});
        let mut known = world.expect(Who::Admin, &read, Value::Null, OK, shown).await;
        let names = "{\"clientId\":\"c\",\"password\":\"p\",\"userName\":\"u\"}";
        let rows = [
            (
                "MQTT_BASIC",
                json!(names),
                json!({"credentialsType": "MQTT_BASIC", "credentialsId": "*", "credentialsValue": names}),
            ),
            (
                "X509_CERTIFICATE",
                json!("MAMCAf8="),
                json!({"credentialsType": "X509_CERTIFICATE", "credentialsValue": "MAMCAf8="}),
            ),
            ("ACCESS_TOKEN", Value::Null, json!({"credentialsType": "ACCESS_TOKEN", "credentialsId": "A"})),
        ];
        for (kind, value, expected) in rows {
            known["credentialsType"] = json!(kind);
            // Whoever names no version does not mind.
            known["version"] = Value::Null;
            known["credentialsId"] = json!("A");
            known["credentialsValue"] = value;
            world
                .expect(Who::Admin, "POST /api/device/credentials", known.clone(), OK, expected.clone())
                .await;
            world.expect(Who::Admin, &read, Value::Null, OK, expected).await;
        }
        known["credentialsType"] = json!("MQTT_BASIC");
        for wrong in [json!("no JSON"), json!("{\"password\":\"p\"}")] {
            known["credentialsValue"] = wrong;
            world
                .expect(
                    Who::Admin,
                    "POST /api/device/credentials",
                    known.clone(),
                    400,
                    json!({"errorCode": 31}),
                )
                .await;
        }
        let with = json!({"device": {"name": "B"}, "credentials": {"credentialsType": "ACCESS_TOKEN", "credentialsId": "A"}});
        let taken = json!({"message": "Device credentials are already assigned to another device!"});
        world.expect(Who::Admin, "POST /api/device-with-credentials", with, 400, taken).await;
        assert_eq!(
            world.ask(Who::Admin, "GET /api/tenant/device?deviceName=B", Value::Null).await.status,
            404
        );
    });
}

#[test]
fn presence_is_told_in_lists_and_as_attributes() {
    story(|world| async move {
        let id = world.device("A").await;
        let (device, ear) = (device_id(&id), Ear(1));
        let call = format!("GET /api/device/info/{id}");
        let away = json!({"active": false, "deviceProfileName": "default", "customerTitle": null});
        world.expect(Who::Admin, &call, Value::Null, OK, away).await;
        world.api.ask(device, HubCall::Open { ear, keeping: Keeping::History }).await.unwrap();
        let uplink = device::Uplink::Alive;
        world.api.ask(device, HubCall::Hear { ear, uplink }).await.unwrap();
        world.expect(Who::Admin, &call, Value::Null, OK, json!({"active": true})).await;
        let call = "GET /api/tenant/deviceInfos?pageSize=5&page=0";
        world.expect(Who::Admin, call, Value::Null, OK, json!({"data": [{"active": true}]})).await;
        let call = format!(
            "GET /api/plugins/telemetry/DEVICE/{id}/values/attributes/SERVER_SCOPE?keys=active,connected"
        );
        let both = json!([{"key": "active", "value": true}, {"key": "connected", "value": true}]);
        world.expect(Who::Admin, &call, Value::Null, OK, both).await;
    });
}

#[test]
fn a_profile_is_read_as_it_was_written_and_refused_if_its_dialect_does_not_understand_it() {
    story(|world| async move {
        let wish = json!({
            "name": "meter", "transportType": "MQTT", "provisionType": "ALLOW_CREATE_NEW_DEVICES", "provisionDeviceKey": "k",
            "profileData": {
                "transportConfiguration": {"type": "MQTT", "deviceTelemetryTopic": "t/+"},
                "provisionConfiguration": {"type": "ALLOW_CREATE_NEW_DEVICES", "provisionDeviceSecret": "s"},
            },
            "telemetryKeeping": "LATEST", "retentionDays": 30,
        });
        let made = world.expect(Who::Admin, "POST /api/deviceProfile", wish.clone(), OK, wish.clone()).await;
        let id = id_of(&made);
        world
            .expect(Who::Admin, &format!("GET /api/deviceProfile/{id}"), Value::Null, OK, made.clone())
            .await;
        let mut again = made.clone();
        again["version"] = json!(2);
        world.expect(Who::Admin, "POST /api/deviceProfile", made.clone(), OK, again).await;
        world
            .expect(
                Who::Admin,
                "POST /api/deviceProfile",
                wish,
                400,
                json!({"message": "Device profile with such name already exists!"}),
            )
            .await;
        let mut broken = made;
        broken["profileData"]["transportConfiguration"]["deviceTelemetryTopic"] = json!("a/#/b");
        world.expect(Who::Admin, "POST /api/deviceProfile", broken, 400, json!({"errorCode": 31})).await;
        let defaults = json!({"name": "default", "id": {"entityType": "DEVICE_PROFILE"}});
        world.expect(Who::Customer, "GET /api/deviceProfileInfo/default", Value::Null, OK, defaults).await;
        world
            .expect(
                Who::Admin,
                &format!("POST /api/deviceProfile/{id}/default"),
                Value::Null,
                OK,
                json!({"default": true}),
            )
            .await;
        let call = "GET /api/deviceProfiles?pageSize=9&page=0&sortProperty=name";
        let both =
            json!({"data": [{"name": "default", "default": false}, {"name": "meter", "default": true}]});
        world.expect(Who::Admin, call, Value::Null, OK, both).await;
        world
            .expect(
                Who::Admin,
                &format!("DELETE /api/deviceProfile/{id}"),
                Value::Null,
                400,
                json!({"errorCode": 31}),
            )
            .await;
    });
}

/// Cores that have no room for a long time, and the calls to forget that they took in the end.
struct Slow {
    refusals_left: AtomicUsize,
    forgotten: Arc<AtomicUsize>,
}

impl platform::Cores for Slow {
    fn ask(
        &self,
        _device: device::DeviceId,
        call: HubCall,
        reply: flume::Sender<HubReply>,
    ) -> Result<(), platform::Crowded> {
        let left = |left: usize| left.checked_sub(1);
        if self.refusals_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok() {
            return Err(platform::Crowded(Box::new(call)));
        }
        self.forgotten.fetch_add(usize::from(matches!(call, HubCall::Forget)), Ordering::SeqCst);
        reply.send(HubReply::Done).unwrap();
        Ok(())
    }
}

/// A store in which nothing is ever kept.
struct Stuck;

impl platform::Journal for Stuck {
    fn keep(&self, _changes: Vec<device::Change>, kept: Option<flume::Sender<()>>) {
        // Whoever waits for it waits for ever.
        std::mem::forget(kept);
    }

    fn has_space(&self) -> bool {
        true
    }
}

#[test]
fn a_device_that_was_deleted_is_forgotten_at_home_whatever_becomes_of_the_request() {
    story(|_world| async move {
        for (is_stuck, goes_away) in [(false, false), (true, false), (true, true)] {
            let forgotten = Arc::new(AtomicUsize::new(0));
            // Longer than a request waits for room.
            let slow = Slow { refusals_left: AtomicUsize::new(150), forgotten: Arc::clone(&forgotten) };
            let platform = platform::Platform::new(Box::new(|_| Ok(None)));
            platform.attach_cores(Box::new(slow));
            let world = World::on(platform, None);
            let id = world.device("A").await;
            if is_stuck {
                world.api.platform().attach_journal(Box::new(Stuck));
            }
            let call = format!("DELETE /api/device/{id}");
            let request = world.ask(Who::Admin, &call, Value::Null);
            match goes_away {
                true => {
                    let moment = std::time::Duration::from_millis(50);
                    assert!(tokio::time::timeout(moment, request).await.is_err(), "it is under way");
                }
                false => assert_eq!(request.await.status, if is_stuck { 503 } else { OK }),
            }
            tokio::time::sleep(std::time::Duration::from_secs(10)).await;
            assert_eq!(forgotten.load(Ordering::SeqCst), 1, "stuck {is_stuck}, goes away {goes_away}");
        }
    });
}
