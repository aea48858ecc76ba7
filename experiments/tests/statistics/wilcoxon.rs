//! The signed rank test against counts by hand and tables.

use laprox_experiments::statistics::wilcoxon::p_value;

/// All of one sign: only one of `2^n` choices of signs is as extreme, and its mirror.
#[test]
fn one_sign_throughout_has_the_least_p_value() {
    for n in 1..=12_i32 {
        let differences: Vec<f64> = (1..=n).map(f64::from).collect();
        assert_eq!(p_value(&differences), 2.0 * 0.5_f64.powi(n));
        let mirrored: Vec<f64> = differences.iter().map(|x| -x).collect();
        assert_eq!(p_value(&mirrored), 2.0 * 0.5_f64.powi(n));
    }
}

/// Of 16 choices of signs for the ranks 1 to 4, the sums 0, 1 and 2 have one each.
#[test]
fn four_differences_can_be_counted_by_hand() {
    assert_eq!(p_value(&[-1.0, 2.0, 3.0, 4.0]), 2.0 * 2.0 / 16.0);
    assert_eq!(p_value(&[1.0, -2.0, 3.0, 4.0]), 2.0 * 3.0 / 16.0);
    // A sum of 3 has two: {3} and {1, 2}.
    assert_eq!(p_value(&[1.0, 2.0, -3.0, 4.0]), 2.0 * 5.0 / 16.0);
    // 5 is the middle: everything is as extreme.
    assert_eq!(p_value(&[1.0, -2.0, -3.0, 4.0]), 1.0);
}

/// The textbook's critical values for a two-sided test: 8 of 10 at 0.05 (p = 0.0488), 3 of 10 at 0.01 (0.0098), 52 of 20 at 0.05.
#[test]
fn the_tables_critical_values_agree() {
    let with_sum = |n: usize, negative: &[usize]| {
        let sign = |rank: usize| if negative.contains(&rank) { -(rank as f64) } else { rank as f64 };
        p_value(&(1..=n).map(sign).collect::<Vec<_>>())
    };
    let within = |p: f64, stated: f64| assert!((p - stated).abs() < 5e-5, "{p} for {stated}");
    within(with_sum(10, &[8]), 0.0488);
    within(with_sum(10, &[9]), 0.0645);
    within(with_sum(10, &[3]), 0.0098);
    within(with_sum(10, &[4]), 0.0137);
    assert!(with_sum(20, &[20, 19, 13]) < 0.05 && with_sum(20, &[20, 19, 14]) > 0.05);
}

/// Two ties of rank 1.5 and one of 3: sums 0, 1.5, 1.5, 3, 3, 4.5, 4.5 and 6 of eight.
#[test]
fn ties_have_their_own_distribution() {
    assert_eq!(p_value(&[1.0, 1.0, 3.0]), 2.0 / 8.0);
    assert_eq!(p_value(&[-1.0, 1.0, 3.0]), 2.0 * 3.0 / 8.0);
    assert_eq!(p_value(&[1.0, 1.0, -3.0]), 1.0);
}

#[test]
fn zeros_say_nothing() {
    assert_eq!(p_value(&[]), 1.0);
    assert_eq!(p_value(&[0.0, -0.0]), 1.0);
    assert_eq!(p_value(&[0.0, 1.0, 2.0, 0.0]), p_value(&[1.0, 2.0]));
}

/// The chance of each sum of those of the ranks `1..=n` that are positive, all signs being equally probable.
fn chances(n: usize) -> Vec<f64> {
    let mut chances = vec![1.0];
    for rank in 1..=n {
        let mut next = vec![0.0; chances.len() + rank];
        for (sum, chance) in chances.into_iter().enumerate() {
            next[sum] += chance / 2.0;
            next[sum + rank] += chance / 2.0;
        }
        chances = next;
    }
    chances
}

/// Beyond 200 differences the normal distribution is within the expansion's next term of the exact one, of the order of 1 / n.
#[test]
fn many_differences_go_over_into_the_normal_distribution() {
    for n in [200, 201] {
        let differences: Vec<f64> = (1..=n).map(|i| f64::from(if i % 9 < 5 { i } else { -i })).collect();
        let sum = |sign: f64| differences.iter().map(|x| (sign * x).max(0.0)).sum::<f64>() as usize;
        let exact = 2.0 * chances(n as usize)[..=sum(1.0).min(sum(-1.0))].iter().sum::<f64>();
        let most = if n > 200 { 1.0 / 200.0 } else { 1e-12 };
        let found = p_value(&differences);
        assert!(exact < 0.5 && (exact - found).abs() < most, "{exact} and {found} of {n}");
    }
}
