//! `laprox policies`

use anyhow::Result;
use laprox_reference::{Allocation, OptionKey, POLICIES, Parameter, PolicyEntry};
use serde::Serialize;

use crate::cli::Common;
use crate::output::{Sink, pretty};
use crate::policies::is_read;
use crate::table::Table;

/// All policies and allocations.
#[derive(Serialize)]
struct Listed {
    policies: Vec<ListedPolicy>,
    allocations: Vec<ListedAllocation>,
}

#[derive(Serialize)]
struct ListedPolicy {
    name: &'static str,
    formula: &'static str,
    /// Every option with its default, except for those that the default allocation does not read.
    defaults: String,
    source: &'static str,
    caveat: &'static str,
    /// The tensors that it reads and that a dump may lack.
    needs: Vec<&'static str>,
}

#[derive(Serialize)]
struct ListedAllocation {
    name: &'static str,
    rule: &'static str,
    /// Its own options with their defaults.
    defaults: String,
    source: &'static str,
}

/// Prints the tables of policies and of allocations.
pub(super) fn run(common: &Common) -> Result<()> {
    let listed = Listed {
        policies: POLICIES.iter().map(list).collect(),
        allocations: Allocation::ALL.into_iter().map(list_allocation).collect(),
    };
    Sink::Stdout.write(&if common.json { pretty(&listed)? } else { text(&listed) })
}

fn text(listed: &Listed) -> String {
    let mut policies = Table::of_labels(["policy", "score", "defaults", "source"]);
    for policy in &listed.policies {
        policies.push([policy.name, policy.formula, &policy.defaults, policy.source], vec![]);
    }
    let mut allocations = Table::of_labels(["allocation", "rule", "defaults", "source"]);
    for allocation in &listed.allocations {
        allocations.push([allocation.name, allocation.rule, &allocation.defaults, allocation.source], vec![]);
    }
    let caveats: Vec<&str> =
        listed.policies.iter().map(|policy| policy.caveat).filter(|caveat| !caveat.is_empty()).collect();
    let reading = listed.policies.iter().filter(|policy| !policy.needs.is_empty());
    let needs = reading.map(|policy| {
        format!("{} reads {} of a capture, which other dumps may lack.", policy.name, policy.needs.join(", "))
    });
    let foot: Vec<String> = caveats.into_iter().map(str::to_owned).chain(needs).collect();
    format!("{policies}\n\n{}\n\n{allocations}\n", foot.join("\n"))
}

fn list(entry: &'static PolicyEntry) -> ListedPolicy {
    let read = |key: &OptionKey| is_read(key, entry.defaults.allocation);
    let defaults = entry.options.keys().into_iter().filter(read);
    let defaults = defaults.map(|key| format!("{}={}", key.name(), key.get(&entry.defaults)));
    ListedPolicy {
        name: entry.name,
        formula: entry.formula,
        defaults: defaults.collect::<Vec<_>>().join(","),
        source: entry.source,
        caveat: entry.caveat,
        needs: entry.needs().iter().map(|supplement| supplement.name()).collect(),
    }
}

fn list_allocation(allocation: Allocation) -> ListedAllocation {
    let number = |parameter: &&Parameter| format!("{}={}", parameter.name, parameter.default);
    let entry = allocation.entry();
    let mut defaults: Vec<String> = entry.parameters.iter().map(number).collect();
    if allocation.normalises() {
        defaults.push("norm=sum".into());
    }
    ListedAllocation {
        name: entry.name,
        rule: entry.formula,
        defaults: defaults.join(","),
        source: entry.source,
    }
}
