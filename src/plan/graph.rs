//! Order: needs become edges, a cycle is shown as a path.

/// The order of `count` things in which needs come first and, beyond that, smaller numbers do; or a cycle, as a path that ends where it
/// begins.
pub(super) fn order(count: usize, needs: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut waiting: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (at, needed) in needs.iter().enumerate() {
        for &need in needed {
            dependents[need].push(at);
        }
    }
    let mut ready: std::collections::BTreeSet<usize> =
        (0..count).filter(|&at| waiting[at] == 0).collect();
    let mut order = Vec::with_capacity(count);
    while let Some(at) = ready.pop_first() {
        order.push(at);
        for &dependent in &dependents[at] {
            waiting[dependent] -= 1;
            if waiting[dependent] == 0 {
                ready.insert(dependent);
            }
        }
    }
    if order.len() == count {
        Ok(order)
    } else {
        Err(cycle(&waiting, needs))
    }
}

/// A cycle among the things that still wait: following needs that wait must come back.
fn cycle(waiting: &[usize], needs: &[Vec<usize>]) -> Vec<usize> {
    let mut path: Vec<usize> = Vec::new();
    let mut at = waiting.iter().position(|&left| left > 0).unwrap_or(0);
    loop {
        if let Some(begin) = path.iter().position(|&seen| seen == at) {
            path.drain(..begin);
            path.push(at);
            return path;
        }
        path.push(at);
        match needs[at].iter().find(|&&need| waiting[need] > 0) {
            Some(&next) => at = next,
            None => return path,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_come_first_and_the_file_order_decides_the_rest() {
        assert_eq!(
            order(4, &[vec![3], vec![], vec![0], vec![]]),
            Ok(vec![1, 3, 0, 2])
        );
    }

    #[test]
    fn a_cycle_is_shown_as_a_path() {
        assert_eq!(order(3, &[vec![2], vec![], vec![0]]), Err(vec![0, 2, 0]));
    }
}
