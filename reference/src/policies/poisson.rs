//! Poisson: candidates drawn with probabilities by their scores, and weighed by them.
//!
//! The probabilities are proportional to the score of `centred`, the root of the expected square that a candidate adds to the error of the
//! linearised estimator: by Cauchy-Schwarz the choice of least variance, as `p / sum p` is for the draws of B4. The paper's
//! text was not at hand: which score it takes, and whether it draws a fixed number, is open. Here the number is fixed
//! ([`draw`](mod@crate::draw)). The allocation divides the budget before anything is drawn; with few draws in a head the estimate and its error
//! are poor, so by default every KV head draws alike.
//!
//! What a draw says about its own error is [`bounds::interval`](crate::bounds::interval).

use super::centred;
use crate::{OptionKey, OptionList, PolicyEntry, PolicyOptions, PoolStage, Rule};

pub(super) const ENTRY: PolicyEntry = PolicyEntry {
    name: "poisson",
    formula: "keeps i with probability pi_i = min(1, c s_i), s_i as centred, exactly the budget (pivotal method); logit bias ln(1 / pi_i)",
    source: "arXiv 2607.21475",
    caveat: "",
    rule: Rule::Draw(&centred::SCORE),
    options: OptionList::Drawing(&[OptionKey::Window, OptionKey::Pool(&[PoolStage::Score]), OptionKey::Seed]),
    defaults: PolicyOptions::PLAIN,
};
