//! Without a driver, opening a device is not an error and opening the path is a clear one.

use laprox_gpu::{Device, DeviceError, Gpu};

/// The stand-in is not loaded here.
#[test]
fn a_machine_without_a_driver_is_told_so() {
    if Device::open().unwrap().is_some() {
        println!("skipped: this machine has a device");
        return;
    }
    let error = Gpu::open().unwrap_err();
    assert!(matches!(error, DeviceError::NoDriver));
    assert_eq!(error.to_string(), "no CUDA driver with a device on this machine");
    assert!(Device::open_for_timing().unwrap().is_none());
}
