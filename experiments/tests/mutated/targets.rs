//! The sound inputs from which damaged ones are made, and the commands that read them.

use std::fs;
use std::io::Write;
use std::path::Path;

use assert_cmd::Command;
use candle_core::quantized::gguf_file::Value;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::Files;
use crate::hub::Snapshot;
use crate::mutation::mutate;
use crate::synthetic::Synthetic;

/// A kind of input.
pub struct Target {
    pub name: &'static str,
    files: Files,
    /// The beginnings of the paths of the files that are damaged.
    damaged: &'static [&'static str],
    /// The number of bytes at a file's start that are damaged.
    reach: usize,
    words: &'static [&'static str],
    commands: Vec<Vec<String>>,
    /// Makes the files that are run from the damaged ones.
    finish: fn(&mut Files, &mut ChaCha8Rng),
}

impl Target {
    /// The files before any damage, with every command that reads them.
    pub fn sound(&self) -> impl Iterator<Item = (Files, &Vec<String>)> {
        let mut files = self.files.clone();
        (self.finish)(&mut files, &mut ChaCha8Rng::seed_from_u64(0));
        self.commands.iter().map(move |command| (files.clone(), command))
    }

    /// Files of which one is damaged, and a command that reads it.
    pub fn case(&self, rng: &mut ChaCha8Rng) -> (Files, Vec<String>) {
        let mut files = self.files.clone();
        let is_damaged = |name: &&String| self.damaged.iter().any(|start| name.starts_with(start));
        let names: Vec<String> = files.keys().filter(is_damaged).cloned().collect();
        let name = names.choose(rng).expect("a file to damage");
        let bytes = files.get_mut(name).expect("the file");
        mutate(bytes, self.reach, self.words, rng);
        (self.finish)(&mut files, rng);
        let names_it = |argument: &String| name.starts_with(argument) || argument.ends_with(name);
        let reading: Vec<_> = self.commands.iter().filter(|command| command.iter().any(names_it)).collect();
        // What `finish` makes of the files has no name of its own.
        let command =
            if reading.is_empty() { self.commands.choose(rng) } else { reading.choose(rng).copied() };
        (files, command.expect("a command").clone())
    }
}

pub fn all() -> Vec<Target> {
    vec![
        dumps(),
        models(),
        snapshots(),
        wheels(),
        templates(),
        costly_templates(),
        journals(),
        benchmarks(),
        configurations(),
        arrays(),
        given(),
        results(),
    ]
}

fn words(command: &str) -> Vec<String> {
    command.split(' ').map(str::to_owned).chain(["--threads".to_owned(), "1".to_owned()]).collect()
}

fn commands(commands: &[&str]) -> Vec<Vec<String>> {
    commands.iter().map(|command| words(command)).collect()
}

/// Everything that a sound command leaves in its folder.
fn made_by(files: &Files, command: &str) -> Files {
    let folder = tempfile::tempdir().expect("a temporary folder");
    crate::write(folder.path(), files);
    let mut laprox = Command::cargo_bin("laprox").expect("the binary is built");
    laprox.args(words(command)).current_dir(folder.path()).assert().success();
    let mut made = Files::new();
    collect(folder.path(), folder.path(), &mut made);
    made
}

fn collect(folder: &Path, root: &Path, files: &mut Files) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, root, files);
        } else {
            let name = path.strip_prefix(root).expect("inside").to_str().expect("plain").to_owned();
            files.insert(name, fs::read(&path).expect("readable"));
        }
    }
}

const SYNTH: &str = "synth --out dump --layers 2 --heads 4 --kv-heads 2 --head-dim 8 --hidden-size 12 --context 40 --window 8 --future 4";

const JSON_WORDS: &[&str] = &[
    "null",
    "true",
    "-1",
    "0",
    "1e308",
    "1e999",
    "NaN",
    "18446744073709551616",
    "[[[[[[",
    "{\"a\":",
    "\"",
    "\\ud800",
    "\\u0000",
    "\u{feff}",
    "../../x",
    "\n",
    ",",
    "f16",
    "f32",
    "f64",
];

fn dumps() -> Target {
    Target {
        name: "dump",
        files: made_by(&Files::new(), SYNTH),
        damaged: &["dump/"],
        reach: 2048,
        words: JSON_WORDS,
        commands: commands(&[
            "inspect dump --check",
            "score dump --out scores.npy",
            "evict dump --policy cake --budget 50% --out out",
            "evict dump --policy oracle:certified --budget 50% --path reference",
            "bounds dump --budget 50% --trials 2",
            "oracle dump --budget 50% --seconds 1",
            "ablate dump --budget 50% --policy laprox --policy criticalkv",
        ]),
        finish: |_, _| (),
    }
}

/// The arrays alone, past their headers: numbers of any size.
fn arrays() -> Target {
    Target {
        name: "values",
        files: made_by(&Files::new(), &format!("{SYNTH} --precision f32")),
        damaged: &["dump/s", "dump/w"],
        reach: usize::MAX,
        words: &["\0\0\u{1}\0", "\u{7f}\u{7f}", "\u{7f}"],
        ..dumps()
    }
}

/// One's own scores and retained sets beside the dump that they are for.
fn given() -> Target {
    let files = made_by(&Files::new(), SYNTH);
    let files = made_by(&files, "score dump --policy snapkv --out scores.npy");
    let files = made_by(&files, "evict dump --policy snapkv --budget 50% --out kept");
    Target {
        name: "given",
        files,
        damaged: &["scores", "kept/"],
        commands: commands(&[
            "evict dump --scores scores.npy --budget 50% --out out",
            "bounds dump --scores scores.npy --budget 50% --trials 2",
            "oracle dump --scores scores.npy --budget 50% --seconds 1",
            "evict dump --retained kept",
            "bounds dump --retained kept --trials 2",
            "oracle dump --retained kept --budget 50% --seconds 1",
            "ablate dump --scores scores.npy --retained kept --budget 50% --policy snapkv",
        ]),
        ..dumps()
    }
}

fn model(tokens: u32) -> Synthetic {
    let mut model = Synthetic::new("llama");
    model.set("llama.context_length", Value::U32(tokens));
    model.set("tokenizer.chat_template", Value::String(TEMPLATE.to_owned()));
    model
}

fn text() -> Vec<u8> {
    (0..400_u32).map(|i| format!("{} ", i * i % 97)).collect::<String>().into_bytes()
}

const CAPTURE: &str = "capture --text text.txt --context 24 --window 8 --future 4 --out dump --model";

const GGUF_WORDS: &[&str] = &[
    "general.alignment",
    "general.architecture",
    "llama.rope.scaling.type",
    "tokenizer.chat_template",
    "GGUF",
    "blk.0.",
    "\0",
    "\n",
    "\u{1b}[2J",
    "llama",
    "qwen2",
    "gpt2",
];

const SNAPSHOT_WORDS: &[&str] = &[
    "null",
    "true",
    "-1",
    "0",
    "0.5",
    "1e308",
    "1e999",
    "18446744073709551616",
    "[[[[[[",
    "{\"a\":",
    "\"",
    "\\u0000",
    "\u{feff}",
    "\n",
    "\u{1b}[2J",
    ",",
    "../config.json",
    "/dev/zero",
    "model-00001-of-00002.safetensors",
    "\"rope_scaling\": {\"rope_type\": \"yarn\"},",
    "\"sliding_window\": 1,",
    "\"head_dim\": 99999999999,",
    "\"data_offsets\": [0, 18446744073709551615]",
    "\"shape\": [4294967296, 4294967296],",
    "\"F16\"",
    "\"F8_E4M3\"",
    "\"dtype\"",
    "\"Sequence\"",
    "\"Split\", \"pattern\": {\"Regex\": \"(a*)*b\"}, \"behavior\": \"Isolated\", \"invert\": false",
    "\"WordPiece\"",
];

/// The architectures whose readers differ most.
const READ: [&str; 4] = ["llama", "qwen2", "phi3", "olmo2"];

/// GGUF files: their headers, of about 10 KB, and the first tensors.
fn models() -> Target {
    let own = |name: &&'static str| if *name == "llama" { model(64) } else { Synthetic::new(name) };
    let files = READ.iter().map(|name| (format!("{name}.gguf"), own(name).bytes()));
    Target {
        name: "gguf",
        files: files.chain([("text.txt".to_owned(), text())]).collect(),
        damaged: &READ,
        reach: 12_000,
        words: GGUF_WORDS,
        commands: READ.map(|name| words(&format!("{CAPTURE} {name}.gguf"))).to_vec(),
        finish: |_, _| (),
    }
}

/// Snapshots, whole and sharded: every text, and the headers of the weights.
fn snapshots() -> Target {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let of = |name: &str| {
        let path = folder.path().join(name);
        fs::create_dir(&path).expect("made");
        path
    };
    let mut llama = Snapshot::new("LlamaForCausalLM", "llama", "llama");
    llama.set("tokenizer_config.json", "chat_template", TEMPLATE.into());
    let scaling = json!({"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 32});
    llama.set("config.json", "rope_scaling", scaling);
    llama.write(&of("llama"));
    Snapshot::new("Qwen2ForCausalLM", "qwen2", "qwen2").write_sharded(&of("qwen2"));
    Snapshot::new("Phi3ForCausalLM", "phi3", "phi3").write(&of("phi3"));
    Snapshot::new("Olmo2ForCausalLM", "olmo2", "olmo2").write(&of("olmo2"));
    let mut files = Files::from([("text.txt".to_owned(), text())]);
    collect(folder.path(), folder.path(), &mut files);
    Target {
        name: "snapshot",
        files,
        damaged: &READ,
        reach: 4096,
        words: SNAPSHOT_WORDS,
        commands: READ.map(|name| words(&format!("{CAPTURE} {name}"))).to_vec(),
        finish: |_, _| (),
    }
}

fn wheel(member: &str, bytes: &[u8]) -> Vec<u8> {
    let mut wheel = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (member, bytes) in [("tiny/__init__.py", b"".as_slice()), (member, bytes)] {
        wheel.start_file(member, SimpleFileOptions::default()).expect("a member");
        wheel.write_all(bytes).expect("written");
    }
    wheel.finish().expect("a wheel").into_inner()
}

fn wheels() -> Target {
    let bytes = model(64).bytes();
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let files = [
        ("tiny-1.0.whl", wheel("tiny/tiny.gguf", &bytes)),
        ("parts/tiny_part1-1.0.whl", wheel("tiny_part1/data/part1.bin", first)),
        ("parts/tiny_part2-1.0.whl", wheel("tiny_part2/data/part2.bin", second)),
        ("text.txt", text()),
    ];
    Target {
        name: "wheel",
        files: files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect(),
        damaged: &["tiny", "parts"],
        reach: usize::MAX,
        words: &[
            "PK\u{1}\u{2}",
            "PK\u{3}\u{4}",
            "PK\u{5}\u{6}",
            "PK\u{6}\u{6}",
            "\n",
            "../x.gguf",
            ".gguf",
            "_part2",
        ],
        commands: ["tiny-1.0.whl", "parts"].map(|name| words(&format!("{CAPTURE} {name}"))).to_vec(),
        finish: |_, _| (),
    }
}

const TEMPLATE: &str = "{%- for message in messages %}{%- if message['role'] == 'user' %}{{ '<|im_start|>' + \
    message['content'] | trim + '<|im_end|>\\n' }}{%- endif %}{%- endfor %}{%- set ns = namespace(n=0) %}\
    {%- macro turn(role) %}{{ role ~ '\\n' }}{%- endmacro %}{%- if add_generation_prompt %}{{ turn('assistant') }}{%- endif %}";

const TEMPLATE_WORDS: &[&str] = &[
    "{{",
    "}}",
    "{%",
    "%}",
    "{% for i in range(99999) %}",
    "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
    "{% endfor %}",
    "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
    "{% set ns.n = ns.n ~ ns.n %}",
    "{{ 'x' * 999999999 }}",
    "{{ '%999999999d' | format(1) }}",
    "{{ 'x' | indent(999999999) }}",
    "{{ raise_exception('\\n\\n') }}",
    "{{ strftime_now('%Y') }}",
    "{% generation %}",
    "{% endgeneration %}",
    "{% break %}",
    "{% continue %}",
    "| tojson",
    ".split(' ')",
    ".strip()",
    "| join(messages)",
    "((((((((((((((((((((((((((((((((((((((((",
    "not not not not not not not not ",
    "-",
    ".a.a.a.a.a.a.a.a",
    "[0]",
    "**",
    "'",
    "bos_token",
    "messages",
    "messages[0].content",
];

/// Whole pieces of templates, each of which costs more the more often it runs; `#` stands for further pieces.
const PIECES: &[&str] = &[
    "{% for i in range(300) %}#{% endfor %}",
    "{% for a in messages %}{% for b in messages %}#{% endfor %}{% endfor %}",
    "{% for i in range(10) recursive %}#{% if i > 8 %}{{ loop([i]) }}{% endif %}{% endfor %}",
    "{% set ns = namespace(s='ab') %}{% for i in range(40) %}{% set ns.s = ns.s ~ ns.s %}#{% endfor %}{{ ns.s }}",
    "{% macro m(n) %}#{% if n > 0 %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(30) }}",
    "{% macro deep(n) %}{{ deep(n + 1) }}{% endmacro %}{{ deep(0) }}",
    "{{ messages | tojson(indent=99999999) }}",
    "{{ 'x' * 100000000 }}",
    "{{ ('x' * 1000).replace('x', 'y' * 1000) }}",
    "{{ messages[0].content.split('') | join(messages[0].content) }}",
    "{{ range(100000) | list | map('string') | join(',') | length }}",
    "{{ '%s' * 1000 | format(1) }}",
    "{{ strftime_now('%Y' * 10000) }}",
    "{% if raise_exception is defined %}#{% endif %}",
    "{{ [[[[[[[[[[[[[[[[messages]]]]]]]]]]]]]]]] | tojson }}",
    "{% filter upper %}#{{ messages[0].content }}{% endfilter %}",
    "{% set x = [] %}{% for i in range(99) %}{% set x = [x, x] %}{% endfor %}{{ x | tojson | length }}",
    "{{ messages[0].content | indent(9999) }}#",
    "{% block b %}#{% endblock %}",
    "{% generation %}#{% endgeneration %}",
];

/// The pieces that the first bytes choose, inside each other.
fn composed(choices: &[u8]) -> String {
    let piece = |template: String, &choice: &u8| {
        template.replacen('#', PIECES[usize::from(choice) % PIECES.len()], 1)
    };
    choices
        .iter()
        .take(6)
        .fold("##".to_owned(), piece)
        .replacen('#', "{{ messages[0].content }}", 1)
        .replace('#', "")
}

/// Chat templates, as they are read from a model's file.
fn templates() -> Target {
    let question = json!({ "input": "where?", "context": "one two three. ".repeat(30), "answers": ["place"], "all_classes": ["place"] });
    let files = [
        ("template", TEMPLATE.as_bytes().to_vec()),
        ("data/hotpotqa.jsonl", question.to_string().into_bytes()),
    ];
    Target {
        name: "template",
        files: files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect(),
        damaged: &["template"],
        reach: usize::MAX,
        words: TEMPLATE_WORDS,
        commands: commands(&[
            "eval --model model.gguf --task longbench:hotpotqa --data data --context 600 --window 8 --budget 50% --policy snapkv",
        ]),
        finish: |files, _| {
            let template = String::from_utf8_lossy(&files["template"]).into_owned();
            let mut model = model(2048);
            model.set("tokenizer.chat_template", Value::String(template));
            files.insert("model.gguf".to_owned(), model.bytes());
        },
    }
}

/// Templates that are well formed, and may cost too much.
fn costly_templates() -> Target {
    let Target { mut files, commands, .. } = templates();
    // The last piece alone.
    files.insert("template".to_owned(), vec![u8::try_from(PIECES.len() - 1).expect("few pieces")]);
    Target {
        name: "costly-template",
        files,
        finish: |files, _| {
            let mut model = model(2048);
            model.set("tokenizer.chat_template", Value::String(composed(&files["template"])));
            files.insert("model.gguf".to_owned(), model.bytes());
        },
        commands,
        ..templates()
    }
}

/// Results folders of runs that go on, or are complete.
fn journals() -> Target {
    const ABLATE: &str = "ablate dump --budget 50% --policy laprox --policy snapkv --results ablation";
    const EVAL: &str = "eval --model model.gguf --task fidelity --text text.txt --context 40 --window 8 --future 4 --budget 50% \
        --policy snapkv --results evaluation";
    let mut files = made_by(&made_by(&Files::new(), SYNTH), ABLATE);
    files.extend([("model.gguf".to_owned(), model(64).bytes()), ("text.txt".to_owned(), text())]);
    let files = made_by(&files, EVAL);
    Target {
        name: "journal",
        files,
        damaged: &["ablation/", "evaluation/"],
        reach: usize::MAX,
        words: JSON_WORDS,
        commands: commands(&[ABLATE, EVAL]),
        finish: |files, rng| {
            // Without its table a run is not complete.
            if rng.random() {
                files.retain(|name, _| !name.ends_with("rows.csv"));
            }
        },
    }
}

fn benchmarks() -> Target {
    let longbench = |number: u32| json!({ "input": "where?", "context": format!("{number} two three. ").repeat(30), "answers": ["place"], "all_classes": ["person", "place"], "length": 90, "language": "en", "dataset": "trec", "_id": "a1" });
    let ruler = |number: u32| json!({ "index": number, "input": format!("{number} two three. ").repeat(20) + "\nWhat is it?", "outputs": ["place", "12"], "length": 90 });
    let lines = |line: &dyn Fn(u32) -> serde_json::Value| {
        (0..3).map(|number| format!("{}\n", line(number))).collect::<String>().into_bytes()
    };
    let files = [
        ("data/trec.jsonl", lines(&longbench)),
        ("niah.jsonl", lines(&ruler)),
        ("haystack.txt", text()),
        ("model.gguf", model(2048).bytes()),
    ];
    // A damaged file may hold thousands of sound records.
    const REST: &str = "--context 600 --window 8 --budget 50% --policy snapkv --limit 2 --model model.gguf";
    Target {
        name: "benchmark",
        files: files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect(),
        damaged: &["data/", "niah", "haystack"],
        reach: usize::MAX,
        words: JSON_WORDS,
        commands: [
            "eval --task longbench:trec --data data",
            "eval --task ruler:niah.jsonl",
            "eval --task needle --haystack haystack.txt --samples 1 --depth 50",
            "eval --task fidelity --text haystack.txt --future 4",
        ]
        .map(|command| words(&format!("{command} {REST}")))
        .to_vec(),
        finish: |_, _| (),
    }
}

fn configurations() -> Target {
    const CONFIG: &str = "policies = [\"laprox\", \"snapkv:pool=none\"]\nalso = [\"cake\"]\nbudgets = [\"50%\", \"12\"]\n\n\
        [axes]\nallocation = [\"head\", \"model\"]\npool = [\"none\", \"avg:7\", \"max:5\"]\n";
    let mut files = made_by(&Files::new(), SYNTH);
    files.insert("config.toml".to_owned(), CONFIG.as_bytes().to_vec());
    Target {
        name: "configuration",
        files,
        damaged: &["config"],
        reach: usize::MAX,
        words: &[
            "[[",
            "]",
            "= ",
            "\"",
            "'''",
            "pool = [\"avg:999999999999\"]",
            "\"max:99999999\"",
            "\"avg:0\"",
            "\"0%\"",
            "\"1e400%\"",
            "\"-1\"",
            "\"18446744073709551616\"",
            "oracle:exhaustive",
            "window=999999999",
            "laprox:pool=avg:18446744073709551615",
            "baseline = ",
            "samples = ",
            "\u{1b}",
            "\n",
        ],
        commands: commands(&[
            "ablate dump --config config.toml",
            "ablate dump --config config.toml --path reference",
        ]),
        finish: |_, _| (),
    }
}

/// Committed results, from which tables are made.
fn results() -> Target {
    const RESULTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/results");
    let mut files = Files::new();
    for name in ["bounds", "oracle"] {
        let mut folder = Files::new();
        collect(&Path::new(RESULTS).join(name), Path::new(RESULTS), &mut folder);
        files.extend(folder.into_iter().map(|(name, bytes)| (format!("results/{name}"), bytes)));
    }
    Target {
        name: "results",
        files,
        damaged: &["results/"],
        reach: usize::MAX,
        words: &["\n", ",", "\"", "inf", "NaN", "-1e308", "true", "laprox:pool=", "200%", "\r\n", "\u{feff}"],
        commands: vec![
            ["tables", "--quick", "bounds", "oracle_gap", "--results", "results"].map(str::to_owned).to_vec(),
            [
                "tables",
                "--quick",
                "bounds",
                "oracle_gap",
                "--results",
                "results",
                "--html=x.html",
                "--out",
                "x",
            ]
            .map(str::to_owned)
            .to_vec(),
        ],
        finish: |_, _| (),
    }
}
