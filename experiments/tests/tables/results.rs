//! Small results, written as the commands write them.

use std::fs;
use std::path::Path;

/// The header of an evaluation's rows.
pub const EVAL: &str = "model,task,question,prompt,target,context,depth,sample,policy,budget,entries_per_head,metric,value,full_value,drop,renormalised,future,cache_bytes,full_cache_bytes,answer";
/// The header of an ablation's rows.
pub const ABLATION: &str = "model,dump,sample,context,policy,score,allocation,gqa,pool,norm,window,budget,entries_per_head,objective,form,layer,relative_error,squared_error,squared_norm";
/// The header of an oracle's rows.
pub const ORACLE: &str = "model,sample,budget,entries_per_head,policy,layer,relative_error,relative_lower_bound,over_bound,nodes,layer_wise,renormalised,future";
/// The header of the rows of bounds.
pub const BOUNDS: &str = "model,sample,policy,budget,entries_per_head,layer,bound,statement,left,right,slack,ratio,rounding,p_value,p_bound,holds";
/// The header of correlations, as older builds wrote them.
pub const CORRELATIONS: &str = "task,question,metric,error,prompts,spearman,low,high";

/// Writes a results file.
pub fn write(results: &Path, file: &str, header: &str, rows: &[String]) {
    let path = results.join(file);
    fs::create_dir_all(path.parent().expect("a folder")).expect("created");
    fs::write(path, format!("{header}\n{}\n", rows.join("\n"))).expect("written");
}

/// A row of an evaluation; half the bytes of the full cache.
#[derive(Clone, Copy)]
pub struct Eval<'a> {
    pub task: &'a str,
    pub question: &'a str,
    pub prompt: &'a str,
    pub target: usize,
    pub depth: &'a str,
    pub policy: &'a str,
    pub budget: &'a str,
    pub metric: &'a str,
    pub value: f64,
    pub full: f64,
}

impl Eval<'_> {
    pub fn row(&self) -> String {
        let Self { task, question, prompt, target, depth, policy, budget, metric, value, full } = self;
        format!(
            "M,{task},{question},{prompt},{target},{target},{depth},0,{policy},{budget},1,{metric},{value},{full},,,,50,100,"
        )
    }
}

/// A policy's loss on each prompt of `needle`, the full cache finding all of them; prompts lie at two depths in turn.
pub fn needles(policy: &str, budget: &str, losses: &[f64]) -> Vec<String> {
    let row = |(place, loss): (usize, &f64)| {
        let prompt = format!("needle-{place}");
        let depth = ["0%", "100%"][place % 2];
        let row = Eval {
            task: "needle",
            question: "aware",
            prompt: &prompt,
            target: 512,
            depth,
            policy,
            budget,
            metric: "contains-all",
            value: 1.0 - loss,
            full: 1.0,
        };
        row.row()
    };
    losses.iter().enumerate().map(row).collect()
}

/// The relative `drop` errors of a policy on samples of one dump.
pub fn errors(policy: &str, score: &str, allocation: &str, budget: &str, errors: &[f64]) -> Vec<String> {
    let row = |(sample, error): (usize, &f64)| {
        format!(
            "M,D,sample-{sample},96,{policy},{score},{allocation},,,,,{budget},5,drop,layer-wise,,{error},1,1"
        )
    };
    errors.iter().enumerate().map(row).collect()
}

/// A policy's `drop` error beside a bound of 0.2, for one layer or, with an empty `layer`, for all of them.
pub fn over_bound(policy: &str, layer: &str, error: f64, over_bound: &str) -> String {
    format!("M,s,5%,5,{policy},{layer},{error},0.2,{over_bound},,{error},{error},")
}

/// A statement about one layer.
pub fn bound(id: &str, statement: &str, layer: usize, [left, right]: [f64; 2]) -> String {
    let (slack, ratio, holds) = (right - left, right / left, left <= right);
    format!("M,s,laprox,5%,5,{layer},{id},{statement},{left},{right},{slack},{ratio},0,,,{holds}")
}
