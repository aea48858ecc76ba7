//! The keys of radix selection order scores as the scores themselves.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn keys_order_scores_as_numbers(one in any::<f64>(), two in any::<f64>()) {
        prop_assume!(one.is_finite() && two.is_finite());
        prop_assert_eq!(key(one).cmp(&key(two)), one.partial_cmp(&two).unwrap());
        prop_assert_eq!(score(key(one)), one);
    }
}

#[test]
fn both_zeros_have_one_key() {
    assert_eq!(key(-0.0), key(0.0));
    assert!(key(-f64::from_bits(1)) < key(0.0) && key(0.0) < key(f64::from_bits(1)));
}
