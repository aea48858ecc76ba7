//! How long the oracles of a command search, and the line about a search that ended early.

use std::time::Duration;

use crate::progress::note;
use clap::Args;
use laprox_reference::{Oracle, Policy, Rule, Searched, Searching};

/// The longest search that can be asked for, in seconds.
const A_YEAR: u64 = 365 * 24 * 60 * 60;

/// The limit of a command's searches.
#[derive(Args, Clone, Copy, Debug)]
pub struct SearchLimit {
    /// Stop an oracle's search after S seconds per budget, with the set and the bound found by then; otherwise it ends at the
    /// limits that `laprox policies` states.
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(..=A_YEAR))]
    pub seconds: Option<u64>,
}

impl SearchLimit {
    /// Searches within the limit. One line on stderr says which of them ended early.
    #[must_use]
    pub fn searching(self) -> Searching<'static> {
        let limit = self.seconds.map(Duration::from_secs);
        Searching {
            limit,
            found: if limit.is_some() { &say_unfinished } else { &say_unexpected },
            ..Searching::FREE
        }
    }
}

/// A certified search promises no more than its nodes, so their end is no news.
fn say_unexpected(policy: &Policy, searched: &Searched) {
    if !matches!(policy.rule(), Rule::Oracle(Oracle::Certified | Oracle::Future)) {
        say_unfinished(policy, searched);
    }
}

/// Says that searches ended at a limit.
fn say_unfinished(policy: &Policy, searched: &Searched) {
    let unfinished = searched.ended.iter().filter(|ended| !**ended).count();
    if unfinished > 0 {
        let of = searched.ended.len();
        note(format_args!(
            "{policy}: {unfinished} of {of} searches ended at a limit, each with the best set found by then"
        ));
    }
}
