//! Reads an expression into a tree.

use super::lex::{Word, seconds, words};
use std::collections::{BTreeMap, BTreeSet};

/// The labels of a series.
pub(in crate::status) type Labels = BTreeMap<String, String>;

/// How long the dashboard's `$__rate_interval` is here.
const RATE_INTERVAL: &str = "1m";

/// A selector's conditions on one label.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Matcher {
    label: String,
    is: bool,
    values: Vec<String>,
}

/// Which series are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::status) struct Selector {
    /// Their name.
    pub(in crate::status) name: String,
    matchers: Vec<Matcher>,
}

impl Selector {
    /// Whether a series of that name with these labels is meant. A label that is missing is empty, as in PromQL.
    pub(super) fn takes(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|matcher| {
            let value = labels.get(&matcher.label).map_or("", String::as_str);
            matcher.values.iter().any(|wanted| wanted == value) == matcher.is
        })
    }
}

/// What is computed of the growth of counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::status) enum Growth {
    Rate,
    Increase,
}

/// How series become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::status) enum Aggregation {
    Sum,
    Min,
    Max,
}

/// An operator between two expressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::status) enum Operator {
    Or,
    And,
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Plus,
    Minus,
    Times,
    Divide,
}

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::status) enum Expression {
    /// A number.
    Number(f64),
    /// `time()`.
    Time,
    /// The latest samples of series.
    Latest(Selector),
    /// The growth of series over so many seconds.
    Growth(Growth, Selector, f64),
    /// `histogram_quantile`.
    Quantile(f64, Box<Expression>),
    /// `sum by (…)` and its like.
    Aggregate(Aggregation, Vec<String>, Box<Expression>),
    /// Two expressions, and for `and on (…)` its labels.
    Binary(Operator, Box<(Expression, Expression)>, Option<Vec<String>>),
}

impl Expression {
    /// Reads a rule's or a panel's text; `None` if it uses more of PromQL than there is here.
    pub(in crate::status) fn read(text: &str) -> Option<Self> {
        let text = text.replace("$__rate_interval", RATE_INTERVAL);
        let mut parser = Parser { words: words(&text)?, at: 0 };
        let expression = parser.binary(0)?;
        (parser.at == parser.words.len()).then_some(expression)
    }

    /// Whether all that it reads, through recording rules too, is among the names of exported samples.
    pub(in crate::status) fn is_exported(
        &self,
        records: &BTreeMap<&'static str, Self>,
        exported: &BTreeSet<String>,
    ) -> bool {
        self.selectors().iter().all(|(selector, _)| match records.get(selector.name.as_str()) {
            Some(rule) => rule.is_exported(records, exported),
            None => exported.contains(&selector.name),
        })
    }

    /// Every selector in it, with the seconds that it looks back.
    pub(in crate::status) fn selectors(&self) -> Vec<(&Selector, f64)> {
        match self {
            Self::Number(_) | Self::Time => Vec::new(),
            Self::Latest(selector) => vec![(selector, 0.0)],
            Self::Growth(_, selector, window) => vec![(selector, *window)],
            Self::Quantile(_, inner) | Self::Aggregate(_, _, inner) => inner.selectors(),
            Self::Binary(_, sides, _) => sides.0.selectors().into_iter().chain(sides.1.selectors()).collect(),
        }
    }
}

/// Operators by how tightly they bind, loosest first.
const LEVELS: [&[(&str, Operator)]; 5] = [
    &[("or", Operator::Or)],
    &[("and", Operator::And)],
    &[
        ("==", Operator::Equal),
        (">=", Operator::GreaterOrEqual),
        ("<=", Operator::LessOrEqual),
        (">", Operator::Greater),
        ("<", Operator::Less),
    ],
    &[("+", Operator::Plus), ("-", Operator::Minus)],
    &[("*", Operator::Times), ("/", Operator::Divide)],
];

struct Parser {
    words: Vec<Word>,
    at: usize,
}

impl Parser {
    fn binary(&mut self, level: usize) -> Option<Expression> {
        let Some(operators) = LEVELS.get(level) else { return self.operand() };
        let mut left = self.binary(level + 1)?;
        loop {
            let found = operators.iter().find(|(text, _)| self.is(text)).map(|(_, operator)| *operator);
            let Some(operator) = found else { return Some(left) };
            self.at += 1;
            let on = if self.take("on") { Some(self.names()?) } else { None };
            let right = self.binary(level + 1)?;
            left = Expression::Binary(operator, Box::new((left, right)), on);
        }
    }

    fn operand(&mut self) -> Option<Expression> {
        if self.take("(") {
            let inner = self.binary(0)?;
            return self.take(")").then_some(inner);
        }
        match self.next()? {
            Word::Number(number) => Some(Expression::Number(number)),
            Word::Name(name) => self.named(name),
            Word::Text(_) | Word::Range(_) | Word::Sign(_) => None,
        }
    }

    fn named(&mut self, name: String) -> Option<Expression> {
        let aggregation = match name.as_str() {
            "sum" => Some(Aggregation::Sum),
            "min" => Some(Aggregation::Min),
            "max" => Some(Aggregation::Max),
            _ => None,
        };
        if let Some(aggregation) = aggregation {
            let by = if self.take("by") { self.names()? } else { Vec::new() };
            return Some(Expression::Aggregate(aggregation, by, Box::new(self.operand()?)));
        }
        match name.as_str() {
            "rate" => self.growth(Growth::Rate),
            "increase" => self.growth(Growth::Increase),
            "time" => (self.take("(") && self.take(")")).then_some(Expression::Time),
            "histogram_quantile" => {
                let Some(Word::Number(quantile)) = self.take("(").then(|| self.next())? else { return None };
                let inner = self.take(",").then(|| self.binary(0))??;
                self.take(")").then(|| Expression::Quantile(quantile, Box::new(inner)))
            }
            _ => {
                let selector = self.selector(name)?;
                // Another function than those above, or a range where none belongs.
                (!self.is("(") && !matches!(self.words.get(self.at), Some(Word::Range(_))))
                    .then_some(Expression::Latest(selector))
            }
        }
    }

    fn growth(&mut self, growth: Growth) -> Option<Expression> {
        let Some(Word::Name(name)) = self.take("(").then(|| self.next())? else { return None };
        let selector = self.selector(name)?;
        let Some(Word::Range(window)) = self.next() else { return None };
        self.take(")").then_some(Expression::Growth(growth, selector, window))
    }

    fn selector(&mut self, name: String) -> Option<Selector> {
        let mut matchers = Vec::new();
        if self.take("{") {
            while !self.take("}") {
                let Some(Word::Name(label)) = self.next() else { return None };
                let Some(Word::Sign(sign)) = self.next() else { return None };
                let Some(Word::Text(text)) = self.next() else { return None };
                let is = matches!(sign, "=" | "=~");
                let values = match sign {
                    "=" | "!=" => vec![text.clone()],
                    "=~" | "!~" => text.split('|').map(str::to_owned).collect(),
                    _ => return None,
                };
                // A dashboard's variable chooses among modules; here there is one.
                if !text.starts_with('$') {
                    matchers.push(Matcher { label, is, values });
                }
                self.take(",");
            }
        }
        Some(Selector { name, matchers })
    }

    /// `(a, b)`.
    fn names(&mut self) -> Option<Vec<String>> {
        let mut names = Vec::new();
        if !self.take("(") {
            return None;
        }
        while !self.take(")") {
            let Some(Word::Name(name)) = self.next() else { return None };
            names.push(name);
            self.take(",");
        }
        Some(names)
    }

    fn next(&mut self) -> Option<Word> {
        let word = self.words.get(self.at).cloned();
        self.at += 1;
        word
    }

    fn is(&self, text: &str) -> bool {
        match self.words.get(self.at) {
            Some(Word::Sign(sign)) => *sign == text,
            Some(Word::Name(name)) => name == text,
            Some(Word::Number(_) | Word::Text(_) | Word::Range(_)) | None => false,
        }
    }

    fn take(&mut self, text: &str) -> bool {
        let is = self.is(text);
        self.at += usize::from(is);
        is
    }
}

/// A rule's `for`, in seconds.
pub(in crate::status) fn hold(text: &str) -> Option<f64> {
    seconds(text)
}
