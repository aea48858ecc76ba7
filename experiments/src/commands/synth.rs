//! `laprox synth`

use anyhow::{Result, anyhow};
use laprox_fixtures::{SynthConfig, synthesize};

use super::inspect;
use crate::cli::{Common, Synth};
use crate::progress::Progress;

/// Writes a synthetic dump.
pub(super) fn run(arguments: &Synth, common: &Common) -> Result<()> {
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
    let manifest = config.manifest();
    manifest.validate().map_err(|violation| anyhow!("{}: {violation}", arguments.out.display()))?;
    let progress = Progress::new("writing", u64::try_from(manifest.element_count())?);
    let dump = synthesize(&arguments.out, &config, common.force, |written| progress.advance(written as u64))?;
    drop(progress);
    if common.json { inspect::print(&dump, false, true) } else { Ok(()) }
}
