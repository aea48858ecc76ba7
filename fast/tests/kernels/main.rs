//! Every kernel at every instruction set of the machine, on its own.

mod exp;
mod panel;
mod pool;
mod syrk;
mod tile;
mod widen;
