//! Runs the units that are missing and puts the results together.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result};
use laprox_fixtures::Dump;
use laprox_reference::{Backend, Searching};

use super::comparison::Comparison;
use super::unit::{self, Unit};
use crate::given::Given;
use crate::journal::Journal;
use crate::progress::Progress;
use crate::rows::AblationRow;
use crate::sample::Sample;

/// A comparison on the samples of dumps, and the units that it falls into.
pub struct Results<'a> {
    comparison: &'a Comparison,
    samples: Vec<Sample<'a>>,
    groups: Vec<Vec<usize>>,
    seed: u64,
    searching: Searching<'static>,
}

impl<'a> Results<'a> {
    /// Divides the work.
    #[must_use]
    pub fn new(
        comparison: &'a Comparison,
        dumps: &'a [Dump],
        backend: &'a dyn Backend,
        given: &'a [Given],
        seed: u64,
    ) -> Self {
        let samples = unit::samples(dumps, comparison, backend, given);
        let groups = unit::groups(&comparison.policies);
        Self { comparison, samples, groups, seed, searching: Searching::FREE }
    }

    /// The same with limits to the oracles' searches.
    #[must_use]
    pub fn searching(self, searching: Searching<'static>) -> Self {
        Self { searching, ..self }
    }

    /// The samples that are compared on.
    #[must_use]
    pub fn samples(&self) -> &[Sample<'a>] {
        &self.samples
    }

    /// The budgets that do not exceed a sample's window, in words; one line per sample that lacks some.
    #[must_use]
    pub fn left_out(&self) -> Vec<String> {
        let of_sample = |sample: &Sample<'_>| {
            let fits = self.comparison.budgets_of(sample);
            let missing: Vec<String> = self
                .comparison
                .budgets
                .iter()
                .filter(|budget| !fits.iter().any(|(other, _)| other == *budget))
                .map(ToString::to_string)
                .collect();
            let (n, w) = (sample.context_len(), sample.window_len());
            (!missing.is_empty()).then(|| {
                format!(
                    "{}: {} of {n} left out, not more than the window of {w}",
                    sample.name(),
                    missing.join(", ")
                )
            })
        };
        self.samples.iter().filter_map(of_sample).collect()
    }

    /// Computes every unit that the journal lacks, `jobs` at a time, each with one layer in memory.
    ///
    /// # Errors
    /// The first error of a unit; units that are finished by then stay in the journal.
    pub fn compute(&self, journal: &Journal<'_, AblationRow>, jobs: usize) -> Result<()> {
        let mut missing = Vec::new();
        for unit in self.units() {
            if journal.read(&unit.name()).is_none() {
                missing.push(unit);
            }
        }
        let layers = |unit: &Unit| 2 * self.samples[unit.sample].dump.manifest().layers.len() as u64;
        let progress = Progress::new("comparing", missing.iter().map(layers).sum());
        let next = AtomicUsize::new(0);
        let work = || -> Result<()> {
            while let Some(&unit) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                let outcome =
                    self.rows_of(unit, &progress).and_then(|rows| journal.write(&unit.name(), rows));
                outcome.inspect_err(|_| next.store(missing.len(), Ordering::Relaxed))?;
            }
            Ok(())
        };
        thread::scope(|scope| {
            let workers: Vec<_> =
                (0..jobs.clamp(1, missing.len().max(1))).map(|_| scope.spawn(work)).collect();
            let outcomes = workers.into_iter().map(|worker| worker.join().expect("a panic is a bug"));
            outcomes.collect::<Vec<_>>().into_iter().collect()
        })
    }

    /// All rows: sample by sample, and policy by policy in the order of the comparison.
    ///
    /// # Errors
    /// When a unit is missing or cannot be read.
    pub fn rows(&self, journal: &Journal<'_, AblationRow>) -> Result<Vec<AblationRow>> {
        let mut rows = Vec::new();
        for sample in 0..self.samples.len() {
            let mut of_sample = Vec::new();
            for (group, policies) in self.groups.iter().enumerate() {
                let unit = journal.read(&Unit { sample, group }.name());
                let unit = unit.with_context(|| format!("unit {sample}-{group}: not computed"))?;
                // Policy by policy, equally many rows each.
                let each = (unit.len() / policies.len()).max(1);
                of_sample.extend(policies.iter().zip(unit.chunks(each).map(<[AblationRow]>::to_vec)));
            }
            of_sample.sort_by_key(|(policy, _)| *policy);
            rows.extend(of_sample.into_iter().flat_map(|(_, rows)| rows));
        }
        Ok(rows)
    }

    /// What each unit computes from, beside the configuration and the contents of the dumps: rows name the dump's folder.
    pub fn identities(&self) -> impl Iterator<Item = String> {
        self.units().map(|unit| {
            let sample = &self.samples[unit.sample];
            let dump = sample.dump.path().file_name().unwrap_or_default();
            format!("{} {} {}", unit.name(), dump.display(), sample.name())
        })
    }

    fn units(&self) -> impl Iterator<Item = Unit> {
        let groups = self.groups.len();
        (0..self.samples.len()).flat_map(move |sample| (0..groups).map(move |group| Unit { sample, group }))
    }

    fn rows_of(&self, unit: Unit, progress: &Progress) -> Result<Vec<AblationRow>> {
        let (sample, group) = (&self.samples[unit.sample], &self.groups[unit.group]);
        let rows = unit::rows(self.comparison, sample, group, self.seed, &self.searching, progress);
        rows.context(sample.name().to_owned())
    }
}
