//! The oracle's operator: products within the bounds that they come with.

use std::sync::Arc;

use laprox_gpu::gram::DeviceGram;
use laprox_gpu::{Format, Gpu, ptx};
use laprox_reference::layer::Layer;
use laprox_reference::oracle::Rows;
use laprox_reference::oracle::gram::{LayerGram, PairGram, Product};
use laprox_reference::{
    Backend, CandidatesPerHead, Error, Form, InMemory, InTurn, Policy, Reference, Searching, pipeline,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::problem::{Problem, Sizes};
use crate::common::{device, naive_device, open};

/// Both are within their own bound of the same number.
fn assert_meet(what: &str, one: &Product, two: &Product) {
    for (candidate, (a, b)) in one.values.iter().zip(&two.values).enumerate() {
        let allowed =
            one.errors[candidate] + two.errors[candidate] + 2.0 * (one.drift + two.drift) * two.value.sqrt();
        assert!((a - b).abs() <= allowed, "{what}, candidate {candidate}: {a} and {b}, allowed {allowed:e}");
    }
    let apart = (one.value.sqrt() - two.value.sqrt()).abs();
    let rounding = 1e-12 * two.value.sqrt();
    assert!(apart <= one.drift + two.drift + rounding, "{what}: values {} and {}", one.value, two.value);
    assert!(one.squared_norm >= one.value && one.root_loss == 0.0);
}

fn shares(count: usize, seed: u64) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| if rng.random_bool(0.3) { 0.0 } else { rng.random_range(0.0..1.0) }).collect()
}

#[test]
fn products_agree_with_the_reference_within_their_bounds() {
    let sizes = [
        (1, 4, 64, 96, 65, 32),
        (2, 3, 5, 7, 100, 33),
        (3, 1, 33, 40, 90, 4),
        (1, 8, 16, 20, 40, 1),
        (2, 1, 1, 1, 3, 2),
    ];
    for (seed, (kv_heads, group_size, head_dim, hidden_dim, context_len, window_len)) in (0..).zip(sizes) {
        let sizes =
            Sizes { kv_heads, group_size, head_dim, hidden_dim, context_len, window_len, future_len: 3 };
        let problem = Problem::alive(sizes, Format::F32, seed);
        let layer = Layer::new(&problem.layer_problem()).unwrap();
        for form in [Form::LayerWise, Form::HeadWise] {
            for rows in [Rows::Window, Rows::Future] {
                let host = LayerGram::of(&layer, form, rows).unwrap();
                let x = shares(host.candidates(), seed);
                let expected = host.product(&x);
                for device in [device(), naive_device()] {
                    let gram = DeviceGram::new(&device, &layer, form, rows).unwrap();
                    let what = format!("{form:?}, {rows:?}, {:?}, {sizes:?}", device.version());
                    assert_meet(&what, &gram.product(&x).unwrap(), &expected);
                    assert_eq!((gram.candidates(), gram.diagonal()), (host.candidates(), host.diagonal()));
                }
            }
        }
    }
}

/// The bounds that proofs subtract are far below the values.
#[test]
fn the_bounds_of_a_product_are_small() {
    let problem = Problem::alive(Sizes::with_context(100), Format::Bf16, 3);
    let layer = Layer::new(&problem.layer_problem()).unwrap();
    let gram = DeviceGram::new(&device(), &layer, Form::LayerWise, Rows::Window).unwrap();
    let product = gram.product(&shares(gram.candidates(), 1)).unwrap();
    let (errors, values) = (product.errors.iter().sum::<f64>(), product.values.iter().sum::<f64>());
    assert!(
        errors < 1e-9 * values.abs() && product.drift < 1e-9 * product.value.sqrt(),
        "{errors:e} of {values}"
    );
}

#[test]
fn a_layer_without_later_queries_has_no_future_form() {
    let problem = Problem::alive(Sizes::with_context(40), Format::Bf16, 3);
    let layer = Layer::new(&problem.layer_problem()).unwrap();
    assert!(DeviceGram::new(&device(), &layer, Form::LayerWise, Rows::Future).is_err());
}

/// A certified search over the device's products proves what one over the reference's proves: either's bound holds for
/// either's set, and neither lies farther from the reference's than the reference leaves open itself.
#[test]
fn oracles_prove_the_same_on_either_path() {
    let sizes =
        Sizes { group_size: 2, head_dim: 8, hidden_dim: 12, window_len: 4, ..Sizes::with_context(44) };
    let problems = [1, 2].map(|seed| Problem::alive(sizes, Format::F32, seed));
    let gpu = Gpu::new(device());
    let policy: Policy = "oracle:certified:nodes=4".parse().unwrap();
    let proven = |backend: &dyn Backend| {
        let lent = problems.each_ref().map(Problem::layer_problem);
        let layers = InMemory::new(backend, lent.to_vec(), InTurn).unwrap();
        let found =
            pipeline::search(backend, &layers, &policy, CandidatesPerHead(10), &Searching::FREE).unwrap();
        found.certified[0].clone().unwrap()
    };
    let (device, reference) = (proven(&gpu), proven(&Reference));
    for (one, two) in [(&device, &device), (&device, &reference), (&reference, &device)] {
        assert!(one.squared_lower_bound <= two.eviction.squared_error);
    }
    let open = reference.eviction.squared_error - reference.squared_lower_bound;
    let apart = [
        device.eviction.squared_error - reference.eviction.squared_error,
        reference.squared_lower_bound - device.squared_lower_bound,
    ];
    assert!(apart.iter().all(|apart| *apart <= open), "{apart:?} of {open}");
}

/// A device whose product has no kernel: the search ends with the device's failure, not with another path's numbers.
#[test]
fn a_product_that_fails_ends_the_oracle() {
    let problem = Problem::alive(Sizes::with_context(44), Format::F32, 1);
    let text = ptx::TEXT.replace(".entry gram_pull(", ".entry gone(");
    let gpu = Gpu::new(Arc::new(open(&text)));
    let layers = InMemory::new(&gpu, vec![problem.layer_problem()], InTurn).unwrap();
    for oracle in ["oracle:certified", "oracle:branch-and-bound"] {
        let policy = oracle.parse().unwrap();
        let failure =
            pipeline::search(&gpu, &layers, &policy, CandidatesPerHead(3), &Searching::FREE).unwrap_err();
        assert!(matches!(failure, Error::Path { path: "gpu", .. }), "{failure}");
        assert!(failure.to_string().contains("gram_pull"), "{failure}");
        assert_eq!(failure.to_string().lines().count(), 1);
    }
}
