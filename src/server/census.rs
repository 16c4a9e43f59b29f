//! How many devices there are, and who waits for news of them, in Prometheus' text format.
//!
//! Why apart from the counters of cores: the platform is one for all of them.
//!
//! Invariants:
//! - Nothing here looks at every device: whoever reads metrics must not hold up a CONNECT.

use std::fmt::Write;

use platform::Platform;

/// The figures of the device platform.
#[must_use]
pub fn census(platform: &Platform) -> String {
    let (devices, bytes, tenants, profiles) = platform.read(|registry| {
        let (tenants, profiles) = (registry.tenants().count(), registry.profiles().count());
        (registry.len(), registry.memory_bytes(), tenants, profiles)
    });
    let waiting = platform.waiting_figures();
    let gauges = [
        ("devices", devices),
        ("device_registry_bytes", bytes),
        ("device_tenants", tenants),
        ("device_profiles", profiles),
        ("device_commands_watched", waiting.commands),
        ("device_listeners_outside", waiting.listeners),
        ("device_calls_waiting", waiting.calls),
    ];
    let mut text = String::new();
    for (name, value) in gauges {
        let _writing_to_a_string_cannot_fail =
            writeln!(text, "# TYPE ringmq_{name} gauge\nringmq_{name} {value}");
    }
    let name = "ringmq_device_news_dropped_total";
    let _writing_to_a_string_cannot_fail =
        writeln!(text, "# TYPE {name} counter\n{name} {}", waiting.dropped);
    text
}

#[cfg(test)]
mod tests {
    use device::{Cookie, DeviceId, Ear, News};

    use super::*;
    use crate::config::Devices;
    use crate::founding::found_tenant;

    #[test]
    fn devices_and_those_who_wait_are_counted_and_so_is_what_is_dropped() {
        let platform = Platform::new(Box::new(|_settings| Ok(None)));
        assert!(found_tenant(&platform, &Devices::default()).unwrap().is_some());
        let listening = platform.listen();
        let call = || News::Called {
            device: DeviceId::from_bytes([1; 16]),
            ear: Ear(1),
            cookie: Cookie::default(),
            method: "m".into(),
            params: "{}".into(),
        };
        let dropped = (0..5000).filter(|_| !platform.tell(call())).count();
        let text = census(&platform);
        for line in [
            "# TYPE ringmq_devices gauge\nringmq_devices 0\n".to_owned(),
            "ringmq_device_profiles 1\n".to_owned(),
            "ringmq_device_listeners_outside 1\n".to_owned(),
            format!("ringmq_device_calls_waiting {}\n", 5000 - dropped),
            format!("ringmq_device_news_dropped_total {dropped}\n"),
        ] {
            assert!(dropped > 0 && text.contains(&line), "{line} in {text}");
        }
        drop(listening);
        assert!(census(&platform).contains("ringmq_device_listeners_outside 0\n"));
    }
}
