//! Statistics over prompts and samples, worked out by hand.

mod bootstrap;
mod correlation;
mod group;
mod spearman;
mod wilcoxon;
