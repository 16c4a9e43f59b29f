//! Packages: uploaded, assigned, told, deleted.

use serde_json::{Value, json};

use super::world::{OK, Told, Who, World, id_of, story};

async fn upload(world: &World, id: &str, query: &str, bytes: &[u8]) -> Told {
    let frame = |text: &str| text.replace('\n', "\r\n").into_bytes();
    let mut body = frame(
        "--x\nContent-Disposition: form-data; name=\"file\"; filename=\"ä 1.bin\"\nContent-Type: application/x-fw\n\n",
    );
    body.extend_from_slice(bytes);
    body.extend(frame("\n--x--\n"));
    let call = format!("POST /api/otaPackage/{id}?{query}");
    world.send(Who::Admin, &call, "multipart/form-data; boundary=x", body).await
}

async fn profile(world: &World) -> String {
    let json = world.ask(Who::Admin, "GET /api/deviceProfileInfo/default", Value::Null).await.json();
    id_of(&json)
}

async fn package(world: &World, profile: &str, title: &str) -> String {
    let body = json!({"title": title, "version": "1.1", "type": "FIRMWARE", "deviceProfileId": {"id": profile}, "usesUrl": false});
    let expected = json!({"title": title, "type": "FIRMWARE", "hasData": false, "checksum": null});
    id_of(&world.expect(Who::Admin, "POST /api/otaPackage", body, OK, expected).await)
}

async fn shared(world: &World, device: &str) -> Value {
    let call = format!("GET /api/plugins/telemetry/DEVICE/{device}/values/attributes/SHARED_SCOPE");
    let facts = world.ask(Who::Admin, &call, Value::Null).await.json();
    let facts = facts.as_array().unwrap();
    facts.iter().map(|fact| (fact["key"].as_str().unwrap().to_owned(), fact["value"].clone())).collect()
}

#[test]
fn an_upload_is_checked_told_and_downloaded() {
    story(|world| async move {
        let id = package(&world, &profile(&world).await, "app").await;
        let wrong = upload(&world, &id, "checksumAlgorithm=CRC32&checksum=00000000", b"123456789").await;
        assert_eq!((wrong.status, &wrong.json()["message"]), (400, &json!("Wrong otaPackage file!")));
        assert_eq!(upload(&world, &id, "checksumAlgorithm=CRC7", b"1").await.status, 400);
        let told = upload(&world, &id, "checksumAlgorithm=CRC32&checksum=2639F4CB", b"123456789").await;
        assert_eq!(
            (told.status, &told.json()["checksum"], &told.json()["dataSize"]),
            (OK, &json!("2639f4cb"), &json!(9))
        );
        assert_eq!(upload(&world, &id, "", b"other").await.status, 400, "what was uploaded never changes");
        let call = format!("GET /api/otaPackage/{id}/download");
        let file = world.ask(Who::Admin, &call, Value::Null).await;
        assert_eq!(file.bytes.as_slice(), b"123456789");
        assert_eq!(file.headers["x-filename"], "__1.bin");
        assert_eq!(file.headers["content-disposition"], "attachment;filename=__1.bin");
        assert_eq!(file.headers["content-type"], "application/x-fw");
        let info = format!("GET /api/otaPackage/info/{id}");
        let about = json!({"hasData": true, "fileName": "ä 1.bin", "contentType": "application/x-fw"});
        world.expect(Who::Admin, &info, Value::Null, OK, about.clone()).await;
        let mut sent = world.ask(Who::Admin, &info, Value::Null).await.json();
        sent["additionalInfo"] = json!({"description": "x"});
        let mut about = about;
        about["additionalInfo"] = sent["additionalInfo"].clone();
        world.expect(Who::Admin, "POST /api/otaPackage", sent, OK, about).await;
        let all = "GET /api/otaPackages?pageSize=9&page=0";
        world.expect(Who::Admin, all, Value::Null, OK, json!({"totalElements": 1})).await;
        let again = json!({
            "title": "app", "version": "1.1", "type": "FIRMWARE", "deviceProfileId": {"id": profile(&world).await},
        });
        world.expect(Who::Admin, "POST /api/otaPackage", again, 400, json!({"errorCode": 31})).await;
    });
}

#[test]
fn an_assignment_tells_the_device_and_taking_it_away_tells_that_too() {
    story(|world| async move {
        let package = package(&world, &profile(&world).await, "app").await;
        let device = world.device("A").await;
        let mut json = world.ask(Who::Admin, &format!("GET /api/device/{device}"), Value::Null).await.json();
        json["firmwareId"] = json!({"entityType": "OTA_PACKAGE", "id": package});
        let empty = json!({"message": "Can't assign firmware with empty data!"});
        world.expect(Who::Admin, "POST /api/device", json.clone(), 400, empty).await;
        upload(&world, &package, "", b"123456789").await;
        world
            .expect(Who::Admin, "POST /api/device", json.clone(), OK, json!({"firmwareId": {"id": package}}))
            .await;
        let told = shared(&world, &device).await;
        assert_eq!((&told["fw_title"], &told["fw_size"]), (&json!("app"), &json!(9)));
        let call = format!("GET /api/plugins/telemetry/DEVICE/{device}/values/timeseries?keys=fw_state");
        world.expect(Who::Admin, &call, Value::Null, OK, json!({"fw_state": [{"value": "INITIATED"}]})).await;
        let in_use = json!({"message": "The otaPackage referenced by the devices cannot be deleted!"});
        let delete = format!("DELETE /api/otaPackage/{package}");
        world.expect(Who::Admin, &delete, Value::Null, 400, in_use).await;
        json["firmwareId"] = Value::Null;
        json["version"] = Value::Null;
        world.expect(Who::Admin, "POST /api/device", json, OK, json!({"firmwareId": null})).await;
        assert_eq!(shared(&world, &device).await, json!({}));
        world.expect(Who::Admin, &delete, Value::Null, OK, json!("")).await;
    });
}

#[test]
fn a_profiles_package_reaches_all_its_devices_but_those_that_have_their_own() {
    story(|world| async move {
        let profile = profile(&world).await;
        let (own, all) = (package(&world, &profile, "own").await, package(&world, &profile, "all").await);
        for id in [&own, &all] {
            upload(&world, id, "", b"123456789").await;
        }
        let mut devices = Vec::new();
        for number in 0..200 {
            devices.push(world.device(&format!("d{number}")).await);
        }
        let mut json =
            world.ask(Who::Admin, &format!("GET /api/device/{}", devices[0]), Value::Null).await.json();
        json["firmwareId"] = json!({"id": own});
        world.expect(Who::Admin, "POST /api/device", json, OK, json!({})).await;
        let call = format!("GET /api/deviceProfile/{profile}");
        let mut json = world.ask(Who::Admin, &call, Value::Null).await.json();
        json["firmwareId"] = json!({"id": all});
        world
            .expect(Who::Admin, "POST /api/deviceProfile", json, OK, json!({"firmwareId": {"id": all}}))
            .await;
        // The rollout goes on beside requests, and takes its turns with them.
        let is_over = || world.api.metrics().contains("ringmq_rollout_devices_total 199\n");
        for _turn in 0..10_000 {
            if is_over() {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert!(is_over(), "{}", world.api.metrics());
        assert_eq!(shared(&world, &devices[0]).await["fw_title"], "own");
        assert_eq!(shared(&world, &devices[199]).await["fw_title"], "all");
        let new = world.device("new").await;
        assert_eq!(shared(&world, &new).await["fw_title"], "all");
    });
}

#[test]
fn a_package_elsewhere_has_an_address_and_no_bytes() {
    story(|world| async move {
        let profile = profile(&world).await;
        let mut body = json!({"title": "t", "version": "1", "type": "SOFTWARE", "deviceProfileId": {"id": profile}, "usesUrl": true});
        world.expect(Who::Admin, "POST /api/otaPackage", body.clone(), 400, json!({"errorCode": 31})).await;
        body["url"] = json!("https://a/b");
        let made = world
            .expect(
                Who::Admin,
                "POST /api/otaPackage",
                body,
                OK,
                json!({"url": "https://a/b", "hasData": true}),
            )
            .await;
        let id = id_of(&made);
        assert_eq!(upload(&world, &id, "", b"1").await.status, 400);
        assert_eq!(
            world.ask(Who::Admin, &format!("GET /api/otaPackage/{id}/download"), Value::Null).await.status,
            400
        );
        let mut device =
            world.expect(Who::Admin, "POST /api/device", json!({"name": "A"}), OK, json!({})).await;
        device["firmwareId"] = json!({"id": id});
        world
            .expect(
                Who::Admin,
                "POST /api/device",
                device,
                400,
                json!({"message": "Can't assign firmware with type: SOFTWARE"}),
            )
            .await;
        let call = format!("GET /api/otaPackages/{profile}/SOFTWARE?pageSize=9&page=0");
        world.expect(Who::Admin, &call, Value::Null, OK, json!({"data": [{"title": "t"}]})).await;
    });
}
