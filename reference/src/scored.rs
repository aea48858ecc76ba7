//! Scores between the stages *score* and *cut*: in the host's memory, or left on the device that computed them.

use std::any::Any;
use std::sync::OnceLock;

use crate::error::Result;
use crate::scores::{HeadScores, ModelScores};
use crate::statistic::Statistic;

/// One layer's scores.
pub enum LayerScores {
    /// In the host's memory.
    Host(HeadScores),
    /// On a device.
    Device(Box<dyn OnDevice>),
}

/// One layer's scores on a device.
pub trait OnDevice: Any + Send + Sync {
    /// The same scores in the host's memory.
    ///
    /// # Errors
    /// [`crate::Error::Score`] names a candidate whose score is NaN or infinite; [`crate::Error::Path`] when the device
    /// fails.
    fn download(&self) -> Result<HeadScores>;
}

impl LayerScores {
    /// The scores in the host's memory.
    ///
    /// # Errors
    /// As [`OnDevice::download`].
    pub fn into_host(self) -> Result<HeadScores> {
        match self {
            Self::Host(scores) => Ok(scores),
            Self::Device(scores) => scores.download(),
        }
    }
}

/// One sample's scores over all its layers, with the statistics that its allocations want.
pub struct Scored {
    window_len: usize,
    statistics: Vec<(Statistic, Vec<f64>)>,
    /// All layers, or empty if the scores are on the host.
    device: Vec<Box<dyn OnDevice>>,
    host: OnceLock<ModelScores>,
}

impl Scored {
    /// Joins the layers' scores. They stay on the device if all of them lie there.
    ///
    /// # Errors
    /// As [`ModelScores::new`], [`ModelScores::with`] and [`OnDevice::download`].
    pub fn new(
        layers: Vec<LayerScores>,
        statistics: Vec<(Statistic, Vec<f64>)>,
        window_len: usize,
    ) -> Result<Self> {
        let is_on_device = |layer: &LayerScores| matches!(layer, LayerScores::Device(_));
        if layers.is_empty() || !layers.iter().all(is_on_device) {
            let host = model(layers.into_iter().map(LayerScores::into_host), &statistics)?.into();
            return Ok(Self { window_len, statistics, device: Vec::new(), host });
        }
        let device = layers.into_iter().filter_map(|layer| match layer {
            LayerScores::Device(scores) => Some(scores),
            LayerScores::Host(_) => None,
        });
        Ok(Self { window_len, statistics, device: device.collect(), host: OnceLock::new() })
    }

    /// Scores in the host's memory.
    #[must_use]
    pub fn of_host(scores: ModelScores, window_len: usize) -> Self {
        Self { window_len, statistics: Vec::new(), device: Vec::new(), host: scores.into() }
    }

    /// `w` of every layer.
    #[must_use]
    pub fn window_len(&self) -> usize {
        self.window_len
    }

    /// The scores in the host's memory, copied there at the first call.
    ///
    /// # Errors
    /// As [`OnDevice::download`].
    pub fn on_host(&self) -> Result<&ModelScores> {
        if let Some(scores) = self.host.get() {
            return Ok(scores);
        }
        let scores = model(self.device.iter().map(|layer| layer.download()), &self.statistics)?;
        Ok(self.host.get_or_init(|| scores))
    }

    /// The layers' scores on a device, as the caller's own type; `None` if any lies elsewhere.
    #[must_use]
    pub fn on_device<T: OnDevice>(&self) -> Option<Vec<&T>> {
        if self.device.is_empty() {
            return None;
        }
        self.device.iter().map(|layer| (layer.as_ref() as &dyn Any).downcast_ref()).collect()
    }
}

/// The layers' scores with their statistics.
fn model(
    layers: impl Iterator<Item = Result<HeadScores>>,
    statistics: &[(Statistic, Vec<f64>)],
) -> Result<ModelScores> {
    let scores = ModelScores::new(layers.collect::<Result<_, _>>()?)?;
    let mut statistics = statistics.iter();
    statistics.try_fold(scores, |scores, (statistic, of_layers)| scores.with(*statistic, of_layers.clone()))
}
