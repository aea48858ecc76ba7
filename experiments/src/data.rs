//! The data that come with the binary: the default dump, the committed results, the ablations' configurations.
//!
//! They are embedded, so that an installed binary needs no source tree. A command that reads a folder of them gets a
//! temporary copy, unless `--data-dir` or the variable `LAPROX_DATA` names another place.

use std::env;
use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use include_dir::{Dir, include_dir};
use laprox_fixtures::staging::Staging;

use crate::exit::Missing;

/// The environment variable that takes the place of `--data-dir`.
pub const VARIABLE: &str = "LAPROX_DATA";

/// One of the folders.
#[derive(Debug)]
pub struct Part {
    /// Its name inside `--data-dir`.
    name: &'static str,
    embedded: Dir<'static>,
}

/// The dump of a real model.
pub static DUMP: Part = Part {
    name: "smollm2-135m",
    embedded: include_dir!("$CARGO_MANIFEST_DIR/../fixtures/data/smollm2-135m"),
};

/// The results from which `laprox tables --quick` makes the tables.
pub static RESULTS: Part = Part { name: "results", embedded: include_dir!("$CARGO_MANIFEST_DIR/results") };

/// The configurations of the ablations.
pub static ABLATIONS: Part =
    Part { name: "ablations", embedded: include_dir!("$CARGO_MANIFEST_DIR/ablations") };

/// A folder to read. A temporary copy is removed when it is dropped.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    _copy: Option<Staging>,
}

impl DataFolder {
    /// The folder that a user named, otherwise the part: from `data_dir`, from the place that the environment names, or from
    /// the binary.
    ///
    /// # Errors
    /// [`Missing`] when the part is not at the named place; otherwise when the copy cannot be written.
    pub fn open(named: Option<&Path>, part: &Part, data_dir: Option<&Path>) -> Result<Self> {
        if let Some(path) = named {
            return Ok(Self { path: path.to_owned(), _copy: None });
        }
        let variable = || env::var_os(VARIABLE).filter(|place| !place.is_empty()).map(PathBuf::from);
        let Some(place) = data_dir.map(Path::to_owned).or_else(variable) else {
            return Self::unpack(part).context("a temporary copy of the embedded data");
        };
        let path = place.join(part.name);
        if !path.is_dir() {
            let found = format!("{}: no such folder, expected by --data-dir or {VARIABLE}", path.display());
            return Err(Missing(found).into());
        }
        Ok(Self { path, _copy: None })
    }

    fn unpack(part: &Part) -> Result<Self> {
        let copy = Staging::within(&env::temp_dir())?;
        let path = copy.path().join(part.name);
        fs::create_dir(&path)?;
        part.embedded.extract(&path).with_context(|| path.display().to_string())?;
        Ok(Self { path, _copy: Some(copy) })
    }
}

impl Deref for DataFolder {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}
