use laprox_reference::{
    Activations, Backend, Budget, Elements, LayerIndex, LayerProblem, ModelScores, Policy,
};
use laprox_reference::{Reference, TensorView, evict};

fn main() -> Result<(), laprox_reference::Error> {
    // One layer: 2 query heads over 1 KV head, d = 2, D = 3, a context of 8 and a window of 2.
    let numbers = |count: usize| -> Vec<f64> { (0..count).map(|i| (i as f64 * 0.7).sin()).collect() };
    let (query, key, value, weight) = (numbers(8), numbers(16), numbers(16), numbers(12));
    let activations = Activations {
        query: TensorView::new([2, 2, 2], Elements::F64(&query))?,
        key: TensorView::new([1, 8, 2], Elements::F64(&key))?,
        value: TensorView::new([1, 8, 2], Elements::F64(&value))?,
        output_projection: TensorView::new([3, 4], Elements::F64(&weight))?,
        future_query: None,
    };
    let problem = LayerProblem::new(LayerIndex(0), 0.7, activations)?;
    let shape = problem.shape();

    let layer = Reference.prepare(&problem)?;
    let policy: Policy = "laprox:pool=none".parse()?;
    let scores = ModelScores::new(vec![layer.score(&policy)?], vec![layer.output_norm()], shape.kv_heads)?;

    let budget: Budget = "50%".parse()?;
    let per_head = budget.candidates_per_head(shape.context_len, shape.window_len)?;
    let retained = evict(&policy, &scores, per_head, shape.window_len)?;
    assert_eq!(retained.positions().len(), 4);

    let errors = layer.evaluate(retained.layer(0))?;
    assert!(errors.drop.layer_wise.relative() < 1.0);
    Ok(())
}
