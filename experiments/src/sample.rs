//! One sample of a dump as [`Layers`]: streamed, one layer in memory at a time.

use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result};
use laprox_fixtures::{Dump, DumpLayer};
use laprox_reference::{Backend, Error, LayerOrdinal, LayerShape, Layers, PreparedLayer, Score, Tasks};
use rayon::prelude::*;

use crate::progress::Progress;
use crate::seed::seed_of;
use crate::threads::Threads;

/// One sample of a dump, and the path that computes on it.
#[derive(Clone, Copy)]
pub struct Sample<'a> {
    /// The activations.
    pub dump: &'a Dump,
    /// The sample's index in the dump.
    pub index: usize,
    /// The path.
    pub backend: &'a dyn Backend,
}

impl<'a> Sample<'a> {
    /// The sample's name in the dump.
    #[must_use]
    pub fn name(&self) -> &'a str {
        &self.dump.manifest().samples[self.index].name
    }

    /// `n`.
    #[must_use]
    pub fn context_len(&self) -> usize {
        self.dump.manifest().samples[self.index].context
    }

    /// `w`.
    #[must_use]
    pub fn window_len(&self) -> usize {
        self.dump.manifest().window
    }

    /// The seed of this sample's draws: `seed` mixed with the sample's name.
    #[must_use]
    pub fn seed(&self, seed: u64) -> u64 {
        seed_of(self.name(), seed)
    }

    /// The sample's layers; each visit of one is a step of `progress`.
    #[must_use]
    pub fn layers(self, progress: &'a Progress) -> SampleLayers<'a> {
        let shape = self.dump.manifest().layer_shape(self.index);
        SampleLayers { shapes: vec![shape; self.dump.manifest().layers.len()], sample: self, progress }
    }
}

/// The layers of a sample.
pub struct SampleLayers<'a> {
    sample: Sample<'a>,
    shapes: Vec<LayerShape>,
    progress: &'a Progress,
}

impl SampleLayers<'_> {
    fn ordinals(&self) -> impl Iterator<Item = LayerOrdinal> + use<> {
        (0..self.shapes.len()).map(LayerOrdinal)
    }

    /// Maps a layer and reads every value of it.
    fn read(&self, ordinal: LayerOrdinal) -> Result<DumpLayer> {
        let layer = self.sample.dump.layer(self.sample.index, ordinal)?;
        layer.problem()?;
        Ok(layer)
    }
}

impl Layers for SampleLayers<'_> {
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
            let read = self.ordinals().map(|ordinal| self.progress.read(|| self.read(ordinal)));
            // A send fails once the receiver has failed, which reports its own error.
            scope.spawn(move || read.map_while(|layer| send.send(layer).ok()).for_each(drop));
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
            self.ordinals().map(visit).collect()
        })
    }

    fn together<T>(&self, visit: impl FnOnce(&[&dyn PreparedLayer]) -> Result<T, Error>) -> Result<T> {
        let layers = self.ordinals().map(|ordinal| self.sample.dump.layer(self.sample.index, ordinal));
        let layers = layers.collect::<Result<Vec<_>, _>>()?;
        let problems = layers.iter().map(DumpLayer::problem).collect::<Result<Vec<_>, _>>()?;
        let prepared = problems.par_iter().map(|problem| self.sample.backend.prepare(problem));
        let prepared = prepared.collect::<Result<Vec<_>, _>>()?;
        Ok(visit(&prepared.iter().map(AsRef::as_ref).collect::<Vec<_>>())?)
    }
}

impl Tasks for SampleLayers<'_> {
    fn run(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        Threads.run(count, task);
    }
}
