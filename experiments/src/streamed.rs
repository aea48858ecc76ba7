//! A sample's layers as [`Layers`]: streamed, one layer in memory at a time.

use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex};
use std::thread;

use anyhow::{Context, Result};
use laprox_fixtures::DumpLayer;
use laprox_reference::{
    Error, HeadScores, LayerOrdinal, LayerShape, Layers, Policy, PreparedLayer, RetainedSet, Score,
    Supplement, Tasks,
};
use rayon::prelude::*;

use crate::given;
use crate::progress::Progress;
use crate::sample::{Sample, missing};
use crate::threads::Threads;

/// A second reader of layers.
pub type Reader<'a> = &'a (dyn Fn(&DumpLayer) -> Result<()> + Sync);

/// The layers of a sample.
pub struct Streamed<'a> {
    sample: Sample<'a>,
    shapes: Vec<LayerShape>,
    progress: &'a Progress,
    /// Takes the layers as they are read for the first time.
    first: Mutex<Option<Reader<'a>>>,
}

impl<'a> Streamed<'a> {
    /// Takes a sample; nothing is read.
    #[must_use]
    pub fn new(sample: Sample<'a>, progress: &'a Progress) -> Self {
        let manifest = sample.dump.manifest();
        let shapes = vec![manifest.layer_shape(sample.index); manifest.layers.len()];
        Self { sample, shapes, progress, first: Mutex::new(None) }
    }

    /// The same layers. When they are read for the first time, `reader` takes each of them, too, in order, while it is computed.
    #[must_use]
    pub fn read_by(self, reader: Reader<'a>) -> Self {
        Self { first: Mutex::new(Some(reader)), ..self }
    }

    fn ordinals(&self) -> impl Iterator<Item = LayerOrdinal> + use<> {
        (0..self.shapes.len()).map(LayerOrdinal)
    }

    /// Maps a layer and reads every value of it.
    fn read(&self, ordinal: LayerOrdinal) -> Result<Arc<DumpLayer>> {
        let layer = self.sample.dump.layer(self.sample.index, ordinal)?;
        layer.problem()?;
        Ok(Arc::new(layer))
    }

    /// Reads the layers in order and hands each on. Ends early once nothing receives them.
    fn read_all(&self, layers: &SyncSender<Result<Arc<DumpLayer>>>) -> Result<()> {
        let first = self.first.lock().expect("nothing panics here").take();
        for ordinal in self.ordinals() {
            let layer = self.progress.read(|| self.read(ordinal));
            let read = layer.as_ref().ok().cloned();
            let (Ok(()), Some(layer)) = (layers.send(layer), read) else { break };
            first.map_or(Ok(()), |first| first(&layer))?;
        }
        Ok(())
    }
}

impl Layers for Streamed<'_> {
    type Error = anyhow::Error;

    fn shapes(&self) -> &[LayerShape] {
        &self.shapes
    }

    /// In order. While one layer is computed the next is read: two are mapped at a time.
    fn each<T: Send>(
        &self,
        scores: &[Score],
        visit: impl Fn(LayerOrdinal, &dyn PreparedLayer) -> Result<T, Error> + Sync,
    ) -> Result<Vec<T>> {
        thread::scope(|scope| {
            let (send, receive) = mpsc::sync_channel(0);
            let reader = scope.spawn(move || self.read_all(&send));
            let visit = |ordinal| {
                let layer = self.progress.wait(|| receive.recv()).context("the reader has stopped")??;
                let problem = layer.problem()?;
                let name = || format!("sample {}, layer {}", self.sample.name(), problem.layer());
                let mut prepared = self.sample.backend.prepare(&problem).with_context(name)?;
                prepared.share(scores);
                let result = visit(ordinal, prepared.as_ref()).with_context(name)?;
                self.progress.step();
                Ok(result)
            };
            let results: Result<Vec<T>> = self.ordinals().map(visit).collect();
            drop(receive);
            let read = reader.join().expect("the reader does not panic");
            results.and_then(|results| read.map(|()| results))
        })
    }

    /// One layer per thread.
    fn at_once<T: Send>(
        &self,
        visit: impl Fn(LayerOrdinal, &dyn PreparedLayer) -> Result<T, Error> + Sync,
    ) -> Result<Vec<T>> {
        let visit = |ordinal: usize| {
            let layer = self.sample.dump.layer(self.sample.index, LayerOrdinal(ordinal))?;
            let problem = layer.problem()?;
            let name = || format!("sample {}, layer {}", self.sample.name(), problem.layer());
            let prepared = self.sample.backend.prepare(&problem).with_context(name)?;
            visit(LayerOrdinal(ordinal), prepared.as_ref()).with_context(name)
        };
        // The first error, whichever thread met it.
        let results: Vec<Result<T>> = (0..self.shapes.len()).into_par_iter().map(visit).collect();
        results.into_iter().collect()
    }

    fn lacks(&self, supplement: Supplement) -> Option<String> {
        let file = missing(self.sample.dump, self.sample.index, supplement)?;
        Some(format!("expected {}, found nothing ({})", file.display(), supplement.written_by()))
    }

    fn given_scores(&self, policy: &Policy) -> Result<Vec<HeadScores>> {
        given::scores(self.sample.given, &self.sample.set_sizes(), policy)
    }

    fn given_set(&self, policy: &Policy) -> Result<RetainedSet> {
        given::set(self.sample.given, &self.sample.set_sizes(), policy)
    }
}

impl Tasks for Streamed<'_> {
    fn run(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        Threads.run(count, task);
    }
}
