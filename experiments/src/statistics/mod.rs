//! Statistics over several samples: intervals, paired tests and rank correlations.

pub mod bootstrap;
mod estimate;
pub mod spearman;
pub mod wilcoxon;

pub use estimate::Estimate;
