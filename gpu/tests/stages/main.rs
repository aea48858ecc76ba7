//! Every stage on the device against the reference.

#[path = "../common/mod.rs"]
mod common;

mod quick;
