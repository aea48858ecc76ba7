//! Oracles as policies: their names, and their searches over several layers under one budget.

use laprox_reference::oracle::Rows;
use laprox_reference::pipeline::{Found, search_together};
use laprox_reference::{
    Allocation, Backend, CandidatesPerHead, Error, Form, LayerIndex, LayerOrdinal, OutputErrors, Policy,
    PreparedLayer, Reference, RetainedSet, Rule,
};

use crate::common::hostile::{hostile, layer};
use crate::common::problem::{Problem, Sizes};
use crate::common::{policy, refusal};
use crate::problems::{Rounding, TOLERANCE, dropped};

const ORACLES: [&str; 5] = [
    "oracle:certified",
    "oracle:branch-and-bound",
    "oracle:exhaustive",
    "oracle:renormalised",
    "oracle:future",
];

#[test]
fn oracles_print_as_they_are_written() {
    for text in ORACLES.into_iter().chain([
        "oracle:certified:allocation=layer,nodes=8",
        "oracle:certified:form=head-wise",
        "oracle:exhaustive:allocation=layer,form=head-wise",
        "oracle:renormalised:form=head-wise",
        "oracle:future:allocation=layer,nodes=1",
    ]) {
        assert_eq!(policy(text).to_string(), text);
        assert!(matches!(policy(text).rule(), Rule::Oracle(_)));
    }
    let certified = policy("oracle:certified:allocation=layer,nodes=8");
    assert_eq!((certified.options().allocation, certified.options().nodes), (Allocation::LAYER, 8));
    assert_eq!(policy("oracle:certified:allocation=model").to_string(), "oracle:certified");
}

#[test]
fn oracles_refuse_options_that_mean_nothing_to_them() {
    for (text, wrong) in [
        ("oracle:certified:pool=none", "no option 'pool'"),
        ("oracle:certified:allocation=head", "allocation"),
        ("oracle:exhaustive:nodes=8", "no option 'nodes'"),
        ("oracle:renormalised:allocation=model", "no option 'allocation'"),
        ("oracle:clairvoyant", "'oracle:clairvoyant'"),
        ("oracle", "'oracle'"),
    ] {
        let line = refusal(text.parse::<Policy>());
        assert!(line.contains(wrong), "{text}: {line}");
    }
}

/// `layers` layers of `kv_heads * candidate_len` candidates, and an oracle's searches in them.
struct Model {
    problems: Vec<Problem>,
}

impl Model {
    fn new(layers: usize, kv_heads: usize, candidate_len: usize, seed: u64) -> Self {
        let sizes = Sizes {
            kv_heads,
            group_size: 2,
            head_dim: 4,
            hidden_dim: 6,
            candidate_len,
            window_len: 3,
            future_len: 2,
        };
        let problems = (0..layers as u64).map(|layer| hostile(sizes, seed * 100 + layer)).collect();
        Self { problems }
    }

    fn prepared(&self) -> Vec<Box<dyn PreparedLayer + '_>> {
        let problems = self.problems.iter().enumerate();
        problems
            .map(|(index, problem)| Reference.prepare(&problem.layer_problem(LayerIndex(index))).unwrap())
            .collect()
    }

    fn search(&self, text: &str, per_head: usize) -> Found {
        self.try_search(text, per_head).unwrap()
    }

    fn try_search(&self, text: &str, per_head: usize) -> Result<Found, Error> {
        let layers = self.prepared();
        let layers: Vec<&dyn PreparedLayer> = layers.iter().map(AsRef::as_ref).collect();
        search_together(&Reference, &layers, &policy(text), CandidatesPerHead(per_head), &mut |_| true)
    }

    /// The set, as every other policy's, and its errors over all layers.
    fn evaluate(&self, found: &Found) -> (RetainedSet, OutputErrors) {
        let sizes = self.problems[0].sizes;
        let (context, window) = (sizes.context_len(), sizes.window_len);
        let set = RetainedSet::from_candidates(sizes.kv_heads, context, window, &found.retained).unwrap();
        let layers = self.prepared();
        let errors = layers
            .iter()
            .enumerate()
            .map(|(ordinal, layer)| layer.evaluate(set.layer(LayerOrdinal(ordinal))).unwrap());
        let total = OutputErrors::total(errors).unwrap();
        (set, total)
    }

    fn rounding(&self, rows: Rows) -> f64 {
        self.problems.iter().map(|problem| Rounding::of(&layer(problem), rows).of_any()).sum()
    }
}

const SHAPES: [(usize, usize, usize); 4] = [(1, 2, 8), (2, 2, 4), (3, 2, 3), (5, 1, 4)];

#[test]
fn one_budget_over_several_layers_is_solved_to_the_optimum() {
    for (seed, (layers, kv_heads, candidate_len)) in (0..).zip(SHAPES) {
        let model = Model::new(layers, kv_heads, candidate_len, seed);
        let rounding = 2.0 * model.rounding(Rows::Window);
        for form in ["", ":form=head-wise"] {
            for per_head in 0..=candidate_len {
                let errors = ["oracle:exhaustive", "oracle:branch-and-bound"].map(|oracle| {
                    let found = model.search(&format!("{oracle}{form}"), per_head);
                    found.certified.unwrap().eviction.squared_error
                });
                let (least, error) = (errors[0], errors[1]);
                assert!((error - least).abs() <= rounding + TOLERANCE * least, "{error} for {least}");
            }
        }
    }
}

#[test]
fn an_oracle_keeps_exactly_the_budget() {
    for (seed, (layers, kv_heads, candidate_len)) in (0..).zip(SHAPES) {
        let model = Model::new(layers, kv_heads, candidate_len, seed);
        for text in ORACLES {
            for per_head in 0..=candidate_len {
                let (set, _) = model.evaluate(&model.search(text, per_head));
                let entries = layers * kv_heads * (per_head + model.problems[0].sizes.window_len);
                assert_eq!(set.positions().len(), entries, "{text}");
            }
        }
    }
}

/// `w = n`: there is nothing to search.
#[test]
fn an_oracle_without_candidates_keeps_the_window() {
    let model = Model::new(2, 2, 0, 0);
    for text in ORACLES {
        let (set, errors) = model.evaluate(&model.search(text, 0));
        assert_eq!(set, RetainedSet::everything(2, 2, model.problems[0].sizes.window_len).unwrap(), "{text}");
        assert_eq!(errors.drop.unwrap().layer_wise.squared_error, 0.0);
    }
}

#[test]
fn an_oracle_reports_the_error_of_the_set_that_it_returns() {
    for (seed, (layers, kv_heads, candidate_len)) in (0..).zip(SHAPES) {
        let model = Model::new(layers, kv_heads, candidate_len, seed);
        let rounding = model.rounding(Rows::Window);
        for (form, option) in [(Form::LayerWise, ""), (Form::HeadWise, ":form=head-wise")] {
            for oracle in ["oracle:certified", "oracle:branch-and-bound", "oracle:exhaustive"] {
                let found = model.search(&format!("{oracle}{option}"), candidate_len / 2);
                let (_, errors) = model.evaluate(&found);
                let certified = found.certified.unwrap();
                let reported = certified.eviction.squared_error;
                let error = dropped(&errors, form).squared_error;
                assert!((reported - error).abs() <= rounding, "{oracle}: {reported} for {error}");
                assert!(certified.squared_lower_bound <= error + rounding);
            }
        }
    }
}

#[test]
fn too_many_candidates_are_refused_by_the_exhaustive_search() {
    let model = Model::new(1, 1, 25, 0);
    assert!(refusal(model.try_search("oracle:exhaustive", 3)).contains("25"));
}

#[test]
fn later_queries_that_were_not_captured_are_refused() {
    let mut model = Model::new(1, 1, 4, 0);
    model.problems[0].sizes.future_len = 0;
    model.problems[0] = hostile(model.problems[0].sizes, 0);
    assert!(refusal(model.try_search("oracle:future", 3)).contains("later queries"));
}
