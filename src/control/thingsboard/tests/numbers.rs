//! Numbers and truths in bodies, as scripts in many languages write them.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::{OK, Who, story};

#[test]
fn a_time_out_is_a_number_of_any_form() {
    story(|world| async move {
        let id = world.device("A").await;
        let call = format!("POST /api/rpc/twoway/{id}");
        for timeout in [json!(7_000), json!("7000"), json!(7_000.0), json!(7e3), json!(7_000.9)] {
            let begin = tokio::time::Instant::now();
            let told = world.ask(Who::Admin, &call, json!({"method": "m", "timeout": timeout})).await;
            assert_eq!(told.status, 504, "{timeout}: nobody listens");
            let waited = begin.elapsed();
            assert!(
                waited >= Duration::from_secs(7) && waited < Duration::from_secs(8),
                "{timeout}: {waited:?}"
            );
        }
        for timeout in [json!("soon"), json!([7_000]), json!(1e300)] {
            let body = json!({"method": "m", "timeout": timeout});
            world.expect(Who::Admin, &call, body, 400, json!({"errorCode": 31})).await;
        }
    });
}

#[test]
fn true_is_true_as_a_text_too() {
    story(|world| async move {
        let id = world.device("A").await;
        let call = format!("POST /api/rpc/oneway/{id}");
        let body = json!({"method": "m", "persistent": "true"});
        world.expect(Who::Admin, &call, body, OK, json!({"rpcId": "*"})).await;
        let gateway = json!({"name": "G", "additionalInfo": {"gateway": "true"}});
        let shown = json!({"additionalInfo": {"gateway": true}});
        world.expect(Who::Admin, "POST /api/device", gateway, OK, shown).await;
        let call = "GET /api/tenant/device?deviceName=G";
        world.expect(Who::Admin, call, Value::Null, OK, json!({"additionalInfo": {"gateway": true}})).await;
    });
}
