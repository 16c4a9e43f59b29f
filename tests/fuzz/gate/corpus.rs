//! Every target against its committed inputs and a fixed number of seeded mutants of them.
//!
//! Why a fixed number: the gate must say the same on every machine. Longer hunts are `cargo run -p fuzz`.

use std::sync::Once;

use fuzz::{Mutator, TARGETS, begin, bend, golden, load, target, watch};

/// The same mutants every time.
const SEED: u64 = 1;

fn hold(name: &'static str) {
    static WATCH: Once = Once::new();
    WATCH.call_once(watch);
    let target = target(name).expect("a target");
    let inputs = load(name).expect("the corpus of the target");
    assert!(!inputs.is_empty(), "{name} has no corpus");
    let mut corpus = Vec::new();
    for (file, input) in inputs {
        println!("{name}/{file}");
        begin(name, &input);
        (target.run)(&input);
        corpus.push(input);
    }
    let (mut mutator, mut input) = (Mutator::new(SEED), Vec::new());
    for _ in 0..target.mutants {
        mutator.mutant(&corpus, &mut input);
        begin(name, &input);
        (target.run)(&input);
    }
}

#[test]
fn no_bytes_break_the_decoders_of_3_1_and_3_1_1() {
    hold("packet_v3");
}

#[test]
fn no_bytes_break_the_decoder_of_5_0() {
    hold("packet_v5");
}

#[test]
fn no_bytes_break_the_decoder_of_connect() {
    hold("connect");
}

#[test]
fn no_bytes_break_the_readers_of_properties() {
    hold("properties");
}

#[test]
fn no_cut_changes_what_comes_out_of_a_stream() {
    hold("stream_splitter");
}

#[test]
fn no_filters_part_the_matchers() {
    hold("filters");
}

#[test]
fn no_bytes_on_a_disk_break_the_reader_of_records() {
    hold("store");
}

#[test]
fn no_script_harms_a_bystander() {
    hold("script");
}

#[test]
fn no_golden_packet_with_one_byte_wrong_harms_a_bystander_in_any_state() {
    let mut count = 0;
    for (target, level) in
        [("packet_v3", 3), ("packet_v3", 4), ("packet_v5", 5), ("connect", 4), ("connect", 5)]
    {
        for (_, packet) in golden(target) {
            begin(target, &packet);
            count += bend(&packet, level, 1) + bend(&packet, level, 2);
        }
    }
    assert!(count > 50_000, "{count}");
}

#[test]
fn no_cut_changes_what_comes_out_of_a_websocket() {
    hold("websocket");
}

#[test]
fn no_bytes_make_a_proxy_header_say_what_it_does_not() {
    hold("proxy");
}

#[test]
fn no_bad_line_puts_words_into_a_clients_mouth() {
    hold("tls");
}

#[test]
fn no_rules_mean_to_the_broker_what_they_do_not_say() {
    hold("acl");
}

#[test]
fn no_bytes_break_the_reader_of_password_files() {
    hold("passwords");
}

#[test]
fn no_bytes_break_the_reader_of_configurations() {
    hold("config");
}

#[test]
fn no_words_of_devices_leave_their_tenant_or_go_unanswered() {
    hold("devices");
}

#[test]
fn every_golden_input_is_in_the_corpus() {
    for target in TARGETS {
        let corpus = load(target.name).expect("the corpus of the target");
        for (name, input) in golden(target.name) {
            let known = corpus.iter().find(|(file, _)| *file == name);
            assert_eq!(known.map(|(_, known)| known), Some(&input), "{}/{name}", target.name);
        }
    }
}
