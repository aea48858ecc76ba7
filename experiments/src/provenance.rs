//! What stands beside every result: who computed what, from what, how.

use anyhow::Result;
use laprox_fixtures::Dump;
use serde::Serialize;

use crate::cli::Common;
use crate::given::GivenSource;
use crate::model::Model;

/// The run that made a result. Holds nothing that two runs over the same input could differ in.
#[derive(Clone, Debug, Serialize)]
pub struct Provenance {
    /// The version of this binary.
    pub version: &'static str,
    /// The commit that it was built from.
    pub commit: &'static str,
    /// The implementation that computed.
    pub path: &'static str,
    /// The seed of everything that drew.
    pub seed: u64,
    /// The dumps that were read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dumps: Vec<DumpSource>,
    /// The scores and sets that were made elsewhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub given: Vec<GivenSource>,
    /// The model that was run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelSource>,
}

/// One model, by name and content.
#[derive(Clone, Debug, Serialize)]
pub struct ModelSource {
    /// The model's name.
    pub name: String,
    /// SHA-256 of its GGUF file, or of the files of its snapshot.
    pub sha256: String,
}

/// One dump, by name and content.
#[derive(Clone, Debug, Serialize)]
pub struct DumpSource {
    /// The model whose activations it holds.
    pub model: String,
    /// SHA-256 over all its files.
    pub sha256: String,
}

impl Provenance {
    /// Reads the dumps once for their digests.
    ///
    /// # Errors
    /// When a file of a dump cannot be read.
    pub fn new(common: &Common, path: &'static str, dumps: &[&Dump]) -> Result<Self> {
        let source = |dump: &&Dump| -> Result<DumpSource> {
            Ok(DumpSource { model: dump.manifest().model.name.clone(), sha256: dump.digest(|_| ())? })
        };
        let dumps = dumps.iter().map(source).collect::<Result<_>>()?;
        Ok(Self { dumps, ..Self::bare(common, path) })
    }

    /// The run over a dump whose digest is known.
    #[must_use]
    pub fn of_dump(common: &Common, path: &'static str, dump: &Dump, sha256: String) -> Self {
        let model = dump.manifest().model.name.clone();
        Self { dumps: vec![DumpSource { model, sha256 }], ..Self::bare(common, path) }
    }

    /// The same run, with scores and sets that were made elsewhere.
    #[must_use]
    pub fn with(self, given: Vec<GivenSource>) -> Self {
        Self { given, ..self }
    }

    /// The run of a model.
    #[must_use]
    pub fn of_model(common: &Common, path: &'static str, model: &Model) -> Self {
        let source = ModelSource { name: model.name().to_owned(), sha256: model.sha256().to_owned() };
        Self { model: Some(source), ..Self::bare(common, path) }
    }

    fn bare(common: &Common, path: &'static str) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            commit: env!("LAPROX_COMMIT"),
            path,
            seed: common.seed,
            dumps: Vec::new(),
            given: Vec::new(),
            model: None,
        }
    }
}
