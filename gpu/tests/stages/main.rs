//! Every stage on the device against the reference. The tests run on a GPU if there is one, else under the interpreter.

#[path = "../common/mod.rs"]
mod common;

mod attend;
mod bounds;
mod evaluate;
mod gram;
mod model;
mod project;
mod score;
mod select;
mod shapes;
mod timing;
