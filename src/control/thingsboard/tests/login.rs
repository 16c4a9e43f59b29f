//! Logging in and out.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value, json};

use super::world::{OK, Who, World, includes, story, user};
use crate::thingsboard::tokens::Use;

async fn with_token(world: &World, token: &str, header: &str) -> (u16, Value) {
    use axum::body::{Body, to_bytes};
    use tower::ServiceExt;
    let request = axum::http::Request::get("/api/auth/user").header(header, format!("Bearer {token}"));
    let response = world.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap())
}

#[test]
fn somebody_chooses_a_password_logs_in_fetches_new_tokens_and_leaves() {
    story(|world| async move {
        let id = user(Who::Admin).id;
        let call = format!("GET /api/user/{id}/activationLink");
        let link = world.ask(Who::Admin, &call, Value::Null).await.json();
        let token = link.as_str().unwrap().split("activateToken=").nth(1).unwrap().to_owned();
        let chosen = json!({"activateToken": token, "password": "secret!"});
        world
            .expect(Who::Nobody, "POST /api/noauth/activate", chosen.clone(), OK, json!({"token": "*"}))
            .await;
        let used = world.ask(Who::Nobody, "POST /api/noauth/activate", chosen).await;
        assert_eq!(used.status, 401, "a link is good for one password");

        let wrong = json!({"username": "admin@example.com", "password": "guess"});
        let told = json!({"status": 401, "message": "Invalid username or password", "errorCode": 10, "timestamp": "*"});
        world.expect(Who::Nobody, "POST /api/auth/login", wrong, 401, told.clone()).await;
        let unknown = json!({"username": "who@example.com", "password": "guess"});
        world.expect(Who::Nobody, "POST /api/auth/login", unknown, 401, told).await;
        let right = json!({"username": "ADMIN@example.com", "password": "secret!"});
        let both = json!({"token": "*", "refreshToken": "*"});
        let pair = world.expect(Who::Nobody, "POST /api/auth/login", right, OK, both.clone()).await;
        let token = pair["token"].as_str().unwrap();
        for header in ["x-authorization", "authorization"] {
            let (status, me) = with_token(&world, token, header).await;
            let expected = json!({"email": "admin@example.com", "authority": "TENANT_ADMIN", "id": {"entityType": "USER"}});
            assert!(status == OK && includes(&me, &expected), "{me}");
        }
        let refresh = pair["refreshToken"].as_str().unwrap();
        assert_eq!(with_token(&world, refresh, "x-authorization").await.0, 401, "for fetching only");
        let fetch = json!({"refreshToken": refresh});
        let fresh = world.expect(Who::Nobody, "POST /api/auth/token", fetch.clone(), OK, both).await;
        let not_that = json!({"refreshToken": token});
        assert_eq!(world.ask(Who::Nobody, "POST /api/auth/token", not_that).await.status, 401);

        let claims = world.api.tokens().read(token, Use::Access, world.api.now_ms()).unwrap();
        world.api.tokens().end(&claims, world.api.now_ms());
        let (status, told) = with_token(&world, fresh["token"].as_str().unwrap(), "x-authorization").await;
        assert_eq!((status, &told["errorCode"]), (401, &json!(11)), "a session ends as a whole");
        world.expect(Who::Nobody, "POST /api/auth/token", fetch, 401, json!({"errorCode": 11})).await;
    });
}

#[test]
fn a_new_password_ends_the_tokens_of_the_old_one() {
    story(|world| async move {
        let old = world.token(Who::Customer);
        assert_eq!(with_token(&world, &old, "x-authorization").await.0, OK);
        let id = user(Who::Customer).id;
        super::super::login::set_password(&world.api, id, "secret!".to_owned(), None).await.unwrap();
        assert_eq!(with_token(&world, &old, "x-authorization").await.0, 401);
    });
}

#[test]
fn tokens_end_and_others_are_refused() {
    story(|world| async move {
        let token = world.token(Who::Admin);
        world.pass(8_999_000);
        assert_eq!(with_token(&world, &token, "x-authorization").await.0, OK);
        world.pass(1_000);
        let (status, told) = with_token(&world, &token, "x-authorization").await;
        assert_eq!(
            (status, &told["errorCode"], &told["message"]),
            (401, &json!(11), &json!("Token has expired"))
        );
        let forged = World::new(None).token(Who::Admin).replace('.', "x.");
        for token in ["", "nonsense", &forged] {
            let (status, told) = with_token(&world, token, "x-authorization").await;
            assert_eq!((status, &told["errorCode"]), (401, &json!(10)), "{token}");
        }
    });
}

#[test]
fn an_address_that_guesses_waits() {
    story(|world| async move {
        for _ in 0..10 {
            let peer = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
            world.api.attempts().note_failure(peer, "admin@example.com", world.api.now_ms());
        }
        let another = json!({"username": "other@example.com", "password": "guess"});
        assert_eq!(
            world.ask(Who::Nobody, "POST /api/auth/login", another).await.status,
            401,
            "behind a proxy"
        );
        let login = json!({"username": "admin@example.com", "password": "guess"});
        world.expect(Who::Nobody, "POST /api/auth/login", login.clone(), 429, json!({"errorCode": 33})).await;
        world.pass(60_000);
        assert_eq!(world.ask(Who::Nobody, "POST /api/auth/login", login).await.status, 401);
    });
}

#[test]
fn an_activation_link_opens_a_page_that_posts_to_its_own_address() {
    story(|world| async move {
        let call = format!("GET /api/user/{}/activationLink", user(Who::Admin).id);
        let link = world.ask(Who::Admin, &call, Value::Null).await.json();
        let told = world.ask(Who::Nobody, &format!("GET {}", link.as_str().unwrap()), Value::Null).await;
        assert_eq!(
            (told.status, &told.headers["content-type"]),
            (OK, &"text/html; charset=utf-8".parse().unwrap())
        );
        let page = String::from_utf8(told.bytes).unwrap();
        assert!(page.contains("fetch(\"/api/noauth/activate\"") && page.contains("type=\"password\""));
    });
}
