//! Label sets: enums with their words, products of them, and rows that are known only at construction.

use crate::Label;
use std::borrow::Cow;
use std::fmt::Debug;

/// An enum whose variants are the values of one label; made by [`label_enum!`](crate::label_enum).
pub trait LabelValue: Copy + Debug + Eq + 'static {
    /// The label's declaration: its name and all its values, in the order of [`index`](Self::index).
    const LABEL: Label;
    /// The label's declaration in a family in which it may also be `""`.
    const OR_EMPTY: Label;
    /// All variants in order.
    const ALL: &'static [Self];

    /// The variant's place in [`ALL`](Self::ALL).
    fn index(self) -> usize;

    /// The label's value.
    fn as_str(self) -> &'static str;
}

/// Something that picks one series of a family.
pub trait Row: Copy + 'static {
    /// The index of the series.
    fn row(self) -> usize;
}

/// A closed set of label combinations: all of its rows are known when compiling, and all are exported.
pub trait LabelSet: Row {
    /// The names of the labels that a family with this label set must declare, in order.
    fn names() -> Vec<&'static str>;

    /// The label values of every row, in the order of [`Row::row`].
    fn rows() -> Rows;
}

/// The label values of every series of a family, row by row.
pub type Rows = Vec<Vec<Cow<'static, str>>>;

impl Row for () {
    fn row(self) -> usize {
        0
    }
}

impl LabelSet for () {
    fn names() -> Vec<&'static str> {
        Vec::new()
    }

    fn rows() -> Rows {
        vec![Vec::new()]
    }
}

impl<A: LabelValue, B: LabelValue> Row for (A, B) {
    fn row(self) -> usize {
        self.0.index() * B::ALL.len() + self.1.index()
    }
}

impl<A: LabelValue, B: LabelValue> LabelSet for (A, B) {
    fn names() -> Vec<&'static str> {
        vec![A::LABEL.name, B::LABEL.name]
    }

    fn rows() -> Rows {
        A::ALL
            .iter()
            .flat_map(|a| B::ALL.iter().map(move |b| vec![Cow::from(a.as_str()), Cow::from(b.as_str())]))
            .collect()
    }
}

/// How something ended: the labels `status` and `error_type`, where `error_type` is `""` exactly when `status` is `success`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome<E> {
    /// `status="success"`, `error_type=""`.
    Success,
    /// `status="failure"`, with the kind of error.
    Failure(E),
}

impl<E> Outcome<E> {
    /// The declaration of the label `status`.
    pub const STATUS: Label = Label::closed("status", &["success", "failure"]);
}

impl<E: LabelValue> Row for Outcome<E> {
    fn row(self) -> usize {
        match self {
            Self::Success => 0,
            Self::Failure(error) => 1 + error.index(),
        }
    }
}

impl<E: LabelValue> LabelSet for Outcome<E> {
    fn names() -> Vec<&'static str> {
        vec![Self::STATUS.name, E::LABEL.name]
    }

    fn rows() -> Rows {
        let failures = E::ALL.iter().map(|error| vec![Cow::from("failure"), Cow::from(error.as_str())]);
        std::iter::once(vec![Cow::from("success"), Cow::from("")]).chain(failures).collect()
    }
}

/// Declares an enum that is the value of one label, with its words, and implements
/// [`LabelValue`], [`Row`] and [`LabelSet`] for it.
///
/// `Enum::LABEL` is the label's declaration; `Enum::OR_EMPTY` is the same with `""` as a further, first value, for families
/// recorded with [`Outcome`].
#[macro_export]
macro_rules! label_enum {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident as $label:literal {
            $($(#[$variant_meta:meta])* $variant:ident = $text:literal),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        $vis enum $name {
            $($(#[$variant_meta])* $variant),+
        }

        impl $name {
            /// The label's value.
            #[must_use]
            $vis const fn label(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl $crate::LabelValue for $name {
            const LABEL: $crate::Label = $crate::Label::closed($label, &[$($text),+]);
            const OR_EMPTY: $crate::Label = $crate::Label::closed($label, &["", $($text),+]);
            const ALL: &'static [Self] = &[$(Self::$variant),+];

            fn index(self) -> usize {
                self as usize
            }

            fn as_str(self) -> &'static str {
                self.label()
            }
        }

        impl $crate::Row for $name {
            fn row(self) -> usize {
                self as usize
            }
        }

        impl $crate::LabelSet for $name {
            fn names() -> Vec<&'static str> {
                vec![<Self as $crate::LabelValue>::LABEL.name]
            }

            fn rows() -> $crate::Rows {
                <Self as $crate::LabelValue>::ALL
                    .iter()
                    .map(|value| vec![std::borrow::Cow::from(value.label())])
                    .collect()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.label())
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    label_enum! {
        enum Fruit as "fruit" { Apple = "apple", Pear = "pear" }
    }
    label_enum! {
        enum Size as "size" { Small = "small", Medium = "medium", Large = "large" }
    }

    /// Every row's index is its place among the rows, whatever the set.
    #[test]
    fn rows_are_in_the_order_of_their_index() {
        let pairs: Vec<usize> = Fruit::ALL.iter().flat_map(|f| Size::ALL.iter().map(|s| (*f, *s).row())).collect();
        assert_eq!(pairs, [0, 1, 2, 3, 4, 5]);
        assert_eq!(<(Fruit, Size)>::rows()[(Fruit::Pear, Size::Medium).row()], ["pear", "medium"]);
        assert_eq!(Outcome::<Size>::rows()[Outcome::Failure(Size::Large).row()], ["failure", "large"]);
        assert_eq!(Outcome::<Size>::rows()[Outcome::<Size>::Success.row()], ["success", ""]);
        assert_eq!(Fruit::rows(), [["apple"], ["pear"]]);
        assert_eq!((().row(), <()>::rows()), (0, vec![vec![]]));
    }

    #[test]
    fn declarations_follow_the_enum() {
        assert_eq!(Fruit::LABEL, Label::closed("fruit", &["apple", "pear"]));
        assert_eq!(Fruit::OR_EMPTY, Label::closed("fruit", &["", "apple", "pear"]));
        assert_eq!(<(Fruit, Size)>::names(), ["fruit", "size"]);
        assert_eq!(Outcome::<Size>::names(), ["status", "size"]);
        assert!(<()>::names().is_empty());
        assert_eq!(Fruit::names(), ["fruit"]);
        assert_eq!((Fruit::Pear.to_string(), Fruit::Pear.as_str(), Size::Large.index()), ("pear".into(), "pear", 2));
    }
}
