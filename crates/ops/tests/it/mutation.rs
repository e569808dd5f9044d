//! Mutants of a PromQL expression: each differs from it in one place, as a slip of the hand would.

use promql_parser::label::MatchOp;
use promql_parser::parser::{Expr, LabelModifier, VectorSelector, parse};
use std::time::Duration;

/// One mutant: what was done, and the expression.
#[derive(Debug, Clone)]
pub(crate) struct Mutant {
    /// What was done to which part.
    pub(crate) change: String,
    /// The changed expression.
    pub(crate) expr: String,
}

/// Every mutant of an expression.
pub(crate) fn mutants(expr: &str) -> Vec<Mutant> {
    let original = parse(expr).unwrap();
    let mut out = Vec::new();
    for site in 0.. {
        let mut place = Place { left: site, variant: None, changes: Vec::new() };
        let mut copy = original.clone();
        visit(&mut copy, &mut place);
        if place.changes.is_empty() {
            break;
        }
        for variant in 0..place.changes.len() {
            let mut copy = original.clone();
            let mut place = Place { left: site, variant: Some(variant), changes: Vec::new() };
            visit(&mut copy, &mut place);
            out.push(Mutant { change: place.changes[variant].clone(), expr: copy.to_string() });
        }
    }
    out.extend(operators(expr));
    out
}

/// Which node of the tree is to be changed, and how.
struct Place {
    /// Nodes that can be changed and come before it.
    left: usize,
    /// Which of its changes is made; with none they are only listed.
    variant: Option<usize>,
    /// The changes that can be made to it.
    changes: Vec<String>,
}

impl Place {
    /// Offers the changes of a node; gives the one to be made if this node's turn has come.
    fn turn(&mut self, changes: Vec<String>) -> Option<usize> {
        if changes.is_empty() || !self.changes.is_empty() {
            return None;
        }
        if self.left > 0 {
            self.left -= 1;
            return None;
        }
        self.changes = changes;
        self.variant
    }
}

fn visit(expr: &mut Expr, place: &mut Place) {
    match expr {
        Expr::NumberLiteral(number) => {
            let small = number.val.fract() == 0.0 && number.val.abs() < 10.0;
            let values =
                if small { [number.val - 1.0, number.val + 1.0] } else { [number.val * 0.8, number.val * 1.25] };
            if let Some(variant) =
                place.turn(values.iter().map(|value| format!("{} becomes {value}", number.val)).collect())
            {
                number.val = values[variant];
            }
        }
        Expr::StringLiteral(_) | Expr::Extension(_) => {}
        Expr::Paren(paren) => visit(&mut paren.expr, place),
        Expr::Unary(unary) => visit(&mut unary.expr, place),
        Expr::Subquery(subquery) => visit(&mut subquery.expr, place),
        Expr::Call(call) => {
            // The argument of vector() and the quantile are not thresholds.
            call.args.args.iter_mut().for_each(|argument| visit(argument, place));
        }
        Expr::VectorSelector(selector) => visit_selector(selector, place),
        Expr::MatrixSelector(matrix) => {
            let windows = [matrix.range / 2, matrix.range * 2];
            let changes = windows.map(|window| format!("[{:?}] of {} becomes {window:?}", matrix.range, matrix.vs));
            if let Some(variant) = place.turn(changes.into()) {
                matrix.range = Duration::from_secs(windows[variant].as_secs());
            }
            visit_selector(&mut matrix.vs, place);
        }
        Expr::Binary(binary) => {
            visit(&mut binary.lhs, place);
            visit(&mut binary.rhs, place);
        }
        Expr::Aggregate(aggregate) => {
            let by = aggregate.modifier.is_some();
            let mut changes = vec![format!("{} is dropped", aggregate.op)];
            changes.extend(by.then(|| format!("{} loses its labels", aggregate.op)));
            match place.turn(changes) {
                Some(0) => *expr = (*aggregate.expr).clone(),
                Some(_) => aggregate.modifier = None::<LabelModifier>,
                None => visit(&mut aggregate.expr, place),
            }
        }
    }
}

fn visit_selector(selector: &mut VectorSelector, place: &mut Place) {
    let text = selector.to_string();
    if let Some(name) = &mut selector.name
        && let Some(stem) =
            name.strip_suffix("_total").or_else(|| name.strip_suffix("_count").or_else(|| name.strip_suffix("_bucket")))
        && place.turn(vec![format!("{name} loses its suffix")]).is_some()
    {
        *name = stem.to_owned();
    }
    for index in 0..selector.matchers.matchers.len() {
        let matcher = &mut selector.matchers.matchers[index];
        if matcher.name == "le" {
            let others = ["0.25", "1.0"];
            if let Some(variant) = place.turn(others.map(|other| format!("le of {text} becomes {other}")).into()) {
                others[variant].clone_into(&mut matcher.value);
            }
        }
        let changes = ["is dropped", "is turned round"].map(|change| format!("{} of {text} {change}", matcher.name));
        match place.turn(changes.into()) {
            Some(0) => {
                selector.matchers.matchers.remove(index);
                return;
            }
            Some(_) => {
                matcher.op = match matcher.op.clone() {
                    MatchOp::Equal => MatchOp::NotEqual,
                    MatchOp::NotEqual => MatchOp::Equal,
                    MatchOp::Re(pattern) => MatchOp::NotRe(pattern),
                    MatchOp::NotRe(pattern) => MatchOp::Re(pattern),
                };
            }
            None => {}
        }
    }
}

/// Operators, one at a time, in the text: the parser keeps their tokens to itself.
fn operators(expr: &str) -> Vec<Mutant> {
    const SWAPS: [(&str, &str); 8] = [
        (" and ", " or "),
        (" and ", " unless "),
        (" or ", " and "),
        (" > ", " < "),
        (" < ", " > "),
        (" >= ", " < "),
        (" == ", " != "),
        (" / ", " * "),
    ];
    let text = parse(expr).unwrap().to_string();
    let swap = |(from, to): (&'static str, &'static str)| {
        let text = text.clone();
        let places: Vec<usize> = text.match_indices(from).map(|(index, _)| index).collect();
        places.into_iter().map(move |index| Mutant {
            change: format!("{from:?} at {index} becomes {to:?}"),
            expr: format!("{}{to}{}", &text[..index], &text[index + from.len()..]),
        })
    };
    SWAPS.into_iter().flat_map(swap).collect()
}

#[cfg(test)]
mod tests {
    use super::mutants;

    #[test]
    fn every_place_is_changed_once_and_in_each_way() {
        let all: Vec<String> =
            mutants(r#"sum by (job) (rate(x_total{a="b"}[10m])) > 3"#).into_iter().map(|mutant| mutant.expr).collect();
        let expected = [
            r#"rate(x_total{a="b"}[10m]) > 3"#,
            r#"sum(rate(x_total{a="b"}[10m])) > 3"#,
            r#"sum by (job) (rate(x_total{a="b"}[5m])) > 3"#,
            r#"sum by (job) (rate(x_total{a="b"}[20m])) > 3"#,
            r#"sum by (job) (rate(x{a="b"}[10m])) > 3"#,
            r#"sum by (job) (rate(x_total[10m])) > 3"#,
            r#"sum by (job) (rate(x_total{a!="b"}[10m])) > 3"#,
            r#"sum by (job) (rate(x_total{a="b"}[10m])) > 2"#,
            r#"sum by (job) (rate(x_total{a="b"}[10m])) > 4"#,
            r#"sum by (job) (rate(x_total{a="b"}[10m])) < 3"#,
        ];
        assert_eq!(all.iter().map(|expr| expr.replace("  ", " ")).collect::<Vec<_>>(), expected);
    }
}
