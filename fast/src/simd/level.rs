//! Instruction sets, chosen at run time.

use std::fmt;

use pulp::{Arch, Simd, WithSimd};

/// An instruction set that kernels run with.
#[derive(Clone, Copy, Debug)]
pub struct Level(Arch);

/// The sizes that a level's registers give to kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registers {
    /// f32 numbers per register.
    pub lanes: usize,
    /// Registers per row of a panel of [`Panels`](super::Panels).
    pub panel: usize,
}

impl Level {
    /// The best level of this machine.
    #[must_use]
    pub fn best() -> Self {
        Self(Arch::new())
    }

    /// Every level of this machine, plain scalar code first.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut levels = vec![Self::scalar()];
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        {
            levels.extend(pulp::x86::V3::try_new().map(|simd| Self(Arch::V3(simd))));
            levels.extend(pulp::x86::V4::try_new().map(|simd| Self(Arch::V4(simd))));
        }
        #[cfg(target_arch = "aarch64")]
        levels.extend(pulp::aarch64::Neon::try_new().map(|simd| Self(Arch::Neon(simd))));
        levels
    }

    fn scalar() -> Self {
        Self(Arch::Scalar)
    }

    /// Runs a kernel.
    pub fn run<Op: WithSimd>(self, op: Op) -> Op::Output {
        self.0.dispatch(op)
    }

    /// The level's registers.
    #[must_use]
    pub fn registers(self) -> Registers {
        struct Ask;
        impl WithSimd for Ask {
            type Output = Registers;
            #[inline(always)]
            fn with_simd<S: Simd>(self, _: S) -> Registers {
                registers::<S>()
            }
        }
        self.run(Ask)
    }
}

/// The registers of `S`. A panel's width leaves room for the rows' number and the panel's own row beside the sums.
#[must_use]
pub(crate) fn registers<S: Simd>() -> Registers {
    Registers { lanes: S::F32_LANES, panel: if S::REGISTER_COUNT >= 32 { 4 } else { 2 } }
}

impl Default for Level {
    fn default() -> Self {
        Self::best()
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `Debug` of the variant lists every CPU feature after its name.
        let debug = format!("{:?}", self.0);
        f.write_str(debug.split('(').next().unwrap_or_default())
    }
}
