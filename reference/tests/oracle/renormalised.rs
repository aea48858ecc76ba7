//! The local search on the `renormalised` objective.

use laprox_reference::oracle::renormalised::{Limits, improve, improve_within};
use laprox_reference::{Form, LayerOrdinal, PreparedLayer, ReferenceLayer, RetainedSet};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::hostile::{hostile, layer, sizes, some_candidates, without};
use crate::common::problem::{Problem, Sizes};
use crate::problems::{FORMS, renormalised};

/// A share of the squared output's magnitude below which errors of these small problems are rounding.
const NOISE: f64 = 1e-12;

/// A swap that would leave a row less than this share of its mass is not looked at.
const LEAST_SHARE: f64 = 1e-6;

fn error(layer: &ReferenceLayer, form: Form, evicted: &[usize]) -> f64 {
    renormalised(&layer.evaluate(without(layer, evicted).layer(LayerOrdinal(0))).unwrap(), form).squared_error
}

fn evicted(layer: &ReferenceLayer, retained: &[Vec<u32>]) -> Vec<usize> {
    let candidate_len = layer.shape.candidate_len();
    let kept = |candidate: usize| {
        retained[candidate / candidate_len].contains(&((candidate % candidate_len) as u32))
    };
    (0..layer.shape.kv_heads * candidate_len).filter(|&candidate| !kept(candidate)).collect()
}

/// The sum of the squares of all magnitudes that meet in the output: the scale of rounding.
fn magnitude(layer: &ReferenceLayer) -> f64 {
    let head = |head: laprox_reference::QueryHead| {
        let values = layer.values_of(head).abs();
        (values * layer.output_projection[head.0].abs()).row_iter().map(|row| row.norm()).fold(0.0, f64::max)
    };
    let sum: f64 = layer.shape.query_heads().map(head).sum();
    sum * sum * layer.shape.window_len as f64
}

/// Whether swapping leaves every row a safe share of the mass that it has.
fn is_safe(layer: &ReferenceLayer, evicted: &[usize], evict: usize, retain: usize) -> bool {
    let candidate_len = layer.shape.candidate_len();
    let set = without(layer, evicted);
    layer.shape.query_heads().all(|head| {
        let kv_head = layer.shape.kv_head_of(head);
        let logits = &layer.attention.logits[head.0];
        let keeps = set.layer(LayerOrdinal(0)).keeps(kv_head);
        let inside =
            |candidate: usize| (candidate / candidate_len == kv_head.0).then_some(candidate % candidate_len);
        logits.row_iter().all(|row| {
            let largest = row.max();
            let mass = |kept: &dyn Fn(usize) -> bool| -> f64 {
                (0..row.len()).filter(|&i| kept(i)).map(|i| (row[i] - largest).exp()).sum()
            };
            let before = mass(&|i| keeps[i]);
            let after = mass(&|i| (keeps[i] && Some(i) != inside(evict)) || Some(i) == inside(retain));
            before > 1e-250 && after > LEAST_SHARE * before
        })
    })
}

struct Case {
    layer: ReferenceLayer,
    form: Form,
    start: Vec<usize>,
}

impl Case {
    fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let candidates = rng.random_range(2..=12);
        let layer = layer(&hostile(sizes(candidates, &mut rng), seed));
        let start = some_candidates(candidates, rng.random_range(0..=candidates), &mut rng);
        Self { layer, form: FORMS[rng.random_range(0..2)], start }
    }

    fn improved(&self, limits: Limits) -> Vec<usize> {
        let start = without(&self.layer, &self.start);
        evicted(
            &self.layer,
            &improve_within(&self.layer, self.form, start.layer(LayerOrdinal(0)), limits).retained,
        )
    }

    fn error(&self, evicted: &[usize]) -> f64 {
        error(&self.layer, self.form, evicted)
    }
}

/// To the last bit: the search computes its errors as the stage *evaluate* does.
#[test]
fn improving_never_makes_a_set_worse() {
    for seed in 0..400 {
        let case = Case::new(seed);
        for slots in [1, 3, 32] {
            let found = case.improved(Limits { slots, ..Limits::default() });
            assert_eq!(found.len(), case.start.len());
            assert!(case.error(&found) <= case.error(&case.start), "seed {seed}");
        }
    }
}

#[test]
fn no_swap_lowers_an_improved_set() {
    let mut safe = 0;
    for seed in 0..400 {
        let case = Case::new(seed);
        let found = case.improved(Limits::default());
        let least = case.error(&found);
        let noise = NOISE / LEAST_SHARE * magnitude(&case.layer).min(least) + NOISE * magnitude(&case.layer);
        for retain in found.iter().copied() {
            let candidates = case.layer.shape.kv_heads * case.layer.shape.candidate_len();
            for evict in (0..candidates).filter(|candidate| !found.contains(candidate)) {
                if is_safe(&case.layer, &found, evict, retain) {
                    let mut swapped: Vec<usize> =
                        found.iter().copied().filter(|&candidate| candidate != retain).collect();
                    swapped.push(evict);
                    let error = case.error(&swapped);
                    assert!(
                        error >= least - noise,
                        "seed {seed}: {evict} for {retain}, {error} below {least}"
                    );
                    safe += 1;
                }
            }
        }
    }
    assert!(safe > 2000, "{safe} swaps were tried");
}

/// Every set of as many candidates.
fn best_of_all(case: &Case) -> f64 {
    let candidates = case.layer.shape.kv_heads * case.layer.shape.candidate_len();
    let sets = (0..1_u32 << candidates).filter(|set| set.count_ones() as usize == case.start.len());
    let error = |set: u32| {
        case.error(&(0..candidates).filter(|candidate| set >> candidate & 1 == 1).collect::<Vec<_>>())
    };
    sets.map(error).fold(f64::INFINITY, f64::min)
}

#[test]
fn most_improved_sets_of_small_problems_are_the_best_of_all() {
    let (mut best, mut cases) = (0, 0);
    for seed in 0..200 {
        let case = Case::new(seed);
        let found = case.error(&case.improved(Limits::default()));
        let least = best_of_all(&case);
        let noise = NOISE * magnitude(&case.layer);
        assert!(found >= least, "seed {seed}: {found} is below {least}");
        cases += 1;
        best += usize::from(found <= least + noise + 1e-9 * least);
    }
    println!("{best} of {cases} are the best of all");
    assert!(2 * best > cases, "{best} of {cases}");
}

/// Layer-wise, a swap may trade a candidate of one KV head for another's.
#[test]
fn swaps_cross_kv_heads() {
    let sizes = Sizes {
        kv_heads: 2,
        group_size: 1,
        head_dim: 1,
        hidden_dim: 1,
        candidate_len: 1,
        window_len: 1,
        future_len: 0,
    };
    let mut problem = Problem::zero(sizes);
    // Head 0 loses nothing with its candidate, head 1 everything.
    problem.value = vec![1.0, 1.0, 8.0, 0.0];
    problem.projection = vec![1.0, 1.0];
    let layer = layer(&problem);
    for form in FORMS {
        let start = RetainedSet::from_candidates(2, 2, 1, &[vec![0], vec![]]).unwrap();
        assert_eq!(improve(&layer, form, start.layer(LayerOrdinal(0))), [vec![], vec![0]]);
    }
}

/// The retained mass of a row underflows; the sets are compared all the same.
#[test]
fn a_retained_mass_that_underflows_is_improved() {
    let sizes = Sizes {
        kv_heads: 1,
        group_size: 1,
        head_dim: 1,
        hidden_dim: 1,
        candidate_len: 2,
        window_len: 1,
        future_len: 0,
    };
    let mut problem = Problem::zero(sizes);
    problem.query = vec![1.0];
    problem.key = vec![2000.0, 0.0, 0.0];
    problem.value = vec![5.0, 1.0, 2.0];
    problem.projection = vec![1.0];
    let layer = layer(&problem);
    let start = RetainedSet::from_candidates(1, 3, 1, &[vec![1]]).unwrap();
    let retained = improve(&layer, Form::LayerWise, start.layer(LayerOrdinal(0)));
    assert_eq!(retained, [vec![0]]);
    assert_eq!(error(&layer, Form::LayerWise, &[1]), 0.0);
}

#[test]
fn a_layer_without_candidates_stays_as_it_is() {
    let sizes = Sizes {
        kv_heads: 2,
        group_size: 2,
        head_dim: 2,
        hidden_dim: 3,
        candidate_len: 0,
        window_len: 4,
        future_len: 0,
    };
    let layer = layer(&Problem::alive(sizes, 1));
    let start = RetainedSet::everything(1, 2, 4).unwrap();
    assert_eq!(improve(&layer, Form::LayerWise, start.layer(LayerOrdinal(0))), [vec![], Vec::<u32>::new()]);
}
