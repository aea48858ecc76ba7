//! The source of a pipeline's layers, and of scores and sets that were made for them elsewhere. [`InMemory`] holds them all; other implementations stream them, one at a time.

use std::sync::OnceLock;

use crate::backend::{Backend, PreparedLayer};
use crate::error::{Error, Result};
use crate::policy::Policy;
use crate::problem::LayerProblem;
use crate::quantity::Supplement;
use crate::retained::RetainedSet;
use crate::score::Score;
use crate::scores::HeadScores;
use crate::shape::{LayerOrdinal, LayerShape};
use crate::tasks::{self, Tasks};

/// The layers of one context: streamed from a dump, or in memory.
pub trait Layers: Tasks {
    /// The errors of reading layers, and of the stages.
    type Error: From<Error>;

    /// The sizes of each layer; there is at least one.
    fn shapes(&self) -> &[LayerShape];

    /// Visits each layer once, prepared for `scores`, in any order. The results are in the order of the layers.
    ///
    /// # Errors
    /// When a layer cannot be read or prepared, or a visit fails.
    fn each<T: Send>(
        &self,
        scores: &[Score],
        visit: impl Fn(LayerOrdinal, &dyn PreparedLayer) -> Result<T> + Sync,
    ) -> Result<Vec<T>, Self::Error>;

    /// Visits each layer once, several at the same time. The results are in the order of the layers.
    ///
    /// # Errors
    /// As [`Layers::each`].
    fn at_once<T: Send>(
        &self,
        visit: impl Fn(LayerOrdinal, &dyn PreparedLayer) -> Result<T> + Sync,
    ) -> Result<Vec<T>, Self::Error>;

    /// Why a tensor that some policies read is not in every layer, if that is known before the layers are read.
    fn lacks(&self, _supplement: Supplement) -> Option<String> {
        None
    }

    /// Scores of every layer that were made elsewhere, by the name of a policy.
    ///
    /// # Errors
    /// When there are none, or they cannot be read.
    fn given_scores(&self, policy: &Policy) -> Result<Vec<HeadScores>, Self::Error> {
        Err(policy.refused("no scores of this name came with the layers").into())
    }

    /// A set that was made elsewhere, by the name of a policy.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    fn given_set(&self, policy: &Policy) -> Result<RetainedSet, Self::Error> {
        Err(policy.refused("no set of this name came with the layers").into())
    }
}

/// Layers that are in memory together, prepared at the first visit.
pub struct InMemory<'a, T> {
    backend: &'a dyn Backend,
    problems: Vec<LayerProblem<'a>>,
    shapes: Vec<LayerShape>,
    prepared: OnceLock<Vec<Box<dyn PreparedLayer + 'a>>>,
    tasks: T,
}

impl<'a, T: Tasks> InMemory<'a, T> {
    /// Takes layers, the backend that prepares them, and the tasks that visit them.
    ///
    /// # Errors
    /// [`Error::Shape`] when there is no layer.
    pub fn new(backend: &'a dyn Backend, problems: Vec<LayerProblem<'a>>, tasks: T) -> Result<Self> {
        if problems.is_empty() {
            return Err(Error::shape("layers", "at least one", "none"));
        }
        let shapes = problems.iter().map(LayerProblem::shape).collect();
        Ok(Self { backend, problems, shapes, prepared: OnceLock::new(), tasks })
    }

    /// The prepared layers. Only the first visit announces its `scores` to them.
    fn prepared(&self, scores: &[Score]) -> Result<Vec<&dyn PreparedLayer>> {
        if self.prepared.get().is_none() {
            let prepared = tasks::all(&self.tasks, self.problems.len(), |index| {
                let mut layer = self.backend.prepare(&self.problems[index])?;
                layer.share(scores);
                Ok(layer)
            })?;
            self.prepared.get_or_init(|| prepared);
        }
        let prepared = self.prepared.get().into_iter().flatten();
        Ok(prepared.map(|layer| layer.as_ref() as &dyn PreparedLayer).collect())
    }
}

impl<T: Tasks> Tasks for InMemory<'_, T> {
    fn run(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        self.tasks.run(count, task);
    }
}

impl<T: Tasks> Layers for InMemory<'_, T> {
    type Error = Error;

    fn shapes(&self) -> &[LayerShape] {
        &self.shapes
    }

    fn each<R: Send>(
        &self,
        scores: &[Score],
        visit: impl Fn(LayerOrdinal, &dyn PreparedLayer) -> Result<R> + Sync,
    ) -> Result<Vec<R>> {
        let layers = self.prepared(scores)?;
        tasks::all(&self.tasks, layers.len(), |index| visit(LayerOrdinal(index), layers[index]))
    }

    fn at_once<R: Send>(
        &self,
        visit: impl Fn(LayerOrdinal, &dyn PreparedLayer) -> Result<R> + Sync,
    ) -> Result<Vec<R>> {
        self.each(&[], visit)
    }
}
