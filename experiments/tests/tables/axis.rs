//! The ticks of axes, and the places of numbers on them.

use laprox_experiments::tables::svg::axis::Axis;

fn written(axis: Axis) -> Vec<String> {
    axis.ticks().into_iter().map(|(_, text)| text).collect()
}

#[test]
fn ticks_are_round_numbers_around_all_of_them() {
    assert_eq!(written(Axis::linear([3.0, 97.0], 0.0, 1.0)), ["0", "20", "40", "60", "80", "100"]);
    assert_eq!(
        written(Axis::linear([-0.2, 0.31], 0.0, 1.0)),
        ["-0.2", "-0.1", "0.0", "0.1", "0.2", "0.3", "0.4"]
    );
    assert_eq!(written(Axis::linear([4.1, 4.6], 0.0, 1.0)), ["4.1", "4.2", "4.3", "4.4", "4.5", "4.6"]);
    assert_eq!(written(Axis::logarithmic([0.04, 30.0], 0.0, 1.0)), ["0.01", "0.1", "1", "10", "100"]);
}

/// Rounding the ends outwards must not change how far ticks are apart.
#[test]
fn no_tick_is_beyond_an_end() {
    for tenth in 1..200 {
        let high = f64::from(tenth) * 0.1;
        let axis = Axis::linear([0.9 * high, high], 0.0, 1.0);
        let places: Vec<f64> = axis.ticks().iter().map(|(number, _)| axis.place(*number)).collect();
        assert!(places.iter().all(|place| (-1e-9..=1.0 + 1e-9).contains(place)), "{high}: {places:?}");
        assert!((3..=9).contains(&places.len()), "{high}: {places:?}");
    }
}

#[test]
fn ends_are_where_they_were_asked_for() {
    let axis = Axis::linear([0.0, 10.0], 300.0, 100.0);
    assert_eq!([0.0, 5.0, 10.0].map(|number| axis.place(number)), [300.0, 200.0, 100.0]);
    let axis = Axis::logarithmic([1.0, 100.0], 0.0, 10.0);
    assert_eq!([1.0, 10.0, 100.0].map(|number| axis.place(number)), [0.0, 5.0, 10.0]);
}

#[test]
fn one_number_or_none_still_has_an_axis() {
    for numbers in [&[][..], &[0.0], &[7.0], &[-7.0]] {
        let axis = Axis::linear(numbers.iter().copied(), 0.0, 1.0);
        assert!(axis.ticks().len() >= 2, "{numbers:?}");
        assert!(numbers.iter().all(|&number| (0.0..=1.0).contains(&axis.place(number))), "{numbers:?}");
    }
}
