//! The description has every route, and every route that is not open asks for a token.

use serde_json::{Value, json};

use super::world::{OK, Who, World, story};
use crate::thingsboard::routes::table;

const SOME_ID: &str = "784f394c-42b6-435a-983c-b7beff2784f9";

async fn described(world: &World) -> Vec<(String, String, Value)> {
    let json =
        world.expect(Who::Nobody, "GET /api/openapi.json", Value::Null, OK, json!({"openapi": "*"})).await;
    let paths = json["paths"].as_object().unwrap().clone();
    let operations = paths.into_iter().flat_map(|(path, item)| {
        let item = item.as_object().unwrap().clone();
        item.into_iter().map(move |(method, operation)| (method.to_uppercase(), path.clone(), operation))
    });
    operations.collect()
}

#[test]
fn every_route_is_described_once_and_every_description_is_a_route() {
    story(|world| async move {
        let described = described(&world).await;
        let routes: usize = table().iter().map(|(_, routes)| routes.len()).sum();
        assert_eq!(described.len(), routes);
        for (method, path, operation) in described {
            let filled: Vec<&str> =
                path.split('/').map(|part| if part.starts_with('{') { SOME_ID } else { part }).collect();
            let told = world.ask(Who::Nobody, &format!("{method} {}", filled.join("/")), Value::Null).await;
            let is_open = operation.get("security").is_none();
            match is_open {
                true => assert!(![404, 405].contains(&told.status), "{method} {path}: {told:?}"),
                false => {
                    assert_eq!(told.status, 401, "{method} {path} without a token: {told:?}");
                    assert_eq!(told.json()["errorCode"], 10, "{method} {path}");
                }
            }
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let in_path = parameters.iter().filter(|parameter| parameter["in"] == "path").count();
            assert_eq!(in_path, path.matches('{').count(), "{path}");
        }
    });
}

#[test]
fn examples_are_json_and_bodies_are_described() {
    story(|world| async move {
        let described = described(&world).await;
        let find = |method: &str, path: &str| {
            let found = described.iter().find(|(one, other, _)| one == method && other == path);
            found.unwrap().2.clone()
        };
        let login = find("POST", "/api/auth/login");
        let example = &login["requestBody"]["content"]["application/json"]["example"];
        assert_eq!(example["username"], "tenant@thingsboard.org");
        let upload = find("POST", "/api/otaPackage/{otaPackageId}");
        assert!(upload["requestBody"]["content"]["multipart/form-data"].is_object(), "{upload}");
        for (method, path, operation) in &described {
            if let Some(content) = operation["requestBody"]["content"].get("application/json") {
                assert!(!content["example"].is_null(), "the example of {method} {path} is no JSON");
            }
        }
    });
}

#[test]
fn the_pages_to_browse_need_no_network() {
    story(|world| async move {
        let moved = world.ask(Who::Nobody, "GET /api", Value::Null).await;
        assert_eq!(moved.headers["location"], "/api/browse/");
        let page = world.ask(Who::Nobody, "GET /api/browse/", Value::Null).await;
        let text = String::from_utf8(page.bytes).unwrap();
        assert!(page.status == OK && text.contains("swagger-ui") && !text.contains("https://"), "{text}");
        let script = world.ask(Who::Nobody, "GET /api/browse/swagger-initializer.js", Value::Null).await;
        assert!(String::from_utf8(script.bytes).unwrap().contains("/api/openapi.json"));
        assert_eq!(world.ask(Who::Nobody, "GET /api/browse/nothing.js", Value::Null).await.status, 404);
    });
}

#[test]
fn unknown_paths_are_told_in_the_form_of_errors() {
    story(|world| async move {
        let expected = json!({"status": 404, "errorCode": 32, "message": "*", "timestamp": "*"});
        world.expect(Who::Admin, "GET /api/nowhere", Value::Null, 404, expected).await;
    });
}
