//! Stage score: group rules, pooling and sums; policies without a kernel are the reference's.

use laprox_gpu::{DeviceLayer, Format};
use laprox_reference::{Backend, POLICIES, Reference};

use crate::common::bounds::{Bounded, assert_within, wide};
use crate::common::expected::Expected;
use crate::common::problem::{Problem, Sizes};
use crate::common::{device, naive_device, output_norm, prepared, score, scored};
use crate::shapes::for_each_case;

type Stated = fn(&Expected) -> Vec<Vec<Bounded>>;

fn pooled(heads: &[Vec<Bounded>], pool: impl Fn(&[Bounded]) -> Bounded, width: usize) -> Vec<Bounded> {
    let head = |head: &Vec<Bounded>| -> Vec<Bounded> {
        let near = |i: usize| pool(&head[i.saturating_sub(width / 2)..head.len().min(i + width / 2 + 1)]);
        (0..head.len()).map(near).collect()
    };
    heads.iter().flat_map(head).collect()
}

fn averaged(heads: &[Vec<Bounded>], width: usize) -> Vec<Bounded> {
    pooled(heads, |near| Bounded::sum(near).over(width as f64), width)
}

fn maximal(heads: &[Vec<Bounded>], width: usize) -> Vec<Bounded> {
    pooled(heads, Bounded::largest, width)
}

/// The bounds' own values are the reference's scores.
fn assert_states_the_reference(problem: &Problem, policy: &str, bounds: &[Bounded]) {
    let reference = Reference.prepare(&problem.layer_problem()).unwrap();
    let scores = scored(reference.as_ref(), &score(policy)).unwrap();
    for (score, bound) in scores.values().zip(bounds) {
        assert!((score - bound.value).abs() <= 1e-11 * score, "{policy}: {score} and {bound:?}");
    }
}

fn assert_scores(
    layer: &DeviceLayer<'_>,
    device: &laprox_gpu::Device,
    policy: &str,
    bounds: &[Bounded],
    what: &str,
) -> f64 {
    let what = format!("{policy}, {what}");
    let scores = layer.score(&score(policy)).unwrap().unwrap();
    let used = assert_within(&what, &wide(&scores.download(device).unwrap()), bounds);
    // The sum gathers the scores' errors, whatever their order.
    let sum = Bounded::sum(bounds);
    used.max(assert_within(&format!("sum of {what}"), &[scores.download_sum(device).unwrap().into()], &[sum]))
}

#[test]
fn unpooled_scores_agree_with_the_reference() {
    let rules: [(&str, Stated); 4] = [
        ("laprox:pool=none", Expected::laprox_mean),
        ("laprox:gqa=attention,pool=none", Expected::laprox_attention),
        ("snapkv:pool=none", Expected::snapkv_mean),
        ("snapkv:gqa=max,pool=none", Expected::snapkv_max),
    ];
    let mut most = 0.0_f64;
    for_each_case(|device, problem, format, what| {
        let lent = problem.layer_problem();
        let layer = DeviceLayer::upload(device, &lent).unwrap();
        let expected = Expected::new(problem, format);
        for (policy, stated) in rules {
            let bounds = stated(&expected).concat();
            assert_states_the_reference(problem, policy, &bounds);
            most = most.max(assert_scores(&layer, device, policy, &bounds, what));
        }
    });
    println!("largest share of a bound used: {most:.3}");
}

#[test]
fn exact_scores_agree_with_the_reference() {
    for (device, format, head_dim) in [(device(), Format::Bf16, 64), (naive_device(), Format::F32, 7)] {
        for group_size in [1, 3, 4, 8] {
            let sizes = Sizes { group_size, head_dim, window_len: 6, ..Sizes::with_context(45) };
            let problem = Problem::alive(sizes, format, group_size as u64);
            let lent = problem.layer_problem();
            let exact = score("laprox:gqa=exact,pool=none");
            let reference = scored(Reference.prepare(&lent).unwrap().as_ref(), &exact).unwrap();
            let scores: Vec<Vec<f64>> = reference.heads().map(<[f64]>::to_vec).collect();
            let bounds = Expected::new(&problem, format).laprox_exact(&scores).concat();
            let layer = DeviceLayer::upload(&device, &lent).unwrap();
            assert_scores(&layer, &device, "laprox:gqa=exact,pool=none", &bounds, &format!("{sizes:?}"));
            assert!(bounds.iter().all(|bound| bound.error < 0.05 * bound.value));
        }
    }
}

/// Widths up to and beyond the candidates, beyond the room of the fused kernel, and around its blocks of 256.
#[test]
fn pooling_agrees_with_the_reference() {
    let problem =
        Problem::alive(Sizes { kv_heads: 2, group_size: 1, ..Sizes::with_context(32 + 257) }, Format::F16, 4);
    let lent = problem.layer_problem();
    let expected = Expected::new(&problem, Format::F16);
    let raw = expected.laprox_mean();
    for device in [device(), naive_device()] {
        let layer = DeviceLayer::upload(&device, &lent).unwrap();
        let raw = if layer.format() == Format::F16 {
            raw.clone()
        } else {
            Expected::new(&problem, Format::F32).laprox_mean()
        };
        for width in [1, 3, 7, 255, 513, 4001, 8193] {
            assert_scores(
                &layer,
                &device,
                &format!("laprox:pool=avg:{width}"),
                &averaged(&raw, width),
                "average",
            );
            assert_scores(
                &layer,
                &device,
                &format!("laprox:pool=max:{width}"),
                &maximal(&raw, width),
                "largest",
            );
        }
    }
}

/// No floating-point atomics: every schedule adds up in the same order.
#[test]
fn scores_and_sums_are_the_same_bits_every_time() {
    let problem = Problem::alive(Sizes::with_context(600), Format::Bf16, 9);
    let lent = problem.layer_problem();
    let bits = || {
        let device = device();
        let layer = DeviceLayer::upload(&device, &lent).unwrap();
        let scores = layer.score(&score("laprox")).unwrap().unwrap();
        let numbers: Vec<u32> =
            scores.download(&device).unwrap().iter().map(|score| score.to_bits()).collect();
        (numbers, scores.download_sum(&device).unwrap().to_bits())
    };
    assert_eq!(bits(), bits());
}

#[test]
fn without_candidates_there_is_nothing_to_score() {
    let problem = Problem::alive(Sizes::with_context(32), Format::Bf16, 2);
    let lent = problem.layer_problem();
    let layer = prepared(&device(), &lent);
    for policy in ["laprox", "laprox:gqa=exact", "snapkv", "tova"] {
        assert!(scored(layer.as_ref(), &score(policy)).unwrap().values().next().is_none());
    }
}

/// What no kernel scores: other policies, some of the window's queries, attention that is pooled before it meets a value.
fn without_a_kernel() -> Vec<String> {
    let known = ["laprox", "snapkv", "adakv", "pyramidkv"];
    let ranks = POLICIES.iter().filter(|entry| entry.rule.ranks() && entry.needs().is_empty());
    let others = ranks.map(|entry| entry.name).filter(|name| !known.contains(name));
    let options = ["window=5", "pool=avg:7@attention", "pool=max:3@attention,window=31"];
    let narrowed = known.iter().flat_map(|name| options.map(|options| format!("{name}:{options}")));
    others.map(str::to_owned).chain(narrowed).collect()
}

/// To the bit: the reference computes them on the same layer.
#[test]
fn policies_without_a_kernel_score_as_the_reference_does() {
    let problem = Problem::alive(Sizes { future_len: 3, ..Sizes::with_context(50) }, Format::Bf16, 6);
    let lent = problem.layer_problem();
    let reference = Reference.prepare(&lent).unwrap();
    let layer = prepared(&device(), &lent);
    let device_layer = DeviceLayer::upload(&device(), &lent).unwrap();
    for policy in without_a_kernel() {
        let score = score(&policy);
        assert!(device_layer.score(&score).unwrap().is_none(), "{policy}");
        let [found, expected] = [&layer, &reference].map(|layer| scored(layer.as_ref(), &score).unwrap());
        assert_eq!(found, expected, "{policy}");
    }
}

/// Policies that change only the allocation have SnapKV's kernel, and all of the window is any window as long.
#[test]
fn policies_of_the_same_score_have_the_same_kernel() {
    let problem = Problem::alive(Sizes::with_context(50), Format::Bf16, 6);
    let lent = problem.layer_problem();
    let layer = DeviceLayer::upload(&device(), &lent).unwrap();
    let scored = |policy: &str| {
        let scores = layer.score(&score(policy)).unwrap().expect(policy);
        scores.download(&device()).unwrap()
    };
    for options in ["", ":gqa=max", ":pool=none,window=32"] {
        let snapkv = scored(&format!("snapkv{options}"));
        for policy in ["adakv", "pyramidkv"] {
            assert_eq!(scored(&format!("{policy}{options}")), snapkv, "{policy}{options}");
        }
    }
    assert_eq!(scored("laprox:window=32"), scored("laprox"));
}

/// f32 would make an infinity of a value's norm, or lose its square; f64 does not. Such layers are the reference's.
#[test]
fn a_layer_beyond_f32_is_left_to_the_reference() {
    let large = |problem: &mut Problem| {
        problem.value[8 * 5] = 1e38;
        problem.projection.fill(1e4);
    };
    let small = |problem: &mut Problem| problem.value.iter_mut().for_each(|number| *number *= 1e-25);
    for change in [&large as &dyn Fn(&mut Problem), &small] {
        let mut problem = Problem::alive(Sizes { head_dim: 8, ..Sizes::with_context(40) }, Format::F32, 6);
        change(&mut problem);
        let lent = problem.layer_problem();
        let reference = Reference.prepare(&lent).unwrap();
        let layer = prepared(&device(), &lent);
        let score = score("laprox:pool=none");
        let [found, expected] = [&layer, &reference].map(|layer| scored(layer.as_ref(), &score).unwrap());
        assert_eq!(found, expected);
        assert_eq!(output_norm(layer.as_ref()), output_norm(reference.as_ref()));
    }
}
