//! `128`, `5%` or `0.05`: which texts parse, how they round, and which entries they leave.

mod common;

use laprox_reference::{Budget, CandidatesPerHead, EntriesPerHead};
use proptest::prelude::*;

use common::{config, refusal};

fn budget(text: &str) -> Budget {
    text.parse().unwrap()
}

/// Entries kept of `n` under a window of 1.
fn kept(text: &str, n: usize) -> usize {
    budget(text).resolve(n, 1).unwrap().0
}

/// `parts / 10^decimals` as a plain decimal.
fn decimal(parts: u64, decimals: usize) -> String {
    let digits = format!("{parts:0width$}", width = decimals + 1);
    let (integer, rest) = digits.split_at(digits.len() - decimals);
    if decimals == 0 { integer.to_owned() } else { format!("{integer}.{rest}") }
}

/// A decimal above 0 and at most 100, its digits and how many of them follow the point.
fn percentages() -> impl Strategy<Value = (u64, usize)> {
    (0..=5_usize).prop_flat_map(|decimals| (1..=100 * 10_u64.pow(decimals as u32), Just(decimals)))
}

proptest! {
    #![proptest_config(config(1024, "tests/budgets.proptest-regressions"))]

    #[test]
    fn tokens_print_as_they_parse(tokens: usize) {
        prop_assert_eq!(budget(&tokens.to_string()), Budget::Tokens(tokens));
        prop_assert_eq!(Budget::Tokens(tokens).to_string(), tokens.to_string());
    }

    #[test]
    fn a_percentage_prints_to_the_same_fraction((parts, decimals) in percentages()) {
        let parsed = budget(&format!("{}%", decimal(parts, decimals)));
        prop_assert_eq!(budget(&parsed.to_string()), parsed);
    }

    #[test]
    fn a_percentage_is_a_hundredth_of_its_fraction((parts, decimals) in percentages()) {
        let percentage = budget(&format!("{}%", decimal(parts, decimals)));
        prop_assert_eq!(percentage, budget(&decimal(parts, decimals + 2)));
    }

    /// Every fraction that parses prints to text that parses, however many digits it has.
    #[test]
    fn every_fraction_prints_to_text_that_parses(text in "(0|1)?\\.[0-9]{1,18}%?") {
        if let Ok(parsed) = text.parse::<Budget>() {
            prop_assert_eq!(parsed.to_string().parse::<Budget>(), Ok(parsed));
        }
    }

    /// `b = floor(n * parts / 10^k + 1/2)`: no `b` lies nearer, and a half goes up.
    #[test]
    fn fractions_round_half_up(parts in 1..=10_000_u64, n in 1..=100_000_usize) {
        let text = decimal(parts, 4);
        let (exact, whole) = (n as u128 * u128::from(parts), 10_000);
        match budget(&text).resolve(n, 0) {
            Ok(EntriesPerHead(b)) => {
                let doubled = 2 * b as u128 * whole;
                prop_assert!(doubled <= 2 * exact + whole && 2 * exact + whole < doubled + 2 * whole);
            }
            Err(_) => prop_assert!(2 * exact < whole),
        }
    }

    #[test]
    fn a_resolved_budget_lies_between_the_window_and_the_context(
        tokens in 0..50_usize,
        (n, w) in (1..40_usize).prop_flat_map(|n| (Just(n), 1..=n)),
    ) {
        let budget = Budget::Tokens(tokens);
        match budget.resolve(n, w) {
            Ok(EntriesPerHead(b)) => {
                prop_assert_eq!(b, tokens.min(n));
                prop_assert_eq!(budget.candidates_per_head(n, w), Ok(CandidatesPerHead(b - w)));
            }
            Err(_) => {
                prop_assert!(tokens <= w && tokens < n);
                prop_assert!(budget.candidates_per_head(n, w).is_err());
            }
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in prop_oneof![any::<String>(), "[0-9.%+eE-]{0,24}"]) {
        if let Ok(budget) = text.parse::<Budget>() {
            let _ = budget.to_string();
            for n in [0, 1, 512, usize::MAX] {
                let _ = budget.resolve(n, 0);
            }
        }
    }
}

#[test]
fn five_percent_is_one_value_however_written() {
    for text in ["5%", "0.05", ".05", "5.0%", "0.050", "05%", "5.%"] {
        assert_eq!(budget(text), Budget::Fraction { parts: 5, whole: 100 }, "{text}");
    }
}

#[test]
fn fractions_print_as_percentages() {
    for (text, printed) in [
        ("0.05", "5%"),
        ("0.5", "50%"),
        ("12.5%", "12.5%"),
        ("0.125", "12.5%"),
        ("0.00625", "0.625%"),
        ("1.0", "100%"),
        ("0.01%", "0.01%"),
        ("20.05%", "20.05%"),
        ("128", "128"),
    ] {
        assert_eq!(budget(text).to_string(), printed);
    }
}

/// 0.05 of 510 is 25.5 and goes up, though the nearest double to 0.05 lies elsewhere.
#[test]
fn halves_go_up_exactly() {
    assert_eq!((kept("0.05", 509), kept("0.05", 510), kept("0.05", 530)), (25, 26, 27));
    assert_eq!((kept("5%", 509), kept("5%", 510)), (25, 26));
    assert_eq!((kept("12.5%", 20), kept("12.5%", 19), kept("12.5%", 100)), (3, 2, 13));
    assert_eq!((kept("0.15", 10), kept("0.35", 10), kept("0.45", 10)), (2, 4, 5));
    // 0.285 * 100 is 28.499999999999996 in f64.
    assert_eq!(kept("28.5%", 100), 29);
}

/// The product does not overflow on its way.
#[test]
fn fractions_of_huge_contexts_are_exact() {
    assert_eq!(kept("50%", usize::MAX), 1 << 63);
    assert_eq!(kept("0.000000000000001", 4_500_000_000_000_000), 5);
}

#[test]
fn a_budget_of_the_context_or_more_keeps_everything() {
    for text in ["100%", "1.0", "10", "11", "18446744073709551615", "95%", "99.999%"] {
        assert_eq!(budget(text).resolve(10, 3), Ok(EntriesPerHead(10)), "{text}");
        assert_eq!(budget(text).candidates_per_head(10, 3), Ok(CandidatesPerHead(7)), "{text}");
    }
    assert_eq!(budget("10").resolve(10, 10), Ok(EntriesPerHead(10)));
    assert_eq!(budget("100%").candidates_per_head(10, 10), Ok(CandidatesPerHead(0)));
}

#[test]
fn a_budget_of_the_window_or_less_is_refused() {
    for text in ["3", "2", "0", "30%", "0.34", "0.0001"] {
        let message = refusal(budget(text).resolve(10, 3));
        assert!(message.contains("expected more than the window of 3"), "{message}");
    }
    assert_eq!(budget("4").candidates_per_head(10, 3), Ok(CandidatesPerHead(1)));
    assert_eq!(budget("35%").candidates_per_head(10, 3), Ok(CandidatesPerHead(1)));
    let message = refusal(budget("30%").resolve(10, 3));
    assert_eq!(message, "budget 30%: keeps 3 of 10 entries, expected more than the window of 3");
}

#[test]
fn a_fraction_of_nothing_or_of_more_than_all_is_refused() {
    for text in ["0%", "0.0", "0.000%", ".0", "101%", "1.5", "100.001%", "1.0000001", "9999%"] {
        let message = refusal(text.parse::<Budget>());
        assert!(message.ends_with("expected a fraction above 0 and at most 100%"), "{message}");
    }
}

#[test]
fn what_is_no_budget_is_refused_with_what_would_be() {
    for text in [
        "",
        " ",
        "%",
        ".",
        ".%",
        "%5",
        "5%%",
        "5 %",
        " 5",
        "5 ",
        "+5",
        "+5%",
        "+0.5",
        "-5",
        "-5%",
        "-0.5",
        "NaN",
        "nan%",
        "inf",
        "1e3",
        "1e-3",
        "1e1%",
        "0x10",
        "1_000",
        "1,5%",
        "0.5.0",
        "five",
        "0.05f",
        "٥%",
        "18446744073709551616",
        "99999999999999999999999999999999",
        "9999999999999999999999%",
        "0.00000000000000000000000000000001",
    ] {
        let message = refusal(text.parse::<Budget>());
        assert!(
            message.ends_with("expected tokens (128), a percentage (5%) or a fraction (0.05)"),
            "{message}"
        );
    }
}
