//! The configuration as its user meets it: files, variables, complaints.
//!
//! Invariants:
//! - Complaints are compared as the lines that are printed.

use std::path::{Path, PathBuf};

use shard::Durability;

use super::file::read_text;
use super::rules::check;
use super::{Complaint, Config, LogFormat, Sources, default_file, load};
use crate::cores::Cores;

const DIALECTS: [&str; 2] = ["plain", "thingsboard"];

/// Reads `text` as the file `x.toml` and returns what is wrong with it.
fn complaints(text: &str) -> Vec<String> {
    read(text).1
}

fn read(text: &str) -> (Config, Vec<String>) {
    let mut config = Config::default();
    let mut complaints = Vec::new();
    read_text(Path::new("x.toml"), text, &mut config, &mut complaints);
    config.note_dialects(&DIALECTS[1..]);
    if complaints.is_empty() {
        check(&config, &DIALECTS, &mut complaints);
    }
    (config, complaints.iter().map(Complaint::to_string).collect())
}

fn sources(variables: &[(&str, &str)]) -> Sources {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Sources {
        variables: variables.iter().map(owned).collect(),
        dialects: DIALECTS.to_vec(),
        device_dialects: DIALECTS[1..].to_vec(),
        ..Sources::default()
    }
}

fn refused(sources: &Sources) -> Vec<String> {
    load(sources).unwrap_err().iter().map(Complaint::to_string).collect()
}

fn repository_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/ringmq.toml")
}

#[test]
fn the_default_file_is_what_the_program_does_without_a_file() {
    let written = std::fs::read_to_string(repository_file()).unwrap();
    let remedy = "refresh it: cargo run -p server --example default_config > config/ringmq.toml";
    assert!(written == default_file(), "config/ringmq.toml is stale; {remedy}");
    let (config, complaints) = read(&written);
    assert_eq!(complaints, [""; 0]);
    let unplaced = |mut config: Config| {
        for listener in &mut config.listener {
            listener.place = super::Place::Default;
            listener.key_places.clear();
        }
        format!("{config:?}")
    };
    assert_eq!(unplaced(config), unplaced(Config::default()));
}

#[test]
fn every_key_of_the_default_file_can_be_changed() {
    let changed = default_file()
        .replace("cores = \"all\"", "cores = \"0,2-3\"")
        .replace("packet_bytes_max = 1_048_576", "packet_bytes_max = 0x10000")
        .replace("retain_available = true", "retain_available = false")
        .replace("format = \"text\"", "format = \"json\"")
        .replace("dir = \"ringmq-data\"", "dir = \"/srv/a\\\"b\"")
        .replace("reserve_bytes = 67_108_864", "reserve_bytes = 0")
        .replace("# durability = \"fsync\"", "durability = \"memory\"")
        .replace("bind = \"127.0.0.1:1883\"", "bind = \"[::1]:1884\"");
    let (config, complaints) = read(&changed);
    assert_eq!(complaints, [""; 0]);
    assert_eq!(config.server.cores, Cores::List(vec![0, 2, 3]));
    assert_eq!(config.limits.packet_bytes_max, 65_536);
    assert_eq!((config.store.dir.as_path(), config.store.reserve_bytes), (Path::new("/srv/a\"b"), 0));
    assert_eq!(config.durability_of(&config.listener[0]), Durability::Memory);
    assert!(!config.limits.retain_available);
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.listener[0].bind, "[::1]:1884".parse().unwrap());
}

#[test]
fn unknown_keys_are_refused_with_place_and_guess() {
    let rows = [
        (
            "[limits]\n  packet_byte_max = 5\n",
            "x.toml:2:3: unknown key `packet_byte_max` in [limits]; did you mean `packet_bytes_max`?",
        ),
        ("[server]\nzzz = 1", "x.toml:2:1: unknown key `zzz` in [server]"),
        ("[log]\nqos_max = 1", "x.toml:2:1: unknown key `qos_max` in [log]; it belongs into [limits]"),
        ("[limit]\nqos_max = 1", "x.toml:1:2: unknown section [limit]; did you mean `limits`?"),
        ("qos_max = 1", "x.toml:1:1: `qos_max` belongs into section [limits]"),
        ("bind = \"x\"", "x.toml:1:1: `bind` belongs into section [[listener]]"),
        ("flavour = 1", "x.toml:1:1: unknown key `flavour` outside of all sections"),
        (
            "[[listener]]\nbimd = \"x\"",
            "x.toml:2:1: unknown key `bimd` in [[listener]]; did you mean `bind`?",
        ),
    ];
    for (text, complaint) in rows {
        assert_eq!(complaints(text), [complaint], "{text}");
    }
}

#[test]
fn bad_values_are_refused_with_what_was_wanted() {
    let rows = [
        ("[limits]\nqos_max = 3", "x.toml:2:11: `qos_max` wants a number from 0 to 2, not 3"),
        ("[limits]\nqos_max = -1", "x.toml:2:11: `qos_max` wants a number from 0 to 255, not -1"),
        ("[limits]\nqos_max = \"2\"", "x.toml:2:11: `qos_max` wants an integer, not a string"),
        ("[limits]\nqos_max = 1.5", "x.toml:2:11: `qos_max` wants an integer, not a number with a fraction"),
        (
            "[limits]\nretain_available = 1",
            "x.toml:2:20: `retain_available` wants true or false, not an integer",
        ),
        (
            "# ä\n[log]\nlevel = \"wran\"",
            "x.toml:3:9: `level` wants one of \"error\" \"warn\" \"info\" \"debug\", not `wran`; did you mean `warn`?",
        ),
        (
            "[store]\ndurability = \"disk\"",
            "x.toml:2:14: `durability` wants one of \"fsync\" \"interval\" \"memory\", not `disk`",
        ),
        ("[store]\ndir = \"\"", "x.toml:2:7: `dir` wants a path, and this is none"),
        (
            "[[listener]]\nbind = \"localhost\"",
            "x.toml:2:8: `bind` wants an IP address and a port such as 127.0.0.1:1883 or [::1]:1883, or unix: and a path, \
             not `localhost`",
        ),
        (
            "[server]\ncores = \"two\"",
            "x.toml:2:9: `cores` `two` is neither `all`, nor a number, nor a list such as `0,2-3`",
        ),
        (
            "[listener]\nbind = \"127.0.0.1:1\"",
            "x.toml:1:2: a listener begins with [[listener]], in double brackets",
        ),
        ("limits = 5", "x.toml:1:1: `limits` is a section: write [limits]"),
    ];
    for (text, complaint) in rows {
        assert_eq!(complaints(text), [complaint], "{text}");
    }
}

#[test]
fn a_file_that_is_not_toml_is_refused_at_the_place() {
    let told = complaints("[limits]\nqos_max = = 1\n");
    assert!(told[0].starts_with("x.toml:2:11: "), "{told:?}");
    let told = complaints("[log]\nlevel = \"info\"\nlevel = \"warn\"\n");
    assert_eq!(told, ["x.toml:3:1: duplicate key"]);
}

#[test]
fn all_complaints_are_told_at_once() {
    assert_eq!(complaints("[limits]\nqos_max = 9\nnonsense = 1\n[lag]\n").len(), 3);
}

#[test]
fn strangers_reach_a_listener_only_if_that_is_meant() {
    let told = complaints("[[listener]]\nbind = \"0.0.0.0:1883\"");
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("x.toml:2:8: 0.0.0.0:1883 can be reached by others"), "{told:?}");
    assert!(told[0].contains("`allow_anonymous = true`"), "{told:?}");
    for bind in ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        assert_eq!(complaints(&format!("[[listener]]\nbind = \"{bind}\"")), [""; 0], "{bind}");
    }
    assert_eq!(complaints("[[listener]]\nbind = \"0.0.0.0:1883\"\nallow_anonymous = true"), [""; 0]);
    let told = complaints("[[listener]]\nallow_anonymous = false");
    let expected = "x.toml:1:1: nobody could connect to 127.0.0.1:1883: anonymous clients may not, and `authentication` is not set";
    assert_eq!(told, [expected]);
}

/// A listener with this chain, and one authenticator of each kind.
fn chained(listener: &str) -> String {
    format!(
        "[[listener]]\n{listener}\n[[authenticator]]\nname = \"staff\"\nkind = \"password-file\"\nfile = \"p\"\n\
         [[authenticator]]\nname = \"tokens\"\nkind = \"jwt\"\njwks_file = \"j\"\n\
         [[authenticator]]\nname = \"desk\"\nkind = \"http\"\nurl = \"https://auth.example/mqtt\"\n\
         [[authenticator]]\nname = \"meters\"\nkind = \"certificate\"\nidentity = \"san\"\nas = \"client-id\"\n"
    )
}

#[test]
fn a_chain_is_its_names_and_anonymous_where_that_is_allowed() {
    use super::ChainMember::{Anonymous, Authenticator};
    let chain = |listener: &str| {
        let (config, complaints) = read(&chained(listener));
        assert_eq!(complaints, [""; 0], "{listener}");
        config.chain_of(&config.listener[0])
    };
    assert_eq!(chain("authentication = \"staff\""), [Authenticator(0)]);
    assert_eq!(
        chain("bind = \"0.0.0.0:1\"\nauthentication = \"meters , desk,tokens\""),
        [Authenticator(3), Authenticator(2), Authenticator(1)]
    );
    assert_eq!(chain("authentication = \"anonymous, staff\""), [Anonymous, Authenticator(0)]);
    assert_eq!(chain("authentication = \"staff\"\nallow_anonymous = true"), [Authenticator(0), Anonymous]);
    assert_eq!(chain(""), [Anonymous]);
    assert_eq!(chain("bind = \"0.0.0.0:1\"\nallow_anonymous = true"), [Anonymous]);
}

#[test]
fn chains_and_authenticators_that_make_no_sense_are_refused() {
    let authenticator = |keys: &str| format!("[[authenticator]]\n{keys}\n");
    let rows = [
        (
            chained("authentication = \"stuff\""),
            "x.toml:1:1: `authentication` names `stuff`, and no [[authenticator]] has that name; did you mean `staff`?",
        ),
        (chained("authentication = \"staff, staff\""), "x.toml:1:1: `authentication` names `staff` twice"),
        (
            chained("authentication = \"\""),
            "x.toml:1:1: `authentication` names nobody; without authentication, write \"anonymous\"",
        ),
        (
            chained("authentication = \"anonymous\"\nallow_anonymous = false"),
            "x.toml:1:1: `authentication` names anonymous, and `allow_anonymous` is false",
        ),
        (
            authenticator("kind = \"certificate\""),
            "x.toml:1:1: an authenticator needs a `name` that is not empty and holds no comma",
        ),
        (
            authenticator("name = \"anonymous\"\nkind = \"certificate\""),
            "x.toml:1:1: an authenticator cannot be called `anonymous`, which means that nobody is asked",
        ),
        (
            authenticator("name = \"a\""),
            "x.toml:1:1: authenticator `a` needs a `kind`: \"password-file\", \"certificate\", \"jwt\", \"http\" or \"registry\"",
        ),
        (
            authenticator("name = \"a\"\nkind = \"password-file\""),
            "x.toml:1:1: authenticator `a` needs a `file`",
        ),
        (
            authenticator("name = \"a\"\nkind = \"jwt\"\nsecret_file = \"s\"\njwks_file = \"j\""),
            "x.toml:1:1: authenticator `a` needs exactly one of `secret_file`, `public_key_file` and `jwks_file`",
        ),
        (
            authenticator("name = \"a\"\nkind = \"http\"\nurl = \"ftp://x/\""),
            "x.toml:1:1: the `url` of authenticator `a` must begin with http:// or https://",
        ),
        (
            authenticator("name = \"a\"\nkind = \"certificate\"\nfile = \"p\""),
            "x.toml:1:1: authenticator `a` is of another kind and has no use for `file`",
        ),
        (
            format!("{0}{0}", authenticator("name = \"a\"\nkind = \"certificate\"")),
            "x.toml:4:1: two authenticators have the name `a`",
        ),
        (
            authenticator("name = \"a\"\nkind = \"password\""),
            "x.toml:3:8: `kind` wants one of \"password-file\" \"certificate\" \"jwt\" \"http\" \"registry\", not `password`; did you mean \
             `password-file`?",
        ),
        (
            authenticator("nmae = \"a\""),
            "x.toml:2:1: unknown key `nmae` in [[authenticator]]; did you mean `name`?",
        ),
        (
            "[authenticator]\nname = \"a\"".to_owned(),
            "x.toml:1:2: an authenticator begins with [[authenticator]], in double brackets",
        ),
    ];
    for (text, complaint) in rows {
        assert_eq!(complaints(&text), [complaint], "{text}");
    }
}

#[test]
fn a_listener_without_what_its_protocol_needs_is_refused_at_the_place() {
    let rows = [
        (
            "protocol = \"wss\"",
            "x.toml:2:12: `protocol = \"wss\"` needs `certificate` and `private_key`; `ringmq cert DIR` makes some for a \
             first try",
        ),
        (
            "certificate = \"a.pem\"\nprotocol = \"mqtts\"",
            "x.toml:2:15: `certificate` is set and `private_key` is not; they belong together",
        ),
        ("crl = \"ca.crl\"", "x.toml:2:7: `crl` needs TLS: set `protocol = \"mqtts\"` instead of \"mqtt\""),
        (
            "protocol = \"mqtts\"\ncertificates = \"a.pem a.key\"\nclient_certificate = \"optional\"",
            "x.toml:4:22: `client_certificate` needs `client_ca`, the authorities that are believed",
        ),
        (
            "protocol = \"wss\"\ncertificates = \"a.pem a.key\"\nclient_certificate = \"none\"\nclient_ca = \"ca.pem\"",
            "x.toml:5:13: `client_ca` is not used with `client_certificate = \"none\"`",
        ),
        (
            "protocol = \"wss\"\ncertificates = \"a.pem a.key\"\ncrl = \"ca.crl\"",
            "x.toml:4:7: `crl` needs `client_ca`, the authorities whose list it is",
        ),
        (
            "protocol = \"ws\"\nwebsocket_path = \"mqtt\"",
            "x.toml:3:18: `websocket_path` wants a path such as \"/mqtt\", not `mqtt`",
        ),
        (
            "certificates = \"a.pem\"",
            "x.toml:2:16: `certificates` wants pairs of a certificate and its key such as \"a.pem a.key, b.pem b.key\", \
             not `a.pem`",
        ),
        (
            "certificates = [[\"a.pem\", \"a.key\"]]",
            "x.toml:2:16: `certificates` wants a string such as \"a.pem a.key, b.pem b.key\", not an array",
        ),
        (
            "proxy_protocol_from = \"lb.example\"",
            "x.toml:2:23: `proxy_protocol_from` wants addresses and networks such as \"10.0.0.0/8, 127.0.0.1\", \
             not `lb.example`",
        ),
        ("tls_min = \"ssl3\"", "x.toml:2:11: `tls_min` wants one of \"1.2\" \"1.3\", not `ssl3`"),
    ];
    for (text, complaint) in rows {
        let mut told = complaints(&format!("[[listener]]\n{text}\n"));
        told.truncate(1);
        assert_eq!(told, [complaint], "{text}");
    }
}

#[test]
fn where_clients_are_devices_nobody_else_is_asked_and_any_address_will_do() {
    let devices = "[[listener]]\nbind = \"0.0.0.0:1883\"\ndialect = \"thingsboard\"\n";
    let (config, told) = read(devices);
    assert_eq!(told, [""; 0]);
    assert!(config.has_devices() && config.chain_of(&config.listener[0]).is_empty());
    assert!(!read("").0.has_devices());
    let registry = "[[authenticator]]\nname = \"d\"\nkind = \"registry\"\n";
    assert!(read(registry).0.has_devices());
    let rows = ["authentication = \"d\"", "allow_anonymous = true", "acl_file = \"acl\""];
    for row in rows {
        let key = row.split(' ').next().unwrap();
        let expected = format!(
            "x.toml:2:8: `{key}` is not used with `dialect = \"thingsboard\"`: the registry of devices says who they are, \
             and their dialect what they may do"
        );
        assert_eq!(complaints(&format!("{devices}{row}\n{registry}")), [expected]);
    }
}

#[test]
fn quirks_of_a_listener_are_named_and_only_where_devices_are() {
    let listener = |more: &str| format!("[[listener]]\n{more}");
    let text = listener("dialect = \"thingsboard\"\nquirks = \"nullsRefused, refusalsDisconnect\"");
    let (config, told) = read(&text);
    assert_eq!(told, [""; 0]);
    assert!(config.listener[0].quirks.nulls_refused && config.listener[0].quirks.refusals_disconnect);
    assert_eq!(
        complaints(&listener("dialect = \"thingsboard\"\nquirks = \"nulls\"")),
        ["x.toml:3:10: `quirks` wants nullsRefused or refusalsDisconnect, not `nulls`"]
    );
    assert_eq!(
        complaints(&listener("quirks = \"nullsRefused\"")),
        ["x.toml:2:10: `quirks` needs a dialect with devices; `dialect = \"plain\"` has none"]
    );
}

#[test]
fn any_certificate_will_do_only_where_clients_are_devices() {
    let listener = |more: &str| {
        complaints(&format!(
            "[[listener]]\nprotocol = \"mqtts\"\ncertificates = \"a.pem a.key\"\nclient_certificate = \"any\"\n{more}"
        ))
    };
    assert_eq!(listener("dialect = \"thingsboard\""), [""; 0]);
    let expected = "x.toml:4:22: `client_certificate = \"any\"` believes nobody's signature and needs a dialect that knows \
                    certificates of devices; `dialect = \"plain\"` does not";
    assert_eq!(listener(""), [expected]);
    assert_eq!(
        listener("dialect = \"thingsboard\"\nclient_ca = \"ca.pem\"\ncrl = \"ca.crl\""),
        [
            "x.toml:6:13: `client_ca` is not used with `client_certificate = \"any\"`",
            "x.toml:7:7: `crl` is not used with `client_certificate = \"any\"`"
        ]
    );
}

#[test]
fn the_sections_of_devices_and_of_their_api_are_read() {
    let text = "[devices]\ntenant = \"acme\"\ntelemetry = \"forward\"\nsilence_s = 60\ncommand_ack_ms = 500\n\
                command_retries_max = 1\ncommands_waiting_max = 2\ncommands_kept_max = 7\nsessions_per_device_max = 3\ngateway_children_max = 9\n\
                device_messages = \"100:1,2000:60\"\ngateway_telemetry_values = \"5:1\"\n\
                gateway_device_telemetry_messages = \"6:1\"\ntenant_messages = \"7:1\"\n\
                tenant_telemetry_messages = \"8:1\"\ntenant_telemetry_values = \"9:1\"\n\
                command_submit = \"sequential-answer\"\ncommand_answer_ms = 700\nfacts_per_device_max = 8\n\
                facts_bytes_per_device_max = 2048\n\
                known_devices_max = 9\nprofiles_max = 11\npackage_bytes_max = 10\nfailed_logins_count = true\ncommand_closes = true\nclaiming_allowed = false\n\
                claim_duration_s = 60\npresence_in_telemetry = true\ncertificate_terms_count = false\n[control]\nlisten = \"127.0.0.1:0\"\n\
                rpc_webhook = \"http://127.0.0.1:1/rpc\"\ntoken_lifetime_s = 60\nrpc_timeout_ms = 7000\nrpc_timeout_min_ms = 10\n\
                allowed_origins = \"https://a.example, http://b.example:81\"\n";
    let (config, told) = read(text);
    assert_eq!(told, [""; 0]);
    let (devices, terms) = (&config.devices, config.devices.hub_terms(4));
    assert_eq!((devices.tenant.as_str(), devices.telemetry), ("acme", device::Keeping::Forward));
    assert_eq!((terms.silence_ms, terms.sessions_max, devices.gateway_children_max), (60_000, 3, 9));
    assert_eq!(devices.profiles_max, 11);
    assert_eq!((devices.package_bytes_max, devices.package_bytes_share(4)), (10, 3));
    let commands = device::CommandTerms {
        ack_ms: 500,
        retries_max: 1,
        waiting_max: 2,
        submit: device::Submit::AfterAnswer,
        answer_ms: 700,
        closes: true,
    };
    assert_eq!((terms.commands, devices.commands_kept_max), (commands, 7));
    assert_eq!((terms.claiming_allowed, terms.claim_ms), (false, 60_000));
    assert!(terms.presence_in_telemetry && !devices.certificate_terms_count);
    assert_eq!((config.control.rpc_timeout_ms, config.control.rpc_timeout_min_ms), (7_000, 10));
    assert_eq!(config.control.allowed_origins.0, ["https://a.example", "http://b.example:81"]);
    assert_eq!(devices.device_rates().messages.text(), "100:1,2000:60");
    assert_eq!(devices.gateway_rates().telemetry_values.text(), "5:1");
    assert_eq!(devices.gateway_device_rates().telemetry_messages.text(), "6:1");
    let tenant = devices.tenant_rates();
    let texts =
        [&tenant.messages, &tenant.telemetry_messages, &tenant.telemetry_values].map(device::Rate::text);
    assert_eq!(texts, ["7:1", "8:1", "9:1"]);
    assert_eq!((terms.facts_per_device_max, terms.devices_max), (8, 3), "a core has its share of devices");
    assert_eq!(terms.facts_bytes_per_device_max, 2_048);
    assert!(devices.failed_logins_count && !read("").0.devices.failed_logins_count);
    assert_eq!(config.control.token_lifetime_s, 60);
    let long_tenant = format!("[devices]\ntenant = \"{}\"", "a".repeat(256));
    let rows = [
        (
            "[devices]\ndevice_messages = \"100\"",
            "x.toml:2:19: `device_messages` wants rates such as \"100:1,2000:60\", at most 8 of them, not `100`",
        ),
        (
            "[devices]\ntelemetry = \"all\"",
            "x.toml:2:13: `telemetry` wants one of \"history\" \"latest\" \"forward\", not `all`",
        ),
        (
            "[devices]\ncommand_submit = \"sequential\"",
            "x.toml:2:18: `command_submit` wants one of \"burst\" \"sequential-ack\" \"sequential-answer\", not `sequential`; \
             did you mean `sequential-ack`?",
        ),
        ("[devices]\ntenant = \" \"", "configuration: devices.tenant must not be empty"),
        (long_tenant.as_str(), "configuration: devices.tenant must have at most 255 characters"),
        ("[control]\nadmin = \"\"", "configuration: control.admin must not be empty"),
        (
            "[control]\nadmin = \"A\"\ntenant_admin = \"a\"",
            "configuration: control.admin and control.tenant_admin must not be the same",
        ),
        (
            "[control]\nlisten = \"127.0.0.1:1\"\nrpc_webhook = \"ftp://x\"",
            "configuration: control.rpc_webhook must begin with http:// or https://",
        ),
        (
            "[control]\nrpc_webhook = \"http://x\"",
            "configuration: control.rpc_webhook needs control.listen, whose thread posts to it",
        ),
    ];
    for (text, complaint) in rows {
        assert_eq!(complaints(text), [complaint], "{text}");
    }
}

#[test]
fn a_client_ca_alone_means_that_certificates_are_required() {
    let text = "[[listener]]\nprotocol = \"mqtts\"\ncertificates = \"a.pem a.key\"\nclient_ca = \"ca.pem\"\n";
    let (config, complaints) = read(text);
    assert_eq!(complaints, [""; 0]);
    assert_eq!(config.listener[0].tls.client_certificate(), super::ClientCertificate::Required);
}

#[test]
fn a_socket_file_is_an_address_that_strangers_cannot_reach() {
    let (config, complaints) = read("[[listener]]\nbind = \"unix:/run/ringmq/mqtt.sock\"\n");
    assert_eq!(complaints, [""; 0]);
    assert_eq!(config.listener[0].bind, super::Bind::Unix("/run/ringmq/mqtt.sock".into()));
}

#[test]
fn a_mistake_in_a_variable_is_told_with_the_variable() {
    let told = refused(&sources(&[("RINGMQ_LISTENER_PROTOCOL", "mqtts")]));
    assert!(
        told[0].starts_with("environment variable RINGMQ_LISTENER_PROTOCOL: `protocol = \"mqtts\"` needs"),
        "{told:?}"
    );
}

#[test]
fn values_that_contradict_each_other_are_refused() {
    let rows = [
        ("listener = []", "configuration: there is no [[listener]], so nobody could connect"),
        (
            "[limits]\nout_bytes_high = 2048\nout_bytes_max = 1024",
            "configuration: limits.out_bytes_high (2048) must not be above limits.out_bytes_max (1024)",
        ),
        ("[[listener]]\n[[listener]]", "x.toml:2:1: two listeners have the address 127.0.0.1:1883"),
        (
            "[[listener]]\ndialect = \"thingsbord\"",
            "x.toml:1:1: unknown dialect `thingsbord`; did you mean `thingsboard`?",
        ),
    ];
    for (text, complaint) in rows {
        assert_eq!(complaints(text), [complaint], "{text}");
    }
}

#[test]
fn variables_win_over_the_file_and_flags_over_variables() {
    let variables = [
        ("RINGMQ_LIMITS_QOS_MAX", "1"),
        ("RINGMQ_SERVER_CORES", "2"),
        ("RINGMQ_LOG_FORMAT", "json"),
        ("RINGMQ_LISTENER_BIND", "127.0.0.1:7"),
        ("RINGMQ_LISTENER_ALLOW_ANONYMOUS", "true"),
    ];
    let config = load(&Sources { file: Some(repository_file()), ..sources(&variables) }).unwrap();
    assert_eq!((config.limits.qos_max, config.log.format), (1, LogFormat::Json));
    assert_eq!(config.server.cores, Cores::Count(2));
    assert_eq!(
        (config.listener[0].bind.clone(), config.listener[0].allow_anonymous),
        ("127.0.0.1:7".parse().unwrap(), Some(true))
    );

    let stored = [("RINGMQ_STORE_DIR", "elsewhere"), ("RINGMQ_LISTENER_DURABILITY", "interval")];
    let config = load(&sources(&stored)).unwrap();
    assert_eq!(config.store.dir, Path::new("elsewhere"));
    assert_eq!(config.durability_of(&config.listener[0]), Durability::Interval);
    let flags = (Some("here".into()), Some("memory".to_owned()));
    let config = load(&Sources { data: flags.0, durability: flags.1, ..sources(&stored) }).unwrap();
    assert_eq!(config.store.dir, Path::new("here"));
    assert_eq!(config.durability_of(&config.listener[0]), Durability::Memory);

    let listen = vec!["0.0.0.0:8".parse().unwrap(), "127.0.0.1:9".parse().unwrap()];
    let config = load(&Sources { listen, cores: Some(Cores::Count(1)), ..sources(&variables) }).unwrap();
    assert_eq!(config.server.cores, Cores::Count(1));
    assert_eq!(
        config.listener.iter().map(|listener| listener.bind.to_string()).collect::<Vec<_>>(),
        ["0.0.0.0:8", "127.0.0.1:9"]
    );
}

#[test]
fn wrong_variables_are_refused_and_those_of_other_programs_are_not() {
    let told = refused(&sources(&[
        ("RINGMQ_LIMITS_QOS_MAX", "two"),
        ("RINGMQ_LIMITS_QUS_MAX", "2"),
        ("RINGMQ_LISTENER_BINT", "127.0.0.1:7"),
        ("RINGMQ_PORT", "tcp://10.0.0.1:1883"),
        ("RINGMQ_SERVICE_HOST", "10.0.0.1"),
        ("HOME", "/root"),
    ]));
    assert_eq!(
        told,
        [
            "environment variable RINGMQ_LIMITS_QOS_MAX: wants an integer, not `two`",
            "environment variable RINGMQ_LIMITS_QUS_MAX: there is no such key; did you mean `RINGMQ_LIMITS_QOS_MAX`?",
            "environment variable RINGMQ_LISTENER_BINT: there is no such key; did you mean `RINGMQ_LISTENER_BIND`?",
        ]
    );
}

#[test]
fn strangers_are_kept_out_on_the_command_line_too() {
    let told = refused(&Sources { listen: vec!["0.0.0.0:1883".parse().unwrap()], ..sources(&[]) });
    assert!(told[0].starts_with("--listen: 0.0.0.0:1883 can be reached by others"), "{told:?}");
}

#[test]
fn a_durability_that_is_none_is_refused_on_the_command_line() {
    let told = refused(&Sources { durability: Some("disk".to_owned()), ..sources(&[]) });
    assert_eq!(told, ["--durability: wants one of \"fsync\" \"interval\" \"memory\", not `disk`"]);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let told = refused(&Sources { file: Some("/nowhere/x.toml".into()), ..sources(&[]) });
    assert_eq!(told, ["/nowhere/x.toml: cannot be read: No such file or directory (os error 2)"]);
}
