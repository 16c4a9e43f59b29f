//! Plain MQTT: a client is who its client identifier says.

mod introduction;

pub(crate) use introduction::Plain;
