//! What is written beside images, as classes or as numbers to be learned.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::dataset::{Annotation, TargetKind, TargetRows, class_numbers};
use crate::error::DataError;

/// Most classes that label numbers may stand for.
pub(crate) const MAX_CLASSES: usize = 1 << 16;
/// Most numbers in the rows of several labels, 1 GiB.
const MAX_FLAGS: usize = 1 << 28;

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
    /// A row of numbers, and the headings of its columns where they have some.
    Rows(TargetRows, Vec<String>),
}

/// The labels of the train split, which say what those of another split are.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Train {
    pub(crate) column: Column,
    /// The file or folder that they are of.
    pub(crate) file: String,
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
                let numbers = each().map(|place| match place.1.as_f64() {
                    Some(number) => finite(number as f32, place.0, &at),
                    None => Err(refuse(place, "a number")),
                });
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
                        Some(row) => {
                            for value in row {
                                numbers.push(finite(value, place.0, &at)?);
                            }
                        }
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

    /// Classes as labels or rows. The train split, if that is another one, says of which kind they are, and in which order
    /// columns stand; it counts the classes, unless they are named by `names`. `at` says where an image's label stands.
    pub(crate) fn annotate(
        self,
        train: Option<Train>,
        names: Option<Vec<String>>,
        at: impl Fn(usize) -> String,
    ) -> Result<Annotation, DataError> {
        // Images without labels say nothing of those that have some.
        let train = train.filter(|train| train.column != Column::None);
        let column = match &train {
            Some(train) => self.like(train, &at)?,
            None => self,
        };
        let names = names.unwrap_or_else(|| train.as_ref().map_or(&column, |train| &train.column).class_names());
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
        // The first of two that are called the same.
        let places: BTreeMap<&str, usize> = names.iter().enumerate().rev().map(|(at, name)| (&**name, at)).collect();
        let place = |index: usize, name: &String| {
            places.get(&**name).copied().ok_or_else(|| DataError::LabelAt {
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
                several(lists.collect::<Result<_, _>>()?, names, at)
            }
            Column::Names(lists) => {
                let lists = lists.iter().enumerate();
                let lists = lists.map(|(index, list)| list.iter().map(|name| place(index, name)).collect());
                several(lists.collect::<Result<_, _>>()?, names, at)
            }
            Column::Rows(rows, headings) => {
                let names = match (rows.kind, headings.is_empty()) {
                    (TargetKind::Regression, _) => Vec::new(),
                    (TargetKind::MultiLabel, true) => class_numbers(rows.width),
                    (TargetKind::MultiLabel, false) => headings,
                };
                Ok(Annotation::Targets { rows, names })
            }
        }
    }

    /// The same labels as those of the train split are: of its kind, and columns in its order.
    fn like(self, train: &Train, at: &impl Fn(usize) -> String) -> Result<Column, DataError> {
        let refuse = |index: usize, label: String, expected: &str| DataError::LabelAt {
            at: at(index),
            label,
            expected: format!("{expected}, as `{}` has", train.file),
        };
        let lists = |column: Column| match column {
            Column::Number(numbers) => Column::Numbers(numbers.into_iter().map(|number| vec![number]).collect()),
            Column::Name(names) => Column::Names(names.into_iter().map(|name| vec![name]).collect()),
            other => other,
        };
        let column = match &train.column {
            Column::None => return Ok(self),
            Column::Number(_) => self,
            Column::Name(_) => self.named(),
            Column::Numbers(_) => lists(self),
            Column::Names(_) => lists(self.named()),
            Column::Rows(rows, _) => self.into_rows(rows, &refuse)?,
        };
        match (&train.column, column) {
            (Column::Rows(rows, headings), Column::Rows(found, found_headings)) => {
                if found.width != rows.width {
                    let row = format!("{:?}", &found.values[..found.width.min(found.values.len())]);
                    return Err(refuse(0, row, &numbers(rows.width)));
                }
                let order = order_of(&found_headings, headings, rows.width).ok_or_else(|| {
                    refuse(0, found_headings.join(", "), &format!("in columns {}", headings.join(", ")))
                })?;
                let values = found.values.chunks_exact(found.width.max(1));
                let values: Vec<f32> = values.flat_map(|row| order.iter().map(|&column| row[column])).collect();
                let is_flag = |value: &f32| *value == 0.0 || *value == 1.0;
                if rows.kind == TargetKind::MultiLabel
                    && let Some(place) = values.iter().position(|value| !is_flag(value))
                {
                    return Err(refuse(place / rows.width, values[place].to_string(), "0 or 1"));
                }
                Ok(Column::Rows(TargetRows { values, ..*rows }, headings.clone()))
            }
            (Column::Number(_) | Column::Name(_), Column::Rows(found, _)) => {
                let row = found.values.iter().take(found.width).map(f32::to_string).collect::<Vec<_>>();
                Err(refuse(0, row.join(", "), "one class"))
            }
            (Column::Number(_) | Column::Name(_), Column::Numbers(lists)) => {
                Err(refuse(0, format!("{:?}", lists.first().map_or(&[][..], Vec::as_slice)), "one class"))
            }
            (Column::Number(_) | Column::Name(_), Column::Names(lists)) => {
                Err(refuse(0, lists.first().map_or_else(String::new, |list| list.join(", ")), "one class"))
            }
            (Column::Numbers(_) | Column::Names(_), Column::Rows(found, _)) => {
                let row = found.values.iter().take(found.width).map(f32::to_string).collect::<Vec<_>>();
                Err(refuse(0, row.join(", "), "a list of classes"))
            }
            (_, column) => Ok(column),
        }
    }

    /// Whole numbers and lists of them as rows of numbers, where those of the train split are.
    fn into_rows(
        self,
        rows: &TargetRows,
        refuse: &impl Fn(usize, String, &str) -> DataError,
    ) -> Result<Column, DataError> {
        let lists: Vec<Vec<i128>> = match self {
            Column::None | Column::Rows(..) => return Ok(self),
            Column::Number(numbers) => numbers.into_iter().map(|number| vec![number]).collect(),
            Column::Numbers(lists) => lists,
            Column::Name(names) => return Err(no_number(names.into_iter(), refuse, &numbers(rows.width))),
            Column::Names(lists) => {
                return Err(no_number(lists.into_iter().map(|list| list.join(", ")), refuse, &numbers(rows.width)));
            }
        };
        if let Some(index) = lists.iter().position(|list| list.len() != rows.width) {
            let list: Vec<String> = lists[index].iter().map(i128::to_string).collect();
            return Err(refuse(index, list.join(", "), &numbers(rows.width)));
        }
        let values = lists.into_iter().flatten().map(|number| number as f32).collect();
        Ok(Column::Rows(TargetRows { values, ..*rows }, Vec::new()))
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
            let last = largest.map(|&largest| usize::try_from(largest.clamp(-1, MAX_CLASSES as i128 - 1)));
            class_numbers(last.map_or(0, |last| last.map_or(0, |last| last + 1)))
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

/// For each of the train split's columns the one with its heading; those without headings stand as they are.
fn order_of(found: &[String], headings: &[String], width: usize) -> Option<Vec<usize>> {
    if found.is_empty() || headings.is_empty() {
        return Some((0..width).collect());
    }
    let order: Option<Vec<usize>> =
        headings.iter().map(|heading| found.iter().position(|found| found == heading)).collect();
    // With a heading twice, two columns would be taken from one.
    order.filter(|order| order.iter().collect::<BTreeSet<_>>().len() == found.len())
}

/// The error of the first of these texts that is no number.
fn no_number(
    mut texts: impl Iterator<Item = String>,
    refuse: &impl Fn(usize, String, &str) -> DataError,
    expected: &str,
) -> DataError {
    let place = texts.by_ref().enumerate().find(|(_, text)| text.parse::<f32>().is_err());
    let (index, text) = place.unwrap_or_default();
    refuse(index, text, expected)
}

fn numbers(width: usize) -> String {
    if width == 1 { "a number".to_owned() } else { format!("{width} numbers") }
}

/// Refuses what can't be learned.
pub(crate) fn finite(value: f32, index: usize, at: impl Fn(usize) -> String) -> Result<f32, DataError> {
    if value.is_finite() {
        return Ok(value);
    }
    let expected = "a finite number (of 32 bits)".to_owned();
    Err(DataError::LabelAt { at: at(index), label: value.to_string(), expected })
}

/// Rows of 0 and 1 that say which classes each image has. Refuses what would take more than 1 GiB, which a single number far
/// beyond the others can make of few images.
fn several(lists: Vec<Vec<usize>>, names: Vec<String>, at: impl Fn(usize) -> String) -> Result<Annotation, DataError> {
    let width = names.len();
    let images = lists.len();
    let count = images.checked_mul(width).filter(|count| *count <= MAX_FLAGS);
    let Some(count) = count else {
        let (label, index) = lists
            .iter()
            .enumerate()
            .flat_map(|(index, list)| list.iter().map(move |label| (*label, index)))
            .max_by_key(|(label, index)| (*label, std::cmp::Reverse(*index)))
            .unwrap_or_default();
        let expected =
            format!("below {}, the most classes that are held for {images} images", MAX_FLAGS / images.max(1));
        return Err(DataError::LabelAt { at: at(index), label: names[label].clone(), expected });
    };
    let mut values = vec![0.0; count];
    for (index, list) in lists.into_iter().enumerate() {
        for label in list {
            values[index * width + label] = 1.0;
        }
    }
    Ok(Annotation::Targets { rows: TargetRows { kind: TargetKind::MultiLabel, values, width }, names })
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

    fn train(column: Column) -> Option<Train> {
        Some(Train { column, file: "train.csv".to_owned() })
    }

    fn rows(kind: TargetKind, values: &[f32], headings: &[&str]) -> Column {
        Column::Rows(TargetRows { kind, values: values.to_vec(), width: headings.len() }, texts(headings))
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
        let of = |names: &[&str]| train(Column::of_texts(texts(names)));
        let Annotation::Classes { labels, names } = test().annotate(of(&["0", "1", "2"]), None, at).unwrap() else {
            panic!()
        };
        assert_eq!((labels, names.len()), (vec![1], 3));
        let Annotation::Classes { labels, .. } = test().annotate(of(&["1", "one"]), None, at).unwrap() else {
            panic!()
        };
        assert_eq!(labels, [0]);
        let error = test().annotate(of(&["0"]), None, at).unwrap_err().to_string();
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

    #[test]
    fn columns_stand_in_the_order_of_the_train_split() {
        use TargetKind::{MultiLabel, Regression};
        for kind in [MultiLabel, Regression] {
            let of_train = || train(rows(kind, &[1.0, 0.0], &["sea", "sky"]));
            let swapped = rows(kind, &[1.0, 0.0, 0.0, 1.0], &["sky", "sea"]);
            let Annotation::Targets { rows: found, names } = swapped.annotate(of_train(), None, at).unwrap() else {
                panic!()
            };
            assert_eq!(found.values, [0.0, 1.0, 1.0, 0.0]);
            assert_eq!(names, if kind == MultiLabel { texts(&["sea", "sky"]) } else { Vec::new() });
            for headings in [&["sea", "sun"], &["sky", "sky"]] {
                let error = rows(kind, &[1.0, 0.0], headings).annotate(of_train(), None, at).unwrap_err().to_string();
                let expected = "is not in columns sea, sky, as `train.csv` has";
                assert_eq!(error, format!("row 0: label `{}` {expected}", headings.join(", ")));
            }
            let error = rows(kind, &[1.0], &["sea"]).annotate(of_train(), None, at).unwrap_err().to_string();
            assert!(error.ends_with("is not 2 numbers, as `train.csv` has"), "{error}");
        }
    }

    #[test]
    fn the_train_split_says_of_which_kind_labels_are() {
        use TargetKind::{MultiLabel, Regression};
        let targets = |column: Column, of: Column| match column.annotate(train(of), None, at) {
            Ok(Annotation::Targets { rows, .. }) => Ok((rows.kind, rows.values)),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        };
        // Whole numbers alone would be classes, and 0 and 1 alone several labels.
        let ages = || rows(Regression, &[3.5], &["age"]);
        assert_eq!(targets(Column::Number(vec![3, 40]), ages()), Ok((Regression, vec![3.0, 40.0])));
        let error = targets(Column::Name(texts(&["3", "old"])), ages()).unwrap_err();
        assert_eq!(error, "row 1: label `old` is not a number, as `train.csv` has");
        let pairs = || rows(Regression, &[3.5, 1.0], &["x", "y"]);
        let flags = rows(MultiLabel, &[0.0, 1.0], &["x", "y"]);
        assert_eq!(targets(flags, pairs()), Ok((Regression, vec![0.0, 1.0])));
        let flags = rows(MultiLabel, &[0.0, 1.0], &["x", "y"]);
        let error = targets(rows(Regression, &[0.0, 1.0, 0.0, 2.0], &["x", "y"]), flags).unwrap_err();
        assert_eq!(error, "row 1: label `2` is not 0 or 1, as `train.csv` has");
        assert_eq!(targets(Column::Numbers(vec![vec![7, 8]]), pairs()), Ok((Regression, vec![7.0, 8.0])));
        let error = targets(Column::Numbers(vec![vec![7, 8], vec![9]]), pairs()).unwrap_err();
        assert_eq!(error, "row 1: label `9` is not 2 numbers, as `train.csv` has");
        let several = Column::Names(vec![texts(&["sea", "sky"])]);
        assert_eq!(targets(Column::Name(texts(&["sky"])), several), Ok((MultiLabel, vec![0.0, 1.0])));
        let error = targets(ages(), Column::Number(vec![1])).unwrap_err();
        assert_eq!(error, "row 0: label `3.5` is not one class, as `train.csv` has");
        let error = targets(Column::Numbers(vec![vec![0, 1]]), Column::Number(vec![1])).unwrap_err();
        assert_eq!(error, "row 0: label `[0, 1]` is not one class, as `train.csv` has");
        let unlabelled = Column::Number(vec![1]).annotate(train(Column::None), None, at).unwrap();
        assert_eq!(unlabelled, Annotation::Classes { labels: vec![1], names: texts(&["0", "1"]) });
    }

    #[test]
    fn a_label_far_beyond_the_others_is_named() {
        for huge in [i128::MAX, 1 << 70, 1 << 16] {
            let error = Column::Number(vec![1, huge]).annotate(None, None, at).unwrap_err().to_string();
            assert_eq!(error, format!("row 1: label `{huge}` is not in 0..65536"));
        }
        let mut lists = vec![vec![1]; 5000];
        lists[7].push(65_535);
        let error = Column::Numbers(lists).annotate(None, None, at).unwrap_err().to_string();
        assert_eq!(error, "row 7: label `65535` is not below 53687, the most classes that are held for 5000 images");
    }

    #[test]
    fn numbers_to_be_learned_are_finite() {
        let values: Vec<Value> = serde_json::from_str("[0.5, 1e39]").unwrap();
        let error = |values: &[Value]| Column::of_json(&values.iter().collect::<Vec<_>>(), at).unwrap_err().to_string();
        assert_eq!(error(&values), "row 1: label `inf` is not a finite number (of 32 bits)");
        let values: Vec<Value> = serde_json::from_str("[[0.5, 1], [1, -1e39]]").unwrap();
        assert_eq!(error(&values), "row 1: label `-inf` is not a finite number (of 32 bits)");
    }
}
