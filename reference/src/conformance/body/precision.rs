//! Precisions: the same numbers are the same problem in every format.

use half::f16;

use super::{policies, prepare, run, scored};
use crate::conformance::Path;
use crate::conformance::problem::{Problem, Sizes, problems};
use crate::problem::{Activations, LayerProblem};
use crate::shape::{LayerIndex, LayerOrdinal};
use crate::tensor::{Elements, TensorView};

/// Numbers that f16 and f32 hold score the same from files of those precisions.
pub fn halves_and_singles_score_like_the_doubles_they_are(paths: &[Path]) {
    let alike = |problem: Problem| {
        let problem = problem.in_halves();
        let narrow = Narrow::new(&problem);
        let (wide, narrow) = (problem.layer_problem(LayerIndex(0)), narrow.layer_problem(&problem));
        let retained = problem.retained(&problem.some_kept(7));
        for path in paths {
            let [one, two] = [&wide, &narrow].map(|problem| prepare(path, problem));
            for policy in policies() {
                let scores = [one.as_ref(), two.as_ref()].map(|layer| scored(layer, &policy));
                assert_eq!(scores[0], scores[1], "{}: {policy}", path.name);
            }
            let [one, two] = [one, two].map(|layer| layer.evaluate(retained.layer(LayerOrdinal(0))));
            assert_eq!(one, two, "{}", path.name);
        }
    };
    alike(beyond_halves());
    run(32, &problems(), alike);
}

/// A problem with a query beyond the largest half: its key is close to zero, and the logit is 60.
fn beyond_halves() -> Problem {
    let sizes = Sizes {
        kv_heads: 2,
        group_size: 3,
        head_dim: 1,
        hidden_dim: 10,
        candidate_len: 9,
        window_len: 2,
        future_len: 2,
    };
    let problem = Problem::alive(sizes, 5_963_246_095_288_191_996);
    assert!(problem.query.iter().any(|query| query.abs() > f16::MAX.to_f64()), "{problem:?}");
    problem
}

/// A problem's tensors in half precision, the values' in single.
struct Narrow {
    halves: [Vec<f16>; 4],
    values: Vec<f32>,
}

impl Narrow {
    fn new(problem: &Problem) -> Self {
        let halves = |numbers: &Vec<f64>| numbers.iter().map(|&x| f16::from_f64(x)).collect();
        Self {
            halves: [&problem.query, &problem.key, &problem.projection, &problem.future_query].map(halves),
            values: problem.value.iter().map(|&x| x as f32).collect(),
        }
    }

    fn layer_problem<'a>(&'a self, problem: &'a Problem) -> LayerProblem<'a> {
        let wide = problem.activations();
        let [query, key, projection, future] = &self.halves;
        let view = "the shapes are those of the doubles";
        let narrow = Activations {
            query: TensorView::new(wide.query.shape(), Elements::F16(query)).expect(view),
            key: TensorView::new(wide.key.shape(), Elements::F16(key)).expect(view),
            value: TensorView::new(wide.value.shape(), Elements::F32(&self.values)).expect(view),
            output_projection: TensorView::new(wide.output_projection.shape(), Elements::F16(projection))
                .expect(view),
            future_query: wide
                .future_query
                .map(|wide| TensorView::new(wide.shape(), Elements::F16(future)).expect(view)),
        };
        problem.supply(LayerProblem::new(LayerIndex(0), problem.scale, narrow).expect(view))
    }
}
