//! Statistics over prompts and samples, worked out by hand.

mod bootstrap;
mod correlation;
mod coverage;
mod group;
mod spearman;
mod wilcoxon;
