//! Rows of results, tidy for machines and pivoted for people.

use comfy_table::{Cell, Table, presets};
use laprox_reference::{Budget, ObjectiveError, OutputError, OutputErrors, Policy};
use serde::Serialize;

/// One number of a comparison: an objective, in one form, over one layer or all of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The dump's model.
    pub model: String,
    /// The sample.
    pub sample: String,
    /// The policy, with all that differs from its defaults.
    pub policy: String,
    /// The policy without its allocation.
    pub score: String,
    /// The allocation, spelt out; `-` where the policy has none.
    pub allocation: String,
    /// The budget as asked for.
    pub budget: String,
    /// Entries kept per KV head on average.
    pub entries_per_head: usize,
    /// `drop`, `renormalised` or `future`.
    pub objective: &'static str,
    /// `layer-wise` or `head-wise`.
    pub form: &'static str,
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
#[derive(Clone, Debug)]
pub struct Subject {
    /// The dump's model.
    pub model: String,
    /// The sample.
    pub sample: String,
    /// The policy.
    pub policy: Policy,
    /// The budget as asked for.
    pub budget: Budget,
    /// Entries kept per KV head on average.
    pub entries_per_head: usize,
}

/// The three objectives by name; `future` only where the dump holds later queries.
fn objectives(errors: &OutputErrors) -> impl Iterator<Item = (&'static str, ObjectiveError)> {
    let future = errors.future.map(|error| ("future", error));
    [("drop", errors.drop), ("renormalised", errors.renormalised)].into_iter().chain(future)
}

impl Subject {
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
            model: self.model.clone(),
            sample: self.sample.clone(),
            policy: self.policy.to_string(),
            score: self.policy.with_default_allocation().to_string(),
            allocation: allocation_name(&self.policy),
            budget: self.budget.to_string(),
            entries_per_head: self.entries_per_head,
            objective,
            form,
            layer,
            relative_error: error.relative(),
            squared_error: error.squared_error,
            squared_norm: error.squared_norm,
        }
    }
}

fn allocation_name(policy: &Policy) -> String {
    let option = policy.entry().options.iter().find(|option| option.name() == "allocation");
    option.map_or("-".into(), |option| option.get(policy.options()))
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
