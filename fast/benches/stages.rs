//! One group per stage and one for the whole. Ids are `stage/path/shape`.
//!
//! `literal` follows the method's description: the product `V W_h`, then the norms of its rows.

mod common;

use std::hint::black_box;

use common::{Live, SHAPES, Shape, every_fifth, literal_norms, scores};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use laprox_fast::columns::{Wanted, columns};
use laprox_fast::project::projected_value_norms;
use laprox_fast::score::head_factors;
use laprox_fast::{Fast, Level, select};
use laprox_reference::{
    Backend, CandidatesPerHead, HeadScores, LayerOrdinal, LayerProblem, ModelScores, Policy, PreparedLayer,
    Reference, Score, Scored,
};

/// Benchmarks one stage on every shape.
fn stage(
    criterion: &mut Criterion,
    stage: &str,
    path: &str,
    shapes: &[Shape],
    run: impl for<'a> Fn(&'a LayerProblem<'a>) -> Box<dyn FnMut() + 'a>,
) {
    let mut group = criterion.benchmark_group(stage);
    group.sample_size(10);
    for &shape in shapes {
        let live = Live::new(shape);
        let problem = live.problem();
        let mut run = run(&problem);
        let candidates = problem.shape().kv_heads * problem.shape().candidate_len();
        group.throughput(Throughput::Elements(candidates as u64));
        group.bench_function(BenchmarkId::new(path, shape.name), |bencher| bencher.iter(&mut run));
    }
}

fn attend(criterion: &mut Criterion) {
    stage(criterion, "attend", "fast", &SHAPES, |problem| {
        let (level, problem) = (Level::best(), *problem);
        let wanted = Wanted { norms: true, ..Wanted::default() };
        Box::new(move || drop(black_box(columns(level, &problem, wanted))))
    });
}

fn project(criterion: &mut Criterion) {
    stage(criterion, "project", "fast", &SHAPES, |problem| {
        let (level, problem) = (Level::best(), *problem);
        let factors = head_factors(level, &problem);
        Box::new(move || drop(black_box(projected_value_norms(level, &problem, &factors))))
    });
    stage(criterion, "project", "literal", &SHAPES, |problem| {
        let problem = *problem;
        Box::new(move || drop(black_box(literal_norms(&problem))))
    });
}

fn score(criterion: &mut Criterion) {
    for policy in ["laprox:gqa=attention", "laprox:gqa=exact", "centred", "snapkv", "tova"] {
        let parsed = score_of(policy);
        let name = format!("score {}", policy.replace(':', " "));
        stage(criterion, &name, "fast", &SHAPES[..3], |problem| {
            let problem = *problem;
            Box::new(move || {
                let layer = Fast::default().prepare(&problem).expect("a layer");
                black_box(layer.score(&parsed).expect("scores"));
            })
        });
    }
}

/// The score of a policy that ranks.
fn score_of(policy: &str) -> Score {
    policy.parse::<Policy>().expect("a policy").score().expect("a policy that ranks")
}

fn select(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("select");
    group.sample_size(10);
    let lists = scores(256, 32736);
    let views: Vec<&[f64]> = lists.iter().map(Vec::as_slice).collect();
    let count = views.len() * 1606;
    group.throughput(Throughput::Bytes(8 * 256 * 32736));
    group.bench_function(BenchmarkId::new("fast", "llama8b_32k"), |bencher| {
        bencher.iter(|| black_box(select::counts_in_top(&views, 0, count)));
    });
    let layers = lists.chunks(8).enumerate();
    let layers = layers
        .map(|(i, heads)| HeadScores::new(laprox_reference::LayerIndex(i), heads.to_vec()).expect("finite"));
    let scores = ModelScores::new(layers.collect()).expect("a model");
    let scores = Scored::of_host(scores, 32);
    let policy: Policy = "laprox:allocation=model-raw".parse().expect("a policy");
    for (path, backend) in [("fast-set", &Fast::default() as &dyn Backend), ("reference-set", &Reference)] {
        group.bench_function(BenchmarkId::new(path, "llama8b_32k"), |bencher| {
            bencher.iter(|| black_box(backend.cut(&policy, &scores, CandidatesPerHead(1606))));
        });
    }
}

fn evaluate(criterion: &mut Criterion) {
    stage(criterion, "evaluate", "fast", &SHAPES, |problem| {
        let problem = *problem;
        let set = every_fifth(problem.shape());
        Box::new(move || {
            let layer = Fast::default().prepare(&problem).expect("a layer");
            black_box(layer.evaluate(set.layer(LayerOrdinal(0))).expect("errors"));
        })
    });
}

/// From the captured layer to pooled LaProx scores, the weights' factor included.
fn whole(criterion: &mut Criterion) {
    let laprox = score_of("laprox");
    let score = move |layer: &dyn PreparedLayer| drop(black_box(layer.score(&laprox).expect("scores")));
    stage(criterion, "whole", "fast", &SHAPES, |problem| {
        let problem = *problem;
        Box::new(move || score(Fast::default().prepare(&problem).expect("a layer").as_ref()))
    });
    stage(criterion, "whole", "reference", &SHAPES[..1], |problem| {
        let problem = *problem;
        Box::new(move || score(Reference.prepare(&problem).expect("a layer").as_ref()))
    });
    stage(criterion, "whole", "literal", &SHAPES[..3], |problem| {
        let problem = *problem;
        let attention = score_of("snapkv:pool=none");
        Box::new(move || {
            black_box(literal_norms(&problem));
            let layer = Fast::default().prepare(&problem).expect("a layer");
            black_box(layer.score(&attention).expect("scores"));
        })
    });
}

criterion_group!(stages, attend, project, score, select, evaluate, whole);
criterion_main!(stages);
