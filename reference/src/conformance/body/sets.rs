//! Retained sets: the same but for candidates near the cut.

use proptest::prelude::*;

use super::{definition, heads, policies, prepare, run, score, scored};
use crate::backend::{Backend, Reference};
use crate::budget::CandidatesPerHead;
use crate::conformance::Path;
use crate::conformance::problem::problems_with_candidates;
use crate::conformance::rounding::{Bounds, ScoreBounds};
use crate::error::Result;
use crate::retained::RetainedSet;
use crate::scored::Scored;
use crate::scores::{HeadScores, ModelScores};
use crate::shape::{KvHead, LayerIndex, LayerOrdinal};

/// Two paths' sets differ only in candidates whose score is within twice the bound of the cut.
pub fn retained_sets_agree_up_to_near_ties(paths: &[Path]) {
    run(64, &(problems_with_candidates(), any::<u64>()), |(problem, seed)| {
        let layer_problem = problem.layer_problem(LayerIndex(0));
        let reference = definition(&layer_problem);
        let per_head = CandidatesPerHead((seed % (problem.sizes.candidate_len as u64 + 1)) as usize);
        for path in paths {
            let layer = prepare(path, &layer_problem);
            let bounds = Bounds::new(&layer_problem, &reference, path.arithmetic);
            for policy in policies() {
                let expected = scored(&reference, &policy);
                let found = scored(layer.as_ref(), &policy);
                let bounds = bounds.scores(&score(&policy), &heads(&expected));
                for allocation in ["head", "layer", "model-raw"] {
                    let Ok(policy) = policy.with("allocation", allocation) else { continue };
                    let keep = |backend: &dyn Backend, scores: &HeadScores| {
                        let scores = ModelScores::new(vec![scores.clone()])?;
                        let scores = Scored::of_host(scores, problem.sizes.window_len);
                        backend.cut(&policy, &scores, per_head)
                    };
                    let sets = [keep(&Reference, &expected), keep(path.backend.as_ref(), &found)];
                    let [one, two] = sets.map(|set: Result<RetainedSet>| set.expect("finite scores are cut"));
                    let margins = Margins { scores: heads(&expected), bounds: bounds.clone() };
                    let what = format!("{}: {policy} at {per_head:?}, {problem:?}", path.name);
                    margins.assert_agree(&what, &one, &two, allocation == "head");
                }
            }
        }
    });
}

/// The scores that sets were cut by, and how far each may be off, per KV head of each layer.
pub struct Margins {
    /// The reference's scores.
    pub scores: Vec<Vec<f64>>,
    /// Their bounds.
    pub bounds: ScoreBounds,
}

impl Margins {
    /// Asserts that `two` differs from `one`, cut by the scores head by head or over all heads, in near-ties alone.
    #[track_caller]
    pub fn assert_agree(&self, what: &str, one: &RetainedSet, two: &RetainedSet, head_by_head: bool) {
        assert_eq!(one.positions().len(), two.positions().len(), "{what}: sizes differ");
        let kept = self.scores.iter().enumerate().map(|(head, scores)| {
            let of = |set: &RetainedSet| {
                let (layer, head) = (head / self.kv_heads(set), head % self.kv_heads(set));
                let keeps = set.layer(LayerOrdinal(layer)).keeps(KvHead(head));
                keeps[..scores.len()].to_vec()
            };
            [of(one), of(two)]
        });
        let kept: Vec<[Vec<bool>; 2]> = kept.collect();
        let heads: Vec<usize> = (0..self.scores.len()).collect();
        let parts: Vec<&[usize]> = if head_by_head { heads.chunks(1).collect() } else { vec![&heads] };
        for part in parts {
            self.assert_part_agrees(what, part, &kept);
        }
    }

    fn kv_heads(&self, set: &RetainedSet) -> usize {
        self.scores.len() / set.layer_count()
    }

    #[track_caller]
    fn assert_part_agrees(&self, what: &str, heads: &[usize], kept: &[[Vec<bool>; 2]]) {
        let slots = || heads.iter().flat_map(|&head| (0..self.scores[head].len()).map(move |i| (head, i)));
        let cut = slots()
            .filter(|&(head, i)| kept[head][0][i])
            .map(|(head, i)| self.scores[head][i])
            .fold(f64::INFINITY, f64::min);
        let widest = slots().map(|(head, i)| self.bounds[head][i]).fold(0.0, f64::max);
        for (head, i) in slots().filter(|&(head, i)| kept[head][0][i] != kept[head][1][i]) {
            let away = (self.scores[head][i] - cut).abs();
            assert!(
                away <= 2.0 * widest,
                "{what}: head {head}, position {i} is {away:e} from the cut, bound {widest:e}"
            );
        }
    }
}
