//! A register of a warp: one 64-bit value per lane. Narrower values are in the low bits.

/// Lanes per warp.
pub(crate) const WARP: usize = 32;

/// All lanes, as a mask.
pub(crate) const ALL: u32 = u32::MAX;

/// One value per lane.
pub(crate) type Lanes = [u64; WARP];

/// The lanes in a mask, ascending.
pub(crate) fn lanes_in(mask: u32) -> impl Iterator<Item = usize> {
    (0..WARP).filter(move |lane| mask >> lane & 1 == 1)
}
