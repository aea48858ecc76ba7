//! Scores and sets that were made elsewhere are cut and measured as those of a policy.

use std::fs;
use std::path::{Path, PathBuf};

use laprox_reference::Allocation;
use ndarray::{Array1, Array3, ArrayD, IxDyn};
use ndarray_npy::{read_npy, write_npy};
use serde_json::Value;

use crate::synthetic::Synthetic;
use crate::{laprox, refusal, synth, text};

/// A dump with scores and sets of one policy.
struct Made {
    folder: tempfile::TempDir,
    dump: String,
}

impl Made {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let dump = synth(folder.path(), "dump", "5");
        Self { folder, dump }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn place(&self, name: &str) -> String {
        text(&self.path(name)).to_owned()
    }

    /// The scores of a policy in a file.
    fn scores(&self, policy: &str, name: &str) -> String {
        laprox(&["score", &self.dump, "--policy", policy, "--out", &self.place(name)]).success();
        self.place(name)
    }

    /// The set of an eviction in a folder.
    fn evicted(&self, arguments: &[&str], name: &str) -> String {
        laprox(&[&["evict", &self.dump, "--out", &self.place(name)], arguments].concat()).success();
        self.place(name)
    }
}

/// The bytes of a set's offsets and positions.
fn set(folder: &str) -> [Vec<u8>; 2] {
    ["offsets", "positions"]
        .map(|name| fs::read(Path::new(folder).join(format!("synthetic.{name}.npy"))).expect("a set"))
}

fn rows(arguments: &[&str]) -> Vec<Value> {
    let printed = laprox(&[arguments, &["--json"]].concat()).success();
    let document: Value = serde_json::from_slice(&printed.get_output().stdout).expect("one document");
    document["rows"].as_array().expect("rows").clone()
}

/// The rows of one policy, without the columns that name it.
fn of_policy(rows: &[Value], policy: &str) -> Vec<Value> {
    let mut of_policy: Vec<Value> = rows.iter().filter(|row| row["policy"] == policy).cloned().collect();
    assert!(!of_policy.is_empty(), "no row of {policy}");
    for row in &mut of_policy {
        let row = row.as_object_mut().expect("a row");
        for key in ["policy", "score", "gqa", "pool", "window", "allocation", "norm"] {
            row.remove(key);
        }
    }
    of_policy
}

#[test]
fn given_scores_are_cut_as_those_of_their_policy_under_every_allocation() {
    let made = Made::new();
    for (policy, path) in
        [("laprox", "fast"), ("snapkv", "fast"), ("keydiff", "fast"), ("laprox", "reference")]
    {
        let (name, set_name) = (format!("{policy}-{path}.npy"), format!("{policy}-{path}"));
        let file = made.place(&name);
        laprox(&["score", &made.dump, "--policy", policy, "--path", path, "--out", &file]).success();
        let under = Allocation::ALL.map(|allocation| format!("allocation={}", allocation.name()));
        let more = [
            "allocation=head,sinks=4",
            "allocation=model,norm=none",
            "allocation=model,min_per_head=3",
            "allocation=layer,ends=0.2",
        ];
        for options in under.iter().map(String::as_str).chain(more) {
            let [own, given] = ["own", "given"].map(|kind| format!("{set_name}-{options}-{kind}"));
            let fixed = ["--budget", "25%", "--path", path];
            let own =
                made.evicted(&[&["--policy", &format!("{policy}:{options}")], &fixed[..]].concat(), &own);
            let given =
                made.evicted(&[&["--scores", &format!("{file}:{options}")], &fixed[..]].concat(), &given);
            assert_eq!(set(&own), set(&given), "{policy} on {path}: {options}");
        }
    }
}

#[test]
fn the_defaults_are_head_by_head_and_unpooled() {
    let made = Made::new();
    let raw = made.scores("laprox:pool=none", "raw.npy");
    for (given, policy) in [
        (raw.clone(), "laprox:allocation=head,pool=none"),
        (format!("{raw}:pool=avg:7,allocation=layer"), "laprox:allocation=layer"),
    ] {
        let [one, two] = ["given", "own"].map(|kind| format!("{kind}-{}", policy.len()));
        let given = made.evicted(&["--scores", &given, "--budget", "20"], &one);
        let own = made.evicted(&["--policy", policy, "--budget", "20"], &two);
        assert_eq!(set(&given), set(&own), "{policy}");
    }
}

#[test]
fn scores_in_f32_are_read_too() {
    let made = Made::new();
    let scores: Array3<f64> = read_npy(made.scores("snapkv", "wide.npy")).expect("scores");
    write_npy(made.path("narrow.npy"), &scores.mapv(|score| score as f32)).expect("written");
    write_npy(made.path("widened.npy"), &scores.mapv(|score| f64::from(score as f32))).expect("written");
    let [narrow, widened] = ["narrow", "widened"].map(|name| {
        let file = made.place(&format!("{name}.npy:allocation=model"));
        set(&made.evicted(&["--scores", &file, "--budget", "20"], name))
    });
    assert_eq!(narrow, widened);
}

#[test]
fn a_retained_set_is_measured_as_it_is() {
    let made = Made::new();
    for policy in ["laprox", "snapkv", "random:allocation=layer"] {
        let name = format!("set-{}", policy.replace([':', '='], "-"));
        let out = made.evicted(&["--policy", policy, "--budget", "24"], &name);
        fs::remove_file(Path::new(&out).join("summary.json")).expect("a summary");
        let own = rows(&["evict", &made.dump, "--policy", policy, "--budget", "24"]);
        let again = rows(&["evict", &made.dump, "--retained", &out]);
        assert_eq!(of_policy(&own, policy), of_policy(&again, &name));
        assert_eq!(set(&out), set(&made.evicted(&["--retained", &out], &format!("{name}-again"))));
    }
}

#[test]
fn rows_of_given_scores_and_sets_stand_beside_their_policies() {
    let made = Made::new();
    let scores = made.scores("laprox", "mine.npy");
    let fits = made.evicted(&["--policy", "laprox", "--budget", "50%"], "fits");
    let other = made.evicted(&["--policy", "laprox", "--budget", "31"], "other");
    let named = format!("theirs={other}");
    let rows = rows(&[
        "ablate",
        &made.dump,
        "--policy",
        "laprox",
        "--policy",
        "full",
        "--scores",
        &scores,
        "--retained",
        &fits,
        "--retained",
        &named,
        "--budget",
        "25%,50%",
        "--allocation",
        "head,model",
    ]);
    assert_eq!(of_policy(&rows, "laprox"), of_policy(&rows, "mine:allocation=model"));
    assert_eq!(of_policy(&rows, "laprox:allocation=head"), of_policy(&rows, "mine"));
    let laprox = of_policy(&rows, "laprox");
    let half: Vec<Value> = laprox.into_iter().filter(|row| row["budget"] == "50%").collect();
    assert_eq!(half, of_policy(&rows, "fits"));
    for row in of_policy(&rows, "theirs") {
        assert_eq!((&row["budget"], &row["entries_per_head"]), (&"31".into(), &31.into()));
    }
}

#[test]
fn given_scores_and_sets_are_compared_with_the_bound() {
    let made = Made::new();
    let scores = made.scores("laprox", "mine.npy");
    for (oracle, allocation) in
        [("certified:nodes=3", "model"), ("certified:nodes=3,allocation=layer", "layer")]
    {
        let policy = format!("laprox:allocation={allocation}");
        let half = made.evicted(&["--policy", &policy, "--budget", "48"], &format!("half-{allocation}"));
        let few = made.evicted(&["--policy", &policy, "--budget", "16"], &format!("few-{allocation}"));
        let rows = rows(&[
            "oracle",
            &made.dump,
            "--oracle",
            oracle,
            "--budget",
            "48,16",
            "--policy",
            &policy,
            "--scores",
            &format!("{scores}:allocation={allocation}"),
            "--retained",
            &half,
            "--retained",
            &few,
        ]);
        let own =
            of_policy(&rows, &policy.parse::<laprox_reference::Policy>().expect("a policy").to_string());
        let given = of_policy(&rows, &format!("mine:allocation={allocation}"));
        assert_eq!(own, given);
        let sets: Vec<Value> = ["half", "few"]
            .into_iter()
            .flat_map(|name| of_policy(&rows, &format!("{name}-{allocation}")))
            .collect();
        assert_eq!(own, sets);
        for row in rows.iter().filter(|row| !row["over_bound"].is_null()) {
            assert!(row["over_bound"].as_f64().expect("a number") >= 1.0, "{row}");
        }
        // A set that is divided between the layers has no bound of a layer.
        let uneven = made.evicted(&["--policy", "laprox", "--budget", "48"], &format!("uneven-{allocation}"));
        let compared =
            laprox(&["oracle", &made.dump, "--oracle", oracle, "--budget", "48", "--retained", &uneven]);
        if allocation == "layer" {
            let line = refusal(&compared.code(2));
            assert!(line.contains("expected a set of 48 entries per KV head in every layer"), "{line}");
        } else {
            compared.success();
        }
    }
    let few = made.place("few-model");
    let line = refusal(&laprox(&["oracle", &made.dump, "--budget", "48,32", "--retained", &few]).code(2));
    assert!(
        line.contains("expected a set of 48 or 32 entries per KV head, found 64 in 4 KV heads"),
        "{line}"
    );
}

#[test]
fn bounds_hold_for_given_scores_and_sets() {
    let made = Made::new();
    let scores = format!("{}:allocation=model", made.scores("laprox", "mine.npy"));
    let set = made.evicted(&["--policy", "laprox", "--budget", "32"], "set");
    let fixed = ["bounds", &made.dump, "--trials", "8"];
    let own = rows(&[&fixed[..], &["--budget", "32"]].concat());
    let given = rows(&[&fixed[..], &["--budget", "32", "--scores", &scores]].concat());
    let retained = rows(&[&fixed[..], &["--retained", &set]].concat());
    assert_eq!(of_policy(&own, "laprox"), of_policy(&given, "mine:allocation=model"));
    assert_eq!(of_policy(&own, "laprox"), of_policy(&retained, "set"));
}

#[test]
fn a_dump_of_more_samples_takes_a_folder() {
    let made = Made::new();
    fs::write(made.path("tiny.gguf"), Synthetic::new("llama").bytes()).expect("written");
    let texts = ["one.txt", "two.txt"].map(|name| made.place(name));
    texts
        .iter()
        .for_each(|path| fs::write(path, format!("{path} Call me Ishmael. ").repeat(4)).expect("written"));
    let (model, dump) = (made.place("tiny.gguf"), made.place("both"));
    let lengths = ["--context", "40", "--window", "4", "--future", "4", "--out", &dump];
    laprox(&[&["capture", "--model", &model, "--text", &texts[0], &texts[1]], &lengths[..]].concat())
        .success();
    let (scores, set) = (made.place("scores"), made.place("set"));
    laprox(&["score", &dump, "--out", &scores]).success();
    laprox(&["evict", &dump, "--budget", "50%", "--out", &set]).success();
    let rows = rows(&[
        "ablate",
        &dump,
        "--policy",
        "laprox",
        "--allocation",
        "model",
        "--budget",
        "50%",
        "--scores",
        &scores,
        "--retained",
        &set,
    ]);
    assert_eq!(of_policy(&rows, "laprox"), of_policy(&rows, "scores:allocation=model"));
    assert_eq!(of_policy(&rows, "laprox"), of_policy(&rows, "set"));
    let one = format!("{scores}/one.npy");
    let line = refusal(&laprox(&["evict", &dump, "--budget", "50%", "--scores", &one]).code(2));
    assert!(line.contains("expected a folder with a NAME.npy for each of 2 samples, found a file"), "{line}");
    fs::remove_file(made.path("set/two.offsets.npy")).expect("removed");
    let line = refusal(&laprox(&["evict", &dump, "--retained", &set]).code(2));
    assert!(line.contains("two.offsets.npy: expected an NPY file, found nothing"), "{line}");
}

/// The digest of every input is part of the run, so results are not gone on with from other scores.
#[test]
fn results_of_other_scores_are_of_another_run() {
    let made = Made::new();
    let scores = made.scores("laprox", "mine.npy");
    let results = made.place("results");
    let ablate = [
        "ablate",
        &made.dump,
        "--policy",
        "snapkv",
        "--scores",
        &scores,
        "--budget",
        "50%",
        "--results",
        &results,
    ];
    laprox(&ablate).success();
    laprox(&ablate).success();
    laprox(&["score", &made.dump, "--policy", "tova", "--force", "--out", &scores]).success();
    let line = refusal(&laprox(&ablate).code(2));
    assert!(line.contains("is of another run"), "{line}");
}

#[test]
fn hostile_scores_end_in_one_line() {
    let made = Made::new();
    let good: Array3<f64> = read_npy(made.scores("laprox", "good.npy")).expect("scores");
    let write = |name: &str, shape: &[usize], of: &dyn Fn(usize) -> f64| {
        let values = (0..shape.iter().product()).map(of).collect();
        write_npy(made.path(name), &ArrayD::from_shape_vec(IxDyn(shape), values).expect("a shape"))
            .expect("written");
    };
    let shape = [2, 2, 88];
    write("nan.npy", &shape, &|index| if index == 100 { f64::NAN } else { 1.0 });
    write("infinite.npy", &shape, &|index| if index == 351 { f64::NEG_INFINITY } else { 1.0 });
    write("context.npy", &[2, 2, 96], &|_| 1.0);
    write("layers.npy", &[3, 2, 88], &|_| 1.0);
    write("flat.npy", &[352], &|_| 1.0);
    write("heads.npy", &[2, 4, 88], &|_| 1.0);
    write_npy(made.path("whole.npy"), &good.mapv(|score| score as i64)).expect("written");
    write_npy(made.path("fortran.npy"), &good.clone().reversed_axes()).expect("written");
    let bytes = fs::read(made.path("good.npy")).expect("a file");
    fs::write(made.path("short.npy"), &bytes[..bytes.len() - 8]).expect("written");
    fs::write(made.path("long.npy"), [&bytes[..], &[0; 8]].concat()).expect("written");
    fs::write(made.path("empty.npy"), []).expect("written");
    fs::write(made.path("text.npy"), "1 2 3").expect("written");
    fs::create_dir(made.path("folder.npy")).expect("made");
    let cases = [
        ("nan.npy", 2, "expected finite elements, found element 100"),
        ("infinite.npy", 2, "expected finite elements, found element 351"),
        ("context.npy", 2, "expected shape [2, 2, 88], found [2, 2, 96]"),
        ("layers.npy", 2, "expected shape [2, 2, 88], found [3, 2, 88]"),
        ("flat.npy", 2, "expected shape [2, 2, 88], found [352]"),
        ("heads.npy", 2, "expected shape [2, 2, 88], found [2, 4, 88]"),
        ("whole.npy", 2, "elements of type"),
        ("fortran.npy", 2, "Fortran order"),
        ("short.npy", 2, "bytes, found"),
        ("long.npy", 2, "bytes, found"),
        ("empty.npy", 2, "expected an NPY file"),
        ("text.npy", 2, "expected an NPY file"),
        ("folder.npy", 2, "synthetic.npy: expected an NPY file, found nothing"),
        ("nowhere.npy", 3, "no such file or folder"),
        ("good.npy:allocation=best", 2, "head|layer|model"),
        ("good.npy:gqa=max", 2, "no option 'gqa'"),
        ("good.npy:norm=sum", 2, "norm= only means something"),
        ("good.npy:pool=avg:7@attention", 2, "expected score"),
        ("laprox.npy", 2, "a policy has this name"),
        ("my scores.npy", 2, "expected a name of letters, digits"),
    ];
    for (name, code, named) in cases {
        for command in ["evict", "bounds", "oracle", "ablate"] {
            let arguments = [command, &made.dump, "--budget", "50%", "--scores", &made.place(name)];
            let line = refusal(&laprox(&arguments).code(code));
            assert!(line.contains(named), "{command} {name}: expected {named} in: {line}");
        }
    }
}

#[test]
fn hostile_sets_end_in_one_line() {
    let made = Made::new();
    let good = made.evicted(&["--policy", "laprox:allocation=head", "--budget", "16"], "good");
    let read = |name: &str| Path::new(&good).join(format!("synthetic.{name}.npy"));
    let good_offsets: Array1<u64> = read_npy(read("offsets")).expect("offsets");
    let positions: Array1<u32> = read_npy(read("positions")).expect("positions");
    let with = |name: &str, offsets: &dyn Fn(&mut Vec<u64>), positions_of: &dyn Fn(&mut Vec<u32>)| {
        fs::create_dir(made.path(name)).expect("made");
        let (mut own, mut positions) = (good_offsets.to_vec(), positions.to_vec());
        offsets(&mut own);
        positions_of(&mut positions);
        write_npy(made.path(name).join("synthetic.offsets.npy"), &Array1::from(own)).expect("written");
        write_npy(made.path(name).join("synthetic.positions.npy"), &Array1::from(positions))
            .expect("written");
    };
    with("swapped", &|_| (), &|positions| positions.swap(0, 1));
    with("twice", &|_| (), &|positions| positions[1] = positions[0]);
    with("beyond", &|_| (), &|positions| positions[15] = 96);
    with("windowless", &|_| (), &|positions| positions[8] = 87);
    with("more", &|_| (), &|positions| positions.push(95));
    with("fewer", &|_| (), &|positions| positions.truncate(positions.len() - 1));
    with("late", &|offsets| offsets[0] = 1, &|_| ());
    with("descending", &|offsets| offsets[2] = 15, &|_| ());
    with("huge", &|offsets| offsets[4] = u64::MAX, &|_| ());
    with("overlong", &|offsets| offsets[4] = 4 * 96 + 1, &|_| ());
    with("layers", &|offsets| offsets.push(80), &|_| ());
    with("none", &|offsets| offsets.clear(), &|_| ());
    with("empty-head", &|offsets| offsets[1] = 0, &|_| ());
    for (name, element) in [("signed", "<i8"), ("big", ">u8")] {
        with(name, &|_| (), &|_| ());
        let file = made.path(name).join("synthetic.offsets.npy");
        let mut bytes = fs::read(&file).expect("a file");
        let at = bytes.windows(3).position(|three| three == b"<u8").expect("a descriptor");
        bytes[at..at + 3].copy_from_slice(element.as_bytes());
        fs::write(file, bytes).expect("written");
    }
    with("cut", &|_| (), &|_| ());
    let file = made.path("cut/synthetic.positions.npy");
    let bytes = fs::read(&file).expect("a file");
    fs::write(file, &bytes[..bytes.len() - 1]).expect("written");
    fs::write(made.path("file"), "no folder").expect("written");
    fs::create_dir(made.path("hollow")).expect("made");
    let cases = [
        ("swapped", 2, "strictly ascending positions in KV head 0 of layer 1 of 2"),
        ("twice", 2, "strictly ascending positions"),
        ("beyond", 2, "positions below 96 in KV head 0 of layer 1 of 2, found 96"),
        (
            "windowless",
            2,
            "the window from 88 to 95 in KV head 0 of layer 1 of 2, found 7 of its 8 positions",
        ),
        ("more", 2, "expected shape [64], found [65]"),
        ("fewer", 2, "expected shape [64], found [63]"),
        ("late", 2, "numbers that ascend from 0 to 64"),
        ("descending", 2, "found 16 and 15"),
        ("huge", 2, "expected at most 384 positions, found 18446744073709551615"),
        ("overlong", 2, "expected at most 384 positions, found 385"),
        ("layers", 2, "expected shape [5], found [6]"),
        ("none", 2, "expected shape [5], found [0]"),
        ("empty-head", 2, "the window from 88 to 95 in KV head 0"),
        ("signed", 2, "elements of type '<u8', found '<i8'"),
        ("big", 2, "elements of type '<u8', found '>u8'"),
        ("cut", 2, "bytes, found"),
        ("file", 2, "expected a folder with a retained set"),
        ("hollow", 2, "synthetic.offsets.npy: expected an NPY file, found nothing"),
        ("nowhere", 3, "no such file or folder"),
        ("snapkv", 2, "a policy has this name"),
    ];
    for (name, code, named) in cases {
        let commands: [&[&str]; 4] =
            [&["evict"], &["bounds"], &["oracle", "--budget", "16"], &["ablate", "--budget", "16"]];
        for command in commands {
            let place = made.place(name);
            let arguments = [command, &[&made.dump, "--retained", &place]].concat();
            let line = refusal(&laprox(&arguments).code(code));
            assert!(line.contains(named), "{command:?} {name}: expected {named} in: {line}");
        }
    }
}

#[test]
fn inputs_that_exclude_each_other_are_refused() {
    let made = Made::new();
    let scores = made.scores("laprox", "mine.npy");
    let set = made.evicted(&["--policy", "laprox", "--budget", "16"], "mine");
    let copy = made.scores("laprox", "copy.npy");
    let dump = &made.dump;
    let cases: [(&[&str], &str); 8] = [
        (&["evict", dump, "--scores", &scores], "--budget"),
        (&["evict", dump, "--retained", &set, "--budget", "16"], "cannot be used with"),
        (&["evict", dump, "--retained", &set, "--scores", &scores], "cannot be used with"),
        (
            &["evict", dump, "--scores", &scores, "--policy", "laprox", "--budget", "16"],
            "cannot be used with",
        ),
        (&["bounds", dump, "--retained", &set, "--policy", "laprox"], "cannot be used with"),
        (&["ablate", dump, "--scores", &scores, "--retained", &set], "both named mine"),
        (
            &["oracle", dump, "--budget", "16", "--scores", &scores, "--scores", &format!("mine={copy}")],
            "both named",
        ),
        (&["ablate", dump, "--scores", &scores, "--scores", &scores], "mine is given twice"),
    ];
    for (arguments, named) in cases {
        let line = refusal(&laprox(arguments).code(2));
        assert!(line.contains(named), "{arguments:?}: expected {named} in: {line}");
    }
    // One array under two allocations is read once.
    let rows = rows(&[
        "oracle",
        dump,
        "--budget",
        "16",
        "--oracle",
        "certified:nodes=1",
        "--policy",
        "laprox",
        "--scores",
        &scores,
        "--scores",
        &format!("{scores}:allocation=model"),
    ]);
    assert_eq!(of_policy(&rows, "laprox"), of_policy(&rows, "mine:allocation=model"));
    let inside = format!("{set}/out");
    let line = refusal(&laprox(&["evict", dump, "--retained", &set, "--out", &inside]).code(2));
    assert!(line.contains("expected a path apart from"), "{line}");
}
