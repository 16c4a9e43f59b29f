//! The oracle objects to every lie, and by the right rule.
//!
//! Why several runs for each lie: a lie may be told where it could be the truth (a lost message whose queue was full), or
//! break an earlier rule on its way. Without lies the same seeds break no rule, as `seeds.rs` shows.

use simulation::{Lie, Mutant, Rule, Trace, run_with};

/// Seeds that are tried for each lie.
const SEEDS: u64 = 600;
/// Runs that must be stopped by the named rule.
const LEAST: usize = 5;
/// Runs stopped by the named rule after which no more are tried.
const ENOUGH: usize = 20;

/// Tells `lie` in one seed after the other; the oracle must object by `rule`.
fn expect(lie: Lie, rule: Rule) {
    let (mut told, mut by_rule) = (0, 0);
    let mut others = Vec::new();
    for seed in 1..=SEEDS {
        let patience = usize::try_from(seed % 4).expect("a small number");
        let (outcome, _) = run_with(seed, Mutant::telling(lie, patience), Trace::silent());
        told += usize::from(outcome.lies > 0);
        match outcome.violation {
            Some(violation) if violation.rule == rule => by_rule += 1,
            Some(violation) => others.push(format!("seed {seed}: {violation}")),
            None => {}
        }
        if by_rule == ENOUGH {
            return;
        }
    }
    let stopped = by_rule + others.len();
    others.truncate(5);
    let others = others.join("\n");
    assert!(by_rule >= LEAST, "{lie:?}: told {told}, stopped {stopped}, by {rule:?} {by_rule}\n{others}");
}

#[test]
fn a_lost_message_is_missed() {
    expect(Lie::LoseMessage, Rule::Loss);
}

#[test]
fn a_lost_will_is_missed() {
    expect(Lie::LoseWill, Rule::Will);
}

#[test]
fn a_qos_0_message_that_comes_twice_is_one_too_many() {
    expect(Lie::RepeatQos0, Rule::Duplicate);
}

#[test]
fn a_qos_2_message_that_comes_twice_is_one_too_many() {
    expect(Lie::RepeatQos2, Rule::Duplicate);
}

#[test]
fn messages_that_change_places_are_out_of_order() {
    expect(Lie::SwapMessages, Rule::Order);
}

#[test]
fn a_live_message_with_retain_is_noticed() {
    expect(Lie::RaiseRetain, Rule::Retained);
}

#[test]
fn a_retained_message_without_retain_is_noticed() {
    expect(Lie::ClearRetain, Rule::Retained);
}

#[test]
fn a_packet_id_in_use_is_not_free() {
    expect(Lie::ReuseId, Rule::PacketId);
}

#[test]
fn a_false_session_present_is_noticed() {
    expect(Lie::FlipSessionPresent, Rule::SessionPresent);
}

#[test]
fn a_message_to_somebody_who_never_asked_is_unmatched() {
    expect(Lie::Misdeliver, Rule::Unmatched);
}

#[test]
fn a_bent_payload_is_noticed() {
    expect(Lie::BendPayload, Rule::Content);
}

#[test]
fn a_repeat_that_is_none_is_noticed() {
    expect(Lie::RaiseDup, Rule::Content);
}

#[test]
fn a_lost_puback_is_missed() {
    expect(Lie::LoseAck, Rule::Answer);
}

#[test]
fn a_lost_pingresp_is_missed() {
    expect(Lie::LosePong, Rule::Answer);
}

#[test]
fn a_lower_grant_is_noticed() {
    expect(Lie::LowerGrant, Rule::Answer);
}

#[test]
fn a_reserved_bit_is_illegal() {
    expect(Lie::SetReservedBit, Rule::Legal);
}

#[test]
fn a_connection_that_is_not_closed_is_noticed() {
    expect(Lie::KeepOpen, Rule::Close);
}

#[test]
fn a_message_after_unsubscribe_is_unmatched() {
    expect(Lie::SkipUnsubscribe, Rule::Unmatched);
}

#[test]
fn an_own_message_in_spite_of_no_local_is_noticed() {
    expect(Lie::DropNoLocal, Rule::NoLocal);
}

#[test]
fn a_message_above_receive_maximum_is_noticed() {
    expect(Lie::DropReceiveMaximum, Rule::Window);
}

#[test]
fn a_silent_client_that_is_not_closed_is_noticed() {
    expect(Lie::DropKeepAlive, Rule::KeepAlive);
}

#[test]
fn two_copies_for_one_group_are_one_too_many() {
    expect(Lie::SplitGroup, Rule::Share);
}

#[test]
fn a_will_after_a_clean_goodbye_is_noticed() {
    expect(Lie::AskForWill, Rule::Will);
}

#[test]
fn a_message_behind_its_expiry_is_noticed() {
    expect(Lie::ProlongExpiry, Rule::Expiry);
}

#[test]
fn a_retained_message_that_stays_is_a_leak() {
    expect(Lie::DropClear, Rule::Leak);
}
