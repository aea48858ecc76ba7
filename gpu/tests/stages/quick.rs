use laprox_gpu::*;
use crate::common::{device, naive_device, problem::*};

#[test]
fn quick() {
    for (kv, g, w, ctx) in [(1, 1, 32, 100)] {
        let sizes = Sizes { head_dim: 128, kv_heads: kv, group_size: g, window_len: w, ..Sizes::with_context(ctx) };
        let problem = Problem::alive(sizes, Format::Bf16, 3);
        let lp = problem.layer_problem();
        for dev in [device(), naive_device()] {
            let layer = DeviceLayer::upload(&dev, &lp).unwrap();
            let (a, b) = layer.debug_rows();
            println!("{a:?} {b:?}");
        }
    }
}
