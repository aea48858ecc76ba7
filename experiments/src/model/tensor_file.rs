//! The files that hold a model's tensors, whatever their format.

use std::collections::BTreeSet;

use candle_core::Tensor;

use super::error::{Error, Result};
use super::stored::Matrix;

/// Tensors by name. A file has names of its own, the model asks for a tensor by its name in GGUF.
pub(super) trait TensorFile {
    /// The tensors' own names.
    fn names(&self) -> BTreeSet<String>;

    /// The file's own name of a tensor.
    fn own_name(&self, name: &str) -> String;

    /// Whether the model has the tensor `name` of `scope`, where its architecture lists those that it may lack.
    fn has(&self, scope: &str, name: &str, optional: &[&str]) -> bool;

    /// Reads a tensor by the file's own name for it, checks its shape (rows first, as PyTorch names it) and turns it into
    /// f32.
    ///
    /// # Errors
    /// [`Error::Tensor`] when it is missing, misshapen, or of a type that is not read.
    fn tensor(&self, own_name: &str, shape: &[usize]) -> Result<Tensor>;

    /// Takes a matrix by the file's own name for it, as it is stored, and checks its shape `[rows, columns]`.
    ///
    /// # Errors
    /// As [`TensorFile::tensor`].
    fn matrix(&self, own_name: &str, shape: [usize; 2]) -> Result<Matrix>;

    /// The error that names a tensor by the file's own name for it.
    fn bad_tensor(&self, own_name: &str, reason: String) -> Error;
}
