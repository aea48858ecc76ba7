use laprox_gpu::{DeviceError, Gpu};
use laprox_reference::{
    Activations, Backend, Elements, LayerIndex, LayerProblem, Policy, Reference, TensorView,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let gpu = match Gpu::open() {
        Ok(gpu) => gpu,
        Err(DeviceError::NoDriver) => {
            println!("no device: --path fast computes the same");
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    // One layer: 2 query heads over 1 KV head, d = 64, D = 128, a context of 100 and a window of 4.
    let numbers = |count: usize| -> Vec<f32> { (0..count).map(|i| (i as f32 * 0.7).sin()).collect() };
    let (query, cached, weight) = (numbers(2 * 4 * 64), numbers(100 * 64), numbers(128 * 2 * 64));
    let activations = Activations {
        query: TensorView::new([2, 4, 64], Elements::F32(&query))?,
        key: TensorView::new([1, 100, 64], Elements::F32(&cached))?,
        value: TensorView::new([1, 100, 64], Elements::F32(&cached))?,
        output_projection: TensorView::new([128, 128], Elements::F32(&weight))?,
        future_query: None,
    };
    let problem = LayerProblem::new(LayerIndex(0), 0.125, activations)?;

    let score = "laprox".parse::<Policy>()?.score().ok_or("laprox ranks")?;
    let on_device = gpu.prepare(&problem)?.score(&score)?.into_host()?;
    let by_definition = Reference.prepare(&problem)?.score(&score)?.into_host()?;
    for (found, exact) in on_device.values().zip(by_definition.values()) {
        assert!((found - exact).abs() < 1e-3 * exact);
    }
    Ok(())
}
