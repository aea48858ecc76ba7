//! The real model, where there is one.

use std::sync::LazyLock;

use laprox_experiments::model::{Model, ModelFile};

/// SmolLM2-135M-Instruct, where `LAPROX_MODEL` names its wheel or GGUF file. With `LAPROX_REQUIRE_MODEL=1` its absence
/// is a failure.
pub static MODEL: LazyLock<Option<Model>> = LazyLock::new(|| {
    let Some(path) = std::env::var_os("LAPROX_MODEL") else {
        let required = std::env::var("LAPROX_REQUIRE_MODEL").is_ok_and(|required| required == "1");
        assert!(!required, "LAPROX_REQUIRE_MODEL is set, but LAPROX_MODEL is not");
        eprintln!("skipped: LAPROX_MODEL does not name SmolLM2-135M-Instruct");
        return None;
    };
    let file = ModelFile::open(path).unwrap();
    assert_eq!(file.name(), "SmolLM2-135M-Instruct");
    Some(Model::load(&file).unwrap())
});
