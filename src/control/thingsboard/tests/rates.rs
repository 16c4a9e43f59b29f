//! What a device is told that it may say.

use serde_json::json;

use super::world::{OK, Who, story};

#[test]
fn a_device_that_asks_over_http_is_told_the_limits_of_the_listeners() {
    story(|world| async move {
        world.device("A").await;
        let gateway = json!({"name": "G", "additionalInfo": {"gateway": true}});
        world.expect(Who::Admin, "POST /api/device?accessToken=G", gateway, OK, json!({})).await;
        for (token, rate) in [("A", "20:1"), ("G", "30:1")] {
            let call = format!("POST /api/v1/{token}/rpc");
            let asked = json!({"method": "getSessionLimits", "params": {}});
            let told = json!({
                "maxPayloadSize": 65_536, "maxInflightMessages": 7, "rateLimits": {"messages": rate, "telemetryMessages": null},
            });
            world.expect(Who::Nobody, &call, asked, OK, told).await;
        }
    });
}
