//! `NAME[:key=value[,key=value]..]`: which texts parse, their meaning, and the lists in refusals.

mod common;

use laprox_reference::{
    Allocation, GroupRule, Normaliser, OptionKey, POLICIES, Parameter, Parameters, Policy, PolicyEntry, Pool,
    PoolStage, Pooling, Refit,
};
use proptest::prelude::*;

use common::{config, policy, refusal};

fn refused(text: &str) -> String {
    refusal(text.parse::<Policy>())
}

/// A value that the entry's option takes; for an option that this test does not know, its default.
fn value(entry: &'static PolicyEntry, option: OptionKey) -> BoxedStrategy<String> {
    let one_of = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        prop::sample::select(names).boxed()
    };
    let count = |least: usize| (least..100).prop_map(|count| count.to_string()).boxed();
    match option {
        OptionKey::Allocation(rules) => one_of(&rules.iter().map(|rule| rule.name()).collect::<Vec<_>>()),
        OptionKey::Norm => one_of(&["sum", "output", "none"]),
        OptionKey::Pool(stages) => pool(stages),
        OptionKey::Gqa(_) => match entry.name {
            "laprox" => one_of(&["mean", "attention", "exact"]),
            name if name.starts_with("obcache") => one_of(&["sum", "max"]),
            _ => one_of(&["mean", "max"]),
        },
        OptionKey::Base(_) => one_of(&["snapkv", "h2o", "tova"]),
        OptionKey::Window => prop_oneof![Just("all".to_owned()), count(1)].boxed(),
        OptionKey::Number(&Parameter { least, most, whole, .. }) => {
            let rounded = move |number: f64| if whole { number.round() } else { number };
            let numbers = prop_oneof![least..=most, Just(least), Just(most)];
            numbers.prop_map(move |number| rounded(number).to_string()).boxed()
        }
        OptionKey::Form => one_of(&["layer-wise", "head-wise"]),
        OptionKey::Sinks | OptionKey::MinPerHead | OptionKey::Nodes | OptionKey::Lookahead => count(0),
        OptionKey::Seed => any::<u64>().prop_map(|seed| seed.to_string()).boxed(),
        OptionKey::Convexify | OptionKey::LookaheadOnly => one_of(&["no", "yes"]),
        OptionKey::Refit => one_of(&["no", "bias", "values"]),
        OptionKey::Rho => one_of(&["ledoit-wolf", "0", "0.25", "0.8", "1"]),
    }
}

/// Pooling at the policy's own stage, unmarked, or at another that it has.
fn pool(stages: &'static [PoolStage]) -> BoxedStrategy<String> {
    let kernel = (prop::sample::select(vec!["avg", "max"]), 0..50_usize)
        .prop_map(|(kind, reach)| format!("{kind}:{}", 2 * reach + 1));
    let elsewhere = |stage: &PoolStage| if *stage == PoolStage::Score { "@score" } else { "@attention" };
    let marks: Vec<&str> = std::iter::once("").chain(stages[1..].iter().map(elsewhere)).collect();
    let marked = (kernel, prop::sample::select(marks)).prop_map(|(kernel, mark)| format!("{kernel}{mark}"));
    prop_oneof![1 => Just("none".to_owned()), 4 => marked].boxed()
}

/// Some of an entry's options in any order, each with one of its values, that mean something together.
fn options(entry: &'static PolicyEntry) -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let maybe = |option: OptionKey| {
        prop::option::of(value(entry, option).prop_map(move |value| (option.name(), value)))
    };
    let options: Vec<_> = entry.options.keys().into_iter().map(maybe).collect();
    options.prop_map(|given| given.into_iter().flatten().collect::<Vec<_>>()).prop_shuffle().prop_map(
        move |mut given| {
            let allocation = given.iter().find(|(key, _)| *key == "allocation").map(|(_, name)| name.clone());
            let allocation = allocation.unwrap_or_else(|| entry.defaults.allocation.name().to_owned());
            given.retain(|(key, _)| match *key {
                "norm" => allocation == "model",
                "beta" => allocation == "pyramid",
                "alpha" => ["ada", "lava"].contains(&&*allocation),
                "tau1" | "tau2" => allocation == "cake",
                _ => true,
            });
            let ahead = |(key, value): &(&str, String)| *key == "lookahead" && value != "0";
            if !given.iter().any(ahead) {
                given.retain(|(key, value)| *key != "lookahead_only" || value == "no");
            }
            if given.contains(&("gqa", "exact".to_owned())) {
                given.retain(|(key, value)| *key != "pool" || !value.ends_with("@attention"));
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
            let option = policy.entry().options.keys().into_iter().find(|option| option.name() == key).unwrap();
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

/// All options of a policy that mean something under its allocation, as they are written, without those that come with `window`.
///
/// Every policy has `refit=no`, which is left out.
fn spelt(policy: Policy) -> String {
    let allocation = policy.options().allocation;
    assert_eq!(policy.options().refit, Refit::No, "{policy}");
    let means = |option: &&OptionKey| {
        !matches!(option, OptionKey::Refit)
            && option.allocations().is_none_or(|under| under.contains(&allocation))
    };
    let options: Vec<_> = policy
        .entry()
        .options
        .keys()
        .iter()
        .filter(|option| means(option) && !option.name().starts_with("lookahead"))
        .map(|option| format!("{}={}", option.name(), option.get(policy.options())))
        .collect();
    options.join(",")
}

#[test]
fn laprox_alone_means_the_papers_defaults() {
    let laprox = policy("laprox");
    assert_eq!(
        spelt(laprox),
        "allocation=model,norm=sum,window=all,pool=avg:7,gqa=mean,sinks=0,ends=0,min_per_head=0"
    );
    let options = laprox.options();
    assert_eq!((options.allocation, options.norm), (Allocation::MODEL, Normaliser::Sum));
    assert_eq!(options.pool, Pool { pooling: Pooling::Average(7), stage: PoolStage::Score });
    assert_eq!(options.group_rule, GroupRule::Mean);
    assert_eq!(policy(&format!("laprox:{}", spelt(laprox))), laprox);
}

#[test]
fn every_other_policy_has_the_defaults_of_the_table() {
    for (name, expected) in [
        ("full", ""),
        ("random", "allocation=head,pool=none,seed=0,sinks=0,ends=0,min_per_head=0"),
        ("streaming", "allocation=head,pool=none,sinks=4,ends=0,min_per_head=0"),
        ("tova", "allocation=head,pool=none,sinks=0,ends=0,min_per_head=0"),
        ("h2o", "allocation=head,window=all,pool=none,gqa=mean,sinks=0,ends=0,min_per_head=0"),
        ("snapkv", "allocation=head,window=all,pool=avg:7,gqa=mean,sinks=0,ends=0,min_per_head=0"),
        (
            "pyramidkv",
            "allocation=pyramid,beta=20,window=all,pool=avg:7,gqa=mean,sinks=0,ends=0,min_per_head=0",
        ),
        ("adakv", "allocation=ada,alpha=0.2,window=all,pool=avg:7,gqa=mean,sinks=0,ends=0,min_per_head=0"),
        (
            "criticalkv",
            "allocation=head,window=all,pool=avg:7,gqa=mean,base=snapkv,ratio=0.5,eps=0.0001,sinks=0,ends=0,min_per_head=0",
        ),
        (
            "cake",
            "allocation=cake,tau1=1,tau2=1,window=all,pool=avg:5,gqa=mean,gamma=200,sinks=0,ends=0,min_per_head=0",
        ),
        ("lava", "allocation=lava,alpha=0.2,window=all,pool=avg:7,gqa=max,sinks=0,ends=0,min_per_head=0"),
        (
            "defensivekv",
            "allocation=ada,alpha=0.2,window=all,pool=avg:5,mass=0.9,sinks=0,ends=0,min_per_head=0",
        ),
        ("obcache_v", "allocation=head,window=all,pool=max:7,gqa=sum,sinks=0,ends=0,min_per_head=0"),
        ("obcache_k", "allocation=head,window=all,pool=max:7,gqa=sum,sinks=0,ends=0,min_per_head=0"),
        ("obcache_joint", "allocation=head,window=all,pool=max:7,gqa=sum,sinks=0,ends=0,min_per_head=0"),
        (
            "dropkv",
            "allocation=head,window=8,pool=max:11,gqa=mean,eps=0.000001,sinks=0,ends=0,min_per_head=0",
        ),
        ("caote", "allocation=head,pool=none,gqa=mean,sinks=0,ends=0,min_per_head=0"),
        ("vatp", "allocation=head,window=all,pool=none,gqa=mean,sinks=20,ends=0,min_per_head=0"),
        ("knorm", "allocation=head,pool=none,sinks=0,ends=0,min_per_head=0"),
        ("keydiff", "allocation=head,pool=none,sinks=0,ends=0,min_per_head=0"),
        ("manifoldkv", "allocation=head,pool=none,block=0,sinks=0,ends=0,min_per_head=0"),
        ("leverage", "allocation=head,pool=none,ridge=0.000001,sinks=0,ends=0,min_per_head=0"),
        ("curdkv", "allocation=head,pool=none,block=16,sinks=4,ends=0,min_per_head=0"),
        ("capkv", "allocation=head,window=all,pool=none,gqa=mean,tau=5,sinks=4,ends=0,min_per_head=0"),
        ("lagkv", "allocation=head,pool=none,lag=128,sinks=4,ends=0,min_per_head=0"),
        ("chunkkv", "allocation=head,window=all,chunk=20,sinks=0,ends=0,min_per_head=0"),
        ("restkv", "allocation=head,window=all,pool=avg:5,gqa=mean,smooth=0.3,sinks=0,ends=0,min_per_head=0"),
        ("centred", "allocation=model,norm=sum,window=all,pool=none,sinks=0,ends=0,min_per_head=0"),
        ("expected_attention", "allocation=head,pool=none,gqa=mean,sinks=4,ends=0,min_per_head=0"),
        ("kvzip", "allocation=model-raw,pool=none,sinks=4,ends=0,min_per_head=0"),
        ("kvzip+", "allocation=model-raw,pool=none,sinks=4,ends=0,min_per_head=0"),
        ("nestedkv", "allocation=head,pool=none,block=64,trail=64,sinks=0,ends=0,min_per_head=0"),
    ] {
        assert_eq!(spelt(policy(name)), expected, "{name}");
    }
}

/// A value without a stage means the policy's own, and its printed form leaves that out.
#[test]
fn pooling_is_at_the_policys_own_stage_unless_it_says_where() {
    let stage = |text: &str| policy(text).options().pool.stage;
    assert_eq!(stage("laprox:pool=avg:5"), PoolStage::Score);
    assert_eq!(stage("laprox:pool=avg:5@attention"), PoolStage::Attention);
    assert_eq!(stage("lava:pool=avg:5"), PoolStage::Attention);
    assert_eq!(stage("lava:pool=avg:5@score"), PoolStage::Score);
    assert_eq!(policy("laprox:pool=avg:7@score"), policy("laprox"));
    assert_eq!(policy("lava:pool=none@score"), policy("lava:pool=none"));
    for entry in &POLICIES {
        for option in entry.options.keys() {
            if let OptionKey::Pool(stages) = option {
                assert_eq!(entry.defaults.pool.stage, stages[0], "{}", entry.name);
            }
        }
    }
}

#[test]
fn no_policy_has_more_numbers_than_there_is_room_for() {
    for entry in &POLICIES {
        let numbers =
            entry.options.keys().iter().filter(|option| matches!(option, OptionKey::Number(_))).count();
        assert!(numbers <= Parameters::MOST, "{}", entry.name);
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
        ("adakv:alpha=2e-1", "adakv"),
        ("adakv:alpha=-0.0", "adakv:alpha=0"),
        ("laprox:min_per_head=4,alpha=.50,allocation=ada", "laprox:allocation=ada,alpha=0.5,min_per_head=4"),
        ("dropkv:window=all,eps=1e-3", "dropkv:window=all,eps=0.001"),
        ("dropkv:window=8", "dropkv"),
        ("criticalkv:allocation=ada,base=h2o", "criticalkv:allocation=ada,base=h2o"),
        ("laprox:pool=max:3@attention", "laprox:pool=max:3@attention"),
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
fn names_are_unique_and_every_row_is_filled() {
    for entry in &POLICIES {
        assert_eq!(POLICIES.iter().filter(|other| other.name == entry.name).count(), 1, "{}", entry.name);
        assert_eq!(policy(entry.name).name(), entry.name);
        let alone = ["random", "full"].contains(&entry.name);
        assert!(!entry.formula.is_empty() && (alone || !entry.source.is_empty()), "{}", entry.name);
    }
}

#[test]
fn an_unknown_option_is_refused_with_those_of_the_policy() {
    for (text, has) in [
        (
            "laprox:seed=3",
            "laprox has: allocation, norm, beta, alpha, tau1, tau2, window, lookahead, lookahead_only, pool, gqa, sinks, ends, min_per_head, refit",
        ),
        (
            "tova:gqa=mean",
            "tova has: allocation, norm, beta, alpha, tau1, tau2, pool, sinks, ends, min_per_head, refit",
        ),
        (
            "cake:eps=3",
            "window, lookahead, lookahead_only, pool, gqa, gamma, sinks, ends, min_per_head, refit",
        ),
        ("knorm:window=3", "tau2, pool, sinks, ends, min_per_head, refit"),
        ("random:Seed=3", "pool, seed, sinks, ends, min_per_head, refit"),
        ("full:sinks=1", "full has: none"),
        ("expected_attention:window=3", "tau2, pool, gqa, sinks, ends, min_per_head, refit"),
        ("oracle:exhaustive:pool=none", "oracle:exhaustive has: allocation, form, refit"),
    ] {
        let message = refused(text);
        assert!(message.contains("no option '") && message.ends_with(has), "{message}");
    }
}

#[test]
fn an_unknown_value_is_refused_with_those_of_the_option() {
    for (text, expected) in [
        (
            "laprox:allocation=global",
            "allocation: expected head|layer|model|model-raw|pyramid|ada|cake|lava, found global",
        ),
        ("oracle:certified:allocation=head", "allocation: expected layer|model, found head"),
        ("laprox:norm=l2", "norm: expected sum|output|none, found l2"),
        ("laprox:gqa=max", "gqa: expected mean|attention|exact, found max"),
        ("snapkv:gqa=exact", "gqa: expected mean|max, found exact"),
        ("laprox:pool=avg:4", "pool: expected none, avg:K or max:K with an odd K, found avg:4"),
        ("laprox:pool=max:65537", "pool: expected K at most 65535, found max:65537"),
        ("laprox:sinks=-1", "sinks: expected a whole number, found -1"),
        ("random:seed=", "seed: expected a whole number, found "),
        ("laprox:gqa=mean=max", "gqa: expected mean|attention|exact, found mean=max"),
        ("laprox:pool=avg:7@values", "pool: expected score|attention, found values"),
        ("laprox:pool=avg:7@", "pool: expected score|attention, found "),
        ("h2o:pool=avg:7@attention", "pool: expected score, found attention"),
        ("criticalkv:pool=avg:7@score", "pool: expected attention, found score"),
        ("laprox:window=0", "window: expected all or a whole number above 0, found 0"),
        ("adakv:alpha=1.5", "alpha: expected a number from 0 to 1, found 1.5"),
        ("adakv:alpha=NaN", "alpha: expected a number from 0 to 1, found NaN"),
        ("cake:gamma=inf", "gamma: expected a number from 0 to 1000000, found inf"),
        ("chunkkv:chunk=2.5", "chunk: expected a whole number from 1 to 1000000000, found 2.5"),
        ("laprox:ends=0.6", "ends: expected a number from 0 to 0.5, found 0.6"),
        ("pyramidkv:beta=0.5", "beta: expected a number from 1 to 1000, found 0.5"),
        ("criticalkv:base=laprox", "base: expected snapkv|h2o|tova, found laprox"),
        ("laprox:min_per_head=-1", "min_per_head: expected a whole number, found -1"),
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
fn a_number_of_another_allocation_is_refused() {
    for (text, under) in [
        ("laprox:alpha=0.5", "ada|lava"),
        ("adakv:allocation=layer,alpha=0.2", "ada|lava"),
        ("adakv:beta=3", "pyramid"),
        ("pyramidkv:tau1=2", "cake"),
        ("cake:allocation=lava,tau2=1", "cake"),
    ] {
        let message = refused(text);
        assert!(message.ends_with(&format!("= only means something with allocation={under}")), "{message}");
    }
}

#[test]
fn attention_cannot_be_pooled_where_the_score_does_not_have_it() {
    let message = refused("laprox:gqa=exact,pool=avg:7@attention");
    assert!(message.ends_with("expected pool= without @attention"), "{message}");
    let built = policy("laprox:gqa=exact").with("pool", "avg:7@attention").unwrap();
    assert!(built.check().is_err());
    assert!(policy("laprox:gqa=exact,pool=none@attention").check().is_ok());
}

#[test]
fn policies_that_differ_in_allocation_score_alike() {
    let alike = |one, two| policy(one).score() == policy(two).score();
    assert!(alike("laprox", "laprox:allocation=head"));
    assert!(alike("laprox:norm=none,sinks=3", "laprox"));
    assert!(alike("laprox:allocation=ada,alpha=0.7,min_per_head=2", "laprox:allocation=cake,tau1=3"));
    assert!(!alike("laprox", "laprox:window=8"));
    assert!(!alike("laprox", "laprox:pool=avg:7@attention"));
    assert!(!alike("cake", "cake:gamma=0"));
    assert!(alike("snapkv", "adakv") && alike("snapkv", "pyramidkv"));
    assert!(!alike("snapkv", "h2o"));
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
