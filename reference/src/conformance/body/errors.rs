//! Errors of evictions: whole numbers to the bit, all others within their bounds.

use proptest::prelude::*;

use super::{Used, definition, output_norm, prepare, report, run};
use crate::backend::PreparedLayer;
use crate::backend::ReferenceLayer;
use crate::conformance::Path;
use crate::conformance::problem::{Problem, Sizes, TYPICAL, around_tiles, problems, sharp_problems};
use crate::conformance::rounding::Bounds;
use crate::conformance::whole::whole_problems;
use crate::error::Error;
use crate::output_error::{ObjectiveError, OutputErrors};
use crate::problem::LayerProblem;
use crate::retained::{LayerRetained, RetainedSet};
use crate::shape::{LayerIndex, LayerOrdinal};

/// Evictions of whole-number problems cost the same to the bit.
pub fn whole_number_errors_are_equal_to_the_bit(paths: &[Path]) {
    run(96, &whole_problems(60), |whole| {
        let problem = whole.problem.layer_problem(LayerIndex(0));
        let retained = whole.problem.retained(&whole.keeps);
        let expected =
            definition(&problem).evaluate(retained.layer(LayerOrdinal(0))).expect("a set of these sizes");
        for path in paths {
            let found = prepare(path, &problem)
                .evaluate(retained.layer(LayerOrdinal(0)))
                .expect("a set of these sizes");
            assert_eq!(found, expected, "{}: {whole:?}", path.name);
        }
    });
}

/// Holds the errors of one eviction, and the norm of the output, against the reference's.
pub fn hold_errors(
    path: &Path,
    problem: &LayerProblem<'_>,
    reference: &ReferenceLayer,
    retained: LayerRetained<'_>,
    used: &mut Used,
) {
    let bounds = Bounds::new(problem, reference, path.arithmetic);
    let layer = prepare(path, problem);
    let evaluate = |layer: &dyn PreparedLayer| {
        layer.evaluate(retained).unwrap_or_else(|error| panic!("{}: {error}", path.name))
    };
    let (found, expected) = (objectives(evaluate(layer.as_ref())), objectives(evaluate(reference)));
    let limits = bounds.errors(retained);
    assert_eq!((found.len(), expected.len()), (limits.len(), limits.len()), "{}", path.name);
    for (objective, limits) in limits.iter().enumerate() {
        let roots = |error: &ObjectiveError| {
            [error.layer_wise.squared_error.sqrt(), error.head_wise.squared_error.sqrt()]
        };
        let pairs = roots(&found[objective]).into_iter().zip(roots(&expected[objective])).zip(limits);
        for (form, ((found, expected), &limit)) in pairs.enumerate() {
            let what = || format!("{}: objective {objective}, form {form}", path.name);
            used.hold(what, found, expected, limit);
        }
    }
    let output = bounds.output_norm();
    let norms = [output_norm(layer.as_ref()), found[0].layer_wise.squared_norm.sqrt()];
    norms.into_iter().for_each(|norm| {
        used.hold(|| format!("{}: output", path.name), norm, output.value, output.magnitude);
    });
}

fn objectives(errors: OutputErrors) -> Vec<ObjectiveError> {
    [errors.drop, Some(errors.renormalised), errors.future].into_iter().flatten().collect()
}

fn hold_errors_of(claim: &str, paths: &[Path], cases: u32, strategy: &impl Strategy<Value = Problem>) {
    let mut used = vec![Used::default(); paths.len()];
    run(cases, strategy, |problem| {
        let layer_problem = problem.layer_problem(LayerIndex(0));
        let reference = definition(&layer_problem);
        let seed = problem.seed.unwrap_or_default();
        for keeps in [problem.some_kept(seed), problem.all_kept(), problem.all_evicted()] {
            let retained = problem.retained(&keeps);
            for (path, used) in paths.iter().zip(&mut used) {
                hold_errors(path, &layer_problem, &reference, retained.layer(LayerOrdinal(0)), used);
            }
        }
    });
    paths.iter().zip(used).for_each(|(path, used)| report(claim, path, used));
}

/// Errors of evictions of some, no and all candidates are within the derived bounds, sharp rows included.
pub fn errors_are_within_their_bounds(paths: &[Path]) {
    hold_errors_of("errors", paths, 96, &problems());
    hold_errors_of("errors of sharp rows", paths, 48, &sharp_problems());
}

/// So they are for sizes around the path's tiles.
pub fn errors_of_tiles_and_their_neighbours_are_within_their_bounds(paths: &[Path]) {
    for path in paths {
        hold_errors_of("errors around tiles", std::slice::from_ref(path), 16, &around_tiles(&path.tiles));
    }
}

/// A retained set of other sizes is an error that says so, not a panic.
pub fn a_set_of_another_size_is_refused(paths: &[Path]) {
    let problem = Problem::alive(Sizes { kv_heads: 2, candidate_len: 6, window_len: 2, ..TYPICAL }, 1);
    let problem = problem.layer_problem(LayerIndex(0));
    for path in paths {
        for (kv_heads, context) in [(1, 8), (2, 7), (2, 9)] {
            let set = RetainedSet::everything(1, kv_heads, context).expect("a set");
            let layer = prepare(path, &problem);
            let outcome = layer.evaluate(set.layer(LayerOrdinal(0)));
            assert!(matches!(outcome, Err(Error::Shape { .. })), "{}", path.name);
        }
    }
}
