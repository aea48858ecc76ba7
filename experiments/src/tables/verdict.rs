//! Whether a claim holds: three answers, and the interval that gives them.

use std::fmt;

use laprox_reference::Budget;
use serde::Serialize;

use super::measurements::{Measurements, Setting};
use super::{Author, Claim, Test};
use crate::rows::PolicyName;
use crate::statistics::Estimate;
use crate::statistics::bootstrap::{Stratum, TAIL, means};

/// The answer of an interval to a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// All of the interval is on the claim's side.
    Holds,
    /// None of it is.
    DoesNotHold,
    /// The interval covers the threshold, or there is none.
    Undecided,
}

/// The side of the threshold on which the claim lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Below.
    AtMost,
    /// Above.
    AtLeast,
}

impl Outcome {
    /// The answer of an interval; one that touches the threshold covers it.
    #[must_use]
    pub fn of(interval: Option<[f64; 2]>, threshold: f64, side: Side) -> Self {
        let Some([low, high]) = interval else { return Self::Undecided };
        match side {
            Side::AtMost if high < threshold => Self::Holds,
            Side::AtMost if low > threshold => Self::DoesNotHold,
            Side::AtLeast if low > threshold => Self::Holds,
            Side::AtLeast if high < threshold => Self::DoesNotHold,
            _ => Self::Undecided,
        }
    }

    /// The answer of a claim that has several parts: it holds if all of them do, and fails if any of them does.
    #[must_use]
    pub fn of_all(parts: impl IntoIterator<Item = Self>) -> Self {
        let parts: Vec<Self> = parts.into_iter().collect();
        if parts.contains(&Self::DoesNotHold) {
            Self::DoesNotHold
        } else if parts.is_empty() || parts.contains(&Self::Undecided) {
            Self::Undecided
        } else {
            Self::Holds
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Holds => "holds",
            Self::DoesNotHold => "does not hold",
            Self::Undecided => "undecided",
        })
    }
}

/// One claim on one model under one condition.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// The claim.
    pub claim: String,
    /// Its author.
    pub of: Author,
    /// The model.
    pub model: String,
    /// The condition; may be empty.
    pub condition: String,
    /// The answer.
    pub outcome: Outcome,
    /// The measure.
    pub measure: String,
    /// The statistic, in words.
    pub statistic: String,
    /// Its value, if it was measured.
    pub value: Option<f64>,
    /// Its interval.
    pub interval: Option<[f64; 2]>,
    /// The level of the interval.
    pub level: f64,
    /// The threshold.
    pub threshold: f64,
    /// The number of prompts or samples.
    pub units: usize,
    /// A remark; may be empty.
    pub remark: String,
}

/// The losses on one model under one condition.
#[derive(Clone, Debug)]
pub struct Group {
    /// The model.
    pub model: String,
    /// The condition.
    pub condition: String,
    /// The measure that is lost.
    pub measure: String,
    /// The losses.
    pub losses: Measurements,
}

impl Claim {
    /// A verdict without a number.
    #[must_use]
    pub fn verdict(&self, model: &str, condition: &str, measure: &str) -> Verdict {
        Verdict {
            claim: self.claim.clone(),
            of: self.of,
            model: model.to_owned(),
            condition: condition.to_owned(),
            outcome: Outcome::Undecided,
            measure: measure.to_owned(),
            statistic: String::new(),
            value: None,
            interval: None,
            level: 1.0 - 2.0 * TAIL,
            threshold: self.test.threshold(),
            units: 0,
            remark: String::new(),
        }
    }

    /// Whether the claim is about this measure.
    #[must_use]
    pub fn is_about(&self, measure: &str) -> bool {
        self.measure.as_deref().is_none_or(|named| named == measure)
    }
}

impl Verdict {
    fn decided(mut self, estimate: Estimate, side: Side) -> Self {
        self.outcome = Outcome::of(estimate.interval, self.threshold, side);
        self.showing(estimate)
    }

    fn showing(mut self, estimate: Estimate) -> Self {
        (self.value, self.interval, self.units) = (Some(estimate.value), estimate.interval, estimate.units);
        self
    }
}

/// Every claim about losses, on every group that it is about.
#[must_use]
pub fn judge(claims: &[Claim], groups: &[Group], seed: u64) -> Vec<Verdict> {
    let of_claim = |claim| {
        let about = groups.iter().filter(move |group| Claim::is_about(claim, &group.measure));
        about.filter_map(move |group| judge_one(claim, group, seed))
    };
    claims.iter().flat_map(of_claim).collect()
}

fn judge_one(claim: &Claim, group: &Group, seed: u64) -> Option<Verdict> {
    let verdict = claim.verdict(&group.model, &group.condition, &group.measure);
    Some(match &claim.test {
        Test::Loss { policy, budget, .. } => group.loss((policy, *budget), verdict, seed),
        Test::ShareOfLoss { policy, budget, against, at_most } => {
            group.share((policy, *budget), against, *at_most, verdict, seed)
        }
        Test::Wins { policy, against } => group.wins(policy, against, verdict, seed),
        Test::Correlation { .. } | Test::EveryRow => return None,
    })
}

impl Group {
    fn loss(&self, (policy, budget): Setting<'_>, mut verdict: Verdict, seed: u64) -> Verdict {
        verdict.statistic = format!("{} of {policy} at {budget}", self.measure);
        match self.losses.mean((policy, budget), seed) {
            Some(loss) => verdict.decided(loss, Side::AtMost),
            None => Verdict { remark: "not measured".into(), ..verdict },
        }
    }

    /// `loss - share * (least loss of the others)`, the least one chosen anew in every draw.
    fn share(
        &self,
        (policy, budget): Setting<'_>,
        against: &[PolicyName],
        share: f64,
        mut verdict: Verdict,
        seed: u64,
    ) -> Verdict {
        let others = self.measured(against, &[budget]);
        verdict.statistic =
            format!("{} at {budget}, {policy} less {share} x the least of {}", self.measure, names(&others));
        let beside = others.iter().map(|&other| (other, budget));
        let settings: Vec<Setting<'_>> = std::iter::once((policy, budget)).chain(beside).collect();
        let Some(strata) = self.losses.strata(&settings).filter(|_| !others.is_empty()) else {
            return Verdict { remark: "not measured".into(), ..verdict };
        };
        let least = |means: &[f64]| means[1..].iter().copied().fold(f64::INFINITY, f64::min);
        let statistic = |means: &[f64]| means[0] - share * least(means);
        let found = Estimate::of(&strata, TAIL, seed, statistic);
        let means = means(&strata);
        let (own, least_loss) = (means[0], least(&means));
        if least_loss <= 0.0 {
            let remark = "nothing to share: the best of the others loses nothing".into();
            return Verdict { remark, ..verdict.showing(found) };
        }
        verdict.remark = format!("{own:.4} against {least_loss:.4}, a share of {:.2}", own / least_loss);
        verdict.decided(found, Side::AtMost)
    }

    /// The least lead over any of the others at any budget.
    ///
    /// To hold, every 95 % interval has to be above zero. To fail, one has to be below zero at `1 - 0.05 / k`, `k` the number of
    /// comparisons, so that one of many is not below by chance.
    fn wins(&self, policy: &PolicyName, against: &[PolicyName], mut verdict: Verdict, seed: u64) -> Verdict {
        let others = self.measured(against, &self.losses.budgets());
        verdict.statistic =
            format!("{}, least lead of {policy} over {} at any budget", self.measure, names(&others));
        let leads = self.leads(policy, against);
        let surely = TAIL / leads.len().max(1) as f64;
        let (behind, rest): (Vec<&Lead>, Vec<&Lead>) =
            leads.iter().partition(|lead| lead.outcome(surely, seed) == Outcome::DoesNotHold);
        // If no lead is surely lost, one that is only perhaps lost decides nothing.
        let open = |lead: &&Lead| lead.outcome(TAIL, seed) != Outcome::Holds;
        let ahead = rest.len() - rest.iter().filter(|lead| open(lead)).count();
        let (deciding, tail) = if behind.is_empty() { (&rest, TAIL) } else { (&behind, surely) };
        let Some(least) = deciding.iter().min_by(|one, other| one.value().total_cmp(&other.value())) else {
            return Verdict { remark: "not measured".into(), ..verdict };
        };
        verdict.outcome = match (behind.len(), ahead) {
            (0, ahead) if ahead == leads.len() => Outcome::Holds,
            (0, _) => Outcome::Undecided,
            _ => Outcome::DoesNotHold,
        };
        verdict.remark = format!(
            "least over {}; ahead in {ahead}, behind in {} of {} comparisons",
            least.over,
            behind.len(),
            leads.len()
        );
        verdict.level = 1.0 - 2.0 * tail;
        verdict.showing(least.at(tail, seed))
    }

    /// Those of the others that were measured at any of the budgets.
    fn measured<'a>(&self, others: &'a [PolicyName], budgets: &[Budget]) -> Vec<&'a PolicyName> {
        let at = |other| budgets.iter().any(|&budget| self.losses.strata(&[(other, budget)]).is_some());
        others.iter().filter(|other| at(other)).collect()
    }

    fn leads(&self, policy: &PolicyName, against: &[PolicyName]) -> Vec<Lead> {
        let at_budget = |budget: Budget| against.iter().map(move |other| (other, budget));
        let lead = |(other, budget): (&PolicyName, Budget)| {
            let strata = self.losses.strata(&[(policy, budget), (other, budget)])?;
            Some(Lead { over: format!("{other} at {budget}"), strata })
        };
        self.losses.budgets().into_iter().flat_map(at_budget).filter_map(lead).collect()
    }
}

fn names(policies: &[&PolicyName]) -> String {
    policies.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A policy's losses beside another's.
struct Lead {
    over: String,
    strata: Vec<Stratum>,
}

impl Lead {
    /// The other's mean loss less the policy's.
    fn at(&self, tail: f64, seed: u64) -> Estimate {
        Estimate::of(&self.strata, tail, seed, |means| means[1] - means[0])
    }

    fn outcome(&self, tail: f64, seed: u64) -> Outcome {
        Outcome::of(self.at(tail, seed).interval, 0.0, Side::AtLeast)
    }

    fn value(&self) -> f64 {
        let means = means(&self.strata);
        means[1] - means[0]
    }
}
