//! Shrunk: descends the centred quadratic form with its off-diagonal part shrunk ([`shrink`](crate::shrink)).

use crate::shrink::STEPS;
use crate::{Allocation, OptionKey, OptionList, PolicyEntry, PolicyOptions, Rule};

pub(super) const ENTRY: PolicyEntry = PolicyEntry {
    name: "shrunk",
    formula: "2 (M_rho x)_i + M_ii (1 - 2 x_i), M_rho = (1 - rho) M + rho Diag(M), M the centred quadratic form, x after `steps` Frank-Wolfe \
              steps from the set of the diagonal; rho=ledoit-wolf estimates it from the rows",
    source: "this project",
    caveat: "",
    rule: Rule::Shrunk,
    options: OptionList::Only(&[
        OptionKey::Allocation(&[Allocation::LAYER, Allocation::MODEL_RAW]),
        OptionKey::Rho,
        OptionKey::Number(&STEPS),
        OptionKey::Refit,
    ]),
    defaults: PolicyOptions { allocation: Allocation::MODEL_RAW, ..PolicyOptions::PLAIN },
};
