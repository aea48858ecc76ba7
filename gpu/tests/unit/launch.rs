//! A launch that does not fit its kernel is refused before the driver sees it.

use super::Grid;
use crate::device::Device;

fn device() -> Device {
    laprox_ptxsim::driver::install().unwrap();
    Device::open().unwrap().unwrap()
}

/// `score_sum` takes two addresses and a count.
fn refusal(grid: Grid, parts: usize, extents: &[usize], count: usize) -> String {
    let device = device();
    let parts = device.copy_in(&vec![1.0_f32; parts]).unwrap();
    let mut sum = device.allocate::<f32>(&[1]).unwrap();
    let launch = device.launch("score_sum", grid).unwrap().input(&parts, extents).output(&mut sum, &[1]);
    launch.int(count).run().unwrap_err().to_string()
}

const FITS: Grid = Grid { blocks: [1; 3], threads: 256, shared: 0 };

#[test]
fn a_launch_that_fits_is_run() {
    let device = device();
    let parts = device.copy_in(&[1.0_f32; 300]).unwrap();
    let mut sum = device.allocate::<f32>(&[1]).unwrap();
    let launch = device.launch("score_sum", FITS).unwrap().input(&parts, &[3, 100]).output(&mut sum, &[1]);
    launch.int(300).run().unwrap();
    assert_eq!(device.copy_out(&sum).unwrap(), [300.0]);
}

#[test]
fn a_buffer_that_is_not_its_extents_is_refused() {
    assert!(refusal(FITS, 5, &[2, 3], 5).contains("argument 0: expected [2, 3] elements, found 5"));
    assert!(refusal(FITS, 5, &[usize::MAX, 2], 5).contains("argument 0"));
}

#[test]
fn a_size_beyond_31_bits_is_refused() {
    assert!(refusal(FITS, 5, &[5], 1 << 31).contains("2147483648 does not fit 31 bits"));
}

#[test]
fn a_grid_that_no_device_takes_is_refused() {
    for blocks in [[0, 1, 1], [1, 65_536, 1], [1, 1, 65_536], [1 << 31, 1, 1]] {
        assert!(refusal(Grid { blocks, ..FITS }, 5, &[5], 5).contains("a grid of"), "{blocks:?}");
    }
    for threads in [0, 1025] {
        assert!(refusal(Grid { threads, ..FITS }, 5, &[5], 5).contains("threads"), "{threads}");
    }
    assert!(refusal(Grid { shared: 1 << 20, ..FITS }, 5, &[5], 5).contains("1048576 bytes of shared memory"));
}

#[test]
fn arguments_that_are_too_few_are_refused() {
    let device = device();
    let parts = device.copy_in(&[1.0_f32; 5]).unwrap();
    let refusal =
        device.launch("score_sum", FITS).unwrap().input(&parts, &[5]).run().unwrap_err().to_string();
    assert!(refusal.contains("expected parameters of [8, 8, 4] bytes, found [8]"), "{refusal}");
}
