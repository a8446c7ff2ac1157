//! The words in which operators say which positions are one thing.
//!
//! A *position* is one index of one axis of a value. A rule relates positions of its node's inputs and outputs and knows
//! nothing of channels, layers or what is cut: [`analysis`](crate::analysis) builds channel groups from the relations of
//! all nodes. What a rule does not mention is not followed: the axis is then held fast at that node.

use super::{Call, Dim, Fact, Reason};

/// An input or output of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// The input at a position.
    Input(usize),
    /// The output at a position.
    Output(usize),
}

/// One axis of an input or output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Axis {
    /// The input or output.
    pub end: End,
    /// The axis, counted from the front.
    pub axis: usize,
}

impl End {
    /// Axis `axis` of this input or output.
    #[must_use]
    pub fn axis(self, axis: usize) -> Axis {
        Axis { end: self, axis }
    }
}

/// Which index of one axis is which of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Map {
    /// `a + i` is `b + i`, for `count` indices.
    Run {
        /// First index of the one axis.
        a: usize,
        /// First index of the other.
        b: usize,
        /// How many.
        count: usize,
    },
    /// Index `j` of the second axis belongs to index `j / inner % size` of the first.
    Part {
        /// How many neighbours on the second axis belong to the same index.
        inner: usize,
        /// Size of the first axis, after which it begins anew.
        size: usize,
    },
    /// These pairs.
    Pairs(Vec<(usize, usize)>),
}

/// What a rule says of its node's axes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Relation {
    /// Indices of two axes that are removed together or not at all.
    Link {
        /// The one axis.
        a: Axis,
        /// The other.
        b: Axis,
        /// Which index is which.
        map: Map,
    },
    /// One axis is several others rolled together, in row-major order. Only those of the parts that hold channels are
    /// linked with it.
    Merge {
        /// The axis that holds all.
        whole: Axis,
        /// Its parts, outermost first, with their sizes.
        parts: Vec<(Axis, usize)>,
    },
    /// Indices with the same remainder by `size` are removed together: conv groups keep equal sizes.
    Tie {
        /// The axis.
        at: Axis,
        /// The divisor.
        size: usize,
    },
    /// The node adds up over the axis, so an index that holds zeros has no effect on what it computes.
    Sum {
        /// The axis.
        at: Axis,
    },
    /// Each index of the axis of a weight is a filter, and makes one or more channels of the output.
    Filters {
        /// The axis of the weight.
        weight: Axis,
        /// The axis of the output.
        output: Axis,
    },
    /// The size of the axis is set by the node itself, not by another axis.
    Own {
        /// The axis.
        at: Axis,
    },
    /// No index of the axis can be removed.
    Pin {
        /// The axis.
        at: Axis,
        /// Why.
        reason: Reason,
    },
}

/// Collects the relations of one node.
#[derive(Debug)]
pub struct Coupler<'c, 'g> {
    /// The node, with what is known of its inputs.
    pub call: &'c Call<'g>,
    outputs: &'c [Option<&'c Fact>],
    relations: Vec<Relation>,
}

/// The first input.
pub(crate) const DATA: End = End::Input(0);
/// The first output.
pub(crate) const RESULT: End = End::Output(0);

impl<'c, 'g> Coupler<'c, 'g> {
    /// Nothing said yet of `call`, whose outputs are `outputs`.
    #[must_use]
    pub fn new(call: &'c Call<'g>, outputs: &'c [Option<&'c Fact>]) -> Self {
        Self { call, outputs, relations: Vec::new() }
    }

    /// All that was said.
    #[must_use]
    pub fn into_relations(self) -> Vec<Relation> {
        self.relations
    }

    /// The sizes of an input or output; `None` where it is absent or its rank is not known.
    #[must_use]
    pub fn dims(&self, end: End) -> Option<&'c [Dim]> {
        let fact: Option<&'c Fact> = match end {
            End::Input(position) => self.call.inputs.get(position).copied().flatten(),
            End::Output(position) => self.outputs.get(position).copied().flatten(),
        };
        fact?.shape.as_deref()
    }

    /// Number of axes; 0 where not known, so that there is nothing to be said of them.
    #[must_use]
    pub fn rank(&self, end: End) -> usize {
        self.dims(end).map_or(0, <[Dim]>::len)
    }

    /// Size of an axis, where it is a number.
    #[must_use]
    pub fn size(&self, axis: Axis) -> Option<usize> {
        self.dims(axis.end)?.get(axis.axis)?.known()
    }

    fn dim(&self, axis: Axis) -> Option<&'c Dim> {
        self.dims(axis.end)?.get(axis.axis)
    }

    /// Adds a relation as it is.
    pub fn say(&mut self, relation: Relation) {
        self.relations.push(relation);
    }

    /// The axes are of one size and have the same indices. Where one is of size 1 and broadcast, nothing is said; where a
    /// size is not known, both are held fast.
    pub fn same(&mut self, a: Axis, b: Axis) {
        let (Some(x), Some(y)) = (self.dim(a), self.dim(b)) else { return };
        match (x.known(), y.known()) {
            (Some(1), _) | (_, Some(1)) => {}
            (Some(x), Some(y)) if x == y => {
                self.say(Relation::Link { a, b, map: Map::Run { a: 0, b: 0, count: x } });
            }
            _ => {
                let reason = || "the size of an axis that must be equal is not known".to_owned();
                self.pin(a, reason());
                self.pin(b, reason());
            }
        }
    }

    /// All axes are the same, in the same order.
    pub fn all_same(&mut self, a: End, b: End) {
        self.same_but(a, b, &[]);
    }

    /// All axes but `others` are the same, in the same order.
    pub fn same_but(&mut self, a: End, b: End, others: &[usize]) {
        for axis in (0..self.rank(a).max(self.rank(b))).filter(|axis| !others.contains(axis)) {
            self.same(a.axis(axis), b.axis(axis));
        }
    }

    /// All axes of `narrow`, broadcast as numpy does it, are those at the end of `wide`.
    pub fn broadcast(&mut self, narrow: End, wide: End) {
        if let Some(offset) = self.rank(wide).checked_sub(self.rank(narrow)) {
            for axis in 0..self.rank(narrow) {
                self.same(narrow.axis(axis), wide.axis(axis + offset));
            }
        }
    }

    /// `count` indices from `a_start` on are those from `b_start` on.
    pub fn run(&mut self, a: Axis, a_start: usize, b: Axis, b_start: usize, count: usize) {
        if count > 0 {
            self.say(Relation::Link { a, b, map: Map::Run { a: a_start, b: b_start, count } });
        }
    }

    /// Index `j` of `whole` belongs to index `j / inner % size` of `part`.
    pub fn part(&mut self, part: Axis, whole: Axis, inner: usize, size: usize) {
        self.say(Relation::Link { a: part, b: whole, map: Map::Part { inner, size } });
    }

    /// The node adds up over the axis.
    pub fn sum(&mut self, at: Axis) {
        self.say(Relation::Sum { at });
    }

    /// Nothing else sets the size of the axis.
    pub fn own(&mut self, at: Axis) {
        self.say(Relation::Own { at });
    }

    /// All axes of `end` are set by nothing else.
    pub fn own_all(&mut self, end: End) {
        (0..self.rank(end)).for_each(|axis| self.own(end.axis(axis)));
    }

    /// No index of the axis can be removed.
    pub fn pin(&mut self, at: Axis, reason: impl Into<Reason>) {
        self.say(Relation::Pin { at, reason: reason.into() });
    }

    /// No index of the axes from `first` on can be removed, on either side.
    pub fn pin_from(&mut self, first: usize, ends: &[End], reason: &str) {
        for &end in ends {
            (first..self.rank(end)).for_each(|axis| self.pin(end.axis(axis), reason));
        }
    }
}

/// Which indices of a node's axes stay; an axis that is not named stays whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cut {
    kept: std::collections::BTreeMap<Axis, Vec<usize>>,
}

impl Cut {
    /// Says that only `indices` of `axis` stay, in rising order.
    pub fn keep(&mut self, axis: Axis, indices: Vec<usize>) {
        self.kept.insert(axis, indices);
    }

    /// The indices of `axis` that stay; `None` where all do.
    #[must_use]
    pub fn kept(&self, axis: Axis) -> Option<&[usize]> {
        self.kept.get(&axis).map(Vec::as_slice)
    }

    /// How many of the indices of `axis` that `range` holds stay.
    #[must_use]
    pub fn count(&self, axis: Axis, range: std::ops::Range<usize>) -> usize {
        match self.kept(axis) {
            None => range.len(),
            Some(kept) => kept.iter().filter(|index| range.contains(index)).count(),
        }
    }

    /// Whether all axes stay whole.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }
}

/// A setting of a node that must follow the cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Adjustment {
    /// An integer attribute gets this number.
    Int {
        /// The attribute.
        name: &'static str,
        /// Its new number.
        number: i64,
    },
    /// A list attribute gets these numbers.
    Ints {
        /// The attribute.
        name: &'static str,
        /// Its new numbers.
        numbers: Vec<i64>,
    },
    /// An attribute goes.
    Absent {
        /// The attribute.
        name: &'static str,
    },
    /// Some elements of an integer input get these numbers; the others stay as they are computed.
    Elements {
        /// Position of the input.
        input: usize,
        /// Index and number.
        changed: Vec<(usize, i64)>,
    },
    /// An integer input of one axis gets these elements, also where it was absent.
    Input {
        /// Position of the input.
        input: usize,
        /// All its elements.
        elements: Vec<i64>,
    },
}

/// The `adjust` of operators whose settings do not speak of sizes.
pub(crate) fn nothing(_: &Call<'_>, _: &Cut) -> Result<Vec<Adjustment>, Reason> {
    Ok(Vec::new())
}

/// The `couple` of operators that keep all axes of their first input.
pub(crate) fn kept(coupler: &mut Coupler<'_, '_>) -> Result<(), Reason> {
    coupler.all_same(DATA, RESULT);
    Ok(())
}
