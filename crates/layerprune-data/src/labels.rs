//! What is written beside images, as classes or as numbers to be learned.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::dataset::{Annotation, TargetKind, TargetRows, class_numbers};
use crate::error::DataError;

/// Most classes that label numbers may stand for.
pub(crate) const MAX_CLASSES: usize = 1 << 16;

/// What is written beside each image of a split.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Column {
    /// Nothing.
    None,
    /// The number of its class.
    Number(Vec<i128>),
    /// The name of its class.
    Name(Vec<String>),
    /// The numbers of its classes.
    Numbers(Vec<Vec<i128>>),
    /// The names of its classes.
    Names(Vec<Vec<String>>),
    /// A row of numbers; names are those of the columns if these are classes.
    Rows(TargetRows, Vec<String>),
}

impl Column {
    /// Classes by number if every text is one, else by name.
    pub(crate) fn of_texts(texts: Vec<String>) -> Column {
        match texts.iter().map(|text| number(text)).collect::<Option<Vec<i128>>>() {
            Some(numbers) => Column::Number(numbers),
            None => Column::Name(texts),
        }
    }

    /// The same with several classes for each image.
    pub(crate) fn of_lists(lists: Vec<Vec<String>>) -> Column {
        let numbers = |list: &Vec<String>| list.iter().map(|text| number(text)).collect::<Option<Vec<i128>>>();
        match lists.iter().map(numbers).collect::<Option<Vec<Vec<i128>>>>() {
            Some(numbers) => Column::Numbers(numbers),
            None => Column::Names(lists),
        }
    }

    /// Classes by number or name, several of them, or numbers to be learned: what all values are; nothing if there are none.
    pub(crate) fn of_json(values: &[&Value], at: impl Fn(usize) -> String) -> Result<Column, DataError> {
        let Some(first) = values.first() else { return Ok(Column::None) };
        let refuse = |(index, value): (usize, &Value), expected: &str| DataError::LabelAt {
            at: at(index),
            label: value.to_string(),
            expected: format!("{expected}, as that of {} is", at(0)),
        };
        let each = || values.iter().copied().enumerate();
        let is_integer = |value: &Value| value.is_i64() || value.is_u64();
        let integer = |value: &Value| value.as_i64().map(i128::from).or(value.as_u64().map(i128::from));
        match first {
            Value::Number(_) if values.iter().all(|value| is_integer(value)) => {
                Ok(Column::Number(values.iter().filter_map(|value| integer(value)).collect()))
            }
            Value::Number(_) => {
                let numbers = each().map(|place| Ok(place.1.as_f64().ok_or_else(|| refuse(place, "a number"))? as f32));
                let values = numbers.collect::<Result<_, DataError>>()?;
                Ok(Column::Rows(TargetRows { kind: TargetKind::Regression, values, width: 1 }, Vec::new()))
            }
            Value::String(_) => {
                let names = each().map(|place| place.1.as_str().ok_or_else(|| refuse(place, "a name")));
                Ok(Column::of_texts(names.map(|name| name.map(str::to_owned)).collect::<Result<_, _>>()?))
            }
            Value::Array(first) => {
                let lists = each().map(|place| place.1.as_array().ok_or_else(|| refuse(place, "a list")));
                let lists = lists.collect::<Result<Vec<_>, _>>()?;
                if lists.iter().all(|list| list.iter().all(is_integer)) {
                    return Ok(Column::Numbers(
                        lists.into_iter().map(|list| list.iter().filter_map(integer).collect()).collect(),
                    ));
                }
                if lists.iter().all(|list| list.iter().all(Value::is_string)) {
                    let texts = |list: &Vec<Value>| list.iter().filter_map(Value::as_str).map(str::to_owned).collect();
                    return Ok(Column::of_lists(lists.into_iter().map(texts).collect()));
                }
                let width = first.len();
                let mut numbers = Vec::with_capacity(values.len() * width);
                for (place, list) in each().zip(lists) {
                    let row: Option<Vec<f32>> = list.iter().map(|value| Some(value.as_f64()? as f32)).collect();
                    match row.filter(|row| row.len() == width) {
                        Some(row) => numbers.extend(row),
                        None => return Err(refuse(place, &format!("a list of {width} numbers"))),
                    }
                }
                Ok(Column::Rows(TargetRows { kind: TargetKind::Regression, values: numbers, width }, Vec::new()))
            }
            Value::Null | Value::Bool(_) | Value::Object(_) => Err(DataError::LabelAt {
                at: at(0),
                label: first.to_string(),
                expected: "a number, a name or a list of these".to_owned(),
            }),
        }
    }

    /// The same for the images after these; none if it's of another kind.
    pub(crate) fn followed_by(self, more: Column) -> Option<Column> {
        fn join<T>(mut values: Vec<T>, mut more: Vec<T>) -> Vec<T> {
            values.append(&mut more);
            values
        }
        Some(match (self, more) {
            (Column::None, Column::None) => Column::None,
            (Column::Number(values), Column::Number(more)) => Column::Number(join(values, more)),
            (Column::Name(values), Column::Name(more)) => Column::Name(join(values, more)),
            (Column::Numbers(values), Column::Numbers(more)) => Column::Numbers(join(values, more)),
            (Column::Names(values), Column::Names(more)) => Column::Names(join(values, more)),
            (Column::Rows(rows, names), Column::Rows(more, _)) if rows.width == more.width => {
                Column::Rows(TargetRows { values: join(rows.values, more.values), ..rows }, names)
            }
            _ => return None,
        })
    }

    /// What the images have that lie at these places.
    pub(crate) fn of_rows(&self, places: &[usize]) -> Column {
        fn pick<T: Clone>(values: &[T], places: &[usize]) -> Vec<T> {
            places.iter().map(|&place| values[place].clone()).collect()
        }
        match self {
            Column::None => Column::None,
            Column::Number(values) => Column::Number(pick(values, places)),
            Column::Name(values) => Column::Name(pick(values, places)),
            Column::Numbers(values) => Column::Numbers(pick(values, places)),
            Column::Names(values) => Column::Names(pick(values, places)),
            Column::Rows(rows, names) => {
                let row = |&place: &usize| rows.values[place * rows.width..][..rows.width].iter().copied();
                let values = places.iter().flat_map(row).collect();
                Column::Rows(TargetRows { values, ..rows.clone() }, names.clone())
            }
        }
    }

    /// Classes as labels or rows. They are counted by the train split, if that is another one, and named by `names`, if
    /// that is given. `at` says where an image's label stands.
    pub(crate) fn annotate(
        self,
        train: Option<Column>,
        names: Option<Vec<String>>,
        at: impl Fn(usize) -> String,
    ) -> Result<Annotation, DataError> {
        let column = if matches!(train, Some(Column::Name(_) | Column::Names(_))) { self.named() } else { self };
        let names = names.unwrap_or_else(|| train.as_ref().unwrap_or(&column).class_names());
        let label = |index: usize, number: i128| match usize::try_from(number) {
            Ok(label) if label < names.len() => Ok(label),
            _ => {
                let expected = match names.len() {
                    0 => "a class number".to_owned(),
                    count => format!("in 0..{count}"),
                };
                Err(DataError::LabelAt { at: at(index), label: number.to_string(), expected })
            }
        };
        let place = |index: usize, name: &String| {
            names.iter().position(|known| known == name).ok_or_else(|| DataError::LabelAt {
                at: at(index),
                label: name.clone(),
                expected: format!("among the {} classes", names.len()),
            })
        };
        match column {
            Column::None => Ok(Annotation::None),
            Column::Number(numbers) => {
                let labels = numbers.into_iter().enumerate().map(|(index, number)| label(index, number));
                Ok(Annotation::Classes { labels: labels.collect::<Result<_, _>>()?, names })
            }
            Column::Name(texts) => {
                let labels = texts.iter().enumerate().map(|(index, name)| place(index, name));
                Ok(Annotation::Classes { labels: labels.collect::<Result<_, _>>()?, names })
            }
            Column::Numbers(lists) => {
                let lists = lists.into_iter().enumerate();
                let lists = lists.map(|(index, list)| list.into_iter().map(|number| label(index, number)).collect());
                Ok(several(lists.collect::<Result<_, _>>()?, names))
            }
            Column::Names(lists) => {
                let lists = lists.iter().enumerate();
                let lists = lists.map(|(index, list)| list.iter().map(|name| place(index, name)).collect());
                Ok(several(lists.collect::<Result<_, _>>()?, names))
            }
            Column::Rows(rows, names) => Ok(Annotation::Targets { rows, names }),
        }
    }

    /// Names for classes that are given by number.
    fn named(self) -> Column {
        match self {
            Column::Number(numbers) => Column::Name(numbers.into_iter().map(|number| number.to_string()).collect()),
            Column::Numbers(lists) => {
                let named = |list: Vec<i128>| list.into_iter().map(|number| number.to_string()).collect();
                Column::Names(lists.into_iter().map(named).collect())
            }
            other => other,
        }
    }

    /// The names of all classes up to the largest number, or of all that are named, sorted.
    fn class_names(&self) -> Vec<String> {
        let up_to = |largest: Option<&i128>| {
            let count = largest.map_or(0, |largest| usize::try_from(largest + 1).unwrap_or(0));
            class_numbers(count.min(MAX_CLASSES))
        };
        match self {
            Column::None | Column::Rows(..) => Vec::new(),
            Column::Number(numbers) => up_to(numbers.iter().max()),
            Column::Numbers(lists) => up_to(lists.iter().flatten().max()),
            Column::Name(names) => names.iter().collect::<BTreeSet<_>>().into_iter().cloned().collect(),
            Column::Names(lists) => lists.iter().flatten().collect::<BTreeSet<_>>().into_iter().cloned().collect(),
        }
    }
}

/// A number that is written as one: `7`, not `07` or `+7`.
fn number(text: &str) -> Option<i128> {
    let number: i128 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// Rows of 0 and 1 that say which classes each image has.
fn several(lists: Vec<Vec<usize>>, names: Vec<String>) -> Annotation {
    let width = names.len();
    let mut values = vec![0.0; lists.len() * width];
    for (index, list) in lists.into_iter().enumerate() {
        for label in list {
            values[index * width + label] = 1.0;
        }
    }
    Annotation::Targets { rows: TargetRows { kind: TargetKind::MultiLabel, values, width }, names }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn at(index: usize) -> String {
        format!("row {index}")
    }

    #[test]
    fn numbers_are_classes_up_to_the_largest_and_names_are_sorted() {
        let classes = |given: &[&str]| Column::of_texts(texts(given)).annotate(None, None, at).unwrap();
        let names = texts(&["0", "1", "2"]);
        assert_eq!(classes(&["2", "0"]), Annotation::Classes { labels: vec![2, 0], names });
        let names = texts(&["07", "cat", "dog"]);
        assert_eq!(classes(&["dog", "07", "cat"]), Annotation::Classes { labels: vec![2, 0, 1], names });
    }

    #[test]
    fn the_train_split_counts_the_classes() {
        let test = || Column::of_texts(texts(&["1"]));
        let train = Column::of_texts(texts(&["0", "1", "2"]));
        let Annotation::Classes { labels, names } = test().annotate(Some(train), None, at).unwrap() else { panic!() };
        assert_eq!((labels, names.len()), (vec![1], 3));
        let train = Column::of_texts(texts(&["1", "one"]));
        let Annotation::Classes { labels, .. } = test().annotate(Some(train), None, at).unwrap() else { panic!() };
        assert_eq!(labels, [0]);
        let train = Column::of_texts(texts(&["0"]));
        let error = test().annotate(Some(train), None, at).unwrap_err().to_string();
        assert_eq!(error, "row 0: label `1` is not in 0..1");
        let names = Some(texts(&["a", "b"]));
        let error = Column::Name(texts(&["a", "c"])).annotate(None, names, at).unwrap_err().to_string();
        assert_eq!(error, "row 1: label `c` is not among the 2 classes");
        let error = Column::Number(vec![3, -1]).annotate(None, None, at).unwrap_err().to_string();
        assert_eq!(error, "row 1: label `-1` is not in 0..4");
    }

    #[test]
    fn several_classes_are_rows_of_0_and_1() {
        let lists = vec![texts(&["sea", "sky"]), Vec::new(), texts(&["sky", "sky"])];
        let annotation = Column::of_lists(lists).annotate(None, None, at).unwrap();
        let values = vec![1.0, 1.0, 0.0, 0.0, 0.0, 1.0];
        let rows = TargetRows { kind: TargetKind::MultiLabel, values, width: 2 };
        assert_eq!(annotation, Annotation::Targets { rows, names: texts(&["sea", "sky"]) });
    }
}
