//! Rows of results, tidy for machines and pivoted for people.

use std::borrow::Cow;
use std::path::Path;

use comfy_table::{Cell, Table, presets};
use laprox_reference::{
    Budget, CandidatesPerHead, EntriesPerHead, ObjectiveError, OutputError, OutputErrors, Policy,
};
use serde::{Deserialize, Serialize};

use crate::sample::Sample;

/// One number of a comparison: an objective, in one form, over one layer or all of them.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Row {
    /// The dump's model.
    pub model: String,
    /// The name of the dump's folder.
    pub dump: String,
    /// The sample.
    pub sample: String,
    /// `n`, the sample's context.
    pub context: usize,
    /// The policy, with all that differs from its defaults.
    pub policy: String,
    /// The policy without its allocation.
    pub score: String,
    /// The allocation, spelt out; `-` where the policy has none.
    pub allocation: String,
    /// The option `gqa`; empty where the policy has none, as for the next three.
    pub gqa: String,
    /// The option `pool`.
    pub pool: String,
    /// The option `norm`, where the allocation reads it.
    pub norm: String,
    /// The option `window`.
    pub window: String,
    /// The budget as asked for.
    pub budget: String,
    /// Entries kept per KV head on average.
    pub entries_per_head: usize,
    /// `drop`, `renormalised` or `future`.
    pub objective: Cow<'static, str>,
    /// `layer-wise` or `head-wise`.
    pub form: Cow<'static, str>,
    /// The layer's number; empty for all layers together.
    pub layer: Option<usize>,
    /// `norm(O_hat - O) / norm(O)`.
    pub relative_error: f64,
    /// `norm(O_hat - O)^2`.
    pub squared_error: f64,
    /// `norm(O)^2`.
    pub squared_norm: f64,
}

/// What a row's errors are the errors of.
#[derive(Clone)]
pub struct Subject<'a> {
    sample: &'a Sample<'a>,
    policy: Policy,
    budget: Budget,
    entries_per_head: EntriesPerHead,
}

/// The three objectives by name; `future` only where the dump holds later queries.
fn objectives(errors: &OutputErrors) -> impl Iterator<Item = (&'static str, ObjectiveError)> {
    let future = errors.future.map(|error| ("future", error));
    [("drop", errors.drop), ("renormalised", errors.renormalised)].into_iter().chain(future)
}

impl<'a> Subject<'a> {
    /// A policy on a sample at one budget.
    #[must_use]
    pub fn new(sample: &'a Sample<'a>, policy: Policy, budget: Budget, per_head: CandidatesPerHead) -> Self {
        Self { sample, policy, budget, entries_per_head: per_head.with_window(sample.window_len()) }
    }

    /// The rows of each layer (with its number), then those of all layers together.
    #[must_use]
    pub fn rows(&self, layers: &[usize], errors: &[OutputErrors]) -> Vec<Row> {
        let by_layer = layers.iter().zip(errors).map(|(&layer, &errors)| (Some(layer), errors));
        let total = OutputErrors::total(errors.iter().copied()).map(|total| (None, total));
        by_layer.chain(total).flat_map(|(layer, errors)| self.rows_of(layer, &errors)).collect()
    }

    fn rows_of(&self, layer: Option<usize>, errors: &OutputErrors) -> Vec<Row> {
        let forms = |(objective, error): (&'static str, ObjectiveError)| {
            [("layer-wise", error.layer_wise), ("head-wise", error.head_wise)]
                .map(|(form, error)| self.row(layer, objective, form, error))
        };
        objectives(errors).flat_map(forms).collect()
    }

    fn row(
        &self,
        layer: Option<usize>,
        objective: &'static str,
        form: &'static str,
        error: OutputError,
    ) -> Row {
        Row {
            model: self.sample.dump.manifest().model.name.clone(),
            dump: folder_name(self.sample.dump.path()),
            sample: self.sample.name().to_owned(),
            context: self.sample.context_len(),
            policy: self.policy.to_string(),
            score: self.policy.with_default_allocation().to_string(),
            allocation: option_of(&self.policy, "allocation").unwrap_or_else(|| "-".into()),
            gqa: option_of(&self.policy, "gqa").unwrap_or_default(),
            pool: option_of(&self.policy, "pool").unwrap_or_default(),
            norm: option_of(&self.policy, "norm").unwrap_or_default(),
            window: option_of(&self.policy, "window").unwrap_or_default(),
            budget: self.budget.to_string(),
            entries_per_head: self.entries_per_head.0,
            objective: objective.into(),
            form: form.into(),
            layer,
            relative_error: error.relative(),
            squared_error: error.squared_error,
            squared_norm: error.squared_norm,
        }
    }
}

/// An option's value, where the policy has it and its allocation reads it.
fn option_of(policy: &Policy, key: &str) -> Option<String> {
    let option = policy.entry().options.keys().into_iter().find(|option| option.name() == key)?;
    let read = option.allocations().is_none_or(|under| under.contains(&policy.options().allocation));
    read.then(|| option.get(policy.options()))
}

/// The last part of a path: what tells dumps apart in a table, wherever they lie.
fn folder_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// In what a dump limits these policies, a sentence each; none where in nothing.
#[must_use]
pub fn caveats<'a>(policies: impl IntoIterator<Item = &'a Policy>) -> Vec<&'static str> {
    let mut lines: Vec<&str> = Vec::new();
    for policy in policies {
        let caveat = policy.entry().caveat;
        if !caveat.is_empty() && !lines.contains(&caveat) {
            lines.push(caveat);
        }
    }
    lines
}

/// An empty Markdown table, which reads as well in a terminal as on a page.
pub fn table<T: Into<Cell>>(header: impl IntoIterator<Item = T>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header);
    table
}

/// The rows as CSV with a header.
///
/// # Errors
/// When a row cannot be serialised.
pub fn csv<T: Serialize>(rows: &[T]) -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.serialize(row)?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}
