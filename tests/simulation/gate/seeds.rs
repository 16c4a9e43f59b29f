//! Two thousand seeds of the whole broker; any of them alone with `SIM_SEED=n`.

use simulation::{run, run_spoken};

#[test]
fn seeds() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("SIM_SEED") {
        let (outcome, trace) = run_spoken(seed);
        for line in trace.last(usize::MAX) {
            println!("{line}");
        }
        if let Some(v) = outcome.violation { panic!("seed {seed}: {v}"); }
        return;
    }
    let first = number("SIM_FIRST").unwrap_or(1);
    let mut failures = Vec::new();
    let mut messages = 0;
    for seed in first..first + number("SIM_SEEDS").unwrap_or(2000) {
        let outcome = run(seed);
        messages += outcome.messages;
        if let Some(v) = outcome.violation {
            failures.push((seed, v));
        }
    }
    let mut by: std::collections::BTreeMap<String, Vec<String>> = Default::default();
    for (seed, v) in &failures { by.entry(format!("{:?}", v.rule)).or_default().push(format!("seed {seed}: {v}")); }
    for (k, v) in &by { println!("{k}: {}", v.len()); for t in v.iter().take(6) { println!("   {}", t.chars().take(250).collect::<String>()); } }
    println!("{} failed, {messages} messages", failures.len());
    assert!(failures.is_empty());
}
