//! The bounds B1 to B10 on sets of several layers. One layer is in memory at a time.

use laprox_reference::bounds::{Bound, Case, Check, Draws, LayerPairs};
use laprox_reference::layer::Layer;
use laprox_reference::{Error, LayerOrdinal, Layers, RetainedSet};
use rayon::prelude::*;

/// Every bound of every set, layer by layer: `[layer]`, each with the index of the set that it is about.
///
/// # Errors
/// When a layer or a set is refused; [`Error::Range`] when f64 does not hold a side of a bound.
pub fn evaluate<L: Layers>(
    layers: &L,
    sets: &[&RetainedSet],
    draws: Draws,
    checks: &[Check],
) -> Result<Vec<Vec<(usize, Bound)>>, L::Error> {
    layers.each(&[], |ordinal, layer| of_layer(layer.reference()?, ordinal, sets, draws, checks))
}

fn of_layer(
    layer: &Layer,
    ordinal: LayerOrdinal,
    sets: &[&RetainedSet],
    draws: Draws,
    checks: &[Check],
) -> Result<Vec<(usize, Bound)>, Error> {
    let pairs = LayerPairs::new(layer)?;
    let case = |set: &&RetainedSet| Case::new(&pairs, set.layer(ordinal), draws);
    let cases = sets.par_iter().map(case).collect::<Result<Vec<_>, _>>()?;
    let tasks: Vec<_> =
        cases.iter().enumerate().flat_map(|task| checks.iter().map(move |&check| (task, check))).collect();
    let evaluate = |((set, case), check): ((usize, &Case<'_>), Check)| -> Vec<_> {
        check(case).into_iter().map(|bound| Ok((set, bound.finite(layer.index)?))).collect()
    };
    let bounds: Vec<Result<_, Error>> = tasks.into_par_iter().flat_map_iter(evaluate).collect();
    bounds.into_iter().collect()
}
