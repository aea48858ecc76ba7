//! `laprox synth`

use anyhow::Result;
use laprox_fixtures::{SynthConfig, synthesize};

use super::inspect;
use crate::cli::{Common, Synth};
use crate::output::refuse_existing;
use crate::progress::Progress;

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
        precision: arguments.precision,
    };
    let elements: usize = config.manifest().files().map(|file| file.shape.iter().product::<usize>()).sum();
    let progress = Progress::new("writing", elements as u64);
    let dump = synthesize(&arguments.out, &config, common.force, |written| progress.advance(written as u64))?;
    drop(progress);
    if common.json { inspect::print(&dump, false, true) } else { Ok(()) }
}
