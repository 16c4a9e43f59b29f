//! Whole images on slow lines: how many are on their way, who waits, and who is told that there is none.

use std::sync::Arc;

use broker::{Counters, Limits};
use device::{Algorithm, Content, Package, PackageId, PackageKind, Profile, Role};
use dialects::client;
use dialects::house::{ClientId, House};
use dialects::world::{PROFILE, TENANT};
use mqtt::{QoS, Version};
use shard::Settings;
use stdx::Span;

const IMAGE_BYTES: usize = 600_000;

/// A house of one core in which 1 MiB of images may be on their way.
fn house(image_bytes: usize, settings: Settings) -> House {
    let house = House::with(1, Settings { package_bytes_max: 1 << 20, ..settings });
    house.shelf.with(|registry, changes| {
        let id = PackageId::from_bytes([9; 16]);
        let image: Arc<[u8]> = vec![b'x'; image_bytes].into();
        let content = Content::upload(image, Algorithm::Crc32, None).expect("no checksum is asked for");
        let package = Package {
            id,
            tenant: TENANT,
            profile: PROFILE,
            kind: PackageKind::Firmware,
            title: "app".into(),
            version: "1.1".into(),
            tag: None,
            content,
            label: device::Label::default(),
            created_ms: 0,
        };
        registry.put_package(package.into(), changes);
        let profile = registry.profile(PROFILE).expect("made at the start").clone();
        registry.put_profile(Profile { firmware: Some(id), ..profile }, changes).expect("the same profile");
    });
    house
}

/// Devices on slow lines.
fn slow_devices(house: &mut House, tokens: &[&str]) -> Vec<ClientId> {
    let connect = |token: &&str| {
        if house.find(token).is_none() && *token != "T" {
            house.create(token, token, Role::Ordinary);
        }
        let id = house.device(token);
        house.clients[id].is_slow = true;
        id
    };
    tokens.iter().map(connect).collect()
}

/// A device asks for a part; what it sees, images as their lengths.
fn ask(house: &mut House, device: ClientId, request: &str, size: &str) -> Vec<String> {
    house.publish(device, &format!("v2/fw/request/{request}"), QoS::AtLeastOnce, size.as_bytes());
    seen(house, device)
}

fn seen(house: &mut House, device: ClientId) -> Vec<String> {
    let shorten = |line: String| match line.rsplit_once(' ') {
        Some((head, image)) if image.starts_with("xxx") => format!("{head} {}", image.len()),
        _other => line,
    };
    house.seen(device).into_iter().map(shorten).collect()
}

fn counters(house: &House) -> &Counters {
    house.shards()[0].counters()
}

/// Bytes on their way, how many wait, have waited and were refused.
fn figures(house: &House) -> (u64, u64, u64, u64) {
    let counters = counters(house);
    (
        counters.package_bytes_under_way,
        counters.packages_waiting,
        counters.packages_postponed,
        counters.packages_refused,
    )
}

const IMAGE: u64 = IMAGE_BYTES as u64;
const WHOLE: &str = "PUBLISH q1 v2/fw/response/1/chunk/0 600000";

#[test]
fn who_asks_for_a_whole_image_waits_until_there_is_room_and_others_go_on() {
    let mut house = house(IMAGE_BYTES, Settings::default());
    let devices = slow_devices(&mut house, &["T", "B", "C", "E"]);
    assert_eq!(ask(&mut house, devices[0], "1/chunk/0", ""), ["PUBACK 0x00", WHOLE]);
    for device in &devices[1..] {
        assert_eq!(ask(&mut house, *device, "1/chunk/0", ""), ["PUBACK 0x00"], "it waits");
    }
    assert_eq!(ask(&mut house, devices[1], "1/chunk/0", ""), ["PUBACK 0x00"], "it waits already");
    assert_eq!(figures(&house), (IMAGE, 3, 3, 0));
    let part = "PUBLISH q1 v2/fw/response/2/chunk/0 1000";
    assert_eq!(ask(&mut house, devices[3], "2/chunk/0", "1000"), ["PUBACK 0x00", part], "parts pass by");
    house.clear_line(devices[0]);
    assert_eq!(seen(&mut house, devices[1]), [WHOLE], "the next one");
    assert!(seen(&mut house, devices[2]).is_empty());
    // One that has gone waits no longer, and what was on its way to it is not.
    house.cut(devices[2]);
    house.cut(devices[1]);
    assert_eq!(seen(&mut house, devices[3]), [WHOLE]);
    assert_eq!(figures(&house), (IMAGE, 0, 3, 0));
    house.clear_line(devices[3]);
    assert_eq!(ask(&mut house, devices[0], "3/chunk/0", ""), ["PUBACK 0x00", &WHOLE.replace("/1/", "/3/")]);
    assert_eq!(figures(&house).0, IMAGE, "what has left is on its way no longer");
    house.clear_line(devices[0]);
    assert_eq!(figures(&house).0, 0, "nor is it if nobody asks for anything any more");
}

#[test]
fn an_image_that_is_larger_than_the_limit_is_sent_alone() {
    let mut house = house(3 << 20, Settings::default());
    let devices = slow_devices(&mut house, &["T", "B"]);
    let whole = "PUBLISH q1 v2/fw/response/1/chunk/0 3145728";
    assert_eq!(ask(&mut house, devices[0], "1/chunk/0", ""), ["PUBACK 0x00", whole]);
    assert_eq!(ask(&mut house, devices[1], "1/chunk/0", ""), ["PUBACK 0x00"]);
    house.clear_line(devices[0]);
    assert_eq!(seen(&mut house, devices[1]), [whole]);
}

#[test]
fn a_device_has_one_image_on_its_way_and_waits_for_one() {
    let mut house = house(IMAGE_BYTES, Settings { package_bytes_max: 1 << 30, ..Settings::default() });
    let device = slow_devices(&mut house, &["T"])[0];
    assert_eq!(ask(&mut house, device, "1/chunk/0", ""), ["PUBACK 0x00", WHOLE]);
    assert_eq!(ask(&mut house, device, "2/chunk/0", ""), ["PUBACK 0x00"]);
    assert_eq!(ask(&mut house, device, "2/chunk/0", ""), ["PUBACK 0x00"], "the same once more");
    assert_eq!(ask(&mut house, device, "3/chunk/0", ""), ["PUBACK 0x97"]);
    assert_eq!(house.clients[device].reasons, ["the device waits for a part already"]);
    house.clear_line(device);
    assert_eq!(seen(&mut house, device), ["PUBLISH q1 v2/fw/error FAILURE", &WHOLE.replace("/1/", "/2/")]);
    assert_eq!(figures(&house).3, 1);
}

#[test]
fn a_device_that_was_deleted_or_has_no_firmware_any_more_waits_for_nothing() {
    let mut house = house(IMAGE_BYTES, Settings::default());
    let devices = slow_devices(&mut house, &["T", "B", "C"]);
    for device in &devices {
        ask(&mut house, *device, "1/chunk/0", "");
    }
    let id = house.id("B");
    house.delete(id);
    house.ask(id, device::HubCall::Forget);
    house.shelf.with(|registry, changes| {
        let profile = registry.profile(PROFILE).expect("made at the start").clone();
        registry.put_profile(Profile { firmware: None, ..profile }, changes).expect("the same profile");
    });
    seen(&mut house, devices[0]);
    house.clear_line(devices[0]);
    assert_eq!(seen(&mut house, devices[1]), ["DISCONNECT 0x98", "close"]);
    assert_eq!(seen(&mut house, devices[2]), ["PUBLISH q1 v2/fw/error NOT_FOUND"]);
    assert_eq!(figures(&house).1, 0);
}

#[test]
fn an_image_above_what_a_device_takes_is_refused_by_name() {
    let mut house = house(IMAGE_BYTES, Settings::default());
    let connect = client::connect(Version::V5, "", Some("T"), None, None);
    // Maximum Packet Size: 1000.
    let connect = client::with_properties(connect, &[0x27, 0, 0, 0x03, 0xe8]);
    let device = house.connect(0, 0, Version::V5, &connect);
    house.seen(device);
    let refused = ["PUBACK 0x97", "PUBLISH q1 v2/fw/error PAYLOAD_TOO_LARGE"];
    for size in ["", "65536", "1001"] {
        assert_eq!(ask(&mut house, device, "1/chunk/0", size), refused, "{size:?}");
    }
    assert_eq!(house.clients[device].reasons.len(), 3);
    let why = "the part is larger than the Maximum Packet Size of the device";
    assert_eq!(house.clients[device].reasons[0], why);
    // The part would fit alone, with its topic it does not.
    let told = ["PUBACK 0x00", "PUBLISH q1 v2/fw/error PAYLOAD_TOO_LARGE"];
    assert_eq!(ask(&mut house, device, "2/chunk/0", "980"), told);
    let part = "PUBLISH q1 v2/fw/response/3/chunk/0 900";
    assert_eq!(ask(&mut house, device, "3/chunk/0", "900"), ["PUBACK 0x00", part]);
    assert_eq!((figures(&house).0, figures(&house).3), (0, 4));
    assert_eq!(counters(&house).dropped_too_large, 0);
}

#[test]
fn who_takes_too_long_for_an_image_while_others_wait_is_sent_away() {
    let mut house = house(IMAGE_BYTES, Settings::default());
    let devices = slow_devices(&mut house, &["T", "B"]);
    let stay = |house: &mut House, minutes| {
        for _minute in 0..minutes {
            house.wait(Span::from_ms(59_000));
            for device in &devices {
                house.send(*device, &[0xc0, 0]);
            }
        }
        devices.iter().map(|device| seen(house, *device)).collect::<Vec<_>>()
    };
    ask(&mut house, devices[0], "1/chunk/0", "");
    stay(&mut house, 20);
    assert!(house.clients[devices[0]].place.is_some(), "nobody waits for it");
    assert_eq!(ask(&mut house, devices[1], "1/chunk/0", ""), ["PUBACK 0x00", WHOLE], "its time was over");
    house.seen(devices[0]);
    assert_eq!(house.clients[devices[0]].place, None);
}

#[test]
fn a_large_image_is_not_kept_until_it_is_acknowledged() {
    let limits = Limits { queue_bytes_max: 1 << 20, ..Limits::default() };
    let mut house = house(2 << 20, Settings { limits, ..Settings::default() });
    let device = house.device("T");
    for request in 1..5 {
        let request = request.to_string();
        let whole = format!("PUBLISH q1 v2/fw/response/{request}/chunk/0 2097152");
        assert_eq!(ask(&mut house, device, &format!("{request}/chunk/0"), ""), ["PUBACK 0x00", &whole]);
    }
    let owed = std::mem::take(&mut house.clients[device].owed);
    assert_eq!(owed.len(), 4);
    owed.iter().for_each(|id| house.send(device, &client::puback(*id)));
    assert_eq!(counters(&house).inflight_messages, 0);
}
