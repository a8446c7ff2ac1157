//! How far the outputs of two models are apart.

use serde::Serialize;

use crate::error::InferError;
use crate::input::Input;
use crate::session::{Array, Session};

/// The difference of one output between two models, for one run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OutputDifference {
    /// The output.
    pub output: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Largest absolute difference; infinite where one model gives NaN or infinity and the other does not.
    pub largest_difference: f64,
    /// Largest absolute finite value of the first model's output.
    pub largest_value: f64,
    /// `largest_difference / largest_value`; the difference itself where the first model's output is all zero.
    pub relative: f64,
    /// Index of the largest difference, one number for each axis; absent where there is none.
    pub position: Option<Vec<usize>>,
}

/// Runs both models on the same inputs and compares their outputs by name, in the order of `a`.
///
/// # Errors
/// Where the models have outputs of different names or shapes, or one cannot run on `inputs`.
pub fn compare(a: &Session, b: &Session, inputs: &[Input<'_>]) -> Result<Vec<OutputDifference>, InferError> {
    let names = |session: &Session| {
        let mut names: Vec<_> = session.output_names().to_vec();
        names.sort_unstable();
        names
    };
    if names(a) != names(b) {
        let list = |session: &Session| {
            session.output_names().iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        };
        return Err(InferError::OutputNames { a: list(a), b: list(b) });
    }
    let (from_a, from_b) = (a.run_inputs(inputs)?, b.run_inputs(inputs)?);
    let mut differences = Vec::with_capacity(a.output_names().len());
    for (name, left) in a.output_names().iter().zip(from_a.outputs()) {
        let place = b.output_names().iter().position(|other| other == name).expect("both have the same names");
        differences.push(difference(name, left, from_b.output(place))?);
    }
    Ok(differences)
}

fn difference(name: &str, a: &Array, b: &Array) -> Result<OutputDifference, InferError> {
    if a.shape != b.shape {
        return Err(InferError::OutputShapes { output: name.to_owned(), a: a.shape.clone(), b: b.shape.clone() });
    }
    let mut largest = (0.0, None);
    for (index, (&left, &right)) in a.data.iter().zip(&b.data).enumerate() {
        let apart = apart(left, right);
        if apart > largest.0 {
            largest = (apart, Some(index));
        }
    }
    let finite = a.data.iter().filter(|value| value.is_finite());
    let largest_value = finite.map(|&value| f64::from(value).abs()).fold(0.0, f64::max);
    Ok(OutputDifference {
        output: name.to_owned(),
        shape: a.shape.clone(),
        largest_difference: largest.0,
        largest_value,
        relative: if largest_value > 0.0 { largest.0 / largest_value } else { largest.0 },
        position: largest.1.map(|index| unravel(index, &a.shape)),
    })
}

fn apart(a: f32, b: f32) -> f64 {
    if a == b || (a.is_nan() && b.is_nan()) {
        return 0.0;
    }
    let apart = (f64::from(a) - f64::from(b)).abs();
    if apart.is_nan() { f64::INFINITY } else { apart }
}

fn unravel(mut index: usize, shape: &[usize]) -> Vec<usize> {
    let mut position: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&size| {
            let along = index % size;
            index /= size;
            along
        })
        .collect();
    position.reverse();
    position
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(data: [f32; 6]) -> Array {
        Array { shape: vec![2, 3], data: data.to_vec() }
    }

    #[test]
    fn the_largest_difference_is_found_with_its_place() {
        let found = difference("y", &array([1.0, -4.0, 0.0, 2.0, 0.0, 0.0]), &array([1.0, -4.0, 0.5, 2.0, -1.0, 0.0]));
        let found = found.unwrap();
        assert_eq!((found.largest_difference, found.largest_value, found.relative), (1.0, 4.0, 0.25));
        assert_eq!(found.position, Some(vec![1, 1]));
    }

    #[test]
    fn equal_outputs_do_not_differ_even_where_not_finite() {
        let same = array([f32::NAN, f32::INFINITY, 0.0, 1.0, 2.0, 3.0]);
        let found = difference("y", &same, &same).unwrap();
        assert_eq!((found.largest_difference, found.position), (0.0, None));
    }

    #[test]
    fn nan_against_a_number_is_infinitely_far() {
        let found = difference("y", &array([0.0; 6]), &array([0.0, 0.0, f32::NAN, 0.0, 0.0, 0.0])).unwrap();
        assert_eq!((found.relative, found.position), (f64::INFINITY, Some(vec![0, 2])));
    }

    #[test]
    fn different_shapes_are_an_error() {
        let other = Array { shape: vec![3, 2], data: vec![0.0; 6] };
        let message = difference("y", &array([0.0; 6]), &other).unwrap_err().to_string();
        assert_eq!(message, "output `y` has shape [2, 3] in one model and [3, 2] in the other");
    }
}
