//! `laprox synth`

use anyhow::Result;
use laprox_fixtures::{Precision, SynthConfig, synthesize};

use crate::cli::{Common, DumpPrecision, Synth};
use crate::output::refuse_existing;
use crate::progress::Progress;

impl From<DumpPrecision> for Precision {
    fn from(precision: DumpPrecision) -> Self {
        match precision {
            DumpPrecision::F16 => Self::F16,
            DumpPrecision::F32 => Self::F32,
        }
    }
}

/// Writes a synthetic dump.
pub(super) fn run(arguments: &Synth, common: &Common) -> Result<()> {
    refuse_existing(&arguments.out, common.force)?;
    let config = SynthConfig {
        layers: arguments.layers,
        heads: arguments.heads,
        kv_heads: arguments.kv_heads,
        head_dim: arguments.head_dim,
        hidden_size: arguments.hidden_size,
        context: arguments.context,
        window: arguments.window,
        future: arguments.future,
        seed: common.seed,
        precision: arguments.precision.into(),
    };
    let elements: usize = config.manifest().files().map(|file| file.shape.iter().product::<usize>()).sum();
    let progress = Progress::new("writing", elements as u64);
    synthesize(&arguments.out, &config, common.force, |written| progress.advance(written as u64))?;
    Ok(())
}
