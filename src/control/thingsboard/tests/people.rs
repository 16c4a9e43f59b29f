//! Customers, users, tenants and claims.

use serde_json::{Value, json};

use super::world::{OK, START_MS, Who, customer_id, id_of, story};

#[test]
fn customers_are_made_given_devices_and_deleted() {
    story(|world| async move {
        let made = world
            .expect(
                Who::Admin,
                "POST /api/customer",
                json!({"title": "D"}),
                OK,
                json!({"title": "D", "name": "D"}),
            )
            .await;
        let (customer, device) = (id_of(&made), world.device("A").await);
        world
            .expect(
                Who::Admin,
                "POST /api/customer",
                json!({"title": "D"}),
                400,
                json!({"message": "Customer with such title already exists!"}),
            )
            .await;
        let given = json!({"customerId": {"entityType": "CUSTOMER", "id": customer}});
        world
            .expect(
                Who::Admin,
                &format!("POST /api/customer/{customer}/device/{device}"),
                Value::Null,
                OK,
                given,
            )
            .await;
        let page = format!("GET /api/customer/{customer}/deviceInfos?pageSize=9&page=0");
        world
            .expect(
                Who::Admin,
                &page,
                Value::Null,
                OK,
                json!({"data": [{"name": "A", "customerTitle": "D"}]}),
            )
            .await;
        assert_eq!(world.ask(Who::Customer, &page, Value::Null).await.status, 403);
        assert_eq!(world.ask(Who::Other, &page, Value::Null).await.status, 404);
        let take = format!("DELETE /api/customer/device/{device}");
        let nobodys = json!({"customerId": {"id": "13814000-1dd2-11b2-8080-808080808080"}});
        world.expect(Who::Admin, &take, Value::Null, OK, nobodys).await;
        world
            .expect(
                Who::Admin,
                &take,
                Value::Null,
                400,
                json!({"message": "Device isn't assigned to any customer!"}),
            )
            .await;
        world
            .expect(
                Who::Admin,
                "GET /api/customers?pageSize=9&page=0",
                Value::Null,
                OK,
                json!({"totalElements": 2}),
            )
            .await;
        world
            .expect(Who::Admin, &format!("DELETE /api/customer/{customer}"), Value::Null, OK, json!(""))
            .await;
        assert_eq!(
            world.ask(Who::Admin, &format!("GET /api/customer/{customer}"), Value::Null).await.status,
            404
        );
    });
}

#[test]
fn a_customer_claims_a_device_once_and_gives_it_back() {
    story(|world| async move {
        world.device("A").await;
        let call = "POST /api/customer/device/A/claim";
        let failure = |status: u16, text: &'static str| (status, json!(text));
        let told = |told: super::world::Told| (told.status, told.json());
        let secret = json!({"secretKey": "abc"});
        assert_eq!(
            told(world.ask(Who::Customer, call, secret.clone()).await),
            failure(400, "FAILURE"),
            "no offer"
        );
        let offer = json!({"secretKey": "abc", "durationMs": 60_000});
        world.expect(Who::Nobody, "POST /api/v1/A/claim", offer.clone(), OK, json!("")).await;
        assert_eq!(
            told(world.ask(Who::Customer, call, json!({"secretKey": "x"})).await),
            failure(400, "FAILURE")
        );
        assert_eq!(
            told(world.ask(Who::Customer, call, secret.clone()).await),
            failure(400, "FAILURE"),
            "one try"
        );
        world.expect(Who::Nobody, "POST /api/v1/A/claim", offer, OK, json!("")).await;
        assert_eq!(world.ask(Who::Admin, call, secret.clone()).await.status, 403);
        let granted = json!({"response": "SUCCESS", "device": {"name": "A", "customerId": {"id": customer_id().to_string()}}});
        world.expect(Who::Customer, call, secret.clone(), OK, granted).await;
        assert_eq!(told(world.ask(Who::Customer, call, secret).await), failure(400, "CLAIMED"));
        world.expect(Who::Customer, "DELETE /api/customer/device/A/claim", Value::Null, OK, json!("")).await;
        assert_eq!(
            world.ask(Who::Customer, "GET /api/tenant/device?deviceName=A", Value::Null).await.status,
            404
        );
    });
}

#[test]
fn what_a_device_offers_while_somebody_owns_it_is_no_offer() {
    story(|world| async move {
        world.device("A").await;
        let call = "POST /api/customer/device/A/claim";
        let secret = json!({"secretKey": "abc"});
        world.expect(Who::Nobody, "POST /api/v1/A/claim", secret.clone(), OK, json!("")).await;
        world.expect(Who::Customer, call, secret.clone(), OK, json!({"response": "SUCCESS"})).await;
        world.expect(Who::Nobody, "POST /api/v1/A/claim", secret.clone(), OK, json!("")).await;
        world.expect(Who::Customer, "DELETE /api/customer/device/A/claim", Value::Null, OK, json!("")).await;
        let told = world.ask(Who::Customer, call, secret.clone()).await;
        assert_eq!((told.status, told.json()), (400, json!("FAILURE")));
        world.expect(Who::Nobody, "POST /api/v1/A/claim", secret.clone(), OK, json!("")).await;
        world.expect(Who::Customer, call, secret, OK, json!({"response": "SUCCESS"})).await;
    });
}

#[test]
fn a_tenant_may_offer_a_device_itself() {
    story(|world| async move {
        let id = world.device("A").await;
        let write = format!("POST /api/plugins/telemetry/{id}/SERVER_SCOPE");
        let call = "POST /api/customer/device/A/claim";
        for (expires_ms, secret, status) in
            [(START_MS, "abc", 400), (START_MS + 1, "x", 400), (START_MS + 1, "abc", OK)]
        {
            let offer = json!({"claimingData": {"secretKey": "abc", "expirationTime": expires_ms}});
            world.expect(Who::Admin, &write, offer, OK, json!("")).await;
            assert_eq!(
                world.ask(Who::Customer, call, json!({"secretKey": secret})).await.status,
                status,
                "{secret}"
            );
        }
        let keys = format!(
            "GET /api/plugins/telemetry/DEVICE/{id}/values/attributes/SERVER_SCOPE?keys=claimingData"
        );
        world.expect(Who::Admin, &keys, Value::Null, OK, json!([])).await;
    });
}

#[test]
fn users_are_made_by_those_who_look_after_them() {
    story(|world| async move {
        let of_customer = json!({
            "email": "New@Example.com", "authority": "CUSTOMER_USER", "customerId": {"id": customer_id().to_string()},
        });
        let expected = json!({"email": "new@example.com", "authority": "CUSTOMER_USER", "tenantId": {"entityType": "TENANT"}});
        let made = world
            .expect(Who::Admin, "POST /api/user?sendActivationMail=false", of_customer.clone(), OK, expected)
            .await;
        world.expect(Who::Admin, "POST /api/user", of_customer, 400, json!({"errorCode": 31})).await;
        let page = format!("GET /api/customer/{}/users?pageSize=9&page=0&sortProperty=email", customer_id());
        let both = json!({"data": [{"email": "customer@example.com"}, {"email": "new@example.com"}]});
        world.expect(Who::Admin, &page, Value::Null, OK, both).await;
        let one = format!("/api/user/{}", id_of(&made));
        assert_eq!(world.ask(Who::Other, &format!("GET {one}"), Value::Null).await.status, 404);
        assert_eq!(world.ask(Who::Other, &format!("DELETE {one}"), Value::Null).await.status, 404);
        let higher = json!({"email": "x@y", "authority": "SYS_ADMIN"});
        world.expect(Who::Admin, "POST /api/user", higher, 403, json!({"errorCode": 20})).await;
        world.expect(Who::Admin, &format!("DELETE {one}"), Value::Null, OK, json!("")).await;
        assert_eq!(world.ask(Who::Admin, &format!("GET {one}"), Value::Null).await.status, 404);
    });
}

#[test]
fn whoever_looks_after_the_broker_makes_tenants_and_their_administrators() {
    story(|world| async move {
        let made = world
            .expect(
                Who::System,
                "POST /api/tenant",
                json!({"title": "T", "devicesMax": 1}),
                OK,
                json!({"title": "T", "devicesMax": 1}),
            )
            .await;
        world
            .expect(Who::System, "POST /api/tenant", json!({"title": "T"}), 400, json!({"errorCode": 31}))
            .await;
        let user = json!({"email": "t@example.com", "authority": "TENANT_ADMIN", "tenantId": made["id"], "password": "secret!"});
        world.expect(Who::System, "POST /api/user", user, OK, json!({"authority": "TENANT_ADMIN"})).await;
        world
            .expect(
                Who::System,
                "GET /api/tenants?pageSize=9&page=0",
                Value::Null,
                OK,
                json!({"totalElements": 3}),
            )
            .await;
        let call = format!("GET /api/tenant/{}/users?pageSize=9&page=0", id_of(&made));
        world
            .expect(Who::System, &call, Value::Null, OK, json!({"data": [{"email": "t@example.com"}]}))
            .await;
        let login = json!({"username": "t@example.com", "password": "secret!"});
        world.expect(Who::Nobody, "POST /api/auth/login", login, OK, json!({"token": "*"})).await;
        world
            .expect(
                Who::Admin,
                &format!("GET /api/tenant/{}", id_of(&made)),
                Value::Null,
                404,
                json!({"errorCode": 32}),
            )
            .await;
    });
}

#[test]
fn what_a_device_offered_counts_for_nothing_once_it_was_given_away_or_its_customer_is_gone() {
    story(|world| async move {
        let id = world.device("A").await;
        let call = "POST /api/customer/device/A/claim";
        let secret = json!({"secretKey": "abc"});
        let get = format!("GET /api/device/{id}");
        let give = async |customer: Value| {
            let mut device = world.ask(Who::Admin, &get, Value::Null).await.json();
            device["customerId"] = customer;
            world.expect(Who::Admin, "POST /api/device", device, OK, json!({})).await;
        };
        let theirs = json!({"entityType": "CUSTOMER", "id": customer_id().to_string()});
        let nobodys = json!({"entityType": "CUSTOMER", "id": "13814000-1dd2-11b2-8080-808080808080"});
        give(theirs).await;
        world.expect(Who::Nobody, "POST /api/v1/A/claim", secret.clone(), OK, json!("")).await;
        give(nobodys).await;
        let told = world.ask(Who::Customer, call, secret.clone()).await;
        assert_eq!((told.status, told.json()), (400, json!("FAILURE")), "saved without a customer");
        let made = world.expect(Who::Admin, "POST /api/customer", json!({"title": "D"}), OK, json!({})).await;
        give(made["id"].clone()).await;
        world.expect(Who::Nobody, "POST /api/v1/A/claim", secret.clone(), OK, json!("")).await;
        let delete = format!("DELETE /api/customer/{}", id_of(&made));
        world.expect(Who::Admin, &delete, Value::Null, OK, json!("")).await;
        let told = world.ask(Who::Customer, call, secret).await;
        assert_eq!((told.status, told.json()), (400, json!("FAILURE")), "its customer was deleted");
    });
}
