//! Switches that change how a connection behaves, and not what a message means.

use device::{Dialect, Profile};
use dialect::ThingsBoard;
use dialects::client;
use dialects::house::House;
use dialects::world::PROFILE;
use mqtt::{QoS, Version};

/// A house whose devices' profile has these switches.
fn house(quirks: &str) -> House {
    let house = House::new(2);
    house.shelf.with(|registry, changes| {
        let profile = registry.profile(PROFILE).expect("made at the start").clone();
        let settings = format!("{{\"quirks\":{quirks}}}");
        let terms = ThingsBoard.read_settings(&settings).expect("the settings are valid");
        let profile = Profile { settings: settings.into(), terms, ..profile };
        registry.put_profile(profile, changes).expect("the same profile");
    });
    house
}

/// CONNECT that asks for no clean session.
fn lasting(version: Version) -> Vec<u8> {
    let mut connect = client::connect(version, "c", Some("T"), None, None);
    connect[9] &= !0x02;
    connect
}

#[test]
fn a_message_of_qos_2_is_answered_as_the_switch_says() {
    for (quirks, v311, v5) in
        [("{}", "PUBREC", "PUBREC 0x00"), ("{\"qos2Puback\":true}", "PUBACK", "PUBACK 0x00")]
    {
        for (version, told) in [(Version::V311, v311), (Version::V5, v5)] {
            let mut house = house(quirks);
            let connect = client::connect(version, "", Some("T"), None, None);
            let device = house.connect(0, 0, version, &connect);
            house.seen(device);
            house.publish(device, "v2/t", QoS::ExactlyOnce, b"{\"a\":1}");
            assert_eq!(house.seen(device), [told], "{quirks}");
        }
    }
}

#[test]
fn a_session_that_is_not_there_is_told_of_only_if_the_switch_says_so() {
    for (quirks, flag) in [("{}", 0), ("{\"echoesSession\":true}", 1)] {
        for version in [Version::V311, Version::V5] {
            let mut house = house(quirks);
            let device = house.connect(0, 0, version, &lasting(version));
            assert_eq!(house.clients[device].session_present, Some(flag == 1), "{quirks}");
            let clean = client::connect(version, "c", Some("T"), None, None);
            let device = house.connect(0, 0, version, &clean);
            assert_eq!(house.clients[device].session_present, Some(false), "it asked for a clean one");
        }
    }
}
