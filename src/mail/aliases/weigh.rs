//! mail::aliases::weigh – which aliases lead to too many, or too deep.
//!
//! Promises: one look at each alias and each of its members, however they are nested; no recursion.
//! What loops leave uncertain, `route` bounds once more while it expands.

use std::collections::BTreeMap;

use super::{ALIAS_DEPTH_MAX, ALIAS_MEMBERS_MAX, Alias, Member};
use crate::mail::name;

/// What an alias leads to, those below it included.
#[derive(Debug, Clone, Copy)]
struct Weight {
    members: usize,
    depth: usize,
}

/// An alias whose members are being looked at.
struct Open {
    number: usize,
    next: usize,
    weight: Weight,
}

pub(super) fn mark(map: &mut BTreeMap<String, Alias>) {
    let weights = weigh(map);
    for (alias, weight) in map.values_mut().zip(weights) {
        alias.endless =
            weight.is_some_and(|w| w.members > ALIAS_MEMBERS_MAX || w.depth > ALIAS_DEPTH_MAX);
    }
}

/// Depth first, children before parents; an alias that is open already counts as one member.
fn weigh(map: &BTreeMap<String, Alias>) -> Vec<Option<Weight>> {
    let aliases: Vec<&Alias> = map.values().collect();
    let numbers: BTreeMap<&str, usize> =
        map.keys().enumerate().map(|(number, name)| (name.as_str(), number)).collect();
    let mut weights: Vec<Option<Weight>> = vec![None; aliases.len()];
    let mut is_open = vec![false; aliases.len()];
    for root in 0..aliases.len() {
        let mut stack = Vec::new();
        let mut enter = (weights[root].is_none()).then_some(root);
        loop {
            if let Some(number) = enter.take() {
                is_open[number] = true;
                let weight = Weight { members: 0, depth: 1 };
                stack.push(Open { number, next: 0, weight });
            }
            let Some(top) = stack.last_mut() else { break };
            let Some(member) = aliases[top.number].members.get(top.next) else {
                let Open { number, weight, .. } = *top;
                is_open[number] = false;
                weights[number] = Some(weight);
                stack.pop();
                continue;
            };
            let child = match member {
                Member::Local(local) | Member::Address(local, _) => {
                    numbers.get(name::folded(local).as_str()).copied()
                }
                Member::User(_) => None,
            };
            match child {
                Some(child) if weights[child].is_none() && !is_open[child] => enter = Some(child),
                child => {
                    let below = child.and_then(|child| weights[child]);
                    let below = below.unwrap_or(Weight { members: 0, depth: 0 });
                    top.weight.members =
                        top.weight.members.saturating_add(below.members).saturating_add(1);
                    top.weight.depth = top.weight.depth.max(below.depth + 1);
                    top.next += 1;
                }
            }
        }
    }
    weights
}
