//! Every stage against the machine's limits.
//!
//! A stage's floor is `max(flops / rate, bytes / bandwidth)`. The flops are those that its algorithm needs: two per
//! multiply-add, triangles counted as triangles, an exponential as its polynomial, f64's twice. The bytes are those that it
//! must read and write once. The rate is that of f32 products of this crate's tile in cache, and the bandwidth that of a copy,
//! bytes read and written. Both are measured with as many threads as the stage has.
//!
//! Shared machines change their speed from one second to the next. So the machine is measured before and after every run of a
//! stage, and the run is compared with the mean of the two.
//!
//! `cargo bench -p laprox-fast --bench roofline [-- SHAPE [STAGE]]` prints the medians of all runs, for one thread and for two:
//! floor, time by the clock, time over floor, and the range of that ratio in the middle half of the runs. faer's rate of
//! products and that of multiply-adds in registers are printed first.

#[path = "../common/mod.rs"]
mod common;
mod machine;
mod work;

use std::hint::black_box;

use common::{Live, SHAPES, every_fifth, literal_norms, scores};
use laprox_fast::columns::{Wanted, columns};
use laprox_fast::project::projected_value_norms;
use laprox_fast::score::{group_factors, head_factors};
use laprox_fast::{Fast, Level, select};
use laprox_reference::{Backend, LayerOrdinal, LayerProblem, Policy, Score, Statistic};
use machine::{Machine, faer_rate, register_rate, tile_rate};
use work::{Sizes, Work};

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let shape = wanted.first().map_or("llama8b_8k", String::as_str);
    let Some(&shape) = SHAPES.iter().find(|candidate| candidate.name == shape) else {
        let names: Vec<&str> = SHAPES.iter().map(|shape| shape.name).collect();
        eprintln!("expected one of {}, found {shape}", names.join(", "));
        std::process::exit(2);
    };
    let live = Live::new(shape);
    println!(
        "{}, {}: products {:.1} GF/s a core (faer's {:.1}, multiply-adds in registers {:.1})",
        shape.name,
        Level::best(),
        tile_rate() / 1e9,
        faer_rate() / 1e9,
        register_rate() / 1e9,
    );
    let stage = wanted.get(1).map_or("", String::as_str);
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
        pool.install(|| measure(&live.problem(), stage));
    }
}

/// Prints one line per stage whose name contains `wanted`.
fn measure(problem: &LayerProblem<'_>, wanted: &str) {
    let mut machine = Machine::new();
    let (threads, rates) = (rayon::current_num_threads(), machine.rates());
    println!(
        "\n{threads} thread{}: products {:.1} GF/s, copy {:.1} GB/s",
        if threads == 1 { "" } else { "s" },
        rates.flops / 1e9,
        rates.bandwidth / 1e9
    );
    println!(
        "{:<24} {:>8} {:>7} {:>9} {:>9} {:>7}   middle half",
        "stage", "Gflop", "MB", "floor ms", "time ms", "ratio"
    );
    let line: &mut Line<'_> = &mut |stage, work, run| {
        if stage.contains(wanted) {
            machine.line(stage, work, run);
        }
    };
    stages(problem, line);
    policies(problem, line);
    behind_scores(problem, line);
}

/// Measures a stage, given its name, its work and one run of it.
type Line<'a> = dyn FnMut(&str, Work, &mut dyn FnMut()) + 'a;

/// The scoring stages, and the factors that they need.
fn stages(problem: &LayerProblem<'_>, line: &mut Line<'_>) {
    let (level, sizes) = (Level::best(), Sizes::new(problem.shape()));
    let norms = Wanted { norms: true, ..Wanted::default() };
    line("attend", sizes.attend(), &mut || {
        black_box(columns(level, problem, norms));
    });
    let factors = head_factors(level, problem);
    line("project", sizes.project(), &mut || {
        black_box(projected_value_norms(level, problem, &factors));
    });
    let laprox = score_of("laprox");
    let mut layer = Fast::default().prepare(problem).expect("a layer");
    layer.share(&[laprox]);
    line("group mean and pool", sizes.combine(), &mut || {
        black_box(layer.score(&laprox).expect("scores"));
    });
    line("these three", sizes.attend() + sizes.project() + sizes.combine(), &mut || {
        black_box(columns(level, problem, norms));
        black_box(projected_value_norms(level, problem, &factors));
        black_box(layer.score(&laprox).expect("scores"));
    });
    line("project, literal", sizes.literal_project(), &mut || {
        black_box(literal_norms(problem));
    });
    line("factor (once a weight)", sizes.factor(), &mut || {
        black_box(head_factors(level, problem));
    });
    line("group factor (once)", sizes.group_factor(), &mut || {
        black_box(group_factors(level, problem));
    });
}

/// The score of a policy that ranks.
fn score_of(policy: &str) -> Score {
    policy.parse::<Policy>().expect("a policy").score().expect("a policy that ranks")
}

/// Whole scores, factors included.
fn policies(problem: &LayerProblem<'_>, line: &mut Line<'_>) {
    let sizes = Sizes::new(problem.shape());
    let mut whole = |policy: &str, work: Work| {
        let name = format!("whole {policy}");
        let score = score_of(policy);
        line(&name, work, &mut || {
            let layer = Fast::default().prepare(problem).expect("a layer");
            black_box(layer.score(&score).expect("scores"));
        });
    };
    let scored = sizes.attend() + sizes.project() + sizes.combine() + sizes.factor();
    whole("snapkv", sizes.attend() + sizes.combine());
    whole("laprox", scored);
    whole("laprox:gqa=attention", scored);
    let joint = sizes.attend() + sizes.group_project() + sizes.group_factor();
    whole("laprox:gqa=exact", joint + sizes.removed());
    whole("centred", joint + sizes.average() + sizes.centred());
}

/// The stages behind the scores.
fn behind_scores(problem: &LayerProblem<'_>, line: &mut Line<'_>) {
    let sizes = Sizes::new(problem.shape());
    let set = every_fifth(problem.shape());
    let layer = Fast::default().prepare(problem).expect("a layer");
    line("evaluate", sizes.average() + sizes.output(3.0), &mut || {
        black_box(layer.evaluate(set.layer(LayerOrdinal(0))).expect("errors"));
    });
    line("output norm", sizes.average() + sizes.output(1.0), &mut || {
        black_box(layer.statistic(Statistic::OutputNorm, problem.shape().window_len).expect("a norm"));
    });
    let lists = scores(256, 32768);
    let views: Vec<&[f64]> = lists.iter().map(Vec::as_slice).collect();
    let bytes = 8.0 * (views.len() * 32768) as f64;
    line("top 5 % of 8.4 million", Work { flops: 0.0, bytes }, &mut || {
        black_box(select::counts_in_top(&views, 0, views.len() * 1638));
    });
}
