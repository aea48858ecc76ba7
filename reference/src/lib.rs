//! LaProx by definition.

pub mod error;
pub mod problem;
pub mod shape;
pub mod tensor;

pub use error::Error;
pub use problem::{Activations, LayerProblem};
pub use shape::{KvHead, LayerIndex, LayerShape, Position, QueryHead};
pub use tensor::{Elements, TensorView};
