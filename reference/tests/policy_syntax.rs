//! `NAME[:key=value[,key=value]..]`: what parses, what it means, and what a refusal lists.

mod common;

use laprox_reference::{
    Allocation, GroupRule, Normaliser, OptionKey, POLICIES, Policy, PolicyEntry, Pooling,
};
use proptest::prelude::*;

use common::{config, policy, refusal};

fn refused(text: &str) -> String {
    refusal(text.parse::<Policy>())
}

/// A value that the entry's option takes; for an option that this test does not know, its default.
fn value(entry: &'static PolicyEntry, option: &'static OptionKey) -> BoxedStrategy<String> {
    let one_of = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        prop::sample::select(names).boxed()
    };
    let oracle = entry.name.starts_with("oracle:");
    match (option.name(), entry.name) {
        ("allocation", _) if oracle => one_of(&["layer", "model"]),
        ("allocation", _) => one_of(&["head", "layer", "model", "model-raw"]),
        ("norm", _) => one_of(&["sum", "output", "none"]),
        ("pool", _) => prop_oneof![
            Just("none".to_owned()),
            (0..50_usize).prop_map(|reach| format!("avg:{}", 2 * reach + 1)),
            (0..50_usize).prop_map(|reach| format!("max:{}", 2 * reach + 1)),
        ]
        .boxed(),
        ("gqa", "laprox") => one_of(&["mean", "attention", "exact"]),
        ("gqa", "snapkv") => one_of(&["mean", "max"]),
        ("form", _) => one_of(&["layer-wise", "head-wise"]),
        ("sinks" | "nodes", _) => (0..100_usize).prop_map(|count| count.to_string()).boxed(),
        ("seed", _) => any::<u64>().prop_map(|seed| seed.to_string()).boxed(),
        _ => Just(option.get(&entry.defaults)).boxed(),
    }
}

/// Some of an entry's options in any order, each with one of its values; `norm` only where it means something.
fn options(entry: &'static PolicyEntry) -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let maybe = |option: &'static OptionKey| {
        prop::option::of(value(entry, option).prop_map(move |value| (option.name(), value)))
    };
    let options: Vec<_> = entry.options.iter().map(maybe).collect();
    options.prop_map(|given| given.into_iter().flatten().collect::<Vec<_>>()).prop_shuffle().prop_map(
        |mut given| {
            if given.iter().any(|(key, _)| *key == "norm") {
                given.retain(|(key, _)| *key != "allocation");
                given.push(("allocation", "model".to_owned()));
            }
            given
        },
    )
}

fn written() -> impl Strategy<Value = (&'static str, Vec<(&'static str, String)>)> {
    let entry = (0..POLICIES.len()).prop_map(|index| &POLICIES[index]);
    entry.prop_flat_map(|entry| (Just(entry.name), options(entry)))
}

fn join(name: &str, options: &[(&str, String)]) -> String {
    let options: Vec<_> = options.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if options.is_empty() { name.to_owned() } else { format!("{name}:{}", options.join(",")) }
}

proptest! {
    #![proptest_config(config(1024, "tests/policy_syntax.proptest-regressions"))]

    #[test]
    fn what_is_printed_parses_to_the_same_policy((name, options) in written()) {
        let policy = policy(&join(name, &options));
        prop_assert_eq!(policy.to_string().parse::<Policy>().unwrap(), policy);
        prop_assert_eq!(policy.name(), name);
    }

    #[test]
    fn an_option_has_the_value_that_was_given((name, options) in written()) {
        let policy = policy(&join(name, &options));
        for (key, value) in options {
            let option = policy.entry().options.iter().find(|option| option.name() == key).unwrap();
            prop_assert_eq!(option.get(policy.options()), value);
        }
    }

    #[test]
    fn the_order_of_options_does_not_matter((name, mut options) in written()) {
        let one = policy(&join(name, &options));
        options.reverse();
        prop_assert_eq!(one, policy(&join(name, &options)));
    }

    #[test]
    fn with_sets_what_the_syntax_sets((name, options) in written()) {
        let mut built = policy(name);
        for (key, value) in &options {
            built = built.with(key, value).unwrap();
        }
        prop_assert_eq!(built, policy(&join(name, &options)));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>()) {
        let _ = text.parse::<Policy>();
        let _ = format!("laprox:{text}").parse::<Policy>();
        let _ = format!("snapkv:pool={text}").parse::<Policy>();
    }

    #[test]
    fn a_refusal_is_one_line_that_quotes_what_was_written(text in "[a-z]{1,12}(:[a-z]{0,6}(=[a-z0-9]{0,4})?)?") {
        if let Err(error) = text.parse::<Policy>() {
            let message = error.to_string();
            prop_assert!(message.contains(&text) || message.starts_with("policy '"), "{}", message);
            prop_assert_eq!(message.lines().count(), 1);
        }
    }
}

/// All options of a policy, as they are written.
fn spelt(policy: Policy) -> String {
    let options: Vec<_> = policy
        .entry()
        .options
        .iter()
        .map(|option| format!("{}={}", option.name(), option.get(policy.options())))
        .collect();
    options.join(",")
}

#[test]
fn laprox_alone_means_the_papers_defaults() {
    let laprox = policy("laprox");
    assert_eq!(spelt(laprox), "allocation=model,norm=sum,pool=avg:7,gqa=mean,sinks=0");
    let options = laprox.options();
    assert_eq!((options.allocation, options.norm), (Allocation::Model, Normaliser::Sum));
    assert_eq!((options.pool, options.group_rule), (Pooling::Average(7), GroupRule::Mean));
    assert_eq!(policy(&format!("laprox:{}", spelt(laprox))), laprox);
}

#[test]
fn every_other_policy_has_the_defaults_of_the_table() {
    for (name, expected) in [
        ("full", ""),
        ("random", "allocation=head,norm=sum,pool=none,sinks=0,seed=0"),
        ("streaming", "allocation=head,norm=sum,pool=none,sinks=4"),
        ("tova", "allocation=head,norm=sum,pool=none,sinks=0"),
        ("snapkv", "allocation=head,norm=sum,pool=avg:7,gqa=mean,sinks=0"),
        ("centred", "allocation=model,norm=sum,pool=none,sinks=0"),
    ] {
        assert_eq!(spelt(policy(name)), expected, "{name}");
    }
}

#[test]
fn printing_leaves_defaults_out_and_keeps_the_tables_order() {
    for (written, printed) in [
        ("laprox:pool=none,allocation=head", "laprox:allocation=head,pool=none"),
        ("laprox:sinks=2,gqa=exact,pool=avg:7", "laprox:gqa=exact,sinks=2"),
        ("snapkv:norm=sum,allocation=model", "snapkv:allocation=model"),
        ("snapkv:gqa=max,pool=max:7", "snapkv:pool=max:7,gqa=max"),
        ("streaming:sinks=4", "streaming"),
        ("streaming:sinks=0", "streaming:sinks=0"),
        ("random:seed=7", "random:seed=7"),
        ("full", "full"),
        ("oracle:certified:allocation=model", "oracle:certified"),
        ("oracle:certified:allocation=layer", "oracle:certified:allocation=layer"),
    ] {
        assert_eq!(policy(written).to_string(), printed);
    }
}

#[test]
fn an_unknown_policy_is_refused_with_all_that_exist() {
    for text in [
        "lap",
        "LaProx",
        "",
        " laprox",
        "laprox ",
        ":",
        "laprox2:pool=none",
        "oracle",
        "oracle:",
        "oracle:best",
    ] {
        let message = refused(text);
        assert!(message.contains("no such policy"), "{message}");
        assert!(POLICIES.iter().all(|entry| message.contains(entry.name)), "{message}");
    }
}

#[test]
fn the_seven_policies_of_the_table_exist() {
    for name in ["laprox", "centred", "snapkv", "tova", "streaming", "random", "full"] {
        assert_eq!(policy(name).name(), name);
        assert_eq!(POLICIES.iter().filter(|entry| entry.name == name).count(), 1);
    }
}

#[test]
fn an_unknown_option_is_refused_with_those_of_the_policy() {
    for (text, has) in [
        ("laprox:window=3", "laprox has: allocation, norm, pool, gqa, sinks"),
        ("tova:gqa=mean", "tova has: allocation, norm, pool, sinks"),
        ("snapkv:seed=3", "snapkv has: allocation, norm, pool, gqa, sinks"),
        ("random:Seed=3", "random has: allocation, norm, pool, sinks, seed"),
        ("full:sinks=1", "full has: none"),
        ("oracle:exhaustive:pool=none", "oracle:exhaustive has: allocation, form"),
    ] {
        let message = refused(text);
        assert!(message.contains("no option '") && message.ends_with(has), "{message}");
    }
}

#[test]
fn an_unknown_value_is_refused_with_those_of_the_option() {
    for (text, expected) in [
        ("laprox:allocation=global", "allocation: expected head|layer|model|model-raw, found global"),
        ("oracle:certified:allocation=head", "allocation: expected layer|model, found head"),
        ("laprox:norm=l2", "norm: expected sum|output|none, found l2"),
        ("laprox:gqa=max", "gqa: expected mean|attention|exact, found max"),
        ("snapkv:gqa=exact", "gqa: expected mean|max, found exact"),
        ("laprox:pool=avg:4", "pool: expected none, avg:K or max:K with an odd K, found avg:4"),
        ("laprox:sinks=-1", "sinks: expected a whole number, found -1"),
        ("random:seed=", "seed: expected a whole number, found "),
        ("laprox:gqa=mean=max", "gqa: expected mean|attention|exact, found mean=max"),
    ] {
        let message = refused(text);
        assert!(message.ends_with(expected), "{message}");
    }
}

#[test]
fn an_option_given_twice_is_refused() {
    for text in ["laprox:pool=none,pool=none", "random:seed=1,sinks=2,seed=3"] {
        assert!(refused(text).contains("given twice"), "{text}");
    }
}

#[test]
fn an_option_without_a_value_is_refused() {
    for text in ["laprox:", "laprox:pool", "laprox:pool=none,", "laprox:,pool=none", "full:"] {
        assert!(refused(text).contains("expected key=value"), "{text}");
    }
}

#[test]
fn a_normaliser_without_the_model_allocation_is_refused() {
    for text in [
        "laprox:norm=none,allocation=head",
        "laprox:allocation=model-raw,norm=sum",
        "laprox:allocation=layer,norm=output",
        "snapkv:norm=sum",
        "streaming:norm=output",
    ] {
        assert!(refused(text).contains("norm= only means something with allocation=model"), "{text}");
    }
    assert_eq!(policy("snapkv:norm=none,allocation=model").options().norm, Normaliser::None);
}

#[test]
fn policies_that_differ_in_allocation_score_alike() {
    let alike = |one, two| policy(one).scores_like(&policy(two));
    assert!(alike("laprox", "laprox:allocation=head"));
    assert!(alike("laprox:norm=none,sinks=3", "laprox"));
    assert!(!alike("laprox", "laprox:pool=none"));
    assert!(!alike("laprox", "laprox:gqa=exact"));
    assert!(!alike("laprox:pool=none", "centred"));
    assert!(!alike("random", "random:seed=1"));
}

#[test]
fn the_default_allocation_can_be_restored() {
    assert_eq!(
        policy("laprox:allocation=head,pool=none").with_default_allocation(),
        policy("laprox:pool=none")
    );
    assert_eq!(policy("snapkv:allocation=layer").with_default_allocation(), policy("snapkv"));
}
