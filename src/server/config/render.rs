//! Writing the default file.
//!
//! Invariants:
//! - The file that is written says the same as no file at all.

use std::fmt::Write;

use super::authentication::Authenticator;
use super::keys::{AUTHENTICATOR, Key, LISTENER, keys_of};
use super::sections::{Config, Listener};

const HEAD: &str = "\
# The configuration of RingMQ. Every key is optional; what stands here is the default.
#
# Use it with `ringmq serve -c FILE`; `ringmq check -c FILE` tells what is wrong with it. A key that does not exist is an
# error. Each key can be overridden by an environment variable: RINGMQ_LIMITS_PACKET_BYTES_MAX=65536, or, if there is one
# listener only, RINGMQ_LISTENER_BIND=127.0.0.1:1884. The command line wins over both.
";

/// The default configuration file, with its comments.
#[must_use]
pub fn default_file() -> String {
    let config = Config::default();
    let mut text = HEAD.to_owned();
    write_section(&mut text, "[server]", keys_of("server"), &config);
    text.push_str("\n# Repeat this section for each address to listen on.");
    for listener in &config.listener {
        write_listener(&mut text, listener);
    }
    write_authenticator(&mut text, &Authenticator::default());
    write_section(&mut text, "[access]", keys_of("access"), &config);
    write_section(&mut text, "[devices]", keys_of("devices"), &config);
    write_section(&mut text, "[store]", keys_of("store"), &config);
    write_section(&mut text, "[limits]", keys_of("limits"), &config);
    write_section(&mut text, "[log]", keys_of("log"), &config);
    write_section(&mut text, "[sys]", keys_of("sys"), &config);
    write_section(&mut text, "[control]", keys_of("control"), &config);
    text
}

fn write_listener(text: &mut String, listener: &Listener) {
    write_section(text, "[[listener]]", LISTENER.iter(), listener);
}

/// There is none by default, so all of it is a comment.
fn write_authenticator(text: &mut String, example: &Authenticator) {
    text.push_str("\n# Repeat this section for each way to find out who a client is; listeners name them in `authentication`.\n");
    let mut section = String::new();
    write_section(&mut section, "[[authenticator]]", AUTHENTICATOR.iter(), example);
    for line in section.trim().lines() {
        let comment = if line.is_empty() || line.starts_with('#') { "" } else { "# " };
        let _ = writeln!(text, "{comment}{line}");
    }
}

fn write_section<'a, T: 'a>(
    text: &mut String,
    head: &str,
    keys: impl Iterator<Item = &'a Key<T>>,
    values: &T,
) {
    text.push('\n');
    text.push_str(head);
    text.push('\n');
    for (place, key) in keys.enumerate() {
        if place > 0 {
            text.push('\n');
        }
        for line in key.doc {
            let _ = writeln!(text, "#{line}");
        }
        // Writing to a string cannot fail.
        let _ = match (key.show)(values) {
            Some(value) => writeln!(text, "{} = {value}", key.name),
            None => writeln!(text, "# {} = {}", key.name, (key.example)(values)),
        };
    }
}
