//! Runs PTX on the CPU and checks every access.
//!
//! It reports errors that a GPU passes over silently: accesses outside of an allocation, reads of unwritten memory, races
//! between barriers, barriers that not all threads reach, copies that no wait completes. Each is a [`Finding`] with kernel,
//! block, thread and PTX line. An unknown instruction is a [`ParseError`].
//!
//! ```
//! use laprox_ptxsim::{Launch, Memory, Module};
//!
//! let module = Module::parse(
//!     ".visible .entry double(.param .u64 numbers) {
//!         .reg .b32 %r<3>; .reg .b64 %rd<2>;
//!         ld.param.u64 %rd0, [numbers];
//!         ld.global.u32 %r0, [%rd0];
//!         add.u32 %r1, %r0, %r0;
//!         st.global.u32 [%rd0], %r1;
//!         ret;
//!     }",
//! )?;
//! let mut memory = Memory::default();
//! let numbers = memory.allocate(4);
//! memory.write(numbers, &21_u32.to_le_bytes())?;
//! let kernel = module.kernel("double").expect("it is there");
//! let parameters = numbers.to_le_bytes();
//! Launch { kernel, grid: [1; 3], block: [1; 3], dynamic_shared: 0, parameters: &parameters }.run(&mut memory)?;
//! assert_eq!(memory.read(numbers, 4)?, 42_u32.to_le_bytes());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! It models no weak memory order, no resource limits except shared memory and threads, and no speed.
//!
//! The crate is also a shared library, [`driver`], that stands in for `libcuda.so`.
#![deny(unsafe_code)]
#![warn(missing_docs)]

mod control;
mod copies;
mod decode;
#[allow(unsafe_code, reason = "the entry points take raw addresses from their callers")]
pub mod driver;
mod execute;
mod finding;
mod lanes;
mod launch;
mod memory;
mod mma;
mod parse;
mod program;
mod scalar;
mod statements;
mod surroundings;
mod warp;

pub use finding::{Access, Fault, Finding};
pub use launch::{Launch, MOST_SHARED, Statistics};
pub use memory::Memory;
pub use program::{Kernel, Module, Parameter};
pub use statements::ParseError;
