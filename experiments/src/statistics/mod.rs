//! What a comparison over several samples may claim: intervals and paired tests.

pub mod bootstrap;
pub mod spearman;
mod summary;
pub mod wilcoxon;

pub use summary::{Statistic, summarise};
