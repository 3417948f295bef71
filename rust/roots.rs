//! The roots that a commit carries: the trees of a skew-binary list over its actor's earlier commits. [`crate::spine`] says what
//! they are for.

/// One tree: its newest commit and how many commits it holds, always 2^k - 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Root {
    pub sequence: u64,
    pub size: u64,
}

/// A list of 2^63 commits has at most 64 roots.
pub const ROOTS_MAX: usize = 64;

/// The spine of the commit after the one at `sequence`, which carries `spine` itself.
pub fn cons(sequence: u64, spine: &[Root]) -> Vec<Root> {
    let mut out = Vec::with_capacity(spine.len() + 1);
    match spine {
        [first, second, rest @ ..] if first.size == second.size => {
            out.push(Root { sequence, size: 1 + first.size + second.size });
            out.extend_from_slice(rest);
        }
        _ => {
            out.push(Root { sequence, size: 1 });
            out.extend_from_slice(spine);
        }
    }
    out
}
