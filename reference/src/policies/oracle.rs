//! The oracles as policies. They search for the best set; other policies rank.

use crate::{Allocation, OptionKey, OptionList, Oracle, PolicyEntry, PolicyOptions, Rule};

const PLAIN: PolicyEntry = PolicyEntry {
    name: "",
    formula: "",
    source: "this project",
    caveat: "",
    rule: Rule::Everything,
    options: OptionList::Only(&[
        OptionKey::Allocation(&[Allocation::LAYER, Allocation::MODEL]),
        OptionKey::Form,
        OptionKey::Refit,
    ]),
    defaults: PolicyOptions { allocation: Allocation::MODEL, ..PolicyOptions::PLAIN },
};

pub(super) const CERTIFIED: PolicyEntry = PolicyEntry {
    name: "oracle:certified",
    formula: "a set whose drop error is within a proven distance of the least possible one: convex relaxation, rounding, \
              swaps, best-first branching over at most `nodes` relaxations; convexify=yes tightens these by a dense factorisation \
              per layer",
    rule: Rule::Oracle(Oracle::Certified),
    options: OptionList::Only(&[
        OptionKey::Allocation(&[Allocation::LAYER, Allocation::MODEL]),
        OptionKey::Form,
        OptionKey::Refit,
        OptionKey::Nodes,
        OptionKey::Convexify,
    ]),
    ..PLAIN
};

pub(super) const BRANCH_AND_BOUND: PolicyEntry = PolicyEntry {
    name: "oracle:branch-and-bound",
    formula: "the set of least drop error, by branching; up to 512 candidates, and the best set of 4096 nodes where these do not \
              suffice",
    rule: Rule::Oracle(Oracle::BranchAndBound),
    ..PLAIN
};

pub(super) const EXHAUSTIVE: PolicyEntry = PolicyEntry {
    name: "oracle:exhaustive",
    formula: "the set of least drop error, by trying all of them; up to 24 candidates",
    rule: Rule::Oracle(Oracle::Exhaustive),
    ..PLAIN
};

pub(super) const RENORMALISED: PolicyEntry = PolicyEntry {
    name: "oracle:renormalised",
    formula: "a set whose renormalised error no swap among the most promising candidates lowers, layer by layer",
    rule: Rule::Oracle(Oracle::Renormalised),
    options: OptionList::Only(&[OptionKey::Form, OptionKey::Refit]),
    defaults: PolicyOptions { allocation: Allocation::LAYER, ..PolicyOptions::PLAIN },
    ..PLAIN
};

pub(super) const FUTURE: PolicyEntry = PolicyEntry {
    name: "oracle:future",
    formula: "oracle:certified with the later queries' attention in place of the window's",
    rule: Rule::Oracle(Oracle::Future),
    options: CERTIFIED.options,
    ..PLAIN
};
