use laprox_reference::{
    Activations, Budget, Elements, InMemory, InTurn, LayerIndex, LayerProblem, Reference, Searching,
    TensorView, pipeline,
};

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
    let layers = InMemory::new(&Reference, vec![problem], InTurn)?;

    let budget: Budget = "50%".parse()?;
    let per_head = budget.candidates_per_head(8, 2)?;
    let sets =
        pipeline::evict(&Reference, &layers, &["laprox:pool=none".parse()?], &[per_head], &Searching::FREE)?
            .concat();
    assert_eq!(sets[0].positions().len(), 4);

    let errors = pipeline::evaluate(&layers, &sets)?;
    assert!(errors[0][0].drop.unwrap().layer_wise.relative() < 1.0);
    Ok(())
}
