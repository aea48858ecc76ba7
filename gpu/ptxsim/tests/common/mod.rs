//! Small kernels, and buffers for them.

#![allow(dead_code, reason = "each test binary uses its own part")]

use laprox_ptxsim::{Fault, Finding, Launch, Memory, Module, Statistics};

/// A kernel `k` over addresses `a`, `b` and `c`, with registers of every kind and 1 KiB of shared memory, `tile`. The body
/// begins with the addresses in `%rd0`, `%rd1` and `%rd2` and the thread's index in `%r0`.
#[must_use]
pub fn text(body: &str) -> String {
    format!(
        ".version 8.4
.target sm_80
.address_size 64
.extern .shared .align 16 .b8 dynamic[];
.visible .entry k(
    .param .u64 a,
    .param .u64 b,
    .param .u64 c
)
.maxntid 256, 1, 1
{{
    .reg .pred %p<8>;
    .reg .b16 %rs<8>;
    .reg .b32 %r<32>;
    .reg .f32 %f<32>;
    .reg .b64 %rd<32>;
    .reg .f64 %fd<8>;
    .shared .align 16 .b8 tile[1024];
    ld.param.u64 %rd0, [a];
    ld.param.u64 %rd1, [b];
    ld.param.u64 %rd2, [c];
    mov.u32 %r0, %tid.x;
{body}
    ret;
}}
"
    )
}

/// A kernel with its buffers.
pub struct Bench {
    pub module: Module,
    pub memory: Memory,
    pub buffers: [u64; 3],
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub dynamic_shared: usize,
}

impl Bench {
    /// One block of 32 threads, and buffers of 1 KiB that nobody wrote.
    #[must_use]
    pub fn new(body: &str) -> Self {
        let module = Module::parse(&text(body)).unwrap();
        let mut memory = Memory::default();
        let buffers = std::array::from_fn(|_| memory.allocate(1024));
        Self { module, memory, buffers, grid: [1; 3], block: [32, 1, 1], dynamic_shared: 0 }
    }

    #[must_use]
    pub fn threads(self, threads: u32) -> Self {
        Self { block: [threads, 1, 1], ..self }
    }

    #[must_use]
    pub fn blocks(self, blocks: u32) -> Self {
        Self { grid: [blocks, 1, 1], ..self }
    }

    /// Fills buffer `index` with words.
    #[must_use]
    pub fn with(mut self, index: usize, words: &[u32]) -> Self {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.memory.write(self.buffers[index], &bytes).unwrap();
        self
    }

    pub fn run(&mut self) -> Result<Statistics, Finding> {
        let parameters: Vec<u8> = self.buffers.iter().flat_map(|buffer| buffer.to_le_bytes()).collect();
        Launch {
            kernel: self.module.kernel("k").unwrap(),
            grid: self.grid,
            block: self.block,
            dynamic_shared: self.dynamic_shared,
            parameters: &parameters,
        }
        .run(&mut self.memory)
    }

    /// The first words of buffer `index` after a run without a fault.
    #[must_use]
    pub fn words(mut self, index: usize, count: usize) -> Vec<u32> {
        self.run().unwrap();
        let bytes = self.memory.read(self.buffers[index], 4 * count).unwrap();
        bytes.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect()
    }

    /// The fault of a run, with its thread and the instruction.
    #[must_use]
    pub fn fault(mut self) -> (Fault, u32, String) {
        let finding = self.run().unwrap_err();
        assert_eq!(finding.kernel, "k");
        let line = text("").lines().count();
        assert!(finding.line > 10 && finding.line < line + 200, "{finding}");
        (*finding.fault, finding.thread, finding.instruction)
    }
}
