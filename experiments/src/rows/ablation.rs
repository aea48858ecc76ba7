//! The rows of an ablation.

use std::path::Path;

use laprox_reference::{Allocation, Budget, CandidatesPerHead, Form, OutputError, OutputErrors, Policy};
use serde::{Deserialize, Serialize};

use super::name::PolicyName;
use super::objective::{Objective, each_layer_and_all, in_form};
use super::row::Row;
use super::spelling::{self, FormName};
use crate::policies::is_read;
use crate::sample::Sample;

/// One number of a comparison: an objective, in one form, over one layer or all of them.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct AblationRow {
    /// The dump's model.
    pub model: String,
    /// The name of the dump's folder.
    pub dump: String,
    /// The sample.
    pub sample: String,
    /// `n`, the sample's context.
    pub context: usize,
    /// The policy.
    pub policy: PolicyName,
    /// The policy under its default allocation.
    pub score: PolicyName,
    /// The allocation; `-` for a policy that has none.
    #[serde(with = "allocation")]
    pub allocation: Option<Allocation>,
    /// The option `gqa`; empty for a policy without it, as the next three are.
    pub gqa: String,
    /// The option `pool`.
    pub pool: String,
    /// The option `norm`, if the allocation reads it.
    pub norm: String,
    /// The option `window`.
    pub window: String,
    /// The budget as asked for.
    #[serde(with = "spelling")]
    pub budget: Budget,
    /// Entries kept per KV head on average.
    pub entries_per_head: usize,
    /// The objective.
    pub objective: Objective,
    /// The form.
    #[serde(with = "FormName")]
    pub form: Form,
    /// The layer's number; empty for all layers together.
    pub layer: Option<usize>,
    /// `norm(O_hat - O) / norm(O)`.
    pub relative_error: f64,
    /// `norm(O_hat - O)^2`.
    pub squared_error: f64,
    /// `norm(O)^2`.
    pub squared_norm: f64,
}

impl AblationRow {
    /// Whether the row is about the output of all layers together: the one that tables show.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.layer.is_none() && self.form == Form::LayerWise
    }
}

impl Row for AblationRow {
    const KEY: &'static [&'static str] =
        &["model", "dump", "sample", "policy", "budget", "objective", "form", "layer"];
    const FINITE: &'static [&'static str] = &["relative_error"];
}

/// The rows of an eviction of a sample that keeps `per_head` candidates per KV head: those of each layer, then those of
/// all layers together.
#[must_use]
pub fn of_eviction(
    sample: &Sample<'_>,
    policy: &Policy,
    (budget, per_head): (Budget, CandidatesPerHead),
    errors: &[OutputErrors],
) -> Vec<AblationRow> {
    let option = |key| option_of(policy, key).unwrap_or_default();
    let row = |layer, objective, form, error: OutputError| AblationRow {
        model: sample.dump.manifest().model.name.clone(),
        dump: folder_name(sample.dump.path()),
        sample: sample.name().to_owned(),
        context: sample.context_len(),
        policy: policy.into(),
        score: (&policy.with_default_allocation()).into(),
        allocation: policy.has_option("allocation").then(|| policy.options().allocation),
        gqa: option("gqa"),
        pool: option("pool"),
        norm: option("norm"),
        window: option("window"),
        budget,
        entries_per_head: per_head.with_window(sample.window_len()).0,
        objective,
        form,
        layer,
        relative_error: error.relative(),
        squared_error: error.squared_error,
        squared_norm: error.squared_norm,
    };
    let mut rows = Vec::new();
    for (layer, errors) in each_layer_and_all(&sample.dump.manifest().layers, errors) {
        for objective in Objective::ALL {
            let Some(error) = objective.of(&errors) else { continue };
            let forms = [Form::LayerWise, Form::HeadWise];
            rows.extend(forms.map(|form| row(layer, objective, form, in_form(error, form))));
        }
    }
    rows
}

/// An option's value, if the policy has the option and its allocation reads it.
fn option_of(policy: &Policy, key: &str) -> Option<String> {
    let option = policy.entry().options.keys().into_iter().find(|option| option.name() == key)?;
    is_read(&option, policy.options().allocation).then(|| option.get(policy.options()))
}

/// The last part of a path: it tells dumps apart in a table, wherever they lie.
fn folder_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// An allocation by name, or `-`.
pub(crate) mod allocation {
    use laprox_reference::Allocation;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn name(allocation: Option<Allocation>) -> &'static str {
        allocation.map_or("-", Allocation::name)
    }

    pub(crate) fn serialize<S: Serializer>(
        allocation: &Option<Allocation>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(name(*allocation))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Allocation>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut known = Allocation::ALL.into_iter().map(Some).chain([None]);
        let found = known.find(|&allocation| name(allocation) == text);
        found.ok_or_else(|| Error::custom(format!("allocation '{text}': no such rule")))
    }
}
