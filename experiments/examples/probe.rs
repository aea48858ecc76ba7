use laprox_fixtures::Dump;
use laprox_reference::layer::Layer;
use laprox_reference::oracle::branch::{Limits, certify};
use laprox_reference::oracle::gram::{Form, LayerGram, PairGram};
use laprox_reference::oracle::relax::Effort;
use laprox_reference::*;
use std::time::Instant;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let dump = Dump::open(&args[1]).unwrap();
    let nodes: usize = args[2].parse().unwrap();
    let block: usize = args[3].parse().unwrap();
    let products: usize = args[4].parse().unwrap();
    let only: Option<usize> = args.get(5).map(|s| s.parse().unwrap());
    for slot in 0..dump.manifest().layers.len() {
        if only.is_some_and(|o| o != dump.manifest().layers[slot]) {
            continue;
        }
        let dl = dump.layer(0, slot).unwrap();
        let layer = Layer::new(&dl.problem().unwrap());
        let t = Instant::now();
        let gram = LayerGram::new(&layer, Form::LayerWise);
        let tg = t.elapsed().as_secs_f64();
        let policy: Policy = "laprox:pool=none,allocation=layer".parse().unwrap();
        let scores = laprox_reference::score::score(&layer, &policy).unwrap();
        let ms = ModelScores::new(vec![scores], vec![1.0], layer.shape.kv_heads).unwrap();
        for b in ["5%", "10%", "20%", "50%"] {
            let budget: Budget = b.parse().unwrap();
            let per = budget.candidates_per_head(layer.shape.context_len, layer.shape.window_len).unwrap();
            let set = evict(&policy, &ms, per, layer.shape.window_len).unwrap();
            let cl = layer.shape.candidate_len();
            let mut ev = vec![];
            for h in layer.shape.kv_heads() {
                for (p, k) in set.layer(0).keeps(h)[..cl].iter().enumerate() {
                    if !k {
                        ev.push(h.0 * cl + p);
                    }
                }
            }
            let start_err = {
                let x = laprox_reference::oracle::gram::indicator(gram.slots(), &ev);
                let p = gram.product(&x);
                x.iter().zip(&p.values).map(|(a, b)| a * b).sum::<f64>()
            };
            let t = Instant::now();
            let limits = Limits {
                gap: 0.001,
                nodes,
                effort: Effort { tolerance: 1e-4, products, block },
                swap_rounds: 20,
            };
            let mut first = None;
            let c = certify(&gram, ev.len(), &ev, limits, &mut |s| {
                if first.is_none() {
                    first = Some((s.gap(), t.elapsed().as_secs_f64()));
                }
                true
            });
            println!(
                "layer {} {b}: laprox/lb {:.4} gap {:.4}% nodes {} {:.2}s (root {:.3}% {:.2}s) gram {:.2}",
                dump.manifest().layers[slot],
                (start_err / c.squared_lower_bound).sqrt(),
                100.0 * c.gap(),
                c.nodes,
                t.elapsed().as_secs_f64(),
                100.0 * first.unwrap().0,
                first.unwrap().1,
                tg
            );
        }
    }
}
