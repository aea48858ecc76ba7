//! `eval` and `ablate` ask a path for the same: each distinct score once per layer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use laprox_experiments::ablation::{Comparison, Config, Results};
use laprox_experiments::eval::{Evictions, Prefilled, evicted_answers};
use laprox_experiments::exit;
use laprox_experiments::journal::Journal;
use laprox_experiments::model::Wanted;
use laprox_experiments::progress::Progress;
use laprox_experiments::sample::Sample;
use laprox_fixtures::Dump;
use laprox_reference::oracle::gram::Product;
use laprox_reference::oracle::{PairGram, Rows, Stop};
use laprox_reference::{
    Backend, CandidatesPerHead, Error, Form, KvHead, LayerIndex, LayerProblem, LayerRetained, LayerScores,
    LayerShape, OutputErrors, PackedRows, Policy, PreparedLayer, Reference, ReferenceLayer, Score, Searching,
    Statistic, pipeline,
};
use nalgebra::DMatrix;

use super::synthetic::{LAYERS, Synthetic, tokens};

const DUMP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/data/smollm2-135m");

/// The reference path, with its scores counted, its statistics refused and its products failing.
#[derive(Default)]
struct Counting(Arc<AtomicUsize>);

struct Counted<'a>(Box<dyn PreparedLayer + 'a>, Arc<AtomicUsize>);

/// A form whose products a device was to compute.
struct Failing<'a>(Box<dyn PairGram + 'a>);

impl Backend for Counting {
    fn name(&self) -> &'static str {
        "counting"
    }

    fn prepare<'a>(&self, problem: &LayerProblem<'a>) -> Result<Box<dyn PreparedLayer + 'a>, Error> {
        Ok(Box::new(Counted(Reference.prepare(problem)?, Arc::clone(&self.0))))
    }
}

impl PreparedLayer for Counted<'_> {
    fn index(&self) -> LayerIndex {
        self.0.index()
    }

    fn shape(&self) -> LayerShape {
        self.0.shape()
    }

    fn score(&self, score: &Score) -> Result<LayerScores, Error> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.score(score)
    }

    fn statistic(&self, statistic: Statistic, _: usize) -> Result<f64, Error> {
        Err(Error::Path { path: "counting", reason: format!("no policy here wants {statistic:?}") })
    }

    /// As a device does, from the layer's own numbers.
    fn gather(&self, retained: LayerRetained<'_>) -> Result<Option<PackedRows>, Error> {
        let layer = self.0.reference()?;
        let pack = |matrices: &[DMatrix<f64>]| {
            let heads = matrices.iter().enumerate().flat_map(|(head, matrix)| {
                retained.head(KvHead(head)).iter().map(move |&position| matrix.row(position as usize))
            });
            heads.flat_map(|row| row.iter().map(|&number| number as f32).collect::<Vec<_>>()).collect()
        };
        Ok(Some(PackedRows { keys: pack(&layer.keys), values: pack(&layer.values) }))
    }

    fn gram(&self, form: Form, rows: Rows, stop: Stop) -> Result<Box<dyn PairGram>, Error> {
        Ok(Box::new(Failing(self.0.gram(form, rows, stop)?)))
    }

    fn evaluate(&self, retained: LayerRetained<'_>) -> Result<OutputErrors, Error> {
        self.0.evaluate(retained)
    }

    fn reference(&self) -> Result<&ReferenceLayer, Error> {
        self.0.reference()
    }
}

impl PairGram for Failing<'_> {
    fn candidates(&self) -> usize {
        self.0.candidates()
    }

    fn product(&self, _: &[f64]) -> Result<Product, Error> {
        Err(Error::Path { path: "counting", reason: "the device is gone".into() })
    }

    fn diagonal(&self) -> &[f64] {
        self.0.diagonal()
    }

    fn blocks(&self, candidates: &[usize]) -> Vec<DMatrix<f64>> {
        self.0.blocks(candidates)
    }

    fn magnitudes(&self) -> Vec<f64> {
        self.0.magnitudes()
    }
}

#[test]
fn eval_computes_each_distinct_score_once_per_layer() {
    let model = Synthetic::new("llama").load().unwrap();
    let prefilled = Prefilled::new(&model, &tokens(40), 4, Wanted::NOTHING, &mut ()).unwrap();
    let policies = ["laprox", "laprox:allocation=head", "snapkv", "adakv", "streaming"];
    let policies: Vec<Policy> = policies.iter().map(|text| text.parse().unwrap()).collect();
    let path = Counting::default();
    let evictions = Evictions::new(&model, &path, &policies).unwrap();
    let evicted =
        evictions.of(&prefilled, "prompt", &["8".parse().unwrap(), "50%".parse().unwrap()], &[], 7).unwrap();
    assert_eq!(evicted.len(), 10);
    assert_eq!(path.0.load(Ordering::Relaxed), 3 * LAYERS);
}

/// What a path packs is what the model decodes from: the same answers as from rows that the cache copies itself.
#[test]
fn answers_from_packed_rows_are_those_from_the_cache() {
    let model = Synthetic::new("llama").load().unwrap();
    let prefilled = Prefilled::new(&model, &tokens(40), 4, Wanted::NOTHING, &mut ()).unwrap();
    let policies = ["laprox", "snapkv:allocation=layer", "streaming"].map(|text| text.parse().unwrap());
    let budgets = ["8".parse().unwrap(), "50%".parse().unwrap()];
    let path = Counting::default();
    let answers = [&path as &dyn Backend, &Reference].map(|backend| {
        let evictions = Evictions::new(&model, backend, &policies).unwrap();
        let evicted = evictions.of(&prefilled, "prompt", &budgets, &[], 7).unwrap();
        assert!(evicted.iter().all(|evicted| evicted.packed.is_some() == (backend.name() == "counting")));
        evicted_answers(&model, &prefilled, &evicted, &[3, 1, 4], 8).unwrap()
    });
    assert_eq!(answers[0], answers[1]);
}

#[test]
fn ablate_computes_each_distinct_score_once_per_layer() {
    let config = r#"
        policies = ["laprox", "laprox:allocation=head", "snapkv", "adakv", "streaming"]
        budgets = ["5%", "20%"]
    "#;
    let config: Config = toml::from_str(config).unwrap();
    let (comparison, dumps) = (Comparison::resolve(&config).unwrap(), [Dump::open(DUMP).unwrap()]);
    let path = Counting::default();
    Results::new(&comparison, &dumps, &path, &[], 0).compute(&Journal::in_memory(), 1).unwrap();
    assert_eq!(path.0.load(Ordering::Relaxed), 3 * dumps[0].manifest().layers.len());
}

#[test]
fn a_device_that_fails_in_a_product_ends_the_oracle_with_code_3_and_one_line() {
    let (dump, path) = (Dump::open(DUMP).unwrap(), Counting::default());
    let progress = Progress::new("searching", 1);
    let layers = Sample { dump: &dump, index: 0, backend: &path, given: &[] }.layers(&progress);
    for oracle in ["oracle:certified", "oracle:certified:allocation=layer", "oracle:future"] {
        let policy = oracle.parse().unwrap();
        let failure =
            pipeline::search(&path, &layers, &policy, CandidatesPerHead(20), &Searching::FREE).unwrap_err();
        assert_eq!(exit::code(&failure), 3, "{failure:#}");
        let line = format!("{failure:#}");
        assert!(line.contains("the device is gone") && line.lines().count() == 1, "{line}");
    }
}
